"""The authorization server's model as a token endpoint in memory, for a House."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tests.fakes.token_endpoint import an_answer
from tests.support.authserver import Behaviour, Issued, Model, RefreshClass
from tests.support.authserver.answers import refusal, tokens
from tests.support.house import House
from vault_service.domain import provider
from vault_service.domain.grant import Grant
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.oauth import ClientCredential, Liveness
from vault_service.domain.provider import ProviderProfile
from vault_service.domain.sensitive import Sensitive

INTROSPECTION = "https://op.example/introspect"


class ModelledProvider:
    """Answers the refreshes, introspections and probes of a house's providers."""

    def __init__(self, house: House, refresh_class: str, **behaviour: Any) -> None:
        self.refreshes = 0
        self.model = Model(house.clock.monotonic)
        self.behaviour = Behaviour(refresh_class=RefreshClass(refresh_class), **behaviour)
        self._house = house
        patched: Any = house.endpoint
        patched.refresh = self._refresh
        patched.introspect = self._introspect
        patched.probe_access_token = self._probe

    async def grant(self, **profile: Any) -> Grant:
        """A grant of a new family, whose access token is past its end."""
        issued = self.model.new_family(self.behaviour)
        self._house.endpoint.answers.append(an_answer(issued.access_token, issued.refresh_token))
        chosen = provider.RefreshClass[self.behaviour.refresh_class]
        grace_s = int(self.behaviour.grace_s)
        grant = await self._house.grant(refresh_class=chosen, grace_s=grace_s, **profile)
        self._house.clock.advance(3_600)
        return grant

    async def works(self, house: House, grant: Grant) -> bool:
        """Whether the refresh token that the row holds would be taken."""
        row = await house.row(grant.name)
        assert row.refresh_envelope is not None
        opened = await house.envelopes.open(row.refresh_binding(), row.refresh_envelope)
        return self.model.works(opened.reveal_text())

    async def _refresh(
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
        self.refreshes += 1
        outcome = self.model.refresh(refresh_token.reveal_text())
        if isinstance(outcome, Issued):
            answer = tokens(outcome, self.behaviour)
        else:
            answer = refusal(outcome, self.behaviour)
        return HttpAnswer(answer.status, answer.content_type, Sensitive(answer.body))

    async def _introspect(
        self, profile: ProviderProfile, client: ClientCredential, *, refresh_token: Sensitive
    ) -> Liveness:
        if not profile.introspection_endpoint:
            return Liveness.UNKNOWN
        return _alive(self.model.works(refresh_token.reveal_text()))

    async def _probe(self, profile: ProviderProfile, *, access_token: Sensitive) -> Liveness:
        return _alive(self.model.access_works(access_token.reveal_text()))


def _alive(works: bool) -> Liveness:
    return Liveness.ACTIVE if works else Liveness.INACTIVE
