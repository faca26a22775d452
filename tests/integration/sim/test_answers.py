"""headrace-sim: answers, streams, errors and heads in the form of each engine."""

import base64
import os
import re
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import contains, eq, main, sse_text  # noqa: E402

ENGINES = ["vllm", "vllm-old", "sglang", "tgi", "tensorrt-llm", "triton-trtllm", "triton",
           "llamacpp", "lmdeploy", "nim", "ollama"]
QUICK = {"decode_step": 1, "jitter": 0}


def test_every_engine_streams_what_it_answers_whole(t):
    for engine in ENGINES:
        sim = t.sim(engine=engine, **QUICK)
        whole = t.chat(sim.port, "tell me", max_tokens=7)
        eq(whole.status, 200, engine)
        text = whole.json()["choices"][0]["message"]["content"]
        eq(len(text.split()), 7, engine)
        eq(whole.json()["usage"]["completion_tokens"], 7)
        eq(whole.json()["model"], "tiny")
        eq(whole.headers["x-sim-pod"], "sim-0")

        streamed = t.chat(sim.port, "tell me", max_tokens=7, stream=True,
                          stream_options={"include_usage": True})
        eq(streamed.status, 200, engine)
        contains(streamed.headers["content-type"], "text/event-stream", engine)
        eq(streamed.headers["transfer-encoding"], "chunked")
        events = streamed.events()
        eq(sse_text(events), text, engine)
        assert events[-1].done, engine
        eq(len(streamed.chunks), len(events), "one chunk for each event of " + engine)
        usage = [e.json()["usage"] for e in events[:-1] if e.json().get("usage")]
        eq(usage[-1]["completion_tokens"], 7, engine)
        assert usage[-1]["prompt_tokens"] > 0
        reasons = [c["finish_reason"] for e in events[:-1] for c in e.json()["choices"]]
        eq([r for r in reasons if r], ["length"], engine)
        sim.stop()


def test_every_engine_completes_text(t):
    for engine in ENGINES:
        sim = t.sim(engine=engine, **QUICK)
        body = {"model": "tiny", "prompt": "once upon", "max_tokens": 5}
        whole = t.request(sim.port, "POST", "/v1/completions", body=body)
        eq(whole.status, 200, engine)
        eq(len(whole.json()["choices"][0]["text"].split()), 5)
        eq(whole.json()["object"], "text_completion")
        body["stream"] = True
        streamed = t.request(sim.port, "POST", "/v1/completions", body=body)
        eq(sse_text(streamed.events()), whole.json()["choices"][0]["text"], engine)
        sim.stop()


def test_seed_decides_the_text_and_pods_agree(t):
    sim = t.sim(pods=2, seed=5, **QUICK)
    other = t.sim(seed=6, **QUICK)

    def text(port, **more):
        return t.chat(port, "same", **more).json()["choices"][0]["message"]["content"]
    first = text(sim.ports[0])
    eq(text(sim.ports[1]), first)
    assert text(other.port) != first
    assert text(sim.ports[0], seed=9) != first


def test_length_without_max_tokens_is_the_models_own(t):
    sim = t.sim(time_scale=0.1, **QUICK)
    answer = t.chat(sim.port, "how long", max_tokens=None)
    eq(answer.json()["choices"][0]["finish_reason"], "stop")
    assert 16 <= answer.json()["usage"]["completion_tokens"] <= 416
    eq(t.chat(sim.port, "x", max_tokens=None, max_completion_tokens=3)
       .json()["usage"]["completion_tokens"], 3)


def test_cached_tokens_are_in_the_usage(t):
    sim = t.sim(block_size=32, **QUICK)
    prompt = "word " * 2000
    cold = t.chat(sim.port, prompt, max_tokens=1).json()["usage"]
    warm = t.chat(sim.port, prompt, max_tokens=1).json()["usage"]
    eq(cold["prompt_tokens_details"]["cached_tokens"], 0)
    cached = warm["prompt_tokens_details"]["cached_tokens"]
    eq(cached % 32, 0)
    assert warm["prompt_tokens"] - 32 <= cached < warm["prompt_tokens"], (cached, warm)
    eq(t.chat(sim.port, "other " + prompt, max_tokens=1).json()["usage"]
       ["prompt_tokens_details"]["cached_tokens"], 0)


