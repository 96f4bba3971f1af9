"""ListAuditRecords, and the record of every refusal."""

from __future__ import annotations

import pytest

from tests.support.house import APP, ROGUE, TENANT, House, refused
from vault_service.domain import limits
from vault_service.domain.access import Permission
from vault_service.domain.audit import AuditAction, Outcome
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import SYSTEM_TENANT, SecretName
from vault_service.domain.sensitive import Sensitive

# While the first two last there is no record; the third is counted from the first on.
_UNRECORDED = {Reason.STORE_UNREACHABLE, Reason.AUDIT_UNAVAILABLE, Reason.OVERLOADED}


@pytest.fixture
def house() -> House:
    return House()


async def test_reading_is_on_record(house: House) -> None:
    """Records come newest first, and reading them makes one more that says how many were read."""
    await house.grant()
    before = len(house.stores.records)
    page = await house.audit_records.list(house.call(), TENANT, 50, "")
    assert [r.record_id for r in page.items] == [
        r.record_id for r in reversed(house.stores.records[:before])
    ]
    (record,) = house.records(AuditAction.AUDIT_RECORDS_LISTED)
    assert (record.tenant, record.resource, record.caller) == (TENANT, "tenants/acme", APP)
    assert record.detail["count"] == str(before)
    assert record.detail["policy_rule"] == "allow-ListAuditRecords"


async def test_unrecordable_reading(house: House) -> None:
    """Where the reading cannot be put on record, nothing is shown."""
    house.stores.audit_unavailable = True
    await refused(Reason.AUDIT_UNAVAILABLE, house.audit_records.list(house.call(), TENANT, 50, ""))


async def test_system_records(house: House) -> None:
    """The records of calls without a valid tenant are read like a tenant's that always exists."""
    error = VaultError(Reason.NAME_MALFORMED, "x")
    await house.refusals(house.call(), error, "nonsense")
    page = await house.audit_records.list(house.call(), SYSTEM_TENANT, 50, "")
    assert [record.resource for record in page.items] == ["nonsense"]


async def test_permission(house: House) -> None:
    """Reading needs the tenant and the permission, for the system's records too."""
    for tenant in (TENANT, SYSTEM_TENANT):
        await refused(
            Reason.CALLER_NOT_ALLOWED,
            house.audit_records.list(house.call(ROGUE), tenant, 50, ""),
        )
        house.policy.allowed.discard((APP, Permission.LIST_AUDIT_RECORDS))
        await refused(
            Reason.CALLER_NOT_ALLOWED, house.audit_records.list(house.call(), tenant, 50, "")
        )
    assert house.stores.records == []


@pytest.mark.parametrize("reason", [r for r in Reason if r not in _UNRECORDED])
async def test_refusals_are_on_record(house: House, reason: Reason) -> None:
    """A refusal of any reason is answered with itself once it is on record."""
    error = VaultError(reason, "message", recorded={"why": "because"})
    call = house.call(rpc="TokenService/GetAccessToken")
    assert await house.refusals(call, error, "tenants/acme/grants/x") is error
    (record,) = house.records(AuditAction.CALL_REFUSED)
    assert (record.reason, record.rpc, record.tenant) == (reason.name, call.rpc, TENANT)
    assert (record.resource, record.request_id) == ("tenants/acme/grants/x", "r-1")
    assert record.detail == {"why": "because"}
    denied = reason in (Reason.CALLER_UNKNOWN, Reason.CALLER_NOT_ALLOWED, Reason.KILL_SWITCH)
    assert record.outcome is (Outcome.DENY if denied else Outcome.ERROR)


@pytest.mark.parametrize("reason", [r for r in Reason if r in _UNRECORDED])
async def test_no_record_while_records_fail(house: House, reason: Reason) -> None:
    """A refusal because the store or the record is away is not held up by writing one."""
    error = VaultError(reason, "message")
    house.stores.unreachable = True
    assert await house.refusals(house.call(), error, "tenants/acme") is error


async def test_unrecordable_refusal(house: House) -> None:
    """A refusal that cannot be recorded is answered AUDIT_UNAVAILABLE."""
    house.stores.audit_unavailable = True
    error = VaultError(Reason.CALLER_NOT_ALLOWED, "message")
    answer = await house.refusals(house.call(), error, "tenants/acme")
    assert answer.reason is Reason.AUDIT_UNAVAILABLE


@pytest.mark.parametrize(
    ("asked", "tenant"),
    [
        ("tenants/acme", "acme"),
        ("tenants/acme/grants/x", "acme"),
        ("tenants/acme/grants/../..", "acme"),
        ("tenants/ghost/secrets/x", "ghost"),
        ("tenants/-", SYSTEM_TENANT),
        ("tenants/ACME/grants/x", SYSTEM_TENANT),
        ("tenants/", SYSTEM_TENANT),
        ("projects/acme", SYSTEM_TENANT),
        ("", SYSTEM_TENANT),
        ("/" * 1_000, SYSTEM_TENANT),
    ],
)
async def test_tenant_of_a_refusal(house: House, asked: str, tenant: str) -> None:
    """A refusal is filed under the tenant its name speaks of, else under the system's."""
    await house.refusals(house.call(), VaultError(Reason.NAME_MALFORMED, "x"), asked)
    assert house.stores.records[-1].tenant == tenant


async def test_outside_text_is_cut(house: House) -> None:
    """What the request named is recorded as printable ASCII of at most 256 characters."""
    asked = "tenants/acme\n\x1b[2J\u202e" + "ü" * 10_000
    await house.refusals(house.call(), VaultError(Reason.NAME_MALFORMED, "x"), asked)
    shown = house.stores.records[-1].resource
    assert len(shown) <= limits.TEXT_MAX_CHARS
    assert shown.isascii()
    assert shown.isprintable()


async def test_denials_on_a_row_are_denials_in_the_record(house: House) -> None:
    """What looked like absence to the caller is DENY in the record, a real absence is ERROR."""
    error = VaultError(Reason.GRANT_NOT_FOUND, "x", recorded={"policy_rule": "default-deny"})
    await house.refusals(house.call(), error, "tenants/acme/grants/x")
    await house.refusals(house.call(), VaultError(Reason.GRANT_NOT_FOUND, "x"), "tenants/acme")
    assert [r.outcome for r in house.stores.records] == [Outcome.DENY, Outcome.ERROR]


async def test_no_secret_in_any_record(house: House) -> None:
    """After the whole main job no record holds a token, a credential, a code or a secret."""
    grant = await house.grant()
    house.clock.advance(4_000)
    await house.token(grant.name)
    await house.secrets.put(
        house.call(), SecretName(TENANT, "", "smtp"), Sensitive(b"secret-canary")
    )
    await house.revoke(house.call(), grant.name)
    text = repr(house.stores.records)
    for canary in ("at-1", "at-2", "rt-1", "rt-2", "code-1", "secret-canary"):
        assert canary not in text
