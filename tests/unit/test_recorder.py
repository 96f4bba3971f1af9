"""How records are made."""

from __future__ import annotations

import pytest

from tests.fakes.clock import FakeEntropy
from tests.support.house import APP, House
from vault_service.domain import limits
from vault_service.domain.access import Decision
from vault_service.domain.audit import AuditAction, Outcome
from vault_service.domain.errors import Reason, VaultError
from vault_service.usecases.recorder import Recorder, shown

CALL = House().call(rpc="TokenService/GetAccessToken")
RECORDER = Recorder("dep-1", "i-7", FakeEntropy())


def test_done() -> None:
    """A record says who, from where, in which call, by which rule, and which process wrote it."""
    decision = Decision(True, "rule-1", "sha256:x")
    record = RECORDER.done(
        CALL,
        AuditAction.ACCESS_TOKEN_DISCLOSED,
        "acme",
        "tenants/acme/grants/x",
        decision=decision,
        detail={"generation": "2"},
        token_fingerprint="v1.abc",
    )
    assert (record.caller, record.certificate_serial, record.source) == (
        APP,
        "01ab",
        "ipv4:127.0.0.1:4711",
    )
    assert (record.rpc, record.request_id) == ("TokenService/GetAccessToken", "r-1")
    assert (record.deployment, record.instance) == ("dep-1", "i-7")
    assert (record.outcome, record.reason) == (Outcome.ALLOW, "")
    assert record.detail == {
        "generation": "2",
        "policy_rule": "rule-1",
        "policy_version": "sha256:x",
    }
    assert record.token_fingerprint == "v1.abc"
    assert record.record_time is None


def test_ids_differ() -> None:
    """Every record has an id of its own, greater than those before it."""
    ids = [RECORDER.done(CALL, AuditAction.SECRET_PUT, "acme", "x").record_id for _ in range(100)]
    assert sorted(set(ids)) == ids


@pytest.mark.parametrize(
    ("reason", "recorded", "outcome"),
    [
        (Reason.CALLER_UNKNOWN, {}, Outcome.DENY),
        (Reason.CALLER_NOT_ALLOWED, {}, Outcome.DENY),
        (Reason.GRANT_NOT_FOUND, {"policy_rule": "r"}, Outcome.DENY),
        (Reason.GRANT_NOT_FOUND, {}, Outcome.ERROR),
        (Reason.PROVIDER_UNAVAILABLE, {}, Outcome.ERROR),
    ],
)
def test_outcomes(reason: Reason, recorded: dict[str, str], outcome: Outcome) -> None:
    """Identity and policy deny; everything else failed."""
    error = VaultError(reason, "for the caller", recorded=recorded)
    record = RECORDER.failed(CALL, AuditAction.CALL_REFUSED, error, "acme", "x")
    assert (record.outcome, record.reason) == (outcome, reason.name)
    assert "for the caller" not in repr(record)


def test_failures_are_escaped() -> None:
    """What a refusal recorded and named is cut and escaped."""
    error = VaultError(Reason.INTERNAL, "x", recorded={"why": "a\r\nb\x00" + "ß" * 500})
    record = RECORDER.failed(CALL, AuditAction.CALL_REFUSED, error, "acme", "tenants/\x1b[31m")
    assert record.detail["why"].startswith("a\\r\\nb\\x00\\xdf")
    assert len(record.detail["why"]) == limits.TEXT_MAX_CHARS
    assert record.resource == "tenants/\\x1b[31m"


@pytest.mark.parametrize("text", ["", "plain", "ü", "\ud800", "\U0001f511", "\\", "x" * 10_000])
def test_shown(text: str) -> None:
    """Whatever comes in, what is shown is printable ASCII of at most 256 characters."""
    result = shown(text)
    assert len(result) <= limits.TEXT_MAX_CHARS
    assert result.isascii()
    assert result.isprintable()
