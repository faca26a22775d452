#!/usr/bin/env python3
"""Hedges: a request that waits too long goes to a second endpoint, too; one of the two answers, the
other is aborted, and nothing is left behind."""

import json
import os
import signal
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "http2")]
from common import backend, contains, eq, eventually, free_port, hanging_port  # noqa: E402
from common import main, ok_either, route, serve_all, setup, upstream  # noqa: E402
from sides import Case, Wire, both, respond, settled, stream_words  # noqa: E402

HEDGE = "    hedge: {delay: %s}\n"
SOON = HEDGE % "50ms"
SENT = 'headrace_backend_hedges_total{route="default/r",backend="default/be"}'
WON = 'headrace_backend_hedges_won_total{route="default/r",backend="default/be"}'


class Script:
    """What each request to a server meets, in the order in which they come to any of them. A part
    gets the call, and the script, whose events tell the parts of each other."""

    def __init__(self, *parts):
        self.parts = list(parts)
        self.lock = threading.Lock()
        self.met = []  # (server, call, body)
        self.come = [threading.Event() for _ in parts]
        self.over = [threading.Event() for _ in parts]

    def handlers(self, count):
        return [lambda call, server=server: self.meet(server, call) for server in range(count)]

    def meet(self, server, call):
        body = call.body()
        with self.lock:
            number = len(self.met)
            self.met.append((server, call, body))
        assert number < len(self.parts), "one request too many"
        self.come[number].set()
        self.parts[number](call, self)
        self.over[number].set()

    def wait(self, *numbers):
        for number in numbers:
            assert self.come[number].wait(30), "request %d" % number

    def ended(self, *numbers):
        for number in numbers:
            assert self.over[number].wait(30), "the end of request %d" % number

    def servers(self):
        return [server for server, _, _ in self.met]


def words(call, _script):
    stream_words(call, ["a", "b"])


def fine(call, _script):
    respond(call, 200, b'{"ok":true}', kind="application/json")


def aborted(call, _script):
    call.wait_abort()


def after(number, then):
    """The same once that request came, too."""
    def part(call, script):
        script.wait(number)
        then(call, script)
    return part


def once_over(number, then):
    def part(call, script):
        script.ended(number)
        then(call, script)
    return part


def broken(call, _script):
    call.break_off()


def status(code):
    def part(call, _script):
        respond(call, code, b'{"error":{"message":"%d"}}' % code, kind="application/json")
    return part


def crowded(call, _script):
    """As vLLM says it: 200, and the refusal is the first event."""
    call.head(200, [("content-type", "text/event-stream")])
    call.send(b'data: {"error":{"message":"full","code":503}}\n\n')
    call.end()


def case_of(t, client, server, script, endpoints=2, extra="", hedge=SOON, **more):
    case = Case(t, Wire(client, server), script.handlers(endpoints), route_extra=hedge + extra,
                **more)
    case.script = script
    return case


def logged(case, **wanted):
    """One line, one request in the counts."""
    lines = eventually(lambda: [json.loads(line) for line in case.headrace.stdout.splitlines()
                                if '"request_id"' in line], what="a line of the access log")
    eq(len(lines), 1)
    eq({key: lines[0].get(key) for key in wanted}, wanted)
    return lines[0]


def counted(case, sent, won, outcome="ok"):
    settled(case.headrace)

    def look():  # a worker counts one after another
        counts = case.headrace.metrics()
        now = (counts['headrace_request_outcomes_total{outcome="%s"}' % outcome],
               counts.get(SENT, 0), counts.get(WON, 0))
        return counts if now == (1, sent, won) else None
    counts = eventually(look, what="%s, %d hedges, %d won" % (outcome, sent, won))
    eq(sum(v for k, v in counts.items() if k.startswith("headrace_request_outcomes_total")), 1)
    return counts


def unblamed(case):
    """No endpoint looks worse for it."""
    state = case.t.request(case.headrace.admin_port, "GET", "/endpoints").json()
    for endpoint in state["backends"][0]["endpoints"]:
        eq((endpoint["failures"], endpoint["health"]["errors"], endpoint["avoided_for_ms"],
            endpoint["overloads"]), (0, 0, 0, 0))


# ---- who answers --------------------------------------------------------------------------------

