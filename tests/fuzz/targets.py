"""Every parser of bytes that came from outside, as a function that a fuzzer can drive: it returns,
or it raises because the parser broke its promise. Beside each, inputs to begin from.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import json
import tempfile
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from tests.fakes.clock import FakeClock
from tests.fakes.hostile_urls import HOSTILE_URLS
from tests.fakes.odd_answers import ODD_ANSWERS, raw_deflate
from tests.rpc.caller_certificates import GOOD, Wanted, built
from vault_service.adapters.cedar import CedarPolicy, PolicyInvalid
from vault_service.adapters.postgres import pages
from vault_service.adapters.spool import record
from vault_service.config import ConfigInvalid, load
from vault_service.crypto import codec
from vault_service.domain import limits, names
from vault_service.domain.answers import TokenEndpointError
from vault_service.domain.content_coding import decoded
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.http_answer import AnswerCorruptError, HttpAnswer
from vault_service.domain.provider import ErrorIn200, ProviderProfile
from vault_service.domain.provider_subject import SubjectRefusedError, read_subject
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.strict_json import JsonRefusedError, parse_object
from vault_service.domain.token_answer import (
    Expected,
    read_consent,
    read_refresh,
    read_revocation,
)
from vault_service.egress.answer import parse_retry_after
from vault_service.egress.answer_parser import AnswerParser
from vault_service.egress.endpoint import parse_endpoint
from vault_service.embedded.settings_files import POLICY
from vault_service.rpc.caller import CallerReader

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_SENT = (Sensitive(b"client secret"), Sensitive(b"refresh token"))
_SPOOL = uuid.UUID(int=7)
_URLS = ("https://op.example", "https://op.example/authorize", "https://op.example/token")
_PROFILES = (
    ProviderProfile(*_URLS),
    ProviderProfile(*_URLS, subject_from="response:user.id", error_in_200=ErrorIn200()),
    ProviderProfile(*_URLS, token_paths={"access_token": "authed_user.access_token"}),
)
_NAMES = (
    names.ProviderName, names.OAuthClientName, names.GrantName, names.GrantAliasName,
    names.SecretName, names.SecretParent,
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """One parser. ``run`` raises where the parser raised what it does not promise, or where what
    it took is not what it gives back."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


@contextlib.contextmanager
def refused(*reasons: Reason) -> Iterator[None]:
    """A refusal by one of these reasons is as good as an answer."""
    try:
        yield
    except VaultError as error:
        _check(error, reasons)


def _check(error: VaultError, reasons: tuple[Reason, ...]) -> None:
    assert error.reason in reasons, error
    assert error.message.isprintable()
    assert len(error.message) < 600


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def _name(data: bytes) -> None:
    text = data.decode(errors="replace")
    for kind in _NAMES:
        with refused(Reason.NAME_MALFORMED):
            assert str(kind.parse(text)) == text
    with refused(Reason.NAME_MALFORMED):
        assert f"tenants/{names.parse_tenant(text)}" == text


def _json(data: bytes) -> None:
    with contextlib.suppress(JsonRefusedError):
        assert parse_object(data) == json.loads(data)


def _answer(data: bytes) -> None:
    status = (200, 201, 302, 400, 401, 403, 404, 429, 500, 503)[data[0] % 10] if data else 204
    body = Sensitive(data[1:][: limits.BODY_MAX_BYTES])
    answer = HttpAnswer(status, "application/json", body)
    for profile in _PROFILES:
        with contextlib.suppress(TokenEndpointError):
            read = read_consent(answer, profile, _SENT, Expected("id", "", NOW))
            assert read.expires_in_s is None or 0 <= read.expires_in_s <= limits.TOKEN_LIFE_MAX_S
        with contextlib.suppress(TokenEndpointError):
            read_refresh(answer, profile, _SENT)
        with contextlib.suppress(TokenEndpointError):
            read_revocation(answer, profile, _SENT)


def _stored_answer(data: bytes) -> None:
    with contextlib.suppress(AnswerCorruptError):
        answer = HttpAnswer.from_bytes(Sensitive(data))
        if data[0] == 1 and not answer.refusal.isprintable():
            return  # readable, though no release of ours wrote it
        again = answer.to_bytes()
        assert again.reveal() == data or data[0] == 1
        assert HttpAnswer.from_bytes(again).body.same_as(answer.body)


