"""The envelopes of one token answer."""

from __future__ import annotations

from datetime import datetime, timedelta

from vault_service.crypto.envelopes import Sealer
from vault_service.domain.grant import Grant, SealedTokens
from vault_service.domain.oauth import TokenAnswer


def seal_answer(
    answer: TokenAnswer,
    grant: Grant,
    generation: int,
    start: datetime,
    default_life_s: int,
    sealer: Sealer,
) -> SealedTokens:
    """The envelopes of one answer at ``generation``.

    Lives are counted from ``start``: before the request was sent, on the database's clock.
    """
    life_s = default_life_s if answer.expires_in_s is None else answer.expires_in_s
    refresh = answer.refresh_token
    return SealedTokens(
        generation=generation,
        access_envelope=sealer.seal(grant.access_binding(generation), answer.access_token),
        access_expire_time=start + timedelta(seconds=life_s),
        access_life_s=life_s,
        refresh_envelope=(
            None if refresh is None else sealer.seal(grant.refresh_binding(generation), refresh)
        ),
        scopes=answer.scopes if answer.scopes is not None else grant.scopes,
        token_type=answer.token_type,
    )
