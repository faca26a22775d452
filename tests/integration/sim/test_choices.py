"""headrace-sim: several choices for one request (`n`), and how each engine orders their events."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import eq, main, sse_text  # noqa: E402

ENGINES = ["vllm", "vllm-old", "sglang", "tgi", "tensorrt-llm", "triton-trtllm", "triton",
           "llamacpp", "lmdeploy", "nim", "ollama"]
QUICK = {"decode_step": 1, "jitter": 0}


def each_choice(events):
    """{index: [(text or None, finish reason)]} of a stream, in order."""
    found = {}
    for event in events:
        for choice in [] if event.done else event.json()["choices"]:
            text = choice["delta"].get("content") if "delta" in choice else choice["text"]
            found.setdefault(choice["index"], []).append((text, choice["finish_reason"]))
    return found


def test_every_engine_gives_as_many_answers_as_are_asked_for(t):
    for engine in ENGINES:
        sim = t.sim(engine=engine, **QUICK)
        one = t.chat(sim.port, max_tokens=5).json()
        whole = t.chat(sim.port, max_tokens=5, n=3).json()
        eq([c["index"] for c in whole["choices"]], [0, 1, 2], engine)
        texts = [c["message"]["content"] for c in whole["choices"]]
        eq(texts[0], one["choices"][0]["message"]["content"])
        eq(len(set(texts)), 3, engine)
        eq([len(text.split()) for text in texts], [5, 5, 5], engine)
        eq(whole["usage"]["completion_tokens"], 15, engine)
        eq(whole["usage"]["prompt_tokens"], one["usage"]["prompt_tokens"], engine)
        eq(whole["usage"]["total_tokens"], one["usage"]["prompt_tokens"] + 15, engine)

        streamed = t.chat(sim.port, max_tokens=5, n=3, stream=True,
                          stream_options={"include_usage": True})
        events = streamed.events()
        assert events[-1].done, engine
        eq(len(streamed.chunks), len(events), engine)
        parts = each_choice(events)
        eq(sorted(parts), [0, 1, 2])
        for index, text in enumerate(texts):
            eq("".join(part or "" for part, _ in parts[index]), text, engine)
            eq([reason for _, reason in parts[index] if reason], ["length"], engine)
            eq(parts[index][-1][1], "length", "%s ends choice %d with it" % (engine, index))
        usage = [e.json()["usage"] for e in events[:-1] if e.json().get("usage")]
        eq(usage[-1]["completion_tokens"], 15, engine)
        eq(usage[-1]["prompt_tokens"], one["usage"]["prompt_tokens"], engine)
        sim.stop()


def test_text_completions_have_choices_too(t):
    for engine in ENGINES:
        sim = t.sim(engine=engine, **QUICK)
        body = {"model": "tiny", "prompt": "once upon", "max_tokens": 4, "n": 2}
        whole = t.request(sim.port, "POST", "/v1/completions", body=body).json()
        eq([c["index"] for c in whole["choices"]], [0, 1], engine)
        eq(whole["usage"]["completion_tokens"], 8)
        body["stream"] = True
        parts = each_choice(t.request(sim.port, "POST", "/v1/completions", body=body).events())
        for choice in whole["choices"]:
            eq("".join(text for text, _ in parts[choice["index"]]), choice["text"], engine)
        sim.stop()


def shape(events):
    """What happens to whom: r0 role, t0 text, f0 finish, T0 text with the finish reason."""
    names = []
    for event in events:
        for choice in [] if event.done else event.json()["choices"]:
            delta, reason = choice["delta"], choice["finish_reason"]
            kind = "r" if "role" in delta else "t" if delta.get("content") else "f"
            names.append((kind.upper() if kind == "t" and reason else kind) + str(choice["index"]))
    return " ".join(names)


def test_events_of_choices_are_interleaved_in_each_engines_order(t):
    for engine, order in (("vllm", "r0 r1 t0 t1 T0 T1"),
                          ("sglang", "r0 t0 r1 t1 t0 t1 f0 f1"),
                          ("llamacpp", "r0 t0 r1 t1 t0 f0 t1 f1")):
        sim = t.sim(engine=engine, **QUICK)
        events = t.chat(sim.port, max_tokens=2, n=2, stream=True).events()
        eq(shape(events), order, engine)
        ids = {e.json()["id"] for e in events[:-1]}
        eq(len(ids), 2 if engine == "sglang" else 1, "ids of " + engine)
    usage = [e.json()["usage"]["completion_tokens"] for e in
             t.chat(t.sim(**QUICK).port, max_tokens=2, n=2, stream=True, stream_options={
                 "include_usage": True, "continuous_usage_stats": True}).events()[:-1]]
    eq(usage, [0, 0, 1, 1, 2, 2, 4], "of the choice, and in the end of all")


def test_too_many_or_senseless_choices_are_refused(t):
    for engine in ENGINES:
        sim = t.sim(engine=engine, max_num_seqs=4, **QUICK)
        for n in (0, 129, -1, "two"):
            refused = t.chat(sim.port, n=n, max_tokens=1)
            assert refused.status in (400, 422), (engine, n, refused.status)
        # llama.cpp has a slot for each; elsewhere they wait for one another.
        eq(t.chat(sim.port, n=5, max_tokens=1).status, 400 if engine == "llamacpp" else 200)
        eq(t.chat(sim.port, n=4, max_tokens=1).status, 200)
        eq(sim.state()["requests-open"], 1, "the one that asks")
        sim.stop()


def test_choices_are_sequences_that_share_their_prompt(t):
    sim = t.sim(decode_step=50, jitter=0, max_num_seqs=3, block_size=16)
    conn, _ = t.stream(sim.port, "word " * 640, max_tokens=400, n=4)
    t.eventually(lambda: (sim.state()["running"], sim.state()["waiting"]) == (3, 1), 5,
                 "three of four run")
    used = sim.state()["kv-used-blocks"]
    assert 50 <= used < 65, "%d blocks: fifty of the prompt, and few of each choice" % used
    conn.close()
    t.eventually(lambda: sim.state()["running"] + sim.state()["waiting"] == 0, 3, "all abort")
    eq(sim.state()["aborted"], 1, "requests")
    eq(sim.state()["kv-used-blocks"], 0)


def test_a_request_enters_the_queue_with_all_its_choices(t):
    sim = t.sim(decode_step=1000, jitter=0, max_num_seqs=1, max_queued=1)
    t.stream(sim.port, max_tokens=400, n=4)
    t.eventually(lambda: sim.state()["waiting"] == 3, 5, "the others wait")
    eq(t.chat(sim.port, max_tokens=1).status, 503)
    eq(sse_text(t.chat(t.sim(max_queued=0, max_num_seqs=1, **QUICK).port, n=2, max_tokens=2,
                       stream=True).events()) != "", True)


if __name__ == "__main__":
    main(globals())
