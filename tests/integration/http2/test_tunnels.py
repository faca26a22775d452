#!/usr/bin/env python3
"""WebSocket from clients of either version to servers of either version."""

import shutil
import signal
import socket
import threading
import types

import sides  # noqa: F401  (finds the others)
import http2
from harness import contains, eq, eventually, free_port, main, skip
from sides import Wire, both, settled
from tunnels import (ENABLE_CONNECT_PROTOCOL, Ask, H1TunnelServer, H2TunnelServer, accept_of,
                     connect_head, echo, open_tunnel, tunnel_case)

MIB = 1024 * 1024


# ---- over every pair of versions ----------------------------------------------------------------

def bytes_pass_both_ways(t, client, server):
    case = tunnel_case(t, client, server, echo)
    end = open_tunnel(case, fields=[("origin", "http://o"), ("sec-websocket-protocol", "a, b")])
    asked = case.servers[0].asked[0]
    eq(asked.path, "/v1/realtime")
    eq(asked.fields.get("origin"), "http://o")
    eq(asked.fields.get("sec-websocket-protocol"), "a, b")
    eq(asked.fields.get("sec-websocket-version"), "13")
    for piece in (b"\x81\x05hello", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 2000):
        sender = threading.Thread(target=end.send, args=(piece,))
        sender.start()
        eq(end.exactly(len(piece)), piece)
        sender.join()
    eq(case.headrace.metrics()["headrace_upgrades_total"], 1)


def the_answer_says_what_was_agreed(t, client, server):
    def handler(asked):
        asked.accept([("sec-websocket-protocol", "b"), ("sec-websocket-extensions", "x; y=1"),
                      ("x-own", "1")]).wait_over()

    case = tunnel_case(t, client, server, handler)
    ask = Ask(case)
    ask.open()
    eq(ask.head.get("sec-websocket-protocol"), "b")
    eq(ask.head.get("sec-websocket-extensions"), "x; y=1")
    eq(ask.head.get("x-own"), "1")
    eq(len(ask.head.all("x-request-id")), 1)


def bytes_before_the_agreement_wait_for_it(t, client, server):
    got = []

    def handler(asked):
        io = asked.io
        if server == "h2":
            io.conn.ping()
            got.append(bytes(io.data))
        else:
            io.sock.settimeout(0.2)
            try:
                got.append(bytes(io.buffer) + io.sock.recv(100))
            except TimeoutError:
                got.append(bytes(io.buffer))
            io.sock.settimeout(None)
        end = asked.accept()
        end.send(end.exactly(5))
        end.wait_over()

    case = tunnel_case(t, client, server, handler)
    eq(open_tunnel(case, early=b"early").exactly(5), b"early")
    eq(got, [b""])


def bytes_that_come_with_the_agreement_pass(t, client, server):
    def handler(asked):
        end = asked.accept(first=b"at once")
        end.send(end.exactly(3))
        end.wait_over()

    end = open_tunnel(tunnel_case(t, client, server, handler))
    eq(end.exactly(7), b"at once")
    end.send(b"too")
    eq(end.exactly(3), b"too")


def a_server_may_decline(t, client, server):
    def handler(asked):
        asked.answer(403)
        return "again"

    case = tunnel_case(t, client, server, handler)
    ask = Ask(case)
    eq(ask.status(), 403)
    eq(ask.rest(), b"no")
    eq(case.headrace.metrics()["headrace_upgrades_total"], 0)
    settled(case.headrace)


def a_servers_redirect_passes(t, client, server):
    case = tunnel_case(t, client, server, lambda asked: asked.answer(307))
    eq(Ask(case).status(), 307)


def the_servers_end_ends_it(t, client, server):
    def handler(asked):
        end = asked.accept()
        end.send(b"bye")
        end.end()

    case = tunnel_case(t, client, server, handler)
    end = open_tunnel(case)
    eq(end.exactly(3), b"bye")
    end.wait_end()
    status = 200 if client == "h2" else 101
    case.headrace.wait_output('"status":%d,"outcome":"ok"' % status)
    settled(case.headrace)


