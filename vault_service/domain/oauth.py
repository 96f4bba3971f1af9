"""OAuthClients, authorizations under way, and what a token endpoint answers."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from vault_service.domain.consent import Ending
from vault_service.domain.envelope import Binding, DekOwner, Field, Level
from vault_service.domain.names import OAuthClientName
from vault_service.domain.sensitive import Sensitive


class ClientAuthMethod(Enum):
    """How we authenticate at a token endpoint (RFC 6749 §2.3.1)."""

    CLIENT_SECRET_BASIC = 1
    CLIENT_SECRET_POST = 2
    NONE = 3  # a public client: client_id in the body, no secret (§2.1, §3.2.1)


class Liveness(Enum):
    """What a provider says of a token it was asked about."""

    ACTIVE = 1
    INACTIVE = 2
    UNKNOWN = 3  # it did not say, or not clearly


@dataclass(frozen=True, slots=True)
class CredentialVersion:
    """One of an OAuthClient's credentials that is not retired, without its envelope."""

    version: int
    create_time: datetime | None  # None: it was there before times were kept


@dataclass(frozen=True, slots=True)
class SealedCredential:
    """A credential's envelope and the version that is bound into it."""

    version: int
    envelope: bytes


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """Our registration at a provider; the credential in use stays sealed in the row.

    ``credentials`` are all that are not retired, newest first; the first is the one in use.
    """

    name: OAuthClientName
    provider: str
    issuer: str
    client_id: str
    auth_method: ClientAuthMethod
    redirect_uris: tuple[str, ...]
    scopes: tuple[str, ...]  # asked where StartAuthorization names none
    credential_envelope: bytes
    credential_version: int
    revision: int
    create_time: datetime
    update_time: datetime
    suspend_time: datetime | None = None
    credentials: tuple[CredentialVersion, ...] = ()
    token_params: Mapping[str, str] = field(default_factory=dict)  # go before the provider's

    @property
    def is_public(self) -> bool:
        """Whether it has no secret; its envelope seals an empty one then."""
        return self.auth_method is ClientAuthMethod.NONE

    @property
    def credential_binding(self) -> Binding:
        """Binding of the credential envelope in this row."""
        return credential_binding(self.name, self.credential_version, self.provider)


def credential_binding(name: OAuthClientName, version: int, provider: str) -> Binding:
    """Binding of an OAuthClient's credential: application level, one DEK per tenant."""
    owner = DekOwner(name.tenant, Level.APPLICATION, "")
    return Binding(owner, name.oauth_client, Field.CLIENT_CREDENTIAL, version, provider)


@dataclass(frozen=True, slots=True)
class ClientCredential:
    """An OAuthClient's registration with its secret opened, for one request; a public client's
    secret is empty."""

    client_id: str
    client_secret: Sensitive
    auth_method: ClientAuthMethod
    token_params: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Authorization:
    """A consent under way: what its state is bound to.

    ``state_hash`` is SHA-256 of the state; the state itself is only in the URL. ``code_hash`` is
    set before the code is presented, and given back only where it surely was not looked at.
    """

    tenant: str
    authorization_id: uuid.UUID
    state_hash: bytes
    caller: str
    owner: str
    label: str
    oauth_client: str
    provider: str
    redirect_uri: str
    scopes: tuple[str, ...]
    nonce: str
    verifier_envelope: bytes
    create_time: datetime
    expire_time: datetime
    code_hash: bytes | None
    claim_time: datetime | None
    grant_id: uuid.UUID | None  # the outcome
    read_time: datetime  # the database's clock when the row was read
    claim_id: uuid.UUID | None = None  # of the exchange that holds or held the code
    ending: Ending | None = None  # the other outcome
    answer_envelope: bytes | None = None  # beside an ending: what came and could not be read

    @property
    def verifier_binding(self) -> Binding:
        """Binding of the PKCE verifier, sealed under the owner it was started for."""
        return verifier_binding(self.tenant, self.owner, self.authorization_id, self.provider)

    @property
    def answer_binding(self) -> Binding:
        """Binding of the raw answer to the exchange of its code."""
        dek_owner = DekOwner(self.tenant, Level.USER, self.owner)
        record_id = str(self.authorization_id)
        return Binding(dek_owner, record_id, Field.CONSENT_ANSWER, 1, self.provider)


def verifier_binding(
    tenant: str, owner: str, authorization_id: uuid.UUID, provider: str
) -> Binding:
    """Binding of a PKCE verifier."""
    dek_owner = DekOwner(tenant, Level.USER, owner)
    return Binding(dek_owner, str(authorization_id), Field.CODE_VERIFIER, 1, provider)


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """A successful answer of a token endpoint (RFC 6749 §5.1), bounded and parsed."""

    access_token: Sensitive
    refresh_token: Sensitive | None
    token_type: str
    expires_in_s: int | None
    scopes: tuple[str, ...] | None  # None: the provider said nothing, as asked
    subject: str | None
    expire_time: datetime | None = None  # a moment that is told, beside or instead of the life
    endless: bool = False  # it has no end; then neither of the two counts
    oddities: tuple[str, ...] = ()  # what was odd about its body, in our own words
