"""provider: authorization servers, from options, a file, or the catalogue of known ones."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from tokenvault_client import Provider, TokenVaultClient, provider_name, tenant_name
from vault_service.adapters.provider_catalog import presets
from vault_service.cli.app import App, many, one
from vault_service.cli.connection import ClientOption, TenantArgument, call
from vault_service.cli.inputs import pairs
from vault_service.cli.output import EXIT_USAGE, fail, show, show_list
from vault_service.cli.profiles import ProfileError, preset_profile, profile_file, provider_from

provider_app = App("Authorization servers.")


@dataclass(frozen=True, slots=True)
class PresetLine:
    """One provider of the catalogue; ``variables`` are those that --set wants."""

    name: str
    title: str
    refresh_class: str
    regions: tuple[str, ...]
    variables: tuple[str, ...]


class ClassChoice(StrEnum):
    """Refresh classes on the command line."""

    N = "N"
    M = "M"
    G = "G"
    S = "S"


@provider_app.does("put", one(Provider))
def provider_put(
    tenant: TenantArgument,
    provider: Annotated[str, typer.Argument(help="Provider id.")],
    client: ClientOption,
    preset: Annotated[
        str, typer.Option(help="Begin with this one of the catalogue (provider presets).")
    ] = "",
    region: Annotated[str, typer.Option(help="Region of the preset.")] = "",
    variable: Annotated[
        list[str] | None, typer.Option("--set", help="Variable of the preset, name=value.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="TOML or JSON file with fields of the profile.")
    ] = None,
    issuer: Annotated[str | None, typer.Option(help="Issuer identifier, an https URL.")] = None,
    authorization_endpoint: Annotated[
        str | None, typer.Option(help="Where browsers consent.")
    ] = None,
    token_endpoint: Annotated[str | None, typer.Option(help="Where tokens are made.")] = None,
    revocation_endpoint: Annotated[str | None, typer.Option(help="RFC 7009.")] = None,
    refresh_class: Annotated[
        ClassChoice | None,
        typer.Option(help="What a refresh does to the old refresh token; S where not said."),
    ] = None,
    grace_s: Annotated[int | None, typer.Option(help="Seconds of grace, class G only.")] = None,
    subject_from: Annotated[
        str | None, typer.Option(help="id_token:{claim} or response:{member}.")
    ] = None,
    requires_iss: Annotated[
        bool | None,
        typer.Option("--requires-iss/--no-requires-iss", help="The server always sends iss."),
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="Extra authorization parameter, name=value.")
    ] = None,
    token_param: Annotated[
        list[str] | None, typer.Option(help="Extra parameter of token requests, name=value.")
    ] = None,
) -> None:
    """Create or replace a provider. Options go before the file, the file before the preset."""
    said = {
        "issuer": issuer,
        "authorization_endpoint": authorization_endpoint,
        "token_endpoint": token_endpoint,
        "revocation_endpoint": revocation_endpoint,
        "refresh_class": None if refresh_class is None else refresh_class.value,
        "grace_s": grace_s,
        "subject_from": subject_from,
        "requires_iss": requires_iss,
        "authorization_params": pairs("--param", param) if param else None,
        "token_params": pairs("--token-param", token_param) if token_param else None,
    }
    if (region or variable) and not preset:
        fail("--region and --set go with --preset", EXIT_USAGE)
    try:
        profile: dict[str, Any] = {}
        if preset:
            profile |= preset_profile(preset, region, pairs("--set", variable or []))
        if file is not None:
            profile |= profile_file(file)
        profile |= {field: value for field, value in said.items() if value is not None}
        wanted = provider_from(provider_name(tenant, provider), profile)
    except ProfileError as error:
        fail(str(error), EXIT_USAGE)
    stored = call(client, lambda vault: vault.put_provider(wanted))
    show(stored, f"{stored.name} stored, etag {stored.etag}")


@provider_app.does("list", many("providers", Provider))
def provider_list(tenant: TenantArgument, client: ClientOption) -> None:
    """List a tenant's providers."""

    async def work(vault: TokenVaultClient) -> list[Provider]:
        return [item async for item in vault.iter_providers(tenant_name(tenant))]

    show_list(
        "providers",
        ("NAME", "CLASS", "ISSUER", "TOKEN ENDPOINT"),
        call(client, work),
        lambda item: (item.name, item.refresh_class.name, item.issuer, item.token_endpoint),
    )


@provider_app.does("presets", many("presets", PresetLine))
def provider_presets() -> None:
    """List the catalogue of known providers; docs/reference/providers.md has their facts."""
    show_list(
        "presets",
        ("PRESET", "CLASS", "REGIONS", "VARIABLES", "PROVIDER"),
        [
            PresetLine(
                name,
                preset.title,
                str(preset.profile["refresh_class"]),
                tuple(preset.regions),
                tuple(preset.variables),
            )
            for name, preset in presets().items()
        ],
        lambda line: (
            line.name,
            line.refresh_class,
            ",".join(line.regions) or "-",
            ",".join(line.variables) or "-",
            line.title,
        ),
    )
