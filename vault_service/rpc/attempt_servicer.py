"""AttemptService."""

from __future__ import annotations

from typing import TypeVar

from tokenvault.v1 import attempt_service_pb2 as pb
from tokenvault.v1 import attempt_service_pb2_grpc, resources_pb2
from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.attempt import NO_SPOOL, AttemptAction, AttemptFilter
from vault_service.domain.names import AttemptName, ProviderName, parse_tenant
from vault_service.ports.attempts import ListedAttempt
from vault_service.rpc import fields, translate
from vault_service.rpc.handling import Handling, handled
from vault_service.usecases.attempts import Attempts, Received

T = TypeVar("T", AttemptAction, AttemptFilter)


class AttemptServicer(attempt_service_pb2_grpc.AttemptServiceServicer):
    """Refresh attempts that are in doubt."""

    def __init__(self, handling: Handling, attempts: Attempts) -> None:
        self.handling = handling
        self._attempts = attempts

    @handled("AttemptService", lambda request: request.parent)
    async def ListAttempts(
        self, request: pb.ListAttemptsRequest, call: Call
    ) -> pb.ListAttemptsResponse:
        """See the proto."""
        tenant = parse_tenant(request.parent)
        which = request.filter or pb.ATTEMPT_FILTER_IN_DOUBT
        page = await self._attempts.list(
            call,
            tenant,
            _known("filter", AttemptFilter, which),
            _provider(tenant, request.provider),
            fields.page_size(request.page_size),
            fields.page_token(request.page_token),
        )
        attempts = [_attempt(one, None) for one in page.items]
        return pb.ListAttemptsResponse(attempts=attempts, next_page_token=page.next_token)

    @handled("AttemptService", lambda request: request.name)
    async def GetAttempt(self, request: pb.GetAttemptRequest, call: Call) -> pb.GetAttemptResponse:
        """See the proto."""
        found = await self._attempts.get(call, AttemptName.parse(request.name))
        return pb.GetAttemptResponse(attempt=_attempt(*found))

    @handled("AttemptService", lambda request: request.name)
    async def ResolveAttempt(
        self, request: pb.ResolveAttemptRequest, call: Call
    ) -> pb.ResolveAttemptResponse:
        """See the proto."""
        name = AttemptName.parse(request.name)
        action = _known("action", AttemptAction, request.action)
        etag = fields.text("etag", request.etag, limits.ETAG_MAX_CHARS, optional=True)
        why = fields.text("reason", request.reason, limits.ORDER_REASON_MAX_CHARS, optional=True)
        found = await self._attempts.resolve(call, name, action, etag, why)
        return pb.ResolveAttemptResponse(attempt=_attempt(*found))


def _known(field: str, kind: type[T], value: int) -> T:
    try:
        return kind(value)
    except ValueError:
        raise fields.malformed(field, "is one that the proto names") from None


def _provider(tenant: str, name: str) -> str:
    if not name:
        return ""
    parsed = ProviderName.parse(name)
    if parsed.tenant != tenant:
        raise fields.malformed("provider", "is one of the same tenant")
    return parsed.provider


def _attempt(listed: ListedAttempt, received: Received | None) -> pb.Attempt:
    one = listed.attempt
    return pb.Attempt(
        name=str(AttemptName(one.tenant, one.attempt_id)),
        grant=str(one.grant),
        provider=str(ProviderName(one.tenant, listed.provider)),
        refresh_class=resources_pb2.RefreshClass.ValueType(one.refresh_class.value),
        state=pb.AttemptState.ValueType(one.state.value),
        waits_for=pb.WaitsFor.ValueType(one.waits_for.value if one.waits_for else 0),
        retries=one.retries,
        generation=one.base_generation,
        reason=listed.reason,
        answer_kept=one.orphan_envelope is not None,
        received=_received(received) if received else None,
        spool="" if one.spool_id == NO_SPOOL else str(one.spool_id),
        create_time=translate.timestamp(one.create_time),
        update_time=translate.timestamp(listed.update_time),
        next_try_time=translate.timestamp(one.next_try_time if listed.is_tried_again else None),
        etag=listed.etag,
    )


def _received(value: Received) -> pb.ReceivedAnswer:
    return pb.ReceivedAnswer(
        status=value.status,
        length=value.length,
        media_type=value.media_type,
        why=value.why,
        oddity=value.oddity,
    )
