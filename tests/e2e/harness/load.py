"""Requests as a client of an OpenAI-compatible server sends them: one, or many at once.

Sockets and parsing are our own and strict, so that a stream which breaks off, an event that is
no JSON or an answer without its end counts as an error and not as a short answer.
"""

import asyncio
import json
import threading


class Broken(Exception):
    """An answer that is not whole."""


class Answer:
    """One answer: status, header fields in lower case, and the body or the streamed events."""

    def __init__(self, status, headers):
        self.status = status
        self.headers = headers
        self.body = b""
        self.events = []

    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        """The content of a streamed chat completion, its deltas joined."""
        return "".join(choice.get("delta", {}).get("content") or choice.get("text") or ""
                       for event in self.events if event != "[DONE]"
                       for choice in event.get("choices", []))

    def check_stream(self):
        """Raises Broken unless this is a whole streamed completion."""
        if self.status != 200:
            raise Broken(f"status {self.status}: {self.body[:300].decode(errors='replace')}")
        if not self.headers.get("content-type", "").startswith("text/event-stream"):
            raise Broken(f"content-type {self.headers.get('content-type')}")
        if not self.events or self.events[-1] != "[DONE]":
            raise Broken(f"{len(self.events)} events without [DONE] at the end: "
                         f"{str(self.events[-1:])[:300]}")
        for event in self.events[:-1]:
            if not isinstance(event, dict) or "error" in event:
                raise Broken(f"event {str(event)[:300]}")
        if not self.text:
            raise Broken("a stream without any content")
        if not any(choice.get("finish_reason") for event in self.events[:-1]
                   for choice in event.get("choices", [])):
            raise Broken("a stream without a finish_reason")


class Connection:
    """One client connection, which is used again as long as the server keeps it."""

    def __init__(self, host, port):
        self._host = host
        self._port = port
        self._reader = None
        self._writer = None

    async def request(self, method, path, body=None, headers=None, on_event=None):
        """Sends one request and reads its whole answer; on_event is called with each event."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(
                self._host, self._port, limit=1 << 20)
        payload = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Connection: keep-alive"]
        fields = {"Host": f"{self._host}:{self._port}", **(headers or {})}
        if body is not None:
            fields["Content-Type"] = "application/json"
            fields["Content-Length"] = str(len(payload))
        lines += [f"{name}: {value}" for name, value in fields.items()]
        self._writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + payload)
        await self._writer.drain()
        try:
            answer = await self._read_answer(on_event)
        except BaseException:
            self.close()
            raise
        if answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer

    async def _read_answer(self, on_event):
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as end:
            raise Broken(f"closed after {len(end.partial)} bytes of the head") from end
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ", 2)[1])
        headers = {}
        for line in lines[1:]:
            if line:
                name, _, value = line.partition(":")
                headers[name.strip().lower()] = value.strip()
        answer = Answer(status, headers)
        events = _EventReader(answer, on_event) \
            if headers.get("content-type", "").startswith("text/event-stream") else None
        async for piece in self._pieces(headers):
            if events:
                events.feed(piece)
            else:
                answer.body += piece
        if events:
            events.end()
        return answer

    async def _pieces(self, headers):
        if headers.get("transfer-encoding", "").lower() == "chunked":
            try:
                while True:
                    line = await self._reader.readuntil(b"\r\n")
                    size = int(line.split(b";")[0], 16)
                    piece = await self._reader.readexactly(size + 2)
                    if size == 0:
                        return
                    yield piece[:-2]
            except asyncio.IncompleteReadError as end:
                raise Broken("closed in the middle of a chunked body") from end
        elif "content-length" in headers:
            length = int(headers["content-length"])
            try:
                yield await self._reader.readexactly(length)
            except asyncio.IncompleteReadError as end:
                raise Broken(f"closed after {len(end.partial)} of {length} bytes") from end
        else:
            yield await self._reader.read()
            self.close()

    def close(self):
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class _EventReader:
    """Splits a body into its events and decodes them."""

    def __init__(self, answer, on_event):
        self._answer = answer
        self._on_event = on_event
        self._rest = b""

    def feed(self, piece):
        self._rest += piece
        while b"\n\n" in self._rest:
            block, self._rest = self._rest.split(b"\n\n", 1)
            for line in block.split(b"\n"):
                if line.startswith(b"data:"):
                    self._event(line[5:].strip().decode())

    def _event(self, data):
        event = data if data == "[DONE]" else json.loads(data)
        self._answer.events.append(event)
        if self._on_event:
            self._on_event(event)

    def end(self):
        if self._rest.strip():
            raise Broken(f"half an event at the end: {self._rest[:100]!r}")


def chat(model, tokens=16, stream=True, prompt="Say something about rivers.", **more):
    """The body of a chat completion request."""
    return {"model": model, "stream": stream, "max_tokens": tokens,
            "messages": [{"role": "user", "content": prompt}], **more}


def send(address, method, path, body=None, headers=None, timeout=30):
    """One request on a connection of its own; returns its Answer."""
    async def once():
        connection = Connection(*address)
        try:
            return await asyncio.wait_for(
                connection.request(method, path, body, headers), timeout)
        finally:
            connection.close()
    return asyncio.run(once())


def stream_chat(address, model, tokens=16, headers=None, timeout=30, **more):
    """One streamed completion, checked to be whole."""
    answer = send(address, "POST", "/v1/chat/completions", chat(model, tokens, **more), headers,
                  timeout)
    answer.check_stream()
    return answer


class Load:
    """Streams in parallel, each client one after the other, until stop().

    Half of the clients keep their connection, the others open one for each request. `model` may
    be a function that gives the model of the next request.
    """

    def __init__(self, address, model, clients=12, tokens=24, timeout=60, pause=0.0, headers=None):
        self._address = address
        self._model = model if callable(model) else lambda: model
        self._clients = clients
        self._tokens = tokens
        self._timeout = timeout
        self._pause = pause
        self._headers = headers
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._lock = threading.Lock()
        self.whole = 0
        self.open = 0
        self.errors = []

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        self._thread.join(self._timeout + 30)

    def stop(self):
        """Lets the streams that run come to their end."""
        self.__exit__()
        return self

    def _run(self):
        asyncio.run(self._all())

    async def _all(self):
        await asyncio.gather(*(self._client(number) for number in range(self._clients)))

    async def _client(self, number):
        connection = Connection(*self._address)
        # Spread over a moment: a test of bursts makes its own.
        await asyncio.sleep(number * 0.02)
        while not self._stopping.is_set():
            with self._lock:
                self.open += 1
            try:
                answer = await asyncio.wait_for(connection.request(
                    "POST", "/v1/chat/completions",
                    chat(self._model(), self._tokens, prompt=f"Client {number} asks."),
                    self._headers), self._timeout)
                answer.check_stream()
                with self._lock:
                    self.whole += 1
            except Exception as error:  # every way to fail is one error of the client
                with self._lock:
                    self.errors.append(f"{type(error).__name__}: {error}")
                await asyncio.sleep(0.05)
            finally:
                with self._lock:
                    self.open -= 1
            if number % 2:
                connection.close()
            if self._pause:
                await asyncio.sleep(self._pause)
        connection.close()

    def wait_for(self, more, timeout=60):
        """Waits until `more` further streams are whole."""
        from .processes import wait_until
        goal = self.whole + more
        wait_until(f"{more} more whole streams (errors: {self.errors[:3]})",
                   lambda: self.whole >= goal, timeout, 0.05)

    def summary(self):
        shown = "\n".join(self.errors[:5])
        return f"{self.whole} whole streams, {len(self.errors)} errors\n{shown}"
