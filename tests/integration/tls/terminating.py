"""Headrace with TLS for clients, as the tests of this folder set it up."""

import os
import socket
import ssl
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "proxy")]
import certs  # noqa: E402
import common  # noqa: E402
from harness import HttpError, eventually, free_port  # noqa: E402
from upstream import ok_either, serve_all  # noqa: E402


def route(name, spec):
    return common.route(name, ["be"], path="/", spec="\n".join("  " + line for line in spec))


def serve(t, manifests, handler=None, args=(), backend=None, models=()):
    """(headrace, its TLS port, the scripted server)."""
    upstream = common.upstream(t, handler or serve_all(ok_either))
    port = free_port()
    manifests = dict(manifests,
                     backend=backend or common.backend("be", [upstream.port], models))
    headrace = t.headrace({name + ".yaml": text for name, text in manifests.items()},
                          ["--listen-tls", "127.0.0.1:%d" % port] + list(args))
    return headrace, port, upstream


def simple(t, handler=None, args=()):
    """One host, a.example.com: (headrace, port, upstream, authority)."""
    root = certs.Authority(t.folder)
    made = root.issue("a", ["DNS:a.example.com"])
    headrace, port, upstream = serve(t, {
        "secret": certs.secret("a", made),
        "route": route("r", ["hostnames: [a.example.com]", "tls: [{secretName: a}]"]),
    }, handler, args)
    return headrace, port, upstream, root


def get(t, port, context, name="a.example.com", host=None, path="/v1/x"):
    with t.connect(port, tls=context, server_name=name) as conn:
        conn.send_request("GET", path, {"host": host or name})
        return conn.read_response()


def chat(conn, host, **more):
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    body.update(more)
    conn.send_request("POST", "/v1/chat/completions", {"host": host}, body)


def counter(headrace, name, **labels):
    """The sum of the series of this name that have these labels."""
    return sum(value for key, value in headrace.metrics().items()
               if (key + "{").startswith(name + "{") and
               ("{" in key or not labels) and
               all('%s="%s"' % pair in key for pair in labels.items()))


def failures(headrace, reason, side="client"):
    return counter(headrace, "headrace_tls_failures_total", side=side, reason=reason)


def resumes(port, context, name, session=None):
    """One request on a connection that offers the session: (resumed, the session for the next)."""
    raw = socket.create_connection(("127.0.0.1", port), 20)
    with context.wrap_socket(raw, server_hostname=name, session=session) as sock:
        sock.sendall(b"GET /v1/x HTTP/1.1\r\nhost: %s\r\nconnection: close\r\n\r\n" % name.encode())
        got = b""
        while piece := sock.recv(4096):
            got += piece
        if not got.startswith(b"HTTP/1.1 200 "):
            raise HttpError("got %r" % got[:100])
        return sock.session_reused, sock.session


def change(headrace, name, text):
    """Replaces a manifest, and waits until it is in force."""
    key = "headrace_snapshot_generation"
    before = headrace.metrics()[key]
    headrace.write(name, text)
    eventually(lambda: headrace.metrics()[key] > before, what="the change is in force")


def guarded(t, mode, args=(), models=()):
    root = certs.Authority(t.folder)
    clients = certs.Authority(t.folder, "clients")
    made = root.issue("both", ["DNS:open.example.com", "DNS:shut.example.com"])
    headrace, port, upstream = serve(t, {
        "secret": certs.secret("both", made),
        "clients": certs.config_map("clients", clients),
        "open": route("open", ["hostnames: [open.example.com]", "tls: [{secretName: both}]"]),
        "shut": route("shut", ["hostnames: [shut.example.com]", "tls:", "- secretName: both",
                               "  clientAuth: {mode: %s, caRef: {name: clients}}" % mode]),
    }, args=args, models=models)
    return headrace, port, root, clients


def refused(t, port, context, name):
    """TLS 1.3: the client learns of it when it reads."""
    try:
        get(t, port, context, name)
    except (ssl.SSLError, ConnectionError, HttpError):
        return True
    return False
