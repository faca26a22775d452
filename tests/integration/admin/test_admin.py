#!/usr/bin/env python3
"""The admin face, the access log, `headrace explain` and `headrace top`, over the real programs."""

import json
import os
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import HttpError, contains, eq, eventually, free_port, main, program  # noqa: E402

ROUTE = """
apiVersion: headrace.dev/v1alpha1
kind: AIRoute
metadata: {name: chat, namespace: ml}
spec:
  hostnames: [api.example.com]
  rules:
  - name: tiny
    backends: [{name: tiny}]
"""

BACKEND = """
apiVersion: headrace.dev/v1alpha1
kind: ModelBackend
metadata: {name: tiny, namespace: ml}
spec:
  static: {endpoints: [%s]}
  metrics: {interval: 50ms}
  models: [{name: tiny, aliases: [small]}]
"""

HOST = {"host": "api.example.com"}


def backend(ports):
    return BACKEND % ", ".join("{address: 127.0.0.1, port: %d}" % port for port in ports)


def start(t, pods=2, extra_ports=(), args=(), **flags):
    sim = t.sim(pods=pods, **flags)
    headrace = t.headrace({"all.yaml": ROUTE + "---" + backend(sim.ports + list(extra_ports))},
                          args)
    return sim, headrace


def get(t, headrace, page, status=200):
    answer = t.request(headrace.admin_port, "GET", page)
    eq(answer.status, status, page)
    return answer


def run_command(*argv, status=0):
    done = subprocess.run([program("headrace")] + list(argv), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30, check=False)
    eq(done.returncode, status, "%s: %s" % (" ".join(argv), done.stderr.decode()))
    return done.stdout.decode(), done.stderr.decode()


def test_probes_and_index(t):
    _, headrace = start(t)
    eq(get(t, headrace, "/healthz").text, "ok\n")
    eq(get(t, headrace, "/readyz").text, "ok\n")
    index = get(t, headrace, "/").text
    for page in ("/metrics", "/endpoints", "/routes", "/decisions", "/explain"):
        contains(index, page)
    eq(t.request(headrace.admin_port, "HEAD", "/metrics").status, 200)
    eq(get(t, headrace, "/nothing", 404).json()["error"], "no such page; / lists them")
    answer = t.request(headrace.admin_port, "POST", "/metrics", body={"x": 1})
    eq(answer.status, 405)


def test_silent_connections_do_not_keep_probes_out(t):
    _, headrace = start(t)
    silent = []
    for i in range(300):
        conn = socket.create_connection(("127.0.0.1", headrace.admin_port), timeout=10)
        silent.append(conn)
        if i % 3 == 1:
            conn.sendall(b"GET /metr")
        elif i % 3 == 2:
            conn.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")  # and does not read
    for page in ("/healthz", "/readyz", "/metrics"):
        get(t, headrace, page)
    for conn in silent:
        conn.close()
    get(t, headrace, "/healthz")


def test_floods_of_questions_cost_little(t):
    """Who asks again and again, pipelined, gets kept answers or is told off; a connection ends
    after a thousand; probes and others are answered meanwhile."""
    headrace = t.headrace({})
    question = b"GET %s HTTP/1.1\r\nhost: x\r\n\r\n"

    def answers(page, count):
        with t.connect(headrace.admin_port) as conn:
            conn.log = lambda line: None
            conn.send(question % page * count)
            found = []
            for _ in range(count):
                try:
                    found.append(conn.read_response())
                except HttpError:
                    break
            return found
    found = answers(b"/metrics", 1200)
    eq(len(found), 1000)
    eq({answer.status for answer in found}, {200})
    eq(found[-1].headers["connection"].lower(), "close")
    # Some were made for all who asked, so they are the same to the last byte.
    eq(len({answer.body for answer in found}) < 900, True)
    statuses = [answer.status for answer in answers(b"/explain?model=m", 500)]
    eq(set(statuses) <= {200, 429} and 429 in statuses, True, repr(set(statuses)))
    eq([answer.status for answer in answers(b"/healthz", 500)], [200] * 500)

    def over():
        return t.request(headrace.admin_port, "GET", "/decisions").status == 200
    eventually(over, what="it is over")