def test_sglang_counts_cached_tokens_only_where_there_are_some(t):
    sim = t.sim(engine="sglang", block_size=1, **QUICK)
    eq("prompt_tokens_details" in t.chat(sim.port).json()["usage"], False)
    usage = t.chat(sim.port).json()["usage"]
    eq(usage["prompt_tokens_details"], {"cached_tokens": usage["prompt_tokens"] - 1})


def test_embeddings(t):
    sim = t.sim(**QUICK)
    body = {"model": "tiny", "input": ["one", "two"], "dimensions": 8}
    answer = t.request(sim.port, "POST", "/v1/embeddings", body=body)
    eq(answer.status, 200)
    eq([len(item["embedding"]) for item in answer.json()["data"]], [8, 8])
    again = t.request(sim.port, "POST", "/v1/embeddings", body=body)
    eq(again.json()["data"], answer.json()["data"])
    assert answer.json()["usage"]["prompt_tokens"] > 0
    body["encoding_format"] = "base64"
    packed = t.request(sim.port, "POST", "/v1/embeddings", body=body).json()["data"]
    for item, plain in zip(packed, answer.json()["data"]):
        numbers = struct.unpack("<8f", base64.b64decode(item["embedding"], validate=True))
        eq([round(n, 5) for n in numbers], [round(n, 5) for n in plain["embedding"]])


def test_responses_api(t):
    sim = t.sim(**QUICK)
    body = {"model": "tiny", "input": "hello there", "max_output_tokens": 3}
    whole = t.request(sim.port, "POST", "/v1/responses", body=body)
    eq(whole.status, 200)
    eq(whole.json()["usage"]["output_tokens"], 3)
    eq(whole.json()["status"], "incomplete")
    text = whole.json()["output"][0]["content"][0]["text"]
    body["input"] = [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}]
    eq(t.request(sim.port, "POST", "/v1/responses", body=body).status, 200)
    body.update(input="hello there", stream=True)
    events = t.request(sim.port, "POST", "/v1/responses", body=body).events()
    eq([e.event for e in events],
       ["response.created", "response.in_progress", "response.output_item.added",
        "response.content_part.added"] + ["response.output_text.delta"] * 3 +
       ["response.output_text.done", "response.content_part.done", "response.output_item.done",
        "response.completed"])
    eq([e.json()["sequence_number"] for e in events], list(range(11)))
    eq({e.json()["type"] == e.event for e in events}, {True})
    eq("".join(e.json()["delta"] for e in events[4:7]), text)
    eq(events[-1].json()["response"]["usage"]["total_tokens"],
       whole.json()["usage"]["total_tokens"])
    eq(events[-1].json()["response"]["output"][0]["content"][0]["text"], text)


def test_vllm_echoes_request_ids_where_it_was_told_to(t):
    sim = t.sim(request_id_headers=True, **QUICK)
    answer = t.chat(sim.port, headers={"x-request-id": "abc-123"})
    eq(answer.headers["x-request-id"], "abc-123")
    eq(answer.json()["id"], "chatcmpl-abc-123")
    answers = [t.chat(sim.port), t.request(sim.port, "GET", "/health"), t.chat(sim.port, n=0)]
    eq(len({a.headers["x-request-id"] for a in answers}), 3)
    eq({len(a.headers["x-request-id"]) for a in answers}, {32})
    assert answers[0].headers["x-request-id"] not in answers[0].json()["id"]
    other = t.sim(engine="sglang", request_id_headers=True, **QUICK)
    eq(t.chat(other.port, headers={"x-request-id": "a"}).headers.get("x-request-id"), None)


