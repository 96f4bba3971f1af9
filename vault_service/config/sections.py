"""The sections of the configuration. Every field says its unit and bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from vault_service.config.section import Section
from vault_service.domain import limits

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
Port = Annotated[int, Field(ge=1, le=65_535)]
HostPort = Annotated[str, StringConstraints(pattern=r"^[^\s/@]+:[0-9]{1,5}$", max_length=262)]
TrustDomain = Annotated[str, StringConstraints(pattern=r"^[a-z0-9._-]{1,255}$")]


class ServerConfig(Section):
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


class DatabaseConfig(Section):
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


class TransitConfig(Section):
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


class EgressConfig(Section):
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


class DekCacheConfig(Section):
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


class SecretsConfig(Section):
    """Secrets with an expire_time."""

    reminder_s: Annotated[float, Field(ge=60, le=31_536_000)] = Field(
        default=float(limits.SECRET_REMINDER_S),
        description="The record has SECRET_EXPIRING_SOON so many seconds before, 60 to 31536000.",
    )


class SchedulerConfig(Section):
    """Refreshes before anybody asks (docs/how-to/scheduler.md)."""

    enabled: bool = Field(
        default=True, description="Whether this process takes part; others may go on without it."
    )
    in_use_s: Annotated[float, Field(ge=0, le=limits.IN_USE_MAX_S)] = Field(
        default=limits.IN_USE_S,
        description="A grant counts as in use for so many seconds after a disclosure, 0 to "
        "31536000; its token is refreshed at 80 % of its life. 0: only callers and the keep-alive "
        "refresh.",
    )
    batch: Annotated[int, Field(ge=1, le=limits.SCHEDULER_BATCH_MAX)] = Field(
        default=limits.SCHEDULER_BATCH, description="Due grants that one tick takes, 1 to 1000."
    )
    parallel: Annotated[int, Field(ge=1, le=limits.SCHEDULER_PARALLEL_MAX)] = Field(
        default=limits.SCHEDULER_PARALLEL,
        description="Such refreshes under way in one process, 1 to 256; fewer while callers wait.",
    )
    rate_per_s: Annotated[float, Field(ge=0.1, le=limits.RATE_MAX)] = Field(
        default=limits.SCHEDULER_RATE_PER_S,
        description="Such refreshes a second of one OAuthClient, over all replicas, whose "
        "provider's profile has no rate budget, 0.1 to 10000. Where it has one, they take half.",
    )


class MetricsConfig(Section):
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


class TracesConfig(Section):
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


class LogConfig(Section):
    """Logs go to standard error; they never hold a message."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level."
    )
    json_lines: bool = Field(default=True, description="JSON lines; false prints for people.")
