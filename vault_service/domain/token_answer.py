"""What a token or revocation endpoint answered: its tokens, or whose fault it is that there are
none. Pure, so that an answer can be stored before it is read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from vault_service.domain import limits
from vault_service.domain.answer_rules import (
    is_success,
    members_of,
    raise_by_error,
    raise_by_status,
    reports_failure,
    unusable,
)
from vault_service.domain.answers import TokenEndpointError
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.oauth import TokenAnswer
from vault_service.domain.provider import ProviderProfile
from vault_service.domain.provider_subject import read_subject
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.strict_json import at_path

_TOKEN: Final = re.compile(rf"[!-~]{{1,{limits.TOKEN_MAX_BYTES}}}")
_SCOPE: Final = re.compile(rf"[!-~]{{1,{limits.SCOPE_MAX_CHARS}}}")
_TOKEN_TYPE: Final = re.compile(r"[A-Za-z0-9._-]{1,32}", re.ASCII)
_NUMBER: Final = re.compile(r"-?[0-9]{1,400}(\.0{1,9})?", re.ASCII)

# The members that a profile's token_paths may place.
TOKEN_MEMBERS: Final = ("access_token", "refresh_token", "token_type", "expires_in", "scope")


@dataclass(frozen=True, slots=True)
class Expected:
    """What the answer to a code exchange is held against, beside the profile."""

    client_id: str
    nonce: str  # "" where none was sent
    now: datetime


def read_tokens(
    answer: HttpAnswer, profile: ProviderProfile, secrets: Collection[Sensitive]
) -> TokenAnswer:
    """The tokens of a successful answer (RFC 6749 §5.1). Raises ``TokenEndpointError``.

    ``secrets`` are those that were sent: an error code that repeats some of one is left out.
    No subject is read: refusing an id_token here would lose the tokens beside it.

    What is not needed to store the tokens is never a reason to refuse them: a malformed
    ``expires_in`` or ``scope`` counts as omitted. ``expires_in`` of 0 or less is 0: expired on
    arrival, so never served. More than TOKEN_LIFE_MAX_S is cut.
    """
    return _tokens(answer, _success(answer, profile, secrets), profile)


def read_refresh(
    answer: HttpAnswer, profile: ProviderProfile, secrets: Collection[Sensitive]
) -> TokenAnswer:
    """The tokens of a refresh: as ``read_tokens``."""
    return read_tokens(answer, profile, secrets)


def read_subject_of(answer: HttpAnswer, profile: ProviderProfile, expected: Expected) -> str | None:
    """Whose account the tokens of a code exchange are for, as the profile says; None: not told.

    For an answer whose tokens ``read_tokens`` has read. Raises ``SubjectRefusedError``.
    """
    return read_subject(
        profile.subject_from,
        members_of(answer),
        issuer=profile.issuer,
        client_id=expected.client_id,
        nonce=expected.nonce,
        now=expected.now,
    )


def read_revocation(
    answer: HttpAnswer, profile: ProviderProfile, secrets: Collection[Sensitive]
) -> None:
    """Returns when the token is dead at the provider (RFC 7009 §2.2); raises otherwise.

    A 200 is success whatever its body (most are empty), unless that is an error in JSON. Google
    answers an unknown token with 400 ``invalid_token`` where §2.2 wants a 200.
    """
    raise_by_status(answer)
    try:
        members = members_of(answer)
    except TokenEndpointError:
        if is_success(answer):
            return
        raise
    if members.get("error") == "invalid_token":
        return
    if is_success(answer) and not reports_failure(members, profile):
        return
    raise_by_error(answer, members, profile, secrets)


def _success(
    answer: HttpAnswer, profile: ProviderProfile, secrets: Collection[Sensitive]
) -> dict[str, Any]:
    """The members of an answer that reports no failure."""
    raise_by_status(answer)
    members = members_of(answer)
    if not is_success(answer) or reports_failure(members, profile):
        raise_by_error(answer, members, profile, secrets)
    return members


def _tokens(
    answer: HttpAnswer, members: Mapping[str, Any], profile: ProviderProfile
) -> TokenAnswer:
    placed = _placed(members, profile.token_paths)
    access_token = _token(answer, placed, "access_token")
    if access_token is None:
        raise unusable(answer, "no access_token")
    return TokenAnswer(
        access_token=access_token,
        refresh_token=_token(answer, placed, "refresh_token"),
        token_type=_token_type(placed.get("token_type")),
        expires_in_s=_life_s(placed.get("expires_in")),
        scopes=_scopes(placed.get("scope"), profile.scope_separator),
        subject=None,
    )


def _placed(members: Mapping[str, Any], paths: Mapping[str, str]) -> Mapping[str, Any]:
    """The members from where the profile says, or all of them from the top where the access token
    is not at its path: never two halves of two token sets (Slack's bot and user tokens)."""
    if not at_path(members, paths.get("access_token", "access_token")):
        return members
    return {name: at_path(members, paths.get(name, name)) for name in TOKEN_MEMBERS}


def _token(answer: HttpAnswer, members: Mapping[str, Any], name: str) -> Sensitive | None:
    """A token of visible ASCII; None where it is absent, null or empty."""
    value = members.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise unusable(
            answer, f"{name} is not 1 to {limits.TOKEN_MAX_BYTES} characters of visible ASCII"
        )
    return Sensitive.from_text(value)


def _token_type(value: object) -> str:
    """As the provider spells it, but always "Bearer" (RFC 6749 §7.1: not case-sensitive)."""
    if not isinstance(value, str) or not _TOKEN_TYPE.fullmatch(value):
        return "Bearer"
    return "Bearer" if value.lower() == "bearer" else value


def _life_s(value: object) -> int | None:
    """Seconds, from a number or its decimal text (older Microsoft endpoints); None: unknown."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return None
    number = float(value) if isinstance(value, str) else value
    return int(min(max(number, 0), limits.TOKEN_LIFE_MAX_S))


def _scopes(value: object, separator: str) -> tuple[str, ...] | None:
    """The scopes, each once, in their order; "" is none at all; None: nothing usable was said."""
    if isinstance(value, str):
        parts: list[Any] = [part.strip() for part in value.split(separator or " ")]
    elif isinstance(value, list):
        parts = value
    else:
        return None
    found = dict.fromkeys(part for part in parts if part != "" and isinstance(part, str))
    wrong = any(not isinstance(part, str) for part in parts)
    if wrong or len(found) > limits.SCOPES_MAX_COUNT or not all(map(_SCOPE.fullmatch, found)):
        return None
    return tuple(found)
