#!/usr/bin/env python3
"""The Kubernetes client against a scripted API server: what it makes of every misbehaviour."""

import json
import os
import subprocess
import threading
import time

from harness import BUILD, Process, contains, eq, eventually, main, skip
from kube_standin import KINDS, Standin, wait_requests


class Driver(Process):
    """kube_driver (tests/integration/kube/kube_driver.c) with its view of the world."""

    def __init__(self, t, kubeconfig, *args):
        path = os.path.join(BUILD, "tests/integration/kube/kube_driver")
        if not os.access(path, os.X_OK):
            skip("%s is not built" % path)
        self.name = "kube_driver"
        self.log = t.log
        self.stdout_path = os.path.join(t.folder, "driver.out")
        self.stderr_path = os.path.join(t.folder, "driver.err")
        self.argv = [path, "--kubeconfig", kubeconfig, *args]
        with open(self.stdout_path, "wb") as out, open(self.stderr_path, "wb") as err:
            self.child = subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=out, stderr=err)
        self.pid = self.child.pid

    def command(self, text):
        self.log("> " + text)
        self.child.stdin.write(text.encode() + b"\n")
        self.child.stdin.flush()

    def events(self):
        return [json.loads(line) for line in self.stdout.splitlines() if line.endswith("}")]

    def view(self, kind):
        """What the receiver believes: {key: version}."""
        known = {}
        for event in self.events():
            if event.get("kind") != kind:
                continue
            if event["event"] == "upsert":
                known[event["key"]] = event["version"]
            elif event["event"] == "remove":
                del known[event["key"]]  # a removal of what is unknown is a failure
        return known

    def dump(self):
        done = self.stdout.count('"dumped"')
        self.command("dump")
        eventually(lambda: self.stdout.count('"dumped"') > done, what="a dump")
        rows = {e["kind"]: e for e in self.events() if e["event"] == "dump"}
        rows["status"] = [e for e in self.events() if e["event"] == "dumped"][-1]
        return rows

    def synced(self):
        return '"synced"' in self.stdout

    def quit(self):
        self.command("quit")
        eq(self.wait(10), 0, "exit status")
        self.check_sanitizers()


def write_kubeconfig(t, server, user="{}", name="kubeconfig"):
    path = os.path.join(t.folder, name)
    with open(path, "w") as file:
        file.write("current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n"
                   "clusters: [{name: k, cluster: {server: '%s'}}]\n"
                   "users: [{name: u, user: %s}]\n" % (server.url, user))
    return path


def service(name, namespace="ml", **more):
    return {"metadata": {"namespace": namespace, "name": name}, "spec": dict(more)}


def begin(t, *args, count=3, user="{}", prepare=None):
    """A server with some services, and a driver that has listed everything."""
    server = Standin(log=t.log)
    t.defer(server.stop)
    for i in range(count):
        server.put("services", service("s%d" % i))
    if prepare:
        prepare(server)
    driver = Driver(t, write_kubeconfig(t, server, user), *args)
    t.processes.append(driver)
    return server, driver


def truth(server, plural="services"):
    with server.lock:
        return {"%s/%s" % key: obj["metadata"]["resourceVersion"]
                for key, obj in server.objects[plural].items()}


def agree(server, driver, timeout=15, plural="services"):
    kind = KINDS[plural][1]
    eventually(lambda: driver.view(kind) == truth(server, plural), timeout,
               "%s known as they are" % plural)


def settle(t, *args, **more):
    server, driver = begin(t, *args, **more)
    eventually(driver.synced, 15, "synced")
    eventually(lambda: server.watches("services"), what="a watch")
    return server, driver


def test_objects_come_change_and_go(t):
    server, driver = settle(t)
    agree(server, driver)
    server.put("services", service("s1", x=1))
    server.put("services", service("new"))
    server.delete("services", "ml", "s0")
    agree(server, driver, 3)
    first = [r for r in server.requests if r[1] == "services"]
    eq(first[0][2], {"limit": "500", "resourceVersion": "0"})
    eq(first[1][2]["allowWatchBookmarks"], "true")
    eq(300 <= int(first[1][2]["timeoutSeconds"]) < 600, True)
    eq(len([r for r in first if r[0] == "list"]), 1, "lists")
    eq("pods" in [r[1] for r in server.requests], False, "pods are not asked for")
    driver.quit()


