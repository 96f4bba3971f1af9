"""Run by the tests with the wheel's own Python: calls a service as an application would.

Arguments: the client's file, the thief's file, an alias. Prints what it found as JSON.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import tokenvault_client as tv

SECRET = tv.secret_name("demo", "wheel", owner="wheel-owner")


async def asynchronously(file: str, alias: str) -> Mapping[str, object]:
    """A token, a secret and a refusal, with coroutines."""
    async with tv.TokenVaultClient.from_file(file) as vault:
        token = await vault.get_access_token(alias=alias, min_ttl_s=1)
        grant = await vault.get_grant(token.grant)
        await vault.put_secret(SECRET, b"from the wheel")
        value = (await vault.get_secret_value(SECRET)).value
    return {"value": token.value, "state": grant.state.name, "secret": value.decode()}


def synchronously(file: str, thief_file: str, alias: str) -> Mapping[str, object]:
    """The same without, from several threads."""
    with tv.SyncTokenVaultClient.from_file(file) as vault:
        with ThreadPoolExecutor(8) as pool:
            tokens = list(
                pool.map(lambda _: vault.get_access_token(alias=alias, min_ttl_s=1), range(16))
            )
        value = vault.get_secret_value(SECRET).value
    refusal = ""
    with tv.SyncTokenVaultClient.from_file(thief_file) as thief:
        try:
            thief.get_access_token(alias=alias)
        except tv.NotAllowed as refused:
            refusal = refused.reason
    values = sorted({token.value for token in tokens})
    return {"values": values, "secret": value.decode(), "refusal": refusal}


def main(file: str, thief_file: str, alias: str) -> None:
    """Both, and where all of it came from."""
    strangers = ("vault_service", "aiohttp", "cryptography", "pytest")
    found = {
        "async": asyncio.run(asynchronously(file, alias)),
        "sync": synchronously(file, thief_file, alias),
        "imported_from": tv.__file__,
        "installed": sorted(each.name for each in importlib.metadata.distributions()),
        "strangers": [name for name in strangers if importlib.util.find_spec(name)],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
