"""TLS with inference servers: what is verified, what is shown, which connections are reused."""

import base64
import hashlib
import os
import socket
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "proxy")]
import certs  # noqa: E402
from common import backend, route  # noqa: E402
from harness import contains, eq, eventually, free_port, main  # noqa: E402
from upstream import Upstream, ok_either, serve_all  # noqa: E402

SANS = ("DNS:llm.example.com",)


def front(port, tls, more=""):
    """A backend over TLS (or in the clear), and a route to it that tries once."""
    more += "  tls: {%s}\n" % tls if tls else ""
    return (backend("be", [port], (), more) + "---"
            + route("r", ["be"], "    retry: {attempts: 0}\n"))


class Setup:
    def __init__(self, t, tls, sans=SANS, handler=None, asks=None):
        self.t = t
        self.root = certs.Authority(t.folder)
        self.upstream = Upstream(handler or serve_all(ok_either),
                                 tls=certs.server(self.root.issue("llm", sans), asks))
        t.defer(self.upstream.stop)
        self.headrace = t.headrace({"ca.yaml": certs.config_map("ca", self.root),
                                    "be.yaml": front(self.upstream.port, tls)})

    def change(self, tls):
        before = self.headrace.metrics()["headrace_snapshot_generation"]
        self.headrace.write("be.yaml", front(self.upstream.port, tls))
        eventually(lambda: self.headrace.metrics()["headrace_snapshot_generation"] > before)

    def chat(self, **more):
        return self.t.chat(self.headrace.port, **more)

    def handshakes(self, resumed=None):
        metrics = self.headrace.metrics()
        return sum(metrics['headrace_tls_handshakes_total{side="upstream",resumed="%s"}' % each]
                   for each in ("true", "false") if resumed in (None, each))

    def failures(self, reason):
        return self.headrace.metrics()[
            'headrace_tls_failures_total{side="upstream",reason="%s"}' % reason]

    def expect_failure(self, reason, *texts):
        answer = self.chat()
        eq((answer.status, answer.json()["error"]["code"]), (502, "upstream_tls"))
        eq(self.failures(reason) >= 1, True, reason)
        for text in texts:
            self.headrace.wait_output(text)
        eq(self.upstream.requests, [])


GOOD = "caRef: {name: ca}, serverName: llm.example.com"


def test_a_verified_server_is_used_and_its_connection_kept(t):
    s = Setup(t, GOOD)
    with t.connect(s.headrace.port) as conn:  # one connection: one worker
        for stream in (False, True, False):
            conn.send_request("POST", "/v1/chat/completions", None, t.chat_body(stream=stream))
            eq(conn.read_response().status, 200)
    eq(s.handshakes(), 1)
    eq(s.upstream.requests[0].get("x-forwarded-proto"), "http")


def test_another_authority_is_not_trusted(t):
    s = Setup(t, GOOD)
    s.headrace.write("ca.yaml", certs.config_map("ca", certs.Authority(t.folder, "other")))
    eventually(lambda: s.chat().status == 502)
    contains(s.headrace.stderr, "certificate verification failed")
    contains(s.headrace.stderr, "certificate_bad")


def test_another_name_is_not_taken(t):
    s = Setup(t, "caRef: {name: ca}, serverName: other.example.com")
    s.expect_failure("certificate_name", 'wanted ..?other.example.com', "llm.example.com")


def test_without_a_name_the_address_must_be_in_the_certificate(t):
    s = Setup(t, "caRef: {name: ca}", ["IP:127.0.0.1"])
    eq(s.chat().status, 200)
    s = Setup(t, "caRef: {name: ca}", ["IP:127.0.0.2"])
    s.expect_failure("certificate_name", "127.0.0.1")


def test_the_systems_authorities_do_not_know_ours(t):
    s = Setup(t, "serverName: llm.example.com")
    s.expect_failure("certificate_bad")


