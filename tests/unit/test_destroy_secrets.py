"""DestroySecretVersion and DeleteSecret: for ever, on record, and nothing else with it."""

from __future__ import annotations

import pytest

from tests.support.house import APP, ROGUE, House, refused
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import SecretName
from vault_service.domain.secret import Secret, SecretVersionState
from vault_service.domain.sensitive import Sensitive

OURS = SecretName("acme", "", "smtp")
THEIRS = SecretName("acme", "u-1", "smtp")


@pytest.fixture
async def house() -> House:
    """Two versions of ours, one of theirs."""
    house = House()
    for name, value in ((OURS, b"one"), (OURS, b"two"), (THEIRS, b"theirs")):
        await house.secrets.put(house.call(), name, Sensitive(value))
    return house


async def value(house: House, name: SecretName = OURS, number: int = 0) -> bytes:
    return (await house.secrets.get_value(house.call(), name, number))[0].reveal()


async def etag(house: House, name: SecretName = OURS) -> str:
    return str((await house.read_secrets.get(house.call(), name)).revision)


async def test_destroy(house: House) -> None:
    """The version's envelope is gone and its row stays; the other versions, and the owner's secret
    of the same name, are as before."""
    gone = await house.destroy_secrets.destroy(house.call(), OURS, 1)
    assert (gone.state, gone.envelope) == (SecretVersionState.DESTROYED, None)
    await refused(Reason.SECRET_VERSION_DESTROYED, value(house, OURS, 1))
    assert await value(house, OURS, 2) == await value(house) == b"two"
    assert await value(house, THEIRS) == b"theirs"
    (record,) = house.records(AuditAction.SECRET_VERSION_DESTROYED)
    assert (record.resource, record.caller) == (str(OURS), APP)
    assert record.detail["version"] == "1"
    assert record.detail["policy_rule"] == "allow-DestroySecretVersion"


async def test_the_newest_is_not_replaced_by_an_older_one(house: House) -> None:
    """Whoever asks for the newest after it was destroyed gets none, and not yesterday's."""
    await house.destroy_secrets.destroy(house.call(), OURS, 2)
    await refused(Reason.SECRET_VERSION_DESTROYED, value(house))
    assert await value(house, OURS, 1) == b"one"
    await house.secrets.put(house.call(), OURS, Sensitive(b"three"))
    assert await value(house) == b"three"


async def test_destroyed_again(house: House) -> None:
    """Destroying twice says the same and makes one record."""
    first = await house.destroy_secrets.destroy(house.call(), OURS, 1)
    house.clock.advance(60)
    again = await house.destroy_secrets.destroy(house.call(), OURS, 1)
    assert again.destroy_time == first.destroy_time
    assert len(house.records(AuditAction.SECRET_VERSION_DESTROYED)) == 1


@pytest.mark.parametrize("number", [3, 2**62])
async def test_no_such_version(house: House, number: int) -> None:
    """A version that never was is not found, and nothing is on record as destroyed."""
    await refused(
        Reason.SECRET_NOT_FOUND, house.destroy_secrets.destroy(house.call(), OURS, number)
    )
    assert house.records(AuditAction.SECRET_VERSION_DESTROYED) == []


async def test_delete(house: House) -> None:
    """All versions are destroyed, the secret is in no list, and the next one takes the next number,
    without the old labels."""
    await house.destroy_secrets.delete(house.call(), OURS, await etag(house))
    for number in (0, 1, 2):
        with pytest.raises(VaultError):
            await value(house, OURS, number)
    assert all(one.envelope is None for one in house.stores.tables.secrets[OURS])
    await refused(Reason.SECRET_NOT_FOUND, house.read_secrets.get(house.call(), OURS))
    assert await value(house, THEIRS) == b"theirs"
    (record,) = house.records(AuditAction.SECRET_DELETED)
    assert record.detail["latest_version"] == "2"
    version = await house.secrets.put(house.call(), OURS, Sensitive(b"anew"))
    assert version.version == 3
    assert await value(house) == b"anew"


async def test_deleted_again(house: House) -> None:
    """A deleted secret is not found; the record says that it was deleted."""
    await house.destroy_secrets.delete(house.call(), OURS, "")
    error = await refused(
        Reason.SECRET_NOT_FOUND, house.destroy_secrets.delete(house.call(), OURS, "")
    )
    assert error.recorded == {"why": "deleted"}


async def test_etag(house: House) -> None:
    """Another etag than the secret's deletes nothing."""
    old = await etag(house)
    await house.secrets.put(house.call(), OURS, Sensitive(b"three"))
    await refused(Reason.ETAG_MISMATCH, house.destroy_secrets.delete(house.call(), OURS, old))
    assert await value(house) == b"three"


@pytest.mark.parametrize("times", [1, 100])
async def test_a_writer_in_between(
    house: House, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """One write in between is tried over, so that its version is destroyed too; a writer that
    never ends is told of."""
    delete, left = house.stores.secrets.delete, times

    async def busy(secret: Secret, *rest: object) -> bool:
        nonlocal left
        if left:
            left -= 1
            await house.secrets.put(house.call(), OURS, Sensitive(b"in between"))
        return await delete(secret, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(house.stores.secrets, "delete", busy)
    deleting = house.destroy_secrets.delete(house.call(), OURS, "")
    if times > 1:
        await refused(Reason.ETAG_MISMATCH, deleting)
        return
    await deleting
    assert all(one.envelope is None for one in house.stores.tables.secrets[OURS])
    assert len(house.records(AuditAction.SECRET_DELETED)) == 1


async def test_denied(house: House) -> None:
    """Who may not is told so before anything is looked up, whether or not it is there."""
    house.stores.unreachable = True  # a look-up would say so
    absent = SecretName("acme", "", "absent")
    for name in (OURS, absent):
        call = house.call(ROGUE)
        await refused(Reason.CALLER_NOT_ALLOWED, house.destroy_secrets.destroy(call, name, 1))
        await refused(Reason.CALLER_NOT_ALLOWED, house.destroy_secrets.delete(call, name, ""))


async def test_unrecordable(house: House) -> None:
    """What cannot be put on record is not destroyed."""
    house.stores.audit_unavailable = True
    await refused(Reason.AUDIT_UNAVAILABLE, house.destroy_secrets.destroy(house.call(), OURS, 1))
    await refused(Reason.AUDIT_UNAVAILABLE, house.destroy_secrets.delete(house.call(), OURS, ""))
    assert all(one.envelope is not None for one in house.stores.tables.secrets[OURS])
