"""A fork server: one victim at a time, in a database and folder of its own.

It has imported everything and made nothing that a fork would tear: no loop, thread, gRPC object or
connection to a database. Its parent sends the numbers of runs, one a line, and gets one JSON line
for each.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import shutil
import signal
import socket
import time
import traceback
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from tests.campaigns.kill_matrix.children import (
    ChildError,
    Conversation,
    fork,
    has_ended,
    kill,
    status_of,
    wait_until,
)
from tests.campaigns.kill_matrix.doubles import double_posts
from tests.campaigns.kill_matrix.life import Life
from tests.campaigns.kill_matrix.plan import RANDOM, WARM_UP, Case, case
from tests.campaigns.kill_matrix.rival import live
from tests.campaigns.kill_matrix.scaling import scaled
from tests.campaigns.kill_matrix.scripts import script, script_outage
from tests.campaigns.kill_matrix.successor import Before
from tests.campaigns.kill_matrix.vault import Place
from tests.campaigns.kill_matrix.victim import MISSED, Birth, live_and_die
from tests.support.authserver import Held, Issued, RemoteAuthServer
from vault_service.adapters.clock import SystemEntropy
from vault_service.telemetry import configure_logging

_RIVALS = 2


class Slot:
    """``orders``: our end of the socket to the parent."""

    def __init__(self, place: Place, seed: int, orders: socket.socket) -> None:
        self._place = place
        self._seed = seed
        self._orders = orders
        self._folder = Path(place.folder)
        self._spools = self._folder / "victim"
        self._server = RemoteAuthServer(Path(place.provider_port_file))
        self._http = place.http()
        self._life = Life()
        self._entropy = SystemEntropy()
        self._rivals: list[Conversation] = []
        self._process: Conversation | None = None  # the successor of the run before

    def serve(self) -> None:
        """Until the parent hangs up."""
        configure_logging("error", json=False)
        faulthandler.register(signal.SIGUSR1)  # of its children too
        gc.freeze()
        for number in range(_RIVALS):
            name = f"rival-{number}"
            folder = self._folder / name
            self._rivals.append(fork(partial(live, self._place, name, folder, self._http)))
        with contextlib.suppress(ChildError):
            self._run(WARM_UP)  # counts for nothing: the first one meets cold servers
        for line in self._orders.makefile("r"):
            number = int(line)
            started = time.monotonic()
            try:
                result = self._run(case(number, self._seed))
            except Exception as error:
                traceback.print_exc()
                result = {"number": number, "fault": f"{type(error).__name__}: {error}"}
                self._kill_process()
            result["took_s"] = round(time.monotonic() - started, 3)
            self._orders.sendall(json.dumps(result).encode() + b"\n")
        self._end_process()
        for rival in self._rivals:
            rival.close()
        for rival in reversed(self._rivals):  # a later one has the end of an earlier one too
            status_of(rival.pid)

    def _run(self, case: Case) -> dict[str, Any]:
        (issued,) = self._server.new_families(1, realm=case.provider)
        before = Before(case, self._entropy.uuid7(), issued.family, 0.0, False)
        outage_end_s = script(self._server, case, issued.family)
        if case.rivals_first:
            self._compete(before, 0.0, 0.0)
        died_at = self._kill_victim(before, issued)
        window_ms = round(self._life.window_ms(), 1)
        danger = self._danger(case)
        before = replace(
            before,
            killed_s=time.monotonic(),
            in_danger=danger is True,
            kept=danger is False,
            sent_s=self._life.at("k2.before"),
            outage_end_s=outage_end_s or script_outage(self._server, case, issued.family),
        )
        if not case.rivals_first:
            idle_s = max(0.0, before.idle_until_s - time.monotonic())
            self._compete(before, case.asks_after * before.lease_s, idle_s)
        if case.spool_destroyed:
            shutil.rmtree(self._spools, ignore_errors=True)
        time.sleep(scaled(case.restart_s))
        if case.again_at:
            before = self._kill_successor(before)
        before = replace(before, alive_s=before.killed_s)
        outcome = self._recover(before)
        return {
            **asdict(case),
            "point": case.point,
            "refresh_class": case.refresh_class,
            "died_at": died_at,
            "in_danger": before.in_danger,
            "window_ms": window_ms,
            **outcome,
        }

    def _danger(self, case: Case) -> bool | None:
        return self._life.left_in_danger(with_spool=not case.spool_destroyed)

    def _compete(self, before: Before, after_s: float, idle_s: float) -> None:
        if before.case.replicas == 1:
            return
        for rival, asks in zip(self._rivals, (after_s, None), strict=True):
            rival.say({"grant": str(before.grant_id), "asks": asks, "idle": idle_s})

    def _kill_victim(self, before: Before, issued: Issued) -> str:
        """The latest moment that it had come to."""
        case, life = before.case, self._life
        process = self._process or self._born(None)
        self._process = None
        life.begin()
        order = {"case": asdict(case), "grant": str(before.grant_id), "family": issued.family}
        tokens = {"access_token": issued.access_token, "refresh_token": issued.refresh_token}
        process.say(order | tokens)
        if case.moment == RANDOM:
            wait_until(lambda: life.is_started or has_ended(process.pid), "the victim's start")
            time.sleep(case.at_s)
            kill(process.pid)
        status = status_of(process.pid)
        process.close()
        last = life.last_moment()
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == MISSED:
            raise ChildError(f"{case.moment} never came, the last was {last}")
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            raise ChildError(f"the victim ended {status} after {last}")
        return last

    def _kill_successor(self, before: Before) -> Before:
        process = self._born(before)
        wait_until(lambda: self._life.is_started or has_ended(process.pid), "a successor's start")
        time.sleep(before.case.again_at * before.lease_s)
        kill(process.pid)
        status_of(process.pid)
        process.close()
        killed_s, danger = time.monotonic(), self._danger(before.case)
        return replace(
            before,
            killed_s=killed_s,
            in_danger=before.in_danger if danger is None else danger,
            kept=before.kept if danger is None else not danger,
            sent_s=before.sent_s or self._life.at("k2.before"),
        )

    def _recover(self, before: Before) -> dict[str, Any]:
        process = self._process = self._born(before)
        resolved_s = process.hear()["resolved_s"]
        if before.case.replicas > 1:
            for rival in self._rivals:
                rival.say({})
                rival.hear()
        process.say({})
        then = process.hear()
        self._server.clear_rules(before.family)
        held = msgspec.convert(then["held"], Held)
        (first,) = self._server.judge([held])
        process.say({})
        later = process.hear()
        (second,) = self._server.judge([msgspec.convert(later["held"], Held)])
        process.say({})
        entries = self._server.entries(kind="refresh_token", families=[before.family])
        doubles = double_posts(entries, before)
        return {
            "verdict": first.verdict.value,
            "why": first.why,
            "resolved_s": resolved_s,
            "is_resolved": resolved_s > 0,
            "gave_up": held.gave_up,
            "cause": held.cause,
            "generation": held.generation,
            "grace_missed": held.grace_missed,
            "retries": then["retries"],
            "states": then["states"],
            "used_again": later["used_again"],
            "spool_left": later["spool_left"],
            "verdict_after_use": second.verdict.value,
            "double_posts": len({*first.double_posts, *second.double_posts, *doubles}),
        }

    def _born(self, before: Before | None) -> Conversation:
        self._life.begin()
        birth = Birth(self._place, self._spools, self._http, self._life, before)
        return fork(lambda end: live_and_die(birth, end))

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.close()
            status_of(self._process.pid)
            self._process = None

    def _kill_process(self) -> None:
        if self._process is not None:
            kill(self._process.pid)
        self._end_process()


def run_slot(place: Place, seed: int, orders: socket.socket) -> None:
    """The whole life of a fork server's process."""
    status = 1
    try:
        Slot(place, seed, orders).serve()
        status = 0
    except (KeyboardInterrupt, BrokenPipeError, ConnectionResetError):
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
