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

from tests.campaigns.kill_matrix.moments import PROVIDER_BY_NAME
from tests.campaigns.kill_matrix.place import put_profile
from tests.campaigns.kill_matrix.plan import Case
from tests.campaigns.kill_matrix.rival import compete, quiet, stop
from tests.campaigns.kill_matrix.scaling import scaled
from tests.campaigns.kill_matrix.vault import Place, Vault, times_of
from tests.support.authserver import Held
from tests.support.authserver.endings import WRAPPER
from vault_service.domain import limits
from vault_service.domain.attempt import UNRESOLVED, AttemptState
from vault_service.domain.errors import VaultError
from vault_service.domain.grant import Grant, GrantState
from vault_service.domain.token_answer import TOKEN_MEMBERS

_POLL_S = (0.05, 1.0)  # rarer the longer it takes
_RARER = 0.1
_USE_LIMIT_S, _USE_POLL_S = 30.0, 0.15
_LEASE_SPAN = 0.95  # of a lease; it had begun before the kill
_GIVE_UP_S = 30.0  # of the machine
_GRACE_SLACK = 1 / 12 + 1 / 20  # of a grace: the last pause and the way of the last try
_GRACE_SLACK_S = 0.3  # of the machine: a process starts, a request gets there
_MENDED_AFTER_S = 15.0  # of a lease's end, as it ships: time to present the token once more
_OPEN = {state.value for state in UNRESOLVED}
_PATHS = {name: f"{WRAPPER}.{name}" for name in TOKEN_MEMBERS}


@dataclass(frozen=True, slots=True)
class Before:
    """The run whose victim this process follows. Times on the monotonic clock."""

    case: Case
    grant_id: uuid.UUID
    family: str
    killed_s: float
    in_danger: bool  # the last process that sent a request died before its answer was durable
    kept: bool = False  # the last process that sent a request kept its answer
    outage_end_s: float = 0.0
    sent_s: float = 0.0  # before the first request, 0: none
    alive_s: float = 0.0  # from then on somebody can recover

    @property
    def grace_missed(self) -> bool:
        """Class G: nobody could have asked the provider before the grace was over."""
        if not self.case.grace_s or not self.sent_s:
            return False
        grace_s = scaled(self.case.grace_s)
        could_s = max(self.alive_s, self.outage_end_s) + grace_s * _GRACE_SLACK + _GRACE_SLACK_S
        return could_s > self.sent_s + grace_s

    @property
    def lease_s(self) -> float:
        """Of the victim."""
        return times_of(self.case.provider).lease_s

    @property
    def idle_until_s(self) -> float:
        """Nothing can be found before."""
        return self.killed_s + self.lease_s * _LEASE_SPAN

    @property
    def give_up_s(self) -> float:
        """What is late is waited for, to know whether it is only late."""
        spool_s = limits.SPOOL_WAIT_S if self.case.spool_destroyed else 0.0
        waits_s = limits.IN_DOUBT_RETRY_MAX_S + limits.CONFIRM_AFTER_S + scaled(_MENDED_AFTER_S)
        from_s = max(self.killed_s + self.lease_s, self.outage_end_s)
        return from_s + spool_s + waits_s + _GIVE_UP_S


async def recover(vault: Vault, place: Place, before: Before, channel: BinaryIO) -> None:
    """Line by line: "resolved", what it holds then, and what it holds after one more use. It waits
    for a line after each but the last."""
    asks_after_s = before.case.asks_after * before.lease_s if before.case.asks else None
    idle_s = max(0.0, before.idle_until_s - time.monotonic())
    at_work = asyncio.create_task(compete(vault, before.grant_id, asks_after_s, idle_s))
    mending = asyncio.create_task(_mend(vault, place, before))
    resolved_at = await _resolved(vault, before, at_work)
    mending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await mending
    await stop(at_work)
    await quiet(vault)
    facts = {"resolved_s": resolved_at and round(resolved_at - before.killed_s, 3)}
    await _tell(channel, facts)
    if before.case.is_unread:
        await put_profile(place, vault.database, PROVIDER_BY_NAME[before.case.provider])
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


async def _mend(vault: Vault, place: Place, before: Before) -> None:
    """An answer that nobody can read is there for as long as it takes an operator to see it."""
    if not before.case.is_unread:
        return
    mended_s = before.killed_s + before.lease_s + scaled(_MENDED_AFTER_S)
    await asyncio.sleep(max(0.0, mended_s - time.monotonic()))
    provider = PROVIDER_BY_NAME[before.case.provider]
    await put_profile(place, vault.database, provider, token_paths=_PATHS)


async def _resolved(vault: Vault, before: Before, at_work: asyncio.Task[None]) -> float:
    """When no attempt of it was open any more; 0: never."""
    await asyncio.sleep(max(0.0, before.idle_until_s - time.monotonic()))
    while (now := time.monotonic()) < before.give_up_s:
        if at_work.done():
            at_work.result()
        with contextlib.suppress(VaultError):
            states = [each["state"] for each in await vault.attempts_of(before.grant_id)]
            if not _OPEN.intersection(states):
                return time.monotonic()
        least, most = _POLL_S
        await asyncio.sleep(min(most, max(least, (now - before.killed_s) * _RARER)))
    return 0.0


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
        grace_missed=before.grace_missed,
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
        await asyncio.sleep(_USE_POLL_S)
    return False
