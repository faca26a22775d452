#!/usr/bin/env python3
"""`headrace run` beside an API server: what it says of itself while something is in the way."""

import json
import os
import subprocess

from harness import Process, contains, eq, eventually, free_port, main, parse_metrics, program
import http1
from kube_standin import Standin
from test_watch import service, write_kubeconfig


class Controller(Process):
    """`headrace run --kubeconfig`; nothing is waited for."""

    def __init__(self, t, server, *args):
        self.port, self.admin_port = free_port(), free_port()
        super().__init__([program("headrace"), "run", "--kubeconfig", write_kubeconfig(t, server),
                          "--listen", "127.0.0.1:%d" % self.port,
                          "--admin", "127.0.0.1:%d" % self.admin_port, "--workers", "1",
                          "--allow-endpoint-addresses", "loopback",
                          "--drain-grace", "0s", "--drain-timeout", "1s", *args],
                         t.folder, "headrace", log=t.log)

    def get(self, page):
        return http1.request(self.admin_port, "GET", page, timeout=5)

    def readyz(self):
        """(status, text), or None while nobody answers."""
        try:
            answer = self.get("/readyz")
        except OSError:
            return None
        return answer.status, answer.text

    def metrics(self):
        return parse_metrics(self.get("/metrics").text)


def begin(t, prepare=None):
    server = Standin(log=t.log)
    t.defer(server.stop)
    server.put("services", service("s"))
    if prepare:
        prepare(server)
    headrace = Controller(t, server)
    t.processes.append(headrace)
    return server, headrace


def test_definitions_that_are_installed_later(t):
    """As with GitOps, where the order of things is open: it says what it waits for, and goes on by
    itself once that is there."""
    def prepare(server):
        server.hidden = {"airoutes", "modelbackends"}
    server, headrace = begin(t, prepare)

    def told():
        said = headrace.readyz()
        return said and said[0] == 503 and "does not know modelbackends" in said[1] and said[1]
    text = eventually(told, 15, "/readyz says what is missing")
    contains(text, "does not know airoutes")
    contains(text, "kubectl apply -f crds/")
    metrics = headrace.metrics()
    eq(metrics['headrace_kube_in_touch{kind="AIRoute"}'], 0)
    eq(metrics["headrace_ready"], 0)
    server.hidden = set()
    eventually(lambda: (headrace.readyz() or (0,))[0] == 200, 20, "ready")
    eventually(lambda: "in touch again" in headrace.stderr, what="it says so")


def test_how_it_stands_with_the_server_is_in_the_metrics(t):
    server, headrace = begin(t)
    eventually(lambda: (headrace.readyz() or (0,))[0] == 200, 15, "ready")
    eventually(lambda: headrace.metrics().get('headrace_kube_in_touch{kind="Service"}') == 1, 10)
    metrics = headrace.metrics()
    eq(metrics['headrace_kube_lists_total{kind="Service"}'], 1)
    eq('headrace_kube_in_touch{kind="Pod"}' in metrics, False, "Pods, which nobody needs")
    server.put("services", service("new"))
    eventually(lambda: headrace.metrics()['headrace_kube_events_total{kind="Service"}'] >= 1, 10)
    server.stop()
    eventually(lambda: headrace.metrics()['headrace_kube_in_touch{kind="Service"}'] == 0, 15)
    eq(headrace.metrics()['headrace_kube_failures_total{kind="Service"}'] >= 1, True)
    eq(headrace.readyz()[0], 200, "it serves what it knows")
    server.start()
    eventually(lambda: headrace.metrics()['headrace_kube_in_touch{kind="Service"}'] == 1, 30)


def secret_of(t, name, host):
    """A self-signed certificate for the host, as a Secret."""
    files = [os.path.join(t.folder, "%s.%s" % (name, end)) for end in ("key", "crt")]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-keyout", files[0], "-out", files[1],
                    "-days", "2", "-subj", "/CN=x", "-addext", "subjectAltName=DNS:" + host],
                   check=True, capture_output=True)
    texts = {}
    for key, file in zip(("tls.key", "tls.crt"), files):
        with open(file, encoding="utf-8") as source:
            texts[key] = source.read()
    return {"metadata": {"namespace": "ml", "name": name}, "type": "kubernetes.io/tls",
            "stringData": texts}


