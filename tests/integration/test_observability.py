"""Metrics, health and traces of the whole service, over known calls, and that none tells a secret
(threat T16)."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tokenvault_client as sdk
from tests.support.authserver import CLIENT_SECRET, Answer, AuthServer, Cut, Fault
from tests.support.collector import Collector, running_collector
from tests.support.scraping import get, port_of, scrape, until_ready
from tests.support.serving import Serving, channel
from tests.support.vault import RealVault
from tokenvault.v1 import token_service_pb2, token_service_pb2_grpc
from vault_service.embedded.settings_files import TENANT

_LIMIT_S = 40.0
_FRESH = 7
_TOKEN = "TokenService/GetAccessToken"


@pytest.fixture(autouse=True)
def _one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's retries would be calls that nobody counted on."""
    monkeypatch.setattr("tokenvault_client._retry.ATTEMPTS_MAX", 1)


@pytest.fixture
def provider(real_vault: RealVault) -> Iterator[AuthServer]:
    """One of its own for each test, so that numbers are known."""
    with AuthServer(real_vault.ca) as server:
        yield server


async def test_numbers_of_known_calls(real_vault: RealVault, provider: AuthServer) -> None:
    """A scrape counts the calls, refusals, refreshes, requests and records that there were."""
    port = real_vault.serve("metrics", [provider.host_port])
    try:
        metrics = port_of(real_vault.files["metrics"].metrics_port)
        async with (
            real_vault.client("operator", port) as operator,
            real_vault.client("calendar-app", port) as app,
            real_vault.client("thief", port) as thief,
        ):
            await provider.register(operator)
            stale = await provider.consent(app, "metrics-stale", life_s=0)
            await app.get_access_token(alias=stale.alias)  # one refresh
            for _ in range(_FRESH):
                await app.get_access_token(alias=stale.alias)
            with pytest.raises(sdk.NotFound):
                await app.get_access_token(alias=f"{stale.alias}-not")
            with pytest.raises(sdk.NotAllowed):
                await thief.get_access_token(alias=stale.alias)
            dead = await provider.consent(app, "metrics-dead", life_s=0)
            provider.script(Answer.json({"error": "invalid_grant"}, 400))
            with pytest.raises(sdk.TryLater):  # it is asked once more before it is given up
                await app.get_access_token(alias=dead.alias)
            await app.put_secret(sdk.secret_name(TENANT, "metrics"), b"value")
            await app.get_secret_value(sdk.secret_name(TENANT, "metrics"))
        _assert_calls(metrics)
        _assert_the_rest(metrics)
    finally:
        real_vault.stop_process("metrics")


def _assert_calls(metrics: int) -> None:
    seen = scrape(metrics)
    calls = "tokenvault_rpc_calls_total"
    assert seen.value(calls, rpc=_TOKEN, code="OK", reason="") == 1 + _FRESH
    for code, reason in (
        ("NOT_FOUND", "GRANT_NOT_FOUND"),
        ("PERMISSION_DENIED", "CALLER_NOT_ALLOWED"),
        ("UNAVAILABLE", "REFRESH_IN_DOUBT"),
    ):
        assert seen.value(calls, rpc=_TOKEN, code=code, reason=reason) == 1, reason
    assert seen.value("tokenvault_rpc_duration_seconds_count", rpc=_TOKEN) == 4 + _FRESH
    assert seen.value("tokenvault_rpc_calls_in_flight", rpc=_TOKEN) == 0
    other = "GrantService/CompleteAuthorization"
    assert seen.value(calls, rpc=other, code="OK", reason="") == 2


