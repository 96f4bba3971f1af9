"""The configuration: one TOML file and TOKENVAULT_* variables over it.

Secrets come by file path only. Every field says its unit and bounds; ``load`` raises
``ConfigInvalid`` with one line for each thing that is wrong. Nested fields are set from the
environment with two underscores: TOKENVAULT_DATABASE__HOST.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from vault_service.config.refresh import RefreshConfig, SpoolConfig
from vault_service.config.sections import (
    DatabaseConfig,
    DekCacheConfig,
    EgressConfig,
    LogConfig,
    MetricsConfig,
    Name,
    SchedulerConfig,
    SecretsConfig,
    ServerConfig,
    TracesConfig,
    TransitConfig,
)
from vault_service.domain import limits

_PREFIX = "TOKENVAULT_"
_OTHER_VARIABLES = frozenset({"CONFIG", "CLIENT", "OUTPUT"})  # options of the command line

_PATH_SHOWN_MAX = 256


class ConfigInvalid(ValueError):
    """The configuration cannot be used; each line of the text is one fault."""


class Config(BaseSettings):
    """All of it."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    deployment: Name = Field(
        description="Names this deployment in envelopes and records; it can never change."
    )
    instance: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}",
        max_length=128,
        description="Names this process in records; host and process id by default.",
    )
    policy_file: Path = Field(description="Cedar policy.")
    server: ServerConfig
    database: DatabaseConfig
    transit: TransitConfig
    egress: EgressConfig = Field(default_factory=EgressConfig)
    dek_cache: DekCacheConfig = Field(default_factory=DekCacheConfig)
    secrets: SecretsConfig = Field(default_factory=SecretsConfig)
    spool: SpoolConfig = Field(default_factory=SpoolConfig)
    scheduler: SchedulerConfig = Field(default_factory=SchedulerConfig)
    refresh: RefreshConfig = Field(default_factory=RefreshConfig)
    log: LogConfig = Field(default_factory=LogConfig)
    metrics: MetricsConfig = Field(default_factory=MetricsConfig)
    traces: TracesConfig = Field(default_factory=TracesConfig)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over file; nothing else."""
        return env_settings, init_settings


def load(path: Path | None) -> Config:
    """Read the file (or the environment alone); relative paths are relative to the file.

    Raises ConfigInvalid.
    """
    _refuse_unknown_variables()
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text())
        except OSError as error:
            raise ConfigInvalid(f"{path}: cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigInvalid(f"{path}: is not TOML: {error}") from None
        except RecursionError:
            raise ConfigInvalid(f"{path}: is nested too deep") from None
        _resolve(values, path.resolve().parent)
    try:
        return Config(**values)
    except ValidationError as error:
        raise ConfigInvalid("\n".join(_lines(error))) from None
    except SettingsError as error:
        # It names the field, never the value.
        raise ConfigInvalid(f"environment: {error}; lists and sections are JSON") from None


def _refuse_unknown_variables() -> None:
    """A misspelt variable would else be left alone without a word."""
    known = {name.upper() for name in Config.model_fields} | _OTHER_VARIABLES
    asked = (name.removeprefix(_PREFIX) for name in os.environ if name.startswith(_PREFIX))
    unknown = sorted(name for name in asked if name.split("__")[0].upper() not in known)
    if unknown:
        raise ConfigInvalid(
            "\n".join(f"environment: {_PREFIX}{name} sets no field" for name in unknown)
        )


def faults(config: Config, *, serving: bool) -> list[str]:
    """What is wrong beyond types: plain-text transports, files that cannot be read or used."""
    found = []
    database = config.database
    if not database.is_socket and database.ca_file is None:
        found.append("database.ca_file: is needed: a host is only reached by TLS verify-full")
    if serving and database.worker_password_file is None:
        found.append("database.worker_password_file: is needed to serve")
    if serving and config.spool.path is None:
        found.append("spool.path: is needed to serve")
    if config.dek_cache.hard_life_s < config.dek_cache.soft_life_s * (1 + limits.DEK_JITTER):
        found.append("dek_cache.hard_life_s: is less than 1.2 times soft_life_s")
    refresh = config.refresh
    if refresh.spool_wait_s < refresh.post_limit_s + refresh.lease_margin_s:
        # Before a lease has ended, nobody knows that its process is gone.
        found.append("refresh.spool_wait_s: is less than post_limit_s plus lease_margin_s")
    if not _private_or_tls(config.traces.otlp_endpoint):
        found.append("traces.otlp_endpoint: is plain http to another machine; use https")
    found += [line for name, file in _files(config, serving) if (line := _unreadable(name, file))]
    # What can be read must also be what it should be.
    return found or _unusable(config, serving)


def _files(config: Config, serving: bool) -> list[tuple[str, Path]]:
    files: dict[str, Path | None] = {
        "database.password_file": config.database.password_file,
        "database.ca_file": config.database.ca_file,
        "transit.ca_file": config.transit.ca_file,
        "transit.role_id_file": config.transit.role_id_file,
        "transit.secret_id_file": config.transit.secret_id_file,
        "egress.ca_file": config.egress.ca_file,
    }
    if serving:
        files |= {
            "database.worker_password_file": config.database.worker_password_file,
            "policy_file": config.policy_file,
            "server.certificate_file": config.server.certificate_file,
            "server.key_file": config.server.key_file,
            "server.client_ca_file": config.server.client_ca_file,
            "traces.ca_file": config.traces.ca_file,
        }
    return [(name, file) for name, file in files.items() if file is not None]


def _unusable(config: Config, serving: bool) -> list[str]:
    bundles = {
        "database.ca_file": config.database.ca_file,
        "transit.ca_file": config.transit.ca_file,
        "egress.ca_file": config.egress.ca_file,
        "server.client_ca_file": config.server.client_ca_file if serving else None,
        "traces.ca_file": config.traces.ca_file if serving else None,
    }
    found = []
    for name, file in bundles.items():
        try:
            if file is not None:
                ssl.create_default_context(cafile=str(file))
        except (OSError, ValueError):
            found.append(f"{name}: {file} holds no PEM certificate")
    if serving:
        server = config.server
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            # A key that asks for a passphrase must not wait at a terminal.
            context.load_cert_chain(server.certificate_file, server.key_file, lambda: b"")
        except (OSError, ValueError):
            found.append(
                f"server.key_file: {server.key_file} is not the plain PEM key of "
                f"{server.certificate_file}"
            )
    return found


def _private_or_tls(endpoint: str | None) -> bool:
    if endpoint is None or endpoint.startswith("https://"):
        return True
    host = urlsplit(endpoint).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _unreadable(name: str, file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return "" if opened.read(1) else f"{name}: {file} is empty"
    except OSError as error:
        return f"{name}: {_shown(file)} cannot be read: {error.strerror}"
    except ValueError:
        return f"{name}: {_shown(file)} cannot be read: not a path"


def _shown(file: Path) -> str:
    # A key pasted where its path belongs has line breaks, or more characters than a path.
    text = str(file)
    return text if text.isprintable() and len(text) <= _PATH_SHOWN_MAX else "its value"


def _resolve(values: dict[str, Any], base: Path) -> None:
    for key, value in values.items():
        if isinstance(value, dict):
            _resolve(value, base)
        elif (key.endswith("_file") or key == "path") and isinstance(value, str):
            values[key] = str(base / value)


def _lines(error: ValidationError) -> list[str]:
    # Never the input: a value that should have been a path may be a secret.
    return [
        f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
        for fault in error.errors(include_input=False, include_url=False)
    ]
