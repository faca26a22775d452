#!/usr/bin/env python3
"""Connections under pressure: clients that write before they read, read late, stall or pipeline,
and servers that dribble; and what the books say afterwards."""

import json
import os
import resource
import socket
import threading
import time

from common import (backend, contains, eq, eventually, main, ok_json, ok_stream, route, serve_all,
                    setup, upstream)
from harness import PATIENCE, HttpError


def raw_setup(t, handler, args=(), extra=""):
    """A route that takes anything by path: bodies are streamed."""
    server = upstream(t, handler)
    text = backend("be", [server.port], (), extra) + "---" + route("r", ["be"], path="/raw")
    return t.headrace({"a.yaml": text}, args), server


def in_flight(headrace):
    return sum(value for key, value in headrace.metrics().items()
               if key.startswith("headrace_endpoint_outstanding_requests{"))


def read_all(sock):
    """Everything until the peer closes; a reset is an error."""
    sock.settimeout(PATIENCE)
    data = b""
    while True:
        piece = sock.recv(65536)
        if not piece:
            return data
        data += piece


def small_socket(t, port, receive=4096):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    sock.settimeout(PATIENCE)
    sock.connect(("127.0.0.1", port))
    t.defer(sock.close)
    return sock


def test_a_client_that_writes_all_before_it_reads_gets_its_refusal(t):
    headrace, _ = setup(t, [serve_all(ok_json)])
    size = 3500000
    head = (b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"%s\r\n\r\n")
    cases = [
        # the body is refused at its first bytes, at its length, in its framing; the head is refused
        (head % (b"content-length: %d" % size) + b"]", b"400", b"invalid_json"),
        (head % b"content-length: 999999999" + b"{", b"413", b"body_too_large"),
        (head % b"transfer-encoding: chunked" + b"zz\r\n", b"400", b"malformed chunk size"),
        (b"GET /v1 HTTP/1.1\r\nhost: x\r\nbad header: x\r\n\r\n", b"400",
         b"malformed HTTP request"),
    ]
    for start, status, text in cases * 3:
        sock = small_socket(t, headrace.port)
        sock.sendall(start + b" " * (size - 1))
        answer = read_all(sock)
        eq(answer.split(b" ")[1], status, repr(start[:30]))
        contains(answer, text)
        contains(answer, b"connection: close")


def test_a_streamed_upload_that_stalls_is_408(t):
    headrace, server = raw_setup(t, serve_all(ok_json), ["--body-timeout", "2s"])
    for framing, start in ((b"content-length: 10", b"abc"),
                           (b"transfer-encoding: chunked", b"5\r\nab")):
        with t.connect(headrace.port) as conn:
            began = time.monotonic()
            conn.send(b"POST /raw HTTP/1.1\r\nhost: x\r\n%s\r\n\r\n%s" % (framing, start))
            answer = conn.read_response()
            eq((answer.status, answer.json()["error"]["code"]), (408, "body_timeout"))
            eq(time.monotonic() - began > 1.8, True)
    # A slow one that moves is served, though it takes longer than the limit.
    with t.connect(headrace.port) as conn:
        conn.send(b"POST /raw HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\n")
        for _ in range(6):
            time.sleep(0.5)
            conn.send(b"x")
        eq(conn.read_response().status, 200)
    eventually(lambda: in_flight(headrace) == 0, what="books are empty")


def test_a_server_may_take_its_time_after_a_streamed_upload(t):
    def late(peer, request):
        time.sleep(3)
        peer.json()

    headrace, _ = raw_setup(t, serve_all(late), ["--body-timeout", "1500ms"])
    with t.connect(headrace.port) as conn:
        conn.send(b"POST /raw HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\na")
        time.sleep(0.1)
        conn.send(b"b")
        eq(conn.read_response().status, 200)


def test_a_streamed_upload_that_breaks_the_rules_gets_an_answer(t):
    headrace, _ = raw_setup(t, serve_all(ok_json), ["--max-streamed-body-bytes", "100000"])
    start = b"POST /raw HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    for rest, status in ((b"5\r\nabcdeXX", 400), (b"g\r\n", 400),
                         (b"c350\r\n" + b"x" * 50000 + b"\r\n" + b"ea60\r\n" + b"x" * 60000, 413)):
        with t.connect(headrace.port) as conn:
            conn.send(start)
            time.sleep(0.1)
            conn.send(rest)
            eq(conn.read_response().status, status)
    eventually(lambda: in_flight(headrace) == 0, what="books are empty")


