"""How one realm of the server behaves: its refresh class, and its quirks."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class RefreshClass(StrEnum):
    """What becomes of the old refresh token (docs: explanation/refresh)."""

    N = "N"  # it stays the only one
    M = "M"  # a new one comes, the old stays valid
    G = "G"  # a new one comes, its immediate predecessor works for grace_s more
    S = "S"  # a new one comes, the old is dead at once


class ErrorShape(StrEnum):
    """How a refused grant is answered."""

    OAUTH = "oauth"  # 400 {"error": "invalid_grant"}, RFC 6749 §5.2
    GITHUB = "github"  # 200 {"error": "bad_refresh_token"}
    SLACK = "slack"  # 200 {"ok": false, "error": "invalid_refresh_token"}


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """Durations in seconds; 0 means "no such rule" where a default is 0.

    ``omits`` leaves members out of token answers. "refresh_token" there: a refresh gives none, so
    the old one stays whatever the class (RFC 6749 §6); the answer to a code still has one.
    """

    refresh_class: RefreshClass = RefreshClass.S
    grace_s: float = 0  # class G: the predecessor works while now < its replacement + grace_s
    family_kill_on_reuse: bool = False  # a dead refresh token kills all of its family
    kills_old_access_token: bool = False  # at each refresh
    same_pair_window_s: float = 0  # a repeat is given the same pair until the successor is used
    idle_s: float = 0  # a refresh token that is unused for so long is dead
    expires_in_s: int = 600  # life of access tokens
    omits: frozenset[str] = frozenset()
    scope: str = ""  # granted at the consent; "" is left out of answers
    scope_on_refresh: str | None = None  # what refreshes say instead
    token_type: str = "Bearer"
    access_token_bytes: int = 0  # random filling up to this length
    error_shape: ErrorShape = ErrorShape.OAUTH
    refuses_clients: bool = False  # invalid_client to everybody
    client_auth: str = "any"  # "basic" or "post" refuses the other
    introspects: bool = True
    rate_per_s: float = 0  # token bucket of the token endpoint; a 429 beyond it
    rate_burst: int = 1
    retry_after_date: bool = False  # Retry-After as an HTTP date (RFC 9110 §10.2.3)
