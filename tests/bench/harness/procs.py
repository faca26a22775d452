"""What the kernel says about a process tree: CPU time, memory, system calls."""

import os
import re
import signal
import subprocess
import time


def tree(pid):
    """The process and all its descendants."""
    children = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat") as f:
                parent = int(f.read().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(name))
    found, todo = [], [pid]
    while todo:
        at = todo.pop()
        found.append(at)
        todo.extend(children.get(at, []))
    return found


def _threads(pid):
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []


def cpu_seconds(pids):
    """User and system time of all threads, in seconds.

    From schedstat, which counts nanoseconds; the clock ticks of stat only where that is missing.
    """
    total = 0.0
    for pid in pids:
        for tid in _threads(pid):
            try:
                with open(f"/proc/{pid}/task/{tid}/schedstat") as f:
                    total += int(f.read().split()[0]) / 1e9
            except (OSError, IndexError):
                try:
                    with open(f"/proc/{pid}/task/{tid}/stat") as f:
                        fields = f.read().rpartition(")")[2].split()
                    total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
                except OSError:
                    pass
    return total


def user_sys_seconds(pids):
    """(user, system), in clock ticks' resolution: only for the split."""
    user = system = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as f:
                fields = f.read().rpartition(")")[2].split()
        except OSError:
            continue
        user += int(fields[11])
        system += int(fields[12])
    hz = os.sysconf("SC_CLK_TCK")
    return user / hz, system / hz


def rss_bytes(pids):
    """Resident memory in user space, shared pages once for each process that maps them."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as f:
                text = f.read()
        except OSError:
            continue
        total += int(re.search(r"^Rss:\s+(\d+) kB", text, re.M).group(1)) * 1024
    return total


def stop(proc, seconds=3.0):
    """Ends a process that we started, and its descendants."""
    if proc.poll() is None:
        pids = tree(proc.pid)
        proc.terminate()
        try:
            proc.wait(seconds)
        except subprocess.TimeoutExpired:
            for pid in reversed(pids):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            proc.wait()


class Syscalls:
    """strace -c over a process tree, between start and stop."""

    def __init__(self, pids, path):
        self.path = path
        args = ["strace", "-c", "-f", "-qq", "-o", path]
        for pid in pids:
            args += ["-p", str(pid)]
        self.proc = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                     text=True)
        time.sleep(0.4)
        if self.proc.poll() is not None:
            raise RuntimeError("strace: " + self.proc.stderr.read().strip())

    def stop(self):
        """{name: calls}"""
        self.proc.send_signal(signal.SIGINT)
        self.proc.wait(10)
        calls = {}
        with open(self.path) as f:
            for line in f:
                # % time, seconds, usecs/call, calls, [errors], syscall
                fields = line.split()
                if len(fields) >= 5 and fields[3].isdigit() and fields[-1] != "total":
                    calls[fields[-1]] = calls.get(fields[-1], 0) + int(fields[3])
        return calls
