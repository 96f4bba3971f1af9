"""The AppRole login: one token in memory, renewed before it expires, single flight."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vault_service.adapters.transit.connection import Answer, Connection
from vault_service.adapters.transit.failures import from_status
from vault_service.adapters.transit.settings import TransitSettings
from vault_service.domain import limits
from vault_service.domain.errors import KekDenied
from vault_service.domain.sensitive import Sensitive
from vault_service.ports import Clock
from vault_service.telemetry import get_logger

_log = get_logger(__name__)

_RENEW_AT: Final = 2 / 3  # of a token's life: early enough for a second try
_CREDENTIAL_MAX_BYTES: Final = 4_096


@dataclass(frozen=True, slots=True, eq=False)
class Token:
    """A login that transit gave us. Moments are on the monotonic clock; life in seconds."""

    secret: Sensitive
    since: float
    life_s: float
    renewable: bool
    after_denial: bool = False  # it replaced one that was refused

    def wants_renewal(self, now: float) -> bool:
        """Whether two thirds of its life are over."""
        return now >= self.since + self.life_s * _RENEW_AT

    def is_over(self, now: float) -> bool:
        """Whether it has expired."""
        return now >= self.since + self.life_s


class Login:
    """Gives a token that is good now. One flight however many ask."""

    def __init__(self, connection: Connection, settings: TransitSettings, clock: Clock) -> None:
        self._connection = connection
        self._settings = settings
        self._clock = clock
        self._token: Token | None = None
        self._flight: asyncio.Task[Token] | None = None

    async def token(self) -> Token:
        """The token in memory, renewed when it is time.

        Raises KEK_UNREACHABLE, or ``KekDenied`` when transit refuses the credentials or their
        files cannot be read.
        """
        token = self._token
        if token is not None and not token.wants_renewal(self._clock.monotonic()):
            return token
        return await self._shared_flight(after_denial=False)

    async def after_denial(self, refused: Token) -> Token | None:
        """Another token than the refused one, by a new login.

        None where a new login was tried for the same reason a moment ago: then it is the policy
        that refuses, and logging in at every call would only load the key store.
        """
        if self._token is not None and self._token is not refused:
            return self._token
        age_s = self._clock.monotonic() - refused.since
        if refused.after_denial and age_s < limits.TRANSIT_RELOGIN_S:
            return None
        self._token = None
        return await self._shared_flight(after_denial=True)

    async def _shared_flight(self, *, after_denial: bool) -> Token:
        if self._flight is None:
            self._flight = asyncio.create_task(self._obtain(after_denial=after_denial))
            self._flight.add_done_callback(self._landed)
        # Shielded: a caller that goes away must not take the login from the others.
        return await asyncio.shield(self._flight)

    def _landed(self, flight: asyncio.Task[Token]) -> None:
        self._flight = None
        if flight.cancelled():
            return
        error = flight.exception()  # read here too: all waiters may be gone
        if error is not None:
            _log.warning("transit login failed", address=self._settings.address, error=error)

    async def _obtain(self, *, after_denial: bool) -> Token:
        old = self._token
        new = None
        if old is not None and old.renewable and not old.is_over(self._clock.monotonic()):
            new = await self._renew(old)
        self._token = new or await self._log_in(after_denial=after_denial)
        return self._token

    async def _renew(self, old: Token) -> Token | None:
        """The same token with new life; None where a new login is better."""
        since = self._clock.monotonic()
        deadline = self._connection.deadline()
        answer = await self._connection.post("auth/token/renew-self", {}, deadline, old.secret)
        new = _token_in(answer, since, after_denial=False)
        if new is None or new.life_s < old.life_s / 2:  # it nears the role's longest life
            return None
        return new

    async def _log_in(self, *, after_denial: bool) -> Token:
        since = self._clock.monotonic()
        deadline = self._connection.deadline()
        body = await self._connection.in_thread(self._credentials, deadline)
        path = f"auth/{self._settings.auth_mount}/login"
        answer = await self._connection.post(path, body, deadline)
        token = _token_in(answer, since, after_denial=after_denial)
        if token is not None:
            _log.info("transit login", address=self._settings.address)
            return token
        if answer.status in (400, 403):
            raise KekDenied(
                "transit refuses our login; check that role id and secret id are of this role, "
                "not expired and not used up"
            )
        raise from_status(answer.status, "the login")

    def _credentials(self) -> dict[str, str]:
        return {
            "role_id": _read(self._settings.role_id_file),
            "secret_id": _read(self._settings.secret_id_file),
        }


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(_CREDENTIAL_MAX_BYTES + 1).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise KekDenied(f"transit's credential file {path.name} cannot be read") from error
    if not text or len(text) > _CREDENTIAL_MAX_BYTES:
        raise KekDenied(f"transit's credential file {path.name} holds no credential")
    return text


def _token_in(answer: Answer, since: float, *, after_denial: bool) -> Token | None:
    auth: Any = answer.body.get("auth") if answer.status == 200 else None
    if not isinstance(auth, dict):
        return None
    secret, life_s = auth.get("client_token"), auth.get("lease_duration")
    if not isinstance(secret, str) or not secret or not isinstance(life_s, int):
        return None
    return Token(
        secret=Sensitive.from_text(secret),
        since=since,
        life_s=life_s or math.inf,  # 0 is a token without an end
        renewable=auth.get("renewable") is True,
        after_denial=after_denial,
    )
