"""In-memory OAuthClients and their credentials."""

from __future__ import annotations

from dataclasses import replace

from tests.fakes.paging import page_by_id
from tests.fakes.tables import FakeTables, KeptCredential
from vault_service.adapters.postgres import pages
from vault_service.domain.audit import AuditRecord
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import OAuthClientName, ProviderName
from vault_service.domain.oauth import CredentialVersion, OAuthClient, SealedCredential
from vault_service.ports import Page


class FakeOAuthClientStore:
    """ports.OAuthClientStore; a row's own ``credentials`` has the one in use only."""

    def __init__(self, tables: FakeTables) -> None:
        self._tables = tables

    async def put(self, client: OAuthClient, expected_revision: int, record: AuditRecord) -> bool:
        await self._tables.reach()
        self._tables.require_tenant(client.name.tenant)
        old = self._tables.oauth_clients.get(client.name)
        if (old.revision if old else 0) != expected_revision:
            return False
        if ProviderName(client.name.tenant, client.provider) not in self._tables.providers:
            raise VaultError(Reason.PROVIDER_NOT_FOUND, "no such provider")
        for other in self._tables.oauth_clients.values():
            same = (other.issuer, other.client_id) == (client.issuer, client.client_id)
            if same and other.name != client.name:
                raise VaultError(Reason.CLIENT_ID_IN_USE, "another has it")
        self._tables.record(record)
        now = self._tables.clock.now()
        used = CredentialVersion(client.credential_version, now)
        if old and old.credential_version == client.credential_version:
            (used,) = old.credentials
        self._tables.oauth_clients[client.name] = replace(
            client,
            revision=expected_revision + 1,
            create_time=old.create_time if old else now,
            update_time=now,
            suspend_time=old.suspend_time if old else None,
            credentials=(used,),
        )
        if old and old.credential_version != client.credential_version:
            self._retire(client.name, old.credential_version)
            if client.is_public:
                for version in self._standing(client):
                    self._retire(client.name, version)
        return True

    async def get(self, name: OAuthClientName) -> OAuthClient | None:
        await self._tables.reach()
        return self._read(name)

    async def list(self, tenant: str, page_size: int, page_token: str) -> Page[OAuthClient]:
        after = pages.text_key(page_token)
        await self._tables.reach()
        names = [name for name in self._tables.oauth_clients if name.tenant == tenant]
        return page_by_id(
            [client for name in names if (client := self._read(name))],
            page_size,
            lambda client: client.name.oauth_client,
            after,
        )

    async def next_credential_version(self, name: OAuthClientName) -> int:
        await self._tables.reach()
        row = self._tables.oauth_clients.get(name)
        used = row.credential_version if row else 0
        return max([used, *self._tables.credentials.get(name, {})]) + 1

    async def add_credential(
        self, client: OAuthClient, credential: SealedCredential, record: AuditRecord
    ) -> bool:
        await self._tables.reach()
        row = self._at(client)
        if row is None:
            return False
        self._tables.record(record)
        kept = KeptCredential(row.credential_envelope, row.credentials[0].create_time)
        self._beside(client.name).setdefault(row.credential_version, kept)
        added = KeptCredential(credential.envelope, self._tables.clock.now())
        self._use(row, credential.version, added)
        return True

    async def retire_credential(
        self, client: OAuthClient, version: int, record: AuditRecord
    ) -> bool:
        await self._tables.reach()
        row = self._at(client)
        if row is None:
            return False
        heirs = self._standing(row)
        if version == row.credential_version and not heirs:
            return False
        self._tables.record(record)
        if version == row.credential_version:
            self._use(row, max(heirs), heirs[max(heirs)])
        else:
            self._change(row)
        self._retire(client.name, version)
        return True

    async def older_credential(self, client: OAuthClient) -> SealedCredential | None:
        await self._tables.reach()
        row = self._tables.oauth_clients[client.name]
        standing = self._standing(row)
        if not standing:
            return None
        envelope = standing[max(standing)].envelope
        assert envelope is not None
        return SealedCredential(max(standing), envelope)

    async def suspend(
        self, name: OAuthClientName, suspended: bool, record: AuditRecord
    ) -> OAuthClient | None:
        await self._tables.reach()
        row = self._tables.oauth_clients.get(name)
        if row is not None and (row.suspend_time is None) == suspended:
            self._tables.record(record)
            self._change(replace(row, suspend_time=self._tables.clock.now() if suspended else None))
        return self._read(name)

    def _read(self, name: OAuthClientName) -> OAuthClient | None:
        row = self._tables.oauth_clients.get(name)
        if row is None:
            return None
        standing = self._standing(row)
        older = [CredentialVersion(n, standing[n].create_time) for n in sorted(standing)[::-1]]
        return replace(row, credentials=(*row.credentials, *older))

    def _at(self, client: OAuthClient) -> OAuthClient | None:
        row = self._tables.oauth_clients.get(client.name)
        return row if row and row.revision == client.revision else None

    def _beside(self, name: OAuthClientName) -> dict[int, KeptCredential]:
        return self._tables.credentials.setdefault(name, {})

    def _standing(self, row: OAuthClient) -> dict[int, KeptCredential]:
        return {
            version: kept
            for version, kept in self._tables.credentials.get(row.name, {}).items()
            if kept.envelope is not None and version != row.credential_version
        }

    def _use(self, row: OAuthClient, version: int, kept: KeptCredential) -> None:
        assert kept.envelope is not None
        self._change(
            replace(
                row,
                credential_envelope=kept.envelope,
                credential_version=version,
                credentials=(CredentialVersion(version, kept.create_time),),
            )
        )

    def _retire(self, name: OAuthClientName, version: int) -> None:
        self._beside(name)[version] = KeptCredential(None, None)

    def _change(self, row: OAuthClient) -> None:
        now = self._tables.clock.now()
        changed = replace(row, revision=row.revision + 1, update_time=now)
        self._tables.oauth_clients[row.name] = changed
