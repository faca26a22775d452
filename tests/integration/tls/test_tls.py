"""TLS with clients: certificates by name, protocols, rotation, attacks."""

import os
import signal
import socket
import ssl
import subprocess
import threading
import time

from terminating import certs, change, chat, counter, failures, get, resumes, route, serve, simple
import frames
from harness import contains, eq, eventually, main
from upstream import ok_json, serve_all


def test_names_get_their_certificates(t):
    root = certs.Authority(t.folder)
    a, wild, rest = (root.issue(name, ["DNS:" + name, "DNS:other.org"])
                     for name in ("a.example.com", "*.example.com", "any.org"))
    headrace, port, _ = serve(t, {
        "secrets": "---".join([certs.secret("a", a), certs.secret("wild", wild),
                               certs.secret("rest", rest)]),
        "one": route("one", ["hostnames: [a.example.com, '*.example.com']",
                             "tls:", "- {secretName: a, hosts: [a.example.com]}",
                             "- {secretName: wild, hosts: ['*.example.com']}"]),
        "two": route("two", ["tls: [{secretName: rest}]"]),
    })
    context = certs.client(root)
    for name, subject in (("a.example.com", "a.example.com"), ("b.example.com", "*.example.com"),
                          ("other.org", "any.org")):
        with t.connect(port, tls=context, server_name=name) as conn:
            eq(dict(pair[0] for pair in conn.sock.getpeercert()["subject"])["commonName"], subject)
            chat(conn, name)
            eq(conn.read_response().status, 200)


def test_a_name_without_a_certificate_is_refused(t):
    headrace, port, _, root = simple(t)
    try:
        get(t, port, certs.client(root), "b.example.com")
        raise AssertionError("the handshake succeeded")
    except ssl.SSLError as error:
        contains(str(error).lower(), "unrecognized_name")
    eventually(lambda: failures(headrace, "unknown_name") == 1)
    eq(get(t, port, certs.client(root)).status, 200)


def test_servers_are_told_that_the_client_came_by_https(t):
    headrace, port, upstream, root = simple(t)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        eq(get(t, port, certs.client(root, version=version)).status, 200)
    eq([r.get("x-forwarded-proto") for r in upstream.requests], ["https"] * 2)
    eq(t.request(headrace.port, "GET", "/v1/x", {"host": "a.example.com"}).status, 200)
    eq(upstream.requests[-1].get("x-forwarded-proto"), "http")


def curl(root, port, *args):
    done = subprocess.run(["curl", "-sS", "--cacert", root.cert, "--resolve",
                           "a.example.com:%d:127.0.0.1" % port, "--max-time", "20"] + list(args) +
                          ["https://a.example.com:%d/v1/x" % port], capture_output=True, text=True,
                          check=False)
    return done.returncode, done.stdout, done.stderr


def test_http2_or_http1_is_agreed_on(t):
    _, port, _, root = simple(t)
    for option, version in (("--http2", "2"), ("--http1.1", "1.1")):
        code, out, err = curl(root, port, option, "-o", os.devnull, "-w",
                              "%{http_version} %{http_code}")
        eq((code, out), (0, version + " 200"), err)
    # Whoever offers nothing gets HTTP/1.1; whoever offers only what nobody speaks gets nothing.
    eq(get(t, port, certs.client(root, alpn=())).status, 200)
    try:
        get(t, port, certs.client(root, alpn=("spdy/3",)))
        raise AssertionError("the handshake succeeded")
    except ssl.SSLError as error:
        contains(str(error).lower(), "no application protocol")


def test_http2_can_be_turned_off(t):
    """On both kinds of listeners: it is not agreed on, and not taken from who begins with it."""
    headrace, port, _, root = simple(t, args=["--http2", "off"])
    code, out, err = curl(root, port, "--http2", "-o", os.devnull, "-w",
                          "%{http_version} %{http_code}")
    eq((code, out), (0, "1.1 200"), err)
    try:
        get(t, port, certs.client(root, alpn=("h2",)))
        raise AssertionError("the handshake succeeded")
    except ssl.SSLError as error:
        contains(str(error).lower(), "no application protocol")
    tls = {"tls": certs.client(root), "server_name": "a.example.com"}
    for conn in (t.connect(headrace.port), t.connect(port, **tls)):
        conn.send(frames.PREFACE + frames.frame(frames.SETTINGS, 0, 0))
        eq(conn.read_response().status, 505)
        eq(conn.is_closed(), True)
    eq(counter(headrace, "headrace_http2_connections_total"), 0)