def test_messages_api_where_the_engine_has_it(t):
    body = {"model": "tiny", "max_tokens": 3, "system": "be brief",
            "messages": [{"role": "user", "content": "hello"}]}
    for engine in ENGINES:
        sim = t.sim(engine=engine, **QUICK)
        whole = t.request(sim.port, "POST", "/v1/messages", body=body)
        if engine not in ("vllm", "vllm-old", "sglang", "llamacpp"):
            eq(whole.status, 404, engine)
            continue
        eq(whole.json()["stop_reason"], "max_tokens")
        eq(whole.json()["usage"]["output_tokens"], 3)
        text = whole.json()["content"][0]["text"]
        events = t.request(sim.port, "POST", "/v1/messages", body=dict(body, stream=True)).events()
        eq([e.event for e in events], ["message_start", "content_block_start"] +
           ["content_block_delta"] * 3 + ["content_block_stop", "message_delta", "message_stop"])
        eq("".join(e.json()["delta"]["text"] for e in events[2:5]), text, engine)
        eq(t.request(sim.port, "POST", "/v1/messages", body={"model": "tiny"}).status, 400)
        sim.stop()


def test_vllm_details(t):
    sim = t.sim(model=["tiny", "second"], **QUICK)
    answer = t.chat(sim.port, stream=True, max_tokens=2, headers={"x-request-id": "abc-123"},
                    stream_options={"include_usage": True})
    eq(answer.headers.get("x-request-id"), None)
    eq(answer.headers["server"], "uvicorn")
    events = answer.events()
    eq({e.json()["id"] for e in events[:-1]}, {"chatcmpl-abc-123"})
    eq(events[0].json()["choices"][0]["delta"], {"role": "assistant", "content": ""})
    # The finish reason comes with the last text; usage in an event without choices.
    eq(events[2].json()["choices"][0]["finish_reason"], "length")
    assert events[2].json()["choices"][0]["delta"]["content"]
    eq(events[3].json()["choices"], [])
    every = t.chat(sim.port, stream=True, max_tokens=2, stream_options={
        "include_usage": True, "continuous_usage_stats": True}).events()
    eq([e.json()["usage"]["completion_tokens"] for e in every[:-1]], [0, 1, 2, 2])
    eq([m["id"] for m in t.request(sim.port, "GET", "/v1/models").json()["data"]],
       ["tiny", "second"])
    eq(t.request(sim.port, "GET", "/health").body, b"")
    eq(t.request(sim.port, "HEAD", "/v1/models").status, 405)
    wrong = t.request(sim.port, "GET", "/v1/chat/completions")
    eq((wrong.status, wrong.headers["allow"], wrong.json()),
       (405, "POST", {"detail": "Method Not Allowed"}))
    eq(t.request(sim.port, "GET", "/v1/nothing").json(), {"detail": "Not Found"})


def test_vllm_errors(t):
    sim = t.sim(max_model_len=4096, **QUICK)

    def error(body, status, headers=None):
        answer = t.request(sim.port, "POST", "/v1/chat/completions", headers, body)
        eq(answer.status, status, repr(body)[:80])
        return answer.json()["error"]
    eq(error(t.chat_body(model="nope"), 404),
       {"message": "The model `nope` does not exist. Valid aliases: tiny.",
        "type": "NotFoundError", "param": "model", "code": 404})
    eq(error(t.chat_body("x" * 20000), 400)["param"], "input_tokens")
    eq(error(t.chat_body(max_tokens=100000), 400)["param"], "max_tokens")
    eq(error(t.chat_body(max_tokens="many"), 400)["param"], "body.max_tokens")
    eq(error({"model": "tiny"}, 400)["param"], "body.messages")
    json_type = {"content-type": "application/json"}
    contains(error('{"model":"tiny","messages":[', 400, json_type)["message"], "JSON decode error")
    contains(error("", 400, json_type)["message"], "Field required")
    contains(error('{"model":"tiny"}', 400, {"content-type": "text/plain"})["message"],
             "Unsupported Media Type")
    error("null", 400, json_type)
    error("[1,2]", 400, json_type)
    error('{"a":' * 5000 + "1" + "}" * 5000, 400, json_type)


