"""HTTP/2 frames made by hand, for tests that say what no library would say."""

import struct
import time

from harness import HttpError, eq

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING = 0, 1, 2, 3, 4, 6
GOAWAY, WINDOW_UPDATE, CONTINUATION = 7, 8, 9
END_STREAM, END_HEADERS = 1, 4
FRAME_MAX = 16384
PROTOCOL_ERROR, REFUSED_STREAM, CANCEL, CALM = 1, 7, 8, 11


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


def setting(number_, value):
    return struct.pack(">HI", number_, value)


class Client:
    """One connection. Nothing is answered, and no window opened, unless the test does it."""

    def __init__(self, t, port, settings=b""):
        self.conn = t.connect(port)
        self.conn.log = lambda line: None
        self.conn.send(PREFACE + frame(SETTINGS, 0, 0, settings))

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

    def last_word(self):
        """The code of the GOAWAY that ends the connection; None: it ended without."""
        code = None
        try:
            while True:
                kind, _, _, payload = self.read_frame()
                if kind == GOAWAY:
                    code = int.from_bytes(payload[4:8], "big")
        except HttpError as error:
            eq("timed out" in str(error), False, "still open: %s" % error)
            return code

    def ask(self, stream, fields, body=b""):
        self.conn.send(headers(stream, fields, 0 if body else END_STREAM)
                       + (frame(DATA, END_STREAM, stream, body) if body else b""))
        return self.answer(stream)
