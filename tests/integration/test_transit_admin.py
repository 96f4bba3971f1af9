"""Creating a tenant's key in a real OpenBao."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.openbao import DevOpenBao
from vault_service.adapters.clock import SystemClock
from vault_service.adapters.transit import TransitAdmin, key_name
from vault_service.domain.errors import KekDenied, Reason, VaultError


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevOpenBao]:
    """One OpenBao without keys."""
    server = DevOpenBao(Path(tmp_path_factory.mktemp("bao")))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
async def admin(bao: DevOpenBao) -> AsyncIterator[TransitAdmin]:
    """An admin login."""
    admin = TransitAdmin(bao.settings("admin"), SystemClock())
    yield admin
    await admin.close()


async def test_a_key_is_derived_not_exportable_and_rotates_by_itself(
    admin: TransitAdmin, bao: DevOpenBao
) -> None:
    """The new key has the type and switches that a KEK needs, under the tenant's hashed name."""
    name = await admin.create_tenant_key("acme")
    assert name == key_name("tv-", "dep-1", "acme")
    data = bao.root("GET", bao.key_path("acme"))["data"]
    assert data["type"] == "aes256-gcm96"
    assert (data["derived"], data["exportable"]) == (True, False)
    assert data["auto_rotate_period"] in (2_592_000, "720h0m0s")


async def test_creating_again_changes_nothing(admin: TransitAdmin, bao: DevOpenBao) -> None:
    """A second creation, also at the same time, returns the same name and keeps the key."""
    names = await asyncio.gather(*(admin.create_tenant_key("twice") for _ in range(5)))
    before = bao.root("GET", bao.key_path("twice"))["data"]
    assert await admin.create_tenant_key("twice") in names
    assert bao.root("GET", bao.key_path("twice"))["data"] == before
    assert len(set(names)) == 1


@pytest.mark.parametrize(
    ("tenant", "made_with", "complaint"),
    [
        ("plain", {"type": "aes256-gcm96", "derived": False}, "derived is False"),
        ("other", {"type": "chacha20-poly1305", "derived": True}, "type is 'chacha20-poly1305'"),
        ("leaky", {"type": "aes256-gcm96", "derived": True, "exportable": True}, "exportable"),
        (
            "convergent",
            {"type": "aes256-gcm96", "derived": True, "convergent_encryption": True},
            "convergent_encryption is True",
        ),
    ],
)
async def test_an_unfit_key_of_that_name_is_refused(
    admin: TransitAdmin, bao: DevOpenBao, tenant: str, made_with: dict[str, object], complaint: str
) -> None:
    """A key that was there with another type or switch is refused by name, never used."""
    bao.root("POST", bao.key_path(tenant), **made_with)
    with pytest.raises(VaultError, match=complaint) as caught:
        await admin.create_tenant_key(tenant)
    assert caught.value.reason is Reason.INTERNAL


async def test_the_service_login_cannot_create_keys(bao: DevOpenBao) -> None:
    """With the service's login creating a tenant's key is KekDenied."""
    service = TransitAdmin(bao.settings("service"), SystemClock())
    with pytest.raises(KekDenied):
        await service.create_tenant_key("stolen")
    await service.close()


async def test_a_malformed_tenant_never_becomes_a_path(admin: TransitAdmin) -> None:
    """A tenant that is no id is NAME_MALFORMED."""
    with pytest.raises(VaultError) as caught:
        await admin.create_tenant_key("../../sys")
    assert caught.value.reason is Reason.NAME_MALFORMED
