"""A provider's profile as JSON, enums by their names, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

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


def profile_to_json(profile: ProviderProfile) -> str:
    """Every member of the profile."""
    facts = {field: getattr(profile, field) for field in _FIELDS}
    facts |= {field: getattr(profile, field).name for field in _ENUMS}
    facts["auth_methods"] = [method.name for method in profile.auth_methods]
    facts["error_codes"] = _names(profile.error_codes)
    facts["error_in_200"] = {
        "member": profile.error_in_200.member,
        "codes": _names(profile.error_in_200.codes),
    }
    for field in ("authorization_params", "token_paths", "scope_aliases", "token_params"):
        facts[field] = dict(getattr(profile, field))
    return json.dumps(facts)


def profile_from_json(text: str) -> ProviderProfile:
    """What ``profile_to_json`` wrote. Members that an older release did not write have their
    defaults; those of a newer one are not read."""
    stored = json.loads(text)
    return ProviderProfile(
        **{
            field: _READ.get(field, _as_it_is)(value)
            for field, value in stored.items()
            if field in _FIELDS
        }
    )


def _names(codes: Mapping[str, AnswerClass]) -> dict[str, str]:
    return {code: answer_class.name for code, answer_class in codes.items()}


def _codes(stored: Mapping[str, str]) -> dict[str, AnswerClass]:
    return {code: AnswerClass[name] for code, name in stored.items()}


def _as_it_is(value: Any) -> Any:
    return value


_ENUMS: Final = ("refresh_class", "recovery", "body_encoding", "token_life")
_FIELDS: Final = frozenset(ProviderProfile.__dataclass_fields__)
_READ: Final[Mapping[str, Callable[[Any], Any]]] = {
    "refresh_class": lambda name: RefreshClass[name],
    "recovery": lambda name: Recovery[name],
    "body_encoding": lambda name: BodyEncoding[name],
    "token_life": lambda name: TokenLife[name],
    "error_code_paths": tuple,
    "auth_methods": lambda names: tuple(ClientAuthMethod[name] for name in names),
    "error_codes": _codes,
    "error_in_200": lambda stored: ErrorIn200(stored["member"], _codes(stored["codes"])),
}
