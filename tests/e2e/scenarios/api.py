"""API server tier: objects in a real API server become routing, and stay so whatever happens."""

import base64
import glob
import json
import signal
import threading
import time
import urllib.request

from harness.api_environment import (ADMIN, SYSTEM, backend, endpoint, route, rule, service,
                                     slice_of)
from harness.certificates import issue
from harness.load import chat
from harness.processes import run, wait_until
from harness.scenario import Suite, check
from .objects import NAMED_BACKENDS, OBJECTS

SUITE = Suite()


def one_backend(env, model, pods, name="llm"):
    """A Service with these pods, its backend and a route for the model, waited for."""
    env.apply(service(name), slice_of(name, pods), backend(name, [model]),
              route(name, rule("main", [name])))
    env.wait_ready(f"modelbackend/{name}", f"airoute/{name}")


def served(pods):
    return [pod.served for pod in pods]


def no_errors(load):
    check(not load.errors, load.summary)
    check(load.whole > 0, "the load sent nothing")


def settled(pods, env, model, what):
    """Waits until the pods' counts stand still while traffic goes on, and returns them."""
    def still():
        before = served(pods)
        for _ in range(6):
            env.stream(model, tokens=2)
        return before if served(pods) == before else None
    return wait_until(what, still, timeout=20, interval=0)


@SUITE.scenario
def crds(env):
    """The API server takes the CRDs as structural, explains every field, and a second apply of
    all manifests leaves no difference."""
    for name in ("airoutes.headrace.dev", "modelbackends.headrace.dev"):
        found = env.plane.get(f"crd/{name}")
        conditions = {c["type"]: c["status"] for c in found["status"]["conditions"]}
        check(conditions.get("Established") == "True", f"{name}: {conditions}")
        check(conditions.get("NonStructuralSchema", "False") == "False", f"{name}: {conditions}")
        check(conditions.get("NamesAccepted") == "True", f"{name}: {conditions}")
    for what in ("airoute.spec", "modelbackend.spec", "airoute.status", "modelbackend.status"):
        shown = wait_until(f"{what} is explained", lambda what=what: env.plane.kubectl(
            "explain", what, "--recursive").stdout)
        check("FIELDS:" in shown and "<empty>" not in shown, f"explain {what}:\n{shown}")
    manifest = f"{env.root}/manifests/install.yaml"
    env.plane.kubectl("apply", "-f", manifest)
    drift = env.plane.kubectl("diff", "-f", manifest, check=False)
    check(drift.returncode == 0, f"a second apply left a difference:\n{drift.stdout}{drift.stderr}")
    category = env.plane.kubectl("get", "headrace", "--all-namespaces")
    check(category.returncode == 0, category.stderr)


@SUITE.scenario
def examples(env):
    """The API server and `headrace validate` take every example manifest."""
    files = sorted(glob.glob(f"{env.root}/manifests/examples/*.yaml"))
    check(files, "no examples")
    env.apply()
    offline = run([f"{env.build}/headrace", "validate", *files], check=False)
    check(offline.returncode == 0, offline.stdout + offline.stderr)
    for file in files:
        env.plane.kubectl("apply", "--dry-run=server", "--namespace", env.namespace, "-f", file)


@SUITE.scenario
def schema(env):
    """The API server and `headrace validate` take and refuse the same objects, and both say
    what is wrong."""
    env.apply()
    problems = []
    for name, item, said in OBJECTS:
        text = json.dumps(item)
        server = env.plane.kubectl("create", "--dry-run=server", "--validate=strict", "--namespace",
                                   env.namespace, "-f", "-", stdin=text, check=False)
        file = f"{env.directory}/object.yaml"
        with open(file, "w", encoding="utf-8") as out:
            # The backends that the routes name: offline, what is missing is a fault too.
            out.write("\n---\n".join([text, *(json.dumps(b) for b in NAMED_BACKENDS)]))
        offline = run([f"{env.build}/headrace", "validate", file], check=False)
        for who, failed, output in (
                ("the API server", server.returncode != 0, server.stderr + server.stdout),
                ("validate", offline.returncode != 0, offline.stdout + offline.stderr)):
            if failed != (said is not None):
                problems.append(f"{name}: {who} {'refuses' if failed else 'takes'} it: {output}")
            elif said is not None and said not in output:
                problems.append(f"{name}: {who} does not say '{said}': {output}")
    check(not problems, "\n".join(problems))


