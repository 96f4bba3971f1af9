"""The pages: sign in, connect, callback, calendar."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from calendar_service.calendar_api import ApiUnreachable
from calendar_service.calendars import CalendarRefused, Calendars
from calendar_service.sessions import Session, Sessions
from tokenvault_client import (
    AuthorizationFailed,
    GrantRevoked,
    InvalidArgument,
    NotFound,
    ReauthorizationRequired,
    TokenVaultError,
    TryLater,
)

_FORM_MAX_BYTES: Final = 4_096
_QUERY_FIELDS_MAX: Final = 16
_IDLE_S: Final = 30.0
_CONNECT: Final = (
    '<form method="post" action="/connect"><button>Connect your calendar</button></form>'
)
_SIGN_IN: Final = (
    '<form method="post" action="/sign-in">'
    '<label>Your name <input name="name" required></label> <button>Sign in</button></form>'
)
_NEEDS_CONSENT: Final = (ReauthorizationRequired, GrantRevoked, NotFound)


class CalendarServer(ThreadingHTTPServer):
    """One thread for each connection; the client of the vault is shared by all."""

    daemon_threads = True

    def __init__(self, port: int, calendars: Calendars) -> None:
        self.calendars = calendars
        self.sessions = Sessions()
        super().__init__(("127.0.0.1", port), _Pages)


class _Pages(BaseHTTPRequestHandler):
    server: CalendarServer
    timeout = _IDLE_S

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        session = self.server.sessions.find(self.headers.get("Cookie", ""))
        if session is None:
            self._page(200 if url.path == "/" else 401, "Please sign in", _SIGN_IN)
        elif url.path == "/":
            self._page(200, f"Hello {session.owner}", f'{_CONNECT}<a href="/calendar">Show it</a>')
        elif url.path == "/callback":
            self._callback(session, url.query)
        elif url.path == "/calendar":
            self._guarded(lambda: self._calendar(session))
        else:
            self._page(404, "There is no such page")

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        session = self.server.sessions.find(self.headers.get("Cookie", ""))
        if path == "/sign-in":
            self._sign_in()
        elif path == "/connect" and session is not None:
            self._guarded(lambda: self._connect(session))
        else:
            self._page(401 if session is None else 404, "Please sign in", _SIGN_IN)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a request line may hold the code and the state of a consent."""

    def _sign_in(self) -> None:
        """Stands for a real sign-in: here everybody is who they say they are."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _FORM_MAX_BYTES:
            self._page(413, "That is too much")
            return
        fields = dict(parse_qsl(self.rfile.read(int(length)).decode(errors="replace")))
        name = fields.get("name", "")
        if not (name.isascii() and name.isalnum() and len(name) <= 64):
            self._page(400, "A name has letters and digits", _SIGN_IN)
            return
        self._redirect("/", cookie=self.server.sessions.begin(name))

    def _connect(self, session: Session) -> None:
        started = self.server.calendars.connect(session.owner)
        session.state = started.state
        self._redirect(started.url)

    def _callback(self, session: Session, query: str) -> None:
        try:
            callback = dict(parse_qsl(query, max_num_fields=_QUERY_FIELDS_MAX))
        except ValueError:
            callback = {}
        # RFC 6749 §10.12: a callback that this browser did not ask for is somebody else's.
        state = self.server.sessions.take_state(session)
        if not state or not hmac.compare_digest(state.encode(), callback.get("state", "").encode()):
            self._page(400, "This callback is not yours", _CONNECT)
            return
        self._guarded(lambda: self._finish(session, state, callback))

    def _finish(self, session: Session, state: str, callback: dict[str, str]) -> None:
        self.server.calendars.connected(session.owner, state, callback)
        self._redirect("/calendar")

    def _calendar(self, session: Session) -> None:
        body = self.server.calendars.read(session.owner).decode(errors="replace")
        self._page(200, "Your calendar", f"<pre>{escape(body)}</pre>")

    def _guarded(self, work: Callable[[], None]) -> None:
        """Each way that a call can end, as a page that says what the person can do."""
        try:
            work()
        except _NEEDS_CONSENT:
            self._page(409, "Your calendar is not connected", _CONNECT)
        except CalendarRefused as error:
            self._page(409, f"{error}; connect it again", _CONNECT)
        except AuthorizationFailed:
            self._page(409, "That did not connect your calendar", _CONNECT)
        except TryLater as error:
            self._page(503, "Please try again soon", retry_after_s=error.retry_after_s or 1.0)
        except ApiUnreachable:
            self._page(503, "The calendar does not answer; please try again", retry_after_s=1.0)
        except InvalidArgument as error:
            self._page(400, f"That cannot work: {error.message}")
        except TokenVaultError as error:
            # Operators find the request id in the vault's record.
            self._page(500, f"That went wrong. Tell us this number: {error.request_id or 'none'}")

    def _redirect(self, where: str, cookie: str = "") -> None:
        self.send_response(303)
        self.send_header("Location", where)
        if cookie:
            self.send_header("Set-Cookie", cookie)
        self._no_store()
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _page(
        self, status: int, title: str, body: str = "", retry_after_s: float | None = None
    ) -> None:
        shown = f"<!doctype html><title>{escape(title)}</title><h1>{escape(title)}</h1>{body}"
        content = shown.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        if retry_after_s is not None:
            self.send_header("Retry-After", str(max(1, round(retry_after_s))))
        self._no_store()
        self.end_headers()
        self.wfile.write(content)

    def _no_store(self) -> None:
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