def test_not_ready_while_draining(t):
    _, headrace = start(t, args=["--drain-grace", "5s"])
    headrace.signal(15)
    answer = eventually(lambda: (lambda a: a if a.status == 503 else None)(
        t.request(headrace.admin_port, "GET", "/readyz")), what="readyz says 503")
    eq(answer.text, "shutting down\n")
    eq(get(t, headrace, "/healthz").status, 200)


def test_no_page_can_be_reached_through_a_listener(t):
    _, headrace = start(t)
    for page in ("/metrics", "/endpoints", "/routes", "/healthz", "/readyz"):
        answer = t.request(headrace.port, "GET", page, HOST)  # goes to a pod, as any path does
        assert answer.headers.get("x-sim-pod") and "headrace" not in answer.text, answer.text


def test_metrics_count_a_streamed_request(t):
    _, headrace = start(t, decode_step=300)
    answer = t.chat(headrace.port, headers=HOST, stream=True, max_tokens=5,
                    stream_options={"include_usage": True})
    eq(answer.status, 200)
    metrics = eventually(
        lambda: (lambda m: m if m['headrace_request_outcomes_total{outcome="ok"}'] == 1 else None)(
            headrace.metrics()), what="the request is counted")
    backend_label = '{route="ml/chat",backend="ml/tiny"}'
    eq(metrics['headrace_requests_total{status="2xx"}'], 1)
    eq(metrics['headrace_backend_requests_total{route="ml/chat",backend="ml/tiny",status="2xx"}'],
       1)
    eq(metrics["headrace_time_to_first_token_seconds_count" + backend_label], 1)
    eq(metrics["headrace_request_duration_seconds_count" + backend_label], 1)
    # One for every arrival: events that come together count once.
    assert 1 <= metrics["headrace_inter_token_seconds_count" + backend_label] <= 7
    eq(metrics["headrace_completion_tokens_total" + backend_label], 5)
    assert metrics["headrace_prompt_tokens_total" + backend_label] > 0
    eq(metrics["headrace_ready"], 1)
    eventually(lambda: headrace.metrics()['headrace_objects{kind="AIRoute"}'] == 1,
               what="objects are counted")


def test_metrics_tell_of_broken_manifests(t):
    _, headrace = start(t)
    eq(headrace.metrics()["headrace_manifest_files"], 1)
    headrace.write("other.yaml", "kind: [")
    eventually(lambda: headrace.metrics()["headrace_manifest_files_broken"] == 1, 5,
               "one is broken")
    headrace.remove("other.yaml")
    eventually(lambda: headrace.metrics()["headrace_manifest_files_broken"] == 0, 5, "none is")


def test_metrics_name_what_was_refused(t):
    _, headrace = start(t)
    conn = t.connect(headrace.port)
    conn.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n")
    eq(conn.read_response().status, 400)
    eq(t.chat(headrace.port, headers=HOST, model="unknown").status, 404)

    def counted():  # a moment after the client has its answer
        metrics = headrace.metrics()
        return (metrics['headrace_rejected_messages_total{reason="obs_fold"}'] == 1 and
                metrics['headrace_request_outcomes_total{outcome="model_not_found"}'] == 1)
    eventually(counted, what="both are counted")


def test_endpoints_show_books_and_samples(t):
    sim, headrace = start(t, decode_step=20)

    def scraped():
        backends = get(t, headrace, "/endpoints").json()["backends"]
        return backends if all("sample" in e for e in backends[0]["endpoints"]) else None
    found = eventually(scraped, what="every endpoint was scraped")[0]
    eq(found["name"], "ml/tiny")
    eq((found["engine"], found["detected"], found["policy"]), ("VLLM", True, "InferenceAware"))
    eq(sorted(e["address"] for e in found["endpoints"]),
       sorted("127.0.0.1:%d" % port for port in sim.ports))
    conn, head = t.stream(headrace.port, headers=HOST, max_tokens=500)
    eq(head.status, 200)

    def outstanding():
        now = get(t, headrace, "/endpoints").json()["backends"][0]["endpoints"]
        return [e["outstanding_requests"] for e in now]
    eq(sum(outstanding()), 1)
    conn.close()
    eventually(lambda: sum(outstanding()) == 0, what="the books are empty again")


