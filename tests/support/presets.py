"""Presets of the catalogue as the service gets them: through the command line's reading, the
client's message and the servicer's translation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tokenvault_client._providers import provider_message
from vault_service.adapters.provider_catalog import presets
from vault_service.cli.profiles import provider_from
from vault_service.domain.provider import ProviderProfile
from vault_service.rpc.profiles import profile

VALUES: Final[Mapping[str, Mapping[str, str]]] = {
    "auth0": {"domain": "acme.eu.auth0.com"},
    "cognito": {
        "aws_region": "eu-central-1",
        "user_pool": "eu-central-1_AbCdEfGhI",
        "domain": "acme.auth.eu-central-1.amazoncognito.com",
    },
    "microsoft-entra": {"tenant": "11111111-2222-3333-4444-555555555555"},
    "okta": {"domain": "acme.okta.com"},
}


def preset_profile(name: str, region: str | None = None) -> ProviderProfile:
    """The profile of a preset, in its first region where none is named."""
    preset = presets()[name]
    place = next(iter(preset.regions), "") if region is None else region
    resolved = preset.resolved(place, VALUES.get(name, {}))
    return profile(provider_message(provider_from("tenants/acme/providers/op", resolved)))
