"""The configuration file of the demo provider: one JSON object, written by ``embedded/demo.py``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

USERS: Final = ("ada", "grace")
SCOPES: Final = ("openid", "profile", "calendar.read")
CODE_LIFE_S: Final = 60
_CONFIG_MAX_BYTES: Final = 65_536
_ACCESS_LIFE_MAX_S: Final = 86_400
_HASH_HEX_CHARS: Final = 64


class SettingsError(ValueError):
    """The configuration cannot be right; the message names the field."""


@dataclass(frozen=True, slots=True)
class Client:
    """A registered client; of its secret only the SHA-256 is known (hexadecimal)."""

    client_id: str
    secret_sha256: str
    redirect_uris: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to listen, what to keep, who may ask."""

    host: str
    port: int
    certificate_file: Path
    key_file: Path
    state_file: Path
    access_life_s: int
    clients: Mapping[str, Client]

    @property
    def issuer(self) -> str:
        """Who we are in every answer."""
        return f"https://{self.host}:{self.port}"


def load(path: Path) -> Settings:
    """Read the file. Raises SettingsError and OSError."""
    with path.open("rb") as file:
        try:
            raw = json.loads(file.read(_CONFIG_MAX_BYTES))
        except ValueError:
            raise SettingsError("the configuration is not JSON") from None
    if not isinstance(raw, dict):
        raise SettingsError("the configuration is not an object")
    clients = [_client(one) for one in _list(raw, "clients")]
    return Settings(
        host=_text(raw, "host"),
        port=_whole(raw, "port", 65_535),
        certificate_file=Path(_text(raw, "certificate_file")),
        key_file=Path(_text(raw, "key_file")),
        state_file=Path(_text(raw, "state_file")),
        access_life_s=_whole(raw, "access_life_s", _ACCESS_LIFE_MAX_S),
        clients={client.client_id: client for client in clients},
    )


def _client(raw: Any) -> Client:
    if not isinstance(raw, dict):
        raise SettingsError("clients: not a list of objects")
    secret_sha256 = _text(raw, "secret_sha256").lower()
    if len(secret_sha256) != _HASH_HEX_CHARS:
        raise SettingsError("secret_sha256: not 64 hexadecimal digits")
    uris = _list(raw, "redirect_uris")
    if not uris or not all(isinstance(uri, str) and uri for uri in uris):
        raise SettingsError("redirect_uris: not a list of texts")
    return Client(_text(raw, "client_id"), secret_sha256, tuple(uris))


def _text(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name)
    if not isinstance(value, str) or not value:
        raise SettingsError(f"{name}: not a text")
    return value


def _whole(raw: Mapping[str, Any], name: str, largest: int) -> int:
    value = raw.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= largest:
        raise SettingsError(f"{name}: not a whole number from 1 to {largest}")
    return value


def _list(raw: Mapping[str, Any], name: str) -> list[Any]:
    value = raw.get(name)
    if not isinstance(value, list):
        raise SettingsError(f"{name}: not a list")
    return value
