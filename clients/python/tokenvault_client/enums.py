"""The closed vocabularies of results and requests. Their values are the names in the protocol."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class _OpenEnum(StrEnum):
    """An enum that a newer service may extend: what is not known here is UNSPECIFIED."""

    @classmethod
    def of(cls, name: str) -> Self:
        """The member of this name; UNSPECIFIED where this client does not know it."""
        return cls(name if name in cls.__members__ else "UNSPECIFIED")


class GrantState(_OpenEnum):
    """Lifecycle of a grant."""

    UNSPECIFIED = "UNSPECIFIED"
    ACTIVE = "ACTIVE"
    REAUTHORIZATION_REQUIRED = "REAUTHORIZATION_REQUIRED"
    REVOKED = "REVOKED"


class ReauthorizationCause(_OpenEnum):
    """Why consent is needed again; UNSPECIFIED where it is not."""

    UNSPECIFIED = "UNSPECIFIED"
    REVOKED_BY_OWNER = "REVOKED_BY_OWNER"
    EXPIRED_UNUSED = "EXPIRED_UNUSED"
    SUCCESSOR_LOST = "SUCCESSOR_LOST"
    SCOPES_MISSING = "SCOPES_MISSING"
    BY_OPERATOR = "BY_OPERATOR"
    NO_REFRESH_TOKEN = "NO_REFRESH_TOKEN"  # the name of a cause


class Served(_OpenEnum):
    """Which token a call got: the stored one, a new one, or one that is still good although a
    newer one was due, because the provider is down."""

    UNSPECIFIED = "UNSPECIFIED"
    FRESH = "FRESH"
    REFRESHED = "REFRESHED"
    STALE_PROVIDER_DOWN = "STALE_PROVIDER_DOWN"


class GrantEventKind(_OpenEnum):
    """What happened to a grant; RECOVERED and RECONNECTED are new consents of the same account,
    which was in need of one or not."""

    UNSPECIFIED = "UNSPECIFIED"
    CREATED = "CREATED"
    RECOVERED = "RECOVERED"
    RECONNECTED = "RECONNECTED"
    REAUTHORIZATION_REQUIRED = "REAUTHORIZATION_REQUIRED"
    EXPIRING_SOON = "EXPIRING_SOON"
    REVOKED = "REVOKED"
    DELETED = "DELETED"


class ProviderRevocation(_OpenEnum):
    """What became of a revocation at the provider (RFC 7009)."""

    UNSPECIFIED = "UNSPECIFIED"
    DONE = "DONE"
    PENDING = "PENDING"
    UNSUPPORTED = "UNSUPPORTED"


class RefreshClass(_OpenEnum):
    """What a refresh does to the old refresh token: N stays, M both live, G works for
    ``grace_s`` more, S dies at once. UNSPECIFIED is treated as S.
    """

    UNSPECIFIED = "UNSPECIFIED"
    N = "N"
    M = "M"
    G = "G"
    S = "S"


class WebhookState(_OpenEnum):
    """GONE: its endpoint answered 410; put it again to go on."""

    UNSPECIFIED = "UNSPECIFIED"
    ENABLED = "ENABLED"
    GONE = "GONE"


class BodyEncoding(_OpenEnum):
    """How requests to a token endpoint are written. UNSPECIFIED is treated as FORM."""

    UNSPECIFIED = "UNSPECIFIED"
    FORM = "FORM"
    JSON = "JSON"


class TokenLife(_OpenEnum):
    """What ``expires_in`` of a provider means. UNSPECIFIED is treated as EXPIRES."""

    UNSPECIFIED = "UNSPECIFIED"
    EXPIRES = "EXPIRES"
    ZERO_IS_ENDLESS = "ZERO_IS_ENDLESS"
    ENDLESS = "ENDLESS"


class Recovery(_OpenEnum):
    """What is done about a refresh whose answer was lost, at a provider of class S: retry under a
    fence, retry only where a probe shows that it did not happen, or wait for an operator.
    UNSPECIFIED is treated as RETRY.
    """

    UNSPECIFIED = "UNSPECIFIED"
    RETRY = "RETRY"
    PROBE_ONLY = "PROBE_ONLY"
    MANUAL = "MANUAL"


class AnswerClass(_OpenEnum):
    """What an error code of a provider means. Only INVALID_GRANT can end a grant."""

    UNSPECIFIED = "UNSPECIFIED"
    NOT_SENT = "NOT_SENT"
    IN_DOUBT = "IN_DOUBT"
    RATE_LIMITED = "RATE_LIMITED"
    INVALID_GRANT = "INVALID_GRANT"
    CLIENT_REFUSED = "CLIENT_REFUSED"
    REQUEST_REFUSED = "REQUEST_REFUSED"
    PROVIDER_FAULT = "PROVIDER_FAULT"
    UNREADABLE_SUCCESS = "UNREADABLE_SUCCESS"


class ClientAuthMethod(_OpenEnum):
    """How the service authenticates at a token endpoint (RFC 6749 section 2.3.1).

    UNSPECIFIED is treated as CLIENT_SECRET_BASIC. NONE is a public client, which has no secret.
    """

    UNSPECIFIED = "UNSPECIFIED"
    CLIENT_SECRET_BASIC = "CLIENT_SECRET_BASIC"  # the name of a method
    CLIENT_SECRET_POST = "CLIENT_SECRET_POST"  # the name of a method
    NONE = "NONE"


class Level(_OpenEnum):
    """Whose secret it is: the application's, or one owner's."""

    UNSPECIFIED = "UNSPECIFIED"
    APPLICATION = "APPLICATION"
    USER = "USER"


class SecretVersionState(_OpenEnum):
    """Whether the value of a version can be read; DESTROYED is for ever."""

    UNSPECIFIED = "UNSPECIFIED"
    ACTIVE = "ACTIVE"
    EXPIRED = "EXPIRED"
    DESTROYED = "DESTROYED"


class AuditOutcome(_OpenEnum):
    """How a record ended: done, refused by identity or policy, or failed otherwise."""

    UNSPECIFIED = "UNSPECIFIED"
    ALLOW = "ALLOW"
    DENY = "DENY"
    ERROR = "ERROR"


class TransportProblem(_OpenEnum):
    """Why no connection came about."""

    UNSPECIFIED = "UNSPECIFIED"
    NOTHING_LISTENING = "NOTHING_LISTENING"
    UNREACHABLE = "UNREACHABLE"
    NAME_NOT_RESOLVED = "NAME_NOT_RESOLVED"
    NOT_TLS = "NOT_TLS"
    SERVER_NAME_WRONG = "SERVER_NAME_WRONG"
    SERVER_CERTIFICATE_EXPIRED = "SERVER_CERTIFICATE_EXPIRED"
    SERVER_NOT_TRUSTED = "SERVER_NOT_TRUSTED"
    CLIENT_CERTIFICATE_REFUSED = "CLIENT_CERTIFICATE_REFUSED"
    CLIENT_FILES_UNUSABLE = "CLIENT_FILES_UNUSABLE"


class AttemptFilter(_OpenEnum):
    """Which refresh attempts are listed: without an outcome; waiting for a profile or an operator,
    or with a kept answer; all."""

    UNSPECIFIED = "UNSPECIFIED"
    IN_DOUBT = "IN_DOUBT"
    WAITING = "WAITING"
    ALL = "ALL"


class AttemptState(_OpenEnum):
    """What is known of a refresh attempt. RESOLVED_*: decided by recovery or an operator."""

    UNSPECIFIED = "UNSPECIFIED"
    INTENT = "INTENT"
    COMMITTED = "COMMITTED"
    NOT_SENT = "NOT_SENT"
    REJECTED = "REJECTED"
    IN_DOUBT = "IN_DOUBT"
    RESOLVED_REFRESHED = "RESOLVED_REFRESHED"
    RESOLVED_UNCHANGED = "RESOLVED_UNCHANGED"
    RESOLVED_LOST = "RESOLVED_LOST"
    RESOLVED_SUPERSEDED = "RESOLVED_SUPERSEDED"


class WaitsFor(_OpenEnum):
    """Without what an attempt does not go on: a profile (or release) that reads its kept answer,
    or an operator's decision. UNSPECIFIED: only for its time."""

    UNSPECIFIED = "UNSPECIFIED"
    PROFILE = "PROFILE"
    OPERATOR = "OPERATOR"


class AttemptAction(_OpenEnum):
    """What an operator orders: read the kept answer now; the provider did not carry it out; the
    grant needs consent again; present the refresh token once more."""

    UNSPECIFIED = "UNSPECIFIED"
    REREAD = "REREAD"
    ACCEPT_AS_UNCHANGED = "ACCEPT_AS_UNCHANGED"
    GIVE_UP = "GIVE_UP"
    PRESENT_AGAIN = "PRESENT_AGAIN"
