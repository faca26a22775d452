"""headrace-sim: batching, queueing, overload in each engine's manner, KV pressure, aborts."""

import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import Connection, HttpError, eq, main, sse_text  # noqa: E402


def burst(t, port, count, **more):
    """`count` streamed requests that are sent before any answer is read."""
    conns = [t.connect(port) for _ in range(count)]
    for conn in conns:
        conn.send_request("POST", "/v1/chat/completions", None, t.chat_body(stream=True, **more))
    return conns


def test_requests_beyond_the_batch_wait_their_turn(t):
    sim = t.sim(max_num_seqs=2, decode_step=200, jitter=0)
    conns = burst(t, sim.port, 4, max_tokens=150)
    settle(t, sim, 2, 2)
    sim.config(decode_step=1)  # seen; now make haste
    for conn in conns:
        response = conn.read_head()
        events = list(conn.iter_events(response))
        assert events[-1].done and response.complete
    settle(t, sim, 0, 0)


def test_vllm_sends_the_head_while_the_request_waits(t):
    sim = t.sim(max_num_seqs=1, decode_step=200)
    burst(t, sim.port, 1, max_tokens=300)
    settle(t, sim, 1, 0)
    conn, response = t.stream(sim.port, max_tokens=1)
    eq(response.status, 200)
    settle(t, sim, 1, 1)  # the head is here, its request still waits
    sim.config(decode_step=1)
    next(conn.iter_events(response))


def test_llamacpp_sends_the_head_with_the_first_data(t):
    sim = t.sim(engine="llamacpp", max_num_seqs=1, decode_step=200)
    burst(t, sim.port, 1, max_tokens=300)
    settle(t, sim, 1, 0)
    (conn,) = burst(t, sim.port, 1, max_tokens=1)
    settle(t, sim, 1, 1)
    try:
        conn.read_head(timeout=0.3)
        raise AssertionError("a head before its time")
    except HttpError as error:
        assert "timed out" in str(error), error
    sim.config(decode_step=1)
    eq(conn.read_head().status, 200)


def settle(t, sim, running, waiting):
    t.eventually(lambda: (sim.state()["running"], sim.state()["waiting"]) == (running, waiting),
                 5, "%d run and %d wait" % (running, waiting))


def test_vllm_settled_overload_is_a_plain_503(t):
    sim = t.sim(max_num_seqs=2, max_queued=1, decode_step=20)
    burst(t, sim.port, 3, max_tokens=500)
    settle(t, sim, 2, 1)
    time.sleep(0.5)  # many steps: the front end knows
    for stream in (False, True):
        answer = t.chat(sim.port, stream=stream)
        eq(answer.status, 503)
        eq(answer.json()["error"]["code"], 503)
        eq(answer.json()["error"]["type"], "Service Unavailable")
    eq(sim.metrics()['vllm:admission_rejections_total{model_name="tiny",'
                     'reason="max_num_queued_reqs"}'], 2)


def test_vllm_burst_overload_is_200_and_an_error_event(t):
    for _ in range(8):  # a burst that a busy machine tore apart is none
        sim = t.sim(max_num_seqs=4, max_queued=8, decode_step=50)
        conns = burst(t, sim.port, 20, max_tokens=10)
        good = bad = plain = 0
        for conn in conns:
            response = conn.read_head()
            if response.status == 503:
                plain += 1
                continue
            eq(response.status, 200)
            events = list(conn.iter_events(response))
            assert events[-1].done and response.complete
            if "error" in events[0].json():
                eq(events[0].json()["error"]["code"], 503)
                eq(len(events), 2)
                bad += 1
            else:
                eq(len(sse_text(events).split()), 10)
                good += 1
        if (good, bad, plain) == (12, 8, 0):
            return
        eq(good + bad + plain, 20)
    raise AssertionError("no burst was taken as one: %d, %d, %d" % (good, bad, plain))


def test_sglang_overload_in_streams_is_always_200(t):
    sim = t.sim(engine="sglang", max_num_seqs=1, max_queued=0, decode_step=20)
    burst(t, sim.port, 1, max_tokens=500)
    settle(t, sim, 1, 0)
    time.sleep(0.5)
    plain = t.chat(sim.port)
    eq((plain.status, plain.json()["message"]), (503, "The request queue is full."))
    streamed = t.chat(sim.port, stream=True)
    eq(streamed.status, 200)
    events = streamed.events()
    eq(events[0].json()["error"]["type"], "SERVICE_UNAVAILABLE")
    assert events[1].done


