"""TokenService."""

from __future__ import annotations

from tokenvault.v1 import resources_pb2, token_service_pb2, token_service_pb2_grpc
from vault_service.domain.access import Call
from vault_service.domain.grant import AccessToken
from vault_service.domain.names import GrantAliasName, GrantName, GrantTarget, malformed
from vault_service.rpc import fields, translate
from vault_service.rpc.handling import Handling, handled
from vault_service.usecases.get_access_token import GetAccessToken


class TokenServicer(token_service_pb2_grpc.TokenServiceServicer):
    """Short-lived access tokens."""

    def __init__(self, handling: Handling, get_access_token: GetAccessToken) -> None:
        self.handling = handling
        self._get_access_token = get_access_token

    @handled("TokenService", lambda request: request.grant or request.alias)
    async def GetAccessToken(
        self, request: token_service_pb2.GetAccessTokenRequest, call: Call
    ) -> token_service_pb2.GetAccessTokenResponse:
        """See the proto."""
        min_ttl_s = fields.min_ttl_s(request.min_ttl if request.HasField("min_ttl") else None)
        scopes = frozenset(fields.scopes(request.scopes))
        return _response(await self._get_access_token(call, _target(request), min_ttl_s, scopes))


def _target(request: token_service_pb2.GetAccessTokenRequest) -> GrantTarget:
    kind = request.WhichOneof("target")
    if kind == "grant":
        return GrantName.parse(request.grant)
    if kind == "alias":
        return GrantAliasName.parse(request.alias)
    raise malformed("grant or alias", "")


def _response(token: AccessToken) -> token_service_pb2.GetAccessTokenResponse:
    return token_service_pb2.GetAccessTokenResponse(
        access_token=token.value.reveal_text(),
        token_type=token.token_type,
        expire_time=translate.timestamp(token.expire_time),
        scopes=token.scopes,
        token_fingerprint=token.fingerprint,
        served=resources_pb2.Served.ValueType(token.served.value),
        grant_state=resources_pb2.GrantState.ValueType(token.grant_state.value),
        grant=str(token.grant),
    )
