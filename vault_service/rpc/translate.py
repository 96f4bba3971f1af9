"""Domain values to messages."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from tokenvault.v1 import resources_pb2 as pb
from vault_service.domain.audit import AuditRecord
from vault_service.domain.envelope import Level
from vault_service.domain.event import EventKind, GrantEvent
from vault_service.domain.grant import Grant
from vault_service.domain.names import OAuthClientName, ProviderName
from vault_service.domain.oauth import OAuthClient
from vault_service.domain.provider import Provider
from vault_service.domain.secret import Secret, SecretVersion
from vault_service.rpc.profiles import profile_members

LEVEL = {Level.APPLICATION: pb.LEVEL_APPLICATION, Level.USER: pb.LEVEL_USER}


def timestamp(moment: datetime | None) -> Timestamp | None:
    """None stays unset."""
    if moment is None:
        return None
    out = Timestamp()
    out.FromDatetime(moment)
    return out


def provider(value: Provider) -> pb.Provider:
    """A provider on the wire."""
    return pb.Provider(
        name=str(value.name),
        etag=str(value.revision),
        create_time=timestamp(value.create_time),
        update_time=timestamp(value.update_time),
        **profile_members(value.profile),
    )


def oauth_client(value: OAuthClient) -> pb.OAuthClient:
    """An OAuthClient on the wire, without its credential."""
    return pb.OAuthClient(
        name=str(value.name),
        provider=str(ProviderName(value.name.tenant, value.provider)),
        client_id=value.client_id,
        auth_method=pb.ClientAuthMethod.ValueType(value.auth_method.value),
        redirect_uris=value.redirect_uris,
        scopes=value.scopes,
        etag=str(value.revision),
        create_time=timestamp(value.create_time),
        update_time=timestamp(value.update_time),
        credentials=[
            pb.ClientCredential(version=one.version, create_time=timestamp(one.create_time))
            for one in value.credentials
            if not value.is_public
        ],
        token_params=value.token_params,
        suspend_time=timestamp(value.suspend_time),
    )


def grant(value: Grant) -> pb.Grant:
    """A grant on the wire, without its tokens."""
    return pb.Grant(
        name=str(value.name),
        owner=value.owner,
        oauth_client=str(OAuthClientName(value.tenant, value.oauth_client)),
        provider=str(ProviderName(value.tenant, value.provider)),
        subject=value.subject or "",
        state=pb.GrantState.ValueType(value.state.value),
        cause=pb.ReauthorizationCause.ValueType(value.cause.value if value.cause else 0),
        scopes=value.scopes,
        generation=value.generation,
        access_token_expire_time=timestamp(value.access_expire_time),
        provider_revocation=pb.ProviderRevocation.ValueType(value.provider_revocation.value),
        etag=str(value.revision),
        create_time=timestamp(value.create_time),
        update_time=timestamp(value.update_time),
        delete_time=timestamp(value.delete_time),
    )


def event_kind(value: EventKind) -> pb.GrantEventKind.ValueType:
    """GRANT_EVENT_KIND_*."""
    return pb.GrantEventKind.ValueType(value.value)


def grant_event(value: GrantEvent) -> pb.GrantEvent:
    """An event on the wire."""
    return pb.GrantEvent(
        id=str(value.event_id),
        grant=str(value.grant),
        kind=event_kind(value.kind),
        owner=value.owner,
        oauth_client=str(OAuthClientName(value.tenant, value.oauth_client)),
        provider=str(ProviderName(value.tenant, value.provider)),
        state=pb.GrantState.ValueType(value.state.value),
        cause=pb.ReauthorizationCause.ValueType(value.cause.value if value.cause else 0),
        generation=value.generation,
        revision=value.revision,
        event_time=timestamp(value.event_time),
    )


def secret(value: Secret) -> pb.Secret:
    """A secret on the wire, without its versions."""
    return pb.Secret(
        name=str(value.name),
        level=LEVEL[value.name.level],
        latest_version=value.version,
        labels=value.labels,
        etag=str(value.revision),
        create_time=timestamp(value.create_time),
        update_time=timestamp(value.update_time),
    )


def secret_version(value: SecretVersion) -> pb.SecretVersion:
    """A SecretVersion on the wire, without its value."""
    return pb.SecretVersion(
        secret=str(value.name),
        version=value.version,
        level=LEVEL[value.name.level],
        create_time=timestamp(value.create_time),
        expire_time=timestamp(value.expire_time),
        destroy_time=timestamp(value.destroy_time),
        state=pb.SecretVersionState.ValueType(value.state.value),
    )


def audit_record(value: AuditRecord) -> pb.AuditRecord:
    """A record on the wire."""
    return pb.AuditRecord(
        id=str(value.record_id),
        record_time=timestamp(value.record_time),
        action=value.action.name,
        outcome=pb.AuditOutcome.ValueType(value.outcome.value),
        reason=value.reason,
        caller=value.caller,
        certificate_serial=value.certificate_serial,
        source=value.source,
        rpc=value.rpc,
        request_id=value.request_id,
        resource=value.resource,
        token_fingerprint=value.token_fingerprint,
        detail=value.detail,
        deployment=value.deployment,
        instance=value.instance,
    )
