"""CedarPolicy: what is refused at load, and how it decides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_service.adapters.cedar import CedarPolicy, PolicyInvalid
from vault_service.domain import limits
from vault_service.domain.access import Caller, Permission, Resource, ResourceKind
from vault_service.domain.envelope import Level

ROOT = Path(__file__).parents[2]
APP = Caller("spiffe://prod.example/app", "01")
P = 'permit (principal, action == Action::"GetAccessToken", resource)'
FAILING = "9223372036854775807 + 1 > 0"  # overflows: passes the schema, fails when evaluated


def grant(tenant: str = "acme", **changes: object) -> Resource:
    values: dict[str, object] = {
        "level": Level.USER,
        "owner": "u-1",
        "provider": "google",
        "oauth_client": "web",
        "label": "main",
        "scopes": frozenset({"openid", "mail"}),
    }
    values |= changes
    return Resource(ResourceKind.GRANT, f"tenants/{tenant}/grants/1", tenant, **values)  # type: ignore[arg-type]


def rule(text: str, resource: Resource | None = None, caller: Caller = APP) -> tuple[bool, str]:
    policy = CedarPolicy.parse(text, "test")
    decision = policy.decide(caller, Permission.GET_ACCESS_TOKEN, resource or grant())
    return decision.allowed, decision.rule


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (P + ";", "line 1: every policy has an @id"),
        (f'@id("") {P};', "line 1: every policy has an @id"),
        (f'@id("a b") {P};', "line 1: every policy has an @id"),
        (f'@id("default-deny") {P};', "line 1: every policy has an @id"),
        (f'@id("{"a" * 64}") {P};', "line 1: every policy has an @id"),
        (f'@id("a") {P};\n// ;\n\n@id("a")\n{P};', 'line 4: @id("a") is used twice'),
        (f'@id("a") @id("b") {P};', "duplicate annotation"),
        (f'@id("ok") {P};\n@id("b")\npermit (principal action, resource);', "policy at line 2"),
        (f'@id("a") {P}', "policy at line 1"),
        (
            '@id("a;") permit (principal, action == Action::"x", resource);',
            "line 1: every policy has an @id",
        ),
        (
            '\n@id("a")\npermit (principal, action == Action::"GetAcessToken", resource);',
            'line 2, @id("a"): unrecognized action',
        ),
        (f'@id("a") {P} when {{ resource.ownr == "u" }};', "attribute `ownr`"),
        (f'@id("a") {P} when {{ resource.owner == 1 }};', 'line 1, @id("a")'),
        (f'@id("a") {P} when {{ context.hour > 3 }};', "attribute `hour`"),
        ('@id("a") permit (principal is Person, action, resource);', "Person"),
        (
            '@id("a") permit (principal, action == Action::"GetAccessToken", resource is Tenant);',
            "unable to find an applicable action",
        ),
        ('@id("a") permit (principal == ?principal, action, resource);', "templates"),
        (
            '@id("a") permit (principal, action, resource in Tenant::"tenants/acme");',
            'written like Tenant::"acme"',
        ),
        (
            f'@id("a") {P} when {{ principal == Caller::"prod.example/app" }};',
            "a caller is written like",
        ),
        (f'@id("a") {P};\n// \u202e;', "line 2: hidden character U+202E"),
        (f'@id("a")\x00 {P};', "line 1: hidden character U+0000"),
    ],
)
def test_a_faulty_policy_is_refused_with_its_place(text: str, complaint: str) -> None:
    """What is mistyped, unnamed, named twice, hidden or outside the schema is refused."""
    with pytest.raises(PolicyInvalid) as caught:
        CedarPolicy.parse(text, "p.cedar")
    assert complaint in str(caught.value)
    assert str(caught.value).startswith("p.cedar")


@pytest.mark.parametrize("size", [100, 300, 1_000, 20_000, 80_000])
@pytest.mark.parametrize(
    "condition",
    [
        lambda n: "(" * n + "true" + ")" * n,
        lambda n: "[" * n + "1" + "]" * n + " == [1]",
        lambda n: "{a:" * n + "1" + "}" * n + " == 1",
        lambda n: "true" + " && true" * n,
        lambda n: "false" + " || true" * n,
        lambda n: "if true then true else " * n + "true",
        lambda n: "1" + " + 1" * n + " == 1",
        lambda n: "1" + " * 2" * n + " == 1",
        lambda n: "principal" + ".a" * n + " == 1",
        lambda n: "!" * n + "true",
        lambda n: "-" * n + "1 == 1",
        lambda n: "(" * n,
    ],
)
def test_a_deep_policy_is_refused(condition: Callable[[int], str], size: int) -> None:
    """A condition that would exhaust the engine's stack and end the process is refused."""
    with pytest.raises(PolicyInvalid):
        CedarPolicy.parse(f'@id("a") {P} when {{ {condition(size)} }};', "test")


