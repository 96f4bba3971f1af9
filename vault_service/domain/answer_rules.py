"""From a status, a body and a profile to one class of answer: the rules, total and without exits.

A 5xx condemns only by a code at a place that the profile names. A 4xx condemns by ``invalid_grant``
and what is known to mean it; a 2xx only by a code that the profile's table lists. No text of a body
but its error code leaves this room.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NoReturn

from vault_service.domain import limits
from vault_service.domain.answer_body import read_members, texts_of
from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.error_codes import known_class, names_the_grant, shown_code, speaks_of_us
from vault_service.domain.error_places import (
    aside,
    code_in_200,
    contradicts,
    descriptions,
    placed_codes,
    says_error,
    told_codes,
)
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.lenient_json import Reading, spelled
from vault_service.domain.nearly_json import error_code
from vault_service.domain.provider import ProviderProfile
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.strict_json import JsonRefusedError, at_path

_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9.+-]{1,32}/[A-Za-z0-9.+-]{1,64}", re.ASCII)


def failure(
    answer: HttpAnswer,
    answer_class: AnswerClass,
    why: str = "",
    error: str = "",
    oddities: Collection[str] = (),
) -> TokenEndpointError:
    """The failure with status, length and media type, and what was odd; never the body."""
    label = media_type(answer) or "no media type"
    detail = f"status {answer.status}, {len(answer.body)} bytes, {label}"
    return TokenEndpointError(
        answer_class,
        status=answer.status,
        error=error,
        detail=f"{detail}: {why}" if why else detail,
        retry_after_s=answer.retry_after_s,
        noted=noted(answer, oddities),
    )


def noted(answer: HttpAnswer, oddities: Collection[str]) -> str:
    """What was odd about an answer and its body, for a record; "" where nothing was."""
    return "; ".join(filter(None, (answer.noted, *oddities)))[: limits.TEXT_MAX_CHARS]


def media_type(answer: HttpAnswer) -> str:
    """Of the Content-Type, where it has the form of one, else "": a header may hold anything."""
    media = answer.content_type.partition(";")[0].strip()
    return media if _MEDIA_TYPE.fullmatch(media) else ""


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


def raise_by_place(
    answer: HttpAnswer, profile: ProviderProfile, secrets: Collection[Sensitive] | None
) -> None:
    """A 5xx that says at one of the profile's ``error_code_paths`` that the grant is dead.

    Gateways and crashed servers put no such code there; a provider that does means it. But only a
    code of the profile's own table counts, or one that names the grant, and none beside a code that
    tells of a fault of the server: at a 5xx a word such as ``token_expired`` may be of anything.
    """
    if answer.status < 500 or answer.refusal or not profile.error_code_paths:
        return
    try:
        reading = read_members(answer)
    except JsonRefusedError:
        return
    members = reading.members
    if reading.surrounded or reading.cut or contradicts(members, ("error",)):
        return
    placed = placed_codes(members, profile)
    code, meant = _by_profile(placed, members, profile) or _known(
        list(filter(names_the_grant, placed))
    )
    every = [*placed, *told_codes(members)]
    if (
        meant is AnswerClass.INVALID_GRANT
        and _kept_from_the_grant(every, meant) is meant
        and not any(_tells_of_a_fault(one, members, profile) for one in every)
    ):
        shown = shown_code(code, secrets, _listed_by(profile))
        raise failure(answer, meant, "", shown, reading.oddities)


def _tells_of_a_fault(code: str, members: Mapping[str, Any], profile: ProviderProfile) -> bool:
    """Whether the server says that it is broken or away, so nothing beside it is a verdict."""
    _, meant = _by_profile([code], members, profile) or _known([code])
    return meant in (AnswerClass.IN_DOUBT, AnswerClass.PROVIDER_FAULT)


def reading_of(answer: HttpAnswer) -> Reading:
    """The members in the body, whatever its content type, and what was odd about it."""
    try:
        reading = read_members(answer)
        # What broke on its way condemns nobody: the next answer will be whole. Nor does a page that
        # has an object somewhere in it.
        doubtful = reading.surrounded or (reading.cut and answer.refusal)
        if is_success(answer) or not doubtful:
            return reading
        why = answer.refusal or "text around its object"
    except JsonRefusedError as error:
        why = answer.refusal or str(error)
    if 400 <= answer.status < 500 and not answer.refusal:
        for text, oddities in texts_of(answer):
            if code := error_code(text):
                return Reading({"error": code}, (*oddities, "a refusal that is not quite JSON"))
    # RFC 6749 §5.2: 401 is about client authentication, and gateways send it as HTML.
    if answer.status == 401:
        raise failure(answer, AnswerClass.CLIENT_REFUSED, why)
    raise unusable(answer, why)


def members_of(answer: HttpAnswer) -> dict[str, Any]:
    """The members of ``reading_of`` for who judges by them: nothing may stand around them."""
    reading = reading_of(answer)
    if reading.surrounded:
        raise unusable(answer, "text around its object")
    return reading.members


def reports_failure(members: Mapping[str, Any], profile: ProviderProfile) -> bool:
    """Whether a 2xx reports a failure all the same (GitHub: ``error``, Slack: ``ok`` false)."""
    if members.get("ok") is False or contradicts(members, ("ok",)):
        return True
    placed = placed_codes(members, profile) or code_in_200(members, profile)
    return bool(placed) or says_error(members)


def raise_by_error(
    answer: HttpAnswer,
    reading: Reading,
    profile: ProviderProfile,
    secrets: Collection[Sensitive] | None,
) -> NoReturn:
    """What the error code of a readable answer means, at a status that decided nothing."""
    members = reading.members
    placed = placed_codes(members, profile)
    if is_success(answer):
        first = code_in_200(members, profile)
        named = [*placed, *([first] if first else [])]
        codes = [*named, *told_codes(members)]
        code, answer_class, why = _in_200(codes, placed, aside(members, named), members, profile)
    else:
        code, answer_class, why = _in_4xx(answer, placed, members, profile)
    shown = shown_code(code, secrets, _listed_by(profile))
    raise failure(answer, answer_class, why, shown, reading.oddities)


def _listed_by(profile: ProviderProfile) -> frozenset[str]:
    """The codes in a profile's tables, without the descriptions that some entries have."""
    keys = (*profile.error_codes, *profile.error_in_200.codes)
    return frozenset((*keys, *(key.partition(": ")[0] for key in keys)))


