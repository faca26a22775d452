#!/usr/bin/env python3
"""What a request and its answer are, over HTTP/1 and HTTP/2 on either side, in the clear and over
TLS: each behaviour runs for all eight."""

import threading
import time

from sides import (Case, events_of, everywhere, respond, rss_kb, sanitized, settled, stream_words,
                   token)
from harness import contains, eq, eventually, main

MEGABYTE = 1 << 20


def get(t, wire):
    case = Case(t, wire, lambda call: respond(call, 200, b"hello", [("x-own", "Yes")]))
    ask = case.ask("GET", "/v1/a/./b?q=1", [("x-mine", "a b"), ("cookie", "a=1; b=2")])
    eq(ask.status(), 200)
    eq(ask.rest(), b"hello")
    eq(ask.fields["x-own"], "Yes")
    eq(ask.fields["content-length"], "5")
    eq(len(ask.fields["x-request-id"]), 32)
    call = case.calls()[0]
    eq((call.method, call.path, call.authority), ("GET", "/v1/a/b?q=1", "test"))
    eq(call.fields["x-mine"], "a b")
    eq(call.fields["cookie"], "a=1; b=2")
    eq(call.fields["x-forwarded-host"], "test")
    eq(call.fields["x-forwarded-proto"], wire.scheme)
    eq(call.fields.get("transfer-encoding"), None)


def post_json_with_another_model(t, wire):
    bodies = []

    def handler(call):
        bodies.append(call.body())
        respond(call, 200, b'{"ok":true}', kind="application/json")
    case = Case(t, wire, handler, models=(),
                backend_extra="  models: [{name: m, upstreamName: served}]\n")
    ask = case.ask("POST", "/v1/chat/completions", body={"model": "m", "messages": []})
    eq((ask.status(), ask.rest()), (200, b'{"ok":true}'))
    eq(bodies, [b'{"model": "served", "messages": []}'])
    eq(case.calls()[0].fields["content-length"], str(len(bodies[0])))


def body_of_unknown_length(t, wire):
    bodies = []

    def handler(call):
        bodies.append(call.body())
        respond(call)
    case = Case(t, wire, handler, models=())
    ask = case.ask("POST", "/v1/x", body=b"one", end=False)
    ask.send(b"two")
    ask.finish()
    eq(ask.status(), 200)
    eq(bodies, [b"onetwo"])


def events_pass_one_by_one(t, wire):
    gate = threading.Semaphore(0)

    def handler(call):
        call.body()
        call.head(200, [("content-type", "text/event-stream")])
        for word in ("a", "b", "c"):
            call.send(token(word))
            assert gate.acquire(timeout=60)
        call.end()
    case = Case(t, wire, handler)
    ask = case.chat(stream=True)
    eq(ask.status(), 200)
    words = []
    for event in events_of(ask):
        words.append(event.json()["choices"][0]["delta"]["content"])
        gate.release()
    eq(words, ["a", "b", "c"])


def head_is_held_until_the_first_event(t, wire):
    go, sent = threading.Event(), threading.Event()

    def handler(call):
        call.body()
        call.head(200, [("content-type", "text/event-stream")])
        sent.set()
        assert go.wait(60)
        call.send(token("a"))
        call.end()
    case = Case(t, wire, handler)
    ask = case.chat(stream=True)
    assert sent.wait(60)
    if wire.client == "h2":
        ask.stream.conn.ping()
        eq(ask.stream.sections, [])
    go.set()
    eq(ask.status(), 200)
    eq(ask.rest(), token("a"))


def first_event_error_goes_elsewhere(t, wire):
    def full(call):
        call.body()
        call.head(200, [("content-type", "text/event-stream")])
        call.send(b'data: {"error":{"message":"full","code":503}}\n\ndata: [DONE]\n\n')
        call.end()

    def fine(call):
        call.body()
        stream_words(call, ["a"])
    case = Case(t, wire, [full, fine])
    for _ in range(5):
        ask = case.chat(stream=True)
        eq(ask.status(), 200)
        contains(ask.rest(), b'"content":"a"')
    eq(len(case.servers[1].calls), 5)


def first_event_error_with_nothing_left(t, wire):
    def full(call):
        call.body()
        call.head(200, [("content-type", "text/event-stream")])
        call.send(b'data: {"error":{"message":"full","code":503}}\n\n')
        call.end()
    case = Case(t, wire, full)
    ask = case.chat(stream=True)
    eq(ask.status(), 503)
    contains(ask.rest(), b"full")


