"""A caller that floods the service with malformed calls fills no record with them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

import tokenvault_client as sdk
from tests.support.vault import RealVault
from vault_service.domain import limits

_CALLS = 1_000
_NAMELESS = "tenants/-"


@pytest.fixture
def port(real_vault: RealVault) -> Iterator[int]:
    """A process of its own."""
    yield real_vault.serve("flooded")
    if "flooded" in real_vault.processes:
        real_vault.stop_process("flooded")


async def _flood(vault: RealVault, port: int, caller: str) -> float:
    """Malformed calls, all refused with their reason; returns how long it took."""
    started = time.monotonic()
    # A connection that is new has not said yet how many streams it takes.
    places = asyncio.Semaphore(limits.STREAMS_MAX // 2)
    async with vault.client(caller, port, 60) as client:

        async def ask() -> None:
            async with places:
                await client.get_secret_value(f"malformed-{caller}")

        answers = await asyncio.gather(*(ask() for _ in range(_CALLS)), return_exceptions=True)
    assert {getattr(answer, "reason", answer) for answer in answers} == {"NAME_MALFORMED"}
    return time.monotonic() - started


async def _records(vault: RealVault, port: int, caller: str) -> list[sdk.AuditRecord]:
    async with vault.client("auditor", port) as auditor:
        page = await auditor.list_audit_records(_NAMELESS, page_size=500)
    return [one for one in page.items if one.resource == f"malformed-{caller}"]


def _check(records: list[sdk.AuditRecord], lasted_s: float) -> None:
    counts = [int(one.detail["count"]) for one in records if "count" in one.detail]
    own = len(records) - len(counts)
    assert own + sum(counts) == _CALLS
    assert own <= limits.REFUSALS_OWN_RECORD_MAX * (lasted_s + 2)
    assert 1 <= len(counts) <= lasted_s + 2
    assert {one.reason for one in records} == {"NAME_MALFORMED"}
    assert len({one.caller for one in records}) == 1


async def test_flood(real_vault: RealVault, port: int) -> None:
    """A thousand malformed calls leave some dozen records, which account for every call."""
    lasted_s = await _flood(real_vault, port, "thief")
    await asyncio.sleep(2 * limits.REFUSAL_WINDOW_S)
    _check(await _records(real_vault, port, "thief"), lasted_s)


async def test_flood_and_stop(real_vault: RealVault, port: int) -> None:
    """A process that is told to stop in the same second writes its counts first."""
    lasted_s = await _flood(real_vault, port, "operator")
    await asyncio.to_thread(real_vault.stop_process, "flooded")
    again = real_vault.serve("flooded-again")
    try:
        _check(await _records(real_vault, again, "operator"), lasted_s)
    finally:
        real_vault.stop_process("flooded-again")