def test_a_decision_can_be_asked_for_by_request_id(t):
    _, headrace = start(t, extra_ports=[free_port()])
    # Equals are drawn by lot: until one has met the dead endpoint first.
    for sent in range(1, 101):
        answer = t.chat(headrace.port, headers=dict(HOST, **{"x-request-id": "mine-1"}))
        eq(answer.status, 200)
        if sent >= 8 and headrace.metrics()['headrace_retries_total{reason="connect_failure"}'] > 0:
            break
    eq(answer.headers.get("x-request-id"), "mine-1")
    found = get(t, headrace, "/decisions?request_id=mine-1").json()["decisions"]
    assert len(found) >= 8, found
    retried = [d for d in found if d.get("after") == "connect_failure"]
    assert retried, found
    eq(retried[0]["attempt"], 2)
    first = found[0]
    eq((first["route"], first["rule"], first["backend"], first["model"]),
       ("ml/chat", "tiny", "ml/tiny", "tiny"))
    eq(first["pick"]["endpoints"], 3)
    eq(get(t, headrace, "/decisions?request_id=other").json(), {"decisions": []})
    eq(len(get(t, headrace, "/decisions?n=3").json()["decisions"]), 3)
    get(t, headrace, "/decisions?n=x", 400)
    get(t, headrace, "/decisions?n=0", 400)


def test_a_decision_without_an_endpoint_and_one_on_a_fallback(t):
    sim = t.sim(pods=1)
    empty = """
apiVersion: headrace.dev/v1alpha1
kind: ModelBackend
metadata: {name: empty, namespace: ml}
spec:
  pool: {serviceRef: {name: none, port: http}}
  models: [{name: tiny, upstreamName: other}]
---
apiVersion: v1
kind: Service
metadata: {name: none, namespace: ml}
spec: {ports: [{name: http, port: 80}]}
"""
    route = ROUTE.replace("[{name: tiny}]", "[{name: empty}]\n    fallbacks: [{name: tiny}]")
    headrace = t.headrace({"all.yaml": "---".join([route, empty, backend(sim.ports)])})
    eq(t.chat(headrace.port, headers=dict(HOST, **{"x-request-id": "fb"})).status, 200)
    first, second = get(t, headrace, "/decisions?request_id=fb").json()["decisions"]
    eq((first["failed"], first["fallback"], first["backend"]), (True, False, "ml/empty"))
    eq(first["upstream_model"], "other")
    eq((second["failed"], second["fallback"], second["backend"]), (False, True, "ml/tiny"))
    text, _ = run_command("explain", "--admin", "127.0.0.1:%d" % headrace.admin_port,
                          "--request-id", "fb")
    contains(text, "no endpoint could be picked")
    contains(text, "on a fallback")


def test_explain_reserves_nothing(t):
    _, headrace = start(t)
    picks = headrace.metrics()["headrace_picks_total"]
    query = "/explain?host=API.example.com:80&model=small&prompt_bytes=400"
    found = get(t, headrace, query).json()
    eq((found["matched"], found["route"], found["rule"]), (True, "ml/chat", "tiny"))
    target = found["backends"][0]
    eq((target["backend"], target["upstream_model"]), ("ml/tiny", "tiny"))
    eq(len(target["pick"]["candidates"]), 2)
    eq(headrace.metrics()["headrace_picks_total"], picks)
    for endpoint in get(t, headrace, "/endpoints").json()["backends"][0]["endpoints"]:
        eq((endpoint["outstanding_requests"], endpoint["picks"]), (0, 0))
    missed = get(t, headrace, "/explain?host=api.example.com&model=tinny").json()
    eq(missed["matched"], False)
    contains(missed["problem"], 'did you mean "tiny"')
    eq(get(t, headrace, "/explain?host=other.example&model=tiny").json()["problem"],
       "no route for this host")
    get(t, headrace, "/explain?prompt_bytes=x", 400)
    get(t, headrace, "/explain?path=" + "x" * 2000, 400)


HEADER_ROUTE = """
---
apiVersion: headrace.dev/v1alpha1
kind: AIRoute
metadata: {name: gold, namespace: ml}
spec:
  hostnames: [api.example.com]
  rules:
  - name: gold
    matches: [{headers: [{name: x-tier, value: gold}]}]
    backends: [{name: tiny, weight: 3}, {name: missing}]
"""


