"""The demo authorization server over its wire, in a process of its own."""

from __future__ import annotations

import base64
import json
import re
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from html import unescape
from urllib.parse import quote_plus, urlencode

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tests.support.demo_wire import FORM, Reply, Wire
from tests.support.state_dirs import new_state_dir
from vault_service.embedded.demo import EmbeddedDemoProvider
from vault_service.embedded.devca import DevCA
from vault_service.embedded.machine import EmbeddedError

ACCESS_LIFE_S = 3  # long enough for a slow machine, short enough to wait for


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    """One provider for all; the tests that stop it start it again."""
    with new_state_dir() as state_dir:
        ca = DevCA(state_dir)
        server = EmbeddedDemoProvider(
            state_dir / "demo",
            ca,
            redirect_uri="http://127.0.0.1:9/callback?kept=1",
            access_life_s=ACCESS_LIFE_S,
        )
        yield Wire(server, state_dir / "demo", ca)
        server.destroy()


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_consent_to_token_to_resource(wire: Wire) -> None:
    """A person's way: page, button, code, tokens; the access token opens the API and expires."""
    page = wire.send("GET", f"/authorize?{urlencode(wire.asked())}")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    hidden = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.text))
    assert "Allow as ada" in page.text
    assert "Allow as grace" in page.text
    form = {name: unescape(value) for name, value in hidden.items()} | {"user": "grace"}
    back = wire.send("POST", "/authorize", urlencode(form), FORM).back
    assert (back["state"], back["iss"], back["kept"]) == ("the state", wire.handle.base_url, "1")
    answer = wire.redeem(back["code"])
    assert answer.headers["Cache-Control"] == "no-store"
    token = answer.json
    assert (token["token_type"], token["expires_in"]) == ("Bearer", ACCESS_LIFE_S)
    assert token["scope"] == "openid calendar.read"
    assert wire.whoami(token["access_token"]).json["sub"] == "grace"
    time.sleep(ACCESS_LIFE_S)
    refused = wire.whoami(token["access_token"])
    assert refused.status == 401
    assert "invalid_token" in refused.headers["WWW-Authenticate"]


def test_id_token_is_signed_and_names_the_subject(wire: Wire) -> None:
    """The id_token is signed by the published key and says who, for whom, and the nonce."""
    token = wire.consent()
    header, claims, signature = token["id_token"].split(".")
    named = json.loads(decoded(header))
    keys = wire.send("GET", "/jwks").json["keys"]
    (key,) = [one for one in keys if one["kid"] == named["kid"]]
    assert (named["alg"], key["kty"], key["crv"]) == ("ES256", "EC", "P-256")
    x, y = (int.from_bytes(decoded(key[name]), "big") for name in ("x", "y"))
    raw = decoded(signature)
    r, s = (int.from_bytes(half, "big") for half in (raw[:32], raw[32:]))
    ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key().verify(
        encode_dss_signature(r, s), f"{header}.{claims}".encode(), ec.ECDSA(hashes.SHA256())
    )
    said = json.loads(decoded(claims))
    assert (said["iss"], said["sub"]) == (wire.handle.base_url, "ada")
    assert (said["aud"], said["nonce"]) == (wire.handle.client_id, "the nonce")
    assert said["iat"] <= time.time() < said["exp"]


def test_refresh_token_is_single_use(wire: Wire) -> None:
    """Each refresh gives another refresh token, and the access token it gives works."""
    first = wire.consent()
    second = wire.refresh(first["refresh_token"]).json
    third = wire.refresh(second["refresh_token"]).json
    assert len({one["refresh_token"] for one in (first, second, third)}) == 3
    assert wire.whoami(third["access_token"]).json["sub"] == "ada"
    assert "id_token" not in third


def test_reuse_ends_the_whole_grant(wire: Wire) -> None:
    """A refresh token presented twice is refused and takes all that came of its consent along."""
    first = wire.consent()
    second = wire.refresh(first["refresh_token"]).json
    reused = wire.refresh(first["refresh_token"])
    assert (reused.status, reused.json["error"]) == (400, "invalid_grant")
    assert wire.refresh(second["refresh_token"]).json["error"] == "invalid_grant"
    assert wire.whoami(second["access_token"]).status == 401


def test_code_is_single_use_and_bound(wire: Wire) -> None:
    """A code is good once, for its redirect URI and verifier; its second use ends the grant."""
    code = wire.decide().back["code"]
    for changes in (
        {"code_verifier": "x" * 43},
        {"redirect_uri": "http://127.0.0.1:9/other"},
        {"code": "unknown"},
    ):
        assert wire.redeem(code, **changes).json["error"] == "invalid_grant"
    token = wire.redeem(code).json
    assert wire.redeem(code).json["error"] == "invalid_grant"
    assert wire.refresh(token["refresh_token"]).json["error"] == "invalid_grant"


