"""Key wrappers to try: the fake, one on the embedded OpenBao, one that can be made to refuse."""

from __future__ import annotations

import asyncio
from typing import Protocol

from tests.fakes.keys import FakeKeyWrapper
from tests.support.openbao import DevOpenBao
from vault_service.adapters.clock import SystemClock
from vault_service.adapters.transit import TransitKeyWrapper, TransitSettings, key_name
from vault_service.adapters.transit.connection import Connection
from vault_service.adapters.transit.login import Login
from vault_service.embedded.openbao import EmbeddedOpenBao, OpenBaoHandle
from vault_service.embedded.openbao_config import ADMIN_ROLE, SERVICE_ROLE
from vault_service.ports import KeyWrapper

TENANTS = ("acme", "globex")


class Subject(Protocol):
    """A wrapper under test, and what can happen behind it."""

    @property
    def wrapper(self) -> KeyWrapper:
        """The wrapper."""

    async def rotate(self, tenant: str) -> None:
        """A new KEK version."""

    async def go_away(self) -> None:
        """Be sealed."""


class FaultySubject(Subject, Protocol):
    """Also what only the key store's root may do."""

    async def delete_key(self, tenant: str) -> None:
        """Shred the tenant."""

    async def deny(self) -> None:
        """Take the permission away."""


class FakeSubject:
    def __init__(self) -> None:
        self.wrapper = FakeKeyWrapper("dep-1", tenants=TENANTS)

    async def rotate(self, tenant: str) -> None:
        self.wrapper.rotate(tenant)

    async def go_away(self) -> None:
        self.wrapper.unreachable = True

    async def delete_key(self, tenant: str) -> None:
        self.wrapper.delete_key(tenant)

    async def deny(self) -> None:
        self.wrapper.denied = True


class DevSubject:
    """A wrapper on an OpenBao whose root token the test holds."""

    def __init__(self, bao: DevOpenBao) -> None:
        self.bao = bao
        self.sealed = self.denied = False
        self.wrapper = TransitKeyWrapper(bao.settings(), SystemClock())

    async def rotate(self, tenant: str) -> None:
        self.bao.root("POST", f"{self.bao.key_path(tenant)}/rotate")

    async def go_away(self) -> None:
        self.sealed = True
        self.bao.seal()

    async def delete_key(self, tenant: str) -> None:
        path = self.bao.key_path(tenant)
        self.bao.root("POST", f"{path}/config", deletion_allowed=True)
        self.bao.root("DELETE", path)

    async def deny(self) -> None:
        self.denied = True
        self.bao.allow("service", 'path "transit/nothing" { capabilities = ["read"] }')

    async def close(self) -> None:
        await self.wrapper.close()
        if self.sealed:
            self.bao.unseal()
        if self.denied:
            self.bao.allow("service")


class EmbeddedSubject:
    """A wrapper on the OpenBao of ``make run``: its policies, its logins, no root token."""

    def __init__(self, bao: EmbeddedOpenBao, handle: OpenBaoHandle) -> None:
        self.bao = bao
        self.handle = handle
        self.sealed = False
        self.wrapper = TransitKeyWrapper(settings_of(handle, SERVICE_ROLE), SystemClock())

    async def rotate(self, tenant: str) -> None:
        settings, clock = settings_of(self.handle, ADMIN_ROLE), SystemClock()
        connection = Connection(settings, clock)
        token = await Login(connection, settings, clock).token()
        name = key_name(settings.key_prefix, settings.deployment, tenant)
        path = f"{settings.mount}/keys/{name}/rotate"
        answer = await connection.post(path, {}, connection.deadline(), token.secret)
        await connection.close()
        assert answer.status == 200

    async def go_away(self) -> None:
        self.sealed = True
        await asyncio.to_thread(self.bao.seal)

    async def close(self) -> None:
        await self.wrapper.close()
        if self.sealed:
            self.bao.stop()
            self.bao.start()


def settings_of(handle: OpenBaoHandle, role: str) -> TransitSettings:
    return TransitSettings(
        address=handle.address,
        ca_file=handle.ca_file,
        mount=handle.mount,
        key_prefix="tokenvault-",
        role_id_file=handle.role_id_file(role),
        secret_id_file=handle.secret_id_file(role),
        auth_mount="approle",
        deployment="dep-1",
    )
