"""Clients and servers that speak HTTP/1 or HTTP/2, in the clear or over TLS, and look alike, so
that one test runs over all of them.

    case = Case(t, Wire("h2", "h1"), handler)  # client, server; handler(call) answers each request
    ask = case.ask("POST", "/v1/x", body=b"…")
    eq(ask.status(), 200)
    eq(ask.rest(), b"…")
"""

import functools
import json
import os
import sys
import time
import typing

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "proxy")]
import certs  # noqa: E402
import http2  # noqa: E402
from common import backend, route  # noqa: E402
from harness import BUILD, eq, eventually, free_port  # noqa: E402
from http1 import PATIENCE, Event, Headers, HttpError  # noqa: E402
from upstream import Upstream  # noqa: E402

VERSIONS = ("h1", "h2")
ALPN = {"h1": "http/1.1", "h2": "h2"}
NAME = "test"  # of the authority that is asked, and in the certificate


class Wire(typing.NamedTuple):
    """What is spoken on either side; TLS on both or on none."""
    client: str
    server: str
    tls: bool = False

    @property
    def scheme(self):
        return "https" if self.tls else "http"

    def client_context(self):
        return certs.client(certs.authority(), (ALPN[self.client],)) if self.tls else None

    def server_context(self):
        made = certs.issued("DNS:" + NAME) if self.tls else None
        return certs.server(made, alpn=(ALPN[self.server],)) if self.tls else None


# ---- servers ------------------------------------------------------------------------------------

class H1Call:
    """A request that came to a server over HTTP/1."""

    def __init__(self, peer, line, fields):
        self.peer = peer
        self.method, self.path, _ = line.split(" ", 2)
        self.fields = Headers(fields)
        self.trailers = None
        self.chunked_body = self.fields.get("transfer-encoding") == "chunked"
        self.left = int(self.fields.get("content-length", "0"))
        self.in_chunk = 0
        self.ended = not self.chunked_body and self.left == 0
        self.chunked = False
        self.gone = False

    @property
    def authority(self):
        return self.fields["host"]

    def read(self):
        """A piece of the body; b"" at its end."""
        if self.ended:
            return b""
        if not self.chunked_body:
            if not self.peer.buffer:
                self.peer._fill()
            piece = self.peer._take(min(self.left, len(self.peer.buffer)))
            self.left -= len(piece)
            self.ended = self.left == 0
            return piece
        size = int(self.peer._until(b"\r\n"), 16)
        if size == 0:
            lines = iter(lambda: self.peer._until(b"\r\n"), b"")
            self.trailers = Headers([tuple(x.strip() for x in line.decode().split(":", 1))
                                     for line in lines])
            self.ended = True
            return b""
        piece = self.peer._exactly(size)
        self.peer._exactly(2)
        return piece

    def body(self):
        return b"".join(iter(self.read, b""))

    def interim(self, status, fields=()):
        self.peer.send(b"HTTP/1.1 %d X\r\n%s\r\n" % (status, _lines(fields)))

    def head(self, status=200, fields=(), length=None, end=False):
        fields = list(fields)
        if length is not None:
            fields.append(("content-length", length))
        elif not end:
            self.chunked = True
            fields.append(("transfer-encoding", "chunked"))
        self.peer.send(b"HTTP/1.1 %d X\r\n%s\r\n" % (status, _lines(fields)))

    def send(self, data):
        self.peer.send(b"%x\r\n%s\r\n" % (len(data), data) if self.chunked else data)

    def end(self, trailers=()):
        if self.chunked:
            self.peer.send(b"0\r\n%s\r\n" % _lines(trailers))

    def end_early(self):
        """Ends the answer as if it were whole."""
        self.gone = True  # the connection closes

    def break_off(self):
        self.gone = True
        self.peer.reset()

    def wait_abort(self):
        self.gone = True
        self.peer.wait_closed()


class H2Call:
    """The same over HTTP/2."""

    def __init__(self, stream):
        self.stream = stream
        head = stream.wait_head()
        self.method = head[":method"]
        self.path = head[":path"]
        self.authority = head[":authority"]
        self.fields = Headers([f for f in head.items if not f[0].startswith(":")])

    @property
    def trailers(self):
        return self.stream.trailers

    def read(self):
        return self.stream.read()

    def body(self):
        return self.stream.wait_end()

    def interim(self, status, fields=()):
        self.stream.headers([(":status", status)] + [(k.lower(), v) for k, v in fields])

    def head(self, status=200, fields=(), length=None, end=False):
        fields = [(":status", status)] + [(k.lower(), v) for k, v in fields]
        if length is not None:
            fields.append(("content-length", length))
        self.empty = length == 0 or end
        self.stream.headers(fields, end=self.empty)

    def send(self, data):
        self.stream.send(data)

    def end(self, trailers=()):
        if self.empty:
            return
        if trailers:
            self.stream.headers([(k.lower(), v) for k, v in trailers], end=True)
        else:
            self.stream.send(b"", end=True)

    def end_early(self):
        self.stream.conn.send_frame(http2.DATA, http2.END_STREAM, self.stream.id, b"x")

    def break_off(self):
        self.stream.cancel(http2.INTERNAL_ERROR)

    def wait_abort(self):
        self.stream.wait_reset()


