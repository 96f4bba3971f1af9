"""AddClientCredential and RetireClientCredential: secrets that overlap while they change."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.house import APP, CLIENT, CLIENT_SECRET, ROGUE, TENANT, House, refused
from vault_service.domain import limits
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason
from vault_service.domain.names import OAuthClientName
from vault_service.domain.oauth import OAuthClient
from vault_service.domain.sensitive import Sensitive

MOST = limits.CLIENT_CREDENTIALS_MAX_COUNT


@pytest.fixture
async def house() -> House:
    house = House()
    await house.register()
    return house


async def add(house: House, secret: str = "canary-second", caller: str = APP) -> OAuthClient:
    return await house.client_credentials.add(
        house.call(caller), CLIENT, Sensitive.from_text(secret)
    )


async def retire(house: House, version: int, caller: str = APP) -> OAuthClient:
    return await house.client_credentials.retire(house.call(caller), CLIENT, version)


async def used(house: House) -> str:
    """The secret that the next request to the provider carries."""
    return (await house.credentials.open(CLIENT)).credential.client_secret.reveal_text()


def versions(client: OAuthClient | None) -> list[int]:
    assert client is not None
    return sorted(one.version for one in client.credentials)


async def standing(house: House) -> list[int]:
    return versions(await house.stores.oauth_clients.get(CLIENT))


async def test_add(house: House) -> None:
    """Both stay, the newest is used, its record has its number, and no row or record has it."""
    assert versions(await add(house)) == [1, 2]
    assert await used(house) == "canary-second"
    (record,) = house.records(AuditAction.CLIENT_CREDENTIAL_ADDED)
    assert (record.resource, record.detail["credential_version"]) == (str(CLIENT), "2")
    assert record.detail["policy_rule"] == "allow-AddClientCredential"
    shown = repr(house.stores.tables.oauth_clients) + repr(house.stores.records)
    assert "canary-second" not in shown


async def test_retire(house: House) -> None:
    """The older one goes and the newest is used on; retired, it gives way to the one before."""
    await add(house)
    assert versions(await retire(house, 1)) == [2]
    assert await used(house) == "canary-second"
    await add(house, "canary-third")
    assert versions(await retire(house, 3)) == [2]
    assert await used(house) == "canary-second"
    assert len(house.records(AuditAction.CLIENT_CREDENTIAL_RETIRED)) == 2


async def test_numbers_are_not_used_twice(house: House) -> None:
    """A retired number never comes back: its envelope was bound to it."""
    await add(house)
    await retire(house, 2)
    assert versions(await add(house)) == [1, 3]


async def test_the_last_one_stays(house: House) -> None:
    """An OAuthClient without a credential could not refresh: the last is not retired."""
    await refused(Reason.CREDENTIAL_LIMIT, retire(house, 1))
    assert await used(house) == CLIENT_SECRET


async def test_few_at_one_time(house: House) -> None:
    """Five overlap; a sixth waits until one is retired."""
    for _ in range(MOST - 1):
        await add(house)
    await refused(Reason.CREDENTIAL_LIMIT, add(house))
    await retire(house, 1)
    assert len((await add(house)).credentials) == MOST


@pytest.mark.parametrize(
    ("size", "reason"),
    [(0, Reason.FIELD_MALFORMED), (limits.CLIENT_SECRET_MAX_BYTES + 1, Reason.PAYLOAD_TOO_LARGE)],
)
async def test_sizes(house: House, size: int, reason: Reason) -> None:
    """A secret has 1 byte to 4 KiB."""
    await refused(reason, add(house, "x" * size))
    await add(house, "x" * limits.CLIENT_SECRET_MAX_BYTES)


async def test_nothing_there(house: House) -> None:
    """A version that is not there, or an OAuthClient that is not, is told apart from a denial."""
    await refused(Reason.CREDENTIAL_NOT_FOUND, retire(house, 9))
    absent = OAuthClientName(TENANT, "absent")
    call = house.call()
    await refused(
        Reason.OAUTH_CLIENT_NOT_FOUND,
        house.client_credentials.add(call, absent, Sensitive(b"x")),
    )
    await refused(Reason.OAUTH_CLIENT_NOT_FOUND, house.client_credentials.retire(call, absent, 1))


async def test_denied(house: House) -> None:
    """Who may not is told the same whether or not it is there, and nothing changes."""
    absent = OAuthClientName(TENANT, "absent")
    told = {
        (await refused(Reason.CALLER_NOT_ALLOWED, answer)).message
        for answer in (
            house.client_credentials.add(house.call(ROGUE), CLIENT, Sensitive(b"x")),
            house.client_credentials.add(house.call(ROGUE), absent, Sensitive(b"x")),
        )
    }
    assert len(told) == 1
    await refused(Reason.CALLER_NOT_ALLOWED, retire(house, 1, ROGUE))
    assert await used(house) == CLIENT_SECRET


async def test_two_at_once(house: House) -> None:
    """Of two writers at one moment one is told to read again; no number is given twice."""
    answers = await asyncio.gather(add(house, "a"), add(house, "b"), return_exceptions=True)
    numbers = await standing(house)
    assert len(numbers) == len(set(numbers))
    refusals = [answer for answer in answers if isinstance(answer, Exception)]
    assert all("ETAG_MISMATCH" in str(error) for error in refusals)
    assert len(numbers) == 1 + 2 - len(refusals)


async def test_keys_away(house: House) -> None:
    """Without the key nothing is stored and nothing recorded."""
    cold = House.beside(house)
    cold.wrapper.unreachable = True
    await refused(Reason.KEK_UNREACHABLE, add(cold))
    assert house.records(AuditAction.CLIENT_CREDENTIAL_ADDED) == []


async def test_unrecordable(house: House) -> None:
    """What cannot be put on record is neither added nor retired."""
    await add(house)
    house.stores.audit_unavailable = True
    await refused(Reason.AUDIT_UNAVAILABLE, add(house))
    await refused(Reason.AUDIT_UNAVAILABLE, retire(house, 1))
    house.stores.audit_unavailable = False
    assert await standing(house) == [1, 2]
