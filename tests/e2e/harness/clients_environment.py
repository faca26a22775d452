"""The client tier: official SDKs and conformance tests against Headrace with a folder of manifests;
no root needed."""

import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.request

from .processes import Process, run, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))

MANIFESTS = """apiVersion: headrace.dev/v1alpha1
kind: ModelBackend
metadata:
  name: river
spec:
  static:
    endpoints:
{endpoints}
  models:
  - name: river
    aliases: [brook]
---
apiVersion: headrace.dev/v1alpha1
kind: ModelBackend
metadata:
  name: empty
spec:
  static:
    endpoints:
    - address: 127.0.0.1
      port: {closed}
  models:
  - name: empty
---
apiVersion: headrace.dev/v1alpha1
kind: AIRoute
metadata:
  name: clients
spec:
  rules:
  - name: river
    backends: [{{name: river}}]
  - name: empty
    backends: [{{name: empty}}]
---
apiVersion: headrace.dev/v1alpha1
kind: ModelBackend
metadata:
  name: slow
spec:
  static:
    endpoints:
    - address: 127.0.0.1
      port: {slow}
---
apiVersion: headrace.dev/v1alpha1
kind: AIRoute
metadata:
  name: conformance
spec:
  hostnames: [127.0.0.1]
  rules:
  - name: any
    matches: [{{path: {{value: /conformance}}}}]
    backends: [{{name: slow}}]
"""


def free_ports(count):
    """Ports that nothing listens on right now."""
    sockets = [socket.socket() for _ in range(count)]
    for opened in sockets:
        opened.bind(("127.0.0.1", 0))
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


class ClientsEnvironment:
    """Three simulated pods, Headrace from a folder, and node with the SDK's packages."""

    def __init__(self, directory, h2spec, build, root):
        self._directory = directory
        self._h2spec = h2spec
        self._build = build
        self._clients = os.path.join(root, "tests", "clients")
        self._processes = []
        self._admin = None
        self.url = None
        self._port = None
        self._packages = None
        self.headrace = None

    def start(self):
        self._packages = self._install_packages()
        listen, admin, closed, slow, *pods = free_ports(7)
        for number, port in enumerate(pods):
            self._start("sim-%d" % number, "headrace-sim", "--listen", f"127.0.0.1:{port}",
                        "--engine", "vllm", "--model", "river", "--seed", str(number + 1))
        self._start("slow-pod", sys.executable, os.path.join(HERE, "slow_pod.py"), str(slow), "0.3")
        config = os.path.join(self._directory, "config")
        os.makedirs(config)
        endpoints = "\n".join(f"    - {{address: 127.0.0.1, port: {port}}}" for port in pods)
        with open(os.path.join(config, "all.yaml"), "w", encoding="utf-8") as out:
            out.write(MANIFESTS.format(endpoints=endpoints, closed=closed, slow=slow))
        self._port = listen
        self._admin = admin
        self.headrace = self._start(
            "headrace", "headrace", "run", "--config-dir", config, "--listen",
            f"127.0.0.1:{listen}", "--admin", f"127.0.0.1:{admin}", "--workers", "1")
        self.url = f"http://127.0.0.1:{listen}/v1"
        wait_until("Headrace is ready", lambda: urllib.request.urlopen(
            f"http://127.0.0.1:{admin}/readyz", timeout=2).status == 200,
            processes=self._processes)
        return self

    def _start(self, name, program, *arguments):
        process = Process(name, [os.path.join(self._build, program), *arguments], self._directory)
        self._processes.append(process.start())
        return process

    def _install_packages(self):
        """node_modules in the user's cache, as package-lock.json says; made once."""
        with open(os.path.join(self._clients, "package-lock.json"), "rb") as lock:
            key = hashlib.sha256(lock.read()).hexdigest()[:8]
        home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        folder = os.path.join(home, "headrace", f"clients-{key}")
        if not os.path.exists(os.path.join(folder, "ready")):
            print("e2e: installing the OpenAI client with npm", flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            os.makedirs(folder)
            for name in ("package.json", "package-lock.json"):
                shutil.copy(os.path.join(self._clients, name), folder)
            run(["npm", "ci", "--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund"],
                timeout=300)
            with open(os.path.join(folder, "ready"), "w", encoding="utf-8"):
                pass
        return folder

    def node(self, case):
        """Runs one case of tests/clients/openai.cjs; its assertion is in the error."""
        run(["node", os.path.join(self._clients, "openai.cjs"), self.url, case], timeout=60,
            env=dict(os.environ, CLIENTS=self._packages))

    def h2spec(self):
        """(how many tests ran, the names of those that failed)"""
        result = subprocess.run([self._h2spec, "-h", "127.0.0.1", "-p", str(self._port), "-P",
                                 "/conformance", "-o", "5"], stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, timeout=240, check=False)
        counts = re.search(r"(\d+) tests, \d+ passed, (\d+) skipped, (\d+) failed", result.stdout)
        if not counts or int(counts.group(2)):
            raise AssertionError(result.stdout[-2000:])
        # Each is told while it runs, and again, with what was seen, in the summary.
        summary = result.stdout.rpartition("Failures:")[2]
        return int(counts.group(1)), set(re.findall(r"× \d+: (.+)", summary))

    def stop(self):
        for process in self._processes:
            process.kill()

    def begin(self, name):
        pass

    def after(self, _name):
        for process in self._processes:
            process.must_live()

    def end(self, name):
        pass

    def transcript(self):
        return "".join(f"--- {p.name}\n{p.tail(20)}" for p in self._processes)
