"""DestroySecretVersion and DeleteSecret against a thousand concurrent disclosures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest

import tokenvault_client as sdk
from tests.support.vault import RealVault
from vault_service.domain.audit import AuditAction
from vault_service.embedded.settings_files import TENANT

_CALLS = 1_000
_BEFORE = 300
_AT_ONCE = 200  # more would all be in the service before the destruction gets there
_AFTER = 100
Destroy = Callable[[sdk.TokenVaultClient, str], Awaitable[object]]


@pytest.fixture(scope="module")
def ports(real_vault: RealVault) -> Iterator[list[int]]:
    """Two processes."""
    yield [real_vault.serve(name) for name in ("destroy-1", "destroy-2")]
    for name in ("destroy-1", "destroy-2"):
        real_vault.stop_process(name)


def _destroy_version(operator: sdk.TokenVaultClient, name: str) -> Awaitable[object]:
    return operator.destroy_secret_version(name, 1)


def _delete(operator: sdk.TokenVaultClient, name: str) -> Awaitable[object]:
    return operator.delete_secret(name)


@pytest.mark.parametrize(
    ("destroy", "action", "owner"),
    [
        (_destroy_version, AuditAction.SECRET_VERSION_DESTROYED, None),
        (_destroy_version, AuditAction.SECRET_VERSION_DESTROYED, "race"),
        (_delete, AuditAction.SECRET_DELETED, None),
    ],
    ids=["version", "version of an owner", "whole secret"],
)
async def test_no_disclosure_commits_after_the_destruction(
    real_vault: RealVault,
    ports: list[int],
    destroy: Destroy,
    action: AuditAction,
    owner: str | None,
) -> None:
    """None commits after it, and none that starts after it returned, at either process, gets the
    value."""
    name = sdk.secret_name(TENANT, f"race-{action.name.lower().replace('_', '-')}", owner=owner)
    async with AsyncExitStack() as stack:
        operator = await stack.enter_async_context(real_vault.client("operator", ports[0], 60))
        apps = [
            await stack.enter_async_context(real_vault.client("calendar-app", port, 60))
            for port in ports
        ]
        await operator.put_secret(name, b"canary")
        returned_at = float("inf")
        answered = 0
        middle = asyncio.Event()

        places = asyncio.Semaphore(_AT_ONCE)

        async def ask(number: int) -> tuple[float, bool]:
            nonlocal answered
            async with places:
                started = time.monotonic()
                try:
                    value = await apps[number % 2].get_secret_value(name)
                except (sdk.SecretUnavailable, sdk.NotFound):
                    return started, False
            assert value.value == b"canary"
            answered += 1
            if answered == _BEFORE:
                middle.set()
            return started, True

        async def end() -> None:
            nonlocal returned_at
            # In the middle of them: some have the value, the others are under way.
            await asyncio.wait_for(middle.wait(), 30)
            await destroy(operator, name)
            returned_at = time.monotonic()

        answers, _ = await asyncio.gather(asyncio.gather(*map(ask, range(_CALLS))), end())
        late = await asyncio.gather(*map(ask, range(_AFTER)))
    assert not any(got for started, got in [*answers, *late] if started > returned_at)
    got = sum(got for _, got in answers)
    assert _BEFORE <= got < _CALLS, "the destruction came in the middle"
    await _assert_order(real_vault, name, action, got)


async def _assert_order(
    vault: RealVault, secret: str, destruction: AuditAction, answered: int
) -> None:
    """By the database's own order of commits, every disclosure is before the destruction."""
    disclosed = AuditAction.SECRET_VALUE_DISCLOSED.value
    of_secret = f"FROM tokenvault.audit_records WHERE resource = '{secret}' AND action"
    before, recorded, ended = await asyncio.to_thread(
        vault.sql,
        f"SELECT (SELECT max(pg_xact_commit_timestamp(xmin)) {of_secret} = {disclosed})"
        f" < (SELECT min(pg_xact_commit_timestamp(xmin)) {of_secret} = {destruction.value}),"
        f" (SELECT count(*) {of_secret} = {disclosed}),"
        f" (SELECT count(*) {of_secret} = {destruction.value})",
    )
    assert before, "a disclosure committed after the destruction"
    assert int(recorded) >= answered
    assert int(ended) == 1
