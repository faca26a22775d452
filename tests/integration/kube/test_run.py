#!/usr/bin/env python3
"""`headrace run` beside an API server: what it says of itself while something is in the way."""

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


if __name__ == "__main__":
    main(globals())
