"""Who asks, for what, and what the policy said."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from vault_service.domain import limits
from vault_service.domain.envelope import Level


@dataclass(frozen=True, slots=True)
class Caller:
    """A service that calls us, as its certificate proves."""

    spiffe_id: str
    certificate_serial: str  # hexadecimal


@dataclass(frozen=True, slots=True)
class Call:
    """One call under way: who, from where, and until when."""

    caller: Caller
    rpc: str  # "TokenService/GetAccessToken"
    request_id: str
    source: str  # peer address as gRPC gives it
    deadline: float  # on the monotonic clock, seconds
    trace_id: str = ""  # 32 hexadecimal digits; "" for work that no RPC asked for
    reserve_s: float = limits.REPLY_RESERVE_S  # of its time, kept back to answer

    @property
    def answer_by(self) -> float:
        """When waiting ends, so that the reason why there is no more reaches the caller in time."""
        return self.deadline - self.reserve_s


def reply_reserve_s(budget_s: float) -> float:
    """What is kept back of the time that a caller gave."""
    share_s = budget_s * limits.REPLY_RESERVE_SHARE
    return min(max(limits.REPLY_RESERVE_S, share_s), limits.REPLY_RESERVE_MAX_S)


class Permission(Enum):
    """What a policy can permit; the value is the Cedar action's name."""

    USE_TENANT = "UseTenant"
    GET_ACCESS_TOKEN = "GetAccessToken"
    REPORT_REJECTED_TOKEN = "ReportRejectedToken"
    START_AUTHORIZATION = "StartAuthorization"
    COMPLETE_AUTHORIZATION = "CompleteAuthorization"
    GET_GRANT = "GetGrant"
    LIST_GRANTS = "ListGrants"
    REVOKE_GRANT = "RevokeGrant"
    DELETE_GRANT = "DeleteGrant"
    LINK_ALIAS = "LinkAlias"
    UNLINK_ALIAS = "UnlinkAlias"
    WATCH_GRANTS = "WatchGrants"
    PUT_PROVIDER = "PutProvider"
    LIST_PROVIDERS = "ListProviders"
    PUT_OAUTH_CLIENT = "PutOAuthClient"
    LIST_OAUTH_CLIENTS = "ListOAuthClients"
    ADD_CLIENT_CREDENTIAL = "AddClientCredential"
    RETIRE_CLIENT_CREDENTIAL = "RetireClientCredential"
    SUSPEND_OAUTH_CLIENT = "SuspendOAuthClient"
    RESUME_OAUTH_CLIENT = "ResumeOAuthClient"
    LIST_CLIENT_HOLDS = "ListClientHolds"
    CLEAR_CLIENT_HOLD = "ClearClientHold"
    PUT_SECRET = "PutSecret"
    GET_SECRET_VALUE = "GetSecretValue"
    GET_SECRET = "GetSecret"
    LIST_SECRETS = "ListSecrets"
    LIST_SECRET_VERSIONS = "ListSecretVersions"
    DESTROY_SECRET_VERSION = "DestroySecretVersion"
    DELETE_SECRET = "DeleteSecret"
    LIST_AUDIT_RECORDS = "ListAuditRecords"
    PUT_WEBHOOK = "PutWebhook"
    LIST_WEBHOOKS = "ListWebhooks"
    DELETE_WEBHOOK = "DeleteWebhook"
    LIST_DEAD_LETTERS = "ListDeadLetters"
    REDELIVER_DEAD_LETTERS = "RedeliverDeadLetters"
    LIST_ATTEMPTS = "ListAttempts"
    GET_ATTEMPT = "GetAttempt"
    RESOLVE_ATTEMPT = "ResolveAttempt"


class ResourceKind(Enum):
    """Kinds of Cedar resources; the value is the entity type."""

    TENANT = "Tenant"
    PROVIDER = "Provider"
    OAUTH_CLIENT = "OAuthClient"
    GRANT = "Grant"
    SECRET = "Secret"


@dataclass(frozen=True, slots=True)
class Resource:
    """What a decision is about. ``id`` is the full resource name."""

    kind: ResourceKind
    id: str
    tenant: str
    level: Level = Level.APPLICATION
    owner: str = ""
    provider: str = ""
    oauth_client: str = ""
    label: str = ""  # alias label the caller used; "" when it named the grant itself
    scopes: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Decision:
    """allow or deny, by which rule of which policy."""

    allowed: bool
    rule: str  # @id of the deciding policy; "default-deny" or "policy-error" where none is
    policy_version: str  # hash of the policy text
