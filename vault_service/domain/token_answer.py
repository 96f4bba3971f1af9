"""What a token or revocation endpoint answered, judged: whose fault, and for how long.

The body decides, not its content type: some providers send JSON as text, and a token that was
issued must not be lost over a label. No text of a body but its error code leaves this room.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NoReturn

from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.oauth import TokenAnswer
from vault_service.domain.provider_subject import SubjectRefusedError, read_subject
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.strict_json import JsonRefusedError, parse_object

__all__ = [
    "CLASS_BY_ERROR",
    "Expected",
    "parse_object",
    "read_answer",
    "read_revocation",
    "read_subject",
]

_TOKEN: Final = re.compile(rf"[!-~]{{1,{limits.TOKEN_MAX_BYTES}}}")
_SCOPE: Final = re.compile(rf"[!-~]{{1,{limits.SCOPE_MAX_CHARS}}}")
_TOKEN_TYPE: Final = re.compile(r"[A-Za-z0-9._-]{1,32}", re.ASCII)
_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9.+-]{1,32}/[A-Za-z0-9.+-]{1,64}", re.ASCII)
_NOT_PRINTABLE: Final = re.compile(r"[^ -~]")
_NUMBER: Final = re.compile(r"-?[0-9]{1,400}(\.0{1,9})?", re.ASCII)

# RFC 6749 §5.2 and §4.1.2.1, RFC 7009 §2.2.1, RFC 8707 §2; and what GitHub and Slack answer
# inside a 200. Codes that are not here are REQUEST_REFUSED: they condemn no grant.
CLASS_BY_ERROR: Final[Mapping[str, AnswerClass]] = {
    **dict.fromkeys(
        (
            "invalid_grant",
            "bad_refresh_token",
            "bad_verification_code",
            "code_already_used",
            "invalid_code",
            "invalid_refresh_token",
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
    **dict.fromkeys(("ratelimited", "rate_limited", "slow_down"), AnswerClass.RATE_LIMITED),
    **dict.fromkeys(
        (
            "server_error",
            "temporarily_unavailable",
            "fatal_error",
            "internal_error",
            "service_unavailable",
        ),
        AnswerClass.PROVIDER_FAULT,
    ),
}


@dataclass(frozen=True, slots=True)
class Expected:
    """What the answer to a code exchange is held against."""

    subject_from: str
    issuer: str
    client_id: str
    nonce: str
    now: datetime


def read_answer(
    answer: HttpAnswer, *, scope_separator: str = " ", expected: Expected | None = None
) -> TokenAnswer:
    """The tokens of a successful answer (RFC 6749 §5.1). Raises ``TokenEndpointError``.

    Without ``expected`` (a refresh) no subject is read: refusing an id_token there would lose
    the reissued refresh token beside it.

    What is not needed to store the tokens is never a reason to refuse them: a malformed
    ``expires_in`` or ``scope`` counts as omitted. ``expires_in`` of 0 or less is 0: expired on
    arrival, so never served. More than TOKEN_LIFE_MAX_S is cut.
    """
    members = _success(answer)
    access_token = _token(answer, members, "access_token")
    if access_token is None:
        raise _failure(answer, AnswerClass.PROVIDER_FAULT, "no access_token")
    return TokenAnswer(
        access_token=access_token,
        refresh_token=_token(answer, members, "refresh_token"),
        token_type=_token_type(members.get("token_type")),
        expires_in_s=_life_s(members.get("expires_in")),
        scopes=_scopes(members.get("scope"), scope_separator),
        subject=None if expected is None else _subject(answer, members, expected),
    )


def read_revocation(answer: HttpAnswer) -> None:
    """Returns when the token is dead at the provider (RFC 7009 §2.2); raises otherwise.

    A 200 is success whatever its body (most are empty), unless that is an error in JSON. Google
    answers an unknown token with 400 ``invalid_token`` where §2.2 wants a 200.
    """
    _raise_by_status(answer)
    try:
        members = _members(answer)
    except TokenEndpointError:
        if _is_success(answer):
            return
        raise
    if members.get("error") == "invalid_token" or (_is_success(answer) and not _failed(members)):
        return
    _raise_by_error(answer, members)


def _failure(
    answer: HttpAnswer, answer_class: AnswerClass, why: str = "", error: str = ""
) -> TokenEndpointError:
    """The failure with status, length and media type, never the body."""
    media = answer.content_type.partition(";")[0].strip()
    label = media if _MEDIA_TYPE.fullmatch(media) else "no media type"
    detail = f"status {answer.status}, {len(answer.body)} bytes, {label}"
    return TokenEndpointError(
        answer_class,
        status=answer.status,
        error=error,
        detail=f"{detail}: {why}" if why else detail,
        retry_after_s=answer.retry_after_s,
    )


def _is_success(answer: HttpAnswer) -> bool:
    # RFC 6749 §5.1 wants 200; a token must not be lost because a 201 came.
    return 200 <= answer.status < 300


def _success(answer: HttpAnswer) -> dict[str, Any]:
    """The members of an answer that reports no failure."""
    _raise_by_status(answer)
    members = _members(answer)
    if not _is_success(answer) or _failed(members):
        _raise_by_error(answer, members)
    return members


def _raise_by_status(answer: HttpAnswer) -> None:
    """What the status alone decides: 5xx never condemns, whatever its body says."""
    status = answer.status
    if status == 429 or (status == 503 and answer.retry_after_s is not None):
        raise _failure(answer, AnswerClass.RATE_LIMITED)
    if status >= 500 or status < 200:
        raise _failure(answer, AnswerClass.PROVIDER_FAULT)
    if 300 <= status < 400:
        raise _failure(answer, AnswerClass.PROVIDER_FAULT, "a redirect, which is not followed")


def _members(answer: HttpAnswer) -> dict[str, Any]:
    try:
        if answer.refusal:
            raise JsonRefusedError(answer.refusal)
        return parse_object(answer.body)
    except JsonRefusedError as error:
        # RFC 6749 §5.2: 401 is about client authentication, and gateways send it as HTML.
        unauthorized = answer.status == 401
        faulty = AnswerClass.CLIENT_REFUSED if unauthorized else AnswerClass.PROVIDER_FAULT
        raise _failure(answer, faulty, str(error)) from None


def _failed(members: Mapping[str, Any]) -> bool:
    """Whether a 200 reports a failure all the same (GitHub: ``error``, Slack: ``ok`` false)."""
    return bool(members.get("error")) or members.get("ok") is False


def _raise_by_error(answer: HttpAnswer, members: Mapping[str, Any]) -> NoReturn:
    text = members.get("error")
    code = text if isinstance(text, str) else ""
    error = _NOT_PRINTABLE.sub("?", code[: limits.ERROR_CODE_MAX_CHARS])
    if not code:
        answer_class = AnswerClass.PROVIDER_FAULT  # JSON, but not of an authorization server
    else:
        answer_class = CLASS_BY_ERROR.get(code, AnswerClass.REQUEST_REFUSED)
    condemned = answer_class is AnswerClass.INVALID_GRANT
    if answer.status == 401 and not condemned:
        answer_class = AnswerClass.CLIENT_REFUSED
    if condemned and not (_is_success(answer) or answer.status in (400, 401, 403)):
        answer_class = AnswerClass.PROVIDER_FAULT  # a gateway's 404 condemns no grant
    raise _failure(answer, answer_class, error=error)


def _token(answer: HttpAnswer, members: Mapping[str, Any], name: str) -> Sensitive | None:
    """A token of visible ASCII; None where it is absent, null or empty."""
    value = members.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        why = f"{name} is not 1 to {limits.TOKEN_MAX_BYTES} characters of visible ASCII"
        raise _failure(answer, AnswerClass.PROVIDER_FAULT, why)
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


def _subject(answer: HttpAnswer, members: Mapping[str, Any], expected: Expected) -> str | None:
    try:
        return read_subject(
            expected.subject_from,
            members,
            issuer=expected.issuer,
            client_id=expected.client_id,
            nonce=expected.nonce,
            now=expected.now,
        )
    except SubjectRefusedError as error:
        raise _failure(answer, AnswerClass.PROVIDER_FAULT, str(error)) from None