def large_request(t, wire):
    sums = []

    def handler(call):
        sums.append(len(call.body()))
        respond(call)
    case = Case(t, wire, handler, models=())
    ask = case.ask("POST", "/v1/x", body=b"x" * (8 * MEGABYTE))
    eq(ask.status(), 200)
    eq(sums, [8 * MEGABYTE])


def large_answer_to_a_slow_reader(t, wire):
    """The server is stopped while the client does not read, and what waits is bounded."""
    def handler(call):
        call.head(200, length=16 * MEGABYTE)
        for _ in range(256):
            call.send(b"y" * 65536)
            call.sent = getattr(call, "sent", 0) + 65536
        call.end()
    case = Case(t, wire, handler, models=(),
                conn={"windows": False, "receive_buffer": 65536})
    before = rss_kb(case.headrace)
    ask = case.ask("GET", "/v1/x")
    eq(ask.status(), 200)
    call = case.calls()[0]

    def stopped():
        sent = getattr(call, "sent", 0)
        time.sleep(0.3)
        return sent > 0 and getattr(call, "sent", 0) == sent
    eventually(stopped, what="the server has stopped")
    grown = rss_kb(case.headrace) - before
    # Under a sanitizer freed memory is kept back.
    if not sanitized():
        assert grown < 4096, "grown by %d KB" % grown
    if wire.client == "h2":
        conn = case.conn()
        conn.windows = True
        conn.open_window(0, 1 << 24)
        conn.open_window(ask.stream.id, 1 << 24)
    eq(len(ask.rest()), 16 * MEGABYTE)


def slow_server_of_a_large_request(t, wire):
    """A client that sends more than the server takes is stopped, and what waits is bounded."""
    go = threading.Event()

    def handler(call):
        assert go.wait(60)
        call.total = len(call.body())
        respond(call)
    case = Case(t, wire, handler, models=())
    if wire.server == "h2":
        case.servers[0].server.more["windows"] = False
    before = rss_kb(case.headrace)
    asks = []

    def send():
        asks.append(case.ask("POST", "/v1/x", [("content-length", 8 * MEGABYTE)],
                             body=b"", end=False))
        asks[0].send(b"x" * (8 * MEGABYTE))
        asks[0].finish()
    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    eventually(case.calls, what="the head is there")
    time.sleep(0.5)
    assert thread.is_alive() or "h1" in wire  # sockets hold much; windows do not
    grown = rss_kb(case.headrace) - before
    if not sanitized():
        assert grown < 4096, "grown by %d KB" % grown
    if wire.server == "h2":
        conn = case.servers[0].server.conns[0]
        conn.windows = True
        conn.open_window(0, 1 << 24)
        conn.open_window(case.calls()[0].stream.id, 1 << 24)
    go.set()
    thread.join(60)
    eq(asks[0].status(), 200)
    eq(case.calls()[0].total, 8 * MEGABYTE)


def head_has_the_length_and_no_payload(t, wire):
    def handler(call):
        call.head(200, length=1234, end=True)
        call.end()
    case = Case(t, wire, handler, models=())
    for _ in range(2):
        ask = case.ask("HEAD", "/v1/x")
        eq(ask.status(), 200)
        eq(ask.fields["content-length"], "1234")
        eq(ask.rest(), b"")


def no_content_and_not_modified(t, wire):
    def handler(call):
        call.head(204 if call.path == "/v1/a" else 304, [("etag", '"x"')], end=True)
        call.end()
    case = Case(t, wire, handler, models=())
    for path, status in (("/v1/a", 204), ("/v1/b", 304), ("/v1/a", 204)):
        ask = case.ask("GET", path)
        eq(ask.status(), status)
        eq(ask.fields["etag"], '"x"')
        eq(ask.fields.get("transfer-encoding"), None)
        eq(ask.rest(), b"")


def empty_body(t, wire):
    case = Case(t, wire, lambda call: respond(call), models=())
    ask = case.ask("POST", "/v1/x", body=b"")
    eq((ask.status(), ask.rest()), (200, b""))
    eq(ask.fields["content-length"], "0")


def early_hints(t, wire):
    def handler(call):
        for i in range(3):
            call.interim(103, [("link", "</%d.css>; rel=preload" % i), ("x-long", "x" * 2000)])
        respond(call, 200, b"done")
    case = Case(t, wire, handler, models=())
    ask = case.ask("GET", "/v1/x")
    for i in range(3):
        status, fields = ask.interim()
        eq((status, fields.get("link")), (103, "</%d.css>; rel=preload" % i))
        eq(fields.get("x-long"), "x" * 2000)
    eq((ask.status(), ask.rest()), (200, b"done"))