def _assert_the_rest(metrics: int) -> None:
    seen = scrape(metrics)
    refreshes = "tokenvault_refreshes_total"
    assert seen.value(refreshes, provider="127.0.0.1", refresh_class="S", answer="OK") == 1
    of = {"provider": "127.0.0.1", "refresh_class": "S", "answer": "INVALID_GRANT"}
    assert seen.value(refreshes, **of) == 1
    attempts = "tokenvault_refresh_attempts_total"
    assert seen.value(attempts, state="COMMITTED", reason="") == 1
    assert seen.value(attempts, state="REJECTED", reason="REFRESH_IN_DOUBT") == 1
    assert seen.value("tokenvault_spool_slots", state="taken") == 0
    assert seen.value("tokenvault_spool_slots", state="free") > 0
    asked = "tokenvault_provider_request_duration_seconds_count"
    assert seen.value(asked, operation="exchange_code", answer="OK") == 2
    assert seen.value("tokenvault_flights_started_total") >= 2
    # 1 + _FRESH tokens and three refusals are on record; changes commit with their own.
    assert seen.value("tokenvault_group_commit_records_sum", commit="records") == 4 + _FRESH
    assert seen.value("tokenvault_group_commit_records_sum", commit="secrets") == 1
    assert seen.value("tokenvault_group_commit_queue", commit="records") == 0
    assert seen.value("tokenvault_cache_hits_total", cache="grant") == _FRESH
    assert seen.value("tokenvault_cache_hits_total", cache="dek") > _FRESH
    assert seen.value("tokenvault_cache_entries", cache="certificate") == 3
    for operation in ("login", "health", "encrypt", "decrypt"):
        sample = "tokenvault_transit_request_duration_seconds_count"
        assert seen.value(sample, operation=operation, outcome="2xx") >= 1, operation
    assert seen.value("tokenvault_database_acquire_wait_seconds_count", pool="requests") > _FRESH
    assert seen.value("tokenvault_database_connections", pool="requests", state="idle") >= 1
    assert seen.value("tokenvault_dependency_up", dependency="database") == 1
    assert seen.value("tokenvault_dependency_up", dependency="transit") == 1
    left_s = seen.value("tokenvault_server_certificate_expire_timestamp_seconds") - time.time()
    assert 0 < left_s < 400 * 86_400
    assert "tokenvault_build_info{" in seen.text
    assert get(metrics, "/livez") == (200, "ok\n")


async def test_spans_of_a_refresh(
    real_vault: RealVault, provider: AuthServer, tmp_path: Path
) -> None:
    """One trace, begun by the caller, holds the call and below it its statements, the unwrapping of
    its DEKs, the request to the provider and the commit of its record."""
    with running_collector() as collector, contextlib.ExitStack() as stack:

        async def serving() -> tuple[Serving, int]:
            made = Serving(
                real_vault, provider, "traced", tmp_path,
                traces__otlp_endpoint=collector.endpoint, traces__sampling_ratio=0,
            )  # fmt: skip
            stack.callback(made.kill)
            return made, (await made.ports())[0]

        first, port = await serving()
        await _stale_grant(real_vault, provider, port, "traced")
        assert await first.end() == 0
        assert collector.spans == [], "nobody asked for these traces"
        # Another process, since the first one had the DEKs in memory.
        second, port = await serving()
        trace_id, request_id = await _refreshed(real_vault, port, "traced")
        assert await second.end() == 0, "which sends the last spans"
    _assert_spans(collector, trace_id, request_id)


async def _stale_grant(vault: RealVault, provider: AuthServer, port: int, owner: str) -> None:
    async with (
        vault.client("operator", port) as operator,
        vault.client("calendar-app", port) as app,
    ):
        await provider.register(operator)
        await provider.consent(app, owner, life_s=0)


async def _refreshed(vault: RealVault, port: int, owner: str) -> tuple[str, str]:
    """Trace and request id of a GetAccessToken whose caller records its trace."""
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    issued = vault.ca.files("calendar-app")
    async with channel(vault, port, issued) as bare:
        stub = token_service_pb2_grpc.TokenServiceStub(bare)
        alias = sdk.grant_alias_name(TENANT, owner, "calendar")
        under_way = stub.GetAccessToken(
            token_service_pb2.GetAccessTokenRequest(alias=alias),
            timeout=20,
            metadata=(("traceparent", f"00-{trace_id}-00f067aa0ba902b7-01"),),
        )
        await under_way
        trailing = dict(await under_way.trailing_metadata())
    return trace_id, str(trailing["tokenvault-request-id"])


