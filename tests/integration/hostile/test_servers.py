#!/usr/bin/env python3
"""Inference servers that break, lie or flood: their requests fail in a way that the client can see,
in bounded memory, and other backends serve on. Anybody may run a pod."""

import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hostile import CHAT, LOG_LINE, Bystander, Connection, Growth, HttpError, contains  # noqa: E402
from hostile import eq, eventually, main  # noqa: E402
from common import backend, ok_either, route, serve_all, upstream  # noqa: E402

MEGABYTE = 1 << 20
JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
TOKEN = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def endless(first, again, pieces=2000):
    """Sends the one, and then the other until nobody takes it any more."""
    def say(peer):
        peer.send(first)
        for _ in range(pieces):
            peer.send(again)
        peer.wait_closed(30)
    return say


def start(t, extra=""):
    """A backend in the hands of the test on /evil, and a good one."""
    script = {}

    def handler(peer):
        if peer.read_request() is not None:
            script["say"](peer)

    evil, good = upstream(t, handler), upstream(t, serve_all(ok_either))
    text = "---".join([backend("be", [good.port]), route("r", ["be"]),
                       backend("evil", [evil.port], ("m",), extra),
                       route("e", ["evil"], path="/evil")])
    return t.headrace({"all.yaml": text}), evil, script


def ask(headrace, stream=False, timeout=20):
    """(status, body, whole?) of an answer."""
    with Connection(headrace.port, timeout=timeout) as conn:
        conn.send_request("POST", "/evil/v1/chat/completions", body=dict(CHAT, stream=stream))
        answer = conn.read_head()
        try:
            conn.read_body(answer)
        except HttpError as error:
            contains(str(error), "closed")  # cut: neither left hanging nor garbled
        return answer.status, answer.body, answer.complete


NO_ANSWER = [
    # (what, what the server does): the client gets a 502
    ("endless header lines", endless(JSON, b"x: y\r\n" * 1000)),
    ("an endless header line", endless(JSON + b"x: ", b"y" * 10000)),
    ("an endless status line", endless(b"HTTP/1.1 200 ", b"y" * 10000)),
    ("endless empty lines", endless(b"\r\n", b"\r\n" * 1000)),
    ("endless interim answers", endless(b"", b"HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n" * 100)),
    ("endless noise", endless(b"", b"\x00" * 10000)),
    ("an endless chunk size", endless(JSON + CHUNKED, b"0" * 10000)),
    ("an endless chunk extension", endless(JSON + CHUNKED + b"1;", b"x" * 10000)),
    ("a length of 19 digits and nothing",
     lambda peer: peer.send(JSON + b"content-length: 9223372036854775807\r\n\r\n")),
    ("a chunk of 15 digits and nothing",
     lambda peer: peer.send(JSON + CHUNKED + b"7ffffffffffffff\r\n")),
    ("nothing at all", lambda peer: None),
    ("half a head", lambda peer: peer.send(JSON[:20])),
]


def test_floods_instead_of_an_answer(t):
    headrace, evil, script = start(t)
    failed = []
    with Bystander(headrace), Growth(headrace, 16 * MEGABYTE):
        for what, say in NO_ANSWER:
            t.log("row: %s" % what)
            script["say"] = say
            status, body, whole = ask(headrace)
            if (status, whole) != (502, True):
                failed.append("%s: %d %r" % (what, status, body[:80]))
    eq(failed, [])
    eventually(lambda: evil.open == 0, what="its connections are closed")
    eq(evil.errors, [])
    headrace.wait_output(LOG_LINE % "upstream_protocol")


CUT = [
    # (what, what the server does, its bytes that the client may get): the client sees a cut answer
    ("less than the length says",
     lambda peer: peer.send(JSON + b'content-length: 100\r\n\r\n{"a":1}'), b'{"a":1}'),
    ("no last chunk", lambda peer: peer.send(JSON + CHUNKED + chunk(b'{"a":1}')), b'{"a":1}'),
    ("half a chunk", lambda peer: peer.send(JSON + CHUNKED + b"10\r\n{"), b"{"),
    ("endless trailers", endless(JSON + CHUNKED + chunk(b"{}") + b"0\r\n", b"x: y\r\n" * 1000),
     b"{}"),
    ("endless trailer", endless(JSON + CHUNKED + chunk(b"{}") + b"0\r\nx: ", b"y" * 1000), b"{}"),
]