def the_second_answers_a_stream(t, client, server):
    script = Script(aborted, words)
    case = case_of(t, client, server, script)
    ask = case.chat(stream=True, fields=[("x-request-id", "id-1"), ("x-mine", "yes")])
    eq(ask.status(), 200)
    eq(ask.fields["x-request-id"], "id-1")
    contains(ask.rest(), b'"content":"a"')
    script.ended(0)
    eq(sorted(script.servers()), [0, 1])
    (_, one, body), (_, two, body_again) = script.met
    eq(body, body_again)
    mine = [[(k.lower(), v) for k, v in call.fields.items if k != "host"] for call in (one, two)]
    eq(mine[0], mine[1])
    eq((one.method, one.path, one.authority), (two.method, two.path, two.authority))
    counted(case, 1, 1)
    unblamed(case)
    port = case.servers[script.servers()[1]].port
    line = logged(case, hedged="won", attempts=2, status=200, outcome="ok", stream=True,
                  endpoint="127.0.0.1:%d" % port, path="/v1/chat/completions", method="POST")
    assert line["ttft_ms"] >= 50, line
    picks = t.request(case.headrace.admin_port, "GET", "/decisions?request_id=id-1").json()
    eq([(d["attempt"], d.get("after", ""), d["failed"]) for d in picks["decisions"]],
       [(1, "", False), (2, "hedge_delay", False)])


def the_second_answers_what_does_not_stream(t, client, server):
    script = Script(aborted, fine, fine)
    case = case_of(t, client, server, script)
    ask = case.chat()
    eq((ask.status(), ask.rest()), (200, b'{"ok":true}'))
    script.ended(0)
    counted(case, 1, 1)
    unblamed(case)
    # The client's connection goes on.
    if client == "h1":
        ask.conn.send(b"POST /v1/x HTTP/1.1\r\nhost: a\r\ncontent-length: 13\r\n\r\n"
                      b'{"model":"m"}')
        eq(ask.conn.read_response().status, 200)
    else:
        eq(case.chat().status(), 200)


def the_first_answers_after_all(t, client, server):
    for stream, part in ((True, words), (False, fine)):
        script = Script(after(1, part), aborted)
        case = case_of(t, client, server, script)
        ask = case.chat(stream=stream)
        eq(ask.status(), 200)
        contains(ask.rest(), b'"content":"b"' if stream else b"true")
        script.ended(1)
        counted(case, 1, 0)
        unblamed(case)
        port = case.servers[script.servers()[0]].port
        logged(case, hedged="lost", attempts=2, endpoint="127.0.0.1:%d" % port)


def a_first_event_in_pieces_is_none(t, client, server):
    """Only a whole event wins; what was held of the other one is forgotten."""
    def half(call, script):
        call.head(200, [("content-type", "text/event-stream")])
        call.send(b': wait\n\ndata: {"choices":[{"delta":{"content":"bad')
        call.wait_abort()
    script = Script(half, words)
    case = case_of(t, client, server, script)
    ask = case.chat(stream=True)
    eq(ask.status(), 200)
    body = ask.rest()
    contains(body, b'"content":"a"')
    assert b"bad" not in body and b"wait" not in body, body
    script.ended(0)
    counted(case, 1, 1)


def nobody_is_asked_twice_who_answers_in_time(t, client, server):
    script = Script(words, fine)
    case = case_of(t, client, server, script, hedge=HEDGE % "1h")
    eq(case.chat(stream=True).status(), 200)
    eq(case.chat().status(), 200)
    settled(case.headrace)
    eq(case.headrace.metrics().get(SENT, 0), 0)
    eventually(lambda: case.headrace.stdout.count('"attempts":1') == 2, what="two lines")
    assert "hedged" not in case.headrace.stdout


# ---- failures -----------------------------------------------------------------------------------

def the_first_fails_while_the_second_runs(t, client, server):
    for stream, part in ((True, words), (False, fine)):
        script = Script(after(1, broken), once_over(0, part))
        case = case_of(t, client, server, script, extra="    retry: {attempts: 0}\n")
        ask = case.chat(stream=stream)
        eq(ask.status(), 200)
        ask.rest()
        counted(case, 1, 1)
        logged(case, hedged="won", attempts=2)


def the_second_fails_while_the_first_runs(t, client, server):
    for stream, part in ((True, words), (False, fine)):
        script = Script(once_over(1, part), broken)
        case = case_of(t, client, server, script, extra="    retry: {attempts: 0}\n")
        ask = case.chat(stream=stream)
        eq(ask.status(), 200)
        ask.rest()
        counted(case, 1, 0)
        logged(case, hedged="lost", attempts=2)


