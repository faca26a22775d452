"""Cluster tier: the shipped image and chart on a real node, with real pods and controllers."""

import os
import time

from harness.cluster_environment import MODELS, SYSTEM
from harness.processes import run, wait_until
from harness.scenario import Suite, check

SUITE = Suite()


def no_errors(load):
    check(not load.errors, load.summary)
    check(load.whole > 0, "the load sent nothing")


@SUITE.scenario
def chart(env):
    """The chart passes helm lint, refuses values that it does not know, renders with every
    switch, and install.yaml and the copies of the CRDs are in step with it."""
    folder = f"{env.root}/charts/headrace"
    env.helm("lint", "--strict", folder)
    for wrong in ("replicaCout=3", "image.tga=x", "service.type=Loadbalancer", "drain.grace=5",
                  "podDisruptionBudget.minAvailable=half"):
        result = env.helm("template", "headrace", folder, "--set", wrong, check=False)
        check(result.returncode != 0, f"--set {wrong} was taken")
    for values in (["service.type=LoadBalancer", "service.nodePort=30080"],
                   ["crds.enabled=false", "rbac.create=false", "serviceAccount.create=false"],
                   ["rbac.certificates=false"],
                   ["ingressClass.default=true", "replicaCount=1", "commonLabels.team=ml"],
                   ["fullnameOverride=x", "image.digest=sha256:" + "0" * 64]):
        sets = [argument for value in values for argument in ("--set", value)]
        rendered = env.helm("template", "headrace", folder, "--namespace", SYSTEM, *sets).stdout
        env.plane.kubectl("apply", "--dry-run=server", "--namespace", SYSTEM, "-f", "-",
                          stdin=rendered)
    result = run([f"{env.root}/charts/sync", "--check"], check=False,
                 env=dict(os.environ, HELM=env._helm))
    check(result.returncode == 0, result.stderr)


@SUITE.scenario
def helm_install(env):
    """helm install --wait brings up two pods in a namespace that enforces restricted pod
    security, with a Service, an IngressClass and no more rights than needed."""
    env.install()
    deployment = env.plane.get("deployment/headrace", "--namespace", SYSTEM)
    check(deployment["status"].get("readyReplicas") == 2, f"{deployment['status']}")
    addresses = {pod["status"]["podIP"]
                 for pod in env.pods("app.kubernetes.io/name=headrace", SYSTEM)}
    check(env.service_endpoints() == addresses, f"{env.service_endpoints()}, pods {addresses}")
    check(env.plane.get("ingressclass/headrace")["spec"]["controller"]
          == "headrace.dev/controller", "the IngressClass names another controller")
    answer = env.send("GET", "/v1/models")
    check(answer.status == 200, f"{answer.status} {answer.body}")
    account = f"system:serviceaccount:{SYSTEM}:headrace"
    for verb, what, allowed in (
            ("watch", "airoutes.headrace.dev", True),
            ("list", "endpointslices.discovery.k8s.io", True),
            ("patch", "modelbackends.headrace.dev/status", True),
            ("watch", "secrets", True), ("list", "configmaps", True),
            ("update", "airoutes.headrace.dev", False), ("update", "secrets", False),
            ("get", "secrets", False), ("create", "pods", False),
            ("delete", "modelbackends.headrace.dev", False)):
        said = env.plane.kubectl("auth", "can-i", verb, *what_of(what), "--as", account,
                                 "--all-namespaces", check=False).stdout.strip()
        check(said == ("yes" if allowed else "no"), f"can-i {verb} {what}: {said}")


def what_of(what):
    """The arguments of `kubectl auth can-i` for a resource, or for its subresource."""
    name, _, sub = what.partition("/")
    return [name, f"--subresource={sub}"] if sub else [name]


@SUITE.scenario
def install_manifest(env):
    """install.yaml is taken by the API server as it is, restricted pod security included."""
    result = env.plane.kubectl("apply", "--dry-run=server", "-f",
                               f"{env.root}/manifests/install.yaml")
    check("would violate" not in result.stderr.lower(), result.stderr)


@SUITE.scenario
def stream_through_service(env):
    """kubectl apply of the simulator example, kubectl wait, then streams through the Service
    that reach every pod."""
    env.ensure_simulated(3)
    pods = env.pods()
    before = sum(env.served(pod) for pod in pods)
    with env.load(clients=6) as load:
        load.wait_for(30)
    no_errors(load)
    counts = [env.served(pod) for pod in pods]
    check(sum(counts) - before == load.whole, f"{counts} served, {load.whole} seen")
    check(all(counts), f"a pod was left out: {counts}")
    table = env.plane.kubectl("get", "headrace", "--namespace", MODELS).stdout
    check("3/3" in table and table.count("True") == 2, table)


@SUITE.scenario
def replicas_agree(env):
    """Two replicas of Headrace do not fight over a status: under load and without a change, no
    object is written."""
    env.ensure_simulated(3)

    def versions():
        return [env.plane.get(what, "--namespace", MODELS)["metadata"]["resourceVersion"]
                for what in ("airoute/simulated", "modelbackend/simulated")]
    with env.load(clients=6) as load:
        load.wait_for(10)
        before = versions()
        time.sleep(8)
        check(versions() == before, f"resource versions {before} became {versions()}")
    no_errors(load)


