"""What ``tokenvault doctor`` looks at: everything that ``serve`` will need, side by side.

A check that fails or takes too long ends itself and what depends on it, never the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel

from vault_service.adapters.cedar import CedarPolicy, PolicyInvalid
from vault_service.adapters.certificates import examine_bundles, examine_server
from vault_service.adapters.clock import SystemClock
from vault_service.adapters.machine import (
    examine_disk,
    examine_process,
    examine_secret_files,
    examine_shared_files,
)
from vault_service.adapters.postgres.examine import (
    examine_database,
    examine_worker,
    tenants_with_grants,
)
from vault_service.adapters.process import harden
from vault_service.adapters.spool.examine import examine_spool
from vault_service.adapters.transit.examine import TransitExam
from vault_service.app.providers_exam import examine_providers
from vault_service.app.settings import database_settings, transit_settings
from vault_service.config import Config, faults
from vault_service.domain.finding import STANDARD, Finding, Thresholds, failed, ok, skipped
from vault_service.ports import Clock

_TENANTS_MAX = 20  # whose keys and providers are looked at; a tenant asked for is always
_RULES_SHOWN = 20
_CLOCK = SystemClock()

Exam = Callable[[], AsyncIterator[Finding]]


class Doctor:
    """One examination of one configuration."""

    def __init__(
        self,
        config: Config,
        *,
        limit_s: float,
        clock: Clock = _CLOCK,
        thresholds: Thresholds = STANDARD,
        harden: Callable[[], bool] = harden,
    ) -> None:
        """``limit_s`` bounds each of the two rounds: the servers, then keys and providers."""
        self._config = config
        self._clock = clock
        self._limit_s = limit_s
        self._thresholds = thresholds
        self._faults = faults(config, serving=True)
        self._faulty = {line.partition(":")[0] for line in self._faults}
        self._undumpable = harden()  # this process reads credentials too

    @property
    def configuration_is_sound(self) -> bool:
        """Whether ``serve`` would start on it."""
        return not self._faults

    async def examine(self, tenants: Sequence[str] = (), providers: bool = False) -> list[Finding]:
        """All findings, in a fixed order; ``tenants`` are looked at besides those with grants."""
        transit = self._transit()
        try:
            first = await asyncio.gather(
                *(
                    self._bounded(name, exam)
                    for name, exam in (
                        ("machine", self._machine),
                        ("database", self._database),
                        ("database.worker", self._worker),
                        ("transit", transit.server if transit else self._no_transit),
                    )
                )
            )
            asked = [*dict.fromkeys([*tenants, *await self._tenants()])]
            second = [
                self._bounded("transit.key", lambda: transit.keys(asked) if transit else _none()),
                self._bounded("provider", lambda: self._providers(asked, wanted=providers)),
            ]
            groups = [*first, *await asyncio.gather(*second)]
        finally:
            if transit is not None:
                await transit.close()
        return [finding for group in (self._configuration(), *groups) for finding in group]

    async def _bounded(self, name: str, exam: Exam) -> list[Finding]:
        found: list[Finding] = []
        try:
            async with asyncio.timeout(self._limit_s):
                async for finding in exam():
                    found.append(finding)
        except TimeoutError:
            advice = "see why it is slow, or give it longer: --timeout"
            found.append(failed(name, f"took longer than {self._limit_s:g} s", advice))
        except Exception as fault:
            # A fault of ours in one check takes no other with it; its text might hold anything.
            advice = "report it, with the line above it"
            found.append(failed(name, f"the check itself failed: {type(fault).__name__}", advice))
        return found

    def _configuration(self) -> Iterator[Finding]:
        advice = "correct the field; docs/reference/configuration.md has them all"
        for line in self._faults:
            yield failed("configuration", line, advice)
        if not self._faults:
            yield ok("configuration", f"deployment {self._config.deployment}, every field is sound")

    async def _machine(self) -> AsyncIterator[Finding]:
        # In a thread: the servers are asked meanwhile.
        for finding in await asyncio.to_thread(lambda: list(self._local())):
            yield finding

    def _local(self) -> Iterator[Finding]:
        config, server, now = self._config, self._config.server, self._clock.now()
        yield from examine_secret_files(_secret_files(config))
        yield from examine_shared_files({"policy_file": config.policy_file})
        if self._faulty & {"server.certificate_file", "server.key_file"}:
            yield skipped("server.certificate", "its files cannot be read")
        else:
            yield from examine_server(
                server.certificate_file, server.key_file, now, self._thresholds
            )
        bundles = {name: file for name, file in _bundles(config) if name not in self._faulty}
        yield from examine_bundles(bundles, now, self._thresholds)
        yield _policy(config.policy_file)
        if config.spool.path is not None:
            yield from examine_spool(config.spool.path, config.spool.slots)
        yield from examine_disk(_folders(config), self._thresholds)
        yield from examine_process(self._undumpable, self._thresholds)

    async def _database(self) -> AsyncIterator[Finding]:
        if self._faulty & {"database.password_file", "database.ca_file"}:
            yield skipped("database.reachable", "its configuration is not sound")
            return
        settings = database_settings(self._config, self._config.database.user)
        async for finding in examine_database(settings, self._clock, self._thresholds):
            yield finding

    async def _worker(self) -> AsyncIterator[Finding]:
        if not self._has_worker():
            yield skipped("database.worker", "its configuration is not sound")
            return
        settings = database_settings(self._config, self._config.database.worker_user)
        async for finding in examine_worker(settings):
            yield finding

    def _has_worker(self) -> bool:
        return not self._faulty & {"database.worker_password_file", "database.ca_file"}

    def _transit(self) -> TransitExam | None:
        if any(field.startswith("transit.") for field in self._faulty):
            return None
        try:
            return TransitExam(transit_settings(self._config), self._clock, self._thresholds)
        except ValueError as error:  # what cannot be an address or a mount
            self._faults.append(f"transit: {error}")
            return None

    async def _no_transit(self) -> AsyncIterator[Finding]:
        yield skipped("transit.reachable", "its configuration is not sound")

    async def _tenants(self) -> list[str]:
        if not self._has_worker():
            return []
        settings = database_settings(self._config, self._config.database.worker_user)
        try:
            async with asyncio.timeout(self._limit_s):
                return await tenants_with_grants(settings, _TENANTS_MAX)
        except TimeoutError:
            return []  # the checks of the database say so

    async def _providers(self, tenants: Sequence[str], *, wanted: bool) -> AsyncIterator[Finding]:
        if not wanted:
            return
        if self._faulty & {"database.password_file", "database.ca_file", "egress.ca_file"}:
            yield skipped("provider", "the configuration is not sound")
            return
        async for finding in examine_providers(
            self._config, tenants, self._clock, self._thresholds
        ):
            yield finding


async def _none() -> AsyncIterator[Finding]:
    return
    yield


def _policy(file: Path) -> Finding:
    try:
        policy = CedarPolicy.load(file)
    except PolicyInvalid as error:
        advice = "correct it at that line; nothing is allowed until it is valid"
        return failed("policy", str(error), advice)
    rules = policy.rules
    named = ", ".join(rules[:_RULES_SHOWN]) + (", ..." if len(rules) > _RULES_SHOWN else "")
    if not rules:
        return failed("policy", f"{file} has no rule, so every call is denied", "permit something")
    return ok("policy", f"{len(rules)} rules ({policy.version}): {named}")


def _secret_files(config: Config) -> dict[str, Path]:
    files = {
        "server.key_file": config.server.key_file,
        "database.password_file": config.database.password_file,
        "database.worker_password_file": config.database.worker_password_file,
        "transit.role_id_file": config.transit.role_id_file,
        "transit.secret_id_file": config.transit.secret_id_file,
    }
    return {field: file for field, file in files.items() if file is not None}


def _bundles(config: Config) -> Iterable[tuple[str, Path]]:
    yield "server.client_ca_file", config.server.client_ca_file
    yield "transit.ca_file", config.transit.ca_file
    if config.database.ca_file is not None:
        yield "database.ca_file", config.database.ca_file
    if config.egress.ca_file is not None:
        yield "egress.ca_file", config.egress.ca_file


def _folders(config: Config) -> list[Path]:
    """Where the service writes (folders of the configuration, the port file) and where its
    renewed certificates come to lie. PostgreSQL's disk is PostgreSQL's to watch.
    """
    sections = [config, *(getattr(config, name) for name in Config.model_fields)]
    written = [
        value
        for section in sections
        if isinstance(section, BaseModel)
        for name in type(section).model_fields
        if (name == "path" or name.endswith("_dir"))
        and isinstance(value := getattr(section, name), Path)
    ]
    if config.server.port_file is not None:
        written.append(config.server.port_file.parent)
    return [*written, config.server.certificate_file.parent]
