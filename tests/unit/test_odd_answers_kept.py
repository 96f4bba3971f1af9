"""Odd answers in the refresh engine: kept before they are read, and read where that is possible."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.support.crashes import Crash, restarted
from tests.support.house import House, refused
from tests.support.refreshing import expired
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.sensitive import Sensitive

_TEXT = json.dumps({"access_token": "at-9", "refresh_token": "rt-9", "expires_in": 600}).encode()
_CUT = "the connection was closed before its end"
_JSON = "application/json"
_READABLE = {
    "without its end": HttpAnswer(200, _JSON, Sensitive(_TEXT), refusal=_CUT),
    "compressed": HttpAnswer(
        200, _JSON, Sensitive(gzip.compress(_TEXT)), content_encoding="gzip", oddities=("a coding",)
    ),
    "called utf-8": HttpAnswer(
        200, _JSON, Sensitive(_TEXT), content_encoding="utf-8", oddities=("a coding",)
    ),
    "with junk behind": HttpAnswer(
        200, _JSON, Sensitive(_TEXT + b"x"), oddities=("junk",), framed_bytes=len(_TEXT)
    ),
}
_UNREADABLE = {
    "half an object": HttpAnswer(200, _JSON, Sensitive(_TEXT[:30]), refusal=_CUT),
    "a status only": HttpAnswer(200, "", Sensitive(b""), refusal=_CUT),
    "tokens beside a 500": HttpAnswer(500, _JSON, Sensitive(_TEXT)),
}


@pytest.fixture
def house() -> House:
    return House()


@pytest.mark.parametrize("name", _READABLE)
async def test_tokens_of_an_odd_answer_are_stored(house: House, name: str) -> None:
    """Tokens that came are stored with one request, and what was odd is on record."""
    grant = await expired(house)
    house.endpoint.answers.append(_READABLE[name])
    assert (await house.token(grant.name)).value.reveal() == b"at-9"
    assert len(house.endpoint.ledger) == 1
    (record,) = house.records(AuditAction.GRANT_REFRESHED)
    assert record.detail["provider_oddities"] == _READABLE[name].noted


@pytest.mark.parametrize("name", _READABLE)
async def test_an_odd_answer_is_in_the_spool_before_it_is_read(house: House, name: str) -> None:
    """A process that dies once the answer is on its disk loses nothing: it is read from there, and
    nobody is asked again."""
    grant = await expired(house)
    house.endpoint.answers.append(_READABLE[name])
    await Crash(house, "stored").refresh(grant)
    house.endpoint.ledger.clear()
    house.clock.advance(26)
    again = restarted(house)
    await again.engine.recover(again.call())
    row = await house.row(grant.name)
    assert row.refresh_envelope is not None
    held = await house.envelopes.open(row.refresh_binding(), row.refresh_envelope)
    assert (row.generation, held.reveal()) == (2, b"rt-9")
    assert house.endpoint.ledger == []


@pytest.mark.parametrize("name", _UNREADABLE)
async def test_what_cannot_be_read_is_kept_with_the_attempt(house: House, name: str) -> None:
    """What may hold the tokens and cannot be read stays with the attempt, sealed, and its oddities
    are on record without a byte of its body."""
    grant = await expired(house)
    house.endpoint.answers.append(_UNREADABLE[name])
    await refused(Reason.REFRESH_IN_DOUBT, house.token(grant.name))
    (attempt,) = house.stores.tables.attempts.values()
    assert attempt.orphan_envelope is not None
    (record,) = house.records(AuditAction.REFRESH_ORPHAN_KEPT)
    assert record.detail.get("provider_oddities", "") == _UNREADABLE[name].noted
    assert "at-9" not in str(record.detail)
