"""A process and its descendants, as /proc shows them; signals to all of them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import defaultdict
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_STOP_LIMIT_S: Final = 5.0
_POLL_S: Final = 0.005
_ROUNDS_MAX: Final = 20  # a stopped parent forks no more, so two or three are enough


def descendants(pid: int) -> list[int]:
    """The pids of all children, their children, and so on; parents before children."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                # The name stands in brackets and may hold anything; the parent is second after it.
                fields = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
                children[int(fields[1])].append(int(entry.name))
    found: list[int] = []
    wave = children[pid]
    while wave:
        found += wave
        wave = [child for parent in wave for child in children[parent]]
    return found


def stop_all(pid: int) -> list[int]:
    """SIGSTOP to a process and all its descendants; returns the pids, the process first."""
    send(pid, signal.SIGSTOP)
    stopped = [pid]
    for _ in range(_ROUNDS_MAX):
        news = [child for child in descendants(pid) if child not in stopped]
        if not news:
            break
        for child in news:
            send(child, signal.SIGSTOP)
        stopped += news
    # The signal is on its way: a process on another core may run on for a moment.
    give_up = time.monotonic() + _STOP_LIMIT_S
    while time.monotonic() < give_up and any(_runs(known) for known in stopped):
        time.sleep(_POLL_S)
    return stopped


def _runs(pid: int) -> bool:
    """Whether it is neither stopped nor gone."""
    try:
        state = (_PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2]
    except OSError:
        return False
    return state.split()[0] not in ("T", "t", "Z", "X")


def continue_all(pid: int) -> None:
    """SIGCONT to all of them, the process itself last, so that it finds its children running."""
    for one in [*descendants(pid), pid]:
        send(one, signal.SIGCONT)


def kill_all(pid: int) -> None:
    """SIGKILL to all of them at one moment: stopped first, so that nothing is forked meanwhile."""
    for one in stop_all(pid):
        send(one, signal.SIGKILL)


def send(pid: int, number: int) -> None:
    """Send a signal; a process that is gone is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
