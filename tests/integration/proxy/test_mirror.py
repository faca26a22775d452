#!/usr/bin/env python3
"""Shadow traffic: copies go to another backend, and nobody notices."""

import time

from common import (backend, contains, eq, eventually, free_port, main, ok_either, ok_json, route,
                    serve_all, upstream)


def key(result):
    return 'headrace_mirrors_total{result="%s"}' % result


def mirrored(t, primary, shadow, extra="", args=(), port=None, models=("m",)):
    servers = [upstream(t, primary)]
    if port is None:
        servers.append(upstream(t, shadow))
        port = servers[1].port
    headrace = t.headrace({"a.yaml": "---".join([
        backend("be", [servers[0].port], models), backend("shadow", [port], models=()),
        route("r", ["be"], "    mirror: {name: shadow%s}" % extra)])}, args)
    return headrace, servers


def settled(headrace, result, count):
    eventually(lambda: headrace.metrics()[key(result)] == count, what="%d %s" % (count, result))


def hang(peer):
    peer.read_request()
    peer.wait_closed()


def test_copies_are_whole_and_their_answers_are_thrown_away(t):
    def broken(peer, request):
        peer.json(b"of the shadow", "500 Internal Server Error" if len(request.body) % 2 else
                  "200 OK")

    headrace, servers = mirrored(t, serve_all(ok_either), serve_all(broken), ", model: big")
    for n in range(10):
        answer = t.chat(headrace.port, "hello" * n, model="m", stream=n % 3 == 0,
                        headers={"x-a": str(n), "x-request-id": "id-%d" % n})
        eq(answer.status, 200)
        assert b"shadow" not in answer.body
    eventually(lambda: len(servers[1].requests) == 10, what="ten copies")
    originals = {r.get("x-request-id"): r for r in servers[0].requests}
    for copy in servers[1].requests:
        original = originals[copy.get("x-request-id")]
        eq(copy.body, original.body.replace(b'"m"', b'"big"', 1))
        eq(copy.target, original.target)
        eq([h for h in copy.headers if h[0] != "content-length"],
           [h for h in original.headers if h[0] != "content-length"])
    eventually(lambda: sum(headrace.metrics()[key(k)] for k in ("answered", "failed")) == 10,
               what="ten settled")
    # Copies are in no count and no log but their own, and never tried again.
    outcome = 'headrace_request_outcomes_total{outcome="ok"}'
    eventually(lambda: headrace.metrics()[outcome] >= 10, what="ten counted")
    counts = headrace.metrics()
    eq(counts[outcome], 10)
    eq(sum(v for k, v in counts.items() if k.startswith("headrace_retries_total")), 0)
    eventually(lambda: headrace.stdout.count('"request_id"') == 10, what="ten lines")


def test_a_share_of_the_requests(t):
    for percent, least, most in ((0, 0, 0), (30, 30, 95), (100, 200, 200)):
        headrace, servers = mirrored(t, serve_all(ok_json), serve_all(ok_json),
                                     ", percent: %d" % percent)
        for _ in range(200):
            eq(t.chat(headrace.port, model="m").status, 200)
        eventually(lambda: headrace.metrics()[key("answered")] == len(servers[1].requests),
                   what="all settled")
        assert least <= len(servers[1].requests) <= most, (percent, len(servers[1].requests))
        headrace.stop()


def test_bodies_that_no_rule_looks_into(t):
    """They pass as they would without a mirror: what is no JSON, what names no model, and what is
    too long to wait for."""
    headrace, servers = mirrored(t, serve_all(ok_json), serve_all(ok_json), models=())
    bodies = [None, b"", b'{"a":1}', b"{no json", b"x" * 900000]
    for body in bodies:
        answer = t.request(headrace.port, "POST", "/v1/chat/completions?y=1", body=body,
                           headers={"accept-encoding": "gzip"})
        eq(answer.status, 200)
    eventually(lambda: len(servers[1].requests) == 5, what="five copies")
    eq(sorted(r.body for r in servers[1].requests), sorted(r.body for r in servers[0].requests))
    eq({r.get("accept-encoding") for r in servers[0].requests}, {"gzip"})
    with t.connect(headrace.port) as connection:
        connection.send_request("POST", "/v1/chunks", body=b"two" * 3000, chunked=True)
        eq(connection.read_response().status, 200)
    eq(t.request(headrace.port, "POST", "/v1/x", body=b"x" * 3000000).status, 200)
    eq([len(r.body) for r in servers[0].requests[5:]], [9000, 3000000])
    eq(headrace.metrics()[key("dropped")], 2)


