#!/usr/bin/env python3
"""Trailers in both directions, and interim responses."""

from common import contains, eq, main, serve_all, setup

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def with_trailers(peer, request):
    peer.send(CHUNKED + b"3\r\nabc\r\n")
    peer.send(b"0\r\ngrpc-status: 0\r\nContent-Length: 7\r\nset-cookie: a=b\r\nX-Sum: 900\r\n\r\n")


def read_all(t, headrace, head):
    with t.connect(headrace.port) as conn:
        conn.send(b"GET /v1/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + head + b"\r\n")
        raw = b""
        while True:
            piece = conn.sock.recv(65536)
            if not piece:
                return raw
            raw += piece


def test_trailers_of_an_answer_reach_the_client_that_takes_them(t):
    headrace, servers = setup(t, [serve_all(with_trailers)], models=())
    raw = read_all(t, headrace, b"TE: gzip, Trailers\r\n")
    eq(raw.endswith(b"abc\r\n0\r\ngrpc-status: 0\r\nX-Sum: 900\r\n\r\n"), True)
    eq(servers[0].requests[0].get("te"), "trailers")
    eq(servers[0].requests[0].get("connection"), "te")


def test_a_client_that_does_not_take_trailers_gets_none(t):
    headrace, servers = setup(t, [serve_all(with_trailers)], models=())
    raw = read_all(t, headrace, b"")
    eq(raw.endswith(b"abc\r\n0\r\n\r\n"), True)
    eq(servers[0].requests[0].get("te"), None)


def test_a_connection_goes_on_after_trailers(t):
    headrace, servers = setup(t, [serve_all(with_trailers)], models=())
    with t.connect(headrace.port) as conn:
        for _ in range(3):
            answer = conn.request("GET", "/v1/x", {"te": "trailers"})
            eq(answer.body, b"abc")
    eq(len(servers[0].requests), 3)
    eq(servers[0].connections, 1)


def read_trailers(peer):
    """The request's body with its framing, up to the empty line."""
    peer.read_head()
    raw = peer._until(b"0\r\n").removesuffix(b"\r\n")
    return raw, peer._until(b"\r\n\r\n")


def test_trailers_of_a_streamed_request_reach_the_server(t):
    got = []

    def handler(peer):
        got.append(read_trailers(peer))
        peer.json()

    headrace, _ = setup(t, [handler], models=())
    with t.connect(headrace.port) as conn:
        conn.send(b"POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                  b"3\r\nabc\r\n0\r\nX-Sum: 900\r\nAuthorization: x\r\n"
                  b"Transfer-Encoding: y\r\n\r\n")
        eq(conn.read_response().status, 200)
    eq(got, [(b"3\r\nabc", b"X-Sum: 900")])


def test_trailers_that_come_later_and_alone(t):
    got = []

    def handler(peer):
        got.append(read_trailers(peer))
        peer.json()

    headrace, _ = setup(t, [handler], models=())
    with t.connect(headrace.port) as conn:
        conn.send(b"POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        conn.send(b"0\r\nX-S")
        conn.send(b"um: 900\r\n\r")
        conn.send(b"\n")
        eq(conn.read_response().status, 200)
    eq(got, [(b"", b"X-Sum: 900")])


def test_malformed_trailers_are_refused(t):
    headrace, servers = setup(t, [serve_all(lambda peer, request: peer.json())])
    with t.connect(headrace.port) as conn:
        conn.send(b"POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                  b"2\r\n{}\r\n0\r\nX-Sum : 900\r\n\r\n")
        answer = conn.read_response()
        eq(answer.status, 400)
        contains(answer.text, "trailer")
    eq(servers[0].requests, [])


def with_hints(peer, request):
    peer.send(b"HTTP/1.1 100 Continue\r\n\r\n"
              b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nKeep-Alive: 5\r\n\r\n")
    peer.send(b"HTTP/1.1 102 Processing\r\n\r\n")
    peer.json()


def test_interim_responses_pass(t):
    headrace, _ = setup(t, [serve_all(with_hints)])
    with t.connect(headrace.port) as conn:
        conn.send_request("POST", "/v1/chat/completions", {}, t.chat_body(model="m"))
        hints = conn.read_head(skip_interim=False)
        eq(hints.status, 103)
        eq(hints.headers.items, [("Link", "</a.css>; rel=preload")])
        eq(conn.read_head(skip_interim=False).status, 102)
        eq(conn.read_response().status, 200)


def test_http_1_0_has_no_interim_responses(t):
    headrace, _ = setup(t, [serve_all(with_hints)], models=())
    with t.connect(headrace.port) as conn:
        conn.send(b"GET /v1/x HTTP/1.0\r\nHost: a\r\n\r\n")
        eq(conn.read_head(skip_interim=False).status, 200)


if __name__ == "__main__":
    main(globals())
