"""What an operator runs beside the service: migrations and tenants, with the admin's logins."""

from __future__ import annotations

import getpass
import uuid
from collections.abc import Callable

from vault_service.adapters.clock import SystemClock, SystemEntropy
from vault_service.adapters.postgres.abandoned_spools import PostgresAbandonedSpools
from vault_service.adapters.postgres.migrate import MigrationsMissing, migrate, roles_sql
from vault_service.adapters.postgres.pool import Database
from vault_service.adapters.postgres.tenants import PostgresTenantStore
from vault_service.adapters.transit.admin import TransitAdmin
from vault_service.app.settings import database_settings, transit_settings
from vault_service.config import Config
from vault_service.domain.access import Call, Caller
from vault_service.domain.audit import AuditAction
from vault_service.domain.names import SYSTEM_TENANT
from vault_service.usecases.create_tenant import CreateTenant
from vault_service.usecases.recorder import Recorder

__all__ = ["MigrationsMissing", "abandon_spool", "create_tenant", "roles_sql", "run_migrations"]

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
    try:
        return await create(_call("tenant-create", clock, entropy), tenant)
    finally:
        await database.close()
        await keys.close()


async def abandon_spool(config: Config, spool_id: uuid.UUID) -> bool:
    """True when recovery waits for it no more from now on, False when it did not before."""
    clock, entropy = SystemClock(), SystemEntropy()
    database = Database(database_settings(config, config.database.user))
    recorder = Recorder(config.deployment, config.instance, entropy)
    call = _call("spool-abandon", clock, entropy)
    # A spool holds attempts of every tenant.
    record = recorder.done(call, AuditAction.SPOOL_ABANDONED, SYSTEM_TENANT, f"spools/{spool_id}")
    try:
        return await PostgresAbandonedSpools(database).abandon(spool_id, record)
    finally:
        await database.close()


def _call(command: str, clock: SystemClock, entropy: SystemEntropy) -> Call:
    # Who ran it: the command line has no certificate, the record names the system's user.
    return Call(
        caller=Caller(f"cli:{getpass.getuser()}", ""),
        rpc=f"cli/{command}",
        request_id=entropy.uuid7().hex,
        source="",
        deadline=clock.monotonic() + _BUDGET_S,
    )
