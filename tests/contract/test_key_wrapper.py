"""ports.KeyWrapper: one suite for the fake and for a real transit."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.key_wrappers import (
    TENANTS,
    DevSubject,
    EmbeddedSubject,
    FakeSubject,
    FaultySubject,
    Subject,
    settings_of,
)
from tests.support.openbao import DevOpenBao
from vault_service.adapters.clock import SystemClock
from vault_service.adapters.transit import TransitAdmin
from vault_service.domain.envelope import DekOwner, Level, WrappedDek
from vault_service.domain.errors import KekDenied, Reason, VaultError
from vault_service.domain.sensitive import Sensitive
from vault_service.embedded.devca import DevCA
from vault_service.embedded.openbao import EmbeddedOpenBao
from vault_service.embedded.openbao_config import ADMIN_ROLE

APP = DekOwner("acme", Level.APPLICATION, "")
USER = DekOwner("acme", Level.USER, "u-1")


@pytest.fixture(scope="module")
def dev_bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevOpenBao]:
    """One OpenBao in development mode for the module."""
    server = DevOpenBao(Path(tmp_path_factory.mktemp("bao")))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="module")
def embedded_bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedOpenBao]:
    """One embedded OpenBao for the module."""
    folder = Path(tmp_path_factory.mktemp("embedded"))
    server = EmbeddedOpenBao(folder, DevCA(folder), for_tests=True)
    try:
        server.start()
        yield server
    finally:
        server.destroy()


@asynccontextmanager
async def subject_called(name: str, request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    if name == "fake":
        yield FakeSubject()
        return
    subject: DevSubject | EmbeddedSubject
    if name == "dev transit":
        dev: DevOpenBao = request.getfixturevalue("dev_bao")
        subject, admin_settings = DevSubject(dev), dev.settings("admin")
    else:
        embedded: EmbeddedOpenBao = request.getfixturevalue("embedded_bao")
        handle = embedded.start()
        subject = EmbeddedSubject(embedded, handle)
        admin_settings = settings_of(handle, ADMIN_ROLE)
    admin = TransitAdmin(admin_settings, SystemClock())
    for tenant in TENANTS:
        await admin.create_tenant_key(tenant)
    await admin.close()
    yield subject
    await subject.close()


@pytest.fixture(params=["fake", "transit"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """The fake, or a wrapper on the embedded OpenBao, with two tenants."""
    async with subject_called(request.param, request) as made:
        yield made


@pytest.fixture(params=["fake", "dev transit"])
async def faulty(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """The fake, or a wrapper on an OpenBao that can also be told to refuse, with two tenants."""
    async with subject_called(request.param, request) as made:
        yield made


def new_key() -> Sensitive:
    return Sensitive(os.urandom(32))


async def reason_of_unwrap(subject: Subject, row: WrappedDek) -> Reason:
    with pytest.raises(VaultError) as caught:
        await subject.wrapper.unwrap(row)
    return caught.value.reason


@pytest.mark.parametrize("owner", [APP, USER], ids=["app", "user"])
async def test_what_was_wrapped_unwraps(subject: Subject, owner: DekOwner) -> None:
    """unwrap gives back the 32 bytes; the row says whose it is and under which KEK version."""
    key, dek_id = new_key(), os.urandom(16)
    row = await subject.wrapper.wrap(dek_id, owner, key)
    assert (row.dek_id, row.dek_owner, row.kek_version >= 1) == (dek_id, owner, True)
    assert row.wrapped.startswith(f"vault:v{row.kek_version}:")
    assert (await subject.wrapper.unwrap(row)).same_as(key)


@pytest.mark.parametrize(
    "moved",
    [
        {"dek_owner": DekOwner("globex", Level.USER, "u-1")},
        {"dek_owner": DekOwner("acme", Level.USER, "u-2")},
        {"dek_owner": DekOwner("acme", Level.USER, "app")},
        {"dek_owner": APP},
        {"dek_id": bytes(16)},
    ],
    ids=["tenant", "owner", "owner-named-app", "level", "dek-id"],
)
async def test_a_moved_row_does_not_unwrap(subject: Subject, moved: dict[str, Any]) -> None:
    """A wrapped DEK put into another tenant's, owner's, level's or DEK's row is refused."""
    row = await subject.wrapper.wrap(os.urandom(16), USER, new_key())
    assert await reason_of_unwrap(subject, replace(row, **moved)) is Reason.ENVELOPE_CORRUPT


async def test_rows_of_two_deks_do_not_swap(subject: Subject) -> None:
    """The ciphertext of one DEK of an owner is refused in the row of the owner's other."""
    one, two = [await subject.wrapper.wrap(os.urandom(16), USER, new_key()) for _ in range(2)]
    swapped = replace(one, wrapped=two.wrapped)
    assert await reason_of_unwrap(subject, swapped) is Reason.ENVELOPE_CORRUPT


