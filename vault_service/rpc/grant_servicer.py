"""GrantService."""

from __future__ import annotations

from tokenvault.v1 import grant_service_pb2 as pb
from tokenvault.v1 import grant_service_pb2_grpc
from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.event import EventFilter, GrantEvent
from vault_service.domain.grant import GrantFilter, GrantState
from vault_service.domain.names import (
    GrantAliasName,
    GrantName,
    OAuthClientName,
    ProviderName,
    parse_tenant,
    require_id,
    require_owner,
)
from vault_service.domain.sensitive import Sensitive
from vault_service.rpc import fields, translate
from vault_service.rpc.handling import Handling, handled
from vault_service.rpc.streaming import Write, streamed
from vault_service.usecases.complete_authorization import Callback, CompleteAuthorization
from vault_service.usecases.delete_grant import DeleteGrant
from vault_service.usecases.grant_aliases import GrantAliases
from vault_service.usecases.grants import ReadGrants
from vault_service.usecases.revoke_grant import RevokeGrant
from vault_service.usecases.start_authorization import AuthorizationRequest, StartAuthorization
from vault_service.usecases.watch_grants import WatchGrants


class GrantServicer(grant_service_pb2_grpc.GrantServiceServicer):
    """Consent becomes a grant; grants are read, listed, aliased, revoked and deleted."""

    def __init__(
        self,
        handling: Handling,
        *,
        start: StartAuthorization,
        complete: CompleteAuthorization,
        read: ReadGrants,
        revoke: RevokeGrant,
        delete: DeleteGrant,
        aliases: GrantAliases,
        watch: WatchGrants,
    ) -> None:
        self.handling = handling
        self._start = start
        self._complete = complete
        self._read = read
        self._revoke = revoke
        self._delete = delete
        self._aliases = aliases
        self._watch = watch

    @handled("GrantService", lambda request: request.oauth_client)
    async def StartAuthorization(
        self, request: pb.StartAuthorizationRequest, call: Call
    ) -> pb.StartAuthorizationResponse:
        """See the proto."""
        started = await self._start(call, _authorization_request(request))
        return pb.StartAuthorizationResponse(
            authorization_url=started.url,
            state=started.state,
            expire_time=translate.timestamp(started.expire_time),
        )

    @handled("GrantService", lambda request: request.parent)
    async def CompleteAuthorization(
        self, request: pb.CompleteAuthorizationRequest, call: Call
    ) -> pb.CompleteAuthorizationResponse:
        """See the proto."""
        completed = await self._complete(call, _callback(request))
        return pb.CompleteAuthorizationResponse(
            grant=translate.grant(completed.grant),
            alias=str(completed.alias),
            not_refreshable=completed.grant.refresh_envelope is None,
        )

    @handled("GrantService", lambda request: request.name)
    async def GetGrant(self, request: pb.GetGrantRequest, call: Call) -> pb.GetGrantResponse:
        """See the proto."""
        grant = await self._read.get(call, GrantName.parse(request.name))
        return pb.GetGrantResponse(grant=translate.grant(grant))

    @handled("GrantService", lambda request: request.parent)
    async def ListGrants(self, request: pb.ListGrantsRequest, call: Call) -> pb.ListGrantsResponse:
        """See the proto."""
        page = await self._read.list(
            call,
            parse_tenant(request.parent),
            require_owner(request.owner) if request.owner else "",
            fields.page_size(request.page_size),
            fields.page_token(request.page_token),
            _filter(request),
        )
        return pb.ListGrantsResponse(
            grants=map(translate.grant, page.items), next_page_token=page.next_token
        )

    @handled("GrantService", lambda request: request.name)
    async def RevokeGrant(
        self, request: pb.RevokeGrantRequest, call: Call
    ) -> pb.RevokeGrantResponse:
        """See the proto."""
        grant = await self._revoke(call, GrantName.parse(request.name))
        return pb.RevokeGrantResponse(grant=translate.grant(grant))

    @handled("GrantService", lambda request: request.name)
    async def DeleteGrant(
        self, request: pb.DeleteGrantRequest, call: Call
    ) -> pb.DeleteGrantResponse:
        """See the proto."""
        grant = await self._delete(call, GrantName.parse(request.name))
        return pb.DeleteGrantResponse(grant=translate.grant(grant))

    @handled("GrantService", lambda request: request.alias)
    async def LinkAlias(self, request: pb.LinkAliasRequest, call: Call) -> pb.LinkAliasResponse:
        """See the proto."""
        alias, name = GrantAliasName.parse(request.alias), GrantName.parse(request.grant)
        grant = await self._aliases.link(call, alias, name)
        return pb.LinkAliasResponse(alias=str(alias), grant=translate.grant(grant))

    @handled("GrantService", lambda request: request.alias)
    async def UnlinkAlias(
        self, request: pb.UnlinkAliasRequest, call: Call
    ) -> pb.UnlinkAliasResponse:
        """See the proto."""
        await self._aliases.unlink(call, GrantAliasName.parse(request.alias))
        return pb.UnlinkAliasResponse()

    @streamed("GrantService", lambda request: request.parent)
    async def WatchGrants(self, request: pb.WatchGrantsRequest, call: Call, write: Write) -> None:
        """See the proto."""

        async def send(event: GrantEvent | None, cursor: str) -> None:
            told = translate.grant_event(event) if event else None
            await write(pb.WatchGrantsResponse(event=told, cursor=cursor))

        tenant, only = parse_tenant(request.parent), _event_filter(request)
        cursor = fields.text("cursor", request.cursor, limits.CURSOR_MAX_CHARS, optional=True)
        await self._watch(call, tenant, only, cursor, send)


