"""What every call goes through: identity, budget, one use case, and the record of a refusal."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, NoReturn, Protocol, TypeVar, cast

import grpc
import grpc.aio

from vault_service.domain import limits
from vault_service.domain.access import Call, Caller, reply_reserve_s
from vault_service.domain.errors import Reason, VaultError
from vault_service.ports import Clock, Entropy
from vault_service.rpc.bounds import Unreadable
from vault_service.rpc.caller import CallerReader
from vault_service.rpc.status import GRPC_CODE, REQUEST_ID_KEY, STATUS_KEY, to_status
from vault_service.telemetry import get_logger, work_for_call
from vault_service.telemetry.meters import OK, RpcMeter
from vault_service.telemetry.metrics import Metrics
from vault_service.telemetry.traces import Span, Traces, read_traceparent
from vault_service.usecases.audit_records import RecordRefusal

_log = get_logger("rpc")

_NOBODY = Caller("", "")
_GIVEN_UP = "CANCELLED"  # the caller went away, or its connection did
_TRACE_ID_BYTES = 16

Q = TypeVar("Q")
R = TypeVar("R")
Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(slots=True)
class _UnderWay(Generic[R]):
    """One call and how it ended: with an answer, a refusal, or neither (given up)."""

    call: Call
    span: Span
    answer: R | None = None
    refusal: VaultError | None = None
    code: str = _GIVEN_UP

    @property
    def reason(self) -> str:
        """Of the refusal, else ""."""
        return self.refusal.reason.name if self.refusal else ""


class Handling:
    """Runs the calls of all servicers of one server."""

    def __init__(
        self,
        *,
        callers: CallerReader,
        refusals: RecordRefusal,
        clock: Clock,
        entropy: Entropy,
        meter: RpcMeter | None = None,
        traces: Traces | None = None,
    ) -> None:
        self._callers = callers
        self._refusals = refusals
        self._clock = clock
        self._entropy = entropy
        self._meter = meter or RpcMeter(Metrics())
        self._traces = traces or Traces()

    async def run(
        self,
        rpc: str,
        asked: str,
        context: Context,
        work: Callable[[Call], Awaitable[R]],
        *,
        life_s: float | None = None,
    ) -> R:
        """The answer of ``work``; a refusal goes on record, then out with its reason.

        ``life_s`` is for streams: their longest life, unless the certificate's ends before.
        """
        started = self._clock.monotonic()
        under_way = self._begin(rpc, context, started, life_s)
        self._meter.begun(rpc)
        try:
            with under_way.span:
                await self._end(under_way, asked, context, work, life_s)
        finally:
            self._told(under_way, started)
        if under_way.refusal is not None:
            await abort(context, under_way.call, under_way.refusal)
        context.set_trailing_metadata(((REQUEST_ID_KEY, under_way.call.request_id),))
        return cast("R", under_way.answer)

    async def _end(
        self,
        under_way: _UnderWay[R],
        asked: str,
        context: Context,
        work: Callable[[Call], Awaitable[R]],
        life_s: float | None,
    ) -> None:
        try:
            caller, until = self._callers.read_until(context.auth_context())
            under_way.call = replace(under_way.call, caller=caller)
            if life_s is not None:
                left_s = (until - self._clock.now()).total_seconds()
                ends = self._clock.monotonic() + left_s
                under_way.call = replace(
                    under_way.call, deadline=min(under_way.call.deadline, ends)
                )
            under_way.answer = await self._within_budget(under_way.call, work)
            under_way.code = OK
            return
        except VaultError as error:
            refusal = error
        except Exception as fault:
            _log_fault(under_way.call, fault)
            refusal = VaultError(
                Reason.INTERNAL,
                f"a fault in the service; report request {under_way.call.request_id}",
            )
        under_way.refusal = await self._recorded(under_way.call, refusal, asked)
        under_way.code = under_way.refusal.code.name
        under_way.span.failed(under_way.reason)

    async def _recorded(self, call: Call, error: VaultError, asked: str) -> VaultError:
        try:
            return await self._refusals(call, error, asked)
        except Exception as fault:
            # Left to gRPC, it would go to the caller with its text.
            _log_fault(call, fault)
            return VaultError(
                Reason.AUDIT_UNAVAILABLE, "the refusal could not be put on record; try again"
            )

    def _begin(
        self, rpc: str, context: Context, started: float, life_s: float | None
    ) -> _UnderWay[Any]:
        left_s = context.time_remaining()
        default_s = limits.RPC_DEFAULT_BUDGET_S if life_s is None else life_s
        budget_s = min(default_s if left_s is None else left_s, life_s or limits.RPC_MAX_BUDGET_S)
        span, trace_id = self._traces.call(rpc, read_traceparent(context.invocation_metadata()))
        call = Call(
            caller=_NOBODY,
            rpc=rpc,
            # Ours and not the caller's: an id that others choose is no evidence.
            request_id=self._entropy.uuid7().hex,
            source=context.peer()[: limits.TEXT_MAX_CHARS],
            deadline=started + budget_s,
            reserve_s=reply_reserve_s(budget_s),
            trace_id=trace_id or self._entropy.token(_TRACE_ID_BYTES).hex(),
        )
        work_for_call(call.request_id, call.trace_id)
        span.note(rpc=rpc, request_id=call.request_id)
        return _UnderWay(call, span)

    async def _within_budget(self, call: Call, work: Callable[[Call], Awaitable[R]]) -> R:
        budget_s = call.deadline - self._clock.monotonic()
        if budget_s < limits.RPC_MIN_BUDGET_S:
            raise VaultError(Reason.BUDGET_TOO_SHORT, "set a deadline of at least 100 ms")
        try:
            async with asyncio.timeout(budget_s - call.reserve_s / 2):
                return await work(call)
        except TimeoutError:
            raise VaultError(
                Reason.BUDGET_TOO_SHORT, "the deadline came before the answer; allow more time"
            ) from None

    def _told(self, under_way: _UnderWay[Any], started: float) -> None:
        """To the metrics and the log."""
        took_s = self._clock.monotonic() - started
        code, reason, call = under_way.code, under_way.reason, under_way.call
        self._meter.ended(call.rpc, code, reason, took_s)
        _log.info(
            "call",
            rpc=call.rpc,
            caller=call.caller.spiffe_id,
            outcome=reason or code,
            duration_ms=round(1000 * took_s, 1),
        )


async def abort(context: Context, call: Call, error: VaultError) -> NoReturn:
    """End the call with the reason."""
    status = to_status(error)
    await context.abort(
        GRPC_CODE[error.code],
        error.message,
        ((STATUS_KEY, status.SerializeToString()), (REQUEST_ID_KEY, call.request_id)),
    )
    raise AssertionError("abort returns by raising")


def _log_fault(call: Call, fault: Exception) -> None:
    # The fault's text may hold anything: its type and place are enough to find it.
    _log.error("fault", rpc=call.rpc, fault=_place(fault))


def _place(fault: Exception) -> str:
    """Type and source line of a fault, without its text."""
    trace = fault.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}" if trace else "?"
    return f"{type(fault).__name__} at {where}"


class Handled(Protocol):
    """A servicer with its handling."""

    handling: Handling


S = TypeVar("S", bound=Handled)


def handled(
    service: str, asked: Callable[[Any], str]
) -> Callable[[Callable[[S, Q, Call], Awaitable[R]]], Callable[[S, Q, Context], Awaitable[R]]]:
    """Makes ``method(self, request, call)`` a gRPC handler; ``asked`` reads the resource name
    that the record of a refusal shows."""

    def wrap(
        method: Callable[[S, Q, Call], Awaitable[R]],
    ) -> Callable[[S, Q, Context], Awaitable[R]]:
        rpc = f"{service}/{method.__name__}"

        @functools.wraps(method)
        async def handler(self: S, request: Q | Unreadable, context: Context) -> R:
            if isinstance(request, Unreadable):
                return await self.handling.run(rpc, "", context, request.refuse)
            message = request
            return await self.handling.run(
                rpc, asked(message), context, lambda call: method(self, message, call)
            )

        return cast("Callable[[S, Q, Context], Awaitable[R]]", handler)

    return wrap
