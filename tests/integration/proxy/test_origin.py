#!/usr/bin/env python3
"""Who the client is: trusted proxies, the PROXY protocol; and the trace a request belongs to."""

import re
import socket
import struct
import subprocess

from common import contains, eq, main, serve_all, setup
from harness import program

TRUST = ["--trusted-proxies", "127.0.0.0/8, ::1"]
GET = b"GET /v1/x HTTP/1.1\r\nHost: a.example\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n"


def ok(peer, request):
    peer.json()


def ask(t, headrace, fields=b"", preface=b"", pieces=None):
    with t.connect(headrace.port) as conn:
        for piece in pieces or [preface + GET + fields + b"\r\n"]:
            conn.send(piece)
        return conn.read_response()


def test_strangers_say_nothing_of_clients(t):
    headrace, servers = setup(t, [serve_all(ok)], models=())
    ask(t, headrace, b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"
        b"Forwarded: for=192.0.2.1\r\n")
    seen = servers[0].requests[0]
    eq(seen.get("x-forwarded-for"), "127.0.0.1")
    eq(seen.get("x-forwarded-proto"), "http")
    eq(seen.get("forwarded"), 'for=127.0.0.1;host="a.example";proto=http')
    headrace.wait_output('"client":"127.0.0.1"')


def test_trusted_proxies_do(t):
    headrace, servers = setup(t, [serve_all(ok)], args=TRUST, models=())
    ask(t, headrace, b"X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"
        b"X-Forwarded-Host: b.example\r\nX-Forwarded-Port: 1\r\n")
    seen = servers[0].requests[0]
    eq(seen.get("x-forwarded-for"), "192.0.2.1, 127.0.0.1")
    eq(seen.get("x-forwarded-proto"), "https")
    eq(seen.get("x-forwarded-host"), "b.example")
    eq(seen.get("x-forwarded-port"), None)
    eq(seen.get("forwarded"), 'for=192.0.2.1;host="b.example";proto=https, for=127.0.0.1')
    headrace.wait_output('"client":"192.0.2.1"')
    ask(t, headrace, b'Forwarded: for="[2001:db8::7]:1";proto=https\r\n')
    eq(servers[0].requests[1].get("x-forwarded-for"), "2001:db8::7, 127.0.0.1")


