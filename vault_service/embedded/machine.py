"""What the machine must offer before a child is started, and the one error of this room."""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path
from typing import Final

LOOPBACK: Final = "127.0.0.1"
PORT_WAIT_S: Final = 2.0  # the kernel may hold a port for a moment after its server stopped
_PORT_POLL_S: Final = 0.05
_MIB: Final = 1024 * 1024


class EmbeddedError(Exception):
    """A part of the one-command environment cannot work; the message says what to do."""


def choose_port(host: str = LOOPBACK) -> int:
    """A TCP port that is free now, chosen by the operating system."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: a connection in TIME_WAIT does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def require_free_port(host: str, port: int, whose: str) -> None:
    """Raises EmbeddedError naming the port when something else still listens after a moment."""
    give_up = time.monotonic() + PORT_WAIT_S
    while not port_is_free(host, port):
        if time.monotonic() > give_up:
            raise EmbeddedError(
                f"port {port} on {host}, which {whose} has used in this state directory before, "
                f"is taken by another process; stop that process (`ss -ltnp 'sport = :{port}'` "
                "names it), or use another --state-dir"
            )
        time.sleep(_PORT_POLL_S)


def require_free_disk(path: Path, need_bytes: int) -> None:
    """Raises EmbeddedError when the file system that will hold ``path`` has less than this."""
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    free_bytes = shutil.disk_usage(existing).free
    if free_bytes < need_bytes:
        raise EmbeddedError(
            f"the disk that holds {existing} has {free_bytes // _MIB} MiB free, and "
            f"{-(-need_bytes // _MIB)} MiB are needed; free some space, or put --state-dir on "
            "another disk"
        )
