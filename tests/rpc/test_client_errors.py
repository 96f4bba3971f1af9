"""Refusals of the service become typed errors."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

import tokenvault_client as tv
from tests.rpc.client_cases import GRANT_NAME
from tests.rpc.client_forms import Form
from tests.rpc.client_pki import Authority
from tests.rpc.client_server import Refusal, ScriptedServer, serve
from tokenvault.v1.error_reason_pb2 import ErrorReason
from tokenvault_client._reasons import KIND_BY_CODE, KIND_BY_REASON
from vault_service.domain.errors import CODE_BY_REASON, Reason

GET_GRANT = "GrantService/GetGrant"
CODE_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}


@pytest.fixture(params=list(Form), ids=lambda form: form.value)
async def server(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[ScriptedServer]:
    async with serve(Authority(tmp_path, "ca"), form=request.param) as running:
        yield running


async def refused(server: ScriptedServer, refusal: Refusal) -> tv.TokenVaultError:
    server.script.on(GET_GRANT, refusal)
    async with server.client(timeout_s=2) as vault:
        with pytest.raises(tv.TokenVaultError) as caught:
            await vault.get_grant(GRANT_NAME)
    return caught.value


@pytest.mark.parametrize(
    "reason", [name.removeprefix("ERROR_REASON_") for name, number in ErrorReason.items() if number]
)
async def test_each_reason_is_raised_as_its_error(reason: str, server: ScriptedServer) -> None:
    """A reason arrives as its class with message, code, metadata, delay and request id."""
    code = CODE_BY_NUMBER[CODE_BY_REASON[Reason[reason]].value]
    delay = 60.0 if code.name in ("UNAVAILABLE", "RESOURCE_EXHAUSTED") else None
    refusal = Refusal(code, "do that", reason, "tokenvault", {"a": "b"}, delay, "q1")
    error = await refused(server, refusal)
    assert type(error) is KIND_BY_REASON[reason]
    assert (error.reason, error.message, error.code) == (reason, "do that", code)
    assert (error.metadata, error.retry_after_s, error.request_id) == ({"a": "b"}, delay, "q1")
    assert str(error) == f"{reason}: do that (request q1)"


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.value[0]])
async def test_a_future_reason_falls_back_to_its_code(
    code: grpc.StatusCode, server: ScriptedServer
) -> None:
    """A reason that this client does not know is kept and raised by its status code."""
    error = await refused(server, Refusal(code, "new", "FROM_THE_FUTURE", request_id="q2"))
    assert type(error) is KIND_BY_CODE[code]
    assert (error.reason, error.request_id) == ("FROM_THE_FUTURE", "q2")


async def test_a_foreign_domain_has_no_reason(server: ScriptedServer) -> None:
    """ErrorInfo of something between us and the service is not taken for the service's."""
    refusal = Refusal(
        grpc.StatusCode.PERMISSION_DENIED, "no", "GRANT_REVOKED", "mesh.example", {"a": "b"}
    )
    error = await refused(server, refusal)
    assert type(error) is tv.NotAllowed
    assert (error.reason, error.metadata) == ("", {})


@pytest.mark.parametrize("cause", [cause for cause in tv.ReauthorizationCause])
async def test_reauthorization_says_its_cause(
    cause: tv.ReauthorizationCause, server: ScriptedServer
) -> None:
    """Why consent is needed again, and where, are attributes of the error."""
    metadata = {"cause": cause.value, "reauthorization_uri": "https://app.example/connect"}
    refusal = Refusal(
        grpc.StatusCode.FAILED_PRECONDITION,
        "consent",
        "REAUTHORIZATION_REQUIRED",
        metadata=metadata,
    )
    error = await refused(server, refusal)
    assert isinstance(error, tv.ReauthorizationRequired)
    assert (error.cause, error.reauthorization_uri) == (cause, "https://app.example/connect")


async def test_an_unknown_cause_is_unspecified(server: ScriptedServer) -> None:
    """A cause of the future does not hide the error."""
    refusal = Refusal(
        grpc.StatusCode.FAILED_PRECONDITION,
        "consent",
        "REAUTHORIZATION_REQUIRED",
        metadata={"cause": "MOON"},
    )
    error = await refused(server, refusal)
    assert isinstance(error, tv.ReauthorizationRequired)
    assert error.cause is tv.ReauthorizationCause.UNSPECIFIED


async def test_errors_survive_pickling(server: ScriptedServer) -> None:
    """An error that a worker process raised is the same in its parent."""
    refusal = Refusal(
        grpc.StatusCode.FAILED_PRECONDITION, "gone", "GRANT_REVOKED", "tokenvault", {"a": "b"}
    )
    error = await refused(server, refusal)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), vars(copy)) == (tv.GrantRevoked, vars(error))
