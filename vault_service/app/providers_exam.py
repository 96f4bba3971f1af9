"""The doctor's look at providers' hosts: one HEAD to each, over the way that refreshes take."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlsplit

from vault_service.adapters.postgres.pool import Database
from vault_service.adapters.postgres.providers import PostgresProviderStore
from vault_service.app.settings import database_settings
from vault_service.config import Config
from vault_service.domain.errors import VaultError
from vault_service.domain.finding import Finding, Thresholds, clock_finding, failed, ok, skipped
from vault_service.egress.answer import TransportFailure
from vault_service.egress.guard import EgressGuard
from vault_service.egress.probe import server_time
from vault_service.ports import Clock

_HOSTS_MAX = 20
_PAGE = 50
_DATE_UNSURE_S = 0.5  # a Date header has whole seconds, rounded down


async def examine_providers(
    config: Config, tenants: Sequence[str], clock: Clock, thresholds: Thresholds
) -> AsyncIterator[Finding]:
    """Each token endpoint's host of these tenants, at most 20."""
    urls = await _token_endpoints(config, tenants)
    if not urls:
        yield skipped("provider", "no provider is known; --tenant names one without grants")
    guard = EgressGuard(config.egress.allowed_private)
    for host, url in list(urls.items())[:_HOSTS_MAX]:
        check = f"provider.{host}"
        before = clock.now()
        try:
            theirs = await server_time(url, guard, config.egress.ca_file)
        except TransportFailure as failure:
            advice = (
                "check the name server, the firewall's way out, and egress.ca_file for a provider "
                "of your own"
            )
            yield failed(check, failure.detail, advice)
            continue
        took_s = (clock.now() - before).total_seconds()
        if theirs is None:
            yield ok(check, "answers by verified TLS, and tells no time")
            continue
        ahead_s = theirs + _DATE_UNSURE_S - before.timestamp() - took_s / 2
        yield clock_finding(check, ahead_s, took_s / 2 + _DATE_UNSURE_S, thresholds)


async def _token_endpoints(config: Config, tenants: Sequence[str]) -> dict[str, str]:
    """host:port → one URL there."""
    database = Database(database_settings(config, config.database.user))
    store, urls = PostgresProviderStore(database), dict[str, str]()
    try:
        for tenant in tenants:
            page = await store.list(tenant, _PAGE, "")
            for provider in page.items:
                url = provider.profile.token_endpoint
                urls.setdefault(urlsplit(url).netloc, url)
    except VaultError:
        pass  # the checks of the database say why
    finally:
        await database.close()
    return urls