@SUITE.scenario
def apply_ready_stream(env):
    """kubectl apply, kubectl wait --for=condition=Ready, then streamed, plain and listed."""
    pods = [env.pod("river") for _ in range(3)]
    one_backend(env, "river", pods)
    for _ in range(12):
        env.stream("river")
    check(sum(served(pods)) == 12, f"served {served(pods)}")
    plain = env.send("POST", "/v1/chat/completions", chat("river", stream=False))
    check(plain.status == 200 and plain.json()["choices"][0]["message"]["content"],
          f"{plain.status} {plain.body}")
    listed = [m["id"] for m in env.send("GET", "/v1/models").json()["data"]]
    check("river" in listed, f"models {listed}")
    for what in ("airoute/llm", "modelbackend/llm"):
        found = env.get(what)
        generation = found["metadata"]["generation"]
        status = found["status"]
        check(status["observedGeneration"] == generation, f"{what}: {status}")
        for condition in status["conditions"]:
            check(condition["observedGeneration"] == generation, f"{what}: {condition}")
        kinds = {c["type"]: c["status"] for c in status["conditions"]}
        check(all(kinds.get(k) == "True"
                  for k in ("Accepted", "ResolvedRefs", "Programmed", "Ready")),
              f"{what}: {kinds}")
    counts = env.get("modelbackend/llm")["status"]["endpoints"]
    check(counts["total"] == 3 and counts["ready"] == 3, f"endpoints {counts}")
    table = env.plane.kubectl("get", "mb", "llm", "--namespace", env.namespace).stdout
    check("3/3" in table and "VLLM" in table and "True" in table, table)


@SUITE.scenario
def edit_weight(env):
    """A weight that is edited under load takes effect, and no stream breaks."""
    old, new = env.pod("base"), env.pod("base")
    for name, pod in (("old", old), ("new", new)):
        env.apply(service(name), slice_of(name, [pod]), backend(name, ["base"]))

    def weights(first, second):
        return route("canary", rule("main", [{"name": "old", "weight": first},
                                             {"name": "new", "weight": second}]))
    env.apply(weights(1, 0))
    env.wait_ready("airoute/canary")
    with env.load("base") as load:
        load.wait_for(20)
        check(new.served == 0, f"weight 0 took {new.served} requests")
        env.apply(weights(1, 1))
        wait_until("both take requests", lambda: new.served > 3)
        env.apply(weights(0, 1))
        env.wait_in_effect("airoute/canary")
        wait_until("the old one is idle", lambda: old.running == 0)
        before = old.served
        load.wait_for(20)
        check(old.served == before, f"weight 0 took {old.served - before} requests")
    no_errors(load)


@SUITE.scenario
def edit_model(env):
    """A model that is renamed under load: the new name works, then the old one is unknown, and
    the pods are asked for what they know; no stream breaks."""
    pod = env.pod("weights-v1")
    mapped = {"name": "asked", "upstreamName": "weights-v1"}
    env.apply(service("llm"), slice_of("llm", [pod]), backend("llm", [mapped]),
              route("llm", rule("main", ["llm"])))
    env.wait_ready("airoute/llm")
    asked = ["asked"]
    with env.load(lambda: asked[0]) as load:
        load.wait_for(15)
        env.apply(backend("llm", [{**mapped, "aliases": ["renamed"]}]))
        wait_until("the alias is served", lambda: env.send(
            "POST", "/v1/chat/completions", chat("renamed", 2, False)).status == 200)
        asked[0] = "renamed"
        load.wait_for(30)
        env.apply(backend("llm", [{**mapped, "name": "renamed"}]))
        wait_until("the old name is gone", lambda: env.send(
            "POST", "/v1/chat/completions", chat("asked", 2, False)).status == 404)
        load.wait_for(15)
    no_errors(load)


