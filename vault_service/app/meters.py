"""What is read when it is scraped: sizes and plain counts that the parts keep anyway.

A new one is a row of ``ROWS`` and, where nothing counts it yet, an integer attribute of the object
that knows. docs/reference/metrics.md follows by ``make docs``.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

from vault_service.adapters.postgres.pool import Database
from vault_service.app import provider_numbers
from vault_service.app.instruments import VERSION
from vault_service.app.watched import Watched
from vault_service.domain import limits
from vault_service.domain.attempt_backlog import DoubtCause
from vault_service.telemetry.meters import (
    AttemptMeter,
    CommitMeter,
    DatabaseMeter,
    LoopMeter,
    ProviderMeter,
    RpcMeter,
    TransitMeter,
)
from vault_service.telemetry.metrics import Described, Metrics, Numbers


@dataclass(frozen=True, slots=True)
class Row:
    """One metric and how it is read."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...]
    numbers: Callable[[Watched], Numbers]


class _Counts(Protocol):
    """What counts its own use."""

    hits: int
    misses: int
    evictions: int


@dataclass(frozen=True, slots=True)
class _Cache:
    hits: int
    misses: int
    evictions: int
    entries: int


def _caches(watched: Watched) -> Mapping[str, _Cache]:
    parts = watched.parts
    found: dict[str, tuple[_Counts, int]] = {
        "dek": (parts.ring.deks.counts, len(parts.ring.deks)),
        "dek_current": (parts.ring.current.counts, len(parts.ring.current)),
        "grant": (parts.known_grants, len(parts.known_grants)),
        "certificate": (parts.callers, len(parts.callers)),
    }
    caches = {
        name: _Cache(counts.hits, counts.misses, counts.evictions, entries)
        for name, (counts, entries) in found.items()
    }
    return caches | {"decision": _Cache(*parts.policy.remembered())}


def _of_caches(count: Callable[[_Cache], float]) -> Callable[[Watched], Numbers]:
    return lambda watched: {(name,): count(cache) for name, cache in _caches(watched).items()}


def _connections(watched: Watched) -> Numbers:
    numbers: dict[tuple[str, ...], float] = {}
    for pool, database in _databases(watched).items():
        total, idle = database.connections()
        numbers[pool, "idle"], numbers[pool, "in_use"] = idle, total - idle
    return numbers


def _databases(watched: Watched) -> dict[str, Database]:
    return {"requests": watched.parts.database, "worker": watched.parts.worker_database}


def _up(watched: Watched) -> Numbers:
    return {(name,): float(not code) for name, code in watched.readiness.codes().items()}


def _spool_slots(watched: Watched) -> Numbers:
    slots = watched.parts.spool.slots()
    return {} if slots is None else {("taken",): slots[0], ("free",): slots[1]}


def _commits_waiting(watched: Watched) -> Numbers:
    records, secrets = watched.parts.audit.waiting
    return {("records",): records, ("secrets",): secrets}


def _transit_waiting(watched: Watched) -> Numbers:
    wraps, unwraps = watched.parts.transit.waiting
    return {("encrypt",): wraps, ("decrypt",): unwraps}


def _in_doubt(watched: Watched) -> Numbers:
    counted = watched.parts.backlogs.attempts.in_doubt
    return {(cause.name,): counted.get(cause, 0) for cause in DoubtCause}


def _certificate(watched: Watched) -> Numbers:
    end_s = watched.certificate.unix_s()
    return {} if end_s is None else {(): end_s}


def _ahead(watched: Watched) -> Numbers:
    counts = watched.parts.refresh_ahead.counts
    return {
        ("refreshed",): counts.refreshed,
        ("failed",): counts.failed,
        ("put_off",): counts.put_off,
        ("left_to_callers",): counts.left_to_callers,
        ("warned",): counts.warned,
    }