def test_traces_go_on_or_begin(t):
    headrace, servers = setup(t, [serve_all(ok)], models=())
    parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    ask(t, headrace, b"traceparent: " + parent + b"\r\ntracestate: a=1\r\n")
    ask(t, headrace, b"traceparent: 00-0-0-00\r\ntracestate: a=1\r\n")
    ask(t, headrace)
    seen = servers[0].requests
    eq(seen[0].get("traceparent").encode(), parent)
    eq(seen[0].get("tracestate"), "a=1")
    eq(seen[1].get("tracestate"), None)
    fresh = [request.get("traceparent") for request in seen[1:]]
    for value in fresh:
        eq(bool(re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", value)), True, value)
    eq(fresh[0] != fresh[1], True)


def v2(source, port=1234, command=0x21):
    address = socket.inet_aton(source) + socket.inet_aton("198.51.100.2")
    return V2 + struct.pack("!BBH", command, 0x11, 12) + address + struct.pack("!HH", port, 80)


def test_the_proxy_protocol_names_the_client(t):
    headrace, servers = setup(t, [serve_all(ok)], args=TRUST + ["--proxy-protocol", "required"],
                              models=())
    ask(t, headrace, preface=b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 80\r\n")
    ask(t, headrace, preface=v2("192.0.2.2"))
    ask(t, headrace, preface=b"PROXY TCP6 2001:db8::7 2001:db8::8 1234 80\r\n")
    ask(t, headrace, preface=v2("192.0.2.9", command=0x20))  # LOCAL: a health check of its own
    eq([request.get("x-forwarded-for") for request in servers[0].requests],
       ["192.0.2.1", "192.0.2.2", "2001:db8::7", "127.0.0.1"])
    eq(servers[0].requests[2].get("forwarded"),
       'for="[2001:db8::7]";host="a.example";proto=http')


def test_it_may_come_in_pieces(t):
    headrace, servers = setup(t, [serve_all(ok)], args=TRUST + ["--proxy-protocol", "required"],
                              models=())
    whole = v2("192.0.2.2") + GET + b"\r\n"
    for cut in (1, 12, 15, 27, 28, 29, 40):
        eq(ask(t, headrace, pieces=[whole[:cut], whole[cut:]]).status, 200)
    eq(ask(t, headrace, pieces=[whole[i:i + 1] for i in range(len(whole))]).status, 200)
    eq({request.get("x-forwarded-for") for request in servers[0].requests}, {"192.0.2.2"})


def test_a_connection_keeps_its_client(t):
    headrace, servers = setup(t, [serve_all(ok)], args=TRUST + ["--proxy-protocol", "optional"],
                              models=())
    with t.connect(headrace.port) as conn:
        conn.send(v2("192.0.2.2"))
        for _ in range(3):
            eq(conn.request("GET", "/v1/x").status, 200)
    eq([request.get("x-forwarded-for") for request in servers[0].requests], ["192.0.2.2"] * 3)


def is_refused(t, headrace, data):
    with t.connect(headrace.port) as conn:
        try:
            conn.send(data)
        except OSError:
            return True
        return conn.is_closed() and not conn.buffer


def test_required_is_required(t):
    headrace, servers = setup(t, [serve_all(ok)], args=TRUST + ["--proxy-protocol", "required"],
                              models=())
    for data in (GET + b"\r\n", b"PROXY TCP4 a b c d\r\n" + GET + b"\r\n",
                 v2("192.0.2.2", command=0x31) + GET + b"\r\n", b"\x16\x03\x01"):
        eq(is_refused(t, headrace, data), True, data)
    eq(servers[0].requests, [])
    eq(headrace.metrics()["headrace_proxy_protocol_errors_total"], 4)


def test_strangers_may_not_send_it(t):
    args = ["--trusted-proxies", "192.0.2.0/24", "--proxy-protocol"]
    headrace, _ = setup(t, [serve_all(ok)], args=args + ["required"], models=())
    eq(is_refused(t, headrace, v2("192.0.2.2") + GET + b"\r\n"), True)
    headrace, servers = setup(t, [serve_all(ok)], args=args + ["optional"], models=())
    eq(ask(t, headrace, preface=v2("192.0.2.2")).status, 400)
    eq(ask(t, headrace).status, 200)
    eq(servers[0].requests[0].get("x-forwarded-for"), "127.0.0.1")


def test_optional_is_optional(t):
    headrace, servers = setup(t, [serve_all(ok)], args=TRUST + ["--proxy-protocol", "optional"],
                              models=())
    eq(ask(t, headrace).status, 200)
    rest = b"OST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
    eq(ask(t, headrace, pieces=[b"P", rest]).status, 200)
    eq(ask(t, headrace, preface=v2("192.0.2.2")).status, 200)
    eq([request.get("x-forwarded-for") for request in servers[0].requests],
       ["127.0.0.1", "127.0.0.1", "192.0.2.2"])


def test_silence_is_no_header(t):
    args = TRUST + ["--proxy-protocol", "required", "--header-timeout", "300ms"]
    headrace, _ = setup(t, [serve_all(ok)], args=args, models=())
    with t.connect(headrace.port) as conn:
        conn.send(b"PROXY TCP4")
        eq(conn.is_closed(), True)


def test_options_are_checked(t):
    def complaint(*args):
        done = subprocess.run([program("headrace"), "run", "--config-dir", "/nowhere", *args],
                              stderr=subprocess.PIPE, check=False)
        eq(done.returncode, 2)
        return done.stderr.decode()

    contains(complaint("--proxy-protocol", "optional"), "--trusted-proxies")
    contains(complaint("--proxy-protocol", "yes"), "want off, optional or required")
    contains(complaint("--trusted-proxies", "10.0.0.1/8"), "bits beyond the prefix")


if __name__ == "__main__":
    main(globals())