@SUITE.scenario
def edit_endpoints(env):
    """An endpoint that comes gets requests; one that goes gets no new ones, and the streams that
    run there come to their end."""
    first, second = env.pod("grow"), env.pod("grow")
    one_backend(env, "grow", [first])
    with env.load("grow") as load:
        load.wait_for(15)
        check(second.served == 0, "an unknown pod was asked")
        env.apply(slice_of("llm", [first, second]))
        wait_until("the new endpoint takes requests", lambda: second.served > 3)
        env.apply(slice_of("llm", [second]))
        wait_until("the status says one endpoint",
                   lambda: env.get("modelbackend/llm")["status"]["endpoints"].get("total") == 1)
        wait_until("the gone endpoint is idle", lambda: first.running == 0)
        before = first.served
        load.wait_for(20)
        check(first.served == before, f"the gone endpoint took {first.served - before} requests")
    no_errors(load)


@SUITE.scenario
def endpoint_states(env):
    """Endpoints of several slices are joined; one that is not ready or that terminates gets no
    new requests."""
    ready, other, unready, leaving = (env.pod("states") for _ in range(4))
    env.apply(service("llm"), slice_of("llm", [ready, endpoint(unready, False, False)]),
              slice_of("llm", [other, endpoint(leaving, False, True, True)], 2),
              backend("llm", ["states"], balancing={"policy": "RoundRobin"}),
              route("llm", rule("main", ["llm"])))
    env.wait_ready("airoute/llm")
    for _ in range(12):
        env.stream("states", tokens=2)
    counts = served([ready, other, unready, leaving])
    check(counts[0] == counts[1] == 6 and counts[2:] == [0, 0], f"served {counts}")
    env.apply(slice_of("llm", [ready, unready]))
    wait_until("the endpoint that became ready takes requests",
               lambda: env.stream("states", tokens=2) and unready.served > 0)


@SUITE.scenario
def selector_pool(env):
    """A pool that selects Pods by label follows their readiness and their labels."""
    sims = [env.pod("picked") for _ in range(2)]
    env.apply()
    for number, sim in enumerate(sims):
        name = f"pod-{number}"
        env.apply({"apiVersion": "v1", "kind": "Pod",
                   "metadata": {"name": name, "labels": {"app": "picked"}},
                   "spec": {"containers": [{"name": "main", "image": "none"}]}})
        set_pod_status(env, name, sim.address, "True")
    env.apply(backend("llm", ["picked"], pool={"selector": {"matchLabels": {"app": "picked"}},
                                               "port": 8000},
                      balancing={"policy": "RoundRobin"}),
              route("llm", rule("main", ["llm"])))
    env.wait_ready("airoute/llm")
    wait_until("both pods are known",
               lambda: env.get("modelbackend/llm")["status"]["endpoints"]["ready"] == 2)
    for _ in range(10):
        env.stream("picked", tokens=2)
    check(served(sims) == [5, 5], f"served {served(sims)}")
    set_pod_status(env, "pod-0", sims[0].address, "False")
    settled(sims[:1], env, "picked", "the pod that is not ready is left alone")
    set_pod_status(env, "pod-0", sims[0].address, "True")
    env.plane.kubectl("label", "pod", "pod-1", "app=other", "--overwrite", "--namespace",
                      env.namespace)
    settled(sims[1:], env, "picked", "the pod with another label is left alone")
    check(sims[0].served > 5, "the pod that became ready again takes no requests")


def set_pod_status(env, name, address, ready):
    env.patch(f"pod/{name}", {"status": {
        "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": ready},
                       {"type": "ContainersReady", "status": ready}]}}, "status")


@SUITE.scenario
def invalid_object(env):
    """An object with a reference that leads nowhere says so in a condition and everything else
    serves; one that breaks the schema is refused with a clear message; repaired, it is Ready."""
    one_backend(env, "good", [env.pod("good")])
    with env.load("good", clients=4) as load:
        env.apply(route("broken", rule("main", ["missing"], models=["broken"])))
        condition = wait_until("a condition",
                               lambda: env.condition("airoute/broken", "ResolvedRefs"))
        check(condition["status"] == "False" and condition["reason"] == "BackendNotFound"
              and "missing" in condition["message"], f"{condition}")
        ready = env.condition("airoute/broken", "Ready")
        check(ready and ready["status"] == "False", f"{ready}")
        refused = env.send("POST", "/v1/chat/completions", chat("broken"))
        check(refused.status in (404, 503) and refused.json()["error"]["message"],
              f"{refused.status} {refused.body}")
        result = apply_refused(env, backend("twofold", ["x"], static={
            "endpoints": [{"address": "10.244.9.9", "port": 1}]}))
        check("exactly one of pool and static" in result, result)
        result = apply_refused(env, route("typo", rule("main", ["llm"], retries=3)))
        check("retries" in result, result)
        env.apply(service("missing"), slice_of("missing", [env.pod("broken")]),
                  backend("missing", ["broken"]))
        env.wait_ready("airoute/broken")
        env.stream("broken")
        load.wait_for(5)
    no_errors(load)


