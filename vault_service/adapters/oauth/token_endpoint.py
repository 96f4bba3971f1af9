"""ports.TokenEndpoint: one request per method. What answers mean stands in domain.token_answer."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Collection, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from vault_service.adapters.oauth.client_auth import Fields, authenticated
from vault_service.adapters.oauth.liveness import read_introspection, read_probe
from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.consent import TokenKind
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.oauth import ClientCredential, Liveness
from vault_service.domain.provider import BodyEncoding, ProviderProfile, RefreshClass
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.token_answer import read_refresh, read_revocation
from vault_service.egress.answer import TransportFailure
from vault_service.egress.client import HttpClient
from vault_service.ports import Clock
from vault_service.telemetry.meters import OK, ProviderMeter
from vault_service.telemetry.metrics import Metrics
from vault_service.telemetry.traces import child


@dataclass(frozen=True, slots=True)
class _Times:
    """Until the request is being sent, and until its answer is there."""

    send_s: float
    answer_s: float


@dataclass(slots=True)
class _Asked:
    """One request, for who counts it."""

    answer: str = OK  # or the name of an AnswerClass


class OAuthTokenEndpoint:
    """Implements ports.TokenEndpoint over the one HTTP client. Raises ``TokenEndpointError``.

    NOT_SENT: nothing left this host; IN_DOUBT: sent, and no answer; else as the answer says.
    ``post_limit_s`` is the longest request for tokens: the lease of a refresh is made for it.
    """

    def __init__(
        self,
        http: HttpClient,
        clock: Clock,
        meter: ProviderMeter | None = None,
        post_limit_s: float = limits.POST_LIMIT_S,
    ) -> None:
        self._http = http
        self._clock = clock
        self._meter = meter or ProviderMeter(Metrics())
        self._limit_s = post_limit_s

    async def exchange_code(
        self,
        profile: ProviderProfile,
        client: ClientCredential,
        *,
        code: Sensitive,
        redirect_uri: str,
        verifier: Sensitive,
    ) -> HttpAnswer:
        """RFC 6749 §4.1.3 with RFC 7636 §4.5: the answer as it came, of any status."""
        fields: Fields = {
            **_extra(profile, client),
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        with self._observed("exchange_code", profile.token_endpoint) as asked:
            answer = await self._post(profile, profile.token_endpoint, client, fields)
            asked.answer = _class_of(answer, profile)
        return answer

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
        """RFC 6749 §6, at the endpoint pinned in the grant: the answer as it came, of any status.

        ``scopes`` are named only where the profile requires it.
        """
        fields: dict[str, str | Sensitive] = {
            **_extra(profile, client),
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
        }
        if profile.requires_scope_on_refresh and scopes:
            fields["scope"] = profile.scope_separator.join(scopes)
        with self._observed("refresh", token_endpoint, profile.refresh_class) as asked:
            times = _Times(post_limit_s, answer_limit_s)
            answer = await self._post(profile, token_endpoint, client, fields, times)
            asked.answer = _class_of(answer, profile)
        return answer

    async def revoke(
        self,
        profile: ProviderProfile,
        client: ClientCredential,
        *,
        token: Sensitive,
        kind: TokenKind = TokenKind.REFRESH,
    ) -> None:
        """RFC 7009 §2.1. An unknown token is a success (§2.2); ``unsupported_token_type`` and a
        provider without a revocation endpoint are REQUEST_REFUSED."""
        if not profile.revocation_endpoint:
            raise TokenEndpointError(
                AnswerClass.REQUEST_REFUSED, detail="the provider has no revocation endpoint"
            )
        fields: Fields = {"token": token, "token_type_hint": kind.value}
        with self._observed("revoke", profile.revocation_endpoint):
            answer = await self._post_form(profile.revocation_endpoint, client, fields)
            read_revocation(answer, profile, _sent(client, fields))

    async def introspect(
        self, profile: ProviderProfile, client: ClientCredential, *, refresh_token: Sensitive
    ) -> Liveness:
        """RFC 7662 §2.1. UNKNOWN without an endpoint, and for every failure."""
        if not profile.introspection_endpoint:
            return Liveness.UNKNOWN
        fields: Fields = {"token": refresh_token, "token_type_hint": "refresh_token"}
        try:
            with self._observed("introspect", profile.introspection_endpoint):
                answer = await self._post_form(profile.introspection_endpoint, client, fields)
        except TokenEndpointError:
            return Liveness.UNKNOWN
        return read_introspection(answer)

    async def probe_access_token(
        self, profile: ProviderProfile, *, access_token: Sensitive
    ) -> Liveness:
        """GET of the profile's probe endpoint. UNKNOWN without one, and for every failure."""
        if not profile.probe_endpoint:
            return Liveness.UNKNOWN
        try:
            with self._observed("probe", profile.probe_endpoint):
                request = self._http.get(profile.probe_endpoint, bearer=access_token)
                return read_probe(await _answered(request), profile)
        except TokenEndpointError:
            return Liveness.UNKNOWN

    @contextlib.contextmanager
    def _observed(
        self, operation: str, url: str, refresh_class: RefreshClass | None = None
    ) -> Iterator[_Asked]:
        """Counts and traces one request by the class of its answer."""
        host = urlsplit(url).hostname or ""
        began, asked = self._clock.monotonic(), _Asked()
        with child(f"provider {operation}", operation=operation, host=host) as span:
            try:
                yield asked
            except TokenEndpointError as error:
                asked.answer = error.answer_class.name
                raise
            except BaseException:
                asked.answer = "CANCELLED"
                raise
            finally:
                if asked.answer != OK:
                    span.failed(asked.answer)
                span.note(answer_class=asked.answer)
                self._meter.requested(operation, asked.answer, self._clock.monotonic() - began)
                if refresh_class is not None:
                    self._meter.refreshed(host, refresh_class.name, asked.answer)

    async def _post(
        self,
        profile: ProviderProfile,
        url: str,
        client: ClientCredential,
        fields: Fields,
        times: _Times | None = None,
    ) -> HttpAnswer:
        times = times or _Times(self._limit_s, self._limit_s)
        post = self._http.post_form
        if profile.body_encoding is BodyEncoding.JSON:
            post = self._http.post_json
        body, basic = authenticated(client, fields)
        request = post(url, body, basic=basic, limit_s=times.answer_s, send_limit_s=times.send_s)
        return await _answered(request)

    async def _post_form(self, url: str, client: ClientCredential, fields: Fields) -> HttpAnswer:
        body, basic = authenticated(client, fields)
        request = self._http.post_form(url, body, basic=basic, limit_s=self._limit_s)
        return await _answered(request)


