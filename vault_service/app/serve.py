"""Runs the service until it is told to stop.

Wrong configuration never starts (``ConfigInvalid``: exit 78). What is unreachable or sealed does:
the service listens, says NOT_SERVING with the reason, and goes on trying.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from vault_service.adapters.cedar import CedarPolicy, PolicyInvalid
from vault_service.adapters.postgres.events import PostgresEventSweeper
from vault_service.adapters.postgres.kept_consents import PostgresSweeper
from vault_service.adapters.postgres.migrate import (
    MigrationsMissing,
    RoleTooPowerful,
    check_migrations,
    check_role,
)
from vault_service.adapters.postgres.pool import Database
from vault_service.adapters.postgres.secret_upkeep import PostgresRequestSweeper
from vault_service.adapters.process import harden
from vault_service.adapters.status_http import StatusServer
from vault_service.app.compose import Parts
from vault_service.app.drain import StopSignals, drain, stop
from vault_service.app.instruments import Instruments, traces_of
from vault_service.app.meters import watch
from vault_service.app.servicers import servicers
from vault_service.app.settings import database_settings
from vault_service.app.status import status_server
from vault_service.app.watched import Watched
from vault_service.config import Config, ConfigInvalid, faults
from vault_service.domain import limits
from vault_service.domain.errors import VaultError
from vault_service.rpc.server import Server, TlsFiles
from vault_service.telemetry import configure_logging, get_logger
from vault_service.telemetry.meters import LoopMeter
from vault_service.worker.attempts import INTERVAL_S as ATTEMPT_INTERVAL_S
from vault_service.worker.attempts import AttemptSweep
from vault_service.worker.backlogs import INTERVAL_S as BACKLOG_INTERVAL_S
from vault_service.worker.loop import every
from vault_service.worker.loop_delay import measure_loop_delay
from vault_service.worker.readiness import INTERVAL_S as READINESS_INTERVAL_S
from vault_service.worker.readiness import Readiness
from vault_service.worker.revocations import INTERVAL_S as REVOCATION_INTERVAL_S
from vault_service.worker.revocations import RevocationSweep
from vault_service.worker.scheduler import INTERVAL_S as SCHEDULER_INTERVAL_S
from vault_service.worker.scheduler import USED_INTERVAL_S, Scheduler
from vault_service.worker.upkeep import INTERVAL_S as REMINDER_INTERVAL_S
from vault_service.worker.upkeep import ReminderSweep
from vault_service.worker.webhooks import WebhookDispatch

_AUTHORIZATION_SWEEP_S = 600.0
_AUTHORIZATION_SWEEP_MAX = 1_000
_ATTEMPT_DELETE_MAX = 10_000
_REQUEST_SWEEP_S = 60.0
_log = get_logger("service")


async def check(config: Config) -> CedarPolicy:
    """The policy in force; raises ConfigInvalid naming all that is wrong.

    Looks at files and, where the database answers, at its migrations. Unreachable is not wrong.
    """
    found = faults(config, serving=True)
    if found:
        raise ConfigInvalid("\n".join(found))
    try:
        policy = CedarPolicy.load(config.policy_file)
    except PolicyInvalid as error:
        raise ConfigInvalid(f"policy_file: {error}") from None
    await _build(config, policy).close()
    database = Database(database_settings(config, config.database.user))
    try:
        await check_migrations(database)
        await check_role(database)
    except (MigrationsMissing, RoleTooPowerful) as error:
        raise ConfigInvalid(f"database: {error}") from None
    except VaultError as error:
        _log.warning("database_unchecked", reason=error.reason.name)
    finally:
        await database.close()
    return policy


async def serve(config: Config) -> None:
    """Serve until SIGTERM or SIGINT, then drain. ConfigInvalid; OSError for a taken port."""
    configure_logging(config.log.level, config.log.json_lines)
    undumpable = harden()
    policy = await check(config)
    instruments = Instruments(traces_of(config))
    parts = _build(config, policy, instruments)
    server = _server(config, parts)
    readiness = _readiness(parts, server)
    watched = Watched(config, parts, readiness)
    watch(watched)
    status = status_server(watched)
    dispatch = WebhookDispatch(parts.events.deliver, parts.clock, parts.entropy)
    watches, sweeps = _watches(parts, readiness), _sweeps(config, parts, dispatch)
    signals = StopSignals()
    with signals.caught():  # to the very end: no signal cuts off what is being closed
        try:
            await _listen_for_status(config, status)
            await _open_spool(parts)
            port = await server.start(config.server.host, config.server.port)
            if config.server.port_file is not None:
                _write_port(config.server.port_file, port)
            _log.info(
                "listening",
                address=f"{config.server.host}:{port}",
                policy_version=policy.version,
                undumpable=undumpable,
            )
            await signals.stop.wait()
            watched.draining = True
            await parts.refresh_ahead.stop()
            notice_s = config.server.drain_notice_s
            await parts.refresh_ahead.stop()
            parts.events.watches.close()
            await drain(server, parts.flights, sweeps, notice_s, signals)
        finally:
            await stop([*watches, *sweeps])
            await dispatch.close()
            await parts.revoke_at_provider.close()
            await _close(parts, status)


async def _listen_for_status(config: Config, status: StatusServer) -> None:
    metrics = config.metrics
    if metrics.port is None:
        return
    port = await status.start(metrics.host, metrics.port)
    if metrics.port_file is not None:
        _write_port(metrics.port_file, port)
    _log.info("metrics listening", address=f"{metrics.host}:{port}")


async def _close(parts: Parts, status: StatusServer) -> None:
    await parts.close()
    await parts.instruments.traces.close(limits.SPAN_FLUSH_S)
    await status.stop()


def _build(config: Config, policy: CedarPolicy, instruments: Instruments | None = None) -> Parts:
    try:
        return Parts(config, policy, instruments)
    except ValueError as error:
        # What the adapters refuse of their settings; their texts name no secret.
        raise ConfigInvalid(str(error)) from None


async def _open_spool(parts: Parts) -> None:
    try:
        await parts.spool.open()
    except VaultError as error:
        # A refresh needs it and tries again; tokens that are fresh need it not.
        _log.warning("spool_unavailable", error=error)


def _write_port(file: Path, port: int) -> None:
    # Who waits for the file must not find it half written.
    partial = file.with_name(f"{file.name}.new")
    partial.write_text(f"{port}\n")
    partial.replace(file)


def _server(config: Config, parts: Parts) -> Server:
    tls = TlsFiles(
        config.server.certificate_file, config.server.key_file, config.server.client_ca_file
    )
    return Server(servicers(parts), tls, reflect=config.server.reflection)


def _readiness(parts: Parts, server: Server) -> Readiness:
    return Readiness(
        {"database": _DatabaseProbe(parts.database), "transit": parts.transit.probe},
        server.set_health,
    )


def _watches(parts: Parts, readiness: Readiness) -> list[asyncio.Task[None]]:
    """What looks on to the very end."""
    return [
        asyncio.create_task(measure_loop_delay(LoopMeter(parts.instruments.metrics))),
        asyncio.create_task(every("readiness", READINESS_INTERVAL_S, readiness.step)),
        asyncio.create_task(every("listen", limits.LISTEN_RETRY_S, parts.bell.listen)),
        asyncio.create_task(every("backlogs", BACKLOG_INTERVAL_S, parts.backlogs.step)),
    ]


def _sweeps(config: Config, parts: Parts, dispatch: WebhookDispatch) -> list[asyncio.Task[None]]:
    """What begins work of its own, and stops before what is under way is waited for."""
    revocations = RevocationSweep(parts.revoke_at_provider, parts.clock, parts.entropy)
    attempts = AttemptSweep(
        parts.engine.recover, parts.consents.recover, parts.clock, parts.entropy
    )
    reminders = ReminderSweep(parts.remind, parts.clock, parts.entropy)
    authorizations = PostgresSweeper(parts.worker_database)
    requests = PostgresRequestSweeper(parts.worker_database)
    events = PostgresEventSweeper(parts.worker_database)

    async def sweep() -> None:
        await parts.old_attempts.delete_old(_ATTEMPT_DELETE_MAX)
        await authorizations.delete_expired_authorizations(_AUTHORIZATION_SWEEP_MAX)

    async def forget() -> None:
        await requests.delete_old_requests(limits.REQUEST_ID_SWEEP_MAX)

    async def sweep_events() -> None:
        await events.sweep(limits.EVENT_SWEEP_MAX)
        await parts.webhook_queue.sweep(limits.WEBHOOK_DEAD_SWEEP_MAX)
        late = await events.late()
        if late:
            _log.warning("events_held_back", count=late)

    loops = [
        asyncio.create_task(every("webhooks", limits.WEBHOOK_SWEEP_S, dispatch.step)),
        asyncio.create_task(every("events", limits.EVENT_SWEEP_S, sweep_events)),
        asyncio.create_task(every("used_grants", USED_INTERVAL_S, parts.used_grants.write)),
        asyncio.create_task(every("revocations", REVOCATION_INTERVAL_S, revocations.step)),
        asyncio.create_task(every("attempts", ATTEMPT_INTERVAL_S, attempts.step)),
        asyncio.create_task(every("reminders", REMINDER_INTERVAL_S, reminders.step)),
        asyncio.create_task(every("authorizations", _AUTHORIZATION_SWEEP_S, sweep)),
        asyncio.create_task(every("requests", _REQUEST_SWEEP_S, forget)),
        asyncio.create_task(
            every("refusals", limits.REFUSAL_WINDOW_S, parts.counted_refusals.write)
        ),
    ]
    if config.scheduler.enabled:
        scheduler = Scheduler(parts.refresh_ahead, parts.clock, parts.entropy)
        loops.append(asyncio.create_task(every("scheduler", SCHEDULER_INTERVAL_S, scheduler.step)))
    return loops


class _DatabaseProbe:
    """Its migrations until they were found once, then whether it answers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._found = False

    async def __call__(self) -> None:
        if not self._found:
            await check_migrations(self._database)
            await check_role(self._database)
            self._found = True
        await self._database.ping()
