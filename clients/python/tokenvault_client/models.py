"""What calls return. Frozen; times are aware datetimes in UTC; secrets are hidden from repr."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from tokenvault_client.enums import (
    AnswerClass,
    AttemptState,
    AuditOutcome,
    BodyEncoding,
    ClientAuthMethod,
    GrantEventKind,
    GrantState,
    Level,
    ProviderRevocation,
    ReauthorizationCause,
    Recovery,
    RefreshClass,
    SecretVersionState,
    Served,
    TokenLife,
    WaitsFor,
    WebhookState,
)

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """A short-lived access token: ``value`` is secret, ``fingerprint`` names it in the record."""

    value: str = field(repr=False)
    token_type: str
    expire_time: datetime
    scopes: tuple[str, ...]
    fingerprint: str
    served: Served
    grant: str  # "tenants/{tenant}/grants/{uuid}", also where an alias was asked
    grant_state: GrantState
    never_expires: bool = False  # then expire_time is in the year 9999

    @property
    def refreshed(self) -> bool:
        """Whether a refresh was made for it, by this call or one that it waited for."""
        return self.served is Served.REFRESHED


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """A consent that was begun. The URL carries the state: keep both out of logs."""

    url: str = field(repr=False)
    state: str = field(repr=False)
    expire_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a resource owner gave and the service keeps; its tokens are not part of it."""

    name: str
    owner: str
    oauth_client: str
    provider: str
    subject: str  # "" where the provider tells none
    state: GrantState
    cause: ReauthorizationCause
    scopes: tuple[str, ...]
    generation: int
    access_token_expire_time: datetime | None
    provider_revocation: ProviderRevocation
    etag: str
    create_time: datetime | None
    update_time: datetime | None
    delete_time: datetime | None = None  # only in the answer of delete_grant


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedAuthorization:
    """The grant that a consent became, and the alias that points at it.

    ``not_refreshable``: when the grant's access token ends, consent is needed again.
    """

    grant: Grant
    alias: str
    not_refreshable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantEvent:
    """Something that happened to a grant, and how it stood after it.

    Of two events of one grant the one with the greater ``revision`` is the later.
    """

    id: str
    grant: str
    kind: GrantEventKind
    owner: str
    oauth_client: str
    provider: str
    state: GrantState
    cause: ReauthorizationCause
    generation: int
    revision: int
    event_time: datetime | None