async def _answered(request: Awaitable[HttpAnswer]) -> HttpAnswer:
    try:
        return await request
    except TransportFailure as failure:
        answer_class = AnswerClass.IN_DOUBT if failure.sent else AnswerClass.NOT_SENT
        raise TokenEndpointError(answer_class, detail=failure.detail) from failure


def _extra(profile: ProviderProfile, client: ClientCredential) -> dict[str, str]:
    """Parameters beside the protocol's own, the nearer to the OAuthClient before the farther. A
    token is bound to the resource that its consent was (RFC 8707 §2.2). One with an empty value
    counts as omitted (RFC 6749 §3.2)."""
    asked = {"resource": profile.authorization_params.get("resource", "")}
    extra = {**asked, **profile.token_params, **client.token_params}
    return {name: value for name, value in extra.items() if value}


def _class_of(answer: HttpAnswer, profile: ProviderProfile) -> str:
    """Only to be counted: it is judged where it counts, once it is stored."""
    try:
        read_refresh(answer, profile, ())
    except TokenEndpointError as error:
        return error.answer_class.name
    return OK


def _sent(client: ClientCredential, fields: Fields) -> tuple[Sensitive, ...]:
    secrets = (value for value in fields.values() if isinstance(value, Sensitive))
    return (client.client_secret, *secrets)