def test_the_systems_authorities_are_read_by_no_worker(t):
    """They are many: whoever serves would stop for a fifth of a second."""
    root = certs.Authority(t.folder)
    secured = Upstream(serve_all(ok_either), tls=certs.server(root.issue("llm", SANS)))
    plain = Upstream(serve_all(ok_either))
    t.defer(secured.stop)
    t.defer(plain.stop)
    pipe = os.path.join(t.folder, "authorities")  # who reads them waits until they are written
    os.mkfifo(pipe)
    headrace = t.headrace({"be.yaml": front(plain.port, None)}, env={"SSL_CERT_FILE": pipe})
    headrace.write("be.yaml", front(secured.port, "serverName: llm.example.com"))
    feed = []
    eventually(lambda: feed or feed.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)) or feed)
    for _ in range(20):
        eq(t.chat(headrace.port).status, 200)
    eq((len(plain.requests), len(secured.requests)), (20, 0))
    with open(root.cert, "rb") as file:
        os.set_blocking(feed[0], True)
        os.write(feed[0], file.read())
    os.close(feed[0])
    eventually(lambda: t.chat(headrace.port).status == 200 and secured.requests)


def test_unverified_when_so_configured(t):
    s = Setup(t, "insecureSkipVerify: true", ["DNS:whatever"])
    eq(s.chat().status, 200)


def test_a_client_certificate_is_shown(t):
    clients = certs.Authority(t.folder, "clients")
    s = Setup(t, GOOD, asks=clients)
    answer = s.chat()
    # TLS 1.3: the server's refusal comes after our side of the handshake is done.
    eq((answer.status, answer.json()["error"]["code"] in ("upstream_tls", "upstream_reset")),
       (502, True))
    s.headrace.write("me.yaml", certs.secret("me", clients.issue("headrace")))
    s.change(GOOD + ", clientCertificateRef: {name: me}")
    eventually(lambda: s.chat().status == 200)


def test_a_server_in_the_clear_is_told_apart(t):
    def puzzled(peer):
        peer.sock.recv(1000)
        peer.json(status="400 Bad Request")

    s = Setup(t, GOOD)
    upstream = Upstream(puzzled)
    t.defer(upstream.stop)
    s.headrace.write("be.yaml", front(upstream.port, GOOD))
    eventually(lambda: s.chat().status == 502)
    eq(s.failures("not_tls") >= 1, True)


def test_a_connection_serves_only_what_was_verified_for_it(t):
    s = Setup(t, "insecureSkipVerify: true")
    with t.connect(s.headrace.port) as conn:  # one connection: one worker
        def status():
            conn.send_request("POST", "/v1/chat/completions", None, t.chat_body())
            return conn.read_response().status

        eq((status(), status(), s.handshakes()), (200, 200, 1))
        s.change("caRef: {name: ca}, serverName: other.example.com")
        # An idle connection is there, to a server that does not verify any more.
        eq((status(), s.handshakes()), (502, 1))
        s.change(GOOD)
        eq((status(), status(), s.handshakes()), (200, 200, 2))
    eq(len(s.upstream.requests), 4)


def test_an_answer_that_ends_with_the_connection_must_end_properly(t):
    def handler(peer):
        request = peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nhello")
        if b"proper" in request.body:
            peer.sock.unwrap()  # close_notify

    s = Setup(t, GOOD, handler=handler)
    whole = s.chat(prompt="proper")
    eq((whole.status, whole.body), (200, b"hello"))
    with t.connect(s.headrace.port) as conn:
        conn.send_request("POST", "/v1/chat/completions", None, t.chat_body("cut"))
        head = conn.read_head()
        eq(head.status, 200)
        try:
            conn.read_body(head)
            raise AssertionError("taken for complete")
        except Exception as error:
            eq(type(error).__name__, "HttpError")


def test_much_comes_and_goes(t):
    blob = os.urandom(3 << 20)

    def echo(peer, request):
        peer.json(blob + request.body)

    s = Setup(t, GOOD, handler=serve_all(echo))
    body = os.urandom(1 << 20)
    for _ in range(3):
        with t.connect(s.headrace.port) as conn:
            conn.log = lambda line: None
            conn.send_request("POST", "/v1/x", {"content-type": "x/y"}, body)
            answer = conn.read_response()
            eq((answer.status, answer.body == blob + body), (200, True))


def test_streams_come_event_by_event(t):
    gate = threading.Event()

    def handler(peer):
        peer.read_request()
        peer.stream_head()
        peer.token("one")
        gate.wait(20)
        peer.token("two")
        peer.stream_end()
        peer.wait_closed()

    s = Setup(t, GOOD, handler=handler)
    conn, head = t.stream(s.headrace.port)
    events = conn.iter_events(head)
    contains(next(events).data, "one")
    gate.set()
    contains(next(events).data, "two")
    eq(next(events).data, "[DONE]")


