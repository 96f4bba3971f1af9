"""DEKs and SecretVersions: one suite for the fakes and for PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import pytest

from tests.contract.conftest import Stores
from tests.support.samples import LONG_AGO, a_dek, a_record
from vault_service.domain.envelope import DekOwner, Level
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import SecretName
from vault_service.domain.secret import SecretVersion

_APP = SecretName("acme", "", "api-key")
_USER = SecretName("acme", "u-1", "api-key")


def _version(name: SecretName, number: int = 1, **changes: Any) -> SecretVersion:
    values: dict[str, Any] = {"envelope": f"sealed {name} {number}".encode()}
    return SecretVersion(name=name, version=number, create_time=LONG_AGO, **(values | changes))


async def test_dek_is_found_by_id_and_owner(stores: Stores) -> None:
    """A DEK is found in its own tenant only."""
    dek = a_dek()
    assert await stores.deks.find_current(dek.dek_owner) is None
    assert await stores.deks.insert(dek) == dek
    assert await stores.deks.find("acme", dek.dek_id) == dek
    assert await stores.deks.find_current(dek.dek_owner) == dek
    assert await stores.deks.find("globex", dek.dek_id) is None
    assert await stores.deks.find_current(DekOwner("acme", Level.APPLICATION, "")) is None


async def test_owner_has_one_dek(stores: Stores) -> None:
    """Of many DEKs made for one owner at one moment all get the one that stands."""
    standing = await asyncio.gather(*(stores.deks.insert(a_dek()) for _ in range(8)))
    assert len({dek.dek_id for dek in standing}) == 1


async def test_levels_have_their_own_deks(stores: Stores) -> None:
    """The application-level DEK of a tenant is not an owner's."""
    user = await stores.deks.insert(a_dek())
    app = await stores.deks.insert(a_dek(level=Level.APPLICATION, owner=""))
    assert user.dek_id != app.dek_id
    assert await stores.deks.find_current(app.dek_owner) == app


async def test_dek_of_unknown_tenant(stores: Stores) -> None:
    """A DEK of a tenant that was not created is TENANT_NOT_PROVISIONED."""
    with pytest.raises(VaultError) as refused:
        await stores.deks.insert(a_dek("nowhere"))
    assert refused.value.reason is Reason.TENANT_NOT_PROVISIONED


async def test_secret_versions_count_from_one(stores: Stores) -> None:
    """The newest version is the one that is read, and the next number follows it."""
    assert await stores.secrets.next_version(_APP) == 1
    assert await stores.secrets.latest(_APP) is None
    for number in (1, 2):
        assert await stores.secrets.put(_version(_APP, number), a_record())
    latest = await stores.secrets.latest(_APP)
    assert latest is not None
    assert (latest.name, latest.version) == (_APP, 2)
    assert latest.envelope == _version(_APP, 2).envelope
    assert isinstance(latest.create_time, datetime)
    assert latest.create_time > LONG_AGO
    assert await stores.secrets.next_version(_APP) == 3


async def test_levels_and_tenants_do_not_meet(stores: Stores) -> None:
    """One id at two levels, of two owners or in two tenants is as many secrets."""
    names = (_APP, _USER, SecretName("acme", "u-2", "api-key"), SecretName("globex", "", "api-key"))
    for name in names:
        assert await stores.secrets.put(_version(name), a_record(name.tenant))
    for name in names:
        latest = await stores.secrets.latest(name)
        assert latest is not None
        assert latest.envelope == _version(name).envelope


async def test_version_is_written_once(stores: Stores) -> None:
    """Of two writers of one version one is told that it exists, and nothing is recorded."""
    before = len(await stores.records())
    puts = (stores.secrets.put(_version(_USER), a_record()) for _ in range(4))
    assert sorted(await asyncio.gather(*puts)) == [False] * 3 + [True]
    assert len(await stores.records()) == before + 1


async def test_secret_of_unknown_tenant(stores: Stores) -> None:
    """A secret of a tenant that was not created is TENANT_NOT_PROVISIONED."""
    with pytest.raises(VaultError) as refused:
        await stores.secrets.put(_version(SecretName("nowhere", "", "x")), a_record("nowhere"))
    assert refused.value.reason is Reason.TENANT_NOT_PROVISIONED


async def test_no_secret_without_its_record(stores: Stores) -> None:
    """Where the record cannot be written, no version is."""
    await stores.behind.break_audit()
    with pytest.raises(VaultError) as refused:
        await stores.secrets.put(_version(_APP), a_record())
    assert refused.value.reason is Reason.AUDIT_UNAVAILABLE
    assert await stores.secrets.latest(_APP) is None
