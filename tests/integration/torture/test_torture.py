#!/usr/bin/env python3
"""No memory, no files: in the workers of the real program every allocation fails once, one after
another, and so does the making of every socket; then many of them at a time. It never crashes,
hangs or leaks, each answer is the right one, an error, or cut short; and once calls succeed again,
everything is as it was. Interrupted calls and partial writes change nothing at all.

HEADRACE_TORTURE_STEP=n takes every n-th call only (default 1)."""

import json
import mmap
import os
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "proxy"), os.path.join(HERE, "..", "lib")]
import certs  # noqa: E402
import harness  # noqa: E402
from common import Upstream, backend, eq, eventually, free_port, main, route  # noqa: E402
from common import serve_all, upstream  # noqa: E402
from harness import HttpError  # noqa: E402
from http1 import Connection  # noqa: E402

STEP = int(os.environ.get("HEADRACE_TORTURE_STEP", "1"))
BIG = 150000  # more than a read, less than what is kept to be sent again


class Plan:
    """Which calls fail; see torture_driver.c."""

    def __init__(self, path):
        with open(path, "wb") as file:
            file.write(bytes(48))
        with open(path, "r+b") as file:
            self.shared = mmap.mmap(file.fileno(), 48)

    def calls(self):
        return struct.unpack_from("=Q", self.shared, 0)[0]

    def fail(self, ahead, step=0):
        struct.pack_into("=Q", self.shared, 16, step)
        struct.pack_into("=Q", self.shared, 8, self.calls() + ahead if ahead else 0)

    def interrupt(self, every):
        struct.pack_into("=Q", self.shared, 24, every)

    def small_buffers(self, size):
        struct.pack_into("=Q", self.shared, 32, size)

    def forbid(self, whether):
        struct.pack_into("=Q", self.shared, 40, whether)

    def has_failed(self):
        return struct.unpack_from("=Q", self.shared, 8)[0] == 0


def serve(peer, request):
    """What the request's prompt asks for."""
    body = bytes(request.body)
    if b"busy" in body and peer.upstream.first:
        peer.json(b'{"error":{"message":"full"}}', "503 Service Unavailable")
    elif b"crowded" in body and peer.upstream.first:
        # As vLLM says it: 200, and the refusal is the first event.
        peer.stream_head()
        peer.event(b'{"error":{"message":"full","code":503}}')
        peer.stream_end()
    elif b"gone" in body and peer.upstream.first:
        return False
    elif b"nonsense" in body:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nxyz")
        return False
    elif b"cut" in body:
        peer.stream_head()
        peer.token("a")
        return False
    elif b"until the end" in body:
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{}")
        return False
    elif b"slowly" in body:
        for byte in (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                     b"content-length: 2\r\n\r\n{}"):
            peer.send(bytes([byte]))
    elif b"with usage" in body:
        peer.json(b'{"choices":[],"usage":{"prompt_tokens":30,"completion_tokens":4}}',
                  extra=b"endpoint-load-metrics: TEXT named_metrics.kv_cache_utilization=0.5\r\n")
    elif b"long event" in body:
        peer.stream_head()
        peer.chunk(b'data: {"choices":[{"delta":{"content":"' + b"y" * 40000)
        peer.chunk(b"y" * 40000 + b'"}}]}\n\n')
        peer.stream_end()
    elif b'"stream":true' in body:
        peer.stream_head()
        peer.chunk(b": wait\n")
        for word in ("a", "b", "c"):
            peer.token(word)
        peer.stream_end()
    elif b"large" in body:
        peer.json(b'{"x":"' + b"y" * BIG + b'"}')
    elif request.target == "/raw":
        peer.json(b"%d" % len(body))
    elif (request.get("content-type") or "").startswith("multipart/"):
        peer.json(b'"%s"' % body.split(b"\r\n")[3])
    else:
        peer.json(b'{"model":%s}' % json.dumps(json.loads(body)["model"]).encode())


def post(path, body, fields=b""):
    return (b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n%s"
            b"content-length: %d\r\n\r\n" % (path, fields, len(body))) + body


def chat(what="hello", **more):
    body = dict({"model": "m", "messages": [{"role": "user", "content": what}]}, **more)
    return json.dumps(body, separators=(",", ":")).encode()


CHAT = b"/v1/chat/completions"
EXPOSITION = b"""# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="m"} 1
vllm:num_requests_waiting{model_name="m"} 0
"""
SSE = b"".join(b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % w
               for w in (b"a", b"b", b"c"))