def test_a_namespace_can_be_watched_alone(t):
    server, driver = settle(t, "--namespace", "ml",
                            prepare=lambda s: s.put("services", service("x", "other")))
    server.put("services", service("y", "other"))
    server.put("services", service("z"))
    eventually(lambda: "ml/z" in driver.view("Service"))
    eq(sorted(driver.view("Service")), ["ml/s0", "ml/s1", "ml/s2", "ml/z"])
    driver.quit()


def test_many_pages_and_a_version_that_is_gone(t):
    server, driver = settle(t, count=0)
    with server.lock:
        for i in range(1200):
            server.objects["services"][("ml", "p%d" % i)] = dict(
                service("p%d" % i), apiVersion="v1", kind="Service")
            server.objects["services"][("ml", "p%d" % i)]["metadata"].update(
                uid="u%d" % i, resourceVersion=server.next_version())
    server.fault("list", "services", server.answer_status(410, "Expired"))
    server.compact("services")
    server.watch("services").end()
    agree(server, driver)
    lists = [r[2] for r in server.requests if r[0] == "list" and r[1] == "services"]
    eq(lists[-3], {"limit": "500"})  # after the 410: the newest
    eq([("continue" in q) for q in lists[-3:]], [False, True, True])
    driver.quit()


def test_gone_in_the_middle_of_a_watch(t):
    server, driver = settle(t)
    server.watch("services").muted = True
    server.put("services", service("missed"))
    server.delete("services", "ml", "s2")
    server.compact("services")
    watch = server.watch("services")
    watch.muted = False
    watch.send("ERROR", {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410,
                         "reason": "Expired", "message": "too old resource version"})
    watch.end()
    agree(server, driver)
    driver.quit()


def test_torn_chunks_in_every_size(t):
    server, driver = settle(t)
    for piece in (1, 2, 3, 7, 64):
        server.watch("services").piece = piece
        server.put("services", service("s1", note="\"quotes\" \\ é \u2028 %d" % piece))
        agree(server, driver, 5)
    eq(driver.dump()["Service"]["lists"], 1)
    driver.quit()


def test_a_stream_torn_inside_an_object_goes_on_from_the_last_version(t):
    server, driver = settle(t)
    server.put("services", service("s1", x=1))
    agree(server, driver)
    seen = truth(server)["ml/s1"]
    watch = server.watch("services")
    watch.send_raw(b'{"type":"ADDED","object":{"metadata":{"namespace":"ml","name":"half')
    watch.reset()
    query = wait_requests(server, "watch", "services", 2)
    eq(query["resourceVersion"], seen)
    server.put("services", service("after"))
    agree(server, driver)
    eq(driver.dump()["Service"]["lists"], 1, "no list was needed")
    driver.quit()


def test_bookmarks_move_the_version(t):
    server, driver = settle(t)
    server.bookmark("services")
    eventually(lambda: driver.dump()["Service"]["bookmarks"] == 1)
    server.watch("services").reset()
    query = wait_requests(server, "watch", "services", 2)
    eq(query["resourceVersion"], str(server.version))
    driver.quit()


def test_too_many_requests_with_retry_after(t):
    server, driver = begin(t, prepare=lambda s: s.fault(
        "list", "services", s.answer_status(429, "TooManyRequests", retry_after=3)))
    eventually(driver.synced, 15, "synced")
    lists = [r for r in server.requests if r[:2] == ("list", "services")]
    # By the server's own clock, which saw the second list after the first.
    eq(lists[1][4] - lists[0][4] >= 2.9, True, "waited as long as asked")
    watch = server.watch("services")
    server.fault("watch", "services", server.answer_status(429, "TooManyRequests", retry_after=2))
    watch.reset()
    wait_requests(server, "watch", "services", 3)
    server.put("services", service("after"))
    agree(server, driver)
    eq(driver.dump()["Service"]["lists"], 2, "429 on a watch needs no list")
    driver.quit()