def _http(data: bytes) -> None:
    """The first byte says in what pieces the rest comes."""
    size = data[0] + 1 if data else 1
    parser = AnswerParser()
    for at in range(1, len(data), size):
        parser.feed(data[at : at + size])
        assert len(parser.body) <= limits.BODY_MAX_BYTES
    assert not parser.reusable or not (parser.refusal or parser.oddities)
    parser.ends("")
    assert parser.done
    assert parser.status == 0 or 200 <= parser.status <= 999
    assert 0 <= (parser.framed_bytes or 0) <= len(parser.body)
    HttpAnswer(
        parser.status or 200,
        parser.header("content-type")[: limits.TEXT_MAX_CHARS],
        Sensitive(bytes(parser.body)),
        refusal=parser.refusal,
        oddities=tuple(parser.oddities),
        framed_bytes=parser.framed_bytes,
    ).to_bytes()


def _coding(data: bytes) -> None:
    label, _, body = data.partition(b"\n")
    found = decoded(body[: limits.BODY_MAX_BYTES], label.decode("latin-1"))
    assert len(found) <= limits.BODY_MAX_BYTES
    if body.lstrip().startswith(b"{"):
        assert found == body


def _spool_record(data: bytes) -> None:
    # With a sound checksum, or no fuzzer would ever come past it.
    fields, rest = data[: record.HEAD_BYTES - 32], data[record.HEAD_BYTES :]
    rest = rest.ljust(record.PAGE_BYTES - record.HEAD_BYTES, b"\0")
    whole = fields + hashlib.sha256(fields + rest).digest() + rest
    for page in (data, whole):
        found = record.parse(page, _SPOOL, 0)
        assert found is None or page.startswith(found.serialize())
    record.read_slot(whole * 3, _SPOOL, 0)


def _id_token(data: bytes) -> None:
    payload = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    for token in (f"e30.{payload}.", data.decode(errors="replace")):
        with contextlib.suppress(SubjectRefusedError):
            subject = read_subject(
                "id_token:sub",
                {"id_token": token},
                issuer="https://op.example",
                client_id="id",
                nonce="n",
                now=NOW,
            )
            assert subject is None or subject.isprintable()


def _envelope(data: bytes) -> None:
    with refused(Reason.ENVELOPE_CORRUPT):
        assert codec.parse(data).serialize() == data


def _policy(data: bytes) -> None:
    with contextlib.suppress(PolicyInvalid):
        CedarPolicy.parse(data.decode(errors="replace"), "policy")