def apply_refused(env, item):
    """Applies an object that the API server must refuse, and returns what it said."""
    item["metadata"]["namespace"] = env.namespace
    result = env.plane.kubectl("apply", "-f", "-", stdin=json.dumps(item), check=False)
    check(result.returncode != 0, f"{item['metadata']['name']} was taken")
    return result.stderr


@SUITE.scenario
def delete_route(env):
    """A route that is deleted is gone: its model is unknown and no longer listed, the others
    serve on."""
    one_backend(env, "stays", [env.pod("stays")])
    one_backend(env, "goes", [env.pod("goes")], name="second")
    with env.load("stays", clients=4) as load:
        env.stream("goes")
        env.delete("airoute/second")
        wait_until("the model is unknown", lambda: env.send(
            "POST", "/v1/chat/completions", chat("goes", 2, False)).status == 404)
        listed = [m["id"] for m in env.send("GET", "/v1/models").json()["data"]]
        check("goes" not in listed and "stays" in listed, f"models {listed}")
        refused = env.send("POST", "/v1/chat/completions", chat("goes"))
        check(refused.json()["error"]["code"] == "model_not_found", f"{refused.body}")
        load.wait_for(10)
    no_errors(load)


@SUITE.scenario
def conflict_oldest_wins(env):
    """Two routes with the same match: the older one serves, the younger one says so."""
    pods = [env.pod("both"), env.pod("both")]
    for name, pod in zip(("first", "second"), pods):
        env.apply(service(name), slice_of(name, [pod]), backend(name, ["both"]))
    env.apply(route("older", rule("main", ["first"], models=["both"])))
    env.wait_ready("airoute/older")
    time.sleep(1.1)  # creation timestamps count in seconds
    env.apply(route("younger", rule("main", ["second"], models=["both"])))
    condition = wait_until("a condition", lambda: env.condition("airoute/younger", "Accepted"))
    check(condition["status"] == "False" and "older" in condition["message"], f"{condition}")
    for _ in range(6):
        env.stream("both", tokens=2)
    check(served(pods) == [6, 0], f"served {served(pods)}")
    env.delete("airoute/older")
    env.wait_ready("airoute/younger")
    env.stream("both", tokens=2)
    check(pods[1].served > 0, "the younger one did not take over")


def tls_secret(env, name, host, key_of=None):
    """A Secret of type kubernetes.io/tls for the host, by the authority of the control plane."""
    folder = f"{env.plane.directory}/pki"
    file = f"{env.namespace}-{name}"
    issue(folder, file, f"/CN={host}", f"DNS:{host}")

    def read(what):
        with open(f"{folder}/{what}", encoding="utf-8") as source:
            return source.read()
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": read(file + ".crt"),
                           "tls.key": read((key_of or file) + ".key")}}


def admin(path):
    with urllib.request.urlopen(f"http://{ADMIN}{path}", timeout=5) as answer:
        return answer.read().decode()


def tls_hosts():
    return {entry["host"] for entry in json.loads(admin("/routes"))["tls_hosts"]}


def reason_is(env, what, kind, reason):
    wait_until(f"{kind} of {what} says {reason}",
               lambda: (env.condition(what, kind) or {}).get("reason") == reason)
    return env.condition(what, kind)


