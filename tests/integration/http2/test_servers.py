#!/usr/bin/env python3
"""HTTP/2 servers that break the rules, flood, or never end what they began: the request fails or
goes elsewhere, memory is bounded, and other servers' answers are none the worse."""

import struct
import threading

from sides import H2Server, http2, respond, rss_kb, sanitized, settled
from common import backend, route
from harness import contains, eq, main
import hpack

OK = [(":status", "200"), ("content-type", "text/plain")]
MANY = 3000
GROWTH_KB = 8192


class Setup:
    """Two backends, each with one HTTP/2 server: /v1/bad is the one under test."""

    def __init__(self, t, misbehave, **more):
        self.t = t
        self.bad = H2Server(misbehave, **more)
        self.good = H2Server(lambda call: respond(call, 200, b"fine"))
        for one in (self.bad, self.good):
            t.defer(one.stop)
        extra = "  protocol: HTTP2\n  timeouts: {firstToken: 2s, betweenTokens: 2s}\n"
        self.headrace = t.headrace({"all.yaml": "---".join([
            backend("bad", [self.bad.port], (), extra),
            backend("good", [self.good.port], (), extra),
            route("bad", ["bad"], "    retry: {attempts: 0}\n", "/v1/bad"),
            route("good", ["good"], "", "/v1/good")])}, ["--workers", "1"])
        self.client = http2.connect(self.headrace.port, log=t.log)
        t.defer(self.client.close)
        self.before = rss_kb(self.headrace)

    def ask(self):
        return self.client.request("GET", "/v1/bad")

    def others_are_served(self):
        stream = self.client.request("GET", "/v1/good")
        eq(stream.wait_head()[":status"], "200")
        eq(stream.wait_end(), b"fine")
        if not sanitized():
            grown = rss_kb(self.headrace) - self.before
            assert grown < GROWTH_KB, "grown by %d KB" % grown
        settled(self.headrace)


def raw(*frames):
    def misbehave(call):
        call.stream.conn.send_raw(b"".join(make(call.stream.id) for make in frames))
    return misbehave


def head(fields, end=False, flags=http2.END_HEADERS):
    def make(number):
        return http2.frame(http2.HEADERS, flags | (http2.END_STREAM if end else 0), number,
                           hpack.encode(fields))
    return make


def data(payload, end=False):
    return lambda number: http2.frame(http2.DATA, int(end), number, payload)


# What a server sends instead of an answer, each of which is a 502.
MALFORMED = {
    "payload before the head": raw(data(b"x")),
    "no status": raw(head([("x", "y")])),
    "a status that is none": raw(head([(":status", "2x0")], True)),
    "two statuses": raw(head([(":status", "200"), (":status", "500")], True)),
    "a pseudo field of requests": raw(head([(":status", "200"), (":path", "/")], True)),
    "an upper-case name": raw(head([(":status", "200"), ("X", "y")], True)),
    "a line end in a value": raw(head([(":status", "200"), ("x", "a\r\ny: b")], True)),
    "transfer-encoding": raw(head([(":status", "200"), ("transfer-encoding", "chunked")])),
    "switching protocols": raw(head([(":status", "101")])),
    "an interim head that ends": raw(head([(":status", "103")], True)),
    "two lengths": raw(head(OK + [("content-length", "1")] * 2), data(b"x", True)),
    "a length where nothing follows": raw(head(OK + [("content-length", "5")], True)),
    "a field of 100 KB": raw(
        head(OK + [("x", "y" * 16000)], flags=0),
        *[lambda number: http2.frame(http2.CONTINUATION, 0, number,
                                     hpack.literal("x", "y" * 16000))] * 6,
        lambda number: http2.frame(http2.CONTINUATION, http2.END_HEADERS, number, b"")),
    "a thousand fields": raw(head(OK + [("a", "b")] * 1000, True)),
    "bytes that are no HPACK": raw(lambda number: http2.frame(
        http2.HEADERS, http2.END_HEADERS, number, b"\xff\xff\xff\xff\xff\xff")),
    "a frame that is too large": raw(lambda number: http2.frame(
        http2.DATA, 0, number, b"x" * 16385)),
    "a frame of stream 0": raw(lambda number: http2.frame(http2.DATA, 0, 0, b"x")),
    "a pushed stream": raw(lambda number: http2.frame(
        http2.PUSH_PROMISE, http2.END_HEADERS, number, struct.pack(">I", 2) + hpack.encode(OK))),
    "a stream that nobody opened": raw(lambda number: http2.frame(
        http2.HEADERS, http2.END_HEADERS, number + 2, hpack.encode(OK))),
    "a window that overflows": raw(lambda number: http2.frame(
        http2.WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7fffffff)) * 2),
    "a window of nothing": raw(lambda number: http2.frame(
        http2.WINDOW_UPDATE, 0, number, struct.pack(">I", 0))),
    "a PING of seven bytes": raw(lambda number: http2.frame(http2.PING, 0, 0, b"1234567")),
    "an answer in HTTP/1": raw(lambda number: b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    "a reset": lambda call: call.stream.cancel(http2.INTERNAL_ERROR),
    "the end of the connection": lambda call: call.stream.conn.close(),
    "GOAWAY with an error": lambda call: (call.stream.conn.goaway(0, http2.INTERNAL_ERROR),
                                          call.stream.conn.close()),
}


