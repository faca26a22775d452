"""Client certificates: who is let in, what the log and the servers are told of who it is."""

import hashlib
import json
import os
import ssl

from terminating import (certs, change, chat, common, failures, get, guarded, refused, resumes,
                         route, serve)
import http2
from harness import HttpError, contains, eq, eventually, main


def test_required_client_certificates(t):
    headrace, port, root, clients = guarded(t, "Required")
    good = certs.client(root, shows=clients.issue("me", ["URI:spiffe://example.com/me"]))
    stranger = certs.client(root, shows=certs.Authority(t.folder, "x").issue("me"))
    name = "shut.example.com"
    eq(get(t, port, good, name).status, 200)
    eq(refused(t, port, certs.client(root), name), True)
    eq(refused(t, port, stranger, name), True)
    eq(failures(headrace, "certificate_missing"), 1)
    eq(failures(headrace, "certificate_bad"), 1)
    eq(get(t, port, certs.client(root), "open.example.com").status, 200)


def test_a_connection_for_one_host_is_no_way_to_a_guarded_one(t):
    headrace, port, root, clients = guarded(t, "Required")
    context = certs.client(root, shows=clients.issue("me"))
    with t.connect(port, tls=context, server_name="open.example.com") as conn:
        for host, status in (("open.example.com", 200), ("shut.example.com", 421),
                             ("open.example.com", 200)):
            conn.send_request("GET", "/v1/x", {"host": host})
            eq(conn.read_response().status, status)
    answer = t.request(headrace.port, "GET", "/v1/x", {"host": "shut.example.com"})
    eq((answer.status, answer.json()["error"]["code"]), (403, "tls_required"))
    # The other way round nothing is asked for.
    eq(get(t, port, context, "shut.example.com", "open.example.com").status, 200)


def test_optional_client_certificates(t):
    _, port, root, clients = guarded(t, "Optional")
    name = "shut.example.com"
    stranger = certs.client(root, shows=certs.Authority(t.folder, "x").issue("me"))
    eq(get(t, port, certs.client(root), name).status, 200)
    eq(get(t, port, certs.client(root, shows=clients.issue("me")), name).status, 200)
    eq(refused(t, port, stranger, name), True)


def test_models_are_listed_for_those_who_may_use_them(t):
    headrace, port, root, clients = guarded(t, "Required", models=["llama-secret"])
    me, free, shut = clients.issue("me"), "open.example.com", "shut.example.com"
    whole, none = ["llama-secret"], []

    def listed(answer):
        eq(answer.status, 200)
        return [model["id"] for model in answer.json()["data"]]

    def hidden(answer):
        eq((answer.status, answer.json()["error"]["code"]), (404, "model_not_found"))
        return "llama-secret" not in answer.json()["error"]["message"].replace("llama-secre\"", "")

    with t.connect(port, tls=certs.client(root, shows=me), server_name=shut) as conn:
        eq(listed(conn.request("GET", "/v1/models", {"host": shut})), whole)
        eq(conn.request("GET", "/v1/models/llama-secret", {"host": shut}).status, 200)
        eq(hidden(conn.request("GET", "/v1/models/llama-secre", {"host": shut})), False)
        eq(listed(conn.request("GET", "/v1/models", {"host": free})), whole)
    # A certificate is nothing on a connection that did not ask for it, TLS is not enough, and in
    # the clear there is neither.
    for conn in (t.connect(port, tls=certs.client(root, shows=me), server_name=free),
                 t.connect(port, tls=certs.client(root), server_name=free),
                 t.connect(headrace.port)):
        eq(listed(conn.request("GET", "/v1/models", {"host": free})), whole)
        eq(listed(conn.request("GET", "/v1/models", {"host": shut})), none)
        eq(conn.request("GET", "/v1/models/llama-secret", {"host": shut}).status, 404)
        eq(hidden(conn.request("GET", "/v1/models/llama-secre", {"host": shut})), True)
    context = certs.client(root, ("h2",))
    with http2.connect(port, tls=context, server_name=free) as conn:
        for host, wanted in ((free, whole), (shut, none)):
            stream = conn.request("GET", "/v1/models", authority=host)
            eq([model["id"] for model in json.loads(stream.wait_end())["data"]], wanted)


