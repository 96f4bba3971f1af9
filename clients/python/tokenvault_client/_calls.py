"""One value per call: where it goes, what it sends, how its answer reads, and whether it is a
read. Any transport, asynchronous or not, can make them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from google.protobuf.message import Message

from tokenvault.v1 import (
    audit_service_pb2,
    grant_service_pb2,
    provider_service_pb2,
    secret_service_pb2,
    token_service_pb2,
)
from tokenvault_client import _convert, models
from tokenvault_client._limits import PAGE_MAX

ResponseT = TypeVar("ResponseT", bound=Message)
ResultT = TypeVar("ResultT")

_PACKAGE: Final = "tokenvault.v1"


@dataclass(frozen=True, slots=True)
class Call(Generic[ResponseT, ResultT]):
    """``rpc`` is "Service/Method". The request may hold a secret and stays out of repr.

    ``is_read``: made twice it does no harm, since it changes nothing a caller can see.
    """

    rpc: str
    request: Message = field(repr=False)
    response_type: type[ResponseT]
    convert: Callable[[ResponseT], ResultT]
    is_read: bool = False

    @property
    def path(self) -> str:
        """As on the wire."""
        return f"/{_PACKAGE}.{self.rpc}"


@dataclass(frozen=True, slots=True)
class PageOf:
    """Which page of a list: its length, 0 for the service's own, and where it begins."""

    size: int = 0
    token: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.size <= PAGE_MAX:
            raise ValueError(f"page_size is 0 to {PAGE_MAX}, not {self.size}")


def serialize(message: Message) -> bytes:
    """The bytes of a request."""
    return message.SerializeToString()


def get_access_token(
    *, grant: str | None, alias: str | None, min_ttl_s: float | None, scopes: Iterable[str]
) -> Call[token_service_pb2.GetAccessTokenResponse, models.AccessToken]:
    """TokenService.GetAccessToken; raises TypeError unless exactly one target is given."""
    if (grant is None) == (alias is None):
        raise TypeError("give exactly one of grant and alias")
    request = token_service_pb2.GetAccessTokenRequest(
        min_ttl=None if min_ttl_s is None else _convert.duration(min_ttl_s), scopes=scopes
    )
    if grant is not None:
        request.grant = grant
    if alias is not None:
        request.alias = alias
    return Call(
        "TokenService/GetAccessToken",
        request,
        token_service_pb2.GetAccessTokenResponse,
        _convert.access_token,
        is_read=True,
    )


def start_authorization(
    *, oauth_client: str, owner: str, redirect_uri: str, scopes: Iterable[str], label: str
) -> Call[grant_service_pb2.StartAuthorizationResponse, models.Authorization]:
    """GrantService.StartAuthorization"""
    return Call(
        "GrantService/StartAuthorization",
        grant_service_pb2.StartAuthorizationRequest(
            oauth_client=oauth_client,
            owner=owner,
            redirect_uri=redirect_uri,
            scopes=scopes,
            label=label,
        ),
        grant_service_pb2.StartAuthorizationResponse,
        _convert.authorization,
    )


def complete_authorization(
    *, parent: str, state: str, owner: str, code: str, iss: str, redirect_uri: str, error: str
) -> Call[grant_service_pb2.CompleteAuthorizationResponse, models.CompletedAuthorization]:
    """GrantService.CompleteAuthorization"""
    return Call(
        "GrantService/CompleteAuthorization",
        grant_service_pb2.CompleteAuthorizationRequest(
            parent=parent,
            state=state,
            owner=owner,
            code=code,
            iss=iss,
            redirect_uri=redirect_uri,
            error=error,
        ),
        grant_service_pb2.CompleteAuthorizationResponse,
        _convert.completed,
    )


def get_grant(name: str) -> Call[grant_service_pb2.GetGrantResponse, models.Grant]:
    """GrantService.GetGrant"""
    return Call(
        "GrantService/GetGrant",
        grant_service_pb2.GetGrantRequest(name=name),
        grant_service_pb2.GetGrantResponse,
        lambda response: _convert.grant(response.grant),
        is_read=True,
    )


