#!/usr/bin/env python3
"""Endpoints that do badly are left out, those that go are left at once, and their streams are not
waited for without end."""

import socket
import subprocess
import threading
import time

from common import (backend, contains, eq, eventually, main, ok_either, route, serve_all, setup,
                    upstream)
from harness import program
import http1

DRAIN = (b'{"error":{"message":"cannot schedule new futures after shutdown",'
         b'"type":"InternalServerError","param":null,"code":500}}')
ROUND_ROBIN = "  balancing: {policy: RoundRobin%s}\n"
NO_RETRY = "    retry: {attempts: 0}"


class Pod:
    """A server that answers well, or badly while `bad` is set; /health as `health` says."""

    def __init__(self, t):
        self.bad = None
        self.health = "200 OK"
        self.served = 0
        self.checks = 0
        self.server = upstream(t, serve_all(self.answer))
        self.port = self.server.port

    def answer(self, peer, request):
        if request.method == "GET":
            self.checks += 1
            peer.json(status=self.health, extra=b"connection: close\r\n")
            return False
        self.served += 1
        if self.bad:
            return self.bad(peer, request)
        return ok_either(peer, request)


def error_500(peer, request):
    peer.json(b'{"error":{"message":"CUDA error"}}', "500 Internal Server Error")


def refuse_connections(server):
    """As a server that was told to end: nobody listens any more, what is open stays open."""
    server.stopping = True
    server.listener.shutdown(socket.SHUT_RDWR)
    server.listener.close()


def pods(t, count, extra="", route_extra=NO_RETRY, balancing=""):
    all_pods = [Pod(t) for _ in range(count)]
    text = backend("be", [pod.port for pod in all_pods], extra=ROUND_ROBIN % balancing + extra)
    headrace = t.headrace({"all.yaml": text + "---" + route("r", ["be"], route_extra)})
    return headrace, all_pods


def endpoints(headrace):
    """What /endpoints says, by port."""
    answer = http1.request(headrace.admin_port, "GET", "/endpoints")
    listed = answer.json()["backends"][0]["endpoints"]
    return {int(e["address"].rsplit(":", 1)[1]): e for e in listed}


def state(headrace, pod):
    return endpoints(headrace)[pod.port]["health"]["state"]


def metric(headrace, name, pod, extra=""):
    key = 'headrace_endpoint_%s{backend="default/be",endpoint="127.0.0.1:%d"%s}' % (
        name, pod.port, extra)
    return headrace.metrics()[key]


def chat(t, headrace, count, stream=False):
    return [t.chat(headrace.port, model="m", stream=stream).status for _ in range(count)]


# ---- ejection -----------------------------------------------------------------------------------


def test_one_of_three_that_errs_is_ejected(t):
    headrace, (bad, *good) = pods(t, 3)
    bad.bad = error_500
    statuses = chat(t, headrace, 15)
    eq((statuses.count(500), statuses.count(200)), (5, 10))
    eq(state(headrace, bad), "ejected")
    eq(chat(t, headrace, 30), [200] * 30)
    eq(bad.served, 5)
    eq(metric(headrace, "ejected", bad), 1)
    eq(metric(headrace, "ejections_total", bad, ',reason="consecutive_errors"'), 1)
    eq(metric(headrace, "ejected", good[0]), 0)
    health = endpoints(headrace)[bad.port]["health"]
    eq(health["reason"], "consecutive_errors")
    assert 0 < health["for_ms"] <= 30000, health
    line = headrace.wait_output(r"endpoint ejected.*", count=1)[0].group()
    contains(line, "127.0.0.1:%d" % bad.port)
    contains(line, "errors without a success in between")
    for argv in (["top", "--once"], ["explain", "--model", "m"]):
        shown = subprocess.run([program("headrace"), argv[0], "--admin",
                                "127.0.0.1:%d" % headrace.admin_port, *argv[1:]],
                               stdout=subprocess.PIPE, check=False).stdout.decode()
        contains(shown, "ejected", argv[0])


def test_an_ejected_endpoint_returns_and_the_next_time_lasts_longer(t):
    headrace, (bad, *_) = pods(t, 3, "  health: {outlier: {consecutiveErrors: 1, ejectFor: 600ms, "
                                     "maxEjectFor: 1500ms}}\n")
    bad.bad = error_500

    def in_row(count):
        t.chat(headrace.port, model="m")
        return endpoints(headrace)[bad.port]["health"]["ejections_in_row"] == count
    eventually(lambda: in_row(3), what="ejected three times")
    bad.bad = None
    headrace.wait_output(r"endpoint is back after its ejection")
    before = bad.served
    eventually(lambda: chat(t, headrace, 3) and bad.served > before, what="it is served again")
    eventually(lambda: in_row(0), what="good times are remembered")
    lines = headrace.wait_output(r"endpoint ejected.* for_ms=(\d+)")
    eq({int(line.group(1)) for line in lines}, {600, 1200, 1500})


