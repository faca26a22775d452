"""What tests of hostile peers share: a bystander who must not notice, and a look at memory."""

import os
import socket
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "proxy"), os.path.join(HERE, "..", "lib")]
import http1  # noqa: E402
from harness import HttpError, SLOW, contains, eq, eventually, main, program  # noqa: E402,F401
from http1 import Connection  # noqa: E402,F401

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
BODY = b'{"model":"m"}'
LOG_LINE = r"\b(outcome|reason)=%s\b"


def is_sanitized():
    """Sanitizers keep freed memory, so what a process holds says nothing."""
    return "asan" in os.environ.get("BUILD", "") or "tsan" in os.environ.get("BUILD", "")


def resident(headrace):
    with open("/proc/%d/statm" % headrace.pid) as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


class Bystander:
    """Clients that go on asking, each over connections of its own, while something happens:

        with Bystander(headrace):
            ...attack...
    Leaving it fails unless every one of its requests was served, and there was one at all."""

    def __init__(self, headrace, clients=2, path="/v1/chat/completions", host="127.0.0.1"):
        self.headrace, self.path, self.host = headrace, path, host
        self.stop = threading.Event()
        self.served, self.errors = 0, []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def _run(self):
        while not self.stop.is_set():
            try:
                with Connection(self.headrace.port, host=self.host) as conn:
                    for _ in range(5):
                        answer = conn.request("POST", self.path, body=CHAT)
                        eq(answer.status, 200)
                        with self.lock:
                            self.served += 1
                        time.sleep(0.005)
            except Exception as error:
                self.errors.append(repr(error))
                return

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, value, trace):
        eventually(lambda: self.served >= 10 or self.errors, what="bystanders are served")
        self.stop.set()
        for thread in self.threads:
            thread.join()
        if kind is None:
            eq(self.errors, [], "bystanders")


class Growth:
    """Memory may grow by so many bytes at most while something happens."""

    def __init__(self, headrace, most):
        self.headrace, self.most = headrace, most
        self.peak, self.stop = 0, threading.Event()

    def _watch(self):
        while not self.stop.is_set():
            self.peak = max(self.peak, resident(self.headrace))
            time.sleep(0.02)

    def __enter__(self):
        self.before = resident(self.headrace)
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self.peak = max(self.peak, resident(self.headrace))
        self.stop.set()
        self.thread.join()
        grown = self.peak - self.before
        if kind is None and grown > self.most and not is_sanitized():
            raise AssertionError("memory grew by %d bytes, at most %d are fine"
                                 % (grown, self.most))


def raw_connect(port, source="127.0.0.1"):
    sock = socket.socket()
    sock.bind((source, 0))
    sock.settimeout(20 * SLOW)
    sock.connect(("127.0.0.1", port))
    return sock


def read_all(sock):
    """What comes until the end; a reset is an end."""
    data = b""
    try:
        while True:
            piece = sock.recv(65536)
            if not piece:
                return data
            data += piece
    except ConnectionError:
        return data
