"""What every integration test needs: programs started on free ports in a temporary folder, a raw
HTTP client, waiting for conditions, and a runner that prints a transcript when a test fails.

    from harness import main, eq

    def test_something(t):
        sim = t.sim(engine="vllm", pods=3)
        answer = t.chat(sim.ports[0], "hello", stream=True)
        eq(answer.status, 200)

    if __name__ == "__main__":
        main(globals())

A test fails by any exception. Everything that a test started through `t` is stopped, by pid, when
it ends. Set KEEP=1 to keep the temporary folders.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import http1  # noqa: E402
import network  # noqa: E402
from http1 import PATIENCE, SLOW, Connection, Event, Headers, HttpError, Response  # noqa: E402,F401

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
TRANSCRIPT_LINES, TRANSCRIPT_WIDTH = 400, 1000
REPORT_LINES = 200
SANITIZER_MARKS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:",
                   "WARNING: ThreadSanitizer")


class Skip(Exception):
    """The test cannot run here; the text says why."""


def skip(why):
    raise Skip(why)


def eq(got, want, what=""):
    if got != want:
        raise AssertionError("%sgot %r, want %r" % (what + ": " if what else "", got, want))


def contains(text, part, what=""):
    if part not in text:
        raise AssertionError("%s%r is not in %r" % (what + ": " if what else "", part, text))


def program(name):
    path = os.path.join(BUILD, name)
    if not os.access(path, os.X_OK):
        raise RuntimeError("%s is not built" % path)  # not a skip: that would hide a broken build
    return path


_held_ports = []


def free_port(host="127.0.0.1"):
    """A port that nobody else gets while this test file runs: it stays bound here, without
    listening, in a way that lets a server take it all the same. Connections to it are refused until
    then. Prefer port 0 where the program reports its port."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((host, 0))
    _held_ports.append(sock)
    return sock.getsockname()[1]


def eventually(check, timeout=0.0, what="condition", interval=0.02):
    """Calls check() until it returns something true, and returns that. Exceptions of `check` count
    as not yet; the last one is shown when time is over. A timeout can only add to PATIENCE: a busy
    machine is no failure."""
    limit = max(timeout * SLOW, PATIENCE)
    deadline = time.monotonic() + limit
    last = None
    while True:
        try:
            value = check()
            if value:
                return value
            last = repr(value)
        except (AssertionError, OSError, HttpError, KeyError, ValueError) as error:
            last = "%s: %s" % (type(error).__name__, error)
        if time.monotonic() > deadline:
            raise AssertionError("not within %.1f s: %s (last: %s)" % (limit, what, last))
        time.sleep(interval)