def test_a_session_does_not_outlive_the_authorities_that_verified_it(t):
    headrace, port, root, clients = guarded(t, "Required")
    name, new = "shut.example.com", certs.Authority(t.folder, "new")

    def trust(*authorities):
        bundle = certs.config_map("clients", authorities[0])
        more = "".join("    " + line + "\n" for one in authorities[1:]
                       for line in one.cert_pem.splitlines())
        change(headrace, "clients.yaml", bundle + more)

    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = certs.client(root, shows=clients.issue("me"), version=version)
        trust(clients)
        _, session = resumes(port, context, name)
        change(headrace, "other.yaml", route("other", ["hostnames: [b%d.example.com]" % version]))
        for _ in range(6):
            resumed, session = resumes(port, context, name, session)
            eq(resumed, True)
        trust(clients, new)  # is verified again, and found good
        resumed, session = resumes(port, context, name, session)
        eq(resumed, False)
        resumed, session = resumes(port, context, name, session)
        eq(resumed, True)
        bad = failures(headrace, "certificate_bad")
        trust(new)
        try:
            resumes(port, context, name, session)
            raise AssertionError("the session of an authority that is gone was taken")
        except (ssl.SSLError, ConnectionError, HttpError):
            pass
        eventually(lambda: failures(headrace, "certificate_bad") == bad + 1)


# ---- the access log


def log_lines(path, count):
    def lines():
        with open(path) as file:
            found = file.read().splitlines()
        return found if len(found) >= count else None
    return eventually(lines, what="%d lines in the access log" % count)


def test_the_access_log_tells_of_tls_and_who_the_client_is(t):
    path = os.path.join(t.folder, "access.log")
    headrace, port, root, clients = guarded(t, "Required", ["--access-log", path])
    me = clients.issue("me", ["URI:spiffe://example.com/me", "DNS:me.example.com"])
    shut, free = "shut.example.com", "open.example.com"
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = certs.client(root, shows=me, version=version)
        with t.connect(port, tls=context, server_name=shut) as conn:
            for _ in range(2):  # of a connection all say the same
                conn.send_request("GET", "/v1/x", {"host": shut})
                eq(conn.read_response().status, 200)
            cipher = conn.sock.cipher()[0]
        with t.connect(port, tls=context, server_name=free) as conn:
            chat(conn, free)
            eq(conn.read_response().status, 200)
        # Each worker has an order of its own.
        lines = sorted((json.loads(line) for line in log_lines(path, 3)),
                       key=lambda line: line["host"], reverse=True)
        for line in lines[:2]:
            eq([line.get(key) for key in TLS_KEYS],
               [str(version.name).replace("_", "."), cipher, "http/1.1", shut, "CN=me",
                "URI:spiffe://example.com/me,DNS:me.example.com"])
        eq([lines[2].get(key) for key in TLS_KEYS[2:]], ["http/1.1", free, None, None])
        open(path, "w").close()
    eq(t.request(headrace.port, "GET", "/v1/x", {"host": free}).status, 200)
    eq([key for key in json.loads(log_lines(path, 1)[0]) if key.startswith("tls")], [])
    open(path, "w").close()
    with http2.connect(port, tls=certs.client(root, ("h2",), me), server_name=shut) as conn:
        eq(conn.request("GET", "/v1/x", authority=shut).wait_head()[":status"], "200")
    line = json.loads(log_lines(path, 1)[0])
    eq([line.get(key) for key in TLS_KEYS[2:5]], ["h2", shut, "CN=me"])


TLS_KEYS = ("tls", "tls_cipher", "tls_alpn", "tls_server_name", "tls_client_subject",
            "tls_client_san")


def test_the_access_log_as_text_tells_of_tls(t):
    path = os.path.join(t.folder, "access.log")
    _, port, root, clients = guarded(t, "Optional", ["--access-log", path,
                                                     "--access-log-format", "text"])
    me = clients.issue("me and \"you\"")
    eq(get(t, port, certs.client(root, shows=me), "shut.example.com").status, 200)
    line = log_lines(path, 1)[0]
    contains(line, " tls=TLSv1.3 tls_cipher=TLS_")
    contains(line, " tls_alpn=http/1.1 tls_server_name=shut.example.com "
             'tls_client_subject="CN=me and \\\\\\"you\\\\\\"" method=GET')


# ---- what servers are told

FORGED = "Hash=00;Subject=\"CN=admin\""
NAMES = ("told", "silent", "other")
TOLD, SILENT, OTHER = (name + ".example.com" for name in NAMES)


