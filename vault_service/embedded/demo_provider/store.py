"""What the demo provider remembers, in SQLite. Of codes and tokens it keeps SHA-256 only.

Each method is one transaction, durable when it returns. Times are seconds since the epoch.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TOKEN_BYTES: Final = 32
_BUSY_S: Final = 5.0
_KEEP_S: Final = 30 * 86_400  # reuse of a refresh token is recognised for this long
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS grants (
    grant_id INTEGER PRIMARY KEY, client_id TEXT NOT NULL, user TEXT NOT NULL, scope TEXT NOT NULL,
    nonce TEXT NOT NULL, alive INTEGER NOT NULL DEFAULT 1);
CREATE TABLE IF NOT EXISTS codes (
    hash BLOB PRIMARY KEY, grant_id INTEGER NOT NULL REFERENCES grants ON DELETE CASCADE,
    redirect_uri TEXT NOT NULL, challenge TEXT NOT NULL, expire_time REAL NOT NULL,
    used INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS refresh_tokens (
    hash BLOB PRIMARY KEY, grant_id INTEGER NOT NULL REFERENCES grants ON DELETE CASCADE,
    issue_time REAL NOT NULL, used INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS access_tokens (
    hash BLOB PRIMARY KEY, grant_id INTEGER NOT NULL REFERENCES grants ON DELETE CASCADE,
    expire_time REAL NOT NULL);
CREATE TABLE IF NOT EXISTS ledger (
    grant_type TEXT, outcome TEXT, posts INTEGER NOT NULL, PRIMARY KEY (grant_type, outcome));
"""


class RefusedError(Exception):
    """A code or refresh token is not good (RFC 6749 §5.2 invalid_grant); says why."""


@dataclass(frozen=True, slots=True)
class Consent:
    """What a user said yes to."""

    client_id: str
    user: str
    scope: str
    nonce: str


@dataclass(frozen=True, slots=True)
class Issued:
    """New tokens of a consent."""

    consent: Consent
    access_token: str
    refresh_token: str


