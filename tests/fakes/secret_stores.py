"""In-memory secrets, their versions, and the requests that made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from tests.fakes.paging import page_by_id
from tests.fakes.tables import FakeTables
from vault_service.adapters.postgres import pages
from vault_service.domain.audit import AuditRecord
from vault_service.domain.names import SecretName, SecretParent
from vault_service.domain.secret import (
    AnsweredRequest,
    ExpiringVersion,
    Secret,
    SecretRequest,
    SecretVersion,
)
from vault_service.ports import Page


def stamped(version: SecretVersion, now: datetime) -> SecretVersion:
    """As it is read at this moment."""
    return replace(version, read_time=now)


class FakeSecretStore:
    def __init__(self, tables: FakeTables) -> None:
        self._tables = tables

    async def get(self, name: SecretName) -> Secret | None:
        await self._tables.reach()
        return self._tables.secret_rows.get(name)

    async def next_version(self, name: SecretName) -> int:
        known = await self.get(name)
        return known.version + 1 if known else 1

    async def put(
        self,
        version: SecretVersion,
        record: AuditRecord,
        *,
        labels: Mapping[str, str] | None = None,
        expected_revision: int | None = None,
        request: SecretRequest | None = None,
    ) -> bool:
        await self._tables.reach()
        name, now = version.name, self._tables.clock.now()
        self._tables.require_tenant(name.tenant)
        asked = (name.tenant, request.caller, request.request_id) if request else None
        known = self._tables.secret_rows.get(name) or Secret(name, 0, {}, 0, now, now)
        moved = expected_revision is not None and expected_revision != known.revision
        if asked in self._tables.requests or known.version != version.version - 1 or moved:
            return False
        self._tables.record(record)
        if asked and request:
            answered = AnsweredRequest(request.digest, name, version.version)
            self._tables.requests[asked] = answered
        self._tables.secret_rows[name] = replace(
            known,
            version=version.version,
            labels=known.labels if labels is None else dict(labels),
            revision=known.revision + 1,
            update_time=now,
            delete_time=None,
        )
        self._tables.secrets.setdefault(name, []).append(replace(version, create_time=now))
        return True

    async def answered(self, tenant: str, caller: str, request_id: str) -> AnsweredRequest | None:
        await self._tables.reach()
        return self._tables.requests.get((tenant, caller, request_id))

    async def latest(self, name: SecretName) -> SecretVersion | None:
        await self._tables.reach()
        return max(self._versions(name), key=lambda version: version.version, default=None)

    async def get_version(self, name: SecretName, version: int) -> SecretVersion | None:
        await self._tables.reach()
        return next((one for one in self._versions(name) if one.version == version), None)

    async def list(self, parent: SecretParent, page_size: int, page_token: str) -> Page[Secret]:
        after = pages.text_key(page_token)
        await self._tables.reach()
        found = [
            secret
            for secret in self._tables.secret_rows.values()
            if (secret.name.tenant, secret.name.owner) == (parent.tenant, parent.owner)
            and secret.delete_time is None
        ]
        return page_by_id(found, page_size, lambda secret: secret.name.secret, after)

    async def list_versions(
        self, name: SecretName, page_size: int, page_token: str
    ) -> Page[SecretVersion]:
        before = pages.int_key(page_token, pages.LAST_INT)
        await self._tables.reach()
        found = [one for one in self._versions(name) if one.version < before]
        found.sort(key=lambda version: -version.version)
        return pages.page_of(found, page_size, lambda one: pages.int_bytes(one.version))

    async def destroy(
        self, name: SecretName, version: int, record: AuditRecord
    ) -> SecretVersion | None:
        found = await self.get_version(name, version)
        if found is None or found.destroy_time is not None:
            return found
        self._tables.record(record)
        self._touch(name)
        self._destroy(name, {version})
        return await self.get_version(name, version)

    async def delete(self, secret: Secret, record: AuditRecord) -> bool:
        await self._tables.reach()
        known = self._tables.secret_rows.get(secret.name)
        if known is None or known.delete_time or known.revision != secret.revision:
            return False
        self._tables.record(record)
        self._touch(secret.name)
        self._tables.secret_rows[secret.name] = replace(
            self._tables.secret_rows[secret.name],
            labels={},
            delete_time=self._tables.clock.now(),
        )
        self._destroy(secret.name, {one.version for one in self._versions(secret.name)})
        return True

    def _versions(self, name: SecretName) -> Sequence[SecretVersion]:
        now = self._tables.clock.now()
        return [stamped(version, now) for version in self._tables.secrets.get(name, ())]

    def _touch(self, name: SecretName) -> None:
        known, now = self._tables.secret_rows[name], self._tables.clock.now()
        changed = replace(known, revision=known.revision + 1, update_time=now)
        self._tables.secret_rows[name] = changed

    def _destroy(self, name: SecretName, numbers: set[int]) -> None:
        now = self._tables.clock.now()
        self._tables.secrets[name] = [
            replace(one, envelope=None, destroy_time=one.destroy_time or now)
            if one.version in numbers
            else one
            for one in self._tables.secrets[name]
        ]


class FakeSecretReminders:
    def __init__(self, tables: FakeTables) -> None:
        self._tables = tables

    async def due(self, within_s: float, limit: int) -> Sequence[ExpiringVersion]:
        await self._tables.reach()
        until = self._tables.clock.now() + timedelta(seconds=within_s)
        found = [
            ExpiringVersion(name, one.version, one.expire_time)
            for name, versions in self._tables.secrets.items()
            for one in versions
            if one.version == self._tables.secret_rows[name].version
            and one.destroy_time is None
            and one.expire_time is not None
            and one.expire_time <= until
            and (name, one.version) not in self._tables.reminded
        ]
        return sorted(found, key=lambda version: version.expire_time)[:limit]

    async def remind(self, version: ExpiringVersion, record: AuditRecord) -> bool:
        await self._tables.reach()
        key = (version.name, version.version)
        standing = any(
            one.version == version.version and one.destroy_time is None
            for one in self._tables.secrets.get(version.name, ())
        )
        if key in self._tables.reminded or not standing:
            return False
        self._tables.record(record)
        self._tables.reminded.add(key)
        return True
