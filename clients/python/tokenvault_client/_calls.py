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
    resources_pb2,
    token_service_pb2,
)
from tokenvault_client import _convert, _providers, models
from tokenvault_client._limits import PAGE_MAX
from tokenvault_client.enums import GrantState

ResponseT = TypeVar("ResponseT", bound=Message)
ResultT = TypeVar("ResultT")

_PACKAGE: Final = "tokenvault.v1"


@dataclass(frozen=True, slots=True)
class Call(Generic[ResponseT, ResultT]):
    """``rpc`` is "Service/Method". The request may hold a secret and stays out of repr.

    ``is_read``: made twice it does no harm, since it changes nothing a caller can see, or the
    service knows it as the same one by its request_id.
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
class Stream(Generic[ResponseT, ResultT]):
    """A server stream that goes on from a cursor; ``request`` makes the message for one."""

    rpc: str
    request: Callable[[str], Message]
    response_type: type[ResponseT]
    convert: Callable[[ResponseT], ResultT]
    cursor_of: Callable[[ResponseT], str]
    start: str

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


@dataclass(frozen=True, slots=True)
class GrantsOf:
    """Which grants of a tenant; what is "" or UNSPECIFIED does not narrow the list."""

    owner: str = ""
    state: GrantState = GrantState.UNSPECIFIED
    oauth_client: str = ""
    provider: str = ""


def _grant_state(state: GrantState) -> resources_pb2.GrantState.ValueType:
    return resources_pb2.GrantState.Value(f"GRANT_STATE_{state.value}")


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


def report_rejected_token(
    *, grant: str | None, alias: str | None, token_fingerprint: str
) -> Call[token_service_pb2.ReportRejectedTokenResponse, models.RejectedToken]:
    """TokenService.ReportRejectedToken, which counts once however often it is sent; raises
    TypeError unless exactly one target is given."""
    if (grant is None) == (alias is None):
        raise TypeError("give exactly one of grant and alias")
    request = token_service_pb2.ReportRejectedTokenRequest(token_fingerprint=token_fingerprint)
    if grant is not None:
        request.grant = grant
    if alias is not None:
        request.alias = alias
    return Call(
        "TokenService/ReportRejectedToken",
        request,
        token_service_pb2.ReportRejectedTokenResponse,
        lambda response: models.RejectedToken(
            grant=response.grant, already_refreshed=response.already_refreshed
        ),
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
    parent: str, only: GrantsOf, page: PageOf
) -> Call[grant_service_pb2.ListGrantsResponse, models.Page[models.Grant]]:
    """GrantService.ListGrants"""
    return Call(
        "GrantService/ListGrants",
        grant_service_pb2.ListGrantsRequest(
            parent=parent,
            owner=only.owner,
            state=_grant_state(only.state),
            oauth_client=only.oauth_client,
            provider=only.provider,
            page_size=page.size,
            page_token=page.token,
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


def delete_grant(name: str) -> Call[grant_service_pb2.DeleteGrantResponse, models.Grant]:
    """GrantService.DeleteGrant"""
    return Call(
        "GrantService/DeleteGrant",
        grant_service_pb2.DeleteGrantRequest(name=name),
        grant_service_pb2.DeleteGrantResponse,
        lambda response: _convert.grant(response.grant),
    )


def link_alias(alias: str, grant: str) -> Call[grant_service_pb2.LinkAliasResponse, models.Grant]:
    """GrantService.LinkAlias"""
    return Call(
        "GrantService/LinkAlias",
        grant_service_pb2.LinkAliasRequest(alias=alias, grant=grant),
        grant_service_pb2.LinkAliasResponse,
        lambda response: _convert.grant(response.grant),
    )


def unlink_alias(alias: str) -> Call[grant_service_pb2.UnlinkAliasResponse, None]:
    """GrantService.UnlinkAlias"""
    return Call(
        "GrantService/UnlinkAlias",
        grant_service_pb2.UnlinkAliasRequest(alias=alias),
        grant_service_pb2.UnlinkAliasResponse,
        nothing,
    )


def put_provider(
    provider: models.Provider,
) -> Call[provider_service_pb2.PutProviderResponse, models.Provider]:
    """ProviderService.PutProvider"""
    return Call(
        "ProviderService/PutProvider",
        provider_service_pb2.PutProviderRequest(provider=_providers.provider_message(provider)),
        provider_service_pb2.PutProviderResponse,
        lambda response: _providers.provider(response.provider),
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
            tuple(map(_providers.provider, response.providers)), response.next_page_token
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


def add_client_credential(
    oauth_client: str, client_secret: str
) -> Call[provider_service_pb2.AddClientCredentialResponse, models.OAuthClient]:
    """ProviderService.AddClientCredential"""
    return Call(
        "ProviderService/AddClientCredential",
        provider_service_pb2.AddClientCredentialRequest(
            oauth_client=oauth_client, client_secret=client_secret
        ),
        provider_service_pb2.AddClientCredentialResponse,
        lambda response: _convert.oauth_client(response.oauth_client),
    )


def retire_client_credential(
    oauth_client: str, version: int
) -> Call[provider_service_pb2.RetireClientCredentialResponse, models.OAuthClient]:
    """ProviderService.RetireClientCredential"""
    return Call(
        "ProviderService/RetireClientCredential",
        provider_service_pb2.RetireClientCredentialRequest(
            oauth_client=oauth_client, version=version
        ),
        provider_service_pb2.RetireClientCredentialResponse,
        lambda response: _convert.oauth_client(response.oauth_client),
    )


def suspend_oauth_client(
    name: str,
) -> Call[provider_service_pb2.SuspendOAuthClientResponse, models.OAuthClient]:
    """ProviderService.SuspendOAuthClient"""
    return Call(
        "ProviderService/SuspendOAuthClient",
        provider_service_pb2.SuspendOAuthClientRequest(name=name),
        provider_service_pb2.SuspendOAuthClientResponse,
        lambda response: _convert.oauth_client(response.oauth_client),
    )


def resume_oauth_client(
    name: str,
) -> Call[provider_service_pb2.ResumeOAuthClientResponse, models.OAuthClient]:
    """ProviderService.ResumeOAuthClient"""
    return Call(
        "ProviderService/ResumeOAuthClient",
        provider_service_pb2.ResumeOAuthClientRequest(name=name),
        provider_service_pb2.ResumeOAuthClientResponse,
        lambda response: _convert.oauth_client(response.oauth_client),
    )


def nothing(_: Message) -> None:
    """What an empty answer reads as."""


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