def test_sessions_are_resumed(t):
    def once(peer):
        peer.read_request()
        peer.json(extra=b"connection: close\r\n")
        peer.sock.unwrap()

    s = Setup(t, GOOD, handler=once)
    for _ in range(10):
        eq(s.chat().status, 200)
    eq(s.handshakes(), 10)
    eq(s.handshakes("false") <= 2, True)  # one for each worker


# ---- HTTP/2

HTTP2 = "  protocol: HTTP2\n"


def test_servers_that_speak_http2_over_tls(t):
    root = certs.Authority(t.folder)
    upstream = Upstream(serve_all(ok_either))
    t.defer(upstream.stop)
    port = free_port()
    # Another one of ours is the server.
    inner = t.headrace({"secret.yaml": certs.secret("llm", root.issue("x", ["DNS:llm.test"])),
                        "be.yaml": backend("inner", [upstream.port], ()) + "---"
                        + route("r", ["inner"], spec="  tls: [{secretName: llm}]")},
                       ["--listen-tls", "127.0.0.1:%d" % port])
    outer = t.headrace({"ca.yaml": certs.config_map("ca", root),
                        "be.yaml": front(port, "caRef: {name: ca}, serverName: llm.test", HTTP2)})
    with t.connect(outer.port) as conn:
        for stream in (False, True, False):
            conn.send_request("POST", "/v1/chat/completions", None, t.chat_body(stream=stream))
            eq(conn.read_response().status, 200)
    eq(inner.metrics()["headrace_http2_connections_total"], 1)
    answers = t.parallel([lambda: t.chat(outer.port, stream=i % 2 == 0).status for i in range(40)])
    eq(answers, [200] * 40)
    eq(inner.metrics()["headrace_http2_connections_total"] <= 2, True)  # one for each worker

    eq({r.get("x-forwarded-proto") for r in upstream.requests}, {"https"})


ASK = (b"GET /v1/realtime HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
       b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n")


def switch(peer):
    """Opens a tunnel."""
    key = peer.read_request().get("sec-websocket-key")
    digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    peer.send(b"HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
              b"sec-websocket-accept: %s\r\n\r\n" % base64.b64encode(digest))


def test_a_tunnel_passes_through_tls_and_http2(t):
    def handler(peer):
        switch(peer)
        peer.send(peer._exactly(200000))
        peer.wait_closed()

    root = certs.Authority(t.folder)
    upstream = Upstream(handler)
    t.defer(upstream.stop)
    port = free_port()
    inner = t.headrace({"secret.yaml": certs.secret("llm", root.issue("x", ["DNS:llm.test"])),
                        "be.yaml": backend("inner", [upstream.port], ()) + "---"
                        + route("r", ["inner"], path="/", spec="  tls: [{secretName: llm}]")},
                       ["--listen-tls", "127.0.0.1:%d" % port])
    outer = t.headrace({"ca.yaml": certs.config_map("ca", root),
                        "be.yaml": front(port, "caRef: {name: ca}, serverName: llm.test",
                                         HTTP2)})
    with t.connect(outer.port) as conn:
        conn.send(ASK)
        head = conn.read_head()
        eq(head.status, 101)
        eq(head.headers["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        conn.send(b"z" * 200000)
        eq(conn._exactly(200000, time.monotonic() + conn.timeout), b"z" * 200000)
    inner.wait_output('"protocol":"HTTP/2"')


def test_a_tunnel_over_tls_ends_by_halves(t):
    def handler(peer):
        switch(peer)
        eq(peer._exactly(4), b"last")
        eq(peer.sock.recv(1), b"")
        peer.send(b"after all")
        peer.sock.unwrap()

    s = Setup(t, GOOD, handler=handler)
    with t.connect(s.headrace.port) as conn:
        conn.send(ASK)
        eq(conn.read_head().status, 101)
        conn.send(b"last")
        conn.sock.shutdown(socket.SHUT_WR)
        eq(conn._exactly(9, time.monotonic() + conn.timeout), b"after all")
        eq(conn.is_closed(), True)
    eq(s.upstream.errors, [])
    s.headrace.wait_output('"status":101,"outcome":"ok"')


def test_a_server_without_http2_is_told_apart(t):
    s = Setup(t, GOOD)
    s.headrace.write("be.yaml", front(s.upstream.port, GOOD, HTTP2))
    eventually(lambda: s.chat().status == 502)
    eq(s.failures("alpn") >= 1, True)
    s.headrace.wait_output("h2")


if __name__ == "__main__":
    main(globals())
