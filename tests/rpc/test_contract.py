"""The contract in proto/: reasons, secrets on the wire, and what each RPC documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import (
    Descriptor,
    FieldDescriptor,
    FileDescriptor,
    MethodDescriptor,
)
from google.rpc import error_details_pb2

from tokenvault.v1 import (
    attempt_service_pb2,
    audit_service_pb2,
    error_reason_pb2,
    grant_service_pb2,
    options_pb2,
    provider_service_pb2,
    resources_pb2,
    secret_service_pb2,
    token_service_pb2,
    webhook_service_pb2,
)
from vault_service.domain import (
    answers,
    attempt,
    audit,
    event,
    grant,
    oauth,
    provider,
    secret,
    webhook,
)
from vault_service.domain.access import Permission
from vault_service.domain.errors import CODE_BY_REASON, RETRYABLE_CODES, Code, Reason, VaultError
from vault_service.rpc.status import DOMAIN, GRPC_CODE, to_status
from vault_service.usecases.provider_faults import refusal

PROTO = Path(__file__).resolve().parents[2] / "proto" / "tokenvault" / "v1"
SERVICE_FILES: tuple[FileDescriptor, ...] = (
    token_service_pb2.DESCRIPTOR,
    grant_service_pb2.DESCRIPTOR,
    provider_service_pb2.DESCRIPTOR,
    secret_service_pb2.DESCRIPTOR,
    webhook_service_pb2.DESCRIPTOR,
    attempt_service_pb2.DESCRIPTOR,
    audit_service_pb2.DESCRIPTOR,
)
FILES = (*SERVICE_FILES, resources_pb2.DESCRIPTOR)
METHODS = [
    method
    for file in SERVICE_FILES
    for service in file.services_by_name.values()
    for method in service.methods
]
# The only fields that may carry a secret, inward and outward.
INWARD = {
    "tokenvault.v1.AddClientCredentialRequest.client_secret",
    "tokenvault.v1.CompleteAuthorizationRequest.code",
    "tokenvault.v1.PutOAuthClientRequest.client_secret",
    "tokenvault.v1.PutSecretRequest.payload",
    "tokenvault.v1.PutWebhookRequest.secret",
}
OUTWARD = {
    "tokenvault.v1.GetAccessTokenResponse.access_token",
    "tokenvault.v1.GetSecretValueResponse.payload",
}
# Texts about secrets that hold none: names, states and facts.
HARMLESS = {
    "tokenvault.v1.Provider.error_code_paths",  # where codes stand
    "tokenvault.v1.GetAccessTokenResponse.token_type",
    "tokenvault.v1.GetAccessTokenResponse.token_fingerprint",
    "tokenvault.v1.AuditRecord.token_fingerprint",
    "tokenvault.v1.SecretVersion.secret",
    "tokenvault.v1.Provider.token_endpoint",
    # Paging texts.
    "tokenvault.v1.ListAttemptsResponse.next_page_token",
    "tokenvault.v1.ListAuditRecordsResponse.next_page_token",
    "tokenvault.v1.ListDeadLettersResponse.next_page_token",
    "tokenvault.v1.ListGrantsResponse.next_page_token",
    "tokenvault.v1.ListOAuthClientsResponse.next_page_token",
    "tokenvault.v1.ListProvidersResponse.next_page_token",
    "tokenvault.v1.ListSecretVersionsResponse.next_page_token",
    "tokenvault.v1.ListSecretsResponse.next_page_token",
    "tokenvault.v1.ListWebhooksResponse.next_page_token",
}
# Versions and times of credentials, and nothing of what they are.
FACTS_OF_CREDENTIALS = {"tokenvault.v1.OAuthClient.credentials"}
TELLING = re.compile(r"token|secret|credential|password|payload|verifier|envelope|value|key|code")


def fields_of(message: Descriptor, seen: set[str] | None = None) -> Iterator[FieldDescriptor]:
    """The fields of a message and of all that it can hold."""
    seen = set() if seen is None else seen
    if message.full_name in seen:
        return
    seen.add(message.full_name)
    for field in message.fields:
        yield field
        if field.message_type is not None:
            yield from fields_of(field.message_type, seen)


def sensitive(field: FieldDescriptor) -> bool:
    return bool(field.GetOptions().Extensions[options_pb2.sensitive])


def comments(file: str) -> dict[str, str]:
    """What stands above each rpc, enum value and field of a proto file, by its name."""
    found: dict[str, str] = {}
    above: list[str] = []
    for line in (PROTO / file).read_text("utf-8").splitlines():
        text = line.strip()
        if text.startswith("//"):
            above.append(text.removeprefix("//").strip())
            continue
        named = re.match(r"(?:rpc (\w+)\(|(\w+) = \d+;)", text)
        if named:
            found[named.group(1) or named.group(2)] = " ".join(above)
        above = []
    return found


def test_reasons_are_one_vocabulary() -> None:
    """The enum on the wire and the one of the domain have the same names and numbers."""
    wire = dict(error_reason_pb2.ErrorReason.items())
    assert wire.pop("ERROR_REASON_UNSPECIFIED") == 0
    assert wire == {f"ERROR_REASON_{reason.name}": reason.value for reason in Reason}


def test_reasons_are_documented() -> None:
    """Every reason's comment begins with its code, the one of the table, and says what is wrong."""
    above = comments("error_reason.proto")
    for reason in Reason:
        code, _, meaning = above[f"ERROR_REASON_{reason.name}"].partition(": ")
        assert code == CODE_BY_REASON[reason].name, reason
        assert len(meaning.split()) >= 4, reason