def test_what_people_write_is_not_deep() -> None:
    """Long sets, many conditions and brackets in texts and comments are no depth."""
    owners = ", ".join(f'"u-{number}"' for number in range(5_000))
    deep = "(" * 1_000
    policy = CedarPolicy.parse(
        f'@id("a") {P}'
        f" when {{ resource is Grant && [{owners}].contains(resource.owner) }} // {deep}\n"
        f' unless {{ resource is Grant && resource.label == "{deep}" }};',
        "test",
    )
    assert policy.decide(APP, Permission.GET_ACCESS_TOKEN, grant()).allowed


def test_an_unreadable_file_is_refused_by_name(tmp_path: Path) -> None:
    """A missing, oversized or non-UTF-8 file is refused and its path is named."""
    path = tmp_path / "p.cedar"
    with pytest.raises(PolicyInvalid, match="cannot be read"):
        CedarPolicy.load(path)
    path.write_bytes(b"//\n// \xff")
    with pytest.raises(PolicyInvalid, match="line 2: is not UTF-8") as caught:
        CedarPolicy.load(path)
    assert str(path) in str(caught.value)
    path.write_bytes(b"/" * (limits.POLICY_MAX_BYTES + 1))
    with pytest.raises(PolicyInvalid, match="is over"):
        CedarPolicy.load(path)


def test_windows_line_ends_are_fine() -> None:
    """A file with CRLF loads."""
    assert rule(f'@id("a")\r\n{P};\r\n') == (True, "a")


def test_an_empty_policy_denies() -> None:
    """Without any policy the answer is default-deny."""
    assert rule("// nothing") == (False, "default-deny")


def test_a_forbid_that_fails_denies() -> None:
    """Cedar would skip a forbid whose evaluation errors and allow; here that is a denial."""
    text = f'@id("p") {P};\n@id("f") forbid (principal, action, resource) when {{ {FAILING} }};'
    assert rule(text) == (False, "policy-error")


def test_a_permit_that_fails_denies() -> None:
    """A permit whose evaluation errors taints the decision even when another one permits."""
    text = f'@id("p") {P};\n@id("q") {P} when {{ {FAILING} }};'
    assert rule(text) == (False, "policy-error")


def test_a_forbid_wins_and_is_named() -> None:
    """A matching forbid denies over a permit, and its id is the rule."""
    text = f'@id("p") {P};\n@id("f") forbid (principal, action, resource);'
    assert rule(text) == (False, "f")


@pytest.mark.parametrize(
    "resource",
    [
        Resource(ResourceKind.TENANT, "tenants/acme", "acme"),
        Resource(ResourceKind.SECRET, "tenants/acme/secrets/s", "acme"),
    ],
    ids=lambda r: r.kind.value,
)
def test_an_action_on_the_wrong_kind_denies(resource: Resource) -> None:
    """A question the schema does not know (a token of a tenant) is a denial, not an exception."""
    text = '@id("p") permit (principal, action, resource);'
    assert rule(text, resource) == (False, "policy-error")