def _registered(request: pb.ListGrantsRequest | pb.WatchGrantsRequest) -> tuple[str, str]:
    """The ids of the OAuthClient and the provider that narrow; "" where none is named."""
    tenant = parse_tenant(request.parent)
    client = OAuthClientName.parse(request.oauth_client) if request.oauth_client else None
    provider = ProviderName.parse(request.provider) if request.provider else None
    if any(name and name.tenant != tenant for name in (client, provider)):
        raise fields.malformed("parent", "is the tenant of oauth_client and provider")
    return client.oauth_client if client else "", provider.provider if provider else ""


def _event_filter(request: pb.WatchGrantsRequest) -> EventFilter:
    oauth_client, provider = _registered(request)
    owner = require_owner(request.owner) if request.owner else ""
    kinds = fields.event_kinds("kinds", request.kinds)
    return EventFilter(owner, oauth_client, provider, kinds)


def _filter(request: pb.ListGrantsRequest) -> GrantFilter:
    oauth_client, provider = _registered(request)
    try:
        state = GrantState(request.state) if request.state else None
    except ValueError:
        raise fields.malformed("state", "is ACTIVE, REAUTHORIZATION_REQUIRED or REVOKED") from None
    return GrantFilter(state=state, oauth_client=oauth_client, provider=provider)


def _authorization_request(request: pb.StartAuthorizationRequest) -> AuthorizationRequest:
    return AuthorizationRequest(
        oauth_client=OAuthClientName.parse(request.oauth_client),
        owner=require_owner(request.owner),
        redirect_uri=fields.text("redirect_uri", request.redirect_uri, limits.URI_MAX_CHARS),
        scopes=fields.scopes(request.scopes),
        label=require_id(request.label, "Label") if request.label else "",
    )


def _callback(request: pb.CompleteAuthorizationRequest) -> Callback:
    error = fields.text("error", request.error, limits.TEXT_MAX_CHARS, optional=True)
    code = fields.text("code", request.code, limits.CODE_MAX_CHARS, optional=bool(error))
    uri_max = limits.URI_MAX_CHARS
    return Callback(
        tenant=parse_tenant(request.parent),
        state=fields.text("state", request.state, limits.STATE_MAX_CHARS),
        code=Sensitive.from_text(code),
        iss=fields.text("iss", request.iss, uri_max, optional=True),
        owner=require_owner(request.owner),
        redirect_uri=fields.text("redirect_uri", request.redirect_uri, uri_max, optional=True),
        error=error,
    )
