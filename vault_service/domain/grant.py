"""A Grant: what a resource owner gave us and we keep."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

from vault_service.domain import limits
from vault_service.domain.envelope import Binding, DekOwner, Field, Level
from vault_service.domain.names import GrantName
from vault_service.domain.sensitive import Sensitive

# The end of an access token that has none. Not the last moment there is, so that who adds to it
# gets a moment too.
NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)


class GrantState(Enum):
    """The lifecycle of a grant; REVOKED is a tombstone that nothing leaves."""

    ACTIVE = 1
    REAUTHORIZATION_REQUIRED = 2
    REVOKED = 3


class ReauthorizationCause(Enum):
    """Why consent is needed again."""

    REVOKED_BY_OWNER = 1
    EXPIRED_UNUSED = 2
    SUCCESSOR_LOST = 3
    SCOPES_MISSING = 4
    BY_OPERATOR = 5


class ProviderRevocation(Enum):
    """What became of a revocation at the provider (RFC 7009)."""

    NONE = 0
    DONE = 1
    PENDING = 2
    UNSUPPORTED = 3


@dataclass(frozen=True, slots=True)
class Grant:
    """One row of grants, its envelopes still sealed.

    ``revision`` counts every change of the row; ``generation`` counts successful refreshes and
    starts at 1. Each envelope keeps the generation at which it was sealed, because that number
    is bound into it.
    """

    tenant: str
    grant_id: uuid.UUID
    owner: str  # the first owner, under whose DEK the envelopes are sealed
    oauth_client: str
    provider: str
    issuer: str  # pinned at consent (RFC 9700 §4.4)
    token_endpoint: str  # pinned at consent
    subject: str | None
    state: GrantState
    cause: ReauthorizationCause | None
    scopes: tuple[str, ...]
    token_type: str
    revision: int
    generation: int
    access_envelope: bytes | None
    access_generation: int
    access_expire_time: datetime | None
    access_life_s: int  # what the provider gives a new token, not what an old one has left
    refresh_envelope: bytes | None
    refresh_generation: int
    provider_revocation: ProviderRevocation
    create_time: datetime
    update_time: datetime
    read_time: datetime  # the database's clock when the row was read: judges expiry
    delete_time: datetime | None = None  # a tombstone that no call finds any more
    rejected_generation: int | None = None  # whose access token an API refused (reported)
    unrenewed_time: datetime | None = None  # when a refresh brought the token that was here already
    asked_scopes: tuple[str, ...] = ()  # by the newest consent; (): one of before they were kept

    @property
    def name(self) -> GrantName:
        """``tenants/{t}/grants/{id}``"""
        return GrantName(self.tenant, self.grant_id)

    @property
    def dek_owner(self) -> DekOwner:
        """Whose DEK seals this grant."""
        return DekOwner(self.tenant, Level.USER, self.owner)

    @property
    def scopes_to_refresh(self) -> tuple[str, ...]:
        """What a refresh asks for: never more than was granted (RFC 6749 §6), and in our names
        where those are known, because the provider's own may be added to them."""
        return tuple(one for one in self.asked_scopes if one in self.scopes) or self.scopes

    def access_binding(self, generation: int | None = None) -> Binding:
        """Binding of the access token envelope, of this row or of a coming generation."""
        return self._binding(Field.ACCESS_TOKEN, generation or self.access_generation)

    @property
    def carries_its_token_on(self) -> bool:
        """Whether its refresh token is older than its generation: a consent or a refresh that
        brought none kept it."""
        return self.refresh_envelope is not None and self.refresh_generation != self.generation

    def refresh_binding(self, generation: int | None = None) -> Binding:
        """Binding of the refresh token envelope, of this row or of a coming generation."""
        return self._binding(Field.REFRESH_TOKEN, generation or self.refresh_generation)

    def _binding(self, field: Field, generation: int) -> Binding:
        return Binding(self.dek_owner, str(self.grant_id), field, generation, self.provider)


@dataclass(frozen=True, slots=True)
class GrantFilter:
    """Which grants a list has; what is None or "" does not narrow it."""

    state: GrantState | None = None
    oauth_client: str = ""
    provider: str = ""