@SUITE.scenario
def certificates(env):
    """A route waits for its Secret, is Ready with it, takes over a new one, uses the last good
    one while it is broken, and says so when it is gone; no other Secret is known, no request is
    lost, and no key shows."""
    host = "tls.example.com"
    one_backend(env, "tls", [env.pod("tls")])
    env.apply(tls_secret(env, "unrelated", "unrelated.example.com"),
              route("secure", rule("main", ["llm"]), hostnames=[host],
                    tls=[{"secretName": "chat"}]))
    condition = reason_is(env, "airoute/secure", "ResolvedRefs", "CertificateNotFound")
    check("chat does not exist" in condition["message"], f"{condition}")
    check(host not in tls_hosts(), "a host without a certificate is terminated")
    with env.load("tls", clients=4) as load:
        env.apply(tls_secret(env, "chat", host))
        env.wait_ready("airoute/secure")
        check(host in tls_hosts(), f"terminated: {tls_hosts()}")
        wait_until("one Secret is known, and no other",
                   lambda: '\nheadrace_objects{kind="Secret"} 1\n' in admin("/metrics"))
        before = json.loads(admin("/routes"))["generation"]
        rotated = tls_secret(env, "chat", host)
        env.apply(rotated)
        wait_until("the new certificate is taken over",
                   lambda: json.loads(admin("/routes"))["generation"] > before)
        env.wait_ready("airoute/secure")
        env.apply(tls_secret(env, "chat", host, key_of="admin"))
        condition = reason_is(env, "airoute/secure", "ResolvedRefs", "InvalidCertificateRef")
        check("private key is not that of the certificate" in condition["message"]
              and "what it held before is used" in condition["message"], f"{condition}")
        check(host in tls_hosts(), "the last good certificate is not used")
        env.apply(rotated)
        env.wait_ready("airoute/secure")
        env.delete("secret/chat")
        reason_is(env, "airoute/secure", "Ready", "CertificateNotFound")
        check(host not in tls_hosts(), "a certificate that is gone is still there")
        load.wait_for(10)
    no_errors(load)
    key = rotated["stringData"]["tls.key"].split("\n")[1]
    for what in (env.headrace.tail(1000), admin("/routes")):
        check("PRIVATE KEY" not in what and key not in what, "a key shows")


@SUITE.scenario
def certificates_by_name(env):
    """Where Headrace may read one Secret by name and no other, that one works, and the other route
    says that its own may not be read."""
    role = json.dumps(clean(env.plane.get("clusterrole/headrace")))
    named = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
             "metadata": {"name": "headrace-secrets"},
             "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["mine"],
                        "verbs": ["list", "watch"]}]}
    binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
               "metadata": {"name": "headrace-secrets"},
               "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role",
                           "name": "headrace-secrets"},
               "subjects": [{"kind": "ServiceAccount", "name": "headrace", "namespace": SYSTEM}]}
    fewer = json.loads(role)
    fewer["rules"] = [r for r in fewer["rules"] if "secrets" not in r["resources"]]
    check(len(fewer["rules"]) + 1 == len(json.loads(role)["rules"]), role)
    env.plane.kubectl("apply", "-f", "-", stdin=json.dumps(fewer))
    try:
        one_backend(env, "named", [env.pod("named")])
        env.apply(named, binding, tls_secret(env, "mine", "mine.example.com"),
                  tls_secret(env, "theirs", "theirs.example.com"))
        for name in ("mine", "theirs"):
            env.apply(route(name, rule("main", ["llm"]), hostnames=[f"{name}.example.com"],
                            tls=[{"secretName": name}]))
        env.wait_ready("airoute/mine")
        condition = reason_is(env, "airoute/theirs", "ResolvedRefs", "CertificateNotFound")
        check("may not be read" in condition["message"], f"{condition}")
    finally:
        env.plane.kubectl("apply", "-f", "-", stdin=role)
    env.wait_ready("airoute/theirs")


@SUITE.scenario
def foreign_class(env):
    """A route of another ingress class is left alone: not served, no status."""
    one_backend(env, "ours", [env.pod("ours")])
    env.apply(route("foreign", rule("main", ["llm"], models=["theirs"]), ingressClassName="other"))
    env.apply(route("marker", rule("main", ["llm"], models=["marker"])))
    env.wait_ready("airoute/marker")
    check(not env.get("airoute/foreign").get("status"), "a foreign route got a status")
    refused = env.send("POST", "/v1/chat/completions", chat("theirs", 2, False))
    check(refused.status == 404, f"{refused.status} {refused.body}")


