#!/usr/bin/env python3
"""Ill-mannered clients and servers in every mixture, by seed: nothing crashes or leaks, no answer
goes to the wrong client, none that claims to be whole is not, and the books return to zero.

HEADRACE_CHAOS_SEED=n tries another run, HEADRACE_CHAOS_SECONDS=n a longer one."""

import json
import os
import random
import socket
import threading
import time

from common import backend, contains, eq, eventually, main, route, upstream
from harness import HttpError, SLOW
from http1 import Connection

SEED = int(os.environ.get("HEADRACE_CHAOS_SEED", "1"))
SECONDS = float(os.environ.get("HEADRACE_CHAOS_SECONDS", "4"))
CLIENTS = 12


def pieces_of(rng, data):
    """The bytes, cut at random places."""
    while data:
        size = rng.choice((1, 3, 17, 400, 5000, 70000, 1000000))
        yield data[:size]
        data = data[size:]


def chunked(rng, data):
    out = b""
    for piece in pieces_of(rng, data):
        out += b"%x%s\r\n%s\r\n" % (len(piece), rng.choice((b"", b";x=1")), piece)
    return out + b"0\r\n" + rng.choice((b"", b"x-trailer: 1\r\n")) + b"\r\n"


def content(tag, size):
    return (tag.encode() + b" ") * (size // (len(tag) + 1) + 1)


class Server:
    """Answers with the tag of its request over and over; or breaks in some way."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.lock = threading.Lock()

    def draw(self, *choices):
        with self.lock:
            return self.rng.choice(choices)

    def fork(self):
        with self.lock:
            return random.Random(self.rng.random())

    def __call__(self, peer):
        while True:
            head = peer.read_head()
            if head is None:
                return
            mood = self.draw(*("well",) * 12 + ("early", "reset", "close", "hang", "503", "half",
                                                "garbage", "surplus", "reset-late"))
            if mood != "early":
                peer.read_body(head[1])
            if self.answer(peer, head, mood) is False or mood == "early":
                return

    def answer(self, peer, head, mood):
        rng = self.fork()
        tag = head[0].split(" ")[1].rsplit("/", 1)[1].split("?")[0]
        tag = dict(head[1]).get("x-tag", tag)
        if mood == "reset":
            peer.reset()
            return False
        if mood == "close":
            return False
        if mood == "hang":
            time.sleep(rng.choice((0.01, 0.3, 1.5)))
            return False
        if mood == "garbage":
            peer.send(rng.choice((b"HTTP/1.1 2000 x\r\n\r\n", b"\0\0\0",
                                  b"HTTP/1.1 200 OK\r\nx y: z\r\n\r\n")))
            return False
        if mood == "503":
            peer.json(b'{"error":"full"}', "503 Service Unavailable")
            return True
        body = content(tag, rng.choice((0, 10, 3000, 66000, 400000)))
        start = b"HTTP/1.1 200 OK\r\nx-answer: %s\r\n" % tag.encode()
        framing = rng.choice(("length", "chunked", "close", "sse"))
        if rng.random() < 0.1:
            start = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + start
        if framing == "length":
            data = start + b"content-length: %d\r\n\r\n" % len(body) + body
        elif framing == "chunked":
            data = start + b"transfer-encoding: chunked\r\n\r\n" + chunked(rng, body)
        elif framing == "close":
            data = start + b"\r\n" + body
        else:
            events = b"".join(b"data: %s\n\n" % piece for piece in pieces_of(rng, body))
            data = (start + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                    + chunked(rng, b": hello\n\n" + events + b"data: [DONE]\n\n"))
        if mood == "surplus" and framing != "close":
            data += b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen"
        if mood in ("half", "reset-late"):
            if framing == "close":
                mood = "reset-late"  # an end would look whole
            data = data[:rng.randrange(len(data))]
        for piece in pieces_of(rng, data):
            peer.send(piece)
            if rng.random() < 0.05:
                time.sleep(0.005)
        if mood == "reset-late":
            peer.reset()
        return mood in ("well", "early", "surplus") and framing != "close"


class Client:
    """One connection after another, with requests of all kinds; notes what cannot be right."""

    def __init__(self, number, port, until):
        self.rng = random.Random(SEED * 1000 + number)
        self.number, self.port, self.until = number, port, until
        self.count = self.whole = 0
        self.wrong = []

    def body(self):
        rng = self.rng
        size = rng.choice((0, 10, 2000, 100000, 700000))
        if rng.random() < 0.5:
            return "/raw/", b"x" * size
        text = json.dumps({"model": rng.choice(("m", "alias", "nobody")),
                           "stream": rng.random() < 0.5,
                           "prompt": "y" * size}).encode()
        if rng.random() < 0.1:
            text = text[:rng.randrange(len(text))]
        return "/v1/completions/", text

    def request(self):
        rng = self.rng
        self.count += 1
        tag = "t%d-%d" % (self.number, self.count)
        path, body = self.body()
        fields = b"x-tag: %s\r\n" % tag.encode()
        if rng.random() < 0.1:
            fields += b"connection: close\r\n"
        if rng.random() < 0.4:
            framing, body = b"transfer-encoding: chunked\r\n", chunked(rng, body)
        else:
            framing = b"content-length: %d\r\n" % len(body)
        version = b"1.0" if rng.random() < 0.05 and b"chunked" not in framing else b"1.1"
        return tag, (b"POST %s%s HTTP/%s\r\nhost: x\r\n%s%s\r\n"
                     % (path.encode(), tag.encode(), version, fields, framing)) + body

    def check(self, tag, response):
        if response.status == 200:
            self.whole += 1
            if response.headers.get("x-answer") != tag:
                self.wrong.append("%s got the answer of %s"
                                  % (tag, response.headers.get("x-answer")))
            words = set(response.body.replace(b"data: ", b"").replace(b"\n", b"").split(b" "))
            strange = [word for word in words if b"stolen" in word or b"HTTP" in word]
            if strange:
                self.wrong.append("%s: %r" % (tag, strange[:3]))
        elif response.status not in (400, 404, 408, 413, 502, 503, 504):
            self.wrong.append("%s: status %d" % (tag, response.status))

    def send(self, sock, data):
        for piece in pieces_of(self.rng, data):
            sock.sendall(piece)
            if self.rng.random() < 0.02:
                time.sleep(0.005)

    def connection(self):
        rng = self.rng
        with Connection(self.port, receive_buffer=rng.choice((None, 4096))) as conn:
            conn.method = "POST"
            for _ in range(rng.choice((1, 3, 10))):
                batch = [self.request() for _ in range(rng.choice((1, 1, 1, 4)))]
                data = b"".join(text for _, text in batch)
                mood = rng.choice(("well",) * 8 + ("cut", "reset", "leave", "half-close", "late"))
                if mood == "cut":
                    data = data[:rng.randrange(1, len(data))]
                # Answers are read while requests are written: both sides may be full.
                writer = threading.Thread(target=self.quietly, args=(self.send, conn.sock, data))
                writer.start()
                if mood == "late":
                    time.sleep(0.1)
                if mood in ("cut", "leave", "reset"):
                    writer.join()
                    time.sleep(rng.choice((0, 0.01)))
                    if mood == "reset":
                        conn.reset()
                    return
                if mood == "half-close":
                    writer.join()
                    self.quietly(conn.sock.shutdown, socket.SHUT_WR)
                try:
                    for tag, _ in batch:
                        response = conn.read_response()
                        self.check(tag, response)
                        if response.headers.get("connection") == "close":
                            return
                finally:
                    self.quietly(conn.sock.shutdown, socket.SHUT_RDWR)\
                        if writer.is_alive() else None
                    writer.join()

    @staticmethod
    def quietly(call, *args):
        try:
            call(*args)
        except OSError:
            pass

    def run(self):
        while time.monotonic() < self.until:
            try:
                self.connection()
            except HttpError as error:
                if "timed out" in str(error):
                    self.wrong.append("client %d: %s" % (self.number, str(error)[:200]))
            except OSError:
                pass
        return self.count, self.whole


def test_chaos(t):
    servers = [upstream(t, Server(SEED * 100 + i)) for i in range(3)]
    ports = [server.port for server in servers]
    extra = "  timeouts: {connect: 1s, firstToken: 1s, betweenTokens: 1s}"
    models = "  models: [{name: m, upstreamName: a-longer-name, aliases: [alias]}]\n"
    text = (backend("raw", ports, (), extra) + "---" + backend("be", ports, (), models + extra)
            + "---" + route("r", ["be"],
                            "    retry: {attempts: 2, when: [ConnectFailure, Reset, Overloaded]}")
            + "---" + route("raw", ["raw"], path="/raw"))
    headrace = t.headrace({"a.yaml": text},
                          ["--unary-timeout", "2s", "--body-timeout", "1s", "--header-timeout",
                           "1s"])
    until = time.monotonic() + SECONDS
    clients = [Client(i, headrace.port, until) for i in range(CLIENTS)]
    results = t.parallel([client.run for client in clients], timeout=SECONDS + 40)
    for client, result in zip(clients, results):
        if isinstance(result, Exception):
            raise result
        eq(client.wrong, [])
    t.log("requests and whole answers: %r" % results)
    eq(sum(whole for _, whole in results) > CLIENTS, True, "%r" % results)
    for server in servers:
        eq(server.errors, [])

    def quiet():
        metrics = headrace.metrics()
        books = sum(value for key, value in metrics.items()
                    if key.startswith("headrace_endpoint_outstanding"))
        return books == 0 and metrics["headrace_connections_open"] == 0
    eventually(quiet, 15, "books and connections return to zero")
    headrace.signal(15)
    eq(headrace.wait(), 0)


if __name__ == "__main__":
    main(globals())
