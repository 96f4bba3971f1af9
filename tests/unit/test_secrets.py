"""PutSecret and GetSecretValue, at both levels."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.support.house import APP, ROGUE, House, refused
from vault_service.domain import limits
from vault_service.domain.access import Caller, Permission, Resource
from vault_service.domain.audit import AuditAction
from vault_service.domain.envelope import Level
from vault_service.domain.errors import Reason
from vault_service.domain.names import SecretName
from vault_service.domain.sensitive import Sensitive

OURS = SecretName("acme", "", "smtp")
THEIRS = SecretName("acme", "u-1", "smtp")


@pytest.fixture
def house() -> House:
    return House()


@pytest.mark.parametrize("name", [OURS, THEIRS], ids=["application", "user"])
async def test_round_trip(house: House, name: SecretName) -> None:
    """What was put comes back, byte for byte, with its version; the newest one counts."""
    first = await house.secrets.put(house.call(), name, Sensitive(b"\x00one\xff"))
    value, version = await house.secrets.get_value(house.call(), name)
    assert (value.reveal(), version.version, first.version) == (b"\x00one\xff", 1, 1)
    await house.secrets.put(house.call(), name, Sensitive(b"two"))
    value, version = await house.secrets.get_value(house.call(), name)
    assert (value.reveal(), version.version) == (b"two", 2)


async def test_levels_are_apart(house: House) -> None:
    """An application's secret and an owner's of the same name have nothing in common."""
    await house.secrets.put(house.call(), OURS, Sensitive(b"ours"))
    await refused(Reason.SECRET_NOT_FOUND, house.secrets.get_value(house.call(), THEIRS))
    await house.secrets.put(house.call(), THEIRS, Sensitive(b"theirs"))
    assert (await house.secrets.get_value(house.call(), OURS))[0].reveal() == b"ours"
    levels = [(r.level, r.owner) for _, p, r in house.policy.asked if p is Permission.PUT_SECRET]
    assert levels == [(Level.APPLICATION, ""), (Level.USER, "u-1")]


async def test_records(house: House) -> None:
    """Both ways are on record with the version; the value is in no row and no record."""
    await house.secrets.put(house.call(), OURS, Sensitive(b"canary-secret"))
    await house.secrets.get_value(house.call(), OURS)
    (put,) = house.records(AuditAction.SECRET_PUT)
    (given,) = house.records(AuditAction.SECRET_VALUE_DISCLOSED)
    for record in (put, given):
        assert (record.resource, record.detail["version"]) == (str(OURS), "1")
    shown = repr(house.stores.tables.secrets) + repr(house.stores.records)
    assert "canary-secret" not in shown


@pytest.mark.parametrize(
    ("size", "reason"),
    [(0, Reason.FIELD_MALFORMED), (limits.PAYLOAD_MAX_BYTES + 1, Reason.PAYLOAD_TOO_LARGE)],
)
async def test_sizes(house: House, size: int, reason: Reason) -> None:
    """One byte to 64 KiB: 64 KiB itself goes in and comes back."""
    await refused(reason, house.secrets.put(house.call(), OURS, Sensitive(b"x" * size)))
    largest = Sensitive(b"x" * limits.PAYLOAD_MAX_BYTES)
    await house.secrets.put(house.call(), OURS, largest)
    assert (await house.secrets.get_value(house.call(), OURS))[0].same_as(largest)


async def test_concurrent_puts(house: House) -> None:
    """Puts at the same time all get a version of their own."""
    versions = await asyncio.gather(
        *(house.secrets.put(house.call(), OURS, Sensitive(b"x")) for _ in range(4))
    )
    assert sorted(version.version for version in versions) == [1, 2, 3, 4]


async def test_no_record_no_value(house: House) -> None:
    """Where the record cannot be written no value is given, and none is stored."""
    await house.secrets.put(house.call(), OURS, Sensitive(b"x"))
    house.stores.audit_unavailable = True
    await refused(Reason.AUDIT_UNAVAILABLE, house.secrets.get_value(house.call(), OURS))
    await refused(Reason.AUDIT_UNAVAILABLE, house.secrets.put(house.call(), OURS, Sensitive(b"y")))
    house.stores.audit_unavailable = False
    assert (await house.secrets.get_value(house.call(), OURS))[1].version == 1


async def test_policy_comes_before_the_look_up(house: House) -> None:
    """A denial is the same whether or not the secret exists, and reads nothing."""
    await house.secrets.put(house.call(), THEIRS, Sensitive(b"x"))

    def not_of_owners(_: Caller, __: Permission, resource: Resource) -> bool:
        return not resource.owner

    house.policy.only = not_of_owners
    there = await refused(Reason.CALLER_NOT_ALLOWED, house.secrets.get_value(house.call(), THEIRS))
    missing = SecretName("acme", "u-2", "nope")
    absent = await refused(
        Reason.CALLER_NOT_ALLOWED, house.secrets.get_value(house.call(), missing)
    )
    assert (there.message, there.metadata) == (absent.message, absent.metadata)
    await refused(
        Reason.CALLER_NOT_ALLOWED, house.secrets.put(house.call(ROGUE), OURS, Sensitive(b""))
    )
    await refused(Reason.SECRET_NOT_FOUND, house.secrets.get_value(house.call(APP), OURS))


async def test_moved_envelopes_do_not_open(house: House) -> None:
    """A value moved to another version or another secret is ENVELOPE_CORRUPT, and not recorded."""
    for name in (OURS, THEIRS):
        await house.secrets.put(house.call(), name, Sensitive(b"x"))
    rows = house.stores.tables.secrets
    ours, theirs = rows[OURS][0], rows[THEIRS][0]
    for moved in (replace(ours, version=2), replace(ours, envelope=theirs.envelope)):
        rows[OURS] = [moved]
        await refused(Reason.ENVELOPE_CORRUPT, house.secrets.get_value(house.call(), OURS))
    assert house.records(AuditAction.SECRET_VALUE_DISCLOSED) == []


async def test_keys_away(house: House) -> None:
    """Without keys nothing goes in or out."""
    await house.secrets.put(house.call(), OURS, Sensitive(b"x"))
    other = House.beside(house)
    other.wrapper.unreachable = True
    await refused(Reason.KEK_UNREACHABLE, other.secrets.get_value(house.call(), OURS))
    await refused(Reason.KEK_UNREACHABLE, other.secrets.put(house.call(), OURS, Sensitive(b"y")))


async def test_unknown_tenant(house: House) -> None:
    """A tenant that was never made is told to those whom the policy lets in."""
    name = SecretName("ghost", "", "smtp")
    await refused(
        Reason.TENANT_NOT_PROVISIONED, house.secrets.put(house.call(), name, Sensitive(b"x"))
    )
