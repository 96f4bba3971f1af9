"""HTTPS to transit: a bounded thread pool, and one deadline for each request.

hvac is synchronous, and cancelling an await does not stop a thread; so each request carries its
own time-out too. The bodies hold DEKs in base64 for the time of a request: neither JSON nor the
HTTP library can wipe what they copy.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import requests
from hvac.adapters import RawAdapter
from requests.adapters import HTTPAdapter

from vault_service.adapters.transit.failures import too_slow, transport_errors
from vault_service.adapters.transit.settings import TransitSettings
from vault_service.domain import limits
from vault_service.domain.errors import KekDenied
from vault_service.domain.sensitive import Sensitive
from vault_service.ports import Clock
from vault_service.telemetry.meters import TransitMeter
from vault_service.telemetry.metrics import Metrics

T = TypeVar("T")

_NO_TOKEN: Final = Sensitive(b"")
_OPERATIONS: Final = frozenset(
    ("decrypt", "encrypt", "health", "hmac", "keys", "login", "renew-self", "rewrap", "sign")
)


@dataclass(frozen=True, slots=True)
class Answer:
    """Any HTTP answer. ``body`` is {} where it was not a JSON object; it may hold DEKs."""

    status: int
    body: Mapping[str, Any]
    date: str = ""  # the server's clock as it says it (RFC 9110 §6.6.1)

    def __repr__(self) -> str:
        return f"Answer(status={self.status})"

    @property
    def errors(self) -> str:
        """What transit says is wrong: for our decisions, not for anyone's eyes."""
        listed = self.body.get("errors")
        return " ".join(map(str, listed)) if isinstance(listed, list) else ""


class Connection:
    """Requests to one address. Trusts ``ca_file`` alone; reads no environment variable.

    Raises ValueError when ``ca_file`` is not a file of PEM certificates.
    """

    def __init__(
        self, settings: TransitSettings, clock: Clock, meter: TransitMeter | None = None
    ) -> None:
        self._meter = meter or TransitMeter(Metrics())
        self._mount = settings.mount
        try:
            ssl.create_default_context(cafile=settings.ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise ValueError(
                f"transit's ca_file {settings.ca_file} cannot be read as PEM certificates"
            ) from error
        self._address = settings.address
        self._clock = clock
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy, .netrc or CA bundle from the environment
        self._session.verify = str(settings.ca_file)
        self._session.mount(
            "https://", HTTPAdapter(pool_connections=1, pool_maxsize=limits.TRANSIT_THREADS)
        )
        self._threads = ThreadPoolExecutor(limits.TRANSIT_THREADS, thread_name_prefix="transit")

    def deadline(self) -> float:
        """The end of a request that starts now, on the monotonic clock."""
        return self._clock.monotonic() + limits.TRANSIT_LIMIT_S

    async def post(
        self, path: str, body: Mapping[str, Any], deadline: float, token: Sensitive = _NO_TOKEN
    ) -> Answer:
        """POST JSON. Raises KEK_UNREACHABLE or ``KekDenied`` where nothing was answered."""
        return await self._request("POST", path, body, deadline, token)

    async def get(self, path: str, deadline: float, token: Sensitive = _NO_TOKEN) -> Answer:
        """GET. Raises as ``post``."""
        return await self._request("GET", path, None, deadline, token)

    async def in_thread(self, work: Callable[[], T], deadline: float) -> T:
        """Run blocking work among the requests. KEK_UNREACHABLE when the deadline passes."""
        left_s = deadline - self._clock.monotonic()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(left_s):
                return await loop.run_in_executor(self._threads, work)
        except TimeoutError as error:
            raise too_slow() from error

    async def close(self) -> None:
        """Drop what waits and close the connections; a request under way ends by its time-out."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._session.close()

    async def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        deadline: float,
        token: Sensitive,
    ) -> Answer:
        def send() -> Answer:
            with transport_errors():
                return self._send(method, path, body, deadline, token)

        loop, outcome = asyncio.get_running_loop(), "UNREACHABLE"
        asked = loop.time()
        try:
            answer = await self.in_thread(send, deadline)
            outcome = f"{answer.status // 100}xx"
            return answer
        except KekDenied:
            outcome = "DENIED"
            raise
        finally:
            operation = operation_of(path, self._mount)
            self._meter.requested(operation, outcome, loop.time() - asked)

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        deadline: float,
        token: Sensitive,
    ) -> Answer:
        left_s = deadline - self._clock.monotonic()
        if left_s <= 0:  # it waited for a thread until nobody waited for it
            raise TimeoutError
        adapter = RawAdapter(
            base_uri=self._address,
            token=token.reveal_text(),
            session=self._session,
            timeout=left_s,  # type: ignore[arg-type]  # its default is 30; fractions are fine
            allow_redirects=False,  # the token goes to this address and to no other
        )
        response = adapter.request(method, f"/v1/{path}", json=body, raise_exception=False)
        date = response.headers.get("Date", "")
        return Answer(response.status_code, _json_object(response.content), date)


def operation_of(path: str, mount: str) -> str:
    """A path as a label: what is done, without a key's name."""
    if path.startswith(f"{mount}/"):
        verb = path[len(mount) + 1 :].split("/", 1)[0]
    else:
        verb = path.rsplit("/", 1)[-1]  # auth/approle/login, auth/token/renew-self, sys/health
    return verb if verb in _OPERATIONS else "other"


def _json_object(content: bytes) -> Mapping[str, Any]:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
