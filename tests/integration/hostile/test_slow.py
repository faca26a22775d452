#!/usr/bin/env python3
"""Clients that are slow on purpose, by the hundred: others are served meanwhile, memory is bounded,
the slow ones are cut, and metrics and log say how many."""

import os
import shutil
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hostile import LOG_LINE, Bystander, Growth, eq, eventually, main, raw_connect  # noqa: E402
from hostile import read_all  # noqa: E402
from common import backend, ok_either, ok_json, route, serve_all, setup, upstream  # noqa: E402
from harness import skip  # noqa: E402

CONNECTIONS = 200
FAST = ["--header-timeout", "500ms", "--body-timeout", "500ms", "--write-timeout", "1s"]
MEGABYTE = 1 << 20


def outcome(headrace, name):
    return headrace.metrics()['headrace_request_outcomes_total{outcome="%s"}' % name]


def slowhttptest(t, headrace, *args, path="/v1/x", seconds=4):
    if shutil.which("slowhttptest") is None:
        skip("slowhttptest is not installed")
    process = t.process(["slowhttptest", "-c", str(CONNECTIONS), "-r", "200", "-l", str(seconds),
                         "-p", "3", "-u", "http://127.0.0.1:%d%s" % (headrace.port, path), *args])
    process.wait(60)


def test_slow_heads(t):
    headrace, (server,) = setup(t, [serve_all(ok_either)], args=FAST)
    with Bystander(headrace), Growth(headrace, 16 * MEGABYTE):
        slowhttptest(t, headrace, "-H", "-i", "2")
    eventually(lambda: outcome(headrace, "header_timeout") >= CONNECTIONS, what="all are counted")
    headrace.wait_output(LOG_LINE % "header_timeout")


def test_slow_bodies_that_are_streamed(t):
    servers = [upstream(t, serve_all(ok_either)) for _ in range(2)]
    text = "---".join([backend("be", [servers[0].port]), route("r", ["be"]),
                       backend("raw", [servers[1].port], ()), route("s", ["raw"], path="/raw")])
    headrace = t.headrace({"all.yaml": text}, FAST)
    with Bystander(headrace), Growth(headrace, 16 * MEGABYTE):
        slowhttptest(t, headrace, "-B", "-i", "2", "-s", "8192", path="/raw")
    eventually(lambda: outcome(headrace, "body_timeout") >= CONNECTIONS, what="all are counted")
    headrace.wait_output(LOG_LINE % "body_timeout")
    # None of them ever was whole; the attacker looks with a GET whether we live.
    eq({request.method for request in servers[1].requests} <= {"GET"}, True)
    eventually(lambda: servers[1].open == 0, what="what was begun there is given up")


def test_slow_bodies_that_are_read_first(t):
    """A byte now and then keeps no request alive: it needs 500 a second on average."""
    headrace, (server,) = setup(t, [serve_all(ok_either)], args=FAST)
    head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n"
    socks = [raw_connect(headrace.port) for _ in range(CONNECTIONS)]
    with Bystander(headrace), Growth(headrace, 16 * MEGABYTE):
        for sock in socks:
            sock.sendall(head + b'{"model":"m","x":"')

        def all_cut():
            for sock in list(socks):
                try:
                    sock.sendall(b"y")
                except OSError:
                    socks.remove(sock)
            return not socks
        eventually(all_cut, 30, "all slow bodies are cut", interval=0.1)
    eventually(lambda: outcome(headrace, "body_timeout") == CONNECTIONS, what="all are counted")
    headrace.wait_output(LOG_LINE % "body_timeout")


def large(peer, request):
    if b"large" in request.target.encode():
        peer.json(b'{"x":"' + b"y" * (4 * MEGABYTE) + b'"}')
    else:
        ok_json(peer, request)


def large_too(t, args):
    servers = [upstream(t, serve_all(large)) for _ in range(2)]
    text = "---".join([backend("be", [servers[0].port]), route("r", ["be"]),
                       backend("raw", [servers[1].port], ()), route("s", ["raw"], path="/large")])
    return t.headrace({"all.yaml": text}, args), servers[1]