class Process:
    """A program with its output in files. Stopped by pid, never by name."""

    def __init__(self, argv, folder, name=None, env=None, cwd=None, log=None):
        self.name = name or os.path.basename(argv[0])
        self.argv = argv
        self.log = log or (lambda line: None)
        self.stdout_path = tempfile.mktemp(".out", self.name + "-", folder)
        self.stderr_path = self.stdout_path[:-4] + ".err"
        self.log("$$ %s" % " ".join(argv))
        with open(self.stdout_path, "wb") as out, open(self.stderr_path, "wb") as err:
            self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                          env=dict(os.environ, **(env or {})), cwd=cwd)
        self.pid = self.child.pid

    @property
    def stdout(self):
        with open(self.stdout_path, "rb") as file:
            return file.read().decode("utf-8", "replace")

    @property
    def stderr(self):
        with open(self.stderr_path, "rb") as file:
            return file.read().decode("utf-8", "replace")

    def alive(self):
        return self.child.poll() is None

    def wait_output(self, pattern, timeout=0.0, count=1):
        """Waits until stdout or stderr has `count` matches of the pattern; returns the matches."""
        def look():
            found = list(re.finditer(pattern, self.stdout + self.stderr, re.M))
            if len(found) >= count:
                return found
            if not self.alive():
                raise RuntimeError("%s ended with %s before printing %r"
                                   % (self.name, self.child.returncode, pattern))
            return None
        return eventually(look, timeout, "%s prints %r" % (self.name, pattern))

    def signal(self, number):
        self.log("$$ signal %d to %s (%d)" % (number, self.name, self.pid))
        self.child.send_signal(number)

    def wait(self, timeout=0.0):
        """Exit status; negative = the signal that ended it. Waits as eventually() does."""
        limit = max(timeout * SLOW, PATIENCE)
        try:
            return self.child.wait(limit)
        except subprocess.TimeoutExpired:
            raise AssertionError("%s (%d) did not end within %.1f s"
                                 % (self.name, self.pid, limit)) from None

    def stop(self, timeout=5.0):
        """SIGTERM, then SIGKILL when it takes too long. Returns the exit status."""
        if self.alive():
            self.child.terminate()
            try:
                self.child.wait(timeout * SLOW)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.child.returncode

    def kill(self):
        if self.alive():
            self.child.kill()
        return self.child.wait()

    def check_sanitizers(self):
        for mark in SANITIZER_MARKS:
            if mark in self.stderr:
                raise AssertionError("%s: %s" % (self.name, mark))

    def tail(self, lines=60):
        """The end of what it printed; a sanitizer's report from its beginning."""
        text = ""
        for label, body in (("stdout", self.stdout), ("stderr", self.stderr)):
            rows = body.splitlines()
            if not rows:
                continue
            marked = [i for i, row in enumerate(rows) if any(m in row for m in SANITIZER_MARKS)]
            shown = rows[marked[0]:][:REPORT_LINES] if marked else rows[-lines:]
            text += "--- %s %s (%s %d of %d lines)\n%s\n" % (
                self.name, label, "a sanitizer's report," if marked else "last", len(shown),
                len(rows), "\n".join(shown))
        return text


class Sim(Process):
    """headrace-sim on free ports. `pods` is a list of (name, host, port)."""

    def __init__(self, folder, argv, count, log=None):
        super().__init__(argv, folder, "headrace-sim", log=log)
        found = self.wait_output(r"^listening (\S+):(\d+) pod=(\S+)$", count=count)
        self.pods = [(m.group(3), m.group(1), int(m.group(2))) for m in found]
        self.ports = [port for _, _, port in self.pods]
        self.names = [name for name, _, _ in self.pods]
        self.port = self.ports[0]

    def config(self, asked=0, /, **settings):
        """POST /sim/config to pod number `asked`. Dashes in names are written as underscores;
        pod="name" changes that pod through the one that is asked (for pods that are down)."""
        body = {key.replace("_", "-"): value for key, value in settings.items()}
        answer = http1.request(self.ports[asked], "POST", "/sim/config", body=body, log=self.log)
        eq(answer.status, 200, "POST /sim/config: %s" % answer.text)
        return answer.json()

    def state(self, pod=0):
        answer = http1.request(self.ports[pod], "GET", "/sim/config")
        eq(answer.status, 200)
        return answer.json()

    def metrics(self, pod=0, path="/metrics"):
        answer = http1.request(self.ports[pod], "GET", path)
        eq(answer.status, 200)
        return parse_metrics(answer.text)