def test_many_requests_of_one_http2_connection(t):
    headrace, port, _, root = simple(t)
    done = subprocess.run(["h2load", "-n", "200", "-c", "4", "-m", "10",
                           "--connect-to", "127.0.0.1:%d" % port,
                           "https://a.example.com:%d/v1/x" % port],
                          capture_output=True, text=True, check=False)
    contains(done.stdout, "200 succeeded, 0 failed")
    eq(counter(headrace, "headrace_http2_connections_total"), 4)


def test_streams_come_event_by_event(t):
    gate = threading.Event()

    def handler(peer):
        peer.read_request()
        peer.stream_head()
        peer.token("one")
        gate.wait(20)
        peer.token("two")
        peer.stream_end()
        peer.wait_closed()

    _, port, _, root = simple(t, handler)
    with t.connect(port, tls=certs.client(root), server_name="a.example.com") as conn:
        chat(conn, "a.example.com", stream=True)
        head = conn.read_head()
        eq(head.status, 200)
        events = conn.iter_events(head)
        contains(next(events).data, "one")
        gate.set()
        contains(next(events).data, "two")
        eq(next(events).data, "[DONE]")


def test_large_messages_pass_unharmed(t):
    answer = os.urandom(3 << 20)

    def echo(peer, request):
        peer.json(answer + request.body)

    _, port, _, root = simple(t, serve_all(echo))
    body = os.urandom(2 << 20)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with t.connect(port, tls=certs.client(root, version=version),
                       server_name="a.example.com", receive_buffer=8192) as conn:
            for _ in range(2):
                conn.log = lambda line: None
                conn.send_request("POST", "/v1/x", {"host": "a.example.com",
                                                    "content-type": "x/y"}, body)
                got = conn.read_response()
                eq((got.status, got.body == answer + body), (200, True))


def test_the_end_of_a_connection_is_announced(t):
    _, port, _, root = simple(t)
    with t.connect(port, tls=certs.client(root), server_name="a.example.com") as conn:
        conn.sock.suppress_ragged_eofs = False
        conn.send_request("GET", "/v1/x", {"host": "a.example.com", "connection": "close"})
        eq(conn.read_response().status, 200)
        eq(conn.sock.recv(100), b"")  # an end without close_notify would raise


def test_pipelined_requests_over_tls(t):
    _, port, _, root = simple(t, serve_all(ok_json))
    count = 300
    one = b"GET /v1/x HTTP/1.1\r\nhost: a.example.com\r\n\r\n"
    with t.connect(port, tls=certs.client(root), server_name="a.example.com") as conn:
        conn.sock.sendall(one * count)  # 13 KB: the socket takes them without anybody reading
        for _ in range(count):
            eq(conn.read_response().status, 200)


def test_sessions_are_resumed_whichever_worker_serves(t):
    headrace, port, _, root = simple(t)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = certs.client(root, version=version)
        session = None
        for i in range(12):
            resumed, session = resumes(port, context, "a.example.com", session)
            eq(resumed, i != 0)
    eq(counter(headrace, "headrace_tls_handshakes_total", side="client", resumed="true"), 22)
    eq(counter(headrace, "headrace_tls_handshakes_total", side="client", resumed="false"), 2)


def test_a_session_ends_with_the_certificate_under_which_it_began(t):
    headrace, port, _, root = simple(t)
    name = "a.example.com"
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = certs.client(root, version=version)
        _, session = resumes(port, context, name)
        change(headrace, "other.yaml", route("other", ["hostnames: [b%d.example.com]" % version]))
        for _ in range(6):
            resumed, session = resumes(port, context, name, session)
            eq(resumed, True)
        change(headrace, "secret.yaml", certs.secret("a", root.issue("a", ["DNS:" + name])))
        resumed, session = resumes(port, context, name, session)
        eq(resumed, False)
        for _ in range(6):
            resumed, session = resumes(port, context, name, session)
            eq(resumed, True)


# ---- what browsers are told


