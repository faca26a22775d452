"""headrace-sim: status, names of headers, order of events and of JSON members are those that were seen
of real servers; shapes.txt has them.

A block of it: `engine request`, then `status header header…` and a line for each event (equal ones in a
row once) or for the body. {a b-} is an object with `a` and a `b` that is null, [x] an array."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import eq, main  # noqa: E402

QUICK = {"time_scale": 0.01, "jitter": 0, "max_model_len": 4096,
         "block_size": 1}
HELLO = [{"role": "user", "content": "hello there, how are you"}]
USAGE = {"include_usage": True}
CHAT = "/v1/chat/completions"
PROMPT = {"prompt": "hello there", "max_tokens": 4}
REQUESTS = {
    "chat": (CHAT, {"messages": HELLO, "max_tokens": 6}),
    "chat-stream": (CHAT, {"messages": HELLO, "max_tokens": 6, "stream": True}),
    "chat-stream-usage": (CHAT, {"messages": HELLO, "max_tokens": 6, "stream": True,
                                 "stream_options": USAGE}),
    "chat-n2-stream": (CHAT, {"messages": HELLO, "max_tokens": 2, "stream": True, "n": 2}),
    "completions": ("/v1/completions", PROMPT),
    "completions-stream": ("/v1/completions", dict(PROMPT, stream=True, stream_options=USAGE)),
    "responses-stream": ("/v1/responses", {"input": "hello", "max_output_tokens": 4,
                                           "stream": True}),
    "messages-stream": ("/v1/messages", {"messages": HELLO, "max_tokens": 4, "stream": True}),
    "err-no-messages": (CHAT, {}),
    "err-bad-type": (CHAT, {"messages": HELLO, "max_tokens": "many"}),
    "err-max-tokens": (CHAT, {"messages": HELLO, "max_tokens": 100000}),
    "err-too-long": (CHAT, {"messages": [{"role": "user", "content": "abcd" * 20000}]}),
    "err-unknown-model": (CHAT, {"model": "nope", "messages": HELLO, "max_tokens": 4}),
    "err-404": ("/v1/nothing", None),
    "err-get": (CHAT, None),
    "models": ("/v1/models", None),
    "health": ("/health", None),
    "version": ("/version", None),
}


def shape(value):
    if isinstance(value, dict):
        return "{%s}" % " ".join(key + ("-" if each is None else shape(each))
                                 for key, each in value.items())
    if isinstance(value, list):
        return "[%s]" % " ".join(shape(each) for each in value if isinstance(each, (dict, list)))
    return ""


def shapes(answer):
    """The lines of a block."""
    names = [name for name, _ in answer.headers.items if name.lower() != "x-sim-pod"]
    lines = [" ".join([str(answer.status)] + names)]
    if "text/event-stream" not in (answer.headers.get("content-type") or ""):
        return lines + ([shape(answer.json())] if answer.body.startswith(b"{") else [])
    for event in answer.events():
        line = "[DONE]" if event.done else shape(event.json())
        line = "%s %s" % (event.event, line) if event.event else line
        if line != lines[-1]:
            lines.append(line)
    return lines


def read_blocks():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "shapes.txt")
    with open(path) as file:
        for block in file.read().strip().split("\n\n"):
            title, *lines = block.split("\n")
            yield title.split(" ") + [lines]


def test_answers_have_the_shapes_of_real_servers(t):
    sims = {}
    for engine, request, lines in read_blocks():
        sim = sims.get(engine) or t.sim(engine=engine, **QUICK)
        sims[engine] = sim
        path, body = REQUESTS[request]
        body = {"model": "tiny", **body} if body is not None else None
        for _ in range(2):  # SGLang counts cached tokens where there are some: the second time
            answer = t.request(sim.port, "POST" if body else "GET", path, body=body)
        eq("\n".join(shapes(answer)), "\n".join(lines), "%s %s" % (engine, request))


if __name__ == "__main__":
    main(globals())
