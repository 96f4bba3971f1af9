"""The one way out: requests over verified TLS, each bounded in place, size and time.

Whether a request was sent decides if a single-use refresh token may be presented again, so
"not sent" is claimed only where it is proven (see ``_Progress``).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote_plus

from vault_service.domain import limits
from vault_service.domain.content_coding import is_compressed
from vault_service.domain.errors import VaultError
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.sensitive import Sensitive
from vault_service.egress.answer import TransportFailure, parse_retry_after
from vault_service.egress.answer_parser import AnswerParser
from vault_service.egress.endpoint import Endpoint
from vault_service.egress.guard import EgressGuard
from vault_service.egress.lookups import Lookups
from vault_service.egress.pool import ConnectionPool
from vault_service.egress.resolver import GuardedResolver, Lookup

_LATE_S: Final = 0.05  # a timer that is later than this belongs to a process that stood still
_LATE_LOOKS_MAX: Final = 4  # a machine that is late again and again still ends a request
_SENDABLE: Final = re.compile(r"[\t -~]+")
_FORM: Final = "application/x-www-form-urlencoded"
_JSON: Final = "application/json"
_HEADERS: Final = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "tokenvault",
}


def _utc_now() -> datetime:
    return datetime.now(UTC)


class _Progress:
    """How far one request came. Set right before its first byte is written, after the handshake.

    So False proves that nothing left; True means that something may have. It is also set for a
    connection that the peer closed a moment ago: that counts as sent, since a peer may close after
    reading. ``HTTP_KEEP_ALIVE_S`` keeps connections for less time than common servers do, so that
    this race is rare.
    """

    def __init__(self) -> None:
        self.sent = False


class HttpClient:
    """Bounded HTTPS client. ``ca_file``: PEM of CAs to trust beside the system's.

    Construction reads ``ca_file`` (OSError, ssl.SSLError); ``post_form`` needs a running loop.
    """

    def __init__(
        self,
        guard: EgressGuard,
        ca_file: Path | None = None,
        *,
        lookup: Lookup | None = None,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._guard = guard
        self.lookups = Lookups()
        resolver = GuardedResolver(guard, lookup or self.lookups)
        self._pool = ConnectionPool(tls_context(ca_file), resolver)
        self._now = now

    async def post_form(
        self,
        url: str,
        fields: Mapping[str, str | Sensitive],
        *,
        basic: Sensitive | None = None,
        limit_s: float = limits.POST_LIMIT_S,
        send_limit_s: float | None = None,
    ) -> HttpAnswer:
        """POST ``fields`` in their order as application/x-www-form-urlencoded, once.

        ``basic``: the bytes ``user:password`` of an Authorization header (RFC 7617), encoded as
        the caller's protocol wants. ``limit_s`` covers all from the wait for a connection to the
        body's last byte, ``send_limit_s`` all until the request begins to be sent, after which
        nothing is sent any more; both on the monotonic clock. What came of an answer is given,
        however it ended, once its status is known. Raises ``TransportFailure``, nothing else.
        """
        headers = {"Content-Type": _FORM, **_basic(basic)}
        return await self._request(
            "POST", url, _encoded(fields), headers, limit_s, send_limit_s=send_limit_s
        )

    async def post_json(
        self,
        url: str,
        fields: Mapping[str, str | Sensitive],
        *,
        basic: Sensitive | None = None,
        limit_s: float = limits.POST_LIMIT_S,
        send_limit_s: float | None = None,
    ) -> HttpAnswer:
        """As ``post_form``, with ``fields`` as one JSON object of texts."""
        headers = {"Content-Type": _JSON, **_basic(basic)}
        return await self._request(
            "POST", url, _json(fields), headers, limit_s, send_limit_s=send_limit_s
        )

    async def get(
        self, url: str, *, bearer: Sensitive, limit_s: float = limits.POST_LIMIT_S
    ) -> HttpAnswer:
        """GET with an access token (RFC 6750 §2.1); bounded and failing as ``post_form``. On a
        connection of its own, so that none that is just being closed fails it."""
        headers = {"Authorization": f"Bearer {bearer.reveal_text()}"}
        return await self._request("GET", url, None, headers, limit_s)

    async def post_body(
        self,
        url: str,
        body: Sensitive,
        *,
        headers: Mapping[str, str],
        limit_s: float,
        answer_max_bytes: int,
    ) -> HttpAnswer:
        """As ``post_form``, with these bytes as application/json, with ``headers`` beside the usual
        ones, and an answer of which no more than ``answer_max_bytes`` are read."""
        sent = {**headers, "Content-Type": _JSON}
        return await self._request("POST", url, body.reveal(), sent, limit_s, answer_max_bytes)

    async def _request(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        limit_s: float,
        answer_max_bytes: int = limits.BODY_MAX_BYTES,
        send_limit_s: float | None = None,
    ) -> HttpAnswer:
        progress, parser = _Progress(), AnswerParser(answer_max_bytes)
        started = asyncio.get_running_loop().time()
        send_by = started + (limit_s if send_limit_s is None else min(limit_s, send_limit_s))
        try:
            endpoint = self._guard.endpoint(url)
            request = _request_bytes(method, endpoint, {**_HEADERS, **headers}, body)
            async with _limited(limit_s):
                await self._exchange(endpoint, request, parser, progress, send_by)
        except VaultError as error:
            raise TransportFailure(False, error.message) from error
        # All that sockets, TLS and the loop can raise; a cancellation goes through.
        except Exception as error:
            if not progress.sent:
                raise TransportFailure(False, _described(error)) from error
            parser.ends(_described(error))
        if not parser.status:
            raise TransportFailure(True, parser.refusal or "closed without an answer")
        return self._answer(parser)

    async def close(self) -> None:
        """Close all connections; later requests fail as not sent."""
        await self._pool.close()

    async def hang_up(self) -> None:
        """Close all connections; later requests make new ones."""
        await self._pool.hang_up()

    async def _exchange(
        self,
        endpoint: Endpoint,
        request: bytes,
        parser: AnswerParser,
        progress: _Progress,
        send_by: float,
    ) -> None:
        fresh = request.startswith(b"GET ")
        async with contextlib.AsyncExitStack() as lent:
            async with asyncio.timeout_at(send_by):
                place = self._pool.connection(endpoint, fresh=fresh)
                connection = await lent.enter_async_context(place)
            # A process that stood still meanwhile must not send what counts as not sent.
            if asyncio.get_running_loop().time() > send_by:
                raise TimeoutError
            progress.sent = True
            await connection.exchange(request, parser)

    def _answer(self, parser: AnswerParser) -> HttpAnswer:
        coding = parser.header("content-encoding").encode("ascii", "backslashreplace").decode()
        shown = "".join(filter(str.isprintable, coding))[: limits.CODING_MAX_CHARS]
        body = bytes(parser.body)
        return HttpAnswer(
            status=parser.status,
            content_type=parser.header("content-type")[: limits.TEXT_MAX_CHARS],
            body=Sensitive(body),
            retry_after_s=parse_retry_after(parser.header("retry-after") or None, self._now()),
            refusal=parser.refusal,
            content_encoding=shown,
            oddities=(*parser.oddities, *_coding_oddity(shown, body))[: limits.ODDITIES_MAX_COUNT],
            framed_bytes=parser.framed_bytes,
        )


@contextlib.asynccontextmanager
async def _limited(limit_s: float) -> AsyncIterator[None]:
    """As ``asyncio.timeout``, but a process that stood still past the limit (a stopped machine, a
    starved one) first reads what waits in its buffers: it may be the only copy of a token."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as scope:
        timer: asyncio.TimerHandle

        def end(due: float, looks: int) -> None:
            nonlocal timer
            now = loop.time()
            if now - due < _LATE_S or looks == 0:
                scope.reschedule(now)
                return
            due = now + limits.HTTP_LATE_READ_S
            timer = loop.call_at(due, end, due, looks - 1)

        due = loop.time() + limit_s
        timer = loop.call_at(due, end, due, _LATE_LOOKS_MAX)
        try:
            yield
        finally:
            timer.cancel()


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Verified TLS 1.2 or newer: the system's authorities, and those of ``ca_file``."""
    # Not create_default_context: it obeys SSLKEYLOGFILE, which would give away every session.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


