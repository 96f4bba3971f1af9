"""Between the messages of the protocol and what this package gives and takes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tokenvault.v1 import (
    grant_service_pb2,
    provider_service_pb2,
    resources_pb2,
    secret_service_pb2,
    token_service_pb2,
    webhook_service_pb2,
)
from tokenvault_client import enums, models
from tokenvault_client.errors import InternalFault

_NANOS_PER_S: Final = 1_000_000_000


def enum_name(descriptor: EnumDescriptor, number: int, prefix: str) -> str:
    """The name without its prefix; "" for a number that this client does not know."""
    known = descriptor.values_by_number.get(number)
    return "" if known is None else known.name.removeprefix(prefix)


def moment_of(message: Timestamp) -> datetime | None:
    """The moment in UTC; None where the field is unset, which reads as 1970."""
    if not message.seconds:
        return None
    try:
        return message.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as fault:
        raise InternalFault("", f"the service's answer has no valid time: {fault}") from fault


def _required_time(message: Timestamp) -> datetime:
    moment = moment_of(message)
    if moment is None:
        raise InternalFault("", "the service's answer has no expire_time")
    return moment


def duration(seconds: float) -> Duration:
    """A Duration to the nanosecond."""
    whole, nanos = divmod(round(seconds * _NANOS_PER_S), _NANOS_PER_S)
    return Duration(seconds=whole, nanos=nanos)


def timestamp(moment: datetime) -> Timestamp:
    """A moment to the microsecond. Raises ValueError for a naive one: whose clock is it?"""
    if moment.tzinfo is None:
        raise ValueError("a moment has a time zone, like datetime.now(UTC)")
    out = Timestamp()
    out.FromDatetime(moment)
    return out


def grant_state(number: int) -> enums.GrantState:
    """GRANT_STATE_*."""
    return enums.GrantState.of(
        enum_name(resources_pb2.GrantState.DESCRIPTOR, number, "GRANT_STATE_")
    )


def access_token(message: token_service_pb2.GetAccessTokenResponse) -> models.AccessToken:
    """The token with its end of life, which is never missing."""
    return models.AccessToken(
        value=message.access_token,
        token_type=message.token_type,
        expire_time=_required_time(message.expire_time),
        scopes=tuple(message.scopes),
        fingerprint=message.token_fingerprint,
        served=enums.Served.of(
            enum_name(resources_pb2.Served.DESCRIPTOR, message.served, "SERVED_")
        ),
        grant=message.grant,
        grant_state=grant_state(message.grant_state),
        never_expires=message.never_expires,
    )


def authorization(
    message: grant_service_pb2.StartAuthorizationResponse,
) -> models.Authorization:
    """Where to send the browser."""
    return models.Authorization(
        url=message.authorization_url,
        state=message.state,
        expire_time=_required_time(message.expire_time),
    )


def completed(
    message: grant_service_pb2.CompleteAuthorizationResponse,
) -> models.CompletedAuthorization:
    """The grant and its alias."""
    return models.CompletedAuthorization(
        grant=grant(message.grant),
        alias=message.alias,
        not_refreshable=message.not_refreshable,
    )


def watch_step(message: grant_service_pb2.WatchGrantsResponse) -> models.WatchStep:
    """A message of WatchGrants."""
    event = grant_event(message.event) if message.HasField("event") else None
    return models.WatchStep(event, message.cursor)


def event_kind(number: int) -> enums.GrantEventKind:
    """GRANT_EVENT_KIND_*."""
    descriptor = resources_pb2.GrantEventKind.DESCRIPTOR
    return enums.GrantEventKind.of(enum_name(descriptor, number, "GRANT_EVENT_KIND_"))


def webhook(message: webhook_service_pb2.Webhook) -> models.Webhook:
    """A webhook without its secret."""
    descriptor = webhook_service_pb2.WebhookState.DESCRIPTOR
    return models.Webhook(
        name=message.name,
        url=message.url,
        kinds=tuple(map(event_kind, message.kinds)),
        etag=message.etag,
        state=enums.WebhookState.of(enum_name(descriptor, message.state, "WEBHOOK_STATE_")),
        overlap_end_time=moment_of(message.overlap_end_time),
        create_time=moment_of(message.create_time),
        update_time=moment_of(message.update_time),
    )


def dead_letter(message: webhook_service_pb2.DeadLetter) -> models.DeadLetter:
    """A delivery that was given up."""
    return models.DeadLetter(
        id=message.id,
        webhook=message.webhook,
        grant=message.grant,
        kind=event_kind(message.kind),
        attempts=message.attempts,
        status=message.status,
        detail=message.detail,
        dead_time=moment_of(message.dead_time),
    )


def grant_event(message: resources_pb2.GrantEvent) -> models.GrantEvent:
    """An event."""
    cause = enum_name(
        resources_pb2.ReauthorizationCause.DESCRIPTOR, message.cause, "REAUTHORIZATION_CAUSE_"
    )
    return models.GrantEvent(
        id=message.id,
        grant=message.grant,
        kind=event_kind(message.kind),
        owner=message.owner,
        oauth_client=message.oauth_client,
        provider=message.provider,
        state=grant_state(message.state),
        cause=enums.ReauthorizationCause.of(cause),
        generation=message.generation,
        revision=message.revision,
        event_time=moment_of(message.event_time),
    )


def grant(message: resources_pb2.Grant) -> models.Grant:
    """A grant without its tokens."""
    cause = enum_name(
        resources_pb2.ReauthorizationCause.DESCRIPTOR, message.cause, "REAUTHORIZATION_CAUSE_"
    )
    revocation = enum_name(
        resources_pb2.ProviderRevocation.DESCRIPTOR,
        message.provider_revocation,
        "PROVIDER_REVOCATION_",
    )
    return models.Grant(
        name=message.name,
        owner=message.owner,
        oauth_client=message.oauth_client,
        provider=message.provider,
        subject=message.subject,
        state=grant_state(message.state),
        cause=enums.ReauthorizationCause.of(cause),
        scopes=tuple(message.scopes),
        generation=message.generation,
        access_token_expire_time=moment_of(message.access_token_expire_time),
        provider_revocation=enums.ProviderRevocation.of(revocation),
        etag=message.etag,
        create_time=moment_of(message.create_time),
        update_time=moment_of(message.update_time),
        delete_time=moment_of(message.delete_time),
    )


def oauth_client(message: resources_pb2.OAuthClient) -> models.OAuthClient:
    """A registration as the service has it, without its credential."""
    method = enum_name(
        resources_pb2.ClientAuthMethod.DESCRIPTOR, message.auth_method, "CLIENT_AUTH_METHOD_"
    )
    return models.OAuthClient(
        name=message.name,
        provider=message.provider,
        client_id=message.client_id,
        auth_method=enums.ClientAuthMethod.of(method),
        redirect_uris=tuple(message.redirect_uris),
        scopes=tuple(message.scopes),
        etag=message.etag,
        create_time=moment_of(message.create_time),
        update_time=moment_of(message.update_time),
        credentials=tuple(
            models.ClientCredential(version=one.version, create_time=moment_of(one.create_time))
            for one in message.credentials
        ),
        suspend_time=moment_of(message.suspend_time),
        token_params=dict(message.token_params),
    )


def client_hold(message: provider_service_pb2.ClientHold) -> models.ClientHold:
    """A pause that lasts."""
    return models.ClientHold(
        oauth_client=message.oauth_client, end_time=moment_of(message.end_time)
    )


def oauth_client_message(oauth_client: models.OAuthClient) -> resources_pb2.OAuthClient:
    """A registration as it shall be; what the service does not read is left out."""
    return resources_pb2.OAuthClient(
        name=oauth_client.name,
        provider=oauth_client.provider,
        client_id=oauth_client.client_id,
        auth_method=resources_pb2.ClientAuthMethod.Value(
            f"CLIENT_AUTH_METHOD_{oauth_client.auth_method.value}"
        ),
        redirect_uris=oauth_client.redirect_uris,
        scopes=oauth_client.scopes,
        token_params=dict(oauth_client.token_params),
    )


def secret(message: resources_pb2.Secret) -> models.Secret:
    """A secret, without its versions."""
    return models.Secret(
        name=message.name,
        level=_level(message.level),
        latest_version=message.latest_version,
        labels=dict(message.labels),
        etag=message.etag,
        create_time=moment_of(message.create_time),
        update_time=moment_of(message.update_time),
    )


def secret_version(message: resources_pb2.SecretVersion) -> models.SecretVersion:
    """One version, without its value."""
    state = enum_name(
        resources_pb2.SecretVersionState.DESCRIPTOR, message.state, "SECRET_VERSION_STATE_"
    )
    return models.SecretVersion(
        secret=message.secret,
        version=message.version,
        level=_level(message.level),
        create_time=moment_of(message.create_time),
        expire_time=moment_of(message.expire_time),
        destroy_time=moment_of(message.destroy_time),
        state=enums.SecretVersionState.of(state),
    )


def _level(number: int) -> enums.Level:
    return enums.Level.of(enum_name(resources_pb2.Level.DESCRIPTOR, number, "LEVEL_"))


def secret_value(message: secret_service_pb2.GetSecretValueResponse) -> models.SecretValue:
    """The value and which version it is."""
    return models.SecretValue(
        value=message.payload, secret_version=secret_version(message.secret_version)
    )


def audit_record(message: resources_pb2.AuditRecord) -> models.AuditRecord:
    """One record."""
    outcome = enum_name(resources_pb2.AuditOutcome.DESCRIPTOR, message.outcome, "AUDIT_OUTCOME_")
    return models.AuditRecord(
        id=message.id,
        record_time=moment_of(message.record_time),
        action=message.action,
        outcome=enums.AuditOutcome.of(outcome),
        reason=message.reason,
        caller=message.caller,
        certificate_serial=message.certificate_serial,
        source=message.source,
        rpc=message.rpc,
        request_id=message.request_id,
        resource=message.resource,
        token_fingerprint=message.token_fingerprint,
        detail=dict(message.detail),
        deployment=message.deployment,
        instance=message.instance,
    )