@SUITE.scenario
def moved_to_another_class(env):
    """A route that moves to another ingress class loses the status that we wrote and keeps what
    others wrote; back again, it is served and has a status as before."""
    env.apply(service("llm"), slice_of("llm", [env.pod("moving")]), backend("llm", ["moving"]),
              route("moving", rule("main", ["llm"], models=["moving"])))
    env.wait_ready("airoute/moving")
    theirs = {"type": "example.com/Seen", "status": "True", "reason": "Seen", "message": "",
              "lastTransitionTime": "2026-01-01T00:00:00Z"}
    conditions = env.get("airoute/moving")["status"]["conditions"] + [theirs]
    env.patch("airoute/moving", {"status": {"conditions": conditions}}, subresource="status")
    env.apply(route("moving", rule("main", ["llm"], models=["moving"]), ingressClassName="other"))
    wait_until("our status goes", lambda: not env.condition("airoute/moving", "Ready"))
    status = env.get("airoute/moving").get("status")
    check(status == {"conditions": [theirs]}, f"{status}")
    version = env.get("airoute/moving")["metadata"]["resourceVersion"]
    refused = env.send("POST", "/v1/chat/completions", chat("moving", 2, False))
    check(refused.status == 404, f"{refused.status} {refused.body}")
    time.sleep(2)
    check(env.get("airoute/moving")["metadata"]["resourceVersion"] == version, "written again")
    env.apply(route("moving", rule("main", ["llm"], models=["moving"])))
    env.wait_ready("airoute/moving")
    env.stream("moving", tokens=2)


@SUITE.scenario
def apiserver_crash(env):
    """The API server is killed under traffic and comes back: no request fails, and what is
    edited afterwards takes effect."""
    first, second = env.pod("crash"), env.pod("crash")
    one_backend(env, "crash", [first])
    with env.load("crash") as load:
        load.wait_for(10)
        env.plane.apiserver.kill()
        load.wait_for(30)
        time.sleep(3)
        load.wait_for(10)
        env.plane.apiserver.start()
        env.plane.wait_ready()
        env.apply(slice_of("llm", [first, second]))
        wait_until("the edit takes effect", lambda: second.served > 0, timeout=60)
        load.wait_for(10)
    no_errors(load)
    env.wait_ready("airoute/llm")


@SUITE.scenario
def apiserver_frozen(env):
    """The API server hangs under traffic without closing anything, then goes on: no request
    fails, and what is edited afterwards takes effect."""
    first, second = env.pod("frozen"), env.pod("frozen")
    one_backend(env, "frozen", [first])
    with env.load("frozen", clients=6) as load:
        env.plane.apiserver.signal(signal.SIGSTOP)
        try:
            time.sleep(6)
            load.wait_for(10)
        finally:
            env.plane.apiserver.signal(signal.SIGCONT)
        env.plane.wait_ready()
        env.apply(slice_of("llm", [first, second]))
        wait_until("the edit takes effect", lambda: second.served > 0, timeout=30)
    no_errors(load)


@SUITE.scenario
def rights_revoked(env):
    """Without its rights Headrace serves on from what it knows, and says in its log what it may
    not; with them again it catches up."""
    first, second = env.pod("rights"), env.pod("rights")
    one_backend(env, "rights", [first])
    binding = json.dumps(clean(env.plane.get("clusterrolebinding/headrace")))
    with env.load("rights", clients=6) as load:
        env.plane.kubectl("delete", "clusterrolebinding", "headrace")
        try:
            # The watches that are open go on by the rights that they began with.
            env.plane.apiserver.kill()
            env.plane.apiserver.start()
            env.plane.wait_ready()
            wait_until("the log says so", lambda: "forbidden" in env.headrace.tail(400).lower(),
                       timeout=30)
            env.apply(slice_of("llm", [first, second]))
            load.wait_for(10)
            check(second.served == 0, "it knows of an endpoint that it may not see")
        finally:
            env.plane.kubectl("apply", "-f", "-", stdin=binding)
        wait_until("it catches up", lambda: second.served > 0, timeout=60)
    no_errors(load)
    env.wait_ready("airoute/llm")


def clean(item):
    """An object without what the API server added to it."""
    for name in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
        item["metadata"].pop(name, None)
    return item