def the_clients_end_leaves_the_server_the_word(t, client, server):
    def handler(asked):
        end = asked.accept()
        eq(end.exactly(4), b"last")
        end.wait_end()
        end.send(b"after all")
        end.end()

    case = tunnel_case(t, client, server, handler)
    end = open_tunnel(case)
    end.send(b"last")
    end.end()
    eq(end.exactly(9), b"after all")
    end.wait_end()
    status = 200 if client == "h2" else 101
    case.headrace.wait_output('"status":%d,"outcome":"ok"' % status)
    settled(case.headrace)


def a_client_that_gives_up_is_told_of(t, client, server):
    over = threading.Event()

    def handler(asked):
        end = asked.accept()
        end.send(end.exactly(1))
        end.wait_abort()
        over.set()

    case = tunnel_case(t, client, server, handler)
    end = open_tunnel(case)
    end.send(b"x")
    eq(end.exactly(1), b"x")
    end.abort()
    assert over.wait(20), "the server was not told: %s" % case.servers[0].errors
    case.headrace.wait_output('"outcome":"client_abort"')
    settled(case.headrace)


def a_server_that_gives_up_is_told_of(t, client, server):
    def handler(asked):
        end = asked.accept()
        eq(end.exactly(1), b"x")
        end.abort()

    case = tunnel_case(t, client, server, handler)
    end = open_tunnel(case)
    end.send(b"x")
    end.wait_abort()
    case.headrace.wait_output('"outcome":"upstream_reset"')
    settled(case.headrace)


def a_client_that_does_not_read_stops_the_server(t, client, server):
    sent = []
    go = threading.Event()

    def handler(asked):
        end = asked.accept()
        sent.append(end.push(32 * MIB))
        go.wait(30)
        end.send(b"x" * (32 * MIB - sent[0]))
        end.wait_over()

    case = tunnel_case(t, client, server, handler, conn={"windows": False})
    end = open_tunnel(case)
    eventually(lambda: len(sent) == 1, 30, "the server is stopped")
    eq(sent[0] < 32 * MIB, True)
    go.set()
    left = 32 * MIB
    if client == "h2":
        conn = case.conn()
        conn.open_window(end.stream.id, left)
        conn.open_window(0, left)
    while left:
        left -= len(end.read())
    eq(left, 0)


def a_server_that_does_not_read_stops_the_client(t, client, server):
    total = 32 * MIB
    go = threading.Event()

    def handler(asked):
        end = asked.accept()
        go.wait(30)
        if server == "h2":
            asked.io.conn.open_window(asked.io.id, total)
            asked.io.conn.open_window(0, total)
        left = total
        while left:
            left -= len(end.read())
        end.send(b"all")
        end.wait_over()

    if server == "h2":
        def make(one):
            return H2TunnelServer(one, windows=False)
        case = tunnel_case(t, client, server, handler, make=make)
    else:
        case = tunnel_case(t, client, server, handler)
    end = open_tunnel(case)
    done = end.push(total)
    eq(done < total, True)
    go.set()
    end.send(b"x" * (total - done))
    eq(end.exactly(3), b"all")


def the_clients_end_comes_behind_all_its_bytes(t, client, server):
    """However many wait for a server that does not read."""
    go = threading.Event()
    got = []

    def handler(asked):
        end = asked.accept()
        go.wait(30)
        if server == "h2":
            asked.io.conn.open_window(asked.io.id, MIB)
            asked.io.conn.open_window(0, 16 * MIB)
        got.append(sum(len(piece) for piece in iter(end.read, b"")))
        end.end()
        end.wait_over()

    more = {}
    if server == "h2":
        more["make"] = lambda one: H2TunnelServer(one, windows=False)
    case = tunnel_case(t, client, server, handler, args=["--workers", "1"], **more)
    sizes = [250000 + 5000 * i for i in range(16)]
    ends = [open_tunnel(case) for _ in sizes]

    def say(end, size):
        end.send(b"x" * size)
        end.end()
    senders = [threading.Thread(target=say, args=pair) for pair in zip(ends, sizes)]
    for sender in senders:
        sender.start()
    received = "headrace_received_bytes_total"
    eventually(lambda: case.headrace.metrics()[received] > 250000 * len(sizes), 20,
               "they say what they are let say")
    go.set()
    for end in ends:
        end.wait_end()
    eq(sorted(got), sizes)