def test_orca_header_on_whole_answers_only(t):
    sim = t.sim(**QUICK)
    text = t.chat(sim.port, headers={"endpoint-load-metrics-format": "TEXT"})
    eq(text.headers["endpoint-load-metrics"],
       "TEXT named_metrics.num_requests_waiting=0.0, named_metrics.kv_cache_usage_perc=0.0")
    sim.config(waiting=3, kv=0.25)
    as_json = t.chat(sim.port, headers={"endpoint-load-metrics-format": "JSON"})
    eq(as_json.headers["endpoint-load-metrics"],
       'JSON {"named_metrics": {"num_requests_waiting": 3.0, "kv_cache_usage_perc": 0.25}}')
    streamed = t.chat(sim.port, stream=True, headers={"endpoint-load-metrics-format": "TEXT"})
    assert "endpoint-load-metrics" not in streamed.headers
    assert "endpoint-load-metrics" not in t.chat(sim.port).headers


def test_sglang_details(t):
    sim = t.sim(engine="sglang", max_model_len=4096, **QUICK)
    served = t.chat(sim.port, model="nope")
    eq((served.status, served.json()["model"]), (200, "nope"))
    error = t.chat(sim.port, "x" * 20000)
    eq(error.status, 400)
    eq(error.json()["object"], "error")
    eq(error.json()["code"], 400)
    events = t.chat(sim.port, stream=True, max_tokens=2).events()
    # role, two tokens, the finish reason by itself, [DONE]
    eq(len(events), 5)
    eq(events[3].json()["choices"][0]["finish_reason"], "length")
    assert "content" not in events[3].json()["choices"][0]["delta"]


def test_llamacpp_details(t):
    sim = t.sim(engine="llamacpp", max_model_len=256, kv_blocks=64, **QUICK)
    with t.connect(sim.port) as conn:
        answer = conn.request("POST", "/v1/chat/completions", None,
                              t.chat_body(stream=True, max_tokens=3,
                                          stream_options={"include_usage": True}))
        eq(answer.headers["Keep-Alive"], "timeout=5, max=100")
        eq(answer.headers["Server"], "llama.cpp")
        assert conn.is_closed(), "the connection ends with the stream"
    events = answer.events()
    eq(events[0].json()["choices"][0]["delta"], {"role": "assistant", "content": None})
    contains(events[-2].json(), "timings")
    eq(events[-2].json()["choices"], [])
    with t.connect(sim.port) as conn:
        eq(conn.request("POST", "/v1/chat/completions", None, t.chat_body()).status, 200)
        eq(conn.request("GET", "/health").json(), {"status": "ok"})
        eq(conn.request("HEAD", "/v1/models").status, 200)
    bad = t.request(sim.port, "POST", "/v1/chat/completions", None, '{"model":')
    eq((bad.status, bad.headers["connection"]), (500, "close"))
    eq(t.chat(sim.port, model="nope").status, 200)
    filled = t.chat(sim.port, max_tokens=100000)
    eq(filled.status, 200)
    eq(filled.json()["usage"]["total_tokens"], 256)
    too_long = t.chat(sim.port, "x" * 5000).json()["error"]
    eq((too_long["type"], too_long["n_ctx"]), ("exceed_context_size_error", 256))
    eq(t.request(sim.port, "POST", "/v1/chat/completions", {"content-type": "text/plain"},
                 '{"messages":[{"role":"user","content":"x"}],"max_tokens":1}').status, 200)


# What a router looks for, by engine: (path, waiting, running, KV utilisation).
METRICS = {
    "vllm": ("/metrics", "vllm:num_requests_waiting", "vllm:num_requests_running",
             "vllm:kv_cache_usage_perc"),
    "vllm-old": ("/metrics", "vllm:num_requests_waiting", "vllm:num_requests_running",
                 "vllm:gpu_cache_usage_perc"),
    "sglang": ("/metrics", "sglang:num_queue_reqs", "sglang:num_running_reqs",
               "sglang:token_usage"),
    "tgi": ("/metrics", "tgi_queue_size", "tgi_batch_current_size", None),
    "tensorrt-llm": ("/prometheus/metrics", "trtllm_num_requests_waiting",
                     "trtllm_num_requests_running", "trtllm_kv_cache_utilization"),
    "triton-trtllm": ("/metrics",
                      'nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="waiting"'
                      ',version="1"}',
                      'nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="scheduled"'
                      ',version="1"}',
                      'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction",'
                      'model="tensorrt_llm",version="1"}'),
    "triton": ("/metrics", "nv_inference_pending_request_count", None, None),
    "llamacpp": ("/metrics", "llamacpp:requests_deferred", "llamacpp:requests_processing", None),
    "lmdeploy": ("/metrics", "lmdeploy:num_requests_waiting", "lmdeploy:num_requests_running",
                 "lmdeploy:gpu_cache_usage_perc"),
    "nim": ("/v1/metrics", "num_requests_waiting", "num_requests_running",
            "gpu_cache_usage_perc"),
}


