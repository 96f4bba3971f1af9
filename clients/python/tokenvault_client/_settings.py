"""What a client needs to know, checked before anything is sent."""

from __future__ import annotations

import math
import ssl
import tomllib
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final

import grpc

from tokenvault_client import _limits as limits
from tokenvault_client.errors import ConfigurationError

_FILES: Final = ("ca_file", "certificate_file", "key_file")
_REQUIRED: Final = frozenset({"target", *_FILES})
_OPTIONAL: Final = frozenset({"timeout_s", "server_name"})


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the service is and who we are. Raises ConfigurationError for what cannot work."""

    target: str
    ca_file: Path
    certificate_file: Path
    key_file: Path
    timeout_s: float = limits.TIMEOUT_DEFAULT_S
    server_name: str | None = None

    def __post_init__(self) -> None:
        _require_text("target", self.target)
        if self.server_name is not None:
            _require_text("server_name", self.server_name)
        require_timeout(self.timeout_s)

    @classmethod
    def from_toml(cls, path: str | PathLike[str]) -> Settings:
        """Reads ``target``, ``ca_file``, ``certificate_file``, ``key_file`` and optionally
        ``timeout_s`` and ``server_name``; relative paths are relative to the file.
        """
        file = Path(path)
        try:
            table = tomllib.loads(read_bounded(file).decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
            raise ConfigurationError(f"{file} is not TOML: {fault}") from fault
        _require_keys(file, table)
        return cls(
            target=table["target"],
            ca_file=file.parent / table["ca_file"],
            certificate_file=file.parent / table["certificate_file"],
            key_file=file.parent / table["key_file"],
            timeout_s=table.get("timeout_s", limits.TIMEOUT_DEFAULT_S),
            server_name=table.get("server_name"),
        )

    def credentials(self) -> grpc.ChannelCredentials:
        """The three files as they are now; raises ConfigurationError where they do not fit.

        gRPC would take unusable ones silently and fail every call.
        """
        ca, certificate, key = (
            read_bounded(file) for file in (self.ca_file, self.certificate_file, self.key_file)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(self.ca_file)
        except ssl.SSLError as fault:
            raise ConfigurationError(f"ca_file {self.ca_file} is not PEM: {fault}") from fault
        try:
            # An encrypted key would otherwise ask at the terminal.
            context.load_cert_chain(self.certificate_file, self.key_file, password=lambda: "")
        except (ssl.SSLError, ValueError) as fault:
            raise ConfigurationError(
                f"certificate_file {self.certificate_file} and key_file {self.key_file} are not "
                f"PEM, the key is encrypted, or it belongs to another certificate: {fault}"
            ) from fault
        return grpc.ssl_channel_credentials(ca, key, certificate)

    def channel_options(self) -> list[tuple[str, str | int]]:
        """gRPC's channel arguments."""
        named: list[tuple[str, str | int]] = []
        if self.server_name is not None:
            named = [
                ("grpc.ssl_target_name_override", self.server_name),
                ("grpc.default_authority", self.server_name),
            ]
        return [*_OPTIONS, *named]


_OPTIONS: Final[tuple[tuple[str, str | int], ...]] = (
    ("grpc.max_send_message_length", limits.SENT_MAX_BYTES),
    ("grpc.max_receive_message_length", limits.RECEIVED_MAX_BYTES),
    ("grpc.keepalive_time_ms", limits.KEEPALIVE_TIME_MS),
    ("grpc.keepalive_timeout_ms", limits.KEEPALIVE_TIMEOUT_MS),
    # Only while a call is open: a server that counts pings has no cause to complain.
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.initial_reconnect_backoff_ms", limits.BACKOFF_FIRST_MS),
    ("grpc.min_reconnect_backoff_ms", limits.BACKOFF_MAX_MS),
    ("grpc.max_reconnect_backoff_ms", limits.BACKOFF_MAX_MS),
    # A new channel never shares the old one's broken connection, whatever gRPC deems equal.
    ("grpc.use_local_subchannel_pool", 1),
    # A TXT record must not add retries to ours.
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.primary_user_agent", "tokenvault-client"),
)


def require_timeout(timeout_s: float) -> float:
    """A deadline in seconds; raises ConfigurationError unless above 0 and at most an hour."""
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float):
        raise ConfigurationError(f"timeout_s is a number of seconds, not {timeout_s!r}")
    if not math.isfinite(timeout_s) or not 0 < timeout_s <= limits.TIMEOUT_MAX_S:
        raise ConfigurationError(
            f"timeout_s is above 0 and at most {limits.TIMEOUT_MAX_S:.0f} s, not {timeout_s!r}"
        )
    return float(timeout_s)


def read_bounded(file: Path) -> bytes:
    """The bytes of a file; raises ConfigurationError where it cannot be read or is too large."""
    try:
        with file.open("rb") as stream:
            content = stream.read(limits.FILE_MAX_BYTES + 1)
    except OSError as fault:
        raise ConfigurationError(f"{file} cannot be read: {fault.strerror}") from fault
    if len(content) > limits.FILE_MAX_BYTES:
        raise ConfigurationError(f"{file} is larger than {limits.FILE_MAX_BYTES} bytes")
    return content


def _require_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value or len(value) > limits.TEXT_MAX_CHARS:
        raise ConfigurationError(f"{name} is a text like 'vault.example.org:8443', not {value!r}")
    if any(character.isspace() or not character.isprintable() for character in value):
        raise ConfigurationError(f"{name} holds no blanks, not {value!r}")


def _require_keys(file: Path, table: dict[str, Any]) -> None:
    missing = sorted(_REQUIRED - table.keys())
    unknown = sorted(table.keys() - _REQUIRED - _OPTIONAL)
    if missing or unknown:
        raise ConfigurationError(f"{file}: missing {missing}, unknown {unknown}")
    for name in _FILES:
        if not isinstance(table[name], str) or not table[name]:
            raise ConfigurationError(f"{file}: {name} is a path, not {table[name]!r}")
