"""What is pushed where it happens: calls, waits, requests to others, batches.

Each meter keeps the labelled children it has used: finding one is a dictionary look-up, where the
library's own ``labels`` costs a lock and a tuple of texts (docs/adr/0011).
"""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from vault_service.domain import limits
from vault_service.telemetry.metrics import SIZES, Capped, Metrics

OK = "OK"


class RpcMeter:
    """Calls by RPC: how many, how they ended, how long they took, how many are under way."""

    def __init__(self, metrics: Metrics) -> None:
        self._calls = metrics.counter(
            "tokenvault_rpc_calls_total",
            "Calls that ended, by RPC, gRPC status code, and reason of the refusal (empty for OK "
            "and for calls that their caller gave up).",
            ("rpc", "code", "reason"),
        )
        self._durations = metrics.histogram(
            "tokenvault_rpc_duration_seconds",
            "From the arrival of a call to its answer, whatever it was.",
            ("rpc",),
        )
        self._ends: dict[tuple[str, str, str], Counter] = {}
        self._times: dict[str, Histogram] = {}
        self._under_way: dict[str, int] = {}
        metrics.read(
            "tokenvault_rpc_calls_in_flight",
            "gauge",
            "Calls under way.",
            ("rpc",),
            lambda: {(rpc,): count for rpc, count in self._under_way.items()},
        )

    def expect(self, rpc: str) -> None:
        """Series of an RPC that nobody has called yet, so that its rate starts at zero."""
        self._under_way.setdefault(rpc, 0)
        self._times.setdefault(rpc, self._durations.labels(rpc))
        self._ends.setdefault((rpc, OK, ""), self._calls.labels(rpc, OK, ""))

    def begun(self, rpc: str) -> None:
        """A call came in."""
        self._under_way[rpc] = self._under_way.get(rpc, 0) + 1

    def ended(self, rpc: str, code: str, reason: str, duration_s: float) -> None:
        """It was answered, or given up by its caller."""
        self._under_way[rpc] -= 1
        end = self._ends.get((rpc, code, reason))
        if end is None:
            end = self._ends[rpc, code, reason] = self._calls.labels(rpc, code, reason)
        end.inc()
        times = self._times.get(rpc)
        if times is None:
            times = self._times[rpc] = self._durations.labels(rpc)
        times.observe(duration_s)


class DatabaseMeter:
    """One pool of connections; ``pool`` is "requests" or "worker"."""

    def __init__(self, metrics: Metrics, pool: str) -> None:
        self._pool = pool
        self._waits = metrics.histogram(
            "tokenvault_database_acquire_wait_seconds",
            "Wait for a connection of the pool, a new connection's making included.",
            ("pool",),
        ).labels(pool)
        self._errors = metrics.counter(
            "tokenvault_database_errors_total",
            "Statements and transactions that failed, by the reason they became.",
            ("pool", "reason"),
        )

    def waited(self, duration_s: float) -> None:
        """For a connection."""
        self._waits.observe(duration_s)

    def failed(self, reason: str) -> None:
        """A name of the enumeration Reason."""
        self._errors.labels(self._pool, reason).inc()


class TransitMeter:
    """Requests to the key store."""

    def __init__(self, metrics: Metrics) -> None:
        self._requests = metrics.histogram(
            "tokenvault_transit_request_duration_seconds",
            "HTTP requests to transit by operation and outcome: the class of the status (a batch "
            "with one bad item is a 4xx), UNREACHABLE, or DENIED for an untrusted certificate.",
            ("operation", "outcome"),
        )

    def requested(self, operation: str, outcome: str, duration_s: float) -> None:
        """One request, from its wait for a thread to its answer."""
        self._requests.labels(operation, outcome).observe(duration_s)


class ProviderMeter:
    """Requests to providers."""

    def __init__(self, metrics: Metrics) -> None:
        self._requests = metrics.histogram(
            "tokenvault_provider_request_duration_seconds",
            "Requests to token and revocation endpoints by what was asked and the class of the "
            "answer.",
            ("operation", "answer"),
        )
        self._refreshes = metrics.counter(
            "tokenvault_refreshes_total",
            "Refresh requests by the provider's host, its refresh class (N, M, G or S: what a "
            "refresh does to the old refresh token), and the class of its answer. The first "
            f"{limits.PROVIDER_LABELS_MAX} hosts have series of their own, the rest is "
            '"other".',
            ("provider", "refresh_class", "answer"),
        )
        self._hosts = Capped(limits.PROVIDER_LABELS_MAX)

    def requested(self, operation: str, answer: str, duration_s: float) -> None:
        """``answer`` is OK, a name of the enumeration AnswerClass, or CANCELLED where the process
        ended first."""
        self._requests.labels(operation, answer).observe(duration_s)

    def refreshed(self, host: str, refresh_class: str, answer: str) -> None:
        """One request with a refresh token."""
        self._refreshes.labels(self._hosts.label(host), refresh_class, answer).inc()


class AttemptMeter:
    """Refresh attempts, as the database has them."""

    def __init__(self, metrics: Metrics) -> None:
        self._ends = metrics.counter(
            "tokenvault_refresh_attempts_total",
            "Refresh attempts by the state that they came to and the reason callers get meanwhile "
            "(empty for tokens). IN_DOUBT counts whenever one is put off.",
            ("state", "reason"),
        )
        self._times = metrics.histogram(
            "tokenvault_refresh_attempt_resolve_seconds",
            "From the beginning of an attempt that was left in doubt to its resolution.",
        )

    def resolved(self, duration_s: float) -> None:
        """One that recovery resolved."""
        self._times.observe(duration_s)

    def ended(self, state: str, reason: str) -> None:
        """Names of the enumerations AttemptState and Reason."""
        self._ends.labels(state, reason).inc()


class LoopMeter:
    """The event loop that everything here shares."""

    def __init__(self, metrics: Metrics) -> None:
        self._delays = metrics.histogram(
            "tokenvault_loop_delay_seconds",
            "How much later than asked the event loop came back, four times a second: what every "
            "call waits for a turn when the process is busy.",
        )

    def late(self, delay_s: float) -> None:
        """One measurement."""
        self._delays.observe(delay_s)


class CommitMeter:
    """Group commits of the record."""

    def __init__(self, metrics: Metrics) -> None:
        sizes = metrics.histogram(
            "tokenvault_group_commit_records",
            "Records that one commit made durable: of tokens and everything else, or of secrets.",
            ("commit",),
            SIZES,
        )
        self.records = sizes.labels("records")
        self.secrets = sizes.labels("secrets")
