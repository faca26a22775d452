#!/usr/bin/env python3
"""Models that are not named by a JSON body: multipart forms (which stream), the paths of the Open
Inference Protocol, the query of an upgrade."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time

from common import contains, eq, eventually, main, ok_json, route, serve_all, upstream
from harness import skip

TYPE = "multipart/form-data; boundary=xYz"
LAST = b"--xYz--\r\n"


def field(name, value):
    return (b'--xYz\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
            % (name.encode(), value))


def file_part(data):
    return (b'--xYz\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
            b"Content-Type: audio/wav\r\n\r\n" + data + b"\r\n")


def models(t, handlers, args=(), path="/"):
    """One backend for each of the models a, b …; b's servers call it other/b."""
    servers = [upstream(t, handler) for handler in handlers]
    parts = []
    for name, server in zip("abc", servers):
        upstream_name = ", upstreamName: 'other b'" if name == "b" else ""
        parts.append("""
apiVersion: headrace.dev/v1alpha1
kind: ModelBackend
metadata: {name: be-%s}
spec:
  engine: Ollama
  static: {endpoints: [{address: 127.0.0.1, port: %d}]}
  models: [{name: %s%s}]
""" % (name, server.port, name, upstream_name))
        parts.append(route("r-" + name, ["be-" + name], path=path))
    return t.headrace({"all.yaml": "---".join(parts)}, args), servers


def form_head(length):
    return (b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
            % (TYPE.encode(), length))


def post(t, headrace, body, path="/v1/audio/transcriptions", **more):
    return t.request(headrace.port, "POST", path, {"content-type": TYPE}, body, **more)


def test_a_form_goes_to_its_model(t):
    headrace, servers = models(t, [serve_all(ok_json), serve_all(ok_json)])
    audio = bytes(range(256)) * 40
    for body in (field("model", b"a") + file_part(audio) + LAST,
                 file_part(audio) + field("model", b"a") + LAST):
        for chunked in (False, True):
            eq(post(t, headrace, body, chunked=chunked).status, 200)
            eq(servers[0].requests[-1].body, body)
    eq((len(servers[0].requests), len(servers[1].requests)), (4, 0))
    headrace.wait_output('"model":"a"')


def test_another_name_takes_its_place(t):
    headrace, servers = models(t, [serve_all(ok_json), serve_all(ok_json)])
    audio = b"\r\n--xY" * 20000
    for order in (0, 1):
        def body(name, order=order):
            parts = [field("model", name), file_part(audio)]
            return b"".join(reversed(parts) if order else parts) + LAST
        for chunked in (False, True):
            eq(post(t, headrace, body(b"b"), chunked=chunked).status, 200)
            eq(servers[1].requests[-1].body, body(b"other b"))
    eq(len(servers[0].requests), 0)


def test_a_form_streams_once_its_model_is_known(t):
    """The server has the first part of the file before the client has sent the rest."""
    seen = threading.Event()

    def handler(peer):
        _, headers = peer.read_head()
        total = int(dict(headers)["content-length"])
        head = peer._until(b"first")
        seen.set()
        peer._exactly(total - len(head) - 5)
        peer.json()

    headrace, _ = models(t, [handler])
    body = field("model", b"a") + file_part(b"first" + b"x" * 1000) + LAST
    cut = body.index(b"first") + 5
    with t.connect(headrace.port) as conn:
        conn.send(form_head(len(body)))
        conn.send(body[:cut])
        eq(seen.wait(20), True)
        conn.send(body[cut:])
        eq(conn.read_response().status, 200)


