"""WebSocket's tunnels over HTTP/1 (RFC 6455) and HTTP/2 (RFC 8441), which look alike here.

    case = tunnel_case(t, "h2", "h1", handler)    # handler(end) gets each tunnel that is asked for
    end = open_tunnel(case)                       # an End
    end.send(b"hello")
    eq(end.exactly(5), b"hello")

Each side is an End: its version, how it says that it has no more to say, and how it gives up.
"""

import base64
import hashlib
import os
import socket
import time

import sides  # noqa: F401  (finds the others)
import http2
from harness import eq
from http1 import PATIENCE, Headers
from sides import Case, Wire
from upstream import Upstream

ENABLE_CONNECT_PROTOCOL = 8
PATH = "/v1/realtime"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_of(key):
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def new_key():
    return base64.b64encode(os.urandom(16)).decode()


def lines(fields):
    return b"".join(b"%s: %s\r\n" % (k.encode(), v.encode()) for k, v in fields)


# ---- ends ---------------------------------------------------------------------------------------

class SocketEnd:
    """Over HTTP/1: the rest of a connection. `io` is a Peer or a Connection."""

    def __init__(self, io):
        self.io = io

    def send(self, data):
        self.io.sock.sendall(data)

    def _fill(self):
        self.io.sock.settimeout(PATIENCE)
        data = self.io.sock.recv(1 << 18)
        self.io.buffer += data
        return data

    def exactly(self, count):
        while len(self.io.buffer) < count:
            assert self._fill(), "the tunnel ended at %d of %d" % (len(self.io.buffer), count)
        return bytes(self.io._take(count))

    def read(self):
        """What is there; b"" at the end."""
        if not self.io.buffer:
            self._fill()
        return bytes(self.io._take(len(self.io.buffer)))

    def end(self):
        self.io.sock.shutdown(socket.SHUT_WR)

    def wait_end(self):
        eq(self.read(), b"")

    def abort(self):
        self.io.reset()

    def wait_abort(self):
        try:
            while self.read():
                pass
        except ConnectionResetError:
            return
        raise AssertionError("an end, not a reset")

    def wait_over(self):
        """However it ends."""
        try:
            while self.read():
                pass
        except OSError:
            pass

    def push(self, total, pause=0.5):
        """Sends until the other side takes no more; the bytes sent."""
        self.io.sock.settimeout(pause)
        done = 0
        try:
            while done < total:
                done += self.io.sock.send(b"x" * min(65536, total - done))
        except OSError:
            pass
        self.io.sock.settimeout(None)
        return done


class StreamEnd:
    """Over HTTP/2."""

    def __init__(self, stream):
        self.stream = stream

    def send(self, data):
        self.stream.send(data)

    def exactly(self, count):
        return self.stream.wait_data(count)

    def read(self):
        return self.stream.read()

    def end(self):
        self.stream.send(b"", end=True)

    def wait_end(self):
        eq(self.stream.wait_end(), b"")

    def abort(self):
        self.stream.cancel()

    def wait_abort(self):
        eq(self.stream.wait_reset(), http2.CANCEL)

    def wait_over(self):
        conn = self.stream.conn
        conn.wait(lambda: self.stream.ended or self.stream.reset is not None or conn.closed, None,
                  "an end of the tunnel")

    def push(self, total, pause=0.5):
        done = 0
        try:
            while done < total:
                size = min(16384, total - done)
                self.stream.send(b"x" * size, timeout=pause)
                done += size
        except http2.Http2Error:
            pass
        return done


# ---- servers ------------------------------------------------------------------------------------

class Asked:
    """What came to a server, in either version; accept() gives the End."""

    def __init__(self, version, io, path, fields):
        self.version = version
        self.io = io
        self.path = path
        self.fields = fields

    def accept(self, more=(), first=b""):
        if self.version == "h2":
            self.io.headers([(":status", "200")] + list(more))
            end = StreamEnd(self.io)
            if first:
                end.send(first)
            return end
        fields = [("Upgrade", "websocket"), ("Connection", "Upgrade"),
                  ("Sec-WebSocket-Accept", accept_of(self.fields["sec-websocket-key"]))]
        self.io.send(b"HTTP/1.1 101 Switching Protocols\r\n%s\r\n%s"
                     % (lines(fields + list(more)), first))
        return SocketEnd(self.io)

    def answer(self, status, body=b"no"):
        """Something else than a tunnel."""
        if self.version == "h2":
            self.io.respond(status, body)
        else:
            self.io.send(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%s"
                         % (status, len(body), body))


