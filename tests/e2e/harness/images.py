"""The images of the cluster tier, built without a registry and kept in the user's cache.

A Debian base by debootstrap, the pause image from our own program, and Headrace from the shipped
Dockerfile. Each is an OCI archive that containerd imports; its name holds a hash of what it was
made from, so that what did not change is not built again.
"""

import fcntl
import glob
import hashlib
import os
import platform
import shutil
import tempfile

from .processes import ProcessError, run

BASE = "localhost/debian:12-slim"
PAUSE = "localhost/pause:1"
HEADRACE = "localhost/headrace:e2e"
SUITE = "bookworm"
HERE = os.path.dirname(os.path.abspath(__file__))


def cache_folder():
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(home, "headrace", "images")


def prepare(root, say):
    """Makes what is missing. Returns {image name: archive} for all that a node needs."""
    cache = cache_folder()
    os.makedirs(cache, exist_ok=True)
    with open(os.path.join(cache, "lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return {PAUSE: _pause(cache, say), HEADRACE: _headrace(cache, root, say)}


class Builder:
    """buildah with a storage of its own, which goes when the work is done."""

    def __init__(self, cache):
        self._storage = tempfile.mkdtemp(prefix="storage-", dir=cache)
        self._env = dict(os.environ, STORAGE_DRIVER="vfs", BUILDAH_ISOLATION="chroot")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self._storage, ignore_errors=True)

    def __call__(self, *arguments, timeout=900):
        command = ["buildah", "--root", f"{self._storage}/root", "--runroot",
                   f"{self._storage}/run", *arguments]
        return run(command, timeout=timeout, env=self._env).stdout.strip()

    def save(self, name, archive):
        """Writes the image as an archive, whole or not at all."""
        part = archive + ".part"
        self("push", "--quiet", name, f"oci-archive:{part}:{name}")
        os.replace(part, archive)


def _hash_of(paths, root):
    """A hash over the names and contents of files and folders."""
    total = hashlib.sha256()
    files = []
    for path in paths:
        full = os.path.join(root, path)
        if os.path.isdir(full):
            files += [os.path.join(folder, name) for folder, _, names in os.walk(full)
                      for name in names]
        else:
            files.append(full)
    for name in sorted(files):
        with open(name, "rb") as source:
            total.update(os.path.relpath(name, root).encode() + b"\0")
            total.update(hashlib.sha256(source.read()).digest())
    return total.hexdigest()[:12]


def _archive(cache, name, key):
    """The archive's path. Older ones of the same name are removed when it is not there yet."""
    path = os.path.join(cache, f"{name}-{key}.tar")
    if not os.path.exists(path):
        for old in glob.glob(os.path.join(cache, f"{name}-*.tar*")):
            os.unlink(old)
    return path


def _pause(cache, say):
    source = os.path.join(HERE, "pause.c")
    archive = _archive(cache, "pause", _hash_of([source], HERE))
    if os.path.exists(archive):
        return archive
    say("building the pause image")
    with Builder(cache) as build, tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "pause")
        run(["gcc", "-static", "-O2", "-s", "-o", program, source])
        container = build("from", "scratch")
        build("copy", "--chmod", "0755", container, program, "/pause")
        build("config", "--entrypoint", '["/pause"]', "--user", "65535:65535", container)
        build("commit", "--quiet", container, PAUSE)
        build.save(PAUSE, archive)
    return archive


def _base(cache, say):
    """A root file system of a minimal Debian, as an archive of an image without history."""
    archive = _archive(cache, "debian", f"{SUITE}-{platform.machine()}")
    if os.path.exists(archive):
        return archive
    say("making a Debian base with debootstrap")
    with Builder(cache) as build, tempfile.TemporaryDirectory(dir=cache) as folder:
        tree = os.path.join(folder, "root")
        try:
            run(["debootstrap", "--variant=minbase", SUITE, tree, *_mirror()], timeout=900)
        except ProcessError as error:
            raise ProcessError(f"{error}\n{_last_of(tree)}") from error
        shutil.rmtree(os.path.join(tree, "var/cache/apt"), ignore_errors=True)
        container = build("from", "scratch")
        build("copy", container, tree, "/")
        build("config", "--cmd", "bash", container)
        build("commit", "--quiet", container, BASE)
        build.save(BASE, archive)
    return archive


def _mirror():
    """The mirror to use, when the caller names one."""
    mirror = os.environ.get("HEADRACE_E2E_MIRROR")
    return [mirror] if mirror else []


def _last_of(tree):
    try:
        with open(os.path.join(tree, "debootstrap/debootstrap.log"), encoding="utf-8") as log:
            return log.read()[-2000:]
    except OSError:
        return ""


def _headrace(cache, root, say):
    inputs = ["Dockerfile", "Makefile", "src", "cmd", "crds"]
    archive = _archive(cache, "headrace", _hash_of(inputs, root))
    if os.path.exists(archive):
        return archive
    base = _base(cache, say)
    say("building the image of Headrace from its Dockerfile")
    with Builder(cache) as build:
        build("pull", "--quiet", f"oci-archive:{base}")
        build("build", "--network", "host", "--build-arg", f"BASE={BASE}", "--pull-never",
              "--quiet", "--tag", HEADRACE, root)
        build.save(HEADRACE, archive)
    return archive


__all__ = ["BASE", "HEADRACE", "PAUSE", "prepare"]
