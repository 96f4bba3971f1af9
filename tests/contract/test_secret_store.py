"""Secrets whole, and their reminders: one suite for the fakes and for PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.contract.conftest import Stores
from tests.support.samples import LONG_AGO, a_record
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import SecretName, SecretParent
from vault_service.domain.secret import (
    Secret,
    SecretRequest,
    SecretVersion,
    SecretVersionState,
)

_APP = SecretName("acme", "", "api-key")
_USER = SecretName("acme", "u-1", "api-key")
_REQUEST = SecretRequest("spiffe://example.org/app", "r-1", "v1.digest")
_NEVER = datetime(2100, 1, 1, tzinfo=UTC)


async def _put(stores: Stores, name: SecretName, number: int = 1, **options: Any) -> bool:
    expire_time = options.pop("expire_time", None)
    envelope = f"sealed {name} {number}".encode()
    version = SecretVersion(name, number, envelope, LONG_AGO, expire_time)
    return await stores.secrets.put(version, a_record(name.tenant), **options)


async def _get(stores: Stores, name: SecretName) -> Secret:
    secret = await stores.secrets.get(name)
    assert secret is not None
    return secret


async def _version(stores: Stores, name: SecretName, number: int) -> SecretVersion:
    version = await stores.secrets.get_version(name, number)
    assert version is not None
    return version


async def _disclosed(stores: Stores, version: SecretVersion) -> bool:
    return await stores.audit.disclose_secret(a_record(version.name.tenant), version)


async def test_secret_and_its_versions(stores: Stores) -> None:
    """A secret has the newest number, its labels, and a revision that each version moves on."""
    assert await stores.secrets.get(_APP) is None
    assert await _put(stores, _APP, labels={"team": "pay ü"})
    first = await _get(stores, _APP)
    assert (first.version, first.labels, first.revision) == (1, {"team": "pay ü"}, 1)
    assert await _put(stores, _APP, 2, expire_time=_NEVER)
    second = await _get(stores, _APP)
    assert (second.version, second.labels, second.revision) == (2, {"team": "pay ü"}, 2)
    assert await _put(stores, _APP, 3, labels={})
    assert (await _get(stores, _APP)).labels == {}
    found = await _version(stores, _APP, 2)
    assert (found.envelope, found.expire_time) == (f"sealed {_APP} 2".encode(), _NEVER)
    assert found.state is SecretVersionState.ACTIVE
    assert found.read_time is not None
    assert await stores.secrets.get_version(_APP, 4) is None


@pytest.mark.parametrize("options", [{"expected_revision": 0}, {"expected_revision": 2}])
async def test_put_is_a_compare_and_swap(stores: Stores, options: dict[str, int]) -> None:
    """Another number than the next one, or another revision, writes and records nothing."""
    await _put(stores, _APP, expected_revision=0)
    before = len(await stores.records())
    assert not await _put(stores, _APP, 2, **options)
    assert not await _put(stores, _APP, 1)
    assert not await _put(stores, _APP, 3)
    assert not await _put(stores, _USER, 1, expected_revision=1)
    assert await stores.secrets.get(_USER) is None
    assert len(await stores.records()) == before
    assert await _put(stores, _APP, 2, expected_revision=1)


async def test_a_request_is_answered_once(stores: Stores) -> None:
    """Of many tries of one request one stores, and its answer is known by caller and id."""
    tries = (_put(stores, _USER, request=_REQUEST) for _ in range(4))
    assert sorted(await asyncio.gather(*tries)) == [False] * 3 + [True]
    known = await stores.secrets.answered("acme", _REQUEST.caller, "r-1")
    assert known is not None
    assert (known.digest, known.name, known.version) == ("v1.digest", _USER, 1)
    assert not await _put(stores, _USER, 2, request=_REQUEST)
    assert (await _get(stores, _USER)).version == 1
    for tenant, caller, request_id in (
        ("globex", _REQUEST.caller, "r-1"),
        ("acme", "spiffe://example.org/b", "r-1"),
        ("acme", _REQUEST.caller, "r-2"),
    ):
        assert await stores.secrets.answered(tenant, caller, request_id) is None


async def test_lists_keep_levels_owners_and_tenants_apart(stores: Stores) -> None:
    """A list has the secrets of one level and owner by id, in pages."""
    for secret in ("b-2", "a", "b", "b1"):
        await _put(stores, SecretName("acme", "", secret))
    for name in (_USER, SecretName("acme", "u-2", "x"), SecretName("globex", "", "y")):
        await _put(stores, name)
    parent = SecretParent("acme", "")
    first = await stores.secrets.list(parent, 3, "")
    await _put(stores, SecretName("acme", "", "a0"))  # before the page: it moves nothing
    rest = await stores.secrets.list(parent, 3, first.next_token)
    names = [one.name.secret for one in (*first.items, *rest.items)]
    assert (names, rest.next_token) == (["a", "b", "b-2", "b1"], "")
    for owner, tenant, wanted in (
        ("u-1", "acme", [_USER]),
        ("u-3", "acme", []),
        ("u-1", "globex", []),
    ):
        page = await stores.secrets.list(SecretParent(tenant, owner), 50, "")
        assert [one.name for one in page.items] == wanted


async def test_versions_are_listed_newest_first(stores: Stores) -> None:
    """Versions come newest first, in pages; a foreign page token is refused."""
    for number in range(1, 6):
        await _put(stores, _APP, number)
    seen, token = [], ""
    for _ in range(3):
        page = await stores.secrets.list_versions(_APP, 2, token)
        seen += [one.version for one in page.items]
        token = page.next_token
    assert (seen, token) == ([5, 4, 3, 2, 1], "")
    for bad in ("?", "AAAA", "gAAAAAAAAAA="):
        with pytest.raises(VaultError) as refused:
            await stores.secrets.list_versions(_APP, 2, bad)
        assert refused.value.reason is Reason.FIELD_MALFORMED


async def test_destroyed_for_ever(stores: Stores) -> None:
    """A destroyed version has no envelope; again it changes and records nothing."""
    await _put(stores, _APP)
    await _put(stores, _APP, 2)
    kept = await _version(stores, _APP, 1)
    tombstone = await stores.secrets.destroy(_APP, 1, a_record())
    assert tombstone is not None
    assert (tombstone.envelope, tombstone.state) == (None, SecretVersionState.DESTROYED)
    assert (await _get(stores, _APP)).revision == 3
    before = len(await stores.records())
    again = await stores.secrets.destroy(_APP, 1, a_record())
    assert again is not None
    assert again.destroy_time == tombstone.destroy_time
    assert await stores.secrets.destroy(_APP, 3, a_record()) is None
    assert await stores.secrets.destroy(_USER, 1, a_record()) is None
    assert len(await stores.records()) == before
    assert not await _disclosed(stores, kept)
    assert await _disclosed(stores, await _version(stores, _APP, 2))


async def test_deleted_and_there_again(stores: Stores) -> None:
    """A deleted secret is a tombstone without values or labels, in no list; a new version goes on
    counting."""
    await _put(stores, _APP, labels={"a": "b"})
    await _put(stores, _APP, 2)
    read = await _version(stores, _APP, 2)
    secret = await _get(stores, _APP)
    assert await stores.secrets.delete(secret, a_record())
    before = len(await stores.records())
    assert not await stores.secrets.delete(secret, a_record())
    assert not await stores.secrets.delete(await _get(stores, _APP), a_record())
    assert len(await stores.records()) == before
    tombstone = await _get(stores, _APP)
    assert (tombstone.version, tombstone.labels) == (2, {})
    assert tombstone.delete_time is not None
    for number in (1, 2):
        assert (await _version(stores, _APP, number)).envelope is None
    assert not await _disclosed(stores, read)
    assert (await stores.secrets.list(SecretParent("acme", ""), 50, "")).items == []
    assert await stores.secrets.next_version(_APP) == 3
    assert await _put(stores, _APP, 3, expected_revision=tombstone.revision)
    again = await _get(stores, _APP)
    assert (again.version, again.delete_time) == (3, None)


async def test_expired_is_not_disclosed(stores: Stores) -> None:
    """A version is disclosed until its expire_time, on the store's clock."""
    await _put(stores, _APP)
    now = (await _version(stores, _APP, 1)).read_time
    assert now is not None
    soon = now + timedelta(seconds=0.4)
    await _put(stores, _APP, 2, expire_time=soon)
    version = await _version(stores, _APP, 2)
    assert await _disclosed(stores, version)
    await stores.behind.advance(0.5)
    assert not await _disclosed(stores, version)
    assert (await _version(stores, _APP, 2)).state is SecretVersionState.EXPIRED
    assert await _disclosed(stores, await _version(stores, _APP, 1))


