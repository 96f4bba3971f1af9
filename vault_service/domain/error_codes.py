"""What the error codes of token endpoints mean, and how a code is shown.

RFC 6749 §5.2 and §4.1.2.1, RFC 7009 §2.2.1, RFC 8707 §2, and what GitHub and Slack answer beside
them. A profile's own tables go before this one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass
from vault_service.domain.sensitive import Sensitive

_NOT_PRINTABLE: Final = re.compile(r"[^ -~]")
_ECHO_MIN_CHARS: Final = 8  # a shorter common part is chance
_SEPARATORS: Final = re.compile(r"[ _-]")
_LEFT_OUT: Final = "(left out: it repeats a secret)"
_NOT_KNOWN: Final = "(left out: not a known code, and it may repeat a secret)"

# Codes that are not here are REQUEST_REFUSED: they condemn no grant.
CLASS_BY_ERROR: Final[Mapping[str, AnswerClass]] = {
    **dict.fromkeys(
        (
            "invalid_grant",
            "bad_refresh_token",
            "bad_verification_code",
            "code_already_used",
            "invalid_code",
            "invalid_refresh_token",
            "refresh_token_invalid",
            "refresh_token_expired",
            "expired_refresh_token",
            "refresh_token_revoked",
            "revoked_refresh_token",
            "refresh_token_not_found",
            "refresh_token_already_used",
            "keymanagement.service.refresh_token_expired",  # Apigee
            "keymanagement.service.invalid_refresh_token",
            "bad_auth_code",  # HubSpot
            "oauthexception 190",  # Facebook: type and code of one object
            "token_expired",
            "token_revoked",
        ),
        AnswerClass.INVALID_GRANT,
    ),
    **dict.fromkeys(
        (
            "invalid_client",
            "unauthorized_client",
            "bad_client_secret",
            "incorrect_client_credentials",
            "invalid_client_id",
            "deleted_client",
            "disabled_client",
        ),
        AnswerClass.CLIENT_REFUSED,
    ),
    **dict.fromkeys(
        (
            "access_denied",
            "invalid_request",
            "invalid_scope",
            "invalid_target",
            "redirect_uri_mismatch",
            "unsupported_grant_type",
            "unsupported_token_type",
        ),
        AnswerClass.REQUEST_REFUSED,
    ),
    **dict.fromkeys(
        ("ratelimited", "rate_limited", "rate_limit_exceeded", "slow_down", "too_many_requests"),
        AnswerClass.RATE_LIMITED,
    ),
    **dict.fromkeys(("temporarily_unavailable", "service_unavailable"), AnswerClass.PROVIDER_FAULT),
    # A 5xx in other clothes; Slack says of its two that part of the work may have been done.
    **dict.fromkeys(("server_error", "fatal_error", "internal_error"), AnswerClass.IN_DOUBT),
}


def known_class(code: str) -> AnswerClass | None:
    """What a code means in the table above, however it is spelled: letters of either case, words
    with or without separators (BAD_REFRESH_TOKEN, InvalidGrant)."""
    return _BY_PLAIN_CODE.get(_plain(code))


def names_no_grant(code: str) -> bool:
    """Whether it condemns only where it is told as the answer's own error: gateways and resource
    servers say the same of access tokens and of other codes."""
    return _plain(code) in _PLAIN_VAGUE


def names_the_grant(code: str) -> bool:
    """Whether it is ``invalid_grant`` or has the refresh token in its name: enough at a 401, which
    is about client authentication otherwise (RFC 6749 §5.2)."""
    plain = _plain(code)
    return plain == "invalidgrant" or "refreshtoken" in plain


def speaks_of_us(code: str) -> bool:
    """Whether it is one of NEVER_THE_GRANT, perhaps with a description behind it (Dropbox)."""
    return _plain(code.partition(": ")[0]) in _PLAIN_NEVER


def _plain(code: str) -> str:
    return _SEPARATORS.sub("", code[: limits.ERROR_KEY_MAX_CHARS]).lower()


# No table of a profile can make these a verdict on a grant: they speak of our registration. The
# last two may with the exact description beside them, which some providers use so.
NEVER_THE_GRANT: Final = frozenset(
    (
        "invalid_client",
        "bad_client_secret",
        "incorrect_client_credentials",
        "invalid_client_id",
        "deleted_client",
        "disabled_client",
    )
)
ONLY_WITH_DESCRIPTION: Final = frozenset(("unauthorized_client", "access_denied"))

_VAGUE: Final = (
    "token_expired",
    "token_revoked",
    "invalid_code",
    "code_already_used",
    "bad_verification_code",
    "oauthexception 190",
)

_PLAIN_VAGUE: Final = frozenset(map(_plain, _VAGUE))
_BY_PLAIN_CODE: Final = {_plain(code): meant for code, meant in CLASS_BY_ERROR.items()}
_PLAIN_NEVER: Final = frozenset(map(_plain, NEVER_THE_GRANT))


def shown_code(
    code: str, secrets: Iterable[Sensitive] | None = (), listed: Collection[str] = ()
) -> str:
    """A provider's code for the record: cut, printable ASCII, and left out where it repeats some
    of a secret that we sent. The record is read by more people than may see a token.

    ``secrets`` is None where they are not at hand: only a code is shown then that the table above
    has, or the profile (``listed``)."""
    shown = _NOT_PRINTABLE.sub("?", code[: limits.ERROR_CODE_MAX_CHARS])
    if shown in CLASS_BY_ERROR:
        return shown
    if secrets is None:
        return shown if not code or known_class(code) or code in listed else _NOT_KNOWN
    return _LEFT_OUT if any(_repeats(shown, secret) for secret in secrets) else shown


def _repeats(code: str, secret: Sensitive) -> bool:
    text = secret.reveal().decode("utf-8", "replace")
    size = min(_ECHO_MIN_CHARS, len(text))
    starts = range(len(code) - size + 1)
    return size > 0 and any(code[at : at + size] in text for at in starts)
