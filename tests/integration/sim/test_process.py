"""headrace-sim: flags, ports, signals, keep-alive, hostile input, the modes for benches."""

import json
import os
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import HttpError, contains, eq, free_port, main, program  # noqa: E402

QUICK = {"decode_step": 1, "jitter": 0}


def test_pods_on_consecutive_ports_and_a_port_file(t):
    base = free_port()
    path = os.path.join(t.folder, "ports")
    sim = t.sim(listen=("127.0.0.1:%d" % base, "127.0.0.2:0"), name="gpu", port_file=path)
    eq(sim.names, ["gpu-0", "gpu-1"])
    eq(sim.pods[0][1:], ("127.0.0.1", base))
    eq(sim.pods[1][1], "127.0.0.2")
    with open(path) as file:
        eq(file.read(), sim.stdout)
    many = t.sim(pods=5)
    eq(len(set(many.ports)), 5)
    for port, name in zip(many.ports, many.names):
        eq(t.request(port, "GET", "/health").headers["x-sim-pod"], name)


def test_flags_environment_and_mistakes(t):
    run = t.process([program("headrace-sim"), "--help"])
    eq(run.wait(), 0)
    contains(run.stdout, "--max-num-seqs")
    contains(run.stdout, "triton-trtllm")
    for argv in (["--engine", "nothing"], ["--max-num-seqs", "x"], ["--unknown"], ["--pods"],
                 ["--listen", "nowhere"], ["--max-num-seqs", "0"], ["--shutdown", "never"],
                 ["--listen", "127.0.0.1:65535", "--pods", "2"], ["--fault", "explode"],
                 ["stray"]):
        run = t.process([program("headrace-sim")] + argv)
        assert run.wait() in (1, 2), argv
        contains(run.stderr, "headrace-sim: ", repr(argv))
    for flag, value in (("--pods", "0"), ("--kv-blocks", "0"), ("--block-size", "0"),
                        ("--jitter", "5"), ("--time-scale", "0"), ("--prefill-rate", "0")):
        run = t.process([program("headrace-sim"), flag, value])
        eq(run.wait(), 2, flag)
        contains(run.stderr, "%s: %s is not from " % (flag, value))
    port = free_port()
    env = {"HEADRACE_SIM_LISTEN": "127.0.0.1:%d" % port, "HEADRACE_SIM_MODEL": "a,b",
           "HEADRACE_SIM_NAME": "solo"}
    run = t.process([program("headrace-sim")], env=env)
    run.wait_output("listening .* pod=solo$")
    eq([m["id"] for m in t.request(port, "GET", "/v1/models").json()["data"]], ["a", "b"])
    taken = t.process([program("headrace-sim"), "--listen", "127.0.0.1:%d" % port])
    eq(taken.wait(), 1)
    contains(taken.stderr, "cannot listen on 127.0.0.1:%d" % port)


def begin_stream(t, sim, **more):
    conn, response = t.stream(sim.port, **more)
    events = conn.iter_events(response)
    next(events)
    return conn, response, events


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return True
    return False


def test_sigterm_graceful_finishes_streams(t):
    sim = t.sim(decode_step=10)
    idle = t.connect(sim.port)
    eq(idle.request("GET", "/health").status, 200)
    _, response, events = begin_stream(t, sim, max_tokens=40)
    sim.signal(signal.SIGTERM)
    t.eventually(lambda: refused(sim.port), 3, "new connections are refused")
    assert idle.is_closed()
    assert list(events)[-1].done and response.complete
    eq(sim.wait(), 0)


def test_sigterm_abrupt_and_a_second_signal(t):
    sim = t.sim(decode_step=10, shutdown="abrupt")
    begin_stream(t, sim, max_tokens=400)
    sim.signal(signal.SIGTERM)
    eq(sim.wait(2), 0)
    sim = t.sim(decode_step=10)
    begin_stream(t, sim, max_tokens=4000)
    sim.signal(signal.SIGTERM)
    t.eventually(lambda: refused(sim.port), 3, "the first is seen")
    assert sim.alive()
    sim.signal(signal.SIGTERM)
    eq(sim.wait(2), 0)


def test_sigterm_as_vllm_leaves_streams_silent(t):
    sim = t.sim(decode_step=10, shutdown="engine")
    conn, response, _ = begin_stream(t, sim, max_tokens=400)
    sim.signal(signal.SIGTERM)
    t.eventually(lambda: refused(sim.port), 3, "the listener is closed")
    try:
        list(conn.iter_events(response, timeout=3))
    except HttpError as error:
        contains(str(error), "timed out")
    else:
        raise AssertionError("the stream ended")
    assert sim.alive()
    conn.close()
    eq(sim.wait(3), 0)


def test_sigterm_as_sglang_goes_on_until_nothing_is_left(t):
    sim = t.sim(engine="sglang", decode_step=10, shutdown="engine")
    _, response, events = begin_stream(t, sim, max_tokens=400)
    sim.signal(signal.SIGTERM)
    t.eventually(lambda: t.request(sim.port, "GET", "/health").status == 503, 2, "health is 503")
    eq(t.chat(sim.port, max_tokens=2).status, 200)
    assert list(events)[-1].done
    eq(sim.wait(3), 0)


def test_sigterm_drain_as_vllm_with_a_timeout(t):
    sim = t.sim(decode_step=10, shutdown="drain")
    _, response, events = begin_stream(t, sim, max_tokens=400)
    sim.signal(signal.SIGTERM)
    refusal = t.eventually(lambda: (lambda a: a if a.status == 500 else None)(t.chat(sim.port)),
                           2, "new requests are a 500")
    eq(refusal.json()["error"]["message"], "cannot schedule new futures after shutdown")
    eq(t.request(sim.port, "GET", "/health").status, 200)
    assert list(events)[-1].done
    # Some seconds more it is healthy, idle, and of no use.
    eq(t.request(sim.port, "GET", "/health").status, 200)
    eq(t.chat(sim.port).status, 500)
    eq(sim.wait(10), 0)


