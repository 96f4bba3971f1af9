"""Each RPC × {allowed, denied, unknown, malformed, too large, dependency down}, over the wire.

``test_surface`` has denied, malformed, store away and record away for every RPC; here are what an
allowed call records, unknown, too large and keys away, each with its reason and its record.
"""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message

from tests.rpc.surface import LIMIT_S, Pki, Refused, Surface, refused_from
from tests.rpc.surface_cases import Case
from tests.rpc.surface_rows import NAMING, PAIRS, ROWS, WITH_KEYS, WITHOUT_KEYS, Row
from tests.rpc.surface_whole_cases import ALL_CASES, all_known
from tests.rpc.test_contract import METHODS
from tests.rpc.test_surface import check_contract, check_record
from tests.support.house import APP, CLIENT, CLIENT_SECRET, TENANT, House
from vault_service.domain.audit import Outcome
from vault_service.domain.errors import Reason
from vault_service.domain.names import SYSTEM_TENANT

_USING_CLIENTS = ("GetAccessToken", "StartAuthorization", "CompleteAuthorization")


def ids(one: object) -> str:
    """The method, for reports."""
    return one.method if isinstance(one, Case) else ""


def test_the_table_is_complete() -> None:
    """Every RPC of the protocol has its case and its row, once."""
    declared = sorted(method.name for method in METHODS)
    assert sorted(case.method for case in ALL_CASES) == declared
    assert sorted(ROWS) == declared


@pytest.mark.parametrize(("case", "row"), PAIRS, ids=ids)
async def test_allowed_is_on_record(surface: Surface, case: Case, row: Row) -> None:
    """An allowed call leaves exactly the records of its row: of the caller, with the rule that
    allowed it, and without a secret."""
    there = await all_known(surface.house)
    before = len(surface.house.stores.records)
    _, request_id = await surface.call(*case.asked, case.request(TENANT, there), APP)
    written = surface.house.stores.records[before:]
    assert tuple(record.action for record in written) == row.recorded
    for record in written:
        assert (record.outcome, record.reason, record.caller) == (Outcome.ALLOW, "", APP)
        assert record.request_id == request_id
        assert record.rpc.endswith(f"Service/{case.method}")
        assert record.tenant == TENANT
    if written:
        assert written[0].detail.get("policy_rule") == f"allow-{case.method}"
    for secret in (CLIENT_SECRET, "second credential", "third credential", "code-2"):
        assert secret not in repr(written)


@pytest.mark.parametrize(("case", "asked"), NAMING, ids=ids)
async def test_unknown(surface: Surface, case: Case, asked: tuple[str, Message]) -> None:
    """What is not there is refused by its reason, on record, and nothing is changed."""
    await all_known(surface.house)
    before = len(surface.house.stores.records)
    refused = await surface.refused(*case.asked, asked[1], APP)
    _check(surface, case, refused, asked[0])
    assert len(surface.house.stores.records) == before + 1


@pytest.mark.parametrize(("case", "row"), PAIRS, ids=ids)
async def test_too_large(surface: Surface, case: Case, row: Row) -> None:
    """What is beyond its bound is refused by its reason, on record, before anything is changed."""
    await all_known(surface.house)
    before = len(surface.house.stores.records)
    refused = await surface.refused(*case.asked, row.too_large[1], APP)
    _check(surface, case, refused, row.too_large[0])
    assert len(surface.house.stores.records) == before + 1


def _of_size(case: Case, size: int) -> Message:
    """A request that is ``size`` bytes and a few long: its first field is text."""
    request = type(case.malformed)()
    holder: Message = request
    if request.DESCRIPTOR.fields[0].message_type is not None:
        holder = getattr(request, request.DESCRIPTOR.fields[0].name)
    setattr(holder, holder.DESCRIPTOR.fields[0].name, "x" * size)
    return request


@pytest.mark.parametrize("case", ALL_CASES, ids=ids)
async def test_message_too_large(surface: Surface, case: Case) -> None:
    """A message over 256 KiB is not parsed: PAYLOAD_TOO_LARGE, on record under no resource. One
    that is twice as large reaches no handler: gRPC refuses it."""
    refused = await surface.refused(*case.asked, _of_size(case, 262_144), APP)
    _check(surface, case, refused, "PAYLOAD_TOO_LARGE")
    record = surface.refusals()[-1]
    assert (record.resource, record.tenant, record.outcome) == ("", SYSTEM_TENANT, Outcome.ERROR)
    refused = await surface.refused(*case.asked, _of_size(case, 524_288), APP)
    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "")
    assert len(surface.refusals()) == 1


