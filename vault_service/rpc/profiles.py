"""A provider's profile, from the message and back."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, TypeVar

from tokenvault.v1 import resources_pb2 as pb
from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass
from vault_service.domain.oauth import ClientAuthMethod
from vault_service.domain.provider import (
    BodyEncoding,
    ErrorIn200,
    ProviderProfile,
    Recovery,
    RefreshClass,
    TokenLife,
)
from vault_service.rpc import fields

_E = TypeVar("_E", bound=Enum)
_URLS: Final = (
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "revocation_endpoint",
    "probe_endpoint",
    "introspection_endpoint",
)
_SAME: Final = (
    "grace_s",
    "requires_iss",
    "refresh_kills_old_access_token",
    "requires_scope_on_refresh",
    "max_idle_s",
    "rate_per_s",
    "rate_per_min",
    "scopes_not_comparable",
)


def profile(message: pb.Provider) -> ProviderProfile:
    """The use case judges its content; what is unset has its default. FIELD_MALFORMED for sizes
    and for members of enums that this release does not know."""
    facts: dict[str, Any] = {name: getattr(message, name) for name in _SAME}
    for name in _URLS:
        url = getattr(message, name)
        facts[name] = fields.text(f"provider.{name}", url, limits.URI_MAX_CHARS, optional=True)
    return ProviderProfile(
        **facts,
        refresh_class=_one_of(RefreshClass, "refresh_class", message.refresh_class, RefreshClass.S),
        authorization_params=dict(message.authorization_params),
        scope_separator=message.scope_separator or " ",
        subject_from=message.subject_from or "id_token:sub",
        default_life_s=message.default_life_s or limits.TOKEN_LIFE_DEFAULT_S,
        token_paths=dict(message.token_paths),
        error_in_200=ErrorIn200(
            message.error_in_200.member or "error",
            _classes("error_in_200", message.error_in_200.codes),
        ),
        error_codes=_classes("error_codes", message.error_codes),
        confirm_after_s=message.confirm_after_s or limits.CONFIRM_AFTER_S,
        refresh_parallel_max=message.refresh_parallel_max or limits.HTTP_CONNECTIONS_PER_HOST_MAX,
        body_encoding=_one_of(
            BodyEncoding, "body_encoding", message.body_encoding, BodyEncoding.FORM
        ),
        auth_methods=tuple(
            dict.fromkeys(
                _one_of(ClientAuthMethod, "auth_methods", method, None)
                for method in message.auth_methods
            )
        ),
        recovery=_one_of(Recovery, "recovery", message.recovery, Recovery.RETRY),
        error_code_paths=tuple(dict.fromkeys(message.error_code_paths)),
        scope_aliases=dict(message.scope_aliases),
        token_life=_one_of(TokenLife, "token_life", message.token_life, TokenLife.EXPIRES),
        token_params=dict(message.token_params),
    )


def profile_members(known: ProviderProfile) -> dict[str, Any]:
    """The members of the message that make up the profile."""
    same = {name: getattr(known, name) for name in (*_URLS, *_SAME)}
    return same | {
        "refresh_class": known.refresh_class.value,
        "authorization_params": known.authorization_params,
        "scope_separator": known.scope_separator,
        "subject_from": known.subject_from,
        "default_life_s": known.default_life_s,
        "token_paths": known.token_paths,
        "error_in_200": pb.ErrorIn200(
            member=known.error_in_200.member, codes=_numbers(known.error_in_200.codes)
        ),
        "error_codes": _numbers(known.error_codes),
        "confirm_after_s": known.confirm_after_s,
        "refresh_parallel_max": known.refresh_parallel_max,
        "body_encoding": known.body_encoding.value,
        "auth_methods": [method.value for method in known.auth_methods],
        "recovery": known.recovery.value,
        "error_code_paths": known.error_code_paths,
        "scope_aliases": known.scope_aliases,
        "token_life": known.token_life.value,
        "token_params": known.token_params,
    }


def _one_of(kind: type[_E], field: str, number: int, default: _E | None) -> _E:
    if number == 0 and default is not None:
        return default
    try:
        return kind(number)
    except ValueError:
        names = ", ".join(kind.__members__)
        raise fields.malformed(f"provider.{field}", f"is one of {names}") from None


def _classes(field: str, codes: Mapping[str, pb.AnswerClass.ValueType]) -> dict[str, AnswerClass]:
    return {code: _one_of(AnswerClass, field, number, None) for code, number in codes.items()}


def _numbers(codes: Mapping[str, AnswerClass]) -> dict[str, Any]:
    return {code: answer_class.value for code, answer_class in codes.items()}
