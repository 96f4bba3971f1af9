"""Gives exchanges of codes the outcome that their kept answers tell; no code is presented here.

Those whose process died have it in a spool, and only a process that holds that can read it: without
it the claim keeps its state spent, and who asks is told so. An answer that could not be read lies
in the row, and any process reads it again once the provider's profile or the reader is another.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import Counter
from collections.abc import Sequence
from functools import partial

from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.attempt import SpoolEntry, SpoolKind, SpoolMark
from vault_service.domain.audit import AuditAction, AuditRecord
from vault_service.domain.consent import authorization_name
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.oauth import Authorization
from vault_service.ports import AuditLog, AuthorizationStore, KeptConsents, Spool
from vault_service.usecases.flights import Flights
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.settle_consent import SettleConsent


class RecoverConsents:
    """One look at what is left over; each exchange in a flight of its own."""

    def __init__(
        self,
        *,
        authorizations: AuthorizationStore,
        kept: KeptConsents,
        spool: Spool,
        settle: SettleConsent,
        audit: AuditLog,
        recorder: Recorder,
        flights: Flights,
    ) -> None:
        self._authorizations = authorizations
        self._kept = kept
        self._spool = spool
        self._settle = settle
        self._audit = audit
        self._recorder = recorder
        self._flights = flights
        self._look = 0
        self._tried: dict[uuid.UUID, int] = {}  # in which look each entry was tried last

    async def __call__(self, call: Call) -> int:
        """How many were tried. One that has no outcome yet is due again with the next look."""
        kept = await self._due()
        left = await self._spool.left_over()
        entries = [entry for entry in left if entry.kind is SpoolKind.CONSENT]
        due = self._in_turn(entries)
        tried = [self._in_flight(call, entry) for entry in due]
        tried += [self._reread(call, row, envelope) for row, envelope in kept]
        for outcome in await asyncio.gather(*tried, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome  # a fault of ours, which kept none of the others from its outcome
        return len(tried)

    async def _due(self) -> list[tuple[Authorization, bytes]]:
        try:
            due = await self._kept.due(limits.ATTEMPT_BATCH_MAX)
        except VaultError:
            return []  # the database is away
        newest = _newest_first(due)
        return [(row, row.answer_envelope) for row in newest if row.answer_envelope is not None]

    async def _reread(self, call: Call, row: Authorization, envelope: bytes) -> None:
        """In the flight that completions of this state read it in too."""

        async def read() -> None:
            await self._settle.reread(call, None, row, envelope)

        key = ("complete", row.tenant, row.state_hash)
        with contextlib.suppress(VaultError):  # the database or the key store is away
            await self._flights.join(key, read, call.deadline)

    def _in_turn(self, entries: Sequence[SpoolEntry]) -> list[SpoolEntry]:
        """One batch: those that were never tried, then those tried longest ago, and tenants take
        turns. So entries that have no outcome do not keep those behind them waiting, and no
        tenant's many keep another's few."""
        self._look += 1
        self._tried = {entry.attempt_id: self._tried.get(entry.attempt_id, 0) for entry in entries}
        seen: Counter[str] = Counter()
        turns: list[tuple[int, SpoolEntry]] = []
        for entry in sorted(entries, key=lambda entry: self._tried[entry.attempt_id]):
            turns.append((seen[entry.tenant], entry))
            seen[entry.tenant] += 1
        by_turn = [entry for _, entry in sorted(turns, key=lambda turn: turn[0])]
        due = by_turn[: limits.ATTEMPT_BATCH_MAX]
        self._tried |= {entry.attempt_id: self._look for entry in due}
        return due

    async def _in_flight(self, call: Call, entry: SpoolEntry) -> None:
        key = ("consent", entry.tenant, entry.attempt_id)
        try:
            await self._flights.join(key, partial(self._resolve, call, entry), call.deadline)
        except VaultError:
            return  # the database or the key store is away

    async def _resolve(self, call: Call, entry: SpoolEntry) -> None:
        found = await self._authorizations.find_by_id(entry.tenant, entry.grant_id)
        if found is not None and found.claim_id == entry.attempt_id and _is_open(found):
            await self._settled(call, found, entry)
        elif found is None and entry.envelope is not None:
            await self._audit.append(self._forgotten(call, entry))
        # Else it says nothing that the database does not know: another claim has the state by
        # now, there is an outcome, or nobody can ask for the authorization any more.
        await self._spool.free(entry)

    def _forgotten(self, call: Call, entry: SpoolEntry) -> AuditRecord:
        """What its answer was to be read with has gone: its tokens, if any, live on unrevoked."""
        error = VaultError(
            Reason.AUTHORIZATION_CODE_USED,
            "the answer was found after its authorization was forgotten",
            recorded={
                "why": "found after its authorization was forgotten; tokens in it are not revoked",
                "kept": "nothing",
                "authorization": str(entry.grant_id),
            },
        )
        resource = authorization_name(entry.tenant, entry.grant_id)
        action = AuditAction.AUTHORIZATION_ENDED
        return self._recorder.failed(call, action, error, entry.tenant, resource)

    async def _settled(self, call: Call, found: Authorization, entry: SpoolEntry) -> None:
        if entry.mark is SpoolMark.RESERVED:
            await self._settle.give_back(call, found, {"why": "nothing was sent"})
        elif entry.envelope is None:
            await self._settle.end_unknown(call, found)
        else:
            await self._settle.reread(call, None, found, entry.envelope)


def _newest_first(due: Sequence[Authorization]) -> list[Authorization]:
    """Of an owner's answers under one label the newest claim's: it makes the others, which are due
    again with the next look, worth nothing."""
    newest: dict[tuple[str, str, str, str], Authorization] = {}
    for row in sorted(due, key=lambda row: row.claim_time or row.read_time):
        newest[row.tenant, row.owner, row.label, row.oauth_client] = row
    return list(newest.values())


def _is_open(authorization: Authorization) -> bool:
    return authorization.grant_id is None and authorization.ending is None
