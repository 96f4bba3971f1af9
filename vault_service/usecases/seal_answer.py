"""The envelopes of one token answer."""

from __future__ import annotations

from datetime import datetime, timedelta

from vault_service.crypto.envelopes import Sealer
from vault_service.domain.grant import NEVER, Grant, SealedTokens
from vault_service.domain.oauth import TokenAnswer
from vault_service.domain.provider import ProviderProfile
from vault_service.domain.scopes import granted_scopes, refreshed_scopes
from vault_service.domain.token_lives import life_s


def seal_answer(
    answer: TokenAnswer,
    grant: Grant,
    generation: int,
    start: datetime,
    profile: ProviderProfile,
    sealer: Sealer,
    *,
    renewed: bool = False,
) -> SealedTokens:
    """The envelopes of one answer at ``generation``.

    ``grant.scopes`` are those that the consent asked for, or, for a refresh (``renewed``), all that
    are granted so far.
    Lives are counted from ``start``: before the request was sent, on the database's clock.
    """
    counted_s = life_s(answer, profile.default_life_s, start)
    expire_time, unrenewed = start + timedelta(seconds=counted_s), False
    if answer.endless:
        expire_time = NEVER
    elif (end := _end_of_same(answer, grant, sealer)) is not None:
        # What is told is what this token has left; a life that is not told began before.
        if answer.expires_in_s is None and answer.expire_time is None:
            counted_s, expire_time = 0, end
        unrenewed = expire_time < start + timedelta(seconds=grant.access_life_s)
        counted_s = max(counted_s, grant.access_life_s)
    refresh = answer.refresh_token
    return SealedTokens(
        generation=generation,
        access_envelope=sealer.seal(grant.access_binding(generation), answer.access_token),
        access_expire_time=expire_time,
        access_life_s=counted_s,
        refresh_envelope=(
            None if refresh is None else sealer.seal(grant.refresh_binding(generation), refresh)
        ),
        scopes=(
            refreshed_scopes(grant.asked_scopes, grant.scopes, answer.scopes, profile)
            if renewed
            else granted_scopes(grant.scopes, answer.scopes, profile)
        ),
        token_type=answer.token_type,
        unrenewed=unrenewed,
    )


def _end_of_same(answer: TokenAnswer, grant: Grant, sealer: Sealer) -> datetime | None:
    """The end in the row where that has this access token already (Strava gives the same one again
    until its last hour); None where it has another one, or one without an end."""
    envelope, end = grant.access_envelope, grant.access_expire_time
    if envelope is None or end is None or end == NEVER:
        return None
    return end if sealer.holds(grant.access_binding(), envelope, answer.access_token) else None
