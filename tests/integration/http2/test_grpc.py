#!/usr/bin/env python3
"""gRPC from end to end over HTTP/2: unary, streams both ways, trailers, deadlines, and our own
errors as gRPC says them."""

import threading

from sides import Case, H2Server, Wire, http2, settled, stream_words
from common import backend, route
from harness import eq, eventually, main

SERVICE = "/inference.GRPCInferenceService/"
HEAD = [("content-type", "application/grpc"), ("te", "trailers")]
OK = [("grpc-status", "0")]


def message(body):
    return b"\0" + len(body).to_bytes(4, "big") + body


def infer(model, rest=b""):
    """ModelInferRequest with a model's name (field 1) and an id (field 3)."""
    name = model.encode()
    return message(bytes([10, len(name)]) + name + bytes([26, len(rest)]) + rest)


def read_message(stream):
    head = stream.wait_data(5)
    return stream.wait_data(int.from_bytes(head[1:], "big"))


def call_of(case, method, first=None, fields=(), end=False):
    return case.ask("POST", SERVICE + method, HEAD + list(fields), first, end)



def start(t, handler, backend_extra="", route_extra="", args=()):
    """A case whose only route takes every path."""
    case = Case(t, Wire("h2", "h2"), handler, backend_extra=backend_extra, route_extra=route_extra,
                args=args)
    case.headrace.write("all.yaml", case.manifest.replace("value: /v1}", "value: /}"))
    t.eventually(lambda: case.headrace.metrics()["headrace_snapshot_generation"] >= 2)
    return case


def unary(call):
    call.got = read_message(call.stream)
    call.head(200, [("content-type", "application/grpc")])
    call.send(message(b"answer"))
    call.body()
    call.end(OK)


def test_unary(t):
    case = start(t, unary)
    ask = call_of(case, "ModelInfer", infer("m"), end=True)
    eq(ask.status(), 200)
    eq(ask.rest(), message(b"answer"))
    eq(ask.trailers.items, OK)
    call = case.calls()[0]
    eq(call.path, SERVICE + "ModelInfer")
    eq((call.fields["te"], call.fields["content-type"]), ("trailers", "application/grpc"))


def test_the_first_message_is_enough_to_route(t):
    """The request is not over, and is with the server already."""
    case = start(t, unary)
    ask = call_of(case, "ModelStreamInfer", infer("m", b"1"))
    eq(ask.status(), 200)
    eq(ask.stream.wait_data(11), message(b"answer"))
    ask.finish()
    eq(ask.rest(), b"")
    eq(ask.trailers.items, OK)


def test_both_sides_take_turns(t):
    def handler(call):
        call.head(200, [("content-type", "application/grpc")])
        while True:
            piece = call.read()
            if not piece:
                break
            call.send(message(b"%d" % len(piece)))
        call.end(OK)
    case = start(t, handler)
    ask = call_of(case, "ModelStreamInfer", infer("m", b"0"))
    eq(ask.status(), 200)
    eq(read_message(ask.stream), b"%d" % len(infer("m", b"0")))
    for i in range(10):
        ask.send(infer("m", b"x" * i))
        eq(read_message(ask.stream), b"%d" % len(infer("m", b"x" * i)))
    ask.finish()
    eq(ask.rest(), b"")
    eq(ask.trailers.items, OK)
    settled(case.headrace)


def test_a_message_in_single_bytes(t):
    case = start(t, unary)
    ask = call_of(case, "ModelInfer", b"")
    for byte in infer("m", b"id"):
        ask.send(bytes([byte]))
    ask.finish()
    eq((ask.status(), ask.rest()), (200, message(b"answer")))
    eq(case.calls()[0].got, infer("m", b"id")[5:])


def test_a_large_message_streams(t):
    def handler(call):
        call.total = len(call.body())
        call.head(200, [("content-type", "application/grpc")])
        call.send(message(b"answer"))
        call.end(OK)
    case = start(t, handler)
    tensors = b"\x3a" + bytes([0x80, 0x80, 0x80, 0x04]) + b"t" * (8 << 20)
    body = message(bytes([10, 1]) + b"m" + tensors)
    ask = call_of(case, "ModelInfer", body, end=True)
    eq((ask.status(), ask.rest()), (200, message(b"answer")))
    eq(case.calls()[0].total, len(body))