async def test_a_disclosure_names_its_own_tenant(stores: Stores) -> None:
    """A record of one tenant is not accepted for a version of another."""
    await _put(stores, _APP)
    version = await _version(stores, _APP, 1)
    assert not await stores.audit.disclose_secret(a_record("globex"), version)
    foreign = SecretVersion(SecretName("globex", "", "api-key"), 1, b"x", LONG_AGO)
    assert not await _disclosed(stores, foreign)


async def test_reminded_once(stores: Stores) -> None:
    """Of versions that expire soon the newest of each secret is due, until it was reminded of."""
    await _put(stores, _APP)
    now = (await _version(stores, _APP, 1)).read_time
    assert now is not None
    soon, later = now + timedelta(hours=1), now + timedelta(days=30)
    for name, number, expire_time in (
        (_APP, 2, soon),
        (_APP, 3, soon + timedelta(minutes=1)),
        (_USER, 1, soon),
        (SecretName("globex", "", "late"), 1, later),
        (SecretName("globex", "", "gone"), 1, soon),
    ):
        assert await _put(stores, name, number, expire_time=expire_time)
    await stores.secrets.destroy(SecretName("globex", "", "gone"), 1, a_record("globex"))
    due = await stores.reminders.due(7 * 86_400, 10)
    assert [(one.name, one.version) for one in due] == [(_USER, 1), (_APP, 3)]
    assert len(await stores.reminders.due(7 * 86_400, 1)) == 1
    record = a_record(action=AuditAction.SECRET_EXPIRING_SOON)
    tries = [stores.reminders.remind(due[0], record)]
    tries += [stores.reminders.remind(due[0], a_record()) for _ in range(3)]
    assert sorted(await asyncio.gather(*tries)) == [False] * 3 + [True]
    left = await stores.reminders.due(7 * 86_400, 10)
    assert [one.name for one in left] == [_APP]
    assert len(await stores.reminders.due(60 * 86_400, 10)) == 2


async def test_no_change_without_its_record(stores: Stores) -> None:
    """Where the record cannot be written nothing is destroyed, deleted, reminded or given."""
    await _put(stores, _APP)
    now = (await _version(stores, _APP, 1)).read_time
    assert now is not None
    await _put(stores, _APP, 2, expire_time=now + timedelta(hours=1))
    (due,) = await stores.reminders.due(86_400, 10)
    await stores.behind.break_audit()
    for change in (
        stores.secrets.destroy(_APP, 1, a_record()),
        stores.secrets.delete(await _get(stores, _APP), a_record()),
        stores.reminders.remind(due, a_record()),
        stores.audit.disclose_secret(a_record(), await _version(stores, _APP, 1)),
        _put(stores, _USER, request=_REQUEST),
    ):
        with pytest.raises(VaultError) as refused:
            await change
        assert refused.value.reason is Reason.AUDIT_UNAVAILABLE
    assert (await _version(stores, _APP, 1)).state is SecretVersionState.ACTIVE
    assert (await _get(stores, _APP)).delete_time is None
    assert len(await stores.reminders.due(86_400, 10)) == 1
    assert await stores.secrets.get(_USER) is None
    assert await stores.secrets.answered("acme", _REQUEST.caller, "r-1") is None
