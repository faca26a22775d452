#!/usr/bin/env python3
"""WebSocket over HTTP/2, from clients and servers that mean harm: what is no tunnel never becomes
one, nothing is taken for a tunnel's bytes before it is open, and memory is bounded."""

import base64
import hashlib
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hostile import LOG_LINE, Bystander, Growth, eq, eventually, main  # noqa: E402
from common import backend, ok_either, route, serve_all, setup, upstream  # noqa: E402
import frames  # noqa: E402
import http2  # noqa: E402
from frames import BareClient, frame, headers  # noqa: E402

MEGABYTE = 1 << 20
PATH = "/v1/realtime"
CONNECT = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"),
           (b":path", PATH.encode()), (b":authority", b"a")]
KEY, GUID = "sec-websocket-key", "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
RESET = (0, frames.PROTOCOL_ERROR)


def without(name):
    return [field for field in CONNECT if field[0] != name]


def instead(name, value):
    return [(key, value if key == name else was) for key, was in CONNECT]


def switch(request, more=b""):
    digest = hashlib.sha1((request.get(KEY) + GUID).encode()).digest()
    return (b"HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            b"sec-websocket-accept: %s\r\n%s\r\n" % (base64.b64encode(digest), more))


def tunnel(say):
    """A server over HTTP/1 that opens a tunnel, and then say(peer)."""
    def handler(peer):
        request = peer.read_request()
        if request is not None:
            peer.send(switch(request))
            say(peer)
    return handler


ASKED = [
    # (what, fields, whether the stream ends with them, status or RESET)
    ("plain CONNECT", [(b":method", b"CONNECT"), (b":authority", b"a:80")], False, 400),
    ("plain CONNECT with a path", without(b":protocol"), False, RESET),
    ("an unknown protocol", instead(b":protocol", b"connect-udp"), False, 501),
    ("a protocol that is longer", instead(b":protocol", b"websocket, x"), False, 501),
    ("no protocol's name", instead(b":protocol", b""), False, (400, 501, RESET)),
    ("two protocols", CONNECT[:2] + CONNECT[1:], False, RESET),
    ("a protocol for GET", instead(b":method", b"GET"), True, RESET),
    ("a protocol for POST", instead(b":method", b"POST"), False, RESET),
    ("no path", without(b":path"), False, RESET),
    ("no scheme", without(b":scheme"), False, RESET),
    ("no authority", without(b":authority"), False, RESET),
    ("host instead of an authority", without(b":authority") + [(b"host", b"a")], False, RESET),
    ("another host", CONNECT + [(b"host", b"b")], False, 400),
    ("a star", instead(b":path", b"*"), False, (400, RESET)),
    ("an absolute path", instead(b":path", b"http://b/"), False, (400, RESET)),
    ("a line in the path", instead(b":path", b"/v1/x HTTP/1.1\r\nx: y"), False, (400, RESET)),
    ("the protocol last", without(b":protocol") + [(b"x", b"y"), (b":protocol", b"websocket")],
     False, RESET),
    ("upgrade", CONNECT + [(b"upgrade", b"websocket")], False, (400, RESET)),
    ("connection", CONNECT + [(b"connection", b"upgrade")], False, (400, RESET)),
    ("a coding", CONNECT + [(b"transfer-encoding", b"chunked")], False, (400, RESET)),
    ("a length", CONNECT + [(b"content-length", b"5")], False, 400),
    ("a length of nothing", CONNECT + [(b"content-length", b"0")], False, 400),
    ("an end", CONNECT, True, 400),
]


def test_what_is_no_tunnel(t):
    headrace, (server,) = setup(t, [serve_all(ok_either)], models=())
    failed = []
    for what, fields, end, want in ASKED:
        t.log("row: %s" % what)
        client = BareClient(t, headrace.port)
        client.send(headers(1, fields, end))
        got = client.answer(1)
        got = got if got[0] == 0 else got[0]
        if got != want and not (isinstance(want, tuple) and want != RESET and got in want):
            failed.append("%s: %r, not %r" % (what, got, want))
        client.close()
    eq(failed, [])
    eq(server.requests, [])
    eq(headrace.metrics()["headrace_upgrades_total"], 0)


SMUGGLED = b"GET /v1/smuggled HTTP/1.1\r\nhost: a\r\n\r\n"


def test_bytes_for_a_tunnel_that_never_opens_go_nowhere(t):
    """They are no next request, neither to the server that declined nor here."""
    headrace, (server,) = setup(t, [serve_all(lambda peer, _: peer.json(status="403 X"))],
                                models=())
    for _ in range(5):
        client = BareClient(t, headrace.port)
        client.send(headers(1, CONNECT) + frame(frames.DATA, 0, 1, SMUGGLED))
        eq(client.answer(1)[0], 403)
        client.close()
        eq(t.request(headrace.port, "GET", "/v1/x").status, 403)
    eq({request.target for request in server.requests}, {PATH, "/v1/x"})


def test_bytes_ahead_of_a_tunnel_are_limited(t):
    """A server that never answers: each stream may say a little, its window stays shut."""
    def silent(peer):
        if peer.read_request() is not None:
            peer.wait_closed()

    good = upstream(t, serve_all(ok_either))
    bad = upstream(t, silent)
    text = "---".join([backend("be", [good.port]), route("r", ["be"]),
                       backend("bad", [bad.port], ()), route("b", ["bad"], path=PATH)])
    headrace = t.headrace({"a.yaml": text})
    # The connection's window is 1 MiB at first.
    with Bystander(headrace), Growth(headrace, 24 * MEGABYTE):
        for _ in range(5):
            client = BareClient(t, headrace.port)
            client.send(b"".join(headers(2 * i + 1, CONNECT) for i in range(40)))
            client.send(b"".join(frame(frames.DATA, 0, 2 * i + 1, b"x" * 4096) * 4
                                      for i in range(40)))
            client.send(frame(frames.DATA, 0, 1, b"y"))
            eq(client.answer(1)[0], 413)
            client.send(frame(frames.RST_STREAM, 0, 3, b"\0\0\0\x08"))
            client.close()
    eventually(lambda: bad.open == 0, what="the server is left alone")


def test_trailers_instead_of_bytes(t):
    headrace, (server,) = setup(t, [tunnel(lambda peer: peer.wait_closed())], models=())
    client = BareClient(t, headrace.port)
    client.send(headers(1, CONNECT))
    client.send(headers(1, [(b"x", b"y")], end=True))
    status, detail = client.answer(1)
    eq((status, detail) == RESET or status == 200, True, repr((status, detail)))
    eventually(lambda: server.open == 0, what="the server hears of it")


def test_tunnels_that_nobody_reads(t):
    """Servers that pour into tunnels of clients whose windows are shut."""
    def pour(peer):
        try:
            while True:
                peer.send(b"x" * 65536)
        except OSError:
            pass

    good, bad = upstream(t, serve_all(ok_either)), upstream(t, tunnel(pour))
    text = "---".join([backend("be", [good.port]), route("r", ["be"]),
                       backend("bad", [bad.port], ()), route("b", ["bad"], path=PATH)])
    headrace = t.headrace({"a.yaml": text}, ["--write-timeout", "1s"])
    with Bystander(headrace), Growth(headrace, 64 * MEGABYTE):
        client = BareClient(t, headrace.port, frames.setting(4, 0))
        client.send(b"".join(headers(2 * i + 1, CONNECT) for i in range(100)))
        eventually(lambda: headrace.metrics()["headrace_upgrades_total"] == 100,
                   what="all are open")
        headrace.wait_output(LOG_LINE.replace("=", '":"') % "client_stalled", count=100,
                             timeout=20)
    eventually(lambda: bad.open == 0, what="the servers are let go")


def test_floods_of_tunnels(t):
    """Opened and given up at once, as with other streams."""
    headrace, (server,) = setup(t, [tunnel(lambda peer: peer.wait_closed())], models=())
    client = BareClient(t, headrace.port)
    client.conn.sock.settimeout(10)
    taken = 0
    with Growth(headrace, 32 * MEGABYTE):
        try:
            for at in range(0, 20000, 200):
                client.conn.sock.sendall(b"".join(
                    headers(2 * i + 1, CONNECT) + frame(frames.RST_STREAM, 0, 2 * i + 1,
                                                        b"\0\0\0\x08")
                    for i in range(at, at + 200)))
                taken = at
        except OSError:
            pass
        eq(client.last_word() in (None, frames.ENHANCE_YOUR_CALM), True)
    eq(taken < 20000, True)
    eventually(lambda: server.open == 0, what="nothing of it goes on at the server")


LIES = [
    # (what, more fields of a 101, or all that is said)
    ("a length", lambda q: switch(q, b"content-length: 5\r\n")),
    ("a coding", lambda q: switch(q, b"transfer-encoding: chunked\r\n")),
    ("two protocols", lambda q: switch(q, b"upgrade: h2c\r\n")),
    ("no protocol", lambda q: switch(q).replace(b"upgrade: websocket\r\n", b"")),
    ("no acceptance", lambda q: switch(q).replace(b"sec-websocket-accept", b"x-accept")),
    ("another key's", lambda q: switch(q).replace(b"accept: ", b"accept: A")),
    ("twice", lambda q: switch(q, b"Sec-WebSocket-Accept: x\r\n")),
    ("HTTP/1.0", lambda q: switch(q).replace(b"HTTP/1.1", b"HTTP/1.0")),
    ("200", lambda q: switch(q).replace(b" 101 ", b" 200 ")),
    ("204", lambda q: b"HTTP/1.1 204 X\r\n\r\n"),
    ("206", lambda q: b"HTTP/1.1 206 X\r\ncontent-length: 1\r\n\r\nx"),
]


def test_switches_that_lie(t):
    script = {}

    def handler(peer):
        request = peer.read_request()
        if request is not None:
            peer.send(script["say"](request) + SMUGGLED)
            peer.wait_closed()

    headrace, _ = setup(t, [handler], models=())
    failed = []
    for what, say in LIES:
        t.log("row: %s" % what)
        script["say"] = say
        client = BareClient(t, headrace.port)
        client.send(headers(1, CONNECT))
        status = client.answer(1)[0]
        if status != 502:
            failed.append("%s: %r" % (what, status))
        client.close()
    eq(failed, [])
    eq(headrace.metrics()["headrace_upgrades_total"], 0)


H2_LIES = [
    ("101", lambda s: s.headers([(":status", "101")])),
    ("a coding", lambda s: s.headers([(":status", "200"), ("transfer-encoding", "chunked")])),
    ("an upgrade", lambda s: s.headers([(":status", "200"), ("upgrade", "websocket")])),
    ("no status", lambda s: s.headers([("x", "y")])),
    ("bytes first", lambda s: s.conn.send_frame(http2.DATA, 0, s.id, b"x")),
    ("an end first", lambda s: s.conn.send_frame(http2.DATA, http2.END_STREAM, s.id, b"")),
    ("a reset", lambda s: s.cancel(http2.INTERNAL_ERROR)),
    ("a GOAWAY and the end", lambda s: (s.conn.goaway(), s.conn.close())),
]


def test_servers_of_http2_that_lie(t):
    script = {}

    def answer(stream):
        stream.wait_head()
        script["say"](stream)

    server = http2.Server(answer, settings=[(8, 1)])
    t.defer(server.stop)
    text = backend("be", [server.port], (), "  protocol: HTTP2\n") + "---" + route("r", ["be"])
    headrace = t.headrace({"a.yaml": text})
    key = b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    failed = []
    for what, say in H2_LIES:
        t.log("row: %s" % what)
        script["say"] = say
        with t.connect(headrace.port) as conn:
            conn.send(b"GET %s HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n"
                      b"upgrade: websocket\r\n%s\r\n" % (PATH.encode(), key))
            answer_ = conn.read_response()
            if answer_.status != 502:
                failed.append("%s: %r" % (what, answer_.status))
    eq(failed, [])
    eq(headrace.metrics()["headrace_upgrades_total"], 0)
    eq(headrace.alive(), True)


def test_a_server_that_takes_the_setting_back(t):
    def answer(stream):
        stream.wait_head()
        stream.conn.send_settings([(8, 0)])

    server = http2.Server(answer, settings=[(8, 1)])
    t.defer(server.stop)
    text = backend("be", [server.port], (), "  protocol: HTTP2\n") + "---" + route("r", ["be"])
    headrace = t.headrace({"a.yaml": text})
    client = BareClient(t, headrace.port)
    client.send(headers(1, CONNECT))
    eq(client.answer(1)[0], 502)


if __name__ == "__main__":
    main(globals())