def test_revocation_ends_the_grant(wire: Wire) -> None:
    """Revoking a refresh token ends its grant, an access token itself alone, a stranger nothing."""
    token = wire.consent()
    secret = {"client_id": wire.handle.client_id, "client_secret": wire.handle.client_secret}
    for revoked in ("unknown", token["access_token"]):
        body = urlencode(secret | {"token": revoked})
        assert wire.send("POST", "/revoke", body, FORM).status == 200
    assert wire.whoami(token["access_token"]).status == 401
    token = wire.refresh(token["refresh_token"]).json
    body = urlencode({"token": token["refresh_token"]})
    assert wire.send("POST", "/revoke", body, FORM).status == 401
    assert wire.whoami(token["access_token"]).status == 200
    body = urlencode(secret | {"token": token["refresh_token"]})
    assert wire.send("POST", "/revoke", body, FORM).status == 200
    assert wire.whoami(token["access_token"]).status == 401
    assert wire.refresh(token["refresh_token"]).json["error"] == "invalid_grant"


def test_client_authenticates_one_way(wire: Wire) -> None:
    """Basic and post are both taken, a wrong secret is 401, and both at once are refused."""
    token = wire.consent()
    name, secret = wire.handle.client_id, wire.handle.client_secret
    form = {"grant_type": "refresh_token", "refresh_token": token["refresh_token"]}

    def basic(pair: str) -> dict[str, str]:
        return FORM | {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}

    def post(headers: Mapping[str, str], **more: str) -> Reply:
        return wire.send("POST", "/token", urlencode(form | more), headers)

    for headers in (
        FORM,
        basic(f"{name}:wrong"),
        basic(f"other:{secret}"),
        basic("nothing"),
        FORM | {"Authorization": "Basic !"},
        FORM | {"Authorization": f"Bearer {secret}"},
    ):
        refused = post(headers)
        assert (refused.status, refused.json["error"]) == (401, "invalid_client")
        assert refused.headers["WWW-Authenticate"].startswith("Basic")
    good = basic(f"{quote_plus(name)}:{quote_plus(secret)}")
    assert post(good, client_secret=secret).json["error"] == "invalid_request"
    assert post(good, client_id="other").json["error"] == "invalid_request"
    assert post(good).status == 200


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": ""}, "invalid_request"),
        ({"scope": "openid everything"}, "invalid_scope"),
    ],
)
def test_wrong_requests_go_back_with_an_error(
    wire: Wire, changes: dict[str, str], error: str
) -> None:
    """What is wrong in a request goes back to the client, at the page and at its button."""
    page = wire.send("GET", f"/authorize?{urlencode(wire.asked(**changes))}")
    for reply in (page, wire.decide(**changes)):
        assert reply.back["error"] == error
        assert reply.back["state"] == "the state"
        assert "code" not in reply.back


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "<script>alert(1)</script>"},
        {"client_id": ""},
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": "http://127.0.0.1:9/callback"},
        {"redirect_uri": ""},
        {"state": "x" * 2_049},
    ],
)
def test_nobody_is_redirected_to_a_stranger(wire: Wire, changes: dict[str, str]) -> None:
    """An unknown client, another redirect URI or an overlong field: a page, and no redirect."""
    page = wire.send("GET", f"/authorize?{urlencode(wire.asked(**changes))}")
    for reply in (page, wire.decide(**changes)):
        assert reply.status == 400
        assert "Location" not in reply.headers
        assert "<script>" not in reply.text


def test_fields_stand_once(wire: Wire) -> None:
    """A field that stands twice is refused everywhere (RFC 6749 §3.1)."""
    twice = urlencode([*wire.asked().items(), ("state", "again")])
    assert wire.send("GET", f"/authorize?{twice}").status == 400
    assert wire.send("POST", "/authorize", twice, FORM).status == 400
    form = "grant_type=refresh_token&refresh_token=a&refresh_token=b"
    assert wire.send("POST", "/token", form, FORM).json["error"] == "invalid_request"


def test_page_escapes_what_it_shows(wire: Wire) -> None:
    """Nothing of a request becomes markup, and the page runs no script and fits in no frame."""
    parameters = wire.asked(state='"><script>alert(1)</script>', nonce="'\"<b>")
    page = wire.send("GET", f"/authorize?{urlencode(parameters)}")
    assert "<script" not in page.text
    assert "<b>'" not in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]