async def test_a_changed_character_is_refused(subject: Subject) -> None:
    """A changed character anywhere in the ciphertext is refused."""
    row = await subject.wrapper.wrap(os.urandom(16), APP, new_key())
    start = len("vault:v1:")
    for place in range(start, len(row.wrapped.rstrip("=")) - 1):
        changed = "B" if row.wrapped[place] == "A" else "A"
        wrapped = row.wrapped[:place] + changed + row.wrapped[place + 1 :]
        bad = replace(row, wrapped=wrapped)
        assert await reason_of_unwrap(subject, bad) is Reason.ENVELOPE_CORRUPT, place


@pytest.mark.parametrize("text", ["", "vault:v1:", "vault:v1:AAAA", "vault:v0:", "x", "vault:v9:"])
async def test_a_malformed_ciphertext_is_refused(subject: Subject, text: str) -> None:
    """A text that is no ciphertext, too short, or of a version never made is ENVELOPE_CORRUPT."""
    row = await subject.wrapper.wrap(os.urandom(16), APP, new_key())
    body = row.wrapped.split(":", 2)[2] if text in ("vault:v0:", "vault:v9:") else ""
    bad = replace(row, wrapped=text + body)
    assert await reason_of_unwrap(subject, bad) is Reason.ENVELOPE_CORRUPT


async def test_an_unknown_tenant_is_not_provisioned(subject: Subject) -> None:
    """A tenant without a key is TENANT_NOT_PROVISIONED both ways, and no key comes to be."""
    nobody = DekOwner("nobody", Level.APPLICATION, "")
    row = await subject.wrapper.wrap(os.urandom(16), APP, new_key())
    for _ in range(2):
        with pytest.raises(VaultError) as caught:
            await subject.wrapper.wrap(os.urandom(16), nobody, new_key())
        assert caught.value.reason is Reason.TENANT_NOT_PROVISIONED
    foreign = replace(row, dek_owner=nobody)
    assert await reason_of_unwrap(subject, foreign) is Reason.TENANT_NOT_PROVISIONED


async def test_a_rotated_kek_still_unwraps_what_older_versions_wrapped(subject: Subject) -> None:
    """After a rotation new DEKs have a higher version, and old rows still unwrap."""
    key = new_key()
    old = await subject.wrapper.wrap(os.urandom(16), APP, key)
    await subject.rotate("acme")
    new = await subject.wrapper.wrap(os.urandom(16), APP, key)
    assert new.kek_version == old.kek_version + 1
    for row in (old, new):
        assert (await subject.wrapper.unwrap(row)).same_as(key)


async def test_a_deleted_key_unwraps_nothing(faulty: FaultySubject) -> None:
    """After the tenant's key is gone its rows never unwrap again; other tenants go on."""
    gone = await faulty.wrapper.wrap(
        os.urandom(16), DekOwner("globex", Level.APPLICATION, ""), new_key()
    )
    stays = await faulty.wrapper.wrap(os.urandom(16), APP, new_key())
    await faulty.delete_key("globex")
    assert await reason_of_unwrap(faulty, gone) is Reason.TENANT_NOT_PROVISIONED
    await faulty.wrapper.unwrap(stays)


async def test_one_bad_row_among_fifty_fails_alone(subject: Subject) -> None:
    """Of fifty rows asked for together only the damaged one is refused."""
    keys = [new_key() for _ in range(50)]
    rows = await asyncio.gather(*(subject.wrapper.wrap(os.urandom(16), USER, k) for k in keys))
    rows[17] = replace(rows[17], dek_id=bytes(16))
    answers = await asyncio.gather(
        *(subject.wrapper.unwrap(row) for row in rows), return_exceptions=True
    )
    for place, (key, answer) in enumerate(zip(keys, answers, strict=True)):
        if place == 17:
            assert isinstance(answer, VaultError)
            assert answer.reason is Reason.ENVELOPE_CORRUPT
        else:
            assert isinstance(answer, Sensitive)
            assert answer.same_as(key)


async def test_a_cancelled_unwrap_cancels_no_other(subject: Subject) -> None:
    """A caller that goes away leaves the others of its batch their answers."""
    key = new_key()
    row = await subject.wrapper.wrap(os.urandom(16), USER, key)
    tasks = [asyncio.create_task(subject.wrapper.unwrap(row)) for _ in range(20)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    answers = await asyncio.gather(*tasks[1:])
    assert all(answer.same_as(key) for answer in answers)


async def test_away_is_retryable_and_not_denied(subject: Subject) -> None:
    """A sealed key store is KEK_UNREACHABLE with a time to try again, and is not a denial."""
    row = await subject.wrapper.wrap(os.urandom(16), APP, new_key())
    await subject.go_away()
    with pytest.raises(VaultError) as caught:
        await subject.wrapper.unwrap(row)
    assert caught.value.reason is Reason.KEK_UNREACHABLE
    assert not isinstance(caught.value, KekDenied)
    assert caught.value.retry_after_s is not None


async def test_denied_is_its_own_error(faulty: FaultySubject) -> None:
    """A key store that refuses is KekDenied both ways, so that no cache stands in."""
    row = await faulty.wrapper.wrap(os.urandom(16), APP, new_key())
    await faulty.deny()
    with pytest.raises(KekDenied):
        await faulty.wrapper.unwrap(row)
    with pytest.raises(KekDenied):
        await faulty.wrapper.wrap(os.urandom(16), APP, new_key())