def test_many_pipelined_requests_of_a_client_that_reads_late(t):
    models = tuple("model-with-a-long-name-%03d" % i for i in range(120))
    headrace, _ = setup(t, [serve_all(ok_json)], models=models)
    sock = small_socket(t, headrace.port)
    count = 1000
    one = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"
    sock.sendall(one * (count - 1) + one.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
    time.sleep(0.5)
    answer = read_all(sock)
    eq(answer.count(b"HTTP/1.1 200 OK"), count)


def test_more_pipelined_requests_than_a_read_takes(t):
    headrace, _ = setup(t, [serve_all(ok_json)])
    count = 10000
    one = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"
    sock = small_socket(t, headrace.port, 1 << 20)
    data = one * (count - 1) + one.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    writer = threading.Thread(target=sock.sendall, args=(data,))
    writer.start()
    answer = read_all(sock)
    writer.join()
    eq(answer.count(b"HTTP/1.1 200 OK"), count)


def test_an_error_event_is_an_event_of_its_own(t):
    def breaks(peer, request):
        peer.stream_head()
        peer.token("a")
        peer.chunk(b'data: {"half":true}\n')
        time.sleep(0.1)
        peer.reset()
        return False

    headrace, _ = setup(t, [serve_all(breaks)])
    conn, answer = t.stream(headrace.port, model="m")
    body = bytes(conn.buffer)
    try:
        while True:
            piece = conn.sock.recv(65536)
            if not piece:
                break
            body += piece
    except OSError:
        pass
    contains(body, b'data: {"half":true}\n')
    contains(body, b"\n\ndata: {\"error\"")


def test_a_stalled_reader_is_dropped_whatever_the_servers_limit_is(t):
    def floods(peer, request):
        if request.method == "GET":
            peer.json()
            return
        peer.stream_head()
        while True:
            peer.event(b"x" * 8000)

    headrace, _ = setup(t, [serve_all(floods)],
                        "  timeouts: {connect: 2s, firstToken: 60s, betweenTokens: 60s}",
                        args=["--write-timeout", "700ms", "--workers", "1"])
    eq(t.request(headrace.port, "GET", "/v1/x").status, 200)  # the connection is kept
    sock = small_socket(t, headrace.port)
    body = json.dumps(t.chat_body(model="m", stream=True)).encode()
    sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s"
                 % (len(body), body))
    eventually(lambda: in_flight(headrace) > 0, what="it runs")
    eventually(lambda: in_flight(headrace) == 0, 8, what="it was dropped")


