"""What is measured. Each case gives {metric: value} for one proxy and one round."""

import os
import subprocess
import time

from . import procs
from .peer import chat_body, request

GET = request("GET", "/1k")
POST = request("POST", "/v1/chat/completions", chat_body(3700, False))
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


class Syscalls:
    """System calls per request, counted by strace in a run of its own (it slows the proxy)."""

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
        Events("event", "CPU per relayed SSE event", seconds),
        Memory("memory", "RSS per active stream", 1000 if quick else 2000),
        Syscalls("get-syscalls", "System calls per GET", GET, 1.0 if quick else 1.5),
        Syscalls("post-syscalls", "System calls per chat POST", POST, 1.0 if quick else 1.5),
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
