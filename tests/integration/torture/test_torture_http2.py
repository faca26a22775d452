#!/usr/bin/env python3
"""As test_torture.py, over HTTP/2 on both sides: nghttp2's allocations fail, too. A call that fails
may end a stream or a connection; it never leaves a client waiting, and nothing is left behind.

HEADRACE_TORTURE_STEP=n takes every n-th call only (default 3)."""

import collections
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "http2"), os.path.join(HERE, "..", "proxy"),
                os.path.join(HERE, "..", "lib")]
from sides import H1Server, H2Server, http2, respond, stream_words  # noqa: E402
from test_torture import Plan  # noqa: E402
from common import backend, eq, eventually, main, route  # noqa: E402
from harness import SLOW  # noqa: E402

STEP = int(os.environ.get("HEADRACE_TORTURE_STEP", "3"))
BIG = 100000
CHAT = "/v1/chat/completions"
HEAD = [(":method", "POST"), (":scheme", "http"), (":authority", "a")]


dropped = collections.Counter()  # by the id of the request


def serve(call):
    body = call.body()
    if b"gone" in body and dropped[call.fields["x-request-id"]] < 2:
        # With the connection goes the request, and its next attempt is made while that one closes;
        # the second time no other connection is there, so it needs a socket.
        dropped[call.fields["x-request-id"]] += 1
        if hasattr(call, "stream"):
            call.stream.conn.close()
        else:
            call.break_off()
    elif b'"stream":true' in body:
        stream_words(call, ["a", "b", "c"])
    elif b"large" in body:
        respond(call, 200, b"y" * BIG)
    elif call.fields.get("te") == "trailers":
        call.head(200)
        call.send(b"%d" % len(body))
        call.end([("x-sum", "1")])
    else:
        call.interim(103, [("link", "</x>")])
        respond(call, 200, b"%d" % len(body))


# (path, fields, pieces of the body, status)
SCRIPT = [
    (CHAT, [], [b'{"model":"m"}'], 200),
    (CHAT, [], [b'{"model":"m","stream":true}'], 200),
    (CHAT, [], [b'{"model":"m","x":"large"}'], 200),
    (CHAT, [("te", "trailers")], [b'{"model":', b'"m","x":"', b"p" * BIG, b'"}'], 200),
    ("/raw", [("te", "trailers")], [b"x" * BIG, b"y" * BIG, b"z" * (2 * BIG)], 200),
    (CHAT, [], [b'{"model":"m","x":"gone"}'], 200),
    (CHAT, [], [b'{"model":"none"}'], 404),
]
ERRORS = ("500", "502", "503", "504")


class Client:
    """A connection that is made again when it broke."""

    def __init__(self, t, port):
        self.t = t
        self.port = port
        self.conn = None

    def ask(self, path, fields, pieces):
        if self.conn is None or self.conn.closed or self.conn.goaways:
            if self.conn is not None:
                self.conn.close()
            self.conn = http2.connect(self.port)
        stream = self.conn.open()
        stream.headers(HEAD + [(":path", path)] + fields)
        for i, piece in enumerate(pieces):
            stream.send(piece, i == len(pieces) - 1, timeout=20 * SLOW)
        return stream


def play(client, row, failing):
    """True when the answer was the right one, and whole."""
    path, fields, pieces, status = row
    stream = None
    try:
        stream = client.ask(path, fields, pieces)
    except (http2.Http2Error, OSError) as error:
        if not failing or "timed out" in str(error):
            raise
        if client.conn is None or stream is None and not client.conn.streams:
            return False
        stream = list(client.conn.streams.values())[-1]
    conn = client.conn
    conn.wait(lambda: stream.ended or stream.reset is not None or conn.closed, None,
              "an end of %r" % path, 20 * SLOW)
    if conn.closed:
        eq(failing, True, "the connection broke: %s" % conn.error)
        return False
    heads = [s[":status"] for s in stream.sections if s.get(":status", "1")[0] != "1"]
    right = stream.ended and heads == [str(status)]
    if not right:
        eq(failing, True, "an answer: %s, reset %s" % (heads, stream.reset))
        eq(heads[:1] == [] or heads[0] in ERRORS + (str(status),), True, repr(heads))
    return right


def start(t, version):
    servers = [(H1Server if version == "h1" else H2Server)(serve) for _ in range(2)]
    for server in servers:
        t.defer(server.stop)
    ports = [server.port for server in servers]
    extra = "  balancing: {policy: RoundRobin}\n" + (
        "  protocol: HTTP2\n" if version == "h2" else "")
    text = "---".join([backend("named", ports, ("m",), extra), backend("any", ports, (), extra),
                       route("r", ["named"], "    retry: {attempts: 3}"),
                       route("raw", ["any"], path="/raw")])
    path = os.path.join(t.folder, "plan")
    plan = Plan(path)
    headrace = t.headrace({"a.yaml": text}, ["--workers", "1"], env={"TORTURE_FILE": path},
                          binary="tests/integration/torture/torture_driver")
    return headrace, plan


def is_well(t, headrace, client):
    eq(headrace.alive(), True, "it lives")
    eventually(lambda: all([play(client, row, True) for row in SCRIPT]), 20,
               "everything is served again")

    def settled():
        answer = t.request(headrace.admin_port, "GET", "/endpoints").json()
        return not any(e["outstanding_requests"] or e["outstanding_prompt_tokens"]
                       for b in answer["backends"] for e in b["endpoints"])
    eventually(settled, what="books are empty")


def every_call_fails_once(t, version):
    headrace, plan = start(t, version)
    client = Client(t, headrace.port)
    is_well(t, headrace, client)
    for row in SCRIPT:
        for fresh in (False, True):
            ahead = 0
            while True:
                ahead += STEP
                if fresh and client.conn is not None:
                    client.conn.close()
                plan.fail(ahead)
                play(client, row, True)
                if not plan.has_failed():
                    break
            plan.fail(0)
            assert headrace.alive(), "it died at call %d of %r" % (ahead, row[:2])
            t.log("%d calls in %r" % (ahead, row[:2]))
    is_well(t, headrace, client)


def test_every_call_fails_once_to_http2(t):
    every_call_fails_once(t, "h2")


def test_every_call_fails_once_to_http1(t):
    every_call_fails_once(t, "h1")


def test_many_calls_fail(t):
    headrace, plan = start(t, "h2")
    client = Client(t, headrace.port)
    is_well(t, headrace, client)
    for step in (15, 40, 100):
        plan.fail(1, step)
        for row in SCRIPT * 3:
            play(client, row, True)
        plan.fail(0)
        is_well(t, headrace, client)


if __name__ == "__main__":
    main(globals())
