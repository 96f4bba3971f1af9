"""ListAttempts, GetAttempt, ResolveAttempt: the way out where only a person can tell."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from vault_service.domain.access import Call, Decision, Permission
from vault_service.domain.answer_rules import media_type
from vault_service.domain.answers import TokenEndpointError
from vault_service.domain.attempt import (
    UNRESOLVED,
    AttemptAction,
    AttemptFilter,
    RefreshAttempt,
)
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant
from vault_service.domain.http_answer import AnswerCorruptError
from vault_service.domain.names import AttemptName, OAuthClientName
from vault_service.domain.refresh_times import RefreshTimes
from vault_service.domain.token_answer import read_refresh
from vault_service.ports import AttemptStore, AuditLog, Clock, GrantStore, Page
from vault_service.ports.attempts import AttemptRegister, ListedAttempt
from vault_service.usecases.credentials import Credentials
from vault_service.usecases.flights import Flights
from vault_service.usecases.gate import Gate, tenant_resource
from vault_service.usecases.kept_answers import KeptAnswers
from vault_service.usecases.ordered_attempts import OrderedAttempts, not_possible
from vault_service.usecases.recorder import Recorder, shown

_STAYS = frozenset({Reason.REFRESH_IN_DOUBT, Reason.REAUTHORIZATION_REQUIRED})
"""Refusals that the attempt itself tells: callers see how it stands."""


@dataclass(frozen=True, slots=True)
class Received:
    """What was kept of an answer, without its content."""

    status: int
    length: int
    media_type: str
    why: str  # it cannot be read; "" where it can
    oddity: str


class Attempts:
    """What operators do with refresh attempts."""

    def __init__(
        self,
        *,
        gate: Gate,
        register: AttemptRegister,
        attempts: AttemptStore,
        grants: GrantStore,
        credentials: Credentials,
        kept: KeptAnswers,
        ordered: OrderedAttempts,
        audit: AuditLog,
        recorder: Recorder,
        flights: Flights,
        clock: Clock,
        times: RefreshTimes,
    ) -> None:
        self._gate = gate
        self._register = register
        self._attempts = attempts
        self._grants = grants
        self._credentials = credentials
        self._kept = kept
        self._ordered = ordered
        self._audit = audit
        self._recorder = recorder
        self._flights = flights
        self._clock = clock
        self._times = times

    async def list(
        self,
        call: Call,
        tenant: str,
        which: AttemptFilter,
        provider: str,
        page_size: int,
        page_token: str,
    ) -> Page[ListedAttempt]:
        """One page, oldest first."""
        await self._enter(call, tenant, Permission.LIST_ATTEMPTS)
        return await self._register.list(tenant, which, provider, page_size, page_token)

    async def get(self, call: Call, name: AttemptName) -> tuple[ListedAttempt, Received | None]:
        """With what is known of its kept answer. ATTEMPT_NOT_FOUND."""
        await self._enter(call, name.tenant, Permission.GET_ATTEMPT)
        return await self._shown(name)

    async def resolve(
        self, call: Call, name: AttemptName, action: AttemptAction, etag: str, reason: str
    ) -> tuple[ListedAttempt, Received | None]:
        """The attempt as it stands after the order. ATTEMPT_NOT_FOUND, ETAG_MISMATCH,
        ATTEMPT_MOVED_ON, ATTEMPT_ACTION_NOT_POSSIBLE, and what presenting raises."""
        decision = await self._enter(call, name.tenant, Permission.RESOLVE_ATTEMPT)
        listed = await self._find(name)
        if etag not in ("", listed.etag):
            raise VaultError(
                Reason.ETAG_MISMATCH, "the attempt has changed; read it again, then decide"
            )
        _require_possible(listed.attempt, action)
        await self._on_record(call, name, listed, action, reason, decision)
        key = ("refresh", name.tenant, listed.attempt.grant_id)
        if self._flights.holds(key):
            raise _moved_on()
        try:
            work = partial(self._carry_out, call, listed.attempt, action)
            if not await self._flights.join(key, work, call.deadline):
                raise VaultError(
                    Reason.REFRESH_IN_PROGRESS, "the order goes on; read the attempt in a moment"
                )
        except VaultError as fault:
            if fault.reason not in _STAYS:
                raise
        return await self._shown(name)

    async def _carry_out(self, call: Call, seen: RefreshAttempt, action: AttemptAction) -> None:
        asked = self._clock.monotonic()
        lease_s = self._times.for_attempt(seen).lease_s
        taken = await self._attempts.take_ordered(seen, lease_s)
        if taken is None:
            raise _moved_on()
        lease, attempt = taken
        if _standing(attempt) != _standing(seen):
            await self._attempts.release(lease, attempt.tenant)
            raise _moved_on()
        await self._ordered(call, lease, attempt, action, asked)

    async def _on_record(
        self,
        call: Call,
        name: AttemptName,
        listed: ListedAttempt,
        action: AttemptAction,
        reason: str,
        decision: Decision,
    ) -> None:
        facts = {
            "action": action.name,
            "grant": str(listed.attempt.grant),
            "state": listed.attempt.state.name,
            "why": shown(reason),
        }
        record = self._recorder.done(
            call,
            AuditAction.ATTEMPT_RESOLUTION_ORDERED,
            name.tenant,
            str(name),
            decision=decision,
            detail=facts,
        )
        await self._audit.append(record)

    async def _find(self, name: AttemptName) -> ListedAttempt:
        listed = await self._register.get(name.tenant, name.attempt_id)
        if listed is None:
            raise VaultError(
                Reason.ATTEMPT_NOT_FOUND,
                "no such attempt; ended ones are forgotten after a week",
            )
        return listed

    async def _shown(self, name: AttemptName) -> tuple[ListedAttempt, Received | None]:
        listed = await self._find(name)
        grant = await self._grants.get(listed.attempt.grant)
        if grant is None or listed.attempt.orphan_envelope is None:
            return listed, None
        return listed, await self._received(listed.attempt, grant, listed.attempt.orphan_envelope)

    async def _received(self, attempt: RefreshAttempt, grant: Grant, envelope: bytes) -> Received:
        try:
            raw = await self._kept.opened(grant, attempt.base_generation, envelope)
        except VaultError as error:
            # No reason to hide what an order has just done.
            corrupt = error.reason is Reason.ENVELOPE_CORRUPT
            why = "not what was sealed" if corrupt else "the key service is away; look again"
            return Received(0, 0, "", why, "")
        except AnswerCorruptError:
            return Received(0, 0, "", "kept in a format that this release does not know", "")
        client = OAuthClientName(grant.tenant, grant.oauth_client)
        _, provider = await self._credentials.find(client)
        why = ""
        try:
            read_refresh(raw, provider.profile, None)
        except TokenEndpointError as error:
            why = error.detail or "no tokens where the profile looks for them"
        body = raw.body.reveal()
        return Received(raw.status, len(body), media_type(raw), why, raw.refusal)

    async def _enter(self, call: Call, tenant: str, permission: Permission) -> Decision:
        await self._gate.enter(call, tenant)
        return self._gate.require(call, permission, tenant_resource(tenant))


def _standing(attempt: RefreshAttempt) -> tuple[object, ...]:
    """What an operator has decided upon."""
    return (attempt.state, attempt.retries, attempt.orphan_envelope, attempt.waits_for)


def _require_possible(attempt: RefreshAttempt, action: AttemptAction) -> None:
    kept = attempt.orphan_envelope is not None
    if action is AttemptAction.REREAD:
        if not kept:
            raise not_possible("no answer of it is kept")
    elif attempt.state not in UNRESOLVED:
        raise not_possible("it has ended")


def _moved_on() -> VaultError:
    return VaultError(
        Reason.ATTEMPT_MOVED_ON,
        "somebody is at work on the attempt, or it has moved on; read it again, then decide",
    )