def test_models_part_on_one_connection(t):
    servers = [H2Server(unary), H2Server(unary)]
    for one in servers:
        t.defer(one.stop)
    text = "---".join(
        [backend(name, [one.port], (name,), "  protocol: HTTP2\n")
         for name, one in zip("ab", servers)]
        + [route("r-" + name, [name], path="/") for name in "ab"])
    headrace = t.headrace({"all.yaml": text})
    conn = http2.connect(headrace.port, log=t.log)
    t.defer(conn.close)
    streams = [conn.request("POST", SERVICE + "ModelInfer", HEAD, infer(name)) for name in "abbab"]
    for stream in streams:
        eq(stream.wait_head()[":status"], "200")
        eq(stream.wait_end(), message(b"answer"))
        eq(stream.trailers.items, OK)
    eq([len(one.calls) for one in servers], [2, 3])


def is_error(ask, status):
    """A trailers-only answer: one HEADERS frame that ends the stream."""
    eq(ask.status(), 200)
    eq(ask.rest(), b"")
    eq((ask.fields["content-type"], ask.fields["grpc-status"]), ("application/grpc", status))
    assert ask.fields["grpc-message"]
    eq((len(ask.stream.sections), ask.stream.frames), (1, []))


def test_our_errors_are_trailers_only(t):
    case = start(t, unary)
    is_error(call_of(case, "ModelInfer", infer("other"), end=True), "5")
    is_error(call_of(case, "ModelInfer", b"", end=True), "3")
    is_error(call_of(case, "ModelInfer", infer("m") + infer("m"), end=True), "3")
    is_error(call_of(case, "ModelStreamInfer", infer("other")), "5")  # it has not ended
    case.conn().ping()  # the connection lives
    eq(case.calls(), [])


def test_our_errors_carry_what_the_rule_adds_to_answers(t):
    case = start(t, unary, route_extra="""    retry: {attempts: 0}
    cors: {allowOrigins: [https://app.example.com]}
    responseHeaders:
      remove: [date]
      set: [{name: Cache-Control, value: no-store}]
      add: [{name: X-Served-By, value: headrace}]
""")
    case.servers[0].stop()
    ask = call_of(case, "ModelInfer", infer("m"), [("origin", "https://app.example.com")], end=True)
    is_error(ask, "14")
    eq([ask.fields.get(name) for name in ("cache-control", "x-served-by", "date",
                                          "access-control-allow-origin")],
       ["no-store", "headrace", None, "https://app.example.com"])
    eq(len(ask.fields.all("content-type")), 1)
    # What no rule took has the policy of what the path may lead to, as other errors do.
    ask = call_of(case, "ModelInfer", infer("other"), [("origin", "https://app.example.com")],
                  end=True)
    is_error(ask, "5")
    eq([ask.fields.get(name) for name in ("cache-control", "access-control-allow-origin")],
       [None, "https://app.example.com"])
    assert ask.fields.get("date")


def test_no_server_is_unavailable(t):
    case = start(t, unary, route_extra="    retry: {attempts: 0}\n")
    case.servers[0].stop()
    is_error(call_of(case, "ModelInfer", infer("m"), end=True), "14")


def test_trailers_only_of_the_server_passes(t):
    def handler(call):
        call.head(200, [("content-type", "application/grpc"), ("grpc-status", "8"),
                        ("grpc-message", "full")], end=True)
    case = start(t, handler)
    ask = call_of(case, "ModelInfer", infer("m"), end=True)
    eq((ask.status(), ask.rest()), (200, b""))
    eq((ask.fields["grpc-status"], ask.fields["grpc-message"]), ("8", "full"))
    eq(len(ask.stream.sections), 1)


def test_a_deadline_ends_the_call(t):
    gone = threading.Event()

    def handler(call):
        call.wait_abort()
        gone.set()
    case = start(t, handler)
    ask = call_of(case, "ModelInfer", infer("m"), [("grpc-timeout", "400m")], end=True)
    is_error(ask, "4")
    eq(case.calls()[0].fields["grpc-timeout"], "400m")
    assert gone.wait(60)


