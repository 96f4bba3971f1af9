"""Who sits at which browser: an id in a cookie, everything else stays here."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Final

COOKIE: Final = "session"
_SESSIONS_MAX: Final = 10_000  # the oldest goes first: a flood of sign-ins must not fill memory
_ID_BYTES: Final = 32


@dataclass
class Session:
    """``owner`` is who signed in. ``state`` is that of the consent begun last, "" for none."""

    owner: str
    state: str = ""


class Sessions:
    """For any number of threads. A real application keeps these where its replicas share them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def begin(self, owner: str) -> str:
        """The Set-Cookie header of a new session.

        SameSite=Lax: the browser sends it when the provider leads back here by a link, and not
        with forms of other sites. An application on https adds ``Secure``.
        """
        name = secrets.token_urlsafe(_ID_BYTES)
        with self._lock:
            self._sessions[name] = Session(owner)
            if len(self._sessions) > _SESSIONS_MAX:
                self._sessions.popitem(last=False)
        return f"{COOKIE}={name}; Path=/; HttpOnly; SameSite=Lax"

    def find(self, cookies: str) -> Session | None:
        """The session of a Cookie header."""
        try:
            morsel = SimpleCookie(cookies).get(COOKIE)
        except CookieError:
            return None
        if morsel is None:
            return None
        with self._lock:
            return self._sessions.get(morsel.value)

    def take_state(self, session: Session) -> str:
        """The state of the consent begun last, once."""
        with self._lock:
            state, session.state = session.state, ""
        return state