RENAMED = b'{"model":"m-upstream"}'
CHUNKED = b"POST /raw HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
FORM = (b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + b"z" * BIG +
        b"\r\n--b--\r\n")
FORM_HEAD = (b"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: x\r\n"
             b"content-type: multipart/form-data; boundary=b\r\ncontent-length: %d\r\n\r\n")
# (what is sent, in pieces; the status and the body of each answer)
SCRIPT = [
    ([post(CHAT, chat())], [(200, RENAMED)]),
    ([post(CHAT, chat(stream=True))], [(200, b": wait\n" + SSE + b"data: [DONE]\n\n")]),
    ([post(CHAT, chat("busy"))], [(200, RENAMED)]),
    ([post(CHAT, chat("large"))], [(200, b'{"x":"' + b"y" * BIG + b'"}')]),
    ([post(CHAT, chat("p" * BIG))], [(200, RENAMED)]),
    ([post(CHAT, chat())[:-9], chat()[-9:]], [(200, RENAMED)]),
    ([post(CHAT, chat())[:40], post(CHAT, chat())[40:]], [(200, RENAMED)]),
    ([post(b"/raw", b"z" * BIG)], [(200, b"%d" % BIG)]),
    ([CHUNKED + b"5\r\nabcde\r\n", b"3\r\nfgh\r\n0\r\n\r\n"], [(200, b"8")]),
    ([post(CHAT, chat()) + post(b"/raw", b"12") + b"GET /v1/models/m HTTP/1.1\r\nhost: x\r\n\r\n"],
     [(200, RENAMED), (200, b"2"), (200, None)]),
    ([CHUNKED.replace(b"host: x", b"host: x\r\nte: trailers") + b"5\r\nabcde\r\n0\r\nx: y\r\n\r\n"],
     [(200, b"5")]),
    ([FORM_HEAD % len(FORM) + FORM[:-BIG], FORM[-BIG:]], [(200, b'"m-upstream"')]),
    ([b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"], [(200, None)]),
    ([post(CHAT, b'{"model":"nobody"}')], [(404, None)]),
    ([post(CHAT, b'{"model":')], [(400, None)]),
    ([post(b"/nowhere", b"{}")], [(404, None)]),
    ([post(b"/rich", chat(), b"origin: https://a.org\r\ncookie: s=1\r\n")], [(200, RENAMED)]),
    ([post(b"/rich", chat(stream=True))], [(200, b": wait\n" + SSE + b"data: [DONE]\n\n")]),
    ([b"OPTIONS /rich HTTP/1.1\r\nhost: x\r\norigin: https://a.org\r\n"
      b"access-control-request-method: POST\r\n\r\n"], [(204, b"")]),
    ([b"GET /away/x?y HTTP/1.1\r\nhost: x\r\n\r\n"], [(302, b"")]),
    ([b"GET /fixed HTTP/1.1\r\nhost: x\r\n\r\n"], [(200, b"fixed")]),
    ([b"GET / HTTP/1.1\r\nbad header\r\n\r\n"], [(400, None)]),
    ([post(CHAT, chat("crowded", stream=True))], [(200, b": wait\n" + SSE + b"data: [DONE]\n\n")]),
    ([post(CHAT, chat("gone"))], [(200, RENAMED)]),
    ([post(CHAT, chat("nonsense"))], [(502, None)]),
    ([post(CHAT, chat("until the end"))], [(200, b"{}")]),
    ([post(CHAT, chat("slowly"))], [(200, b"{}")]),
    ([post(CHAT, chat("with usage"))], [(200, None)]),
    ([post(CHAT, chat("long event", stream=True))], [(200, None)]),
    ([post(CHAT, chat("after all")).replace(b" HTTP/1.1", b" HTTP/1.0")], [(200, RENAMED)]),
    # A streamed body beyond what is kept to be sent again.
    ([post(b"/raw", b"z" * (4 * BIG))], [(200, b"%d" % (4 * BIG))]),
    ([post(b"/raw", b"", b"expect: 100-continue\r\n").replace(b"length: 0", b"length: 3"), b"abc"],
     [(200, b"3")]),
    ([b"POST /raw HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n", b"zz\r\n"],
     [(400, None)]),
    ([post(b"/raw", b"12").replace(b"POST", b"HEAD", 1)], [(200, None)]),
    ([b"GET /v1/models/org%2Fnobody HTTP/1.1\r\nhost: x\r\n\r\n"], [(404, None)]),
    ([b"GET /%s HTTP/1.1\r\n\r\n" % (b"x" * 10000)], [(414, None)]),
    ([b"GET / HTTP/1.1\r\nx: %s\r\n" % (b"y" * 40000)], [(431, None)]),
    ([post(CHAT, chat("all retries", model="busy"))], [(404, None)]),
]
RICH = """
    pathRewrite: {type: ReplaceFullPath, value: /v1/chat/completions}
    requestHeaders: {set: [{name: x-a, value: b}]}
    responseHeaders: {add: [{name: x-b, value: c}]}
    cors: {allowOrigins: [https://a.org]}
    sessionAffinity: {cookie: {name: s}}
    mirror: {name: shadow}
    retry: {attempts: 3}
"""
ANSWERS = """
apiVersion: headrace.dev/v1alpha1
kind: AIRoute
metadata: {name: answers}
spec:
  rules:
  - name: away
    matches: [{path: {value: /away}}]
    redirect: {scheme: https, path: {type: ReplacePrefixMatch, value: /}}
  - name: fixed
    matches: [{path: {value: /fixed}}]
    fixedResponse: {status: 200, body: fixed}
"""
# What may be said instead while calls fail: out of memory or files; nothing left to try.
ERRORS = (500, 502, 503, 504)


def play(port, pieces, wanted, failing):
    """Sends, and checks each answer. False when not all came as wanted (only when calls fail)."""
    try:
        with Connection(port, timeout=10 * harness.SLOW) as conn:
            for number, piece in enumerate(pieces):
                if number:
                    time.sleep(0.002)
                conn.send(piece)
            conn.method = pieces[0].split(b" ")[0].decode()
            for status, body in wanted:
                answer = conn.read_response()
                if failing and answer.status in ERRORS and answer.status != status:
                    if conn.method != "HEAD":
                        answer.json()
                    return False
                eq(answer.status, status, repr(pieces[0][:60]))
                if body is not None:
                    eq(answer.body == body, True, repr(answer.body[:200]))
            return True
    except HttpError as error:
        if not failing or "timed out" in str(error):
            raise AssertionError("%r: %s" % (pieces[0][:60], error)) from None
    except OSError:
        if not failing:
            raise
    return False


def books(t, headrace):
    answer = t.request(headrace.admin_port, "GET", "/endpoints").json()
    return [(e["outstanding_requests"], e["outstanding_prompt_tokens"])
            for b in answer["backends"] for e in b["endpoints"]]


def start(t):
    servers = [upstream(t, serve_all(serve)) for _ in range(2)]
    servers[0].first, servers[1].first = True, False
    ports = [server.port for server in servers]
    named = "  models: [{name: m, upstreamName: m-upstream}]\n  balancing: {policy: RoundRobin}\n"
    text = "---".join([backend("named", ports, (), named), backend("any", ports, ()),
                       route("r", ["named"], "    retry: {attempts: 3}"),
                       route("raw", ["any"], path="/raw"), backend("shadow", ports, ()),
                       route("rich", ["named"], RICH, path="/rich"), ANSWERS])
    path = os.path.join(t.folder, "plan")
    plan = Plan(path)
    headrace = t.headrace({"a.yaml": text}, ["--workers", "1"], env={"TORTURE_FILE": path},
                          binary="tests/integration/torture/torture_driver")
    return headrace, plan


def cut_is_seen(port, failing):
    """A stream whose server goes away ends with an error event and without its end."""
    try:
        with Connection(port, timeout=10 * harness.SLOW) as conn:
            conn.send(post(CHAT, chat("cut", stream=True)))
            answer = conn.read_head()
            try:
                conn.read_body(answer)
            except HttpError:
                pass
            if answer.status == 200:
                eq(answer.complete, False, "the cut answer looks whole")
            else:
                eq(failing and answer.status in ERRORS, True, repr(answer.status))
    except (HttpError, OSError):
        eq(failing, True, "an answer")


def is_well(t, headrace):
    """Everything works, nothing is left behind."""
    eq(headrace.alive(), True, "it lives")

    # Endpoints that were blamed while calls failed may be set aside for a moment.
    def served():
        return all([play(headrace.port, pieces, wanted, True) for pieces, wanted in SCRIPT])
    eventually(served, 20, "everything is served again")
    cut_is_seen(headrace.port, False)
    eventually(lambda: books(t, headrace) == [(0, 0)] * 6, what="books are empty")


def test_every_call_fails_once(t):
    headrace, plan = start(t)
    is_well(t, headrace)
    for pieces, wanted in SCRIPT:
        ahead = 0
        while True:
            ahead += STEP
            plan.fail(ahead)
            play(headrace.port, pieces, wanted, True)
            if not plan.has_failed():
                break
        plan.fail(0)
        assert headrace.alive(), "it died at call %d of %r" % (ahead, pieces[0][:60])
        t.log("%d calls in %r" % (ahead, pieces[0][:60]))
    is_well(t, headrace)


def test_every_call_of_a_cut_stream_fails_once(t):
    headrace, plan = start(t)
    is_well(t, headrace)
    ahead = 0
    while True:
        ahead += STEP
        plan.fail(ahead)
        cut_is_seen(headrace.port, True)
        if not plan.has_failed():
            break
    plan.fail(0)
    is_well(t, headrace)


def test_signals_interrupt_everything(t):
    """Nothing is lost, said twice or taken for the end."""
    headrace, plan = start(t)
    for every in (2, 3, 7):
        plan.interrupt(every)
        for pieces, wanted in SCRIPT:
            play(headrace.port, pieces, wanted, False)
    plan.interrupt(0)
    is_well(t, headrace)


def test_every_write_is_partial(t):
    """The kernel's send buffers hold a few kilobytes, towards clients and servers."""
    headrace, plan = start(t)
    plan.small_buffers(1)  # the kernel makes of it the least that there is
    for _ in range(2):
        for pieces, wanted in SCRIPT:
            play(headrace.port, pieces, wanted, False)
    plan.interrupt(3)
    for pieces, wanted in SCRIPT:
        play(headrace.port, pieces, wanted, False)
    plan.interrupt(0)
    is_well(t, headrace)


def test_calls_fail_where_writes_are_partial(t):
    headrace, plan = start(t)
    plan.small_buffers(1)
    is_well(t, headrace)
    plan.interrupt(5)
    for step in (10, 40):
        plan.fail(1, step)
        for pieces, wanted in SCRIPT:
            play(headrace.port, pieces, wanted, True)
        plan.fail(0)
    plan.interrupt(0)
    is_well(t, headrace)


def test_calls_of_the_scraper_fail(t):
    """It goes on with what it can, and catches up when calls succeed again."""
    def metrics(peer, request):
        if request.target.startswith("/metrics"):
            peer.send(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
                      % (len(EXPOSITION), EXPOSITION))
            return False
        else:
            return serve(peer, request)
        return True

    server = upstream(t, serve_all(metrics))
    server.first = False
    text = backend("named", [server.port], ())
    path = os.path.join(t.folder, "plan")
    plan = Plan(path)
    text = text.replace("Ollama", "VLLM") + "---" + route("r", ["named"])
    headrace = t.headrace({"a.yaml": text},
                          ["--workers", "1"],
                          env={"TORTURE_FILE": path, "TORTURE_THREADS": "scrape"},
                          binary="tests/integration/torture/torture_driver")

    def scrapes():
        return sum(value for name, value in headrace.metrics().items()
                   if name.startswith("headrace_endpoint_scrapes_total"))
    eventually(lambda: scrapes() >= 1, what="it scrapes")
    for ahead in range(1, 5):
        plan.fail(ahead)
        plan.interrupt(ahead % 2 * 2)
        eventually(plan.has_failed, what="a call failed")
    plan.fail(0)
    plan.interrupt(0)
    before = scrapes()
    eventually(lambda: scrapes() > before, 40, "it scrapes again")
    eq(headrace.alive(), True)


def test_forbidden_addresses_are_refused_at_connect(t):
    """Once more behind the configuration, which leaves them out: not a byte goes there."""
    server = upstream(t, serve_all(serve))
    server.first = False
    path = os.path.join(t.folder, "plan")
    plan = Plan(path)
    log = os.path.join(t.folder, "access.log")
    text = backend("be", [server.port], ()) + "---" + route("r", ["be"])
    headrace = t.headrace({"a.yaml": text}, ["--workers", "1", "--access-log", log],
                          env={"TORTURE_FILE": path},
                          binary="tests/integration/torture/torture_driver")
    plan.forbid(1)
    answer = t.request(headrace.port, "POST", "/v1/chat/completions", body=chat())
    eq((answer.status, answer.json()["error"]["code"]), (502, "endpoint_forbidden"))
    eq(server.connections, 0)
    key = 'headrace_request_outcomes_total{outcome="endpoint_forbidden"}'
    eventually(lambda: headrace.metrics()[key] == 1, what=key)  # counted behind the answer

    def logged():
        with open(log) as file:
            return [json.loads(line)["outcome"] for line in file]
    eventually(lambda: logged() == ["endpoint_forbidden"], what="the access log says it")
    plan.forbid(0)
    eventually(lambda: t.request(headrace.port, "POST", "/v1/chat/completions",
                                 body=chat()).status == 200, 20, "it is served")


def test_many_calls_fail(t):
    headrace, plan = start(t)
    is_well(t, headrace)
    # A failed accept waits half a second for its next turn, so these take their time.
    for step, rounds in ((4, 1), (15, 2), (40, 4)):
        plan.fail(1, step)
        for pieces, wanted in SCRIPT * rounds:
            play(headrace.port, pieces, wanted, True)
        plan.fail(0)
        is_well(t, headrace)


# ---- TLS on both sides

TLS_SECRET = """
  tls: [{secretName: a, clientAuth: {caRef: {name: ca}, forward: true}}]"""


def start_tls(t):
    root = certs.Authority(t.folder)
    made = root.issue("a", ["DNS:a.test"])
    server = Upstream(serve_all(serve), tls=certs.server(made))
    server.first = False
    t.defer(server.stop)
    text = "---".join([
        backend("be", [server.port], (), "  tls: {caRef: {name: ca}, serverName: a.test}"),
        route("r", ["be"]).replace("spec:", "spec:" + TLS_SECRET),
        certs.secret("a", made), certs.config_map("ca", root)])
    path = os.path.join(t.folder, "plan")
    plan = Plan(path)
    port = free_port()
    headrace = t.headrace({"a.yaml": text}, ["--workers", "1", "--upstream-idle-timeout", "0s",
                                             "--listen-tls", "127.0.0.1:%d" % port],
                          env={"TORTURE_FILE": path},
                          binary="tests/integration/torture/torture_driver")
    return headrace, plan, port, certs.client(root, shows=root.issue("me", ["URI:spiffe://me"]))


def play_tls(port, context, failing):
    """A handshake and a request, which needs a handshake with the server."""
    try:
        with Connection(port, timeout=10 * harness.SLOW, tls=context, server_name="a.test") as conn:
            conn.send(post(CHAT, chat(stream=True)))
            answer = conn.read_response()
            if failing and answer.status in ERRORS:
                return False
            eq((answer.status, answer.body[:7]), (200, b": wait\n"))
            return True
    except (HttpError, OSError) as error:
        if not failing or "timed out" in str(error):
            raise
    return False


def test_every_call_fails_once_with_tls(t):
    headrace, plan, port, context = start_tls(t)
    eq(play_tls(port, context, False), True)
    ahead = 0
    while True:
        ahead += STEP
        plan.fail(ahead)
        play_tls(port, context, True)
        assert headrace.alive(), "it died at call %d" % ahead
        if not plan.has_failed():
            break
    plan.fail(0)
    t.log("%d calls" % ahead)
    eventually(lambda: play_tls(port, context, True), what="it serves again")


def test_calls_of_the_scraper_fail_with_tls(t):
    """Handshakes for metrics and checks: it goes on, and no check passes that should not."""
    def metrics(peer, request):
        peer.send(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
                  % (len(EXPOSITION), EXPOSITION))
        return False

    root = certs.Authority(t.folder)
    server = Upstream(serve_all(metrics), tls=certs.server(root.issue("a", ["DNS:a.test"])))
    t.defer(server.stop)
    text = "---".join([
        backend("be", [server.port], (), "  tls: {caRef: {name: ca}, serverName: a.test}\n"
                "  health: {active: {interval: 100ms, timeout: 100ms}}").replace("Ollama", "VLLM"),
        certs.config_map("ca", root)])
    path = os.path.join(t.folder, "plan")
    plan = Plan(path)
    headrace = t.headrace({"a.yaml": text}, ["--workers", "1"],
                          env={"TORTURE_FILE": path, "TORTURE_THREADS": "scrape"},
                          binary="tests/integration/torture/torture_driver")

    def count(name):
        return sum(value for each, value in headrace.metrics().items() if each.startswith(name))

    def both_work():
        scrapes, checks = (count("headrace_endpoint_scrapes_total"),
                           count('headrace_endpoint_checks_total{'))
        eventually(lambda: count("headrace_endpoint_scrapes_total") > scrapes and
                   count('headrace_endpoint_checks_total{') > checks, 40, "it goes on")

    both_work()
    for ahead in range(1, 400, max(STEP, 7)):
        plan.fail(ahead)
        plan.interrupt(ahead % 2 * 2)
        eventually(plan.has_failed, what="a call failed")
        assert headrace.alive(), "it died at call %d" % ahead
    plan.fail(0)
    plan.interrupt(0)
    both_work()
    eventually(lambda: count("headrace_endpoint_unhealthy") == 0, what="it is well")


if __name__ == "__main__":
    main(globals())