@SUITE.scenario
def token_replaced(env):
    """The token in the file is replaced because the old one is void: Headrace reads the file
    again and goes on."""
    first, second = env.pod("token"), env.pod("token")
    one_backend(env, "token", [first])
    with env.load("token", clients=6) as load:
        account = json.dumps(clean(env.plane.get("serviceaccount/headrace", "-n", SYSTEM)))
        env.plane.kubectl("delete", "serviceaccount", "headrace", "-n", SYSTEM)
        env.plane.kubectl("apply", "-f", "-", stdin=account)  # another uid: old tokens are void
        env.plane.apiserver.kill()
        env.plane.apiserver.start()
        env.plane.wait_ready()
        time.sleep(2)
        env.write_kubeconfig()
        env.apply(slice_of("llm", [first, second]))
        wait_until("it goes on", lambda: second.served > 0, timeout=60)
    no_errors(load)
    env.patch("airoute/llm", {"spec": {"hostnames": ["x.example.com"]}})
    env.wait_ready("airoute/llm")
    wait_until("it writes statuses", lambda: env.get("airoute/llm")["status"]
               ["observedGeneration"] == env.get("airoute/llm")["metadata"]["generation"])


@SUITE.scenario
def starts_before_the_apiserver(env):
    """Started while the API server is away, Headrace is alive but not ready, and serves as soon
    as it has heard of everything."""
    one_backend(env, "early", [env.pod("early")])
    env.headrace.stop()
    env.plane.apiserver.kill()
    env.start_headrace(wait=False)
    time.sleep(2)
    check(env.headrace.alive and not env.headrace_ready(), "it is ready without any configuration")
    env.plane.apiserver.start()
    env.plane.wait_ready()
    env.wait_headrace_ready()
    env.stream("early")


@SUITE.scenario
def definitions_come_later(env):
    """Started where its CRDs are not installed yet, Headrace says so, and goes on by itself once
    they are; when they are deleted under it, and come back, so do its routes."""
    crds = ("crd/airoutes.headrace.dev", "crd/modelbackends.headrace.dev")
    files = [argument for name in ("airoutes", "modelbackends")
             for argument in ("-f", f"{env.root}/crds/headrace.dev_{name}.yaml")]
    env.headrace.stop()
    env.plane.kubectl("delete", *crds)
    try:
        env.start_headrace(wait=False)
        wait_until("/readyz says what is missing",
                   lambda: "install the resource definitions" in env.readyz()[1])
    finally:
        env.plane.kubectl("apply", *files)
    env.wait_headrace_ready()
    one_backend(env, "later", [env.pod("later")])
    env.stream("later")
    env.plane.kubectl("delete", *crds)
    try:
        wait_until("the routes went with their definitions", lambda: env.send(
            "POST", "/v1/chat/completions", chat("later", 2, False)).status == 404)
    finally:
        env.plane.kubectl("apply", "-f", f"{env.root}/manifests/install.yaml")
    env.plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", *crds)
    one_backend(env, "back", [env.pod("back")])
    env.stream("back")


@SUITE.scenario
def watch_history_lost(env):
    """The API server loses the history that a watch would go on from (compacted while it was
    down): the lists are read anew, what changed takes effect, what was deleted goes."""
    pods = [env.pod("history") for _ in range(2)]
    one_backend(env, "history", pods[:1])
    one_backend(env, "doomed", pods[1:], name="second")
    with env.load("history", clients=4) as load:
        env.headrace.signal(signal.SIGSTOP)
        try:
            env.delete("airoute/second")
            env.apply(slice_of("llm", pods))
            compact(env)
            env.plane.apiserver.kill()
            env.plane.apiserver.start()
            env.plane.wait_ready()
        finally:
            env.headrace.signal(signal.SIGCONT)
        wait_until("the deleted route is gone", lambda: env.send(
            "POST", "/v1/chat/completions", chat("doomed", 2, False)).status == 404, timeout=60)
        wait_until("the endpoint that came takes requests", lambda: pods[1].served > 0, timeout=60)
        load.wait_for(5)
    no_errors(load)