def says_one(gone):
    """A stream of one message, whose server then waits for the end, and says when it came."""
    def handler(call):
        call.head(200, [("content-type", "application/grpc")])
        call.send(message(b"one"))
        call.wait_abort()
        gone.set()
    return handler


def test_a_cancelled_call_is_cancelled_at_the_server(t):
    gone = threading.Event()
    case = start(t, says_one(gone))
    ask = call_of(case, "ModelStreamInfer", infer("m"))
    eq(read_message(ask.stream), b"one")
    ask.abort()
    assert gone.wait(60)
    settled(case.headrace)


def test_a_server_that_breaks_off_is_told_in_trailers(t):
    go = threading.Event()

    def handler(call):
        call.head(200, [("content-type", "application/grpc")])
        call.send(message(b"one"))
        assert go.wait(60)
        call.break_off()
    case = start(t, handler)
    ask = call_of(case, "ModelStreamInfer", infer("m"))
    eq(read_message(ask.stream), b"one")
    go.set()
    eq(ask.rest(), b"")
    eq(ask.trailers["grpc-status"], "14")
    settled(case.headrace)


def test_a_refused_call_is_sent_again(t):
    def handler(call):
        if len(case.calls()) == 1:
            call.stream.cancel(http2.REFUSED_STREAM)
        else:
            unary(call)
    case = start(t, handler, route_extra="    retry: {attempts: 0}\n")
    ask = call_of(case, "ModelInfer", infer("m"), end=True)
    eq((ask.status(), ask.rest()), (200, message(b"answer")))
    eq(case.calls()[1].got, infer("m")[5:])


def test_a_quiet_stream_stays(t):
    """The pause between tokens is limited where tokens are expected."""
    go = threading.Event()

    def handler(call):
        if call.fields["content-type"] != "application/grpc":
            call.body()
            stream_words(call, ["one"], end=False)
            call.wait_abort()
            return
        call.head(200, [("content-type", "application/grpc")])
        call.send(message(b"one"))
        assert go.wait(60)
        call.send(message(b"two"))
        call.body()
        call.end(OK)
    case = start(t, handler, backend_extra="  timeouts: {betweenTokens: 200ms}\n")
    ask = call_of(case, "ModelStreamInfer", infer("m"))
    eq(read_message(ask.stream), b"one")
    chat = case.chat(stream=True)  # begun later, over before
    eq(b"between_tokens_timeout" in chat.whole()[0], True)
    go.set()
    eq(read_message(ask.stream), b"two")
    ask.finish()
    eq((ask.rest(), ask.trailers.items), (b"", OK))


def test_a_stream_on_which_nothing_moves_ends(t):
    gone = threading.Event()
    case = start(t, says_one(gone), args=["--tunnel-idle-timeout", "300ms"])
    ask = call_of(case, "ModelStreamInfer", infer("m"))
    eq(read_message(ask.stream), b"one")
    eq((ask.rest(), ask.trailers["grpc-status"]), (b"", "14"))
    assert gone.wait(60)
    case.headrace.wait_output('"outcome":"stream_idle"')
    settled(case.headrace)
    eq(endpoint_of(t, case)["failures"], 0)


# ---- what an answer says of the server

TYPE = [("content-type", "application/grpc")]


def asked_for(call):
    """The status that the call's message asks for, as its id."""
    return call.body().split(b"\x1a")[1][1:].decode()


def trailers_only(call):
    call.head(200, TYPE + [("grpc-status", asked_for(call))], end=True)


def head_then_trailers(call):
    """What a server does that began its answer before it failed."""
    status = asked_for(call)
    call.head(200, TYPE)
    call.end([("grpc-status", status)])


def message_then_trailers(call):
    status = asked_for(call)
    call.head(200, TYPE)
    call.send(message(b"one"))
    call.end([("grpc-status", status)])


def fails_with(status, case):
    ask = call_of(case, "ModelInfer", infer("m", status.encode()), end=True)
    eq(ask.status(), 200)
    ask.got = ask.rest()
    return ask


