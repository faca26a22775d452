#!/usr/bin/env python3
"""Which pod a request goes to: the real program over simulated engines."""

import collections
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import eq, eventually, main  # noqa: E402

MANIFEST = """
apiVersion: headrace.dev/v1alpha1
kind: ModelBackend
metadata: {name: be}
spec:
  engine: %(engine)s
  static: {endpoints: [%(endpoints)s]}
  metrics: {interval: 50ms, staleAfter: 10s}
  balancing: {policy: %(policy)s}
  models:
  - name: tiny
---
apiVersion: headrace.dev/v1alpha1
kind: AIRoute
metadata: {name: r}
spec:
  rules:
  - name: only
    matches:
    - path: {type: Prefix, value: /v1}
    backends: [{name: be}]
"""


def manifest(ports, engine="Auto", policy="InferenceAware"):
    endpoints = ", ".join("{address: 127.0.0.1, port: %d}" % port for port in ports)
    return MANIFEST % {"engine": engine, "policy": policy, "endpoints": endpoints}


def backend(t, headrace):
    return t.request(headrace.admin_port, "GET", "/endpoints").json()["backends"][0]


def endpoint(t, headrace, port):
    for found in backend(t, headrace)["endpoints"]:
        if found["address"] == "127.0.0.1:%d" % port:
            return found
    raise KeyError(port)


def picks(t, headrace, ports):
    return [endpoint(t, headrace, port)["picks"] for port in ports]


def wait_scraped(t, headrace, ports):
    for port in ports:
        eventually(lambda port=port: endpoint(t, headrace, port)["scrapes"] >= 2,
                   what="pod %d is scraped" % port)


def wait_idle(t, headrace, scraped=False):
    """The books are empty again, and the pods' gauges have been seen to be."""
    def idle():
        return all(e["outstanding_requests"] == 0 and e["outstanding_prompt_tokens"] == 0
                   and (not scraped or e["sample"]["waiting"] == e["sample"]["running"] == 0)
                   for e in backend(t, headrace)["endpoints"])
    eventually(idle, what="nothing is outstanding")


def wait_outstanding(t, headrace, count):
    def seen():
        return sum(e["outstanding_requests"] for e in backend(t, headrace)["endpoints"])
    eventually(lambda: seen() >= count, what="%d requests are outstanding" % count)


def start_streams(t, port, count, **more):
    """Streams that were taken: their heads are there. They end with the test."""
    return [t.stream(port, **more) for _ in range(count)]


def test_a_pod_that_others_load_gets_almost_nothing(t):
    sim = t.sim(pods=3, max_num_seqs=2, decode_step=50)
    headrace = t.headrace({"all.yaml": manifest(sim.ports)})
    wait_scraped(t, headrace, sim.ports)
    # Past us, straight to one pod: only its metrics can tell.
    start_streams(t, sim.ports[1], 32, max_tokens=2000)
    eventually(lambda: endpoint(t, headrace, sim.ports[1])["sample"]["others_waiting"] > 25,
               what="the queue of others is seen")
    for answer in t.parallel([lambda: t.chat(headrace.port, max_tokens=4) for _ in range(20)]):
        eq(answer.status, 200)
    counts = picks(t, headrace, sim.ports)
    assert counts[1] <= 1, counts
    eq(sum(counts), 20)
    # Round robin, which does not look, is what this is better than.
    blind = t.headrace({"all.yaml": manifest(sim.ports, policy="RoundRobin")})
    burst(t, blind, 18, max_tokens=4)
    eventually(lambda: sum(picks(t, blind, sim.ports)) == 18)
    eq(picks(t, blind, sim.ports), [6, 6, 6])


def test_a_pod_whose_cache_is_nearly_full_is_avoided(t):
    # 4,096 tokens of cache; one long prompt fills most of it, for 40 s, and nothing waits.
    sim = t.sim(pods=2, kv_blocks=256, decode_step=100, max_model_len=4096)
    headrace = t.headrace({"all.yaml": manifest(sim.ports)})
    wait_scraped(t, headrace, sim.ports)
    start_streams(t, sim.ports[0], 1, prompt="word " * 2900, max_tokens=400)
    eventually(lambda: endpoint(t, headrace, sim.ports[0])["sample"]["kv_utilisation"] > 0.85,
               what="the full cache is seen")
    eq(endpoint(t, headrace, sim.ports[0])["sample"]["waiting"], 0)
    for _ in range(12):
        eq(t.chat(headrace.port, "word " * 200, max_tokens=1).status, 200)
    counts = picks(t, headrace, sim.ports)
    eq(counts, [0, 12])


def burst(t, headrace, count, **more):
    """Requests that are sent within about a millisecond, over connections that are open already."""
    body = t.chat_body(stream=True, **more)
    conns = [t.connect(headrace.port) for _ in range(count)]
    for conn in conns:
        conn.send_request("POST", "/v1/chat/completions", None, body)
    return conns


