"""Hands runs to slots and collects what comes back, until there are enough or the time is over."""

from __future__ import annotations

import json
import os
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.campaigns.kill_matrix import ledgers
from tests.campaigns.kill_matrix.place import prepared
from tests.campaigns.kill_matrix.plan import case
from tests.campaigns.kill_matrix.slot import run_slot
from tests.campaigns.kill_matrix.vault import Place

_WAIT_S = 600.0  # a slot that says nothing for so long is stuck


@dataclass(frozen=True, slots=True)
class Chunk:
    """Which: from run ``first`` on, at most ``runs`` of them, none begun after ``limit_s``.

    ``kinds`` of providers and ``groups`` of cases: what others would be is left out; none: all.
    """

    first: int
    runs: int
    limit_s: float
    seed: int
    slots: int = 8
    transit: bool = False
    kinds: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()

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


def run_chunk(
    chunk: Chunk, note: Callable[[dict[str, Any]], None]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The results of its runs, and what the databases and spools say at its end."""
    results: list[dict[str, Any]] = []
    with prepared(chunk.slots, transit=chunk.transit) as (places, postgres):
        with _workers(places, chunk.seed) as workers:
            for result in _results(chunk, workers):
                results.append(result)
                note(result)
        found = ledgers.check(postgres, places)
    return results, found


def _results(chunk: Chunk, workers: list[_Worker]) -> Iterator[dict[str, Any]]:
    number, given, end = chunk.first, 0, time.monotonic() + chunk.limit_s
    busy = selectors.DefaultSelector()

    def give(worker: _Worker) -> None:
        nonlocal number, given
        worker.number = None
        while not chunk.takes(number):
            number += 1
        if given < chunk.runs and time.monotonic() < end:
            worker.number = number
            worker.orders.sendall(b"%d\n" % number)
            number, given = number + 1, given + 1

    for worker in workers:
        busy.register(worker.orders, selectors.EVENT_READ, worker)
        give(worker)
    while any(worker.number is not None for worker in workers):
        ready = busy.select(_WAIT_S)
        if not ready:
            stuck = [worker.number for worker in workers]
            raise RuntimeError(f"nothing came for {_WAIT_S:g} s; under way: {stuck}")
        for key, _ in ready:
            worker = key.data
            worker.received += _received(worker)
            while b"\n" in worker.received:
                line, _, worker.received = worker.received.partition(b"\n")
                yield json.loads(line)
                give(worker)


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
            run_slot(place, seed, theirs)
        theirs.close()
        workers.append(_Worker(pid, ours))
    try:
        yield workers
    finally:
        for worker in workers:
            worker.orders.close()
        for worker in workers:
            os.waitpid(worker.pid, 0)
