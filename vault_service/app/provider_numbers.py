"""Numbers of providers, places and late answers, read when metrics are scraped."""

from __future__ import annotations

from vault_service.app.watched import Watched
from vault_service.domain.breaker import BreakerState
from vault_service.domain.priority import Priority
from vault_service.telemetry.metrics import Numbers


def breakers(watched: Watched) -> Numbers:
    """Breakers by state, of providers and of OAuthClients."""
    lanes = watched.parts.outages.view()
    states = {
        "provider": [*{lane.provider: lane.provider_state for lane in lanes}.values()],
        "oauth_client": [lane.client_state for lane in lanes],
    }
    return {
        (of, state.name): float(found.count(state))
        for of, found in states.items()
        for state in BreakerState
    }


def waiting(watched: Watched) -> Numbers:
    """Requests that wait for a place, by priority."""
    lanes = watched.parts.outages.view()
    return {
        (priority.name.lower(),): sum(lane.waiting.get(priority, 0) for lane in lanes)
        for priority in Priority
    }


def held(watched: Watched) -> Numbers:
    """OAuthClients whose provider asked for a pause."""
    return {(): sum(lane.held_s > 0 for lane in watched.parts.outages.view())}


def held_s(watched: Watched) -> Numbers:
    """The longest of these pauses, in seconds."""
    return {(): max((lane.held_s for lane in watched.parts.outages.view()), default=0.0)}


def grants_limited(watched: Watched) -> Numbers:
    """Grants that were rate limited alone."""
    return {(): sum(lane.grants_held for lane in watched.parts.outages.view())}


def shares(watched: Watched) -> Numbers:
    """Places that tenants share and that are taken, by kind."""
    parts = watched.parts
    return {
        ("refresh",): parts.outages.refreshes.inside,
        ("consent",): parts.outages.consents.inside,
        ("revocation",): parts.revoke_at_provider.places.inside,
    }


def shares_waiting(watched: Watched) -> Numbers:
    """Requests that wait for one, by kind."""
    parts = watched.parts
    return {
        ("refresh",): parts.outages.refreshes.waiting,
        ("consent",): parts.outages.consents.waiting,
        ("revocation",): parts.revoke_at_provider.places.waiting,
    }


def places(watched: Watched) -> Numbers:
    """Requests that hold a place at a provider."""
    return {(): sum(lane.inside for lane in watched.parts.outages.view())}


def late(watched: Watched) -> Numbers:
    """Late answers, by what became of them."""
    late = watched.parts.engine.late
    return {("came",): late.came, ("missed",): late.missed}
