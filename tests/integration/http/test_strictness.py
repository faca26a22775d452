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
from common import contains, eq, eventually, main, serve_all, setup  # noqa: E402
from smuggling_table import BODY, CHUNKS, CHUNK, HOST, LENGTH, REQUESTS, RESPONSES  # noqa: E402
from smuggling_table import SMUGGLED, chunked, post  # noqa: E402


def ok_json(peer, request):
    peer.json(b'{"answer":"%s"}' % request.target.encode())


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
        eq(server.received, 0, "bytes that came through")

    check_rows(REQUESTS, check)
    # The program still serves, and a sound request passes.
    answer, _ = exchange(t, headrace.port, post(LENGTH + b"Connection: close\r\n"))
    eq(answer.status, 200)


def test_broken_chunks_of_a_streamed_request_cut_it(t):
    """Nothing waits for the end of a body that is passed on as it comes: the server has its
    beginning, and must neither see an end of it nor anything behind it."""
    seen = []

    def handler(peer):
        seen.append(peer)
        peer.read_request()

    headrace, (server,) = setup(t, [handler], models=())

    def check(what, body):
        t.log("row: %s" % what)
        answer, closed = exchange(t, headrace.port, chunked(body) + SMUGGLED)
        eq((answer.status, closed), (400, True))
        eventually(lambda: server.open == 0, what="the server's connection is closed")
        eq(len(server.requests), 0, "whole requests that came through")
        eq(any(b"smuggled" in peer.buffer for peer in seen), False, "what followed came through")
        del seen[:]

    check_rows(CHUNKS, check)


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
        # Leading zeros are decimal, never octal.
        ("length 013", post(b"Content-Length: 013\r\n"), "/v1/chat/completions", []),
        ("tab before chunked",
         post(b"Transfer-Encoding:\tCHUNKED \r\n", CHUNK + b"0\r\n\r\n"),
         "/v1/chat/completions", []),
        ("GET with a body", post(LENGTH, line=b"GET /v1/completions HTTP/1.1\r\n"),
         "/v1/completions", []),
        ("chunk size with zeros in front", chunked(b"00d\r\n" + BODY + b"\r\n00\r\n\r\n"),
         "/v1/chat/completions", []),
        ("headers of one hop",
         post(LENGTH + b"Connection: x-hop, Upgrade\r\nX-Hop: 1\r\nUpgrade: websocket\r\n"
              b"TE: gzip\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\nTrailer: X\r\n"),
         "/v1/chat/completions",
         ["x-hop", "upgrade", "te", "keep-alive", "proxy-connection", "trailer"]),
    ], check)


def test_bytes_of_values_are_kept(t):
    """No-break spaces and other high bytes are no white space: what one party strips and another
    one keeps names two users."""
    heads = []

    def handler(peer):
        while True:
            heads.append(bytes(peer.sock.recv(65536)))
            if not heads[-1]:
                return
            peer.json()

    headrace, _ = setup(t, [handler])
    values = [b"\x85admin\xa0", b"\xffa\xff", b"a\tb", b"a  b"]
    for value in values:
        exchange(t, headrace.port, post(LENGTH + b"X-User: \t " + value + b" \t\r\n"
                                        b"Connection: close\r\n"))
        contains(b"".join(heads), b"\r\nX-User: " + value + b"\r\n")


def test_what_is_sound_is_answered_before_what_is_not(t):
    """A mistake behind a request is not the mistake of that request."""
    headrace, (server,) = setup(t, [serve_all(ok_json)])

    def check(what, first, rest, statuses, targets):
        before = len(server.requests)
        with t.connect(headrace.port) as conn:
            conn.send(first + rest)
            eq([conn.read_response().status for _ in statuses], statuses)
            eq(conn.is_closed(), True)
        eq([r.target for r in server.requests[before:]], targets)

    path = "/v1/chat/completions"
    chunks = chunked(CHUNK + b"0\r\n\r\n")
    check_rows([
        ("no HTTP behind it", post(LENGTH), b"Invalid\r\n\r\n", [200, 400], [path]),
        ("no HTTP behind the last one", post(LENGTH + b"Connection: close\r\n"),
         b"Invalid\r\n\r\n", [200], [path]),
        ("a byte behind a chunked body", chunks, b"\x00", [200], [path]),
        ("a sound one, and one that is not", post(LENGTH),
         post(LENGTH, line=b"POST /v1/completions HTTP/1.1\r\n") + post(LENGTH + LENGTH),
         [200, 200, 400], [path, "/v1/completions"]),
        ("an empty body is no body", post(b"Content-Length: 0\r\n", b"") + post(LENGTH),
         b"Invalid\r\n\r\n", [400, 200, 400], [path]),
    ], check)


def test_connection_options_cannot_strip_what_matters(t):
    headrace, (server,) = setup(t, [serve_all(ok_json)])
    answer, _ = exchange(t, headrace.port, post(
        LENGTH + b"Cookie: c=1\r\nConnection: close, host, content-length, content-type, "
                 b"cookie\r\n"))
    eq(answer.status, 200)
    got = server.requests[-1]
    eq((got.get("cookie"), got.get("content-type"), got.body), ("c=1", "application/json", BODY))


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
            eq(BODY in answer.body, False, "the server's bytes in the body")
        eventually(lambda: server.open == 0, what="the server's connection is closed")

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
