"""What is measured. Each case gives {metric: value} for one proxy and one round."""

import os
import re
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
    """What a proxy adds at one connection: its percentile less that of a pod asked directly."""

    def __init__(self, name, title, text, percentile, seconds):
        self.name = name
        self.title = title
        self.text = text
        self.percentile = percentile
        self.seconds = seconds
        self.unit = "us added"

    def measure(self, peer, port):
        peer.load(port, 1, self.text, "requests")
        try:
            time.sleep(0.3)
            peer.command("reset")
            time.sleep(self.seconds)
            after = peer.command("count")
        finally:
            peer.command("stop")
        if after["errors"] or not after["requests"]:
            raise Failed(f"{after['errors']} errors, {after['requests']} requests")
        return after[self.percentile]

    def run(self, peer, proxy, profile=None):
        direct = self.measure(peer, proxy.pods[0])
        through = self.measure(peer, proxy.port)
        return {"value": max(through - direct, 0), "direct_us": direct, "through_us": through}


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


def _wait_open(peer, streams):
    deadline = time.monotonic() + 20
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
        Latency("prompt-p99", "Latency added to a 400 KB prompt, p99", PROMPT, "p99_us", seconds),
        Events("event", "CPU per relayed SSE event", seconds),
        Memory("memory", "RSS per active stream", 1000 if quick else 2000),
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
