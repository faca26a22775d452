"""A small HTTP/2 peer (RFC 9113), client or server, whose every frame is in the hands of the test.

    conn = http2.connect(port)                      # preface and SETTINGS are sent
    stream = conn.request("GET", "/v1/x")           # a Stream
    eq(stream.wait_head().get(":status"), "200")
    eq(stream.wait_end(), b"the payload")

    server = http2.Server(lambda stream: stream.respond(200, b"hello"))  # a thread for each stream

A thread of each connection reads: it answers SETTINGS and PING and opens windows (auto=False or
windows=False leave that to the test), and collects what came in `Stream`s and in `conn.frames`.
conn.send_frame sends anything.
"""

import socket
import struct
import threading
import time

import hpack
import tls_socket
from frames import *  # noqa: F401,F403
from http1 import PATIENCE, Headers


class Http2Error(AssertionError):
    """The peer did not do in time what was waited for, or closed."""


class Stream:
    """One stream. Everything that waits raises Http2Error when the peer resets or goes away."""

    def __init__(self, conn, number):
        self.conn = conn
        self.id = number
        self.sections = []  # Headers: interim ones, the head, trailers
        self.data = bytearray()
        self.received = 0  # bytes of payload in all
        self.frames = []  # sizes of DATA frames
        self.ended = False
        self.reset = None  # error code of the peer's RST_STREAM
        self.window = conn.initial_window
        self.method = None
        self.taken = 0  # sections that wait_section has given out

    # ---- receiving

    def wait_section(self, timeout=None):
        """The next header section."""
        self.conn.wait(lambda: len(self.sections) > self.taken, self, "a header section", timeout)
        self.taken += 1
        return self.sections[self.taken - 1]

    def wait_head(self, timeout=None):
        """The head: of a response, the first section that is not interim."""
        while True:
            head = self.wait_section(timeout)
            if not head.get(":status", "").startswith("1"):
                return head

    def wait_data(self, count=1, timeout=None):
        """Takes exactly so many bytes."""
        self.conn.wait(lambda: len(self.data) >= count, self, "%d bytes" % count, timeout)
        with self.conn.changed:
            piece = bytes(self.data[:count])
            del self.data[:count]
        return piece

    def read(self, timeout=None):
        """Takes what is there, at least a byte; b"" at the end."""
        self.conn.wait(lambda: self.data or self.ended, self, "payload", timeout)
        with self.conn.changed:
            piece = bytes(self.data)
            self.data.clear()
        return piece

    def wait_end(self, timeout=None):
        """The rest of the payload, once the peer has ended the stream."""
        self.conn.wait(lambda: self.ended, self, "the end of the stream", timeout)
        return self.read()

    def wait_reset(self, timeout=None):
        """The code of the RST_STREAM that must come (or None when the connection went)."""
        self.conn.wait(lambda: self.reset is not None or self.conn.closed, None, "a reset", timeout)
        return self.reset

    @property
    def trailers(self):
        """The last section, when it came behind the head."""
        heads = [s for s in self.sections if not s.get(":status", "").startswith("1")]
        return heads[1] if len(heads) > 1 else None

    # ---- sending

    def headers(self, fields, end=False):
        self.conn.send_headers(self.id, fields, end)

    def send(self, data=b"", end=False, timeout=None):
        """Payload, as the windows allow."""
        conn, at = self.conn, 0
        while at < len(data) or (end and at == len(data)):
            want = min(len(data) - at, conn.max_frame)
            if want:
                conn.wait(lambda: self.window > 0 and conn.window > 0, self, "a window", timeout)
            with conn.changed:
                size = min(want, self.window, conn.window) if want else 0
                self.window -= size
                conn.window -= size
            last = end and at + size == len(data)
            conn.send_frame(DATA, END_STREAM if last else 0, self.id, data[at:at + size])
            at += size
            if last:
                return

    def respond(self, status=200, body=b"", fields=(), trailers=None):
        self.headers([(":status", str(status))] + list(fields),
                     end=not body and trailers is None)
        if body:
            self.send(body, end=trailers is None)
        if trailers is not None:
            self.headers(trailers, end=True)

    def cancel(self, code=CANCEL):
        self.conn.send_frame(RST_STREAM, 0, self.id, struct.pack(">I", code))