class Telling:
    """Three hosts that take certificates: servers are told of the first one's clients, and of the
    last one's, which are others."""

    def __init__(self, t, args=(), backend=None):
        self.root = certs.Authority(t.folder)
        self.clients = certs.Authority(t.folder, "clients")
        self.others = certs.Authority(t.folder, "others")
        self.me = self.clients.issue("me", ["URI:spiffe://example.com/me", "DNS:me.example.com"])
        self.told = 'Hash=%s;Subject="CN=me";URI=spiffe://example.com/me;DNS=me.example.com' % (
            hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.me.cert_pem)).hexdigest())
        manifests = {"secret": certs.secret("own", self.root.issue("own", ["DNS:*.example.com"])),
                     "clients": certs.config_map("clients", self.clients),
                     "others": certs.config_map("others", self.others)}
        for name, authority, forward in (("told", "clients", "true"),
                                         ("silent", "clients", "false"),
                                         ("other", "others", "true")):
            manifests[name] = route(name, [
                "hostnames: [%s.example.com]" % name, "tls:", "- secretName: own",
                "  clientAuth: {mode: Optional, caRef: {name: %s}, forward: %s}"
                % (authority, forward)])
        self.headrace, self.port, self.upstream = serve(t, manifests, args=args, backend=backend)
        self.t = t

    def context(self, shows=None, alpn="http/1.1"):
        return certs.client(self.root, (alpn,), shows)

    def ask(self, context, name, host=None, fields=()):
        """What the server has seen."""
        with self.t.connect(self.port, tls=context, server_name=name) as conn:
            conn.send_request("GET", "/v1/x", [("host", host or name)] + list(fields))
            eq(conn.read_response().status, 200)
        return self.seen()

    def ask_http2(self, context, name, fields=()):
        with http2.connect(self.port, tls=context, server_name=name) as conn:
            stream = conn.request("GET", "/v1/x", fields, authority=name)
            eq(stream.wait_head()[":status"], "200")

    def seen(self):
        return [value for key, value in self.upstream.requests[-1].headers
                if key == "x-forwarded-client-cert"]


def test_servers_are_told_who_the_client_is(t):
    s = Telling(t)
    forged = [("X-Forwarded-Client-Cert", FORGED), ("x_forwarded_client_cert", FORGED)]
    for fields in ((), forged):
        eq(s.ask(s.context(s.me), TOLD, fields=fields), [s.told])
        eq(s.ask(s.context(s.me), SILENT, fields=fields), [])
        eq(s.ask(s.context(), TOLD, fields=fields), [])
        eq(t.request(s.headrace.port, "GET", "/v1/x", [("host", TOLD)] + list(fields)).status, 200)
        eq(s.seen(), [])
        fields = [(name.lower(), value) for name, value in fields]
        s.ask_http2(s.context(s.me, "h2"), TOLD, fields)
        eq(s.seen(), [s.told])
        s.ask_http2(s.context(s.me, "h2"), SILENT, fields)
        eq(s.seen(), [])
    eq([name for request in s.upstream.requests for name, _ in request.headers if "_" in name], [])


def test_servers_of_http2_are_told_as_well(t):
    heads = []

    def answer(stream):
        heads.append(stream.wait_head())
        stream.respond()
    server = http2.Server(answer)
    t.defer(server.stop)
    s = Telling(t, backend=common.backend("be", [server.port], (), "  protocol: HTTP2\n"))
    s.ask_http2(s.context(s.me, "h2"), TOLD, [("x-forwarded-client-cert", FORGED)])
    s.ask_http2(s.context(s.me, "h2"), SILENT, [("x-forwarded-client-cert", FORGED)])
    eq([head.all("x-forwarded-client-cert") for head in heads], [[s.told], []])


def test_a_certificate_of_other_authorities_says_nothing(t):
    s = Telling(t)
    stranger = s.others.issue("me", ["URI:spiffe://example.com/me"])
    eq(len(s.ask(s.context(stranger), OTHER)), 1)
    eq(s.ask(s.context(stranger), OTHER, TOLD), [])
    eq(s.ask(s.context(s.me), TOLD, OTHER), [])
    eq(s.ask(s.context(s.me), SILENT, TOLD), [s.told])  # the same authorities


def test_trusted_proxies_tell_of_their_clients(t):
    s = Telling(t, ["--trusted-proxies", "127.0.0.1"])
    fields = [("x-forwarded-client-cert", FORGED), ("x-forwarded-for", "192.0.2.1")]
    eq(s.ask(s.context(s.me), TOLD, fields=fields), [FORGED, s.told])
    eq(s.ask(s.context(s.me), SILENT, fields=fields), [FORGED])
    eq(t.request(s.headrace.port, "GET", "/v1/x", [("host", TOLD)] + fields).status, 200)
    eq(s.seen(), [FORGED])


def test_no_name_of_a_certificate_passes_for_another(t):
    s = Telling(t)
    odd = s.clients.issue('a";URI=spiffe://example.com/admin;X="', ["URI:http://x.test/?a=1"])
    value = s.ask(s.context(odd), TOLD)[0]
    contains(value, ';Subject="CN=a\\22\\;URI=spiffe:')
    eq(value.count('"'), 4)
    contains(value, ';URI="http://x.test/?a=1"')


if __name__ == "__main__":
    main(globals())