def test_malformed_answers(t):
    current = []
    setup = Setup(t, lambda call: current[0](call))
    for what, misbehave in MALFORMED.items():
        t.log("row: %s" % what)
        current[:] = [misbehave]
        stream = setup.ask()
        try:
            status = stream.wait_head()[":status"]
            body = stream.wait_end()
        except http2.Http2Error as error:
            raise AssertionError("%s: %s" % (what, error)) from None
        eq(status, "502", what)
        contains(body, b'"code":"upstream_', what)
        setup.others_are_served()


def test_more_than_was_announced(t):
    """The head had gone out: the client sees that the answer is not whole."""
    setup = Setup(t, raw(head(OK + [("content-length", "3")]), data(b"ab"), data(b"cdef", True)))
    stream = setup.ask()
    eq(stream.wait_head().get(":status"), "200")
    stream.wait_reset()
    eq(stream.ended, False)
    setup.others_are_served()


def test_less_than_was_announced(t):
    setup = Setup(t, raw(head(OK + [("content-length", "5")]), data(b"x", True)))
    stream = setup.ask()
    eq(stream.wait_head().get(":status"), "200")
    stream.wait_reset()
    eq(stream.ended, False)
    setup.others_are_served()


def test_trailers_that_are_malformed(t):
    setup = Setup(t, raw(head(OK), data(b"ab"), head([(":status", "200")], True)))
    stream = setup.ask()
    eq(stream.wait_head().get(":status"), "200")
    stream.wait_reset()
    setup.others_are_served()


def test_interim_heads_for_ever(t):
    def misbehave(call):
        for _ in range(MANY):
            call.interim(103, [("x", "y" * 100)])
    setup = Setup(t, misbehave)
    stream = setup.ask()
    head_of = stream.wait_head()
    eq(head_of[":status"], "502")
    setup.others_are_served()


def test_a_head_that_never_ends(t):
    def misbehave(call):
        conn = call.stream.conn
        conn.send_raw(head(OK, flags=0)(call.stream.id))
        for i in range(MANY):
            conn.send_frame(http2.CONTINUATION, 0, call.stream.id,
                            hpack.literal("x-%d" % i, "y" * 1000))
    setup = Setup(t, misbehave)
    stream = setup.ask()
    eq(stream.wait_head()[":status"] in ("502", "504"), True)
    setup.others_are_served()


def flood(make):
    def misbehave(call):
        for i in range(MANY):
            call.stream.conn.send_raw(make(call.stream.id, i))
        call.stream.respond(200, b"late")
    return misbehave


FLOODS = {
    "PING": lambda number, i: http2.frame(http2.PING, 0, 0, b"12345678"),
    "SETTINGS": lambda number, i: http2.frame(http2.SETTINGS, 0, 0),
    "empty DATA": lambda number, i: http2.frame(http2.DATA, 0, number),
    "WINDOW_UPDATE": lambda number, i: http2.frame(http2.WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
    "PRIORITY": lambda number, i: http2.frame(http2.PRIORITY, 0, number, b"\0\0\0\0\7"),
    "resets of streams that are over": lambda number, i: http2.frame(
        http2.RST_STREAM, 0, max(number - 2, 1), b"\0\0\0\0"),
    "frames of no kind": lambda number, i: http2.frame(99, 0, 0, b"x" * 100),
}


def test_floods_cost_no_memory(t):
    """They may end in an answer or in a 502: what matters is that nothing grows."""
    current = []
    setup = Setup(t, lambda call: current[0](call))
    for what, make in FLOODS.items():
        t.log("row: %s" % what)
        current[:] = [flood(make)]
        stream = setup.ask()
        assert stream.wait_head()[":status"] in ("200", "502", "504"), what
        setup.others_are_served()


def test_a_server_that_does_not_read(t):
    """What is to be sent to it waits in the client's hands, not in ours."""
    stop = threading.Event()
    setup = Setup(t, lambda call: stop.wait(60))
    t.defer(stop.set)
    setup.bad.server.more.update(windows=False)
    streams = [setup.client.request("POST", "/v1/bad", [], b"", end=False) for _ in range(10)]
    for stream in streams:
        stream.send(b"x" * 60000)
    setup.client.ping()
    good = setup.client.request("GET", "/v1/good")
    eq(good.wait_end(), b"fine")
    for stream in streams:
        stream.cancel()
    setup.others_are_served()


def test_an_answer_that_stops(t):
    def misbehave(call):
        call.head(200)
        call.send(b"x")
        call.wait_abort()
    setup = Setup(t, misbehave)
    stream = setup.ask()
    eq(stream.wait_head()[":status"], "200")
    stream.wait_reset()
    eq(stream.ended, False)
    setup.others_are_served()


if __name__ == "__main__":
    main(globals())