ROUTE = {"metadata": {"namespace": "ml", "name": "r", "generation": 1},
         "spec": {"hostnames": ["api.example.com"], "tls": [{"secretName": "chat"}],
                  "rules": [{"name": "a", "backends": [{"name": "b"}]}]}}
BACKEND = {"metadata": {"namespace": "ml", "name": "b", "generation": 1},
           "spec": {"static": {"endpoints": [{"address": "127.0.0.1", "port": 1}]}}}


def begin_with_route(t, prepare=None):
    def put(server):
        server.put("modelbackends", BACKEND)
        server.put("airoutes", ROUTE)
        if prepare:
            prepare(server)
    server, headrace = begin(t, put)
    eventually(lambda: (headrace.readyz() or (0,))[0] == 200, 15, "ready")
    return server, headrace


def routes(headrace):
    return json.loads(headrace.get("/routes").text)


def tls_hosts(headrace):
    return [entry["host"] for entry in routes(headrace)["tls_hosts"]]


def reason(server):
    """Why the route's references do not resolve; "ResolvedRefs" when they do."""
    status = server.objects["airoutes"][("ml", "r")].get("status", {})
    return {c["type"]: c["reason"] for c in status.get("conditions", [])}.get("ResolvedRefs")


def test_certificates_come_rotate_and_go(t):
    """Each is watched by its name, and only those that are named; a new one is a new
    configuration."""
    server, headrace = begin_with_route(t)
    eventually(lambda: reason(server) == "CertificateNotFound", 10, "the condition")
    eq(tls_hosts(headrace), [])
    server.put("secrets", secret_of(t, "other", "other.example.com"))
    server.put("secrets", secret_of(t, "chat", "api.example.com"))
    eventually(lambda: tls_hosts(headrace) == ["api.example.com"], 10, "the host is terminated")
    eventually(lambda: reason(server) == "ResolvedRefs", 10, "the condition")
    generation = routes(headrace)["generation"]
    rotated = secret_of(t, "chat", "api.example.com")
    server.put("secrets", rotated)
    eventually(lambda: routes(headrace)["generation"] > generation, 10, "the new certificate")
    eventually(lambda: headrace.metrics()['headrace_objects{kind="Secret"}'] == 1, 10)
    eq([w.name for w in server.watches("secrets")], ["chat"])
    eq(server.watches("configmaps"), [])
    server.delete("secrets", "ml", "chat")
    eventually(lambda: tls_hosts(headrace) == [], 10, "the host is no longer terminated")
    eventually(lambda: reason(server) == "CertificateNotFound", 10, "the condition")
    for text in (headrace.stderr, headrace.stdout, headrace.get("/routes").text):
        eq("PRIVATE KEY" in text or rotated["stringData"]["tls.key"][40:90] in text, False)


def test_nothing_is_served_before_the_certificates_are_known(t):
    """A restart must not end with hosts that are not terminated for a moment; but a right that is
    missing must not hold up everything else."""
    def prepare(server):
        server.put("secrets", secret_of(t, "chat", "api.example.com"))
    server, headrace = begin_with_route(t, prepare)
    eq((routes(headrace)["generation"], tls_hosts(headrace)), (1, ["api.example.com"]))
    server.put("airoutes", dict(ROUTE, metadata=dict(ROUTE["metadata"], generation=2),
                                spec={"rules": ROUTE["spec"]["rules"]}))
    eventually(lambda: server.watches("secrets") == [], 10, "nobody names the Secret any more")

    def forbid(server):
        server.forbidden = {"secrets"}
    server, headrace = begin_with_route(t, forbid)
    eventually(lambda: reason(server) == "CertificateNotFound", 10, "the condition")
    contains(headrace.stderr, "not allowed to list and watch secrets")
    server.forbidden = set()
    server.put("secrets", secret_of(t, "chat", "api.example.com"))
    eventually(lambda: tls_hosts(headrace) == ["api.example.com"], 30, "it is asked for again")


if __name__ == "__main__":
    main(globals())
