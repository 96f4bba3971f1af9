"""What a failed answer of a provider means to a caller: one table, complete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.attempt import WaitsFor
from vault_service.domain.errors import Reason, VaultError

_UNAVAILABLE: Final = (
    Reason.PROVIDER_UNAVAILABLE,
    "the provider cannot be reached or answers nonsense; nothing is lost, try again",
)
_MISCONFIGURED: Final = (
    Reason.CLIENT_MISCONFIGURED,
    "the provider refuses our registration or request; the platform team checks the OAuthClient",
)

_IN_DOUBT: Final = (
    Reason.REFRESH_IN_DOUBT,
    "the provider was asked and did not answer clearly; try again",
)

_MEANING: Final[Mapping[AnswerClass, tuple[Reason, str]]] = {
    AnswerClass.NOT_SENT: _UNAVAILABLE,
    AnswerClass.PROVIDER_FAULT: _UNAVAILABLE,
    AnswerClass.CLIENT_REFUSED: _MISCONFIGURED,
    AnswerClass.REQUEST_REFUSED: _MISCONFIGURED,
    AnswerClass.RATE_LIMITED: (
        Reason.PROVIDER_RATE_LIMITED,
        "the provider asks to slow down; try again after the delay",
    ),
    AnswerClass.IN_DOUBT: _IN_DOUBT,
    AnswerClass.UNREADABLE_SUCCESS: _IN_DOUBT,
    AnswerClass.INVALID_GRANT: (
        Reason.REAUTHORIZATION_REQUIRED,
        "the provider refuses the refresh token; ask the user for consent again",
    ),
}
assert _MEANING.keys() == set(AnswerClass), "every class of answer has one meaning"


def refusal(error: TokenEndpointError) -> VaultError:
    """The refusal that a caller of a refresh gets for this answer."""
    reason, message = _MEANING[error.answer_class]
    return VaultError(
        reason,
        message,
        recorded=error.recorded(),
        retry_after_s=error.retry_after_s or limits.RETRY_AFTER_S,
    )


_WAITS: Final[Mapping[WaitsFor, str]] = {
    WaitsFor.PROFILE: "the provider's answer is kept and cannot be read; the platform team mends "
    "the provider's profile, or resolves the attempt",
    WaitsFor.OPERATOR: "only an operator can say what became of the last refresh; the platform "
    "team resolves the attempt",
}
assert _WAITS.keys() == set(WaitsFor), "every wait has its words"


def waiting(waits_for: WaitsFor, recorded: Mapping[str, str] | None = None) -> VaultError:
    """The refusal that callers get while an attempt waits for a person."""
    return VaultError(
        Reason.REFRESH_IN_DOUBT,
        _WAITS[waits_for],
        recorded=dict(recorded or {}),
        metadata={"waits_for": waits_for.name},
        retry_after_s=limits.WAIT_RETRY_AFTER_S,
    )
