"""What is measured. Each case gives {metric: value} for one proxy and one round."""

import json
import os
import re
import resource
import subprocess
import time

from . import procs
from .peer import chat_body, request

GET = request("GET", "/1k")
POST = request("POST", "/v1/chat/completions", chat_body(3700, False))
PROMPT = request("POST", "/v1/chat/completions", chat_body(400000, False))
STREAM = request("POST", "/v1/chat/completions", chat_body(0, True))


class Failed(Exception):
    pass


class Requests:
    """Keep-alive requests as fast as the proxy takes them: 32 connections, one at a time on
    each."""

    def __init__(self, name, title, text, seconds):
        self.name = name
        self.title = title
        self.text = text
        self.seconds = seconds
        self.unit = "us/request"
        self.connections = 32

    def run(self, peer, proxy, profile=None):
        peer.load(proxy.port, self.connections, self.text, "requests")
        try:
            time.sleep(0.4)
            pids = procs.tree(proxy.proc.pid)
            before = peer.command("reset")
            cpu = procs.cpu_seconds(pids)
            split = procs.user_sys_seconds(pids)
            if profile:
                profile(pids, self.seconds)
            else:
                time.sleep(self.seconds)
            after = peer.command("count")
            cpu = procs.cpu_seconds(pids) - cpu
            split = [b - a for a, b in zip(split, procs.user_sys_seconds(pids))]
        finally:
            peer.command("stop")
        if after["errors"] or not after["requests"]:
            raise Failed(f"{after['errors']} errors, {after['requests']} requests")
        seconds = (after["at_ns"] - before["at_ns"]) / 1e9
        return {
            "value": cpu * 1e6 / after["requests"],
            "user_share": split[0] / (sum(split) or 1),
            "requests_per_s": after["requests"] / seconds,
            "busy": cpu / seconds,
            "p50_us": after["p50_us"],
            "p99_us": after["p99_us"],
        }


