"""Hands runs to slots and collects what comes back, until there are enough or the time is over.

The last runs take their time: a class S grant whose spool was destroyed waits for it as long as
``limits.SPOOL_WAIT_S`` says. So a campaign is one long chunk, and each result is noted as it comes.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tests.campaigns.kill_matrix import ledgers
from tests.campaigns.kill_matrix.place import prepared
from tests.campaigns.kill_matrix.plan import case
from tests.campaigns.kill_matrix.slot import run_slot
from tests.campaigns.kill_matrix.vault import Place

_STUCK_S = 900.0  # of one run; no run waits for so long (``successor.Before.give_up_s``)
_LOOK_S = 30.0
# Between slots, and between their first runs: a machine that starts all at once is late for short
# graces, and before the long runs have begun there is the most to do.
_START_PAUSE_S, _ORDER_PAUSE_S = 0.3, 1.0


@dataclass(frozen=True, slots=True)
class Chunk:
    """Which: ``again``, then from run ``first`` on, at most ``runs``, none begun after ``limit_s``.

    ``again``: runs that were under way when an earlier chunk was interrupted. ``kinds`` of
    providers and ``groups`` of cases: what others would be is left out; none: all.
    """

    first: int
    runs: int
    limit_s: float
    seed: int
    slots: int = 8
    transit: bool = False
    kinds: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    again: tuple[int, ...] = ()

    def takes(self, number: int) -> bool:
        """Whether this run is wanted."""
        this = case(number, self.seed)
        kind = not self.kinds or this.provider in self.kinds
        return kind and (not self.groups or this.group in self.groups)


@dataclass(slots=True)
class _Worker:
    pid: int
    orders: socket.socket
    received: bytes = b""
    number: int | None = None
    since_s: float = 0.0


Note = Callable[[dict[str, Any], list[int]], None]


def run_chunk(chunk: Chunk, note: Note) -> dict[str, Any]:
    """What the databases and spools say at its end. Each result goes to ``note`` as it comes, with
    the runs that are under way then."""
    with prepared(chunk.slots, transit=chunk.transit) as (places, postgres):
        with _workers(places, chunk.seed) as workers:
            for result in _results(chunk, workers):
                note(result, sorted(w.number for w in workers if w.number is not None))
        return ledgers.check(postgres, places)


def _numbers(chunk: Chunk) -> Iterator[int]:
    """Those of the runs, in order."""
    end, given, number = time.monotonic() + chunk.limit_s, 0, chunk.first
    again = list(chunk.again)
    while given < chunk.runs and time.monotonic() < end:
        if not again:
            while not chunk.takes(number):
                number += 1
            again, number = [number], number + 1
        given += 1
        yield again.pop(0)


def _results(chunk: Chunk, workers: list[_Worker]) -> Iterator[dict[str, Any]]:
    numbers = _numbers(chunk)
    busy = selectors.DefaultSelector()

    def give(worker: _Worker) -> None:
        worker.number, worker.since_s = next(numbers, None), time.monotonic()
        if worker.number is not None:
            worker.orders.sendall(b"%d\n" % worker.number)

    for worker in workers:
        busy.register(worker.orders, selectors.EVENT_READ, worker)
        give(worker)
        time.sleep(_ORDER_PAUSE_S)
    while any(worker.number is not None for worker in workers):
        for key, _ in busy.select(_LOOK_S):
            worker = key.data
            worker.received += _received(worker)
            while b"\n" in worker.received:
                line, _, worker.received = worker.received.partition(b"\n")
                give(worker)
                yield json.loads(line)
        for worker in workers:
            if worker.number is not None and time.monotonic() - worker.since_s > _STUCK_S:
                busy.unregister(worker.orders)
                yield _given_up(worker)


def _given_up(worker: _Worker) -> dict[str, Any]:
    """A slot that is stuck is shown, killed with all its processes, and gets no run any more."""
    print(f"run {worker.number} is stuck; its slot is {worker.pid}", file=sys.stderr, flush=True)
    os.killpg(worker.pid, signal.SIGUSR1)  # each of its processes says where it is
    time.sleep(1.0)
    os.killpg(worker.pid, signal.SIGKILL)
    number, worker.number = worker.number, None
    assert number is not None, "only who has a run is given up"
    return stuck(number)


def stuck(number: int) -> dict[str, Any]:
    """The result of a run that came to no end: whatever is stuck, its refresh was not resolved."""
    return {"number": number, "fault": f"stuck for {_STUCK_S:g} s", "is_resolved": False}


def _received(worker: _Worker) -> bytes:
    received = worker.orders.recv(65_536)
    if not received:
        raise RuntimeError(f"the slot at work on run {worker.number} is gone")
    return received


@contextmanager
def _workers(places: list[Place], seed: int) -> Iterator[list[_Worker]]:
    workers: list[_Worker] = []
    for place in places:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            for worker in workers:
                worker.orders.close()
            ours.close()
            os.setpgid(0, 0)
            run_slot(place, seed, theirs)
        theirs.close()
        workers.append(_Worker(pid, ours))
        time.sleep(_START_PAUSE_S)
    try:
        yield workers
    except BaseException:
        for worker in workers:  # what is under way may take minutes, and nobody wants it any more
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
        raise
    finally:
        for worker in workers:
            worker.orders.close()
        for worker in workers:
            os.waitpid(worker.pid, 0)
