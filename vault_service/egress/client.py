"""The one way out: requests over verified TLS, each bounded in place, size and time.

Whether a request was sent decides if a single-use refresh token may be presented again, so
"not sent" is claimed only where it is proven (see ``_Progress``).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Final
from urllib.parse import quote_plus

import aiohttp
from yarl import URL

from vault_service.domain import limits
from vault_service.domain.errors import VaultError
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.sensitive import Sensitive
from vault_service.egress.answer import TransportFailure, parse_retry_after
from vault_service.egress.guard import EgressGuard
from vault_service.egress.lookups import Lookups
from vault_service.egress.resolver import (
    AddressRefusedError,
    GuardedResolver,
    Lookup,
)

_LATE_S: Final = 0.05  # a timer that is later than this belongs to a process that stood still
_LATE_LOOKS_MAX: Final = 4  # a machine that is late again and again still ends a request
_FORM: Final = "application/x-www-form-urlencoded"
_JSON: Final = "application/json"
_HEADERS: Final = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "tokenvault",
}


# In this order: the first that fits.
_DESCRIPTIONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (aiohttp.ClientSSLError, "TLS handshake failed"),
    (aiohttp.ClientConnectorError, "connection refused, cut or unreachable"),
    (TimeoutError, "no whole answer within the limit"),
)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class _Progress:
    """How far one request came. Set by aiohttp's trace right before it writes the first byte.

    ``on_request_headers_sent`` fires, despite its name, before the headers are buffered, and
    nothing is written to the transport before it. So False proves that nothing left; True means
    that something may have. It also fires on a pooled connection that the peer closed a moment
    ago: that counts as sent, since a peer may close after reading. ``HTTP_KEEP_ALIVE_S`` keeps
    connections for less time than common servers do, so that this race is rare.
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
        self._resolver = GuardedResolver(guard, lookup or self.lookups)
        self._tls = tls_context(ca_file)
        self._now = now
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def post_form(
        self,
        url: str,
        fields: Mapping[str, str | Sensitive],
        *,
        basic: Sensitive | None = None,
        limit_s: float = limits.POST_LIMIT_S,
    ) -> HttpAnswer:
        """POST ``fields`` in their order as application/x-www-form-urlencoded, once.

        ``basic``: the bytes ``user:password`` of an Authorization header (RFC 7617), encoded as
        the caller's protocol wants. ``limit_s`` covers all from the wait for a connection to the
        body's last byte, on the monotonic clock. Raises ``TransportFailure``, nothing else.
        """
        headers = {"Content-Type": _FORM, **_basic(basic)}
        return await self._request("POST", url, _encoded(fields), headers, limit_s)

    async def post_json(
        self,
        url: str,
        fields: Mapping[str, str | Sensitive],
        *,
        basic: Sensitive | None = None,
        limit_s: float = limits.POST_LIMIT_S,
    ) -> HttpAnswer:
        """As ``post_form``, with ``fields`` as one JSON object of texts."""
        headers = {"Content-Type": _JSON, **_basic(basic)}
        return await self._request("POST", url, _json(fields), headers, limit_s)

    async def get(
        self, url: str, *, bearer: Sensitive, limit_s: float = limits.POST_LIMIT_S
    ) -> HttpAnswer:
        """GET with an access token (RFC 6750 §2.1); bounded and failing as ``post_form``. The
        library repeats it once where a connection is cut, as a GET may be (RFC 9110 §9.2.2)."""
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
    ) -> HttpAnswer:
        progress = _Progress()
        try:
            target = _pinned_url(self._guard.endpoint(url).url)
            async with _limited(limit_s):
                return await self._exchange(
                    method, target, body, {**_HEADERS, **headers}, progress, answer_max_bytes
                )
        except VaultError as error:
            raise TransportFailure(False, error.message) from error
        # All that aiohttp, its parsers and the loop can raise; a cancellation goes through.
        except Exception as error:
            raise TransportFailure(progress.sent, _described(error)) from error

    async def close(self) -> None:
        """Close all connections; later requests fail as not sent."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def _exchange(
        self,
        method: str,
        url: URL,
        body: bytes | None,
        headers: Mapping[str, str],
        progress: _Progress,
        answer_max_bytes: int,
    ) -> HttpAnswer:
        session = self._open_session()
        async with session.request(
            method,
            url,
            data=body,
            headers=headers,
            allow_redirects=False,
            trace_request_ctx=progress,
        ) as response:
            content, refusal = await _read(response, answer_max_bytes)
            return HttpAnswer(
                status=response.status,
                content_type=response.headers.get("Content-Type", "")[: limits.TEXT_MAX_CHARS],
                body=Sensitive(content),
                retry_after_s=parse_retry_after(response.headers.get("Retry-After"), self._now()),
                refusal=refusal,
            )

    def _open_session(self) -> aiohttp.ClientSession:
        if self._closed:
            raise RuntimeError("the HTTP client is closed")
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_request_headers_sent.append(_mark_sent)
            self._session = aiohttp.ClientSession(
                connector=self._connector(),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,  # no proxy and no netrc from the environment
                # The one total limit is asyncio.timeout in _request.
                timeout=aiohttp.ClientTimeout(sock_connect=limits.HTTP_CONNECT_LIMIT_S),
                trace_configs=[trace],
            )
        return self._session

    def _connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(
            ssl=self._tls,
            resolver=self._resolver,
            use_dns_cache=False,  # each new connection goes to addresses checked just now
            keepalive_timeout=limits.HTTP_KEEP_ALIVE_S,
            # Who asks has entered a share before (usecases.shares): nobody queues here.
            limit=limits.HTTP_CONNECTIONS_MAX,
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


async def _mark_sent(
    session: aiohttp.ClientSession,
    context: SimpleNamespace,
    params: aiohttp.TraceRequestHeadersSentParams,
) -> None:
    progress = context.trace_request_ctx
    assert isinstance(progress, _Progress)
    progress.sent = True


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


def _pinned_url(text: str) -> URL:
    """The URL for aiohttp, as it stands; both parsers must see the same host and port."""
    url = URL(text, encoded=True)
    host = url.raw_host or ""
    shown = f"[{host}]" if ":" in host else host
    if f"https://{shown}:{url.port}{url.raw_path_qs}" != text:
        raise TransportFailure(False, "the URL reads differently to two parsers")
    return url


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


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> tuple[bytes, str]:
    """(body, refusal). A body that is refused is left on the wire: its connection is closed."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        response.close()
        return b"", "compressed although we asked for identity"
    body = bytearray()
    while chunk := await response.content.read(limits.HTTP_READ_CHUNK_BYTES):
        body += chunk
        if len(body) > max_bytes:
            response.close()
            return bytes(body[:max_bytes]), f"longer than {max_bytes} bytes"
    return bytes(body), ""


def _described(error: Exception) -> str:
    """What went wrong in our words: texts of foreign exceptions may quote the other side."""
    if isinstance(error, TransportFailure):
        return error.detail
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        refused = isinstance(error.os_error, AddressRefusedError)
        return str(error.os_error) if refused else "the name cannot be looked up"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        text = getattr(error.certificate_error, "verify_message", "") or "certificate refused"
        return f"TLS: {text}"[: limits.TEXT_MAX_CHARS]
    for kind, text in _DESCRIPTIONS:
        if isinstance(error, kind):
            return text
    return f"connection failed ({type(error).__name__})"
