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
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from vault_service.domain import limits

_PREFIX = "TOKENVAULT_"
_OTHER_VARIABLES = frozenset({"CONFIG", "CLIENT", "OUTPUT"})  # options of the command line

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
Port = Annotated[int, Field(ge=1, le=65_535)]
HostPort = Annotated[str, StringConstraints(pattern=r"^[^\s/@]+:[0-9]{1,5}$", max_length=262)]
TrustDomain = Annotated[str, StringConstraints(pattern=r"^[a-z0-9._-]{1,255}$")]

_PATH_SHOWN_MAX = 256


class ConfigInvalid(ValueError):
    """The configuration cannot be used; each line of the text is one fault."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerConfig(_Section):
    """Where callers connect (mTLS, TLS 1.3)."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        default=8443, description="TCP port, 0 to 65535; 0 lets the system choose."
    )
    certificate_file: Path = Field(description="PEM chain of the server.")
    key_file: Path = Field(description="PEM key of the server.")
    client_ca_file: Path = Field(description="PEM bundle of the CAs that issue callers.")
    trust_domains: tuple[TrustDomain, ...] = Field(
        min_length=1, max_length=20, description="SPIFFE trust domains whose callers may connect."
    )
    reflection: bool = Field(default=False, description="Serve gRPC reflection; off in production.")
    port_file: Path | None = Field(
        default=None, description="Written with the port once listening, for port 0."
    )
    drain_notice_s: Annotated[float, Field(ge=0, le=limits.DRAIN_NOTICE_MAX_S)] = Field(
        default=3.0,
        description="After SIGTERM: how long it says NOT_SERVING and still takes calls, so that "
        "load balancers look elsewhere first; seconds, 0 to 60. What is under way then gets "
        f"{limits.DRAIN_S:g} s.",
    )


class DatabaseConfig(_Section):
    """PostgreSQL, by TLS verify-full or over a private socket."""

    host: str = Field(description="Host name, or the absolute path of the socket directory.")
    port: Port = Field(default=5432, description="TCP port, or the number in the socket's name.")
    name: str = Field(default="tokenvault", description="Database.")
    user: str = Field(default="tokenvault_app", description="Role that serves requests.")
    password_file: Path = Field(description="File with the role's password.")
    worker_user: str = Field(default="tokenvault_worker", description="Role of background work.")
    worker_password_file: Path | None = Field(
        default=None, description="File with the worker's password; needed by `serve`."
    )
    ca_file: Path | None = Field(
        default=None,
        description="PEM bundle that verifies the server; needed unless host is a socket.",
    )
    pool_size: Annotated[int, Field(ge=1, le=200)] = Field(
        default=10, description="Connections for requests, 1 to 200."
    )
    statement_limit_s: Annotated[float, Field(ge=0.1, le=60)] = Field(
        default=5.0, description="Longest statement in seconds, 0.1 to 60."
    )

    @property
    def is_socket(self) -> bool:
        """Whether ``host`` is a socket directory."""
        return self.host.startswith("/")


class TransitConfig(_Section):
    """HashiCorp Vault or OpenBao transit, by AppRole."""

    address: str = Field(
        description="https URL of the server.", pattern=r"^https://[^\s/@]+(/[^\s]*)?$"
    )
    ca_file: Path = Field(description="PEM bundle that verifies the server.")
    mount: str = Field(default="transit", description="Mount path of the transit engine.")
    key_prefix: Name = Field(
        default="tokenvault-", description="Prefix of the tenants' transit keys."
    )
    auth_mount: str = Field(default="approle", description="Mount path of the AppRole method.")
    role_id_file: Path = Field(description="File with the role id.")
    secret_id_file: Path = Field(description="File with the secret id.")


class EgressConfig(_Section):
    """The way out to providers."""

    allowed_private: tuple[HostPort, ...] = Field(
        default=(),
        max_length=50,
        description='Exceptions from the address rules, as "host:port" in URLs.',
    )
    ca_file: Path | None = Field(
        default=None,
        description="PEM bundle trusted beside the system's, for providers of your own.",
    )


class DekCacheConfig(_Section):
    """How long opened DEKs stay in memory."""

    soft_life_s: Annotated[float, Field(ge=1, le=3_600)] = Field(
        default=300.0, description="Refreshed in the background after this many seconds, 1 to 3600."
    )
    hard_life_s: Annotated[float, Field(ge=1, le=86_400)] = Field(
        default=3_600.0, description="Never used after this many seconds, 1 to 86400 (24 h)."
    )
    entries_max: Annotated[int, Field(ge=10, le=50_000)] = Field(
        default=50_000, description="DEKs in memory, 10 to 50000."
    )


class SecretsConfig(_Section):
    """Secrets with an expire_time."""

    reminder_s: Annotated[float, Field(ge=60, le=31_536_000)] = Field(
        default=float(limits.SECRET_REMINDER_S),
        description="The record has SECRET_EXPIRING_SOON so many seconds before, 60 to 31536000.",
    )


class SpoolConfig(_Section):
    """Where this host keeps what it asked of providers and what came back, until the database
    has it (docs/how-to/spool.md). On a disk that outlives the process."""

    path: Path | None = Field(
        default=None,
        description="Folder of its own, mode 0700, made if missing; processes of one host may "
        "share it. Needed by `serve`.",
    )
    slots: Annotated[int, Field(ge=limits.SPOOL_SLOTS_MIN, le=limits.SPOOL_SLOTS_MAX)] = Field(
        default=limits.SPOOL_SLOTS,
        description="Refreshes that may be under way or wait for the database, in one process, "
        "16 to 4096; each takes 76 KiB of disk.",
    )


class MetricsConfig(_Section):
    """Metrics and health over plain http: `/metrics`, `/livez`, `/readyz`. They hold no secret, no
    tenant and no caller; whoever reaches the port reads them."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: Annotated[int, Field(ge=0, le=65_535)] | None = Field(
        default=None,
        description="TCP port, 1 to 65535 (9464 is usual); 0 lets the system choose. Without it "
        "nothing listens.",
    )
    port_file: Path | None = Field(
        default=None, description="Written with the port once listening, for port 0."
    )


class TracesConfig(_Section):
    """OpenTelemetry traces, off without an endpoint. A request to the collector carries names of
    RPCs, statements, operations and hosts, request ids and reasons."""

    otlp_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/@?#]+/[^\s?#]*$",
        max_length=limits.URI_MAX_CHARS,
        description="URL for OTLP over HTTP with its path, such as "
        "`https://collector.internal.example:4318/v1/traces`; plain http to this machine only.",
    )
    ca_file: Path | None = Field(
        default=None, description="PEM bundle that verifies the collector; else the system's."
    )
    sampling_ratio: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.05,
        description="Share of the traces begun here that are recorded, 0 to 1. A call whose caller "
        "records its own trace is recorded with it.",
    )


class LogConfig(_Section):
    """Logs go to standard error; they never hold a message."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level."
    )
    json_lines: bool = Field(default=True, description="JSON lines; false prints for people.")


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