class Conn:
    def __init__(self, sock, is_server, log=None, auto=True, windows=True, settings=(),
                 on_stream=None, preface=True):
        self.sock = sock
        self.is_server = is_server
        self.scheme = "https" if isinstance(sock, tls_socket.TlsSocket) else "http"
        self.log = log or (lambda line: None)
        self.auto = auto
        self.windows = windows
        self.on_stream = on_stream
        self.changed = threading.Condition()
        self.sending = threading.Lock()
        self.opening = threading.Lock()
        self.streams = {}
        self.frames = []  # Frame, all that came but DATA
        self.goaways = []  # (last stream, code)
        self.settings = {}  # of the peer
        self.acked = 0
        self.pongs = []
        self.closed = False
        self.error = None
        self.window = self.initial_window = 65535
        self.max_frame = FRAME_MAX
        self.decoder = hpack.Decoder()
        self.next_id = 1
        self._section = None
        if preface:
            self.begin(settings)
        threading.Thread(target=self._read_all, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def begin(self, settings=()):
        if not self.is_server:
            self.send_raw(PREFACE)
        self.send_settings(settings)

    # ---- sending

    def send_raw(self, data):
        with self.sending:
            self.sock.sendall(data)

    def send_frame(self, kind, flags=0, stream=0, payload=b""):
        self.send_raw(frame(kind, flags, stream, payload))

    def send_settings(self, settings=()):
        self.send_frame(SETTINGS, 0, 0, b"".join(setting(k, v) for k, v in settings))

    def send_headers(self, number, fields, end=False):
        """In as many frames as it needs."""
        self.log(">> %d %s%s" % (number, fields, " END" if end else ""))
        self.send_raw(headers_frames(number, hpack.encode(fields), end, self.max_frame))

    def open(self):
        """A stream of ours; nothing is sent."""
        with self.changed:
            stream = Stream(self, self.next_id)
            self.streams[self.next_id] = stream
            self.next_id += 2
        return stream

    def request(self, method="GET", path="/v1/x", fields=(), body=None, authority="test",
                end=True):
        """`end`: nothing follows the body. Only a body that is None ends with the head."""
        with self.opening:  # their heads go out in the order of their numbers
            stream = self.open()
            stream.method = method
            stream.headers([(":method", method), (":scheme", self.scheme),
                            (":authority", authority), (":path", path)] + list(fields),
                           end and body is None)
        if body is not None:
            stream.send(body, end)
        return stream

    def ping(self, payload=b"12345678", timeout=None):
        """Sends one and waits for its answer: all before was dealt with."""
        self.send_frame(PING, 0, 0, payload)
        self.wait(lambda: payload in self.pongs, None, "the answer to a PING", timeout)
        self.pongs.remove(payload)

    def goaway(self, last=0, code=NO_ERROR):
        self.send_frame(GOAWAY, 0, 0, struct.pack(">II", last, code))

    def open_window(self, number, size):
        self.send_frame(WINDOW_UPDATE, 0, number, struct.pack(">I", size))

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The reading thread holds the socket too: SHUT_RD lets it go.
        try:
            self.sock.shutdown(socket.SHUT_RD)
        except OSError:
            pass
        self.sock.close()

    # ---- waiting

    def wait(self, check, stream=None, what="", timeout=None):
        """Until check(), called with the lock held. A stream that ends otherwise is an error."""
        deadline = time.monotonic() + (timeout or PATIENCE)
        with self.changed:
            while not check():
                if stream is not None and stream.reset is not None:
                    raise Http2Error("reset with %d while waiting for %s" % (stream.reset, what))
                left = deadline - time.monotonic()
                if self.closed or left <= 0:
                    raise Http2Error("%s while waiting for %s; %s, goaways %s" % (
                        "closed" if self.closed else "timed out", what, self.error, self.goaways))
                self.changed.wait(left)

    def wait_closed(self, timeout=None):
        self.wait(lambda: self.closed, None, "the end of the connection", timeout)

    def wait_goaway(self, count=1, timeout=None):
        self.wait(lambda: len(self.goaways) >= count, None, "GOAWAY", timeout)
        return self.goaways[count - 1]

    # ---- receiving

    def _exactly(self, count):
        parts = []
        while count > 0:
            piece = self.sock.recv(min(count, 1 << 20))
            if not piece:
                raise EOFError
            parts.append(piece)
            count -= len(piece)
        return b"".join(parts)

    def _read_all(self):
        try:
            if self.is_server and self._exactly(len(PREFACE)) != PREFACE:
                raise ValueError("not the preface")
            while True:
                size, *head = split_head(self._exactly(FRAME_HEAD))
                self._take(Frame(*head, self._exactly(size)))
        except (EOFError, OSError, ValueError, hpack.HpackError) as error:
            self.error = repr(error)
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def _take(self, got):
        if got.type != DATA:
            self.log("<< frame type %d flags %d stream %d %r"
                     % (got.type, got.flags, got.stream, got.payload[:60]))
        with self.changed:
            if got.type != DATA:
                self.frames.append(got)
            new = self._note(got)
            self.changed.notify_all()
        if self.auto and got.type in (SETTINGS, PING) and not got.flags & ACK:
            self.send_frame(got.type, ACK, 0, got.payload if got.type == PING else b"")
        if got.type == DATA and got.payload and self.windows:
            self.open_window(0, len(got.payload))
            if not got.flags & END_STREAM:
                self.open_window(got.stream, len(got.payload))
        if new is not None and self.on_stream is not None:
            threading.Thread(target=self.on_stream, args=(new,), daemon=True).start()

    def _note(self, got):
        """A new stream of the peer, or None."""
        stream = self.streams.get(got.stream)
        if got.type in (HEADERS, CONTINUATION):
            return self._note_headers(got)
        if got.type == DATA and stream is not None:
            stream.data += got.payload[1:-got.payload[0] or None] if got.flags & PADDED \
                else got.payload
            stream.received += len(got.payload)
            stream.frames.append(len(got.payload))
            stream.ended = stream.ended or bool(got.flags & END_STREAM)
        elif got.type == RST_STREAM and stream is not None:
            stream.reset = struct.unpack(">I", got.payload)[0]
        elif got.type == SETTINGS:
            self._note_settings(got)
        elif got.type == PING and got.flags & ACK:
            self.pongs.append(got.payload)
        elif got.type == GOAWAY:
            last, code = struct.unpack(">II", got.payload[:8])
            self.goaways.append((last, code))
        elif got.type == WINDOW_UPDATE:
            size = struct.unpack(">I", got.payload)[0]
            if got.stream == 0:
                self.window += size
            elif stream is not None:
                stream.window += size
        return None

    def _note_settings(self, got):
        if got.flags & ACK:
            self.acked += 1
            return
        for at in range(0, len(got.payload), 6):
            key, value = struct.unpack(">HI", got.payload[at:at + 6])
            if key == INITIAL_WINDOW_SIZE:
                for stream in self.streams.values():
                    stream.window += value - self.initial_window
                self.initial_window = value
            elif key == MAX_FRAME_SIZE:
                self.max_frame = value
            self.settings[key] = value

    def _note_headers(self, got):
        if got.type == HEADERS:
            block = got.payload
            if got.flags & PADDED:
                block = block[1:len(block) - block[0]]
            if got.flags & WITH_PRIORITY:
                block = block[5:]
            self._section = [got, bytearray(block)]
        else:
            self._section[1] += got.payload
        if not got.flags & END_HEADERS:
            return None
        first, block = self._section
        fields = Headers(self.decoder.decode(bytes(block)))
        stream = self.streams.get(got.stream)
        new = None
        if stream is None and self.is_server:
            new = stream = Stream(self, got.stream)
            stream.method = fields.get(":method")
            self.streams[got.stream] = stream
        self.log("<< %d %s%s" % (got.stream, fields, " END" if first.flags & END_STREAM else ""))
        if stream is not None:
            stream.sections.append(fields)
            stream.ended = stream.ended or bool(first.flags & END_STREAM)
        return new


def connect(port, host="127.0.0.1", receive_buffer=None, tls=None, server_name=None, **more):
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.connect((host, port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is not None:
        sock = shake_hands(sock, tls, server_hostname=server_name or host)
    return Conn(sock, False, **more)


def shake_hands(sock, context, **more):
    made = tls_socket.wrap(sock, context, **more)
    if made.alpn != "h2":
        made.close()
        raise Http2Error("ALPN gave %r" % made.alpn)
    return made


class Server:
    """Accepts HTTP/2 with prior knowledge; answer(stream) runs in a thread for each stream."""

    def __init__(self, answer, host="127.0.0.1", port=0, log=None, on_conn=None, tls=None, **more):
        self.answer = answer
        self.tls = tls  # an ssl.SSLContext, or None
        self.more = more
        self.log = log
        self.on_conn = on_conn  # called with each new Conn, in its thread, before it reads
        self.lock = threading.Lock()
        self.conns = []
        self.errors = []
        self.requests = []  # Stream, in the order of their heads
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((host, port))
        self.listener.listen(4096)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is None:
                self._begin(sock)
            else:
                threading.Thread(target=self._begin_tls, args=(sock,), daemon=True).start()

    def _begin_tls(self, sock):
        try:
            self._begin(shake_hands(sock, self.tls, server_side=True))
        except (OSError, Http2Error) as error:
            self.log and self.log("handshake: %r" % error)
            sock.close()

    def _begin(self, sock):
        try:
            with self.lock:  # _run waits: a stream's connection is in the list before it is
                conn = Conn(sock, True, self.log, on_stream=self._run, **self.more)
                self.conns.append(conn)
        except OSError:
            return
        if self.on_conn is not None:
            threading.Thread(target=self.on_conn, args=(conn,), daemon=True).start()

    def _run(self, stream):
        with self.lock:
            self.requests.append(stream)
        try:
            self.answer(stream)
        except (Http2Error, OSError):
            pass
        except Exception as error:  # shown by the test
            self.errors.append(repr(error))

    @property
    def open(self):
        return [conn for conn in self.conns if not conn.closed]

    def stop(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for conn in self.conns:
            conn.close()
