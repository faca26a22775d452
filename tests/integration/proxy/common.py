"""Manifests and scripted servers of the proxy's tests."""

import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import contains, eq, eventually, free_port, main  # noqa: E402,F401
from upstream import Upstream, ok_either, ok_json, ok_stream, serve_all  # noqa: E402,F401


def upstream(t, handler):
    server = Upstream(handler)
    t.defer(server.stop)
    return server


def hanging_port(t):
    """Connects to it neither succeed nor fail: its backlog is full."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    t.defer(listener.close)
    for _ in range(8):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(listener.getsockname())
        t.defer(one.close)
    return listener.getsockname()[1]


def backend(name, ports, models=("m",), extra=""):
    endpoints = ", ".join("{address: 127.0.0.1, port: %d}" % port for port in ports)
    listed = "\n".join("  - name: %s" % model for model in models)
    return """
apiVersion: headrace.dev/v1alpha1
kind: ModelBackend
metadata: {name: %s}
spec:
  engine: Ollama
  static: {endpoints: [%s]}
%s
%s
""" % (name, endpoints, "  models:\n" + listed if models else "", extra)


def route(name, backends, extra="", path="/v1", spec=""):
    """extra: lines of the rule; spec: lines beside the rules."""
    return """
apiVersion: headrace.dev/v1alpha1
kind: AIRoute
metadata: {name: %s}
spec:
%s
  rules:
  - name: only
    matches:
    - path: {type: Prefix, value: %s}
    backends: [%s]
%s
""" % (name, spec, path, ", ".join("{name: %s}" % b for b in backends), extra)


def setup(t, handlers, backend_extra="", route_extra="", args=(), models=("m",), ports=None):
    """One backend over scripted servers; (headrace, servers)."""
    servers = [upstream(t, handler) for handler in handlers]
    ports = [server.port for server in servers] + list(ports or [])
    text = backend("be", ports, models, backend_extra) + "---" + route("r", ["be"], route_extra)
    return t.headrace({"all.yaml": text}, args), servers
