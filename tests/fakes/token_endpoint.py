"""A provider's endpoints in memory: a script of answers, and a ledger of every request."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.consent import TokenKind
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.oauth import ClientCredential, Liveness, TokenAnswer
from vault_service.domain.provider import ProviderProfile
from vault_service.domain.sensitive import Sensitive


@dataclass(frozen=True, slots=True)
class Posted:
    """One request as the provider saw it; what a kind of request does not have is ""."""

    kind: str  # "exchange_code", "refresh", "revoke", "introspect" or "probe"
    url: str
    client_id: str
    client_secret: str
    code: str = ""
    redirect_uri: str = ""
    verifier: str = ""
    refresh_token: str = ""
    access_token: str = ""
    scopes: tuple[str, ...] = ()


def an_answer(
    access: str = "at",
    refresh: str | None = "rt",
    *,
    life_s: int | None = 3_600,
    scopes: tuple[str, ...] | None = None,
    subject: str | None = None,
    token_type: str = "Bearer",
) -> TokenAnswer:
    """A token answer; ``refresh`` None: the provider gave no refresh token."""
    return TokenAnswer(
        access_token=Sensitive.from_text(access),
        refresh_token=None if refresh is None else Sensitive.from_text(refresh),
        token_type=token_type,
        expires_in_s=life_s,
        scopes=scopes,
        subject=subject,
    )


_FAR = 4_102_444_800  # 2100

# The status of an answer of each class, where a script does not say it.
_STATUS = {
    AnswerClass.RATE_LIMITED: 429,
    AnswerClass.INVALID_GRANT: 400,
    AnswerClass.CLIENT_REFUSED: 401,
    AnswerClass.REQUEST_REFUSED: 400,
    AnswerClass.PROVIDER_FAULT: 404,
    AnswerClass.UNREADABLE_SUCCESS: 200,
}
_ERROR = {
    AnswerClass.INVALID_GRANT: "invalid_grant",
    AnswerClass.CLIENT_REFUSED: "invalid_client",
    AnswerClass.REQUEST_REFUSED: "invalid_request",
}


def as_http(answer: TokenAnswer, scope_separator: str = " ") -> HttpAnswer:
    """The 200 that reads as this answer."""
    members: dict[str, object] = {
        "access_token": answer.access_token.reveal_text(),
        "token_type": answer.token_type,
    }
    if answer.refresh_token is not None:
        members["refresh_token"] = answer.refresh_token.reveal_text()
    if answer.expires_in_s is not None:
        members["expires_in"] = answer.expires_in_s
    if answer.scopes is not None:
        members["scope"] = scope_separator.join(answer.scopes)
    return HttpAnswer(200, "application/json", Sensitive(json.dumps(members).encode()))


def as_consent(
    answer: TokenAnswer, profile: ProviderProfile, client_id: str, nonce: str
) -> HttpAnswer:
    """The 200 to a code: as ``as_http``, with the subject where the profile says."""
    members = json.loads(as_http(answer, profile.scope_separator).body.reveal())
    source, _, name = profile.subject_from.partition(":")
    if answer.subject is not None and source == "response":
        members[name] = answer.subject
    elif answer.subject is not None:
        claims = {"iss": profile.issuer, "aud": client_id, "exp": _FAR, name: answer.subject}
        members["id_token"] = an_id_token(claims | ({"nonce": nonce} if nonce else {}))
    return HttpAnswer(200, "application/json", Sensitive(json.dumps(members).encode()))


def an_id_token(claims: Mapping[str, object]) -> str:
    """A JWT in compact form with these claims; nobody looks at its signature."""
    parts = ({"alg": "RS256"}, claims)
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts)
    return ".".join(part.rstrip(b"=").decode() for part in encoded) + ".c2ln"


def as_refusal(error: TokenEndpointError) -> HttpAnswer:
    """An answer that reads as this failure."""
    code = error.error or _ERROR.get(error.answer_class, "")
    body = json.dumps({"error": code}).encode() if code else b"<html>"
    status = error.status or _STATUS[error.answer_class]
    return HttpAnswer(status, "application/json", Sensitive(body), error.retry_after_s)


class FakeTokenEndpoint:
    """ports.TokenEndpoint by a script.

    ``answers`` are given in their order, failures as the answer that reads so, or raised; when none
    is queued, the nth request for tokens is answered with "at-n" and "rt-n". A code's answer names
    ``subject``. ``introspections`` and ``probes`` likewise; UNKNOWN when none is queued.
    ``ledger`` has every request from the moment it was sent. ``gate``: an event that requests
    wait for before they are answered; ``arrived`` is set by each request that comes.
    """

    def __init__(self, subject: str | None = "sub-1") -> None:
        self.subject = subject
        self.answers: deque[TokenAnswer | HttpAnswer | TokenEndpointError] = deque()
        self.introspections: deque[Liveness] = deque()
        self.probes: deque[Liveness] = deque()
        self.revocation_errors: deque[TokenEndpointError] = deque()
        self.ledger: list[Posted] = []
        self.gate: asyncio.Event | None = None
        self.arrived = asyncio.Event()
        self._nonces: dict[str, str] = {}
        self._count = 0

    def posted(self, kind: str) -> list[Posted]:
        """The requests of one kind."""
        return [entry for entry in self.ledger if entry.kind == kind]

    def fail(self, answer_class: AnswerClass, times: int = 1, **facts: Any) -> None:
        """Queue failures; ``facts`` as ``TokenEndpointError`` takes them."""
        for _ in range(times):
            self.answers.append(TokenEndpointError(answer_class, **facts))

    def authorize(self, url: str) -> None:
        """The browser was sent here: what the id_token of its code's exchange must repeat."""
        asked = dict(parse_qsl(urlsplit(url).query))
        self._nonces[asked["code_challenge"]] = asked.get("nonce", "")

    def hold(self) -> asyncio.Event:
        """Hold the requests that come from now on; set the event to let them go."""
        self.gate = asyncio.Event()
        self.arrived.clear()
        return self.gate

    async def exchange_code(
        self,
        profile: ProviderProfile,
        client: ClientCredential,
        *,
        code: Sensitive,
        redirect_uri: str,
        verifier: Sensitive,
    ) -> HttpAnswer:
        posted = _posted("exchange_code", profile.token_endpoint, client)
        entry = replace(
            posted,
            code=code.reveal_text(),
            redirect_uri=redirect_uri,
            verifier=verifier.reveal_text(),
        )
        answer = await self._scripted(entry)
        if isinstance(answer, HttpAnswer):
            return answer
        if not answer.subject:
            answer = replace(answer, subject=self.subject)
        nonce = self._nonces.get(_challenge(entry.verifier), "")
        return as_consent(answer, profile, client.client_id, nonce)

    async def refresh(
        self,
        profile: ProviderProfile,
        client: ClientCredential,
        *,
        token_endpoint: str,
        refresh_token: Sensitive,
        scopes: Collection[str] = (),
        post_limit_s: float,
        answer_limit_s: float,
    ) -> HttpAnswer:
        posted = _posted("refresh", token_endpoint, client)
        named = tuple(scopes) if profile.requires_scope_on_refresh else ()
        entry = replace(posted, refresh_token=refresh_token.reveal_text(), scopes=named)
        answer = await self._within(answer_limit_s, entry)
        return (
            answer if isinstance(answer, HttpAnswer) else as_http(answer, profile.scope_separator)
        )

    async def revoke(
        self,
        profile: ProviderProfile,
        client: ClientCredential,
        *,
        token: Sensitive,
        kind: TokenKind = TokenKind.REFRESH,
    ) -> None:
        posted = _posted("revoke", profile.revocation_endpoint, client)
        value = token.reveal_text()
        if kind is TokenKind.REFRESH:
            await self._arrive(replace(posted, refresh_token=value))
        else:
            await self._arrive(replace(posted, access_token=value))
        if self.revocation_errors:
            raise self.revocation_errors.popleft()

    async def introspect(
        self, profile: ProviderProfile, client: ClientCredential, *, refresh_token: Sensitive
    ) -> Liveness:
        if not profile.introspection_endpoint:
            return Liveness.UNKNOWN
        posted = _posted("introspect", profile.introspection_endpoint, client)
        await self._arrive(replace(posted, refresh_token=refresh_token.reveal_text()))
        return self.introspections.popleft() if self.introspections else Liveness.UNKNOWN

    async def probe_access_token(
        self, profile: ProviderProfile, *, access_token: Sensitive
    ) -> Liveness:
        if not profile.probe_endpoint:
            return Liveness.UNKNOWN
        token = access_token.reveal_text()
        await self._arrive(Posted("probe", profile.probe_endpoint, "", "", access_token=token))
        return self.probes.popleft() if self.probes else Liveness.UNKNOWN

    async def _within(self, limit_s: float, entry: Posted) -> TokenAnswer | HttpAnswer:
        try:
            async with asyncio.timeout(limit_s):
                return await self._scripted(entry)
        except TimeoutError:
            raise TokenEndpointError(AnswerClass.IN_DOUBT) from None

    async def _scripted(self, entry: Posted) -> TokenAnswer | HttpAnswer:
        """What is answered: failures that are answers as such, the others raised."""
        try:
            return await self._answer(entry)
        except TokenEndpointError as error:
            if error.answer_class not in _STATUS:
                raise
            return as_refusal(error)

    async def _answer(self, entry: Posted) -> TokenAnswer | HttpAnswer:
        # What is answered is decided when the request comes, however long it is held open.
        self._count += 1
        number = self._count
        scripted = self.answers.popleft() if self.answers else None
        await self._arrive(entry)
        if isinstance(scripted, TokenEndpointError):
            raise scripted
        return scripted or an_answer(f"at-{number}", f"rt-{number}")

    async def _arrive(self, entry: Posted) -> None:
        self.ledger.append(entry)
        self.arrived.set()
        if self.gate is not None:
            await self.gate.wait()
        else:
            await asyncio.sleep(0)


def _posted(kind: str, url: str, client: ClientCredential) -> Posted:
    return Posted(kind, url, client.client_id, client.client_secret.reveal_text())


def _challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
