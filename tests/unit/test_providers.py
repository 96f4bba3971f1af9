"""PutProvider and ListProviders."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.house import APP, PROVIDER, ROGUE, TENANT, House, refused
from tests.support.samples import a_full_profile, a_profile
from vault_service.domain.access import Permission
from vault_service.domain.answers import AnswerClass
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason
from vault_service.domain.names import ProviderName
from vault_service.domain.provider import ErrorIn200, ProviderProfile, Recovery, RefreshClass


@pytest.fixture
def house() -> House:
    return House()


async def test_put(house: House) -> None:
    """A provider is stored with its profile, on record with the rule that allowed it."""
    profile = a_profile(refresh_class=RefreshClass.G, grace_s=30, scope_separator=",")
    stored = await house.providers.put(house.call(), PROVIDER, profile)
    assert (stored.name, stored.profile, stored.revision) == (PROVIDER, profile, 1)
    (record,) = house.records(AuditAction.PROVIDER_PUT)
    assert (record.resource, record.detail["policy_rule"]) == (str(PROVIDER), "allow-PutProvider")
    assert record.detail["token_endpoint"] == "https://op.example/token"


async def test_full_profile_is_sound(house: House) -> None:
    """A profile that uses every field is taken as it is."""
    profile = a_full_profile()
    assert (await house.providers.put(house.call(), PROVIDER, profile)).profile == profile
    defaults = a_profile()
    unused = {
        field
        for field in ProviderProfile.__dataclass_fields__
        if getattr(profile, field) == getattr(defaults, field)
    }
    endpoints = {"issuer", "authorization_endpoint", "token_endpoint", "revocation_endpoint"}
    assert unused == {*endpoints, "refresh_class", "grace_s"}


async def test_replace(house: House) -> None:
    """An existing provider takes a new profile at its next revision."""
    await house.providers.put(house.call(), PROVIDER, a_profile())
    moved = a_profile(token_endpoint="https://op.example/v2/token")
    stored = await house.providers.put(house.call(), PROVIDER, moved)
    assert (stored.profile.token_endpoint, stored.revision) == ("https://op.example/v2/token", 2)


async def test_issuer_cannot_change(house: House) -> None:
    """The issuer of an existing provider stays: registrations and grants hang on it."""
    await house.providers.put(house.call(), PROVIDER, a_profile())
    other = a_profile(issuer="https://other.example")
    error = await refused(
        Reason.FIELD_MALFORMED, house.providers.put(house.call(), PROVIDER, other)
    )
    assert error.metadata == {"field": "issuer"}
    assert house.stores.tables.providers[PROVIDER].profile.issuer == "https://op.example"


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("issuer", {"issuer": ""}),
        ("authorization_endpoint", {"authorization_endpoint": ""}),
        ("token_endpoint", {"token_endpoint": ""}),
        ("subject_from", {"subject_from": "cookie:sub"}),
        ("subject_from", {"subject_from": "id_token:"}),
        ("subject_from", {"subject_from": "id_token:sub\n"}),
        ("scope_separator", {"scope_separator": ";"}),
        ("grace_s", {"grace_s": 1}),
        ("grace_s", {"refresh_class": RefreshClass.G}),
        ("grace_s", {"refresh_class": RefreshClass.G, "grace_s": 2_592_001}),
        ("grace_s", {"grace_s": -1}),
        ("default_life_s", {"default_life_s": 0}),
        ("default_life_s", {"default_life_s": 31_536_001}),
        ("token_paths", {"token_paths": {"id_token": "a"}}),
        ("token_paths", {"token_paths": {"access_token": "a..b"}}),
        ("token_paths", {"token_paths": {"access_token": "a" * 129}}),
        ("error_in_200", {"error_in_200": ErrorIn200("")}),
        ("error_in_200", {"error_in_200": ErrorIn200("error", {"": AnswerClass.RATE_LIMITED})}),
        ("error_in_200", {"error_in_200": ErrorIn200("error", {"x": AnswerClass.NOT_SENT})}),
        (
            "error_in_200",
            {"error_in_200": ErrorIn200("error", {"invalid_client": AnswerClass.INVALID_GRANT})},
        ),
        ("error_codes", {"error_codes": {"x": AnswerClass.UNREADABLE_SUCCESS}}),
        ("error_codes", {"error_codes": {"ü": AnswerClass.RATE_LIMITED}}),
        ("error_codes", {"error_codes": {"x" * 257: AnswerClass.RATE_LIMITED}}),
        (
            "error_codes",
            {"error_codes": {f"e{n}": AnswerClass.RATE_LIMITED for n in range(51)}},
        ),
        ("error_codes", {"error_codes": {"invalid_client": AnswerClass.INVALID_GRANT}}),
        ("error_codes", {"error_codes": {"invalid_client: gone": AnswerClass.INVALID_GRANT}}),
        ("error_codes", {"error_codes": {"unauthorized_client": AnswerClass.INVALID_GRANT}}),
        ("max_idle_s", {"max_idle_s": -1}),
        ("max_idle_s", {"max_idle_s": 157_680_001}),
        ("confirm_after_s", {"confirm_after_s": 59}),
        ("confirm_after_s", {"confirm_after_s": 3_601}),
        ("rate_per_s", {"rate_per_s": 10_001}),
        ("rate_per_min", {"rate_per_min": -1}),
        ("refresh_parallel_max", {"refresh_parallel_max": 0}),
        ("refresh_parallel_max", {"refresh_parallel_max": 17}),
        ("recovery", {"refresh_class": RefreshClass.M, "recovery": Recovery.MANUAL}),
        ("recovery", {"recovery": Recovery.PROBE_ONLY}),
        ("probe_endpoint", {"refresh_kills_old_access_token": True}),
        ("authorization_params", {"authorization_params": {f"p{n}": "" for n in range(21)}}),
        ("authorization_params", {"authorization_params": {"prompt": "x" * 257}}),
        ("authorization_params", {"authorization_params": {"a b": "x"}}),
        ("authorization_params", {"authorization_params": {"": "x"}}),
        ("authorization_params", {"authorization_params": {"prompt": "a\0b"}}),
        ("token_params", {"token_params": {f"p{n}": "" for n in range(21)}}),
        ("token_params", {"token_params": {"audience": "x" * 257}}),
        ("token_params", {"token_params": {"a b": "x"}}),
        ("token_params", {"token_params": {"audience": "a\nb"}}),
        ("error_code_paths", {"error_code_paths": ("a",) * 9}),
        ("error_code_paths", {"error_code_paths": ("",)}),
        ("error_code_paths", {"error_code_paths": ("a..b",)}),
        ("error_code_paths", {"error_code_paths": ("a b",)}),
        ("scope_aliases", {"scope_aliases": {f"s{n}": "s" for n in range(101)}}),
        ("scope_aliases", {"scope_aliases": {"": "mail"}}),
        ("scope_aliases", {"scope_aliases": {"mail": "two words"}}),
    ],
)
async def test_unsound_profiles(house: House, field: str, changes: dict[str, Any]) -> None:
    """A profile outside its bounds is refused naming the field, and nothing is stored."""
    error = await refused(
        Reason.FIELD_MALFORMED, house.providers.put(house.call(), PROVIDER, a_profile(**changes))
    )
    assert error.metadata == {"field": field}
    assert house.stores.tables.providers == {}


@pytest.mark.parametrize(
    "key",
    [
        "response_type",
        "client_id",
        "redirect_uri",
        "scope",
        "state",
        "nonce",
        "code_challenge",
        "code_challenge_method",
        "client_secret",
        "request",
        "request_uri",
        "response_mode",
    ],
)
async def test_reserved_parameters(house: House, key: str) -> None:
    """A profile cannot set what the service itself puts into the authorization URL."""
    profile = a_profile(authorization_params={key: "x"})
    await refused(Reason.FIELD_MALFORMED, house.providers.put(house.call(), PROVIDER, profile))


@pytest.mark.parametrize(
    "key",
    [
        "grant_type",
        "code",
        "redirect_uri",
        "code_verifier",
        "refresh_token",
        "scope",
        "client_id",
        "client_secret",
        "client_assertion",
        "Grant_Type",
    ],
)
async def test_reserved_token_parameters(house: House, key: str) -> None:
    """A profile cannot set what the service itself puts into token requests, in any spelling."""
    profile = a_profile(token_params={key: "x"})
    await refused(Reason.FIELD_MALFORMED, house.providers.put(house.call(), PROVIDER, profile))


@pytest.mark.parametrize(
    "field",
    [
        "issuer",
        "authorization_endpoint",
        "token_endpoint",
        "revocation_endpoint",
        "probe_endpoint",
        "introspection_endpoint",
    ],
)
async def test_endpoints_are_guarded(house: House, field: str) -> None:
    """Each endpoint passes the egress guard before it is stored."""
    profile = a_profile(**{field: "https://internal.example/x"})
    await refused(Reason.ENDPOINT_NOT_ALLOWED, house.providers.put(house.call(), PROVIDER, profile))
    assert house.stores.tables.providers == {}


async def test_permissions(house: House) -> None:
    """Only who may put providers puts them; the policy sees which one."""
    await refused(
        Reason.CALLER_NOT_ALLOWED, house.providers.put(house.call(ROGUE), PROVIDER, a_profile())
    )
    house.policy.allowed.discard((APP, Permission.PUT_PROVIDER))
    error = await refused(
        Reason.CALLER_NOT_ALLOWED, house.providers.put(house.call(), PROVIDER, a_profile())
    )
    assert error.recorded["permission"] == "PutProvider"
    assert house.policy.asked[-1][2].provider == "op"
    name = ProviderName("ghost", "op")
    await refused(
        Reason.TENANT_NOT_PROVISIONED, house.providers.put(house.call(), name, a_profile())
    )


async def test_list(house: House) -> None:
    """Providers of the tenant come by id, page by page."""
    for name in ("c", "a", "b"):
        await house.providers.put(house.call(), ProviderName(TENANT, name), a_profile())
    first = await house.providers.list(house.call(), TENANT, 2, "")
    second = await house.providers.list(house.call(), TENANT, 2, first.next_token)
    assert [p.name.provider for p in first.items] == ["a", "b"]
    assert ([p.name.provider for p in second.items], second.next_token) == (["c"], "")
    assert (await house.providers.list(house.call(), "beta", 2, "")).items == []
    house.policy.allowed.discard((APP, Permission.LIST_PROVIDERS))
    await refused(Reason.CALLER_NOT_ALLOWED, house.providers.list(house.call(), TENANT, 2, ""))
