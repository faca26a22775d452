#!/usr/bin/env python3
"""Looking into a running instance: the live state, the level of the log, where the access log goes
and what becomes of it when nobody takes it, and that nothing can fill the log."""

import json
import os
import signal
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import contains, eq, eventually, free_port, main, skip  # noqa: E402
from test_admin import HOST, ROUTE, backend, get, run_command, start  # noqa: E402

SECRET = "Bearer very-secret-token"


def admin_of(headrace):
    return "127.0.0.1:%d" % headrace.admin_port


def state(t, headrace, query=""):
    return get(t, headrace, "/debug/state" + query).json()


def sum_of(found, *path):
    total = 0
    for worker in found["workers"]:
        for name in path:
            worker = worker[name]
        total += worker
    return total


def test_the_live_state_shows_what_is_under_way(t):
    sim, headrace = start(t, decode_step=50, args=["--workers", "2"])
    conn, head = t.stream(headrace.port, "a secret prompt", dict(HOST, authorization=SECRET),
                          max_tokens=2000)
    eq(head.status, 200)
    t.connect(headrace.port)
    found = eventually(lambda: (lambda s: s if sum_of(s, "connections", "open") == 2 else None)(
        state(t, headrace)), what="both connections are there")
    eq([w["answered"] for w in found["workers"]], [True, True])
    eq(sum_of(found, "connections", "idle"), 1)
    eq(sum_of(found, "requests", "open"), 1)
    requests = [r for w in found["workers"] for r in w["oldest_requests"]]
    eq((requests[0]["phase"], requests[0]["route"], requests[0]["backend"]),
       ("relay", "ml/chat", "ml/tiny"))
    assert requests[0]["endpoint"] in ["127.0.0.1:%d" % port for port in sim.ports], requests
    eq(requests[0]["id"], head.headers.get("x-request-id"))
    connections = [c for w in found["workers"] for c in w["oldest_connections"]]
    eq(sorted(c["state"] for c in connections), ["idle", "request"])
    eq({c["client"] for c in connections}, {"127.0.0.1"})
    eq(found["limits"]["workers"], 2)
    eq(found["generation"], 1)
    eq(found["backends"][0]["name"], "ml/tiny")
    text = get(t, headrace, "/debug/state").text
    assert "secret" not in text, text
    conn.close()
    eventually(lambda: sum_of(state(t, headrace), "requests", "open") == 0, what="it is gone")


def test_the_live_state_of_http2(t):
    path = os.path.join(t.folder, "access.log")
    _, headrace = start(t, decode_step=50, args=["--workers", "1", "--access-log", path])
    body = json.dumps(t.chat_body(stream=True, max_tokens=2000))
    curl = subprocess.Popen(["curl", "-sN", "--http2-prior-knowledge",
                             "-H", "host: " + HOST["host"],
                             "-H", "content-type: application/json", "-d", body,
                             "http://127.0.0.1:%d/v1/chat/completions" % headrace.port],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL)
    try:
        assert curl.stdout.read(5) == b"data:", "the stream has begun"
        worker = state(t, headrace)["workers"][0]
        eq((worker["connections"]["open"], worker["connections"]["http2"]), (1, 1))
        connection, = worker["oldest_connections"]
        eq((connection["protocol"], connection["streams"]), ("HTTP/2", 1))
        request, = worker["oldest_requests"]
        eq((request["protocol"], request["phase"], request["client"]),
           ("HTTP/2", "relay", "127.0.0.1"))
    finally:
        curl.kill()
        curl.communicate()
    line = json.loads(eventually(lambda: text_lines(path), what="a line is there")[0])
    eq((line["protocol"], line["outcome"]), ("HTTP/2", "client_abort"))


def test_the_live_state_is_bounded(t):
    _, headrace = start(t, args=["--workers", "1"])
    kept = [t.connect(headrace.port) for _ in range(30)]
    eventually(lambda: sum_of(state(t, headrace), "connections", "open") == len(kept),
               what="all are accepted")
    for query, most in (("", 20), ("?n=0", 0), ("?n=3", 3), ("?n=1000", 30)):
        found = state(t, headrace, query)
        eq(len(found["workers"][0]["oldest_connections"]), most, query)
        eq(found["workers"][0]["connections"]["idle"], 30)
    get(t, headrace, "/debug/state?n=1001", 400)
    get(t, headrace, "/debug/state?n=x", 400)


