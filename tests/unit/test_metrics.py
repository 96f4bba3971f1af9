"""Metrics: bounded labels, numbers as they were told, nothing of a secret's kind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from vault_service.app.meters import ROWS, described
from vault_service.domain import limits
from vault_service.rpc.server import RPCS
from vault_service.telemetry.meters import (
    CommitMeter,
    DatabaseMeter,
    ProviderMeter,
    RpcMeter,
    TransitMeter,
)
from vault_service.telemetry.metrics import OTHER, Capped, Metrics

RPC = "TokenService/GetAccessToken"
# Labels that say who or whose: they have no place in metrics.
PERSONAL = {"tenant", "grant", "owner", "caller", "alias", "secret", "resource", "request_id"}


def value(metrics: Metrics, sample: str, **labels: str) -> float | None:
    """What a scrape says of one series."""
    for family in text_string_to_metric_families(metrics.render().decode()):
        for found in family.samples:
            if found.name == sample and found.labels == labels:
                return float(found.value)
    return None


def test_calls_by_rpc_code_and_reason() -> None:
    """A call is under way until it ends; then it counts by how it ended and how long it took."""
    metrics = Metrics()
    meter = RpcMeter(metrics)
    meter.begun(RPC)
    meter.begun(RPC)
    assert value(metrics, "tokenvault_rpc_calls_in_flight", rpc=RPC) == 2
    meter.ended(RPC, "OK", "", 0.004)
    meter.ended(RPC, "NOT_FOUND", "GRANT_NOT_FOUND", 2.0)
    assert value(metrics, "tokenvault_rpc_calls_in_flight", rpc=RPC) == 0
    calls = "tokenvault_rpc_calls_total"
    assert value(metrics, calls, rpc=RPC, code="OK", reason="") == 1
    assert value(metrics, calls, rpc=RPC, code="NOT_FOUND", reason="GRANT_NOT_FOUND") == 1
    assert value(metrics, "tokenvault_rpc_duration_seconds_sum", rpc=RPC) == pytest.approx(2.004)
    assert value(metrics, "tokenvault_rpc_duration_seconds_bucket", rpc=RPC, le="0.005") == 1


def test_rpcs_that_nobody_called_start_at_zero() -> None:
    """An expected RPC has its series before the first call, so a first failure shows as a rise."""
    metrics = Metrics()
    meter = RpcMeter(metrics)
    for rpc in RPCS:
        meter.expect(rpc)
    assert RPC in RPCS
    assert value(metrics, "tokenvault_rpc_calls_total", rpc=RPC, code="OK", reason="") == 0
    assert value(metrics, "tokenvault_rpc_duration_seconds_count", rpc=RPC) == 0


def test_two_pools_share_their_families() -> None:
    """Meters of one process tell two pools apart by a label."""
    metrics = Metrics()
    requests, worker = (DatabaseMeter(metrics, pool) for pool in ("requests", "worker"))
    requests.waited(0.2)
    worker.failed("STORE_UNREACHABLE")
    waits = "tokenvault_database_acquire_wait_seconds_count"
    assert (value(metrics, waits, pool="requests"), value(metrics, waits, pool="worker")) == (1, 0)
    errors = "tokenvault_database_errors_total"
    assert value(metrics, errors, pool="worker", reason="STORE_UNREACHABLE") == 1


def test_requests_to_others() -> None:
    """Transit by operation and outcome, providers by operation and answer, commits by size."""
    metrics = Metrics()
    TransitMeter(metrics).requested("decrypt", "2xx", 0.01)
    provider = ProviderMeter(metrics)
    provider.requested("refresh", "IN_DOUBT", 20.0)
    provider.refreshed("op.example", "S", "IN_DOUBT")
    CommitMeter(metrics).records.observe(3)
    transit = "tokenvault_transit_request_duration_seconds_count"
    assert value(metrics, transit, operation="decrypt", outcome="2xx") == 1
    asked = "tokenvault_provider_request_duration_seconds_count"
    assert value(metrics, asked, operation="refresh", answer="IN_DOUBT") == 1
    refreshes = "tokenvault_refreshes_total"
    assert (
        value(metrics, refreshes, provider="op.example", refresh_class="S", answer="IN_DOUBT") == 1
    )
    sizes = "tokenvault_group_commit_records_bucket"
    assert value(metrics, sizes, commit="records", le="2.0") == 0
    assert value(metrics, sizes, commit="records", le="4.0") == 1


def test_hosts_beyond_the_cap_are_one() -> None:
    """However many providers there are, their series are bounded; known hosts keep theirs."""
    metrics = Metrics()
    meter = ProviderMeter(metrics)
    for number in range(limits.PROVIDER_LABELS_MAX + 20):
        meter.refreshed(f"op-{number}.example", "N", "OK")
    meter.refreshed("op-0.example", "N", "OK")
    refreshes = "tokenvault_refreshes_total"
    assert value(metrics, refreshes, provider=OTHER, refresh_class="N", answer="OK") == 20
    assert value(metrics, refreshes, provider="op-0.example", refresh_class="N", answer="OK") == 2
    assert metrics.render().count(b"tokenvault_refreshes_total{") == limits.PROVIDER_LABELS_MAX + 1


def test_cap() -> None:
    """The first values stay themselves, later ones are "other" for good."""
    cap = Capped(2)
    assert [cap.label(text) for text in ("a", "b", "c", "a", "c")] == ["a", "b", OTHER, "a", OTHER]


def test_numbers_are_read_when_scraped() -> None:
    """A read metric says what its object says at that moment; a name exists once."""
    metrics, size = Metrics(), [3.0]
    metrics.read("tokenvault_x_entries", "gauge", "Says.", ("cache",), lambda: {("a",): size[0]})
    assert value(metrics, "tokenvault_x_entries", cache="a") == 3
    size[0] = 5.0
    assert value(metrics, "tokenvault_x_entries", cache="a") == 5
    with pytest.raises(ValueError, match="there already"):
        metrics.read("tokenvault_x_entries", "gauge", "Says.", (), dict)


def test_registries_are_apart() -> None:
    """Two processes' worth of metrics in one interpreter do not add up, and nothing is global."""
    first, second = Metrics(), Metrics()
    RpcMeter(first).expect(RPC)
    RpcMeter(second)
    assert value(first, "tokenvault_rpc_duration_seconds_count", rpc=RPC) == 0
    assert value(second, "tokenvault_rpc_duration_seconds_count", rpc=RPC) is None
    assert b"_created" not in first.render()


def test_names_and_labels() -> None:
    """Every metric is ours by its name, has its unit last and a sentence, and no label that could
    name a tenant, a grant, an owner or a caller."""
    for metric in described():
        assert re.fullmatch(r"tokenvault(_[a-z]+)+", metric.name)
        assert (metric.kind == "counter") == metric.name.endswith("_total")
        assert not PERSONAL & set(metric.labels), metric.name
        assert metric.help.endswith("."), metric.name
    names = [metric.name for metric in described()]
    assert len(names) == len(set(names))
    assert {row.name for row in ROWS} < set(names)


def test_named_metrics_exist() -> None:
    """The page that says what to do names no metric that is not there."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "observe.md").read_text()
    known = {metric.name for metric in described()}
    parts = {f"{name}{end}" for name in known for end in ("_bucket", "_sum", "_count")}
    named = set(re.findall(r"tokenvault_[a-z_]+", page))
    assert len(named) > 15
    assert named <= known | parts
