"""What a call can fail with, by what a developer does about it.

Every error carries the service's reason (``ErrorInfo.reason``), its message, the gRPC status
code, the metadata of ErrorInfo, the delay of RetryInfo and the request id under which the
service wrote it down. None of them ever holds a secret.
"""

from __future__ import annotations

from collections.abc import Mapping

import grpc

from tokenvault_client.enums import ReauthorizationCause, TransportProblem


class ConfigurationError(ValueError):
    """A setting or file of the client is unusable; the message names it. Nothing was sent."""


class ClientClosed(RuntimeError):
    """The client was closed before or during the call."""


class TokenVaultError(Exception):
    """A call that failed. ``reason`` is "" where the service itself gave none."""

    def __init__(
        self,
        reason: str,
        message: str,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
        request_id: str = "",
    ) -> None:
        self.reason = reason
        self.message = message
        self.code = code
        self.metadata: dict[str, str] = dict(metadata or {})
        self.retry_after_s = retry_after_s
        self.request_id = request_id
        # All of them stay in args, so that the error survives pickling between processes.
        super().__init__(reason, message, code, self.metadata, retry_after_s, request_id)

    def __str__(self) -> str:
        request = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.reason or self.code.name}: {self.message}{request}"


class InvalidArgument(TokenVaultError):
    """The request is wrong in itself; the message says what to change."""


class CallerUnknown(TokenVaultError):
    """The client certificate does not name one SPIFFE id of a trust domain that is allowed."""


class NotAllowed(TokenVaultError):
    """The policy does not allow this caller to do this, whether or not the resource exists; or an
    operator pulled a kill switch."""


class NotFound(TokenVaultError):
    """No such resource, or none that this caller may use."""


class AlreadyExists(TokenVaultError):
    """Another resource has this identity already."""


class Conflict(TokenVaultError):
    """The resource changed meanwhile: read it again, then repeat the change."""


class PreconditionFailed(TokenVaultError):
    """The request is right, but the state of things does not permit it now."""


class ReauthorizationRequired(PreconditionFailed):
    """The user must consent again: ``start_authorization``, then send the browser there."""

    @property
    def cause(self) -> ReauthorizationCause:
        """Why consent is needed again."""
        if self.reason == "NO_REFRESH_TOKEN":
            return ReauthorizationCause.NO_REFRESH_TOKEN
        return ReauthorizationCause.of(self.metadata.get("cause", ""))

    @property
    def reauthorization_uri(self) -> str:
        """The operator's connect page; "" where none is configured."""
        return self.metadata.get("reauthorization_uri", "")


class GrantRevoked(PreconditionFailed):
    """The grant was revoked for good; a new consent makes a new grant."""


class AuthorizationFailed(PreconditionFailed):
    """A consent could not be completed; begin a new one with ``start_authorization``."""


class SecretUnavailable(PreconditionFailed):
    """The version has expired or was destroyed; an older one never stands in."""


class CursorExpired(PreconditionFailed):
    """Events after the cursor may be gone: list the grants, then watch without a cursor."""


class Misconfigured(PreconditionFailed):
    """An operator must mend the tenant or the registration at the provider; no user can."""


class TryLater(TokenVaultError):
    """Too busy, or something the service needs is away; nothing is lost. Retries ran out."""


class DeadlineExceeded(TokenVaultError):
    """The call's time was up; a change may or may not have been made."""


class Corrupt(TokenVaultError):
    """Stored bytes do not open. Retrying cannot help; operators see it in the record."""


class InternalFault(TokenVaultError):
    """A fault in the service, or an answer that makes no sense; report the request id."""


class ConnectionLost(TokenVaultError):
    """The way to the service broke during the call; a change may or may not have been made."""


class TransportRefused(TokenVaultError):
    """No connection came about, so nothing was asked; the message says what to check."""

    @property
    def problem(self) -> TransportProblem:
        """What went wrong, as far as the transport could tell."""
        return TransportProblem.of(self.metadata.get("problem", ""))
