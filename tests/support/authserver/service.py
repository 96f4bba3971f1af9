"""The endpoints without the wire: a request arrives, is committed, is answered."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote_plus

import msgspec

from tests.support.authserver import answers
from tests.support.authserver.behaviour import Behaviour
from tests.support.authserver.faults import (
    TOKEN_KINDS,
    Answer,
    Bucket,
    Fault,
    Rewrite,
    Rules,
)
from tests.support.authserver.ledger import Done, Entry, Ledger
from tests.support.authserver.model import Issued, Model, Refused

CLIENT_ID = "tokenvault-scripted"
CLIENT_SECRET = "scripted client secret"  # of a test server
_ENDPOINTS = {"token", "revoke", "introspect", "resource"}
_GRANTS = ("refresh_token", "authorization_code")
_ENCODE = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Request:
    """One HTTP request; the names of headers in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Exchange:
    """A request under way. ``entry`` is None where it is none for the ledger (GET, unknown)."""

    request: Request
    endpoint: str
    behaviour: Behaviour
    entry: Entry | None = None
    fault: Fault | None = None
    fields: dict[str, str] = field(default_factory=dict)
    client: tuple[str, str, str] = ("", "", "")  # id, secret, method


class Service:
    """State, rules and ledger of one server."""

    def __init__(
        self,
        *,
        prefix: str = "m",
        clock: Callable[[], float] = time.monotonic,
        ledger_file: Path | None = None,
        seed: int = 0,
    ) -> None:
        self.model = Model(clock, prefix)
        self.rules = Rules(seed)
        self.ledger = Ledger(ledger_file)
        self.realms: dict[str, Behaviour] = {"": Behaviour()}
        self.clients = {CLIENT_ID: CLIENT_SECRET}
        self._buckets: dict[str, Bucket] = {}

    @staticmethod
    def now() -> float:
        """The clock of rules and ledger: one for all processes of this host."""
        return time.monotonic()

    def arrive(self, request: Request, connection: int) -> Exchange:
        """Write it down, and find what shall happen to it."""
        path = request.target.partition("?")[0]
        realm, _, endpoint = path.strip("/").rpartition("/")
        behaviour = self.realms.get(realm)
        if behaviour is None or endpoint not in _ENDPOINTS:
            return Exchange(request, "", Behaviour())
        exchange = Exchange(request, endpoint, behaviour)
        if request.method != "POST":
            return exchange
        exchange.fields = fields = _fields(request)
        exchange.client = _client(request, fields)
        entry = self._entry(exchange, path, realm, connection)
        exchange.entry = entry
        if len(self.rules):
            exchange.fault = self.rules.take(
                entry.kind, realm, entry.family, entry.presented or None, self.now()
            )
            if exchange.fault is not None:
                entry.fault = _named(exchange.fault)
        self.ledger.append(entry)
        return exchange

    def commit(self, exchange: Exchange) -> Answer:
        """Change the state, and say what is answered."""
        fault, entry = exchange.fault, exchange.entry
        scripted = fault.answer if fault is not None else None
        if entry is None:
            return self._read(exchange)
        if scripted is not None and fault is not None and not fault.commits:
            entry.done = Done.SCRIPTED
            answer = scripted
        else:
            answer = self._own_answer(exchange, entry)
            entry.carried = entry.done in (Done.ISSUED, Done.REPEATED) and scripted is None
            answer = scripted or answer
        if fault is not None:
            answer = _changed(answer, fault, entry, exchange.request)
        entry.committed_s = self.now()
        entry.status = answer.status
        entry.retry_after = answer.headers.get("Retry-After", "")
        self.ledger.note(entry)
        return answer

    def end(self, exchange: Exchange, sent_bytes: int, *, delivered: bool) -> None:
        """The answer has left, or never will."""
        entry = exchange.entry
        if entry is None:
            return
        if entry.done is Done.PENDING:
            entry.done = Done.CUT
        entry.sent_bytes = sent_bytes
        entry.delivered = delivered
        entry.ended_s = self.now()
        self.ledger.note(entry)

    def _entry(self, exchange: Exchange, path: str, realm: str, connection: int) -> Entry:
        fields, kind = exchange.fields, exchange.endpoint
        if kind == "token":
            grant_type = fields.get("grant_type", "")
            kind = grant_type if grant_type in _GRANTS else "other"
        entry = Entry(
            sequence=len(self.ledger.entries) + 1,
            connection=connection,
            path=path,
            realm=realm,
            kind=kind,
            client_id=exchange.client[0],
            fields=fields,
            authorization=exchange.request.headers.get("authorization", ""),
            arrived_s=self.now(),
        )
        presented = fields.get("refresh_token") or fields.get("token") or ""
        known = self.model.family_of(presented)
        if known is not None:
            entry.family, entry.presented = known
            family = self.model.families[entry.family]
            entry.at_generation = family.generation
            entry.refresh_class = family.behaviour.refresh_class
        return entry

    def _read(self, exchange: Exchange) -> Answer:
        if exchange.endpoint != "resource":
            return answers.error("not_found", 404)
        authorization = exchange.request.headers.get("authorization", "")
        if self.model.access_works(authorization.removeprefix("Bearer ")):
            return Answer.json({"data": "yours"})
        return answers.error("invalid_token", 401, WWW_Authenticate='Bearer error="invalid_token"')

    def _own_answer(self, exchange: Exchange, entry: Entry) -> Answer:
        behaviour = exchange.behaviour
        if entry.kind in TOKEN_KINDS and behaviour.rate_per_s:
            wait_s = self._wait_s(entry.realm, behaviour)
            if wait_s:
                entry.done = Done.RATE_LIMITED
                return answers.rate_limited(wait_s, as_date=behaviour.retry_after_date)
        if not self._knows(exchange.client, behaviour):
            entry.done, entry.error = Done.UNAUTHENTICATED, "invalid_client"
            return answers.error("invalid_client", 401)
        if entry.kind == "revoke":
            entry.done = Done.REVOKED
            self.model.revoke(exchange.fields.get("token", ""))
            return Answer()
        if entry.kind == "introspect":
            return self._introspect(exchange, entry)
        outcome = self._redeem(exchange, entry)
        if outcome.family and not entry.family:
            entry.family = outcome.family
            self.ledger.place(entry)
        return _recorded(outcome, entry, behaviour, self.model)

    def _redeem(self, exchange: Exchange, entry: Entry) -> Issued | Refused:
        fields = exchange.fields
        client_id = exchange.client[0]
        if entry.kind == "authorization_code":
            return self.model.redeem_code(
                fields.get("code", ""), exchange.behaviour, realm=entry.realm, client_id=client_id
            )
        if entry.kind == "refresh_token":
            token = fields.get("refresh_token", "")
            return self.model.refresh(token, client_id=client_id, scope=fields.get("scope", ""))
        return Refused(error="unsupported_grant_type")

    def _introspect(self, exchange: Exchange, entry: Entry) -> Answer:
        """RFC 7662."""
        if not exchange.behaviour.introspects:
            entry.done, entry.error = Done.REFUSED, "not_found"
            return answers.error("not_found", 404)
        entry.done = Done.INTROSPECTED
        token = exchange.fields.get("token", "")
        active = self.model.standing(token).works or self.model.access_works(token)
        return Answer(body=_ENCODE({"active": active}))

    def _knows(self, client: tuple[str, str, str], behaviour: Behaviour) -> bool:
        client_id, secret, method = client
        return (
            not behaviour.refuses_clients
            and behaviour.client_auth in ("any", method)
            and self.clients.get(client_id) == secret
        )

    def _wait_s(self, realm: str, behaviour: Behaviour) -> float:
        now = self.model.now()
        bucket = self._buckets.get(realm)
        if bucket is None or (bucket.rate_per_s, bucket.burst) != (
            behaviour.rate_per_s,
            behaviour.rate_burst,
        ):
            bucket = Bucket(behaviour.rate_per_s, behaviour.rate_burst, now)
            self._buckets[realm] = bucket
        return bucket.wait_s(now)


