"""Transit as the doctor looks at it: reachable, unsealed, our login, its rights, tenants' keys.

The service's login may not read keys, so whether one is there and derived is asked of `decrypt`
with a ciphertext that opens nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

from vault_service.adapters.transit.admin import WANTED_KEY
from vault_service.adapters.transit.connection import Answer, Connection
from vault_service.adapters.transit.failures import from_status
from vault_service.adapters.transit.login import Login, Token
from vault_service.adapters.transit.settings import TransitSettings, key_name
from vault_service.domain.errors import VaultError
from vault_service.domain.finding import (
    Finding,
    Thresholds,
    Verdict,
    clock_finding,
    failed,
    ok,
    skipped,
    warning,
)
from vault_service.ports import Clock

_STATES: Final[Mapping[int, str]] = {
    200: "active",
    429: "a standby that forwards",
    473: "a performance standby",
}
_LATER: Final = ("login", "rights", "mount")
_BOGUS: Final = "vault:v1:" + "A" * 56  # as long as a ciphertext has to be to be looked at
_KEY_MISSING: Final = "encryption key not found"
_NO_CONTEXT: Final = "missing 'context'"
_DATE_UNSURE_S: Final = 0.5  # a Date header has whole seconds, rounded down
# Of a service that serves: paths below the mount, {key} a tenant's key.
_NEEDED: Final = ("encrypt/{key}", "decrypt/{key}")
_FORBIDDEN: Final = (
    "keys/{key}",
    "keys/{key}/config",
    "keys/{key}/rotate",
    "export/encryption-key/{key}",
    "backup/{key}",
)
_CHANGING: Final = frozenset({"create", "update", "delete", "patch", "sudo", "root"})
_POLICY_ADVICE: Final = "give its role the policy deploy/transit-service.hcl and no other"


class TransitExam:
    """One look. Raises ValueError for a ``ca_file`` that holds no certificate."""

    def __init__(self, settings: TransitSettings, clock: Clock, thresholds: Thresholds) -> None:
        self._settings = settings
        self._clock = clock
        self._thresholds = thresholds
        self._connection = Connection(settings, clock)
        self._login = Login(self._connection, settings, clock)
        self._token: Token | None = None

    async def server(self) -> AsyncIterator[Finding]:
        """The server, and what our login may do there."""
        before = self._clock.now()
        try:
            health = await self._connection.get("sys/health", self._connection.deadline())
        except VaultError as error:
            yield _refused("transit.reachable", error)
            for check in ("seal", "clock", *_LATER):
                yield skipped(f"transit.{check}", "transit was not reached")
            return
        took = self._clock.now() - before
        yield ok("transit.reachable", f"{self._settings.address} answers by verified TLS")
        seal = _seal(health)
        yield seal
        yield self._clock_finding(health, (before + took / 2).timestamp(), took / 2)
        if seal.verdict is not Verdict.OK:
            for check in _LATER:
                yield skipped(f"transit.{check}", "transit does not serve")
            return
        async for finding in self._rights():
            yield finding

    async def keys(self, tenants: Sequence[str]) -> AsyncIterator[Finding]:
        """Each tenant's key."""
        for tenant in tenants:
            if self._token is None:
                yield skipped(f"transit.key.{tenant}", "we are not logged in")
            else:
                yield await self._key(tenant, self._token)

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.close()

    async def _rights(self) -> AsyncIterator[Finding]:
        try:
            self._token = await self._login.token()
        except VaultError as error:
            yield _refused("transit.login", error)
            yield skipped("transit.rights", "we are not logged in")
            yield skipped("transit.mount", "we are not logged in")
            return
        yield ok("transit.login", f"AppRole at auth/{self._settings.auth_mount}")
        # Of a name that no tenant has: the rights hold for the prefix.
        key = key_name(self._settings.key_prefix, self._settings.deployment, "-")
        yield await self._policy(key, self._token)
        yield await self._mount(key, self._token)

    async def _policy(self, key: str, token: Token) -> Finding:
        check, mount = "transit.rights", self._settings.mount
        paths = [f"{mount}/{path.format(key=key)}" for path in (*_NEEDED, *_FORBIDDEN)]
        try:
            answer = await self._post("sys/capabilities-self", {"paths": paths}, token)
        except VaultError as error:
            return _refused(check, error)
        if answer.status != 200:
            return warning(
                check,
                "what our login may do cannot be looked at",
                'grant "update" on sys/capabilities-self, as the default policy does',
            )
        data = answer.body.get("data")
        rights = {path: set((data or answer.body).get(path) or ()) for path in paths}
        return _judged(check, mount, rights, paths[: len(_NEEDED)])

    async def _mount(self, key: str, token: Token) -> Finding:
        check, mount = "transit.mount", self._settings.mount
        try:
            answer = await self._probe(key, token)
        except VaultError as error:
            return _refused(check, error)
        if _KEY_MISSING in answer.errors:
            return ok(check, f"the transit engine is mounted at {mount}")
        return _refused(check, from_status(answer.status, f"decrypt at {mount}"))

    async def _key(self, tenant: str, token: Token) -> Finding:
        check = f"transit.key.{tenant}"
        name = key_name(self._settings.key_prefix, self._settings.deployment, tenant)
        try:
            read = await self._get(f"{self._settings.mount}/keys/{name}", token)
            probed = await self._probe(name, token)
        except VaultError as error:
            return _refused(check, error)
        if _KEY_MISSING in probed.errors:
            advice = f"tokenvault tenant create {tenant} --config ADMIN.toml"
            return failed(check, f"there is no key {name}", advice)
        if read.status == 200:  # an admin's login
            return _compared(check, name, read.body.get("data"))
        if _NO_CONTEXT in probed.errors:
            return ok(check, f"{name} is there and derived")
        return failed(
            check,
            f"{name} is not a derived key, or decrypt is refused ({probed.status})",
            "see what it is: vault read transit/keys/NAME; a tenant's key is derived aes256-gcm96",
        )

    def _clock_finding(self, answer: Answer, middle: float, half: timedelta) -> Finding:
        check = "transit.clock"
        try:
            theirs = parsedate_to_datetime(answer.date).timestamp()
        except ValueError:
            return warning(check, "its answers carry no Date", "see what stands before transit")
        ahead_s = theirs + _DATE_UNSURE_S - middle
        unsure_s = half.total_seconds() + _DATE_UNSURE_S
        return clock_finding(check, ahead_s, unsure_s, self._thresholds)

    async def _probe(self, key: str, token: Token) -> Answer:
        path = f"{self._settings.mount}/decrypt/{key}"
        return await self._post(path, {"ciphertext": _BOGUS}, token)

    async def _post(self, path: str, body: Mapping[str, Any], token: Token) -> Answer:
        deadline = self._connection.deadline()
        return await self._connection.post(path, body, deadline, token.secret)

    async def _get(self, path: str, token: Token) -> Answer:
        return await self._connection.get(path, self._connection.deadline(), token.secret)