def test_codes_are_grpc_codes() -> None:
    """Each code of the domain is the gRPC code of that name and number."""
    assert GRPC_CODE.keys() == set(Code)
    for code, wire in GRPC_CODE.items():
        assert (code.name, code.value) == (wire.name, wire.value[0])


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_status(reason: Reason) -> None:
    """A status has one ErrorInfo of our domain, and RetryInfo exactly where it is retryable."""
    error = VaultError(reason, "what to do", metadata={"field": "x"}, recorded={"why": "private"})
    status = to_status(error)
    assert (status.code, status.message) == (CODE_BY_REASON[reason].value, "what to do")
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain, dict(info.metadata)) == (reason.name, DOMAIN, {"field": "x"})
    retries = [d for d in status.details if d.Is(error_details_pb2.RetryInfo.DESCRIPTOR)]
    assert len(retries) == (CODE_BY_REASON[reason] in RETRYABLE_CODES)
    assert len(status.details) == 1 + len(retries)
    assert b"private" not in status.SerializeToString()


@pytest.mark.parametrize(("given_s", "told_ms"), [(None, 1_000), (0.2, 200), (3_600, 3_600_000)])
def test_retry_delay(given_s: float | None, told_ms: int) -> None:
    """RetryInfo says the delay that is known, else one second."""
    error = VaultError(Reason.PROVIDER_RATE_LIMITED, "x", retry_after_s=given_s)
    retry = error_details_pb2.RetryInfo()
    assert to_status(error).details[1].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == told_ms


@pytest.mark.parametrize("answer", answers.AnswerClass, ids=lambda answer: answer.name)
def test_every_answer_of_a_provider_has_a_reason(answer: answers.AnswerClass) -> None:
    """Whatever a provider answers to a refresh is a reason that GetAccessToken documents."""
    error = refusal(answers.TokenEndpointError(answer, status=400, error="x"))
    assert error.reason.name in comments("token_service.proto")["GetAccessToken"]
    assert error.recorded["provider_answer"] == answer.name


def test_secrets_on_the_wire() -> None:
    """The fields marked sensitive are these, and the only outward ones are the two values."""
    marked = {
        field.full_name
        for file in FILES
        for message in file.message_types_by_name.values()
        for field in fields_of(message)
        if sensitive(field)
    }
    assert marked == INWARD | OUTWARD


def test_marked_fields_are_redacted() -> None:
    """What is marked sensitive is marked for redaction too."""
    for file in FILES:
        for message in file.message_types_by_name.values():
            for field in message.fields:
                assert field.GetOptions().debug_redact == sensitive(field), field.full_name


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_no_other_secret_leaves(method: MethodDescriptor) -> None:
    """No answer can hold, however deep, another text or bytes field that is named like a secret."""
    for field in fields_of(method.output_type):
        if field.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
            continue
        holder = field.containing_type
        if holder is None or not field.full_name.startswith("tokenvault.v1."):
            continue
        if holder.GetOptions().map_entry:
            continue
        known = field.full_name in OUTWARD | HARMLESS
        assert known or not TELLING.search(field.name), field.full_name
        assert field.type != FieldDescriptor.TYPE_BYTES or field.full_name in OUTWARD


