"""A network of its own for a test file: what runs at the same time (another file, another checkout,
a sanitizer's run) can neither take a port that is free for a moment, nor be reached on the port of
a server that was killed. Needs nothing but a kernel that allows it; where it does not, tests share
the machine's loopback as before."""

import ctypes
import fcntl
import os
import socket
import struct

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP = 1


def _loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def _write(path, text):
    with open(path, "w") as file:
        file.write(text)


def _unshare():
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0:
        return libc.unshare(CLONE_NEWNET) == 0
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        return False
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", "%d %d 1" % (user, user))
    _write("/proc/self/gid_map", "%d %d 1" % (group, group))
    return True


def take_own():
    """True when this process, and all that it starts from now on, has a loopback of its own. Tried
    in a child first, because half of it cannot be undone."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if _unshare():
                _loopback_up()
                status = 0
        except OSError:
            pass
        os._exit(status)
    if os.waitpid(child, 0)[1] != 0:
        return False
    _unshare()
    _loopback_up()
    return True
