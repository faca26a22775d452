#!/usr/bin/env python3
"""Connections to servers that speak HTTP/2: how many, what happens when they end, and windows."""

import socket
import threading
import time

from sides import (Case, Wire, events_of, http2, respond, rss_kb, sanitized, settled, stream_words,
                   token)
from harness import contains, eq, eventually, main

ONE_WORKER = ["--workers", "1"]
NO_RETRY = "    retry: {attempts: 0}\n"


def hold(go):
    """A streamed answer whose end waits for `go`."""
    def handler(call):
        call.body()
        stream_words(call, ["a"], end=False)
        assert go.wait(60)
        call.send(token("b"))
        call.end()
    return handler


def start_streams(case, count):
    asks = [case.chat(stream=True) for _ in range(count)]
    for ask in asks:
        eq(ask.status(), 200)
        eq(ask.read(), token("a"))
    return asks




def test_a_full_connection_opens_another(t):
    go = threading.Event()
    case = Case(t, Wire("h2", "h2"), hold(go), args=ONE_WORKER + ["--http2-upstream-streams", "4"])
    asks = start_streams(case, 10)
    server = case.servers[0].server
    eq(sorted(len(conn.streams) for conn in server.conns), [2, 4, 4])
    go.set()
    for ask in asks:
        eq(ask.rest(), token("b"))


def test_the_end_that_comes_with_the_last_bytes_is_seen(t):
    """A frame and the FIN in one segment: epoll tells of both at once, and never again."""
    def hang_up(call):
        call.body()
        sock = call.stream.conn.sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        call.stream.conn.send_frame(http2.WINDOW_UPDATE, 0, 0, b"\0\0\0\1")
        sock.shutdown(socket.SHUT_WR)

    case = Case(t, Wire("h1", "h2"),
                [hang_up, lambda call: (call.body(), respond(call, 200, b"here"))],
                backend_extra="  balancing: {policy: RoundRobin}\n",
                route_extra="    retry: {attempts: 3}\n", args=ONE_WORKER)
    for _ in range(4):
        eq(case.chat().rest(), b"here")


def test_the_servers_limit_of_streams_is_kept(t):
    """Streams of a generation last: those that the server does not take yet go elsewhere."""
    go = threading.Event()
    case = Case(t, Wire("h2", "h2"), hold(go), args=ONE_WORKER)
    server = case.servers[0].server
    server.more["settings"] = [(http2.MAX_CONCURRENT_STREAMS, 3)]
    asks = start_streams(case, 10)
    eq(sum(len(conn.streams) for conn in server.conns), 10)
    assert all(len(conn.streams) <= 3 for conn in server.conns)
    go.set()
    for ask in asks:
        eq(ask.rest(), token("b"))
    # Nothing was held against the server, which did as it said.
    eq([v for k, v in case.headrace.metrics().items() if k.startswith("headrace_retries_total")
        and v], [])


def test_a_server_that_takes_no_stream_for_a_while(t):
    case = Case(t, Wire("h2", "h2"), lambda call: respond(call, 200, b"x"), args=ONE_WORKER,
                models=())
    server = case.servers[0].server
    server.more["settings"] = [(http2.MAX_CONCURRENT_STREAMS, 0)]
    ask = case.ask()
    conn = eventually(lambda: server.conns and server.conns[0])
    conn.wait(lambda: conn.acked, None, "the acknowledgement")
    time.sleep(0.2)
    conn.send_settings([(http2.MAX_CONCURRENT_STREAMS, 5)])
    eq((ask.status(), ask.rest()), (200, b"x"))
    assert len(server.conns) <= 2


def test_a_refused_stream_is_sent_again_free_of_charge(t):
    def handler(call):
        call.body()
        if len(case.servers[0].calls) == 1:
            call.stream.cancel(http2.REFUSED_STREAM)
        else:
            respond(call, 200, b"fine")
    case = Case(t, Wire("h2", "h2"), handler, route_extra=NO_RETRY)
    ask = case.chat()
    eq((ask.status(), ask.rest()), (200, b"fine"))


def test_a_server_that_refuses_all_streams(t):
    def refuse(call):
        call.stream.cancel(http2.REFUSED_STREAM)
    case = Case(t, Wire("h2", "h2"), refuse, route_extra=NO_RETRY)
    ask = case.chat()
    eq(ask.status(), 502)
    assert len(case.servers[0].calls) <= 4


def test_goaway_moves_what_was_not_looked_at(t):
    def handler(call):
        call.body()
        if call.stream.conn is server.conns[0]:
            call.stream.conn.goaway(last=0)
        else:
            respond(call, 200, b"fine")
    case = Case(t, Wire("h2", "h2"), handler, route_extra=NO_RETRY, args=ONE_WORKER)
    server = case.servers[0].server
    ask = case.chat()
    eq((ask.status(), ask.rest()), (200, b"fine"))
    eq(len(server.conns), 2)
    server.conns[0].wait_closed()


