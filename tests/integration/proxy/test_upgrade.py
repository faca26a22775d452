#!/usr/bin/env python3
"""Upgrades (WebSocket): the tunnel, who may have one, its limits and its end."""

import signal
import threading
import time

from common import eq, eventually, main, serve_all, setup

ASK = (b"GET /v1/realtime HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n"
       b"Upgrade: WebSocket\r\nSec-WebSocket-Key: abc\r\nSec-WebSocket-Version: 13\r\n\r\n")
SWITCH = (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
          b"Sec-WebSocket-Accept: xyz\r\n\r\n")


def echo(peer):
    """Switches, then says everything back until the client ends."""
    peer.read_request()
    peer.send(SWITCH)
    try:
        while True:
            if peer.buffer:
                peer.send(peer._take(len(peer.buffer)))
            peer._fill()
    except (EOFError, OSError):
        pass


def open_tunnel(t, headrace, ask=ASK):
    conn = t.connect(headrace.port)
    conn.send(ask)
    head = conn.read_head()
    eq(head.status, 101)
    eq(head.headers.get("upgrade").lower(), "websocket")
    eq(head.headers.get("connection"), "upgrade")
    eq(head.headers.get("sec-websocket-accept"), "xyz")
    return conn


def exactly(conn, count):
    return conn._exactly(count, time.monotonic() + conn.timeout)


def test_bytes_pass_both_ways(t):
    headrace, servers = setup(t, [echo], models=())
    conn = open_tunnel(t, headrace)
    seen = servers[0].requests[0]
    eq(seen.get("connection"), "upgrade")
    eq(seen.get("upgrade"), "WebSocket")
    eq(seen.get("sec-websocket-key"), "abc")
    for piece in (b"\x81\x05hello", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 300):
        conn.send(piece)
        eq(exactly(conn, len(piece)), piece)
    eq(headrace.metrics()["headrace_upgrades_total"], 1)


def test_bytes_before_the_switch_wait_for_it(t):
    """They are neither a request nor sent before the server has agreed."""
    go = threading.Event()
    got = []

    def handler(peer):
        peer.read_request()
        time.sleep(0.2)
        peer.sock.setblocking(False)
        try:
            got.append(bytes(peer.buffer) + peer.sock.recv(100))
        except BlockingIOError:
            got.append(bytes(peer.buffer))
        peer.sock.setblocking(True)
        go.set()
        peer.send(SWITCH)
        peer.send(peer._exactly(5))

    headrace, _ = setup(t, [handler], models=())
    conn = open_tunnel(t, headrace, ASK + b"early")
    assert go.wait(10)
    eq(got, [b""])
    eq(exactly(conn, 5), b"early")


def test_a_server_may_decline(t):
    headrace, servers = setup(t, [serve_all(lambda peer, _: peer.json(status="404 Not Found"))],
                              models=())
    with t.connect(headrace.port) as conn:
        conn.send(ASK)
        eq(conn.read_response().status, 404)
        eq(conn.request("GET", "/v1/x").status, 404)  # the connection goes on
    eq(len(servers[0].requests), 2)


def test_a_switch_that_nobody_asked_for_is_an_error(t):
    headrace, _ = setup(t, [serve_all(lambda peer, _: peer.send(SWITCH))], models=())
    eq(t.request(headrace.port, "GET", "/v1/x").status, 502)
    with t.connect(headrace.port) as conn:
        conn.send(ASK.replace(b"Upgrade: WebSocket", b"Upgrade: h2c"))
        eq(conn.read_response().status, 502)


def test_a_switch_to_another_protocol_is_an_error(t):
    switch = SWITCH.replace(b"Upgrade: websocket", b"Upgrade: h2c")
    headrace, _ = setup(t, [serve_all(lambda peer, _: peer.send(switch))], models=())
    with t.connect(headrace.port) as conn:
        conn.send(ASK)
        eq(conn.read_response().status, 502)


def test_h2c_is_not_asked_for(t):
    headrace, servers = setup(t, [serve_all(lambda peer, _: peer.json())], models=())
    answer = t.request(headrace.port, "GET", "/v1/x", {
        "connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAMAAABk"})
    eq(answer.status, 200)
    names = [name for name, _ in servers[0].requests[0].headers]
    eq([name for name in names if name in ("upgrade", "http2-settings", "connection")], [])


