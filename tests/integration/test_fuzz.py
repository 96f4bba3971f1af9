"""The whole service under requests that nobody would send: what the fakes let through, PostgreSQL
and transit may not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tokenvault_client as sdk
from tests.rpc.surface_cases import Known
from tests.rpc.surface_whole_cases import ALL_CASES
from tests.rpc.test_contract import METHODS
from tests.rpc.test_fuzz import NAME_FIELDS, path_of
from tests.rpc.test_surface import COMMON, documented_reasons
from tests.support.authserver import AuthServer
from tests.support.request_messages import changed, messages
from tests.support.vault import RealVault
from vault_service.domain.errors import Reason
from vault_service.embedded.settings_files import TENANT

_ALL = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
_LIMIT_S = 20.0
_CALLERS = ("calendar-app", "operator", "auditor")
# Faults, and what only a store that does not understand us says: none of it is the caller's doing.
_OURS = {
    "INTERNAL",
    "STORE_UNREACHABLE",
    "AUDIT_UNAVAILABLE",
    "KEK_UNREACHABLE",
    "ENVELOPE_CORRUPT",
}
_CASES = {case.method: case for case in ALL_CASES}


@dataclass(frozen=True)
class Target:
    """A running process and what its tenant holds."""

    channels: dict[str, grpc.Channel]
    known: Known
    names: tuple[str, ...]

    def requests(self, method: MethodDescriptor) -> st.SearchStrategy[Message]:
        """Near to sound, or from nothing."""
        # Another provider than ours: a grant must not end up at an address outside this machine.
        sound = _CASES[method.name].request(TENANT, self.known)
        renamed = type(sound).FromString(
            sound.SerializeToString().replace(b"/providers/op", b"/providers/zz")
        )
        return st.one_of(
            changed(renamed, self.names, NAME_FIELDS),
            changed(renamed, self.names),
            messages(method.input_type, self.names),
        )


@pytest.fixture(scope="module")
def target(real_vault: RealVault) -> Iterator[Target]:
    """A tenant with a grant, an alias, a secret of both levels and a consent under way."""
    provider = AuthServer(real_vault.ca)
    provider.up()
    port = real_vault.serve("fuzzed", [provider.host_port])
    known, names = asyncio.run(_fill(real_vault, provider, port))
    channels = {caller: _channel(real_vault, port, caller) for caller in _CALLERS}
    yield Target(channels, known, names)
    for channel in channels.values():
        channel.close()
    real_vault.stop_process("fuzzed")
    provider.close()


async def _fill(vault: RealVault, provider: AuthServer, port: int) -> tuple[Known, tuple[str, ...]]:
    async with (
        vault.client("operator", port) as operator,
        vault.client("calendar-app", port) as app,
    ):
        await provider.register(operator)
        grant = (await provider.consent(app, "u-1")).grant
        state = (await provider.start(app, "u-1")).state
        secrets = [sdk.secret_name(TENANT, "smtp"), sdk.secret_name(TENANT, "smtp", owner="u-1")]
        for secret in secrets:
            await app.put_secret(secret, b"value")
    tenant = f"tenants/{TENANT}"
    names = (
        tenant, grant.name, *secrets, f"{tenant}/owners/u-1/grantAliases/calendar",
        provider.oauth_client, f"{tenant}/owners/u-1", f"{tenant}/providers/zz", "u-1", state,
        "openid", "u-1.2",
    )  # fmt: skip
    return Known(grant.name.rpartition("/")[2], state), names


def _channel(vault: RealVault, port: int, caller: str) -> grpc.Channel:
    issued = vault.ca.issue(
        caller, spiffe_id=f"spiffe://dev.tokenvault/{caller}", server=False, client=True
    )
    credentials = grpc.ssl_channel_credentials(
        vault.ca.root_file.read_bytes(),
        issued.key_file.read_bytes(),
        issued.certificate_file.read_bytes(),
    )
    return grpc.secure_channel(f"127.0.0.1:{port}", credentials)


def _ask(target: Target, method: MethodDescriptor, caller: str, data: bytes) -> None:
    try:
        answer = _answer(target.channels[caller], method, data)
    except grpc.RpcError as error:
        _check_refusal(method, error)
    else:
        GetMessageClass(method.output_type).FromString(answer)


def _answer(channel: grpc.Channel, method: MethodDescriptor, data: bytes) -> bytes:
    """Of a stream its first message: that it is open is the answer, and it has no end."""
    if not method.server_streaming:
        call: Any = channel.unary_unary(path_of(method))
        return bytes(call(data, timeout=_LIMIT_S))
    opened: Any = channel.unary_stream(path_of(method))
    stream = opened(data, timeout=_LIMIT_S)
    try:
        return bytes(next(stream))
    finally:
        stream.cancel()


def _check_refusal(method: MethodDescriptor, error: Any) -> None:
    packed = dict(error.trailing_metadata()).get("grpc-status-details-bin")
    assert packed is not None, error
    info = error_details_pb2.ErrorInfo()
    status_pb2.Status.FromString(packed).details[0].Unpack(info)
    assert info.reason not in _OURS, error.details()
    assert Reason[info.reason].name in documented_reasons(method.name) | COMMON, error.details()


def _fuzz(target: Target, method: MethodDescriptor, examples: int) -> None:
    @given(data=st.data())
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    def ask(data: st.DataObject) -> None:
        message = data.draw(target.requests(method))
        caller = data.draw(st.sampled_from(_CALLERS))
        _ask(target, method, caller, message.SerializeToString())

    ask()


@_ALL
def test_every_request(target: Target, method: MethodDescriptor) -> None:
    """Whatever stands in a request, it is answered or refused by a documented reason that blames
    no server of ours."""
    _fuzz(target, method, 25)


@pytest.mark.long
@_ALL
def test_every_request_for_long(target: Target, method: MethodDescriptor) -> None:
    """The same, some hundred times."""
    _fuzz(target, method, 600)