def test_sigterm_as_llamacpp_cuts_streams_or_leaves_them_silent(t):
    sim = t.sim(engine="llamacpp", decode_step=10, shutdown="engine")
    streams = [begin_stream(t, sim, max_tokens=4000) for _ in range(8)]
    sim.signal(signal.SIGTERM)
    t.eventually(lambda: refused(sim.port), 3, "the listener is closed")
    ends = []
    for conn, response, _ in streams:
        try:
            list(conn.iter_events(response, timeout=0.5))
            ends.append("finished")
        except HttpError as error:
            ends.append("silent" if "timed out" in str(error) else "cut")
        assert not response.complete
    eq(set(ends), {"silent", "cut"})
    assert sim.alive()
    for conn, _, _ in streams:
        conn.close()
    eq(sim.wait(3), 0)


def test_few_http_threads_let_health_checks_wait(t):
    sim = t.sim(pods=2, engine="llamacpp", max_num_seqs=2, http_threads=4, decode_step=200,
                jitter=0)
    streams = [t.connect(sim.port) for _ in range(6)]
    for conn in streams:
        conn.send_request("POST", "/v1/chat/completions", None,
                          t.chat_body(max_tokens=60, stream=True))
    state = t.eventually(lambda: (lambda s: s if s["connections"] == 6 else None)(
        sim.config(1, pod=sim.names[0])), 5, "all are connected")
    t.eventually(lambda: sim.config(1, pod=sim.names[0])["requests-open"] == 4, 5, "four have one")
    health = t.connect(sim.port)
    health.send_request("GET", "/health")
    try:
        health.read_head(timeout=0.3)
        raise AssertionError("an answer without a thread: %r" % state)
    except HttpError as error:
        contains(str(error), "timed out")
    sim.config(1, pod=sim.names[0], decode_step=1)
    for conn in streams:
        assert list(conn.iter_events(conn.read_head()))[-1].done
    eq(health.read_response().status, 200)


def test_keep_alive_pipelining_and_idle_end(t):
    sim = t.sim(keep_alive="300ms", **QUICK)
    conn = t.connect(sim.port)
    body = json.dumps(t.chat_body(max_tokens=2, stream=True))
    one = ("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
           "content-length: %d\r\n\r\n%s" % (len(body), body)).encode()
    started = time.monotonic()
    conn.send(one + one + b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
    for _ in range(2):
        conn.method = "POST"
        response = conn.read_response()
        eq(response.status, 200)
        assert response.events()[-1].done
    eq(conn.read_response().status, 200)
    assert conn.is_closed()
    assert time.monotonic() - started >= 0.29
    conn = t.connect(sim.port)
    eq(conn.request("GET", "/health", {"connection": "close"}).status, 200)
    assert conn.is_closed()


def test_bodies_chunked_dripped_expected_and_too_large(t):
    sim = t.sim(max_body=10000, **QUICK)
    conn = t.connect(sim.port)
    eq(conn.request("POST", "/v1/chat/completions", {"content-type": "application/json"},
                    json.dumps(t.chat_body()), chunked=True).status, 200)
    body = json.dumps(t.chat_body()).encode()
    conn.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json"
              b"\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(body))
    eq(conn.read_head(skip_interim=False).status, 100)
    for byte in body:
        conn.sock.sendall(bytes([byte]))
    eq(conn.read_response().status, 200)
    eq(conn.request("POST", "/v1/chat/completions", None, t.chat_body("x" * 20000)).status, 413)
    eq(conn.request("GET", "/health").status, 200)


def test_broken_requests_are_refused_and_the_rest_is_served(t):
    sim = t.sim(**QUICK)
    for data in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET  / HTTP/1.1\r\nhost: x\r\n\r\n",
                 b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked"
                 b"\r\n\r\n", b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nz\r\n",
                 b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 70000 + b"\r\n\r\n"):
        conn = t.connect(sim.port)
        conn.send(data)
        status = conn.read_response().status
        assert 400 <= status < 500, (status, data[:40])
        assert conn.is_closed()
    conn = t.connect(sim.port)
    conn.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 8)
    assert conn.is_closed()
    eq(t.chat(sim.port).status, 200)
    t.eventually(lambda: sim.state()["connections"] == 1, what="the others are gone")


def test_instant_answers_have_the_size_asked_for(t):
    sim = t.sim(instant=True, reply_bytes=1000)
    with t.connect(sim.port) as conn:
        for _ in range(3):
            answer = conn.request("POST", "/v1/chat/completions", None, t.chat_body())
            eq((answer.status, len(answer.body)), (200, 1000))
            answer.json()
            eq(len(conn.request("GET", "/anything").body), 1000)
        eq(conn.request("GET", "/health").status, 200)
        contains(conn.request("GET", "/metrics").text, "vllm:num_requests_running")


def test_paced_streams_keep_their_rate(t):
    sim = t.sim(instant=True, sse_events=50, sse_rate=100, sse_bytes=300)

    def one():
        started = time.monotonic()
        conn, response = t.stream(sim.port)
        events = list(conn.iter_events(response))
        conn.close()
        return started, events
    for started, events in t.parallel([one] * 8):
        eq(len(events), 51)
        assert events[-1].done
        eq(len(events[0].raw) + 2, 300)
        eq(events[0].json()["object"], "chat.completion.chunk")
        assert events[-2].at - started > 0.48  # 49 intervals of 10 ms
    answer = t.chat(sim.port)
    eq(len(answer.body), 1024)


if __name__ == "__main__":
    main(globals())