def test_the_servers_end_ends_it(t):
    def handler(peer):
        peer.read_request()
        peer.send(SWITCH + b"bye")

    headrace, _ = setup(t, [handler], models=())
    conn = open_tunnel(t, headrace)
    eq(exactly(conn, 3), b"bye")
    eq(conn.is_closed(), True)


def test_the_clients_end_reaches_the_server(t):
    ended = threading.Event()

    def handler(peer):
        echo(peer)
        ended.set()

    headrace, _ = setup(t, [handler], models=())
    conn = open_tunnel(t, headrace)
    conn.send(b"last")
    eq(exactly(conn, 4), b"last")
    conn.close()
    eq(ended.wait(10), True)
    headrace.wait_output('"status":101,"outcome":"ok"')


def test_nobody_is_flooded(t):
    """A client that does not read stops the server, and the other way round; nothing is lost."""
    size = 64 * 1024 * 1024  # more than the kernel holds on the way
    sent = []

    def handler(peer):
        peer.read_request()
        peer.send(SWITCH)
        peer.sock.settimeout(0.5)
        done = 0
        try:
            while done < size:
                done += peer.sock.send(b"x" * min(65536, size - done))
        except OSError:
            pass
        sent.append(done)
        peer.sock.settimeout(60)
        while done < size:
            done += peer.sock.send(b"x" * min(65536, size - done))
        peer.sock.recv(1)

    headrace, _ = setup(t, [handler], models=())
    conn = open_tunnel(t, headrace)
    eventually(lambda: len(sent) == 1)
    eq(sent[0] < size, True)
    left = size
    while left:
        left -= len(conn._take(min(left, len(conn.buffer)))) if conn.buffer else 0
        if left and not conn.buffer:
            conn._fill(time.monotonic() + conn.timeout)
    eq(left, 0)


def test_a_server_that_does_not_read_stops_the_client(t):
    go = threading.Event()
    total = 64 * 1024 * 1024  # more than the kernel holds on the way
    got = []

    def handler(peer):
        peer.read_request()
        peer.send(SWITCH)
        go.wait(30)
        data = 0
        while data < total:
            data += len(peer.sock.recv(1 << 20))
        got.append(data)
        peer.send(b"all")

    headrace, _ = setup(t, [handler], models=())
    conn = open_tunnel(t, headrace)
    conn.sock.settimeout(0.5)
    done = 0
    try:
        while done < total:
            done += conn.sock.send(b"y" * min(65536, total - done))
    except OSError:
        pass
    eq(done < total, True)
    go.set()
    conn.sock.settimeout(60)
    while done < total:
        done += conn.sock.send(b"y" * min(65536, total - done))
    eq(exactly(conn, 3), b"all")
    eq(got, [total])


def test_a_quiet_tunnel_is_closed(t):
    headrace, _ = setup(t, [echo], models=(), args=["--tunnel-idle-timeout", "400ms"])
    conn = open_tunnel(t, headrace)
    for _ in range(6):  # longer than the limit in all
        time.sleep(0.15)
        conn.send(b"a")
        eq(exactly(conn, 1), b"a")
    eq(conn.is_closed(), True)
    headrace.wait_output('"outcome":"tunnel_idle"')


def test_a_drain_ends_it_at_its_limit(t):
    headrace, _ = setup(t, [echo], models=(), args=["--drain-timeout", "1s"])
    conn = open_tunnel(t, headrace)
    headrace.signal(signal.SIGTERM)
    conn.send(b"still")
    eq(exactly(conn, 5), b"still")
    eq(conn.is_closed(), True)


def test_the_query_names_the_model(t):
    headrace, servers = setup(t, [echo], models=("m",))
    open_tunnel(t, headrace, ASK.replace(b"/v1/realtime", b"/v1/realtime?a=b&model=m&c"))
    eq(servers[0].requests[0].target, "/v1/realtime?a=b&model=m&c")
    for query in (b"model=m&model=m", b"model=", b"model", b"model=%00", b"m%6Fdel=m&model=x"):
        with t.connect(headrace.port) as conn:
            conn.send(ASK.replace(b"/v1/realtime", b"/v1/realtime?" + query))
            eq(conn.read_response().status, 400)
    eq(len(servers[0].requests), 1)


if __name__ == "__main__":
    main(globals())