def test_tgi_overload_is_429(t):
    sim = t.sim(engine="tgi", max_num_seqs=1, max_queued=0, decode_step=20)
    conns = burst(t, sim.port, 1, max_tokens=500)
    settle(t, sim, 1, 0)
    answer = t.chat(sim.port)
    eq((answer.status, answer.json()["error_type"]), (429, "overloaded"))
    conns[0].close()


def test_kv_pressure_preempts_and_all_complete(t):
    sim = t.sim(max_num_seqs=4, kv_blocks=24, block_size=16, decode_step=1, jitter=0)
    conns = burst(t, sim.port, 4, max_tokens=200)
    for conn in conns:
        events = list(conn.iter_events(conn.read_head()))
        eq(len(sse_text(events).split()), 200)
    metrics = sim.metrics()
    assert metrics["vllm:num_preemptions_total"] > 0
    eq(metrics["vllm:kv_cache_usage_perc"], 0)


def test_a_client_that_leaves_frees_its_blocks_at_once(t):
    sim = t.sim(max_num_seqs=4, decode_step=20)
    for leave in ("fin", "rst", "half"):
        conn, response = t.stream(sim.port, "x" * 4000, max_tokens=1000)
        next(conn.iter_events(response))
        assert sim.state()["kv-used-blocks"] > 50
        if leave == "rst":
            conn.reset()
        elif leave == "half":
            conn.sock.shutdown(1)
        else:
            conn.close()
        t.eventually(lambda: sim.state()["kv-used-blocks"] == 0, 2, leave + " frees the blocks")
        settle(t, sim, 0, 0)
    eq(sim.state()["aborted"], 3)
    eq(sim.metrics()['vllm:request_success_total{engine="0",finished_reason="abort",'
                     'model_name="tiny"}'], 0)
    # While it waits for the whole answer, too; and while it is queued.
    sim.config(max_num_seqs=1)
    waiting = [t.connect(sim.port) for _ in range(2)]
    for conn in waiting:
        conn.send_request("POST", "/v1/chat/completions", None, t.chat_body(max_tokens=1000))
    settle(t, sim, 1, 1)
    for conn in waiting:
        conn.close()
    settle(t, sim, 0, 0)


def test_llamacpp_runs_abandoned_whole_answers_to_their_end(t):
    sim = t.sim(engine="llamacpp", decode_step=200, jitter=0)
    conn = t.connect(sim.port)
    conn.send_request("POST", "/v1/chat/completions", None, t.chat_body(max_tokens=60))
    settle(t, sim, 1, 0)
    conn.close()
    time.sleep(0.2)
    eq(sim.state()["running"], 1)
    sim.config(decode_step=1)
    settle(t, sim, 0, 0)
    eq(sim.state()["generated-tokens"], 60)


def test_prefill_takes_time_by_tokens_and_cached_ones_are_free(t):
    sim = t.sim(prefill_rate=10000, decode_step=1, jitter=0)
    prompt = "abcd" * 6000

    def first_token():
        started = time.monotonic()
        conn, response = t.stream(sim.port, prompt, max_tokens=1)
        next(conn.iter_events(response))
        return time.monotonic() - started
    assert first_token() > 0.6
    warm = min(first_token() for _ in range(8))  # one of them is not held up by something else
    assert warm < 0.3, warm
    sim.config(forget_cache=True)
    assert first_token() > 0.6


def resident_kb(pid):
    with open("/proc/%d/status" % pid) as file:
        return [int(line.split()[1]) for line in file if line.startswith("VmRSS")][0]


def test_slow_readers_cost_bounded_memory_and_lose_nothing(t):
    sim = t.sim(max_num_seqs=64, decode_step=0.02, jitter=0, prefill_chunk=100000)
    t.chat(sim.port)
    before = resident_kb(sim.pid)
    slow = []
    for _ in range(20):
        conn = t.connect(sim.port, receive_buffer=4096)
        conn.send_request("POST", "/v1/chat/completions", None,
                          t.chat_body(stream=True, max_tokens=8000))
        slow.append(conn)
    t.eventually(lambda: sim.state()["finished"] == 21, 30, "the engine is through")
    # 20 answers of 1.7 MB wait for their readers.
    grown = resident_kb(sim.pid) - before
    assert grown < 12000, "%d KB more" % grown
    events = list(slow[0].iter_events(slow[0].read_head()))
    eq(len(sse_text(events).split()), 8000)