ROWS = (
    Row(
        "tokenvault_build_info", "gauge", "Always 1; the labels say what runs.",
        ("version", "python"), lambda _: {(VERSION, platform.python_version()): 1.0},
    ),
    Row(
        "tokenvault_dependency_up", "gauge",
        "1 when the dependency answered the last probe (every 2 s), 0 when not.",
        ("dependency",), _up,
    ),
    Row(
        "tokenvault_draining", "gauge", "1 from SIGTERM on.",
        (), lambda watched: {(): float(watched.draining)},
    ),
    Row(
        "tokenvault_server_certificate_expire_timestamp_seconds", "gauge",
        "End of the server certificate on disk, seconds since 1970; absent while it cannot be "
        "read.",
        (), _certificate,
    ),
    Row(
        "tokenvault_database_connections", "gauge", "Connections of the pool.",
        ("pool", "state"), _connections,
    ),
    Row(
        "tokenvault_database_connections_max", "gauge", "Connections the pool may have.",
        ("pool",),
        lambda watched: {
            (pool,): database.settings.pool_size for pool, database in _databases(watched).items()
        },
    ),
    Row(
        "tokenvault_cache_hits_total", "counter", "Look-ups that the cache answered.",
        ("cache",), _of_caches(lambda cache: cache.hits),
    ),
    Row(
        "tokenvault_cache_misses_total", "counter",
        "Look-ups that had to be loaded, read or decided.",
        ("cache",), _of_caches(lambda cache: cache.misses),
    ),
    Row(
        "tokenvault_cache_evictions_total", "counter",
        "Entries pushed out by newer ones: the cache is too small for what is in use.",
        ("cache",), _of_caches(lambda cache: cache.evictions),
    ),
    Row(
        "tokenvault_cache_entries", "gauge", "Entries in memory.",
        ("cache",), _of_caches(lambda cache: cache.entries),
    ),
    Row(
        "tokenvault_dek_stale_total", "counter",
        "Times a DEK was used past its soft life because transit was unreachable.",
        (), lambda watched: {(): watched.parts.ring.deks.counts.stale},
    ),
    Row(
        "tokenvault_dek_loads_in_flight", "gauge", "DEKs being read and unwrapped now.",
        (), lambda watched: {(): watched.parts.ring.deks.loading},
    ),
    Row(
        "tokenvault_transit_queue", "gauge", "DEKs that wait for a request to transit.",
        ("operation",), _transit_waiting,
    ),
    Row(
        "tokenvault_group_commit_queue", "gauge",
        f"Records that wait for a commit; {limits.DISCLOSURE_QUEUE_MAX} is OVERLOADED.",
        ("commit",), _commits_waiting,
    ),
    Row(
        "tokenvault_flights_in_flight", "gauge",
        f"Refreshes and completions under way in this process; {limits.FLIGHTS_MAX} is OVERLOADED.",
        (), lambda watched: {(): len(watched.parts.flights)},
    ),
    Row(
        "tokenvault_flights_started_total", "counter", "Refreshes and completions begun.",
        (), lambda watched: {(): watched.parts.flights.started},
    ),
    Row(
        "tokenvault_flights_joined_total", "counter",
        "Calls that waited for one that was under way already.",
        (), lambda watched: {(): watched.parts.flights.joined},
    ),
    Row(
        "tokenvault_spool_slots", "gauge",
        "Slots of this process's spool; absent while it has none, and then nothing is refreshed.",
        ("state",), _spool_slots,
    ),
    Row(
        "tokenvault_refresh_attempts_unresolved", "gauge",
        "Attempts under way or in doubt, of all replicas, every 5 s.",
        (), lambda watched: {(): watched.parts.backlogs.attempts.unresolved},
    ),
    Row(
        "tokenvault_refresh_attempts_unresolved_oldest_seconds", "gauge",
        "Age of the oldest of them; above a lease and its sweep (30 s) it is in doubt.",
        (), lambda watched: {(): watched.parts.backlogs.attempts.oldest_s},
    ),
    Row(
        "tokenvault_refresh_attempts_in_doubt", "gauge",
        "Those in doubt, of all replicas, every 5 s, by cause: NO_ANSWER that tells; "
        "PROVIDER_FAILS, until it gives somebody tokens; PROCESS_ENDED in the middle, its spool "
        "may be awaited; PROFILE, a kept answer cannot be read; OPERATOR, a person decides.",
        ("cause",), _in_doubt,
    ),
    Row(
        "tokenvault_late_answers_waiting", "gauge",
        "Requests past their limit whose answer is waited for: a provider hangs, class S.",
        (), lambda watched: {(): watched.parts.engine.late.waiting},
    ),
    Row(
        "tokenvault_late_answers_total", "counter",
        "Requests past their limit by what became of them: came, or missed (no answer in time, or "
        "no place to wait).",
        ("outcome",), provider_numbers.late,
    ),
    Row(
        "tokenvault_scheduler_due", "gauge",
        f"Grants whose refresh ahead of time is due, of all replicas, every 5 s, counted to "
        f"{limits.BACKLOG_COUNT_MAX}.",
        (), lambda watched: {(): watched.parts.backlogs.due.due},
    ),
    Row(
        "tokenvault_scheduler_lag_seconds", "gauge", "How long the oldest of them has been due.",
        (), lambda watched: {(): watched.parts.backlogs.due.lag_s},
    ),
    Row(
        "tokenvault_scheduler_running", "gauge", "Refreshes ahead of time under way here.",
        (), lambda watched: {(): watched.parts.refresh_ahead.running},
    ),
    Row(
        "tokenvault_scheduler_grants_total", "counter",
        "Due grants by what became of them: refreshed, failed, put_off to a later slot of the "
        "provider's budget, left_to_callers, or warned (GRANT_EXPIRING_SOON).",
        ("outcome",), _ahead,
    ),
    Row(
        "tokenvault_breakers", "gauge",
        "Circuit breakers of this process by whom they protect and their state.",
        ("of", "state"), provider_numbers.breakers,
    ),
    Row(
        "tokenvault_provider_places", "gauge", "Requests that hold a place at a provider now.",
        (), provider_numbers.places,
    ),
    Row(
        "tokenvault_provider_waiting", "gauge", "Requests that wait for one, by who goes first.",
        ("priority",), provider_numbers.waiting,
    ),
    Row(
        "tokenvault_oauth_clients_held", "gauge",
        "OAuthClients of which this process sends no refresh because their provider asked for a "
        "pause.", (), provider_numbers.held,
    ),
    Row(
        "tokenvault_oauth_client_hold_left_seconds", "gauge",
        "How long the longest of these pauses lasts.", (), provider_numbers.held_s,
    ),
    Row(
        "tokenvault_grants_rate_limited_total", "counter",
        "Answers 429, or 503 with Retry-After, that held back one grant and not its OAuthClient.",
        (), provider_numbers.grants_limited,
    ),
    Row(
        "tokenvault_shared_places", "gauge",
        "Requests to providers that hold a place of their tenant's share, by kind.",
        ("kind",), provider_numbers.shares,
    ),
    Row(
        "tokenvault_shared_places_waiting", "gauge", "Requests that wait for one.",
        ("kind",), provider_numbers.shares_waiting,
    ),
    Row(
        "tokenvault_lookups_running", "gauge",
        f"Names that are being looked up; {limits.LOOKUPS_MAX} at most.",
        (), lambda watched: {(): watched.parts.http.lookups.running},
    ),
    Row(
        "tokenvault_lookups_refused_total", "counter",
        "Look-ups refused: the name did not answer a moment ago, or its tenant has too many.",
        (), lambda watched: {(): watched.parts.http.lookups.refused},
    ),
    Row(
        "tokenvault_watch_streams", "gauge",
        f"Open WatchGrants streams; {limits.WATCHES_MAX} is OVERLOADED.",
        (), lambda watched: {(): len(watched.parts.events.watches)},
    ),
    Row(
        "tokenvault_trace_spans_total", "counter",
        "Spans handed to the exporter by what became of them: EXPORTED or FAILED.",
        ("outcome",), lambda watched: watched.parts.instruments.traces.counts(),
    ),
)  # fmt: skip


def watch(watched: Watched) -> None:
    """Let the metrics of the process read all rows."""
    metrics = watched.parts.instruments.metrics
    for row in ROWS:
        metrics.read(row.name, row.kind, row.help, row.labels, partial(row.numbers, watched))


def described() -> list[Described]:
    """Every metric of the service, by name."""
    metrics = Metrics()
    RpcMeter(metrics)
    DatabaseMeter(metrics, "requests")
    TransitMeter(metrics)
    ProviderMeter(metrics)
    CommitMeter(metrics)
    AttemptMeter(metrics)
    LoopMeter(metrics)
    rows = [Described(row.name, row.kind, row.help, row.labels) for row in ROWS]
    return sorted([*metrics.described(), *rows], key=lambda each: each.name)