def both_fail_and_a_third_is_tried(t, client, server):
    for one, two in ((after(1, broken), once_over(0, broken)), (once_over(1, broken), broken)):
        script = Script(one, two, words)
        case = case_of(t, client, server, script, endpoints=3)
        ask = case.chat(stream=True)
        eq(ask.status(), 200)
        contains(ask.rest(), b'"content":"a"')
        eq(sorted(script.servers()), [0, 1, 2])
        counted(case, 1, 0)
        logged(case, hedged="lost", attempts=3)


def both_fail_and_nothing_is_left(t, client, server):
    script = Script(after(1, broken), once_over(0, broken))
    case = case_of(t, client, server, script)
    ask = case.chat()
    eq(ask.status(), 502)
    contains(ask.rest(), b"upstream_reset")
    counted(case, 1, 0, "upstream_reset")
    logged(case, hedged="lost", status=502)


def a_refusal_does_not_win(t, client, server):
    """What would be tried again is no answer as long as the other one runs; the last one is."""
    for refusal, stream, part in ((status(503), False, fine), (crowded, True, words)):
        for won, script in ((1, Script(after(1, refusal), once_over(0, part))),
                            (0, Script(once_over(1, part), refusal))):
            case = case_of(t, client, server, script, extra="    retry: {attempts: 0}\n")
            ask = case.chat(stream=stream)
            eq(ask.status(), 200)
            ask.rest()
            counted(case, 1, won)
    script = Script(after(1, status(503)), once_over(0, status(503)))
    case = case_of(t, client, server, script)
    ask = case.chat()
    eq((ask.status(), ask.rest()), (503, b'{"error":{"message":"503"}}'))


def an_error_that_is_not_tried_again_is_an_answer(t, client, server):
    def named(call, _script):
        call.head(200, [("content-type", "text/event-stream")])
        call.send(b'data: {"error":{"message":"no","code":400}}\n\n')
        call.end()
    for code, stream, part in ((500, False, status(500)), (400, False, status(400)),
                               (400, True, named)):
        for script in (Script(after(1, part), aborted), Script(aborted, part)):
            case = case_of(t, client, server, script)
            ask = case.chat(stream=stream)
            eq(ask.status(), code)
            ask.rest()
            script.ended(0, 1)
            settled(case.headrace)
            logged(case, status=code)


def a_fallback_comes_after_both(t, client, server):
    """An error that only the fallback is tried after does not win either."""
    script = Script(after(1, status(500)), once_over(0, status(500)))
    case = case_of(t, client, server, script, extra="    fallbacks: [{name: other}]\n")
    other = upstream(t, serve_all(ok_either))
    case.headrace.write("other.yaml", backend("other", [other.port], ()))
    eventually(lambda: "other" in t.request(case.headrace.admin_port, "GET", "/endpoints").text,
               what="the fallback")
    ask = case.chat()
    eq(ask.status(), 200)
    ask.rest()
    eq(len(other.requests), 1)
    settled(case.headrace)


# ---- the client, time, the end ------------------------------------------------------------------

def the_client_goes_while_both_run(t, client, server):
    for stream in (True, False):
        script = Script(aborted, aborted)
        case = case_of(t, client, server, script)
        ask = case.chat(stream=stream)
        script.wait(0, 1)
        ask.abort()
        script.ended(0, 1)
        counted(case, 1, 0, "client_abort")
        unblamed(case)
        logged(case, status=0, hedged="lost")


def the_client_goes_after_the_second_won(t, client, server):
    def one_word(call, _script):
        stream_words(call, ["a"], end=False)
        call.wait_abort()
    script = Script(aborted, one_word)
    case = case_of(t, client, server, script)
    ask = case.chat(stream=True)
    eq(ask.status(), 200)
    script.ended(0)
    ask.abort()
    script.ended(1)
    counted(case, 1, 1, "client_abort")


def time_limits_end_both(t, client, server):
    for limits, outcome in (("    timeouts: {firstToken: 800ms}\n", "first_token_timeout"),
                            ("    timeouts: {request: 800ms}\n", "request_timeout")):
        script = Script(aborted, aborted)
        case = case_of(t, client, server, script, extra=limits)
        ask = case.chat(stream=True)
        eq(ask.status(), 504)
        contains(ask.rest(), outcome.encode())
        script.ended(0, 1)
        counted(case, 1, 0, outcome)
        unblamed(case)


