"""What every refusal owes: its reason, a message that says what to do, and its record."""

from __future__ import annotations

import re
from collections.abc import Awaitable

import pytest

import tokenvault_client as sdk
from vault_service.embedded.settings_files import TENANT

_PAGE = 200
# RetryInfo says a second at most where a test does not script more: with this deadline the
# client's own retries do not hide the first answer.
ONCE_S = 1.0


async def refusal(call: Awaitable[object], reason: str, says: str) -> sdk.TokenVaultError:
    """The error of a call that is refused; ``says`` is a pattern in its message."""
    with pytest.raises(sdk.TokenVaultError) as refused:
        await call
    error = refused.value
    assert error.reason == reason, str(error)
    assert re.search(says, error.message), error.message
    assert error.request_id
    return error


async def record_of(
    auditor: sdk.TokenVaultClient, error: sdk.TokenVaultError, tenant: str = TENANT
) -> sdk.AuditRecord:
    """The one CALL_REFUSED record of this error, which has its reason."""
    page = await auditor.list_audit_records(f"tenants/{tenant}", page_size=_PAGE)
    (record,) = [
        record
        for record in page.items
        if record.request_id == error.request_id and record.action == "CALL_REFUSED"
    ]
    assert record.reason == error.reason
    assert record.outcome in (sdk.AuditOutcome.DENY, sdk.AuditOutcome.ERROR)
    return record


async def recorded_refusal(
    auditor: sdk.TokenVaultClient,
    call: Awaitable[object],
    reason: str,
    says: str,
    tenant: str = TENANT,
) -> tuple[sdk.TokenVaultError, sdk.AuditRecord]:
    """The error and its record."""
    error = await refusal(call, reason, says)
    return error, await record_of(auditor, error, tenant)
