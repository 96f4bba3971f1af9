"""A network in which every address of the world is this process: whatever is sent, wherever to,
passes the loopback interface, and the kernel counts it.

Linux namespaces by hand (unshare(2), rtnetlink(7)), for root and for others where the system
lets them.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_SET_FLAGS, _UP_RUNNING = 0x8914, 0x41  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING
_NEW_ROUTE, _REQUEST_CREATE_ACK = 24, 0x405
_TABLE_LOCAL, _BOOT, _SCOPE_HOST, _TYPE_LOCAL, _OUT_INTERFACE = 255, 3, 254, 2, 4
_ERROR = 2  # NLMSG_ERROR


def enter() -> None:
    """Leave the system's network for one of our own, for good; OSError where that is not allowed.

    Only before the process has threads.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_NET) and libc.unshare(_NEW_USER | _NEW_NET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH14x", b"lo", _UP_RUNNING))
    for family in (socket.AF_INET, socket.AF_INET6):
        _route_all(family)


def packets() -> int:
    """How many packets of any kind were sent in this network so far."""
    (line,) = [
        line for line in Path("/proc/self/net/dev").read_text().splitlines() if " lo:" in line
    ]
    return int(line.split(":")[1].split()[9])


def _route_all(family: socket.AddressFamily) -> None:
    """``ip route add local default dev lo``"""
    attribute = struct.pack("=HHI", 8, _OUT_INTERFACE, socket.if_nametoindex("lo"))
    body = (
        struct.pack("=8BI", family, 0, 0, 0, _TABLE_LOCAL, _BOOT, _SCOPE_HOST, _TYPE_LOCAL, 0)
        + attribute
    )
    head = struct.pack("=IHHII", 16 + len(body), _NEW_ROUTE, _REQUEST_CREATE_ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        kernel.send(head + body)
        answer = kernel.recv(4_096)
    kind, code = struct.unpack_from("=H", answer, 4)[0], struct.unpack_from("=i", answer, 16)[0]
    if kind == _ERROR and code:
        raise OSError(-code, os.strerror(-code))
