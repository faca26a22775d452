"""A Kubernetes control plane of real programs, inside the network namespace of the caller."""

import json
import os
import ssl
import urllib.request

from . import certificates
from .processes import Process, ProcessError, run, wait_until

API_PORT = 6443


class ControlPlane:
    """etcd, kube-apiserver and kube-controller-manager, with certificates of their own.

    `address` is what the API server advertises; it must be on an interface already.
    """

    def __init__(self, directory, binaries, address):
        self.directory = directory
        self.binaries = binaries
        self.address = address
        self.server = f"https://{address}:{API_PORT}"
        self.kubeconfig = os.path.join(directory, "admin.kubeconfig")
        self.etcd = Process("etcd", self._etcd_command(), directory)
        self.apiserver = Process("kube-apiserver", self._apiserver_command(), directory)
        self.controllers = Process("kube-controller-manager", self._controllers_command(),
                                   directory)

    def _pki(self, name):
        return os.path.join(self.directory, "pki", name)

    def _program(self, name):
        return os.path.join(self.binaries, name)

    def _etcd_command(self):
        return [self._program("etcd"), "--data-dir", os.path.join(self.directory, "etcd"),
                "--listen-client-urls", "http://127.0.0.1:2379",
                "--advertise-client-urls", "http://127.0.0.1:2379",
                "--listen-peer-urls", "http://127.0.0.1:2380", "--unsafe-no-fsync",
                "--logger", "zap", "--log-level", "warn"]

    def _apiserver_command(self):
        return [self._program("kube-apiserver"), "--etcd-servers=http://127.0.0.1:2379",
                f"--cert-dir={self.directory}/pki", f"--tls-cert-file={self._pki('apiserver.crt')}",
                f"--tls-private-key-file={self._pki('apiserver.key')}",
                f"--client-ca-file={self._pki('ca.crt')}",
                "--bind-address=0.0.0.0", f"--advertise-address={self.address}",
                f"--secure-port={API_PORT}", "--service-cluster-ip-range=10.96.0.0/16",
                "--authorization-mode=Node,RBAC", "--allow-privileged=true",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={self._pki('sa.pub')}",
                f"--service-account-signing-key-file={self._pki('sa.key')}",
                f"--kubelet-client-certificate={self._pki('admin.crt')}",
                f"--kubelet-client-key={self._pki('admin.key')}",
                "--kubelet-preferred-address-types=InternalIP",
                "--shutdown-delay-duration=0s"]

    def _controllers_command(self):
        return [self._program("kube-controller-manager"), "--kubeconfig", self.kubeconfig,
                f"--service-account-private-key-file={self._pki('sa.key')}",
                f"--root-ca-file={self._pki('ca.crt')}", "--leader-elect=false",
                "--controllers=*,-nodeipam", "--allocate-node-cidrs=false",
                "--bind-address=127.0.0.1"]

    def start(self):
        pki = os.path.join(self.directory, "pki")
        os.makedirs(pki, exist_ok=True)
        certificates.make_authority(pki)
        certificates.issue(pki, "apiserver", "/CN=kube-apiserver",
                           f"IP:127.0.0.1,IP:{self.address},IP:10.96.0.1,"
                           "DNS:kubernetes.default.svc")
        certificates.issue(pki, "admin", "/O=system:masters/CN=admin")
        certificates.write_kubeconfig(self.kubeconfig, pki, self.server, client="admin")
        self.etcd.start()
        self.apiserver.start()
        self.wait_ready()
        self.controllers.start()
        wait_until("the default service account",
                   lambda: self.kubectl("get", "serviceaccount", "default",
                                        check=False).returncode == 0,
                   processes=[self.etcd, self.apiserver, self.controllers])
        return self

    def wait_ready(self, timeout=60):
        wait_until("the API server is ready", self.ready, timeout,
                   processes=[self.etcd, self.apiserver])

    def ready(self):
        context = ssl.create_default_context(cafile=self._pki("ca.crt"))
        with urllib.request.urlopen(f"{self.server}/readyz", context=context, timeout=2) as answer:
            return answer.status == 200

    def stop(self):
        for process in (self.controllers, self.apiserver, self.etcd):
            process.kill()

    @property
    def processes(self):
        return [self.etcd, self.apiserver, self.controllers]

    # ---- kubectl --------------------------------------------------------------------------

    def kubectl(self, *arguments, stdin=None, check=True, timeout=60):
        """Runs kubectl as the administrator; returns its result."""
        env = dict(os.environ, HOME=self.directory)
        return run([self._program("kubectl"), "--kubeconfig", self.kubeconfig, *arguments],
                   stdin=stdin, check=check, timeout=timeout, env=env)

    def apply(self, text, *arguments):
        return self.kubectl("apply", *arguments, "-f", "-", stdin=text).stdout

    def get(self, *arguments):
        """What `kubectl get … -o json` answers, decoded."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json").stdout)

    def wait(self, what, condition, namespace, timeout=30):
        self.kubectl("wait", "--namespace", namespace, f"--for={condition}", what,
                     f"--timeout={timeout}s", timeout=timeout + 10)

    def service_account_kubeconfig(self, path, namespace, account, minutes=60):
        """A kubeconfig that acts as a service account, by a bound token in PATH.token."""
        token_file = path + ".token"
        token = self.kubectl("create", "token", account, "--namespace", namespace,
                             f"--duration={minutes}m").stdout
        with open(token_file, "w", encoding="utf-8") as out:
            out.write(token)
        os.chmod(token_file, 0o600)
        certificates.write_kubeconfig(path, os.path.join(self.directory, "pki"), self.server,
                                      token_file=token_file)
        return path


def prepare_network(addresses, default_via):
    """Brings lo up with these addresses and a default route, inside our own namespace."""
    run(["ip", "link", "set", "lo", "up"])
    for address in addresses:
        run(["ip", "address", "add", address, "dev", "lo"])
    # Without a default route the API server finds no address to advertise.
    run(["ip", "route", "add", "default", "via", default_via, "dev", "lo"])


__all__ = ["ControlPlane", "ProcessError", "prepare_network"]
