"""Rows of PostgreSQL and values of the domain, translated into each other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Protocol

from vault_service.adapters.postgres.profiles import profile_from_json
from vault_service.domain import limits
from vault_service.domain.audit import AuditAction, AuditRecord, Outcome
from vault_service.domain.consent import Ending
from vault_service.domain.envelope import DekOwner, Level, WrappedDek
from vault_service.domain.errors import Reason
from vault_service.domain.grant import (
    Grant,
    GrantState,
    ProviderRevocation,
    ReauthorizationCause,
)
from vault_service.domain.names import OAuthClientName, ProviderName, SecretName
from vault_service.domain.oauth import (
    Authorization,
    ClientAuthMethod,
    CredentialVersion,
    OAuthClient,
)
from vault_service.domain.provider import Provider
from vault_service.domain.secret import (
    AnsweredRequest,
    ExpiringVersion,
    Secret,
    SecretVersion,
)


class Row(Protocol):
    """What asyncpg gives: columns by name."""

    def __getitem__(self, column: str, /) -> Any: ...


DEK: Final = "dek_id, tenant, level, owner, wrapped, kek_version"
PROVIDER: Final = "tenant, provider, profile, revision, create_time, update_time"
OAUTH_CLIENT: Final = (
    "tenant, oauth_client, provider, issuer, client_id, auth_method, redirect_uris, scopes, "
    "credential_envelope, credential_version, credential_time, revision, create_time, "
    "update_time, suspend_time, token_params, "
    "ARRAY(SELECT c.version FROM client_credentials c WHERE c.tenant = oauth_clients.tenant "
    "AND c.oauth_client = oauth_clients.oauth_client AND c.retire_time IS NULL "
    "AND c.version <> credential_version ORDER BY c.version DESC) AS older_versions, "
    "ARRAY(SELECT c.create_time FROM client_credentials c WHERE c.tenant = oauth_clients.tenant "
    "AND c.oauth_client = oauth_clients.oauth_client AND c.retire_time IS NULL "
    "AND c.version <> credential_version ORDER BY c.version DESC) AS older_times"
)
GRANT: Final = (
    "tenant, grant_id, owner, oauth_client, provider, issuer, token_endpoint, subject, state, "
    "cause, scopes, token_type, revision, generation, access_envelope, access_generation, "
    "access_expire_time, access_life_s, refresh_envelope, refresh_generation, "
    "provider_revocation, create_time, update_time, delete_time, rejected_generation, "
    "unrenewed_time, asked_scopes, "
    "clock_timestamp() AS read_time"
)
AUTHORIZATION: Final = (
    "tenant, authorization_id, state_hash, caller, owner, label, oauth_client, provider, "
    "redirect_uri, scopes, nonce, verifier_envelope, create_time, expire_time, code_hash, "
    "claim_time, grant_id, claim_id, ending, answer_envelope, clock_timestamp() AS read_time"
)
SECRET: Final = (
    "tenant, owner, secret, version, labels, revision, create_time, update_time, delete_time"
)
SECRET_VERSION: Final = (
    "tenant, owner, secret, version, envelope, create_time, expire_time, destroy_time, "
    "clock_timestamp() AS read_time"
)
AUDIT_RECORD: Final = (
    "record_id, tenant, action, outcome, reason, caller, certificate_serial, source, rpc, "
    "request_id, resource, deployment, instance, token_fingerprint, detail, record_time"
)


def dek_from(row: Row) -> WrappedDek:
    """A row of deks."""
    owner = DekOwner(row["tenant"], Level(row["level"]), row["owner"])
    return WrappedDek(bytes(row["dek_id"]), owner, row["wrapped"], row["kek_version"])


def provider_from(row: Row) -> Provider:
    """A row of providers."""
    return Provider(
        name=ProviderName(row["tenant"], row["provider"]),
        profile=profile_from_json(row["profile"]),
        revision=row["revision"],
        create_time=row["create_time"],
        update_time=row["update_time"],
    )


def oauth_client_from(row: Row) -> OAuthClient:
    """A row of oauth_clients, with the versions of its credentials."""
    versions = (row["credential_version"], *row["older_versions"])
    times = (row["credential_time"], *row["older_times"])
    return OAuthClient(
        name=OAuthClientName(row["tenant"], row["oauth_client"]),
        provider=row["provider"],
        issuer=row["issuer"],
        client_id=row["client_id"],
        auth_method=ClientAuthMethod(row["auth_method"]),
        redirect_uris=tuple(row["redirect_uris"]),
        scopes=tuple(row["scopes"]),
        credential_envelope=row["credential_envelope"],
        credential_version=row["credential_version"],
        revision=row["revision"],
        create_time=row["create_time"],
        update_time=row["update_time"],
        suspend_time=row["suspend_time"],
        credentials=tuple(map(CredentialVersion, versions, times)),
        token_params=json.loads(row["token_params"]),
    )


def grant_from(row: Row) -> Grant:
    """A row of grants with its read_time."""
    facts = {field: row[field] for field in _GRANT_FIELDS}
    cause = facts["cause"]
    return Grant(
        **{
            **facts,
            "grant_id": row["grant_id"],
            "state": GrantState(facts["state"]),
            "cause": None if cause is None else ReauthorizationCause(cause),
            "scopes": tuple(facts["scopes"]),
            "asked_scopes": tuple(facts["asked_scopes"]),
            "provider_revocation": ProviderRevocation(facts["provider_revocation"]),
        }
    )


_GRANT_FIELDS: Final = tuple(Grant.__dataclass_fields__)


def authorization_from(row: Row) -> Authorization:
    """A row of authorizations with its read_time."""
    facts = {field: row[field] for field in _AUTHORIZATION_FIELDS}
    ending = facts["ending"]
    return Authorization(
        **{
            **facts,
            "scopes": tuple(facts["scopes"]),
            "ending": None if ending is None else _ending_from(json.loads(ending)),
        }
    )


_AUTHORIZATION_FIELDS: Final = tuple(Authorization.__dataclass_fields__)


def ending_to_json(ending: Ending) -> str:
    """The column authorizations.ending."""
    return json.dumps(
        {
            "reason": ending.reason.name,
            "message": ending.message,
            "metadata": dict(ending.metadata),
        }
    )


def _ending_from(facts: Mapping[str, Any]) -> Ending:
    # A reason of a later release: that the code is of no use any more is what its caller must know.
    reason = Reason.__members__.get(facts["reason"], Reason.AUTHORIZATION_CODE_USED)
    return Ending(reason, facts["message"], facts["metadata"])


def secret_version_from(row: Row) -> SecretVersion:
    """A row of secret_versions with its read_time."""
    return SecretVersion(
        name=_secret_name(row),
        version=row["version"],
        envelope=row["envelope"],
        create_time=row["create_time"],
        expire_time=row["expire_time"],
        destroy_time=row["destroy_time"],
        read_time=row["read_time"],
    )


def secret_from(row: Row) -> Secret:
    """A row of secrets."""
    return Secret(
        name=_secret_name(row),
        version=row["version"],
        labels=json.loads(row["labels"]),
        revision=row["revision"],
        create_time=row["create_time"],
        update_time=row["update_time"],
        delete_time=row["delete_time"],
    )


def answered_from(row: Row) -> AnsweredRequest:
    """A row of secret_requests."""
    return AnsweredRequest(row["digest"], _secret_name(row), row["version"])


def expiring_from(row: Row) -> ExpiringVersion:
    """The columns of secret_versions that the worker reads."""
    return ExpiringVersion(_secret_name(row), row["version"], row["expire_time"])


def _secret_name(row: Row) -> SecretName:
    return SecretName(row["tenant"], row["owner"], row["secret"])


def record_from(row: Row) -> AuditRecord:
    """A row of audit_records."""
    facts = {field: row[field] for field in _RECORD_FIELDS}
    facts["action"] = AuditAction(row["action"])
    facts["outcome"] = Outcome(row["outcome"])
    facts["detail"] = json.loads(row["detail"])
    return AuditRecord(**facts)


_RECORD_FIELDS: Final = tuple(AuditRecord.__dataclass_fields__)


def record_to_row(record: AuditRecord) -> tuple[Any, ...]:
    """A record's columns in the order of ``RECORD_COLUMNS``."""
    return (
        record.record_id,
        _storable(record.tenant),
        record.action.value,
        record.outcome.value,
        _storable(record.reason),
        _storable(record.caller),
        _storable(record.certificate_serial),
        _storable(record.source),
        _storable(record.rpc),
        _storable(record.request_id),
        _storable(record.resource),
        _storable(record.deployment),
        _storable(record.instance),
        _storable(record.token_fingerprint),
        _detail_to_json(record.detail),
    )


RECORD_COLUMNS: Final = (
    "record_id, tenant, action, outcome, reason, caller, certificate_serial, source, rpc, "
    "request_id, resource, deployment, instance, token_fingerprint, detail"
)


def _detail_to_json(detail: Mapping[str, str]) -> str:
    if not detail:
        return "{}"
    return json.dumps({_storable(name): _storable(value) for name, value in detail.items()})


def _storable(text: str) -> str:
    """PostgreSQL takes neither NUL nor lone surrogates, and one such text would fail the records
    of a whole batch. Those are escaped, and a text beyond every bound is cut."""
    if len(text) > limits.URI_MAX_CHARS:
        text = text[: limits.URI_MAX_CHARS] + "..."
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
