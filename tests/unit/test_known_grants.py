"""GetAccessToken from memory: what it saves, and that memory never says more than the database."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.token_endpoint import an_answer
from tests.support.house import TENANT, House, refused
from vault_service.domain import limits
from vault_service.domain.errors import Reason
from vault_service.domain.grant import Grant
from vault_service.domain.names import GrantAliasName, GrantTarget
from vault_service.ports import GrantStore
from vault_service.usecases.known_grants import KnownGrants

ALIAS = GrantAliasName(TENANT, "u-1", "crm")


@pytest.fixture
def house() -> House:
    return House()


async def test_second_call_reads_no_row(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name and by alias a row is read once; the disclosures that follow need one statement."""
    grant = await house.grant()
    reads: list[GrantTarget] = []
    get = house.stores.grants.get

    async def counted(target: GrantTarget) -> Grant | None:
        reads.append(target)
        return await get(target)

    monkeypatch.setattr(house.stores.grants, "get", counted)
    for _ in range(3):
        assert (await house.token(grant.name)).value.reveal() == b"at-1"
        assert (await house.token(ALIAS)).grant == grant.name
    assert reads == [grant.name, ALIAS]


async def test_revoked_elsewhere(house: House) -> None:
    """A grant that another process revoked is refused at once, although it is remembered."""
    grant = await house.grant()
    await house.token(grant.name)
    other = House.beside(house)
    await other.revoke(other.call(), grant.name)
    await refused(Reason.GRANT_REVOKED, house.token(grant.name))


async def test_refreshed_elsewhere(house: House) -> None:
    """A token that another process refreshed is the one that is given."""
    grant = await house.grant()
    await house.token(grant.name)
    house.endpoint.answers.append(an_answer("next"))
    await House.beside(house).token(grant.name, min_ttl_s=3_200)
    house.clock.advance(600)
    other = await House.beside(house).token(grant.name, min_ttl_s=3_200)
    assert other.refreshed
    assert (await house.token(grant.name)).fingerprint == other.fingerprint


async def test_moved_alias(house: House) -> None:
    """An alias that points at another grant now gives that one's token, although the first grant
    did not change."""
    await house.grant()
    first = await house.token(ALIAS)
    house.endpoint.answers.append(an_answer("other", subject="another"))
    second = (await house.consent()).grant
    token = await house.token(ALIAS)
    assert token.grant == second.name
    assert token.grant != first.grant


async def test_remembered_token_grows_old(house: House) -> None:
    """A remembered row's age counts: a token that has expired by now is refreshed."""
    grant = await house.grant()
    house.clock.advance(3_400)
    assert not (await house.token(grant.name)).refreshed
    house.clock.advance(141)
    assert (await house.token(grant.name)).refreshed


async def test_memory_never_refuses(house: House) -> None:
    """A consent that widened the scopes, in another process, is seen by the next call that asks
    for them."""
    grant = await house.grant()
    await house.token(grant.name)
    house.change_row(grant, scopes=("openid", "mail", "calendar"))
    token = await house.token(grant.name, scopes=frozenset({"calendar"}))
    assert "calendar" in token.scopes


class _SleepyClock(FakeClock):
    """The machine slept: the monotonic clock stood still."""

    def monotonic(self) -> float:
        return 1_000.0


@pytest.mark.parametrize("clock", [FakeClock(), _SleepyClock()], ids=["awake", "asleep"])
async def test_what_is_remembered(house: House, clock: FakeClock) -> None:
    """A row without its refresh token, at the database's time of now, for five minutes of
    whichever clock went further."""
    grant = await house.grant()
    store: GrantStore = house.stores.grants
    known = KnownGrants(store, clock)
    assert (await known.read(grant.name)) == await store.get(grant.name)
    clock.advance(200)
    recalled = known.recall(grant.name)
    assert recalled is not None
    remembered, now = recalled
    assert remembered.refresh_envelope is None
    assert remembered.access_envelope == grant.access_envelope
    assert now == grant.read_time + timedelta(seconds=200)
    clock.advance(limits.GRANT_CACHE_LIFE_S)
    assert known.recall(grant.name) is None


async def test_memory_is_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row that was used longest ago makes room."""
    monkeypatch.setattr(limits, "GRANT_CACHE_MAX", 2)
    grant = await house.grant()
    known = KnownGrants(house.stores.grants, house.clock)
    await known.read(ALIAS)
    await known.read(grant.name)
    known.recall(ALIAS)
    house.endpoint.answers.append(an_answer("other", subject="another"))
    second = (await house.consent(label="second")).grant
    await known.read(second.name)
    assert len(known) == 2
    assert known.recall(grant.name) is None


async def test_use_is_counted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hits, misses (also of what grew too old), and what newer rows pushed out."""
    monkeypatch.setattr(limits, "GRANT_CACHE_MAX", 1)
    known = KnownGrants(house.stores.grants, house.clock)
    grant = await house.grant()
    assert known.recall(grant.name) is None
    await known.read(grant.name)
    assert known.recall(grant.name) is not None
    house.clock.advance(limits.GRANT_CACHE_LIFE_S + 1)
    assert known.recall(grant.name) is None
    await known.read(grant.name)
    await known.read(ALIAS)
    assert (known.hits, known.misses, known.evictions) == (1, 2, 1)