def test_when_all_err_a_share_stays_in(t):
    headrace, all_pods = pods(t, 4)
    for pod in all_pods:
        pod.bad = error_500
    eq(set(chat(t, headrace, 40)), {500})
    states = [state(headrace, pod) for pod in all_pods]
    eq((states.count("ejected"), states.count("ok")), (2, 2))
    for pod in all_pods:
        pod.bad = None
    eq(set(chat(t, headrace, 10)), {200})


def test_who_errs_more_than_its_siblings_is_ejected(t):
    headrace, (bad, *_) = pods(
        t, 3, "  health: {outlier: {interval: 200ms, minRequests: 5, consecutiveErrors: 0}}\n")
    turns = iter(range(10 ** 9))

    def every_other(peer, request):
        return (error_500 if next(turns) % 2 else ok_either)(peer, request)
    bad.bad = every_other
    eventually(lambda: chat(t, headrace, 6) and state(headrace, bad) == "ejected", what="ejected")
    eq(metric(headrace, "ejections_total", bad, ',reason="error_share"'), 1)


def test_refusals_for_want_of_room_eject_nobody(t):
    headrace, (bad, *_) = pods(t, 3)
    bad.bad = lambda peer, request: peer.json(b"{}", "503 Service Unavailable")
    chat(t, headrace, 30)
    assert state(headrace, bad) == "ok"


# ---- active checks ------------------------------------------------------------------------------

CHECKED = ("  health: {active: {interval: 200ms, timeout: 200ms, healthyThreshold: 2, "
           "unhealthyThreshold: 2}}\n")


def test_failed_checks_keep_requests_away_until_they_pass_again(t):
    headrace, (bad, *good) = pods(t, 3, CHECKED)
    eventually(lambda: all(pod.checks > 2 for pod in [bad, *good]), what="all are checked")
    eq(state(headrace, bad), "ok")
    bad.health = "503 Service Unavailable"
    eventually(lambda: state(headrace, bad) == "unhealthy", what="unhealthy")
    eq(chat(t, headrace, 12), [200] * 12)
    eq(bad.served, 0)
    eq(metric(headrace, "unhealthy", bad), 1)
    assert metric(headrace, "checks_total", bad, ',result="failed"') >= 2
    bad.health = "204 No Content"
    eventually(lambda: state(headrace, bad) == "ok", what="healthy again")
    chat(t, headrace, 12)
    eq(bad.served, 4)
    headrace.wait_output(r"fails its health checks.*127.0.0.1:%d" % bad.port)
    headrace.wait_output(r"passes its health checks again.*127.0.0.1:%d" % bad.port)


def test_when_most_are_unhealthy_all_are_used(t):
    headrace, all_pods = pods(t, 3, CHECKED)
    for pod in all_pods[:2]:
        pod.health = "500 Internal Server Error"
    eventually(lambda: headrace.metrics()["headrace_backend_panic"] == 1, what="panic")
    eq(chat(t, headrace, 12), [200] * 12)
    eq([pod.served for pod in all_pods], [4, 4, 4])
    headrace.write("all.yaml", (
        backend("be", [pod.port for pod in all_pods],
                extra=ROUND_ROBIN % ", panicThreshold: 0" + CHECKED)
        + "---" + route("r", ["be"], NO_RETRY)))
    eventually(lambda: headrace.metrics()["headrace_backend_panic"] == 0, what="no panic")
    before = all_pods[2].served
    eq(chat(t, headrace, 6), [200] * 6)
    eq(all_pods[2].served, before + 6)


def test_checks_that_nobody_wants_any_more_leave_nobody_unhealthy(t):
    headrace, (bad, *good) = pods(t, 3, CHECKED)
    bad.health = "500 Internal Server Error"
    eventually(lambda: state(headrace, bad) == "unhealthy", what="unhealthy")
    headrace.write("all.yaml", backend("be", [p.port for p in (bad, *good)],
                                       extra=ROUND_ROBIN % "") + "---" + route("r", ["be"]))
    eventually(lambda: state(headrace, bad) == "ok", what="not checked")


# ---- leaving ------------------------------------------------------------------------------------