def test_goaway_lets_running_streams_finish(t):
    go = threading.Event()
    case = Case(t, Wire("h2", "h2"), hold(go), args=ONE_WORKER)
    asks = start_streams(case, 3)
    conn = case.servers[0].server.conns[0]
    conn.goaway(last=0x7fffffff)
    conn.ping()
    more = start_streams(case, 2)
    go.set()
    for ask in asks + more:
        eq(ask.rest(), token("b"))
    eq(len(conn.streams), 3)
    eq(len(case.servers[0].server.conns), 2)
    conn.wait_closed()


def test_goaway_while_idle_costs_no_request(t):
    case = Case(t, Wire("h2", "h2"), lambda call: respond(call, 200, b"x"), models=(),
                args=ONE_WORKER, route_extra=NO_RETRY)
    server = case.servers[0].server
    for i in range(4):
        ask = case.ask()
        eq((ask.status(), ask.rest()), (200, b"x"))
        server.conns[-1].goaway(last=1)
        if i % 2:
            server.conns[-1].close()
    eq(len(server.conns), 4)


def test_a_connection_lost_under_many_streams(t):
    """Those that had no byte yet are tried again, once each; the others end as broken."""
    seen = []

    def handler(call):
        body = call.body()
        seen.append(body)
        first = call.stream.conn is case.servers[0].server.conns[0]
        if first and b"early" in body:
            call.wait_abort()
        elif first:
            stream_words(call, ["a"], end=False)
            call.wait_abort()
        else:
            stream_words(call, ["a"])
    case = Case(t, Wire("h2", "h2"), handler, args=ONE_WORKER)
    early = [case.chat(stream=True, prompt="early") for _ in range(25)]
    late = [case.chat(stream=True, prompt="late") for _ in range(25)]
    for ask in late:
        eq((ask.status(), ask.read()), (200, token("a")))
    eventually(lambda: len(seen) == 50)
    case.servers[0].server.conns[0].reset()
    for ask in early:
        eq(ask.status(), 200)
        contains(ask.rest(), b"[DONE]")
    for ask in late:
        got, whole = ask.whole()
        contains(got, b'"code":"upstream_reset"')
        eq(whole, False)
    eq(len(seen), 75)
    settled(case.headrace)


def test_a_ping_is_answered(t):
    go = threading.Event()
    case = Case(t, Wire("h2", "h2"), hold(go))
    ask = start_streams(case, 1)[0]
    for i in range(20):
        case.servers[0].server.conns[0].ping(b"number%2d" % i)
    go.set()
    eq(ask.rest(), token("b"))


def test_a_server_that_speaks_no_http2(t):
    import upstream
    one = upstream.Upstream(upstream.serve_all(upstream.ok_json))
    t.defer(one.stop)
    case = Case(t, Wire("h2", "h2"), lambda call: respond(call), route_extra=NO_RETRY)
    case.headrace.write("all.yaml", case.manifest.replace(str(case.servers[0].port),
                                                          str(one.port)))

    def refused():
        ask = case.chat()
        return ask.status() == 502 and b"upstream_protocol" in ask.rest()
    eventually(refused)


def test_windows_are_coupled_from_end_to_end(t):
    """A client that opens no window stops the server: what it may send is what was promised."""
    sent = []

    def handler(call):
        call.head(200)
        while True:
            call.send(b"z" * 16384)
            sent.append(16384)
    case = Case(t, Wire("h2", "h2"), handler, models=(), conn={"windows": False})
    before = rss_kb(case.headrace)
    asks = [case.ask() for _ in range(8)]
    for ask in asks:
        eq(ask.status(), 200)
    conn = case.servers[0].server.conns[0]
    streams = list(conn.streams.values())
    conn.wait(lambda: all(s.window < 16384 for s in streams), None, "every window is used up")
    conn.ping()
    # 256 KB of window each; the client's 64 KB are those of all its streams.
    assert sum(sent) <= 8 * (256 * 1024) + 65535, sum(sent)
    case.conn().wait(lambda: sum(ask.stream.received for ask in asks) == 65535, None,
                     "what the window allows")
    if not sanitized():
        assert rss_kb(case.headrace) - before < 8 * 640
    for ask in asks:
        ask.abort()
    for stream in streams:
        eq(stream.wait_reset(), http2.CANCEL)