def compact(env):
    """Makes etcd forget everything but the present."""
    def etcd(path, body):
        request = urllib.request.Request(f"http://127.0.0.1:2379/v3/kv/{path}",
                                         data=json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    key = base64.b64encode(b"/registry/").decode()
    revision = etcd("range", {"key": key})["header"]["revision"]
    etcd("compaction", {"revision": revision, "physical": True})


@SUITE.scenario
def headrace_restart(env):
    """Headrace is stopped and started again: it drains, the streams that run come to their end,
    and it serves the same from the same objects without a write to any of them."""
    pod = env.pod("again")
    one_backend(env, "again", [pod])
    wait_until("the metrics are known",
               lambda: env.get("modelbackend/llm")["status"].get("metricsFound"))
    before = {what: env.get(what) for what in ("airoute/llm", "modelbackend/llm")}
    results = []

    def long_stream():
        try:
            results.append(env.stream("again", tokens=150).text)
        except Exception as error:  # shown below
            results.append(error)
    streams = [threading.Thread(target=long_stream) for _ in range(4)]
    for stream in streams:
        stream.start()
    wait_until("the streams run", lambda: pod.running == 4)
    env.headrace.signal(signal.SIGTERM)
    wait_until("it is no longer ready", lambda: not env.headrace_ready())
    env.stream("again", tokens=2)  # still taken within the grace time
    for stream in streams:
        stream.join()
    check(len(results) == 4 and all(isinstance(r, str) and r for r in results), f"{results}")
    check(env.headrace.wait(30) == 0, "the exit status is not 0")
    env.start_headrace()
    env.stream("again")
    time.sleep(4)  # longer than it takes to learn the metrics anew
    for what, old in before.items():
        now = env.get(what)
        check(now["metadata"]["resourceVersion"] == old["metadata"]["resourceVersion"],
              f"{what} was written again:\n{old['status']}\n{now['status']}")


@SUITE.scenario
def killed_pod(env):
    """A pod that is killed costs no new request an error, though its EndpointSlice still names
    it, and gets no share once it is back out."""
    pods = [env.pod("killed") for _ in range(3)]
    one_backend(env, "killed", pods)
    for _ in range(6):
        env.stream("killed", tokens=2)
    pods[0].process.kill()
    for _ in range(30):
        env.stream("killed", tokens=2)
    check(sum(served(pods[1:])) >= 30, f"served {served(pods[1:])}")


@SUITE.scenario
def quiet_when_idle(env):
    """Without a change there is no write: six seconds of traffic leave every object as it was."""
    one_backend(env, "quiet", [env.pod("quiet")])
    wait_until("the metrics are known",
               lambda: env.get("modelbackend/llm")["status"].get("metricsFound"))
    versions = [env.get(w)["metadata"]["resourceVersion"]
                for w in ("airoute/llm", "modelbackend/llm")]
    with env.load("quiet", clients=4) as load:
        time.sleep(6)
    no_errors(load)
    now = [env.get(w)["metadata"]["resourceVersion"] for w in ("airoute/llm", "modelbackend/llm")]
    check(now == versions, f"resource versions {versions} became {now}")


@SUITE.scenario
def many_objects(env):
    """Two hundred routes and backends that come at once are served, and an edit of one is in
    effect within seconds; none of it disturbs the traffic."""
    pod = env.pod("many")
    one_backend(env, "many", [pod])
    count = 200
    with env.load("many", clients=4) as load:
        env.apply(service("shared"), slice_of("shared", [pod]),
                  *(item for n in range(count) for item in (
            backend(f"b{n}", [{"name": f"many-{n}", "upstreamName": "many"}],
                    pool={"serviceRef": {"name": "shared", "port": "http"}}),
            route(f"r{n}", rule("main", [f"b{n}"])))))
        wait_until("the last one is served", lambda: env.send(
            "POST", "/v1/chat/completions", chat(f"many-{count - 1}", 2, False)).status == 200)
        for n in (0, count // 2, count - 1):
            env.stream(f"many-{n}", tokens=2)
        wait_until("all are Ready", lambda: all(
            any(c["type"] == "Ready" and c["status"] == "True"
                for c in item.get("status", {}).get("conditions", []))
            for item in env.get("airoutes")["items"]), timeout=60, interval=0.5)
        env.apply(backend("b7", [{"name": "many-renamed", "upstreamName": "many"}],
                          pool={"serviceRef": {"name": "shared", "port": "http"}}))
        wait_until("the edit is in effect", lambda: env.send(
            "POST", "/v1/chat/completions", chat("many-renamed", 2, False)).status == 200)
        check(len(env.send("GET", "/v1/models").json()["data"]) > count, "models are missing")
    no_errors(load)
