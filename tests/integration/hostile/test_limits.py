#!/usr/bin/env python3
"""When something is short, what is new is refused, early and with a word; what has begun goes on,
and afterwards everything is as before."""

import os
import resource
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hostile import BODY, LOG_LINE, Bystander, Connection, HttpError, contains, eq  # noqa: E402
from hostile import eventually, is_sanitized, main, raw_connect, read_all, resident  # noqa: E402
from common import ok_either, ok_json, serve_all, setup  # noqa: E402
from harness import skip  # noqa: E402

POST = (b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(BODY)
        + BODY)


def refused(headrace, reason):
    return headrace.metrics()['headrace_connections_refused_total{reason="%s"}' % reason]


def is_open(sock):
    sock.settimeout(0.05)
    try:
        return sock.recv(1) not in (b"", b"H")
    except TimeoutError:
        return True
    except OSError:
        return False


def test_connections_of_one_address(t):
    headrace, _ = setup(t, [serve_all(ok_either)],
                        args=["--max-connections-per-address", "10", "--workers", "1"])
    with Bystander(headrace, clients=1):
        held = [raw_connect(headrace.port, "127.0.0.2") for _ in range(10)]
        for sock in held:
            sock.sendall(POST[:20])
        for _ in range(5):
            more = raw_connect(headrace.port, "127.0.0.2")
            answer = read_all(more)
            contains(answer, b"429 Too Many Requests\r\n")
            contains(answer, b"\r\nretry-after: 1\r\n")
            contains(answer, b'"code":"address_limit"')
        # The ten are served, and who leaves makes room.
        for sock in held:
            sock.sendall(POST[20:])
            contains(sock.recv(65536), b"200 OK")
            sock.close()

        def room():
            with raw_connect(headrace.port, "127.0.0.2") as sock:
                sock.sendall(POST)
                return b"200 OK" in sock.recv(65536)
        eventually(room, what="there is room again")
    eq(refused(headrace, "address_limit") >= 5, True)
    headrace.wait_output(LOG_LINE % "address_limit")


def test_connections_are_counted_over_all_workers(t):
    headrace, _ = setup(t, [serve_all(ok_either)],
                        args=["--max-connections-per-address", "10", "--workers", "4"])
    held = [raw_connect(headrace.port, "127.0.0.2") for _ in range(40)]
    eventually(lambda: refused(headrace, "address_limit") == 30, what="30 of 40 are refused")
    eq(len([sock for sock in held if is_open(sock)]), 10)


def test_trusted_proxies_are_not_counted(t):
    headrace, _ = setup(t, [serve_all(ok_either)],
                        args=["--max-connections-per-address", "1", "--workers", "1",
                              "--trusted-proxies", "127.0.0.3"])
    held = [raw_connect(headrace.port, "127.0.0.3") for _ in range(10)]
    held += [raw_connect(headrace.port, "127.0.0.2") for _ in range(3)]
    eventually(lambda: refused(headrace, "address_limit") == 2, what="2 of 3 others are refused")
    for sock in held[:11]:
        sock.sendall(POST)
        contains(sock.recv(65536), b"200 OK")


def test_who_is_named_by_a_proxy_is_counted(t):
    """Of a load balancer that speaks the PROXY protocol not its own address counts, but those of
    its clients, and its own where it names none."""
    for trusted in (["--trusted-proxies", "127.0.0.3"], []):
        headrace, _ = setup(t, [serve_all(ok_either)],
                            args=["--max-connections-per-address", "2", "--workers", "1",
                                  "--proxy-protocol", "required"] + trusted)

        def one(client, line=b"PROXY TCP4 %s 198.51.100.2 1234 80\r\n"):
            sock = raw_connect(headrace.port, "127.0.0.3")
            sock.sendall((line % client if client else b"PROXY UNKNOWN\r\n") + POST)
            return sock

        def is_served(sock):
            return b"200 OK" in sock.recv(65536)

        held = [raw_connect(headrace.port, "127.0.0.3") for _ in range(5)]  # not named yet
        held += [one(b"192.0.2.%d" % (i % 10)) for i in range(20)]
        eq([is_served(sock) for sock in held[5:]], [True] * 20)
        for i in range(3):
            answer = read_all(one(b"192.0.2.%d" % i))
            contains(answer, b"429 Too Many Requests\r\n")
        eq(refused(headrace, "address_limit"), 3)
        headrace.wait_output(LOG_LINE % "address_limit" + ".*client=192.0.2.0")
        held[5].close()  # makes room for its client only
        eventually(lambda: is_served(one(b"192.0.2.0")), what="there is room again")
        eq(b"429" in read_all(one(b"192.0.2.1")), True)
        own = [one(None) for _ in range(2)]
        eq([is_served(sock) for sock in own], [True] * 2)
        eq(is_served(one(None)), bool(trusted))


def test_connections_of_one_address_come_and_go(t):
    """Every way in which a connection ends gives its place back."""
    headrace, _ = setup(t, [serve_all(ok_either)],
                        args=["--max-connections-per-address", "5", "--idle-timeout", "100ms",
                              "--header-timeout", "100ms"])
    for _ in range(5):
        for data in (b"", POST[:10], POST, b"nonsense\r\n\r\n", POST[:-1]):
            sock = raw_connect(headrace.port, "127.0.0.2")
            sock.sendall(data)
            if data == POST:
                contains(sock.recv(65536), b"200 OK")
            elif data and data != POST[:-1]: # whose time limit is a longer one
                sock.recv(1)
            sock.close()

        def all_gone():
            return headrace.metrics()["headrace_connections_open"] == 0
        eventually(all_gone, what="all connections are closed")
    eq(refused(headrace, "address_limit"), 0)