def test_slow_readers(t):
    """What a client does not take is not read from the server either."""
    headrace, server = large_too(t, FAST)
    with Bystander(headrace), Growth(headrace, 64 * MEGABYTE):
        slowhttptest(t, headrace, "-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32",
                     path="/large")
    eventually(lambda: outcome(headrace, "client_stalled") + outcome(headrace, "client_abort")
               >= CONNECTIONS // 2, what="they are counted")
    eventually(lambda: server.open == 0, what="what was begun there is given up")


def test_readers_that_stop(t):
    headrace, server = large_too(t, FAST)
    socks = []
    with Bystander(headrace), Growth(headrace, 64 * MEGABYTE):
        for _ in range(CONNECTIONS):
            sock = raw_connect(headrace.port)
            sock.sendall(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
            socks.append(sock)
        eventually(lambda: outcome(headrace, "client_stalled") >= CONNECTIONS * 9 // 10, 30,
                   "who takes nothing is cut")
    headrace.wait_output(LOG_LINE % "client_stalled")
    eventually(lambda: server.open == 0, what="what was begun there is given up")


def test_pipelines_of_who_never_reads(t):
    """Answers do not pile up here: the next request waits until the answer before it was taken."""
    headrace, (server,) = setup(t, [serve_all(ok_either)], args=FAST)
    request = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"
    with Bystander(headrace), Growth(headrace, 32 * MEGABYTE):
        socks = [raw_connect(headrace.port) for _ in range(50)]
        for sock in socks:
            sock.settimeout(0.2)
            try:
                for _ in range(50):
                    sock.sendall(request * 500)
            except OSError:
                pass  # full, or cut already

        def all_gone():
            return headrace.metrics()["headrace_connections_open"] <= 3
        eventually(all_gone, 30, "they are cut")


def flood(t, headrace, data, connections=50, pieces=2000):
    """Each connection sends this again and again until it is refused; the answers."""
    answers = []

    def run():
        sock = raw_connect(headrace.port)
        try:
            sock.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\n")
            for _ in range(pieces):
                sock.sendall(data)
        except OSError:
            pass
        answers.append(read_all(sock)[:12])
    threads = [threading.Thread(target=run, daemon=True) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    eq(len(answers), connections)
    return answers


def test_floods_of_headers(t):
    headrace, (server,) = setup(t, [serve_all(ok_either)])
    with Bystander(headrace), Growth(headrace, 32 * MEGABYTE):
        answers = flood(t, headrace, b"x: y\r\n" * 100)
        answers += flood(t, headrace, b"y" * 1000)
    refused = [answer for answer in answers if answer == b"HTTP/1.1 431"]
    # A client that goes on sending may lose the answer to a reset, never more.
    eq(set(answers) <= {b"HTTP/1.1 431", b""}, True)
    eq(len(refused) > 50, True, "%d were told" % len(refused))
    metrics = headrace.metrics()
    eq(sum(metrics['headrace_rejected_messages_total{reason="%s"}' % reason]
           for reason in ("too_many_headers", "headers_too_large")), 100)
    headrace.wait_output(LOG_LINE % "too_many_headers")


def test_floods_of_chunks(t):
    """Chunks of one byte with long extensions, empty lines, endless trailers: what is no data has a
    bound of its own."""
    headrace, (server,) = setup(t, [serve_all(ok_either)])
    start = b"transfer-encoding: chunked\r\n\r\n"
    with Bystander(headrace), Growth(headrace, 32 * MEGABYTE):
        answers = flood(t, headrace, start + (b"1;" + b"a" * 500 + b"\r\n{\r\n"), 20)
        answers += flood(t, headrace, start + b"0\r\n" + b"x: y\r\n" * 5000, 20)
        answers += flood(t, headrace, b"\r\n", 20)
    eq(set(answers) <= {b"HTTP/1.1 400", b""}, True, repr(set(answers)))
    eq(server.received - sum(len(r.body) for r in server.requests) > 0, True)  # the bystanders'


def test_connections_that_say_nothing(t):
    headrace, (server,) = setup(t, [serve_all(ok_either)], args=["--idle-timeout", "500ms"])
    with Bystander(headrace), Growth(headrace, 8 * MEGABYTE):
        socks = [raw_connect(headrace.port) for _ in range(1000)]
        for sock in socks:
            eq(read_all(sock), b"")


if __name__ == "__main__":
    main(globals())
