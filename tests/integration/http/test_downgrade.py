#!/usr/bin/env python3
"""What a request in HTTP/2 says is said in HTTP/1 behind us, and no more: what could mean something
else there is refused, and not a byte of it comes through. The frames are made by hand, so that
nothing is corrected on the way."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "proxy"), os.path.join(HERE, "..", "lib"), HERE]
from common import contains, eq, eventually, main, ok_json, serve_all, setup  # noqa: E402
from frames import PROTOCOL_ERROR, BareClient  # noqa: E402
from smuggling_table import BODY, DOWNGRADES, LENGTH_FIELD, SMUGGLED, section  # noqa: E402
from test_strictness import check_rows  # noqa: E402


def test_what_http1_would_misread_is_refused(t):
    headrace, (server,) = setup(t, [serve_all(ok_json)])

    def check(what, fields, body, status):
        t.log("row: %s" % what)
        client = BareClient(t, headrace.port)
        got, detail = client.ask(1, fields, body)
        eq((got, detail) if got == 0 else got, (0, PROTOCOL_ERROR) if got == 0 else status)
        eq(server.received, 0, "bytes that came through")
        client.close()

    check_rows(DOWNGRADES, check)
    client = BareClient(t, headrace.port)
    eq(client.ask(1, section(LENGTH_FIELD), BODY)[0], 200)
    # Each of them was counted, whoever found it; one whose length lies is one that broke off.
    eventually(lambda: len(DOWNGRADES) == sum(
        value for name, value in headrace.metrics().items()
        if name.startswith("headrace_rejected_messages_total")
        or name == 'headrace_request_outcomes_total{outcome="client_abort"}'), what="all counted")


def test_one_bad_request_leaves_the_others(t):
    """Of the requests of one connection only those that are refused are."""
    headrace, (server,) = setup(t, [serve_all(ok_json)])
    client = BareClient(t, headrace.port)
    eq(client.ask(1, section((b"connection", b"close")), BODY), (0, PROTOCOL_ERROR))
    eq(client.ask(3, section(LENGTH_FIELD), BODY)[0], 200)
    eq(client.ask(5, section((b"x", b"y\r\nz: a")), BODY)[0], 400)
    eq(client.ask(7, section(), BODY)[0], 200)
    eq(len(server.requests), 2)


def test_sound_requests_are_written_anew(t):
    headrace, (server,) = setup(t, [serve_all(ok_json)])

    def check(what, fields, body, target, wanted):
        t.log("row: %s" % what)
        eq(BareClient(t, headrace.port).ask(1, fields, body)[0], 200)
        got = server.requests[-1]
        eq((got.target, got.version, got.body), (target, "HTTP/1.1", body))
        names = [name for name, _ in got.headers]
        eq((names.count("host"), names.count("content-length") + names.count("transfer-encoding")),
           (1, 1))
        for name, value in wanted:
            eq(got.get(name), value, name)

    path = "/v1/chat/completions"
    check_rows([
        ("length", section(LENGTH_FIELD), BODY, path, [("host", "a.example")]),
        ("no length", section(), BODY, path, [("content-length", "13")]),
        ("the same host", section((b"host", b"a.example")), BODY, path, [("host", "a.example")]),
        ("host alone", section((b"host", b"a.example"), authority=None), BODY, path,
         [("host", "a.example")]),
        ("cookies in crumbs", section((b"cookie", b"a=1"), (b"cookie", b"b=2")), BODY, path,
         [("cookie", "a=1; b=2")]),
        ("dot segments", section(path=b"/v1/./x/%2e%2E/chat/completions"), BODY, path, []),
        ("no-break space", section((b"x-user", b"\xa0a\x85")), BODY, path, []),
    ], check)


def test_bodies_are_never_requests(t):
    """What looks like a request in a body stays in it."""
    headrace, (server,) = setup(t, [serve_all(ok_json)], models=())
    for fields in (section(), section((b"content-length", b"%d" % len(SMUGGLED * 2)))):
        eq(BareClient(t, headrace.port).ask(1, fields, SMUGGLED * 2)[0], 200)
        eq(server.requests[-1].body, SMUGGLED * 2)
    eq(len(server.requests), 2)
    contains(server.requests[-1].target, "/v1/chat/completions")


if __name__ == "__main__":
    main(globals())
