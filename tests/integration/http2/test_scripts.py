#!/usr/bin/env python3
"""Scripts of varnishtest, and h2load, against the real program."""

import os
import re
import shutil
import subprocess

from sides import HERE, Case, Wire, respond
from harness import contains, eq, main, skip


def tool(name):
    path = shutil.which(name)
    if path is None:
        skip("%s is not installed" % name)
    return path


def hello(call):
    call.body()
    respond(call, 200, b"hello")


def run_script(t, name):
    program = tool("varnishtest")
    for server in ("h1", "h2"):
        case = Case(t, Wire("h2", server), hello, models=())
        done = subprocess.run([program, "-t", "60", "-D", "headrace_port=%d" % case.port,
                               os.path.join(HERE, name)], stdout=subprocess.PIPE, check=False,
                              stderr=subprocess.STDOUT, timeout=100)
        eq(done.returncode, 0, done.stdout.decode("utf-8", "replace")[-6000:])


def test_protocol_of_http2(t):
    run_script(t, "protocol.vtc")


def test_http1(t):
    run_script(t, "http1.vtc")


def load(t, server, arguments, requests):
    """h2load counts what went wrong."""
    case = Case(t, Wire("h2", server), hello, models=())
    done = subprocess.run([tool("h2load")] + arguments + ["-n", str(requests),
                          "http://127.0.0.1:%d/v1/x" % case.port], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=100, check=False)
    text = done.stdout.decode("utf-8", "replace")
    t.log(text)
    eq(done.returncode, 0, text)
    contains(text, "%d succeeded, 0 failed, 0 errored, 0 timeout" % requests)
    eq(re.search(r"status codes: (\d+) 2xx", text).group(1), str(requests))


def test_load_over_http2(t):
    for server in ("h1", "h2"):
        load(t, server, ["-c", "8", "-m", "20"], 1600)


def test_load_over_http1(t):
    for server in ("h1", "h2"):
        load(t, server, ["-c", "8", "--h1"], 800)


def test_load_of_bodies(t):
    path = os.path.join(t.folder, "body")
    with open(path, "wb") as file:
        file.write(b"x" * 30000)
    load(t, "h2", ["-c", "4", "-m", "10", "-d", path], 400)


if __name__ == "__main__":
    main(globals())
