#!/usr/bin/env python3
"""Streams: event by event, the first one held, errors in it, what happens when they break."""

import socket
import threading
import time

from common import contains, eq, eventually, main, ok_stream, serve_all, setup


def test_events_pass_one_by_one(t):
    """Each event reaches the client before the server sends the next one."""
    gate = threading.Semaphore(0)

    def handler(peer):
        peer.read_request()
        peer.stream_head()
        for i in range(5):
            peer.token("w%d" % i)
            assert gate.acquire(timeout=60)
        peer.stream_end()

    headrace, _ = setup(t, [handler])
    with t.connect(headrace.port) as conn:
        conn.send_request("POST", "/v1/chat/completions",
                          {"content-type": "application/json"}, t.chat_body(model="m", stream=True))
        response = conn.read_head()
        eq(response.status, 200)
        eq(response.headers.get("content-type"), "text/event-stream")
        words = []
        for event in conn.iter_events(response):
            if event.done:
                words.append("DONE")
                continue
            words.append(event.json()["choices"][0]["delta"]["content"])
            gate.release()
        eq(words, ["w0", "w1", "w2", "w3", "w4", "DONE"])


def test_head_is_held_until_the_first_event(t):
    go = threading.Event()

    def handler(peer):
        peer.read_request()
        peer.stream_head()
        assert go.wait(60)
        peer.token()
        peer.stream_end()

    headrace, _ = setup(t, [handler])
    with t.connect(headrace.port) as conn:
        conn.send_request("POST", "/v1/chat/completions", {}, t.chat_body(model="m", stream=True))
        conn.sock.settimeout(0.4)
        try:
            got = conn.sock.recv(1)
            raise AssertionError("got %r before the first event" % got)
        except socket.timeout:
            pass
        go.set()
        eq(conn.read_response().events()[-1].done, True)


def test_comments_before_the_first_event_are_held_and_passed_on(t):
    def handler(peer):
        peer.read_request()
        peer.stream_head()
        peer.chunk(b": ping\n\n")
        time.sleep(0.1)
        peer.chunk(b": pi")
        peer.chunk(b"ng\n\ndata: {\"choices\":[]}\n")
        time.sleep(0.1)
        peer.chunk(b"\n")
        peer.stream_end()

    headrace, _ = setup(t, [handler])
    answer = t.request(headrace.port, "POST", "/v1/chat/completions",
                       body=t.chat_body(model="m", stream=True))
    eq(answer.status, 200)
    eq(answer.body, b": ping\n\n: ping\n\ndata: {\"choices\":[]}\n\ndata: [DONE]\n\n")


def error_first(status, code):
    def handler(peer):
        peer.read_request()
        peer.stream_head()
        peer.event(b'{"error":{"message":"full","type":"x","code":%d}}' % code)
        peer.stream_end()
    return handler


def test_a_first_event_that_is_an_error_is_tried_elsewhere(t):
    """What vLLM does when a burst overruns its queue: 200, error event, [DONE]."""
    headrace, servers = setup(t, [error_first(200, 503), serve_all(ok_stream)])
    for _ in range(6):
        answer = t.chat(headrace.port, model="m", stream=True)
        eq(answer.status, 200)
        contains(answer.text, '"content":"a"')
        eq("full" in answer.text, False)
    eq(len(servers[1].requests), 6)


def test_an_error_event_with_nothing_left_to_try_becomes_its_status(t):
    headrace, _ = setup(t, [error_first(200, 503)])
    answer = t.chat(headrace.port, model="m", stream=True)
    eq(answer.status, 503)
    eq(answer.json()["error"]["message"], "full")
    eq(answer.headers.get("content-type"), "application/json")


def test_a_400_in_the_first_event_is_not_retried(t):
    headrace, servers = setup(t, [error_first(200, 400), error_first(200, 400)])
    eq(t.chat(headrace.port, model="m", stream=True).status, 400)
    eq(len(servers[0].requests) + len(servers[1].requests), 1)


def read_raw(t, port, body, until=None, then=None):
    """All bytes of the answer; `then` is called when so much of it came as ends with `until`."""
    conn = t.connect(port)
    conn.send_request("POST", "/v1/chat/completions", {}, body)
    raw = b""
    while True:
        data = conn.sock.recv(65536)
        if not data:
            return raw
        raw += data
        if until is not None and raw.endswith(until):
            until = None
            then()


def test_a_stream_that_breaks_ends_with_an_error_event_and_no_end(t):
    token = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
    for how in (lambda peer: None, lambda peer: peer.reset(),
                lambda peer: peer.send(b"zzz\r\nnonsense")):
        seen = threading.Event()

        def handler(peer, how=how, seen=seen):
            peer.read_request()
            peer.stream_head()
            peer.chunk(token * 2)
            assert seen.wait(60)
            how(peer)

        headrace, _ = setup(t, [handler])
        raw = read_raw(t, headrace.port, t.chat_body(model="m", stream=True), token + b"\r\n",
                       seen.set)
        contains(raw, b'"error":{"message"')
        contains(raw, b"upstream_")
        eq(raw.count(b'"content":"x"'), 2)
        eq(b"0\r\n\r\n" in raw, False, "no last chunk")


def test_an_answer_that_breaks_is_cut(t):
    seen = threading.Event()

    def handler(peer):
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc")
        assert seen.wait(60)

    headrace, _ = setup(t, [handler])
    raw = read_raw(t, headrace.port, t.chat_body(model="m"), b"abc", seen.set)
    contains(raw, b"content-length: 100")
    eq(raw.endswith(b"abc"), True)


