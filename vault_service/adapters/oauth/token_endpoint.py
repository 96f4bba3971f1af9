"""ports.TokenEndpoint: one request per method, each answer judged by ``domain.token_answer``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from vault_service.adapters.oauth.client_auth import Fields, authenticated
from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.oauth import ClientCredential, TokenAnswer
from vault_service.domain.provider import ProviderProfile
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.token_answer import (
    CLASS_BY_ERROR,
    Expected,
    read_answer,
    read_revocation,
)
from vault_service.egress.answer import TransportFailure
from vault_service.egress.client import HttpClient
from vault_service.ports import Clock
from vault_service.telemetry.meters import OK, ProviderMeter
from vault_service.telemetry.metrics import Metrics
from vault_service.telemetry.traces import child

_ECHO_MIN_CHARS: Final = 8  # a shorter common part is chance


class OAuthTokenEndpoint:
    """Implements ports.TokenEndpoint over the one HTTP client. Raises ``TokenEndpointError``.

    NOT_SENT: nothing left this host; IN_DOUBT: sent, and no answer; else as the answer says.
    """

    def __init__(self, http: HttpClient, clock: Clock, meter: ProviderMeter | None = None) -> None:
        self._http = http
        self._clock = clock
        self._meter = meter or ProviderMeter(Metrics())

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
        """RFC 6749 §4.1.3 with RFC 7636 §4.5; the subject is read as the profile says."""
        fields: Fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        with self._observed("exchange_code", profile.token_endpoint):
            answer = await self._post(profile.token_endpoint, client, fields)
            expected = Expected(
                subject_from=profile.subject_from,
                issuer=profile.issuer,
                client_id=client.client_id,
                nonce=nonce,
                now=self._clock.now(),
            )
            return self._read(answer, client, fields, profile, expected)

    async def refresh(
        self,
        profile: ProviderProfile,
        client: ClientCredential,
        *,
        token_endpoint: str,
        refresh_token: Sensitive,
    ) -> TokenAnswer:
        """RFC 6749 §6, at the endpoint pinned in the grant. The subject is always None."""
        fields: Fields = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        with self._observed("refresh", token_endpoint):
            answer = await self._post(token_endpoint, client, fields)
            return self._read(answer, client, fields, profile, None)

    async def revoke(
        self, profile: ProviderProfile, client: ClientCredential, *, refresh_token: Sensitive
    ) -> None:
        """RFC 7009 §2.1. An unknown token is a success (§2.2); ``unsupported_token_type`` and a
        provider without a revocation endpoint are REQUEST_REFUSED."""
        if not profile.revocation_endpoint:
            raise TokenEndpointError(
                AnswerClass.REQUEST_REFUSED, detail="the provider has no revocation endpoint"
            )
        fields: Fields = {"token": refresh_token, "token_type_hint": "refresh_token"}
        with self._observed("revoke", profile.revocation_endpoint):
            answer = await self._post(profile.revocation_endpoint, client, fields)
            try:
                read_revocation(answer)
            except TokenEndpointError as error:
                raise _without_echo(error, client, fields) from None

    @contextlib.contextmanager
    def _observed(self, operation: str, url: str) -> Iterator[None]:
        """Counts and traces one request by the class of its answer."""
        host = urlsplit(url).hostname or ""
        asked, answer = self._clock.monotonic(), "CANCELLED"
        with child(f"provider {operation}", operation=operation, host=host) as span:
            try:
                yield
                answer = OK
            except TokenEndpointError as error:
                answer = error.answer_class.name
                span.failed(answer)
                raise
            finally:
                span.note(answer_class=answer)
                took_s = self._clock.monotonic() - asked
                self._meter.requested(operation, answer, took_s)
                if operation == "refresh":
                    self._meter.refreshed(host, answer)

    async def _post(self, url: str, client: ClientCredential, fields: Fields) -> HttpAnswer:
        form, basic = authenticated(client, fields)
        try:
            return await self._http.post_form(url, form, basic=basic)
        except TransportFailure as failure:
            answer_class = AnswerClass.IN_DOUBT if failure.sent else AnswerClass.NOT_SENT
            raise TokenEndpointError(answer_class, detail=failure.detail) from failure

    def _read(
        self,
        answer: HttpAnswer,
        client: ClientCredential,
        fields: Fields,
        profile: ProviderProfile,
        expected: Expected | None,
    ) -> TokenAnswer:
        try:
            return read_answer(answer, scope_separator=profile.scope_separator, expected=expected)
        except TokenEndpointError as error:
            raise _without_echo(error, client, fields) from None


def _without_echo(
    error: TokenEndpointError, client: ClientCredential, fields: Fields
) -> TokenEndpointError:
    """The same failure, its error code taken out where it repeats some of a secret that we sent.

    The code goes into records that more people read than may see a token.
    """
    sent = [value for value in fields.values() if isinstance(value, Sensitive)]
    known = error.error in CLASS_BY_ERROR
    if known or not any(_repeats(error.error, secret) for secret in (client.client_secret, *sent)):
        return error
    return TokenEndpointError(
        error.answer_class,
        status=error.status,
        error="(left out: it repeats a secret)",
        detail=error.detail,
        retry_after_s=error.retry_after_s,
    )


def _repeats(code: str, secret: Sensitive) -> bool:
    text = secret.reveal().decode("utf-8", "replace")
    size = min(_ECHO_MIN_CHARS, len(text))
    starts = range(len(code) - size + 1)
    return size > 0 and any(code[at : at + size] in text for at in starts)
