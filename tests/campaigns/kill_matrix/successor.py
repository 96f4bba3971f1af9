"""The victim, started again: recovers, says what it holds, and uses the grant once more."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgspec

from tests.campaigns.kill_matrix.plan import Case
from tests.campaigns.kill_matrix.rival import compete, quiet, stop
from tests.campaigns.kill_matrix.vault import TIMES, Vault
from tests.support.authserver import Held
from vault_service.domain.attempt import UNRESOLVED, AttemptState
from vault_service.domain.errors import VaultError
from vault_service.domain.grant import Grant, GrantState

LEASE_SPAN_S = TIMES.lease_s - 0.1  # of what is left of it at a kill
RESOLVE_LIMIT_S = TIMES.lease_s + 5.0  # since the kill, at which the lease had begun
_GIVE_UP_S = 20.0  # what is late is waited for, to know whether it is only late
_USE_LIMIT_S = 15.0
_POLL_S = 0.15
_OPEN = {state.value for state in UNRESOLVED}


@dataclass(frozen=True, slots=True)
class Before:
    """The run whose victim this process follows. Times on the monotonic clock."""

    case: Case
    grant_id: uuid.UUID
    family: str
    killed_s: float
    in_danger: bool  # the last process that sent a request died before its answer was durable


async def recover(vault: Vault, before: Before, channel: BinaryIO) -> None:
    """Line by line: "resolved", what it holds then, and what it holds after one more use. It waits
    for a line after each but the last."""
    asks_after_s = before.case.asks_after_s if before.case.asks else None
    idle_s = max(0.0, before.killed_s + LEASE_SPAN_S - time.monotonic())
    at_work = asyncio.create_task(compete(vault, before.grant_id, asks_after_s, idle_s))
    resolved_at = await _resolved(vault, before, at_work)
    await stop(at_work)
    await quiet(vault)
    await _tell(channel, {"resolved_s": round(resolved_at - before.killed_s, 3)})
    row, facts = await _holding(vault, before)
    await _tell(channel, facts)
    used = row.state is not GrantState.ACTIVE or await _use(vault, row)
    await quiet(vault)
    await vault.sweep()  # it may have been resolved before the first sweep had come to its entry
    left = len(await vault.spool.left_over())
    _, facts = await _holding(vault, before)
    await _tell(channel, {**facts, "used_again": used, "spool_left": left})


async def _tell(channel: BinaryIO, facts: dict[str, Any]) -> None:
    channel.write(json.dumps(facts).encode() + b"\n")
    channel.flush()
    await asyncio.to_thread(channel.readline)


async def _resolved(vault: Vault, before: Before, at_work: asyncio.Task[None]) -> float:
    """When no attempt of it was open any more."""
    give_up = before.killed_s + _GIVE_UP_S
    pause_s = before.killed_s + LEASE_SPAN_S - time.monotonic()
    while time.monotonic() < give_up:
        if at_work.done():
            at_work.result()
        with contextlib.suppress(VaultError):
            states = [each["state"] for each in await vault.attempts_of(before.grant_id)]
            if not _OPEN.intersection(states):
                return time.monotonic()
        await asyncio.sleep(max(pause_s, _POLL_S))
        pause_s = 0.0
    return time.monotonic()


async def _holding(vault: Vault, before: Before) -> tuple[Grant, dict[str, Any]]:
    attempts = await vault.attempts_of(before.grant_id)
    row = await vault.row(before.grant_id)
    token = ""
    if row.refresh_envelope is not None:
        opened = await vault.envelopes.open(row.refresh_binding(), row.refresh_envelope)
        token = opened.reveal_text()
    retries = sum(each["retries"] for each in attempts)
    # A doubt that ended as "unchanged" is a declaration too: the next request presents it again.
    unchanged = sum(each["state"] == AttemptState.RESOLVED_UNCHANGED.value for each in attempts)
    held = Held(
        family=before.family,
        refresh_token=token,
        gave_up=row.state is GrantState.REAUTHORIZATION_REQUIRED,
        cause=row.cause.name if row.cause else "",
        generation=row.generation,
        declared_retries=unchanged + retries,
        killed_before_durable=before.in_danger,
    )
    states = [AttemptState(each["state"]).name for each in attempts]
    return row, {"held": msgspec.to_builtins(held), "retries": retries, "states": states}


async def _use(vault: Vault, row: Grant) -> bool:
    """Whether a refresh from here on makes exactly the next generation."""
    give_up = time.monotonic() + _USE_LIMIT_S
    while time.monotonic() < give_up:
        await vault.refresh(row)
        current = await vault.row(row.grant_id)
        if current.generation != row.generation:
            return current.generation == row.generation + 1
        await asyncio.sleep(_POLL_S)
    return False
