#!/usr/bin/env python3
"""JSON that is made to hurt who reads it: refused or passed on, in bounded memory, and the reader
never falls over it."""

import os
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hostile import LOG_LINE, Bystander, Connection, Growth, contains, eq, main  # noqa: E402
from common import ok_either, serve_all, setup  # noqa: E402

MEGABYTE = 1 << 20
M = b'"model":"m"'


def many(item, count, ends=b"{}"):
    return ends[:1] + M + b"," + b",".join(item % i if b"%" in item else item
                                           for i in range(count)) + ends[1:]


# (what, body, status): 200 = passed on as it is.
BODIES = [
    ("arrays of 100,000 levels", b"{" + M + b',"x":' + b"[" * 100000 + b"]" * 100000 + b"}", 400),
    ("objects of 100,000 levels",
     b"{" + M + b',"x":' + b'{"a":' * 100000 + b"1" + b"}" * 100001, 400),
    ("a million open brackets", b"[" * MEGABYTE, 400),
    ("a million open braces", b'{"a":' * (MEGABYTE // 5), 400),
    ("a closing bracket too many", b"{" + M + b"}]", 400),
    ("levels within reason", b"{" + M + b',"x":' + b"[" * 50 + b"]" * 50 + b"}", 200),
    ("100,000 members", many(b'"k%d":1', 100000), 200),
    ("100,000 members of one name", many(b'"k":1', 100000), 200),
    ("an array of a million", b"{" + M + b',"x":[' + b"1," * MEGABYTE + b"1]}", 200),
    ("a number of a million digits", b"{" + M + b',"x":' + b"1" * MEGABYTE + b"}", 200),
    ("a fraction of a million digits", b"{" + M + b',"x":0.' + b"1" * MEGABYTE + b"}", 200),
    ("an exponent of a million digits", b"{" + M + b',"x":1e' + b"1" * MEGABYTE + b"}", 200),
    ("1e999999999", b"{" + M + b',"x":1e999999999}', 200),
    ("a huge token limit", b"{" + M + b',"max_tokens":1' + b"0" * 1000 + b"}", 200),
    ("a negative token limit", b"{" + M + b',"max_tokens":-1}', 200),
    ("a token limit over 64 bits", b"{" + M + b',"max_tokens":18446744073709551616}', 200),
    ("-", b"{" + M + b',"x":-}', 400),
    ("01", b"{" + M + b',"x":01}', 400),
    ("NaN", b"{" + M + b',"x":NaN}', 400),
    ("a name of a megabyte", b'{"model":"' + b"m" * MEGABYTE + b'"}', 400),
    ("a key of a megabyte", b'{"' + b"k" * MEGABYTE + b'":1,' + M + b"}", 200),
    ("escapes by the megabyte", b"{" + M + b',"x":"' + b"\\u0041" * (MEGABYTE // 6) + b'"}', 200),
    ("an escaped name", b'{"model":"\\u006d"}', 200),
    ("an escaped key", b'{"mode\\u006c":"m"}', 200),
    ("the model twice", b'{"model":"m","model":"n"}', 400),
    ("the model twice, once escaped", b'{"model":"m","\\u006dodel":"n"}', 400),
    ("0xff in a string", b"{" + M + b',"x":"\xff"}', 400),
    ("an overlong slash", b"{" + M + b',"x":"\xc0\xaf"}', 400),
    ("a cut sequence", b"{" + M + b',"x":"\xe2\x82"}', 400),
    ("a surrogate in UTF-8", b"{" + M + b',"x":"\xed\xa0\x80"}', 400),
    ("beyond Unicode", b"{" + M + b',"x":"\xf4\x90\x80\x80"}', 400),
    ("0xff in the model", b'{"model":"\xff"}', 400),
    ("half a pair in the model", b'{"model":"\\ud800"}', 400),
    ("a NUL in the model", b'{"model":"m\\u0000"}', 404),
    ("UTF-16", '{"model":"m"}'.encode("utf-16"), 400),
    ("a byte order mark", b"\xef\xbb\xbf{" + M + b"}", 400),
    ("a control character", b"{" + M + b',"x":"\x01"}', 400),
    ("nothing but space", b" " * MEGABYTE, 400),
    ("two documents", b"{" + M + b"}{" + M + b"}", 400),
    ("the model is an object", b'{"model":{"model":"m"}}', 400),
    ("the model is deep inside", b'{"x":{"model":"m"}}', 400),
]


def post(conn, body):
    return conn.request("POST", "/v1/completions", {"content-type": "application/json"}, body)


def test_bodies(t):
    headrace, (server,) = setup(t, [serve_all(ok_either)])
    failed = []
    with Bystander(headrace), Growth(headrace, 48 * MEGABYTE):
        for what, body, status in BODIES:
            with Connection(headrace.port) as conn:
                answer = post(conn, body)
            whole = [r for r in server.requests if r.body == body]
            if answer.status != status or bool(whole) != (status == 200):
                failed.append("%s: %d, %d came through" % (what, answer.status, len(whole)))
            del server.requests[:]
    eq(failed, [])
    headrace.wait_output(LOG_LINE % "invalid_json")


def test_many_at_once(t):
    """The reader's state does not grow with the depth or width of what it reads."""
    headrace, (server,) = setup(t, [serve_all(ok_either)])
    statuses = []

    def run(body):
        with Connection(headrace.port) as conn:
            for _ in range(5):
                conn.send(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: "
                          b"chunked\r\n\r\n")
                for at in range(0, len(body), 5000):
                    piece = body[at:at + 5000]
                    conn.send(b"%x\r\n%s\r\n" % (len(piece), piece))
                conn.send(b"0\r\n\r\n")
                statuses.append(conn.read_response().status)
    body = b"{" + M + b',"x":[' + b'{"a":[' * 20 + b"1" + b"]}" * 20 + b",1" * 200000 + b"]}"
    threads = [threading.Thread(target=run, args=(body,), daemon=True) for _ in range(10)]
    with Bystander(headrace), Growth(headrace, 48 * MEGABYTE):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    eq(statuses, [200] * 50)


def test_compressed_bodies_are_never_unpacked(t):
    """A small body that would become a large one is passed on as it is, or refused: nothing here
    unpacks it."""
    headrace, (server,) = setup(t, [serve_all(ok_either)])
    bomb = b"\x1f\x8b" + b"\x00" * 1000
    with Growth(headrace, 16 * MEGABYTE):
        with Connection(headrace.port) as conn:
            answer = conn.request("POST", "/v1/completions", {
                "content-type": "application/json", "content-encoding": "gzip"}, bomb)
    eq(answer.status, 400)
    contains(answer.json()["error"]["code"], "invalid_json")
    eq(server.received, 0)


if __name__ == "__main__":
    main(globals())
