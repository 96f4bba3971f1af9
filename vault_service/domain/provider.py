"""A Provider: an authorization server and how it behaves. Its profile is data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from vault_service.domain import limits
from vault_service.domain.names import ProviderName


class RefreshClass(Enum):
    """What happens to the old refresh token after a refresh (docs: explanation/refresh)."""

    N = 1  # it stays the same one
    M = 2  # a new one comes, the old stays valid
    G = 3  # a new one comes, the old works for grace_s more
    S = 4  # a new one comes, the old is dead at once: the default for every unknown provider


@dataclass(frozen=True, slots=True)
class ProviderProfile:
    """Endpoints and quirks. Endpoints are https URLs."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    revocation_endpoint: str = ""  # empty: the provider has none
    refresh_class: RefreshClass = RefreshClass.S
    grace_s: int = 0  # class G only
    authorization_params: Mapping[str, str] = field(default_factory=dict)
    scope_separator: str = " "
    subject_from: str = "id_token:sub"  # or "response:<member>" of the token answer
    requires_iss: bool = False  # RFC 9207 §2.3: the server promised iss in its answers
    default_life_s: int = limits.TOKEN_LIFE_DEFAULT_S  # where expires_in is omitted


@dataclass(frozen=True, slots=True)
class Provider:
    """One row of providers."""

    name: ProviderName
    profile: ProviderProfile
    revision: int
    create_time: datetime
    update_time: datetime
