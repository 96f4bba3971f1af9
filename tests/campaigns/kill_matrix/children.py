"""Forked processes, killed and waited for; no loop and no thread here."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

_LIMIT_S = 30.0
_ANSWER_LIMIT_S = 600.0
_POLL_S = 0.002


class ChildError(Exception):
    """A process of the harness went another way than it should; its run says nothing."""


class Conversation:
    """A child and our end of the socket to it: JSON, one line each."""

    def __init__(self, pid: int, end: socket.socket) -> None:
        self.pid = pid
        self._end = end
        self._end.settimeout(_ANSWER_LIMIT_S)
        self._lines = end.makefile("rb")

    def say(self, what: Mapping[str, Any]) -> None:
        """One line."""
        self._end.sendall(json.dumps(what).encode() + b"\n")

    def hear(self) -> dict[str, Any]:
        """The next line. ChildError when it has ended instead."""
        line = self._lines.readline()
        if not line:
            raise ChildError("a process ended instead of answering")
        said: dict[str, Any] = json.loads(line)
        return said

    def close(self) -> None:
        """Our end."""
        self._lines.close()
        self._end.close()


def fork(main: Callable[[socket.socket], Coroutine[Any, Any, None]]) -> Conversation:
    """A child that runs ``main`` with its end of a socket, and nothing after it."""
    ours, theirs = socket.socketpair()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        theirs.close()
        return Conversation(pid, ours)
    status = 1
    try:
        ours.close()
        asyncio.run(main(theirs))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def kill(pid: int) -> None:
    """SIGKILL; a child that has ended stays until it is waited for."""
    os.kill(pid, signal.SIGKILL)


def has_ended(pid: int) -> bool:
    """Whether it has; it can be waited for still."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def status_of(pid: int) -> int:
    """Its wait status. ChildError when it goes on for too long: then it is killed."""
    give_up = time.monotonic() + _LIMIT_S
    while time.monotonic() < give_up:
        if has_ended(pid):
            return os.waitpid(pid, 0)[1]
        time.sleep(_POLL_S)
    kill(pid)
    os.waitpid(pid, 0)
    raise ChildError("a process did not end in time")


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """ChildError when it never holds."""
    give_up = time.monotonic() + _LIMIT_S
    while not condition():
        if time.monotonic() > give_up:
            raise ChildError(f"{what} never came")
        time.sleep(_POLL_S)
