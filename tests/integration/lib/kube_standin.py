"""A scriptable stand-in for a Kubernetes API server: lists, pages, watches, bookmarks, applies of a
status, and every misbehaviour that a client must bear. Its manners are compared with transcripts of
the real one by tests/integration/kube/test_manners.py.

    server = Standin()
    server.put("services", {"metadata": {"namespace": "ml", "name": "s"}})
    server.fault("list", "services", server.answer_status(429, "TooManyRequests", retry_after=1))
    server.watches("services")[0].send_raw(b'{"type":')
"""

import copy
import json
import socket
import struct
import threading
import time
import urllib.parse

KINDS = {
    "airoutes": ("headrace.dev/v1alpha1", "AIRoute"),
    "modelbackends": ("headrace.dev/v1alpha1", "ModelBackend"),
    "services": ("v1", "Service"),
    "endpointslices": ("discovery.k8s.io/v1", "EndpointSlice"),
    "pods": ("v1", "Pod"),
    "secrets": ("v1", "Secret"),
    "configmaps": ("v1", "ConfigMap"),
}
OURS = ("airoutes", "modelbackends")


class Refusal(Exception):
    """Becomes a Status object."""

    def __init__(self, code, reason, message="", retry_after=None, causes=(), retry_seconds=None):
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        self.causes = causes
        self.retry_seconds = retry_seconds

    def status(self):
        body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": self.message, "reason": self.reason, "code": self.code}
        details = {}
        if self.causes:
            details["causes"] = [{"reason": cause, "message": self.message}
                                 for cause in self.causes]
        if self.retry_seconds:
            details["retryAfterSeconds"] = self.retry_seconds
        if details:
            body["details"] = details
        return body


class Closed(Exception):
    """The connection is to end now."""


class Watch:
    """One watch that is open. The test may write to it as it likes."""

    def __init__(self, conn, plural, namespace, version, name=""):
        self.conn = conn
        self.plural = plural
        self.namespace = namespace
        self.name = name    # of its field selector
        self.version = version
        self.muted = False  # events are not sent; the connection stays
        self.piece = 0      # > 0: chunks of that many bytes
        self.closed = threading.Event()
        self.lock = threading.Lock()

    def send_raw(self, data):
        with self.lock:
            pieces = [data]
            if self.piece:
                pieces = [data[i:i + self.piece] for i in range(0, len(data), self.piece)]
            try:
                for part in pieces:
                    self.conn.sendall(b"%x\r\n%s\r\n" % (len(part), part))
            except OSError:
                self.closed.set()

    def send(self, kind, obj):
        if not self.muted:
            self.send_raw(json.dumps({"type": kind, "object": obj},
                                     separators=(",", ":")).encode() + b"\n")

    def look(self):
        """Notices that the client went."""
        try:
            if self.conn.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"":
                self.closed.set()
        except BlockingIOError:
            pass
        except OSError:
            self.closed.set()

    def end(self):
        """As when timeoutSeconds is over."""
        with self.lock:
            try:
                self.conn.sendall(b"0\r\n\r\n")
            except OSError:
                pass
        self.closed.set()

    def reset(self):
        """As when the server is killed."""
        try:
            self.conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.conn.shutdown(socket.SHUT_RD)
        except OSError:
            pass
        self.conn.close()
        self.closed.set()


