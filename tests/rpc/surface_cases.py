"""Every RPC with a request that is answered, and one whose name is malformed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from tests.support.house import REDIRECT_URI, TENANT, House
from tests.support.samples import a_profile
from tokenvault.v1 import (
    audit_service_pb2,
    audit_service_pb2_grpc,
    grant_service_pb2,
    grant_service_pb2_grpc,
    provider_service_pb2,
    provider_service_pb2_grpc,
    resources_pb2,
    secret_service_pb2,
    secret_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)
from vault_service.domain.names import SecretName
from vault_service.domain.sensitive import Sensitive


@dataclass
class Known:
    """What the requests name."""

    grant: str = ""
    state: str = ""
    fingerprint: str = ""
    attempt: str = "0192f0c1-0000-7000-8000-00000000dead"


async def known(house: House) -> Known:
    """A grant, a secret, and a consent under way."""
    grant = (await house.consent()).grant
    await house.secrets.put(house.call(), SecretName(TENANT, "", "smtp"), Sensitive(b"value"))
    started = await house.started(label="second")
    return Known(str(grant.grant_id), started.state)


@dataclass(frozen=True)
class Case:
    """One RPC."""

    stub: Any
    method: str
    request: Callable[[str, Known], Message]
    malformed: Message = field(compare=False)

    @property
    def asked(self) -> tuple[Any, str]:
        """As ``Surface.call`` takes them."""
        return self.stub, self.method


def _provider(tenant: str, _: Known) -> Message:
    profile = a_profile()
    return provider_service_pb2.PutProviderRequest(
        provider=resources_pb2.Provider(
            name=f"tenants/{tenant}/providers/op",
            issuer=profile.issuer,
            authorization_endpoint=profile.authorization_endpoint,
            token_endpoint=profile.token_endpoint,
        )
    )


def _oauth_client(tenant: str, _: Known) -> Message:
    return provider_service_pb2.PutOAuthClientRequest(
        oauth_client=resources_pb2.OAuthClient(
            name=f"tenants/{tenant}/oauthClients/crm",
            provider=f"tenants/{tenant}/providers/op",
            client_id="crm-at-op",
            redirect_uris=[REDIRECT_URI],
        ),
        client_secret="new credential",
    )


_grants = grant_service_pb2_grpc.GrantServiceStub
_providers = provider_service_pb2_grpc.ProviderServiceStub
_secrets = secret_service_pb2_grpc.SecretServiceStub

CASES = (
    Case(
        token_service_pb2_grpc.TokenServiceStub,
        "GetAccessToken",
        lambda t, k: token_service_pb2.GetAccessTokenRequest(grant=f"tenants/{t}/grants/{k.grant}"),
        token_service_pb2.GetAccessTokenRequest(grant=f"tenants/{TENANT}/grants/42"),
    ),
    Case(
        _grants,
        "StartAuthorization",
        lambda t, k: grant_service_pb2.StartAuthorizationRequest(
            oauth_client=f"tenants/{t}/oauthClients/crm", owner="u-1", redirect_uri=REDIRECT_URI
        ),
        grant_service_pb2.StartAuthorizationRequest(
            oauth_client=f"tenants/{TENANT}/clients/crm", owner="u-1", redirect_uri=REDIRECT_URI
        ),
    ),
    Case(
        _grants,
        "CompleteAuthorization",
        lambda t, k: grant_service_pb2.CompleteAuthorizationRequest(
            parent=f"tenants/{t}", state=k.state, code="code-2", owner="u-1"
        ),
        grant_service_pb2.CompleteAuthorizationRequest(
            parent=TENANT, state="x", code="c", owner="u-1"
        ),
    ),
    Case(
        _grants,
        "GetGrant",
        lambda t, k: grant_service_pb2.GetGrantRequest(name=f"tenants/{t}/grants/{k.grant}"),
        grant_service_pb2.GetGrantRequest(name=f"tenants/{TENANT}/grants/../secrets"),
    ),
    Case(
        _grants,
        "ListGrants",
        lambda t, k: grant_service_pb2.ListGrantsRequest(parent=f"tenants/{t}"),
        grant_service_pb2.ListGrantsRequest(parent="tenants/-"),
    ),
    Case(
        _grants,
        "RevokeGrant",
        lambda t, k: grant_service_pb2.RevokeGrantRequest(name=f"tenants/{t}/grants/{k.grant}"),
        grant_service_pb2.RevokeGrantRequest(name=""),
    ),
    Case(
        _providers,
        "PutProvider",
        _provider,
        provider_service_pb2.PutProviderRequest(
            provider=resources_pb2.Provider(name=f"tenants/{TENANT}/providers/OP")
        ),
    ),
    Case(
        _providers,
        "ListProviders",
        lambda t, k: provider_service_pb2.ListProvidersRequest(parent=f"tenants/{t}"),
        provider_service_pb2.ListProvidersRequest(parent=f"tenants/{TENANT}/"),
    ),
    Case(
        _providers,
        "PutOAuthClient",
        _oauth_client,
        provider_service_pb2.PutOAuthClientRequest(
            oauth_client=resources_pb2.OAuthClient(name="crm")
        ),
    ),
    Case(
        _providers,
        "ListOAuthClients",
        lambda t, k: provider_service_pb2.ListOAuthClientsRequest(parent=f"tenants/{t}"),
        provider_service_pb2.ListOAuthClientsRequest(parent="projects/acme"),
    ),
    Case(
        _secrets,
        "PutSecret",
        lambda t, k: secret_service_pb2.PutSecretRequest(
            name=f"tenants/{t}/secrets/smtp", payload=b"value"
        ),
        secret_service_pb2.PutSecretRequest(name=f"tenants/{TENANT}/secrets/a b", payload=b"v"),
    ),
    Case(
        _secrets,
        "GetSecretValue",
        lambda t, k: secret_service_pb2.GetSecretValueRequest(name=f"tenants/{t}/secrets/smtp"),
        secret_service_pb2.GetSecretValueRequest(name=f"tenants/{TENANT}/owners//secrets/smtp"),
    ),
    Case(
        audit_service_pb2_grpc.AuditServiceStub,
        "ListAuditRecords",
        lambda t, k: audit_service_pb2.ListAuditRecordsRequest(parent=f"tenants/{t}"),
        audit_service_pb2.ListAuditRecordsRequest(parent="tenants/ACME"),
    ),
)
