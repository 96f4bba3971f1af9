"""Cases of the RPCs beyond the main job, as ``client_cases`` has the first ones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

import tokenvault_client as tv
from tests.rpc.client_cases import (
    ALIAS,
    GRANT,
    GRANT_MESSAGE,
    GRANT_NAME,
    NOON,
    SECRET,
    STAMP,
    VERSION,
    VERSION_MESSAGE,
    Case,
)
from tokenvault.v1 import grant_service_pb2 as grants
from tokenvault.v1 import provider_service_pb2 as providers
from tokenvault.v1 import resources_pb2 as resources
from tokenvault.v1 import secret_service_pb2 as secrets

LATER = datetime(2027, 1, 2, tzinfo=UTC)
LATER_STAMP = Timestamp(seconds=int(LATER.timestamp()))
CLIENT = "tenants/acme/oauthClients/web"
SECRET_MESSAGE = resources.Secret(
    name=SECRET,
    level=resources.LEVEL_USER,
    latest_version=3,
    labels={"team": "pay"},
    etag="4",
    create_time=STAMP,
    update_time=STAMP,
)
SECRET_RESULT = tv.Secret(
    name=SECRET,
    level=tv.Level.USER,
    latest_version=3,
    labels={"team": "pay"},
    etag="4",
    create_time=NOON,
    update_time=NOON,
)
TOMBSTONE_MESSAGE = resources.SecretVersion(
    secret=SECRET,
    version=2,
    level=resources.LEVEL_USER,
    create_time=STAMP,
    expire_time=LATER_STAMP,
    destroy_time=STAMP,
    state=resources.SECRET_VERSION_STATE_DESTROYED,
)
TOMBSTONE = tv.SecretVersion(
    secret=SECRET,
    version=2,
    level=tv.Level.USER,
    create_time=NOON,
    expire_time=LATER,
    destroy_time=NOON,
    state=tv.SecretVersionState.DESTROYED,
)
CLIENT_MESSAGE = resources.OAuthClient(
    name=CLIENT,
    provider="tenants/acme/providers/idp",
    client_id="abc",
    credentials=[
        resources.ClientCredential(version=2, create_time=STAMP),
        resources.ClientCredential(version=1),
    ],
    suspend_time=STAMP,
)
CLIENT_RESULT = tv.OAuthClient(
    name=CLIENT,
    provider="tenants/acme/providers/idp",
    client_id="abc",
    credentials=(
        tv.ClientCredential(version=2, create_time=NOON),
        tv.ClientCredential(version=1, create_time=None),
    ),
    suspend_time=NOON,
)


def _deleted() -> tuple[Any, tv.Grant]:
    message = resources.Grant()
    message.CopyFrom(GRANT_MESSAGE)
    message.delete_time.CopyFrom(STAMP)
    values = {name: getattr(GRANT, name) for name in tv.Grant.__dataclass_fields__}
    return message, tv.Grant(**(values | {"delete_time": NOON}))


DELETED_MESSAGE, DELETED = _deleted()

WHOLE_CASES = [
    Case(
        "GrantService/DeleteGrant",
        lambda vault: vault.delete_grant(GRANT_NAME),
        grants.DeleteGrantRequest(name=GRANT_NAME),
        grants.DeleteGrantResponse(grant=DELETED_MESSAGE),
        DELETED,
    ),
    Case(
        "GrantService/LinkAlias",
        lambda vault: vault.link_alias(ALIAS, GRANT_NAME),
        grants.LinkAliasRequest(alias=ALIAS, grant=GRANT_NAME),
        grants.LinkAliasResponse(alias=ALIAS, grant=GRANT_MESSAGE),
        GRANT,
    ),
    Case(
        "GrantService/UnlinkAlias",
        lambda vault: vault.unlink_alias(ALIAS),
        grants.UnlinkAliasRequest(alias=ALIAS),
        grants.UnlinkAliasResponse(),
        None,
    ),
    Case(
        "GrantService/ListGrants",
        lambda vault: vault.list_grants(
            "tenants/acme",
            state=tv.GrantState.REAUTHORIZATION_REQUIRED,
            oauth_client=CLIENT,
            provider="tenants/acme/providers/idp",
        ),
        grants.ListGrantsRequest(
            parent="tenants/acme",
            state=resources.GRANT_STATE_REAUTHORIZATION_REQUIRED,
            oauth_client=CLIENT,
            provider="tenants/acme/providers/idp",
        ),
        grants.ListGrantsResponse(grants=[GRANT_MESSAGE]),
        tv.Page((GRANT,), ""),
    ),
    Case(
        "ProviderService/AddClientCredential",
        lambda vault: vault.add_client_credential(CLIENT, "hush"),
        providers.AddClientCredentialRequest(oauth_client=CLIENT, client_secret="hush"),
        providers.AddClientCredentialResponse(oauth_client=CLIENT_MESSAGE),
        CLIENT_RESULT,
    ),
    Case(
        "ProviderService/RetireClientCredential",
        lambda vault: vault.retire_client_credential(CLIENT, 1),
        providers.RetireClientCredentialRequest(oauth_client=CLIENT, version=1),
        providers.RetireClientCredentialResponse(oauth_client=CLIENT_MESSAGE),
        CLIENT_RESULT,
    ),
    Case(
        "ProviderService/SuspendOAuthClient",
        lambda vault: vault.suspend_oauth_client(CLIENT),
        providers.SuspendOAuthClientRequest(name=CLIENT),
        providers.SuspendOAuthClientResponse(oauth_client=CLIENT_MESSAGE),
        CLIENT_RESULT,
    ),
    Case(
        "ProviderService/ResumeOAuthClient",
        lambda vault: vault.resume_oauth_client(CLIENT),
        providers.ResumeOAuthClientRequest(name=CLIENT),
        providers.ResumeOAuthClientResponse(oauth_client=CLIENT_MESSAGE),
        CLIENT_RESULT,
    ),
    Case(
        "ProviderService/ListClientHolds",
        lambda vault: vault.list_client_holds("tenants/acme"),
        providers.ListClientHoldsRequest(parent="tenants/acme"),
        providers.ListClientHoldsResponse(client_holds=[providers.ClientHold(oauth_client=CLIENT)]),
        (tv.ClientHold(oauth_client=CLIENT),),
    ),
    Case(
        "ProviderService/ClearClientHold",
        lambda vault: vault.clear_client_hold(CLIENT, "a test"),
        providers.ClearClientHoldRequest(oauth_client=CLIENT, why="a test"),
        providers.ClearClientHoldResponse(cleared=True),
        True,
    ),
    Case(
        "SecretService/PutSecret",
        lambda vault: vault.put_secret(
            SECRET,
            b"hush",
            etag="4",
            request_id="job-1",
            labels={"team": "pay"},
            expire_time=LATER,
        ),
        secrets.PutSecretRequest(
            name=SECRET,
            payload=b"hush",
            etag="4",
            request_id="job-1",
            labels={"team": "pay"},
            expire_time=LATER_STAMP,
        ),
        secrets.PutSecretResponse(secret_version=VERSION_MESSAGE),
        VERSION,
    ),
    Case(
        "SecretService/GetSecretValue",
        lambda vault: vault.get_secret_value(SECRET, version=3),
        secrets.GetSecretValueRequest(name=SECRET, version=3),
        secrets.GetSecretValueResponse(payload=b"hush", secret_version=VERSION_MESSAGE),
        tv.SecretValue(value=b"hush", secret_version=VERSION),
    ),
    Case(
        "SecretService/GetSecret",
        lambda vault: vault.get_secret(SECRET),
        secrets.GetSecretRequest(name=SECRET),
        secrets.GetSecretResponse(secret=SECRET_MESSAGE),
        SECRET_RESULT,
    ),
    Case(
        "SecretService/ListSecrets",
        lambda vault: vault.list_secrets(
            tv.owner_name("acme", "user-42"), page_size=2, page_token="t"
        ),
        secrets.ListSecretsRequest(
            parent="tenants/acme/owners/user-42", page_size=2, page_token="t"
        ),
        secrets.ListSecretsResponse(secrets=[SECRET_MESSAGE], next_page_token="n"),
        tv.Page((SECRET_RESULT,), "n"),
    ),
    Case(
        "SecretService/ListSecretVersions",
        lambda vault: vault.list_secret_versions(SECRET, page_size=2, page_token="t"),
        secrets.ListSecretVersionsRequest(parent=SECRET, page_size=2, page_token="t"),
        secrets.ListSecretVersionsResponse(
            secret_versions=[TOMBSTONE_MESSAGE], next_page_token="n"
        ),
        tv.Page((TOMBSTONE,), "n"),
    ),
    Case(
        "SecretService/DestroySecretVersion",
        lambda vault: vault.destroy_secret_version(SECRET, 2),
        secrets.DestroySecretVersionRequest(name=SECRET, version=2),
        secrets.DestroySecretVersionResponse(secret_version=TOMBSTONE_MESSAGE),
        TOMBSTONE,
    ),
    Case(
        "SecretService/DeleteSecret",
        lambda vault: vault.delete_secret(SECRET, etag="4"),
        secrets.DeleteSecretRequest(name=SECRET, etag="4"),
        secrets.DeleteSecretResponse(),
        None,
    ),
]
