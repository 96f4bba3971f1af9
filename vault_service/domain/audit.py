"""The record of who saw or changed what. Actions are in the past tense."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum


class AuditAction(Enum):
    """What happened. CALL_REFUSED covers every refusal: its rpc and reason say which."""

    ACCESS_TOKEN_DISCLOSED = 1
    SECRET_VALUE_DISCLOSED = 2
    CALL_REFUSED = 3
    AUTHORIZATION_STARTED = 4
    AUTHORIZATION_COMPLETED = 5
    GRANT_REFRESHED = 6
    GRANT_REFRESH_FAILED = 7
    REFRESH_RESULT_DISCARDED = 8
    GRANT_REVOKED = 9
    PROVIDER_REVOCATION_DONE = 10
    PROVIDER_REVOCATION_ABANDONED = 11
    PROVIDER_PUT = 12
    OAUTH_CLIENT_PUT = 13
    SECRET_PUT = 14
    AUDIT_RECORDS_LISTED = 15
    TENANT_CREATED = 16
    SECRET_VERSION_DESTROYED = 17
    SECRET_DELETED = 18
    SECRET_EXPIRING_SOON = 19
    GRANT_DELETED = 20
    GRANT_ALIAS_LINKED = 21
    GRANT_ALIAS_UNLINKED = 22
    CLIENT_CREDENTIAL_ADDED = 23
    CLIENT_CREDENTIAL_RETIRED = 24
    OAUTH_CLIENT_SUSPENDED = 25
    OAUTH_CLIENT_RESUMED = 26
    GRANT_REFRESH_STARTED = 27
    REFRESH_ATTEMPT_RESOLVED = 28
    REFRESH_ORPHAN_KEPT = 29
    SPOOL_ABANDONED = 30
    GRANT_WATCH_STARTED = 40
    GRANT_WATCH_ENDED = 41
    ACCESS_TOKEN_REJECTED = 42
    WEBHOOK_PUT = 43
    WEBHOOK_DELETED = 44
    WEBHOOK_GONE = 45
    WEBHOOK_DELIVERY_DEAD = 46
    DEAD_LETTERS_REDELIVERED = 47
    GRANT_EXPIRING_SOON = 48
    ATTEMPT_RESOLUTION_ORDERED = 57
    CODE_EXCHANGE_STARTED = 61
    CODE_EXCHANGE_GIVEN_BACK = 62
    AUTHORIZATION_ENDED = 63
    CLIENT_HOLD_CLEARED = 65
    CLIENT_HOLD_BEGUN = 70


class Outcome(Enum):
    """ALLOW: it was done. DENY: policy or identity refused. ERROR: it failed otherwise."""

    ALLOW = 1
    DENY = 2
    ERROR = 3


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One record. The database adds its own clock's time; ``record_time`` is None until read.

    ``detail`` holds short facts (policy rule, generation, provider status); no secret and no
    outside text that was not cut and escaped.
    """

    record_id: uuid.UUID
    tenant: str
    action: AuditAction
    outcome: Outcome
    reason: str  # name of the Reason, "" on ALLOW
    caller: str
    certificate_serial: str
    source: str
    rpc: str
    request_id: str
    resource: str  # full resource name, as asked
    deployment: str
    instance: str
    token_fingerprint: str = ""
    detail: Mapping[str, str] = field(default_factory=dict)
    record_time: datetime | None = None