def test_no_first_token_in_time_is_504(t):
    def handler(peer):
        peer.read_request()
        peer.stream_head()
        peer.wait_closed()

    headrace, servers = setup(t, [handler],
                              "  timeouts: {firstToken: 300ms, connect: 1s, betweenTokens: 300ms}")
    start = time.monotonic()
    answer = t.chat(headrace.port, model="m", stream=True)
    eq(answer.status, 504)
    eq(answer.json()["error"]["code"], "first_token_timeout")
    assert time.monotonic() - start > 0.25
    eventually(lambda: servers[0].open == 0, what="the upstream connection is closed")


def test_silence_in_mid_stream_ends_it(t):
    def handler(peer):
        peer.read_request()
        peer.stream_head()
        peer.token()
        peer.wait_closed()

    headrace, servers = setup(t, [handler],
                              "  timeouts: {firstToken: 30s, connect: 5s, betweenTokens: 300ms}")
    raw = read_raw(t, headrace.port, t.chat_body(model="m", stream=True))
    contains(raw, b"between_tokens_timeout")
    eventually(lambda: servers[0].open == 0, what="the upstream connection is closed")


def test_an_answer_that_is_not_streamed_may_take_longer_than_the_first_token(t):
    def handler(peer):
        peer.read_request()
        time.sleep(0.8)
        peer.json()

    headrace, _ = setup(t, [handler],
                        "  timeouts: {firstToken: 200ms, connect: 1s, betweenTokens: 200ms}")
    eq(t.chat(headrace.port, model="m").status, 200)


def test_the_routes_own_limit_covers_everything(t):
    def handler(peer):
        peer.read_request()
        peer.stream_head()
        for _ in range(100):
            peer.token()
            time.sleep(0.05)

    headrace, _ = setup(t, [handler], route_extra="    timeouts: {request: 400ms}")
    raw = read_raw(t, headrace.port, t.chat_body(model="m", stream=True))
    contains(raw, b"request_timeout")


def test_http_1_0_clients_get_a_stream_that_ends_with_the_connection(t):
    headrace, _ = setup(t, [serve_all(ok_stream)])
    conn = t.connect(headrace.port)
    body = b'{"model":"m","stream":true}'
    conn.send(b"POST /v1/chat/completions HTTP/1.0\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s"
              % (len(body), body))
    raw = b""
    while True:
        data = conn.sock.recv(65536)
        if not data:
            break
        raw += data
    head, _, rest = raw.partition(b"\r\n\r\n")
    eq(b"transfer-encoding" in head.lower(), False)
    eq(rest.startswith(b"data: "), True)
    eq(rest.endswith(b"data: [DONE]\n\n"), True)


def test_a_slow_reader_stops_the_server_and_costs_no_memory(t):
    sent = [0]

    def handler(peer):
        peer.read_request()
        peer.stream_head()
        block = b"data: " + b"x" * 8000 + b"\n\n"
        for _ in range(8000):  # 64 MB
            peer.chunk(block)
            sent[0] += len(block)
        peer.stream_end()

    headrace, _ = setup(t, [handler])

    def rss():
        with open("/proc/%d/status" % headrace.child.pid) as file:
            return int([line for line in file if line.startswith("VmRSS")][0].split()[1])

    before = rss()
    with t.connect(headrace.port) as conn:
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        conn.send_request("POST", "/v1/chat/completions", {}, t.chat_body(model="m", stream=True))
        eventually(lambda: sent[0] > 0, what="the stream runs")
        last = -1
        while sent[0] != last:  # until the server stands still
            last = sent[0]
            time.sleep(0.5)
        assert sent[0] < 30e6, "%d bytes were sent to a client that reads none" % sent[0]
        assert rss() - before < 8000, "grew by %d KB" % (rss() - before)
        response = conn.read_head()
        total = sum(len(event.data) for event in conn.iter_events(response, timeout=30)
                    if not event.done)
        eq(total, 8000 * 8000)


def test_a_client_that_reads_nothing_is_dropped(t):
    def handler(peer):
        peer.read_request()
        peer.stream_head()
        while True:
            peer.chunk(b"data: " + b"x" * 8000 + b"\n\n")

    headrace, servers = setup(t, [handler], args=["--write-timeout", "500ms"])
    with t.connect(headrace.port) as conn:
        conn.send_request("POST", "/v1/chat/completions", {}, t.chat_body(model="m", stream=True))
        eventually(lambda: servers[0].connections == 1 and servers[0].open == 0, 15,
                   "the upstream connection is closed")


def test_what_anthropics_messages_say_is_logged(t):
    def messages(peer, request):
        peer.stream_head()
        peer.event(b'{"type":"message_start","message":{"stop_reason":null,'
                   b'"usage":{"input_tokens":25,"output_tokens":1}}}')
        peer.event(b'{"type":"content_block_delta","delta":{"type":"text_delta","text":"x"}}')
        peer.event(b'{"type":"message_delta","delta":{"stop_reason":"end_turn"},'
                   b'"usage":{"output_tokens":15}}')
        peer.event(b'{"type":"message_stop"}')
        peer.send(b"0\r\n\r\n")

    headrace, _ = setup(t, [serve_all(messages)])
    body = t.chat_body(model="m", stream=True)
    eq(t.request(headrace.port, "POST", "/v1/messages", None, body).status, 200)
    line = headrace.wait_output('^{.*"path":"/v1/messages".*}$')[0].group(0)
    for part in ('"finish":"end_turn"', '"prompt_tokens":25', '"completion_tokens":15'):
        contains(line, part)


if __name__ == "__main__":
    main(globals())
