"""A Secret: an opaque value that callers may read back, at one of two levels."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from vault_service.domain.envelope import Binding, DekOwner, Field
from vault_service.domain.names import SecretName


@dataclass(frozen=True, slots=True)
class SecretVersion:
    """One version of a Secret, its value still sealed. Versions count from 1."""

    name: SecretName
    version: int
    envelope: bytes
    create_time: datetime

    @property
    def binding(self) -> Binding:
        """Binding of the value's envelope."""
        return secret_binding(self.name, self.version)


def secret_binding(name: SecretName, version: int) -> Binding:
    """Binding of one SecretVersion's value."""
    owner = DekOwner(name.tenant, name.level, name.owner)
    return Binding(owner, name.secret, Field.SECRET_VALUE, version)
