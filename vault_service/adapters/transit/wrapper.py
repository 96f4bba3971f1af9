"""ports.KeyWrapper on transit: DEKs are wrapped and unwrapped in batches, one tenant a request."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from vault_service.adapters.transit.connection import Answer, Connection
from vault_service.adapters.transit.failures import (
    from_status,
    not_provisioned,
    too_slow,
    unreachable,
)
from vault_service.adapters.transit.login import Login
from vault_service.adapters.transit.settings import TransitSettings, key_name
from vault_service.crypto.bind import transit_context
from vault_service.domain import limits
from vault_service.domain.envelope import DekOwner, WrappedDek
from vault_service.domain.errors import KekDenied, Reason, VaultError
from vault_service.domain.sensitive import Sensitive
from vault_service.gather import Gatherer
from vault_service.ports import Clock
from vault_service.telemetry import get_logger
from vault_service.telemetry.meters import TransitMeter
from vault_service.telemetry.traces import child

Q = TypeVar("Q")
R = TypeVar("R")

_log = get_logger(__name__)

_DEK_BYTES: Final = 32
_DEK_ID_BYTES: Final = 16
_WRAPPED: Final = re.compile(r"vault:v([1-9][0-9]{0,8}):[A-Za-z0-9+/]{40,200}={0,2}")
_HEALTHY: Final = frozenset({200, 429, 473})  # active, standby, performance standby: all unsealed
_KEY_MISSING: Final = "encryption key not found"
_RETIRED: Final = "disallowed by policy"  # older than the key's min_decryption_version


@dataclass(frozen=True, slots=True)
class _NewDek:
    dek_id: bytes
    owner: DekOwner
    key: Sensitive


class TransitKeyWrapper:
    """KEK over DEK by ``encrypt`` and ``decrypt`` of a derived key, at most 2 s a call.

    What arrives together shares requests: at most 160 items of one tenant in each, at most 8
    requests at a time. A bad item fails alone. For one event loop.
    """

    def __init__(
        self, settings: TransitSettings, clock: Clock, meter: TransitMeter | None = None
    ) -> None:
        self._settings = settings
        self._connection = Connection(settings, clock, meter)
        self._login = Login(self._connection, settings, clock)
        self._wraps: Gatherer[_NewDek, WrappedDek] = Gatherer(
            lambda items: _by_tenant(items, lambda new: new.owner.tenant, self._wrap_for),
            batch_max=limits.TRANSIT_BATCH_MAX,
            queue_max=limits.TRANSIT_QUEUE_MAX,
            in_flight_max=limits.TRANSIT_THREADS,
        )
        self._unwraps: Gatherer[WrappedDek, Sensitive] = Gatherer(
            lambda items: _by_tenant(items, lambda row: row.dek_owner.tenant, self._unwrap_for),
            batch_max=limits.TRANSIT_BATCH_MAX,
            queue_max=limits.TRANSIT_QUEUE_MAX,
            in_flight_max=limits.TRANSIT_THREADS,
        )

    @property
    def waiting(self) -> tuple[int, int]:
        """DEKs that wait to be wrapped and unwrapped, in no request yet."""
        return self._wraps.waiting, self._unwraps.waiting

    async def wrap(self, dek_id: bytes, owner: DekOwner, key: Sensitive) -> WrappedDek:
        """Wrap a new DEK: 32 bytes, its id 16. Errors as ports.KeyWrapper; OVERLOADED."""
        if len(dek_id) != _DEK_ID_BYTES or len(key) != _DEK_BYTES:
            raise VaultError(Reason.INTERNAL, "a DEK has 32 bytes and an id of 16")
        with child("transit wrap", operation="encrypt"):
            return await _in_time(self._wraps.submit(_NewDek(dek_id, owner, key)))

    async def unwrap(self, wrapped: WrappedDek) -> Sensitive:
        """The 32-byte DEK. Errors as ports.KeyWrapper; OVERLOADED."""
        if not _WRAPPED.fullmatch(wrapped.wrapped) or len(wrapped.dek_id) != _DEK_ID_BYTES:
            raise _corrupt()
        with child("transit unwrap", operation="decrypt"):
            return await _in_time(self._unwraps.submit(wrapped))

    async def probe(self) -> None:
        """Whether transit is unsealed and lets us in; raises KEK_UNREACHABLE or ``KekDenied``."""
        answer = await self._connection.get("sys/health", self._connection.deadline())
        if answer.status not in _HEALTHY or "sealed" not in answer.body:
            raise from_status(answer.status, "the health check")
        await self._login.token()

    async def close(self) -> None:
        """Answer what waits, then close the connections."""
        await asyncio.gather(self._wraps.close(), self._unwraps.close())
        await self._connection.close()

    async def _wrap_for(
        self, tenant: str, items: Sequence[_NewDek]
    ) -> Sequence[WrappedDek | Exception]:
        batch = [
            {
                "plaintext": base64.b64encode(new.key.reveal()).decode(),
                "context": self._context(new.dek_id, new.owner),
            }
            for new in items
        ]
        results = await self._ask("encrypt", tenant, batch)
        return [_wrapped(new, result) for new, result in zip(items, results, strict=True)]

    async def _unwrap_for(
        self, tenant: str, items: Sequence[WrappedDek]
    ) -> Sequence[Sensitive | Exception]:
        batch = [
            {"ciphertext": row.wrapped, "context": self._context(row.dek_id, row.dek_owner)}
            for row in items
        ]
        return [_unwrapped(result) for result in await self._ask("decrypt", tenant, batch)]

    def _context(self, dek_id: bytes, owner: DekOwner) -> str:
        context = transit_context(self._settings.deployment, dek_id, owner)
        return base64.b64encode(context).decode()

    async def _ask(
        self, verb: str, tenant: str, batch: Sequence[Mapping[str, str]]
    ) -> Sequence[Mapping[str, Any]]:
        """One result per item. A 403 may be a token that was revoked: log in anew, once."""
        deadline = self._connection.deadline()
        name = key_name(self._settings.key_prefix, self._settings.deployment, tenant)
        path, body = f"{self._settings.mount}/{verb}/{name}", {"batch_input": batch}
        token = await self._login.token()
        answer = await self._connection.post(path, body, deadline, token.secret)
        if answer.status == 403:
            fresh = await self._login.after_denial(token)
            if fresh is not None:
                token = fresh
                answer = await self._connection.post(path, body, deadline, token.secret)
        if answer.status == 403 and verb == "encrypt":
            # For want of the "create" capability, encrypt under a missing key is just forbidden.
            probe = {"batch_input": [{"ciphertext": "vault:v1:AAAA", "context": "AAAA"}]}
            path = f"{self._settings.mount}/decrypt/{name}"
            second = await self._connection.post(path, probe, deadline, token.secret)
            answer = second if _KEY_MISSING in second.errors else answer
        return _results(answer, verb, tenant, len(batch))


async def _by_tenant(
    items: Sequence[Q],
    tenant_of: Callable[[Q], str],
    ask: Callable[[str, Sequence[Q]], Awaitable[Sequence[R | Exception]]],
) -> Sequence[R | Exception]:
    """Ask once per tenant, side by side; one tenant's failure is only its own items'."""
    places: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        places.setdefault(tenant_of(item), []).append(place)

    async def one(tenant: str, own: list[int]) -> Sequence[R | Exception]:
        try:
            return await ask(tenant, [items[place] for place in own])
        except VaultError as error:
            _log.warning("transit request failed", tenant=tenant, count=len(own), error=error)
            return [error] * len(own)

    answers: dict[int, R | Exception] = {}
    groups = await asyncio.gather(*(one(tenant, own) for tenant, own in places.items()))
    for own, group in zip(places.values(), groups, strict=True):
        answers.update(zip(own, group, strict=True))
    return [answers[place] for place in range(len(items))]


def _results(answer: Answer, verb: str, tenant: str, size: int) -> Sequence[Mapping[str, Any]]:
    """A batch with a bad item is a 400 whose body has all results: each is judged by itself."""
    if answer.status in (200, 400):
        data = answer.body.get("data")
        results = data.get("batch_results") if isinstance(data, dict) else None
        if isinstance(results, list) and all(isinstance(result, dict) for result in results):
            if len(results) == size:
                return results
            raise unreachable(f"transit answered {len(results)} results for {size} items")
    if _KEY_MISSING in answer.errors:
        raise not_provisioned(tenant)
    raise from_status(answer.status, verb)


def _wrapped(new: _NewDek, result: Mapping[str, Any]) -> WrappedDek | Exception:
    wrapped = result.get("ciphertext")
    match = _WRAPPED.fullmatch(wrapped) if isinstance(wrapped, str) else None
    if match is None:
        return KekDenied("transit did not wrap a DEK; check the key's type and that it is derived")
    return WrappedDek(new.dek_id, new.owner, match[0], int(match[1]))


def _unwrapped(result: Mapping[str, Any]) -> Sensitive | Exception:
    error, plaintext = result.get("error"), result.get("plaintext")
    if isinstance(error, str) and _RETIRED in error:
        return KekDenied("the DEK's KEK version is retired in transit (min_decryption_version)")
    if error or not isinstance(plaintext, str):
        return _corrupt()
    try:
        key = base64.b64decode(plaintext, validate=True)
    except binascii.Error:
        return _corrupt()
    return Sensitive(key) if len(key) == _DEK_BYTES else _corrupt()


def _corrupt() -> VaultError:
    return VaultError(
        Reason.ENVELOPE_CORRUPT,
        "a wrapped DEK does not belong to its row: it was changed, moved or cut; restore the row",
    )


async def _in_time(submitted: Awaitable[R]) -> R:
    try:
        async with asyncio.timeout(limits.TRANSIT_LIMIT_S):
            return await submitted
    except TimeoutError as error:
        raise too_slow() from error