def test_a_server_that_dribbles_is_bounded(t):
    def head(peer, request):
        peer.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            peer.send(b"x")
            time.sleep(0.02)

    def interim(peer, request):
        while True:
            peer.send(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
            time.sleep(0.02)

    def comments(peer, request):
        peer.stream_head()
        while True:
            peer.chunk(b": wait\n\n")
            time.sleep(0.02)

    for handler in (head, interim, comments):
        headrace, _ = setup(t, [serve_all(handler)],
                            "  timeouts: {connect: 1s, firstToken: 1s, betweenTokens: 1s}")
        answer = t.chat(headrace.port, model="m", stream=True)
        eq((answer.status, answer.json()["error"]["code"]), (504, "first_token_timeout"))
        eventually(lambda: in_flight(headrace) == 0, what="the books are empty")


def test_a_flood_of_interim_answers_is_no_answer(t):
    early = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    count = [0]

    def interims(peer, request):
        peer.send(early * count[0])
        peer.json()

    headrace, _ = setup(t, [serve_all(interims)], route_extra="    retry: {attempts: 0}")
    for count[0], status in ((900, 200), (1100, 502), (900, 200)):
        eq(t.chat(headrace.port, model="m").status, status)


def test_a_frozen_server_is_avoided_after_it_let_one_wait(t):
    def frozen(peer, request):
        time.sleep(20)

    headrace, servers = setup(t, [serve_all(frozen), serve_all(ok_stream)],
                              "  balancing: {policy: RoundRobin}\n"
                              "  timeouts: {connect: 1s, firstToken: 1s, betweenTokens: 1s}",
                              "    retry: {attempts: 0}")
    statuses = []
    began = time.monotonic()
    while 504 not in statuses and len(statuses) < 10:
        statuses.append(t.chat(headrace.port, model="m", stream=True).status)
    eq(statuses[-1], 504)
    waited = [t.chat(headrace.port, model="m", stream=True).status for _ in range(8)]
    eq(waited, [200] * 8, "right after the timeout (%.1f s)" % (time.monotonic() - began))


def test_half_closed_clients_and_clients_that_close_with_data_pending(t):
    headrace, servers = setup(t, [serve_all(ok_json)])
    for rest in (b"", b"GET / HTTP/1.1\r\n", b"\r\n"):
        sock = small_socket(t, headrace.port)
        sock.sendall(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n" + rest)
        sock.shutdown(socket.SHUT_WR)
        data = read_all(sock)
        eq(data.count(b"HTTP/1.1 200 OK"), 1, repr(rest))
    # "connection: close" with more behind it: the answer arrives whole, no reset takes it away.
    for _ in range(20):
        sock = small_socket(t, headrace.port)
        sock.sendall(b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
                     + b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n" * 5000)
        time.sleep(0.01)
        eq(read_all(sock).count(b"HTTP/1.1 200 OK"), 1)
    eventually(lambda: headrace.metrics()["headrace_connections_open"] == 0, what="all closed")


def test_too_many_connections_wait_and_are_served(t):
    headrace, _ = setup(t, [serve_all(ok_json)], args=["--workers", "1", "--max-connections", "4"])
    held = [t.connect(headrace.port) for _ in range(4)]
    for conn in held:
        eq(conn.request("GET", "/v1/models").status, 200)
    late = [t.connect(headrace.port) for _ in range(3)]
    for conn in late:
        conn.send_request("GET", "/v1/models")
    try:
        late[0].read_head(timeout=0.4)
        raise AssertionError("more than four are served at once")
    except HttpError as error:
        t.log("waits, as it should: %r" % error)
    for conn in held[:3]:
        conn.close()
    for conn in late[1:]:
        eq(conn.read_response().status, 200)
    eq(held[3].request("GET", "/v1/models").status, 200)


def test_running_out_of_files_is_survived_and_blames_no_server(t):
    headrace, servers = setup(t, [serve_all(ok_json)], args=["--workers", "1"])
    eq(t.chat(headrace.port, model="m").status, 200)
    time.sleep(0.1)
    used = len(os.listdir("/proc/%d/fd" % headrace.pid))
    _, most = resource.prlimit(headrace.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(headrace.pid, resource.RLIMIT_NOFILE, (used + 4, most))
    conns = [t.connect(headrace.port) for _ in range(10)]
    before = sum(int(x) for x in open("/proc/%d/stat" % headrace.pid).read().split()[13:15])
    time.sleep(1.0)
    after = sum(int(x) for x in open("/proc/%d/stat" % headrace.pid).read().split()[13:15])
    eq(after - before < 40, True, "it spins: %d ticks in a second" % (after - before))
    # Those that were let in: no file is left for the way to the server.
    conns[0].send_request("POST", "/v1/chat/completions", {}, t.chat_body(model="m"))
    conns[1].send_request("POST", "/v1/chat/completions", {}, t.chat_body(model="m"))
    for conn in conns:
        conn.close()
    time.sleep(0.1)
    resource.prlimit(headrace.pid, resource.RLIMIT_NOFILE, (most, most))
    eventually(lambda: t.chat(headrace.port, model="m").status == 200, what="served again")
    failures = [value for key, value in headrace.metrics().items()
                if key.startswith("headrace_endpoint_failures_total")]
    eq(sum(failures), 0)


def test_keep_alive_of_old_clients_and_odd_statuses(t):
    def answer(peer, request):
        status = request.target.rsplit("/", 1)[1].encode()
        if status in (b"204", b"304"):
            peer.send(b"HTTP/1.1 %s Odd\r\netag: x\r\n\r\n" % status)
        elif status == b"close":
            peer.send(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
            return False
        else:
            peer.json(extra=b"connection: x-hop\r\nx-hop: secret\r\nkeep-alive: timeout=3\r\n")

    headrace, _ = raw_setup(t, serve_all(answer))
    with t.connect(headrace.port) as conn:
        for _ in range(2):
            for status in (204, 304):
                got = conn.request("GET", "/raw/%d" % status)
                eq((got.status, got.headers.get("transfer-encoding"), got.body),
                   (status, None, b""))
            got = conn.request("GET", "/raw/close")
            eq((got.status, got.headers.get("transfer-encoding"), got.body),
               (200, "chunked", b"until the end"))
            got = conn.request("GET", "/raw/200")
            eq((got.headers.get("x-hop"), got.headers.get("keep-alive")), (None, None))
    with t.connect(headrace.port) as conn:
        for _ in range(2):
            conn.send(b"GET /raw/200 HTTP/1.0\r\nhost: x\r\nconnection: keep-alive\r\n\r\n")
            got = conn.read_response()
            eq((got.status, got.headers.get("connection")), (200, "keep-alive"))
        conn.send(b"GET /raw/200 HTTP/1.0\r\nhost: x\r\n\r\n")
        eq(conn.read_response().headers.get("connection"), "close")
        eq(conn.is_closed(), True)


def test_the_sum_of_buffered_requests_is_bounded(t):
    """Bodies that never end cannot fill the memory: beyond the limit 503, and room comes back."""
    headrace, servers = setup(t, [serve_all(ok_json)],
                              args=["--workers", "1", "--max-buffered-bytes", "1000000"])
    held = []
    for _ in range(3):  # a buffer may be twice what is in it
        conn = t.connect(headrace.port)
        conn.send(b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: 400000\r\n\r\n"
                  b'{"model":"m","x":"' + b"y" * 390000)
        held.append(conn)
    refused = []
    for conn in held:
        try:
            refused.append(conn.read_response(timeout=2))
        except Exception:
            continue  # still waited for
    assert 1 <= len(refused) <= 2, len(refused)
    for answer in refused:
        eq((answer.status, answer.json()["error"]["code"]), (503, "buffers_full"))
    for conn in held:
        conn.close()

    def room():
        return t.chat(headrace.port, prompt="z" * 300000, model="m").status == 200

    eventually(room, what="room again")


if __name__ == "__main__":
    main(globals())