def the_query_names_the_model(t, client, server):
    case = tunnel_case(t, client, server, echo, models=("m",))
    open_tunnel(case, path="/v1/realtime?a=b&model=m&c")
    eq(case.servers[0].asked[0].path, "/v1/realtime?a=b&model=m&c")
    for query in ("model=m&model=m", "model=", "model=%00", "m%6Fdel=m&model=x"):
        eq(Ask(case, path="/v1/realtime?" + query).status(), 400)
    eq(len(case.servers[0].asked), 1)


def a_quiet_tunnel_is_closed(t, client, server):
    case = tunnel_case(t, client, server, echo, args=["--tunnel-idle-timeout", "300ms"])
    end = open_tunnel(case)
    end.send(b"a")
    eq(end.exactly(1), b"a")
    end.wait_over()
    case.headrace.wait_output('"outcome":"tunnel_idle"')
    settled(case.headrace)


def a_drain_ends_it_at_its_limit(t, client, server):
    case = tunnel_case(t, client, server, echo, args=["--drain-timeout", "1s"])
    end = open_tunnel(case)
    case.headrace.signal(signal.SIGTERM)
    end.send(b"still")
    eq(end.exactly(5), b"still")
    end.wait_over()
    eq(case.headrace.wait(20), 0)


def a_failed_attempt_goes_elsewhere(t, client, server):
    tries = []

    def handler(asked):
        tries.append(asked)
        if len(tries) == 1:
            asked.answer(503)
            return "again"
        return echo(asked)

    case = tunnel_case(t, client, server, [handler, handler],
                       route_extra="    retry: {attempts: 1}")
    end = open_tunnel(case)
    end.send(b"hi")
    eq(end.exactly(2), b"hi")
    eq(len(tries), 2)
    if (client, server) == ("h2", "h1"):
        keys = [asked.fields["sec-websocket-key"] for asked in tries]
        eq(keys[0] != keys[1], True)


def many_at_once(t, client, server):
    case = tunnel_case(t, client, server, echo)
    ends = [open_tunnel(case) for _ in range(60)]
    for i, end in enumerate(ends):
        end.send(b"%03d" % i)
    for i, end in enumerate(ends):
        eq(end.exactly(3), b"%03d" % i)
    for end in ends:
        end.end()
    for end in ends:
        end.wait_end()
    settled(case.headrace)


both(globals(), [
    bytes_pass_both_ways,
    the_answer_says_what_was_agreed,
    bytes_before_the_agreement_wait_for_it,
    bytes_that_come_with_the_agreement_pass,
    a_server_may_decline,
    a_servers_redirect_passes,
    the_servers_end_ends_it,
    the_clients_end_leaves_the_server_the_word,
    a_client_that_gives_up_is_told_of,
    a_server_that_gives_up_is_told_of,
    a_client_that_does_not_read_stops_the_server,
    a_server_that_does_not_read_stops_the_client,
    the_clients_end_comes_behind_all_its_bytes,
    the_query_names_the_model,
    a_quiet_tunnel_is_closed,
    a_drain_ends_it_at_its_limit,
    a_failed_attempt_goes_elsewhere,
    many_at_once,
])


# ---- what only one version has ------------------------------------------------------------------

def test_a_2xx_without_a_switch_is_no_tunnel(t):
    """HTTP/1's 200 says that there is no WebSocket; HTTP/2's would say that there is one."""
    def handler(asked):
        asked.answer(200, b"a page")
        return "again"

    case = tunnel_case(t, "h2", "h1", handler)
    eq(Ask(case).status(), 502)
    case.headrace.wait_output('"outcome":"upgrade_declined"')
    plain = tunnel_case(t, "h1", "h1", handler)
    ask = Ask(plain)
    eq(ask.status(), 200)
    eq(ask.rest(), b"a page")