def test_requests_in_the_clear_are_sent_to_https(t):
    root = certs.Authority(t.folder)
    made = root.issue("a", ["DNS:a.example.com"])
    headrace, port, upstream = serve(t, {
        "secret": certs.secret("a", made),
        "route": route("r", ["hostnames: [a.example.com]", "tls: [{secretName: a}]",
                             "httpsRedirect: true", "httpsPort: 8443",
                             "hsts: {maxAge: 1h, includeSubDomains: true}"]),
    })
    with t.connect(headrace.port) as conn:
        for method, body in (("GET", None), ("POST", b"{}"), ("GET", None)):
            conn.send_request(method, "/v1/x%20y?q=1&r=%2F", {"host": "a.example.com:1234"}, body)
            answer = conn.read_response()
            eq((answer.status, answer.headers.get("location")),
               (308, "https://a.example.com:8443/v1/x%20y?q=1&r=%2F"))
            eq("strict-transport-security" in answer.headers, False)
    eq(upstream.requests, [])
    answer = get(t, port, certs.client(root))
    eq((answer.status, answer.headers.get("strict-transport-security")),
       (200, "max-age=3600; includeSubDomains"))


def test_the_list_of_models_comes_by_https_as_well(t):
    root = certs.Authority(t.folder)
    made = root.issue("a", ["DNS:a.example.com", "DNS:b.example.com"])
    headrace, port, _ = serve(t, {
        "secret": certs.secret("a", made),
        "https": route("https", ["hostnames: [a.example.com]", "tls: [{secretName: a}]",
                                 "httpsRedirect: true", "hsts: {maxAge: 1h}"]),
        "both": route("both", ["hostnames: [b.example.com]", "tls: [{secretName: a}]"]),
    }, models=["m"])
    for path in ("/v1/models", "/v1/models/m"):
        for name, status, hsts in (("a", 308, "max-age=3600"), ("b", 200, None)):
            host = name + ".example.com"
            answer = t.request(headrace.port, "GET", path, {"host": host})
            eq((answer.status, answer.headers.get("location")),
               (status, "https://" + host + path if status == 308 else None))
            answer = get(t, port, certs.client(root), host, path=path)
            eq((answer.status, answer.headers.get("strict-transport-security")), (200, hsts))


def test_a_trusted_proxy_may_have_ended_tls(t):
    root = certs.Authority(t.folder)
    headrace, _, _ = serve(t, {
        "secret": certs.secret("a", root.issue("a", ["DNS:a.example.com"])),
        "route": route("r", ["hostnames: [a.example.com]", "tls: [{secretName: a}]",
                             "httpsRedirect: true", "hsts: {maxAge: 1h}"]),
    }, args=["--trusted-proxies", "127.0.0.1"])
    for proto, status in (("https", 200), ("http", 308), (None, 308)):
        fields = {"host": "a.example.com", "x-forwarded-for": "192.0.2.1"}
        if proto:
            fields["x-forwarded-proto"] = proto
        answer = t.request(headrace.port, "GET", "/v1/x", fields)
        eq((answer.status, answer.headers.get("strict-transport-security")),
           (status, "max-age=3600" if status == 200 else None), repr(proto))


def test_the_proxy_protocol_comes_before_the_handshake(t):
    _, port, upstream, root = simple(t, args=["--proxy-protocol", "required"])
    sock = socket.create_connection(("127.0.0.1", port), 20)
    sock.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 443\r\n")
    with certs.client(root).wrap_socket(sock, server_hostname="a.example.com") as tls:
        tls.sendall(b"GET /v1/x HTTP/1.1\r\nhost: a.example.com\r\n\r\n")
        contains(tls.recv(1000), b"200 OK")
    eq(upstream.requests[0].get("x-forwarded-for"), "192.0.2.7")
    eq(upstream.requests[0].get("x-forwarded-proto"), "https")


# ---- rotation