def _in_200(
    codes: Sequence[str],
    placed: Sequence[str],
    unheard: Collection[str],
    members: Mapping[str, Any],
    profile: ProviderProfile,
) -> tuple[str, AnswerClass, str]:
    token_path = profile.token_paths.get("access_token", "access_token")
    shown = codes[0] if codes else ""
    if spelled(members, "access_token") or at_path(members, token_path):
        return shown, AnswerClass.UNREADABLE_SUCCESS, "an error beside a token"
    if not codes or contradicts(members, ("error",)):
        return shown, AnswerClass.UNREADABLE_SUCCESS, "an error without a code"
    for code in codes:
        if code in unheard:
            continue
        listed = profile.error_in_200.codes.get(code)
        if listed is None and code in placed:
            listed = profile.error_codes.get(code)
        if listed is not None:
            return code, _kept_from_the_grant(codes, listed), ""
    code, known = _known(codes)
    if known is AnswerClass.INVALID_GRANT:
        why = "the profile's error_in_200 does not list the code"
        return code, AnswerClass.UNREADABLE_SUCCESS, why
    return code or shown, known or AnswerClass.REQUEST_REFUSED, ""


def _in_4xx(
    answer: HttpAnswer,
    placed: Sequence[str],
    members: Mapping[str, Any],
    profile: ProviderProfile,
) -> tuple[str, AnswerClass, str]:
    # First: what speaks with two tongues is no verdict, whatever else it says.
    if contradicts(members, ("error",)):
        return "", AnswerClass.PROVIDER_FAULT, "an error with different codes"
    codes = [*placed, *told_codes(members)]
    unheard = aside(members, placed)
    heard = [code for code in codes if code not in unheard]
    code, answer_class, why = _by_tables(heard, members, profile, answer.status)
    if answer_class is None:
        # A number that repeats the status is no code.
        told = [one for one in codes if one != str(answer.status)]
        code = told[0] if told else ""
        named = isinstance(members.get("error"), str) or bool(placed)
        why = "" if code and named else "an error without a code that is known"
        answer_class = AnswerClass.REQUEST_REFUSED if code and named else None
    if answer.status == 401 and answer_class is not AnswerClass.INVALID_GRANT:
        return code, AnswerClass.CLIENT_REFUSED, ""
    return code, answer_class or AnswerClass.PROVIDER_FAULT, why


def _by_tables(
    codes: Sequence[str], members: Mapping[str, Any], profile: ProviderProfile, status: int
) -> tuple[str, AnswerClass | None, str]:
    """The profile's tables before the built-in one, a code with its description before a code."""
    if own := _by_profile(codes, members, profile):
        return own[0], _kept_from_the_grant(codes, own[1]), ""
    code, known = _known([one for one in codes if status != 401 or _counts_at_401(one)])
    if known is not None:
        known = _kept_from_the_grant(codes, known)
    return code, known, ""


def _by_profile(
    codes: Sequence[str], members: Mapping[str, Any], profile: ProviderProfile
) -> tuple[str, AnswerClass] | None:
    for description in descriptions(members):
        for code in codes:
            described = profile.error_codes.get(f"{code}: {description}")
            if described is not None:
                return code, described
    for code in codes:
        listed = profile.error_codes.get(code)
        if listed is not None:
            return code, listed
    return None


def _counts_at_401(code: str) -> bool:
    return known_class(code) is not AnswerClass.INVALID_GRANT or names_the_grant(code)


def _known(codes: Sequence[str]) -> tuple[str, AnswerClass | None]:
    """The first code that the built-in table has."""
    for code in codes:
        known = known_class(code)
        if known is not None:
            return code, known
    return "", None


def _kept_from_the_grant(codes: Sequence[str], listed: AnswerClass) -> AnswerClass:
    """What speaks of our registration condemns no grant, wherever it stands and whatever a profile
    says of it: one with such an entry is refused, and one that was stored all the same is harmless.
    """
    if listed is AnswerClass.INVALID_GRANT and any(map(speaks_of_us, codes)):
        return AnswerClass.CLIENT_REFUSED
    return listed
