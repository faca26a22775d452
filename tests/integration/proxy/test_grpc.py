#!/usr/bin/env python3
"""gRPC clients (curl stands in for them): the Open Inference Protocol's messages route on their
model, errors are said as gRPC says them."""

import os
import shutil
import subprocess
import time

from common import backend, eq, main, route, serve_all, upstream
from harness import skip

SERVICE = "/inference.GRPCInferenceService/"


def message(body):
    return b"\0" + len(body).to_bytes(4, "big") + body


def text_field(number, text):
    size = len(text)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([number << 3 | 2]) + length + text


def infer(model, tensors=b""):
    tensor = b"\x3a" + (len(tensors) & 127 | 128).to_bytes(1, "big") + bytes(
        [len(tensors) >> 7 & 127 | 128, len(tensors) >> 14]) + tensors if tensors else b""
    return message(text_field(1, model) + text_field(3, b"id-1") + tensor)


def answer(peer, request):
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n"
              b"transfer-encoding: chunked\r\n\r\n"
              b"7\r\n\0\0\0\0\x02\x0a\0\r\n0\r\ngrpc-status: 0\r\n\r\n")


class Result:
    def __init__(self, done, head_path):
        self.code = done.returncode
        self.body = done.stdout
        with open(head_path) as file:
            lines = [line.strip() for line in file]
        self.status = int(lines[0].split()[1]) if lines else 0
        self.headers = {line.split(":", 1)[0].lower(): line.split(":", 1)[1].strip()
                        for line in lines[1:] if ":" in line}


def call(t, port, method, body, *more):
    if shutil.which("curl") is None:
        skip("needs curl")
    head = "/tmp/headrace-grpc-%d-%d" % (os.getpid(), time.monotonic_ns())
    argv = ["curl", "-sS", "--http2-prior-knowledge", "-m", "20", "-D", head,
            "-H", "content-type: application/grpc", "-H", "te: trailers", *more,
            "--data-binary", "@-", "http://127.0.0.1:%d%s%s" % (port, SERVICE, method)]
    t.log("$ " + " ".join(argv))
    try:
        done = subprocess.run(argv, input=body, capture_output=True, check=False, timeout=60)
        t.log("exit %d %r" % (done.returncode, done.stderr))
        return Result(done, head)
    finally:
        if os.path.exists(head):
            os.unlink(head)


def two_models(t):
    servers = [upstream(t, serve_all(answer)), upstream(t, serve_all(answer))]
    text = (backend("be-a", [servers[0].port], ("a",)) + "---" + route("r-a", ["be-a"], path="/") +
            "---" + backend("be-b", [servers[1].port],
                            ("{name: b, upstreamName: %s}" % ("x" * 200),)).replace(
                                "- name: {", "- {") +
            "---" + route("r-b", ["be-b"], path="/"))
    return t.headrace({"all.yaml": text}), servers


def test_a_message_goes_to_its_model(t):
    headrace, servers = two_models(t)
    for method in ("ModelInfer", "ModelReady", "ModelMetadata"):
        got = call(t, headrace.port, method, message(text_field(1, b"a")))
        eq((got.status, got.headers.get("grpc-status")), (200, "0"))
        eq(got.body, b"\0\0\0\0\x02\x0a\0")
        eq(servers[0].requests[-1].get("te"), "trailers")
    eq((len(servers[0].requests), len(servers[1].requests)), (3, 0))
    headrace.wait_output('"model":"a"')


def test_another_name_takes_its_place(t):
    headrace, servers = two_models(t)
    for tensors in (b"", b"t" * 500000):
        got = call(t, headrace.port, "ModelInfer", infer(b"b", tensors))
        eq((got.status, got.headers.get("grpc-status")), (200, "0"))
        eq(servers[1].requests[-1].body, infer(b"x" * 200, tensors))


def test_errors_are_grpcs(t):
    headrace, servers = two_models(t)
    for body, status in ((infer(b"zzz"), "5"), (infer(b"a") + infer(b"b"), "3"), (b"", "3"),
                         (message(text_field(1, b"a") + text_field(1, b"b")), "3"),
                         (b"\1" + infer(b"a")[1:], "3"), (b"\0\0", "3")):
        got = call(t, headrace.port, "ModelInfer", body)
        eq((got.status, got.headers.get("grpc-status")), (200, status), body)
        eq(got.headers.get("content-type"), "application/grpc")
        eq("grpc-message" in got.headers, True)
        eq(got.body, b"")
    eq((len(servers[0].requests), len(servers[1].requests)), (0, 0))
    headrace.wait_output('"outcome":"invalid_message"')


def test_a_deadline_is_kept(t):
    def slow(peer, request):
        time.sleep(3)

    server = upstream(t, serve_all(slow))
    headrace = t.headrace({"all.yaml": backend("be", [server.port], ("a",)) + "---" +
                           route("r", ["be"], path="/")})
    got = call(t, headrace.port, "ModelInfer", infer(b"a"), "-H", "grpc-timeout: 300m")
    eq((got.status, got.headers.get("grpc-status")), (200, "4"))
    eq(server.requests[0].get("grpc-timeout"), "300m")


def test_a_server_that_breaks_off_is_told_in_trailers(t):
    def broken(peer, request):
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n"
                  b"transfer-encoding: chunked\r\n\r\n7\r\n\0\0\0\0\x02\x0a\0\r\n")
        time.sleep(0.3)
        return False

    server = upstream(t, serve_all(broken))
    headrace = t.headrace({"all.yaml": backend("be", [server.port], ("a",)) + "---" +
                           route("r", ["be"], path="/")})
    got = call(t, headrace.port, "ModelInfer", infer(b"a"))
    eq((got.status, got.headers.get("grpc-status")), (200, "14"))
    eq(got.body, b"\0\0\0\0\x02\x0a\0")


if __name__ == "__main__":
    main(globals())