def trailers_of_an_answer(t, wire):
    def handler(call):
        call.head(200)
        call.send(b"abc")
        call.end([("x-sum", "900"), ("grpc-status", "0")])
    case = Case(t, wire, handler, models=())
    ask = case.ask("GET", "/v1/x", [("te", "trailers")])
    eq(ask.rest(), b"abc")
    eq(ask.trailers.items, [("x-sum", "900"), ("grpc-status", "0")])
    eq(case.calls()[0].fields["te"], "trailers")


def trailers_of_a_request(t, wire):
    def handler(call):
        call.got = call.body()
        respond(call)
    case = Case(t, wire, handler, models=())
    ask = case.ask("POST", "/v1/x", body=b"abc", end=False)
    ask.finish([("x-sum", "900")])
    eq(ask.status(), 200)
    eq(case.calls()[0].got, b"abc")
    eq(case.calls()[0].trailers.items, [("x-sum", "900")])


def errors_are_in_one_form(t, wire):
    case = Case(t, wire, lambda call: respond(call))
    for path, body, status, code in (
            ("/v1/chat/completions", b'{"model": }', 400, "invalid_json"),
            ("/v1/chat/completions", b'{"model": "none"}', 404, "model_not_found"),
            ("/elsewhere", b"{}", 404, "no_route")):
        ask = case.ask("POST", path, body=body)
        eq(ask.status(), status)
        eq(ask.fields["content-type"], "application/json")
        contains(ask.rest(), b'"code":"%s"' % code.encode())


def client_abort_aborts_upstream(t, wire):
    gone = threading.Event()

    def handler(call):
        call.body()
        stream_words(call, ["a"], end=False)
        call.wait_abort()
        gone.set()
    case = Case(t, wire, handler)
    ask = case.chat(stream=True)
    eq(ask.status(), 200)
    ask.read()
    ask.abort()
    assert gone.wait(60), "the server was not told"


def client_abort_before_the_answer(t, wire):
    here, gone = threading.Event(), threading.Event()

    def handler(call):
        call.body()
        here.set()
        call.wait_abort()
        gone.set()
    case = Case(t, wire, handler)
    ask = case.chat(stream=True)
    assert here.wait(60)
    ask.abort()
    assert gone.wait(60), "the server was not told"


def reset_before_the_first_byte_is_retried(t, wire):
    def broken(call):
        call.body()
        call.break_off()

    def fine(call):
        call.body()
        respond(call, 200, b"fine")
    case = Case(t, wire, [broken, fine])
    for _ in range(4):
        ask = case.chat()
        eq((ask.status(), ask.rest()), (200, b"fine"))


def reset_with_nothing_left(t, wire):
    def broken(call):
        call.body()
        call.break_off()
    case = Case(t, wire, broken)
    ask = case.chat()
    eq(ask.status(), 502)
    contains(ask.rest(), b'"upstream_reset"')


def reset_after_the_first_byte_is_an_error_event(t, wire):
    go = threading.Event()

    def handler(call):
        call.body()
        stream_words(call, ["a"], end=False)
        assert go.wait(60)
        call.break_off()
    case = Case(t, wire, handler)
    ask = case.chat(stream=True)
    eq(ask.status(), 200)
    eq(ask.read(), token("a"))
    go.set()
    got, whole = ask.whole()
    contains(got, b'"code":"upstream_reset"')
    eq(whole, False)


def answer_shorter_than_announced(t, wire):
    def handler(call):
        call.head(200, length=5)
        call.send(b"x")
        call.end_early()
    case = Case(t, wire, handler, models=())
    for _ in range(2):
        ask = case.ask("GET", "/v1/x")
        eq(ask.status(), 200)
        eq(ask.whole()[1], False)


def first_token_limit(t, wire):
    def silent(call):
        call.body()
        call.head(200, [("content-type", "text/event-stream")])
        call.wait_abort()

    def fine(call):
        call.body()
        stream_words(call, ["a"])
    case = Case(t, wire, [silent, fine],
                backend_extra="  timeouts: {firstToken: 1s}\n",
                route_extra="    retry: {attempts: 2, when: [Timeout]}\n")
    for _ in range(2):
        ask = case.chat(stream=True)
        eq(ask.status(), 200)
        contains(ask.rest(), b'"content":"a"')


