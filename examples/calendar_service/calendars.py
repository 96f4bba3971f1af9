"""What the application does for a person. ``owner`` is always who signed in, never a parameter
of a request: whoever could choose it would read another person's calendar.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from calendar_service.calendar_api import CalendarApi
from tokenvault_client import (
    AccessToken,
    Authorization,
    InvalidArgument,
    SyncTokenVaultClient,
    grant_alias_name,
    oauth_client_name,
    tenant_name,
)

LABEL: Final = "calendar"  # a person may have several grants; this is the name of ours
_UNAUTHORIZED: Final = 401
_MORE_S: Final = 1.0  # than the refused token has left: so it cannot be given out again


class CalendarRefused(Exception):
    """The API refuses good tokens too: only the person can mend that, by a new consent."""


class Calendars:
    """Consents and calendars of one tenant. Any number of threads."""

    def __init__(
        self,
        vault: SyncTokenVaultClient,
        api: CalendarApi,
        *,
        tenant: str,
        oauth_client: str,
        redirect_uri: str,
    ) -> None:
        self._vault = vault
        self._api = api
        self._tenant = tenant
        self._oauth_client = oauth_client_name(tenant, oauth_client)
        self._redirect_uri = redirect_uri

    def connect(self, owner: str) -> Authorization:
        """Begins a consent: where to send the browser, and the state to keep in its session."""
        return self._vault.start_authorization(
            self._oauth_client, owner=owner, redirect_uri=self._redirect_uri, label=LABEL
        )

    def connected(self, owner: str, state: str, callback: Mapping[str, str]) -> None:
        """Ends it with what the browser brought back, a refusal of the person included.

        ``state`` is the session's; the web layer has compared it with the callback's.
        """
        self._vault.complete_authorization(
            tenant_name(self._tenant),
            owner=owner,
            state=state,
            code=callback.get("code", ""),
            iss=callback.get("iss", ""),
            error=callback.get("error", ""),
            redirect_uri=self._redirect_uri,
        )

    def read(self, owner: str) -> bytes:
        """The person's calendar. Raises CalendarRefused, ApiUnreachable, TokenVaultError.

        An API may refuse a token before its time (a revoked session, a lost row). Then one call
        asks for a token that lives longer than the refused one would, which is another one.
        """
        alias = grant_alias_name(self._tenant, owner, LABEL)
        token = self._vault.get_access_token(alias=alias)
        answer = self._api.read(token)
        if answer.status == _UNAUTHORIZED:
            answer = self._api.read(self._another(alias, token))
        if answer.status != 200:
            raise CalendarRefused(f"the calendar answered {answer.status}")
        return answer.body

    def _another(self, alias: str, refused: AccessToken) -> AccessToken:
        left_s = (refused.expire_time - datetime.now(UTC)).total_seconds()
        try:
            token = self._vault.get_access_token(alias=alias, min_ttl_s=max(left_s, 0.0) + _MORE_S)
        except InvalidArgument as error:
            # MIN_TTL_OUT_OF_RANGE: no token lives longer, so the refused one is brand-new.
            raise CalendarRefused("the calendar refuses a new token") from error
        if token.fingerprint == refused.fingerprint:
            raise CalendarRefused("there is no other token than the refused one")
        return token
