#!/usr/bin/env python3
"""What two parties could read in two ways is refused, from clients and from inference servers.

Each request row is sent to the real program by a client that says exactly these bytes: the answer
has the status of the row, the connection is closed, and the server behind has seen nothing. Each
response row is what a server answers: the client gets a 502 and no byte of it, and the connection
is not used again.
"""

import os
import signal
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "proxy"), os.path.join(HERE, "..", "lib")]
from harness import HttpError  # noqa: E402
from common import contains, eq, main, serve_all, setup  # noqa: E402

BODY = b'{"model":"m"}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
HOST = b"Host: a.example\r\n"
SMUGGLED = b"GET /v1/smuggled HTTP/1.1\r\n" + HOST + b"\r\n"


def ok_json(peer, request):
    peer.json(b'{"answer":"%s"}' % request.target.encode())


def post(fields, body=BODY, line=b"POST /v1/chat/completions HTTP/1.1\r\n", host=HOST):
    return line + host + b"Content-Type: application/json\r\n" + fields + b"\r\n" + body


def get(fields=b"", line=b"GET /v1/x HTTP/1.1\r\n", host=HOST):
    return line + host + fields + b"\r\n"


def chunked(body):
    return post(b"Transfer-Encoding: chunked\r\n", body)


CHUNK = b"d\r\n" + BODY + b"\r\n"

