"""TokenService."""

from __future__ import annotations

from tokenvault.v1 import resources_pb2, token_service_pb2, token_service_pb2_grpc
from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.grant import AccessToken
from vault_service.domain.names import GrantAliasName, GrantName, GrantTarget, malformed
from vault_service.rpc import fields, translate
from vault_service.rpc.handling import Handling, handled
from vault_service.usecases.get_access_token import GetAccessToken
from vault_service.usecases.report_rejected_token import ReportRejectedToken


class TokenServicer(token_service_pb2_grpc.TokenServiceServicer):
    """Short-lived access tokens."""

    def __init__(
        self, handling: Handling, get_access_token: GetAccessToken, report: ReportRejectedToken
    ) -> None:
        self.handling = handling
        self._get_access_token = get_access_token
        self._report = report

    @handled("TokenService", lambda request: request.grant or request.alias)
    async def GetAccessToken(
        self, request: token_service_pb2.GetAccessTokenRequest, call: Call
    ) -> token_service_pb2.GetAccessTokenResponse:
        """See the proto."""
        min_ttl_s = fields.min_ttl_s(request.min_ttl if request.HasField("min_ttl") else None)
        scopes = frozenset(fields.scopes(request.scopes))
        return _response(await self._get_access_token(call, _target(request), min_ttl_s, scopes))

    @handled("TokenService", lambda request: request.grant or request.alias)
    async def ReportRejectedToken(
        self, request: token_service_pb2.ReportRejectedTokenRequest, call: Call
    ) -> token_service_pb2.ReportRejectedTokenResponse:
        """See the proto."""
        target, shown = _target(request), request.token_fingerprint
        fingerprint = fields.text("token_fingerprint", shown, limits.FINGERPRINT_MAX_CHARS)
        grant, already_refreshed = await self._report(call, target, fingerprint)
        return token_service_pb2.ReportRejectedTokenResponse(
            grant=str(grant.name), already_refreshed=already_refreshed
        )


def _target(
    request: token_service_pb2.GetAccessTokenRequest | token_service_pb2.ReportRejectedTokenRequest,
) -> GrantTarget:
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
        never_expires=token.never_expires,
    )