def each_try_has_its_own_limit(t, client, server):
    """The first one's is over: the second goes on; then its own is: the third endpoint."""
    script = Script(aborted, aborted, words)
    case = case_of(t, client, server, script, endpoints=3, hedge=HEDGE % "200ms",
                   extra="    retry: {attempts: 1, perTryTimeout: 1s}\n")
    ask = case.chat(stream=True)
    eq(ask.status(), 200)
    script.ended(0, 1)
    eq(sorted(script.servers()), [0, 1, 2])
    counted(case, 1, 0)


def a_drain_lets_both_run(t, client, server):
    gate = threading.Event()

    def held(call, script):
        gate.wait(30)
        words(call, script)
    script = Script(aborted, held)
    case = case_of(t, client, server, script, args=("--drain-timeout", "60s"))
    ask = case.chat(stream=True)
    script.wait(0, 1)
    case.headrace.signal(signal.SIGTERM)
    case.headrace.wait_output("shutting down")
    gate.set()
    eq(ask.status(), 200)
    contains(ask.rest(), b"[DONE]")
    script.ended(0)
    eq(case.headrace.wait(30), 0)
    logged(case, hedged="won")


def the_end_of_the_process_cuts_both(t, client, server):
    script = Script(aborted, aborted)
    case = case_of(t, client, server, script, args=("--drain-timeout", "100ms"))
    case.chat(stream=True)
    script.wait(0, 1)
    case.headrace.signal(signal.SIGTERM)
    eq(case.headrace.wait(30), 0)
    script.ended(0, 1)
    logged(case, outcome="shutdown")


# ---- what is sent again -------------------------------------------------------------------------

def large_bodies_and_other_names(t, client, server):
    script = Script(aborted, fine)
    case = case_of(t, client, server, script, models=(),
                   backend_extra="  models: [{name: m, upstreamName: served}]\n")
    ask = case.chat(prompt="p" * 3000000)
    eq((ask.status(), ask.rest()), (200, b'{"ok":true}'))
    eq(script.met[0][2], script.met[1][2])
    contains(script.met[1][2], b'"served"')
    script.ended(0)
    settled(case.headrace)
    eq(case.headrace.metrics()['headrace_worker_buffered_bytes{worker="0"}'] >= 0, True)


def bodies_that_stream_and_are_still_here(t, client, server):
    """No rule looks into them: short ones are sent again, with their trailers and as they came."""
    script = Script(aborted, fine)
    case = case_of(t, client, server, script, models=())
    ask = case.ask("POST", "/v1/x", [("accept-encoding", "gzip")], body=b"one", end=False)
    ask.send(b"two")
    ask.finish([("x-sum", "6")])
    eq(ask.status(), 200)
    eq([body for _, _, body in script.met], [b"onetwo"] * 2)
    for _, call, _ in script.met:
        eq(call.trailers["x-sum"], "6")
        eq(call.fields["accept-encoding"], "gzip")
    counted(case, 1, 1)


def forms_with_their_model(t, client, server):
    form = (b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%s\r\n'
            b"--b--\r\n" % (b"x" * 90000))
    fields = [("content-type", "multipart/form-data; boundary=b"), ("accept-encoding", "gzip")]
    script = Script(aborted, fine)
    case = case_of(t, client, server, script, models=(),
                   backend_extra="  models: [{name: m, upstreamName: served}]\n")
    ask = case.ask("POST", "/v1/audio/transcriptions", fields, body=form)
    eq(ask.status(), 200)
    for _, call, body in script.met:
        eq(body, form.replace(b"\r\nm\r\n", b"\r\nserved\r\n", 1))
        eq(call.fields.get("accept-encoding"), None)
    counted(case, 1, 1)


def bodies_that_are_gone_or_still_come(t, client, server):
    def late(call, _script):
        time.sleep(0.4)
        fine(call, _script)
    script = Script(late)
    case = case_of(t, client, server, script, models=())
    eq(case.ask("POST", "/v1/x", body=b"x" * 3000000).status(), 200)
    counted(case, 0, 0)
    # The client takes its time: that is not the server's. From the end of the body on it is.
    script = Script(aborted, fine)
    case = case_of(t, client, server, script, models=())
    ask = case.ask("POST", "/v1/x", body=b"one", end=False)
    time.sleep(0.4)
    eq(case.headrace.metrics().get(SENT, 0), 0)
    ask.finish()
    eq(ask.status(), 200)
    counted(case, 1, 1)


# ---- when there is none -------------------------------------------------------------------------

def slow(seconds=0.4):
    def part(call, script):
        time.sleep(seconds)
        fine(call, script)
    return part