def hold(headrace, gate, count, size):
    """Requests that are in the middle of being served until the gate opens; their answers."""
    body = b'{"model":"m","messages":[{"role":"user","content":"%s"}]}' % (b"x" * size)
    answers = []

    def run():
        try:
            with Connection(headrace.port) as conn:
                answers.append(conn.request("POST", "/v1/chat/completions", body=body).status)
        except (HttpError, OSError):
            answers.append(0)  # sent away before it had sent all
    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()

    def finish():
        gate.set()
        for thread in threads:
            thread.join()
        return answers
    return finish


def test_memory_that_runs_out(t):
    if is_sanitized():
        skip("a sanitizer's memory is not the program's")
    gate = threading.Event()

    def slow(peer, request):
        if len(request.body) > 100000:
            gate.wait(60)
        ok_json(peer, request)

    plain, _ = setup(t, [serve_all(slow)])
    limit = resident(plain) + (60 << 20)
    plain.stop()
    headrace, _ = setup(t, [serve_all(slow)], args=["--memory-limit", str(limit),
                                                    "--max-buffered-bytes", str(1 << 30)])
    eq(headrace.metrics()["headrace_memory_limit_bytes"], limit)
    inside = t.connect(headrace.port)
    eq(inside.request("POST", "/v1/completions", body=BODY).status, 200)
    waiting = []

    def is_short():
        waiting.append(hold(headrace, gate, 4, 2 << 20))
        return headrace.metrics()["headrace_overload"] >= 1
    eventually(is_short, what="memory is short", interval=0.2)
    # Who comes now is told, whether by a request or a connection.
    answer = inside.request("POST", "/v1/completions", body=BODY)
    eq((answer.status, answer.json()["error"]["code"]), (503, "memory_limit"))
    eq(answer.headers["retry-after"], "1")
    if headrace.metrics()["headrace_overload"] == 2:
        answer = read_all(raw_connect(headrace.port))
        contains(answer, b"503 Service Unavailable\r\n")
        contains(answer, b"retry-after: 1\r\n")
        contains(answer, b'"code":"memory_limit"')
    headrace.wait_output("memory is short: new requests are refused")
    eq(resident(headrace) < limit * 1.2, True, "memory is bounded")
    statuses = [status for finish in waiting for status in finish()]
    eq(set(statuses) <= {200, 503, 0}, True, repr(set(statuses)))
    eq(statuses.count(200) > 10, True)

    # It is over when the memory is free again.
    def served():
        return t.request(headrace.port, "POST", "/v1/completions", body=BODY).status == 200
    eventually(served, what="requests are served again")
    headrace.wait_output("there is memory again")
    headrace.wait_output(LOG_LINE % "memory_limit")
    eq(headrace.metrics()["headrace_overload"], 0)


def test_heads_count_to_the_buffers(t):
    """Who sends the beginning of many large heads meets the limit, not the machine's memory."""
    headrace, _ = setup(t, [serve_all(ok_either)],
                        args=["--max-buffered-bytes", str(1 << 20), "--max-body-bytes", "65536",
                              "--workers", "1"])
    held = []
    for _ in range(100):
        sock = raw_connect(headrace.port)
        sock.sendall(b"GET /v1/x HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 30000)
        held.append(sock)

    def some_refused():
        return headrace.metrics()[
            'headrace_request_outcomes_total{outcome="buffers_full"}'] >= 50
    eventually(some_refused, what="heads are refused")
    for sock in held:
        sock.close()

    def served():
        return t.request(headrace.port, "POST", "/v1/completions", body=BODY).status == 200
    eventually(served, what="requests are served again")
    headrace.wait_output(LOG_LINE % "buffers_full")


def test_files_that_run_out(t):
    """Who connects while there is no descriptor is told so; nobody hangs, and who is in stays."""
    headrace, _ = setup(t, [serve_all(ok_either)], args=["--workers", "1"])
    inside = t.connect(headrace.port)
    eq(inside.request("POST", "/v1/completions", body=BODY).status, 200)
    open_now = len(os.listdir("/proc/%d/fd" % headrace.pid))
    resource.prlimit(headrace.pid, resource.RLIMIT_NOFILE, (open_now + 12, open_now + 12))
    time.sleep(0.7)  # it looks at its limit twice a second
    held, told = [], 0
    for _ in range(20):
        sock = raw_connect(headrace.port)
        held.append(sock)
    for sock in held:
        sock.settimeout(0.2)
        try:
            told += b'"code":"file_limit"' in sock.recv(65536)
        except OSError:
            pass
    eq(told >= 10, True, "%d were told" % told)
    eq(refused(headrace, "files") >= told, True)
    # There is room for what is needed to serve who is in.
    eq(inside.request("POST", "/v1/completions", body=BODY).status, 200)
    headrace.wait_output(LOG_LINE % "files")
    for sock in held:
        sock.close()

    def served():
        return t.request(headrace.port, "POST", "/v1/completions", body=BODY).status == 200
    eventually(served, what="there is room again")


def test_a_full_disk_loses_the_log_only(t):
    headrace, _ = setup(t, [serve_all(ok_either)], args=["--access-log", "/dev/full"])
    with Bystander(headrace):
        eventually(lambda: headrace.metrics()[
            'headrace_access_log_dropped_total{reason="write_error"}'] >= 10, what="lines are lost")


def test_wrong_limits_are_told(t):
    for value in ("lots", "1000", "-1"):
        process = t.process([os.path.join(os.environ.get("BUILD", "build"), "headrace"), "run",
                             "--config-dir", t.folder, "--memory-limit", value])
        eq(process.wait(), 2)
        contains(process.stderr, "want auto, off, or at least")


if __name__ == "__main__":
    main(globals())