def test_the_server_is_killed_and_comes_back(t):
    server, driver = settle(t)
    server.stop()
    time.sleep(1)
    eq(driver.view("Service"), truth(server), "nothing is forgotten meanwhile")
    server.put("services", service("while-away"))
    server.delete("services", "ml", "s0")
    server.start()
    agree(server, driver, 30)
    agree(server, driver, 30, plural="airoutes")
    driver.quit()


def test_silence_is_taken_for_death(t):
    server, driver = settle(t, "--silence", "1500")
    watch = server.watch("services")
    watch.muted = True
    server.put("services", service("unheard"))
    agree(server, driver, 8)
    contains(driver.stderr, "went silent")
    driver.quit()


def test_duplicate_and_late_events(t):
    server, driver = settle(t)
    old = json.loads(json.dumps(server.objects["services"][("ml", "s1")]))
    server.put("services", service("s1", x=1))
    new = server.objects["services"][("ml", "s1")]
    watch = server.watch("services")
    watch.send("MODIFIED", new)
    watch.send("MODIFIED", old)
    watch.send("ADDED", old)
    server.put("services", service("last"))
    agree(server, driver)
    events = [e for e in driver.events() if e.get("key") == "ml/s1"]
    eq(len(events), 2, "upserts of s1")
    eq(driver.dump()["Service"]["duplicates"], 3)
    driver.quit()


def test_garbage_in_a_stream(t):
    server, driver = settle(t)
    before = truth(server)
    for n, garbage in enumerate((b"<html>oops</html>", b'{"type":"ADDED","object":' + b"[" * 500,
                                 b"\x00\xff\xfe")):
        server.watch("services").send_raw(garbage)
        wait_requests(server, "list", "services", n + 2)
        eventually(lambda: server.watches("services"))
        eq(driver.view("Service"), before)
    server.put("services", service("fine"))
    agree(server, driver)
    driver.quit()


def bear_lists(t, make_actions):
    server, driver = settle(t)
    before = truth(server)
    for action in make_actions(server):
        server.fault("list", "services", action)
    server.compact("services")
    watch = server.watch("services")
    watch.send("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"})
    watch.end()
    agree(server, driver)
    eventually(lambda: not [f for f in server.faults if f[3] > 0], 50, "every answer was given",
               0.2)
    eventually(lambda: server.watches("services"), 50, "watching again", 0.2)
    eq([e for e in driver.events() if e["event"] == "remove"], [])
    eq(driver.view("Service"), before)
    driver.quit()


EMPTY = '{"kind":"%s","apiVersion":"v1","metadata":{%s},"items":[]}'


def test_answers_that_are_no_lists_take_nothing_away(t):
    bear_lists(t, lambda server: [server.answer_body("<html>portal</html>", "text/html"),
                                  server.answer_body(EMPTY % ("ServiceList", ""))])


def test_lists_of_others_and_cut_ones_take_nothing_away(t):
    version = '"resourceVersion":"9"'
    bear_lists(t, lambda server: [server.answer_body(EMPTY % ("PodList", version)),
                                  server.answer_cut(EMPTY % ("ServiceList", version))])


def test_failed_lists_take_nothing_away(t):
    bear_lists(t, lambda server: [server.answer_status(500, "InternalError"), server.drop])


def test_a_sudden_empty_list_is_believed_only_when_repeated(t):
    server, driver = settle(t)
    empty = ('{"kind":"ServiceList","apiVersion":"v1","metadata":{"resourceVersion":"300"},'
             '"items":[]}')
    server.fault("list", "services", server.answer_body(empty))
    server.compact("services")
    server.watch("services").end()
    eventually(lambda: "suddenly lacks 3 of 3" in driver.stderr, 15)
    eventually(lambda: server.watches("services"), 15, "watching again")
    eq([e for e in driver.events() if e["event"] == "remove"], [])
    for name in ("s0", "s1", "s2"):
        server.delete("services", "ml", name, quietly=True)
    server.compact("services")
    server.watch("services").end()
    agree(server, driver, 40)
    eq(driver.view("Service"), {})
    driver.quit()


