"""HTTP/2 frames (RFC 9113): their names, building them, taking them apart; and a client that does
nothing by itself, for floods and nonsense.

    client = BareClient(t, port)                    # preface and SETTINGS are sent
    client.send(frame(PING, 0, 0, b"12345678") + headers(1, fields, end=True))
    eq(client.answer(1)[0], 200)

http2.py is a whole peer on top of them.
"""

import collections
import struct
import time

import hpack
from http1 import Headers, HttpError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
(DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE,
 CONTINUATION) = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
FRAME_HEAD, FRAME_MAX = 9, 16384
(NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED,
 FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR,
 ENHANCE_YOUR_CALM) = range(12)
(HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE,
 MAX_HEADER_LIST_SIZE) = range(1, 7)

Frame = collections.namedtuple("Frame", "type flags stream payload")


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def split_head(head):
    """Length, type, flags and stream of a frame that begins with these bytes."""
    size, kind, flags, number = struct.unpack(">IBBI", b"\0" + head)
    return size, kind, flags, number & 0x7fffffff


def headers_frames(number, block, end=False, max_frame=FRAME_MAX):
    """HEADERS and as many CONTINUATIONs as the block needs."""
    pieces = [block[i:i + max_frame] for i in range(0, len(block), max_frame)] or [b""]
    out = b""
    for i, piece in enumerate(pieces):
        flags = (END_HEADERS if i == len(pieces) - 1 else 0) | (END_STREAM if end and i == 0 else 0)
        out += frame(CONTINUATION if i else HEADERS, flags, number, piece)
    return out


def headers(number, fields, end=False):
    return headers_frames(number, hpack.encode(fields), end)


def setting(key, value):
    return struct.pack(">HI", key, value)


class BareClient:
    """One connection. Nothing is read or answered, and no window opened, unless the test does
    it."""

    def __init__(self, t, port, settings=b""):
        self.conn = t.connect(port)
        self.conn.log = lambda line: None
        self.decoder = hpack.Decoder()
        self.block = b""
        self.send(PREFACE + frame(SETTINGS, 0, 0, settings))

    def send(self, data):
        self.conn.send(data)

    def close(self):
        self.conn.close()

    def read_frame(self):
        deadline = time.monotonic() + self.conn.timeout
        size, *head = split_head(self.conn._exactly(FRAME_HEAD, deadline))
        return Frame(*head, self.conn._exactly(size, deadline))

    def _section(self, got):
        """The header section that ends with this frame, if one does."""
        self.block += got.payload
        if not got.flags & END_HEADERS:
            return None
        block, self.block = self.block, b""
        return Headers(self.decoder.decode(block))

    def answer(self, stream):
        """(status, body), or (0, error) when the stream was reset or the connection refused."""
        status, body, ended = None, b"", False
        while not ended or self.block:
            got = self.read_frame()
            if got.type == GOAWAY:
                return 0, int.from_bytes(got.payload[4:8], "big")
            section = self._section(got) if got.type in (HEADERS, CONTINUATION) else None
            if got.stream != stream:
                continue
            if got.type == RST_STREAM:
                # Behind a whole answer it only says that the rest of the request is not wanted.
                return (status, body) if status else (0, int.from_bytes(got.payload, "big"))
            if section is not None and status is None:
                status = int(section[":status"])
            if got.type == DATA:
                body += got.payload
            ended = ended or got.type in (HEADERS, DATA) and bool(got.flags & END_STREAM)
        return status, body

    def last_word(self):
        """The code of the GOAWAY that ends the connection; None: it ended without."""
        code = None
        try:
            while True:
                got = self.read_frame()
                if got.type == GOAWAY:
                    code = int.from_bytes(got.payload[4:8], "big")
        except HttpError as error:
            if "timed out" in str(error):
                raise AssertionError("still open: %s" % error) from None
            return code

    def ask(self, stream, fields, body=b""):
        self.send(headers(stream, fields, not body)
                  + (frame(DATA, END_STREAM, stream, body) if body else b""))
        return self.answer(stream)
