"""Every request message of every RPC, as nobody would send it: a reason of the contract or an
answer, never a fault."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.rpc.surface_cases import Known
from tests.rpc.surface_whole_cases import ALL_CASES, all_known
from tests.rpc.test_contract import METHODS
from tests.rpc.test_surface import COMMON, documented_reasons
from tests.rpc.wire import Aborted, Wire, status_of
from tests.support.house import APP, REDIRECT_URI, TENANT, House
from tests.support.request_messages import changed, messages
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import CODE_BY_REASON, Reason, VaultError

_ALL = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
_FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


async def _house() -> tuple[House, list[str]]:
    house = House()
    await house.register()
    there = await all_known(house)
    tenant = f"tenants/{TENANT}"
    return house, [
        tenant, f"{tenant}/grants/{there.grant}", f"{tenant}/owners/u-1/grantAliases/crm",
        f"{tenant}/secrets/smtp", f"{tenant}/owners/u-1/secrets/smtp", f"{tenant}/providers/op",
        f"{tenant}/oauthClients/crm", f"{tenant}/owners/u-1", there.state, REDIRECT_URI, "u-1",
        "openid", "code-1", "https://op.example/token",
    ]  # fmt: skip


KNOWN = asyncio.run(_house())[1]  # ids are drawn from a seed: the same in every house
NAME_FIELDS = ("name", "parent", "grant", "alias", "oauth_client", "provider")
_CASES = {case.method: case for case in ALL_CASES}


def requests(method: MethodDescriptor) -> st.SearchStrategy[Message]:
    """A sound request with a few fields changed, or one from nothing."""
    there = Known(KNOWN[1].rpartition("/")[2], KNOWN[8])
    sound = _CASES[method.name].request(TENANT, there)
    return st.one_of(
        changed(sound, KNOWN, NAME_FIELDS),
        changed(sound, KNOWN),
        messages(method.input_type, KNOWN),
    )


def path_of(method: MethodDescriptor) -> str:
    """As HTTP/2 has it."""
    assert method.containing_service is not None
    return f"/{method.containing_service.full_name}/{method.name}"


async def _ask(method: MethodDescriptor, data: bytes) -> None:
    house, known = await _house()
    assert known == KNOWN
    before = len(house.stores.records)
    try:
        answer = await Wire(house).call(path_of(method), data)
    except Aborted as aborted:
        _check_refusal(house, method, aborted)
        assert len(house.stores.records) > before, "a refusal without a record"
    else:
        GetMessageClass(method.output_type).FromString(answer)
    finally:
        await house.flights.drain(1)


def _check_refusal(house: House, method: MethodDescriptor, aborted: Aborted) -> None:
    status, info = status_pb2.Status.FromString(status_of(aborted)), error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    reason = Reason[info.reason]
    assert reason is not Reason.INTERNAL, aborted.message
    assert info.reason in documented_reasons(method.name) | COMMON
    assert aborted.code.value[0] == CODE_BY_REASON[reason].value == status.code
    assert len(status.details) == 1 + VaultError(reason, "").retryable
    assert aborted.message.isprintable()
    assert len(aborted.message) < 600
    record = house.records(AuditAction.CALL_REFUSED)[-1]
    assert (record.reason, record.caller) == (info.reason, APP)
    assert record.request_id == aborted.trailing["tokenvault-request-id"]


@_ALL
@given(data=st.data())
@_FEW
def test_every_request(method: MethodDescriptor, data: st.DataObject) -> None:
    """Whatever stands in the fields of a request, it is answered or refused by a documented reason,
    with its record."""
    message: Message = data.draw(requests(method))
    asyncio.run(_ask(method, message.SerializeToString()))


@_ALL
@given(data=st.data())
@_FEW
def test_every_damaged_request(method: MethodDescriptor, data: st.DataObject) -> None:
    """A request whose bytes were cut, doubled, mixed with noise or another's is one like any other:
    parsed, or refused as no message."""
    message: Message = data.draw(requests(method))
    whole = message.SerializeToString()
    at = data.draw(st.integers(0, len(whole)))
    noise = data.draw(st.binary(max_size=12))
    damaged = data.draw(
        st.sampled_from([whole[:at] + noise, whole[:at] + noise + whole[at:], whole + whole, noise])
    )
    asyncio.run(_ask(method, damaged))


@_ALL
def test_no_bytes_parse_two_ways(method: MethodDescriptor) -> None:
    """A text that is not UTF-8 is no message, so no name has a second spelling."""
    field = method.input_type.fields[0]
    if field.message_type is None:
        with pytest.raises(DecodeError):
            GetMessageClass(method.input_type).FromString(
                bytes([field.number << 3 | 2, 2]) + b"\xc0\xaf"
            )