def test_a_huge_object_and_one_that_is_too_large(t):
    server, driver = settle(t)
    server.put("services", service("huge", text="x" * (3 << 20)))
    agree(server, driver)
    watch = server.watch("services")

    def flood():
        watch.send_raw(b'{"type":"ADDED","object":{"metadata":{"name":"')
        while not watch.closed.is_set():
            watch.send_raw(b"y" * (1 << 20))
    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    wait_requests(server, "list", "services", 2, 30)
    thread.join(20)
    contains(driver.stderr, "bearable size")
    server.put("services", service("after"))
    agree(server, driver)
    driver.quit()


def test_a_token_is_read_again_when_it_is_refused(t):
    token = os.path.join(t.folder, "token")
    with open(token, "w") as file:
        file.write("secret-one\n")

    def prepare(server):
        server.tokens = {"secret-one"}
    server, driver = settle(t, user="{tokenFile: %s, token: wrong}" % token, prepare=prepare)
    with open(token, "w") as file:
        file.write("secret-two")
    server.tokens = {"secret-two"}
    server.watch("services").end()
    server.put("services", service("after"))
    agree(server, driver)
    eq("secret" in driver.stderr + driver.stdout, False, "no secret in the log")
    driver.quit()


def test_a_credential_program_is_run_and_run_again_when_refused(t):
    plugin = os.path.join(t.folder, "plugin")
    with open(plugin, "w") as file:
        file.write("#!/bin/sh\necho x >> %s/runs\necho '{\"apiVersion\":"
                   "\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":"
                   "{\"token\":\"secret-'$(wc -l < %s/runs)'\"}}'\n" % (t.folder, t.folder))
    os.chmod(plugin, 0o755)

    def prepare(server):
        server.tokens = {"secret-1"}
    user = ("{exec: {apiVersion: client.authentication.k8s.io/v1, command: ./plugin, "
            "interactiveMode: Never}}")
    server, driver = settle(t, user=user, prepare=prepare)
    server.tokens = {"secret-2"}
    for watch in list(server.open_watches):
        watch.end()
    server.put("services", service("after"))
    agree(server, driver, 20)
    with open(os.path.join(t.folder, "runs")) as file:
        eq(len(file.readlines()), 2, "runs of the program, for all kinds together")
    eq("secret" in driver.stderr + driver.stdout, False, "no secret in the log")
    driver.quit()


def test_a_kind_that_is_not_installed_or_not_allowed(t):
    def prepare(server):
        server.hidden = {"airoutes"}
        server.forbidden = {"endpointslices"}
    server, driver = begin(t, prepare=prepare)
    agree(server, driver)
    eventually(lambda: "install the resource definitions" in driver.stderr)
    eventually(lambda: "not allowed to list and watch endpointslices" in driver.stderr)
    eq(driver.synced(), False)
    server.hidden, server.forbidden = set(), set()
    eventually(driver.synced, 20, "synced")
    driver.quit()


def test_pods_are_watched_on_demand(t):
    server, driver = settle(t, prepare=lambda s: s.put("pods", service("p")))
    driver.command("demand on")
    agree(server, driver, plural="pods")
    server.put("pods", service("q"))
    agree(server, driver, plural="pods")
    driver.command("demand off")
    driver.command("demand on")
    server.delete("pods", "ml", "p")
    agree(server, driver, plural="pods")
    eq(driver.dump()["Pod"]["lists"], 1, "a short pause is no reason to list again")
    driver.quit()