@pytest.mark.parametrize("spiffe_id", ["", "prod.example/app", "https://x/y", "spiffe:///a"])
def test_an_odd_caller_denies(spiffe_id: str) -> None:
    """A caller whose id is no SPIFFE id is denied even where everyone is permitted."""
    assert rule(f'@id("p") {P};', caller=Caller(spiffe_id, "")) == (False, "policy-error")


@pytest.mark.parametrize(
    ("condition", "fits", "differs"),
    [
        ('resource.owner == "u-1"', {}, {"owner": "u-2"}),
        ('resource.provider == "google"', {}, {"provider": "github"}),
        ('resource.oauth_client == "web"', {}, {"oauth_client": "cli"}),
        ('resource.label == "main"', {}, {"label": ""}),
        ('resource.level == "USER"', {}, {"level": Level.APPLICATION}),
        (
            '["openid", "mail"].containsAll(resource.scopes)',
            {"scopes": frozenset({"mail"})},
            {"scopes": frozenset({"mail", "files"})},
        ),
    ],
)
def test_permits_narrow_by_attributes(
    condition: str, fits: dict[str, Any], differs: dict[str, Any]
) -> None:
    """Owner, provider, OAuthClient, label, level and scopes can each narrow a permit."""
    text = f'@id("p") {P} when {{ {condition} }};'
    assert rule(text, grant(**fits)) == (True, "p")
    assert rule(text, grant(**differs)) == (False, "default-deny")


def test_callers_are_told_apart_by_trust_domain_and_path() -> None:
    """trust_domain and path of the SPIFFE id can be spoken about."""
    condition = 'principal.trust_domain == "prod.example" && principal.path like "/app*"'
    text = f'@id("p") {P} when {{ {condition} }};'
    assert rule(text) == (True, "p")
    assert not rule(text, caller=Caller("spiffe://test.example/app", ""))[0]
    assert not rule(text, caller=Caller("spiffe://prod.example/other/app", ""))[0]


def test_a_tenant_covers_what_lies_in_it_and_nothing_else() -> None:
    """`resource in Tenant::"acme"` holds for grants of acme and not for its neighbours."""
    text = (
        '@id("p") permit (principal, action == Action::"GetAccessToken", '
        'resource in Tenant::"acme");'
    )
    assert rule(text, grant("acme"))[0]
    assert not rule(text, grant("acme2"))[0]


def test_names_cannot_smuggle_policy_syntax() -> None:
    """Quotes and line ends in ids and attributes stay data."""
    text = f'@id("p") {P} when {{ resource.owner == "u-1" }};'
    odd = 'u-1" || true || "\n'
    resource = Resource(ResourceKind.GRANT, odd, "acme", Level.USER, odd)
    assert rule(text, resource) == (False, "default-deny")


def test_decisions_are_remembered_by_all_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same question is evaluated once; any other caller, action or attribute anew."""
    evaluated = 0
    evaluate: Callable[..., cedarpy.AuthzResult] = cedarpy.is_authorized

    def counting(*args: object) -> cedarpy.AuthzResult:
        nonlocal evaluated
        evaluated += 1
        return evaluate(*args)

    monkeypatch.setattr(cedarpy, "is_authorized", counting)
    policy = CedarPolicy.parse(f'@id("p") {P} when {{ resource.owner == "u-1" }};', "test")
    questions = [
        (APP, Permission.GET_ACCESS_TOKEN, grant()),
        (Caller("spiffe://prod.example/b", ""), Permission.GET_ACCESS_TOKEN, grant()),
        (APP, Permission.GET_GRANT, grant()),
        (APP, Permission.GET_ACCESS_TOKEN, grant("globex")),
        (APP, Permission.GET_ACCESS_TOKEN, grant(owner="u-2")),
        (APP, Permission.GET_ACCESS_TOKEN, grant(provider="github")),
        (APP, Permission.GET_ACCESS_TOKEN, grant(scopes=frozenset())),
        (APP, Permission.GET_ACCESS_TOKEN, grant(label="")),
    ]
    first = [policy.decide(*question) for question in questions]
    assert evaluated == len(questions)
    assert [policy.decide(*question) for question in questions] == first
    assert evaluated == len(questions)
    assert [decision.allowed for decision in first[:5]] == [True, True, False, True, False]


@pytest.mark.parametrize("error", [RuntimeError("x"), MemoryError()], ids=repr)
def test_decide_never_raises(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Whatever fails inside the engine is a denial, and is asked again the next time."""
    policy = CedarPolicy.parse(f'@id("p") {P};', "test")

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(cedarpy, "is_authorized", fail)
        assert policy.decide(APP, Permission.GET_ACCESS_TOKEN, grant()).rule == "policy-error"
    assert policy.decide(APP, Permission.GET_ACCESS_TOKEN, grant()).allowed