def test_a_draining_vllm_is_left_without_an_error(t):
    headrace, (leaving, other) = pods(t, 2, CHECKED, "")
    leaving.bad = lambda peer, request: peer.json(DRAIN, "500 Internal Server Error")
    eq(chat(t, headrace, 10) + chat(t, headrace, 10, stream=True), [200] * 20)
    eq(leaving.served, 1)
    eq(state(headrace, leaving), "leaving")
    eq(metric(headrace, "leaving", leaving), 1)
    eq(metric(headrace, "shutdown_answers_total", leaving), 1)
    eq(metric(headrace, "ejections_total", leaving, ',reason="consecutive_errors"'), 0)
    headrace.wait_output(r"endpoint says that it shuts down.*127.0.0.1:%d" % leaving.port)


def test_so_is_one_that_says_it_in_a_stream_or_in_pieces(t):
    def in_a_stream(peer, request):
        peer.stream_head()
        peer.event(DRAIN)
        peer.stream_end()

    def in_pieces(peer, request):
        peer.send(b"HTTP/1.1 500 Oops\r\ncontent-type: application/json\r\n"
                  b"transfer-encoding: chunked\r\n\r\n")
        for at in range(0, len(DRAIN), 40):
            peer.chunk(DRAIN[at:at + 40])
            time.sleep(0.02)
        peer.send(b"0\r\n\r\n")

    for bad in (in_a_stream, in_pieces):
        headrace, (leaving, _) = pods(t, 2, "", "")
        leaving.bad = bad
        eq(chat(t, headrace, 8, stream=True), [200] * 8)
        eq((leaving.served, state(headrace, leaving)), (1, "leaving"))


def test_the_last_one_that_goes_is_heard(t):
    headrace, (leaving,) = pods(t, 1, "", "")
    leaving.bad = lambda peer, request: peer.json(DRAIN, "500 Internal Server Error")
    answer = t.chat(headrace.port, model="m")
    eq((answer.status, answer.body), (500, DRAIN))


def test_an_error_that_is_long_or_comes_in_pieces_passes_unchanged(t):
    body = b'{"error":{"message":"' + b"x" * 20000 + b'"}}'

    def pieces(peer, request):
        peer.send(b"HTTP/1.1 500 Oops\r\ncontent-type: application/json\r\n"
                  b"transfer-encoding: chunked\r\n\r\n")
        for at in range(0, len(body), 1500):
            peer.chunk(body[at:at + 1500])
        peer.send(b"0\r\n\r\n")

    def empty(peer, request):
        peer.send(b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n")

    for handler, want in ((pieces, body), (empty, b""),
                          (lambda peer, request: peer.json(body, "500 Oops"), body)):
        headrace, _ = setup(t, [serve_all(handler)])
        for _ in range(2):
            answer = t.chat(headrace.port, model="m")
            eq((answer.status, answer.body), (500, want))


def silent_after_a_token(gate):
    def handler(peer, request):
        if b'"stream": true' not in request.body and b'"stream":true' not in request.body:
            return ok_either(peer, request)
        peer.stream_head()
        peer.token("first")
        gate.wait(60)
        return False
    return handler


LIMITS = "  timeouts: {betweenTokens: 1h, firstToken: 1h, betweenTokensWhenLeaving: 300ms}\n"


def last_event(events):
    """The one before the connection breaks, as it does after an error in mid-answer."""
    event = None
    try:
        for event in events:
            pass
    except http1.HttpError:
        return event
    raise AssertionError("a proper end")


def test_a_silent_stream_of_a_server_that_refuses_connections_is_ended(t):
    gate = threading.Event()
    t.defer(gate.set)
    headrace, (silent, other) = pods(t, 2, LIMITS, "")
    silent.bad = other.bad = silent_after_a_token(gate)
    conn, response = t.stream(headrace.port, model="m")
    with conn:
        eq(response.status, 200)
        pod = silent if silent.served else other
        rest = other if pod is silent else silent
        rest.bad = None
        time.sleep(0.5)  # longer than the short limit: the server is well, so it is waited for
        refuse_connections(pod.server)
        eq(chat(t, headrace, 4), [200] * 4)
        event = last_event(conn.iter_events(response))
    eq((event.json()["error"]["code"], event.json()["error"]["type"]),
       ("server_left", "upstream_error"))
    key = 'headrace_request_outcomes_total{outcome="server_left"}'
    eventually(lambda: headrace.metrics()[key] == 1, what=key)


def test_a_request_without_a_token_moves_from_a_server_that_goes(t):
    gate = threading.Event()
    t.defer(gate.set)

    def silent(peer, request):
        gate.wait(60)
        return False

    headrace, (first, second) = pods(t, 2, LIMITS, "")
    first.bad = second.bad = silent
    with t.connect(headrace.port) as conn:
        conn.send_request("POST", "/v1/chat/completions", {}, t.chat_body(model="m", stream=True))
        eventually(lambda: first.served + second.served == 1, what="it is there")
        pod, rest = (first, second) if first.served else (second, first)
        rest.bad = None
        refuse_connections(pod.server)
        eq(chat(t, headrace, 4), [200] * 4)
        answer = conn.read_response()
    eq(answer.status, 200)
    eq(answer.events()[-1].done, True)


# ---- Kubernetes ---------------------------------------------------------------------------------

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: llm}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: headrace.dev/v1alpha1
kind: ModelBackend
metadata: {name: be}
spec:
  engine: Ollama
  pool: {serviceRef: {name: llm, port: http}}
  models: [{name: m}]