class H1TunnelServer:
    def __init__(self, handler):
        self.asked = []

        def serve(peer):
            while True:
                head = peer.read_head()
                if head is None:
                    return
                fields = Headers(head[1])
                asked = Asked("h1", peer, head[0].split(" ")[1], fields)
                eq(head[0].split(" ")[0], "GET")
                eq(fields.get("connection").lower(), "upgrade")
                eq(fields.get("upgrade").lower(), "websocket")
                eq(len(base64.b64decode(fields["sec-websocket-key"])), 16)
                self.asked.append(asked)
                if handler(asked) != "again":
                    return
        self.upstream = Upstream(serve)
        self.port, self.errors, self.stop = (self.upstream.port, self.upstream.errors,
                                             self.upstream.stop)


class H2TunnelServer:
    def __init__(self, handler, settings=((ENABLE_CONNECT_PROTOCOL, 1),), **more):
        self.asked = []

        def answer(stream):
            head = stream.wait_head()
            eq(head[":method"], "CONNECT")
            eq(head[":protocol"], "websocket")
            for name in ("upgrade", "connection", "sec-websocket-key"):
                eq(name in head, False, name)
            asked = Asked("h2", stream, head[":path"], head)
            self.asked.append(asked)
            handler(asked)
        self.server = http2.Server(answer, settings=settings, **more)
        self.port, self.errors, self.stop = (self.server.port, self.server.errors,
                                             self.server.stop)


def tunnel_case(t, client, server, handler, **more):
    def make(one):
        return H1TunnelServer(one) if server == "h1" else H2TunnelServer(one)
    more.setdefault("models", ())
    more.setdefault("make", make)
    return Case(t, Wire(client, server), handler, **more)


def echo(asked):
    """Says everything back, its end last."""
    end = asked.accept()
    try:
        for piece in iter(end.read, b""):
            end.send(piece)
        end.end()
        end.wait_over()
    except (OSError, http2.Http2Error):
        pass


# ---- clients ------------------------------------------------------------------------------------

class Ask:
    """A client's wish for a tunnel: status(), and then `end`."""

    def __init__(self, case, path=PATH, fields=(), early=b""):
        fields = list(fields) + [("sec-websocket-version", "13")]
        self.version = case.wire.client
        self.key = new_key()
        self.early = early
        if self.version == "h2":
            conn = case.conn()
            conn.wait(lambda: ENABLE_CONNECT_PROTOCOL in conn.settings, None, "the setting")
            eq(conn.settings[ENABLE_CONNECT_PROTOCOL], 1)
            self.io = conn.open()
            self.io.headers(connect_head(path) + fields)
            if early:
                self.io.send(early)
        else:
            self.io = case.t.connect(case.port)
            own = [("host", "test"), ("connection", "keep-alive, Upgrade"),
                   ("upgrade", "WebSocket"), ("sec-websocket-key", self.key)]
            self.io.send(b"GET %s HTTP/1.1\r\n%s\r\n%s" % (path.encode(), lines(own + fields),
                                                         early))
        self.head = None

    def status(self):
        if self.version == "h2":
            self.head = self.io.wait_head()
            return int(self.head[":status"])
        response = self.io.read_head()
        self.head = response.headers
        self.response = response
        return response.status

    def rest(self):
        if self.version == "h2":
            return self.io.wait_end()
        self.io.read_body(self.response)
        return self.response.body

    def open(self):
        """The status and head of an agreement, then the End."""
        eq(self.status(), 200 if self.version == "h2" else 101)
        return self.agreed()

    def agreed(self):
        if self.version == "h2":
            for name in ("upgrade", "connection", "sec-websocket-accept", "content-length"):
                eq(name in self.head, False, name)
            return StreamEnd(self.io)
        eq(self.head.get("upgrade").lower(), "websocket")
        eq(self.head.get("connection").lower(), "upgrade")
        eq(self.head.all("sec-websocket-accept"), [accept_of(self.key)])
        return SocketEnd(self.io)


def connect_head(path=PATH, protocol="websocket", scheme="http", authority="test"):
    return [(":method", "CONNECT"), (":protocol", protocol), (":scheme", scheme),
            (":authority", authority), (":path", path)]


def open_tunnel(case, **more):
    return Ask(case, **more).open()
