"""Puts together what makes grants of consents."""

from __future__ import annotations

from dataclasses import dataclass

from vault_service.crypto.envelopes import Envelopes
from vault_service.ports import (
    AttemptStore,
    AuditLog,
    AuthorizationStore,
    Clock,
    Entropy,
    GrantBell,
    GrantStore,
    KeptConsents,
    Spool,
    TokenEndpoint,
)
from vault_service.usecases.complete_authorization import CompleteAuthorization
from vault_service.usecases.credentials import Credentials
from vault_service.usecases.exchange_code import ExchangeCode
from vault_service.usecases.flights import Flights
from vault_service.usecases.gate import Gate
from vault_service.usecases.outages import Outages
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.recover_consents import RecoverConsents
from vault_service.usecases.revoke_at_provider import RevokeAtProvider
from vault_service.usecases.settle_consent import SettleConsent
from vault_service.usecases.store_consent import StoreConsent


@dataclass(frozen=True, slots=True)
class ConsentParts:
    """What it is made of."""

    gate: Gate
    authorizations: AuthorizationStore
    kept: KeptConsents
    grants: GrantStore
    attempts: AttemptStore
    credentials: Credentials
    endpoint: TokenEndpoint
    envelopes: Envelopes
    spool: Spool
    revoke_at_provider: RevokeAtProvider
    audit: AuditLog
    recorder: Recorder
    clock: Clock
    entropy: Entropy
    flights: Flights
    outages: Outages
    bell: GrantBell


class Consents:
    """``complete`` for callers, ``recover`` for the sweeper."""

    def __init__(self, parts: ConsentParts) -> None:
        settle = SettleConsent(
            authorizations=parts.authorizations,
            kept=parts.kept,
            credentials=parts.credentials,
            envelopes=parts.envelopes,
            store_consent=StoreConsent(
                grants=parts.grants,
                attempts=parts.attempts,
                envelopes=parts.envelopes,
                recorder=parts.recorder,
                clock=parts.clock,
                entropy=parts.entropy,
                bell=parts.bell,
            ),
            revoke_at_provider=parts.revoke_at_provider,
            recorder=parts.recorder,
            clock=parts.clock,
            entropy=parts.entropy,
            flights=parts.flights,
        )
        exchange = ExchangeCode(
            authorizations=parts.authorizations,
            credentials=parts.credentials,
            endpoint=parts.endpoint,
            envelopes=parts.envelopes,
            spool=parts.spool,
            settle=settle,
            recorder=parts.recorder,
            clock=parts.clock,
            entropy=parts.entropy,
            outages=parts.outages,
        )
        self.complete = CompleteAuthorization(
            gate=parts.gate,
            authorizations=parts.authorizations,
            grants=parts.grants,
            credentials=parts.credentials,
            exchange=exchange,
            settle=settle,
            recorder=parts.recorder,
            clock=parts.clock,
            flights=parts.flights,
        )
        self.recover = RecoverConsents(
            authorizations=parts.authorizations,
            kept=parts.kept,
            spool=parts.spool,
            settle=settle,
            audit=parts.audit,
            recorder=parts.recorder,
            flights=parts.flights,
        )