def test_a_burst_spreads_evenly(t):
    # A prompt takes long enough that the burst is over before the first one is through.
    sim = t.sim(pods=4, prefill_rate=50, decode_step=20)
    headrace = t.headrace({"all.yaml": manifest(sim.ports)})
    wait_scraped(t, headrace, sim.ports)
    for number in (1, 2):
        conns = burst(t, headrace, 28, prompt="word " * 400, max_tokens=4)
        eventually(lambda: sum(picks(t, headrace, sim.ports)) == 28 * number)
        eq(picks(t, headrace, sim.ports), [7 * number] * 4)
        for conn in conns:
            conn.close()
        wait_idle(t, headrace, scraped=True)


def test_a_killed_pod_costs_no_client_an_error(t):
    sims = [t.sim(decode_step=5) for _ in range(3)]
    headrace = t.headrace({"all.yaml": manifest([sim.port for sim in sims])})
    stop = threading.Event()
    answers = collections.Counter()
    lock = threading.Lock()

    def client():
        while not stop.is_set():
            try:
                seen = t.chat(headrace.port, max_tokens=10).status
            except Exception as error:
                seen = repr(error)
            with lock:
                answers[seen] += 1

    threads = [threading.Thread(target=client, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    eventually(lambda: answers[200] > 50, timeout=60)
    sims[1].kill()
    before = answers[200]
    eventually(lambda: answers[200] > before + 150, timeout=60)
    stop.set()
    for thread in threads:
        thread.join(20)
    eq(set(answers), {200}, str(answers))
    wait_idle(t, headrace)
    found = endpoint(t, headrace, sims[1].port)
    assert found["failures"] >= 1 and found["failures"] <= 30, found


def test_the_books_return_to_zero_whatever_happened(t):
    sims = [t.sim(max_num_seqs=4, decode_step=20, prefill_rate=2000) for _ in range(2)]
    headrace = t.headrace({"all.yaml": manifest([sim.port for sim in sims])})
    aborted = [t.stream(headrace.port, max_tokens=1000)[0] for _ in range(6)]  # while they stream
    waiting = burst(t, headrace, 10, prompt="word " * 300, max_tokens=1000)    # while they wait
    whole = [lambda: t.chat(headrace.port, max_tokens=3) for _ in range(6)]
    broken = [lambda fault=fault: t.chat(headrace.port, headers={"x-sim-fault": fault},
                                         max_tokens=3, stream=True)
              for fault in ("reset", "close", "status=500", "status=503", "error-event=503",
                            "reset-after=2", "close-after=2")]
    wait_outstanding(t, headrace, 16)
    for conn in waiting:
        conn.close()
    t.parallel(broken)
    for conn in aborted:
        conn.close()
    for answer in t.parallel(whole):
        eq(answer.status, 200)
    wait_idle(t, headrace)
    burst(t, headrace, 8, max_tokens=1000)
    wait_outstanding(t, headrace, 8)
    sims[0].kill()
    sims[1].kill()
    wait_idle(t, headrace)  # with the clients still there


ENGINES = {"vllm": "VLLM", "vllm-old": "VLLM", "sglang": "SGLang", "tgi": "TGI",
           "tensorrt-llm": "TensorRTLLM", "triton-trtllm": "TritonTRTLLM", "triton": "Triton",
           "llamacpp": "LlamaCpp", "lmdeploy": "LMDeploy", "nim": "NIM"}


def test_every_engine_is_detected_and_its_queue_is_seen(t):
    sims = {name: t.sim(engine=name, max_num_seqs=2, decode_step=50) for name in ENGINES}
    text = "\n---".join(
        MANIFEST.replace("name: be", "name: be-%s" % name).replace("name: r}", "name: r-%s}" % name)
        .replace("value: /v1", "value: /%s" % name)
        % {"engine": "Auto", "policy": "InferenceAware",
           "endpoints": "{address: 127.0.0.1, port: %d}" % sim.port}
        for name, sim in sims.items())
    headrace = t.headrace({"all.yaml": text})
    # Six straight to each: two run, four wait.
    for sim in sims.values():
        for _ in range(6):
            t.connect(sim.port).send_request("POST", "/v1/chat/completions", None,
                                             t.chat_body(stream=True, max_tokens=2000))

    def seen():
        page = t.request(headrace.admin_port, "GET", "/endpoints").json()["backends"]
        by_name = {b["name"].split("be-")[-1]: b for b in page}
        eq(set(by_name), set(ENGINES))
        for name, engine in ENGINES.items():
            found = by_name[name]
            eq(found["engine"], engine, name)
            sample = found["endpoints"][0]["sample"]
            eq(sample["waiting"], 4, name)
            assert sample["others_requests"] >= 4, (name, sample)
        return True
    eventually(seen, timeout=20)


def test_metrics_that_fail_leave_our_own_books(t):
    sim = t.sim(pods=3, prefill_rate=50)
    text = manifest(sim.ports).replace("interval: 50ms", "path: /nothing, interval: 50ms")
    headrace = t.headrace({"all.yaml": text})
    eventually(lambda: endpoint(t, headrace, sim.ports[0])["scrape_failures"] > 0)
    eq(t.chat(headrace.port, "short", max_tokens=1).status, 200)
    burst(t, headrace, 12, prompt="word " * 400, max_tokens=4)
    eventually(lambda: sum(picks(t, headrace, sim.ports)) == 13)
    eq(sorted(picks(t, headrace, sim.ports)), [4, 4, 5])


if __name__ == "__main__":
    main(globals())
