"""What a token or revocation endpoint answered: its tokens, or whose fault it is that there are
none. Pure, so that an answer can be stored before it is read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from vault_service.domain import limits
from vault_service.domain.answer_rules import (
    is_success,
    raise_by_error,
    raise_by_place,
    raise_by_status,
    reading_of,
    reports_failure,
    unusable,
)
from vault_service.domain.answers import TokenEndpointError
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.lenient_json import Reading, spelled
from vault_service.domain.oauth import TokenAnswer
from vault_service.domain.provider import ProviderProfile, TokenLife
from vault_service.domain.provider_subject import read_subject
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.strict_json import at_path
from vault_service.domain.token_lives import is_endless, told_life

# VSCHAR of RFC 6749 §A.12 and §A.17 has the space in it.
_TOKEN: Final = re.compile(rf"[ -~]{{1,{limits.TOKEN_MAX_BYTES}}}")
_SCOPE: Final = re.compile(rf"[ -~]{{1,{limits.SCOPE_MAX_CHARS}}}")
_TOKEN_TYPE: Final = re.compile(r"[A-Za-z0-9._-]{1,32}", re.ASCII)

# The members that a profile's token_paths may place.
TOKEN_MEMBERS: Final = (
    "access_token", "refresh_token", "token_type", "expires_in", "expires_at", "scope",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Expected:
    """What the answer to a code exchange is held against, beside the profile."""

    client_id: str
    nonce: str  # "" where none was sent
    now: datetime


def read_tokens(
    answer: HttpAnswer, profile: ProviderProfile, secrets: Collection[Sensitive] | None
) -> TokenAnswer:
    """The tokens of a successful answer (RFC 6749 §5.1). Raises ``TokenEndpointError``.

    ``secrets`` are those that were sent: an error code that repeats some of one is left out. None:
    they are not at hand, and a code that nobody listed is left out.
    No subject is read: refusing an id_token here would lose the tokens beside it.

    What is not needed to store the tokens is never a reason to refuse them: a malformed
    ``expires_in`` or ``scope`` counts as omitted. ``expires_in`` of exactly 0 is no end where
    the profile says so or no refresh token came. Any other 0, and what is less than a second, is
    expired on arrival, so never served. More than TOKEN_LIFE_MAX_S is cut.
    """
    reading = _success(answer, profile, secrets)
    # Other tokens may stand elsewhere (Slack's bot): those of the place may be what is missing.
    doubtful = reading.cut or reading.surrounded
    place = profile.token_paths.get("access_token")
    if doubtful and place and not at_path(reading.members, place):
        raise unusable(answer, "not whole, and no access_token where the profile says")
    read = _tokens(answer, reading.members, profile)
    if reading.cut and read.refresh_token is None:
        raise unusable(answer, "its end is missing, and with it perhaps a refresh token")
    return replace(read, oddities=(*reading.oddities, *read.oddities))


def read_refresh(
    answer: HttpAnswer, profile: ProviderProfile, secrets: Collection[Sensitive] | None
) -> TokenAnswer:
    """The tokens of a refresh: as ``read_tokens``, but that no refresh token comes where the one
    before stays, so ``expires_in`` of 0 does not promise a token without an end."""
    read = read_tokens(answer, profile, secrets)
    promised = profile.token_life is not TokenLife.EXPIRES
    return replace(read, endless=read.endless and promised)


def read_subject_of(answer: HttpAnswer, profile: ProviderProfile, expected: Expected) -> str | None:
    """Whose account the tokens of a code exchange are for, as the profile says; None: not told.

    For an answer whose tokens ``read_tokens`` has read. Raises ``SubjectRefusedError``.
    """
    return read_subject(
        profile.subject_from,
        reading_of(answer).members,
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
        reading = reading_of(answer)
    except TokenEndpointError:
        if is_success(answer):
            return
        raise
    if reading.members.get("error") == "invalid_token":
        return
    failed = reports_failure(reading.members, profile) and not reading.surrounded
    if is_success(answer) and not failed:
        return
    raise_by_error(answer, reading, profile, secrets)


def _success(
    answer: HttpAnswer, profile: ProviderProfile, secrets: Collection[Sensitive] | None
) -> Reading:
    """What an answer says that reports no failure."""
    raise_by_place(answer, profile, secrets)
    raise_by_status(answer)
    reading = reading_of(answer)
    if not is_success(answer) or reports_failure(reading.members, profile):
        if reading.surrounded:
            raise unusable(answer, "an error inside a text")
        raise_by_error(answer, reading, profile, secrets)
    return reading


def _tokens(
    answer: HttpAnswer, members: Mapping[str, Any], profile: ProviderProfile
) -> TokenAnswer:
    placed = _placed(members, profile.token_paths)
    access_token = _token(answer, placed, "access_token")
    if access_token is None:
        raise unusable(answer, "no access_token")
    refresh_token = _token(answer, placed, "refresh_token")
    told = told_life(placed, profile.default_life_s)
    scope = spelled(placed, "scope")
    return TokenAnswer(
        access_token=access_token,
        refresh_token=refresh_token,
        token_type=_token_type(spelled(placed, "token_type")),
        expires_in_s=told.expires_in_s,
        scopes=_scopes(spelled(placed, "scopes") if scope is None else scope, profile),
        subject=None,
        expire_time=told.expire_time,
        endless=is_endless(told, profile.token_life, refresh_token is not None),
        oddities=told.oddities,
    )


def _placed(members: Mapping[str, Any], paths: Mapping[str, str]) -> Mapping[str, Any]:
    """The members from where the profile says, or all of them from the top where the access token
    is not at its path: never two halves of two token sets (Slack's bot and user tokens)."""
    if not at_path(members, paths.get("access_token", "access_token")):
        return members
    return {**members, **{name: at_path(members, path) for name, path in paths.items()}}


def _token(answer: HttpAnswer, members: Mapping[str, Any], name: str) -> Sensitive | None:
    """A token of printable ASCII; None where it is absent, null, false or empty. A line end or tab
    around it is no part of it, and digits without quotes are a text (RFC 6749 §A.12, §A.17)."""
    value = spelled(members, name)
    if value is None or value is False or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str):
        value = value.strip("\t\r\n")
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise unusable(
            answer, f"{name} is not 1 to {limits.TOKEN_MAX_BYTES} printable ASCII characters"
        )
    return Sensitive.from_text(value)


def _token_type(value: object) -> str:
    """As the provider spells it, but always "Bearer" (RFC 6749 §7.1: not case-sensitive)."""
    if not isinstance(value, str) or not _TOKEN_TYPE.fullmatch(value):
        return "Bearer"
    return "Bearer" if value.lower() == "bearer" else value


def _scopes(value: object, profile: ProviderProfile) -> tuple[str, ...] | None:
    """The scopes, each once, in their order; "" is none at all; None: nothing usable was said.
    Which of them the asked ones are says ``domain.scopes``."""
    parts = value if isinstance(value, list) else [value]
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) != len(parts):
        return None
    split = (part.strip() for text in texts for part in text.split(profile.scope_separator or " "))
    long = limits.SCOPE_MAX_CHARS
    # No scope is so long: it is a list with another separator.
    found = dict.fromkeys(
        one
        for part in split
        for one in ([part] if len(part) <= long else re.split("[ ,+]", part))
        if one
    )
    if len(found) > limits.SCOPES_MAX_COUNT or not all(map(_SCOPE.fullmatch, found)):
        return None
    return tuple(found)