def test_no_field_for_a_refresh_token() -> None:
    """No message has a field whose name speaks of a refresh token or a stored credential."""
    for file in FILES:
        for message in file.message_types_by_name.values():
            for field in message.fields:
                speaks = re.search(r"refresh_token|credential|verifier", field.name)
                assert not speaks or field.full_name in FACTS_OF_CREDENTIALS
    facts = resources_pb2.ClientCredential.DESCRIPTOR.fields_by_name
    assert set(facts) == {"version", "create_time"}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_rpcs_document_themselves(method: MethodDescriptor) -> None:
    """Each RPC says what it changes, who may call it, and reasons that exist."""
    text = comments(Path(method.containing_service.file.name).name)[method.name]
    assert "Changes: " in text
    permissions = re.search(r"Who: (.*?)\. Fails with", text)
    assert permissions, text
    assert Permission(method.name).value in permissions.group(1)
    assert "UseTenant" in permissions.group(1)
    listed = text.partition("Fails with: ")[2].rstrip(".").replace(" ", "").split(",")
    assert len(listed) == len(set(listed))
    assert set(listed) <= {reason.name for reason in Reason}
    assert {"CALLER_NOT_ALLOWED", "STORE_UNREACHABLE"} <= set(listed)


def test_every_permission_is_an_rpc() -> None:
    """Beside UseTenant, what a policy can permit are exactly the RPCs."""
    names = {method.name for method in METHODS}
    assert names == {permission.value for permission in Permission} - {"UseTenant"}


@pytest.mark.parametrize(
    ("wire", "prefix", "domain"),
    [
        (resources_pb2.RefreshClass, "REFRESH_CLASS_", provider.RefreshClass),
        (resources_pb2.ClientAuthMethod, "CLIENT_AUTH_METHOD_", oauth.ClientAuthMethod),
        (resources_pb2.GrantState, "GRANT_STATE_", grant.GrantState),
        (resources_pb2.Served, "SERVED_", grant.Served),
        (
            resources_pb2.ReauthorizationCause,
            "REAUTHORIZATION_CAUSE_",
            grant.ReauthorizationCause,
        ),
        (
            resources_pb2.SecretVersionState,
            "SECRET_VERSION_STATE_",
            secret.SecretVersionState,
        ),
        (resources_pb2.GrantEventKind, "GRANT_EVENT_KIND_", event.EventKind),
        (attempt_service_pb2.AttemptState, "ATTEMPT_STATE_", attempt.AttemptState),
        (attempt_service_pb2.WaitsFor, "WAITS_FOR_", attempt.WaitsFor),
        (attempt_service_pb2.AttemptAction, "ATTEMPT_ACTION_", attempt.AttemptAction),
        (attempt_service_pb2.AttemptFilter, "ATTEMPT_FILTER_", attempt.AttemptFilter),
        (webhook_service_pb2.WebhookState, "WEBHOOK_STATE_", webhook.WebhookState),
        (resources_pb2.AuditOutcome, "AUDIT_OUTCOME_", audit.Outcome),
    ],
)
def test_enums_agree(wire: Any, prefix: str, domain: type[Enum]) -> None:
    """Enums that are translated by number have the same names and numbers on both sides."""
    numbers = dict(wire.items())
    assert numbers.pop(f"{prefix}UNSPECIFIED") == 0
    assert numbers == {f"{prefix}{each.name}": each.value for each in domain}


def test_provider_revocation_agrees() -> None:
    """ProviderRevocation is translated by number, NONE being unspecified on the wire."""
    numbers = {n.removeprefix("PROVIDER_REVOCATION_"): v for n, v in _revocations()}
    assert numbers.pop("UNSPECIFIED") == grant.ProviderRevocation.NONE.value
    assert numbers == {
        each.name: each.value
        for each in grant.ProviderRevocation
        if each is not grant.ProviderRevocation.NONE
    }


def _revocations() -> list[tuple[str, int]]:
    return list(resources_pb2.ProviderRevocation.items())
