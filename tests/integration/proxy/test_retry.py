#!/usr/bin/env python3
"""What happens when an endpoint fails before the client has had a byte."""

import threading
import time

from common import (backend, contains, eq, eventually, free_port, hanging_port, main, ok_either,
                    ok_json, route, serve_all, setup, upstream)


def reset_at_once(peer):
    peer.read_request()
    peer.reset()


def close_at_once(peer):
    peer.read_request()


def status(text, body=b'{"error":{"message":"no"}}'):
    return serve_all(lambda peer, request: peer.json(body, text))


def outcome(headrace, label):
    """One request, and it ended so."""
    key = 'headrace_request_outcomes_total{outcome="%s"}' % label
    eventually(lambda: headrace.metrics()[key] == 1, what=label)


def test_a_refused_connection_is_tried_elsewhere(t):
    dead = free_port()
    headrace, servers = setup(t, [serve_all(ok_either)], ports=[dead])
    key = 'headrace_retries_total{reason="connect_failure"}'
    for sent in range(1, 101):  # equals are drawn by lot: until the dead one was drawn
        eq(t.chat(headrace.port, model="m", stream=sent % 2 == 0).status, 200)
        eq(len(servers[0].requests), sent)
        if headrace.metrics()[key] > 0:
            break
    # A failing endpoint is avoided: the next ones do not meet it again and again.
    for _ in range(10):
        eq(t.chat(headrace.port, model="m").status, 200)
    assert 1 <= headrace.metrics()[key] <= 4, headrace.metrics()[key]


def test_a_reset_before_the_first_byte_is_tried_elsewhere(t):
    for bad in (reset_at_once, close_at_once):
        headrace, servers = setup(t, [bad, serve_all(ok_either)])
        for stream in (False, True) * 3:
            eq(t.chat(headrace.port, model="m", stream=stream).status, 200)
        eq(len(servers[1].requests), 6)


def test_a_stream_that_breaks_before_its_first_event_is_tried_elsewhere(t):
    def bad(peer):
        peer.read_request()
        peer.stream_head()
        time.sleep(0.1)

    headrace, servers = setup(t, [bad, serve_all(ok_either)])
    for _ in range(4):
        eq(t.chat(headrace.port, model="m", stream=True).status, 200)
    eq(len(servers[1].requests), 4)


def test_503_is_tried_elsewhere_and_told_when_nothing_is_left(t):
    headrace, servers = setup(t, [status("503 Service Unavailable"), serve_all(ok_either)])
    for _ in range(4):
        eq(t.chat(headrace.port, model="m").status, 200)
    headrace, servers = setup(t, [status("503 Service Unavailable", b'{"mine":1}')])
    answer = t.chat(headrace.port, model="m")
    eq(answer.status, 503)
    eq(answer.json(), {"mine": 1})
    outcome(headrace, "overloaded")


def test_500_is_passed_on_unless_the_route_says_so(t):
    bad = status("500 Internal Server Error")
    headrace, servers = setup(t, [bad, bad])
    eq(t.chat(headrace.port, model="m").status, 500)
    eq(len(servers[0].requests) + len(servers[1].requests), 1)
    outcome(headrace, "upstream_error")
    headrace, servers = setup(t, [bad, serve_all(ok_json)],
                              route_extra="    retry: {attempts: 1, when: [ServerError]}")
    for _ in range(4):
        eq(t.chat(headrace.port, model="m").status, 200)


def test_attempts_are_bounded(t):
    servers = [reset_at_once] * 5
    headrace, servers = setup(t, servers, route_extra="    retry: {attempts: 2, when: [Reset]}")
    answer = t.chat(headrace.port, model="m")
    eq(answer.status, 502)
    eq(answer.json()["error"]["code"], "upstream_reset")
    eq(sum(len(server.requests) for server in servers), 3)


def test_no_retry_when_the_route_wants_none(t):
    headrace, servers = setup(t, [reset_at_once, reset_at_once],
                              route_extra="    retry: {attempts: 0}")
    eq(t.chat(headrace.port, model="m").status, 502)
    eq(sum(len(server.requests) for server in servers), 1)


def test_fallbacks_in_order_with_their_models(t):
    second = upstream(t, status("503 Service Unavailable"))
    third = upstream(t, serve_all(ok_json))
    first = free_port()
    text = "---".join([
        backend("one", [first]), backend("two", [second.port], models=("other",)),
        backend("three", [third.port], models=()),
        route("r", ["one"],
              "    fallbacks: [{name: two, model: other}, {name: three, model: last}]"),
    ])
    headrace = t.headrace({"a.yaml": text})
    answer = t.chat(headrace.port, model="m")
    eq(answer.status, 200)
    contains(second.requests[0].body, b'"other"')
    contains(third.requests[0].body, b'"last"')
    eq(headrace.metrics()["headrace_fallbacks_total"], 2)


def test_a_backend_without_endpoints_falls_back_or_says_so(t):
    good = upstream(t, serve_all(ok_json))
    text = "---".join([backend("empty", [free_port()]).replace(
        "static: {endpoints: [{address: 127.0.0.1, port: ",
        "pool: {serviceRef: {name: none, port: http}} #"),
        backend("good", [good.port]), route("r", ["empty"], "    fallbacks: [{name: good}]")])
    headrace = t.headrace({"a.yaml": text})
    eq(t.chat(headrace.port, model="m").status, 200)
    headrace.write("a.yaml", text.replace("    fallbacks: [{name: good}]", ""))
    answer = eventually(lambda: (lambda a: a if a.status != 200 else None)(
        t.chat(headrace.port, model="m")), what="the fallback is gone")
    eq(answer.status, 503)
    contains(("no_ready_endpoint", "backend_unresolved"), answer.json()["error"]["code"])