%s
"""


def slices(ports_and_conditions):
    return "".join("""
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: llm-%d, labels: {kubernetes.io/service-name: llm}}
addressType: IPv4
ports: [{name: http, port: %d}]
endpoints:
- addresses: [127.0.0.1]
  conditions: {%s}
  targetRef: {kind: Pod, name: pod-%d}
""" % (port, port, conditions, port) for port, conditions in ports_and_conditions)


READY = "ready: true, serving: true, terminating: false"
NOT_READY = "ready: false, serving: false, terminating: false"
TERMINATING = "ready: false, serving: true, terminating: true"


def cluster(t, all_pods, extra=LIMITS):
    base = SERVICE % extra + "---" + route("r", ["be"])
    headrace = t.headrace({"all.yaml": base + slices([(p.port, READY) for p in all_pods])})

    def become(conditions):
        headrace.write("all.yaml", base + slices([(p.port, c) for p, c in conditions]))
    return headrace, become


def test_a_terminating_pod_gets_nothing_new_and_finishes_its_streams(t):
    gate = threading.Semaphore(0)

    def slow(peer, request):
        peer.stream_head()
        for word in ("a", "b", "c", "d"):
            peer.token(word)
            gate.acquire(timeout=60)
        peer.stream_end()

    first, second = Pod(t), Pod(t)
    headrace, become = cluster(t, [first, second], "")
    first.bad = second.bad = slow
    conn, response = t.stream(headrace.port, model="m")
    with conn:
        eq(response.status, 200)
        pod, rest = (first, second) if first.served else (second, first)
        rest.bad = None
        become([(pod, TERMINATING), (rest, READY)])
        eventually(lambda: pod.port not in endpoints(headrace), what="it left the set")
        eq(chat(t, headrace, 10), [200] * 10)
        eq(pod.served, 1)
        events = []
        for event in conn.iter_events(response):
            events.append(event)
            gate.release()
        eq(len(events), 5)
        eq(events[-1].done, True)


def test_a_silent_stream_of_a_terminating_pod_is_ended_that_of_one_not_ready_is_not(t):
    gate = threading.Event()
    t.defer(gate.set)
    first, second = Pod(t), Pod(t)
    headrace, become = cluster(t, [first, second])
    first.bad = second.bad = silent_after_a_token(gate)
    conn, response = t.stream(headrace.port, model="m")
    with conn:
        pod, rest = (first, second) if first.served else (second, first)
        rest.bad = None
        become([(pod, NOT_READY), (rest, READY)])
        eventually(lambda: pod.port not in endpoints(headrace), what="it left the set")
        events = conn.iter_events(response)
        contains(next(events).data, "first")
        conn.sock.settimeout(1.0)  # three times the short limit
        try:
            t.log("unexpected: %r" % conn.sock.recv(1))
            raise AssertionError("the stream of a pod that is not ready was ended")
        except socket.timeout:
            conn.sock.settimeout(60)
        become([(pod, TERMINATING), (rest, READY)])
        contains(last_event(conn.iter_events(response)).data, "server_left")


def test_a_pod_that_joins_starts_slowly(t):
    all_pods = [Pod(t) for _ in range(3)]
    headrace, become = cluster(t, all_pods[:2],
                               "  balancing: {policy: RoundRobin, slowStart: 1h}\n")
    eq(chat(t, headrace, 10), [200] * 10)
    eq([pod.served for pod in all_pods], [5, 5, 0])
    become([(pod, READY) for pod in all_pods])
    eventually(lambda: len(endpoints(headrace)) == 3, what="it joins")
    eq(state(headrace, all_pods[2]), "warming")
    eq(state(headrace, all_pods[0]), "ok")
    eq(chat(t, headrace, 200), [200] * 200)
    assert all_pods[2].served < 40, all_pods[2].served  # 67 without, about 7 with


if __name__ == "__main__":
    main(globals())
