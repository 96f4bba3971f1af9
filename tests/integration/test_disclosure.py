"""No secret leaves without a record, whatever becomes of the database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import tokenvault_client as sdk
from tests.support.vault import RealVault
from vault_service.embedded.settings_files import TENANT

_SECRET = sdk.secret_name(TENANT, "disclosed")
_CALLS = 64


@pytest.fixture(scope="module")
def port(breakable_vault: RealVault) -> Iterator[int]:
    """One process."""
    yield breakable_vault.serve("disclosure")
    breakable_vault.stop_process("disclosure")


@contextmanager
def _without_records(vault: RealVault) -> Iterator[None]:
    """The table of records takes nothing."""
    table = "tokenvault.audit_records"
    vault.sql(f"ALTER TABLE {table} RENAME TO hidden")
    try:
        yield
    finally:
        vault.sql(f"ALTER TABLE {table.partition('.')[0]}.hidden RENAME TO audit_records")


async def test_what_cannot_be_recorded_is_not_disclosed(
    breakable_vault: RealVault, port: int
) -> None:
    """With the record out of order every answer is AUDIT_UNAVAILABLE, and later all works again."""
    async with breakable_vault.client("calendar-app", port) as app:
        await app.put_secret(_SECRET, b"value")
        hidden = _without_records(breakable_vault)
        await asyncio.to_thread(hidden.__enter__)
        try:
            with pytest.raises(sdk.TryLater) as refused:
                await app.get_secret_value(_SECRET, timeout_s=3)
            assert refused.value.reason == "AUDIT_UNAVAILABLE"
            with pytest.raises(sdk.TryLater) as unwritten:
                await app.put_secret(_SECRET, b"lost", timeout_s=3)
            assert unwritten.value.reason == "AUDIT_UNAVAILABLE"
        finally:
            await asyncio.to_thread(hidden.__exit__, None, None, None)
        assert (await app.get_secret_value(_SECRET)).value == b"value"


async def test_every_answer_has_its_record_after_a_kill(
    breakable_vault: RealVault, port: int
) -> None:
    """SIGKILL to PostgreSQL in the middle: what was answered before is on record after."""
    answered = 0
    async with breakable_vault.client("calendar-app", port) as app:
        await app.put_secret(_SECRET, b"value")
        before = await _disclosures(breakable_vault)

        async def ask() -> None:
            nonlocal answered
            for _ in range(_CALLS):
                await app.get_secret_value(_SECRET, timeout_s=2)
                answered += 1

        asking = [asyncio.create_task(ask()) for _ in range(8)]
        while answered < _CALLS:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(breakable_vault.postgres.kill_immediately)
        await asyncio.gather(*asking, return_exceptions=True)
        breakable_vault.postgres.start()
        recorded = await _disclosures(breakable_vault) - before
        assert answered < 8 * _CALLS, "the kill came in the middle"
        assert recorded >= answered
        assert (await app.get_secret_value(_SECRET, timeout_s=20)).value == b"value"


async def _disclosures(vault: RealVault) -> int:
    statement = "SELECT count(*) FROM tokenvault.audit_records WHERE action = 2"
    return int((await asyncio.to_thread(vault.sql, statement))[0])
