"""What a process had reached when it was killed: a few numbers in memory that it shares."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import time

from tests.campaigns.kill_matrix.moments import MOMENTS

STARTED, POSTED, SPOOLED, COMMITTED, ENDED = "started", "posted", "spooled", "committed", "ended"
_MARKS = (STARTED, POSTED, SPOOLED, COMMITTED, ENDED)
_INDEX = {name: at for at, name in enumerate((*_MARKS, *(m.name for m in MOMENTS)))}
_CELL = struct.Struct("d")


class Life:
    """Moments of one process's life, on CLOCK_MONOTONIC. Made before the fork.

    ``reach`` notes a moment, and kills the process where it is its ``target``.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _CELL.size * len(_INDEX))
        self.target = ""
        self.post_limit_s = 0.0

    def begin(self) -> None:
        """Forget everything: another life begins, or a process's next task."""
        self._memory[:] = bytes(len(self._memory))

    def reach(self, moment: str) -> None:
        """It has come to this moment."""
        if moment in _INDEX:
            self.mark(moment)
        if moment == self.target:
            die()

    def mark(self, name: str) -> None:
        """Now; the last time counts."""
        _CELL.pack_into(self._memory, _INDEX[name] * _CELL.size, time.monotonic())

    def at(self, name: str) -> float:
        """When, 0: never."""
        moment: float = _CELL.unpack_from(self._memory, _INDEX[name] * _CELL.size)[0]
        return moment

    @property
    def is_started(self) -> bool:
        """Its refresh or recovery has begun."""
        return self.at(STARTED) > 0

    def last_moment(self) -> str:
        """The last moment that it came to, "" for none."""
        reached = [(self.at(moment.name), moment.name) for moment in MOMENTS]
        latest = max(reached)
        return latest[1] if latest[0] else ""

    def window_ms(self) -> float:
        """From the answer's first byte to the first acknowledged sync or commit; 0: not both."""
        came, kept = self.at("k5.first"), [self.at(SPOOLED), self.at(COMMITTED)]
        acknowledged = [moment for moment in kept if moment]
        return (min(acknowledged) - came) * 1_000 if came and acknowledged else 0.0

    def left_in_danger(self, *, with_spool: bool) -> bool | None:
        """Whether it sent a request and died before anything of the answer was durable.

        None: it sent nothing. An acknowledged sync or commit counts, and nothing else.
        """
        posted = self.at(POSTED)
        if not posted:
            return None
        kept = max(self.at(COMMITTED), self.at(SPOOLED) if with_spool else 0.0)
        return kept < posted


def die() -> None:
    """SIGKILL to this process; nothing of it runs any more."""
    os.kill(os.getpid(), signal.SIGKILL)