def test_one_client_that_does_not_read_leaves_the_others(t):
    def handler(call):
        call.head(200, length=1 << 20)
        call.send(b"z" * (1 << 20))
        call.end()
    case = Case(t, Wire("h2", "h2"), handler, models=(), args=ONE_WORKER)
    stuck = case.connect(windows=False)
    for _ in range(20):  # 20 * 256 KB would be more than the connection's window to the server
        stuck.request()
    stuck.ping()
    for _ in range(5):
        ask = case.ask()
        eq((ask.status(), len(ask.rest())), (200, 1 << 20))
    eq(case.servers[0].connections, 1)


def test_a_server_that_opens_no_window(t):
    """The body waits for it; the client is told to wait, too."""
    def handler(call):
        call.got = len(call.body())
        respond(call, 200, b"fine")
    case = Case(t, Wire("h2", "h2"), handler, models=(), args=ONE_WORKER)
    server = case.servers[0].server
    server.more["settings"] = [(http2.INITIAL_WINDOW_SIZE, 0)]
    eq(case.ask().status(), 200)  # the settings are known from here on
    ask = case.ask("POST", body=b"x" * 100000)
    call = eventually(lambda: len(case.calls()) == 2 and case.calls()[1])
    call.stream.conn.ping()
    eq(call.stream.received, 0)
    for _ in range(10):
        call.stream.conn.open_window(call.stream.id, 10000)
    eq((ask.status(), ask.rest()), (200, b"fine"))
    eq(call.got, 100000)


def test_a_window_that_shrinks_below_zero(t):
    def handler(call):
        call.got = len(call.body())
        respond(call, 200, b"fine")
    case = Case(t, Wire("h2", "h2"), handler, models=())
    server = case.servers[0].server
    server.more["windows"] = False
    ask = case.ask("POST", "/v1/x", [("content-length", 150000)], body=b"x" * 60000, end=False)
    call = eventually(lambda: case.calls() and case.calls()[0])
    conn = call.stream.conn
    conn.wait(lambda: call.stream.received == 60000, None, "what the window takes")
    conn.send_settings([(http2.INITIAL_WINDOW_SIZE, 100)])
    conn.ping()
    conn.windows = True
    ask.send(b"x" * 90000)
    ask.finish()
    conn.open_window(0, 1 << 20)
    conn.open_window(call.stream.id, 200000)
    eq((ask.status(), ask.rest()), (200, b"fine"))
    eq(call.got, 150000)


def test_both_directions_stay_open(t):
    """Client and server take turns, as in a bidirectional call of gRPC."""
    def handler(call):
        call.head(200, [("content-type", "application/x-talk")])
        while True:
            piece = call.read()
            if not piece:
                break
            call.send(b"re:" + piece)
        call.end([("x-status", "0")])
    case = Case(t, Wire("h2", "h2"), handler, models=())
    ask = case.ask("POST", body=b"0", end=False)
    eq(ask.status(), 200)
    eq(ask.stream.wait_data(4), b"re:0")
    for i in range(1, 10):
        ask.send(b"%d" % i)
        eq(ask.stream.wait_data(4), b"re:%d" % i)
    ask.send(b"x" * 700000)  # more than any window
    eq(len(ask.stream.wait_data(700003)) > 0, True)
    ask.finish([("x-sum", "1")])
    eq(ask.rest()[:3] in (b"", b"re:", b"xxx"), True)
    eq(ask.trailers.items, [("x-status", "0")])
    eq(case.calls()[0].trailers.items, [("x-sum", "1")])


def test_the_head_of_an_answer_passes_while_the_body_comes(t):
    """Also when nothing of the answer follows it: gRPC clients wait for it."""
    def handler(call):
        call.head(200, [("content-type", "application/grpc")])
        call.got = call.body()
        call.end([("grpc-status", "0")])
    case = Case(t, Wire("h2", "h2"), handler, models=())
    ask = case.ask("POST", "/v1/x", [("te", "trailers"), ("content-type", "application/grpc")],
                   body=b"one", end=False)
    eq(ask.status(), 200)
    ask.finish()
    eq(ask.rest(), b"")
    eq(ask.trailers.items, [("grpc-status", "0")])


def test_trailers_only(t):
    def handler(call):
        call.body()
        call.head(200, [("content-type", "application/grpc"), ("grpc-status", "5"),
                        ("grpc-message", "not here")], end=True)
    case = Case(t, Wire("h2", "h2"), handler, models=())
    ask = case.ask("POST", "/v1/x", [("te", "trailers")], body=b"x")
    eq(ask.status(), 200)
    eq((ask.fields["grpc-status"], ask.fields["grpc-message"]), ("5", "not here"))
    eq(ask.stream.ended, True)
    eq(ask.stream.received, 0)
    eq(ask.stream.frames, [])


if __name__ == "__main__":
    main(globals())