def _seal(health: Answer) -> Finding:
    check = "transit.seal"
    if health.status in _STATES and "sealed" in health.body:
        version = str(health.body.get("version", "of unknown version"))[:64]
        return ok(check, f"unsealed, {_STATES[health.status]}, {version}")
    if health.status == 503:
        return failed(check, "transit is sealed", "unseal it: vault operator unseal")
    if health.status == 501:
        return failed(check, "transit was never initialised", "vault operator init, then unseal")
    if health.status == 472:
        return failed(
            check, "this is a disaster-recovery standby", "let transit.address name the primary"
        )
    return failed(
        check,
        f"what answers ({health.status}) is not Vault or OpenBao",
        "correct transit.address",
    )


def _judged(
    check: str, mount: str, rights: Mapping[str, set[str]], needed: Sequence[str]
) -> Finding:
    for path, held in rights.items():
        verb = path.removeprefix(f"{mount}/").partition("/")[0]
        if path not in needed:
            if held & _CHANGING or ("read" in held and verb == "export"):
                shown = ", ".join(sorted(held))
                return failed(
                    check, f"our login may do too much: {shown} on {verb}", _POLICY_ADVICE
                )
        elif not held & {"update", "root"}:
            return failed(check, f"our login may not {verb}", _POLICY_ADVICE)
        elif "create" in held:
            found = f"our login may create on {verb}, which makes missing keys silently"
            return failed(check, found, _POLICY_ADVICE)
    return ok(check, "encrypt and decrypt, and no change of any key")


def _compared(check: str, name: str, data: Any) -> Finding:
    found = data if isinstance(data, dict) else {}
    wrong = [
        f"{field} is {found.get(field)!r}, not {wanted!r}"
        for field, wanted in WANTED_KEY.items()
        if found.get(field) != wanted
    ]
    if wrong:
        return failed(
            check, f"{name}: {'; '.join(wrong)}", "make the tenant's key anew, see deploy"
        )
    return ok(check, f"{name} is a derived aes256-gcm96 key")


def _refused(check: str, error: VaultError) -> Finding:
    found, _, advice = error.message.partition("; ")
    return failed(check, found, advice)