def test_certificates_rotate_under_load_and_nobody_notices(t):
    gate = threading.Event()

    def handler(peer):
        while True:
            request = peer.read_request()
            if request is None:
                return
            if b"long" in request.body:
                peer.stream_head()
                peer.token("one")
                gate.wait(60)
                peer.token("two")
                peer.stream_end()
            else:
                peer.json()

    headrace, port, _, root = simple(t, handler)
    context = certs.client(root)
    long = t.connect(port, tls=context, server_name="a.example.com")
    chat(long, "a.example.com", stream=True, user="long")
    head = long.read_head()
    stop = threading.Event()
    counts, errors, serials = [0, 0], [], set()

    def load(kept):
        own = certs.client(root)
        own_conn = None
        while not stop.is_set():
            try:
                if own_conn is None:
                    own_conn = t.connect(port, tls=own, server_name="a.example.com")
                    serials.add(own_conn.sock.getpeercert()["serialNumber"])
                    own_conn.log = lambda line: None
                own_conn.send_request("GET", "/v1/x", {"host": "a.example.com"})
                eq(own_conn.read_response().status, 200)
                counts[kept] += 1
                if not kept:
                    own_conn.close()
                    own_conn = None
            except Exception as error:
                errors.append(repr(error))
                own_conn = None

    threads = [threading.Thread(target=load, args=(i % 2,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        made = root.issue("a", ["DNS:a.example.com"])
        headrace.write("secret.yaml", certs.secret("a", made))
        serial = int(ssl_serial(made), 16)
        eventually(lambda: any(int(s, 16) == serial for s in list(serials)),
                   what="the new certificate is served")
    stop.set()
    for thread in threads:
        thread.join()
    eq(errors, [])
    eq(len(serials) >= 6 and min(counts) > 0, True)
    gate.set()
    texts = [event.data for event in long.iter_events(head)]
    contains(texts[-2], "two")
    eq(texts[-1], "[DONE]")
    eq(counter(headrace, "headrace_tls_failures_total"), 0)


def ssl_serial(made):
    return subprocess.run(["openssl", "x509", "-noout", "-serial", "-in", made.cert],
                          capture_output=True, text=True, check=True).stdout.strip()[7:]


# ---- hostile clients


def test_who_does_not_shake_hands_in_time_is_dropped(t):
    headrace, port, _, root = simple(t, args=["--header-timeout", "500ms"])
    silent = socket.create_connection(("127.0.0.1", port), 20)
    half = socket.create_connection(("127.0.0.1", port), 20)
    half.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    for sock in (silent, half):
        try:
            eq(sock.recv(100), b"")
        except ConnectionError:
            pass
    eventually(lambda: failures(headrace, "timeout") == 2)
    eq(get(t, port, certs.client(root)).status, 200)


def test_what_is_not_tls_is_dropped(t):
    headrace, port, _, root = simple(t)
    eq(t.request(headrace.port, "GET", "/v1/x", {"host": "a.example.com"}).status, 200)
    for data in (b"GET / HTTP/1.1\r\nhost: a.example.com\r\n\r\n", b"\x00" * 100,
                 b"\x16\x03\x01\xff\xff" + b"\x01" * 1000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
        sock = socket.create_connection(("127.0.0.1", port), 20)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        try:
            while sock.recv(1000):
                pass
        except ConnectionError:
            pass
    eq(failures(headrace, "not_tls") >= 2, True)
    eventually(lambda: counter(headrace, "headrace_connections_open") == 0)
    eq(get(t, port, certs.client(root)).status, 200)


def test_who_is_not_let_in_gets_an_alert(t):
    headrace, port, _, root = simple(t, args=["--max-connections-per-address", "1"])
    with t.connect(port, tls=certs.client(root), server_name="a.example.com") as conn:
        chat(conn, "a.example.com")
        eq(conn.read_response().status, 200)
        try:
            t.connect(port, tls=certs.client(root), server_name="a.example.com")
            raise AssertionError("it was let in")
        except ssl.SSLError as error:
            contains(str(error).lower(), "internal error")
        except ConnectionError:
            pass  # its hello came too late to be read
    eq(counter(headrace, "headrace_connections_refused_total", reason="address_limit"), 1)


def test_a_failed_handshake_is_logged_when_debugging(t):
    headrace, port, _, root = simple(t, args=["--log-level", "debug"])
    for _ in range(30):
        try:
            get(t, port, certs.client(root), "b.example.com")
        except (ssl.SSLError, ConnectionError):
            pass
    eq(failures(headrace, "unknown_name"), 30)
    lines = [line for line in headrace.stderr.splitlines() if "TLS handshake" in line]
    eq(1 <= len(lines) <= 40, True, lines[:3])
    contains(lines[0], "unknown_name")
    contains(lines[0], "b.example.com")


def test_a_drain_lets_tls_connections_finish(t):
    gate = threading.Event()

    def handler(peer):
        peer.read_request()
        peer.stream_head()
        peer.token("one")
        gate.wait(20)
        peer.stream_end()
        peer.wait_closed()

    headrace, port, _, root = simple(t, handler, ["--drain-timeout", "20s"])
    idle = t.connect(port, tls=certs.client(root), server_name="a.example.com")
    with t.connect(port, tls=certs.client(root), server_name="a.example.com") as conn:
        chat(conn, "a.example.com", stream=True)
        head = conn.read_head()
        headrace.signal(signal.SIGTERM)
        headrace.wait_output("draining|shutting down")
        time.sleep(0.2)
        idle.close()
        gate.set()
        eq([event.data for event in conn.iter_events(head)][-1], "[DONE]")
    eq(headrace.wait(), 0)


if __name__ == "__main__":
    main(globals())
