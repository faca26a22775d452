#!/usr/bin/env python3
"""What a request in HTTP/2 says is said in HTTP/1 behind us, and no more: what could mean something
else there is refused, and not a byte of it comes through. The frames are made by hand, so that
nothing is corrected on the way."""

import os
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "proxy"), os.path.join(HERE, "..", "lib"), HERE]
from common import contains, eq, main, ok_json, serve_all, setup  # noqa: E402
from smuggling_table import BODY, DOWNGRADES, LENGTH_FIELD, SMUGGLED, section  # noqa: E402
from test_strictness import check_rows  # noqa: E402

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, CONTINUATION = 0, 1, 3, 4, 7, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
FRAME_MAX = 16384
PROTOCOL_ERROR = 1


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def number(value, bits):
    """An integer of HPACK (RFC 7541 section 5.1); the bits in front of it are 0."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([value])
    out, value = [most], value - most
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes(out + [value])


def packed(fields):
    """Literal fields that are not indexed, names and values as they are."""
    return b"".join(b"\x00" + number(len(name), 7) + name + number(len(value), 7) + value
                    for name, value in fields)


def headers(stream, fields, flags=0):
    block = packed(fields)
    parts = [block[at:at + FRAME_MAX] for at in range(0, len(block), FRAME_MAX)] or [b""]
    last = len(parts) - 1
    return b"".join(frame(HEADERS if i == 0 else CONTINUATION,
                          (flags if i == 0 else 0) | (END_HEADERS if i == last else 0), stream,
                          part) for i, part in enumerate(parts))


def status_of(block):
    """The first field of a block, which is the status: from the static table, or a literal whose
    name is. Digits have 5 or 6 bits in the code of appendix B."""
    indexed = {0x88: 200, 0x89: 204, 0x8a: 206, 0x8b: 304, 0x8c: 400, 0x8d: 404, 0x8e: 500}
    if block[0] in indexed:
        return indexed[block[0]]
    eq(block[0] in (0x48, 0x08, 0x18), True, "a literal status: %r" % block[:8])
    text = block[2:2 + (block[1] & 127)]
    if block[1] < 128:
        return int(text)
    bits = "".join("%d%d%d%d%d%d%d%d" % tuple(byte >> i & 1 for i in range(7, -1, -1))
                   for byte in text)
    digits = ""
    while len(digits) < 3:
        short = int(bits[:5], 2)
        digits += str(short) if short < 3 else str(int(bits[:6], 2) - 0x19 + 3)
        bits = bits[5 if short < 3 else 6:]
    return int(digits)


class Client:
    def __init__(self, t, port):
        self.conn = t.connect(port)
        self.conn.send(PREFACE + frame(SETTINGS, 0, 0))

    def read_frame(self):
        deadline = time.monotonic() + self.conn.timeout
        head = self.conn._exactly(9, deadline)
        size = int.from_bytes(head[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        return kind, flags, stream & 0x7fffffff, self.conn._exactly(size, deadline)

    def answer(self, stream):
        """(status, body), or (0, error) when the stream was reset or the connection refused."""
        status, body = None, b""
        while True:
            kind, flags, number_, payload = self.read_frame()
            if kind == GOAWAY:
                return 0, int.from_bytes(payload[4:8], "big")
            if number_ != stream:
                continue
            if kind == RST_STREAM:
                # Behind a whole answer it only says that the rest of the request is not wanted.
                return (status, body) if status else (0, int.from_bytes(payload, "big"))
            if kind == HEADERS and status is None:
                status = status_of(payload)
            if kind == DATA:
                body += payload
            if kind in (HEADERS, DATA) and flags & END_STREAM:
                return status, body

    def ask(self, stream, fields, body=b""):
        self.conn.send(headers(stream, fields, 0 if body else END_STREAM)
                       + (frame(DATA, END_STREAM, stream, body) if body else b""))
        return self.answer(stream)


def test_what_http1_would_misread_is_refused(t):
    headrace, (server,) = setup(t, [serve_all(ok_json)])

    def check(what, fields, body, status):
        t.log("row: %s" % what)
        client = Client(t, headrace.port)
        got, detail = client.ask(1, fields, body)
        eq((got, detail) if got == 0 else got, (0, PROTOCOL_ERROR) if got == 0 else status)
        eq(server.received, 0, "bytes that came through")
        client.conn.close()

    check_rows(DOWNGRADES, check)
    client = Client(t, headrace.port)
    eq(client.ask(1, section(LENGTH_FIELD), BODY)[0], 200)
    # Each of them was counted, whoever found it; one whose length lies is one that broke off.
    counted = sum(value for name, value in headrace.metrics().items()
                  if name.startswith("headrace_rejected_messages_total")
                  or name == 'headrace_request_outcomes_total{outcome="client_abort"}')
    eq(counted, len(DOWNGRADES))


def test_one_bad_request_leaves_the_others(t):
    """Of the requests of one connection only those that are refused are."""
    headrace, (server,) = setup(t, [serve_all(ok_json)])
    client = Client(t, headrace.port)
    eq(client.ask(1, section((b"connection", b"close")), BODY), (0, PROTOCOL_ERROR))
    eq(client.ask(3, section(LENGTH_FIELD), BODY)[0], 200)
    eq(client.ask(5, section((b"x", b"y\r\nz: a")), BODY)[0], 400)
    eq(client.ask(7, section(), BODY)[0], 200)
    eq(len(server.requests), 2)


def test_sound_requests_are_written_anew(t):
    headrace, (server,) = setup(t, [serve_all(ok_json)])

    def check(what, fields, body, target, wanted):
        t.log("row: %s" % what)
        eq(Client(t, headrace.port).ask(1, fields, body)[0], 200)
        got = server.requests[-1]
        eq((got.target, got.version, got.body), (target, "HTTP/1.1", body))
        names = [name for name, _ in got.headers]
        eq((names.count("host"), names.count("content-length") + names.count("transfer-encoding")),
           (1, 1))
        for name, value in wanted:
            eq(got.get(name), value, name)

    path = "/v1/chat/completions"
    check_rows([
        ("length", section(LENGTH_FIELD), BODY, path, [("host", "a.example")]),
        ("no length", section(), BODY, path, [("content-length", "13")]),
        ("the same host", section((b"host", b"a.example")), BODY, path, [("host", "a.example")]),
        ("host alone", section((b"host", b"a.example"), authority=None), BODY, path,
         [("host", "a.example")]),
        ("cookies in crumbs", section((b"cookie", b"a=1"), (b"cookie", b"b=2")), BODY, path,
         [("cookie", "a=1; b=2")]),
        ("dot segments", section(path=b"/v1/./x/%2e%2E/chat/completions"), BODY, path, []),
        ("no-break space", section((b"x-user", b"\xa0a\x85")), BODY, path, []),
    ], check)


def test_bodies_are_never_requests(t):
    """What looks like a request in a body stays in it."""
    headrace, (server,) = setup(t, [serve_all(ok_json)], models=())
    for fields in (section(), section((b"content-length", b"%d" % len(SMUGGLED * 2)))):
        eq(Client(t, headrace.port).ask(1, fields, SMUGGLED * 2)[0], 200)
        eq(server.requests[-1].body, SMUGGLED * 2)
    eq(len(server.requests), 2)
    contains(server.requests[-1].target, "/v1/chat/completions")


if __name__ == "__main__":
    main(globals())
