"""headrace-bench against a server that does what each test tells it to."""

import json
import os
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import ROOT, contains, eq, main, program  # noqa: E402

EVENT = {"id": "x", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}}]}
USAGE = {"prompt_tokens": 30, "completion_tokens": 3, "total_tokens": 33,
         "prompt_tokens_details": {"cached_tokens": 16}}


def event(content=None, **more):
    body = dict(EVENT, **more)
    if content is not None:
        body["choices"] = [{"index": 0, "delta": {"content": content}}]
    return "data: %s\n\n" % json.dumps(body)


DONE = "data: [DONE]\n\n"
STREAM = [event(""), event("a"), event(" b"), event(" c"),
          event(choices=[], usage=USAGE), DONE]


class Server:
    """Answers each request by answer(server, connection, head, body); False closes."""

    def __init__(self, t, answer):
        self.answer = answer
        self.requests = []
        self.accepted = 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.url = "http://127.0.0.1:%d" % self.port
        t.defer(self.listener.close)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    def _serve(self, conn):
        data = b""
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with conn:
            try:
                while True:
                    while b"\r\n\r\n" not in data:
                        more = conn.recv(65536)
                        if not more:
                            return
                        data += more
                    head, _, data = data.partition(b"\r\n\r\n")
                    head = head.decode()
                    length = int([line for line in head.split("\r\n")
                                  if line.lower().startswith("content-length:")][0][15:])
                    while len(data) < length:
                        data += conn.recv(65536)
                    body, data = data[:length], data[length:]
                    with self.lock:
                        self.requests.append((time.monotonic(), head, json.loads(body)))
                    if self.answer(self, conn, head, json.loads(body)) is False:
                        return
            except OSError:
                pass


def send_json(conn, body, status="200 OK", headers=""):
    text = json.dumps(body) if not isinstance(body, str) else body
    conn.sendall(("HTTP/1.1 %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s"
                  % (status, headers, len(text), text)).encode())


def send_stream(conn, events, pause=0.0, end=True, headers=""):
    conn.sendall(("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n%s"
                  "Transfer-Encoding: chunked\r\n\r\n" % headers).encode())
    for text in events:
        time.sleep(pause)
        conn.sendall(b"%x\r\n%s\r\n" % (len(text), text.encode()))
    if end:
        conn.sendall(b"0\r\n\r\n")


def good(server, conn, head, body):
    if body.get("stream"):
        send_stream(conn, STREAM)
    else:
        send_json(conn, {"choices": [{"message": {"content": "a b c"}}], "usage": USAGE})


def bench(t, server, *args, url="", status=0, output="json"):
    process = t.process([program("headrace-bench"), "--url", url or server.url, "--model", "tiny",
                         "--output", output, "--quiet"] + list(args))
    eq(process.wait(60), status, process.stderr)
    process.check_sanitizers()
    return json.loads(process.stdout) if output == "json" else process.stdout


def kinds(result):
    return {e["kind"]: e["count"] for e in result["errors"]}


def test_streams_are_counted(t):
    server = Server(t, good)
    result = bench(t, server, "--rate", "100", "--requests", "40")
    eq(result["requests"], 40)
    eq(result["succeeded"], 40)
    eq(result["tokens"]["prompt"], 40 * 30)
    eq(result["tokens"]["cached"], 40 * 16)
    eq(result["tokens"]["completion"], 40 * 3)
    eq(result["ttft_ms"]["count"], 40)
    eq(result["itl_ms"]["count"], 80)  # three pieces of text: the empty first one is none
    eq(result["errors"], [])
    head, body = server.requests[0][1:]
    contains(head, "POST /v1/chat/completions HTTP/1.1")
    eq(body["stream"], True)
    eq(body["stream_options"], {"include_usage": True})
    eq(body["model"], "tiny")
    eq(body["max_tokens"], 64)
    assert server.accepted < 40, "connections are kept"


def test_whole_answers_are_counted(t):
    server = Server(t, good)
    result = bench(t, server, "--rate", "100", "--requests", "20", "--no-stream")
    eq(result["succeeded"], 20)
    eq(result["tokens"]["completion"], 60)
    eq(result["ttft_ms"]["count"], 0)
    assert "stream" not in server.requests[0][2]


