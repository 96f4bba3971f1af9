"""Puts the refresh engine together."""

from __future__ import annotations

from dataclasses import dataclass

from vault_service.crypto.envelopes import Envelopes
from vault_service.domain import limits
from vault_service.domain.refresh_times import RefreshTimes
from vault_service.ports import (
    AttemptStore,
    AuditLog,
    Clock,
    Entropy,
    GrantBell,
    GrantStore,
    Spool,
    TokenEndpoint,
)
from vault_service.usecases.credentials import Credentials
from vault_service.usecases.flights import Flights
from vault_service.usecases.kept_answers import KeptAnswers
from vault_service.usecases.late_answers import LateAnswers
from vault_service.usecases.ordered_attempts import OrderedAttempts
from vault_service.usecases.outages import Outages
from vault_service.usecases.present_refresh_token import PresentRefreshToken
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.recover_attempts import RecoverAttempts
from vault_service.usecases.refresh_grant import RefreshGrant
from vault_service.usecases.refresh_outcomes import RefreshOutcomes
from vault_service.usecases.resolve_attempt import ResolveAttempt
from vault_service.usecases.revoke_at_provider import RevokeAtProvider
from vault_service.usecases.store_successor import StoreSuccessor


@dataclass(frozen=True, slots=True)
class EngineParts:
    """What it is made of."""

    grants: GrantStore
    attempts: AttemptStore
    spool: Spool
    audit: AuditLog
    endpoint: TokenEndpoint
    credentials: Credentials
    envelopes: Envelopes
    revoke_at_provider: RevokeAtProvider
    recorder: Recorder
    clock: Clock
    entropy: Entropy
    flights: Flights
    outages: Outages
    times: RefreshTimes
    bell: GrantBell
    late_places: int = int(limits.SPOOL_SLOTS * limits.LATE_ANSWERS_SHARE)


class RefreshEngine:
    """``refresh`` for callers, ``recover`` for the sweeper, ``ordered`` for operators."""

    def __init__(self, parts: EngineParts) -> None:
        outcomes = RefreshOutcomes(
            grants=parts.grants,
            attempts=parts.attempts,
            audit=parts.audit,
            recorder=parts.recorder,
        )
        store = StoreSuccessor(
            grants=parts.grants,
            attempts=parts.attempts,
            audit=parts.audit,
            revoke_at_provider=parts.revoke_at_provider,
            recorder=parts.recorder,
            clock=parts.clock,
            times=parts.times,
        )
        self.late = LateAnswers(parts.attempts, parts.flights, parts.late_places)
        present = PresentRefreshToken(
            attempts=parts.attempts,
            spool=parts.spool,
            endpoint=parts.endpoint,
            credentials=parts.credentials,
            envelopes=parts.envelopes,
            outcomes=outcomes,
            store=store,
            clock=parts.clock,
            times=parts.times,
            late=self.late,
        )
        kept = KeptAnswers(
            attempts=parts.attempts,
            envelopes=parts.envelopes,
            store=store,
            recorder=parts.recorder,
        )
        resolve = _resolve(parts, present, outcomes, kept)
        self.kept = kept
        self.ordered = _ordered(parts, kept, outcomes, resolve)
        self.refresh = RefreshGrant(
            grants=parts.grants,
            attempts=parts.attempts,
            spool=parts.spool,
            present=present,
            resolve=resolve,
            recorder=parts.recorder,
            clock=parts.clock,
            entropy=parts.entropy,
            flights=parts.flights,
            outages=parts.outages,
            times=parts.times,
            bell=parts.bell,
        )
        self.recover = RecoverAttempts(
            attempts=parts.attempts,
            spool=parts.spool,
            resolve=resolve,
            present=present,
            outages=parts.outages,
            recorder=parts.recorder,
            flights=parts.flights,
            clock=parts.clock,
            times=parts.times,
        )


def _resolve(
    parts: EngineParts, present: PresentRefreshToken, outcomes: RefreshOutcomes, kept: KeptAnswers
) -> ResolveAttempt:
    return ResolveAttempt(
        grants=parts.grants,
        attempts=parts.attempts,
        spool=parts.spool,
        endpoint=parts.endpoint,
        credentials=parts.credentials,
        envelopes=parts.envelopes,
        present=present,
        outcomes=outcomes,
        kept=kept,
        recorder=parts.recorder,
        outages=parts.outages,
        flights=parts.flights,
        times=parts.times,
    )


def _ordered(
    parts: EngineParts, kept: KeptAnswers, outcomes: RefreshOutcomes, resolve: ResolveAttempt
) -> OrderedAttempts:
    return OrderedAttempts(
        grants=parts.grants,
        attempts=parts.attempts,
        spool=parts.spool,
        credentials=parts.credentials,
        kept=kept,
        outcomes=outcomes,
        resolve=resolve,
    )
