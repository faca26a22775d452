#!/usr/bin/env python3
"""What rules do beside choosing a backend: header fields, redirects, answers of their own, CORS,
paths."""

import json

from common import (backend, contains, eq, main, ok_either, ok_json, route, serve_all, setup,
                    upstream)


def rules(name, text):
    return """
apiVersion: headrace.dev/v1alpha1
kind: AIRoute
metadata: {name: %s}
spec:
  rules:
%s
""" % (name, text)


def test_request_header_fields_are_removed_set_and_added(t):
    headrace, servers = setup(t, [serve_all(ok_json)], route_extra="""
    requestHeaders:
      remove: [Authorization, X-Debug]
      set: [{name: X-Team, value: ml}]
      add: [{name: X-Note, value: "two, three"}]
""")
    answer = t.chat(headrace.port, model="m", headers={
        "authorization": "Bearer secret", "X-DEBUG": "1", "x-team": "other", "x-note": "one",
        "x-other": "stays"})
    eq(answer.status, 200)
    got = servers[0].requests[0].headers
    eq([v for k, v in got if k == "authorization"], [])
    eq([v for k, v in got if k == "x-debug"], [])
    eq([v for k, v in got if k == "x-team"], ["ml"])
    eq([v for k, v in got if k == "x-note"], ["one", "two, three"])
    eq([v for k, v in got if k == "x-other"], ["stays"])


def test_response_header_fields_too(t):
    def answer(peer, request):
        peer.json(extra=b"Server: uvicorn\r\nCache-Control: public\r\nx-served-by: pod\r\n")

    headrace, _ = setup(t, [serve_all(answer)], route_extra="""
    responseHeaders:
      remove: [server]
      set: [{name: Cache-Control, value: no-store}]
      add: [{name: X-Served-By, value: headrace}]
""")
    answer = t.chat(headrace.port, model="m")
    eq(answer.status, 200)
    eq(answer.headers.all("server"), [])
    eq(answer.headers.all("cache-control"), ["no-store"])
    eq(answer.headers.all("x-served-by"), ["pod", "headrace"])
    # Errors of the rule's own too: a page's policy must not depend on who answers.
    wrong = t.chat(headrace.port, model="nobody-has-it")
    eq(wrong.status, 404)
    eq(wrong.headers.all("cache-control"), [])  # no rule took it
    headrace.write("all.yaml", backend("be", [1]) + "---" + route("r", ["be"], """
    retry: {attempts: 0}
    responseHeaders:
      set: [{name: Cache-Control, value: no-store}, {name: Content-Type, value: text/x-error}]
"""))
    import time
    deadline = time.time() + 10
    while time.time() < deadline:
        answer = t.chat(headrace.port, model="m")
        if answer.status == 502:
            break
    eq(answer.status, 502)
    eq(answer.headers.all("cache-control"), ["no-store"])
    eq(answer.headers.all("content-type"), ["text/x-error"])


def test_streams_have_them_as_well(t):
    headrace, _ = setup(t, [serve_all(ok_either)], route_extra="""
    responseHeaders: {add: [{name: x-a, value: b}]}
""")
    _, answer = t.stream(headrace.port, model="m")
    eq(answer.status, 200)
    eq(answer.headers.all("x-a"), ["b"])


def location(t, port, path, rule, host="a.org:8080", **more):
    answer = t.request(port, "GET", path, headers={"host": host}, **more)
    eq(answer.body, b"")
    return answer.status, answer.headers.get("location")


def test_redirects(t):
    headrace = t.headrace({"r.yaml": rules("r", """
  - name: tls
    matches: [{path: {value: /tls}}]
    redirect: {scheme: https, statusCode: 308}
  - name: host
    matches: [{path: {value: /host}}]
    redirect: {hostname: b.org, port: 81}
  - name: prefix
    matches: [{path: {value: /old}}, {path: {value: /older/still}}]
    redirect: {path: {type: ReplacePrefixMatch, value: /new}, statusCode: 301}
  - name: full
    matches: [{path: {type: Exact, value: /}}]
    redirect: {path: {type: ReplaceFullPath, value: /home}, statusCode: 303}
""")})
    port = headrace.port
    eq(location(t, port, "/tls/x?a=1&b", 0), (308, "https://a.org/tls/x?a=1&b"))
    eq(location(t, port, "/host", 0), (302, "http://b.org:81/host"))
    eq(location(t, port, "/old/x", 0), (301, "http://a.org:8080/new/x"))
    eq(location(t, port, "/older/still/x/", 0), (301, "http://a.org:8080/new/x/"))
    eq(location(t, port, "/", 0), (303, "http://a.org:8080/home"))
    eq(location(t, port, "/tls", 0, host="[::1]:80"), (308, "https://[::1]/tls"))
    # The request is not in the way of the next one, and a body is not waited for.
    with t.connect(port) as connection:
        for _ in range(3):
            eq(connection.request("GET", "/tls").status, 308)
        eq(connection.request("POST", "/tls", body=b"x").status, 308)  # its last, if it came late
    with t.connect(port) as connection:
        connection.send_request("POST", "/tls", headers={"content-length": "100000"})
        answer = connection.read_response()
        eq((answer.status, answer.headers.get("connection")), (308, "close"))


