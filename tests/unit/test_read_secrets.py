"""GetSecret, ListSecrets and ListSecretVersions: what there is, and never a value."""

from __future__ import annotations

import pytest

from tests.support.house import ROGUE, House, refused
from vault_service.domain.envelope import Level
from vault_service.domain.errors import Reason
from vault_service.domain.names import SecretName, SecretParent
from vault_service.domain.sensitive import Sensitive

APPLICATION, USER = SecretParent("acme", ""), SecretParent("acme", "u-1")


@pytest.fixture
async def house() -> House:
    """Three secrets of the application, the middle one with three versions; one of an owner."""
    house = House()
    for name in ("a", "b", "b", "b", "c"):
        await house.secrets.put(house.call(), SecretName("acme", "", name), Sensitive(b"canary"))
    await house.secrets.put(house.call(), SecretName("acme", "u-1", "b"), Sensitive(b"canary"))
    return house


async def test_get(house: House) -> None:
    """One secret with its newest version's number, at its level only."""
    ours = await house.read_secrets.get(house.call(), SecretName("acme", "", "b"))
    theirs = await house.read_secrets.get(house.call(), SecretName("acme", "u-1", "b"))
    assert (ours.version, ours.name.level) == (3, Level.APPLICATION)
    assert (theirs.version, theirs.name.level) == (1, Level.USER)
    await refused(
        Reason.SECRET_NOT_FOUND,
        house.read_secrets.get(house.call(), SecretName("acme", "u-2", "b")),
    )


async def test_list(house: House) -> None:
    """Pages by id, each secret once, of one level and owner."""
    found, token = [], ""
    while True:
        page = await house.read_secrets.list(house.call(), APPLICATION, 2, token)
        found += [secret.name.secret for secret in page.items]
        token = page.next_token
        if not token:
            break
    assert found == ["a", "b", "c"]
    theirs = await house.read_secrets.list(house.call(), USER, 50, "")
    assert [str(secret.name) for secret in theirs.items] == ["tenants/acme/owners/u-1/secrets/b"]
    nobody = await house.read_secrets.list(house.call(), SecretParent("acme", "u-2"), 50, "")
    assert list(nobody.items) == []


async def test_list_is_stable_under_writes(house: House) -> None:
    """What is put or deleted while somebody pages makes no other secret come twice or never."""
    first = await house.read_secrets.list(house.call(), APPLICATION, 1, "")
    await house.destroy_secrets.delete(house.call(), SecretName("acme", "", "a"), "")
    await house.secrets.put(house.call(), SecretName("acme", "", "aa"), Sensitive(b"new"))
    rest = await house.read_secrets.list(house.call(), APPLICATION, 50, first.next_token)
    assert [secret.name.secret for secret in rest.items] == ["aa", "b", "c"]


async def test_versions(house: House) -> None:
    """Newest first, destroyed ones too, in pages."""
    name = SecretName("acme", "", "b")
    await house.destroy_secrets.destroy(house.call(), name, 2)
    page = await house.read_secrets.list_versions(house.call(), name, 2, "")
    assert [(one.version, one.destroy_time is None) for one in page.items] == [
        (3, True),
        (2, False),
    ]
    page = await house.read_secrets.list_versions(house.call(), name, 2, page.next_token)
    assert ([one.version for one in page.items], page.next_token) == ([1], "")


async def test_deleted(house: House) -> None:
    """A deleted secret is in no list; asked for, it is not found, and the record knows why."""
    name = SecretName("acme", "", "b")
    await house.destroy_secrets.delete(house.call(), name, "")
    page = await house.read_secrets.list(house.call(), APPLICATION, 50, "")
    assert [secret.name.secret for secret in page.items] == ["a", "c"]
    for asked in (
        house.read_secrets.get(house.call(), name),
        house.read_secrets.list_versions(house.call(), name, 50, ""),
    ):
        assert (await refused(Reason.SECRET_NOT_FOUND, asked)).recorded == {"why": "deleted"}


async def test_a_page_token_of_another_list(house: House) -> None:
    """A page token that no list of ours gave is refused."""
    await refused(
        Reason.FIELD_MALFORMED, house.read_secrets.list(house.call(), APPLICATION, 50, "!")
    )


async def test_nothing_is_opened(house: House) -> None:
    """No reading of names, labels and versions opens an envelope or shows one's content."""
    name = SecretName("acme", "", "b")
    shown = [
        await house.read_secrets.get(house.call(), name),
        await house.read_secrets.list(house.call(), APPLICATION, 50, ""),
        await house.read_secrets.list_versions(house.call(), name, 50, ""),
    ]
    assert house.envelopes.opened == []
    assert "canary" not in repr(shown)


async def test_denied(house: House) -> None:
    """Who may not read is told so before any look-up."""
    house.stores.unreachable = True
    call, name = house.call(ROGUE), SecretName("acme", "", "b")
    for asked in (
        house.read_secrets.get(call, name),
        house.read_secrets.list(call, APPLICATION, 50, ""),
        house.read_secrets.list_versions(call, name, 50, ""),
    ):
        await refused(Reason.CALLER_NOT_ALLOWED, asked)