class H2Load(Requests):
    """Requests by h2load: HTTP/2, TLS, or both; 32 requests at a time on 8 connections."""

    def __init__(self, name, title, port, args, seconds):
        super().__init__(name, title, None, seconds)
        self.port = port
        self.args = args

    def run(self, peer, proxy, profile=None):
        scheme = "https" if self.port == "tls" else "http"
        url = f"{scheme}://127.0.0.1:{proxy.ports[self.port]}/1k"
        warm, wanted = 0.5, self.seconds
        load = subprocess.Popen(
            ["taskset", "-c", str(peer.cpu), "h2load", "-D",
             f"{round((wanted + 2 * warm) * 1000)}ms", *self.args,
             "-H", ":authority: bench.example.com", url],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            time.sleep(warm)
            pids = procs.tree(proxy.proc.pid)
            split = procs.user_sys_seconds(pids)
            peer.command("reset")
            cpu = procs.cpu_seconds(pids)
            if profile:
                profile(pids, wanted)
            else:
                time.sleep(wanted)
            cpu = procs.cpu_seconds(pids) - cpu
            served = peer.command("count")["served"]
            split = [b - a for a, b in zip(split, procs.user_sys_seconds(pids))]
        finally:
            text = load.communicate(timeout=60)[0]
        failed = re.search(r"(\d+) failed, (\d+) errored", text)
        bad = re.search(r"(\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
        if not failed or any(int(n) for n in (*failed.groups(), *(bad.groups() if bad else "1"))):
            raise Failed(f"h2load: {text[-300:]}")
        if not served:
            raise Failed("no request was served")
        return {"value": cpu * 1e6 / served, "user_share": split[0] / (sum(split) or 1),
                "requests_per_s": served / wanted, "busy": cpu / wanted}


class Handshakes:
    """Full TLS 1.3 handshakes with a P-256 certificate, one after another, without resumption."""

    def __init__(self, name, title, seconds):
        self.name = name
        self.title = title
        self.seconds = seconds
        self.unit = "us/handshake"
        self.port = "tls"

    def run(self, peer, proxy, profile=None):
        pids = procs.tree(proxy.proc.pid)
        cpu = procs.cpu_seconds(pids)
        load = subprocess.Popen(
            ["taskset", "-c", str(peer.cpu), "openssl", "s_time", "-connect",
             f"127.0.0.1:{proxy.ports['tls']}", "-new", "-tls1_3", "-time",
             str(max(1, round(self.seconds)))],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if profile:
            profile(pids, self.seconds)
        text = load.communicate(timeout=60)[0]
        cpu = procs.cpu_seconds(pids) - cpu
        found = re.search(r"(\d+) connections in (\d+) real seconds", text)
        if not found or not int(found.group(1)):
            raise Failed(f"openssl s_time: {text[-300:]}")
        return {"value": cpu * 1e6 / int(found.group(1))}


class Latency:
    """What a proxy adds: its percentile less that of a pod asked directly. At one connection, or
    (rate) so many requests a second over eight."""

    def __init__(self, name, title, text, percentile, seconds, rate=0):
        self.name = name
        self.title = title
        self.text = text
        self.percentile = percentile
        self.seconds = seconds
        self.rate = rate
        self.unit = "us added"

    def measure(self, peer, port, pids=()):
        """The percentile, and CPU time of `pids` per request."""
        peer.command(f"rate {self.rate}")
        peer.load(port, 8 if self.rate else 1, self.text, "requests")
        try:
            time.sleep(0.3)
            peer.command("reset")
            cpu = procs.cpu_seconds(pids)
            time.sleep(self.seconds)
            after = peer.command("count")
            cpu = procs.cpu_seconds(pids) - cpu
        finally:
            peer.command("stop")
            peer.command("rate 0")
        if after["errors"] or not after["requests"]:
            raise Failed(f"{after['errors']} errors, {after['requests']} requests")
        return after[self.percentile], cpu * 1e6 / after["requests"]

    def run(self, peer, proxy, profile=None):
        direct, _ = self.measure(peer, proxy.pods[0])
        through, cpu = self.measure(peer, proxy.port, procs.tree(proxy.proc.pid))
        return {"value": max(through - direct, 0), "direct_us": direct, "through_us": through,
                "cpu_us": cpu}


class Scan:
    """The scanner of request bodies alone (tests/bench/scan.c): plain text; the other kinds are in
    the details."""

    def __init__(self, name, title):
        self.name = name
        self.title = title
        self.unit = "us"
        self.rounds = 1
        self.proxy = "headrace"

    def run(self, peer, proxy, profile=None):
        binary = os.path.join(peer.dir, "scan")
        source = os.path.join(os.path.dirname(__file__), "..", "scan.c")
        root = os.path.join(os.path.dirname(__file__), "..", "..", "..")
        library = os.path.join(peer.dir, "..", "libheadrace.a")
        subprocess.run([os.environ.get("CC", "gcc"), "-std=gnu17", "-O2", "-D_GNU_SOURCE", "-Wall",
                        "-I", os.path.join(root, "src"), "-o", binary, source, library], check=True)
        kinds = json.loads(subprocess.run([binary], stdout=subprocess.PIPE, check=True).stdout)
        return {"value": kinds["text"]["us"],
                "gb_per_s": {name: kind["gb_per_s"] for name, kind in kinds.items()}}


class Syscalls:
    """System calls per request, counted by strace in a run of its own (it slows the proxy), and
    long enough that the opening of the connections, which it counts, adds little."""

    def __init__(self, name, title, text, seconds):
        self.name = name
        self.title = title
        self.text = text
        self.seconds = seconds
        self.unit = "calls/request"
        self.rounds = 1

    def run(self, peer, proxy, profile=None):
        peer.command("reset")
        trace = procs.Syscalls(procs.tree(proxy.proc.pid), os.path.join(proxy.dir, "strace.txt"))
        try:
            peer.load(proxy.port, 32, self.text, "requests")
            time.sleep(self.seconds)
            after = peer.command("count")
            peer.command("stop")
        finally:
            calls = trace.stop()
        if after["errors"] or not after["requests"]:
            raise Failed(f"{after['errors']} errors, {after['requests']} requests")
        each = {name: n / after["requests"] for name, n in calls.items()}
        return {
            "value": sum(each.values()),
            "calls": {n: round(v, 2) for n, v in sorted(each.items(), key=lambda i: -i[1])
                      if v >= 0.01},
        }


class Events:
    """Relaying server-sent events: 200 streams, each an event every 10 ms."""

    def __init__(self, name, title, seconds):
        self.name = name
        self.title = title
        self.seconds = seconds
        self.unit = "us/event"
        self.streams = 200

    def run(self, peer, proxy, profile=None):
        peer.command("pace 10")
        peer.load(proxy.port, self.streams, STREAM, "streams")
        try:
            _wait_open(peer, self.streams)
            time.sleep(0.5)
            pids = procs.tree(proxy.proc.pid)
            before = peer.command("reset")
            cpu = procs.cpu_seconds(pids)
            if profile:
                profile(pids, self.seconds)
            else:
                time.sleep(self.seconds)
            after = peer.command("count")
            cpu = procs.cpu_seconds(pids) - cpu
        finally:
            peer.command("stop")
        seconds = (after["at_ns"] - before["at_ns"]) / 1e9
        wanted = self.streams * 100 * seconds
        if after["errors"] or after["events"] < 0.7 * wanted:
            raise Failed(f"{after['errors']} errors, {after['events']} of {wanted:.0f} events")
        return {
            "value": cpu * 1e6 / after["events"],
            "events_per_s": after["events"] / seconds,
            "busy": cpu / seconds,
        }


class Memory:
    """User memory for each active stream: a fresh proxy, warmed, then 2,000 streams at once."""

    def __init__(self, name, title, streams):
        self.name = name
        self.title = title
        self.streams = streams
        self.unit = "KB/stream"
        self.rounds = 1
        self.fresh = True

    def run(self, peer, proxy, profile=None):
        peer.command("pace 100")
        # What is set up once (code pages, first pools) is no stream's.
        peer.load(proxy.port, 8, GET, "requests")
        time.sleep(0.3)
        peer.command("stop")
        peer.load(proxy.port, 2, STREAM, "streams")
        _wait_open(peer, 2)
        time.sleep(0.5)
        pids = procs.tree(proxy.proc.pid)
        before = procs.rss_bytes(pids)
        try:
            peer.command("reset")
            peer.load(proxy.port, self.streams, STREAM, "streams")
            _wait_open(peer, self.streams + 2)
            time.sleep(2.5)
            after = peer.command("count")
            rss = procs.rss_bytes(pids)
        finally:
            peer.command("stop")
        if after["errors"] or after["open"] != self.streams + 2:
            raise Failed(f"{after['errors']} errors, {after['open']} streams open")
        time.sleep(1.0)
        return {
            "value": (rss - before) / self.streams / 1024,
            "idle_kb": before / 1024,
            "after_close_kb": procs.rss_bytes(pids) / 1024,
        }


class Many:
    """What a proxy needs for very many streams at once: a fresh one, an event a second on each."""

    def __init__(self, name, title, streams, seconds):
        self.name = name
        self.title = title
        self.streams = streams
        self.seconds = seconds
        self.unit = "MB"
        self.rounds = 1
        self.fresh = True

    def window(self, peer, pids, profile):
        """Once all are open: what comes in so many seconds, the CPU time and the memory."""
        time.sleep(1.5)
        peer.command("reset")
        cpu = procs.cpu_seconds(pids)
        if profile:
            profile(pids, self.seconds)
        else:
            time.sleep(self.seconds)
        cpu = procs.cpu_seconds(pids) - cpu
        return peer.command("count"), {"value": procs.rss_bytes(pids) / 1024 / 1024,
                                       "busy": cpu / self.seconds}

    def run(self, peer, proxy, profile=None):
        # Two files a stream, and a proxy may keep some back.
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        streams = min(self.streams, int(files * 0.74 - 200) // 2)
        peer.command("pace 1000")
        try:
            peer.load(proxy.port, streams, STREAM, "streams")
            _wait_open(peer, streams, 60)
            after, result = self.window(peer, procs.tree(proxy.proc.pid), profile)
        finally:
            peer.command("stop")
            peer.command("pace 10")
            time.sleep(1.0)
        if after["errors"] or after["open"] != streams or \
                after["events"] < 0.7 * streams * self.seconds:
            raise Failed(f"{after['errors']} errors, {after['open']} of {streams} streams, "
                         f"{after['events']} events in {self.seconds} s")
        return dict(result, streams=streams, pause_ms=after["pause_ms"], events=after["events"])


class ManyHttp2(Many):
    """The same streams over 100 HTTP/2 connections of h2load: half the files."""

    def run(self, peer, proxy, profile=None):
        peer.command("pace 1000")
        body = os.path.join(peer.dir, "body.json")
        with open(body, "w", encoding="utf-8") as out:
            out.write(chat_body(0, True))
        connections = self.streams // 100
        load = subprocess.Popen(
            ["taskset", "-c", str(peer.cpu), "h2load", "-c", str(connections), "-m", "100", "-n",
             str(self.streams), "-r", str(connections // 10), "-d", body,
             "-H", "content-type: application/json", "-H", ":authority: bench.example.com",
             f"http://127.0.0.1:{proxy.ports['h2c']}/v1/chat/completions"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            while peer.command("count")["streaming"] < self.streams:
                if time.monotonic() > deadline or load.poll() is not None:
                    raise Failed(f"only {peer.command('count')['streaming']} streams opened")
                time.sleep(0.2)
            after, result = self.window(peer, procs.tree(proxy.proc.pid), profile)
        finally:
            load.kill()
            load.wait(10)
            peer.command("pace 10")
            time.sleep(1.0)
        if after["streaming"] != self.streams or after["skipped"]:
            raise Failed(f"{after['streaming']} of {self.streams} streams, {after['skipped']} "
                         "events that the proxy did not take")
        return dict(result, streams=self.streams)


def _wait_open(peer, streams, seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        now = peer.command("count")
        if now["open"] >= streams:
            time.sleep(0.3)
            return
        if now["errors"]:
            raise Failed(f"{now['errors']} errors while opening streams")
        time.sleep(0.05)
    raise Failed("the streams did not open in time")


def all_cases(quick):
    seconds = 1.5 if quick else 2.0
    many = [Many("streams", "RSS with 10,000 streams", 10000, 5 if quick else 10),
            ManyHttp2("h2-streams", "RSS with 10,000 streams of HTTP/2 clients", 10000,
                      5 if quick else 10)]
    if quick:  # they take long to open
        for case in many:
            case.proxy = "headrace"
    return [
        Requests("get", "CPU per 1 KB GET", GET, seconds),
        Requests("post", "CPU per 3.7 KB chat POST", POST, seconds),
        H2Load("h2c-get", "CPU per 1 KB GET, h2c", "h2c", ["-c", "8", "-m", "4"], seconds),
        H2Load("tls-get", "CPU per 1 KB GET, TLS 1.3", "tls", ["--h1", "-c", "32"], seconds),
        H2Load("h2-get", "CPU per 1 KB GET, HTTP/2 over TLS 1.3", "tls", ["-c", "8", "-m", "4"],
               seconds),
        Handshakes("handshake", "CPU per full TLS handshake", seconds),
        Latency("latency-p50", "Latency added at one connection, p50", GET, "p50_us", seconds),
        Latency("latency-p99", "Latency added at one connection, p99", GET, "p99_us", seconds),
        Latency("prompt-p99", "Latency added to a 400 KB prompt, 100/s, p99", PROMPT, "p99_us",
                2 * seconds, 100),
        Scan("scan", "Scan of a 400 KB prompt"),
        Events("event", "CPU per relayed SSE event", seconds),
        Memory("memory", "RSS per active stream", 1000 if quick else 2000),
        *many,
        Syscalls("get-syscalls", "System calls per GET", GET, 5.0 if quick else 10.0),
        Syscalls("post-syscalls", "System calls per chat POST", POST, 5.0 if quick else 10.0),
    ]


def perf_record(path):
    """A profile function for run(): perf record while the load runs, the report beside it."""

    def profile(pids, seconds):
        args = ["perf", "record", "-q", "-g", "-F", "2999", "-o", path, "-p",
                ",".join(str(p) for p in pids), "--", "sleep", str(seconds)]
        subprocess.run(args, check=False, stderr=subprocess.DEVNULL)
        for suffix, extra in ((".flat.txt", ["--no-children", "-g", "none"]),
                              (".callers.txt", ["--children", "-G"])):
            with open(path + suffix, "w") as out:
                subprocess.run(["perf", "report", "--stdio", "-i", path, "--percent-limit", "0.3"]
                               + extra, stdout=out, stderr=subprocess.DEVNULL, check=False)

    return profile