def respond(call, status=200, body=b"", fields=(), kind="text/plain"):
    call.head(status, [("content-type", kind)] + list(fields), length=len(body))
    if body and call.method != "HEAD":
        call.send(body)
    call.end()


def stream_words(call, words, end=True):
    """A streamed completion, event by event."""
    call.head(200, [("content-type", "text/event-stream")])
    for word in words:
        call.send(token(word))
    if end:
        call.send(b"data: [DONE]\n\n")
        call.end()


def token(word):
    return b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % word.encode()


def _lines(fields):
    return b"".join(b"%s: %s\r\n" % (str(k).encode(), str(v).encode()) for k, v in fields)


class H1Server:
    def __init__(self, handler, tls=None):
        self.calls = []

        def serve(peer):
            eq(tls and peer.sock.selected_alpn_protocol(), tls and "http/1.1")
            while True:
                head = peer.read_head()
                if head is None:
                    return
                call = H1Call(peer, *head)
                self.calls.append(call)
                handler(call)
                if call.gone:
                    return
                call.body()
        self.upstream = Upstream(serve, tls=tls)
        self.port = self.upstream.port
        self.errors = self.upstream.errors
        self.stop = self.upstream.stop

    @property
    def connections(self):
        return self.upstream.connections


class H2Server:
    def __init__(self, handler, **more):
        self.calls = []

        def answer(stream):
            call = H2Call(stream)
            self.calls.append(call)
            handler(call)
        self.server = http2.Server(answer, **more)
        self.port = self.server.port
        self.errors = self.server.errors
        self.stop = self.server.stop

    @property
    def connections(self):
        return len(self.server.conns)


# ---- clients ------------------------------------------------------------------------------------

class H1Ask:
    """A request of a client over HTTP/1, on a connection of its own."""

    def __init__(self, t, port, method, path, fields, body, end, authority, **more):
        self.conn = t.connect(port, **more)
        fields = [("host", authority)] + list(fields)
        names = [name for name, _ in fields]
        self.conn.method = method
        self.chunked = not end and "content-length" not in names
        if self.chunked:
            fields.append(("transfer-encoding", "chunked"))
        elif body is not None and "content-length" not in names:
            fields.append(("content-length", len(body)))
        self.conn.send(b"%s %s HTTP/1.1\r\n%s\r\n" % (method.encode(), path.encode(),
                                                     _lines(fields)))
        if body:
            self.send(body)
        self.response = None

    def send(self, data):
        self.conn.sock.sendall(b"%x\r\n%s\r\n" % (len(data), data) if self.chunked else data)

    def finish(self, trailers=()):
        if self.chunked:
            self.conn.sock.sendall(b"0\r\n%s\r\n" % _lines(trailers))

    def interim(self):
        response = self.conn.read_head(skip_interim=False)
        return response.status, response.headers

    def status(self):
        if self.response is None:
            self.response = self.conn.read_head()
            self.pieces = self.conn._pieces(self.response,
                                            lambda: time.monotonic() + PATIENCE)
        return self.response.status

    @property
    def fields(self):
        return self.response.headers

    @property
    def trailers(self):
        return self.response.trailers

    def read(self):
        return next(self.pieces, b"")

    def rest(self):
        self.status()
        return b"".join(self.pieces)

    def whole(self):
        """(payload, whether the message ended as it should)."""
        self.status()
        got = b""
        try:
            for piece in self.pieces:
                got += piece
            return got, True
        except HttpError as error:
            if "timed out" in str(error):
                raise
            return got, False

    def abort(self):
        self.conn.reset()


class H2Ask:
    """The same as a stream of a connection that the case's requests share."""

    def __init__(self, conn, method, path, fields, body, end, authority):
        self.stream = conn.request(method, path, [(k.lower(), v) for k, v in fields], body,
                                   authority, end)
        self.head = None

    def send(self, data):
        self.stream.send(data)

    def finish(self, trailers=()):
        if trailers:
            self.stream.headers([(k.lower(), v) for k, v in trailers], end=True)
        else:
            self.stream.send(b"", end=True)

    def interim(self):
        section = self.stream.wait_section()
        return int(section[":status"]), Headers([f for f in section.items if f[0] != ":status"])

    def status(self):
        if self.head is None:
            self.head = self.stream.wait_head()
        return int(self.head[":status"])

    @property
    def fields(self):
        return self.head

    @property
    def trailers(self):
        return self.stream.trailers or Headers()

    def read(self):
        return self.stream.read()

    def rest(self):
        self.status()
        return self.stream.wait_end()

    def whole(self):
        self.status()
        conn = self.stream.conn
        conn.wait(lambda: self.stream.ended or self.stream.reset is not None, None, "its end")
        return bytes(self.stream.data), self.stream.ended

    def abort(self):
        self.stream.cancel()


