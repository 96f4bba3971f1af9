"""A Secret: an opaque value that callers may read back, at one of two levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Final

from vault_service.domain.envelope import Binding, DekOwner, Field
from vault_service.domain.names import SecretName


class SecretVersionState(Enum):
    """Whether a version's value can be read; DESTROYED is for ever."""

    ACTIVE = 1
    EXPIRED = 2
    DESTROYED = 3


@dataclass(frozen=True, slots=True)
class Secret:
    """A row of secrets: what all versions of one name share.

    ``version`` is the newest number that was given out; none is ever given twice. With a
    ``delete_time`` it is a tombstone, which nothing but a new version changes.
    """

    name: SecretName
    version: int
    labels: Mapping[str, str]
    revision: int
    create_time: datetime
    update_time: datetime
    delete_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class SecretVersion:
    """One version of a Secret, its value still sealed. Versions count from 1.

    ``envelope`` is None exactly where ``destroy_time`` is set. ``read_time`` is the database's
    clock when the row was read: it judges expiry.
    """

    name: SecretName
    version: int
    envelope: bytes | None
    create_time: datetime
    expire_time: datetime | None = None
    destroy_time: datetime | None = None
    read_time: datetime | None = None

    @property
    def binding(self) -> Binding:
        """Binding of the value's envelope."""
        return secret_binding(self.name, self.version)

    @property
    def state(self) -> SecretVersionState:
        """As of ``read_time``."""
        if self.destroy_time is not None:
            return SecretVersionState.DESTROYED
        moment = self.read_time or self.create_time
        if self.expire_time is not None and self.expire_time <= moment:
            return SecretVersionState.EXPIRED
        return SecretVersionState.ACTIVE


@dataclass(frozen=True, slots=True)
class SecretRequest:
    """A PutSecret that its caller may send again: ``digest`` is keyed and names what was asked."""

    caller: str
    request_id: str
    digest: str


@dataclass(frozen=True, slots=True)
class AnsweredRequest:
    """What a request of this id made, and the digest of what it had asked."""

    digest: str
    name: SecretName
    version: int


@dataclass(frozen=True, slots=True)
class ExpiringVersion:
    """A version whose end is near, for its reminder."""

    name: SecretName
    version: int
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class SecretChanges:
    """What a PutSecret asks beside the value. A label with the value "" is taken away."""

    etag: str = ""
    request_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    expire_time: datetime | None = None


NO_CHANGES: Final = SecretChanges()


def secret_binding(name: SecretName, version: int) -> Binding:
    """Binding of one SecretVersion's value."""
    return Binding(secret_owner(name), name.secret, Field.SECRET_VALUE, version)


def secret_owner(name: SecretName) -> DekOwner:
    """Whose DEK seals this secret's versions."""
    return DekOwner(name.tenant, name.level, name.owner)


def merged_labels(known: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """The labels after a change: those given are set, those given as "" are gone."""
    merged = dict(known) | dict(changes)
    return {key: value for key, value in merged.items() if value}