class Standin:
    def __init__(self, log=None):
        self.log = log or (lambda line: None)
        self.lock = threading.RLock()
        self.objects = {plural: {} for plural in KINDS}
        self.history = {plural: [] for plural in KINDS}  # (version, type, object)
        self.oldest = {plural: 0 for plural in KINDS}    # watches from before this are refused
        self.hidden = set()                              # kinds that are not installed
        self.forbidden = set()
        self.tokens = None                               # None: anybody
        self.version = 100
        self.uids = 0
        self.requests = []                               # (verb, plural, query, headers, time)
        self.faults = []
        self.open_watches = []
        self.connections = set()
        self.accepted = 0
        self.port = 0
        self.listener = None
        self.start()

    # ---- life

    def start(self):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        self.port = listener.getsockname()[1]
        self.listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def stop(self):
        """As SIGKILL: every connection breaks. start() brings the same state back."""
        listener, self.listener = self.listener, None
        if listener:
            # Wakes accept(), which close() alone does not.
            try:
                listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            listener.close()
        for watch in list(self.open_watches):
            watch.reset()
        for conn in list(self.connections):
            try:
                conn.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            conn.close()

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.port

    def _accept(self, listener):
        while True:
            try:
                conn, _ = listener.accept()
            except OSError:
                return
            self.accepted += 1
            self.connections.add(conn)
            threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    # ---- state

    def next_version(self):
        self.version += 1
        return str(self.version)

    def put(self, plural, obj, version=None):
        """Creates or replaces; tells the watches."""
        with self.lock:
            api_version, kind = KINDS[plural]
            obj = copy.deepcopy(obj)
            meta = obj["metadata"]
            key = (meta.get("namespace", ""), meta["name"])
            old = self.objects[plural].get(key)
            if old is None:
                self.uids += 1
            meta.setdefault("uid", old["metadata"]["uid"] if old else "uid-%d" % self.uids)
            meta["resourceVersion"] = version or self.next_version()
            self.objects[plural][key] = dict({"apiVersion": api_version, "kind": kind}, **obj)
            self._tell(plural, "MODIFIED" if old else "ADDED", self.objects[plural][key])
            return self.objects[plural][key]

    def delete(self, plural, namespace, name, quietly=False):
        with self.lock:
            obj = copy.deepcopy(self.objects[plural].pop((namespace, name)))
            obj["metadata"]["resourceVersion"] = self.next_version()
            self._tell(plural, "DELETED", obj, quietly)

    def _tell(self, plural, kind, obj, quietly=False):
        self.history[plural].append((int(obj["metadata"]["resourceVersion"]), kind, obj))
        for watch in self.watches(plural):
            if not quietly and self._sees(watch.namespace, obj, watch.name):
                watch.send(kind, obj)

    @staticmethod
    def _sees(namespace, obj, name):
        meta = obj["metadata"]
        return ((not namespace or meta.get("namespace") == namespace) and
                (not name or meta["name"] == name))

    @staticmethod
    def _selected(query):
        """The name in a field selector; no other field can be selected."""
        field, _, name = query.get("fieldSelector", "").partition("=")
        if field not in ("", "metadata.name"):
            raise Refusal(400, "BadRequest", "field label not supported: %s" % field)
        return name

    def compact(self, plural):
        """The versions until now can no longer be watched from."""
        with self.lock:
            self.next_version()
            self.oldest[plural] = self.version
            self.history[plural] = []

    def bookmark(self, plural):
        api_version, kind = KINDS[plural]
        with self.lock:
            self.next_version()
            for watch in self.watches(plural):
                watch.send("BOOKMARK", {"kind": kind, "apiVersion": api_version,
                                        "metadata": {"resourceVersion": str(self.version)}})

    def watches(self, plural):
        """Those that are open, as far as the client's side goes."""
        with self.lock:
            for watch in self.open_watches:
                watch.look()
            self.open_watches = [w for w in self.open_watches if not w.closed.is_set()]
            return [w for w in self.open_watches if w.plural == plural]

    def watch(self, plural, timeout=60.0):
        """The oldest open watch of a kind; waits until there is one."""
        deadline = time.monotonic() + timeout
        while True:
            found = self.watches(plural)
            if found:
                return found[0]
            if time.monotonic() > deadline:
                raise AssertionError("no watch of %s within %.0f s" % (plural, timeout))
            time.sleep(0.01)

    # ---- misbehaviour

    def fault(self, verb, plural, action, times=1):
        """The next `times` requests of that verb (list, watch, patch) and kind get action(conn)."""
        with self.lock:
            self.faults.append([verb, plural, action, times])

    def clear_faults(self):
        with self.lock:
            self.faults = []

    @staticmethod
    def answer_status(code, reason, retry_after=None, causes=(), message="scripted"):
        def action(_conn):
            raise Refusal(code, reason, message, retry_after, causes)
        return action

    @staticmethod
    def answer_body(body, content_type="application/json"):
        data = body if isinstance(body, bytes) else body.encode()

        def action(conn):
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s"
                         % (content_type.encode(), len(data), data))
        return action

    @staticmethod
    def answer_cut(body):
        """Promises more than it sends."""
        def action(conn):
            data = body.encode()
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
                         % (len(data) + 50, data))
            raise Closed
        return action

    @staticmethod
    def drop(_conn):
        raise Closed

    def _take_fault(self, verb, plural):
        with self.lock:
            for rule in self.faults:
                if rule[0] == verb and rule[1] in (plural, "*") and rule[3] > 0:
                    rule[3] -= 1
                    return rule[2]
        return None

    # ---- HTTP

    def _serve(self, conn):
        stream = conn.makefile("rb")
        try:
            while self._serve_one(conn, stream):
                pass
        except (OSError, Closed, ValueError):
            pass
        finally:
            self.connections.discard(conn)
            stream.close()
            conn.close()

    def _serve_one(self, conn, stream):
        line = stream.readline().decode("latin-1").split()
        if len(line) != 3:
            return False
        headers = {}
        while True:
            row = stream.readline().decode("latin-1").strip()
            if not row:
                break
            name, _, value = row.partition(":")
            headers[name.lower()] = value.strip()
        body = stream.read(int(headers.get("content-length", 0)))
        try:
            self._route(conn, line[0], line[1], headers, body)
        except Refusal as refusal:
            self._send_json(conn, refusal.code, refusal.status(), refusal.retry_after)
        return True

    def _send_json(self, conn, code, body, retry_after=None):
        data = json.dumps(body, separators=(",", ":")).encode() + b"\n"
        extra = b"Retry-After: %d\r\n" % retry_after if retry_after is not None else b""
        conn.sendall(b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n"
                     b"\r\n%s" % (code, extra, len(data), data))

    def _send_not_found(self, conn):
        conn.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n"
                     b"Content-Length: 19\r\n\r\n404 page not found\n")

    def _route(self, conn, method, target, headers, body):
        path, _, query = target.partition("?")
        query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        parts = [urllib.parse.unquote(part) for part in path.strip("/").split("/")]
        group = "/".join(parts[1:2] if parts[0] == "api" else parts[1:3])
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        namespace = ""
        if len(parts) > 2 and parts[0] == "namespaces":
            namespace, parts = parts[1], parts[2:]
        plural = parts[0] if parts else ""
        verb = {"GET": "watch" if query.get("watch") == "1" else "list"}.get(method, method.lower())
        self.log("%s %s" % (verb, target))
        with self.lock:
            self.requests.append((verb, plural, query, headers, time.monotonic()))
        if plural not in KINDS or KINDS[plural][0] != group or plural in self.hidden:
            self._send_not_found(conn)
            return
        self._authorize(plural, verb, headers)
        action = self._take_fault(verb, plural)
        if action:
            action(conn)
        elif verb == "list":
            self._list(conn, plural, namespace, query)
        elif verb == "watch":
            self._watch(conn, plural, namespace, query)
        elif verb == "patch" and parts[2:] == ["status"]:
            self._apply(conn, plural, namespace, parts[1], json.loads(body))
        else:
            raise Refusal(405, "MethodNotAllowed", "the server does not allow this method")

    def _authorize(self, plural, verb, headers):
        if self.tokens is not None:
            scheme, _, token = headers.get("authorization", "").partition(" ")
            if scheme != "Bearer" or token not in self.tokens:
                raise Refusal(401, "Unauthorized", "Unauthorized")
        if plural in self.forbidden:
            raise Refusal(403, "Forbidden", '%s is forbidden: cannot %s resource "%s"'
                          % (plural, verb, plural))

    def _check_version(self, version):
        if version and int(version) > self.version:
            raise Refusal(504, "Timeout", "Timeout: Too large resource version: %s, current: %d"
                          % (version, self.version), causes=["ResourceVersionTooLarge"],
                          retry_seconds=1)

    def _list(self, conn, plural, namespace, query):
        api_version, kind = KINDS[plural]
        version = query.get("resourceVersion", "")
        self._check_version(version)
        with self.lock:
            items = [copy.deepcopy(obj) for _, obj in sorted(self.objects[plural].items())
                     if self._sees(namespace, obj, self._selected(query))]
            meta = {"resourceVersion": str(self.version)}
        if plural in OURS:  # the real one says so, even when there is no more
            meta["continue"] = ""
        if plural not in OURS:  # the real one leaves kind and version out of typed items
            for item in items:
                item.pop("kind")
                item.pop("apiVersion")
        limit = int(query.get("limit") or 0)
        begin = 0
        if "continue" in query:
            if not query["continue"].startswith("from-"):
                raise Refusal(400, "BadRequest", "invalid continue token")
            begin = int(query["continue"][5:])
        if limit and version != "0" and len(items) - begin > limit:
            meta["continue"] = "from-%d" % (begin + limit)
            meta["remainingItemCount"] = len(items) - begin - limit
            items = items[begin:begin + limit]
        else:
            items = items[begin:]
        body = {"kind": kind + "List", "apiVersion": api_version, "metadata": meta, "items": items}
        if plural in OURS:  # the real one has another order there
            body = {name: body[name] for name in ("apiVersion", "items", "kind", "metadata")}
        self._send_json(conn, 200, body)

    def _watch(self, conn, plural, namespace, query):
        version = int(query.get("resourceVersion") or 0)
        watch = Watch(conn, plural, namespace, version, self._selected(query))
        conn.sendall(b"HTTP/1.1 200 OK\r\nCache-Control: no-cache, private\r\n"
                     b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        with self.lock:
            if version < self.oldest[plural]:
                watch.send("ERROR", Refusal(410, "Expired", "too old resource version: %d (%d)"
                                            % (version, self.oldest[plural])).status())
                watch.end()
                return
            for at, kind, obj in self.history[plural]:
                if at > version and self._sees(namespace, obj, watch.name):
                    watch.send(kind, obj)
            self.open_watches.append(watch)
        # The client sends nothing more; what comes is its end.
        watch.closed.wait(float(query.get("timeoutSeconds", "60")))
        if not watch.closed.is_set():
            watch.end()

    def _apply(self, conn, plural, namespace, name, body):
        with self.lock:
            obj = self.objects[plural].get((namespace, name))
            if obj is None:
                raise Refusal(404, "NotFound", '%s "%s" not found' % (plural, name))
            wanted = body["metadata"].get("resourceVersion")
            if wanted and wanted != obj["metadata"]["resourceVersion"]:
                raise Refusal(409, "Conflict", "the object has been modified; please apply your "
                              "changes to the latest version and try again")
            if obj.get("status") != body["status"]:
                obj = copy.deepcopy(obj)
                obj["status"] = body["status"]
                obj = self.put(plural, obj)
        self._send_json(conn, 200, obj)


def wait_requests(server, verb, plural, count, timeout=60.0):
    """Waits for so many requests in all; returns the last one's query."""
    deadline = time.monotonic() + timeout
    while True:
        with server.lock:
            found = [r for r in server.requests if r[0] == verb and r[1] == plural]
        if len(found) >= count:
            return found[count - 1][2]
        if time.monotonic() > deadline:
            raise AssertionError("%d of %d %s requests for %s" % (len(found), count, verb, plural))
        time.sleep(0.01)