def there_is_one_endpoint_only(t, client, server):
    script = Script(slow())
    case = case_of(t, client, server, script, endpoints=1)
    eq(case.chat().status(), 200)
    counted(case, 0, 0)
    logged(case, attempts=1, hedged=None)


def the_budget_is_used_up(t, client, server):
    script = Script(slow())
    case = case_of(t, client, server, script,
                   extra="    retry: {budget: {percent: 0, minConcurrency: 0}}\n")
    eq(case.chat().status(), 200)
    counts = counted(case, 0, 0)
    eq(counts["headrace_retries_refused_total"], 1)


def a_second_one_is_the_last(t, client, server):
    script = Script(aborted, slow())
    case = case_of(t, client, server, script, endpoints=4)
    eq(case.chat().status(), 200)
    script.ended(0)
    counted(case, 1, 1)


both(globals(), [
    the_second_answers_a_stream, the_second_answers_what_does_not_stream,
    the_first_answers_after_all, a_first_event_in_pieces_is_none,
    nobody_is_asked_twice_who_answers_in_time, the_first_fails_while_the_second_runs,
    the_second_fails_while_the_first_runs, both_fail_and_a_third_is_tried,
    both_fail_and_nothing_is_left, a_refusal_does_not_win,
    an_error_that_is_not_tried_again_is_an_answer, a_fallback_comes_after_both,
    the_client_goes_while_both_run, the_client_goes_after_the_second_won, time_limits_end_both,
    each_try_has_its_own_limit, a_drain_lets_both_run, the_end_of_the_process_cuts_both,
    large_bodies_and_other_names, bodies_that_stream_and_are_still_here,
    forms_with_their_model, bodies_that_are_gone_or_still_come, there_is_one_endpoint_only,
    the_budget_is_used_up, a_second_one_is_the_last,
])


def test_an_endpoint_that_failed_gets_none(t):
    """Not even to find out whether it is back."""
    def late(peer, request):
        if b"slowly" in bytes(request.body):
            time.sleep(0.4)
        ok_either(peer, request)
    headrace, servers = setup(t, [serve_all(late)], route_extra=SOON, ports=[free_port()])
    key = 'headrace_retries_total{reason="connect_failure"}'

    def failed():
        eq(t.chat(headrace.port, model="m").status, 200)
        return headrace.metrics()[key] > 0
    eventually(failed, what="the dead endpoint was drawn")
    for _ in range(3):
        eq(t.chat(headrace.port, "slowly", model="m").status, 200)
    settled(headrace)
    eq(headrace.metrics()[SENT], 0)


def test_connections_that_do_not_come_to_be_are_waited_for_too(t):
    headrace, servers = setup(t, [serve_all(ok_either)], ports=[hanging_port(t)],
                              backend_extra="  timeouts: {connect: 60s}\n"
                              "  balancing: {policy: RoundRobin}\n", route_extra=SOON)
    for stream in (False, True) * 4:
        eq(t.chat(headrace.port, model="m", stream=stream).status, 200)
    settled(headrace)
    counts = headrace.metrics()
    assert counts[WON] > 0, counts
    eq(counts['headrace_retries_total{reason="connect_failure"}'], 0)


def test_a_place_in_the_budget_is_given_back(t):
    """One at a time is allowed: with two that wait, one is hedged; and one after another both."""
    gate = threading.Event()
    script = Script(*[lambda call, script: (gate.wait(30), fine(call, script))] * 3,
                    aborted, fine, aborted, fine)
    case = case_of(t, "h1", "h1", script,
                   extra="    retry: {budget: {percent: 0, minConcurrency: 1}}\n")
    asks = [case.chat(), case.chat()]
    eventually(lambda: case.headrace.metrics()["headrace_retries_refused_total"] == 1,
               what="one was refused")
    script.wait(2)
    gate.set()
    eq([ask.status() for ask in asks], [200, 200])
    settled(case.headrace)
    for _ in range(2):
        eq(case.chat().status(), 200)
    settled(case.headrace)
    counts = case.headrace.metrics()
    eq((counts[SENT], counts["headrace_retries_refused_total"]), (3, 1))


def test_where_there_is_no_room_there_are_none(t):
    """Copies take half of what requests may hold, and no more."""
    script = Script(slow())
    case = case_of(t, "h1", "h1", script,
                   args=("--workers", "1", "--max-buffered-bytes", "4000000",
                         "--max-body-bytes", "2000000"))
    eq(case.chat(prompt="p" * 1999000).status(), 200)
    settled(case.headrace)
    eq(case.headrace.metrics().get(SENT, 0), 0)
    eventually(lambda: case.headrace.metrics()['headrace_worker_buffered_bytes{worker="0"}'] <
               1000000, what="nothing is held")