def test_explain_looks_at_headers(t):
    text = ROUTE + "---" + backend([free_port()]) + HEADER_ROUTE
    headrace = t.headrace({"all.yaml": text})
    query = "/explain?host=api.example.com&model=tiny"
    eq(get(t, headrace, query).json()["route"], "ml/chat")
    eq(get(t, headrace, query + "&header=X-Other:%201&header=X-Tier:%20gold").json()["route"],
       "ml/gold")
    get(t, headrace, query + "&header=gold", 400)
    get(t, headrace, query + "&header=a:1" * 33, 400)
    text, _ = run_command("explain", "--admin", "127.0.0.1:%d" % headrace.admin_port, "--host",
                          "api.example.com", "--model", "tiny", "--header", "x-tier: gold")
    contains(text, "route ml/gold")


def test_explain_from_manifests(t):
    folder = os.path.join(t.folder, "m")
    os.mkdir(folder)

    def write(name, text):
        with open(os.path.join(folder, name), "w") as file:
            file.write(text)

    write("backend.yaml", backend([8001, 8002]))
    write("routes.yaml", ROUTE + HEADER_ROUTE)
    asked = ["explain", "--host", "API.example.com:443", "--model", "small", "-o", "json"]
    found = json.loads(run_command(*asked, folder)[0])
    eq((found["route"], found["rule"]), ("ml/chat", "tiny"))
    eq(sorted(c["endpoint"] for c in found["backends"][0]["pick"]["candidates"]),
       ["127.0.0.1:8001", "127.0.0.1:8002"])
    found = json.loads(run_command(*asked, "--header", "X-Tier:gold", folder)[0])
    eq((found["route"], found["backends"][0]["share"]), ("ml/gold", 0.75))
    eq(found["backends"][1]["unresolved"], True)
    text, _ = run_command("explain", "--host", "api.example.com", "--model", "smal", folder,
                          status=1)
    contains(text, 'did you mean "small"')
    # One wrong object is left out, the rest is explained; a file that is no manifest ends it.
    write("wrong.yaml", ROUTE.replace("name: chat", "name: wrong").replace("backends", "backend"))
    text, error = run_command("explain", "--host", "api.example.com", "--model", "tiny", folder)
    contains(text, "route ml/chat")
    contains(error, "1 object is left out: see headrace validate")
    write("broken.yaml", "a: [")
    text, error = run_command("explain", "--model", "tiny", folder, status=1)
    contains(text, "broken.yaml:")
    contains(error, "not all files can be read")
    # Pods are known to a running instance only.
    text, _ = run_command("explain", "--model", "tiny", os.path.join(folder, "routes.yaml"),
                          status=1)
    contains(text, "no route for this host")


def test_routes_show_what_is_served(t):
    _, headrace = start(t)
    found = get(t, headrace, "/routes").json()
    eq([host["host"] for host in found["hosts"]], ["api.example.com"])
    eq(found["hosts"][0]["entries"][0]["backends"][0]["backend"], "ml/tiny")
    eq(found["backends"][0]["models"][0]["aliases"], ["small"])


def test_commands_for_people(t):
    _, headrace = start(t)
    admin = "127.0.0.1:%d" % headrace.admin_port
    answer = t.chat(headrace.port, headers=HOST)
    text, _ = run_command("explain", "--admin", admin, "--request-id",
                          answer.headers.get("x-request-id"))
    contains(text, 'route ml/chat, rule "tiny", model "tiny"')
    contains(text, "policy InferenceAware")
    contains(text, "*  127.0.0.1:")
    text, _ = run_command("explain", "--admin", "http://%s/" % admin, "--host", "api.example.com",
                          "--model", "small")
    contains(text, 'backend ml/tiny, weight 1 (100%), model sent as "tiny"')
    text, _ = run_command("explain", "--admin", admin, "--host", "api.example.com", "--model",
                          "smal", status=1)
    contains(text, 'did you mean "small"')
    eventually(lambda: "ml/tiny  VLLM  InferenceAware  2 endpoints" in
               run_command("top", "--admin", admin, "--once")[0], what="top shows the engine")
    text, _ = run_command("top", "--admin", admin, "--once", "-o", "json")
    eq(json.loads(text)["backends"][0]["name"], "ml/tiny")


