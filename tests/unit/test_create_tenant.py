"""CreateTenant: the key first, then the row."""

from __future__ import annotations

import pytest

from tests.support.house import House, refused
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason, VaultError
from vault_service.usecases.create_tenant import CreateTenant


class FakeTenantKeys:
    """ports.TenantKeys: notes whose key was made and whether the row was there by then."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.made: list[tuple[str, bool]] = []
        self.fault: VaultError | None = None

    async def create_tenant_key(self, tenant: str) -> str:
        if self.fault is not None:
            raise self.fault
        self.made.append((tenant, tenant in self._house.stores.tables.tenants))
        return f"tokenvault-{tenant}"


@pytest.fixture
def house() -> House:
    return House()


def creating(house: House, keys: FakeTenantKeys) -> CreateTenant:
    return CreateTenant(keys=keys, tenants=house.stores.tenants, recorder=house.recorder)


async def test_key_before_row(house: House) -> None:
    """The tenant's key is made before its row, and the creation is on record."""
    keys = FakeTenantKeys(house)
    assert await creating(house, keys)(house.call(), "gamma") is True
    assert keys.made == [("gamma", False)]
    (record,) = house.records(AuditAction.TENANT_CREATED)
    assert (record.tenant, record.resource) == ("gamma", "tenants/gamma")


async def test_again(house: House) -> None:
    """Run again it changes nothing, and says so."""
    keys = FakeTenantKeys(house)
    await creating(house, keys)(house.call(), "gamma")
    assert await creating(house, keys)(house.call(), "gamma") is False
    assert len(house.records(AuditAction.TENANT_CREATED)) == 1


async def test_no_row_without_a_key(house: House) -> None:
    """Where the key cannot be made there is no row."""
    keys = FakeTenantKeys(house)
    keys.fault = VaultError(Reason.KEK_UNREACHABLE, "sealed")
    await refused(Reason.KEK_UNREACHABLE, creating(house, keys)(house.call(), "gamma"))
    assert "gamma" not in house.stores.tables.tenants


@pytest.mark.parametrize("name", ["", "-", "Acme", "a/b", "1a", "a" * 64, "ä"])
async def test_names(house: House, name: str) -> None:
    """A name that is no lower-case id of at most 63 characters is refused before anything."""
    keys = FakeTenantKeys(house)
    await refused(Reason.NAME_MALFORMED, creating(house, keys)(house.call(), name))
    assert keys.made == []
