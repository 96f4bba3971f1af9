"""Looks for exchanges of codes whose process died, and gives each the outcome its spool tells.

Only a process that holds the spool can: without it the claim keeps its state spent, and who asks
is told so. No code is presented here.
"""

from __future__ import annotations

import asyncio
from functools import partial

from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.attempt import SpoolEntry, SpoolKind, SpoolMark
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import VaultError
from vault_service.domain.names import OAuthClientName
from vault_service.domain.oauth import Authorization
from vault_service.ports import AuthorizationStore, Spool
from vault_service.usecases.flights import Flights
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.settle_consent import SettleConsent, exchange_facts


class RecoverConsents:
    """One look at what is left over; each exchange in a flight of its own."""

    def __init__(
        self,
        *,
        authorizations: AuthorizationStore,
        spool: Spool,
        settle: SettleConsent,
        recorder: Recorder,
        flights: Flights,
    ) -> None:
        self._authorizations = authorizations
        self._spool = spool
        self._settle = settle
        self._recorder = recorder
        self._flights = flights

    async def __call__(self, call: Call) -> int:
        """How many were tried. One that has no outcome yet is due again with the next look."""
        left = await self._spool.left_over()
        entries = [entry for entry in left if entry.kind is SpoolKind.CONSENT]
        due = entries[: limits.ATTEMPT_BATCH_MAX]
        await asyncio.gather(*(self._in_flight(call, entry) for entry in due))
        return len(due)

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
        # Else it says nothing that the database does not know: another claim has the state by
        # now, there is an outcome, or nobody can ask for the authorization any more.
        await self._spool.free(entry)

    async def _settled(self, call: Call, found: Authorization, entry: SpoolEntry) -> None:
        if entry.mark is SpoolMark.RESERVED:
            record = self._recorder.done(
                call,
                AuditAction.CODE_EXCHANGE_GIVEN_BACK,
                found.tenant,
                str(OAuthClientName(found.tenant, found.oauth_client)),
                detail={**exchange_facts(found), "why": "nothing was sent"},
            )
            await self._authorizations.give_back(found, entry.attempt_id, record)
        elif entry.envelope is None:
            await self._settle.end_unknown(call, found)
        else:
            await self._settle.reread(call, None, found, entry.envelope)


def _is_open(authorization: Authorization) -> bool:
    return authorization.grant_id is None and authorization.ending is None