def test_fake_load_is_shown(t):
    sim = t.sim(pods=2)
    sim.config(1, waiting=30, running=8, kv=0.95)
    shown = sim.metrics(1)
    eq(shown["vllm:num_requests_waiting"], 30)
    eq(shown["vllm:num_requests_running"], 8)
    eq(shown["vllm:kv_cache_usage_perc"], 0.95)
    eq(sim.metrics(0)["vllm:num_requests_waiting"], 0)
    sim.config(0, pod=sim.names[1], waiting=None, running=None, kv=None)
    eq(sim.metrics(1)["vllm:num_requests_waiting"], 0)


def test_lora_adapters_are_shown_and_have_their_own_cache(t):
    sim = t.sim(adapter=["sql", "law"], max_num_seqs=1, decode_step=10)
    prompt = "y" * 4000
    t.chat(sim.port, prompt, model="sql", max_tokens=1)
    cached = t.chat(sim.port, prompt, model="law", max_tokens=1).json()["usage"]
    eq(cached["prompt_tokens_details"]["cached_tokens"], 0)
    held = burst(t, sim.port, 1, model="sql", max_tokens=3000)
    settle(t, sim, 1, 0)
    held += burst(t, sim.port, 1, model="law", max_tokens=3000)
    settle(t, sim, 1, 1)
    text = t.request(sim.port, "GET", "/metrics").text
    assert ('vllm:lora_requests_info{max_lora="8",running_lora_adapters="sql",'
            'waiting_lora_adapters="law"}') in text


def chaos_client(t, sim, seed, until):
    rng = random.Random(seed)
    faults = ["", "", "", "delay=5ms", "reset", "close", "status=500", "reset-after=2",
              "close-after=2", "stall-after=1:20ms", "stall-after=1", "freeze", "error-event=503:1",
              "slow-head=10ms"]
    while time.monotonic() < until:
        port = rng.choice(sim.ports)
        try:
            conn = Connection(port, timeout=0.3)
        except OSError:
            continue
        try:
            fault = rng.choice(faults)
            conn.send_request("POST", "/v1/" + rng.choice(["chat/completions", "completions",
                                                           "responses", "messages"]),
                              {"x-sim-fault": fault} if fault else None,
                              dict(t.chat_body("y" * rng.randrange(3000),
                                               max_tokens=rng.randrange(1, 40),
                                               stream=rng.random() < 0.7,
                                               n=rng.choice([1, 1, 2, 4])),
                                   prompt="z" * 500, input="z" * 300))
            if rng.random() < 0.3:
                time.sleep(rng.random() * 0.03)
            else:
                conn.read_response(timeout=0.3)
            if rng.random() < 0.3:
                conn.reset()
        except (HttpError, OSError, ValueError):
            pass
        finally:
            conn.close()


def test_nothing_is_left_after_chaos(t):
    for engine in ("vllm", "llamacpp", "sglang"):
        sim = t.sim(engine=engine, pods=2, max_num_seqs=4, max_queued=4, kv_blocks=200,
                    decode_step=1, max_model_len=2000, keep_alive="100ms")
        until = time.monotonic() + 1.5

        def disturb(sim=sim, until=until):
            rng = random.Random(1)
            while time.monotonic() < until:
                time.sleep(0.1)
                sim.config(0, pod=sim.names[1], **rng.choice([
                    {"down_for": "30ms"}, {"refuse_for": "30ms"}, {"hang_for": "30ms"},
                    {"reset_connections": True}, {"forget_cache": True}, {"freeze": True},
                    {"freeze": False}, {"max_num_seqs": 2}, {"max_num_seqs": 8}]))
            sim.config(0, pod=sim.names[1], freeze=False, hang=False, refuse=False)
        results = t.parallel([lambda n=n, sim=sim, until=until: chaos_client(t, sim, n, until)
                              for n in range(12)] + [disturb])
        eq([r for r in results if r is not None], [], engine)
        for pod in (0, 1):
            t.eventually(lambda pod=pod, sim=sim: (
                lambda s: (s["running"], s["waiting"], s["kv-used-blocks"], s["requests-open"],
                           s["connections"]) == (0, 0, 0, 1, 1))(sim.state(pod)), 8,
                "pod %d of %s is idle" % (pod, engine))
            assert sim.state(pod)["generated-tokens"] > 20
        sim.signal(15)
        eq(sim.wait(3), 0)


def test_timeouts_are_errors_of_the_harness(t):
    """The client of the harness itself: silence is an error, not an end."""
    sim = t.sim(decode_step=1000)
    conn, response = t.stream(sim.port)
    try:
        list(conn.iter_events(response, timeout=0.3))
    except HttpError as error:
        assert "timed out" in str(error)
    else:
        raise AssertionError("no error")


if __name__ == "__main__":
    main(globals())