def test_the_live_state_for_people_and_on_a_signal(t):
    _, headrace = start(t)
    eq(t.chat(headrace.port, headers=HOST).status, 200)
    found = json.loads(run_command("dump", "--admin", admin_of(headrace), "--most", "1")[0])
    eq(found["backends"][0]["name"], "ml/tiny")
    run_command("dump", "more", status=2)

    def line():
        lines = [row for row in headrace.stderr.split("\n") if row.startswith('{"version":')]
        return json.loads(lines[-1]) if lines and lines[-1].endswith("]}") else None
    headrace.signal(signal.SIGUSR1)
    found = eventually(line, what="the state is on standard error")
    eq(found["backends"][0]["name"], "ml/tiny")
    eq(t.chat(headrace.port, headers=HOST).status, 200)


def test_dumps_under_load_and_at_the_end(t):
    _, headrace = start(t, args=["--workers", "2"])
    calls = [lambda: t.chat(headrace.port, headers=HOST).status] * 40
    calls += [lambda: len(state(t, headrace)["workers"])] * 10
    answers = t.parallel(calls)
    eq(answers, [200] * 40 + [2] * 10)
    for _ in range(20):
        headrace.signal(signal.SIGUSR1)
    headrace.signal(signal.SIGTERM)
    headrace.signal(signal.SIGTERM)
    eq(headrace.wait(20), 0)


def test_the_level_of_the_log_changes_while_it_runs(t):
    _, headrace = start(t)
    admin = admin_of(headrace)
    eq(get(t, headrace, "/log-level").json(), {"level": "info"})
    eq(run_command("log-level", "--admin", admin)[0], "info\n")
    eq(run_command("log-level", "--admin", admin, "error")[0], "error\n")
    contains(headrace.stderr, "log level changed from=info to=error")
    eq(get(t, headrace, "/log-level").json(), {"level": "error"})
    answer = t.request(headrace.admin_port, "PUT", "/log-level?level=debug")
    eq((answer.status, answer.json()), (200, {"level": "debug"}))
    run_command("log-level", "--admin", admin, "loud", status=2)
    run_command("log-level", "--admin", admin, "info", "debug", status=2)


def test_browsers_and_other_methods_change_nothing(t):
    _, headrace = start(t)
    path = "/log-level?level=error"
    for headers in ({"origin": "http://evil.example"}, {"origin": "null"},
                    {"sec-fetch-site": "cross-site"}):
        eq(t.request(headrace.admin_port, "PUT", path, headers).status, 403)
    eq(t.request(headrace.admin_port, "PUT", "/log-level").status, 400)
    eq(t.request(headrace.admin_port, "PUT", "/log-level?level=loud").status, 400)
    for method, page in (("POST", path), ("OPTIONS", path), ("PUT", "/metrics")):
        answer = t.request(headrace.admin_port, method, page)
        eq(answer.status, 405, method)
        contains(answer.headers.get("allow"), "GET, HEAD")
        assert answer.headers.get("access-control-allow-origin") is None
    eq(get(t, headrace, "/log-level").json(), {"level": "info"})


