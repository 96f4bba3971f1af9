"""Whether a newer access token is to be asked for while the one in the row lives, but not for as
long as its caller wants.
"""

from __future__ import annotations

from vault_service.domain import limits
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant, is_rejected, needs_refresh, unrenewed_pause_s
from vault_service.domain.names import OAuthClientName
from vault_service.usecases.credentials import Credentials


class NewerTokens:
    """Two kinds of providers say no: one that gives the same token again until its end is near, and
    one whose refresh ends the token before, which other callers were promised until its end."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def wanted(self, grant: Grant, min_ttl_s: float | None) -> bool:
        """For a token that has too little left: False where it is to be served all the same, as no
        life was asked for. OVERLOADED with the delay where a newer one cannot be had yet."""
        end = grant.access_expire_time
        if end is None or needs_refresh(end, grant.read_time, 0):
            return True
        if grant.refresh_envelope is None or is_rejected(grant):
            return True
        left_s = (end - grant.read_time).total_seconds()
        delay_s = unrenewed_pause_s(grant, grant.read_time)
        why = "until then the provider gives the present token again"
        if delay_s == 0 and await self._ends_the_old_one(grant):
            delay_s, why = left_s, "a refresh would end the present token, which was promised"
        if delay_s == 0:
            return True
        if min_ttl_s is None and left_s >= limits.MIN_TTL_LATE_S:
            return False
        raise _not_yet(grant, delay_s, why)

    async def _ends_the_old_one(self, grant: Grant) -> bool:
        client = OAuthClientName(grant.tenant, grant.oauth_client)
        _, provider = await self._credentials.find(client)
        return provider.profile.refresh_kills_old_access_token


def _not_yet(grant: Grant, delay_s: float, why: str) -> VaultError:
    return VaultError(
        Reason.OVERLOADED,
        f"a token with so much life left cannot be had yet: {why}; ask for less min_ttl, or try "
        f"again in {delay_s:.0f} s",
        metadata={"access_life_s": str(grant.access_life_s)},
        retry_after_s=delay_s,
    )