def _recorded(
    outcome: Issued | Refused, entry: Entry, behaviour: Behaviour, model: Model
) -> Answer:
    if isinstance(outcome, Refused):
        entry.done = Done.KILLED if outcome.killed else Done.REFUSED
        entry.error = outcome.error
        return answers.refusal(outcome, behaviour)
    entry.done = Done.REPEATED if outcome.repeated else Done.ISSUED
    entry.issued = outcome.generation
    # A family keeps the behaviour of its consent, also when its realm has another by now.
    behaviour = model.families[outcome.family].behaviour
    entry.refresh_class = behaviour.refresh_class
    return answers.tokens(outcome, behaviour)


def _changed(answer: Answer, fault: Fault, entry: Entry, request: Request) -> Answer:
    if fault.rewrite is not None:
        answer = answers.rewritten(answer, fault.rewrite)
        asked = "gzip" in request.headers.get("accept-encoding", "")
        entry.carried = entry.carried and fault.rewrite is Rewrite.GZIP and asked
    if fault.headers:
        answer = msgspec.structs.replace(answer, headers={**answer.headers, **fault.headers})
    return answer


def _named(fault: Fault) -> str:
    """What differs from no fault, for people."""
    said = {name: value for name, value in msgspec.to_builtins(fault).items() if value}
    if fault.answer is not None:
        said["answer"] = fault.answer.status
    said.pop("drip_s", None)
    if fault.drip_bytes:
        said["drip_s"] = fault.drip_s
    return " ".join(f"{name}={value}" for name, value in said.items()) or "none"


def _fields(request: Request) -> dict[str, str]:
    """A form or a JSON body; of a malformed one what could be read."""
    try:
        if request.headers.get("content-type", "").startswith("application/json"):
            return {
                name: str(value)
                for name, value in msgspec.json.decode(request.body, type=dict).items()
            }
        return dict(parse_qsl(request.body.decode(), keep_blank_values=True))
    except (ValueError, msgspec.DecodeError):
        return {}


def _client(request: Request, fields: dict[str, str]) -> tuple[str, str, str]:
    """client_secret_basic (RFC 6749 §2.3.1: both parts form-encoded) or client_secret_post."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return fields.get("client_id", ""), fields.get("client_secret", ""), "post"
    try:
        text = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return "", "", "basic"
    client_id, _, secret = text.partition(":")
    return unquote_plus(client_id), unquote_plus(secret), "basic"
