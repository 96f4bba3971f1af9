"""Refusals that cost their caller nothing: the first of a second on record, the rest counted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.house import APP, OTHER, ROGUE, TENANT, House
from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.audit import AuditAction, AuditRecord, Outcome
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import SYSTEM_TENANT

OWN = limits.REFUSALS_OWN_RECORD_MAX
ASKED = f"tenants/{TENANT}/grants/42"


@pytest.fixture
def house() -> House:
    return House()


async def refuse(
    house: House,
    times: int,
    reason: Reason = Reason.NAME_MALFORMED,
    *,
    asked: str = ASKED,
    call: Call | None = None,
) -> None:
    """So many refused calls; each is answered with its reason."""
    for _ in range(times):
        error = VaultError(reason, "message")
        assert await house.refusals(call or house.call(rpc="S/Rpc"), error, asked) is error


def refusals(house: House) -> list[AuditRecord]:
    return house.records(AuditAction.CALL_REFUSED)


async def test_a_flood_is_one_record(house: House) -> None:
    """Of ten thousand malformed calls in a second twenty have their own record, the others share
    one that has their number, caller, resource and time."""
    await refuse(house, 10_000)
    assert len(refusals(house)) == OWN
    house.clock.advance(1)
    await house.counted_refusals.write()
    assert len(refusals(house)) == OWN + 1
    record = refusals(house)[-1]
    assert (record.caller, record.rpc, record.resource) == (APP, "S/Rpc", ASKED)
    assert (record.reason, record.outcome) == ("NAME_MALFORMED", Outcome.ERROR)
    assert (record.tenant, record.source) == (TENANT, "ipv4:127.0.0.1:4711")
    counted = str(10_000 - OWN)
    assert record.detail == {"count": counted, "seconds": "1.0", "NAME_MALFORMED": counted}


async def test_the_next_second_begins_anew(house: House) -> None:
    """After a write a caller has its own records again, and what was written is not again."""
    await refuse(house, OWN + 1)
    await house.counted_refusals.write()
    await refuse(house, 1)
    await house.counted_refusals.write()
    await house.counted_refusals.write()
    assert [record.detail.get("count", "") for record in refusals(house)] == (
        [""] * OWN + ["1", ""]
    )


async def test_few_are_not_counted(house: House) -> None:
    """A caller with a few mistakes has a record for each and no other."""
    await refuse(house, OWN)
    await house.counted_refusals.write()
    assert len(refusals(house)) == OWN
    assert all(record.request_id == "r-1" for record in refusals(house))


@pytest.mark.parametrize(
    "reason", [Reason.CALLER_UNKNOWN, Reason.CALLER_NOT_ALLOWED, Reason.KILL_SWITCH,
               Reason.GRANT_NOT_FOUND, Reason.STATE_UNKNOWN, Reason.ENDPOINT_NOT_ALLOWED,
               Reason.INTERNAL],
)  # fmt: skip
async def test_what_tells_something_is_never_counted(house: House, reason: Reason) -> None:
    """Denials, probes and faults have a record each, however many they are."""
    await refuse(house, 5 * OWN, reason)
    assert len(refusals(house)) == 5 * OWN


async def test_overload_is_counted_from_the_first(house: House) -> None:
    """A call that is refused because too much waits does not wait for a record of its own."""
    house.stores.audit_unavailable = True
    await refuse(house, 3, Reason.OVERLOADED)
    house.stores.audit_unavailable = False
    await house.counted_refusals.write()
    (record,) = refusals(house)
    assert (record.reason, record.detail["OVERLOADED"]) == ("OVERLOADED", "3")


async def test_callers_are_counted_apart(house: House) -> None:
    """One caller's flood takes nothing from another's records, and each has its own number."""
    await refuse(house, OWN + 5)
    await refuse(house, OWN + 7, call=house.call(OTHER))
    await refuse(house, 1, call=house.call(ROGUE))
    await house.counted_refusals.write()
    counts = {r.caller: r.detail["count"] for r in refusals(house) if "count" in r.detail}
    assert counts == {APP: "5", OTHER: "7"}


async def test_what_differs_is_blank(house: House) -> None:
    """Of different calls the record keeps what all had, the reasons with their numbers."""
    await refuse(house, OWN)
    await refuse(house, 2)
    await refuse(house, 3, Reason.SCOPE_MALFORMED, asked="tenants/beta")
    odd = replace(house.call(rpc="S/Other"), source="ipv4:127.0.0.1:4712")
    await refuse(house, 1, call=odd)
    await house.counted_refusals.write()
    record = refusals(house)[-1]
    assert (record.caller, record.certificate_serial) == (APP, "01ab")
    assert (record.rpc, record.source, record.resource) == ("", "", "")
    assert (record.tenant, record.reason) == (SYSTEM_TENANT, "NAME_MALFORMED")
    assert record.detail == {
        "count": "6", "seconds": "0.0", "NAME_MALFORMED": "3", "SCOPE_MALFORMED": "3",
    }  # fmt: skip


async def test_counts_survive_a_store_that_is_away(house: House) -> None:
    """What cannot be written is kept, counted on, and written when the store is back."""
    await refuse(house, OWN + 4)
    house.stores.audit_unavailable = True
    for _ in range(3):
        with pytest.raises(VaultError):
            await house.counted_refusals.write()
        await refuse(house, 2)
        house.clock.advance(1)
    house.stores.audit_unavailable = False
    await house.counted_refusals.write()
    assert len(refusals(house)) == OWN + 1
    assert refusals(house)[-1].detail["count"] == "10"
    assert refusals(house)[-1].detail["seconds"] == "3.0"


async def test_one_failure_loses_no_other_count(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that fails keeps its count, and the others of its batch are written."""
    await refuse(house, OWN + 1)
    await refuse(house, OWN + 2, call=house.call(OTHER))
    append = house.audit.append

    async def failing(record: AuditRecord) -> None:
        if record.caller == APP:
            raise VaultError(Reason.OVERLOADED, "too much")
        await append(record)

    with monkeypatch.context() as patched:
        patched.setattr(house.audit, "append", failing)
        with pytest.raises(VaultError, match="OVERLOADED"):
            await house.counted_refusals.write()
    assert [r.caller for r in refusals(house) if "count" in r.detail] == [OTHER]
    await house.counted_refusals.write()
    assert [r.caller for r in refusals(house) if "count" in r.detail] == [OTHER, APP]


async def test_memory_is_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many callers, so many are counted apart; those beyond share one count."""
    monkeypatch.setattr(limits, "REFUSAL_CALLERS_MAX", 10)
    for number in range(100):
        await refuse(house, OWN + 1, call=house.call(f"spiffe://example.org/c-{number}"))
    assert len(house.counted_refusals._windows) == 11
    await house.counted_refusals.write()
    counts = {r.caller: r.detail["count"] for r in refusals(house) if "count" in r.detail}
    assert len(counts) == 11
    assert counts[""] == str(90 * (OWN + 1))


async def test_outside_text_is_bounded(house: House) -> None:
    """What a window keeps of a resource name is cut, however long the request had it."""
    await refuse(house, OWN + 1, asked="tenants/" + "x" * 200_000)
    (window,) = house.counted_refusals._windows.values()
    assert window.shown is not None
    assert len(window.shown.asked) == limits.URI_MAX_CHARS