def test_a_location_has_nothing_of_the_client_that_could_break_it(t):
    headrace = t.headrace({"r.yaml": rules("r", """
  - name: tls
    redirect: {scheme: https}
""")})
    for path in ("/a%0d%0aset-cookie:x", "/a%00", "//evil.com/x", "/\\evil.com", "/a/../..//b"):
        answer = t.request(headrace.port, "GET", path, headers={"host": "a.org"})
        if answer.status == 400:
            continue
        eq(answer.status, 302)
        eq(answer.headers.all("set-cookie"), [])
        assert answer.headers.get("location").startswith("https://a.org/"), answer.headers
    # A client of HTTP/1.0 may name no host: a path is all that can be said.
    with t.connect(headrace.port) as connection:
        connection.send(b"GET /x HTTP/1.0\r\n\r\n")
        answer = connection.read_head()
        eq((answer.status, answer.headers.get("location")), (302, "/x"))
    with t.connect(headrace.port) as connection:
        connection.send(b"GET //evil.com/x HTTP/1.0\r\n\r\n")
        eq(connection.read_head().headers.get("location"), "/evil.com/x")
    long_path = "/" + "a" * 6000
    answer = t.request(headrace.port, "GET", long_path, headers={"host": "a.org"})
    eq(answer.headers.get("location"), "https://a.org" + long_path)


def test_behind_a_trusted_proxy_the_scheme_is_the_clients(t):
    server = upstream(t, serve_all(ok_json))
    text = backend("be", [server.port]) + "---" + route("r", ["be"], """
    sessionAffinity: {cookie: {name: s}}
""") + "---" + rules("away", """
  - name: host
    matches: [{path: {value: /host}}]
    redirect: {hostname: b.org}
""")
    for args, scheme in (((), "http"), (("--trusted-proxies", "127.0.0.0/8"), "https")):
        headrace = t.headrace({"r.yaml": text}, args)
        fields = {"host": "a.org", "x-forwarded-proto": "https", "x-forwarded-for": "192.0.2.1"}
        answer = t.request(headrace.port, "GET", "/host/x", headers=fields)
        eq(answer.headers.get("location"), scheme + "://b.org/host/x")
        cookie = t.chat(headrace.port, model="m", headers=fields).headers["set-cookie"]
        eq(cookie.endswith("; Secure"), scheme == "https", cookie)
        headrace.stop()


def test_fixed_answers(t):
    headrace = t.headrace({"r.yaml": rules("r", """
  - name: closed
    matches: [{path: {value: /metrics}}]
    fixedResponse: {status: 403, contentType: text/html, body: "<p>no</p>"}
    responseHeaders: {set: [{name: X-Why, value: closed}]}
  - name: nothing
    matches: [{path: {value: /empty}}]
    fixedResponse: {status: 204}
  - name: model
    matches: [{path: {value: /v1}, models: [{value: old}]}]
    fixedResponse: {status: 410, contentType: application/json, body: '{"gone":true}'}
""")})
    answer = t.request(headrace.port, "GET", "/metrics/x")
    eq((answer.status, answer.body, answer.headers.get("content-type"),
        answer.headers.get("x-why"), answer.headers.get("content-length")),
       (403, b"<p>no</p>", "text/html", "closed", "9"))
    assert answer.headers.get("x-request-id")
    with t.connect(headrace.port) as connection:
        answer = connection.request("HEAD", "/metrics")
        eq((answer.status, answer.body, answer.headers.get("content-length")), (403, b"", "9"))
        answer = connection.request("GET", "/empty")
        eq((answer.status, answer.body), (204, b""))
        eq((answer.headers.get("content-length"), answer.headers.get("content-type")),
           (None, None))
        eq(connection.request("GET", "/empty").status, 204)
    answer = t.chat(headrace.port, model="old")
    eq((answer.status, answer.json()), (410, {"gone": True}))
    eq(t.chat(headrace.port, model="new").status, 404)


