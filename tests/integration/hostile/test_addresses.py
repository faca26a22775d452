#!/usr/bin/env python3
"""Where requests go is said by whoever may write a resource: what listens on a loopback, the
metadata service of a cloud and Headrace itself are out of reach, for requests and for scrapes."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "proxy"), os.path.join(HERE, "..", "lib")]
from common import backend, contains, eq, eventually, main, ok_json, route  # noqa: E402
from common import serve_all, setup, upstream  # noqa: E402

BODY = b'{"model":"m"}'


def endpoints(t, headrace):
    return [e["address"] for b in t.request(headrace.admin_port, "GET", "/endpoints").json()
            ["backends"] for e in b["endpoints"]]


def test_standalone_allows_loopback(t):
    headrace, (server,) = setup(t, [serve_all(ok_json)])
    eq(t.request(headrace.port, "POST", "/v1/completions", body=BODY).status, 200)
    eq(len(server.requests), 1)


def test_without_loopback_nothing_connects(t):
    """Neither requests nor scrapes."""
    server = upstream(t, serve_all(ok_json))
    text = backend("be", [server.port]).replace("engine: Ollama", "engine: VLLM")
    headrace = t.headrace({"all.yaml": text + "---" + route("r", ["be"])},
                          ["--allow-endpoint-addresses", "none"])
    answer = t.request(headrace.port, "POST", "/v1/completions", body=BODY)
    eq((answer.status, answer.json()["error"]["code"]), (503, "no_ready_endpoint"))
    headrace.wait_output("EndpointRefused.*127.0.0.1:%d is a loopback address" % server.port)
    eq(server.connections, 0)


def test_allowed_ranges_replace_the_default(t):
    server = upstream(t, serve_all(ok_json))
    text = backend("be", [server.port]) + "---" + route("r", ["be"])
    headrace = t.headrace({"all.yaml": text},
                          ["--allow-endpoint-addresses", "10.0.0.0/8,127.0.0.1/32"])
    eq(t.request(headrace.port, "POST", "/v1/completions", body=BODY).status, 200)
    # Another one of the loopback is not in it.
    headrace.write("all.yaml", text.replace("127.0.0.1", "127.0.0.2"))
    headrace.wait_output("EndpointRefused.*127.0.0.2:%d is a loopback address" % server.port)


def test_metadata_and_others_are_left_out(t):
    """The rest of the backend serves."""
    server = upstream(t, serve_all(ok_json))
    text = backend("be", [server.port]) + "---" + route("r", ["be"])
    more = ["169.254.169.254", "169.254.1.1", "0.0.0.0", "224.0.0.1", "100.100.100.200",
            '"64:ff9b::a9fe:a9fe"', '"fd00:ec2::254"', '"fe80::1"', '"::"']
    text = text.replace("endpoints: [", "endpoints: [" + "".join(
        "{address: %s, port: 80}, " % address for address in more))
    headrace = t.headrace({"all.yaml": text})
    for _ in range(20):
        eq(t.request(headrace.port, "POST", "/v1/completions", body=BODY).status, 200)
    eq(endpoints(t, headrace), ["127.0.0.1:%d" % server.port])
    headrace.wait_output("1 of 10 endpoints take requests; .* does not connect to")


def test_own_ports_are_out_of_reach(t):
    """Whatever is allowed: requests would go round for ever, or read the admin pages."""
    headrace = t.headrace({}, ["--allow-endpoint-addresses", "0.0.0.0/0,::/0"])
    for number, (address, port) in enumerate((("127.0.0.1", headrace.port),
                                              ("127.0.0.1", headrace.admin_port),
                                              ('"64:ff9b::7f00:1"', headrace.admin_port))):
        headrace.write("all.yaml", backend("be%d" % number, [port]).replace("127.0.0.1", address)
                       + "---" + route("r", ["be%d" % number]))
        headrace.wait_output("name=be%d .*EndpointRefused.*listens on itself" % number)
        answer = t.request(headrace.port, "POST", "/v1/completions", body=BODY)
        eq(answer.json()["error"]["code"], "no_ready_endpoint")


def test_a_wrong_list_is_told(t):
    process = t.process([os.path.join(os.environ.get("BUILD", "build"), "headrace"), "run",
                         "--config-dir", t.folder, "--allow-endpoint-addresses", "localhost"])
    eq(process.wait(), 2)
    contains(process.stderr, "--allow-endpoint-addresses")
    contains(process.stderr, "loopback, link-local, none")


if __name__ == "__main__":
    main(globals())
