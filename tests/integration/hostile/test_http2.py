#!/usr/bin/env python3
"""Floods, bombs and stalls that HTTP/2 makes possible: the connection ends, others are served
meanwhile, memory is bounded, and there is a count of it."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hostile import Bystander, Growth, eq, eventually, main  # noqa: E402
import frames  # noqa: E402
from common import ok_either, serve_all, setup  # noqa: E402
from frames import BareClient, frame, headers, setting  # noqa: E402
from hpack import encode, integer  # noqa: E402

MEGABYTE = 1 << 20
FAST = ["--header-timeout", "500ms", "--body-timeout", "500ms", "--write-timeout", "1s",
        "--idle-timeout", "2s"]
GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/v1/x"), (b":authority", b"a")]
POST = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/v1/completions"),
        (b":authority", b"a")]


def metric(headrace, name):
    return headrace.metrics()[name]


def flood(client, make, count=20000, batch=200):
    """Sends make(0), make(1) … until the connection ends. How many were taken."""
    for at in range(0, count, batch):
        try:
            client.conn.sock.settimeout(10)
            client.conn.sock.sendall(b"".join(make(i) for i in range(at, at + batch)))
        except OSError:
            return at
    return count


def rapid_reset(i):
    return (headers(2 * i + 1, GET, end=True)
            + frame(frames.RST_STREAM, 0, 2 * i + 1, b"\x00\x00\x00\x08"))


FLOODS = [
    # (what, what comes first, what comes again and again)
    ("rapid resets", b"", rapid_reset),
    ("PING", b"", lambda i: frame(frames.PING, 0, 0, b"12345678")),
    ("SETTINGS", b"", lambda i: frame(
        frames.SETTINGS, 0, 0, setting(frames.INITIAL_WINDOW_SIZE, 65535 + i % 2))),
    ("empty SETTINGS", b"", lambda i: frame(frames.SETTINGS, 0, 0)),
    ("PRIORITY", b"", lambda i: frame(frames.PRIORITY, 0, 2 * i + 1, b"\x00\x00\x00\x00\x10")),
    ("WINDOW_UPDATE", b"", lambda i: frame(frames.WINDOW_UPDATE, 0, 0, b"\x00\x00\x00\x01")),
    ("empty CONTINUATION", frame(frames.HEADERS, 0, 1, encode(GET)),
     lambda i: frame(frames.CONTINUATION, 0, 1)),
    ("full CONTINUATION", frame(frames.HEADERS, 0, 1, encode(GET)),
     lambda i: frame(frames.CONTINUATION, 0, 1, encode([(b"x", b"y" * 100)]) * 50)),
    ("empty DATA", headers(1, POST), lambda i: frame(frames.DATA, 0, 1)),
    ("DATA of padding alone", headers(1, POST),
     lambda i: frame(frames.DATA, 8, 1, b"\x03\0\0\0")),
    ("DATA for a stream that was reset", headers(1, POST + POST),
     lambda i: frame(frames.DATA, 0, 1, b"x")),
    ("trailers for a stream that was reset", headers(1, POST + POST),
     lambda i: headers(1, [(b"x", b"y")], end=True)),
    ("frames of no known kind", b"", lambda i: frame(0xbe, 0, 0, b"x" * 100)),
    ("empty frames of no known kind", b"", lambda i: frame(0xbe, 255, i)),
    ("PRIORITY_UPDATE", b"", lambda i: frame(0x10, 0, 0, b"\0\0\0\x01u=1")),
    ("ALTSVC", b"", lambda i: frame(0x0a, 0, 0, b"\0\0")),
    ("requests that are malformed", b"", lambda i: headers(2 * i + 1, GET + GET, end=True)),
]


def test_floods(t):
    headrace, (server,) = setup(t, [serve_all(ok_either)])
    failed = []
    with Bystander(headrace), Growth(headrace, 32 * MEGABYTE):
        for what, first, make in FLOODS:
            t.log("row: %s" % what)
            client = BareClient(t, headrace.port)
            client.send(first)
            sent = flood(client, make)
            code = client.last_word()
            client.close()
            if code not in (None, frames.ENHANCE_YOUR_CALM, frames.PROTOCOL_ERROR) or sent >= 20000:
                failed.append("%s: %d were taken, code %r" % (what, sent, code))
    eq(failed, [])
    eq(metric(headrace, "headrace_http2_floods_total") >= len(FLOODS) // 2, True)
    eventually(lambda: server.open <= 4, what="nothing of it goes on at the server")


def test_frames_of_no_known_kind_are_skipped(t):
    """They mean nothing (RFC 9113 section 5.5), and do not keep a connection from being idle."""
    headrace, (server,) = setup(t, [serve_all(ok_either)], args=FAST)
    client = BareClient(t, headrace.port)
    flood(client, lambda i: frame(0xbe, 0, 0, b"x" * 100), 400)
    client.send(frame(0x0a, 0, 0) + frame(0x10, 0, 0, b"\0\0\0\x01u=1"))
    eq(client.ask(1, POST, b'{"model":"m"}')[0], 200)
    eq(client.last_word(), 0)
    eq(metric(headrace, "headrace_http2_floods_total"), 0)


def test_many_flooding_connections(t):
    headrace, (server,) = setup(t, [serve_all(ok_either)])
    with Bystander(headrace), Growth(headrace, 48 * MEGABYTE):
        clients = [BareClient(t, headrace.port) for _ in range(20)]
        t.parallel([lambda client=client: flood(client, rapid_reset, 5000) for client in clients])
        for client in clients:
            client.close()
    eq(metric(headrace, "headrace_http2_floods_total") >= 10, True)


def test_bombs_in_header_compression(t):
    """One field of 3 KB, named again by one byte each: what is unpacked counts, not what came."""
    headrace, (server,) = setup(t, [serve_all(ok_either)])
    big = b"\x40" + integer(1, 7) + b"x" + integer(3000, 7) + b"y" * 3000
    with Bystander(headrace), Growth(headrace, 16 * MEGABYTE):
        for count in (20, 1000, 16000):
            client = BareClient(t, headrace.port)
            block = encode(GET) + big + b"\xbe" * count
            client.send(frames.headers_frames(1, block, end=True))
            status, detail = client.answer(1)
            eq(status in (431, 0), True, "%d times: %r %r" % (count, status, detail))
            client.close()
    # A table that the client wants to be large is not.
    client = BareClient(t, headrace.port, setting(frames.HEADER_TABLE_SIZE, 0x7fffffff))
    client.send(frame(frames.HEADERS, 5, 1, b"\x3f\xe1\xff\xff\xff\x07" + encode(GET)))
    eq(client.answer(1)[0], 0)


def large(peer, request):
    if request.target == "/v1/large":
        peer.json(b'{"x":"' + b"y" * (2 * MEGABYTE) + b'"}')
    else:
        ok_either(peer, request)


LARGE = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/v1/large"),
         (b":authority", b"a")]


def stalled(t, settings, dribble):
    """A hundred streams whose client opens no window, or a byte at a time."""
    headrace, (server,) = setup(t, [serve_all(large)], args=FAST, models=())
    with Bystander(headrace), Growth(headrace, 64 * MEGABYTE):
        client = BareClient(t, headrace.port, settings)
        client.send(b"".join(headers(2 * i + 1, LARGE, end=True) for i in range(100)))

        def all_gone():
            try:
                client.conn.sock.sendall(dribble)
            except OSError:
                pass
            return metric(headrace,
                          'headrace_request_outcomes_total{outcome="client_stalled"}') >= 100
        eventually(all_gone, 30, "streams that nobody reads are given up", interval=0.3)
    client.close()
    eventually(lambda: server.open <= 4, what="their answers are given up")


def test_windows_that_stay_shut(t):
    stalled(t, setting(frames.INITIAL_WINDOW_SIZE, 0), b"")


def test_connection_window_that_stays_shut(t):
    stalled(t, setting(frames.INITIAL_WINDOW_SIZE, 0x7fffffff), b"")


MANY = frames.frame(frames.WINDOW_UPDATE, 0, 0, b"\x7f\xff\0\0")
NEVER_READS = [
    ("PING", lambda i: frame(frames.PING, 0, 0, b"12345678")),
    ("SETTINGS", lambda i: frame(
        frames.SETTINGS, 0, 0, setting(frames.INITIAL_WINDOW_SIZE, 0x7fffffff - i % 2))),
    ("requests", lambda i: headers(2 * i + 1001, LARGE, end=True)),
    ("requests for which there is no route",
     lambda i: headers(2 * i + 1001, GET[:2] + [(b":path", b"/none")] + GET[3:], end=True)),
]


def test_a_client_that_never_reads(t):
    """Whatever it goes on to say is not read either, and what waits for it is bounded."""
    headrace, _ = setup(t, [serve_all(large)], args=FAST, models=())
    with Growth(headrace, 64 * MEGABYTE):
        for what, make in NEVER_READS:
            t.log("row: %s" % what)
            with Bystander(headrace):
                client = BareClient(t, headrace.port,
                                    setting(frames.INITIAL_WINDOW_SIZE, 0x7fffffff))
                client.send(MANY + b"".join(headers(2 * i + 1, LARGE, end=True)
                                                 for i in range(100)))
                flood(client, make, 20000)
            eventually(lambda: metric(headrace, "headrace_connections_open") == 0, 30,
                       "%s: the connection is ended" % what)
            client.close()


def test_hints_for_a_client_that_never_reads(t):
    """A server and a client who work together: interim answers, which no window holds back."""
    hint = b"HTTP/1.1 103 Early Hints\r\nlink: %s\r\n\r\n" % (b"x" * 16000)
    sent = []

    def hints(peer, request):
        if request.target == "/v1/x":
            for _ in range(50):
                peer.send(hint * 10)
            sent.append(1)
        ok_either(peer, request)
    # Not FAST: a connection that is ended for not reading would take the servers' with it.
    headrace, _ = setup(t, [serve_all(hints)], models=())
    with Bystander(headrace), Growth(headrace, 48 * MEGABYTE):
        client = BareClient(t, headrace.port)
        client.send(b"".join(headers(2 * i + 1, GET, end=True) for i in range(40)))
        eventually(lambda: len(sent) == 40, 30, "all hints are taken from the server")
    client.close()


def test_head_that_never_ends(t):
    headrace, (server,) = setup(t, [serve_all(ok_either)], args=FAST)
    clients = [BareClient(t, headrace.port) for _ in range(50)]
    with Bystander(headrace), Growth(headrace, 16 * MEGABYTE):
        for client in clients:
            client.send(frame(frames.HEADERS, 0, 1, encode(GET)))
        for client in clients:
            client.last_word()
    eq(metric(headrace, "headrace_http2_connections_total"), 50)


def test_bodies_that_never_end(t):
    headrace, (server,) = setup(t, [serve_all(ok_either)], args=FAST)
    client = BareClient(t, headrace.port)
    with Bystander(headrace), Growth(headrace, 16 * MEGABYTE):
        client.send(b"".join(headers(2 * i + 1, POST) + frame(frames.DATA, 0, 2 * i + 1, b"{")
                                  for i in range(100)))
        eventually(lambda: metric(
            headrace, 'headrace_request_outcomes_total{outcome="body_timeout"}') >= 100, 10,
            "slow bodies are cut")
    eq(client.answer(1)[0], 408)


def test_streams_beyond_the_limit_are_refused(t):
    headrace, (server,) = setup(t, [serve_all(ok_either)], args=["--http2-max-streams", "10"])
    client = BareClient(t, headrace.port)
    client.send(b"".join(headers(2 * i + 1, POST) for i in range(12)))
    eq(client.answer(23), (0, frames.REFUSED_STREAM))
    client.send(frame(frames.DATA, 1, 1, b'{"model":"m"}'))
    eq(client.answer(1)[0], 200)


if __name__ == "__main__":
    main(globals())