@dataclass(frozen=True, slots=True)
class WatchStep:
    """One step of a watch. ``event`` is None where only time passed; ``cursor`` is where to go on
    from after it: keep it once the event is dealt with.
    """

    event: GrantEvent | None
    cursor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorIn200:
    """How a provider reports errors in a 200; without ``codes`` a 200 ends no grant."""

    member: str = ""  # dotted path of the member that has the code; "error" where empty
    codes: Mapping[str, AnswerClass] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """An authorization server and how it behaves. Endpoints are https URLs.

    What each field means stands in resources.proto, message Provider; what is left out has the
    service's default. ``etag`` and the times are the service's; they are not sent.
    """

    name: str
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    revocation_endpoint: str = ""
    refresh_class: RefreshClass = RefreshClass.UNSPECIFIED
    grace_s: int = 0
    authorization_params: Mapping[str, str] = field(default_factory=dict, hash=False)
    scope_separator: str = ""
    subject_from: str = ""
    requires_iss: bool = False
    default_life_s: int = 0
    token_paths: Mapping[str, str] = field(default_factory=dict, hash=False)
    error_in_200: ErrorIn200 = field(default_factory=ErrorIn200)
    error_codes: Mapping[str, AnswerClass] = field(default_factory=dict, hash=False)
    refresh_kills_old_access_token: bool = False
    probe_endpoint: str = ""
    introspection_endpoint: str = ""
    requires_scope_on_refresh: bool = False
    max_idle_s: int = 0
    confirm_after_s: int = 0
    rate_per_s: int = 0
    rate_per_min: int = 0
    refresh_parallel_max: int = 0
    body_encoding: BodyEncoding = BodyEncoding.UNSPECIFIED
    auth_methods: tuple[ClientAuthMethod, ...] = ()
    recovery: Recovery = Recovery.UNSPECIFIED
    error_code_paths: tuple[str, ...] = ()
    scope_aliases: Mapping[str, str] = field(default_factory=dict, hash=False)
    scopes_not_comparable: bool = False
    token_life: TokenLife = TokenLife.UNSPECIFIED
    token_params: Mapping[str, str] = field(default_factory=dict, hash=False)
    etag: str = ""
    create_time: datetime | None = None
    update_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCredential:
    """One of a registration's overlapping client secrets, without the secret."""

    version: int
    create_time: datetime | None  # None where that is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthClient:
    """Our registration at a provider; its credentials never come back.

    ``credentials`` are those that are not retired, newest first; the first one is used, and a
    public client has none. They, ``etag`` and the times are the service's; they are not sent.
    """

    name: str
    provider: str
    client_id: str
    auth_method: ClientAuthMethod = ClientAuthMethod.UNSPECIFIED
    redirect_uris: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    etag: str = ""
    create_time: datetime | None = None
    update_time: datetime | None = None
    credentials: tuple[ClientCredential, ...] = ()
    suspend_time: datetime | None = None
    token_params: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientHold:
    """A pause that a provider asked for: until ``end_time`` no refresh of it is sent."""

    oauth_client: str
    end_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A secret without its versions. ``latest_version`` counts those that are destroyed too."""

    name: str
    level: Level
    latest_version: int
    labels: Mapping[str, str] = field(hash=False)
    etag: str
    create_time: datetime | None
    update_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretVersion:
    """One version of a secret, without its value. Versions count from 1."""

    secret: str
    version: int
    level: Level
    create_time: datetime | None
    expire_time: datetime | None = None
    destroy_time: datetime | None = None
    state: SecretVersionState = SecretVersionState.UNSPECIFIED


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretValue:
    """A secret's value and which version it is."""

    value: bytes = field(repr=False)
    secret_version: SecretVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """The record of who saw or changed what."""

    id: str
    record_time: datetime | None
    action: str
    outcome: AuditOutcome
    reason: str
    caller: str
    certificate_serial: str
    source: str
    rpc: str
    request_id: str
    resource: str
    token_fingerprint: str
    detail: Mapping[str, str] = field(hash=False)
    deployment: str
    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """An endpoint that is told what happens to grants; its secret never comes back.

    ``kinds`` empty means all. ``state`` and the times are the service's; they are not sent.
    """

    name: str
    url: str
    kinds: tuple[GrantEventKind, ...] = ()
    etag: str = ""
    state: WebhookState = WebhookState.UNSPECIFIED
    overlap_end_time: datetime | None = None
    create_time: datetime | None = None
    update_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A delivery that was given up. ``status`` is that of the last answer, 0 where none came."""

    id: str
    webhook: str
    grant: str
    kind: GrantEventKind
    attempts: int
    status: int
    detail: str
    dead_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedToken:
    """What a report did. ``already_refreshed``: a newer token was there already."""

    grant: str
    already_refreshed: bool


@dataclass(frozen=True, slots=True)
class Page(Generic[ItemT]):
    """One page of a list; ``next_page_token`` is "" on the last."""

    items: tuple[ItemT, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedAnswer:
    """What a provider answered and is kept, without its content; ``status`` 0 where the kept bytes
    cannot be opened. ``why`` it cannot be read, and ``oddity``, are the service's words."""

    status: int
    length: int
    media_type: str
    why: str
    oddity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One refresh of a grant. ``next_try_time`` is None while it waits for a person."""

    name: str
    grant: str
    provider: str
    refresh_class: RefreshClass
    state: AttemptState
    waits_for: WaitsFor
    retries: int
    generation: int
    reason: str
    answer_kept: bool
    received: ReceivedAnswer | None
    spool: str
    create_time: datetime | None
    update_time: datetime | None
    next_try_time: datetime | None
    etag: str
