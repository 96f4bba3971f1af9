"""Cases of the RPCs beyond the main job, as ``surface_cases`` has the first ones."""

from __future__ import annotations

from tests.rpc.surface_cases import CASES, Case, Known, known
from tests.support.house import CLIENT, TENANT, House
from tokenvault.v1 import (
    grant_service_pb2,
    grant_service_pb2_grpc,
    provider_service_pb2,
    provider_service_pb2_grpc,
    secret_service_pb2,
    secret_service_pb2_grpc,
)
from vault_service.domain.sensitive import Sensitive

_grants = grant_service_pb2_grpc.GrantServiceStub
_providers = provider_service_pb2_grpc.ProviderServiceStub
_secrets = secret_service_pb2_grpc.SecretServiceStub


async def all_known(house: House) -> Known:
    """As ``known``, and a second credential of the OAuthClient."""
    there = await known(house)
    await house.client_credentials.add(house.call(), CLIENT, Sensitive(b"second credential"))
    return there


WHOLE_CASES = (
    Case(
        _grants,
        "DeleteGrant",
        lambda t, k: grant_service_pb2.DeleteGrantRequest(name=f"tenants/{t}/grants/{k.grant}"),
        grant_service_pb2.DeleteGrantRequest(name=f"tenants/{TENANT}/grants/{'0' * 36}"),
    ),
    Case(
        _grants,
        "LinkAlias",
        lambda t, k: grant_service_pb2.LinkAliasRequest(
            alias=f"tenants/{t}/owners/u-2/grantAliases/theirs",
            grant=f"tenants/{t}/grants/{k.grant}",
        ),
        grant_service_pb2.LinkAliasRequest(
            alias=f"tenants/{TENANT}/owners/u 2/grantAliases/theirs"
        ),
    ),
    Case(
        _grants,
        "UnlinkAlias",
        lambda t, k: grant_service_pb2.UnlinkAliasRequest(
            alias=f"tenants/{t}/owners/u-1/grantAliases/crm"
        ),
        grant_service_pb2.UnlinkAliasRequest(alias=f"tenants/{TENANT}/owners/u-1/aliases/crm"),
    ),
    Case(
        _grants,
        "WatchGrants",
        lambda t, k: grant_service_pb2.WatchGrantsRequest(parent=f"tenants/{t}"),
        grant_service_pb2.WatchGrantsRequest(parent=f"tenants/{TENANT}/grants"),
    ),
    Case(
        _providers,
        "AddClientCredential",
        lambda t, k: provider_service_pb2.AddClientCredentialRequest(
            oauth_client=f"tenants/{t}/oauthClients/crm", client_secret="third credential"
        ),
        provider_service_pb2.AddClientCredentialRequest(oauth_client="crm", client_secret="x"),
    ),
    Case(
        _providers,
        "RetireClientCredential",
        lambda t, k: provider_service_pb2.RetireClientCredentialRequest(
            oauth_client=f"tenants/{t}/oauthClients/crm", version=1
        ),
        provider_service_pb2.RetireClientCredentialRequest(
            oauth_client=f"tenants/{TENANT}/oauthClients/CRM", version=1
        ),
    ),
    Case(
        _providers,
        "SuspendOAuthClient",
        lambda t, k: provider_service_pb2.SuspendOAuthClientRequest(
            name=f"tenants/{t}/oauthClients/crm"
        ),
        provider_service_pb2.SuspendOAuthClientRequest(name=f"tenants/{TENANT}/oauthClients/"),
    ),
    Case(
        _providers,
        "ResumeOAuthClient",
        lambda t, k: provider_service_pb2.ResumeOAuthClientRequest(
            name=f"tenants/{t}/oauthClients/crm"
        ),
        provider_service_pb2.ResumeOAuthClientRequest(name=f"tenants/{TENANT}"),
    ),
    Case(
        _secrets,
        "GetSecret",
        lambda t, k: secret_service_pb2.GetSecretRequest(name=f"tenants/{t}/secrets/smtp"),
        secret_service_pb2.GetSecretRequest(name=f"tenants/{TENANT}/secrets/-"),
    ),
    Case(
        _secrets,
        "ListSecrets",
        lambda t, k: secret_service_pb2.ListSecretsRequest(parent=f"tenants/{t}"),
        secret_service_pb2.ListSecretsRequest(parent=f"tenants/{TENANT}/owners/"),
    ),
    Case(
        _secrets,
        "ListSecretVersions",
        lambda t, k: secret_service_pb2.ListSecretVersionsRequest(
            parent=f"tenants/{t}/secrets/smtp"
        ),
        secret_service_pb2.ListSecretVersionsRequest(parent=f"tenants/{TENANT}"),
    ),
    Case(
        _secrets,
        "DestroySecretVersion",
        lambda t, k: secret_service_pb2.DestroySecretVersionRequest(
            name=f"tenants/{t}/secrets/smtp", version=1
        ),
        secret_service_pb2.DestroySecretVersionRequest(name="smtp", version=1),
    ),
    Case(
        _secrets,
        "DeleteSecret",
        lambda t, k: secret_service_pb2.DeleteSecretRequest(name=f"tenants/{t}/secrets/smtp"),
        secret_service_pb2.DeleteSecretRequest(name=f"tenants/{TENANT}/owners/-/secrets/smtp"),
    ),
)
ALL_CASES = (*CASES, *WHOLE_CASES)