def between_tokens_limit(t, wire):
    told = threading.Event()

    def handler(call):
        call.body()
        stream_words(call, ["a"], end=False)
        call.wait_abort()
        told.set()
    case = Case(t, wire, handler,
                backend_extra="  timeouts: {betweenTokens: 500ms}\n")
    ask = case.chat(stream=True)
    got, whole = ask.whole()
    contains(got, b'"code":"between_tokens_timeout"')
    eq(whole, False)
    assert told.wait(60)


def expect_continue(t, wire):
    def handler(call):
        call.got = call.body()
        respond(call)
    case = Case(t, wire, handler)
    ask = case.ask("POST", "/v1/x", [("expect", "100-continue"), ("content-length", 13)],
                   body=b"", end=False)
    eq(ask.interim()[0], 100)
    ask.send(b'{"model":"m"}')
    ask.finish()
    eq(ask.status(), 200)
    eq(case.calls()[0].got, b'{"model":"m"}')
    eq(case.calls()[0].fields.get("expect"), None)


def answer_before_the_body_was_read(t, wire):
    def handler(call):
        respond(call, 413, b"too much")
        call.gone = True
    case = Case(t, wire, handler, models=())
    ask = case.ask("POST", "/v1/x", body=b"some", end=False)
    eq((ask.status(), ask.rest()), (413, b"too much"))
    settled(case.headrace)


def connections_are_used_again(t, wire):
    case = Case(t, wire, lambda call: respond(call, 200, b"x"), models=(),
                args=["--workers", "1"])
    for _ in range(20):
        ask = case.ask("GET", "/v1/x")
        eq((ask.status(), ask.rest()), (200, b"x"))
    eq(case.servers[0].connections, 1)


def many_at_once(t, wire):
    def handler(call):
        call.body()
        respond(call, 200, call.path.encode() * 1000)
    case = Case(t, wire, handler, models=())
    asks = [case.ask("POST", "/v1/%d" % i, body=b"z" * (i * 100)) for i in range(60)]
    for i, ask in reversed(list(enumerate(asks))):
        eq(ask.rest(), (b"/v1/%d" % i) * 1000)


def drain_lets_streams_finish(t, wire):
    go = threading.Event()

    def handler(call):
        call.body()
        stream_words(call, ["a"], end=False)
        assert go.wait(60)
        call.send(token("b"))
        call.end()
    case = Case(t, wire, handler, args=["--drain-timeout", "30s"])
    ask = case.chat(stream=True)
    eq(ask.read() if ask.status() == 200 else b"", token("a"))
    case.headrace.signal(15)
    if wire.client == "h2":
        # Two steps: first all that may be under way is still taken, then the last one is named.
        eq(ask.stream.conn.wait_goaway(1), (0x7fffffff, 0))
    go.set()
    eq(ask.rest(), token("b"))
    if wire.client == "h2":
        eq(ask.stream.conn.wait_goaway(2), (ask.stream.id, 0))
        ask.stream.conn.wait_closed()
    eq(case.headrace.wait(), 0)


def config_change_loses_no_request(t, wire):
    def handler(call):
        call.body()
        respond(call, 200, b"fine")
    case = Case(t, wire, handler)
    stop = threading.Event()

    def load():
        count = 0
        while not stop.is_set():
            ask = case.chat()
            eq((ask.status(), ask.rest()), (200, b"fine"))
            count += 1
        return count

    def change():
        for i in range(15):
            case.headrace.write("all.yaml",
                                case.manifest.replace("name: only", "name: only-%d" % i))
            time.sleep(0.1)
        stop.set()
        return 1
    case.conn() if wire.client == "h2" else None
    for count in t.parallel([load, load, load, change]):
        assert isinstance(count, int), count
        assert count > 0


everywhere(globals(), [
    get, post_json_with_another_model, body_of_unknown_length, events_pass_one_by_one,
    head_is_held_until_the_first_event, first_event_error_goes_elsewhere,
    first_event_error_with_nothing_left, large_request, large_answer_to_a_slow_reader,
    slow_server_of_a_large_request, head_has_the_length_and_no_payload,
    no_content_and_not_modified, empty_body, early_hints, trailers_of_an_answer,
    trailers_of_a_request, errors_are_in_one_form, client_abort_aborts_upstream,
    client_abort_before_the_answer, reset_before_the_first_byte_is_retried,
    answer_shorter_than_announced, reset_with_nothing_left,
    reset_after_the_first_byte_is_an_error_event, first_token_limit,
    between_tokens_limit, expect_continue, answer_before_the_body_was_read,
    connections_are_used_again, many_at_once, drain_lets_streams_finish,
    config_change_loses_no_request,
])

if __name__ == "__main__":
    main(globals())
