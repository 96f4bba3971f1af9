"""Providers as data: from a file or a preset of the catalogue to what the client sends.

A file is TOML or JSON with the fields of message Provider, enums by their names.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

from tokenvault_client import (
    AnswerClass,
    BodyEncoding,
    ClientAuthMethod,
    ErrorIn200,
    Provider,
    Recovery,
    RefreshClass,
    TokenLife,
)
from vault_service.adapters.provider_catalog import PresetError, presets

_E = TypeVar("_E", bound=StrEnum)
_FILE_MAX_BYTES: Final = 65_536
_FROM_SERVICE: Final = frozenset(("name", "etag", "create_time", "update_time"))
_FIELDS: Final = {field.name: field for field in fields(Provider)}
_OF_TYPE: Final[Mapping[str, type]] = {"str": str, "int": int, "bool": bool}


class ProfileError(ValueError):
    """A profile cannot be read. The message says where and what is wanted."""


def provider_from(name: str, profile: Mapping[str, Any]) -> Provider:
    """The provider of this name. Raises ``ProfileError``; the service judges the values."""
    for field in profile:
        if field not in _FIELDS or field in _FROM_SERVICE:
            raise ProfileError(f"a profile has no field {field}")
    for field in ("issuer", "authorization_endpoint", "token_endpoint"):
        if field not in profile:
            raise ProfileError(f"{field} is needed")
    read = {field: _READ.get(field, _plain)(field, value) for field, value in profile.items()}
    return Provider(name=name, **read)


def profile_file(file: Path) -> dict[str, Any]:
    """The profile in a file: JSON by its name, else TOML. Raises ``ProfileError``."""
    try:
        with file.open("rb") as source:
            content = source.read(_FILE_MAX_BYTES + 1)
        text = content.decode()
        if len(content) > _FILE_MAX_BYTES:
            raise ProfileError(f"{file}: longer than {_FILE_MAX_BYTES} bytes")
        read = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ProfileError(f"{file}: cannot be read: {error.strerror}") from None
    except ProfileError:
        raise
    except ValueError as error:
        raise ProfileError(f"{file}: {error}") from None
    if not isinstance(read, dict):
        raise ProfileError(f"{file}: is not an object of fields")
    return read


def preset_profile(preset: str, region: str, values: Mapping[str, str]) -> dict[str, Any]:
    """The profile of a preset. Raises ``ProfileError``."""
    known = presets()
    if preset not in known:
        raise ProfileError(f"no preset {preset}; there are: {', '.join(known)}")
    try:
        return known[preset].resolved(region, values)
    except PresetError as error:
        raise ProfileError(str(error)) from None


def _plain(field: str, value: Any) -> Any:
    wanted = _OF_TYPE[str(_FIELDS[field].type)]
    if type(value) is not wanted:
        raise ProfileError(f"{field} is {'text' if wanted is str else wanted.__name__}")
    return value


def _texts(field: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise ProfileError(f"{field} is a table of texts")
    return dict(value)


def _enum(kind: type[_E]) -> Callable[[str, Any], _E]:
    def read(field: str, value: Any) -> _E:
        names = [name for name in kind.__members__ if name != "UNSPECIFIED"]
        if value not in names:
            raise ProfileError(f"{field} is one of {', '.join(names)}")
        return kind(value)

    return read


def _classes(field: str, value: Any) -> dict[str, AnswerClass]:
    read = _enum(AnswerClass)
    return {code: read(f"{field}.{code}", name) for code, name in _texts(field, value).items()}


def _error_in_200(field: str, value: Any) -> ErrorIn200:
    if not isinstance(value, dict) or not value.keys() <= {"member", "codes"}:
        raise ProfileError(f"{field} is a table of member and codes")
    member = value.get("member", "")
    if not isinstance(member, str):
        raise ProfileError(f"{field}.member is text")
    return ErrorIn200(member=member, codes=_classes(f"{field}.codes", value.get("codes", {})))


def _methods(field: str, value: Any) -> tuple[ClientAuthMethod, ...]:
    if not isinstance(value, list):
        raise ProfileError(f"{field} is a list")
    return tuple(_enum(ClientAuthMethod)(field, name) for name in value)


def _paths(field: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ProfileError(f"{field} is a list of texts")
    return tuple(value)


_READ: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "refresh_class": _enum(RefreshClass),
    "body_encoding": _enum(BodyEncoding),
    "recovery": _enum(Recovery),
    "authorization_params": _texts,
    "token_paths": _texts,
    "error_codes": _classes,
    "error_in_200": _error_in_200,
    "auth_methods": _methods,
    "error_code_paths": _paths,
    "scope_aliases": _texts,
    "token_life": _enum(TokenLife),
    "token_params": _texts,
}