@SUITE.scenario
def scale_up_under_load(env):
    """A Deployment that is scaled up under streaming load: the new pods take requests, no client
    sees an error."""
    env.ensure_simulated(2)
    known = {pod["metadata"]["name"] for pod in env.pods()}
    with env.load() as load:
        load.wait_for(15)
        env.scale(4)
        fresh = [pod for pod in env.pods() if pod["metadata"]["name"] not in known]
        check(len(fresh) == 2, f"{len(fresh)} new pods")
        wait_until("the new pods take requests", lambda: all(env.served(pod) for pod in fresh))
        load.wait_for(15)
    no_errors(load)


@SUITE.scenario
def roll_under_load(env):
    """A Deployment that is rolled under streaming load: every pod is another one, no client sees
    an error."""
    env.ensure_simulated(3)
    old = {pod["metadata"]["name"] for pod in env.pods()}
    with env.load() as load:
        load.wait_for(15)
        env.plane.kubectl("rollout", "restart", "deployment/simulated", "--namespace", MODELS)
        env.rollout("simulated", MODELS)
        wait_until("the old pods are gone", lambda: not old.intersection(
            pod["metadata"]["name"] for pod in env.pods()), timeout=60)
        load.wait_for(15)
    no_errors(load)


@SUITE.scenario
def scale_down_under_load(env):
    """A Deployment that is scaled down under streaming load: the pods that leave finish their
    streams, no client sees an error."""
    env.ensure_simulated(4)
    with env.load() as load:
        load.wait_for(15)
        env.plane.kubectl("scale", "deployment/simulated", "--namespace", MODELS, "--replicas=1")
        wait_until("one pod is left", lambda: len(env.pods()) == 1, timeout=60)
        load.wait_for(15)
    no_errors(load)
    wait_until("the status says so", lambda: env.plane.get(
        "modelbackend/simulated", "--namespace", MODELS)["status"]["endpoints"]["total"] == 1)


@SUITE.scenario
def scale_to_zero(env):
    """Without a pod, requests are refused with a reason and Ready is False; with one again they
    are served."""
    env.ensure_simulated(1)
    env.scale(0)
    env.plane.wait("modelbackend/simulated", "condition=Ready=False", MODELS, 60)
    refused = wait_until("a refusal", lambda: [answer for answer in [env.send(
        "POST", "/v1/chat/completions", {"model": "simulated", "messages": []})]
        if answer.status == 503])[0]
    check(refused.json()["error"]["message"], f"{refused.body}")
    env.ensure_simulated(2)
    wait_until("it serves again", lambda: env.stream())


@SUITE.scenario
def headrace_roll_under_load(env):
    """Headrace itself is rolled under streaming load: streams drain, no client sees an error."""
    env.ensure_simulated(3)
    selector = "app.kubernetes.io/name=headrace"
    old = {pod["metadata"]["name"] for pod in env.pods(selector, SYSTEM)}
    with env.load() as load:
        load.wait_for(15)
        env.plane.kubectl("rollout", "restart", "deployment/headrace", "--namespace", SYSTEM)
        env.rollout("headrace", SYSTEM)
        wait_until("the old pods are gone", lambda: not old.intersection(
            pod["metadata"]["name"] for pod in env.pods(selector, SYSTEM)), timeout=60)
        load.wait_for(15)
    no_errors(load)


@SUITE.scenario
def helm_upgrade(env):
    """helm upgrade with another value under load: rolled out, no client sees an error."""
    env.ensure_simulated(3)
    with env.load() as load:
        load.wait_for(10)
        env.install(podAnnotations__upgraded="again")
        load.wait_for(10)
    no_errors(load)
    for pod in env.pods("app.kubernetes.io/name=headrace", SYSTEM):
        if not pod["metadata"].get("deletionTimestamp"):
            check(pod["metadata"].get("annotations", {}).get("upgraded") == "again",
                  f"{pod['metadata']['name']} is of the old revision")


@SUITE.scenario
def forced_pod_deletion(env):
    """A pod that is deleted without grace costs no new request an error."""
    env.ensure_simulated(3)
    victim = env.pods()[0]["metadata"]["name"]
    env.plane.kubectl("delete", "pod", victim, "--namespace", MODELS, "--grace-period=0", "--force")
    for _ in range(30):
        env.stream(tokens=2)
    env.rollout("simulated", MODELS)


@SUITE.scenario
def helm_uninstall(env):
    """helm uninstall leaves the routes and backends; installed again, Headrace serves them."""
    env.ensure_simulated(2)
    env.helm("uninstall", "headrace", "--namespace", SYSTEM, "--wait", "--timeout", "90s")
    for what in ("airoute/simulated", "modelbackend/simulated"):
        env.plane.get(what, "--namespace", MODELS)
    gone = env.plane.kubectl("get", "clusterrole,clusterrolebinding,ingressclass", "-o",
                             "name").stdout
    check("headrace" not in gone, f"left: {[l for l in gone.splitlines() if 'headrace' in l]}")
    env.install()
    wait_until("it serves again", lambda: env.stream())
