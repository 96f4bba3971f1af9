"""What the use cases of secrets need; failures as in ``vault_service.ports``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from vault_service.domain.audit import AuditRecord
from vault_service.domain.names import SecretName, SecretParent
from vault_service.domain.secret import (
    AnsweredRequest,
    ExpiringVersion,
    Secret,
    SecretRequest,
    SecretVersion,
)
from vault_service.ports.pages import Page


class SecretStore(Protocol):
    """The tables secrets, secret_versions and secret_requests."""

    async def get(self, name: SecretName) -> Secret | None:
        """One secret, a tombstone too, or None."""

    async def next_version(self, name: SecretName) -> int:
        """The number the next version would have (1 for a new secret)."""

    async def put(
        self,
        version: SecretVersion,
        record: AuditRecord,
        *,
        labels: Mapping[str, str] | None = None,
        expected_revision: int | None = None,
        request: SecretRequest | None = None,
    ) -> bool:
        """Insert the next version; a tombstone is a secret again. ``labels`` None keeps them.

        False, and nothing is written, when that is not the next number, the secret has moved
        since ``expected_revision`` (0: there was none), or the request was answered before.
        TENANT_NOT_PROVISIONED.
        """

    async def answered(self, tenant: str, caller: str, request_id: str) -> AnsweredRequest | None:
        """What a request of this caller and id made, or None."""

    async def latest(self, name: SecretName) -> SecretVersion | None:
        """The newest version, whatever its state, or None."""

    async def get_version(self, name: SecretName, version: int) -> SecretVersion | None:
        """One version, whatever its state, or None."""

    async def list(self, parent: SecretParent, page_size: int, page_token: str) -> Page[Secret]:
        """Of one level and owner by id, without tombstones. FIELD_MALFORMED."""

    async def list_versions(
        self, name: SecretName, page_size: int, page_token: str
    ) -> Page[SecretVersion]:
        """Newest first. FIELD_MALFORMED."""

    async def destroy(
        self, name: SecretName, version: int, record: AuditRecord
    ) -> SecretVersion | None:
        """Destroy the envelope for ever; the version as it stands, None when there is none. One
        destroyed already stays as it is, and nothing is recorded."""

    async def delete(self, secret: Secret, record: AuditRecord) -> bool:
        """Destroy all envelopes and leave a tombstone; False when the row has moved since
        ``secret.revision``."""


class SecretReminders(Protocol):
    """Work for the worker role, across tenants: versions that expire soon."""

    async def due(self, within_s: float, limit: int) -> Sequence[ExpiringVersion]:
        """Newest versions of their secrets that expire within this time, have their value and
        were not reminded of; soonest first."""

    async def remind(self, version: ExpiringVersion, record: AuditRecord) -> bool:
        """Write the reminder's record; False when it was written before."""