def _request_bytes(
    method: str, endpoint: Endpoint, headers: Mapping[str, str], body: bytes | None
) -> bytes:
    """RFC 9112 §3. The grammar of ``endpoint`` leaves no character that could end a line."""
    host = endpoint.authority.removesuffix(":443")
    lines = [f"{method} {endpoint.target} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    if not all(_SENDABLE.fullmatch(line) for line in lines):
        raise TransportFailure(False, "a header with a character that cannot be sent")
    return "\r\n".join((*lines, "", "")).encode("ascii") + (body or b"")


def _coding_oddity(coding: str, body: bytes) -> tuple[str, ...]:
    """We ask for none: one that is there all the same is odd, and so is one without a label."""
    if coding.lower() not in ("", "identity"):
        return ("a content coding that nobody asked for",)
    return ("compressed without a label",) if is_compressed(body) else ()


def _encoded(fields: Mapping[str, str | Sensitive]) -> bytes:
    """RFC 6749 appendix B: UTF-8, form-urlencoded."""
    pairs = (f"{quote_plus(name)}={_value(value)}" for name, value in fields.items())
    return "&".join(pairs).encode()


def _value(value: str | Sensitive) -> str:
    return quote_plus(value.reveal() if isinstance(value, Sensitive) else value)


def _json(fields: Mapping[str, str | Sensitive]) -> bytes:
    texts = {
        name: value.reveal_text() if isinstance(value, Sensitive) else value
        for name, value in fields.items()
    }
    return json.dumps(texts).encode()


def _basic(basic: Sensitive | None) -> dict[str, str]:
    if basic is None:
        return {}
    return {"Authorization": f"Basic {base64.b64encode(basic.reveal()).decode()}"}


def _described(error: Exception) -> str:
    """What went wrong in our words: texts of foreign exceptions may quote the other side."""
    if isinstance(error, TransportFailure):
        return error.detail
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {error.verify_message or 'certificate refused'}"[: limits.TEXT_MAX_CHARS]
    if isinstance(error, ssl.SSLError):
        return "TLS handshake failed"
    if isinstance(error, TimeoutError):
        return "no whole answer within the limit"
    if isinstance(error, OSError):
        return "connection refused, cut or unreachable"
    return f"connection failed ({type(error).__name__})"
