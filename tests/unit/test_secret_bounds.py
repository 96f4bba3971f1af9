"""What PutSecret takes: sizes, labels, expiry, etags, and calls that are sent again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.support.house import APP, OTHER, House, refused
from vault_service.domain import limits
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason
from vault_service.domain.names import SecretName
from vault_service.domain.secret import SecretChanges, SecretVersion
from vault_service.domain.sensitive import Sensitive

NAME = SecretName("acme", "", "smtp")
MOST = limits.LABELS_MAX_COUNT


@pytest.fixture
def house() -> House:
    return House()


async def put(
    house: House, value: bytes = b"value", *, caller: str = APP, **changes: Any
) -> SecretVersion:
    return await house.secrets.put(
        house.call(caller), NAME, Sensitive(value), SecretChanges(**changes)
    )


async def labels(house: House) -> dict[str, str]:
    return dict((await house.read_secrets.get(house.call(), NAME)).labels)


@pytest.mark.parametrize(
    "given",
    [
        {"Team": "a"}, {"": "a"}, {"1team": "a"}, {"te am": "a"}, {"t" * 64: "a"}, {"t\n": "a"},
        {"team": "x" * (limits.LABEL_VALUE_MAX_CHARS + 1)}, {"team": "a\n"}, {"team": "ü"},
        {"team": "a\0"}, {f"l{number}": "a" for number in range(MOST + 1)},
    ],
    ids=str,
)  # fmt: skip
async def test_bad_labels(house: House, given: dict[str, str]) -> None:
    """Labels are few, short, plain, and keyed like names; else nothing is stored."""
    error = await refused(Reason.FIELD_MALFORMED, put(house, labels=given))
    assert error.metadata == {"field": "labels"}
    assert house.records(AuditAction.SECRET_PUT) == []


async def test_labels(house: House) -> None:
    """Labels are merged: given ones are set, empty ones taken away, the others stay."""
    await put(house, labels={"team": "mail", "stage": "prod"})
    await put(house, labels={"team": "", "owner_x-1": "y" * limits.LABEL_VALUE_MAX_CHARS})
    assert await labels(house) == {"stage": "prod", "owner_x-1": "y" * 128}


async def test_labels_do_not_pile_up(house: House) -> None:
    """However many calls it takes, a secret never has more labels than one call may give; those
    that are taken away make room."""
    await put(house, labels={f"a{number}": "x" for number in range(MOST)})
    error = await refused(Reason.FIELD_MALFORMED, put(house, labels={"b": "x"}))
    assert error.metadata == {"field": "labels"}
    assert len(await labels(house)) == MOST
    await put(house, labels={"b": "x", "a0": ""})
    assert len(await labels(house)) == MOST


@pytest.mark.parametrize("seconds", [0, -1, limits.SECRET_LIFE_MAX_S + 1])
async def test_bad_expiry(house: House, seconds: int) -> None:
    """An end in the past, now, or beyond ten years is refused."""
    moment = house.clock.now() + timedelta(seconds=seconds)
    error = await refused(Reason.FIELD_MALFORMED, put(house, expire_time=moment))
    assert error.metadata == {"field": "expire_time"}


async def test_expiry(house: House) -> None:
    """A version is given until its end, and not at it; a later version without an end is."""
    await put(house, expire_time=house.clock.now() + timedelta(seconds=60))
    house.clock.advance(59)
    assert (await house.secrets.get_value(house.call(), NAME))[0].reveal() == b"value"
    house.clock.advance(1)
    await refused(Reason.SECRET_EXPIRED, house.secrets.get_value(house.call(), NAME))
    await put(house, b"new")
    assert (await house.secrets.get_value(house.call(), NAME))[0].reveal() == b"new"


async def test_etag(house: House) -> None:
    """ "0" stands for a secret that is not there; an older etag stores nothing."""
    await put(house, etag="0")
    await refused(Reason.ETAG_MISMATCH, put(house, etag="0"))
    current = str((await house.read_secrets.get(house.call(), NAME)).revision)
    await put(house, b"two", etag=current)
    await refused(Reason.ETAG_MISMATCH, put(house, b"three", etag=current))
    assert (await house.secrets.get_value(house.call(), NAME))[0].reveal() == b"two"


async def test_sent_again(house: House) -> None:
    """The same call with its request_id makes one version, whoever else uses that id."""
    first = await put(house, request_id="job-1")
    again = await put(house, request_id="job-1")
    assert (first.version, again.version) == (1, 1)
    assert (await put(house, request_id="job-1", caller=OTHER)).version == 2
    assert len(house.records(AuditAction.SECRET_PUT)) == 2


@pytest.mark.parametrize(
    "changed", [{"value": b"other"}, {"labels": {"team": "x"}}, {"etag": "1"}], ids=str
)
async def test_request_id_of_another_call(house: House, changed: dict[str, Any]) -> None:
    """A request_id that asked for something else is refused, and nothing is stored."""
    await put(house, request_id="job-1")
    await refused(Reason.REQUEST_ID_REUSED, put(house, request_id="job-1", **changed))
    assert len(house.records(AuditAction.SECRET_PUT)) == 1