def test_a_kept_connection_that_died_costs_nothing(t):
    """The server closes after each answer without saying so (llama.cpp after streams)."""
    def once(peer):
        request = peer.read_request()
        if request is not None:
            ok_json(peer, request)
            peer.reset()

    headrace, servers = setup(t, [once], route_extra="    retry: {attempts: 0}")
    for _ in range(50):
        eq(t.chat(headrace.port, model="m").status, 200)


def test_connections_are_reused(t):
    headrace, servers = setup(t, [serve_all(ok_either)], args=["--workers", "1"])
    for stream in (False, True) * 10:
        eq(t.chat(headrace.port, model="m", stream=stream).status, 200)
    eq(servers[0].connections, 1)
    eq(len(servers[0].requests), 20)


def test_an_endpoint_that_accepts_nothing_times_out(t):
    good = upstream(t, serve_all(ok_json))
    text = backend("be", [hanging_port(t), good.port],
                   extra="  timeouts: {connect: 300ms}") + "---" + route("r", ["be"])
    headrace = t.headrace({"a.yaml": text})
    for _ in range(4):
        eq(t.chat(headrace.port, model="m").status, 200)


def hang(peer):
    peer.read_request()
    peer.wait_closed()


def test_a_budget_limits_what_may_be_tried_again(t):
    none = "    retry: {attempts: 5, budget: {percent: 0, minConcurrency: 0}}"
    headrace, servers = setup(t, [reset_at_once, reset_at_once], route_extra=none)
    eq(t.chat(headrace.port, model="m").status, 502)
    eq(sum(len(server.requests) for server in servers), 1)
    eq(headrace.metrics()["headrace_retries_refused_total"], 1)
    # What no server has seen burdens none of them, and fallbacks are others.
    headrace, servers = setup(t, [serve_all(ok_either)], route_extra=none, ports=[free_port()])
    for _ in range(20):
        eq(t.chat(headrace.port, model="m").status, 200)
    good = upstream(t, serve_all(ok_json))
    bad = upstream(t, reset_at_once)
    headrace = t.headrace({"a.yaml": "---".join([
        backend("one", [bad.port]), backend("two", [good.port]),
        route("r", ["one"], none + "\n    fallbacks: [{name: two}]")])})
    eq(t.chat(headrace.port, model="m").status, 200)


def test_the_budget_is_of_all_that_is_under_way(t):
    """Two retries may wait for their first token; a third one may not, until one of them has it."""
    gate = threading.Event()
    all_there = threading.Barrier(20, timeout=30)

    def bad(peer):
        peer.read_request()
        all_there.wait()
        peer.reset()

    def slow(peer):
        peer.read_request()
        gate.wait(30)
        peer.json()

    headrace, servers = setup(
        t, [bad, slow], backend_extra="  balancing: {policy: RoundRobin}",
        route_extra="    retry: {attempts: 1, budget: {percent: 0, minConcurrency: 2}}")

    def run(n):
        answer = t.chat(headrace.port, model="m")
        if answer.status == 502:
            gate.set()  # refused while the others wait
        return answer.status

    statuses = t.parallel([lambda n=n: run(n) for n in range(40)])
    counts = headrace.metrics()
    refused = counts["headrace_retries_refused_total"]
    assert refused > 0, counts
    eq(statuses.count(502), refused)


def test_a_try_may_have_a_limit_of_its_own(t):
    headrace, servers = setup(t, [hang, serve_all(ok_either)],
                              route_extra="    retry: {attempts: 1, perTryTimeout: 200ms}")
    for stream in (False, True):
        for _ in range(3):
            eq(t.chat(headrace.port, model="m", stream=stream).status, 200)
    eq(len(servers[1].requests), 6)
    headrace, servers = setup(t, [hang], route_extra="    retry: {perTryTimeout: 200ms}")
    answer = t.chat(headrace.port, model="m")
    eq((answer.status, answer.json()["error"]["code"]), (504, "first_token_timeout"))


def test_all_tries_together_have_one_for_the_first_token(t):
    limits = ("    retry: {attempts: 10, perTryTimeout: 150ms}\n"
              "    timeouts: {firstToken: 400ms}")
    headrace, servers = setup(t, [hang] * 8, route_extra=limits)
    for stream in (False, True):
        answer = t.chat(headrace.port, model="m", stream=stream)
        eq((answer.status, answer.json()["error"]["code"]), (504, "first_token_timeout"))
    tries = sum(len(server.requests) for server in servers)
    assert 2 <= tries <= 6, tries

    # It is no limit on what follows.
    def slow(peer):
        peer.read_request()
        peer.stream_head()
        for _ in range(6):
            peer.token("x")
            time.sleep(0.15)
        peer.stream_end()

    headrace, _ = setup(t, [slow], route_extra="    timeouts: {firstToken: 400ms}")
    answer = t.chat(headrace.port, model="m", stream=True)
    eq(answer.status, 200)
    eq(len(answer.events()), 7)


if __name__ == "__main__":
    main(globals())
