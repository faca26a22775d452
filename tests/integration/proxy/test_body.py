#!/usr/bin/env python3
"""Request bodies: buffered and read for routing, or streamed; lengths, chunks, limits."""

import json
import socket
import threading
import time

from common import (backend, contains, eq, eventually, main, ok_json, route, serve_all, setup,
                    upstream)


def echo(peer, request):
    peer.json(json.dumps({"length": len(request.body), "headers": dict(request.headers),
                          "target": request.target, "head": request.body[:100].decode("latin-1")}
                         ).encode())


def raw_setup(t, handler, args=()):
    """A route that takes anything by path: bodies are streamed."""
    server = upstream(t, handler)
    text = backend("be", [server.port], models=()) + "---" + route("r", ["be"], path="/raw")
    return t.headrace({"a.yaml": text}, args), server


def test_the_model_is_spliced(t):
    server = upstream(t, serve_all(ok_json))
    text = """
apiVersion: headrace.dev/v1alpha1
kind: ModelBackend
metadata: {name: be}
spec:
  engine: Ollama
  static: {endpoints: [{address: 127.0.0.1, port: %d}]}
  models: [{name: nice, upstreamName: '/models/big "70B"' , aliases: [short]}]
---""" % server.port + route("r", ["be"])
    headrace = t.headrace({"a.yaml": text})
    for chunked in (False, True):
        for model in ("nice", "short", "sh\\u006frt"):
            body = ('{ "messages":[{"content":"model"}] ,"model" : "%s", "x":{"model":"inner"}}'
                    % model).encode()
            with t.connect(headrace.port) as conn:
                conn.send_request("POST", "/v1/chat/completions", {}, body, chunked=chunked)
                eq(conn.read_response().status, 200)
            got = server.requests[-1]
            eq(got.body.decode(), '{ "messages":[{"content":"model"}] ,"model" : '
                                  '"/models/big \\"70B\\"", "x":{"model":"inner"}}')
            eq(got.get("transfer-encoding"), None)


def test_bad_bodies_are_refused_before_a_pod_is_chosen(t):
    headrace, servers = setup(t, [serve_all(ok_json)])
    cases = [
        (b'{"model":"m"', "invalid_json"), (b'{"model":"m"}x', "invalid_json"),
        (b"", "model_missing"), (b'{"messages":[]}', "model_missing"),
        (b'[{"model":"m"}]', "invalid_json"), (b'{"model":"m","model":"m"}', "duplicate_key"),
        (b'{"model":"m","mod\\u0065l":"n"}', "duplicate_key"), (b'{"model":7}', "model_invalid"),
        (b'{"model":""}', "model_invalid"), (b'{"model":"%s"}' % (b"x" * 300), "model_invalid"),
        (b'{"model":"m","a":' + b"[" * 2000 + b"]" * 2000 + b"}", "invalid_json"),
        (b'{"model":"m","a":"\xff"}', "invalid_json"), (b'{"model":"m","a":01}', "invalid_json"),
    ]
    for body, code in cases:
        for chunked in (False, True):
            with t.connect(headrace.port) as conn:
                conn.send_request("POST", "/v1/chat/completions",
                                  {"content-type": "application/json"}, body, chunked=chunked)
                answer = conn.read_response()
                eq((answer.status, answer.json()["error"]["code"]), (400, code), repr(body[:40]))
    eq(len(servers[0].requests), 0)


def test_unknown_models_list_close_names(t):
    headrace, _ = setup(t, [serve_all(ok_json)], models=("llama-3.3-70b", "qwen-7b"))
    answer = t.chat(headrace.port, model="llama-3.3-7b")
    eq(answer.status, 404)
    eq(answer.json()["error"]["code"], "model_not_found")
    eq(answer.json()["error"]["param"], "model")
    contains(answer.json()["error"]["message"], '"llama-3.3-70b"')


def test_bodies_over_the_limit_are_413(t):
    headrace, servers = setup(t, [serve_all(ok_json)], args=["--max-body-bytes", "10000"])
    for chunked in (False, True):
        with t.connect(headrace.port) as conn:
            body = b'{"model":"m","x":"%s"}' % (b"y" * 20000)
            conn.send_request("POST", "/v1/chat/completions", {}, body, chunked=chunked)
            answer = conn.read_response()
            eq((answer.status, answer.json()["error"]["code"]), (413, "body_too_large"))
    eq(len(servers[0].requests), 0)


def test_100_continue(t):
    for path, build in (("/v1/chat/completions", lambda: setup(t, [serve_all(ok_json)])[0]),
                        ("/raw/x", lambda: raw_setup(t, serve_all(echo))[0])):
        headrace = build()
        with t.connect(headrace.port) as conn:
            body = b'{"model":"m"}'
            conn.send(b"POST %s HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: %d"
                      b"\r\n\r\n" % (path.encode(), len(body)))
            eq(conn.read_head(skip_interim=False).status, 100)
            conn.send(body)
            eq(conn.read_response().status, 200)


def test_no_100_for_what_will_be_refused(t):
    headrace, _ = setup(t, [serve_all(ok_json)])
    with t.connect(headrace.port) as conn:
        conn.send(b"POST /nowhere HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
                  b"content-length: 5\r\n\r\n")
        eq(conn.read_head(skip_interim=False).status, 404)