def test_completions_and_embeddings(t):
    server = Server(t, lambda s, conn, head, body: send_json(conn, {
        "data": [{"embedding": [0.1, 0.2]}], "usage": {"prompt_tokens": 9, "total_tokens": 9}}))
    result = bench(t, server, "--rate", "100", "--requests", "5", "--api", "embeddings")
    eq(result["succeeded"], 5)
    eq(result["tokens"]["prompt"], 45)
    contains(server.requests[0][1], "POST /v1/embeddings ")
    assert "max_tokens" not in server.requests[0][2] and server.requests[0][2]["input"]
    server = Server(t, lambda s, conn, head, body: send_stream(
        conn, [event(choices=[{"text": "hi"}]), DONE]))
    result = bench(t, server, "--rate", "100", "--requests", "5", "--api", "completions",
                   url=server.url + "/v1/")
    eq(result["succeeded"], 5)
    contains(server.requests[0][1], "POST /v1/completions ")
    assert server.requests[0][2]["prompt"]


def test_errors_by_kind(t):
    def answer(server, conn, head, body):
        n = len(server.requests) % 10
        if n == 1:
            send_json(conn, {"error": {"message": "slow down"}}, "503 Service Unavailable")
        elif n == 2:
            send_stream(conn, [event("a"), 'data: {"error":{"message":"full","code":503}}\n\n',
                               DONE])
        elif n == 3:
            send_stream(conn, [event("a")])  # ends well, but without [DONE]
        elif n == 4:
            send_stream(conn, [event("a")], end=False)
            return False
        elif n == 5:
            send_stream(conn, ["data: {nonsense\n\n", DONE])
        elif n == 6:
            conn.sendall(b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello")
            return False
        elif n == 7:
            return False
        elif n == 8:
            send_stream(conn, [event(""), DONE])
        elif n == 9:
            send_json(conn, '{"object":"error","message":"flat","code":429}')
        else:
            good(server, conn, head, body)
    server = Server(t, answer)
    # One after another, so that the order of answers is known.
    result = bench(t, server, "--concurrency", "1", "--requests", "10", "--duration", "30")
    eq(result["succeeded"], 1)
    found = kinds(result)
    # The connection of number 7 was fresh or not: a kept one that closes is tried again once.
    for kind in ("status 503", "error event 503", "invalid JSON", "invalid HTTP", "no text",
                 "error event 429"):
        eq(found.get(kind), 1, kind)
    eq(found.get("truncated"), 2)
    eq(found.get("reset"), 1)
    samples = {e["kind"]: e["sample"] for e in result["errors"]}
    contains(samples["status 503"], "slow down")
    contains(samples["error event 503"], "full")


def test_time_limits(t):
    def answer(server, conn, head, body):
        n = len(server.requests)
        if n == 1:
            time.sleep(5)
        elif n == 2:
            send_stream(conn, [event("a")], end=False)
            time.sleep(5)
        else:
            send_stream(conn, [event("a")] * 2000, pause=0.02)
        return False
    server = Server(t, answer)
    result = bench(t, server, "--concurrency", "1", "--requests", "3", "--duration", "30",
                   "--first-timeout", "2s", "--between-timeout", "2s", "--timeout", "4s",
                   status=1)
    eq(kinds(result), {"timeout first token": 1, "timeout between tokens": 1, "timeout total": 1})


def test_kept_connection_closed_by_the_server_is_no_error(t):
    def answer(server, conn, head, body):
        good(server, conn, head, body)
        return False  # although it promised to keep it
    server = Server(t, answer)
    result = bench(t, server, "--concurrency", "2", "--requests", "20", "--duration", "30",
                   "--fail-on-error")
    eq(result["succeeded"], 20)
    eq(len(server.requests), 20)


def test_latency_counts_from_the_due_time(t):
    """A server that stalls for 600 ms while requests are due every 20 ms: with a cap of one, those
    that wait behind must show the wait."""
    def answer(server, conn, head, body):
        if len(server.requests) == 1:
            time.sleep(0.6)
        good(server, conn, head, body)
    server = Server(t, answer)
    result = bench(t, server, "--rate", "50", "--arrivals", "fixed", "--requests", "20",
                   "--concurrency", "1")
    eq(result["succeeded"], 20)
    assert result["ttft_ms"]["p50"] > 300, result["ttft_ms"]
    assert result["lag_ms"]["p50"] > 300, result["lag_ms"]


def test_fixed_arrivals_are_evenly_spaced(t):
    server = Server(t, good)
    bench(t, server, "--rate", "20", "--arrivals", "fixed", "--requests", "41")
    times = [at for at, _, _ in server.requests]
    span = max(times) - min(times)
    assert span > 1, span  # two seconds, unless a busy machine was late for the first


def test_trace_replay_keeps_times_and_shared_blocks(t):
    path = os.path.join(t.folder, "trace.jsonl")
    with open(path, "w") as f:
        for ms, ids in ((0, [1, 2]), (1000, [1, 3]), (2500, [1, 2])):
            f.write(json.dumps({"timestamp": ms, "input_length": 1000, "output_length": 7,
                                "hash_ids": ids}) + "\n")
    server = Server(t, good)
    result = bench(t, server, "--trace", path)
    eq(result["succeeded"], 3)
    first, second, third = [body["messages"][0]["content"] for _, _, body in server.requests]
    eq(len(first), 4000)
    eq(first[:2048], second[:2048])
    assert first[2048:] != second[2048:]
    eq(first, third)
    eq(server.requests[0][2]["max_tokens"], 7)
    span = server.requests[2][0] - server.requests[0][0]
    assert span > 1.5, span  # 2.5 s, unless a busy machine was late for the first


def test_azure_trace(t):
    path = os.path.join(t.folder, "trace.csv")
    with open(path, "w") as f:
        f.write("TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
                "2023-11-16 18:17:03.9799600,48,10\r\n2023-11-16 18:17:04.0319600,31,8\r\n")
    server = Server(t, good)
    result = bench(t, server, "--trace", path, "--time-scale", "0.5")
    eq(result["succeeded"], 2)
    eq([b["max_tokens"] for _, _, b in server.requests], [10, 8])
    eq(len(server.requests[0][2]["messages"][0]["content"]), 48 * 4)


def test_missing_trace_says_where_to_get_one(t):
    process = t.process([program("headrace-bench"), "--url", "http://127.0.0.1:1", "--model", "m",
                         "--trace", "/nonexistent"])
    eq(process.wait(), 2)
    contains(process.stderr, "github.com/kvcache-ai/Mooncake")


def test_prefix_groups_share_a_system_prompt(t):
    server = Server(t, good)
    bench(t, server, "--rate", "200", "--requests", "40", "--prefix-groups", "3",
          "--prefix-tokens", "50", "--question-tokens", "uniform:5-9")
    systems = {b["messages"][0]["content"] for _, _, b in server.requests}
    users = {b["messages"][1]["content"] for _, _, b in server.requests}
    eq(len(systems), 3)
    eq(len(users), 40)
    eq({len(s) for s in systems}, {200})
    assert all(20 <= len(u) <= 36 for u in users)


def test_same_seed_same_requests(t):
    server = Server(t, good)
    for _ in range(2):
        bench(t, server, "--concurrency", "1", "--requests", "5", "--duration", "30",
              "--prompt-tokens", "lognormal:50,0.5", "--seed", "7")
    bodies = [b for _, _, b in server.requests]
    eq(bodies[:5], bodies[5:])


def test_endpoint_shares(t):
    def answer(server, conn, head, body):
        send_stream(conn, STREAM, headers="X-Sim-Pod: pod-%d\r\n" % (len(server.requests) % 4 // 3))
    server = Server(t, answer)
    result = bench(t, server, "--concurrency", "1", "--requests", "20", "--duration", "30")
    eq({e["name"]: e["requests"] for e in result["endpoints"]}, {"pod-0": 15, "pod-1": 5})
    eq(result["endpoints"][0]["share"], 0.75)


def test_closed_loop_holds_the_concurrency(t):
    running, most, lock = [0], [0], threading.Lock()

    def answer(server, conn, head, body):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.2)
        with lock:
            running[0] -= 1
        good(server, conn, head, body)
    server = Server(t, answer)
    result = bench(t, server, "--concurrency", "8", "--duration", "2")
    eq(most[0], 8)
    assert result["succeeded"] > 8, result["succeeded"]


def test_warm_up_is_not_counted(t):
    server = Server(t, good)
    result = bench(t, server, "--rate", "50", "--arrivals", "fixed", "--duration", "2", "--warmup",
                   "1")
    eq(len(server.requests), 100)
    eq(result["requests"], 50)


def test_drain_limit_counts_unfinished(t):
    def answer(server, conn, head, body):
        send_stream(conn, [event("a")] * 1000, pause=0.05)
    server = Server(t, answer)
    result = bench(t, server, "--rate", "20", "--requests", "3", "--drain", "0.3", status=1)
    eq(kinds(result), {"unfinished": 3})


def test_fail_on_error(t):
    server = Server(t, lambda s, conn, head, body: send_json(conn, {}, "500 No")
                    if len(s.requests) == 3 else good(s, conn, head, body))
    bench(t, server, "--concurrency", "1", "--requests", "5", "--duration", "30", "--fail-on-error",
          status=1)


def test_headers_and_fields_are_sent(t):
    server = Server(t, good)
    bench(t, server, "--rate", "50", "--requests", "1", "--header", "X-Tier: gold", "--set",
          "temperature=0.5", "--set", "user=me", "--ignore-eos")
    _, head, body = server.requests[0]
    contains(head, "\r\nX-Tier: gold")
    eq(body["temperature"], 0.5)
    eq(body["user"], "me")
    eq(body["ignore_eos"], True)


def test_options_come_from_the_environment(t):
    server = Server(t, good)
    process = t.process([program("headrace-bench"), "--quiet"],
                        env={"HEADRACE_BENCH_URL": server.url, "HEADRACE_BENCH_MODEL": "tiny",
                             "HEADRACE_BENCH_RATE": "50", "HEADRACE_BENCH_REQUESTS": "3"})
    eq(process.wait(20), 0, process.stderr)
    contains(process.stdout, "3 succeeded")
    contains(process.stdout, "time to first token")


def test_wrong_options(t):
    good_ones = ["--url", "http://127.0.0.1:1", "--model", "m", "--rate", "1"]
    for args, part in ((["--url", "https://h", "--model", "m", "--rate", "1"], "https"),
                       (["--url", "http://h:99999", "--model", "m", "--rate", "1"], "port"),
                       (["--url", "http://127.0.0.1:1", "--model", "m"], "how much load"),
                       (["--model", "m"], "--url"),
                       (good_ones + ["--prompt-tokens", "many"], "--prompt-tokens"),
                       (good_ones + ["--rate", "-1"], "--rate"),
                       (good_ones + ["--header", "no colon"], "header"),
                       (good_ones + ["--header", "a: b\r\nc: d"], "header"),
                       (good_ones + ["extra"], "extra"),
                       (good_ones + ["--api", "chats"], "--api")):
        process = t.process([program("headrace-bench")] + args)
        eq(process.wait(), 2, " ".join(args))
        contains(process.stderr, part)


def test_a_wrong_value_from_the_environment_is_told_by_its_variable(t):
    good_ones = {"HEADRACE_BENCH_URL": "http://127.0.0.1:1", "HEADRACE_BENCH_MODEL": "m",
                 "HEADRACE_BENCH_RATE": "1"}
    for name, value in (("RATE", "fast"), ("PROMPT_TOKENS", "many"), ("OUTPUT", "xml"),
                        ("API", "chats"), ("SEED", "x"), ("DURATION", "long")):
        process = t.process([program("headrace-bench")],
                            env={**good_ones, "HEADRACE_BENCH_" + name: value})
        eq(process.wait(), 2, name)
        contains(process.stderr, "environment variable HEADRACE_BENCH_" + name)
    process = t.process([program("headrace-bench"), "--rate", "fast"], env=good_ones)
    eq(process.wait(), 2)
    contains(process.stderr, "--rate: ")


def test_interrupt_reports_what_was_measured(t):
    server = Server(t, good)
    process = t.process([program("headrace-bench"), "--url", server.url, "--model", "tiny",
                         "--rate",
                         "50", "--duration", "60", "--output", "json"])
    t.eventually(lambda: len(server.requests) > 20, 10, "requests come")
    process.signal(2)
    eq(process.wait(10), 0)
    assert 20 < json.loads(process.stdout)["succeeded"] < 3000


def test_hostile_answers_are_bounded(t):
    def answer(server, conn, head, body):
        n = len(server.requests)
        if n == 1:  # a head without an end
            conn.sendall(b"HTTP/1.1 200 OK\r\n")
            for _ in range(200):
                conn.sendall(b"X-More: " + b"x" * 1000 + b"\r\n")
        elif n == 2:  # an event without an end
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: ")
            for _ in range(40):
                conn.sendall(b"x" * 65536)
        elif n == 3:  # control characters for the terminal
            send_json(conn, "\x1b[2J", "500 No")
        elif n == 4:
            conn.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                         b"ffffffffffffffffff\r\n")
        elif n == 5:  # more than it announced
            send_json(conn, {"choices": [{"message": {"content": "x"}}]})
            conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n" * 3)
        return n >= 6 and good(server, conn, head, body)
    server = Server(t, answer)
    result = bench(t, server, "--concurrency", "1", "--requests", "6", "--duration", "30")
    eq(result["requests"], 6)
    assert result["succeeded"] >= 1, result
    contains(str(kinds(result)), "too large")
    contains(str(kinds(result)), "invalid HTTP")
    table = json.dumps(result)
    assert "\\u001b" not in table, table


if __name__ == "__main__":
    main(globals())
