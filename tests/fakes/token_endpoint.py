"""A provider's endpoints in memory: a script of answers, and a ledger of every request."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, replace

from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.oauth import ClientCredential, TokenAnswer
from vault_service.domain.provider import ProviderProfile
from vault_service.domain.sensitive import Sensitive


@dataclass(frozen=True, slots=True)
class Posted:
    """One request as the provider saw it; what a kind of request does not have is ""."""

    kind: str  # "exchange_code", "refresh" or "revoke"
    url: str
    client_id: str
    client_secret: str
    code: str = ""
    redirect_uri: str = ""
    verifier: str = ""
    nonce: str = ""
    refresh_token: str = ""


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


class FakeTokenEndpoint:
    """ports.TokenEndpoint by a script.

    ``answers`` are given in their order, errors raised; when none is queued, the nth request for
    tokens is answered with "at-n" and "rt-n". A code's answer names ``subject``.
    ``ledger`` has every request from the moment it was sent. ``gate``: an event that requests
    wait for before they are answered; ``arrived`` is set by each request that comes.
    """

    def __init__(self, subject: str | None = "sub-1") -> None:
        self.subject = subject
        self.answers: deque[TokenAnswer | TokenEndpointError] = deque()
        self.revocation_errors: deque[TokenEndpointError] = deque()
        self.ledger: list[Posted] = []
        self.gate: asyncio.Event | None = None
        self.arrived = asyncio.Event()
        self._count = 0

    def posted(self, kind: str) -> list[Posted]:
        """The requests of one kind."""
        return [entry for entry in self.ledger if entry.kind == kind]

    def fail(self, answer_class: AnswerClass, times: int = 1, **facts: object) -> None:
        """Queue failures; ``facts`` as ``TokenEndpointError`` takes them."""
        for _ in range(times):
            self.answers.append(TokenEndpointError(answer_class, **facts))  # type: ignore[arg-type]

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
        nonce: str,
    ) -> TokenAnswer:
        posted = _posted("exchange_code", profile.token_endpoint, client)
        entry = replace(
            posted,
            code=code.reveal_text(),
            redirect_uri=redirect_uri,
            verifier=verifier.reveal_text(),
            nonce=nonce,
        )
        answer = await self._answer(entry)
        return answer if answer.subject else replace(answer, subject=self.subject)

    async def refresh(
        self,
        profile: ProviderProfile,
        client: ClientCredential,
        *,
        token_endpoint: str,
        refresh_token: Sensitive,
    ) -> TokenAnswer:
        posted = _posted("refresh", token_endpoint, client)
        return await self._answer(replace(posted, refresh_token=refresh_token.reveal_text()))

    async def revoke(
        self, profile: ProviderProfile, client: ClientCredential, *, refresh_token: Sensitive
    ) -> None:
        posted = _posted("revoke", profile.revocation_endpoint, client)
        await self._arrive(replace(posted, refresh_token=refresh_token.reveal_text()))
        if self.revocation_errors:
            raise self.revocation_errors.popleft()

    async def _answer(self, entry: Posted) -> TokenAnswer:
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