def _config(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(data)
        file.flush()
        with contextlib.suppress(ConfigInvalid):
            load(Path(file.name))


def _certificate(data: bytes) -> None:
    encoded = base64.encodebytes(data)
    armoured = b"-----BEGIN CERTIFICATE-----\n" + encoded + b"-----END CERTIFICATE-----\n"
    for certificate in (armoured, data):
        context = {"ssl_tls_version": [b"TLSv1.3"], "x509_pem_cert": [certificate]}
        with refused(Reason.CALLER_UNKNOWN):
            caller = CallerReader(("example.org",), FakeClock()).read(context)
            assert caller.spiffe_id.startswith("spiffe://example.org/")


def _retry_after(data: bytes) -> None:
    seconds = parse_retry_after(_text(data), NOW)
    assert seconds is None or 0 <= seconds <= limits.RETRY_AFTER_MAX_S


def _page_token(data: bytes) -> None:
    token = data.decode(errors="replace")
    with refused(Reason.FIELD_MALFORMED):
        assert token in ("", pages.encode(pages.uuid_key(token, pages.LAST_UUID).bytes))
    with refused(Reason.FIELD_MALFORMED):
        assert pages.encode(pages.text_key(token).encode()) == token
    with refused(Reason.FIELD_MALFORMED):
        assert token in ("", pages.encode(pages.int_bytes(pages.int_key(token, 0))))


def _endpoint(data: bytes) -> None:
    with refused(Reason.ENDPOINT_NOT_ALLOWED):
        endpoint = parse_endpoint(data.decode(errors="replace"))
        assert parse_endpoint(endpoint.url) == endpoint


_CLAIMS = {"iss": "https://op.example", "aud": "id", "exp": 4e9, "nonce": "n", "sub": "u"}
_TOKENS = {
    "access_token": "at", "refresh_token": "rt", "token_type": "Bearer", "expires_in": 3600,
    "scope": "a b", "user": 42,
}  # fmt: skip
_ENVELOPE = codec.PREFIX + bytes(16 + 32 + 32 + 16)
_DER = Encoding.DER

TARGETS: dict[str, Target] = {
    "names": Target(
        _name,
        (
            b"tenants/acme", b"tenants/acme/providers/op", b"tenants/acme/oauthClients/crm",
            b"tenants/acme/grants/0192f0c1-0000-7000-8000-00000000dead",
            b"tenants/acme/owners/u-1/grantAliases/mail", b"tenants/acme/owners/u-1/secrets/smtp",
            b"tenants/acme/secrets/smtp", b"tenants/acme/owners/u-1", b"tenants/-",
            b"tenants/" + b"\xff" * 200,
        ),
    ),
    "strict_json": Target(
        _json,
        (
            b"{}", b'{"a":[1,2.5,null,true,"\\u00e9"]}', b'{"a":1,"a":2}', b'{"a":NaN}',
            b'{"a":1e999}', b'{"a":' + b"[" * 20 + b"]" * 20 + b"}",
            b"\xef\xbb\xbf{}", b'{"a":"\\ud800"}',
        ),
    ),
    "token_answer": Target(
        _answer,
        (
            b"\0" + json.dumps(_TOKENS).encode(), b"\3" + b'{"error":"invalid_grant"}',
            b"\0" + b'{"ok":false,"error":"ratelimited"}', b"\7",
        ),
    ),
    "stored_answer": Target(
        _stored_answer,
        tuple(
            HttpAnswer(status, "application/json", Sensitive(b"{}"), delay_s).to_bytes().reveal()
            for status, delay_s in ((200, None), (429, 3.5))
        ),
    ),
    "http_answer": Target(
        _http,
        tuple(b"\xff" + odd.wire for odd in ODD_ANSWERS.values() if len(odd.wire) < 2_000),
    ),
    "content_coding": Target(
        _coding,
        (
            b"gzip\n" + gzip.compress(b"{}"), b"deflate\n" + zlib.compress(b"{}"),
            b"deflate\n" + raw_deflate(b"{}" * 20),
            b"gzip, gzip\n" + gzip.compress(gzip.compress(b"[]")),
            b"utf-8\n{}", b"\n" + gzip.compress(b"\0" * 100_000),
        ),
    ),
    "spool_record": Target(
        _spool_record,
        tuple(
            record.Record(
                _SPOOL, 0, 3, mark, uuid.UUID(int=1), "acme", uuid.UUID(int=2), 1_700_000_000_000,
                b"x" * 100 if mark is record.Mark.RECEIVED else b"",
            ).serialize()
            for mark in record.Mark
        ),
    ),
    "id_token": Target(_id_token, (json.dumps(_CLAIMS).encode(), b"e30.e30.", b"a.b.c")),
    "envelope": Target(_envelope, (_ENVELOPE, _ENVELOPE + b"x" * 40, _ENVELOPE[:-1])),
    "policy": Target(
        _policy,
        (
            POLICY.encode(), b"", b'@id("a") permit (principal, action, resource);',
            b'@id("a") forbid (principal, action, resource) when { context.x == 1 };',
            b'@id("a") permit (principal == ?principal, action, resource);',
            b'@id("a") permit (principal, action, resource) when { ' + b"(" * 2_000,
            b'@id("a") permit (principal, action, resource) when { true' + b"&&true" * 90 + b"};",
        ),
    ),
    "config": Target(
        _config,
        (
            b"", b'deployment = "d"\n[server]\nport = 1\n', b"[database]\npool_size = -1\n",
            b'[egress]\nallowed_private = ["127.0.0.1:1"]\n', b"server = 3\n",
            b"a=" + b"[" * 5_000, b"a=" + b"{a=" * 2_000,
        ),
    ),
    "certificate": Target(
        _certificate,
        (
            built(Wanted()).public_bytes(_DER), built(Wanted(uris=(GOOD, GOOD))).public_bytes(_DER),
            built(Wanted(uris=None, ekus=None, is_ca=True)).public_bytes(_DER),
        ),
    ),
    "retry_after": Target(
        _retry_after, (b"120", b"Thu, 01 Jan 2026 00:00:30 GMT", b"-1", b"1e9", b"9" * 400)
    ),
    "page_token": Target(
        _page_token,
        (
            pages.encode(bytes(16)).encode(), pages.encode(b"smtp").encode(),
            pages.encode(pages.int_bytes(7)).encode(), b"AAA", b"",
        ),
    ),
    "endpoint": Target(
        _endpoint,
        (
            b"https://op.example/token", b"https://[2606:4700::1111]:8443/a?b=c",
            b"https://[::%" + b"\xff" * 200 + b"]",
            *(url.replace("{port}", "8443").encode() for url in HOSTILE_URLS.values()),
        ),
    ),
}  # fmt: skip