async def _until_exported(metrics: int) -> None:
    async with asyncio.timeout(_LIMIT_S):
        while True:
            seen = await asyncio.to_thread(scrape, metrics)
            if seen.value("tokenvault_trace_spans_total", outcome="EXPORTED"):
                return
            await asyncio.sleep(0.05)


def _assert_spans(collector: Collector, trace_id: str, request_id: str) -> None:
    assert {span.trace_id for span in collector.spans} == {trace_id}
    tree = collector.tree(trace_id)
    assert tree[""] == [_TOKEN]
    below = tree[_TOKEN]
    for name in (
        "group commit",
        "provider refresh",
        "sql PostgresAttemptStore.begin",
        "sql PostgresAttemptStore.commit",
        "sql PostgresGrantStore.get",
        "sql PostgresDekStore.find",
        "transit unwrap",
    ):
        assert name in below, below
    by_name = {span.name: span for span in collector.spans}
    root = by_name[_TOKEN]
    assert root.parent_id == "00f067aa0ba902b7"
    assert root.attributes == {"tokenvault.rpc": _TOKEN, "tokenvault.request_id": request_id}
    assert by_name["provider refresh"].attributes == {
        "tokenvault.operation": "refresh",
        "tokenvault.host": "127.0.0.1",
        "tokenvault.answer_class": "OK",
    }
    assert not any(span.failed for span in collector.spans)
    assert collector.resources[0]["service.name"] == "tokenvault"
    assert collector.resources[0]["deployment.environment.name"] == "dev"


async def test_nothing_observed_tells_a_secret(
    real_vault: RealVault, provider: AuthServer, tmp_path: Path
) -> None:
    """Tokens, codes, states, client secrets and secrets' values, through successes, refusals and
    an echoing provider: none is in a label, a span or a line; nor is whose they are in the first
    two."""
    with running_collector() as collector:
        serving = Serving(
            real_vault, provider, "canaries", tmp_path, log__level="debug",
            traces__otlp_endpoint=collector.endpoint, traces__sampling_ratio=1,
        )  # fmt: skip
        try:
            port, metrics = await serving.ports()
            secrets = await _through_everything(real_vault, provider, port)
            await _until_exported(metrics)
            labels = " ".join((await asyncio.to_thread(scrape, metrics)).labels())
            assert await serving.end() == 0
        finally:
            serving.kill()
    spans, log = "\n".join(collector.texts), serving.log_file.read_text()
    assert len(collector.spans) > 20
    assert '"event":"call"' in log
    for secret in secrets:
        assert secret not in labels
        assert secret not in spans
        assert secret not in log
    for whose in ("canary-owner", "spiffe://", f"tenants/{TENANT}"):
        assert whose not in labels
        assert whose not in spans


