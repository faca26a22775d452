"""An inference server whose every byte is in the hands of the test.

    def handler(peer):                     # runs in a thread for each connection
        request = peer.read_request()      # None when the connection ended
        peer.send(b"HTTP/1.1 200 OK\r\n…")
    upstream = t.upstream(handler)         # upstream.port, upstream.requests, upstream.connections

The handler may return at any point; the connection is closed then.
"""

import socket
import struct
import threading


class Request:
    def __init__(self, line, headers, body):
        self.method, self.target, self.version = line.split(" ", 2)
        self.headers = headers  # list of (lower-case name, value)
        self.body = body

    def get(self, name, default=None):
        for key, value in self.headers:
            if key == name:
                return value
        return default


class Peer:
    """One connection, the server's side."""

    def __init__(self, upstream, sock):
        self.upstream = upstream
        self.sock = sock
        self.buffer = bytearray()  # grows in place: bodies of tens of megabytes come here
        self.closed_at = None

    def _fill(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        with self.upstream.lock:
            self.upstream.received += len(data)
        self.buffer += data

    def _until(self, mark):
        while mark not in self.buffer:
            self._fill()
        return self._take(self.buffer.index(mark), len(mark))

    def _exactly(self, count):
        while len(self.buffer) < count:
            self._fill()
        return self._take(count)

    def _take(self, count, skip=0):
        part = bytes(memoryview(self.buffer)[:count])
        del self.buffer[:count + skip]
        return part

    def read_head(self):
        """(start line, headers) or None at the end of the connection."""
        try:
            lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        except (EOFError, OSError):
            return None
        headers = []
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers.append((name.lower(), value.strip()))
        return lines[0], headers

    def read_body(self, headers):
        values = dict(headers)
        if values.get("transfer-encoding") == "chunked":
            body = b""
            while True:
                size = int(self._until(b"\r\n"), 16)
                if size == 0:
                    while self._until(b"\r\n"):  # trailers
                        pass
                    return body
                body += self._exactly(size)
                self._exactly(2)
        return self._exactly(int(values.get("content-length", "0")))

    def read_request(self):
        head = self.read_head()
        if head is None:
            return None
        try:
            body = self.read_body(head[1])
        except (EOFError, OSError):
            return None
        request = Request(head[0], head[1], body)
        with self.upstream.lock:
            self.upstream.requests.append(request)
        return request

    def send(self, data):
        self.sock.sendall(data)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # ---- ready-made answers

    def json(self, body=b'{"ok":true}', status="200 OK", extra=b""):
        self.send(b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%s\r\n%s"
                  % (status.encode(), len(body), extra, body))

    def stream_head(self, extra=b""):
        self.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                  b"transfer-encoding: chunked\r\n" + extra + b"\r\n")

    def chunk(self, data):
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def event(self, data):
        self.chunk(b"data: " + data + b"\n\n")

    def token(self, text="x"):
        self.event(b'{"choices":[{"delta":{"content":"%s"}}]}' % text.encode())

    def stream_end(self):
        self.event(b"[DONE]")
        self.send(b"0\r\n\r\n")

    def wait_closed(self, timeout=60.0):
        """Until the other side closed; raises when it does not."""
        self.sock.settimeout(timeout)
        try:
            while self.sock.recv(65536):
                pass
        except ConnectionError:
            pass


class Upstream:
    def __init__(self, handler, host="127.0.0.1", port=0, tls=None):
        self.handler = handler
        self.tls = tls  # an ssl.SSLContext, or None
        self.lock = threading.Lock()
        self.requests = []
        self.received = 0  # bytes, of whatever kind
        self.connections = 0
        self.open = 0
        self.errors = []
        self.sockets = []
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((host, port))
        self.listener.listen(4096)
        self.host, self.port = self.listener.getsockname()
        self.stopping = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while not self.stopping:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                self.open += 1
                self.sockets.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self.tls is not None:
                sock = self.tls.wrap_socket(sock, server_side=True)
            self.handler(Peer(self, sock))
        except (EOFError, OSError):
            pass
        except Exception as error:  # shown by the test
            self.errors.append(repr(error))
        finally:
            sock.close()
            with self.lock:
                self.open -= 1

    def stop(self):
        """Refuses from now on and cuts what is open."""
        self.stopping = True
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for sock in self.sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def serve_all(answer):
    """A handler that answers every request of a connection with answer(peer, request)."""
    def handler(peer):
        while True:
            request = peer.read_request()
            if request is None:
                return
            if answer(peer, request) is False:
                return
    return handler


def ok_json(peer, request):
    peer.json(b'{"object":"chat.completion","choices":[],"usage":{"prompt_tokens":3,'
              b'"completion_tokens":1,"total_tokens":4}}')


def ok_stream(peer, request):
    peer.stream_head()
    for word in ("a", "b", "c"):
        peer.token(word)
    peer.stream_end()


def ok_either(peer, request):
    (ok_stream if b'"stream": true' in request.body or b'"stream":true' in request.body
     else ok_json)(peer, request)
