"""The configuration, as the adapters take it."""

from __future__ import annotations

from vault_service.adapters.postgres.pool import DatabaseSettings
from vault_service.adapters.spool.settings import SpoolSettings
from vault_service.adapters.transit.settings import TransitSettings
from vault_service.config import Config
from vault_service.domain.refresh_times import RefreshTimes
from vault_service.domain.schedule import Scheduling

_WORKER_POOL = 3


def database_settings(config: Config, user: str) -> DatabaseSettings:
    """For one of the two roles; the worker has its own password and a small pool."""
    database = config.database
    is_worker = user == database.worker_user
    password_file = database.worker_password_file if is_worker else database.password_file
    assert password_file is not None, "config.faults asked for it"
    return DatabaseSettings(
        host=database.host,
        port=database.port,
        name=database.name,
        user=user,
        password_file=password_file,
        ca_file=database.ca_file,
        pool_size=_WORKER_POOL if is_worker else database.pool_size,
        statement_limit_s=database.statement_limit_s,
        application_name=f"tokenvault {config.instance}"[:63],
    )


def transit_settings(config: Config) -> TransitSettings:
    """The login and the names of keys."""
    transit = config.transit
    return TransitSettings(
        address=transit.address,
        ca_file=transit.ca_file,
        mount=transit.mount,
        key_prefix=transit.key_prefix,
        role_id_file=transit.role_id_file,
        secret_id_file=transit.secret_id_file,
        auth_mount=transit.auth_mount,
        deployment=config.deployment,
    )


def spool_settings(config: Config) -> SpoolSettings:
    """Its folder as an absolute path. ValueError for a folder that is not ours alone."""
    assert config.spool.path is not None, "config.faults asked for it"
    return SpoolSettings(folder=config.spool.path.absolute(), slots=config.spool.slots)


def scheduling(config: Config) -> Scheduling:
    """What the operator decided."""
    chosen = config.scheduler
    return Scheduling(chosen.in_use_s, chosen.batch, chosen.parallel, chosen.rate_per_s)


def refresh_times(config: Config) -> RefreshTimes:
    """A lease that outlives its request by the margin."""
    refresh = config.refresh
    return RefreshTimes(
        refresh.post_limit_s, refresh.lease_margin_s, answer_limit_s=refresh.answer_limit_s
    )