def test_denied_consent_goes_back(wire: Wire) -> None:
    """The other button, or a user that there is not, is access_denied."""
    for user in ("", "mallory"):
        assert wire.decide(user).back["error"] == "access_denied"


@pytest.mark.parametrize(
    ("body", "headers", "status", "error"),
    [
        ("{}", {"Content-Type": "application/json"}, 400, "invalid_request"),
        ("", {}, 400, "invalid_request"),
        ("a=%ff", FORM, 401, "invalid_client"),
        ("&".join(f"a{n}=1" for n in range(31)), FORM, 400, "invalid_request"),
        ("a=" + "x" * 2_049, FORM, 400, "invalid_request"),
    ],
)
def test_bad_bodies_are_refused(
    wire: Wire, body: str, headers: dict[str, str], status: int, error: str
) -> None:
    """A body that is no form, or too much of one, is an error in JSON and never a crash."""
    reply = wire.send("POST", "/token", body, headers)
    assert (reply.status, reply.json["error"]) == (status, error)


def test_huge_bodies_are_refused(wire: Wire) -> None:
    """A body over 16 KiB is refused before it is read in full."""
    assert wire.send("POST", "/token", "a=" + "x" * 20_000, FORM).status == 413


def test_unknown_grant_type_is_refused(wire: Wire) -> None:
    """There is the code and the refresh token, and no way around the user."""
    for grant_type in ("client_credentials", "password", ""):
        assert wire.token(grant_type=grant_type).json["error"] == "unsupported_grant_type"


def test_ledger_counts_every_post(wire: Wire) -> None:
    """Every POST to the token endpoint is counted by kind and outcome, and nothing else of it."""

    def posts() -> dict[tuple[str, str], int]:
        ledger = wire.send("GET", "/ledger").json
        rows = {(row["grant_type"], row["outcome"]): row["posts"] for row in ledger["by_outcome"]}
        assert ledger["token_posts"] == sum(rows.values())
        return rows

    before = posts()
    token = wire.consent()
    wire.refresh(token["refresh_token"])
    wire.refresh(token["refresh_token"])
    wire.send("POST", "/token", "{}", {})
    after = posts()
    grown = {key: count - before.get(key, 0) for key, count in after.items()}
    assert {key: count for key, count in grown.items() if count} == {
        ("authorization_code", "issued"): 1,
        ("refresh_token", "issued"): 1,
        ("refresh_token", "refresh token used twice"): 1,
        ("other", "invalid_request"): 1,
    }


def test_metadata_names_the_endpoints(wire: Wire) -> None:
    """The metadata of RFC 8414 names what is there, and what it insists on."""
    metadata = wire.send("GET", "/.well-known/oauth-authorization-server").json
    base = wire.handle.base_url
    assert metadata["issuer"] == base
    assert metadata["authorization_endpoint"] == f"{base}/authorize"
    assert metadata["token_endpoint"] == f"{base}/token"
    assert metadata["revocation_endpoint"] == f"{base}/revoke"
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert metadata["authorization_response_iss_parameter_supported"] is True


def test_restart_keeps_grants_and_reuse_detection(wire: Wire) -> None:
    """After a stop and after a kill the refresh token still works, once, at the same issuer."""
    first = wire.consent()
    wire.server.stop()
    assert wire.server.start() == wire.handle
    second = wire.refresh(first["refresh_token"]).json
    wire.server.kill()
    assert wire.server.start() == wire.handle
    third = wire.refresh(second["refresh_token"])
    assert third.status == 200
    assert wire.refresh(second["refresh_token"]).json["error"] == "invalid_grant"
    assert wire.refresh(third.json["refresh_token"]).json["error"] == "invalid_grant"


def test_no_secret_is_at_rest(wire: Wire) -> None:
    """Of codes, tokens and the client's secret its files hold hashes only, and are ours alone."""
    code = wire.decide().back["code"]
    token = wire.redeem(code).json
    for file in wire.folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        content = file.read_bytes()
        for secret in (code, token["access_token"], token["refresh_token"]):
            assert secret.encode() not in content
        if file.name != "client.secret":  # what its client reads
            assert wire.handle.client_secret.encode() not in content


def test_taken_port_is_named(wire: Wire) -> None:
    """When another process has its port the error names it, and it starts once that is gone."""
    wire.server.stop()
    port = int(wire.handle.host_port.rpartition(":")[2])
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(EmbeddedError, match=f"port {port} .*demo provider.* is taken"),
    ):
        wire.server.start()
    assert wire.server.start() == wire.handle