def test_paths_are_rewritten_on_the_way(t):
    server = upstream(t, serve_all(ok_json))
    headrace = t.headrace({"all.yaml": backend("be", [server.port]) + "---" + rules("r", """
  - name: prefix
    matches: [{path: {value: /team-a/openai}}]
    pathRewrite: {type: ReplacePrefixMatch, value: /v1}
    backends: [{name: be}]
  - name: full
    matches: [{path: {type: Exact, value: /ask}}]
    pathRewrite: {type: ReplaceFullPath, value: /v1/chat/completions}
    backends: [{name: be}]
""")})
    body = json.dumps({"model": "m", "messages": []}).encode()
    for path in ("/team-a/openai/chat/completions?x=1", "/ask", "/ask?y=2"):
        eq(t.request(headrace.port, "POST", path, body=body).status, 200)
    eq([r.target for r in server.requests],
       ["/v1/chat/completions?x=1", "/v1/chat/completions", "/v1/chat/completions?y=2"])


def test_a_path_that_names_the_model_is_changed_twice(t):
    server = upstream(t, serve_all(ok_json))
    be = """
apiVersion: headrace.dev/v1alpha1
kind: ModelBackend
metadata: {name: be}
spec:
  engine: Ollama
  static: {endpoints: [{address: 127.0.0.1, port: %d}]}
  models: [{name: m, upstreamName: "org/m 7b"}]
""" % server.port
    headrace = t.headrace({"all.yaml": be + "---" + rules("r", """
  - name: oip
    matches: [{path: {value: /v2}}]
    pathRewrite: {type: ReplacePrefixMatch, value: /kserve/v2}
    backends: [{name: be}]
""")})
    eq(t.request(headrace.port, "POST", "/v2/models/m/infer?x=1", body=b"{}").status, 200)
    eq(server.requests[0].target, "/kserve/v2/models/org%2Fm%207b/infer?x=1")


def test_an_upgrade_has_all_of_it_but_no_copy(t):
    def switch(peer):
        peer.read_request()
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                  b"Connection: Upgrade\r\nServer: uvicorn\r\nSec-WebSocket-Accept: x\r\n\r\n")
        peer.send(b"hello")
        peer.wait_closed()

    server, shadow = upstream(t, switch), upstream(t, serve_all(ok_json))
    headrace = t.headrace({"all.yaml": "---".join([
        backend("be", [server.port], ()), backend("shadow", [shadow.port], ()),
        route("r", ["be"], """
    requestHeaders: {remove: [Authorization]}
    responseHeaders: {remove: [Server], add: [{name: x-a, value: b}]}
    sessionAffinity: {cookie: {name: s}}
    mirror: {name: shadow}
""")])})
    with t.connect(headrace.port) as connection:
        connection.send(b"GET /v1/realtime HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
                        b"Upgrade: websocket\r\nAuthorization: Bearer x\r\n\r\n")
        head = connection.read_head()
        eq((head.status, head.headers.get("server"), head.headers.get("x-a")), (101, None, "b"))
        contains(head.headers["set-cookie"], "s=")
        eq(head.headers.get("sec-websocket-accept"), "x")
    eq(server.requests[0].get("authorization"), None)
    eq(shadow.requests, [])


APP = "https://app.example.com"
CORS = """
    cors:
      allowOrigins: [https://app.example.com, "https://*.example.org"]
      allowMethods: [GET, POST]
      exposeHeaders: [X-Request-Id]
      allowCredentials: true
      maxAge: 1h
"""


def preflight(t, port, origin=APP, path="/v1/chat/completions", method="POST",
              names="authorization, content-type", **more):
    headers = {"origin": origin, "access-control-request-method": method}
    if names:
        headers["access-control-request-headers"] = names
    headers.update(more)
    return t.request(port, "OPTIONS", path, headers=headers)


def access(answer):
    return {k.lower()[15:]: v for k, v in answer.headers.items
            if k.lower().startswith("access-control-")}