def test_forms_that_come_whole_are_copied_and_others_stream(t):
    form = (b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%s\r\n'
            b"--b--\r\n")
    fields = {"content-type": "multipart/form-data; boundary=b", "x-request-id": "whole"}
    headrace, servers = mirrored(t, serve_all(ok_json), serve_all(ok_json), ", model: big")
    eq(t.request(headrace.port, "POST", "/v1/audio/transcriptions", headers=fields,
                 body=form % b"abc").status, 200)
    settled(headrace, "answered", 1)
    contains(servers[1].requests[0].body, b"\r\n\r\nbig\r\n")
    fields["x-request-id"] = "streams"
    eq(t.request(headrace.port, "POST", "/v1/audio/transcriptions", headers=fields,
                 body=form % (b"x" * 500000)).status, 200)
    eq([r.get("x-request-id") for r in servers[0].requests], ["whole", "streams"])
    eq(headrace.metrics()[key("dropped")], 1)


def test_a_mirror_that_hangs_slows_nobody_and_stops_nobody(t):
    headrace, servers = mirrored(t, serve_all(ok_either), hang)
    for n in range(50):
        eq(t.chat(headrace.port, model="m", stream=n % 2 == 0, timeout=5).status, 200)
    eventually(lambda: len(servers[1].requests) == 50, what="fifty copies")
    began = time.monotonic()
    headrace.stop()
    assert time.monotonic() - began < 4, "copies that hang kept it from stopping"


def test_a_mirror_that_refuses_or_resets(t):
    headrace, _ = mirrored(t, serve_all(ok_json), None, port=free_port())
    for _ in range(20):
        eq(t.chat(headrace.port, model="m").status, 200)
    settled(headrace, "failed", 20)

    def reset(peer):
        peer.read_request()
        peer.reset()

    headrace, _ = mirrored(t, serve_all(ok_json), reset)
    for _ in range(20):
        eq(t.chat(headrace.port, model="m").status, 200)
    settled(headrace, "failed", 20)


def test_a_mirror_that_streams_for_ever_is_cut(t):
    def endless(peer):
        peer.read_request()
        peer.stream_head()
        try:
            while True:
                peer.event(b"x" * 60000)
        except OSError:
            pass

    headrace, servers = mirrored(t, serve_all(ok_either), endless)
    eq(t.chat(headrace.port, model="m", stream=True).status, 200)
    settled(headrace, "failed", 1)  # at 16 MiB
    eq(t.chat(headrace.port, model="m").status, 200)


def test_there_are_only_so_many_copies(t):
    headrace, servers = mirrored(t, serve_all(ok_json), hang, args=("--workers", "1"))
    with t.connect(headrace.port) as connection:
        for n in range(300):
            answer = connection.request("POST", "/v1/chat/completions",
                                        body=t.chat_body("x", model="m"))
            eq(answer.status, 200)
    eq(headrace.metrics()[key("dropped")], 300 - 256)
    eventually(lambda: len(servers[1].requests) == 256, what="256 copies")


def test_large_bodies_are_not_copied(t):
    headrace, servers = mirrored(t, serve_all(ok_json), hang, args=("--workers", "1"))
    for _ in range(2):
        eq(t.chat(headrace.port, "y" * 1100000, model="m").status, 200)
    eq(headrace.metrics()[key("dropped")], 2)
    for _ in range(20):  # 0.9 MB each: seventeen fit
        eq(t.chat(headrace.port, "y" * 900000, model="m").status, 200)
    dropped = headrace.metrics()[key("dropped")]
    eq(dropped, 2 + 20 - 18)
    eq(len(servers[0].requests), 22)


def test_a_client_that_goes_takes_its_copy_along_or_not_but_nothing_breaks(t):
    def slow(peer):
        peer.read_request()
        peer.stream_head()
        peer.token("a")
        time.sleep(0.3)
        peer.stream_end()

    headrace, servers = mirrored(t, slow, slow)
    for _ in range(5):
        connection, _ = t.stream(headrace.port, model="m")
        connection.reset()
    settled(headrace, "answered", 5)
    eq(t.chat(headrace.port, model="m", stream=True).status, 200)


def test_no_copy_of_what_was_never_sent(t):
    headrace, servers = mirrored(t, serve_all(ok_json), serve_all(ok_json))
    eq(t.request(headrace.port, "POST", "/v1/chat/completions", body=b"{bad").status, 400)
    eq(t.chat(headrace.port, model="unknown").status, 404)
    eq(t.chat(headrace.port, model="m").status, 200)
    settled(headrace, "answered", 1)
    eq(len(servers[1].requests), 1)


if __name__ == "__main__":
    main(globals())
