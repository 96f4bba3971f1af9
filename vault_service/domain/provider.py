"""A Provider: an authorization server and how it behaves. Its profile is data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass
from vault_service.domain.names import ProviderName
from vault_service.domain.oauth import ClientAuthMethod


class RefreshClass(Enum):
    """What happens to the old refresh token after a refresh (docs: explanation/refresh)."""

    N = 1  # it stays the same one
    M = 2  # a new one comes, the old stays valid
    G = 3  # a new one comes, the old works for grace_s more
    S = 4  # a new one comes, the old is dead at once: the default for every unknown provider


class BodyEncoding(Enum):
    """How requests to the token endpoint are written."""

    FORM = 1  # RFC 6749 §4.1.3: every server must take it
    JSON = 2


class Recovery(Enum):
    """What is done about a refresh that is in doubt at a provider of class S."""

    RETRY = 1  # introspect or probe where that is possible, then one fenced retry
    PROBE_ONLY = 2  # retry only where a probe shows that the refresh did not happen
    MANUAL = 3  # an operator decides


class TokenLife(Enum):
    """What ``expires_in`` of a provider means."""

    EXPIRES = 1  # the seconds of its life (RFC 6749 §5.1)
    ZERO_IS_ENDLESS = 2  # exactly 0: the token has no end
    ENDLESS = 3  # tokens have no end, unless a life above 0 is told


@dataclass(frozen=True, slots=True)
class ErrorIn200:
    """How a provider reports errors in a 200. Without ``codes`` a 200 condemns no grant."""

    member: str = "error"  # dotted path of the member that has the code
    codes: Mapping[str, AnswerClass] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProviderProfile:
    """Endpoints and quirks. Endpoints are https URLs, "" where there is none; paths are dotted.

    A provider with regions is one profile for each region: grants hang on the issuer.
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    revocation_endpoint: str = ""  # RFC 7009
    refresh_class: RefreshClass = RefreshClass.S
    grace_s: int = 0  # class G only
    authorization_params: Mapping[str, str] = field(default_factory=dict)
    scope_separator: str = " "
    subject_from: str = "id_token:sub"  # or "response:<member or path>" of the answer
    requires_iss: bool = False  # RFC 9207 §2.3: the server promised iss in its answers
    default_life_s: int = limits.TOKEN_LIFE_DEFAULT_S  # where expires_in is omitted
    # Where the members of a token answer stand, for those that are not at the top.
    token_paths: Mapping[str, str] = field(default_factory=dict)
    error_in_200: ErrorIn200 = field(default_factory=ErrorIn200)
    # What the provider's own codes mean in a 4xx: "code", or "code: the exact description".
    error_codes: Mapping[str, AnswerClass] = field(default_factory=dict)
    # Where the provider's error code stands, in an answer of any status: tried in this order before
    # the built-in places. Dotted; a whole number is the index of a list ("errors.0.code").
    error_code_paths: tuple[str, ...] = ()
    scope_aliases: Mapping[str, str] = field(default_factory=dict)  # as asked -> as answered
    scopes_not_comparable: bool = False  # what is answered says nothing: those asked are granted
    token_life: TokenLife = TokenLife.EXPIRES
    # Extra parameters of code exchanges and refreshes; those of an OAuthClient go before.
    token_params: Mapping[str, str] = field(default_factory=dict)
    refresh_kills_old_access_token: bool = False  # so it is never refreshed ahead of its end
    probe_endpoint: str = ""  # GET with an access token tells whether that is alive
    introspection_endpoint: str = ""  # RFC 7662
    requires_scope_on_refresh: bool = False
    max_idle_s: int = 0  # an unused refresh token dies after this; 0: not known to
    confirm_after_s: int = limits.CONFIRM_AFTER_S  # before invalid_grant is believed
    rate_per_s: int = 0  # requests of one OAuthClient; 0: no budget is known
    rate_per_min: int = 0
    refresh_parallel_max: int = limits.HTTP_CONNECTIONS_PER_HOST_MAX  # bulkhead, per process
    body_encoding: BodyEncoding = BodyEncoding.FORM
    auth_methods: tuple[ClientAuthMethod, ...] = ()  # empty: any
    recovery: Recovery = Recovery.RETRY


@dataclass(frozen=True, slots=True)
class Provider:
    """One row of providers."""

    name: ProviderName
    profile: ProviderProfile
    revision: int
    create_time: datetime
    update_time: datetime
