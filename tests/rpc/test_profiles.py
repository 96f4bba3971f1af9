"""Profiles between the wire and the domain."""

from __future__ import annotations

import pytest

from tests.support.samples import a_full_profile, a_profile
from tokenvault.v1 import resources_pb2 as pb
from vault_service.domain import answers, oauth, provider
from vault_service.domain.errors import Reason, VaultError
from vault_service.rpc.profiles import profile, profile_members

_ENUMS = [
    (provider.RefreshClass, pb.RefreshClass, "REFRESH_CLASS_"),
    (provider.BodyEncoding, pb.BodyEncoding, "BODY_ENCODING_"),
    (provider.Recovery, pb.Recovery, "RECOVERY_"),
    (provider.TokenLife, pb.TokenLife, "TOKEN_LIFE_"),
    (answers.AnswerClass, pb.AnswerClass, "ANSWER_CLASS_"),
    (oauth.ClientAuthMethod, pb.ClientAuthMethod, "CLIENT_AUTH_METHOD_"),
]


def test_profiles_come_back() -> None:
    """A profile comes back from the wire as it went, with every field set and with none."""
    for known in (a_full_profile(), a_profile()):
        assert profile(pb.Provider(**profile_members(known))) == known


def test_unset_is_the_default() -> None:
    """What a message leaves out has the profile's own default."""
    message = pb.Provider(
        issuer="https://op.example",
        authorization_endpoint="https://op.example/auth",
        token_endpoint="https://op.example/token",
        revocation_endpoint="https://op.example/revoke",
    )
    assert profile(message) == a_profile()


@pytest.mark.parametrize(("ours", "wire", "prefix"), _ENUMS, ids=[one[2] for one in _ENUMS])
def test_enums_agree(ours: type, wire: object, prefix: str) -> None:
    """Each member of an enum has the same number and name in the protocol, and no other has."""
    named = {prefix + one.name: one.value for one in ours}  # type: ignore[attr-defined]
    assert dict(wire.items()) == {f"{prefix}UNSPECIFIED": 0, **named}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("refresh_class", pb.Provider(refresh_class=99)),  # type: ignore[arg-type]
        ("body_encoding", pb.Provider(body_encoding=99)),  # type: ignore[arg-type]
        ("recovery", pb.Provider(recovery=99)),  # type: ignore[arg-type]
        ("token_life", pb.Provider(token_life=99)),  # type: ignore[arg-type]
        ("auth_methods", pb.Provider(auth_methods=[0])),  # type: ignore[list-item]
        ("error_codes", pb.Provider(error_codes={"x": 0})),  # type: ignore[dict-item]
        ("error_in_200", pb.Provider(error_in_200=pb.ErrorIn200(codes={"x": 99}))),  # type: ignore[dict-item]
        ("probe_endpoint", pb.Provider(probe_endpoint="h" * 2_049)),
    ],
)
def test_unknown_members_are_refused(field: str, message: pb.Provider) -> None:
    """A number that this release does not know, or a text too long, is refused with its field."""
    with pytest.raises(VaultError) as caught:
        profile(message)
    assert caught.value.reason is Reason.FIELD_MALFORMED
    assert f"provider.{field} " in caught.value.message