def parse_metrics(text):
    """Prometheus text to {'name{labels}': value} and, for names with one series, {'name':
    value}."""
    series = {}
    seen = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = re.match(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? (\S+)( \d+)?$", line)
        if not match:
            raise AssertionError("not a sample line: %r" % line)
        value = float(match.group(3))
        series[match.group(1) + (match.group(2) or "")] = value
        seen.setdefault(match.group(1), []).append(value)
    for name, values in seen.items():
        if len(values) == 1:
            series[name] = values[0]
    return series


class Headrace(Process):
    """`headrace run --config-dir` with the given manifests; ready when /readyz says so."""

    def __init__(self, folder, manifests, args=(), wait_ready=True, env=None, log=None,
                 binary="headrace"):
        self.config_dir = os.path.join(folder, "manifests-%d" % time.monotonic_ns())
        os.makedirs(self.config_dir)
        for name, text in manifests.items():
            self.write(name, text)
        self.port = free_port()
        self.admin_port = free_port()
        argv = [program(binary), "run", "--listen", "127.0.0.1:%d" % self.port,
                "--admin", "127.0.0.1:%d" % self.admin_port, "--workers", "2",
                "--drain-grace", "0s", "--drain-timeout", "2s", "--drain-window", "0s",
                "--config-dir", self.config_dir] + list(args)
        super().__init__(argv, folder, "headrace", env=env, log=log)
        if wait_ready:
            self.wait_ready()

    def write(self, name, text):
        """Replaces a manifest atomically, as editors and kubelets do."""
        path = os.path.join(self.config_dir, name)
        with open(path + ".tmp~", "w") as file:
            file.write(text)
        os.rename(path + ".tmp~", path)

    def remove(self, name):
        os.unlink(os.path.join(self.config_dir, name))

    def wait_ready(self, timeout=0.0):
        def ready():
            if not self.alive():
                raise RuntimeError("headrace ended with %s" % self.child.returncode)
            return http1.request(self.admin_port, "GET", "/readyz", timeout=2).status == 200
        eventually(ready, timeout, "headrace is ready")

    def metrics(self):
        answer = http1.request(self.admin_port, "GET", "/metrics")
        eq(answer.status, 200)
        return parse_metrics(answer.text)


class Context:
    """What a test gets as `t`."""

    def __init__(self, name):
        self.name = name
        self.folder = tempfile.mkdtemp(prefix="headrace-test-")
        self.started = time.monotonic()
        self.lines = []
        self.lock = threading.Lock()
        self.processes = []
        self.stack = contextlib.ExitStack()

    # ---- transcript and clean-up

    def log(self, line):
        with self.lock:
            self.lines.append("%9.3f %s" % (time.monotonic() - self.started,
                                            line[:TRANSCRIPT_WIDTH]))

    def defer(self, action, *args):
        """Runs action(*args) when the test ends, latest first."""
        self.stack.callback(action, *args)

    def close(self):
        self.stack.close()
        for process in reversed(self.processes):
            process.stop()

    def transcript(self):
        lines = self.lines[-TRANSCRIPT_LINES:]
        text = "\n".join(lines) + "\n"
        return text + "".join(process.tail() for process in self.processes)

    # ---- programs

    def _keep(self, process):
        self.processes.append(process)
        return process

    def process(self, argv, **more):
        return self._keep(Process(argv, self.folder, log=self.log, **more))

    def sim(self, pods=1, engine="vllm", model="tiny", listen=("127.0.0.1:0",), seed=1, **flags):
        """flags: max_num_seqs=4 becomes --max-num-seqs 4; True a bare flag; a list repeats it."""
        argv = [program("headrace-sim")]
        for address in listen:
            argv += ["--listen", address]
        argv += ["--pods", str(pods), "--engine", engine, "--seed", str(seed)]
        for name in [model] if isinstance(model, str) else model:
            argv += ["--model", name]
        for key, value in flags.items():
            for item in value if isinstance(value, (list, tuple)) else [value]:
                argv.append("--" + key.replace("_", "-"))
                if item is not True:
                    argv.append(str(item))
        return self._keep(Sim(self.folder, argv, pods * len(listen), log=self.log))

    def headrace(self, manifests, args=(), **more):
        return self._keep(Headrace(self.folder, manifests, args, log=self.log, **more))

    # ---- requests

    def connect(self, port, **more):
        conn = Connection(port, log=self.log, **more)
        self.defer(conn.close)
        return conn

    def request(self, port, method, path, headers=None, body=None, **more):
        return http1.request(port, method, path, headers, body, log=self.log, **more)

    def chat_body(self, prompt="hello there", model="tiny", max_tokens=8, stream=False, **more):
        body = {"model": model, "messages": [{"role": "user", "content": prompt}],
                "max_tokens": max_tokens}
        if stream:
            body["stream"] = True
        body.update(more)
        return body

    def chat(self, port, prompt="hello there", headers=None, timeout=None, **more):
        """One chat completion, whole; Response.events() gives the events of a stream."""
        return self.request(port, "POST", "/v1/chat/completions", headers,
                            self.chat_body(prompt, **more), timeout=timeout)

    def stream(self, port, prompt="hello there", headers=None, **more):
        """A streamed chat completion, head read: (connection, response); use conn.iter_events."""
        conn = self.connect(port)
        conn.send_request("POST", "/v1/chat/completions", headers,
                          self.chat_body(prompt, stream=True, **more))
        return conn, conn.read_head()

    def parallel(self, calls, timeout=60.0):
        """Runs the callables in threads; results in order, exceptions as results."""
        results = [None] * len(calls)

        def run(index, call):
            try:
                results[index] = call()
            except Exception as error:  # the test decides what an error means
                results[index] = error
        threads = [threading.Thread(target=run, args=pair, daemon=True)
                   for pair in enumerate(calls)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + timeout * SLOW
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                raise AssertionError("a parallel call did not end within %.1f s" % (timeout * SLOW))
        return results

    eventually = staticmethod(eventually)


def sse_text(events):
    """The text that a client would have shown, of chat and of text completions."""
    text = ""
    for event in events:
        if event.done:
            continue
        for choice in event.json().get("choices", []):
            text += (choice.get("delta") or {}).get("content") or choice.get("text") or ""
    return text


class TestTimeout(BaseException):
    """Not an Exception, so that no test swallows it."""


def run_test(name, function, limit):
    """Returns 'ok', 'skip' or 'FAIL', and prints one line (and the transcript of a failure)."""
    context = Context(name)

    def on_alarm(_signal, _frame):
        raise TestTimeout("still running after %d s" % limit)
    outcome, detail = "ok", ""
    previous = signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(limit)
    try:
        function(context)
    except Skip as why:
        outcome, detail = "skip", str(why)
    except (Exception, TestTimeout):
        outcome, detail = "FAIL", traceback.format_exc()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
    try:
        context.close()
        for process in context.processes:
            process.check_sanitizers()
    except Exception:
        outcome, detail = "FAIL", detail + traceback.format_exc()
    took = time.monotonic() - context.started
    print("%-5s %-60s %6.2f s%s"
          % (outcome, name, took, "  " + detail if outcome == "skip" else ""))
    if outcome == "FAIL":
        text = detail + "--- transcript\n" + context.transcript()
        print("\n".join("    | " + line for line in text.splitlines()))
    sys.stdout.flush()
    if os.environ.get("KEEP"):
        print("      kept %s" % context.folder)
    else:
        shutil.rmtree(context.folder, ignore_errors=True)
    return outcome


def main(names, own_network=True):
    """Runs every function test_* of the module, in a network of its own unless it needs the
    world's. Exit status 1 when one failed."""
    parser = argparse.ArgumentParser(description=names.get("__doc__"))
    parser.add_argument("--only", default="", help="run tests whose name has this in it")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--limit", type=int, default=120, help="seconds for each test")
    options = parser.parse_args()
    if options.list:
        print("\n".join(name for name, _ in tests_of(names, options.only)))
        return
    if own_network:
        network.take_own()
    run_tests(names, options.only, options.limit)


def tests_of(names, only=""):
    return [(name, function) for name, function in names.items()
            if name.startswith("test_") and callable(function) and only in name]


def run_tests(names, only="", limit=60):
    """Runs them one after another, each for at most `limit` seconds, and exits."""
    counts = {"ok": 0, "FAIL": 0, "skip": 0}
    for name, function in tests_of(names, only):
        counts[run_test(name, function, int(limit * SLOW))] += 1
    print("%d passed, %d failed" % (counts["ok"], counts["FAIL"])
          + (", %d skipped" % counts["skip"] if counts["skip"] else ""))
    sys.exit(1 if counts["FAIL"] else 0)
