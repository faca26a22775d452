"""Asks an API server things and notes its manners: what the stand-in must have in common with the
real one. The notes leave out what differs from run to run (versions, times, names of hosts).

`tests/integration/kube/record_manners` writes the real server's notes to manners.json, or compares.
"""

import http.client
import json
import ssl
import urllib.parse

ROUTES = "/apis/headrace.dev/v1alpha1/namespaces/ml/airoutes"
SERVICES = "/api/v1/namespaces/ml/services"


class Asker:
    """Requests with a token or a client certificate; one connection each."""

    def __init__(self, url, context=None, token=None):
        self.url = urllib.parse.urlsplit(url)
        self.context = context
        self.token = token

    def _connect(self):
        if self.url.scheme == "https":
            return http.client.HTTPSConnection(self.url.hostname, self.url.port, timeout=15,
                                               context=self.context or ssl.create_default_context())
        return http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=15)

    def open(self, method, path, body=None, content_type=None, token=None):
        conn = self._connect()
        headers = {"User-Agent": "headrace-test", "Accept": "application/json"}
        token = token or self.token
        if token:
            headers["Authorization"] = "Bearer " + token
        if content_type:
            headers["Content-Type"] = content_type
        conn.request(method, path, json.dumps(body) if body is not None else None, headers)
        return conn, conn.getresponse()

    def ask(self, method, path, body=None, content_type=None, token=None):
        conn, answer = self.open(method, path, body, content_type, token)
        text = answer.read().decode()
        conn.close()
        return answer, text


def note_of(answer, text):
    note = {"status": answer.status,
            "type": answer.getheader("Content-Type").split(";")[0],
            "ends_with_newline": text.endswith("\n")}
    try:
        body = json.loads(text)
    except ValueError:
        note["text"] = text
        return note
    note["kind"] = body.get("kind")
    note["api_version"] = body.get("apiVersion")
    if body.get("kind") == "Status":
        note["reason"] = body.get("reason")
        note["code"] = body.get("code")
        details = body.get("details", {})
        note["causes"] = [cause.get("reason") for cause in details.get("causes", [])]
        note["retry_seconds"] = details.get("retryAfterSeconds")
    elif "items" in body:
        note["members"] = list(body)
        note["metadata"] = sorted(body["metadata"])
        note["items"] = len(body["items"])
        note["items_say_kind"] = sorted({"kind" in item for item in body["items"]})
    return note


def note_watch(asker, path, act=None, count=1):
    """Opens a watch, does act(), reads `count` events (or to the end)."""
    conn, answer = asker.open("GET", path)
    note = {"status": answer.status, "chunked": answer.getheader("Transfer-Encoding") == "chunked",
            "type": answer.getheader("Content-Type"), "events": []}
    if act:
        act()
    while len(note["events"]) < count:
        line = answer.readline()
        if not line:
            break
        event = json.loads(line)
        obj = event["object"]
        entry = {"members": list(event), "type": event["type"], "kind": obj.get("kind"),
                 "api_version": obj.get("apiVersion"), "newline": line.endswith(b"\n")}
        if event["type"] == "ERROR":
            entry.update(code=obj.get("code"), reason=obj.get("reason"))
        else:
            entry["name"] = obj["metadata"].get("name")
        note["events"].append(entry)
    conn.close()
    return note


def apply_status(asker, name, message, version=None):
    meta = {"name": name, "namespace": "ml"}
    if version:
        meta["resourceVersion"] = version
    body = {"apiVersion": "headrace.dev/v1alpha1", "kind": "AIRoute", "metadata": meta,
            "status": {"observedGeneration": 1, "conditions": [
                {"type": "Ready", "status": "True", "reason": "Ready", "message": message,
                 "observedGeneration": 1, "lastTransitionTime": "2026-01-02T03:04:05Z"}]}}
    return asker.ask("PATCH", "%s/%s/status?fieldManager=headrace&force=true" % (ROUTES, name),
                     body,
                     "application/apply-patch+yaml")


def observe(asker, change, bad_token=True):
    """change(verb, plural, name): "put" or "delete" on the server by other means. Returns notes."""
    notes = {}
    for name in ("a", "b", "c"):
        change("put", "services", name)
        change("put", "airoutes", name)
    for plural, path in (("services", SERVICES), ("airoutes", ROUTES)):
        cases = {"list": "?resourceVersion=0&limit=500", "page": "?limit=2",
                 "bad continue": "?limit=2&continue=nonsense",
                 "too large": "?resourceVersion=99999999999&limit=0"}
        for name, query in cases.items():
            notes["%s: %s" % (plural, name)] = note_of(*asker.ask("GET", path + query))
        listed = json.loads(asker.ask("GET", path)[1])
        version = listed["metadata"]["resourceVersion"]

        def act():
            for verb in ("put", "put", "delete"):
                change(verb, plural, "d")
        notes["%s: watch" % plural] = note_watch(
            asker, "%s?watch=1&allowWatchBookmarks=true&resourceVersion=%s&timeoutSeconds=10"
            % (path, version), act, 3)
    page = json.loads(asker.ask("GET", SERVICES + "?limit=2")[1])["metadata"]["continue"]
    notes["last page"] = note_of(*asker.ask(
        "GET", SERVICES + "?limit=2&continue=" + urllib.parse.quote(page)))
    notes["watch from long ago"] = note_watch(
        asker, ROUTES + "?watch=1&resourceVersion=1&timeoutSeconds=5", None, 2)
    notes["no such kind"] = note_of(*asker.ask("GET", "/apis/headrace.dev/v1alpha1/nothings"))
    if bad_token:
        notes["bad token"] = note_of(*asker.ask("GET", SERVICES, token="nonsense"))
    observe_statuses(asker, notes)
    return notes


def observe_statuses(asker, notes):
    answer, text = apply_status(asker, "a", "one")
    notes["apply"] = note_of(answer, text)
    first = json.loads(text)["metadata"]["resourceVersion"]
    again = json.loads(apply_status(asker, "a", "one")[1])["metadata"]["resourceVersion"]
    notes["apply again"] = {"same_version": first == again}
    answer, text = apply_status(asker, "a", "two", first)
    notes["apply to the version seen"] = note_of(answer, text)
    notes["apply to an old version"] = note_of(*apply_status(asker, "a", "three", first))
    notes["apply to what is absent"] = note_of(*apply_status(asker, "zz", "x"))