def two(t, handlers, route_extra):
    case = Case(t, Wire("h2", "h2"), handlers, route_extra=route_extra, backend_extra=(
        "  balancing: {policy: RoundRobin}\n  health: {outlier: {consecutiveErrors: 2}}\n"))
    case.headrace.write("all.yaml", case.manifest.replace("value: /v1}", "value: /}"))
    t.eventually(lambda: case.headrace.metrics()["headrace_snapshot_generation"] >= 2)
    return case


def endpoint_of(t, case, server=0):
    answer = t.request(case.headrace.admin_port, "GET", "/endpoints").json()
    return next(e for e in answer["backends"][0]["endpoints"]
                if e["address"].endswith(":%d" % case.servers[server].port))


NONE = "    retry: {attempts: 0}\n"


def test_a_status_counts_for_the_servers_health(t):
    well, error, full = (1, 0, 0, 0), (1, 1, 0, 0), (0, 0, 1, 0)
    plain = {"0": well, "2": error, "3": well, "4": well, "5": well, "8": full, "12": well,
             "13": error, "14": full, "15": error, "16": well}
    # A message shows that it works; what follows counts beside.
    after = {"0": well, "13": (2, 1, 0, 0), "3": well, "14": (1, 0, 1, 0)}
    for handler, table in ((trailers_only, plain), (head_then_trailers, plain),
                           (message_then_trailers, after)):
        case = start(t, handler, route_extra=NONE)

        def counts():
            settled(case.headrace)
            e = endpoint_of(t, case)
            return (e["health"]["answers"], e["health"]["errors"], e["overloads"], e["failures"])

        for status, wanted in table.items():
            before = counts()
            fails_with(status, case)
            eq(tuple(a - b for a, b in zip(counts(), before)), wanted, status)


def test_outcomes_are_told_by_the_status(t):
    case = start(t, trailers_only, route_extra=NONE)
    for status, outcome in (("14", "overloaded"), ("13", "upstream_error"), ("3", "ok")):
        eq(fails_with(status, case).fields["grpc-status"], status)
        case.headrace.wait_output('"outcome":"%s"' % outcome)


def test_an_answer_of_trailers_only_is_tried_elsewhere(t):
    for status, on, other in (("14", "Overloaded", "ServerError"),
                              ("13", "ServerError", "Overloaded")):
        case = two(t, [trailers_only, unary], "    retry: {attempts: 1, when: [%s]}\n" % on)
        for _ in range(4):
            ask = fails_with(status, case)
            eq((ask.got, ask.trailers.items), (message(b"answer"), OK))
        eq(len(case.servers[0].calls) >= 1, True, status)
        # Without the condition it is passed on as it is.
        case = two(t, [trailers_only] * 2, "    retry: {attempts: 1, when: [%s]}\n" % other)
        eq((fails_with(status, case).fields["grpc-status"], len(case.calls())), (status, 1))


def test_what_has_begun_is_not_tried_again(t):
    for handler in (head_then_trailers, message_then_trailers):
        case = two(t, [handler] * 2, "    retry: {attempts: 3}\n")
        eq((fails_with("14", case).trailers["grpc-status"], len(case.calls())), ("14", 1))


def test_servers_that_fail_are_ejected(t):
    def reset(call):
        call.break_off()

    def refuse(call):
        call.stream.cancel(http2.REFUSED_STREAM)

    for bad in (trailers_only, head_then_trailers, reset, refuse):
        case = two(t, [bad, unary], NONE)

        def ejected():
            fails_with("13", case)
            return endpoint_of(t, case)["health"]["state"] == "ejected"
        eventually(ejected, 60)
        eq(endpoint_of(t, case, 1)["health"]["state"], "ok")


def test_another_model_in_a_later_message(t):
    gone = threading.Event()
    case = start(t, says_one(gone))
    ask = call_of(case, "ModelStreamInfer", infer("m"))
    eq(read_message(ask.stream), b"one")
    ask.send(infer("other"))
    eq(ask.rest(), b"")
    eq(ask.trailers["grpc-status"], "3")
    assert gone.wait(60)


if __name__ == "__main__":
    main(globals())
