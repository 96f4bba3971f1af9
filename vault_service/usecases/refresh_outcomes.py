"""What becomes of an attempt that brought no tokens, by the class of the answer.

Nobody is condemned but by a refusal of the grant itself, at the generation that was presented,
and for the classes whose refresh tokens die of use only when it is repeated later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn

from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.answers import AnswerClass, Counted, Fault, TokenEndpointError
from vault_service.domain.attempt import UNRESOLVED, AttemptState, RefreshAttempt, WaitsFor
from vault_service.domain.audit import AuditAction, AuditRecord
from vault_service.domain.blame import may_be_the_grants
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant, Lease, ReauthorizationCause
from vault_service.domain.provider import ProviderProfile, RefreshClass
from vault_service.domain.refresh_times import grace_pace_s
from vault_service.ports import AttemptStore, AuditLog, Ending, GrantStore
from vault_service.usecases.provider_faults import refusal, waiting
from vault_service.usecases.recorder import Recorder


@dataclass(frozen=True, slots=True)
class Attempted:
    """One attempt under its lease, and the row it began with.

    ``in_doubt``: an earlier request of it may have counted, so no answer but tokens or a refusal
    of the grant settles it.
    """

    lease: Lease
    attempt: RefreshAttempt
    grant: Grant
    profile: ProviderProfile
    in_doubt: bool = False
    revision: int = 0  # of the provider whose profile this is

    @property
    def keeps_its_token(self) -> bool:
        """Whether the refresh token is as good after a request as before it."""
        return self.attempt.refresh_class in (RefreshClass.N, RefreshClass.M)

    @property
    def may_be_probed(self) -> bool:
        """Whether the provider can tell, without a presentation, that the old token lives."""
        expire_time = self.grant.access_expire_time
        lives = expire_time is not None and expire_time > self.lease.acquire_time
        kills, probe = self.profile.refresh_kills_old_access_token, self.profile.probe_endpoint
        return bool(self.profile.introspection_endpoint or (kills and probe and lives))


class RefreshOutcomes:
    """Writes it down and raises what callers are told."""

    def __init__(
        self, *, grants: GrantStore, attempts: AttemptStore, audit: AuditLog, recorder: Recorder
    ) -> None:
        self._grants = grants
        self._attempts = attempts
        self._audit = audit
        self._recorder = recorder

    async def failed(self, call: Call, tried: Attempted, error: TokenEndpointError) -> None:
        """Ends the attempt as its answer says. Returns only where the grant has moved on;
        raises ``refusal(error)`` else."""
        if error.answer_class is AnswerClass.INVALID_GRANT:
            await self._refused(call, tried, refusal(error))
            return
        if error.answer_class is AnswerClass.UNREADABLE_SUCCESS and not tried.keeps_its_token:
            # What was asked came: only somebody who can read it goes on from here.
            await self.wait_for(call, tried, WaitsFor.PROFILE, error)
        fault = refusal(error)
        ending = _ending(tried, error, fault)
        if ending.state is AttemptState.IN_DOUBT:
            fault.retry_after_s = _told_s(ending)
        await self._end(call, tried, ending, fault)
        raise fault

    async def not_sent(self, call: Call, tried: Attempted, fault: VaultError) -> None:
        """Something of ours failed before the request: the grant is as it was. Raises ``fault``."""
        state = AttemptState.IN_DOUBT if tried.in_doubt else AttemptState.NOT_SENT
        pause_s = doubt_pause_s(tried.attempt) if tried.in_doubt else 0.0
        await self._end(call, tried, Ending(state, fault.reason.name, pause_s), fault)
        raise fault

    async def dead(self, call: Call, tried: Attempted, how: str) -> None:
        """The provider said, unasked for tokens, that the presented refresh token is dead: as a
        refusal."""
        error = TokenEndpointError(AnswerClass.INVALID_GRANT, detail=how)
        await self._refused(call, tried, refusal(error))

    async def unchanged(self, call: Call, tried: Attempted, how: str) -> None:
        """The refresh token is as good as before: the next one who needs a token asks again."""
        await self._resolved(call, tried, AttemptState.RESOLVED_UNCHANGED, how)

    async def superseded(self, call: Call, tried: Attempted, how: str) -> None:
        """The grant has moved on without it."""
        await self._resolved(call, tried, AttemptState.RESOLVED_SUPERSEDED, how)

    async def wait(
        self,
        call: Call,
        tried: Attempted,
        how: str,
        pause_s: float = 0.0,
        *,
        until_it_answers: bool = False,
    ) -> NoReturn:
        """Nothing more can be known now, nor for ``pause_s``: in doubt until later, or until the
        provider answers somebody. Raises REFRESH_IN_DOUBT."""
        fault = refusal(TokenEndpointError(AnswerClass.IN_DOUBT, detail=how))
        pause_s = max(pause_s, doubt_pause_s(tried.attempt))
        ending = Ending(
            AttemptState.IN_DOUBT, fault.reason.name, pause_s, until_it_answers=until_it_answers
        )
        fault.retry_after_s = _told_s(ending)
        await self._end(call, tried, ending, fault)
        raise fault

    async def wait_for(
        self, call: Call, tried: Attempted, waits_for: WaitsFor, error: TokenEndpointError
    ) -> NoReturn:
        """In doubt until a profile or an operator tells, or a probe shows that the old token
        lives. Raises REFRESH_IN_DOUBT with ``waits_for``."""
        fault = waiting(waits_for, error.recorded())
        pause_s = limits.IN_DOUBT_RETRY_MAX_S if tried.may_be_probed else 0.0
        ending = Ending(
            AttemptState.IN_DOUBT,
            fault.reason.name,
            pause_s,
            waits_for=waits_for,
            revision=tried.revision,
        )
        await self._end(call, tried, ending, fault)
        raise fault

    async def give_up(self, call: Call, tried: Attempted) -> None:
        """An operator knows that nobody will find its tokens: the grant needs consent again."""
        cause, state = ReauthorizationCause.BY_OPERATOR, AttemptState.RESOLVED_LOST
        record = self._recorder.done(
            call,
            AuditAction.REFRESH_ATTEMPT_RESOLVED,
            tried.attempt.tenant,
            str(tried.attempt.grant),
            detail={"state": state.name, "how": "an operator gave it up", "cause": cause.name},
        )
        await self._attempts.condemn(tried.lease, tried.attempt, cause, state, record)

    async def _refused(self, call: Call, tried: Attempted, fault: VaultError) -> None:
        current = await self._grants.get(tried.grant.name)
        if current is None or not tried.attempt.may_change(current):
            # Revoked, consented anew, or a sibling won: what is dead is no longer the grant's.
            await self._end(call, tried, Ending(AttemptState.RESOLVED_SUPERSEDED, ""), fault)
            return
        if not tried.keeps_its_token and not await self._is_confirmed(tried):
            await self._await_confirmation(call, tried, fault)
        cause = await self._cause(tried)
        state = AttemptState.RESOLVED_LOST if tried.in_doubt else AttemptState.REJECTED
        record = self._failure(call, tried, fault)
        # Condemned only at the generation that was refused: a sibling may have won meanwhile.
        if await self._attempts.condemn(tried.lease, tried.attempt, cause, state, record):
            fault.metadata["cause"] = cause.name
            raise fault
        latest = await self._attempts.find(tried.attempt.tenant, tried.attempt.attempt_id)
        if latest is not None and latest.state in UNRESOLVED and latest.orphan_envelope is not None:
            # An answer that may hold the successor came meanwhile: it is waited for.
            await self._audit.append(record)
            raise waiting(WaitsFor.PROFILE, fault.recorded)

    async def _is_confirmed(self, tried: Attempted) -> bool:
        """Whether this generation was refused before, long enough ago, by the database's clock."""
        since = await self._attempts.refused_since(tried.grant)
        wait = timedelta(seconds=tried.profile.confirm_after_s)
        return since is not None and tried.lease.acquire_time - since >= wait

    async def _await_confirmation(self, call: Call, tried: Attempted, fault: VaultError) -> None:
        doubt = VaultError(
            Reason.REFRESH_IN_DOUBT,
            "the provider refuses the refresh token; it is asked once more before the grant is "
            "given up",
            recorded=fault.recorded,
            retry_after_s=tried.profile.confirm_after_s,
        )
        state = AttemptState.IN_DOUBT if tried.in_doubt else AttemptState.REJECTED
        pause_s = float(tried.profile.confirm_after_s)
        await self._end(call, tried, Ending(state, doubt.reason.name, pause_s, refused=True), doubt)
        raise doubt

    async def _cause(self, tried: Attempted) -> ReauthorizationCause:
        if tried.in_doubt:
            return ReauthorizationCause.SUCCESSOR_LOST
        max_idle_s = tried.profile.max_idle_s
        idle = tried.lease.acquire_time - tried.grant.update_time
        if max_idle_s and idle > timedelta(seconds=max_idle_s):
            return ReauthorizationCause.EXPIRED_UNUSED
        return ReauthorizationCause.REVOKED_BY_OWNER

    async def _end(self, call: Call, tried: Attempted, ending: Ending, fault: VaultError) -> None:
        record = self._failure(call, tried, fault)
        if not await self._attempts.end(tried.lease, tried.attempt, ending, record):
            # Another process has taken the attempt over; that we failed is still on record.
            await self._audit.append(record)

    async def _resolved(self, call: Call, tried: Attempted, state: AttemptState, how: str) -> None:
        facts = {"state": state.name, "how": how, "generation": str(tried.attempt.base_generation)}
        record = self._recorder.done(
            call,
            AuditAction.REFRESH_ATTEMPT_RESOLVED,
            tried.attempt.tenant,
            str(tried.attempt.grant),
            detail=facts,
        )
        await self._attempts.end(tried.lease, tried.attempt, Ending(state, ""), record)

    def _failure(self, call: Call, tried: Attempted, fault: VaultError) -> AuditRecord:
        return self._recorder.failed(
            call,
            AuditAction.GRANT_REFRESH_FAILED,
            fault,
            tried.attempt.tenant,
            str(tried.attempt.grant),
        )


