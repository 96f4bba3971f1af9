"""The demo provider registered at a running service, and a person who consents there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import tokenvault_client as sdk
from tests.support.vault import RealVault
from vault_service.embedded.browser import Browser
from vault_service.embedded.demo import DemoProviderHandle, EmbeddedDemoProvider
from vault_service.embedded.machine import choose_port
from vault_service.embedded.settings_files import TENANT
from vault_service.embedded.story import DemoProvider, registration


@dataclass(frozen=True)
class Demo:
    """A service process that knows the demo provider, as ``tokenvault dev`` sets it up."""

    provider: DemoProviderHandle
    clients: dict[str, Path]  # client.toml by caller
    port: int
    callback_port: int
    oauth_client: str

    def client(self, caller: str) -> sdk.SyncTokenVaultClient:
        """A client with the certificate of ``caller``."""
        return sdk.SyncTokenVaultClient.from_file(self.clients[caller])

    def consent(self, owner: str, *, user: str = "ada", label: str = "") -> str:
        """A person's consent, browser included; the name of the alias."""
        with self.client("calendar-app") as app:
            started = app.start_authorization(
                self.oauth_client,
                owner=owner,
                redirect_uri=self.provider.redirect_uri,
                label=label,
            )
            returned = Browser(self.provider.ca_file).consent(started.url, user=user)
            return app.complete_authorization(
                sdk.tenant_name(TENANT),
                state=returned.state,
                code=returned.code,
                iss=returned.iss,
                owner=owner,
                redirect_uri=self.provider.redirect_uri,
            ).alias


@contextmanager
def running_demo(vault: RealVault, name: str, *, access_life_s: int) -> Iterator[Demo]:
    """Starts the demo provider and a process ``name`` that may reach it."""
    callback_port = choose_port()
    embedded = EmbeddedDemoProvider(
        vault.directory / f"{name}-provider",
        vault.ca,
        redirect_uri=f"http://127.0.0.1:{callback_port}/callback",
        access_life_s=access_life_s,
    )
    provider = embedded.start()
    try:
        port = vault.serve(name, [provider.host_port])
        told = DemoProvider(
            provider.base_url, provider.client_id, provider.client_secret, provider.redirect_uri
        )
        put, oauth_client = registration(told)
        # Names of their own: the tests of a session share one tenant, and an issuer stays.
        put = replace(put, name=sdk.provider_name(TENANT, f"demo-{name}"))
        oauth_client = replace(
            oauth_client, name=sdk.oauth_client_name(TENANT, f"calendar-{name}"), provider=put.name
        )
        clients = dict(vault.client_files(port))
        with sdk.SyncTokenVaultClient.from_file(clients["operator"]) as operator:
            operator.put_provider(put)
            operator.put_oauth_client(oauth_client, client_secret=provider.client_secret)
        yield Demo(provider, clients, port, callback_port, oauth_client.name)
    finally:
        if name in vault.processes:
            vault.stop_process(name)
        embedded.destroy()