def test_connections_are_reused(t):
    server, driver = settle(t)
    accepted = server.accepted
    route = {"metadata": {"namespace": "ml", "name": "r", "generation": 1}}
    server.put("airoutes", route)
    eventually(lambda: driver.view("AIRoute"))
    for i in range(3):
        driver.command("status ml r True message %d" % i)
        eventually(lambda: "message %d" % i in json.dumps(
            server.objects["airoutes"][("ml", "r")].get("status", {})))
    eq(server.accepted <= accepted + 1, True, "new connections: %d" % (server.accepted - accepted))
    driver.quit()


def test_a_status_is_written_once_and_again_only_when_it_differs(t):
    server, driver = settle(t)
    server.put("airoutes", {"metadata": {"namespace": "ml", "name": "r", "generation": 4}})
    eventually(lambda: driver.view("AIRoute"))
    for _ in range(5):
        driver.command("status ml r False nothing there")
    status = eventually(lambda: server.objects["airoutes"][("ml", "r")].get("status"))
    eq(status["observedGeneration"], 4)
    eq(status["conditions"][0]["reason"], "NoReadyEndpoints")
    since = status["conditions"][0]["lastTransitionTime"]
    time.sleep(1.2)
    driver.command("status ml r False still nothing")
    eventually(lambda: "still" in json.dumps(server.objects["airoutes"][("ml", "r")]["status"]))
    eq(server.objects["airoutes"][("ml", "r")]["status"]["conditions"][0]["lastTransitionTime"],
       since, "the time stays when the status does")
    driver.command("status ml r False still nothing")
    time.sleep(1.5)
    row = driver.dump()["status"]
    eq((row["written"], row["pending"]), (2, 0))
    eq(len([r for r in server.requests if r[0] == "patch"]), 2)
    driver.quit()


def test_conflicts_and_failures_of_a_status_are_overcome(t):
    server, driver = settle(t)
    server.put("airoutes", {"metadata": {"namespace": "ml", "name": "r", "generation": 1}})
    eventually(lambda: driver.view("AIRoute"))
    for action in (server.answer_status(409, "Conflict"),
                   server.answer_status(500, "InternalError"),
                   server.drop, server.answer_status(429, "TooManyRequests", retry_after=1)):
        server.fault("patch", "airoutes", action)
    driver.command("status ml r True fine")
    eventually(lambda: server.objects["airoutes"][("ml", "r")].get("status"), 20)
    # One that somebody else changes at the same time, unseen by us.
    server.watch("airoutes").muted = True
    server.put("airoutes", dict(server.objects["airoutes"][("ml", "r")], spec={"x": 1}))
    driver.command("status ml r False not any more")
    eventually(lambda: driver.dump()["status"]["conflicts"] >= 2)
    server.watch("airoutes").reset()
    eventually(lambda: "not any more" in json.dumps(server.objects["airoutes"][("ml", "r")]), 20)
    eq(server.objects["airoutes"][("ml", "r")]["spec"], {"x": 1})
    driver.quit()


def test_only_the_leader_writes(t):
    server, driver = settle(t)
    server.put("airoutes", {"metadata": {"namespace": "ml", "name": "r", "generation": 1}})
    eventually(lambda: driver.view("AIRoute"))
    driver.command("leader off")
    driver.command("status ml r True one")
    driver.command("status ml r True two")
    time.sleep(0.7)
    eq([r for r in server.requests if r[0] == "patch"], [])
    driver.command("leader on")
    eventually(lambda: "two" in json.dumps(server.objects["airoutes"][("ml", "r")]))
    eq(len([r for r in server.requests if r[0] == "patch"]), 1)
    driver.quit()


def test_ten_thousand_changes_with_breaks(t):
    server, driver = settle(t)
    for i in range(10000):
        name = "c%d" % (i * 7919 % 400)
        if i % 5 == 4 and ("ml", name) in server.objects["services"]:
            server.delete("services", "ml", name)
        else:
            server.put("services", service(name, x=i))
        if i % 2500 == 1250:
            for watch in server.watches("services"):
                watch.reset()
        if i % 4000 == 3000:
            server.compact("services")
            for watch in server.watches("services"):
                watch.end()
    agree(server, driver, 60)
    driver.quit()


if __name__ == "__main__":
    main(globals())