def _ending(tried: Attempted, error: TokenEndpointError, fault: VaultError) -> Ending:
    judgement = error.judgement
    counted = judgement.counted is Counted.MAYBE
    not_sent = error.answer_class is AnswerClass.NOT_SENT
    if (counted or tried.in_doubt) and not tried.keeps_its_token:
        pause_s = doubt_pause_s(tried.attempt, unsent=not_sent)
        asked = error.retry_after_s is not None
        fails = judgement.fault is Fault.PROVIDER and not asked
        pause_s = max(pause_s, error.retry_after_s or 0.0)
        name = fault.reason.name
        return Ending(AttemptState.IN_DOUBT, name, pause_s, until_it_answers=fails)
    if counted:
        # Whether or not it was carried out: what we hold works on.
        return Ending(
            AttemptState.RESOLVED_UNCHANGED, fault.reason.name, limits.BACKOFF_FIRST_S, True
        )
    state = AttemptState.NOT_SENT if not_sent else AttemptState.REJECTED
    if error.retry_after_s is not None:
        return Ending(state, fault.reason.name, error.retry_after_s)
    if judgement.fault is Fault.PROVIDER or may_be_the_grants(error):
        return Ending(state, fault.reason.name, limits.BACKOFF_FIRST_S, doubles=True)
    # Our registration is wrong: once mended it must work at once, so no grant is held back.
    return Ending(state, fault.reason.name)