# ---- both ---------------------------------------------------------------------------------------

class Case:
    """Headrace between a client of one version and servers of one version."""

    def __init__(self, t, wire, handlers, backend_extra="", route_extra="", args=(),
                 models=("m",), conn=None, headrace=None, make=None):
        self.t = t
        self.wire = wire
        handlers = handlers if isinstance(handlers, (list, tuple)) else [handlers]
        server = H1Server if wire.server == "h1" else H2Server
        make = make or (lambda handler: server(handler, tls=wire.server_context()))
        self.servers = [make(handler) for handler in handlers]
        for one in self.servers:
            t.defer(one.stop)
            t.defer(self.check_errors, one)
        if wire.server == "h2":
            backend_extra += "  protocol: HTTP2\n"
        if wire.tls:
            backend_extra += "  tls: {caRef: {name: ca}, serverName: %s}\n" % NAME
        self.manifest = (backend("be", [s.port for s in self.servers], models, backend_extra)
                         + "---" + route("r", ["be"], route_extra,
                                         spec="  tls: [{secretName: own}]" if wire.tls else ""))
        self.start(args, headrace or {})
        self.tls = wire.client_context()
        self.conn_options = conn or {}
        self.shared = None

    def start(self, args, more):
        manifests = {"all.yaml": self.manifest}
        if not self.wire.tls:
            self.headrace = self.t.headrace(manifests, args, **more)
            self.port = self.headrace.port
            return
        manifests["tls.yaml"] = (certs.secret("own", certs.issued("DNS:" + NAME)) + "---"
                                 + certs.config_map("ca", certs.authority()))
        self.port = free_port()
        self.headrace = self.t.headrace(
            manifests, ["--listen-tls", "127.0.0.1:%d" % self.port] + list(args), **more)

    @staticmethod
    def check_errors(server):
        assert not server.errors, server.errors

    def conn(self):
        """The HTTP/2 connection of this case's client."""
        if self.shared is None or self.shared.closed:
            self.shared = self.connect()
        return self.shared

    def connect(self, **more):
        conn = http2.connect(self.port, log=self.t.log, tls=self.tls, server_name=NAME,
                             **dict(self.conn_options, **more))
        self.t.defer(conn.close)
        return conn

    def ask(self, method="GET", path="/v1/x", fields=(), body=None, end=True, authority=NAME):
        fields = list(fields.items()) if isinstance(fields, dict) else list(fields)
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            fields.append(("content-type", "application/json"))
        if self.wire.client == "h1":
            return H1Ask(self.t, self.port, method, path, fields, body, end, authority,
                         tls=self.tls, server_name=NAME)
        return H2Ask(self.conn(), method, path, fields, body, end, authority)

    def chat(self, stream=False, model="m", fields=(), **more):
        return self.ask("POST", "/v1/chat/completions", fields,
                        self.t.chat_body(model=model, stream=stream, **more))

    def calls(self):
        return [call for server in self.servers for call in server.calls]


def events_of(ask):
    """Server-sent events as they come."""
    pending = b""
    while True:
        piece = ask.read()
        if not piece:
            return
        pending += piece
        while b"\n\n" in pending:
            block, pending = pending.split(b"\n\n", 1)
            yield Event(block)


def everywhere(names, behaviours, tls=(False, True)):
    """Makes test_NAME_CLIENT_to_SERVER, and the same with _tls, of each behaviour(t, wire), in
    `names`."""
    for behaviour in behaviours:
        for wire in (Wire(client, server, over_tls)
                     for over_tls in tls for client in VERSIONS for server in VERSIONS):
            def test(t, behaviour=behaviour, wire=wire):
                behaviour(t, wire)
            names["test_%s_%s_to_%s%s" % (behaviour.__name__, wire.client, wire.server,
                                          "_tls" if wire.tls else "")] = test


def both(names, behaviours):
    """The same in the clear alone, of each behaviour(t, client, server)."""
    def of_wire(behaviour):
        @functools.wraps(behaviour)
        def on(t, wire):
            behaviour(t, wire.client, wire.server)
        return on
    everywhere(names, map(of_wire, behaviours), tls=(False,))


def rss_kb(process):
    with open("/proc/%d/status" % process.pid) as file:
        for line in file:
            if line.startswith("VmRSS"):
                return int(line.split()[1])
    return 0


def sanitized():
    """Freed memory is kept back by a sanitizer, so that sizes say nothing."""
    return "asan" in BUILD or "tsan" in BUILD


def settled(headrace):
    """Waits until no endpoint has a request of ours any more."""
    def nothing():
        held = [value for key, value in headrace.metrics().items()
                if key.startswith("headrace_endpoint_outstanding_requests{")]
        return held and not any(held)
    eventually(nothing, what="every reservation is released")
