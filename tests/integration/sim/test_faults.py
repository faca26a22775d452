"""headrace-sim: faults by request header and by POST /sim/config."""

import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import HttpError, contains, eq, main, sse_text  # noqa: E402

QUICK = {"decode_step": 1, "jitter": 0}


def fault(text):
    return {"x-sim-fault": text}


def fails(call, part):
    try:
        call()
    except (HttpError, OSError) as error:
        contains(str(error), part)
        return
    raise AssertionError("no error, want %r" % part)


def collect(conn, response, timeout=None):
    """(events, error or None)"""
    events = []
    try:
        for event in conn.iter_events(response, timeout):
            events.append(event)
    except (HttpError, OSError) as error:
        return events, str(error)
    return events, None


def test_delay_and_slow_head(t):
    sim = t.sim(**QUICK)
    started = time.monotonic()
    eq(t.chat(sim.port, headers=fault("delay=300ms")).status, 200)
    assert time.monotonic() - started >= 0.29
    started = time.monotonic()
    conn, _ = t.stream(sim.port, headers=fault("slow-head=0.3s"), max_tokens=2)
    assert time.monotonic() - started >= 0.29
    t.eventually(lambda: sim.state()["finished"] == 2, what="the engine goes on meanwhile")
    conn.close()


def test_status(t):
    sim = t.sim(**QUICK)
    for status in (500, 502, 503, 429):
        answer = t.chat(sim.port, headers=fault("status=%d" % status))
        eq(answer.status, status)
        eq(answer.json()["error"]["code"], status)
    eq(t.chat(sim.port).status, 200)


def test_reset_close_and_freeze_before_the_head(t):
    sim = t.sim(**QUICK)
    fails(lambda: t.chat(sim.port, headers=fault("reset")), "reset")
    fails(lambda: t.chat(sim.port, headers=fault("close")), "closed")
    started = time.monotonic()
    fails(lambda: t.chat(sim.port, headers=fault("freeze"), timeout=0.5), "timed out")
    assert time.monotonic() - started >= 0.5


def test_faults_in_mid_stream(t):
    sim = t.sim(**QUICK)
    cases = (("reset-after=3", "reset"), ("close-after=3", "closed"), ("stall-after=3", "timed out"))
    for text, part in cases:
        conn, response = t.stream(sim.port, headers=fault(text), max_tokens=20)
        events, error = collect(conn, response, timeout=1.5 if part == "timed out" else None)
        eq(len(sse_text(events).split()), 3, text)
        contains(str(error), part, text)
        assert not response.complete
        conn.close()
    started = time.monotonic()
    conn, response = t.stream(sim.port, headers=fault("stall-after=2:300ms"), max_tokens=5)
    events, error = collect(conn, response)
    eq(error, None)
    # role, two tokens, then silence
    assert events[3].at - started >= 0.29, "the third token is late"
    eq(len(sse_text(events).split()), 5)


def test_error_events(t):
    sim = t.sim(**QUICK)
    answer = t.chat(sim.port, stream=True, headers=fault("error-event=503"))
    eq(answer.status, 200)
    events = answer.events()
    eq((len(events), events[0].json()["error"]["code"]), (2, 503))
    assert events[1].done
    late = t.chat(sim.port, stream=True, max_tokens=9, headers=fault("error-event=500:4")).events()
    eq(len(sse_text(late[:-2]).split()), 4)
    eq(late[-2].json()["error"]["code"], 500)


def test_an_unknown_fault_does_not_pass_for_none(t):
    sim = t.sim(**QUICK)
    for text in ("explode", "delay=soon", "status=200", "reset-after=-1", "stall-after="):
        eq(t.chat(sim.port, headers=fault(text)).status, 400, text)
    eq(t.chat(sim.port, headers=fault(" , delay=1ms , ")).status, 200)


def test_faults_of_a_pod(t):
    sim = t.sim(pods=2, **QUICK)
    sim.config(0, fault="status=500", fault_count=2)
    eq([t.chat(sim.ports[0]).status for _ in range(4)], [500, 500, 200, 200])
    eq(t.chat(sim.ports[1]).status, 200)
    sim.config(0, fault="status=503")
    eq([t.chat(sim.ports[0]).status for _ in range(3)], [503] * 3)
    eq(t.chat(sim.ports[0], headers=fault("delay=1ms")).status, 200)  # the header wins
    eq(t.request(sim.ports[0], "GET", "/health").status, 200)
    sim.config(0, fault="")
    eq(t.chat(sim.ports[0]).status, 200)
    sim.config(0, fault="status=500", fault_share=0.5)
    statuses = [t.chat(sim.ports[0]).status for _ in range(40)]
    assert 0 < statuses.count(500) < 40, statuses