def doubt_pause_s(attempt: RefreshAttempt, *, unsent: bool = False) -> float:
    """None before the first try of recovery: its lease has to run out anyway. Inside a grace the
    pace is steady, since what is not done before its end may be lost; the store sees to it that the
    last try comes before. A retry that never left this host (``unsent``) adds nothing to the doubt:
    it is made again as soon as any other request."""
    if attempt.acting_class is RefreshClass.G:
        return grace_pace_s(attempt.grace_s) if attempt.retries or unsent else 0.0
    if unsent:
        return _doubled_s(limits.BACKOFF_FIRST_S, limits.BACKOFF_MAX_S, attempt)
    if attempt.retries == 0:
        return 0.0
    return _doubled_s(limits.IN_DOUBT_RETRY_S, limits.IN_DOUBT_RETRY_MAX_S, attempt)


def _doubled_s(first_s: float, max_s: float, attempt: RefreshAttempt) -> float:
    return min(first_s * 2.0 ** min(max(attempt.retries - 1, 0), 10), max_s)


def _told_s(ending: Ending) -> float:
    """To callers: until recovery asks again by itself, but no longer than OUTAGE_TOLD_MAX_S where a
    provider's success ends the doubt. Its end cannot be known, and a caller who was told of minutes
    would wait for a token that is there."""
    told_s = max(ending.pause_s, limits.RETRY_AFTER_S)
    return min(told_s, limits.OUTAGE_TOLD_MAX_S) if ending.until_it_answers else told_s