def test_a_hundred_megabytes_in_bounded_memory(t):
    digests = []
    size = 100 * 1000 * 1000

    def handler(peer):
        _, headers = peer.read_head()
        left = int(dict(headers)["content-length"])
        digest = hashlib.sha1()
        while left:
            if not peer.buffer:
                peer._fill()
            piece = peer._take(len(peer.buffer))
            digest.update(piece)
            left -= len(piece)
        digests.append(digest.hexdigest())
        peer.json()

    headrace, _ = models(t, [handler], ["--max-buffered-bytes", "2000000", "--workers", "1",
                                        "--max-body-bytes", "1000000"])
    head = field("model", b"a") + b"".join(file_part(b"").rsplit(b"\r\n", 1)[:1])
    tail = b"\r\n" + LAST
    block = bytes(range(256)) * 1000
    want = hashlib.sha1()
    with t.connect(headrace.port) as conn:
        conn.send(form_head(len(head) + size + len(tail)))
        left = size
        conn.sock.settimeout(60)
        for piece in (head, *([block] * (size // len(block))), block[:size % len(block)], tail):
            want.update(piece)
            conn.sock.sendall(piece)
            left -= len(piece)
        eq(conn.read_response(60).status, 200)
    eq(digests, [want.hexdigest()])


def test_a_late_model_has_a_limit(t):
    headrace, servers = models(t, [serve_all(ok_json)], ["--max-body-bytes", "100000"])
    answer = post(t, headrace, file_part(b"x" * 200000) + field("model", b"a") + LAST)
    eq(answer.status, 413)
    contains(answer.text, "before the data")
    eq(post(t, headrace, field("model", b"a") + file_part(b"x" * 200000) + LAST).status, 200)
    eq(len(servers[0].requests), 1)
    headrace, _ = models(t, [serve_all(ok_json)], ["--max-streamed-body-bytes", "100000"])
    eq(post(t, headrace, field("model", b"a") + file_part(b"x" * 200000) + LAST).status, 413)


def test_ambiguous_forms_are_refused(t):
    headrace, servers = models(t, [serve_all(ok_json), serve_all(ok_json)])
    for body in (field("model", b"a") + field("model", b"b") + LAST,
                 field("model", b"a") + file_part(b"\n--xYz\r\n") + LAST,
                 field("model", b"a"),
                 field("model", b"a") + LAST + field("model", b"b") + LAST,
                 field("model", b"") + LAST,
                 b"preamble\r\n" + field("model", b"a") + LAST):
        answer = post(t, headrace, body)
        eq(answer.status, 400, body)
        eq(answer.json()["error"]["code"], "invalid_form")
    eq(post(t, headrace, field("model", b"z") + LAST).status, 404)
    answer = t.request(headrace.port, "POST", "/v1/x", {"content-type": "multipart/form-data"},
                       b"x")
    eq(answer.json()["error"]["code"], "invalid_form")
    eq((len(servers[0].requests), len(servers[1].requests)), (0, 0))
    # A form without a model is for who asks for none, say an upload of a file.
    eq(post(t, headrace, field("purpose", b"a") + LAST, "/v1/files").status, 200)


def test_a_second_model_ends_what_was_begun(t):
    """The server never gets the whole of a body that names two models."""
    got = []

    def handler(peer):
        peer.read_head()
        try:
            while True:
                peer._fill()
        except (EOFError, OSError):
            got.append(bytes(peer.buffer))

    headrace, _ = models(t, [handler])
    first = field("model", b"a") + file_part(b"x" * 5000)
    rest = field("model", b"b") + LAST
    with t.connect(headrace.port) as conn:
        conn.send(form_head(len(first + rest)))
        conn.send(first)
        time.sleep(0.2)
        conn.send(rest)
        eq(conn.read_response().status, 400)
    eventually(lambda: len(got) == 1)
    eq(got[0], first)


def test_a_form_goes_elsewhere_when_its_server_fails(t):
    """What was collected can be sent again."""
    def refuse(peer, request):
        peer.json(b"{}", "503 Service Unavailable")

    servers = [upstream(t, serve_all(refuse)), upstream(t, serve_all(ok_json))]
    text = """
apiVersion: headrace.dev/v1alpha1
kind: ModelBackend
metadata: {name: be}
spec:
  engine: Ollama
  static: {endpoints: [%s]}
  models: [{name: a, upstreamName: longer}]
---""" % ", ".join("{address: 127.0.0.1, port: %d}" % server.port for server in servers)
    headrace = t.headrace({"all.yaml": text + route("r", ["be"])})
    for _ in range(6):
        eq(post(t, headrace, field("model", b"a") + file_part(b"x" * 3000) + LAST).status, 200)
    eq({request.body for server in servers for request in server.requests},
       {field("model", b"longer") + file_part(b"x" * 3000) + LAST})


def test_curl_sends_a_form(t):
    """With either version, the model behind and before a file that is larger than every window."""
    if shutil.which("curl") is None:
        skip("needs curl")
    headrace, servers = models(t, [serve_all(ok_json), serve_all(ok_json)])
    with tempfile.NamedTemporaryFile() as file:
        file.write(os.urandom(5000000))
        file.flush()
        for version in ("--http1.1", "--http2-prior-knowledge"):
            for fields in (["-F", "model=b", "-F", "file=@" + file.name],
                           ["-F", "file=@" + file.name, "-F", "model=b"]):
                done = subprocess.run(
                    ["curl", "-sS", "-m", "40", version, "-o", "/dev/null", "-w", "%{http_code}",
                     *fields, "http://127.0.0.1:%d/v1/audio/transcriptions" % headrace.port],
                    stdout=subprocess.PIPE, check=False)
                eq(done.stdout, b"200")
                body = servers[1].requests[-1].body
                eq((len(body) > 5000000, b"\r\n\r\nother b\r\n--" in body), (True, True))
    eq(len(servers[1].requests), 4)


def test_paths_of_the_open_inference_protocol(t):
    headrace, servers = models(t, [serve_all(ok_json), serve_all(ok_json)])
    tensors = {"inputs": [{"name": "x", "shape": [1], "datatype": "INT32", "data": [1]}]}
    for path in ("/v2/models/a/infer", "/v2/models/a/versions/1/infer"):
        eq(t.request(headrace.port, "POST", path, body=tensors).status, 200)
        eq(servers[0].requests[-1].target, path)
        eq(json.loads(servers[0].requests[-1].body), tensors)
    for path in ("/v2/models/a", "/v2/models/a/ready"):
        eq(t.request(headrace.port, "GET", path).status, 200)
    # Binary tensors stand behind the JSON: nobody reads the body.
    eq(t.request(headrace.port, "POST", "/v2/models/a/infer", {
        "inference-header-content-length": "2"}, b"{}\x00\xff\x00").status, 200)
    eq(servers[0].requests[-1].body, b"{}\x00\xff\x00")
    eq(t.request(headrace.port, "POST", "/v2/models/b/versions/1/infer?x=y", body=tensors).status,
       200)
    eq(servers[1].requests[-1].target, "/v2/models/other%20b/versions/1/infer?x=y")
    eq((len(servers[0].requests), len(servers[1].requests)), (5, 1))
    eq(t.request(headrace.port, "POST", "/v2/models/z/infer", body=tensors).status, 404)
    eq(t.request(headrace.port, "POST", "/v2/models/a%2Fb/infer", body=tensors).status, 400)
    headrace.wait_output('"model":"b","upstream_model":"other b"')


def test_the_query_of_an_upgrade(t):
    def switch(peer):
        peer.read_request()
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                  b"Connection: Upgrade\r\n\r\n")
        peer.wait_closed()

    headrace, servers = models(t, [switch, switch])
    with t.connect(headrace.port) as conn:
        conn.send(b"GET /v1/realtime?model=b&v=1 HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n"
                  b"Upgrade: websocket\r\n\r\n")
        eq(conn.read_head().status, 101)
    eq(servers[1].requests[0].target, "/v1/realtime?model=other%20b&v=1")
    eq(len(servers[0].requests), 0)


if __name__ == "__main__":
    main(globals())
