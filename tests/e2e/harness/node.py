"""A Kubernetes node of real programs: containerd, kubelet, kube-proxy and the scheduler."""

import glob
import json
import os
import time

from .processes import Process, run, wait_until

NODE = "node1"
POD_NETWORK = "10.244.0.0/16"
# What these programs write at fixed places; inside our mount namespace each is a tmpfs.
PRIVATE_FOLDERS = ("/run", "/var/log", "/var/lib/cni", "/var/lib/kubelet")
MADE_FOLDERS = "made-folders"  # the file that lists those which did not exist

CONTAINERD = """version = 2
root = "{directory}/containerd/root"
state = "{directory}/containerd/state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{directory}/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{directory}/cni"
"""


def cgroup_of(directory):
    """The cgroup under which a run's pods are: two runs on one machine do not share one."""
    return os.path.basename(directory)


def _cgroup_folders(name):
    """Where that cgroup is: in each hierarchy of version 1, or in the one of version 2."""
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        return [f"/sys/fs/cgroup/{name}"]
    return [os.path.join(hierarchy, name) for hierarchy in glob.glob("/sys/fs/cgroup/*")
            if os.path.exists(os.path.join(hierarchy, "cgroup.procs"))]


def remove_traces(directory):
    """Removes what an ended run has left outside of its own folder and namespaces."""
    try:
        with open(os.path.join(directory, MADE_FOLDERS), encoding="utf-8") as made:
            for folder in json.load(made):
                os.rmdir(folder)
    except OSError:  # it did not come so far, or somebody uses the folder now
        pass
    _remove_cgroups(directory)


def _remove_cgroups(directory):
    for top in _cgroup_folders(cgroup_of(directory)):
        for folder, _, _ in os.walk(top, topdown=False):
            for _ in range(20):
                try:
                    os.rmdir(folder)
                    break
                except OSError:  # a process of it is still on its way out
                    time.sleep(0.05)


class Node:
    """One node of the control plane's cluster. Call prepare() before the control plane starts."""

    def __init__(self, plane, images):
        self._plane = plane
        self._images = images
        self._directory = plane.directory
        self._socket = os.path.join(self._directory, "containerd.sock")
        directory = self._directory
        self.containerd = Process("containerd", [
            "containerd", "--config", f"{directory}/containerd.toml"], directory)
        self.kubelet = Process("kubelet", [
            os.path.join(plane.binaries, "kubelet"), "--kubeconfig", plane.kubeconfig,
            "--config", f"{directory}/kubelet.json", "--root-dir", f"{directory}/kubelet",
            "--cert-dir", f"{directory}/kubelet-pki", "--hostname-override", NODE,
            "--node-ip", plane.address], directory)
        self.scheduler = Process("kube-scheduler", [
            os.path.join(plane.binaries, "kube-scheduler"), "--kubeconfig", plane.kubeconfig,
            "--leader-elect=false", "--bind-address=127.0.0.1"], directory)
        self.proxy = Process("kube-proxy", [
            os.path.join(plane.binaries, "kube-proxy"), "--kubeconfig", plane.kubeconfig,
            "--hostname-override", NODE, "--proxy-mode", "iptables",
            "--cluster-cidr", POD_NETWORK, "--conntrack-max-per-core=0",
            "--iptables-min-sync-period=100ms"], directory)

    @property
    def processes(self):
        return [self.containerd, self.kubelet, self.scheduler, self.proxy]

    def prepare(self):
        """Private folders, forwarding, configuration files."""
        made = [folder for folder in PRIVATE_FOLDERS if not os.path.exists(folder)]
        _write(os.path.join(self._directory, MADE_FOLDERS), json.dumps(made))
        for folder in PRIVATE_FOLDERS:
            os.makedirs(folder, exist_ok=True)
            run(["mount", "-t", "tmpfs", "-o", "mode=755", "headrace-e2e", folder])
        _write("/proc/sys/net/ipv4/ip_forward", "1")
        if os.path.exists("/proc/sys/net/bridge/bridge-nf-call-iptables"):
            _write("/proc/sys/net/bridge/bridge-nf-call-iptables", "1")
        for folder in _cgroup_folders(cgroup_of(self._directory)):
            os.makedirs(folder, exist_ok=True)
            _fill_cpuset(folder)
        os.makedirs(f"{self._directory}/cni", exist_ok=True)
        _write(f"{self._directory}/cni/10-bridge.conflist", json.dumps(self._network()))
        _write(f"{self._directory}/containerd.toml", CONTAINERD.format(
            directory=self._directory, socket=self._socket, pause=self._images_name("pause")))
        _write(f"{self._directory}/kubelet.json", json.dumps(self._kubelet_configuration()))

    def _images_name(self, part):
        return next(name for name in self._images if part in name)

    @staticmethod
    def _network():
        return {"cniVersion": "0.4.0", "name": "pods", "plugins": [
            {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False,
             "hairpinMode": True,
             "ipam": {"type": "host-local", "ranges": [[{"subnet": POD_NETWORK}]],
                      "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": True}}]}

    def _kubelet_configuration(self):
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": False},
                               "x509": {"clientCAFile": f"{self._directory}/pki/ca.crt"}},
            "authorization": {"mode": "AlwaysAllow"},
            "containerRuntimeEndpoint": f"unix://{self._socket}",
            "cgroupDriver": "cgroupfs", "cgroupRoot": "/" + cgroup_of(self._directory),
            "failCgroupV1": False, "failSwapOn": False, "enforceNodeAllocatable": [],
            "resolvConf": "", "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "10Mi", "nodefs.available": "1%",
                             "imagefs.available": "1%", "nodefs.inodesFree": "1%"},
        }

    def start(self):
        """Call after the control plane is up. Returns when the node is Ready."""
        self.containerd.start()
        wait_until("containerd answers", lambda: self._ctr("version"),
                   processes=[self.containerd])
        for archive in self._images.values():
            self._ctr("images", "import", archive)
        for process in (self.kubelet, self.scheduler, self.proxy):
            process.start()
        wait_until("the node is there", lambda: self._plane.kubectl(
            "get", "node", NODE).returncode == 0, processes=self.processes)
        self._plane.kubectl("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=60s",
                            timeout=70)

    def _ctr(self, *arguments):
        return run(["ctr", "--address", self._socket, "--namespace", "k8s.io", *arguments],
                   timeout=120).stdout or "done"

    def stop(self):
        """Ends the programs; the containers end with our process namespace."""
        for process in reversed(self.processes):
            process.kill()


def _write(path, text):
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)


def _fill_cpuset(folder):
    """A new cpuset of cgroup version 1 is empty and takes no process until it is filled."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        path = os.path.join(folder, name)
        if os.path.exists(path) and not os.path.exists(
                os.path.join(os.path.dirname(folder), "cgroup.controllers")):
            with open(os.path.join(os.path.dirname(folder), name), encoding="utf-8") as parent:
                _write(path, parent.read().strip())