def test_commands_say_what_is_wrong(t):
    port = free_port()
    _, error = run_command("top", "--admin", "127.0.0.1:%d" % port, "--once", status=1)
    contains(error, "is headrace running")
    _, error = run_command("top", "--output", "xml", "--once", status=2)
    contains(error, "want table or json")
    _, headrace = start(t)
    _, error = run_command("explain", "--admin", "127.0.0.1:%d" % headrace.admin_port,
                           "--request-id", "nope", status=1)
    contains(error, "no decision for request nope")


def test_control_characters_in_names_do_not_reach_the_terminal(t):
    sim = t.sim(pods=1)
    text = ROUTE.replace("    backends:", """\
    matches: [{models: [{type: Regex, value: "(?s).*red"}]}]
    backends:""") + "---" + backend(sim.ports)
    headrace = t.headrace({"all.yaml": text})
    eq(t.chat(headrace.port, headers=dict(HOST, **{"x-request-id": "esc"}),
              model="\x1b[31mred").status, 404)  # the server's own answer
    text, _ = run_command("explain", "--admin", "127.0.0.1:%d" % headrace.admin_port,
                          "--request-id", "esc")
    contains(text, 'model "?[31mred"')
    assert "\x1b" not in text


def log_lines(path, count):
    def look():
        with open(path) as file:
            rows = file.read().splitlines()
        return [json.loads(row) for row in rows] if len(rows) >= count else None
    return eventually(look, what="%d lines in the access log" % count)


def test_access_log_tells_of_every_request(t):
    path = os.path.join(t.folder, "access.log")
    _, headrace = start(t, args=["--access-log", path])
    secret = "Bearer very-secret-token"
    headers = dict(HOST, authorization=secret, **{"user-agent": 'odd "agent"'})
    eq(t.chat(headrace.port, "a secret prompt", headers, stream=True, max_tokens=4,
              stream_options={"include_usage": True}).status, 200)
    eq(t.chat(headrace.port, "a secret prompt", headers, model="nope").status, 404)
    eq(t.request(headrace.port, "GET", "/v1/models", headers).status, 200)
    # Each worker writes its own lines when it likes: the order is that of the times.
    good, bad, models = sorted(log_lines(path, 3),
                               key=lambda line: (line["time"], line["method"] == "GET"))
    eq((good["status"], good["outcome"], good["model"]), (200, "ok", "tiny"))
    eq((good["route"], good["rule"], good["backend"]), ("ml/chat", "tiny", "ml/tiny"))
    eq((good["stream"], good["attempts"], good["completion_tokens"]), (True, 1, 4))
    eq(good["finish"], "length")
    eq(good["user_agent"], 'odd "agent"')
    assert 0 < good["ttft_ms"] <= good["duration_ms"], good
    assert good["bytes_in"] > 0 and good["bytes_out"] > 0, good
    eq((bad["status"], bad["outcome"], bad["model"]), (404, "model_not_found", "nope"))
    eq((models["method"], models["path"], models["status"]), ("GET", "/v1/models", 200))
    with open(path) as file:
        text = file.read()
    assert "secret" not in text, text


def test_access_log_on_standard_output_or_not_at_all(t):
    _, headrace = start(t)
    eq(t.chat(headrace.port, headers=HOST).status, 200)
    eventually(lambda: '"outcome":"ok"' in headrace.stdout, what="a line on stdout")
    _, headrace = start(t, args=["--access-log", "off"])
    eq(t.chat(headrace.port, headers=HOST).status, 200)
    headrace.stop()
    assert '"outcome"' not in headrace.stdout


def test_an_object_that_is_not_ready_is_logged_with_the_line_of_its_field(t):
    headrace = t.headrace({"routes.yaml": """
apiVersion: headrace.dev/v1alpha1
kind: AIRoute
metadata: {name: r}
spec:
  rules:
  - name: a
    backends:
    - name: absent
"""})
    eventually(lambda: "/routes.yaml:9" in headrace.stderr, what="file and line in the log")
    contains(headrace.stderr, "reason=BackendNotFound")


