"""Making tenants' keys, with the admin login that only an operator's command holds."""

from __future__ import annotations

from typing import Any, Final

from vault_service.adapters.transit.connection import Answer, Connection
from vault_service.adapters.transit.failures import from_status
from vault_service.adapters.transit.login import Login
from vault_service.adapters.transit.settings import TransitSettings, key_name
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import require_id
from vault_service.ports import Clock

_AUTO_ROTATE: Final = "720h"  # 30 days
_WANTED: Final = {
    "type": "aes256-gcm96",
    "derived": True,
    "exportable": False,
}
# What must not have been allowed on a key that was there before us.
WANTED_KEY: Final = _WANTED | {"allow_plaintext_backup": False, "convergent_encryption": False}


class TransitAdmin:
    """``tokenvault tenant create``: one derived key per tenant."""

    def __init__(self, settings: TransitSettings, clock: Clock) -> None:
        self._settings = settings
        self._connection = Connection(settings, clock)
        self._login = Login(self._connection, settings, clock)

    async def create_tenant_key(self, tenant: str) -> str:
        """Create the tenant's key unless it is there; returns its name.

        Transit answers 200 to creating over an existing key of another kind, so the key is read
        back and compared. Raises INTERNAL when it differs, NAME_MALFORMED, KEK_UNREACHABLE or
        ``KekDenied``.
        """
        require_id(tenant, "Tenant")
        name = key_name(self._settings.key_prefix, self._settings.deployment, tenant)
        path = f"{self._settings.mount}/keys/{name}"
        if (await self._get(path)).status == 404:
            body = _WANTED | {"auto_rotate_period": _AUTO_ROTATE}
            deadline = self._connection.deadline()
            token = await self._login.token()
            created = await self._connection.post(path, body, deadline, token.secret)
            if created.status not in (200, 204):
                raise from_status(created.status, "creating a key")
        found = await self._get(path)
        if found.status != 200:
            raise from_status(found.status, "reading a key back")
        _compare(name, found.body.get("data"))
        return name

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.close()

    async def _get(self, path: str) -> Answer:
        deadline = self._connection.deadline()
        token = await self._login.token()
        return await self._connection.get(path, deadline, token.secret)


def _compare(name: str, data: Any) -> None:
    found = data if isinstance(data, dict) else {}
    wrong = [
        f"{field} is {found.get(field)!r}, not {wanted!r}"
        for field, wanted in WANTED_KEY.items()
        if found.get(field) != wanted
    ]
    if wrong:
        raise VaultError(
            Reason.INTERNAL,
            f"the transit key {name} exists but cannot protect a tenant: {'; '.join(wrong)}. "
            "If nothing was ever wrapped under it, delete it in transit and run this again",
        )
