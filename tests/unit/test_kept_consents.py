"""Answers to codes that nobody could read: kept, and read again when that may go otherwise."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.support.house import PROVIDER, House, refused
from tests.support.samples import a_profile
from vault_service.domain import attempt, limits
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.oauth import Authorization
from vault_service.domain.sensitive import Sensitive
from vault_service.usecases.start_authorization import StartedAuthorization

_PATHS = {"access_token": "data.at", "refresh_token": "data.rt"}


@pytest.fixture
async def house() -> House:
    house = House()
    await house.register(subject_from="response:user")
    return house


async def unread(house: House) -> StartedAuthorization:
    """A consent whose answer the profile has no places for."""
    started = await house.started()
    body = json.dumps({"data": {"at": "at-9", "rt": "rt-9"}, "user": "sub-1"}).encode()
    house.endpoint.answers.append(HttpAnswer(200, "application/json", Sensitive(body)))
    await refused(
        Reason.AUTHORIZATION_CODE_USED, house.complete(house.call(), house.callback(started))
    )
    assert row(house).answer_envelope is not None
    return started


async def mend(house: House) -> None:
    mended = a_profile(subject_from="response:user", token_paths=_PATHS)
    await house.providers.put(house.call(), PROVIDER, mended)


def row(house: House) -> Authorization:
    return next(iter(house.stores.tables.authorizations.values()))


async def test_mended_profile_makes_the_grant_by_itself(house: House) -> None:
    """Once the profile places its members, recovery makes the grant of a kept answer, in any
    process and without another request; the caller's repeated completion gets it."""
    started = await unread(house)
    await mend(house)
    beside = House.beside(house)
    assert await beside.consents.recover(beside.call()) == 1
    (grant,) = house.stores.tables.grants.values()
    assert (await house.token(grant.name)).value.reveal() == b"at-9"
    completed = await house.complete(house.call(), house.callback(started))
    assert completed.grant.name == grant.name
    assert len(house.endpoint.ledger) == 1
    assert await house.consents.recover(house.call()) == 0


async def test_read_once_for_each_profile(house: House) -> None:
    """An answer that stays unreadable is read once for each revision of the provider, and kept."""
    await unread(house)
    assert [await house.consents.recover(house.call()) for _ in range(3)] == [1, 0, 0]
    await house.providers.put(house.call(), PROVIDER, a_profile(subject_from="response:id"))
    assert [await house.consents.recover(house.call()) for _ in range(2)] == [1, 0]
    assert row(house).answer_envelope is not None
    assert len(house.records(AuditAction.AUTHORIZATION_ENDED)) == 1
    await mend(house)
    await house.consents.recover(house.call())
    assert len(house.stores.tables.grants) == 1


