"""The catalogue of known providers."""

from __future__ import annotations

import pytest

from tests.support.presets import VALUES, preset_profile
from vault_service.adapters.provider_catalog import Preset, PresetError, presets
from vault_service.domain.answers import AnswerClass
from vault_service.domain.provider import BodyEncoding, RefreshClass
from vault_service.egress.guard import EgressGuard
from vault_service.usecases.provider_profile import require_sound

PRESETS = presets()
PLACES = [(name, place) for name, one in PRESETS.items() for place in one.regions or {"": {}}]


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_every_preset_is_sound(name: str, place: str) -> None:
    """Each preset in each region is a profile that the service takes, egress rules included."""
    require_sound(preset_profile(name, place), EgressGuard())


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda one: str(one.name))
def test_every_field_has_a_fact(preset: Preset) -> None:
    """Each field that a preset sets is in a fact with a source, and facts are of its fields."""
    said = {field for fact in preset.facts for field in fact.fields}
    fields = set(preset.profile)
    for region in preset.regions.values():
        fields |= set(region)
    urls = {field for field in fields if field == "issuer" or field.endswith("_endpoint")}
    other = fields - urls
    assert other <= said
    assert "endpoints" in said
    assert said <= other | {"endpoints", "regions"}
    for fact in preset.facts:
        assert fact.source
        assert fact.says.endswith(".")
        assert fact.url.startswith("https://")


def test_known_providers() -> None:
    """The classes of the known providers are as their documentation says."""
    classes = {name: preset_profile(name).refresh_class.name for name in PRESETS}
    assert classes == {
        "atlassian": "G",
        "auth0": "S",
        "cognito": "S",
        "cronofy": "S",
        "dropbox": "N",
        "github-apps": "S",
        "google": "N",
        "microsoft-entra": "M",
        "okta": "G",
        "salesforce": "S",
        "slack": "S",
        "slack-user": "S",
        "xero": "G",
        "zoom": "S",
    }
    assert {
        name: preset_profile(name).grace_s
        for name, letter in classes.items()
        if letter == RefreshClass.G.name
    } == {"atlassian": 600, "okta": 30, "xero": 1_800}


def test_cronofy() -> None:
    """Cronofy has six regions with endpoints of their own, a rate budget and JSON."""
    places = ["us", "uk", "de", "au", "ca", "sg"]
    assert list(PRESETS["cronofy"].regions) == places
    profiles = [preset_profile("cronofy", place) for place in places]
    assert len({one.token_endpoint for one in profiles}) == len(places)
    assert profiles[0].token_endpoint == "https://api.cronofy.com/oauth/token"
    assert profiles[1].token_endpoint == "https://api-uk.cronofy.com/oauth/token"
    for one in profiles:
        assert (one.rate_per_s, one.rate_per_min) == (50, 500)
        assert one.body_encoding is BodyEncoding.JSON


def test_github_has_a_probe() -> None:
    """GitHub's old access token dies with a refresh, and its API tells whether it is alive."""
    profile = preset_profile("github-apps")
    assert profile.refresh_kills_old_access_token
    assert profile.probe_endpoint == "https://api.github.com/user"
    assert profile.error_in_200.codes["bad_refresh_token"] is AnswerClass.INVALID_GRANT


@pytest.mark.parametrize(
    ("name", "region", "values", "says"),
    [
        ("cronofy", "", {}, "has the regions us, uk, de, au, ca, sg: name one"),
        ("cronofy", "mars", {}, "has the regions"),
        ("google", "us", {}, "google has no regions"),
        ("okta", "", {}, "okta needs domain: your Okta host"),
        ("okta", "", {"domain": "a", "host": "b"}, "okta has no variable host"),
        ("okta", "", {"domain": "evil.example/"}, "domain is letters"),
        ("okta", "", {"domain": "user@evil.example"}, "domain is letters"),
        ("okta", "", {"domain": "evil.example:8443"}, "domain is letters"),
        ("okta", "", {"domain": "a\n"}, "domain is letters"),
        ("okta", "", {"domain": "a" * 254}, "domain is letters"),
    ],
)
def test_what_a_preset_does_not_have(
    name: str, region: str, values: dict[str, str], says: str
) -> None:
    """A region or variable that is missing, unknown or malformed is refused, and told of."""
    with pytest.raises(PresetError, match=says):
        PRESETS[name].resolved(region, values)


def test_variables_are_filled_in() -> None:
    """Each variable stands in the profile where its name was, and none is left over."""
    okta = PRESETS["okta"].resolved("", VALUES["okta"])
    assert okta["token_endpoint"] == "https://acme.okta.com/oauth2/default/v1/token"
    for name, preset in PRESETS.items():
        place = next(iter(preset.regions), "")
        resolved = preset.resolved(place, VALUES.get(name, {}))
        assert not any("{" in value for value in resolved.values() if isinstance(value, str))
