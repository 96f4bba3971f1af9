"""The servers of a campaign, and what every slot's database begins with."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from tests.campaigns.kill_matrix.moments import PROVIDERS, Provider
from tests.campaigns.kill_matrix.scaling import scaled
from tests.campaigns.kill_matrix.vault import DEPLOYMENT, OWNER, TENANT, Place
from tests.support.authserver import (
    CLIENT_ID,
    CLIENT_SECRET,
    AuthServerProcess,
    Behaviour,
    RemoteAuthServer,
)
from tests.support.openbao import DevOpenBao
from tests.support.postgres import APP, TEMPLATE, WORKER, DevPostgres
from tests.support.postgres import OWNER as OWNER_ROLE
from tests.support.samples import a_profile, a_record, an_oauth_client
from vault_service.adapters.clock import SystemClock, SystemEntropy
from vault_service.adapters.postgres.deks import PostgresDekStore
from vault_service.adapters.postgres.oauth_clients import PostgresOAuthClientStore
from vault_service.adapters.postgres.pool import Database
from vault_service.adapters.postgres.providers import PostgresProviderStore
from vault_service.adapters.postgres.tenants import PostgresTenantStore
from vault_service.adapters.transit import TransitAdmin, TransitKeyWrapper
from vault_service.crypto.envelopes import Envelopes
from vault_service.crypto.ring import DekRing
from vault_service.domain import limits
from vault_service.domain.envelope import DekOwner, Level
from vault_service.domain.names import OAuthClientName, ProviderName
from vault_service.domain.oauth import credential_binding
from vault_service.domain.provider import ProviderProfile, RefreshClass
from vault_service.domain.sensitive import Sensitive
from vault_service.embedded.devca import DevCA

_ROLES = (APP, WORKER, OWNER_ROLE)
_GRACE = "ALTER TABLE refresh_attempts ALTER COLUMN grace_s TYPE double precision"
_CONNECTIONS_OF_A_SLOT = 24  # three processes and one that has just died, two roles, three each
_TRANSIT = ("address", "mount", "key_prefix", "auth_mount", "deployment")
_TRANSIT_PATHS = ("ca_file", "role_id_file", "secret_id_file")


@contextmanager
def prepared(slots: int, *, transit: bool) -> Iterator[tuple[list[Place], DevPostgres]]:
    """One place for each slot: a database of its own, copied from one that was prepared.

    ``transit``: every process unwraps its DEKs at OpenBao itself; else that was done here, once.
    """
    # Not below pytest's: PostgreSQL runs as another uid when this is root, and socket paths are
    # short.
    folder = Path(tempfile.mkdtemp(prefix="tvk-"))
    folder.chmod(0o711)
    connections_max = 100 + slots * _CONNECTIONS_OF_A_SLOT
    postgres = DevPostgres(folder / "db", connections_max=connections_max)
    bao = DevOpenBao(_made(folder / "bao"))
    try:
        postgres.start()
        # A grace that is a part of a second here.
        postgres.sql(_GRACE, TEMPLATE)
        _sign_in_cheaply(postgres)
        bao.start()
        ca = DevCA(_made(folder / "ca"))
        with AuthServerProcess(folder, ca) as server:
            first = _place(folder, ca, postgres, server, bao, transit)
            deks = asyncio.run(_prepare(first, bao))
            places = []
            for number in range(slots):
                name = f"slot_{number}"
                postgres.sql(f"CREATE DATABASE {name} TEMPLATE {first.database} OWNER {OWNER_ROLE}")
                home = _made(folder / name)
                kept = {} if transit else deks
                places.append(replace(first, database=name, folder=str(home), deks=kept))
            yield places, postgres
    finally:
        bao.stop()
        postgres.remove()
        shutil.rmtree(folder, ignore_errors=True)


def _sign_in_cheaply(postgres: DevPostgres) -> None:
    """Every run makes connections; 4,096 rounds of hashing for each would be half of its work."""
    postgres.sql("ALTER SYSTEM SET scram_iterations = 1")
    postgres.sql("SELECT pg_reload_conf()")
    for role in (APP, WORKER):
        password = postgres.handle.password_file(role).read_text().strip()
        postgres.sql(f"ALTER ROLE {role} PASSWORD '{password}'")


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    return folder


def _place(
    folder: Path,
    ca: DevCA,
    postgres: DevPostgres,
    server: RemoteAuthServer,
    bao: DevOpenBao,
    transit: bool,
) -> Place:
    for provider in PROVIDERS:
        grace_s = scaled(provider.grace_s)
        facts = {"refresh_class": provider.refresh_class, "grace_s": grace_s}
        behaviour = msgspec.convert({**facts, **provider.behaviour}, Behaviour)
        server.realm(provider.name, behaviour)
    settings = bao.settings(deployment=DEPLOYMENT)
    names = (*_TRANSIT, *_TRANSIT_PATHS) if transit else ()
    (port_file,) = folder.glob("authserver-*.json")
    return Place(
        socket_dir=str(postgres.handle.socket_dir),
        database_port=postgres.handle.port,
        password_files={role: str(postgres.handle.password_file(role)) for role in _ROLES},
        database=postgres.migrated_database(),
        provider_port=server.port,
        provider_port_file=str(port_file),
        ca_file=str(ca.root_file),
        folder=str(folder),
        deks={},
        transit={name: str(getattr(settings, name)) for name in names},
    )


async def _prepare(place: Place, bao: DevOpenBao) -> dict[str, str]:
    """Tenant, providers and registrations; returns the DEKs in clear, by id in hex."""
    clock, entropy = SystemClock(), SystemEntropy()
    settings = bao.settings(deployment=DEPLOYMENT)
    admin = TransitAdmin(bao.settings("admin", deployment=DEPLOYMENT), clock)
    await admin.create_tenant_key(TENANT)
    await admin.close()
    owner = Database(place.database_settings(OWNER_ROLE, "preparation"))
    assert await PostgresTenantStore(owner).create(TENANT, a_record(TENANT))
    await owner.close()
    database = Database(place.database_settings(APP, "preparation"))
    wrapper = TransitKeyWrapper(settings, clock)
    store = PostgresDekStore(database)
    ring = DekRing(wrapper, store, entropy, clock)
    envelopes = Envelopes(DEPLOYMENT, ring, entropy)
    for provider in PROVIDERS:
        await _register(place, database, envelopes, provider)
    opened = {}
    for whose in (DekOwner(TENANT, Level.APPLICATION, ""), DekOwner(TENANT, Level.USER, OWNER)):
        dek_id = (await ring.sealing(whose)).dek_id
        row = await store.find(TENANT, dek_id)
        assert row is not None
        opened[dek_id.hex()] = (await wrapper.unwrap(row)).reveal().hex()
    await ring.close()
    await wrapper.close()
    await database.close()
    return opened


async def _register(
    place: Place, database: Database, envelopes: Envelopes, provider: Provider
) -> None:
    profile = profile_of(place, provider)
    name = f"op-{provider.name}"
    await put_profile(place, database, provider)
    client = OAuthClientName(TENANT, f"crm-{provider.name}")
    binding = credential_binding(client, 1, name)
    sealer = await envelopes.sealer(binding.dek_owner)
    registered = an_oauth_client(
        TENANT,
        client.oauth_client,
        provider=name,
        issuer=profile.issuer,
        client_id=CLIENT_ID,
        credential_envelope=sealer.seal(binding, Sensitive.from_text(CLIENT_SECRET)),
    )
    assert await PostgresOAuthClientStore(database).put(registered, 0, a_record(TENANT))


def profile_of(place: Place, provider: Provider, **changes: object) -> ProviderProfile:
    """Straight into the table: the interface takes whole seconds of grace and confirmation."""
    issuer = f"https://127.0.0.1:{place.provider_port}/{provider.name}"
    more = {
        name: f"{issuer}{value}" if isinstance(value, str) else value
        for name, value in provider.profile.items()
    }
    return a_profile(
        issuer=issuer,
        authorization_endpoint=f"{issuer}/authorize",
        token_endpoint=f"{issuer}/token",
        revocation_endpoint=f"{issuer}/revoke",
        refresh_class=RefreshClass[provider.refresh_class],
        grace_s=scaled(provider.grace_s),
        confirm_after_s=limits.CONFIRM_AFTER_S,
        **{**more, **changes},
    )


async def put_profile(
    place: Place, database: Database, provider: Provider, **changes: object
) -> None:
    """Register this provider, or change what is known of it."""
    name = ProviderName(TENANT, f"op-{provider.name}")
    profile = profile_of(place, provider, **changes)
    await PostgresProviderStore(database).put(name, profile, a_record(TENANT))
