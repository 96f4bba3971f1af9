"""What metrics and traces add to one call, in microseconds: ``python -m bench.telemetry``.

Each line is the best of five rounds on the machine as it is: a part that runs on every call, beside
what the same part costs when traces are recorded.
"""

from __future__ import annotations

import logging
import timeit
from collections.abc import Callable
from contextvars import copy_context

from vault_service.adapters.clock import SystemEntropy
from vault_service.telemetry import work_for_call
from vault_service.telemetry.meters import CommitMeter, DatabaseMeter, RpcMeter
from vault_service.telemetry.metrics import Metrics
from vault_service.telemetry.otlp import Collector, OtlpTraces
from vault_service.telemetry.traces import Traces, child, read_traceparent

_RPC = "TokenService/GetAccessToken"
_CALLS = 20_000
_ROUNDS = 5
_METADATA = (("user-agent", "grpc-python/1.85.1"), ("accept-encoding", "identity"))
_TRACED = (*_METADATA, ("traceparent", f"00-{'ab' * 16}-{'cd' * 8}-01"))


def _us(work: Callable[[], object]) -> float:
    best_s = min(timeit.repeat(work, number=_CALLS, repeat=_ROUNDS))
    return 1e6 * best_s / _CALLS


def _traces(ratio: float) -> OtlpTraces:
    # Nothing listens there: what is measured is the call's own share.
    return OtlpTraces(Collector("http://127.0.0.1:9/v1/traces", None, ratio), {})


def main() -> None:
    """Prints a table."""
    logging.disable()  # the exporter tells that nobody listens
    metrics = Metrics()
    rpc, database, commit = RpcMeter(metrics), DatabaseMeter(metrics, "x"), CommitMeter(metrics)
    entropy, off, on, rarely = SystemEntropy(), Traces(), _traces(1.0), _traces(0.0)

    def counted() -> None:
        rpc.begun(_RPC)
        rpc.ended(_RPC, "OK", "", 0.0012)

    def ids() -> None:
        parent = read_traceparent(_METADATA)
        _, trace_id = off.call(_RPC, parent)
        work_for_call("r", trace_id or entropy.token(16).hex())

    def nothing() -> None:
        with child("group commit"):
            pass

    def recorded_call() -> None:
        span, _ = on.call(_RPC, read_traceparent(_TRACED))
        with span:
            span.note(rpc=_RPC, request_id="r")
            with child("group commit"):
                pass

    parts: dict[str, Callable[[], object]] = {
        "metrics of a call": counted,
        "trace id and context of a call": lambda: copy_context().run(ids),
        "a child span where nothing is recorded": nothing,
        "wait for a connection": lambda: database.waited(0.0001),
        "size of a group commit": lambda: commit.records.observe(3),
        "a recorded call with one child": recorded_call,
        "a call that is not sampled": lambda: rarely.call(_RPC, None),
        "rendering all of it, one scrape": metrics.render,
    }
    for name, work in parts.items():
        print(f"{_us(work):8.2f} us  {name}")


if __name__ == "__main__":
    main()
