"""Reminders of secrets that expire soon: in time, once, and of what still counts."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.support.house import House, refused
from vault_service.domain import limits
from vault_service.domain.audit import AuditAction, AuditRecord
from vault_service.domain.errors import Reason
from vault_service.domain.names import SecretName
from vault_service.domain.secret import SecretChanges
from vault_service.domain.sensitive import Sensitive
from vault_service.worker.upkeep import ReminderSweep

OURS, THEIRS = SecretName("acme", "", "smtp"), SecretName("acme", "u-1", "smtp")
_DAY_S = 86_400


@pytest.fixture
def house() -> House:
    return House()


async def put(house: House, name: SecretName, days: int | None) -> None:
    end = None if days is None else house.clock.now() + timedelta(days=days)
    await house.secrets.put(house.call(), name, Sensitive(b"value"), SecretChanges(expire_time=end))


def reminders(house: House) -> list[AuditRecord]:
    return house.records(AuditAction.SECRET_EXPIRING_SOON)


async def remind(house: House) -> int:
    return await house.remind(house.call("", rpc="worker/ReminderSweep"))


async def test_in_time_and_once(house: House) -> None:
    """A week before its end, at either level, a secret is on record with version and end, once."""
    await put(house, OURS, 10)
    await put(house, THEIRS, 20)
    assert await remind(house) == 0
    house.clock.advance(3 * _DAY_S)
    assert [await remind(house) for _ in range(3)] == [1, 0, 0]
    house.clock.advance(10 * _DAY_S)
    assert await remind(house) == 1
    ours, theirs = reminders(house)
    assert (ours.resource, theirs.resource) == (str(OURS), str(THEIRS))
    assert ours.detail == {"version": "1", "expire_time": "2026-01-11T00:00:00+00:00"}
    assert (ours.tenant, ours.caller, ours.rpc) == ("acme", "", "worker/ReminderSweep")


async def test_only_what_counts(house: House) -> None:
    """No reminder of a version that has a successor, is destroyed, deleted, or never ends; the
    successor has its own."""
    for name in ("replaced", "destroyed", "deleted"):
        await put(house, SecretName("acme", "", name), 2)
    await put(house, SecretName("acme", "", "endless"), None)
    await put(house, SecretName("acme", "", "replaced"), 3)
    await house.destroy_secrets.destroy(house.call(), SecretName("acme", "", "destroyed"), 1)
    await house.destroy_secrets.delete(house.call(), SecretName("acme", "", "deleted"), "")
    assert await remind(house) == 1
    (record,) = reminders(house)
    assert (record.resource, record.detail["version"]) == ("tenants/acme/secrets/replaced", "2")


async def test_batches(house: House) -> None:
    """However many are due, one step takes a bounded number, the nearest end first."""
    most = limits.REMINDER_BATCH_MAX
    for number in range(most + 5):
        await put(house, SecretName("acme", f"u-{number}", "x"), 6 if number else 1)
    assert await remind(house) == most
    assert reminders(house)[0].resource == "tenants/acme/owners/u-0/secrets/x"
    assert await remind(house) == 5


async def test_unrecordable(house: House) -> None:
    """A reminder that could not be written is written later."""
    await put(house, OURS, 1)
    house.stores.audit_unavailable = True
    await refused(Reason.AUDIT_UNAVAILABLE, remind(house))
    house.stores.audit_unavailable = False
    assert await remind(house) == 1


async def test_the_worker_step(house: House) -> None:
    """The sweep is the use case under the service's own name."""
    await put(house, OURS, 1)
    await ReminderSweep(house.remind, house.clock, house.entropy).step()
    (record,) = reminders(house)
    assert (record.caller, record.rpc) == ("", "worker/ReminderSweep")