class Store:
    """One file. For one thread: SQLite's calls here take a millisecond, and the demo has time."""

    def __init__(self, path: Path, access_life_s: int, now: Callable[[], float]) -> None:
        self._access_life_s = access_life_s
        self._now = now
        self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
        self._db.executescript("PRAGMA foreign_keys = ON;" + _SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def new_code(self, consent: Consent, redirect_uri: str, challenge: str, life_s: float) -> str:
        """A code for one consent."""
        code = secrets.token_urlsafe(_TOKEN_BYTES)
        with self._transaction() as db:
            self._forget_old(db)
            grant_id = db.execute(
                "INSERT INTO grants (client_id, user, scope, nonce) VALUES (?, ?, ?, ?)",
                (consent.client_id, consent.user, consent.scope, consent.nonce),
            ).lastrowid
            db.execute(
                "INSERT INTO codes (hash, grant_id, redirect_uri, challenge, expire_time)"
                " VALUES (?, ?, ?, ?, ?)",
                (_hash(code), grant_id, redirect_uri, challenge, self._now() + life_s),
            )
        return code

    def redeem_code(self, code: str, client_id: str, redirect_uri: str, challenge: str) -> Issued:
        """Tokens for a code, once; a second use ends the grant (RFC 6749 §4.1.2).

        ``challenge`` is what the client's verifier gives. Raises RefusedError.
        """
        with self._transaction() as db:
            row = db.execute(
                "SELECT grant_id, redirect_uri, challenge, expire_time, used FROM codes"
                " WHERE hash = ?",
                (_hash(code),),
            ).fetchone()
            consent = self._live_consent(db, row[0], client_id) if row else None
            if row is None or consent is None:
                refusal = "unknown code"
            elif row[4]:
                self._end(db, row[0])
                refusal = "code used twice"
            elif row[3] <= self._now():
                refusal = "expired code"
            elif row[1] != redirect_uri:
                refusal = "other redirect_uri"
            elif not secrets.compare_digest(row[2], challenge):
                refusal = "wrong code_verifier"
            else:
                db.execute("UPDATE codes SET used = 1 WHERE hash = ?", (_hash(code),))
                return self._issue(db, row[0], consent)
        # After the commit, so that what a refusal ends stays ended.
        raise RefusedError(refusal)

    def refresh(self, refresh_token: str, client_id: str) -> Issued:
        """New tokens for a refresh token, once; a second use ends the grant. RefusedError."""
        with self._transaction() as db:
            row = db.execute(
                "SELECT grant_id, used FROM refresh_tokens WHERE hash = ?", (_hash(refresh_token),)
            ).fetchone()
            consent = self._live_consent(db, row[0], client_id) if row else None
            if row is None or consent is None:
                refusal = "unknown refresh token"
            elif row[1]:
                self._end(db, row[0])
                refusal = "refresh token used twice"
            else:
                db.execute(
                    "UPDATE refresh_tokens SET used = 1 WHERE hash = ?", (_hash(refresh_token),)
                )
                return self._issue(db, row[0], consent)
        raise RefusedError(refusal)

    def revoke(self, token: str, client_id: str) -> None:
        """End the grant of a refresh token, or one access token; an unknown one is no error."""
        with self._transaction() as db:
            row = db.execute(
                "SELECT grant_id FROM refresh_tokens WHERE hash = ?", (_hash(token),)
            ).fetchone()
            if row and self._live_consent(db, row[0], client_id):
                self._end(db, row[0])
            db.execute(
                "DELETE FROM access_tokens WHERE hash = ? AND grant_id IN"
                " (SELECT grant_id FROM grants WHERE client_id = ?)",
                (_hash(token), client_id),
            )

    def whose(self, access_token: str) -> tuple[Consent, float] | None:
        """The consent behind a live access token, and the seconds that it has left."""
        row = self._db.execute(
            "SELECT client_id, user, scope, nonce, expire_time FROM access_tokens"
            " JOIN grants USING (grant_id) WHERE hash = ? AND alive",
            (_hash(access_token),),
        ).fetchone()
        left_s = row[4] - self._now() if row else 0.0
        return (Consent(*row[:4]), left_s) if left_s > 0 else None

    def count_post(self, grant_type: str, outcome: str) -> None:
        """Add one to the ledger."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO ledger VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET posts = posts + 1",
                (grant_type, outcome),
            )

    def ledger(self) -> list[tuple[str, str, int]]:
        """Grant type, outcome, number of POSTs to the token endpoint since the beginning."""
        return self._db.execute("SELECT * FROM ledger ORDER BY grant_type, outcome").fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _live_consent(
        self, db: sqlite3.Connection, grant_id: int, client_id: str
    ) -> Consent | None:
        row = db.execute(
            "SELECT client_id, user, scope, nonce FROM grants"
            " WHERE grant_id = ? AND client_id = ? AND alive",
            (grant_id, client_id),
        ).fetchone()
        return Consent(*row) if row else None

    def _issue(self, db: sqlite3.Connection, grant_id: int, consent: Consent) -> Issued:
        access_token, refresh_token = (secrets.token_urlsafe(_TOKEN_BYTES) for _ in range(2))
        now = self._now()
        db.execute(
            "INSERT INTO access_tokens VALUES (?, ?, ?)",
            (_hash(access_token), grant_id, now + self._access_life_s),
        )
        db.execute(
            "INSERT INTO refresh_tokens (hash, grant_id, issue_time) VALUES (?, ?, ?)",
            (_hash(refresh_token), grant_id, now),
        )
        db.execute("DELETE FROM access_tokens WHERE expire_time < ?", (now,))
        return Issued(consent, access_token, refresh_token)

    def _end(self, db: sqlite3.Connection, grant_id: int) -> None:
        db.execute("UPDATE grants SET alive = 0 WHERE grant_id = ?", (grant_id,))

    def _forget_old(self, db: sqlite3.Connection) -> None:
        """Used refresh tokens of long ago, and grants that nothing points at any more."""
        long_ago = self._now() - _KEEP_S
        db.execute("DELETE FROM refresh_tokens WHERE used AND issue_time < ?", (long_ago,))
        db.execute("DELETE FROM codes WHERE expire_time < ?", (long_ago,))
        db.execute(
            "DELETE FROM grants WHERE grant_id NOT IN (SELECT grant_id FROM codes"
            " UNION SELECT grant_id FROM refresh_tokens)"
        )


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
