"""Every RPC over the wire: allowed, denied, malformed, unknown tenant, store or record away."""

from __future__ import annotations

import uuid
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message

from tests.rpc.surface import Refused, Surface
from tests.rpc.surface_cases import Case, Known
from tests.rpc.surface_whole_cases import ALL_CASES, all_known
from tests.rpc.test_contract import METHODS, PROTO, comments
from tests.support.house import APP, CLIENT_SECRET, ROGUE, TENANT
from vault_service.domain.audit import Outcome
from vault_service.domain.errors import CODE_BY_REASON, Reason, VaultError

ALL = pytest.mark.parametrize("case", ALL_CASES, ids=lambda case: case.method)
# What any call can end with, beside what its RPC documents: as the enum's own comment says.
_ENUM = (PROTO / "error_reason.proto").read_text("utf-8").partition("enum ErrorReason")[0]
COMMON = {reason.name for reason in Reason if reason.name in _ENUM}
assert len(COMMON) == 7


def documented_reasons(rpc: str) -> set[str]:
    """The reasons of the RPC's own comment."""
    (method,) = (method for method in METHODS if method.name == rpc)
    text = comments(Path(method.containing_service.file.name).name)[rpc]
    return set(text.partition("Fails with: ")[2].rstrip(".").replace(" ", "").split(","))


def documented(case: Case) -> set[str]:
    """The reasons of the RPC's own comment."""
    return documented_reasons(case.method)


def check_contract(case: Case, refused: Refused) -> None:
    """The refusal is one of the contract's, whole."""
    reason = Reason[refused.reason]
    assert refused.code.value[0] == CODE_BY_REASON[reason].value
    assert refused.domain == "tokenvault"
    assert refused.reason in documented(case) | COMMON
    retryable = VaultError(reason, "").retryable
    assert (refused.retry_after_s is not None) == retryable
    assert refused.message
    assert refused.request_id


def check_record(surface: Surface, case: Case, refused: Refused, caller: str) -> None:
    """The last record is of this refusal, with the request id that the caller was given."""
    record = surface.refusals()[-1]
    assert record.request_id == refused.request_id
    assert (record.reason, record.caller) == (refused.reason, caller)
    assert record.rpc.endswith(f"Service/{case.method}")
    assert record.source.startswith("ipv4:127.0.0.1:")


@ALL
async def test_allowed(surface: Surface, case: Case) -> None:
    """An allowed call is answered, with a request id in the trailing metadata."""
    there = await all_known(surface.house)
    answer, request_id = await surface.call(*case.asked, case.request(TENANT, there), APP)
    assert isinstance(answer, Message)
    assert len(request_id) == 32
    assert surface.refusals() == []
    assert CLIENT_SECRET not in str(answer)


@ALL
async def test_denied(surface: Surface, case: Case) -> None:
    """Who has no permission in the tenant is refused alike there, elsewhere and nowhere."""
    there = await all_known(surface.house)
    absent = Known(str(uuid.uuid4()), "no-such-state")
    told = set()
    for tenant, names in ((TENANT, there), (TENANT, absent), ("ghost", there)):
        refused = await surface.refused(*case.asked, case.request(tenant, names), ROGUE)
        assert refused.reason == "CALLER_NOT_ALLOWED"
        check_contract(case, refused)
        check_record(surface, case, refused, ROGUE)
        assert surface.refusals()[-1].outcome is Outcome.DENY
        told.add((refused.code, refused.message, tuple(refused.metadata)))
    assert len(told) == 1


@ALL
async def test_malformed_name(surface: Surface, case: Case) -> None:
    """A malformed name is refused with the shape that is wanted, and on record as it was asked."""
    refused = await surface.refused(*case.asked, case.malformed, APP)
    assert refused.reason == "NAME_MALFORMED"
    assert "expected" in refused.message
    check_contract(case, refused)
    check_record(surface, case, refused, APP)


@ALL
async def test_empty_request(surface: Surface, case: Case) -> None:
    """An empty request is refused by a reason of the contract, never a fault."""
    refused = await surface.refused(*case.asked, type(case.malformed)(), APP)
    assert refused.reason in ("NAME_MALFORMED", "FIELD_MALFORMED")
    check_contract(case, refused)


@ALL
async def test_unknown_tenant(surface: Surface, case: Case) -> None:
    """A tenant that was never made is told to those whom the policy lets in; its records can be
    read all the same."""
    there = await all_known(surface.house)
    request = case.request("ghost", there)
    if case.method == "ListAuditRecords":
        answer, _ = await surface.call(*case.asked, request, APP)
        assert list(answer.records) == []
        return
    refused = await surface.refused(*case.asked, request, APP)
    assert refused.reason == "TENANT_NOT_PROVISIONED"
    check_contract(case, refused)
    check_record(surface, case, refused, APP)


@ALL
async def test_store_away(surface: Surface, case: Case) -> None:
    """A database that is away is STORE_UNREACHABLE with a time to come again."""
    there = await all_known(surface.house)
    surface.house.stores.unreachable = True
    refused = await surface.refused(*case.asked, case.request(TENANT, there), APP)
    assert refused.reason == "STORE_UNREACHABLE"
    check_contract(case, refused)


@ALL
async def test_record_away(surface: Surface, case: Case) -> None:
    """Where records cannot be written a refusal is AUDIT_UNAVAILABLE: none goes out unrecorded."""
    there = await all_known(surface.house)
    surface.house.stores.audit_unavailable = True
    for request, caller in ((case.request(TENANT, there), ROGUE), (case.malformed, APP)):
        refused = await surface.refused(*case.asked, request, caller)
        assert refused.reason == "AUDIT_UNAVAILABLE"
        check_contract(case, refused)


@ALL
async def test_fault(
    surface: Surface,
    case: Case,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A fault of ours is INTERNAL with the request id; its text is in no answer, record or log."""
    there = await all_known(surface.house)

    def fault(*_: object) -> object:
        raise RuntimeError("canary-fault")

    monkeypatch.setattr(surface.house.policy, "decide", fault)
    refused = await surface.refused(*case.asked, case.request(TENANT, there), APP)
    assert (refused.reason, refused.code) == ("INTERNAL", grpc.StatusCode.INTERNAL)
    assert refused.request_id in refused.message
    check_contract(case, refused)
    check_record(surface, case, refused, APP)
    shown = capsys.readouterr()
    for text in (str(refused), repr(surface.refusals()), shown.err, shown.out):
        assert "canary-fault" not in text
    assert "RuntimeError" in shown.err
