"""A small HTTP/1.1 client over raw sockets, for tests that look at bytes, framing and time."""

import json
import os
import socket
import time

# Sanitizer builds and busy machines are slower: HEADRACE_TEST_SLOW=3 makes every wait longer.
SLOW = float(os.environ.get("HEADRACE_TEST_SLOW", "1"))
PATIENCE = 20.0 * SLOW  # seconds for whatever comes at once when all is well


class HttpError(Exception):
    """The peer broke the protocol, closed too early, or was silent for too long."""


class Headers:
    """An ordered list of (name, value) with look-up in any case."""

    def __init__(self, items=()):
        self.items = list(items)

    def get(self, name, default=None):
        for key, value in self.items:
            if key.lower() == name.lower():
                return value
        return default

    def all(self, name):
        return [value for key, value in self.items if key.lower() == name.lower()]

    def __contains__(self, name):
        return self.get(name) is not None

    def __getitem__(self, name):
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __repr__(self):
        return repr(self.items)


class Response:
    def __init__(self, status, reason, headers, head_bytes):
        self.status = status
        self.reason = reason
        self.headers = headers
        self.head_bytes = head_bytes
        self._parts = []
        self.chunks = []  # sizes of chunks, when the answer was chunked
        self.trailers = Headers()
        self.complete = False

    @property
    def body(self):
        # Joined when asked for: adding piece by piece copies all each time.
        if len(self._parts) > 1:
            self._parts = [b"".join(self._parts)]
        return self._parts[0] if self._parts else b""

    def add(self, piece):
        self._parts.append(piece)

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def json(self):
        return json.loads(self.body)

    def events(self):
        """The server-sent events of a body that was read whole."""
        return [Event(block) for block in self.body.split(b"\n\n") if block.strip()]

    def __repr__(self):
        return "<%d %s %r>" % (self.status, self.headers.get("content-type"), self.body[:300])


class Event:
    """One server-sent event."""

    def __init__(self, block, at=None):
        self.raw = block
        self.at = at  # time.monotonic() of arrival
        self.data = None
        self.event = None
        for line in block.split(b"\n"):
            if line.startswith(b"data:"):
                value = line[5:].lstrip(b" ").decode("utf-8", "replace")
                self.data = value if self.data is None else self.data + "\n" + value
            elif line.startswith(b"event:"):
                self.event = line[6:].strip().decode()

    @property
    def done(self):
        return self.data == "[DONE]"

    def json(self):
        return json.loads(self.data)

    def __repr__(self):
        return "Event(%r)" % (self.data,)


