"""Which URLs may be called, without a network."""

from __future__ import annotations

from vault_service.domain.errors import Reason, VaultError


class FakeEndpointGuard:
    """ports.EndpointGuard that allows https to every host but internal.example."""

    def check(self, url: str) -> None:
        if not url.startswith("https://") or "internal.example" in url:
            raise VaultError(Reason.ENDPOINT_NOT_ALLOWED, "not an https URL to a public host")