async def _through_everything(vault: RealVault, provider: AuthServer, port: int) -> list[str]:
    """What was secret in a consent, refreshes that failed and worked, and a stored secret."""
    secret = sdk.secret_name(TENANT, "observed")
    async with (
        vault.client("operator", port) as operator,
        vault.client("calendar-app", port) as app,
    ):
        await provider.register(operator)
        echo = {"error": CLIENT_SECRET, "error_description": CLIENT_SECRET}
        failures: tuple[Answer | Fault, ...] = (
            Answer.json(echo, 400), Answer.html(503), Fault(cut=Cut.AFTER_COMMIT),
        )  # fmt: skip
        for number, answer in enumerate(failures):
            failing = await provider.consent(app, f"canary-owner-{number}", life_s=0)
            provider.script(answer)
            with pytest.raises(sdk.TokenVaultError):
                await app.get_access_token(alias=failing.alias)
        completed = await provider.consent(app, "canary-owner", life_s=0)
        token = await app.get_access_token(alias=completed.alias)
        await app.put_secret(secret, b"canary-value-90c1")
        await app.get_secret_value(secret)
        with pytest.raises(sdk.TokenVaultError):
            await app.complete_authorization(
                sdk.tenant_name(TENANT),
                state="canary-state-11",
                code="canary-code-22",
                owner="canary-owner",
            )
    codes = [post.fields["code"] for post in provider.sent("authorization_code")]
    refresh_tokens = [post.fields["refresh_token"] for post in provider.sent("refresh_token")]
    verifiers = [post.fields["code_verifier"] for post in provider.sent("authorization_code")]
    made = [f"at-{provider.port}-", f"rt-{provider.port}-", "canary-value-90c1", CLIENT_SECRET]
    return [
        *codes, *refresh_tokens, *verifiers, *made, token.value, "canary-state-11",
        "canary-code-22",
    ]  # fmt: skip


@pytest.mark.parametrize("away", ["refuses", "hangs", "gone"])
async def test_collector_that_is_away(
    real_vault: RealVault, provider: AuthServer, tmp_path: Path, away: str
) -> None:
    """A collector that refuses, hangs or is gone costs no call anything, and not the end either."""
    with running_collector() as collector:
        endpoint = collector.endpoint
        collector.status = 503 if away == "refuses" else 200
        collector.hold = threading.Event() if away == "hangs" else None
        if away == "gone":
            endpoint = "http://127.0.0.1:9/v1/traces"
        serving = Serving(
            real_vault, provider, f"away-{away}", tmp_path,
            traces__otlp_endpoint=endpoint, traces__sampling_ratio=1,
        )  # fmt: skip
        try:
            port, _ = await serving.ports()
            async with real_vault.client("operator", port) as operator:
                for _ in range(50):
                    await operator.list_providers(sdk.tenant_name(TENANT), timeout_s=2)
            began = time.monotonic()
            assert await serving.end() == 0
            assert time.monotonic() - began < 15
        finally:
            if collector.hold is not None:
                collector.hold.set()
            serving.kill()


async def test_dependency_that_is_down(breakable_vault: RealVault) -> None:
    """/readyz and metrics name the dependency and a code; /livez says that the process is well."""
    port = breakable_vault.serve("down")
    metrics = port_of(breakable_vault.files["down"].metrics_port)
    try:
        await until_ready(metrics, 200)
        breakable_vault.openbao.seal()
        detail = await until_ready(metrics, 503)
        assert detail == {
            "status": "not ready",
            "dependencies": {
                "database": {"up": True},
                "transit": {"up": False, "reason": "KEK_UNREACHABLE"},
            },
        }
        seen = scrape(metrics)
        assert seen.value("tokenvault_dependency_up", dependency="transit") == 0
        assert seen.value("tokenvault_dependency_up", dependency="database") == 1
        assert seen.value(
            "tokenvault_transit_request_duration_seconds_count", operation="health", outcome="5xx"
        )
        assert get(metrics, "/livez") == (200, "ok\n")
        assert port
    finally:
        breakable_vault.openbao.stop()
        breakable_vault.openbao.start()
        breakable_vault.stop_process("down")


async def test_metrics_port_that_is_taken(
    real_vault: RealVault, provider: AuthServer, tmp_path: Path
) -> None:
    """It says which port and does not start."""
    port = real_vault.serve("holder")
    try:
        taken = port_of(real_vault.files["holder"].metrics_port)
        serving = Serving(real_vault, provider, "taker", tmp_path, metrics__port=taken)
        assert await asyncio.to_thread(serving.process.wait, _LIMIT_S) == 1
        assert f"cannot listen for metrics on 127.0.0.1:{taken}" in serving.log_file.read_text()
        assert not serving.files.port.exists()
        assert port
    finally:
        real_vault.stop_process("holder")