def test_preflights_are_answered_here(t):
    headrace, servers = setup(t, [serve_all(ok_json)], route_extra=CORS)
    answer = preflight(t, headrace.port)
    eq(answer.status, 204)
    eq(access(answer), {"allow-origin": APP, "allow-credentials": "true",
                        "allow-methods": "GET, POST", "max-age": "3600",
                        "allow-headers": "authorization, content-type"})
    contains(answer.headers.get("vary"), "origin")
    eq(answer.headers.get("content-length"), None)
    eq(access(preflight(t, headrace.port, "https://a.b.example.org"))["allow-origin"],
       "https://a.b.example.org")
    for origin in ("https://evil.com", "null", "https://app.example.com.evil.com",
                   "https://" + "a" * 8000 + ".example.org"):
        answer = preflight(t, headrace.port, origin)
        eq((answer.status, access(answer)), (204, {}))
    # Of /v1/models too, which needs no backend; not of a path that no rule with a policy has.
    eq(access(preflight(t, headrace.port, path="/v1/models", method="GET"))["allow-origin"], APP)
    eq(preflight(t, headrace.port, path="/other").status, 404)
    eq(servers[0].requests, [])


def test_what_is_no_preflight_goes_on(t):
    headrace, servers = setup(t, [serve_all(ok_json)], route_extra=CORS, models=())
    eq(t.request(headrace.port, "OPTIONS", "/v1/x", headers={"origin": APP}).status, 200)
    eq(len(servers[0].requests), 1)


def test_answers_say_who_may_read_them(t):
    def answer(peer, request):
        peer.json(extra=b"Access-Control-Allow-Origin: *\r\naccess-control-allow-methods: PUT\r\n"
                        b"Vary: Accept\r\n")

    headrace, _ = setup(t, [serve_all(answer)], route_extra=CORS)
    answer = t.chat(headrace.port, model="m", headers={"origin": APP})
    eq(answer.status, 200)
    eq(access(answer), {"allow-origin": APP, "allow-credentials": "true",
                        "expose-headers": "X-Request-Id"})
    eq(answer.headers.all("vary"), ["Accept", "origin"])
    for headers in ({"origin": "https://evil.com"}, {}):
        answer = t.chat(headrace.port, model="m", headers=headers)
        eq((answer.status, access(answer)), (200, {}))
        contains(answer.headers.all("vary"), "origin")
    # Our own answers as well, or a page could not tell what is wrong.
    wrong = t.request(headrace.port, "POST", "/v1/chat/completions", headers={"origin": APP},
                      body=b"{no json")
    eq((wrong.status, access(wrong)["allow-origin"]), (400, APP))
    listed = t.request(headrace.port, "GET", "/v1/models", headers={"origin": APP})
    eq((listed.status, access(listed)["allow-origin"]), (200, APP))


def test_everybody(t):
    headrace, _ = setup(t, [serve_all(ok_either)], route_extra="""
    cors: {allowOrigins: ["*"], allowMethods: ["*"], allowHeaders: [X-One]}
""")
    answer = preflight(t, headrace.port, "https://whoever.net", method="DELETE")
    eq(access(answer), {"allow-origin": "*", "allow-methods": "DELETE", "allow-headers": "X-One",
                        "max-age": "600"})
    _, answer = t.stream(headrace.port, model="m", headers={"origin": "https://whoever.net"})
    eq(access(answer), {"allow-origin": "*"})
    eq(answer.headers.all("vary"), [])


def test_a_preflight_is_asked_of_every_rule_that_could_take_the_request(t):
    """It knows neither the model nor the header fields of the request to come."""
    server = upstream(t, serve_all(ok_json))
    headrace = t.headrace({"all.yaml": backend("be", [server.port]) + "---" + rules("r", """
  - name: gold
    matches: [{path: {value: /v1}, headers: [{name: x-tier, value: gold}]}]
    cors: {allowOrigins: [https://gold.example.com]}
    backends: [{name: be}]
  - name: model
    matches: [{path: {value: /v1}, models: [{value: m}]}]
    cors: {allowOrigins: [https://app.example.com]}
    backends: [{name: be}]
""")})
    for origin in ("https://gold.example.com", "https://app.example.com"):
        eq(access(preflight(t, headrace.port, origin))["allow-origin"], origin)
    eq(access(preflight(t, headrace.port, "https://evil.com")), {})
    answer = t.chat(headrace.port, model="m", headers={"origin": "https://gold.example.com"})
    eq(access(answer), {})  # the rule that took it decides who reads it


def test_endless_lists_of_names_are_not_echoed(t):
    headrace, _ = setup(t, [serve_all(ok_json)], route_extra=CORS)
    answer = preflight(t, headrace.port, names=", ".join("x-%d" % i for i in range(2000)))
    eq(answer.status, 204)
    eq(answer.headers.get("access-control-allow-headers"), "*")
    answer = preflight(t, headrace.port, names='x-a; "b')
    eq(answer.headers.get("access-control-allow-headers"), "*")


if __name__ == "__main__":
    main(globals())