def test_the_version_follows_the_text() -> None:
    """The same text has the same version; any change has another."""
    one = CedarPolicy.parse(f'@id("p") {P};', "a")
    assert one.version == CedarPolicy.parse(f'@id("p") {P};', "b").version
    assert one.version != CedarPolicy.parse(f'@id("p") {P}; ', "a").version
    assert len(one.version) == len("sha256:") + 16


EMPTY = CedarPolicy.parse("", "empty")
resources = st.builds(
    Resource,
    kind=st.sampled_from(ResourceKind),
    id=st.text(),
    tenant=st.text(),
    level=st.sampled_from(Level),
    owner=st.text(),
    provider=st.text(),
    oauth_client=st.text(),
    label=st.text(),
    scopes=st.frozensets(st.text(), max_size=5),
)


@given(
    caller=st.builds(Caller, st.text() | st.text().map("spiffe://a/".__add__), st.text()),
    permission=st.sampled_from(Permission),
    resource=resources,
)
def test_nobody_is_ever_allowed_by_an_empty_policy(
    caller: Caller, permission: Permission, resource: Resource
) -> None:
    """Whoever asks for whatever: no exception, and no."""
    assert not EMPTY.decide(caller, permission, resource).allowed


def example(caller: str, permission: Permission, resource: Resource) -> bool:
    policy = CedarPolicy.load(ROOT / "deploy/policy.example.cedar")
    return policy.decide(Caller(caller, ""), permission, resource).allowed


def test_the_example_policy_gives_each_role_its_own() -> None:
    """The example loads; application, operator and auditor can do their work and no other."""
    app, operator = "spiffe://prod.example/acme/app", "spiffe://prod.example/operator"
    auditor, reports = "spiffe://prod.example/auditor", "spiffe://prod.example/acme/reports"
    acme = Resource(ResourceKind.TENANT, "tenants/acme", "acme")
    for permission in (
        Permission.START_AUTHORIZATION,
        Permission.COMPLETE_AUTHORIZATION,
        Permission.GET_ACCESS_TOKEN,
        Permission.GET_GRANT,
    ):
        assert example(app, permission, grant())
        assert not example(app, permission, grant("globex"))
    assert example(app, Permission.USE_TENANT, acme)
    assert not example(app, Permission.REVOKE_GRANT, grant())
    assert example(operator, Permission.REVOKE_GRANT, grant("globex"))
    assert not example(operator, Permission.GET_ACCESS_TOKEN, grant())
    assert not example(operator, Permission.LIST_AUDIT_RECORDS, acme)
    assert example(auditor, Permission.LIST_AUDIT_RECORDS, acme)
    assert not example(auditor, Permission.LIST_GRANTS, acme)
    assert not example(reports, Permission.GET_ACCESS_TOKEN, grant())
    assert example(reports, Permission.GET_ACCESS_TOKEN, grant(scopes=frozenset({"openid"})))
