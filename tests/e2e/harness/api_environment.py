"""The API server tier: a real control plane; Headrace and simulated pods are plain processes."""

import json
import os
import urllib.error
import urllib.request

from .control_plane import ControlPlane, prepare_network
from .load import Load, send, stream_chat
from .processes import Process, ProcessError, wait_until

SYSTEM = "headrace-system"
NODE_ADDRESS = "10.244.0.1"
PROXY = ("127.0.0.1", 8080)
ADMIN = "127.0.0.1:9090"
POD_PORT = 8000
# Short, so that a scenario that stops Headrace takes seconds, but long enough for a busy machine.
DRAIN_FLAGS = ["--drain-grace", "4s", "--drain-timeout", "20s", "--drain-window", "2s"]


class Pod:
    """A simulated inference pod: one headrace-sim process at an address of its own."""

    def __init__(self, name, address, process):
        self.name = name
        self.address = address
        self.process = process

    def metric(self, family):
        """The sum of a metric family over its labels."""
        total = 0.0
        with urllib.request.urlopen(f"http://{self.address}:{POD_PORT}/metrics", timeout=5) as page:
            for line in page.read().decode().splitlines():
                name = line.split("{")[0].split(" ")[0]
                if name == family:
                    total += float(line.rsplit(" ", 1)[1])
        return total

    @property
    def served(self):
        """The completions that the pod has finished."""
        return int(self.metric("vllm:request_success_total"))

    @property
    def running(self):
        return int(self.metric("vllm:num_requests_running") +
                   self.metric("vllm:num_requests_waiting"))


class ApiEnvironment:
    """What the scenarios of the API server tier use. One namespace a scenario."""

    def __init__(self, directory, kubernetes, build, root):
        self.directory = directory
        self.build = build
        self.root = root
        self.namespace = "default"
        prepare_network([f"{NODE_ADDRESS}/16"], NODE_ADDRESS)
        self.plane = ControlPlane(directory, kubernetes, NODE_ADDRESS)
        self._pods = []
        self._pod_count = 0
        self.headrace = None
        self._kubeconfig = os.path.join(directory, "headrace.kubeconfig")

    # ---- the whole --------------------------------------------------------------------------

    def start(self):
        self.plane.start()
        self.plane.kubectl("apply", "-f", os.path.join(self.root, "manifests", "install.yaml"))
        self.plane.kubectl("wait", "--for=condition=Established", "--timeout=30s",
                           "crd/airoutes.headrace.dev", "crd/modelbackends.headrace.dev")
        # With the rights that are shipped, and no others.
        self.write_kubeconfig()
        self.start_headrace()
        return self

    def write_kubeconfig(self):
        """What Headrace reaches the API server with: a fresh token of the shipped account."""
        self.plane.service_account_kubeconfig(self._kubeconfig, SYSTEM, "headrace")

    def start_headrace(self, wait=True):
        self.headrace = Process("headrace", [
            os.path.join(self.build, "headrace"), "run", "--kubeconfig", self._kubeconfig,
            "--listen", f"{PROXY[0]}:{PROXY[1]}", "--admin", ADMIN, "--workers", "2",
            *DRAIN_FLAGS], self.directory).start()
        if wait:
            self.wait_headrace_ready()

    def wait_headrace_ready(self):
        wait_until("Headrace is ready", self.headrace_ready, processes=[self.headrace])

    def readyz(self):
        """(ready, what it says), or (False, "") while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://{ADMIN}/readyz", timeout=2) as answer:
                return True, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            return False, refusal.read().decode()
        except OSError:
            return False, ""

    def headrace_ready(self):
        return self.readyz()[0]

    def stop(self):
        for pod in self._pods:
            pod.process.kill()
        if self.headrace:
            self.headrace.kill()
        self.plane.stop()

    # ---- one scenario -----------------------------------------------------------------------

    def begin(self, name):
        self.namespace = name
        self._pods = []

    def after(self, _name):
        """What must hold after every scenario."""
        for process in [self.headrace, *self.plane.processes]:
            process.must_live()

    def end(self, name):
        """Puts back what a scenario may have left, so that the next one stands on its own."""
        for process, start in ((self.plane.apiserver, self._restart_apiserver),
                               (self.headrace, self.start_headrace)):
            if process is None or not process.alive:
                start()
        self.plane.kubectl("delete", "airoutes,modelbackends", "--all", "--namespace", name,
                           "--wait=false", check=False)
        self.plane.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")
        for pod in self._pods:
            pod.process.kill()

    def _restart_apiserver(self):
        self.plane.apiserver.start()
        self.plane.wait_ready()

    def transcript(self):
        processes = [self.headrace, self.plane.apiserver, *(pod.process for pod in self._pods)]
        logs = "".join(f"--- {p.name}\n{p.tail(40 if p is self.headrace else 10)}"
                       for p in processes if p)
        objects = self.plane.kubectl(
            "get", "airoutes,modelbackends,endpointslices", "--namespace", self.namespace,
            "-o", "wide", check=False)
        return f"{logs}--- objects\n{objects.stdout}{objects.stderr}"

    # ---- objects ----------------------------------------------------------------------------

    def apply(self, *objects):
        """Applies objects in the scenario's namespace, which is made on first use."""
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        for item in objects:
            item["metadata"].setdefault("namespace", self.namespace)
        return self.plane.apply(json.dumps(
            {"apiVersion": "v1", "kind": "List", "items": [namespace, *objects]}))

    def patch(self, what, patch, subresource=None):
        extra = ["--subresource", subresource] if subresource else []
        self.plane.kubectl("patch", what, "--namespace", self.namespace, "--type=merge",
                           "--patch", json.dumps(patch), *extra)

    def get(self, what):
        return self.plane.get(what, "--namespace", self.namespace)

    def delete(self, what, *arguments):
        self.plane.kubectl("delete", what, "--namespace", self.namespace, *arguments)

    def condition(self, what, kind):
        """The condition of that type, or None."""
        for found in self.get(what).get("status", {}).get("conditions", []):
            if found["type"] == kind:
                return found
        return None

    def wait_ready(self, *names, timeout=30):
        for what in names:
            self.plane.wait(what, "condition=Ready", self.namespace, timeout)

    def wait_in_effect(self, what):
        """Waits until the status speaks of the spec as it is now: what it says is served."""
        def observed():
            found = self.get(what)
            return found["status"].get("observedGeneration") == found["metadata"]["generation"]
        wait_until(f"{what} is in effect", observed)
        self.wait_ready(what)

    # ---- pods -------------------------------------------------------------------------------

    def pod(self, model, *flags):
        """Starts one simulated pod and waits until it answers."""
        self._pod_count += 1
        address = f"10.244.{1 + self._pod_count // 250}.{1 + self._pod_count % 250}"
        name = f"sim-{self._pod_count}"
        process = Process(name, [os.path.join(self.build, "headrace-sim"), "--listen",
                                 f"{address}:{POD_PORT}", "--engine", "vllm", "--model", model,
                                 "--seed", str(self._pod_count), *flags], self.directory).start()
        pod = Pod(name, address, process)
        self._pods.append(pod)
        wait_until(f"{name} answers", lambda: pod.metric("vllm:num_requests_running") == 0,
                   processes=[process])
        return pod

    # ---- traffic ----------------------------------------------------------------------------

    def stream(self, model, tokens=16, **more):
        return stream_chat(PROXY, model, tokens, **more)

    def send(self, method, path, body=None, headers=None):
        return send(PROXY, method, path, body, headers)

    def load(self, model, **more):
        return Load(PROXY, model, **more)