GUARDED = """
apiVersion: headrace.dev/v1alpha1
kind: AIRoute
metadata: {name: chat, namespace: ml}
spec:
  hostnames: [api.example.com]
  tls:
  - secretName: chat
    clientAuth: {caRef: {kind: Secret, name: chat, key: tls.crt}}
  httpsRedirect: true
  httpsPort: 8443
  hsts: {maxAge: 1h}
  rules:
  - name: tiny
    backends: [{name: tiny}]
---
apiVersion: headrace.dev/v1alpha1
kind: ModelBackend
metadata: {name: tiny, namespace: ml}
spec:
  static: {endpoints: [{address: 127.0.0.1, port: 9}]}
  protocol: HTTP2
  tls: {serverName: tiny.example.com, clientCertificateRef: {name: chat}}
"""


def secret(t):
    """A Secret as a document, and the text of its key."""
    key, certificate = os.path.join(t.folder, "tls.key"), os.path.join(t.folder, "tls.crt")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", certificate,
                    "-days", "2", "-subj", "/CN=x", "-addext",
                    "subjectAltName=DNS:api.example.com"], check=True, capture_output=True)
    with open(key, encoding="utf-8") as source:
        key_text = source.read()
    with open(certificate, encoding="utf-8") as source:
        texts = {"tls.crt": source.read(), "tls.key": key_text}
    return json.dumps({"apiVersion": "v1", "kind": "Secret",
                       "metadata": {"name": "chat", "namespace": "ml"},
                       "type": "kubernetes.io/tls", "stringData": texts}), key_text


def test_tls_is_told_without_its_keys(t):
    """From a folder: the pages and explain say what is asked of whom, and show nothing of a key; a
    new Secret in its file is taken over."""
    document, key = secret(t)
    headrace = t.headrace({"routes.yaml": GUARDED, "secret.json": document})
    routes = get(t, headrace, "/routes")
    page = routes.json()
    eq(page["tls_hosts"], [{"host": "api.example.com", "client_certificates": "Required"}])
    rule = page["hosts"][0]["entries"][0]
    eq((rule["redirects_to_https_port"], rule["hsts"]), (8443, "max-age=3600"))
    eq(rule["client_certificates"], [{"host": "api.example.com", "required": True}])
    eq(page["backends"][0]["protocol"], "HTTP2")
    eq(page["backends"][0]["tls"], {"server_name": "tiny.example.com", "verified": True,
                                    "own_authorities": False, "client_certificate": True})
    for where in (["--admin", "127.0.0.1:%d" % headrace.admin_port], [headrace.config_dir]):
        shown, _ = run_command("explain", "--host", "api.example.com", *where)
        contains(shown, "in the clear: a redirect to https, port 8443")
        contains(shown, "clients of host api.example.com must show a certificate")
        eq(key[40:90] in shown, False, "the key shows")
    document, _ = secret(t)
    headrace.write("secret.json", document)
    eventually(lambda: get(t, headrace, "/routes").json()["generation"] > page["generation"],
               what="the new certificate")
    headrace.write("secret.json", document.replace("BEGIN PRIVATE", "BEGIN PIRATE"))
    eventually(lambda: "InvalidCertificateRef" in headrace.stderr, what="a line in the log")
    contains(headrace.stderr, "what it held before is used")
    eq([host["host"] for host in get(t, headrace, "/routes").json()["tls_hosts"]],
       ["api.example.com"])
    headrace.remove("secret.json")
    eventually(lambda: get(t, headrace, "/routes").json()["tls_hosts"] == [], what="it is gone")
    for text in (routes.text, headrace.stderr, headrace.stdout):
        eq("PRIVATE KEY" in text or key[40:90] in text, False, "the key shows")


def test_admin_port_that_is_taken(t):
    _, headrace = start(t)
    done = subprocess.run([program("headrace"), "run", "--config-dir", headrace.config_dir,
                           "--listen", "127.0.0.1:0", "--admin",
                           "127.0.0.1:%d" % headrace.admin_port],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=20, check=False)
    eq(done.returncode, 1)
    contains(done.stderr.decode(), "another program has this port; see --admin")


if __name__ == "__main__":
    main(globals())