def test_streamed_bodies_arrive_whole(t):
    headrace, server = raw_setup(t, serve_all(echo))
    for size in (0, 1, 1000, 70000, 300000, 3000000):
        for chunked in (False, True):
            body = bytes(i * 7 % 251 for i in range(1000)) * (size // 1000 + 1)
            body = body[:size]
            with t.connect(headrace.port) as conn:
                conn.send_request("POST", "/raw/up?a=b", {}, body, chunked=chunked)
                answer = conn.read_response()
            eq(answer.status, 200)
            eq(server.requests[-1].body == body, True, "%d bytes" % size)
            eq(server.requests[-1].target, "/raw/up?a=b")


def test_a_streamed_upload_waits_for_the_server(t):
    """Backpressure: a server that does not read stops the client."""
    go = threading.Event()

    def slow(peer):
        head = peer.read_head()
        assert go.wait(60)
        peer.read_body(head[1])
        peer.json()

    headrace, _ = raw_setup(t, slow)
    size = 30 * 1024 * 1024
    with t.connect(headrace.port) as conn:
        conn.send(b"POST /raw/x HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size)
        conn.sock.setblocking(False)
        sent, still = 0, 0
        while still < 10:
            try:
                sent += conn.sock.send(b"z" * 65536)
                still = 0
            except BlockingIOError:
                time.sleep(0.05)
                still += 1
        assert sent < 20e6, "took %d bytes for a server that reads none" % sent
        go.set()
        conn.sock.setblocking(True)
        conn.sock.sendall(b"z" * (size - sent))
        eq(conn.read_response().status, 200)


def test_pipelined_requests_are_answered_in_order(t):
    headrace, _ = raw_setup(t, serve_all(echo))
    with t.connect(headrace.port) as conn:
        conn.send(b"".join(b"GET /raw/%d HTTP/1.1\r\nhost: x\r\n\r\n" % i for i in range(20)))
        for i in range(20):
            eq(conn.read_response().json()["target"], "/raw/%d" % i)
        body = b'{"model":"m"}'
        one = b"POST /raw/p HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        conn.send(one * 5)
        for i in range(5):
            eq(conn.read_response().json()["length"], len(body))


def test_a_request_in_single_bytes(t):
    headrace, _ = setup(t, [serve_all(echo)])
    body = b'{"model":"m","messages":[]}'
    data = (b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
    with t.connect(headrace.port) as conn:
        for i in range(len(data)):
            conn.send(data[i:i + 1])
        answer = conn.read_response()
        eq(answer.status, 200)
        eq(answer.json()["length"], len(body))


def test_slow_heads_and_bodies_are_408(t):
    headrace, _ = setup(t, [serve_all(ok_json)],
                        args=["--header-timeout", "300ms", "--body-timeout", "300ms"])
    for data in (b"GET / HT", b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{"):
        with t.connect(headrace.port) as conn:
            conn.send(data)
            answer = conn.read_response()
            eq(answer.status, 408)
            eq(conn.is_closed(), True)


def test_a_body_must_be_worth_the_time_it_takes(t):
    headrace, _ = setup(t, [serve_all(ok_json)], args=["--body-timeout", "400ms"])
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
    with t.connect(headrace.port) as conn:  # never silent for long, and never done
        conn.send(head % 1000000)
        conn.sock.settimeout(0.05)
        for _ in range(400):
            conn.send(b" ")
            try:
                conn.buffer += conn.sock.recv(65536)
                break
            except TimeoutError:
                pass
        else:
            raise AssertionError("it goes on for ever")
        eq(conn.read_response(timeout=5).status, 408)
    with t.connect(headrace.port) as conn:  # slow, but it moves
        body = b" " * 20000 + b'{"model":"m"}'
        conn.send(head % len(body))
        for at in range(0, len(body), 4000):
            time.sleep(0.2)
            conn.send(body[at:at + 4000])
        eq(conn.read_response().status, 200)


def test_a_response_before_the_body_is_complete(t):
    """The server answers early: the client gets the answer, and the connection is not reused."""
    def early(peer):
        peer.read_head()
        peer.json(b'{"early":1}', "413 Payload Too Large")
        peer.wait_closed()

    headrace, server = raw_setup(t, early)
    with t.connect(headrace.port) as conn:
        conn.send(b"POST /raw/x HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nabc")
        answer = conn.read_response()
        eq(answer.status, 413)
        eq(answer.headers.get("connection"), "close")
    eventually(lambda: server.open == 0, what="the upstream connection is closed")


def test_headers_on_their_way(t):
    headrace, server = setup(t, [serve_all(echo)])
    answer = t.request(headrace.port, "POST", "/v1/a/../b%2f%7e", {
        "connection": "keep-alive, x-private", "x-private": "1", "x-other": "2", "te": "gzip",
        "x-forwarded-for": "6.6.6.6", "X-Real-IP": "6.6.6.6", "x_real_ip": "6.6.6.6",
        "x-forwarded-port": "666", "x-forwarded-server": "evil", "x-forwarded-prefix": "/evil",
        "forwarded": "for=6.6.6.6", "x-request-id": "my-id.1", "authorization": "Bearer k",
        "accept-encoding": "gzip"}, b'{"model":"m"}')
    got = answer.json()["headers"]
    eq(answer.json()["target"], "/v1/b%2F~")
    for name in ("x-private", "te", "accept-encoding", "x-real-ip", "x_real_ip", "x-forwarded-port",
                 "x-forwarded-server", "x-forwarded-prefix"):
        eq(name in got, False, name)
    eq(got["x-other"], "2")
    eq(got["authorization"], "Bearer k")
    eq(got["x-forwarded-for"], "127.0.0.1")
    eq(got["forwarded"], "for=127.0.0.1;host=\"127.0.0.1:%d\";proto=http" % headrace.port)
    eq(got["x-request-id"], "my-id.1")
    eq(answer.headers.get("x-request-id"), "my-id.1")


if __name__ == "__main__":
    main(globals())
