"""From a status, a body and a profile to one class of answer: the rules, total and without exits.

5xx never condemns, whatever its body says. A 4xx condemns by ``invalid_grant`` and what is known
to mean it; a 2xx only by a code that the profile's table lists. No text of a body but its error
code leaves this room.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final, NoReturn

from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.content_coding import contents
from vault_service.domain.error_codes import (
    CLASS_BY_ERROR,
    NEVER_THE_GRANT,
    shown_code,
)
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.provider import ProviderProfile
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.strict_json import JsonRefusedError, at_path, parse_object

_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9.+-]{1,32}/[A-Za-z0-9.+-]{1,64}", re.ASCII)
_DESCRIPTIONS: Final = ("error_description", "reason")  # "reason": Zoom


def failure(
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
        noted=answer.noted,
    )


def is_success(answer: HttpAnswer) -> bool:
    """Whether the status says so. RFC 6749 §5.1 wants 200; a token must not be lost over a 201."""
    return 200 <= answer.status < 300


def unusable(answer: HttpAnswer, why: str) -> TokenEndpointError:
    """What came is no answer of a token endpoint. After a 2xx the request may have counted."""
    lost = AnswerClass.UNREADABLE_SUCCESS if is_success(answer) else AnswerClass.PROVIDER_FAULT
    return failure(answer, lost, why)


def raise_by_status(answer: HttpAnswer) -> None:
    """What the status alone decides."""
    status = answer.status
    if status == 429 or (status == 503 and answer.retry_after_s is not None):
        raise failure(answer, AnswerClass.RATE_LIMITED)
    # 1xx is not final, and 303 is the answer to a POST that was carried out (RFC 9110 §15.4.4).
    if status >= 500 or status < 200 or status == 303:
        raise failure(answer, AnswerClass.IN_DOUBT)
    if status < 400 and not is_success(answer):
        raise failure(answer, AnswerClass.PROVIDER_FAULT, "a redirect, which is not followed")


def members_of(answer: HttpAnswer) -> dict[str, Any]:
    """The JSON object in the body, whatever its content type: some send JSON as text, and a token
    must not be lost over a label."""
    why = answer.refusal
    for content in contents(answer):
        try:
            return parse_object(content.reveal())
        except JsonRefusedError as error:
            why = why or str(error)
    # RFC 6749 §5.2: 401 is about client authentication, and gateways send it as HTML.
    if answer.status == 401:
        raise failure(answer, AnswerClass.CLIENT_REFUSED, why)
    raise unusable(answer, why)


def reports_failure(members: Mapping[str, Any], profile: ProviderProfile) -> bool:
    """Whether a 2xx reports a failure all the same (GitHub: ``error``, Slack: ``ok`` false)."""
    reported = members.get("error") or at_path(members, profile.error_in_200.member)
    return bool(reported) or members.get("ok") is False


def raise_by_error(
    answer: HttpAnswer,
    members: Mapping[str, Any],
    profile: ProviderProfile,
    secrets: Collection[Sensitive],
) -> NoReturn:
    """What the error code of a readable answer means, at a status that decided nothing."""
    code = members.get("error")
    if is_success(answer):
        code = at_path(members, profile.error_in_200.member) or code
    if not isinstance(code, str) or not code:
        if answer.status == 401:
            raise failure(answer, AnswerClass.CLIENT_REFUSED)
        raise unusable(answer, "an error without a code")
    error = shown_code(code, secrets)
    if is_success(answer):
        answer_class, why = _class_in_200(code, members, profile)
    else:
        answer_class, why = _class_in_4xx(code, members, profile), ""
        if answer.status == 401 and answer_class is not AnswerClass.INVALID_GRANT:
            answer_class = AnswerClass.CLIENT_REFUSED
    raise failure(answer, answer_class, why, error)


def _class_in_200(
    code: str, members: Mapping[str, Any], profile: ProviderProfile
) -> tuple[AnswerClass, str]:
    token_path = profile.token_paths.get("access_token", "access_token")
    if members.get("access_token") or at_path(members, token_path):
        return AnswerClass.UNREADABLE_SUCCESS, "an error beside a token"
    listed = profile.error_in_200.codes.get(code)
    if listed is not None:
        return _kept_from_the_grant(code, listed), ""
    known = CLASS_BY_ERROR.get(code, AnswerClass.REQUEST_REFUSED)
    if known is AnswerClass.INVALID_GRANT:
        return AnswerClass.UNREADABLE_SUCCESS, "the profile's error_in_200 does not list the code"
    return known, ""


def _class_in_4xx(code: str, members: Mapping[str, Any], profile: ProviderProfile) -> AnswerClass:
    for name in _DESCRIPTIONS:
        described = profile.error_codes.get(f"{code}: {members.get(name)}")
        if described is not None:
            return _kept_from_the_grant(code, described)
    listed = profile.error_codes.get(code)
    if listed is not None:
        return _kept_from_the_grant(code, listed)
    return CLASS_BY_ERROR.get(code, AnswerClass.REQUEST_REFUSED)


def _kept_from_the_grant(code: str, listed: AnswerClass) -> AnswerClass:
    """A profile is refused with such an entry; one that was stored all the same condemns none.
    Some providers put the description into the code (Dropbox)."""
    if code.partition(": ")[0] in NEVER_THE_GRANT and listed is AnswerClass.INVALID_GRANT:
        return AnswerClass.CLIENT_REFUSED
    return listed
