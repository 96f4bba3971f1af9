"""Puts together what operators do with refresh attempts."""

from __future__ import annotations

from vault_service.app.refresh_engine import EngineParts, RefreshEngine
from vault_service.ports.attempts import AttemptRegister
from vault_service.usecases.attempts import Attempts
from vault_service.usecases.gate import Gate


def operated_attempts(
    gate: Gate, register: AttemptRegister, parts: EngineParts, engine: RefreshEngine
) -> Attempts:
    """Over the engine's own parts, so that an order and a recovery know of each other."""
    return Attempts(
        gate=gate,
        register=register,
        attempts=parts.attempts,
        grants=parts.grants,
        credentials=parts.credentials,
        kept=engine.kept,
        ordered=engine.ordered,
        audit=parts.audit,
        recorder=parts.recorder,
        flights=parts.flights,
        clock=parts.clock,
        times=parts.times,
    )