def test_our_own_answers_are_no_tunnels(t):
    rule = """
  - name: fixed
    matches: [{path: {type: Prefix, value: /v1/fixed}}]
    fixedResponse: {status: 200, body: "here"}
  - name: refused
    matches: [{path: {type: Prefix, value: /v1/refused}}]
    fixedResponse: {status: 403}
"""
    case = tunnel_case(t, "h2", "h1", echo, models=("m",), route_extra=rule)
    ask = Ask(case, path="/v1/fixed")
    eq(ask.status(), 502)
    contains(ask.rest().decode(), "upgrade_declined")
    eq(Ask(case, path="/v1/refused").status(), 403)
    eq(case.ask("GET", "/v1/fixed").rest(), b"here")
    eq(case.ask("GET", "/v1/models").status(), 200)
    open_tunnel(case, path="/v1/models?model=m")  # as any other path


def test_a_switch_must_answer_our_key(t):
    def handler(asked):
        asked.fields = {"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}
        asked.accept(first=b"never seen").wait_over()

    case = tunnel_case(t, "h2", "h1", handler)
    eq(Ask(case).status(), 502)
    case.headrace.wait_output('"outcome":"upstream_protocol"')
    settled(case.headrace)


def test_a_switch_with_two_answers_is_none(t):
    def handler(asked):
        key = asked.fields["sec-websocket-key"]
        asked.accept([("sec-websocket-accept", accept_of(key))]).wait_over()

    eq(Ask(tunnel_case(t, "h2", "h1", handler)).status(), 502)


def test_a_clients_key_stays_here(t):
    case = tunnel_case(t, "h2", "h1", echo)
    mine = "dGhlIHNhbXBsZSBub25jZQ=="
    open_tunnel(case, fields=[("sec-websocket-key", mine), ("sec-websocket-accept", "x")])
    seen = case.servers[0].asked[0].fields
    eq(len(seen.all("sec-websocket-key")), 1)
    eq(seen["sec-websocket-key"] == mine, False)
    eq("sec-websocket-accept" in seen, False)


def test_a_server_that_cannot_is_not_asked(t):
    """No setting, no CONNECT: the client hears so at once, on a new and on an old connection."""
    def make(handler):
        return H2TunnelServer(handler, settings=())

    for client in ("h1", "h2"):
        case = tunnel_case(t, client, "h2", echo, make=make, args=["--workers", "1"])
        for _ in range(3):
            eq(Ask(case).status(), 502)
        case.headrace.wait_output('"outcome":"upgrade_declined"', count=3)
        eq(case.servers[0].asked, [])
        eq(len(case.servers[0].server.conns), 1)
        health = t.request(case.headrace.admin_port, "GET", "/endpoints").text
        contains(health, '"failures":0,"failures_in_row":0,"avoided_for_ms":0')
        contains(health, '"health":{"state":"ok","errors_in_row":0')
        settled(case.headrace)


def test_a_setting_that_never_comes_is_not_waited_for(t):
    def make(handler):
        return H2TunnelServer(handler, preface=False, auto=False)

    case = tunnel_case(t, "h1", "h2", echo, make=make,
                       backend_extra="  timeouts: {connect: 300ms}\n")
    eq(Ask(case).status(), 504)
    case.headrace.wait_output('"outcome":"connect_timeout"')


def test_a_late_setting_is_waited_for(t):
    def late(conn):
        conn.wait(lambda: conn.settings, None, "the client's settings")
        conn.send_settings([(ENABLE_CONNECT_PROTOCOL, 1)])
        conn.send_frame(http2.SETTINGS, http2.ACK)

    def make(handler):
        return H2TunnelServer(handler, preface=False, auto=False, on_conn=late)

    case = tunnel_case(t, "h1", "h2", echo, make=make)
    end = open_tunnel(case)
    end.send(b"late")
    eq(end.exactly(4), b"late")


def test_one_key_of_sixteen_bytes(t):
    """Towards HTTP/2 we are the one who answers it."""
    case = tunnel_case(t, "h1", "h2", echo)
    good = b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    for keys in (b"", b"sec-websocket-key: abc\r\n", good + good):
        with t.connect(case.port) as conn:
            conn.send(b"GET /v1/realtime HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n"
                      b"upgrade: websocket\r\n" + keys + b"\r\n")
            eq(conn.read_response().status, 400)
    case.headrace.wait_output('"outcome":"websocket_key"', count=3)
    eq(case.servers[0].asked, [])


def test_an_agreement_that_ends_at_once(t):
    for client in ("h1", "h2"):
        def handler(asked):
            asked.io.headers([(":status", "200")], end=True)

        case = tunnel_case(t, client, "h2", handler)
        open_tunnel(case).wait_end()
        settled(case.headrace)


def test_trailers_in_a_tunnel_are_an_error(t):
    def handler(asked):
        asked.accept().exactly(1)
        asked.io.headers([("x", "y")], end=True)

    case = tunnel_case(t, "h2", "h2", handler)
    end = open_tunnel(case)
    end.send(b"x")
    end.wait_abort()
    case.headrace.wait_output('"outcome":"upstream_protocol"')
    case = tunnel_case(t, "h2", "h2", echo)
    end = open_tunnel(case)
    end.stream.headers([("x", "y")], end=True)
    eq(end.stream.wait_reset(), http2.PROTOCOL_ERROR)
    settled(case.headrace)


def test_an_end_before_the_agreement_is_kept(t):
    def handler(asked):
        end = asked.accept()
        eq(end.exactly(3), b"all")
        end.wait_end()
        end.send(b"yes")
        end.end()

    for server in ("h1", "h2"):
        go = threading.Event()

        def wait_first(asked):
            go.wait(20)
            handler(asked)

        case = tunnel_case(t, "h2", server, wait_first)
        ask = Ask(case, early=b"all")
        ask.io.send(b"", end=True)
        ask.io.conn.ping()
        go.set()
        end = ask.open()
        eq(end.exactly(3), b"yes")
        end.wait_end()


def test_other_requests_share_the_connection(t):
    case = tunnel_case(t, "h2", "h1", echo)
    end = open_tunnel(case)
    eq(case.ask("GET", "/nowhere").status(), 404)
    end.send(b"x")
    eq(end.exactly(1), b"x")


def test_tunnels_count_as_streams(t):
    case = tunnel_case(t, "h2", "h1", echo, args=["--http2-max-streams", "2"],
                       conn={"auto": False})
    ends = [open_tunnel(case), open_tunnel(case)]
    third = case.conn().open()
    third.headers(connect_head())
    eq(third.wait_reset(), http2.REFUSED_STREAM)
    ends[0].end()
    ends[0].wait_end()
    open_tunnel(case)


# ---- with a program that we did not write -------------------------------------------------------

def nghttpx(t, back, version):
    if shutil.which("nghttpx") is None:
        skip("nghttpx is not installed")
    port = free_port()
    t.process(["nghttpx", "--conf=/dev/null", "--frontend=127.0.0.1,%d;no-tls" % port,
               "--backend=127.0.0.1,%d;;proto=%s" % (back, version), "--workers=1",
               "--log-level=FATAL"], name="nghttpx")

    def listens():
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0
    eventually(listens, what="nghttpx listens")
    return port


def converse(end):
    piece = bytes(range(256)) * 1000
    sender = threading.Thread(target=end.send, args=(piece,))
    sender.start()
    eq(end.exactly(len(piece)), piece)
    sender.join()


def test_nghttpx_as_a_client_over_http2(t):
    case = tunnel_case(t, "h2", "h1", echo)
    case.wire, case.port = Wire("h1", "h1"), nghttpx(t, case.port, "h2")
    converse(open_tunnel(case))
    case.headrace.stop()
    contains(case.headrace.stdout, '"protocol":"HTTP/2"')


def test_nghttpx_as_a_server_of_http2(t):
    """It makes a WebSocket of HTTP/1 of it, with a key of its own."""
    server = H1TunnelServer(echo)
    t.defer(server.stop)

    def make(handler):
        return types.SimpleNamespace(port=nghttpx(t, server.port, "http/1.1"), errors=[],
                                     stop=lambda: None, asked=[])
    for client in ("h1", "h2"):
        case = tunnel_case(t, client, "h2", None, make=make)
        converse(open_tunnel(case))


if __name__ == "__main__":
    main(globals())
