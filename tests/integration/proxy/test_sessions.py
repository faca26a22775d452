#!/usr/bin/env python3
"""Sessions: requests that belong together reach one endpoint, by a header field or a cookie."""

import threading

from common import (backend, contains, eq, eventually, free_port, main, ok_either, ok_json, route,
                    serve_all, setup, upstream)

BY_HEADER = "    sessionAffinity: {header: X-Session}"
BY_COOKIE = "    sessionAffinity: {cookie: {name: s, ttl: 1h, path: /v1}}"


def counts(servers):
    return [len(server.requests) for server in servers]


def test_a_header_field_leads_to_one_endpoint(t):
    headrace, servers = setup(t, [serve_all(ok_either)] * 4, route_extra=BY_HEADER)
    used = set()
    for session in range(24):
        before = counts(servers)
        for stream in (False, True, False):
            answer = t.chat(headrace.port, model="m", stream=stream,
                            headers={"x-session": "client-%d" % session})
            eq(answer.status, 200)
            eq(answer.headers.get("set-cookie"), None)
        grown = [now - was for now, was in zip(counts(servers), before)]
        eq(sorted(grown), [0, 0, 0, 3])
        used.add(grown.index(3))
    eq(used, {0, 1, 2, 3})


def test_sessions_survive_a_restart_and_agree_between_replicas(t):
    servers = [upstream(t, serve_all(ok_json)) for _ in range(4)]
    text = backend("be", [s.port for s in servers]) + "---" + route("r", ["be"], BY_HEADER)
    one, two = t.headrace({"a.yaml": text}), t.headrace({"a.yaml": text})
    for session in range(8):
        before = counts(servers)
        for headrace in (one, two):
            eq(t.chat(headrace.port, model="m", headers={"x-session": str(session)}).status, 200)
        eq(sorted(now - was for now, was in zip(counts(servers), before)), [0, 0, 0, 2])


def test_without_the_field_the_policy_decides(t):
    headrace, servers = setup(t, [serve_all(ok_json)] * 3, route_extra=BY_HEADER,
                              backend_extra="  balancing: {policy: RoundRobin}")
    for headers in ({}, {"x-session": ""}):
        for _ in range(6):
            eq(t.chat(headrace.port, model="m", headers=headers).status, 200)
    eq(counts(servers), [4, 4, 4])


def test_a_session_leaves_an_endpoint_that_fails(t):
    dead = free_port()
    headrace, servers = setup(t, [serve_all(ok_json)], route_extra=BY_HEADER, ports=[dead])
    for session in range(20):
        eq(t.chat(headrace.port, model="m", headers={"x-session": str(session)}).status, 200)
    eq(counts(servers), [20])