REQUESTS = [
    # (what, bytes, status)
    ("length and chunked", post(LENGTH + b"Transfer-Encoding: chunked\r\n", CHUNK + b"0\r\n\r\n"),
     400),
    ("chunked and length, with a request behind",
     post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n" + SMUGGLED), 400),
    ("two different lengths", post(LENGTH + b"Content-Length: 5\r\n"), 400),
    ("the same length twice", post(LENGTH + LENGTH), 400),
    ("a list of lengths", post(b"Content-Length: 13, 13\r\n"), 400),
    ("length +13", post(b"Content-Length: +13\r\n"), 400),
    ("length -1", post(b"Content-Length: -1\r\n"), 400),
    ("empty length", post(b"Content-Length:\r\n"), 400),
    ("hexadecimal length", post(b"Content-Length: 0xd\r\n"), 400),
    ("length over 64 bits", post(b"Content-Length: 18446744073709551629\r\n"), 400),
    ("transfer-encoding twice", post(b"Transfer-Encoding: chunked\r\n" * 2, CHUNK), 400),
    ("transfer-encoding in two lines",
     post(b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", CHUNK), 400),
    ("transfer-encoding ,chunked", post(b"Transfer-Encoding: ,chunked\r\n", CHUNK), 400),
    ("transfer-encoding chunked,", post(b"Transfer-Encoding: chunked,\r\n", CHUNK), 400),
    ("chunked, chunked", post(b"Transfer-Encoding: chunked, chunked\r\n", CHUNK), 400),
    ("vertical tab before chunked", post(b"Transfer-Encoding: \x0bchunked\r\n", CHUNK), 400),
    ("identity", post(b"Transfer-Encoding: identity\r\n"), 501),
    ("unknown coding", post(b"Transfer-Encoding: xchunked\r\n", CHUNK), 501),
    ("gzip, chunked", post(b"Transfer-Encoding: gzip, chunked\r\n", CHUNK), 501),
    ("transfer-encoding in HTTP/1.0",
     post(b"Transfer-Encoding: chunked\r\n", CHUNK, b"POST /v1/chat/completions HTTP/1.0\r\n"),
     400),
    ("space before the colon", post(b"Content-Length : 13\r\n"), 400),
    ("tab before the colon", get(b"X\t: y\r\n"), 400),
    ("folded line", get(b"X: y\r\n z\r\n"), 400),
    ("space before the first header", get(host=b" Host: a\r\n"), 400),
    ("bare LF lines", get().replace(b"\r\n", b"\n"), 400),
    ("bare LF after one header", get(b"X: y\nZ: 1\r\n"), 400),
    ("NUL in a value", get(b"X: a\x00b\r\n"), 400),
    ("CR in a value", get(b"X: a\rb\r\n"), 400),
    ("DEL in a value", get(b"X: a\x7fb\r\n"), 400),
    ("empty name", get(b": y\r\n"), 400),
    ("no colon", get(b"X\r\n"), 400),
    ("slash in a name", get(b"X/Y: z\r\n"), 400),
    ("no Host", get(host=b""), 400),
    ("two Hosts", get(b"Host: b.example\r\n"), 400),
    ("the same Host twice", get(HOST), 400),
    ("empty Host", get(host=b"Host:\r\n"), 400),
    ("list of Hosts", get(host=b"Host: a, b\r\n"), 400),
    ("Host with user", get(host=b"Host: u@a.example\r\n"), 400),
    ("absolute form against Host", get(line=b"GET http://b.example/v1/x HTTP/1.1\r\n"), 400),
    ("HTTP/1.10", get(line=b"GET /v1/x HTTP/1.10\r\n"), 400),
    ("HTTP/1.2", get(line=b"GET /v1/x HTTP/1.2\r\n"), 505),
    ("HTTP/3.0", get(line=b"GET /v1/x HTTP/3.0\r\n"), 505),
    ("no version", b"GET /v1/x\r\n\r\n", 400),
    ("control character in the target", get(line=b"GET /v1/\x01x HTTP/1.1\r\n"), 400),
    ("space in the target", get(line=b"GET /v1/a b HTTP/1.1\r\n"), 400),
    ("backslash in the target", get(line=b"GET /v1\\x HTTP/1.1\r\n"), 400),
    ("high byte in the target", get(line=b"GET /v1/\xc3\xa4 HTTP/1.1\r\n"), 400),
    ("fragment", get(line=b"GET /v1/x#y HTTP/1.1\r\n"), 400),
    ("encoded NUL", get(line=b"GET /v1/%00 HTTP/1.1\r\n"), 400),
    ("over the root", get(line=b"GET /v1/../../x HTTP/1.1\r\n"), 400),
    ("asterisk for GET", get(line=b"GET * HTTP/1.1\r\n"), 400),
    ("TRACE", get(line=b"TRACE /v1/x HTTP/1.1\r\n"), 501),
    ("HEAD in another case", get(line=b"head /v1/x HTTP/1.1\r\n"), 400),
    ("CONNECT", get(line=b"CONNECT a.example:443 HTTP/1.1\r\n"), 400),
    ("space before the method", get(line=b" GET /v1/x HTTP/1.1\r\n"), 400),
    ("two empty lines before", b"\r\n\r\n" + get(), 400),
    ("unknown expectation", post(LENGTH + b"Expect: miracles\r\n"), 417),
    ("too many headers", get(b"".join(b"X-%d: y\r\n" % i for i in range(200))), 431),
    ("head too large", get(b"X: %s\r\n" % (b"y" * 100000)), 431),
    ("target too long", get(line=b"GET /v1/%s HTTP/1.1\r\n" % (b"x" * 20000)), 414),
    # Chunks; the body is read before anything is forwarded.
    ("chunk 0x3", chunked(b"0xd\r\n" + BODY + b"\r\n0\r\n\r\n"), 400),
    ("chunk size of 65 bits", chunked(b"1000000000000000d\r\n" + BODY + b"\r\n0\r\n\r\n"), 400),
    ("negative chunk size", chunked(b"-d\r\n" + BODY + b"\r\n0\r\n\r\n"), 400),
    ("empty chunk size", chunked(b"\r\n" + BODY + b"\r\n0\r\n\r\n"), 400),
    ("space after the chunk size", chunked(b"d \r\n" + BODY + b"\r\n0\r\n\r\n"), 400),
    ("bare LF after the chunk size", chunked(b"d\n" + BODY + b"\r\n0\r\n\r\n"), 400),
    ("bare LF after the chunk data", chunked(b"d\r\n" + BODY + b"\n0\r\n\r\n"), 400),
    ("bare LF in a chunk extension", chunked(b"d;a\nb\r\n" + BODY + b"\r\n0\r\n\r\n"), 400),
    ("bare CR in a chunk extension", chunked(b"d;a\rb\r\n" + BODY + b"\r\n0\r\n\r\n"), 400),
    ("chunk data without its end", chunked(b"d\r\n" + BODY + b"0\r\n\r\n"), 400),
    ("bare LF at the end of the chunks", chunked(CHUNK + b"0\r\n\n"), 400),
    ("trailer without a colon", chunked(CHUNK + b"0\r\nX\r\n\r\n"), 400),
    ("folded trailer", chunked(CHUNK + b"0\r\nX: y\r\n z\r\n\r\n"), 400),
    ("NUL in a trailer", chunked(CHUNK + b"0\r\nX: \x00\r\n\r\n"), 400),
]


def exchange(t, port, data):
    """The answer to one burst of bytes, and whether the connection was closed after it."""
    with t.connect(port) as conn:
        try:
            conn.send(data)
        except OSError:
            pass  # refused while we were still talking
        answer = conn.read_response()
        return answer, conn.is_closed()


def check_rows(rows, check):
    """All rows, so that one run shows every row that fails."""
    failed = []
    for row in rows:
        try:
            check(*row)
        except Exception as error:
            failed.append("%s: %s" % (row[0], error))
    if failed:
        raise AssertionError("%d of %d rows:\n  %s" % (len(failed), len(rows), "\n  ".join(failed)))


def test_ambiguous_requests_are_refused(t):
    headrace, (server,) = setup(t, [serve_all(ok_json)])

    def check(what, data, status):
        t.log("row: %s" % what)
        answer, closed = exchange(t, headrace.port, data + SMUGGLED)
        eq(answer.status, status)
        contains(answer.json()["error"]["type"], "invalid_request")
        eq(closed, True, "closed")
        eq(len(server.requests), 0, "requests that came through")

    check_rows(REQUESTS, check)
    # The program still serves, and a sound request passes.
    answer, _ = exchange(t, headrace.port, post(LENGTH + b"Connection: close\r\n"))
    eq(answer.status, 200)


def test_bytes_that_drip_in_mean_the_same(t):
    """One byte a segment, in both directions."""
    def drip(peer, request):
        for byte in (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"
                     b"Content-Type: application/json"
                     b"\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{\"a\"\r\n3;x=y\r\n:1}\r\n"
                     b"0\r\n\r\n"):
            peer.send(bytes([byte]))

    headrace, (server,) = setup(t, [serve_all(drip)])

    def check(what, data, status):
        before = len(server.requests)
        with t.connect(headrace.port) as conn:
            try:
                for byte in data:
                    conn.sock.sendall(bytes([byte]))
            except OSError:
                pass  # refused before the end
            answer = conn.read_response()
            eq(answer.status, status)
            if status == 200:
                eq(answer.body, b'{"a":1}')
                eq(server.requests[-1].body, BODY)
            eq(len(server.requests) - before, 1 if status == 200 else 0)

    by_name = {row[0]: row for row in REQUESTS}
    check_rows([
        ("length", post(LENGTH), 200),
        ("chunks",
         chunked(b"5\r\n" + BODY[:5] + b"\r\n8\r\n" + BODY[5:] + b"\r\n0\r\nA: b\r\n\r\n"), 200),
        by_name["length and chunked"], by_name["bare LF lines"], by_name["folded line"],
        by_name["two Hosts"], by_name["space after the chunk size"],
        by_name["bare LF after the chunk data"],
    ], check)


def test_sound_requests_pass_and_are_written_anew(t):
    headrace, (server,) = setup(t, [serve_all(ok_json)])

    def check(what, data, target, absent):
        t.log("row: %s" % what)
        with t.connect(headrace.port) as conn:
            conn.send(data)
            eq(conn.read_response().status, 200)
        got = server.requests[-1]
        eq((got.target, got.version), (target, "HTTP/1.1"))
        eq(got.body, BODY)
        names = [name for name, _ in got.headers]
        eq(names.count("host"), 1)
        eq(names.count("content-length") + names.count("transfer-encoding"), 1, "framings")
        for name in absent:
            eq(name in names, False, name)

    line = b"POST %s HTTP/1.1\r\n"
    check_rows([
        ("length", post(LENGTH), "/v1/chat/completions", ["connection", "keep-alive"]),
        ("chunks with extensions and trailers",
         chunked(b'5;a=b;c="d"\r\n{"mod\r\n8\r\nel":"m"}\r\n0\r\nHost: evil\r\n\r\n'),
         "/v1/chat/completions", ["trailer"]),
        ("dot segments and needless escapes",
         post(LENGTH, line=line % b"/v1/./x/%2e%2E/%63hat/completions?a=%2F"),
         "/v1/chat/completions?a=%2F", []),
        ("absolute form", post(LENGTH, line=line % b"http://A.example:80/v1/completions"),
         "/v1/completions", []),
        ("one empty line before", b"\r\n" + post(LENGTH), "/v1/chat/completions", []),
        ("HTTP/1.0", post(LENGTH, line=b"POST /v1/completions HTTP/1.0\r\n"), "/v1/completions",
         []),
        ("headers of one hop",
         post(LENGTH + b"Connection: x-hop, Upgrade\r\nX-Hop: 1\r\nUpgrade: websocket\r\n"
              b"TE: gzip\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\nTrailer: X\r\n"),
         "/v1/chat/completions",
         ["x-hop", "upgrade", "te", "keep-alive", "proxy-connection", "trailer"]),
    ], check)


def test_connection_options_cannot_strip_what_matters(t):
    headrace, (server,) = setup(t, [serve_all(ok_json)])
    answer, _ = exchange(t, headrace.port, post(
        LENGTH + b"Cookie: c=1\r\nConnection: close, host, content-length, content-type, "
                 b"cookie\r\n"))
    eq(answer.status, 200)
    got = server.requests[-1]
    eq((got.get("cookie"), got.get("content-type"), got.body), ("c=1", "application/json", BODY))


RESPONSES = [
    # (what, the server's bytes)
    ("length and chunked",
     b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n"
     b"0\r\n\r\n"),
    ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nxyzx"),
    ("length +3", b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nxyz"),
    ("empty length", b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nxyz"),
    ("transfer-encoding twice",
     b"HTTP/1.1 200 OK\r\n" + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n3\r\nxyz\r\n0\r\n\r\n"),
    ("transfer-encoding ,chunked",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: ,chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n"),
    ("identity", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nxyz"),
    ("transfer-encoding in HTTP/1.0",
     b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n"),
    ("space before the colon", b"HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nxyz"),
    ("folded line", b"HTTP/1.1 200 OK\r\nX: y\r\n xyz\r\nContent-Length: 3\r\n\r\nxyz"),
    ("bare LF lines", b"HTTP/1.1 200 OK\nContent-Length: 3\n\nxyz"),
    ("NUL in a value", b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 3\r\n\r\nxyz"),
    ("CR in a value", b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 3\r\n\r\nxyz"),
    ("empty name", b"HTTP/1.1 200 OK\r\n: y\r\nContent-Length: 3\r\n\r\nxyz"),
    ("no colon", b"HTTP/1.1 200 OK\r\nxyz\r\nContent-Length: 3\r\n\r\nxyz"),
    ("HTTP/1.10", b"HTTP/1.10 200 OK\r\nContent-Length: 3\r\n\r\nxyz"),
    ("HTTP/2.0", b"HTTP/2.0 200 OK\r\nContent-Length: 3\r\n\r\nxyz"),
    ("four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 3\r\n\r\nxyz"),
    ("status 600", b"HTTP/1.1 600 OK\r\nContent-Length: 3\r\n\r\nxyz"),
    ("unasked 101",
     b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxyz"),
    ("no HTTP at all", b"xyz\r\n\r\n"),
    ("too many headers", b"HTTP/1.1 200 OK\r\n" + b"X: xyz\r\n" * 1000 + b"\r\n"),
    ("a head without end", b"HTTP/1.1 200 OK\r\nX: " + b"xyz" * 100000),
]


def test_ambiguous_responses_are_not_relayed(t):
    script = {}

    def handler(peer):
        if peer.read_request() is not None:
            peer.send(script["bytes"])
            peer.wait_closed()

    headrace, (server,) = setup(t, [handler])

    def check(what, data):
        t.log("row: %s" % what)
        script["bytes"] = data
        with t.connect(headrace.port) as conn:
            conn.send(post(LENGTH))
            answer = conn.read_response()
            eq(answer.status, 502)
            contains(answer.json()["error"], "message")
            # Not letters of hexadecimal: the request id in the head is random.
            eq(b"xyz" in answer.head_bytes, False, "the server's bytes in the head")

    check_rows(RESPONSES, check)
    eq(server.errors, [])


def test_broken_chunks_of_a_response_cut_the_answer(t):
    """After the first byte nothing can be taken back: the client must see that it is incomplete."""
    script = {}

    def handler(peer):
        if peer.read_request() is not None:
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                      b"Transfer-Encoding: chunked\r\n\r\n4\r\n{\"a\"\r\n")
            peer.send(script["bytes"])
            if not script["closes"]:
                peer.wait_closed()

    headrace, _ = setup(t, [handler])

    def check(what, data, closes=False):
        t.log("row: %s" % what)
        script.update(bytes=data, closes=closes)
        with t.connect(headrace.port) as conn:
            conn.send(post(LENGTH))
            try:
                answer = conn.read_response()
            except HttpError as error:
                contains(str(error), "closed")  # cut, not left hanging
                return
            eq(answer.status, 502)

    check_rows([
        ("0x3", b"0x3\r\nbad\r\n0\r\n\r\n"),
        ("size of 65 bits", b"10000000000000003\r\nbad\r\n0\r\n\r\n"),
        ("bare LF", b"3\nbad\n0\n\n"),
        ("more data than said", b"2\r\nbad\r\n0\r\n\r\n"),
        ("an end that is none", b"0\r\nbad\r\n\r\n"),
        ("closed in the middle", b"5\r\nbad", True),
        ("closed before the last chunk", b"", True),
    ], check)


def test_bytes_behind_a_response_are_never_an_answer(t):
    """Response smuggling: what a server sends ahead must not answer the next request."""
    def handler(peer):
        while peer.read_request() is not None:
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
                      b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen")

    headrace, _ = setup(t, [handler])
    with t.connect(headrace.port) as conn:
        for _ in range(10):
            conn.send(post(LENGTH))
            answer = conn.read_response()
            eq((answer.status, answer.body), (200, b"{}"))


def test_bytes_behind_a_response_that_fills_a_read_are_never_an_answer(t):
    """The end of the answer is the end of a read of 64 KiB, and what follows waits in the
    socket."""
    def handler(peer):
        while peer.read_request() is not None:
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
            size = 65536 - len(head % 65000)
            peer.send(head % size + b"x" * size
                      + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen")

    headrace, _ = setup(t, [handler])
    with t.connect(headrace.port) as conn:
        for _ in range(20):
            conn.send(post(LENGTH))
            answer = conn.read_response()
            eq((answer.status, answer.body.count(b"x")), (200, len(answer.body)))
            eq(len(answer.body) > 60000, True)


def test_bytes_that_come_late_are_never_the_next_answer(t):
    """A server speaks out of turn on a kept connection, and both its bytes and the next request are
    there when the gateway wakes up, in either order."""
    peers = []

    def handler(peer):
        peers.append(peer)
        while peer.read_request() is not None:
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    headrace, (server,) = setup(t, [handler], args=["--workers", "1"])
    late = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen"
    with t.connect(headrace.port) as conn:
        for server_first in (True, False) * 5:
            conn.send(post(LENGTH))
            eq(conn.read_response().body, b"{}")
            before = len(server.requests)
            headrace.signal(signal.SIGSTOP)
            os.waitpid(headrace.pid, os.WUNTRACED)
            if server_first:
                peers[-1].send(late)
            conn.send(post(LENGTH))
            if not server_first:
                peers[-1].send(late)
            headrace.signal(signal.SIGCONT)
            answer = conn.read_response()
            eq((answer.status, answer.body), (200, b"{}"))
            # Nothing was sent on the connection that was spoiled already.
            eq(len(server.requests), before + 1)


def test_a_body_that_comes_late_is_no_answer_to_the_next_request(t):
    """Servers that take HEAD for GET, or send a body with 304: it may come when the next request of
    anybody is on its way already. Such a connection is not used again."""
    def handler(peer):
        while True:
            request = peer.read_request()
            if request is None:
                return
            if request.method == "GET":
                peer.json()
                continue
            status = b"304 Not Modified" if request.method == "POST" else b"200 OK"
            peer.send(b"HTTP/1.1 %s\r\nContent-Length: 43\r\n\r\n" % status)
            time.sleep(0.001)
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen")

    headrace, (server,) = setup(t, [handler], args=["--workers", "1"], models=())
    get = b"GET /v1/x HTTP/1.1\r\n" + HOST + b"\r\n"
    with t.connect(headrace.port) as conn:
        conn.send(get)
        eq(conn.read_response().status, 200)
        for first in (get.replace(b"GET", b"HEAD"), post(LENGTH)) * 5:
            used = server.connections
            conn.send(first + get)
            conn.method = first.split(b" ")[0].decode()
            conn.read_response()
            conn.method = "GET"
            eq(conn.read_response().body, b'{"ok":true}')
            eq(server.connections, used + 1)  # one was left, one was opened


if __name__ == "__main__":
    main(globals())
