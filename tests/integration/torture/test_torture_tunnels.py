#!/usr/bin/env python3
"""As test_torture.py, for tunnels (WebSocket) between the versions of HTTP: whatever call fails, a
tunnel opens and carries everything, or its client hears that it does not.

HEADRACE_TORTURE_STEP=n takes every n-th call only (default 3)."""

import os
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "http2"), os.path.join(HERE, "..", "proxy"),
                os.path.join(HERE, "..", "lib")]
from sides import http2, settled  # noqa: E402
from tunnels import Ask, echo, tunnel_case  # noqa: E402
from test_torture import Plan  # noqa: E402
from common import eq, eventually, main  # noqa: E402
from http1 import HttpError  # noqa: E402

STEP = int(os.environ.get("HEADRACE_TORTURE_STEP", "3"))
BYTES = bytes(range(256)) * 400
ERRORS = (500, 502, 503, 504)


def start(t, client, server):
    path = os.path.join(t.folder, "plan-%s-%s" % (client, server))  # others still map theirs
    plan = Plan(path)
    case = tunnel_case(t, client, server, [echo, echo], args=["--workers", "1"],
                       route_extra="    retry: {attempts: 2}",
                       headrace={"env": {"TORTURE_FILE": path},
                                 "binary": "tests/integration/torture/torture_driver"})
    return case, plan


def converse(case):
    """A tunnel from its beginning to its end. False: the client was told that there is none."""
    ask = Ask(case, early=b"early" if case.wire.client == "h2" else b"")
    status = ask.status()
    if status in ERRORS:
        return False
    eq(status, 200 if case.wire.client == "h2" else 101)
    end = ask.agreed()
    if ask.early:
        eq(end.exactly(5), b"early")

    def send():
        try:
            end.send(BYTES)
            end.end()
        except (OSError, http2.Http2Error):
            pass  # the reader finds out
    sender = threading.Thread(target=send)
    sender.start()
    try:
        eq(end.exactly(len(BYTES)), BYTES)
        end.wait_end()
    except Exception:
        end.abort()  # lets the sender go
        raise
    finally:
        sender.join()
    return True


def play(case, failing):
    if case.shared is not None and (case.shared.closed or case.shared.goaways):
        case.shared.close()
        case.shared = None
    try:
        return converse(case)
    except (OSError, EOFError, HttpError, http2.Http2Error, AssertionError) as error:
        if not failing or "timed out" in str(error):
            raise
        return False


def is_well(case):
    eq(case.headrace.alive(), True, "it lives")
    eventually(lambda: play(case, True), 20, "tunnels open again")
    eq(play(case, False), True)
    settled(case.headrace)


def every_call_fails_once(t, client, server):
    case, plan = start(t, client, server)
    is_well(case)
    for fresh in (False, True):
        ahead = 0
        while True:
            ahead += STEP
            if fresh and case.shared is not None:
                case.shared.close()
                case.shared = None
            plan.fail(ahead)
            play(case, True)
            if not plan.has_failed():
                break
        plan.fail(0)
        assert case.headrace.alive(), "it died at call %d" % ahead
        t.log("%d calls" % ahead)
    is_well(case)


def test_every_call_fails_once_from_http1_to_http2(t):
    every_call_fails_once(t, "h1", "h2")


def test_every_call_fails_once_from_http2_to_http1(t):
    every_call_fails_once(t, "h2", "h1")


def test_every_call_fails_once_from_http2_to_http2(t):
    every_call_fails_once(t, "h2", "h2")


def test_many_calls_fail(t):
    case, plan = start(t, "h2", "h2")
    is_well(case)
    for step in (15, 40, 100):
        plan.fail(1, step)
        for _ in range(15):
            play(case, True)
        plan.fail(0)
        is_well(case)


def test_small_buffers_and_interruptions(t):
    for client, server in (("h1", "h2"), ("h2", "h1"), ("h2", "h2")):
        case, plan = start(t, client, server)
        plan.small_buffers(4096)
        plan.interrupt(3)
        for _ in range(5):
            eq(play(case, False), True)
        plan.interrupt(0)
        settled(case.headrace)


if __name__ == "__main__":
    main(globals())