def test_scrapes_and_health_can_fail_by_themselves(t):
    sim = t.sim(**QUICK)
    sim.config(metrics_fault="status=500", health_status=503)
    eq(t.request(sim.port, "GET", "/metrics").status, 500)
    eq(t.request(sim.port, "GET", "/health").status, 503)
    eq(t.chat(sim.port).status, 200)
    sim.config(metrics_fault="delay=300ms", health_status=0)
    started = time.monotonic()
    eq(t.request(sim.port, "GET", "/metrics").status, 200)
    assert time.monotonic() - started >= 0.29
    eq(t.request(sim.port, "GET", "/health").status, 200)


def test_frozen_engine_answers_health_and_keeps_its_gauges(t):
    """A stopped engine process behind a living front end, as seen with vLLM."""
    sim = t.sim(decode_step=5, jitter=0)
    conn, response = t.stream(sim.port, max_tokens=2000)
    next(conn.iter_events(response))
    sim.config(freeze=True)
    fails(lambda: list(conn.iter_events(response, timeout=0.5)), "timed out")
    eq(t.request(sim.port, "GET", "/health").status, 200)
    eq(sim.metrics()["vllm:num_requests_running"], 1)
    sim.config(freeze=False, decode_step=0.1)
    rest, error = collect(conn, response)
    assert error is None and rest[-1].done, error


def test_sglang_health_fails_while_its_scheduler_stands_still(t):
    sim = t.sim(engine="sglang", time_scale=0.01, decode_step=1)
    sim.config(freeze=True)
    eq(t.request(sim.port, "GET", "/health").status, 503)
    conn = t.connect(sim.port)
    conn.send_request("GET", "/health")
    conn.close()  # one that leaves while it waits
    sim.config(freeze=False)
    eq(t.request(sim.port, "GET", "/health").status, 200)


def test_a_hanging_pod_accepts_and_says_nothing(t):
    sim = t.sim(pods=2, **QUICK)
    sim.config(1, hang=True)
    conn = t.connect(sim.ports[1])
    conn.send_request("GET", "/health")
    fails(lambda: conn.read_response(timeout=0.4), "timed out")
    eq(t.request(sim.ports[0], "GET", "/health").status, 200)
    sim.config(0, pod=sim.names[1], hang=False)
    eq(conn.read_response().status, 200)
    started = time.monotonic()
    sim.config(1, hang_for="300ms")
    eq(conn.request("GET", "/health").status, 200)
    assert time.monotonic() - started >= 0.29


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except ConnectionRefusedError:
        return True
    return False


def test_refusing_connections_and_coming_back(t):
    sim = t.sim(pods=2, decode_step=10)
    conn, response = t.stream(sim.ports[1], max_tokens=30)
    sim.config(0, pod=sim.names[1], refuse=True)
    assert refused(sim.ports[1])
    events, error = collect(conn, response)
    assert error is None and events[-1].done, "what is open goes on"
    sim.config(0, pod=sim.names[1], refuse=False)
    eq(t.chat(sim.ports[1]).status, 200)
    sim.config(1, refuse_for="2s")
    assert refused(sim.ports[1])
    t.eventually(lambda: not refused(sim.ports[1]), 3, "it listens again")


def test_a_killed_pod_resets_everything(t):
    sim = t.sim(pods=2, decode_step=10)
    conn, response = t.stream(sim.ports[1], max_tokens=1000)
    next(conn.iter_events(response))
    sim.config(0, pod=sim.names[1], down=True)
    assert refused(sim.ports[1])
    _, error = collect(conn, response)
    contains(str(error), "reset")
    state = sim.config(0, pod=sim.names[1], down=False)
    eq((state["running"], state["kv-used-blocks"]), (0, 0))
    eq(t.chat(sim.ports[1]).status, 200)


def test_settings_are_checked(t):
    sim = t.sim()
    for body in ({"wating": 3}, {"waiting": "many"}, {"waiting": -1}, {"freeze": 1}, [1], "x",
                 {"fault": "explode"}, {"pod": "nobody"}, {"max-num-seqs": 0},
                 {"refuse-for": "x"}):
        answer = t.request(sim.port, "POST", "/sim/config", body=body)
        eq(answer.status, 400, repr(body))
        assert answer.json()["error"]
    eq(t.request(sim.port, "GET", "/sim/other").status, 404)
    eq(t.request(sim.port, "DELETE", "/sim/config").status, 405)
    eq(sim.config(max_num_seqs=3, decode_step=2.5, max_queued=7, time_scale=0.5,
                  prefill_rate=100, decode_slowdown=0)["pod"], "sim-0")


if __name__ == "__main__":
    main(globals())
