"""Metrics and active checks over TLS: what is verified, what is shown, what is said of failures."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import certs  # noqa: E402
from harness import contains, eq, eventually, main  # noqa: E402
from upstream import Upstream, ok_either, serve_all  # noqa: E402

BACKEND = """
apiVersion: headrace.dev/v1alpha1
kind: ModelBackend
metadata: {name: be}
spec:
  engine: %s
  static: {endpoints: [{address: 127.0.0.1, port: %d}]}
%s
"""
EXPOSITION = b"""vllm:num_requests_running{model_name="m"} 1
vllm:num_requests_waiting{model_name="m"} 0
"""
TLS = "  tls: {caRef: {name: ca}, serverName: llm.example.com%s}\n"
CHECK = ("  health: {active: {interval: 500ms, timeout: 500ms, healthyThreshold: 1, "
         "unhealthyThreshold: 1%s}}\n")
SANS = ("DNS:llm.example.com",)


def answer(peer, request):
    if request.target.startswith("/metrics"):
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s"
                  % (len(EXPOSITION), EXPOSITION))
    else:
        ok_either(peer, request)


class Setup:
    """A server with a certificate, and a backend that is scraped or checked there."""

    def __init__(self, t, extra, engine="VLLM", asks=None, made=None, port=0, plain=False):
        self.t = t
        self.root = certs.Authority(t.folder)
        made = made(self.root) if made else self.root.issue("llm", SANS)
        self.upstream = Upstream(serve_all(answer), port=port,
                                 tls=None if plain else certs.server(made, asks))
        t.defer(self.upstream.stop)
        self.headrace = t.headrace({
            "ca.yaml": certs.config_map("ca", self.root),
            "be.yaml": BACKEND % (engine, self.upstream.port, extra)})

    def write(self, extra, engine="VLLM"):
        self.headrace.write("be.yaml", BACKEND % (engine, self.upstream.port, extra))

    def endpoint(self):
        answer = self.t.request(self.headrace.admin_port, "GET", "/endpoints").json()
        return answer["backends"][0]["endpoints"][0]

    def faults(self, reason):
        return self.headrace.metrics()[
            'headrace_scraper_tls_failures_total{reason="%s"}' % reason]

    def handshakes(self):
        metrics = self.headrace.metrics()
        return sum(metrics['headrace_scraper_tls_handshakes_total{resumed="%s"}' % each]
                   for each in ("true", "false"))

    def wait_scraped(self, times=3):
        before = self.endpoint()["scrapes"]
        eventually(lambda: self.endpoint()["scrapes"] >= before + times)

    def wait_state(self, state):
        eventually(lambda: self.endpoint()["health"]["state"] == state, what=state)


# ---- metrics


def test_metrics_are_read_over_tls_on_a_kept_connection(t):
    s = Setup(t, TLS % "")
    s.wait_scraped(5)
    eq((s.endpoint()["sample"]["running"], s.handshakes()), (1, 1))
    eq("scrape_problem" in s.endpoint(), False)
    eq(s.upstream.requests[0].get("host"), "llm.example.com:%d" % s.upstream.port)


def expect_no_scrape(s, reason, text):
    eventually(lambda: s.faults(reason) >= 1)
    eventually(lambda: s.endpoint()["scrape_failures"] >= 1)
    contains(s.endpoint()["scrape_problem"], text)
    s.headrace.wait_output("metrics cannot be scraped.*" + text)
    eq((s.endpoint()["scrapes"], s.upstream.requests), (0, []))


def test_another_authority_is_not_trusted(t):
    s = Setup(t, TLS % "", made=lambda root: certs.Authority(t.folder, "other").issue("x", SANS))
    expect_no_scrape(s, "certificate_bad", "certificate verification failed")


def test_another_name_is_not_taken(t):
    s = Setup(t, TLS % "", made=lambda root: root.issue("x", ("DNS:other.example.com",)))
    expect_no_scrape(s, "certificate_name", "it is for other.example.com")


def test_an_expired_certificate_is_not_taken(t):
    s = Setup(t, TLS % "", made=lambda root: root.issue("x", SANS, days=-1))
    expect_no_scrape(s, "certificate_expired", "certificate has expired")


def test_a_server_in_the_clear_is_told_apart(t):
    s = Setup(t, TLS % "", plain=True)
    s.upstream.handler = lambda peer: (peer.sock.recv(1000), peer.json(status="400 Bad Request"))
    expect_no_scrape(s, "not_tls", "TLS: ")


def test_a_client_certificate_is_shown(t):
    clients = certs.Authority(t.folder, "clients")
    s = Setup(t, TLS % "", asks=clients)
    eventually(lambda: s.endpoint()["scrape_failures"] >= 2)
    eq(s.endpoint()["scrapes"], 0)
    s.headrace.write("me.yaml", certs.secret("me", clients.issue("headrace")))
    s.write(TLS % ", clientCertificateRef: {name: me}")
    s.wait_scraped()


def test_what_is_rotated_counts_for_the_next_connection(t):
    s = Setup(t, TLS % "")
    s.wait_scraped()
    other = certs.Authority(t.folder, "other")
    # The connection that is there was verified by an authority that is trusted no more.
    s.headrace.write("ca.yaml", certs.config_map("ca", other))
    eventually(lambda: s.faults("certificate_bad") >= 1)
    before = s.endpoint()["scrapes"]
    s.upstream.tls = certs.server(other.issue("llm", SANS))
    eventually(lambda: s.endpoint()["scrapes"] > before)
    eventually(lambda: "scrape_problem" not in s.endpoint())
    # A configuration that cannot be used is no reason to ask in the clear, or as before.
    s.write((TLS % "").replace("name: ca}", "name: nobody}"))
    eventually(lambda: "cannot be used" in s.endpoint().get("scrape_problem", ""))


def test_a_port_of_its_own_is_in_the_clear_unless_told_otherwise(t):
    s = Setup(t, TLS % "")
    plain = Upstream(serve_all(answer))
    t.defer(plain.stop)
    s.write(TLS % "" + "  metrics: {port: %d}\n" % plain.port)
    eventually(lambda: plain.requests)
    s.wait_scraped()
    s.write(TLS % "" + "  metrics: {port: %d, scheme: HTTPS}\n" % plain.port)
    eventually(lambda: "scrape_problem" in s.endpoint())
    # The other way round: the endpoint's own port, in the clear.
    s.upstream.tls = None
    s.write(TLS % "" + "  metrics: {scheme: HTTP}\n")
    s.wait_scraped()


# ---- checks


def test_checks_are_made_over_tls(t):
    s = Setup(t, TLS % "" + CHECK % "", engine="Ollama")
    eventually(lambda: s.endpoint()["health"]["checks_passed"] >= 3)
    eq((s.endpoint()["health"]["checks_failed"], s.faults("certificate_bad")), (0, 0))
    eq(s.upstream.requests[0].get("host"), "llm.example.com:%d" % s.upstream.port)
    s.headrace.write("ca.yaml", certs.config_map("ca", certs.Authority(t.folder, "other")))
    s.wait_state("unhealthy")
    eventually(lambda: "certificate verification failed" in
               s.endpoint()["health"]["check_problem"])
    s.headrace.wait_output("fails its health checks.*certificate verification failed")
    s.headrace.write("ca.yaml", certs.config_map("ca", s.root))
    s.wait_state("ok")
    eq("check_problem" in s.endpoint()["health"], False)


def test_a_check_that_fails_says_why(t):
    s = Setup(t, TLS % "" + CHECK % "", engine="Ollama")
    eventually(lambda: s.endpoint()["health"]["checks_passed"] >= 1)
    s.upstream.handler = serve_all(lambda peer, request: peer.json(status="500 Oh"))
    s.wait_state("unhealthy")
    eq(s.endpoint()["health"]["check_problem"], "status 500")
    s.headrace.wait_output("fails its health checks.*status 500")


def test_a_check_that_only_connects(t):
    """For servers that speak gRPC only: no request is made, and with TLS hands are shaken."""
    def silent(peer):
        eq(peer.read_request(), None)

    s = Setup(t, "  protocol: HTTP2\n" + CHECK % ", type: TCP", engine="Ollama", plain=True)
    s.upstream.handler = silent
    eventually(lambda: s.endpoint()["health"]["checks_passed"] >= 3)
    s.upstream.stop()
    s.wait_state("unhealthy")
    contains(s.endpoint()["health"]["check_problem"], "refused")
    eq((s.upstream.requests, s.upstream.errors), ([], []))

    s = Setup(t, TLS % "" + CHECK % ", type: TCP", engine="Ollama")
    s.upstream.handler = silent
    eventually(lambda: s.endpoint()["health"]["checks_passed"] >= 3)
    s.headrace.write("ca.yaml", certs.config_map("ca", certs.Authority(t.folder, "other")))
    s.wait_state("unhealthy")
    eq((s.upstream.requests, s.upstream.errors), ([], []))


if __name__ == "__main__":
    main(globals())