class Connection:
    """One TCP connection. Every read has a deadline; `log` is called with a line for each step."""

    def __init__(self, port, host="127.0.0.1", timeout=None, log=None, tls=None, server_name=None,
                 receive_buffer=None):
        self.timeout = timeout or PATIENCE
        self.log = log or (lambda line: None)
        self.peer = "%s:%s" % (host, port)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self.sock.connect((host, port))
        except OSError:
            self.sock.close()
            raise
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname=server_name or host)
        self.buffer = bytearray()
        self.method = "GET"

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        try:
            self.sock.close()
        except OSError:
            pass

    def reset(self):
        """Closes with RST instead of FIN."""
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close()

    def send(self, data):
        self.log(">> %s %r" % (self.peer, data[:2000]))
        self.sock.sendall(data)

    def send_request(self, method, path, headers=None, body=None, chunked=False):
        """Host and framing are added unless the caller gave them. A dict body is sent as JSON."""
        fields = list(headers.items()) if isinstance(headers, dict) else list(headers or [])
        names = {name.lower() for name, _ in fields}
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            if "content-type" not in names:
                fields.append(("content-type", "application/json"))
        elif isinstance(body, str):
            body = body.encode()
        if "host" not in names:
            fields.insert(0, ("host", self.peer))
        if chunked:
            fields.append(("transfer-encoding", "chunked"))
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        elif body is not None and "content-length" not in names:
            fields.append(("content-length", str(len(body))))
        head = "%s %s HTTP/1.1\r\n" % (method, path)
        head += "".join("%s: %s\r\n" % field for field in fields) + "\r\n"
        self.method = method
        self.send(head.encode() + (body or b""))

    def _fill(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise HttpError("timed out; unread so far: %r" % bytes(self.buffer[:500]))
        self.sock.settimeout(left)
        try:
            data = self.sock.recv(65536)
        except socket.timeout:
            raise HttpError("timed out; unread so far: %r" % bytes(self.buffer[:500])) from None
        except OSError as error:
            raise HttpError("recv: %s; unread so far: %r"
                            % (error, bytes(self.buffer[:500]))) from None
        self.buffer += data
        return len(data) > 0

    def _take(self, count, skip=0):
        part = bytes(self.buffer[:count])
        del self.buffer[:count + skip]
        return part

    def _until(self, mark, deadline, limit=1 << 20):
        while mark not in self.buffer:
            if len(self.buffer) > limit:
                raise HttpError("no %r in %d bytes" % (mark, len(self.buffer)))
            if not self._fill(deadline):
                raise HttpError("closed before %r; got %r" % (mark, bytes(self.buffer[:500])))
        return self._take(self.buffer.index(mark), len(mark))

    def _exactly(self, count, deadline):
        while len(self.buffer) < count:
            if not self._fill(deadline):
                raise HttpError("closed %d bytes short" % (count - len(self.buffer)))
        return self._take(count)

    def read_head(self, timeout=None, skip_interim=True):
        deadline = time.monotonic() + (timeout or self.timeout)
        while True:
            raw = self._until(b"\r\n\r\n", deadline)
            lines = raw.decode("latin-1").split("\r\n")
            parts = lines[0].split(" ", 2)
            if len(parts) < 2 or not parts[0].startswith("HTTP/1."):
                raise HttpError("not a status line: %r" % lines[0])
            fields = [tuple(x.strip() for x in line.split(":", 1)) for line in lines[1:]]
            response = Response(int(parts[1]), parts[2] if len(parts) > 2 else "",
                                Headers(fields), raw + b"\r\n\r\n")
            self.log("<< %s %s" % (self.peer, raw.decode("latin-1").replace("\r\n", " | ")))
            if not (skip_interim and 100 <= response.status < 200 and response.status != 101):
                return response

    def _read_trailers(self, deadline_of):
        fields = []
        line = self._until(b"\r\n", deadline_of())
        while line:
            name, _, value = line.decode("latin-1").partition(":")
            fields.append((name, value.strip()))
            line = self._until(b"\r\n", deadline_of())
        return fields

    def _pieces(self, response, deadline_of):
        """Yields body pieces as they come; chunk sizes are noted in response.chunks."""
        status = response.status
        if self.method == "HEAD" or 100 <= status < 200 or status in (204, 304):
            response.complete = True
            return
        if (response.headers.get("transfer-encoding") or "").lower() == "chunked":
            while True:
                line = self._until(b"\r\n", deadline_of())
                size = int(line.split(b";")[0], 16)
                if size == 0:
                    response.trailers = Headers(self._read_trailers(deadline_of))
                    response.complete = True
                    return
                response.chunks.append(size)
                data = self._exactly(size, deadline_of())
                if self._exactly(2, deadline_of()) != b"\r\n":
                    raise HttpError("chunk is not followed by CRLF")
                yield data
        elif "content-length" in response.headers:
            left = int(response.headers["content-length"])
            while left > 0:
                if not self.buffer and not self._fill(deadline_of()):
                    raise HttpError("closed %d bytes short" % left)
                data = self._take(min(left, len(self.buffer)))
                left -= len(data)
                yield data
            response.complete = True
        else:
            while True:
                if self.buffer:
                    yield self._take(len(self.buffer))
                elif not self._fill(deadline_of()):
                    response.complete = True
                    return

    def read_body(self, response, timeout=None):
        deadline = time.monotonic() + (timeout or self.timeout)
        for piece in self._pieces(response, lambda: deadline):
            response.add(piece)
        self.log("<< %s body %r" % (self.peer, response.body[:4000]))
        return response

    def read_response(self, timeout=None):
        return self.read_body(self.read_head(timeout), timeout)

    def iter_events(self, response, timeout=None):
        """Events as they arrive; `timeout` bounds the wait for each. The bytes gather in body."""
        pending = b""
        for piece in self._pieces(response, lambda: time.monotonic() + (timeout or self.timeout)):
            response.add(piece)
            pending += piece.replace(b"\r\n", b"\n")
            while b"\n\n" in pending:
                block, pending = pending.split(b"\n\n", 1)
                event = Event(block, time.monotonic())
                self.log("<< %s event %r" % (self.peer, (event.data or "")[:2000]))
                yield event

    def request(self, method, path, headers=None, body=None, timeout=None, **more):
        self.send_request(method, path, headers, body, **more)
        return self.read_response(timeout)

    def is_closed(self, timeout=None):
        """True when the peer closes (FIN or RST) within the time, False when it stays open."""
        deadline = time.monotonic() + (timeout or self.timeout)
        try:
            while self._fill(deadline):
                pass
            return True
        except HttpError as error:
            return "timed out" not in str(error)


def request(port, method, path, headers=None, body=None, timeout=None, log=None, **more):
    """One request on its own connection."""
    with Connection(port, timeout=timeout, log=log) as conn:
        return conn.request(method, path, headers, body, timeout, **more)
