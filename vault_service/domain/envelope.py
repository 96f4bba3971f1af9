"""What an envelope is bound to. The bytes are made in ``crypto``; here are the facts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """Whose secret it is; the value is the word inside the associated data."""

    APPLICATION = "app"
    USER = "user"


class Field(Enum):
    """Which column an envelope stands in; the value is part of the associated data."""

    REFRESH_TOKEN = "refresh_token"
    ACCESS_TOKEN = "access_token"
    CLIENT_CREDENTIAL = "client_credential"
    CODE_VERIFIER = "code_verifier"
    SECRET_VALUE = "secret_value"
    REFRESH_ANSWER = "refresh_answer"
    CONSENT_ANSWER = "consent_answer"
    WEBHOOK_SECRET = "webhook_secret"


@dataclass(frozen=True, slots=True)
class DekOwner:
    """Whose DEK it is: one DEK per (tenant, level, owner).

    ``owner`` is empty exactly for ``Level.APPLICATION``.
    """

    tenant: str
    level: Level
    owner: str

    def __post_init__(self) -> None:
        if (self.owner == "") != (self.level is Level.APPLICATION):
            raise ValueError("an application-level DEK has no owner, a user-level one has")


@dataclass(frozen=True, slots=True)
class Binding:
    """The row, column and version that one envelope belongs to.

    ``record_id`` is the row's id. ``version`` is the SecretVersion's number, or for grants the
    generation at sealing. ``provider`` is empty for secrets.
    """

    dek_owner: DekOwner
    record_id: str
    field: Field
    version: int
    provider: str = ""


@dataclass(frozen=True, slots=True)
class WrappedDek:
    """One row of the table deks: the DEK under the tenant's KEK."""

    dek_id: bytes  # 16 bytes
    dek_owner: DekOwner
    wrapped: str  # transit ciphertext, "vault:v1:..."
    kek_version: int
