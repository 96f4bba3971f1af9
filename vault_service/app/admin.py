"""What an operator runs beside the service: migrations and tenants, with the admin's logins."""

from __future__ import annotations

import getpass
from collections.abc import Callable

from vault_service.adapters.clock import SystemClock, SystemEntropy
from vault_service.adapters.postgres.migrate import MigrationsMissing, migrate, roles_sql
from vault_service.adapters.postgres.pool import Database
from vault_service.adapters.postgres.tenants import PostgresTenantStore
from vault_service.adapters.transit.admin import TransitAdmin
from vault_service.app.settings import database_settings, transit_settings
from vault_service.config import Config
from vault_service.domain.access import Call, Caller
from vault_service.usecases.create_tenant import CreateTenant
from vault_service.usecases.recorder import Recorder

__all__ = ["MigrationsMissing", "create_tenant", "roles_sql", "run_migrations"]

_BUDGET_S = 60.0


async def run_migrations(
    config: Config, applying: Callable[[str], None] = lambda _: None
) -> list[str]:
    """Apply what is missing; returns the names. The configured user owns the tables; ``applying``
    hears each name before its turn.
    """
    database = Database(database_settings(config, config.database.user))
    try:
        return await migrate(database, applying=applying)
    finally:
        await database.close()


async def create_tenant(config: Config, tenant: str) -> bool:
    """True when it was created now, False when it was there."""
    clock, entropy = SystemClock(), SystemEntropy()
    database = Database(database_settings(config, config.database.user))
    keys = TransitAdmin(transit_settings(config), clock)
    create = CreateTenant(
        keys=keys,
        tenants=PostgresTenantStore(database),
        recorder=Recorder(config.deployment, config.instance, entropy),
    )
    # Who ran it: the command line has no certificate, the record names the system's user.
    call = Call(
        caller=Caller(f"cli:{getpass.getuser()}", ""),
        rpc="cli/tenant-create",
        request_id=entropy.uuid7().hex,
        source="",
        deadline=clock.monotonic() + _BUDGET_S,
    )
    try:
        return await create(call, tenant)
    finally:
        await database.close()
        await keys.close()