def put_from(source, address, port):
    with socket.create_connection((address, port), timeout=10, source_address=(source, 0)) as conn:
        conn.sendall(b"PUT /log-level?level=error HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = b""
        while True:
            piece = conn.recv(4096)
            if not piece:
                return int(data.split()[1])
            data += piece


def test_other_machines_change_nothing(t):
    for address in ("10.99.0.1", "10.99.0.2"):
        done = subprocess.run(["ip", "address", "add", address + "/32", "dev", "lo"],
                              stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode != 0:
            skip("no network of its own: " + done.stderr.decode().strip())
    port = free_port("0.0.0.0")
    text = ROUTE + "---" + backend([free_port()])
    headrace = t.headrace({"all.yaml": text}, ["--admin", "0.0.0.0:%d" % port], wait_ready=False)
    headrace.admin_port = port
    headrace.wait_ready()
    eq(put_from("10.99.0.2", "10.99.0.1", port), 403)
    eq(get(t, headrace, "/log-level").json(), {"level": "info"})
    eq(put_from("10.99.0.1", "10.99.0.1", port), 200)  # as a pod asks its own address


def text_lines(path):
    with open(path) as file:
        return file.read().splitlines()


def test_access_log_as_text(t):
    path = os.path.join(t.folder, "access.log")
    _, headrace = start(t, args=["--access-log", path, "--access-log-format", "text"])
    eq(t.chat(headrace.port, headers=dict(HOST, **{"user-agent": "a b"})).status, 200)
    line = eventually(lambda: text_lines(path), what="a line is there")[0]
    for part in (" method=POST ", " status=200 ", " outcome=ok ", " route=ml/chat ",
                 " protocol=HTTP/1.1 ", ' user_agent="a b"'):
        contains(line, part)


def test_access_log_says_what_the_codec_did_not_like(t):
    path = os.path.join(t.folder, "access.log")
    _, headrace = start(t, args=["--access-log", path])
    conn = t.connect(headrace.port)
    conn.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n")
    eq(conn.read_response().status, 400)
    line = json.loads(eventually(lambda: text_lines(path), what="a line is there")[0])
    eq((line["outcome"], line["reject"]), ("bad_request", "obs_fold"))
    contains(headrace.stderr, "message refused reason=obs_fold client=127.0.0.1")


def test_a_renamed_access_log_is_opened_again(t):
    path = os.path.join(t.folder, "access.log")
    _, headrace = start(t, args=["--access-log", path])
    eq(t.chat(headrace.port, headers=HOST).status, 200)
    eventually(lambda: len(text_lines(path)) == 1, what="the first line")
    os.rename(path, path + ".1")
    headrace.signal(signal.SIGHUP)
    eventually(lambda: os.path.exists(path), what="the file is there again")
    eq(t.chat(headrace.port, headers=HOST).status, 200)
    eventually(lambda: len(text_lines(path)) == 1, what="the second line")
    eq(len(text_lines(path + ".1")), 1)
    contains(headrace.stderr, "the access log was opened again")


def dropped(headrace, reason):
    return headrace.metrics()['headrace_access_log_dropped_total{reason="%s"}' % reason]


def test_a_full_disk_costs_only_the_lines(t):
    _, headrace = start(t, args=["--access-log", "/dev/full"])
    for _ in range(5):
        eq(t.chat(headrace.port, headers=HOST).status, 200)
    eventually(lambda: dropped(headrace, "write_error") == 5, what="the lines are counted")
    eq(headrace.stderr.count("the access log cannot be written"), 1)


def test_a_reader_that_sleeps_stops_nobody(t):
    path = os.path.join(t.folder, "fifo")
    os.mkfifo(path)
    fifo = os.open(path, os.O_RDWR)  # holds it open, and never reads
    t.defer(lambda: os.close(fifo))
    _, headrace = start(t, args=["--access-log", path, "--workers", "1"])
    conn = t.connect(headrace.port)
    for _ in range(2000):
        conn.send_request("GET", "/v1/models", dict(HOST, **{"user-agent": "x" * 160}))
        eq(conn.read_response().status, 200)
    eventually(lambda: dropped(headrace, "slow_reader") > 0, what="lines are dropped")
    conn.close()
    headrace.signal(signal.SIGTERM)
    headrace.signal(signal.SIGTERM)
    eq(headrace.wait(20), 0)


def test_failures_that_repeat_are_said_once(t):
    text = ROUTE + "---" + backend([free_port()])
    headrace = t.headrace({"all.yaml": text}, ["--workers", "1"])
    for _ in range(20):
        eq(t.chat(headrace.port, headers=HOST).status, 502)
    eventually(lambda: "request failed outcome=connect_failed route=ml/chat backend=ml/tiny" in
               headrace.stderr, what="it is said")
    eq(headrace.stderr.count("request failed"), 1)


def test_routes_and_backends_have_figures_of_their_own(t):
    _, headrace = start(t, extra_ports=[free_port()], args=["--workers", "2"])
    pair = '{route="ml/chat",backend="ml/tiny"%s}'

    def counted(key):
        return headrace.metrics().get(key, 0)
    for sent in range(1, 101):
        eq(t.chat(headrace.port, headers=HOST).status, 200)
        if counted("headrace_backend_retries_total" + pair % "") > 0:
            break
    eventually(lambda: counted("headrace_backend_request_outcomes_total" +
                               pair % ',outcome="ok"') == sent, what="all are counted")
    assert counted("headrace_backend_retries_total" + pair % "") > 0
    assert counted("headrace_backend_request_bytes_total" + pair % "") > 100 * sent
    assert counted("headrace_backend_response_bytes_total" + pair % "") > 100 * sent
    assert counted("headrace_prompt_tokens_total" + pair % "") > 0
    eq(sum(counted('headrace_worker_requests_total{worker="%d"}' % i) for i in range(2)), sent)
    eventually(lambda: sum(counted('headrace_worker_loop_turns_total{worker="%d"}' % i)
                           for i in range(2)) > 0, what="workers tell of themselves")


if __name__ == "__main__":
    main(globals())