EVERY_GRANT: Final = GrantFilter()


@dataclass(frozen=True, slots=True)
class SealedTokens:
    """The envelopes of one token answer, ready for the row."""

    generation: int
    access_envelope: bytes
    access_expire_time: datetime
    access_life_s: int
    refresh_envelope: bytes | None  # None keeps the one in the row
    scopes: tuple[str, ...]
    token_type: str
    unrenewed: bool = False  # a refresh brought the token that the row has, with what it has left


class RejectionKind(Enum):
    """What became of a report that an API refused the newest token."""

    MARKED = 1  # the next call refreshes
    STANDING = 2  # it was marked before
    MOVED = 3  # the grant has another generation meanwhile, or is not ACTIVE any more
    TOO_SOON = 4  # an earlier generation was reported a moment ago


@dataclass(frozen=True, slots=True)
class Rejection:
    """The outcome, and for TOO_SOON the seconds until a report counts again."""

    kind: RejectionKind
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Lease:
    """The short exclusive right to refresh one grant."""

    grant_id: uuid.UUID
    fence: int
    acquire_time: datetime  # the database's clock; token lives are counted from here


class Served(Enum):
    """Which token a caller got."""

    FRESH = 1  # the stored one has enough life left
    REFRESHED = 2  # a new one was made, by this call or one that it waited for
    STALE_PROVIDER_DOWN = 3  # the stored one lives, and a newer one was due but is not to be had


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What a caller gets: a short-lived token and nothing longer-lived."""

    grant: GrantName
    value: Sensitive
    token_type: str
    expire_time: datetime
    scopes: tuple[str, ...]
    fingerprint: str
    served: Served
    grant_state: GrantState

    @property
    def refreshed(self) -> bool:
        """Whether a refresh was made for it."""
        return self.served is Served.REFRESHED

    @property
    def never_expires(self) -> bool:
        """Whether the provider gave it no end."""
        return self.expire_time == NEVER


def effective_min_ttl_s(asked_s: float | None, life_s: int) -> float:
    """The remaining life a token must have.

    Unasked it is 60 s, but at most half of the life the provider issues, so that a provider
    with very short tokens works without configuration.
    """
    if asked_s is None:
        return min(float(limits.MIN_TTL_DEFAULT_S), life_s / 2)
    return asked_s


def min_ttl_reachable(min_ttl_s: float, life_s: int) -> bool:
    """Whether a fresh token could satisfy it: at most the life last issued, less 10 %."""
    return min_ttl_s <= life_s * 0.9


def unrenewed_pause_s(grant: Grant, now: datetime) -> float:
    """How long the provider is not asked for a newer token: it gave the present one again, and will
    until that is about to end. When that is, nobody tells, so it is asked now and then."""
    if grant.unrenewed_time is None or grant.access_expire_time is None:
        return 0.0
    pause_s = min(grant.access_life_s * limits.UNRENEWED_SHARE, limits.UNRENEWED_PAUSE_MAX_S)
    again = grant.unrenewed_time + timedelta(seconds=max(pause_s, limits.RETRY_AFTER_S))
    return max(0.0, (min(again, grant.access_expire_time) - now).total_seconds())


def is_rejected(grant: Grant) -> bool:
    """Whether an API refused the access token that the row has (reported by a caller)."""
    return grant.rejected_generation == grant.generation


def is_due(grant: Grant, now: datetime) -> bool:
    """Whether a newer access token is wanted, although this one may still be alive: most of its
    life is over, or an API refused it."""
    if grant.access_expire_time is None or is_rejected(grant):
        return True
    rest = timedelta(seconds=grant.access_life_s * (1 - limits.REFRESH_AT_SHARE))
    return grant.access_expire_time - now <= rest


def needs_refresh(expire_time: datetime | None, now: datetime, min_ttl_s: float) -> bool:
    """Whether less than ``min_ttl_s`` is left; a token already expired always needs one."""
    if expire_time is None:
        return True
    left = expire_time - now
    return left <= timedelta(0) or left < timedelta(seconds=min_ttl_s)