@pytest.mark.parametrize("case", ALL_CASES, ids=ids)
async def test_bytes_that_are_no_message(surface: Surface, case: Case) -> None:
    """Bytes that do not parse are FIELD_MALFORMED and on record, and nobody's fault."""
    service = case.malformed.DESCRIPTOR.file.services_by_name
    (path,) = [f"/{one.full_name}/{case.method}" for one in service.values()]
    raw: Any = surface.channel(APP).unary_unary(path)
    for garbage in (b"\xff", b"\x0a\x02\xff\xfe", b"\x0a\xff\xff\xff\xff\x0f", b"\x0b" * 1_000):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw(garbage, timeout=LIMIT_S)
        refused = refused_from(caught.value)
        _check(surface, case, refused, "FIELD_MALFORMED")
        assert refused.metadata == {"field": "message"}
    assert len(surface.refusals()) == 4


@pytest.mark.parametrize(("case", "row"), WITH_KEYS, ids=ids)
async def test_keys_away(surface: Surface, pki: Pki, case: Case, row: Row) -> None:
    """Where a process has no key in memory and transit is away, what needs one is KEK_UNREACHABLE
    with a time to come again, and on record; nothing is changed."""
    there = await all_known(surface.house)
    cold = House.beside(surface.house)
    cold.wrapper.unreachable = True
    async with Surface(cold, pki).running() as other:
        before = len(cold.stores.records)
        refused = await other.refused(*case.asked, case.request(TENANT, there), APP)
        _check(other, case, refused, "KEK_UNREACHABLE")
        assert len(cold.stores.records) == before + 1
    assert "keys" in row.needs


@pytest.mark.parametrize(("case", "row"), WITHOUT_KEYS, ids=ids)
async def test_keys_not_needed(surface: Surface, pki: Pki, case: Case, row: Row) -> None:
    """What the table says needs no key is answered while transit is away, by a process that has
    none in memory."""
    there = await all_known(surface.house)
    cold = House.beside(surface.house)
    cold.wrapper.unreachable = True
    async with Surface(cold, pki).running() as other:
        await other.call(*case.asked, case.request(TENANT, there), APP)
    assert "keys" not in row.needs


# A consent that the provider has given is offered to the store until the caller's time is up.
_RECORDED_AT_ONCE = [
    (case, row) for case, row in PAIRS if row.recorded and case.method != "CompleteAuthorization"
]


@pytest.mark.parametrize(("case", "row"), _RECORDED_AT_ONCE, ids=ids)
async def test_record_away(surface: Surface, case: Case, row: Row) -> None:
    """What has to be on record and cannot be is AUDIT_UNAVAILABLE: nothing is given or changed,
    and it is done when the record is back."""
    there = await all_known(surface.house)
    before = len(surface.house.stores.records)
    surface.house.stores.audit_unavailable = True
    refused = await surface.refused(*case.asked, case.request(TENANT, there), APP)
    assert refused.reason == "AUDIT_UNAVAILABLE"
    check_contract(case, refused)
    assert len(surface.house.stores.records) == before
    surface.house.stores.audit_unavailable = False
    await surface.call(*case.asked, case.request(TENANT, there), APP)
    written = [record.action for record in surface.house.stores.records[before:]]
    assert set(row.recorded) <= set(written)


@pytest.mark.parametrize(
    "case", [case for case in ALL_CASES if case.method in _USING_CLIENTS], ids=ids
)
async def test_suspended(surface: Surface, case: Case) -> None:
    """What would use a suspended OAuthClient is KILL_SWITCH, a denial on record; resumed, it goes
    on where it was."""
    there = await all_known(surface.house)
    await surface.house.suspend.suspend(surface.house.call(), CLIENT)
    refused = await surface.refused(*case.asked, case.request(TENANT, there), APP)
    _check(surface, case, refused, "KILL_SWITCH")
    assert refused.metadata == {"oauth_client": str(CLIENT)}
    assert surface.refusals()[-1].outcome is Outcome.DENY
    await surface.house.suspend.resume(surface.house.call(), CLIENT)
    await surface.call(*case.asked, case.request(TENANT, there), APP)


def _check(surface: Surface, case: Case, refused: Refused, reason: str) -> None:
    assert refused.reason == Reason[reason].name
    check_contract(case, refused)
    check_record(surface, case, refused, APP)
