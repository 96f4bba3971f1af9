"""The state of an authorization server: families of tokens and what each token still can do.

No I/O. Time is a callable in seconds, monotonic. Every method is one atomic step, so what the
server "commits" is one call here.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from enum import StrEnum

import msgspec

from tests.support.authserver.behaviour import Behaviour, RefreshClass

_TOKEN = re.compile(r"[ar]t-\w+-(f\d+)-(\d+)(?:-.*)?")


def token_parts(token: str) -> tuple[str, int]:
    """Family and generation of a refresh or access token, read from the token itself. Raises
    ValueError where it is none of ours."""
    found = _TOKEN.fullmatch(token)
    if found is None:
        raise ValueError("a token of somebody else")
    return found[1], int(found[2])


class Standing(StrEnum):
    """What the server would say to a refresh token now."""

    CURRENT = "current"
    KEPT = "kept"  # class M: an older one, valid
    PREDECESSOR = "predecessor"  # class G within grace_s, or within the same-pair window
    DEAD = "dead"  # replaced or idle too long
    FAMILY_KILLED = "family_killed"
    UNKNOWN = "unknown"

    @property
    def works(self) -> bool:
        """A refresh with it would succeed."""
        return self in (Standing.CURRENT, Standing.KEPT, Standing.PREDECESSOR)


class Killed(StrEnum):
    """Who ended a family."""

    REUSE = "reuse"  # a dead refresh token was presented
    OWNER = "owner"  # the resource owner, at the provider
    CLIENT = "client"  # RFC 7009


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """What one success gave. The consent is generation 1, each refresh one more."""

    family: str
    generation: int
    access_token: str
    refresh_token: str  # the one to present next, in the answer or not
    reissued: bool  # the refresh token is in the answer
    scope: str
    expires_in_s: int
    subject: str
    repeated: bool = False  # the same pair once more


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """Why not. ``presented``: generation of the refresh token, 0 where it is unknown."""

    error: str
    standing: Standing = Standing.UNKNOWN
    family: str = ""
    presented: int = 0
    killed: bool = False  # this request killed the family


class Family(msgspec.Struct, kw_only=True):
    """All that came from one consent."""

    name: str
    realm: str
    behaviour: Behaviour
    subject: str
    client_id: str
    generation: int = 0
    current: str = ""  # refresh token
    tokens: list[str] = []  # all of them, oldest first
    killed: Killed | None = None
    graced: dict[str, float] = {}  # class G: refresh token to the moment it dies
    pair: tuple[str, float, Issued] | None = None  # last presented, until when it is repeated, how


class _RefreshToken(msgspec.Struct):
    family: Family
    generation: int
    used_s: float  # issued or presented with success


class _AccessToken(msgspec.Struct):
    family: Family
    generation: int
    expires_s: float
    killed: bool = False


class Model:
    """Families, codes and tokens. ``advance`` lets time pass."""

    def __init__(self, clock: Callable[[], float], prefix: str = "m") -> None:
        self._clock = clock
        self._prefix = prefix
        self._advanced_s = 0.0
        self._codes: dict[str, str] = {}  # a redeemed code, and its family
        self._refresh: dict[str, _RefreshToken] = {}
        self._access: dict[str, _AccessToken] = {}
        self._live_access: dict[str, list[str]] = {}  # only where refreshes kill them
        self.families: dict[str, Family] = {}

    def now(self) -> float:
        """Its own seconds."""
        return self._clock() + self._advanced_s

    def advance(self, seconds: float) -> None:
        """Let time pass: lives, graces, windows."""
        self._advanced_s += seconds

    def new_family(
        self,
        behaviour: Behaviour,
        *,
        subject: str = "",
        realm: str = "",
        client_id: str = "",
        life_s: int | None = None,
    ) -> Issued:
        """A consent; ``life_s`` for its first access token only."""
        name = f"f{len(self.families) + 1}"
        family = Family(
            name=name, realm=realm, behaviour=behaviour, subject=subject, client_id=client_id
        )
        self.families[name] = family
        return self._issue(family, "", behaviour.scope, life_s)

    def redeem_code(
        self, code: str, behaviour: Behaviour, *, realm: str = "", client_id: str = ""
    ) -> Issued | Refused:
        """``{subject}.{anything}`` is a code, ``~{seconds}`` after it the first life. It works
        once; the second time it ends what the first gave (RFC 6749 §4.1.2)."""
        if not code:
            return Refused(error="invalid_request")
        redeemed = self._codes.get(code)
        if redeemed is not None:
            self.kill(redeemed, Killed.REUSE)
            return Refused(error="invalid_grant", family=redeemed, killed=True)
        text, _, life = code.partition("~")
        issued = self.new_family(
            behaviour,
            subject=text.partition(".")[0],
            realm=realm,
            client_id=client_id,
            life_s=int(life) if life.isdecimal() else None,
        )
        self._codes[code] = issued.family
        return issued

    def refresh(self, token: str, *, client_id: str = "", scope: str = "") -> Issued | Refused:
        """RFC 6749 §6, by the class of the token's family."""
        known = self._refresh.get(token)
        if known is None or (client_id and known.family.client_id not in ("", client_id)):
            return Refused(error="invalid_grant")
        family, behaviour = known.family, known.family.behaviour
        standing = self.standing(token)
        if standing is Standing.DEAD and behaviour.family_kill_on_reuse and self._used(token):
            family.killed = Killed.REUSE
            return self._refused(known, standing, killed=True)
        if not standing.works:
            return self._refused(known, standing)
        if scope and behaviour.scope and set(scope.split()) - set(behaviour.scope.split()):
            return self._refused(known, standing, error="invalid_scope")
        repeat = self._pair(family, token)
        if repeat is not None:
            return msgspec.structs.replace(repeat, repeated=True)
        known.used_s = self.now()
        said = behaviour.scope_on_refresh
        return self._issue(family, token, said if said is not None else scope or behaviour.scope)

    def standing(self, token: str) -> Standing:
        """What a refresh with it would meet now; nothing changes."""
        known = self._refresh.get(token)
        if known is None:
            return Standing.UNKNOWN
        family, behaviour, now = known.family, known.family.behaviour, self.now()
        if family.killed is not None:
            return Standing.FAMILY_KILLED
        if behaviour.idle_s and now >= known.used_s + behaviour.idle_s:
            return Standing.DEAD
        if token == family.current:
            return Standing.CURRENT
        if behaviour.refresh_class is RefreshClass.M:
            return Standing.KEPT
        if now < family.graced.get(token, now) or self._pair(family, token) is not None:
            return Standing.PREDECESSOR
        return Standing.DEAD

    def working(self, family: str) -> tuple[int, ...]:
        """Generations of the family's refresh tokens that work."""
        found = self.families[family]
        tokens = found.tokens if found.killed is None else []
        return tuple(self._refresh[token].generation for token in tokens if self.works(token))

    def works(self, token: str) -> bool:
        """A refresh with it would succeed now."""
        return self.standing(token).works

    def family_of(self, token: str) -> tuple[str, int] | None:
        """Family and generation of a refresh or access token, dead ones too."""
        known = self._refresh.get(token) or self._access.get(token)
        return None if known is None else (known.family.name, known.generation)

    def access_works(self, token: str) -> bool:
        """Whether a resource server would take it."""
        known = self._access.get(token)
        return (
            known is not None
            and not known.killed
            and known.family.killed is None
            and self.now() < known.expires_s
        )

    def expires_in_s(self, access_token: str) -> float:
        """What is left of a known access token's life."""
        return self._access[access_token].expires_s - self.now()

    def revoke(self, token: str) -> str | None:
        """RFC 7009: a refresh token ends its family, an access token itself. Its family."""
        known = self._refresh.get(token)
        if known is not None:
            self.kill(known.family.name, Killed.CLIENT)
            return known.family.name
        access = self._access.get(token)
        if access is not None:
            access.killed = True
            return access.family.name
        return None

    def kill(self, family: str, by: Killed) -> None:
        """End a family; the first who did so stays on record."""
        found = self.families[family]
        found.killed = found.killed or by

    def _used(self, token: str) -> bool:
        return token != self._refresh[token].family.current

    def _refused(
        self,
        known: _RefreshToken,
        standing: Standing,
        *,
        error: str = "invalid_grant",
        killed: bool = False,
    ) -> Refused:
        return Refused(
            error=error,
            standing=standing,
            family=known.family.name,
            presented=known.generation,
            killed=killed,
        )

    def _pair(self, family: Family, token: str) -> Issued | None:
        if family.pair is None:
            return None
        presented, until_s, issued = family.pair
        return issued if token == presented and self.now() < until_s else None

    def _issue(
        self, family: Family, presented: str, scope: str, life_s: int | None = None
    ) -> Issued:
        behaviour, now = family.behaviour, self.now()
        family.generation += 1
        generation = family.generation
        reissued = not presented or (
            behaviour.refresh_class is not RefreshClass.N and "refresh_token" not in behaviour.omits
        )
        if reissued:
            self._replace(family, presented, now)
        issued = Issued(
            family=family.name,
            generation=generation,
            access_token=self._new_access_token(family, now, life_s),
            refresh_token=family.current,
            reissued=reissued,
            scope=scope,
            expires_in_s=behaviour.expires_in_s if life_s is None else life_s,
            subject=family.subject,
        )
        if reissued and presented and behaviour.same_pair_window_s:
            family.pair = (presented, now + behaviour.same_pair_window_s, issued)
        return issued

    def _replace(self, family: Family, presented: str, now: float) -> None:
        """A new current refresh token. Of class G only the immediate predecessor keeps a grace:
        who presents it again gets a sibling, and the current one becomes a predecessor too."""
        if family.behaviour.refresh_class is RefreshClass.G and presented:
            dies_s = now + family.behaviour.grace_s
            if presented == family.current:
                family.graced = {presented: dies_s}
            else:
                family.graced[family.current] = dies_s
        family.current = f"rt-{self._prefix}-{family.name}-{family.generation}"
        family.tokens.append(family.current)
        self._refresh[family.current] = _RefreshToken(family, family.generation, now)

    def _new_access_token(self, family: Family, now: float, life_s: int | None) -> str:
        behaviour = family.behaviour
        token = f"at-{self._prefix}-{family.name}-{family.generation}"
        missing = behaviour.access_token_bytes - len(token) - 1
        if missing > 0:
            token = f"{token}-{secrets.token_urlsafe(missing)[:missing]}"
        if behaviour.kills_old_access_token:
            for old in self._live_access.get(family.name, ()):
                self._access[old].killed = True
            self._live_access[family.name] = [token]
        life = behaviour.expires_in_s if life_s is None else life_s
        self._access[token] = _AccessToken(family, family.generation, now + life)
        return token