def test_upgrades_get_none(t):
    def switch(peer):
        peer.read_request()
        time.sleep(0.4)
        peer.send(b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    headrace, servers = setup(t, [switch, switch], route_extra=SOON)
    with t.connect(headrace.port) as conn:
        conn.send(b"GET /v1/realtime?model=m HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
                  b"Upgrade: websocket\r\n\r\n")
        eq(conn.read_head().status, 101)
    eq(sum(len(server.requests) for server in servers), 1)


def test_copies_for_a_mirror_get_none(t):
    def late(peer, request):
        time.sleep(0.4)
        ok_either(peer, request)
    first = upstream(t, serve_all(ok_either))
    shadows = [upstream(t, serve_all(late)) for _ in range(2)]
    headrace = t.headrace({"a.yaml": "---".join([
        backend("be", [first.port]), backend("shadow", [s.port for s in shadows], ()),
        route("r", ["be"], SOON + "    mirror: {name: shadow}\n")])})
    eq(t.chat(headrace.port, model="m").status, 200)
    eventually(lambda: headrace.metrics()['headrace_mirrors_total{result="answered"}'] == 1,
               what="the copy's answer")
    eq(sum(len(s.requests) for s in shadows), 1)
    eq(headrace.metrics()[SENT], 0)


def test_grpc_gets_none(t):
    from sides import H2Server, http2

    def answer(call):
        call.body()
        time.sleep(0.4)
        call.head(200, [("content-type", "application/grpc")])
        call.end([("grpc-status", "0")])
    servers = [H2Server(answer) for _ in range(2)]
    for server in servers:
        t.defer(server.stop)
    headrace = t.headrace({"a.yaml": backend("be", [s.port for s in servers], (),
                                             "  protocol: HTTP2\n") + "---" +
                           route("r", ["be"], SOON, path="/a.B")})
    conn = http2.connect(headrace.port)
    t.defer(conn.close)
    ask = conn.request("POST", "/a.B/C", [("content-type", "application/grpc"),
                                          ("te", "trailers")], b"\0\0\0\0\0")
    eq(ask.wait_head()[":status"], "200")
    ask.wait_end()
    eq(sum(len(server.calls) for server in servers), 1)


def test_a_cookie_names_the_endpoint_that_answered(t):
    script = Script(aborted, fine, fine)
    case = case_of(t, "h1", "h1", script, extra="    sessionAffinity: {cookie: {name: s}}\n"
                   "    responseHeaders: {add: [{name: x-b, value: c}]}\n"
                   "    cors: {allowOrigins: [https://a.org]}\n")
    ask = case.chat(fields=[("origin", "https://a.org")])
    eq(ask.status(), 200)
    eq((ask.fields["x-b"], ask.fields["access-control-allow-origin"]), ("c", "https://a.org"))
    cookie = ask.fields["set-cookie"].split(";")[0]
    eq(case.chat(fields=[("cookie", cookie)]).status(), 200)
    eq(script.servers()[1], script.servers()[2])


def test_many_at_a_time(t):
    """Some hang now and then, some break: everybody is served, and the books are empty."""
    lock = threading.Lock()
    count = [0]

    def moody(peer, request):
        with lock:
            count[0] += 1
            number = count[0]
        if number % 5 == 0:
            peer.wait_closed()
            return False
        if number % 11 == 0:
            return False
        if number % 7 == 0:
            time.sleep(0.06)
        ok_either(peer, request)
        return True
    headrace, _ = setup(t, [serve_all(moody)] * 4, route_extra=SOON +
                        "    retry: {attempts: 5, perTryTimeout: 1s, budget: {percent: 100}}\n")

    def run(n):
        return [t.chat(headrace.port, model="m", stream=(n + i) % 2 == 0).status
                for i in range(20)]
    answers = t.parallel([lambda n=n: run(n) for n in range(12)])
    served = sum(statuses.count(200) for statuses in answers)
    settled(headrace)
    assert served >= 220, served
    key = 'headrace_request_outcomes_total{outcome="ok"}'
    eventually(lambda: (lambda c: c if c[key] == served and c[SENT] and c[WON] else None)(
        headrace.metrics()), what="all are counted")
    eventually(lambda: not any(v for k, v in headrace.metrics().items()
                               if k.startswith("headrace_worker_requests_in_flight")),
               what="no request is left")


if __name__ == "__main__":
    main(globals())