def test_weighted_backends_keep_a_session_too(t):
    servers = [upstream(t, serve_all(ok_json)) for _ in range(4)]
    ports = [s.port for s in servers]
    for extra in (BY_HEADER, BY_COOKIE):
        headrace = t.headrace({"a.yaml": "---".join([
            backend("one", ports[:2]), backend("two", ports[2:]),
            route("r", ["one", "two"], extra)])})
        used = set()
        for session in range(16):
            headers = {"x-session": str(session)}
            before = counts(servers)
            for _ in range(4):
                answer = t.chat(headrace.port, model="m", headers=headers)
                if "set-cookie" in answer.headers:
                    headers["cookie"] = answer.headers["set-cookie"].split(";")[0]
            grown = [now - was for now, was in zip(counts(servers), before)]
            eq(sorted(grown), [0, 0, 0, 4])
            used.add(grown.index(4) // 2)
        eq(used, {0, 1})
        headrace.stop()


def test_a_cookie_names_the_endpoint_and_tells_nothing(t):
    headrace, servers = setup(t, [serve_all(ok_either)] * 4, route_extra=BY_COOKIE)
    for stream in (False, True):
        first = t.chat(headrace.port, model="m", stream=stream)
        cookie = first.headers["set-cookie"]
        pair, rest = cookie.split(";", 1)
        eq(rest, " Path=/v1; Max-Age=3600; HttpOnly; SameSite=Lax")
        name, tag = pair.split("=")
        eq((name, len(tag)), ("s", 16))
        for server in servers:
            assert str(server.port) not in tag and "%x" % server.port not in tag, tag
        before = counts(servers)
        for n in range(8):
            answer = t.chat(headrace.port, model="m", stream=n % 2 == 0,
                            headers={"cookie": "other=1; %s; more=2" % pair})
            eq((answer.status, answer.headers.get("set-cookie")), (200, None))
        eq(sorted(now - was for now, was in zip(counts(servers), before)), [0, 0, 0, 8])


def test_forged_cookies_are_as_good_as_none(t):
    headrace, servers = setup(t, [serve_all(ok_json)] * 2, route_extra=BY_COOKIE)
    for value in ("", "x", "0" * 16, "f" * 16, "F" * 16, "127.0.0.1:%d" % servers[0].port,
                  "a" * 7000, "1" * 15, "1" * 17, "%00", '"', "s=s=s", ";;;;"):
        answer = t.chat(headrace.port, model="m", headers={"cookie": "s=" + value})
        eq(answer.status, 200)
        contains(answer.headers["set-cookie"], "s=")
    cookies = "; ".join("c%d=%d" % (i, i) for i in range(700))
    eq(t.chat(headrace.port, model="m", headers={"cookie": cookies}).status, 200)


def test_a_cookie_of_an_endpoint_that_went_is_replaced(t):
    servers = [upstream(t, serve_all(ok_json)) for _ in range(2)]
    text = backend("be", [servers[0].port]) + "---" + route("r", ["be"], BY_COOKIE)
    headrace = t.headrace({"a.yaml": text})
    old = t.chat(headrace.port, model="m").headers["set-cookie"].split(";")[0]
    eq(t.chat(headrace.port, model="m", headers={"cookie": old}).headers.get("set-cookie"), None)
    headrace.write("a.yaml", text.replace(str(servers[0].port), str(servers[1].port)))

    def moved():
        answer = t.chat(headrace.port, model="m", headers={"cookie": old})
        eq(answer.status, 200)
        return "set-cookie" in answer.headers and answer

    answer = eventually(moved, what="another cookie")
    assert answer.headers["set-cookie"].split(";")[0] != old


def test_an_endpoint_that_goes_while_it_answers_gives_no_cookie(t):
    go = threading.Event()

    def slow(peer, request):
        go.wait(30)
        ok_json(peer, request)

    servers = [upstream(t, serve_all(each)) for each in (slow, ok_json)]
    text = backend("be", [servers[0].port]) + "---" + route("r", ["be"], BY_COOKIE)
    headrace = t.headrace({"a.yaml": text})
    with t.connect(headrace.port) as conn:
        conn.send_request("POST", "/v1/chat/completions", None, t.chat_body(model="m"))
        eventually(lambda: servers[0].requests)
        headrace.write("a.yaml", text.replace(str(servers[0].port), str(servers[1].port)))
        eventually(lambda: headrace.metrics()["headrace_snapshot_generation"] == 2)
        go.set()
        answer = conn.read_response()
    eq((answer.status, answer.headers.get("set-cookie")), (200, None))


def test_a_fallback_gives_no_cookie(t):
    good = upstream(t, serve_all(ok_json))
    headrace = t.headrace({"a.yaml": "---".join([
        backend("one", [free_port()]), backend("two", [good.port]),
        route("r", ["one"], BY_COOKIE + "\n    fallbacks: [{name: two}]")])})
    answer = t.chat(headrace.port, model="m")
    eq((answer.status, answer.headers.get("set-cookie")), (200, None))


if __name__ == "__main__":
    main(globals())
