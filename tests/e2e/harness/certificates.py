"""The keys and certificates of a throw-away cluster, by the openssl program."""

import base64
import os

from .processes import run


def _path(directory, name):
    return os.path.join(directory, name)


def _openssl(*arguments):
    run(["openssl", *arguments])


def make_authority(directory):
    """ca.key, ca.crt, and the key pair sa.key/sa.pub that signs service account tokens."""
    key = _path(directory, "ca.key")
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    _openssl("req", "-x509", "-new", "-key", key, "-days", "2", "-subj", "/CN=headrace-e2e",
             "-addext", "keyUsage=critical,keyCertSign,digitalSignature",
             "-out", _path(directory, "ca.crt"))
    _openssl("genrsa", "-out", _path(directory, "sa.key"), "2048")
    _openssl("rsa", "-in", _path(directory, "sa.key"), "-pubout", "-out",
             _path(directory, "sa.pub"))


def issue(directory, name, subject, alternative_names=""):
    """NAME.key and NAME.crt, signed by the authority, for a server (with names) or a client."""
    key = _path(directory, name + ".key")
    request = _path(directory, name + ".csr")
    extensions = _path(directory, name + ".ext")
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    _openssl("req", "-new", "-key", key, "-subj", subject, "-out", request)
    with open(extensions, "w", encoding="utf-8") as out:
        out.write("extendedKeyUsage=serverAuth,clientAuth\nkeyUsage=critical,digitalSignature\n")
        if alternative_names:
            out.write(f"subjectAltName={alternative_names}\n")
    _openssl("x509", "-req", "-in", request, "-CA", _path(directory, "ca.crt"),
             "-CAkey", _path(directory, "ca.key"), "-CAcreateserial", "-days", "2",
             "-extfile", extensions, "-out", _path(directory, name + ".crt"))


def _base64_of(path):
    with open(path, "rb") as source:
        return base64.b64encode(source.read()).decode()


def write_kubeconfig(path, directory, server, client=None, token_file=None):
    """A kubeconfig with a client certificate of `issue`, or with a file that holds a token."""
    if client:
        user = (f"    client-certificate-data: {_base64_of(_path(directory, client + '.crt'))}\n"
                f"    client-key-data: {_base64_of(_path(directory, client + '.key'))}\n")
    else:
        user = f"    tokenFile: {token_file}\n"
    with open(path, "w", encoding="utf-8") as out:
        out.write("apiVersion: v1\nkind: Config\ncurrent-context: e2e\n"
                  f"clusters:\n- name: e2e\n  cluster:\n    server: {server}\n"
                  "    certificate-authority-data: "
                  f"{_base64_of(_path(directory, 'ca.crt'))}\n"
                  "contexts:\n- name: e2e\n  context: {cluster: e2e, user: e2e}\n"
                  f"users:\n- name: e2e\n  user:\n{user}")
    os.chmod(path, 0o600)
