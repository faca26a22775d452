"""The cluster tier: a whole node; Headrace and the simulated pods run in containers."""

import json
import os

from .control_plane import ControlPlane, prepare_network
from .images import HEADRACE
from .load import Load, send, stream_chat
from .node import Node
from .processes import run, wait_until

NODE_ADDRESS = "10.245.0.1"
SYSTEM = "headrace-system"
MODELS = "models"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
# Short drains, so that rolling takes seconds; the image is there already.
VALUES = {
    "image.repository": HEADRACE.rsplit(":", 1)[0], "image.tag": HEADRACE.rsplit(":", 1)[1],
    "image.pullPolicy": "Never", "drain.grace": "3s", "drain.timeout": "30s",
    "terminationGracePeriodSeconds": "40", "resources.requests.cpu": "50m",
    "resources.requests.memory": "32Mi", "proxy.workers": "1",
}


class ClusterEnvironment:
    """What the scenarios of the cluster tier use. They build on one installation."""

    def __init__(self, directory, kubernetes, helm, images, root):
        self.directory = directory
        self.root = root
        self._helm = helm
        prepare_network([f"{NODE_ADDRESS}/32"], NODE_ADDRESS)
        self.plane = ControlPlane(directory, kubernetes, NODE_ADDRESS)
        self.node = Node(self.plane, images)

    def start(self):
        self.node.prepare()
        self.plane.start()
        self.node.start()
        for name in (SYSTEM, MODELS):
            self.plane.apply(json.dumps({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "labels": RESTRICTED}}))
        return self

    def stop(self):
        self.node.stop()
        self.plane.stop()

    # ---- one scenario -----------------------------------------------------------------------

    def begin(self, name):
        pass

    def after(self, _name):
        """What must hold after every scenario: nothing died, no pod was restarted."""
        for process in [*self.plane.processes, *self.node.processes]:
            process.must_live()
        for namespace in (SYSTEM, MODELS):
            for pod in self.plane.get("pods", "--namespace", namespace)["items"]:
                for container in pod["status"].get("containerStatuses", []):
                    if container["restartCount"]:
                        raise AssertionError(f"{pod['metadata']['name']} was restarted: "
                                             f"{container.get('lastState')}")

    def end(self, name):
        pass

    def transcript(self):
        parts = []
        for arguments in (
                ("get", "pods", "--all-namespaces", "-o", "wide"),
                ("get", "airoutes,modelbackends,endpointslices", "--namespace", MODELS, "-o",
                 "wide"),
                ("get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"),
                ("logs", "--namespace", SYSTEM, "--selector", "app.kubernetes.io/name=headrace",
                 "--tail=30", "--prefix"),
                ("logs", "--namespace", SYSTEM, "--selector", "app.kubernetes.io/name=headrace",
                 "--tail=30", "--prefix", "--previous")):
            result = self.plane.kubectl(*arguments, check=False)
            lines = [line for line in (result.stdout + result.stderr).splitlines()
                     if 'MissingClusterDNS' not in line][-40:]
            parts.append(f"--- kubectl {' '.join(arguments)}\n" + "\n".join(lines))
        parts.append(f"--- kubelet\n{self.node.kubelet.tail(10)}")
        return "\n".join(parts)

    # ---- installing -------------------------------------------------------------------------

    def helm(self, *arguments, check=True, timeout=180):
        env = dict(os.environ, HOME=self.directory, KUBECONFIG=self.plane.kubeconfig,
                   HELM_CACHE_HOME=f"{self.directory}/helm",
                   HELM_DATA_HOME=f"{self.directory}/helm",
                   HELM_CONFIG_HOME=f"{self.directory}/helm")
        return run([self._helm, *arguments], check=check, timeout=timeout, env=env)

    def helm_values(self, **more):
        """--set arguments: the tests' values, and more with __ for a dot in a name."""
        values = {**VALUES, **{name.replace("__", "."): value for name, value in more.items()}}
        return [argument for name, value in values.items()
                for argument in ("--set", f"{name}={value}")]

    def install(self, **values):
        """helm upgrade --install with --wait; nothing happens where that changes nothing.

        --wait knows of pods; the EndpointSlices of the Service, and kube-proxy, follow a moment
        later, so they are waited for here.
        """
        said = self.helm("upgrade", "--install", "headrace", f"{self.root}/charts/headrace",
                         "--namespace", SYSTEM, "--wait", "--timeout", "90s",
                         *self.helm_values(**values)).stdout
        replicas = self.plane.get("deployment/headrace", "--namespace", SYSTEM)["spec"]["replicas"]
        wait_until("the Service has every replica",
                   lambda: len(self.service_endpoints()) == replicas)
        wait_until("an answer through the Service", lambda: self.send("GET", "/v1/models"))
        return said

    def service_endpoints(self):
        """The addresses of Headrace's Service that are ready."""
        slices = self.plane.get("endpointslices", "--namespace", SYSTEM, "--selector",
                                "kubernetes.io/service-name=headrace")["items"]
        return {address for s in slices for e in s["endpoints"] or []
                if e["conditions"].get("ready") for address in e["addresses"]}

    def ensure_installed(self):
        found = self.plane.kubectl("get", "deployment/headrace", "--namespace", SYSTEM, check=False)
        if found.returncode != 0:
            self.install()

    def ensure_simulated(self, replicas=3):
        """Headrace, and the example of manifests/examples/simulator.yaml, Ready."""
        self.ensure_installed()
        found = self.plane.kubectl("get", "airoute/simulated", "--namespace", MODELS, check=False)
        if found.returncode != 0:
            self.plane.kubectl("apply", "--namespace", MODELS, "-f", "-",
                               stdin=self.simulator_manifest())
        self.scale(replicas)
        counts = {"total": replicas, "ready": replicas}
        wait_until("the backend has every pod", lambda: counts.items() <= self.plane.get(
            "modelbackend/simulated", "--namespace", MODELS)["status"]["endpoints"].items())
        self.plane.wait("modelbackend/simulated", "condition=Ready", MODELS, 60)
        self.plane.wait("airoute/simulated", "condition=Ready", MODELS, 60)

    def simulator_manifest(self):
        """The shipped example, with the image that was built here and a shorter preStop."""
        with open(f"{self.root}/manifests/examples/simulator.yaml", encoding="utf-8") as source:
            text = source.read()
        for old, new in (("image: headrace:0.1.0", f"image: {HEADRACE}"),
                         ("imagePullPolicy: IfNotPresent", "imagePullPolicy: Never"),
                         ("seconds: 20", "seconds: 6")):
            if old not in text:
                raise ValueError(f"simulator.yaml has no '{old}'")
            text = text.replace(old, new)
        return text

    # ---- the simulated pods -----------------------------------------------------------------

    def scale(self, replicas):
        self.plane.kubectl("scale", "deployment/simulated", "--namespace", MODELS,
                           f"--replicas={replicas}")
        self.rollout("simulated", MODELS)

    def rollout(self, name, namespace, timeout=120):
        self.plane.kubectl("rollout", "status", f"deployment/{name}", "--namespace", namespace,
                           f"--timeout={timeout}s", timeout=timeout + 10)

    def pods(self, selector="app=simulated", namespace=MODELS):
        return self.plane.get("pods", "--namespace", namespace, "--selector", selector)["items"]

    def served(self, pod):
        """The completions that a simulated pod has finished."""
        import urllib.request
        total = 0.0
        address = pod["status"]["podIP"]
        with urllib.request.urlopen(f"http://{address}:8000/metrics", timeout=5) as page:
            for line in page.read().decode().splitlines():
                if line.startswith("vllm:request_success_total"):
                    total += float(line.rsplit(" ", 1)[1])
        return int(total)

    # ---- traffic ----------------------------------------------------------------------------

    @property
    def address(self):
        """The address of Headrace's Service, which kube-proxy balances over its pods."""
        found = self.plane.get("service/headrace", "--namespace", SYSTEM)
        return found["spec"]["clusterIP"], found["spec"]["ports"][0]["port"]

    def stream(self, tokens=16, model="simulated"):
        return stream_chat(self.address, model, tokens)

    def send(self, method, path, body=None, headers=None):
        return send(self.address, method, path, body, headers)

    def load(self, **more):
        return Load(self.address, "simulated", **more)


__all__ = ["ClusterEnvironment", "MODELS", "SYSTEM", "wait_until"]
