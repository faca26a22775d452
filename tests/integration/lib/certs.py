"""Certificates for tests, made with the openssl program."""

import atexit
import functools
import os
import shutil
import ssl
import subprocess
import tempfile
import textwrap


class Certificate:
    """Files with a certificate and its key."""

    def __init__(self, path):
        self.cert = path + ".crt"
        self.key = path + ".key"

    @property
    def cert_pem(self):
        with open(self.cert) as file:
            return file.read()

    @property
    def key_pem(self):
        with open(self.key) as file:
            return file.read()


class Authority(Certificate):
    def __init__(self, folder, name="root"):
        super().__init__(os.path.join(folder, name))
        self.folder = folder
        self.count = 0
        _make(self, name, ["-addext", "basicConstraints=critical,CA:TRUE"])

    def issue(self, name, sans=(), days=30):
        """sans: "DNS:a.example.com", "IP:127.0.0.1", "URI:spiffe://x". days: -1 is expired."""
        self.count += 1
        made = Certificate(os.path.join(self.folder, "%s-%d" % (os.path.basename(self.cert)[:-4],
                                                                 self.count)))
        more = ["-addext", "basicConstraints=critical,CA:FALSE"]
        if sans:
            more += ["-addext", "subjectAltName=" + ",".join(sans)]
        if days > 0:
            _make(made, name, ["-CA", self.cert, "-CAkey", self.key] + more)
            return made
        _make(made, name, more)
        # `openssl req` makes none that is over; signing an older one again does.
        _run(["openssl", "x509", "-in", made.cert, "-CA", self.cert, "-CAkey", self.key,
              "-CAcreateserial", "-days", str(days), "-out", made.cert])
        return made


@functools.lru_cache(None)
def folder():
    """For what the tests of a file share; gone when the program ends."""
    path = tempfile.mkdtemp(prefix="headrace-certs-")
    atexit.register(shutil.rmtree, path, True)
    return path


@functools.lru_cache(None)
def authority(name="root"):
    """The file's own, made once."""
    return Authority(folder(), name)


@functools.lru_cache(None)
def issued(*sans):
    """By that authority, for whatever needs no certificate of its own."""
    return authority().issue(sans[0].partition(":")[2], sans)


def _run(command):
    subprocess.run(command, check=True, capture_output=True)


def _make(made, name, more):
    _run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
          "-nodes", "-days", "30", "-config", os.devnull, "-subj", "/CN=" + name,
          "-keyout", made.key, "-out", made.cert] + more)


def secret(name, made):
    """A manifest of a kubernetes.io/tls Secret."""
    return """
apiVersion: v1
kind: Secret
metadata: {name: %s}
type: kubernetes.io/tls
stringData:
  tls.crt: |
%s  tls.key: |
%s""" % (name, textwrap.indent(made.cert_pem, "    "), textwrap.indent(made.key_pem, "    "))


def config_map(name, authority):
    return """
apiVersion: v1
kind: ConfigMap
metadata: {name: %s}
data:
  ca.crt: |
%s""" % (name, textwrap.indent(authority.cert_pem, "    "))


def client(authority, alpn=("http/1.1",), shows=None, version=None):
    """How a client trusts: an ssl.SSLContext. shows: its own certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.cert)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if shows is not None:
        context.load_cert_chain(shows.cert, shows.key)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def server(made, asks=None, alpn=("http/1.1",)):
    """asks: the authority whose certificates clients must show."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.cert, made.key)
    context.set_alpn_protocols(list(alpn))
    if asks is not None:
        context.load_verify_locations(asks.cert)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
