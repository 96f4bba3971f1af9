"""What every call goes through: identity, budget, one use case, and the record of a refusal."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, NoReturn, Protocol, TypeVar, cast

import grpc
import grpc.aio

from vault_service.domain import limits
from vault_service.domain.access import Call, Caller
from vault_service.domain.errors import Reason, VaultError
from vault_service.ports import Clock, Entropy
from vault_service.rpc.caller import CallerReader
from vault_service.rpc.status import GRPC_CODE, REQUEST_ID_KEY, STATUS_KEY, to_status
from vault_service.telemetry import get_logger
from vault_service.usecases.audit_records import RecordRefusal

_log = get_logger("rpc")

_NOBODY = Caller("", "")

Q = TypeVar("Q")
R = TypeVar("R")
Context = grpc.aio.ServicerContext[Any, Any]


class Handling:
    """Runs the calls of all servicers of one server."""

    def __init__(
        self, *, callers: CallerReader, refusals: RecordRefusal, clock: Clock, entropy: Entropy
    ) -> None:
        self._callers = callers
        self._refusals = refusals
        self._clock = clock
        self._entropy = entropy

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
        call = self._call(rpc, context, started, life_s)
        try:
            caller, until = self._callers.read_until(context.auth_context())
            call = replace(call, caller=caller)
            if life_s is not None:
                left_s = (until - self._clock.now()).total_seconds()
                call = replace(call, deadline=min(call.deadline, started + left_s))
            answer = await self._within_budget(call, work)
        except VaultError as error:
            refusal = await self._recorded(call, error, asked)
        except Exception as fault:
            _log_fault(call, fault)
            internal = VaultError(
                Reason.INTERNAL, f"a fault in the service; report request {call.request_id}"
            )
            refusal = await self._recorded(call, internal, asked)
        else:
            self._log_outcome(call, "OK", started)
            context.set_trailing_metadata(((REQUEST_ID_KEY, call.request_id),))
            return answer
        self._log_outcome(call, refusal.reason.name, started)
        await abort(context, call, refusal)

    async def _recorded(self, call: Call, error: VaultError, asked: str) -> VaultError:
        try:
            return await self._refusals(call, error, asked)
        except Exception as fault:
            # Left to gRPC, it would go to the caller with its text.
            _log_fault(call, fault)
            return VaultError(
                Reason.AUDIT_UNAVAILABLE, "the refusal could not be put on record; try again"
            )

    def _call(self, rpc: str, context: Context, started: float, life_s: float | None) -> Call:
        left_s = context.time_remaining()
        default_s = limits.RPC_DEFAULT_BUDGET_S if life_s is None else life_s
        budget_s = default_s if left_s is None else left_s
        return Call(
            caller=_NOBODY,
            rpc=rpc,
            request_id=self._entropy.uuid7().hex,
            source=context.peer()[: limits.TEXT_MAX_CHARS],
            deadline=started + min(budget_s, life_s or limits.RPC_MAX_BUDGET_S),
        )

    async def _within_budget(self, call: Call, work: Callable[[Call], Awaitable[R]]) -> R:
        budget_s = call.deadline - self._clock.monotonic()
        if budget_s < limits.RPC_MIN_BUDGET_S:
            raise VaultError(Reason.BUDGET_TOO_SHORT, "set a deadline of at least 100 ms")
        try:
            async with asyncio.timeout(budget_s - limits.REPLY_RESERVE_S / 2):
                return await work(call)
        except TimeoutError:
            raise VaultError(
                Reason.BUDGET_TOO_SHORT, "the deadline came before the answer; allow more time"
            ) from None

    def _log_outcome(self, call: Call, outcome: str, started: float) -> None:
        _log.info(
            "call",
            rpc=call.rpc,
            caller=call.caller.spiffe_id,
            request_id=call.request_id,
            outcome=outcome,
            duration_ms=round(1000 * (self._clock.monotonic() - started), 1),
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
    _log.error("fault", rpc=call.rpc, request_id=call.request_id, fault=_place(fault))


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
        async def handler(self: S, request: Q, context: Context) -> R:
            return await self.handling.run(
                rpc, asked(request), context, lambda call: method(self, request, call)
            )

        return cast("Callable[[S, Q, Context], Awaitable[R]]", handler)

    return wrap