def test_lengths_that_lie(t):
    headrace, evil, script = start(t)
    failed = []
    for what, say, most in CUT:
        t.log("row: %s" % what)
        script["say"] = say
        status, body, whole = ask(headrace)
        if whole and status == 200 or (status == 200 and not most.startswith(body)):
            failed.append("%s: %d %r %r" % (what, status, body[:80], whole))
    eq(failed, [])
    # More than the length says is not the client's.
    script["say"] = lambda peer: peer.send(JSON + b'content-length: 2\r\n\r\n{}' + b"x" * 100000)
    eq(ask(headrace), (200, b"{}", True))
    eventually(lambda: evil.open == 0, what="its connections are closed")


def stream_of(*pieces):
    def say(peer):
        peer.send(SSE + CHUNKED)
        for piece in pieces:
            peer.send(piece)
        peer.send(b"0\r\n\r\n")
    return say


DEEP = b'data: {"error":' + b"[" * 20000 + b"]" * 20000 + b"}\n\n"


STREAMS = [
    # (what, what the server sends): the client gets exactly that
    ("a line of 20 MB", [chunk(b"data: ")] + [chunk(b"x" * 65000)] * 320 + [chunk(b"\n\n")]),
    ("a first event of 20 MB, and another",
     [chunk(b'data: {"a":"' + b"x" * 65000)] * 320 + [chunk(b'"}\n\n' + TOKEN)]),
    ("comments without end before the first event", [chunk(b": wait\n\n" * 1000)] * 300
     + [chunk(TOKEN)]),
    ("lines without an event", [chunk(b"event: x\n" * 1000)] * 300),
    ("line ends only", [chunk(b"\n" * 60000)] * 50 + [chunk(TOKEN)]),
    ("CRs only", [chunk(b"\r" * 60000)] * 50),
    ("one byte a chunk", [b"".join(chunk(bytes([byte])) for byte in TOKEN * 200)]),
    ("an event that is deep", [chunk(TOKEN), chunk(DEEP)]),
    ("a first event that is deep", [chunk(DEEP)]),
    ("usage that is no number",
     [chunk(b'data: {"usage":{"prompt_tokens":' + b"9" * 30000 + b"}}\n\n" + TOKEN)]),
    ("a usage in every event",
     [chunk(b'data: {"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n' * 500)] * 20),
    ("no UTF-8", [chunk(b"data: \xff\xfe\x00\n\n")] * 10),
]


def payload_of(pieces):
    """The data of chunks, by the sizes in front of them."""
    wire, data, at = b"".join(pieces), [], 0
    while at < len(wire):
        line = wire.index(b"\r\n", at)
        size = int(wire[at:line], 16)
        data.append(wire[line + 2:line + 2 + size])
        at = line + 4 + size
    return b"".join(data)


def test_streams_of_nonsense_pass_in_bounded_memory(t):
    """What a client sees of it is the client's business; what it costs here is ours."""
    headrace, evil, script = start(t)
    failed = []
    with Bystander(headrace), Growth(headrace, 24 * MEGABYTE):
        for what, pieces in STREAMS:
            t.log("row: %s" % what)
            script["say"] = stream_of(*pieces)
            status, body, whole = ask(headrace, stream=True)
            if (status, whole, body == payload_of(pieces)) != (200, True, True):
                failed.append("%s: %d %r %d bytes" % (what, status, body[:80], len(body)))
    eq(failed, [])
    eq(evil.errors, [])


def test_large_errors_are_not_kept(t):
    """They are passed on like any other answer."""
    headrace, evil, script = start(t)

    def say(peer):
        peer.send(b"HTTP/1.1 500 Oops\r\ncontent-type: application/json\r\n" + CHUNKED)
        for _ in range(300):
            peer.send(chunk(b"x" * 65000))
        peer.send(b"0\r\n\r\n")
    script["say"] = say
    with Bystander(headrace), Growth(headrace, 16 * MEGABYTE):
        for _ in range(5):
            status, body, whole = ask(headrace)
            eq((status, whole, len(body)), (500, True, 300 * 65000))


def test_answers_that_drip(t):
    """Bytes that come one by one are passed on, and time limits see through them: a server that
    sends comments for ever sends no token."""
    headrace, evil, script = start(t, "  timeouts: {firstToken: 1s}")

    def say(peer):
        peer.send(SSE + CHUNKED)
        for _ in range(600):
            peer.send(chunk(b": still there\n\n"))
            time.sleep(0.05)
    script["say"] = say
    status, body, whole = ask(headrace, stream=True)
    eq(status, 504)
    contains(body, b"first_token_timeout")
    eventually(lambda: evil.open == 0, what="its connection is closed")


if __name__ == "__main__":
    main(globals())