def list_grants(
    parent: str, owner: str, page: PageOf
) -> Call[grant_service_pb2.ListGrantsResponse, models.Page[models.Grant]]:
    """GrantService.ListGrants"""
    return Call(
        "GrantService/ListGrants",
        grant_service_pb2.ListGrantsRequest(
            parent=parent, owner=owner, page_size=page.size, page_token=page.token
        ),
        grant_service_pb2.ListGrantsResponse,
        lambda response: models.Page(
            tuple(map(_convert.grant, response.grants)), response.next_page_token
        ),
        is_read=True,
    )


def revoke_grant(name: str) -> Call[grant_service_pb2.RevokeGrantResponse, models.Grant]:
    """GrantService.RevokeGrant"""
    return Call(
        "GrantService/RevokeGrant",
        grant_service_pb2.RevokeGrantRequest(name=name),
        grant_service_pb2.RevokeGrantResponse,
        lambda response: _convert.grant(response.grant),
    )


def put_provider(
    provider: models.Provider,
) -> Call[provider_service_pb2.PutProviderResponse, models.Provider]:
    """ProviderService.PutProvider"""
    return Call(
        "ProviderService/PutProvider",
        provider_service_pb2.PutProviderRequest(provider=_convert.provider_message(provider)),
        provider_service_pb2.PutProviderResponse,
        lambda response: _convert.provider(response.provider),
    )


def list_providers(
    parent: str, page: PageOf
) -> Call[provider_service_pb2.ListProvidersResponse, models.Page[models.Provider]]:
    """ProviderService.ListProviders"""
    return Call(
        "ProviderService/ListProviders",
        provider_service_pb2.ListProvidersRequest(
            parent=parent, page_size=page.size, page_token=page.token
        ),
        provider_service_pb2.ListProvidersResponse,
        lambda response: models.Page(
            tuple(map(_convert.provider, response.providers)), response.next_page_token
        ),
        is_read=True,
    )


def put_oauth_client(
    oauth_client: models.OAuthClient, client_secret: str
) -> Call[provider_service_pb2.PutOAuthClientResponse, models.OAuthClient]:
    """ProviderService.PutOAuthClient"""
    return Call(
        "ProviderService/PutOAuthClient",
        provider_service_pb2.PutOAuthClientRequest(
            oauth_client=_convert.oauth_client_message(oauth_client), client_secret=client_secret
        ),
        provider_service_pb2.PutOAuthClientResponse,
        lambda response: _convert.oauth_client(response.oauth_client),
    )


def list_oauth_clients(
    parent: str, page: PageOf
) -> Call[provider_service_pb2.ListOAuthClientsResponse, models.Page[models.OAuthClient]]:
    """ProviderService.ListOAuthClients"""
    return Call(
        "ProviderService/ListOAuthClients",
        provider_service_pb2.ListOAuthClientsRequest(
            parent=parent, page_size=page.size, page_token=page.token
        ),
        provider_service_pb2.ListOAuthClientsResponse,
        lambda response: models.Page(
            tuple(map(_convert.oauth_client, response.oauth_clients)), response.next_page_token
        ),
        is_read=True,
    )


def put_secret(
    name: str, value: bytes
) -> Call[secret_service_pb2.PutSecretResponse, models.SecretVersion]:
    """SecretService.PutSecret"""
    return Call(
        "SecretService/PutSecret",
        secret_service_pb2.PutSecretRequest(name=name, payload=value),
        secret_service_pb2.PutSecretResponse,
        lambda response: _convert.secret_version(response.secret_version),
    )


def get_secret_value(
    name: str,
) -> Call[secret_service_pb2.GetSecretValueResponse, models.SecretValue]:
    """SecretService.GetSecretValue"""
    return Call(
        "SecretService/GetSecretValue",
        secret_service_pb2.GetSecretValueRequest(name=name),
        secret_service_pb2.GetSecretValueResponse,
        _convert.secret_value,
        is_read=True,
    )


def list_audit_records(
    parent: str, page: PageOf
) -> Call[audit_service_pb2.ListAuditRecordsResponse, models.Page[models.AuditRecord]]:
    """AuditService.ListAuditRecords"""
    return Call(
        "AuditService/ListAuditRecords",
        audit_service_pb2.ListAuditRecordsRequest(
            parent=parent, page_size=page.size, page_token=page.token
        ),
        audit_service_pb2.ListAuditRecordsResponse,
        lambda response: models.Page(
            tuple(map(_convert.audit_record, response.records)), response.next_page_token
        ),
        is_read=True,
    )