def test_every_engine_shows_its_load_under_its_names(t):
    for engine, (path, waiting, running, kv) in METRICS.items():
        sim = t.sim(engine=engine, max_num_seqs=2, decode_step=20, jitter=0, kv_blocks=100)
        streams = [t.stream(sim.port, "x" * 1000, max_tokens=500)[0] if engine != "llamacpp"
                   else start_without_head(t, sim.port) for _ in range(5)]

        def busy():
            shown = sim.metrics(path=path)
            return shown[waiting] == 3 and (running is None or shown[running] == 2)
        t.eventually(busy, 5, engine + " shows two running and three waiting")
        if kv:
            assert 0 < sim.metrics(path=path)[kv] <= 1, engine
        for conn in streams:
            conn.close()
        t.eventually(lambda: sim.metrics(path=path)[waiting] == 0, 5, engine + " is idle")
        sim.stop()
    sim = t.sim(engine="ollama")
    eq(t.request(sim.port, "GET", "/metrics").status, 404)
    eq(t.request(sim.port, "GET", "/").text, "Ollama is running")


def start_without_head(t, port):
    conn = t.connect(port)
    conn.send_request("POST", "/v1/chat/completions", None,
                      t.chat_body("x" * 1000, max_tokens=500, stream=True))
    return conn


def test_expositions_are_well_formed(t):
    for engine, (path, *_) in METRICS.items():
        sim = t.sim(engine=engine, adapter=["sql"], **QUICK)
        t.chat(sim.port, model="sql" if engine == "vllm" else "tiny")
        text = t.request(sim.port, "GET", path).text
        names, typed = set(), None
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                typed = line.split()[2]
                assert typed not in names, "%s: %s twice" % (engine, typed)
                names.add(typed)
            elif not line.startswith("#"):
                name = re.match(r"[a-zA-Z_:0-9]+", line).group()
                assert name.startswith(typed), "%s: %r under %s" % (engine, line, typed)
                assert "%" not in line and ",}" not in line and "{," not in line, line
        sim.metrics(path=path)  # every line parses
        sim.stop()
    vllm = t.sim(adapter=["sql"], **QUICK)
    contains(t.request(vllm.port, "GET", "/metrics").text, "vllm:lora_requests_info{")
    size = len(t.request(vllm.port, "GET", "/metrics").body)
    assert 30000 < size < 90000, size


def test_chosen_names_as_prometheus_client_does_it(t):
    sim = t.sim(**QUICK)
    t.chat(sim.port)
    query = ("?name[]=vllm:num_requests_running&name%5B%5D=vllm%3Arequest_success_total"
             "&name[]=vllm:time_to_first_token_seconds_count&name[]=nothing")
    text = t.request(sim.port, "GET", "/metrics" + query).text
    eq({line.split("{")[0] for line in text.splitlines() if not line.startswith("#")},
       {"vllm:num_requests_running", "vllm:request_success_total",
        "vllm:time_to_first_token_seconds_count"})
    eq(text.count("# TYPE"), 3)
    eq(t.request(sim.port, "GET", "/metrics?name[]=nothing").text, "")
    assert len(t.request(sim.port, "GET", "/metrics?other=1").body) > 30000
    sglang = t.sim(engine="sglang")
    eq(t.request(sglang.port, "GET", "/metrics?name[]=sglang:num_running_reqs").text, "")
    tgi = t.sim(engine="tgi")
    assert len(t.request(tgi.port, "GET", "/metrics?name[]=tgi_queue_size").body) > 3000


if __name__ == "__main__":
    main(globals())