# ---- objects, as dictionaries ---------------------------------------------------------------


def service(name):
    """A Service without a selector: its EndpointSlices are made by hand."""
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"ports": [{"name": "http", "port": 80, "targetPort": POD_PORT}]}}


def endpoint(pod, ready=True, serving=True, terminating=False):
    return {"addresses": [pod.address],
            "conditions": {"ready": ready, "serving": serving, "terminating": terminating}}


def slice_of(service_name, endpoints, number=1):
    """An EndpointSlice of that Service; endpoints are pods, or the results of endpoint()."""
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": f"{service_name}-{number}",
                         "labels": {"kubernetes.io/service-name": service_name,
                                    "endpointslice.kubernetes.io/managed-by": "headrace-e2e"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": POD_PORT, "protocol": "TCP"}],
            "endpoints": [endpoint(e) if isinstance(e, Pod) else e for e in endpoints]}


def backend(name, models, **spec):
    """A ModelBackend of the Service with its name; models are names or entries of the list."""
    spec.setdefault("pool", {"serviceRef": {"name": name, "port": "http"}})
    return {"apiVersion": "headrace.dev/v1alpha1", "kind": "ModelBackend",
            "metadata": {"name": name},
            "spec": {"engine": "VLLM",
                     "models": [{"name": m} if isinstance(m, str) else m for m in models], **spec}}


def rule(name, backends, models=(), **more):
    """A rule; backends are names or entries of the list, models are exact names."""
    entry = {"name": name,
             "backends": [{"name": b} if isinstance(b, str) else b for b in backends], **more}
    if models:
        entry["matches"] = [{"models": [{"value": m} for m in models]}]
    return entry


def route(name, *rules, **spec):
    return {"apiVersion": "headrace.dev/v1alpha1", "kind": "AIRoute", "metadata": {"name": name},
            "spec": {"rules": list(rules), **spec}}


__all__ = ["ADMIN", "ApiEnvironment", "Pod", "ProcessError", "PROXY", "SYSTEM", "backend",
           "endpoint", "route", "rule", "service", "slice_of"]
