#!/usr/bin/env python3
"""As test_torture.py, where a request is with two endpoints at a time: whichever call fails, one of
the two answers, or an error does, once; and nothing is left behind.

HEADRACE_TORTURE_STEP=n takes every n-th call only (default 3)."""

import collections
import os
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "http2"), os.path.join(HERE, "..", "proxy"),
                os.path.join(HERE, "..", "lib")]
from sides import H1Ask, H1Server, H2Ask, H2Server, http2, respond, stream_words  # noqa: E402
from test_torture import Plan  # noqa: E402
from common import backend, eq, eventually, main, route  # noqa: E402
from http1 import HttpError  # noqa: E402

STEP = int(os.environ.get("HEADRACE_TORTURE_STEP", "3"))
BIG = 100000
BACKENDS = 100  # of the same servers, in turn: an endpoint that was just blamed gets no hedge
RULE = """
    hedge: {delay: 10ms}
    retry: {attempts: 2, when: [ConnectFailure, Reset, Overloaded], perTryTimeout: 150ms,
            budget: {percent: 100}}
    sessionAffinity: {cookie: {name: s}}
    cors: {allowOrigins: ["*"]}
"""
ERRORS = (500, 502, 503, 504)


class Servers:
    """What a request's body asks for; its first and its second coming may differ."""

    def __init__(self):
        self.lock = threading.Lock()
        self.seen = collections.Counter()  # by the id of the request
        self.second = collections.defaultdict(threading.Event)

    def serve(self, call):
        body = call.body()
        request = call.fields["x-request-id"]
        with self.lock:
            self.seen[request] += 1
            number = self.seen[request]
        if number == 2:
            self.second[request].set()
        if number == 1:
            if b"hangs" in body:
                call.wait_abort()
                return
            # The other one may never come, when that is what fails.
            self.second[request].wait(0.1)
        if b"breaks" in body and number < 3:
            call.break_off()
        elif b"full" in body and number < 3:
            respond(call, 503, b'{"error":{"message":"full"}}', kind="application/json")
        elif number == 2 and b"first" in body:
            call.wait_abort()
        elif b'"stream":true' in body:
            stream_words(call, ["a", "b", "c"])
        else:
            respond(call, 200, b'{"y":"%s"}' % (b"y" * BIG), kind="application/json")


SCRIPT = [b'{"model":"m","x":"hangs"}', b'{"model":"m","x":"hangs","stream":true}',
          b'{"model":"m","x":"first","stream":true}', b'{"model":"m","x":"breaks"}',
          b'{"model":"m","x":"full","stream":true}',
          b'{"model":"m","x":"hangs","p":"' + b"p" * BIG + b'"}']


class Asker:
    def __init__(self, t, port, version):
        self.t, self.port, self.version = t, port, version
        self.conn = None
        self.count = 0

    def ask(self, body):
        self.count += 1
        fields = [("content-type", "application/json"), ("x-request-id", "id-%d" % self.count),
                  ("origin", "https://a.org")]
        what = ("POST", "/b%d/v1/x" % (self.count % BACKENDS), fields, body, True, "a")
        if self.version == "h1":
            return H1Ask(self.t, self.port, *what)
        if self.conn is None or self.conn.closed:
            self.conn = http2.connect(self.port)
            self.t.defer(self.conn.close)
        return H2Ask(self.conn, *what)

    def play(self, body, failing):
        """True when the answer was the right one, and whole."""
        try:
            ask = self.ask(body)
            status = ask.status()
            got, whole = ask.whole()
            if self.version == "h1":
                ask.conn.close()
        except (HttpError, http2.Http2Error, OSError) as error:
            if not failing or "timed out" in str(error):
                raise
            if self.conn is not None:
                self.conn.close()
                self.conn = None
            return False
        if status != 200 or not whole:
            eq(failing and (not whole or status in ERRORS), True, "%s %r" % (status, got[:200]))
            return False
        eq(got.endswith(b"data: [DONE]\n\n") if b'"stream"' in body else len(got) == BIG + 8, True,
           repr(got[-200:]))
        return True


def start(t, client, server):
    servers = Servers()
    peers = [(H1Server if server == "h1" else H2Server)(servers.serve) for _ in range(3)]
    for peer in peers:
        t.defer(peer.stop)
    extra = "  protocol: HTTP2\n" if server == "h2" else ""
    ports = [peer.port for peer in peers]
    text = "---".join([backend("be%d" % n, ports, ("m",), extra) for n in range(BACKENDS)] +
                      [route("r%d" % n, ["be%d" % n], RULE, path="/b%d" % n)
                       for n in range(BACKENDS)])
    path = os.path.join(t.folder, "plan")
    plan = Plan(path)
    headrace = t.headrace({"a.yaml": text}, ["--workers", "1"], env={"TORTURE_FILE": path},
                          binary="tests/integration/torture/torture_driver")
    return headrace, plan, Asker(t, headrace.port, client)


def is_well(t, headrace, asker):
    eq(headrace.alive(), True, "it lives")
    eventually(lambda: all([asker.play(body, True) for body in SCRIPT]), 20,
               "everything is served again")

    def settled():
        answer = t.request(headrace.admin_port, "GET", "/endpoints").json()
        return not any(e["outstanding_requests"] or e["outstanding_prompt_tokens"]
                       for b in answer["backends"] for e in b["endpoints"])
    eventually(settled, what="books are empty")


def hedges(headrace):
    return sum(value for key, value in headrace.metrics().items()
               if key.startswith("headrace_backend_hedges_total{"))


def every_call_fails_once(t, client, server):
    headrace, plan, asker = start(t, client, server)
    is_well(t, headrace, asker)
    for body in SCRIPT:
        before, ahead = hedges(headrace), 0
        while True:
            ahead += STEP
            plan.fail(ahead)
            if asker.play(body, True) and not plan.has_failed():
                break
        plan.fail(0)
        assert headrace.alive(), "it died at call %d of %r" % (ahead, body[:60])
        sent = hedges(headrace) - before
        assert sent > 0, "no hedge in %r" % body[:60]
        t.log("%d calls, %d hedges in %r" % (ahead, sent, body[:60]))
        is_well(t, headrace, asker)


def test_every_call_fails_once_h1_to_h1(t):
    every_call_fails_once(t, "h1", "h1")


def test_every_call_fails_once_h2_to_h2(t):
    every_call_fails_once(t, "h2", "h2")


def test_many_calls_fail(t):
    headrace, plan, asker = start(t, "h2", "h1")
    is_well(t, headrace, asker)
    for step in (15, 40, 100):
        plan.fail(1, step)
        for body in SCRIPT * 3:
            asker.play(body, True)
        plan.fail(0)
        is_well(t, headrace, asker)


if __name__ == "__main__":
    main(globals())
