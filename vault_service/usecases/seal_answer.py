"""The envelopes of one token answer."""

from __future__ import annotations

from datetime import datetime, timedelta

from vault_service.crypto.envelopes import Sealer
from vault_service.domain.grant import Grant, SealedTokens
from vault_service.domain.oauth import TokenAnswer
from vault_service.domain.provider import ProviderProfile
from vault_service.domain.scopes import granted_scopes
from vault_service.domain.token_lives import life_s


def seal_answer(
    answer: TokenAnswer,
    grant: Grant,
    generation: int,
    start: datetime,
    profile: ProviderProfile,
    sealer: Sealer,
) -> SealedTokens:
    """The envelopes of one answer at ``generation``.

    ``grant.scopes`` are those that were asked for: by the consent, or, for a refresh, all so far.
    Lives are counted from ``start``: before the request was sent, on the database's clock.
    """
    counted_s = life_s(answer, profile.default_life_s, start)
    refresh = answer.refresh_token
    return SealedTokens(
        generation=generation,
        access_envelope=sealer.seal(grant.access_binding(generation), answer.access_token),
        access_expire_time=start + timedelta(seconds=counted_s),
        access_life_s=counted_s,
        refresh_envelope=(
            None if refresh is None else sealer.seal(grant.refresh_binding(generation), refresh)
        ),
        scopes=granted_scopes(grant.scopes, answer.scopes, profile),
        token_type=answer.token_type,
    )