async def test_read_again_by_a_newer_release(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release whose reader is another reads what the one before could not."""
    await unread(house)
    await house.consents.recover(house.call())
    for module in ("tests.fakes.consents", "vault_service.domain.attempt"):
        monkeypatch.setattr(f"{module}.READER", attempt.READER + 1)
    assert await house.consents.recover(house.call()) == 1


async def test_late_reading_revokes(house: House) -> None:
    """Tokens that become readable when nobody can get their grant any more are revoked."""
    await unread(house)
    house.clock.advance(limits.COMPLETION_REPLAY_S + 1)
    await mend(house)
    await house.consents.recover(house.call())
    assert house.stores.tables.grants == {}
    assert [post.refresh_token for post in house.endpoint.posted("revoke")] == ["rt-9"]
    assert row(house).answer_envelope is None
    assert house.records(AuditAction.AUTHORIZATION_ENDED)[-1].detail["kept"] == "refresh_token"


async def test_newer_consent_is_left_alone(house: House) -> None:
    """What becomes readable after its owner has consented again changes and revokes nothing."""
    await unread(house)
    house.clock.advance(60)
    newer = await house.consent()
    await mend(house)
    await house.consents.recover(house.call())
    stands = await house.row(newer.grant.name)
    assert (stands.generation, stands.revision) == (newer.grant.generation, newer.grant.revision)
    assert house.endpoint.posted("revoke") == []


async def test_what_cannot_be_opened_stays(house: House) -> None:
    """An answer that was altered, or is of a format to come, is neither a grant nor lost."""
    started = await unread(house)
    kept = row(house)
    sealer = await house.envelopes.sealer(kept.answer_binding.dek_owner)
    newer = sealer.seal(kept.answer_binding, Sensitive(b"\xff of a release to come"))
    for envelope in (newer, newer[:-1] + b"\x00"):
        stands = replace(kept, answer_envelope=envelope)
        house.stores.tables.authorizations[kept.state_hash] = stands
        house.stores.tables.consent_reads.clear()
        assert [await house.consents.recover(house.call()) for _ in range(2)] == [1, 0]
        assert row(house).answer_envelope == envelope
        await refused(
            Reason.AUTHORIZATION_CODE_USED, house.complete(house.call(), house.callback(started))
        )


async def test_unreachable_key_store_only_delays(house: House) -> None:
    """While the key store is away nothing is read and nothing noted; then it is read."""
    await unread(house)
    await mend(house)
    after = House.beside(house)  # with no keys in memory
    house.wrapper.unreachable = True
    assert await after.consents.recover(after.call()) == 1
    assert row(house).answer_envelope is not None
    house.wrapper.unreachable = False
    await after.consents.recover(after.call())
    assert len(house.stores.tables.grants) == 1


async def unread_of(house: House, number: int, label: str) -> None:
    """As ``unread``, of the account sub-1, with tokens of its own."""
    started = await house.started("u-1", label)
    body = {"data": {"at": f"at-{number}", "rt": f"rt-{number}"}, "user": "sub-1"}
    sealed = Sensitive(json.dumps(body).encode())
    house.endpoint.answers.append(HttpAnswer(200, "application/json", sealed))
    await refused(
        Reason.AUTHORIZATION_CODE_USED, house.complete(house.call(), house.callback(started))
    )


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("labels", [("a", "a", "a"), ("a", "b", "c")])
async def test_the_newest_of_several_stands(
    house: House, newest_first: bool, labels: tuple[str, ...]
) -> None:
    """Of several kept answers of one account the newest consent's tokens are the grant's, under
    whatever labels and in whatever order they are found."""
    for number, label in enumerate(labels, 1):
        await unread_of(house, number, label)
        house.clock.advance(30)
    rows = house.stores.tables.authorizations
    found = list(rows.items())[:: -1 if newest_first else 1]
    rows.clear()
    rows.update(found)
    await mend(house)
    for _ in labels:
        await house.consents.recover(house.call())
    assert await house.consents.recover(house.call()) == 0
    (grant,) = house.stores.tables.grants.values()
    assert (await house.token(grant.name)).value.reveal() == b"at-3"
    house.clock.advance(3_600)
    await house.token(grant.name)
    assert [post.refresh_token for post in house.endpoint.posted("refresh")] == ["rt-3"]
    assert house.endpoint.posted("revoke") == []


@pytest.mark.parametrize("waits_s", [60, limits.COMPLETION_REPLAY_S + 1, 3 * 86_400])
@pytest.mark.parametrize("owner", ["u-1", "u-2"])
async def test_a_later_consent_of_the_account_stands(
    house: House, waits_s: int, owner: str
) -> None:
    """A later consent of the same account, of whatever owner and label, keeps its tokens: those of
    the kept answer neither replace them nor are revoked beside them."""
    await unread_of(house, 9, "crm")
    house.clock.advance(30)
    body = {"access_token": "at-10", "refresh_token": "rt-10", "user": "sub-1", "expires_in": 3600}
    sealed = Sensitive(json.dumps(body).encode())
    house.endpoint.answers.append(HttpAnswer(200, "application/json", sealed))
    newer = (await house.consent(owner, "mail")).grant
    house.clock.advance(waits_s)
    if waits_s > 86_400:  # its authorization has been cleared away
        rows = house.stores.tables.authorizations
        for state_hash in [key for key, one in rows.items() if one.grant_id is not None]:
            del rows[state_hash]
    await mend(house)
    await house.consents.recover(house.call())
    stands = await house.row(newer.name)
    assert (stands.generation, stands.revision) == (newer.generation, newer.revision)
    assert house.endpoint.posted("revoke") == []
    assert await house.consents.recover(house.call()) == 0
