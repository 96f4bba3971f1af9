"""Between the message Provider and the model of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tokenvault.v1 import resources_pb2 as pb
from tokenvault_client import enums, models
from tokenvault_client._convert import enum_name, moment_of

# Fields that are the same on both sides.
_SAME: Final = (
    "name",
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "revocation_endpoint",
    "grace_s",
    "scope_separator",
    "subject_from",
    "requires_iss",
    "default_life_s",
    "refresh_kills_old_access_token",
    "probe_endpoint",
    "introspection_endpoint",
    "requires_scope_on_refresh",
    "max_idle_s",
    "confirm_after_s",
    "rate_per_s",
    "rate_per_min",
    "refresh_parallel_max",
    "scopes_not_comparable",
)


def provider(message: pb.Provider) -> models.Provider:
    """A provider as the service has it."""
    same: dict[str, Any] = {name: getattr(message, name) for name in _SAME}
    return models.Provider(
        **same,
        refresh_class=enums.RefreshClass.of(
            enum_name(pb.RefreshClass.DESCRIPTOR, message.refresh_class, "REFRESH_CLASS_")
        ),
        authorization_params=dict(message.authorization_params),
        token_paths=dict(message.token_paths),
        error_in_200=models.ErrorIn200(
            member=message.error_in_200.member, codes=_classes(message.error_in_200.codes)
        ),
        error_codes=_classes(message.error_codes),
        body_encoding=enums.BodyEncoding.of(
            enum_name(pb.BodyEncoding.DESCRIPTOR, message.body_encoding, "BODY_ENCODING_")
        ),
        auth_methods=tuple(
            enums.ClientAuthMethod.of(
                enum_name(pb.ClientAuthMethod.DESCRIPTOR, method, "CLIENT_AUTH_METHOD_")
            )
            for method in message.auth_methods
        ),
        recovery=enums.Recovery.of(
            enum_name(pb.Recovery.DESCRIPTOR, message.recovery, "RECOVERY_")
        ),
        error_code_paths=tuple(message.error_code_paths),
        scope_aliases=dict(message.scope_aliases),
        token_life=enums.TokenLife.of(
            enum_name(pb.TokenLife.DESCRIPTOR, message.token_life, "TOKEN_LIFE_")
        ),
        token_params=dict(message.token_params),
        etag=message.etag,
        create_time=moment_of(message.create_time),
        update_time=moment_of(message.update_time),
    )


def provider_message(provider: models.Provider) -> pb.Provider:
    """A provider as it shall be; what the service does not read is left out."""
    same: dict[str, Any] = {name: getattr(provider, name) for name in _SAME}
    told = provider.error_in_200
    return pb.Provider(
        **same,
        refresh_class=pb.RefreshClass.Value(f"REFRESH_CLASS_{provider.refresh_class.value}"),
        authorization_params=dict(provider.authorization_params),
        token_paths=dict(provider.token_paths),
        error_in_200=(
            pb.ErrorIn200(member=told.member, codes=_numbers(told.codes))
            if told.member or told.codes
            else None
        ),
        error_codes=_numbers(provider.error_codes),
        body_encoding=pb.BodyEncoding.Value(f"BODY_ENCODING_{provider.body_encoding.value}"),
        auth_methods=[
            pb.ClientAuthMethod.Value(f"CLIENT_AUTH_METHOD_{method.value}")
            for method in provider.auth_methods
        ],
        recovery=pb.Recovery.Value(f"RECOVERY_{provider.recovery.value}"),
        error_code_paths=provider.error_code_paths,
        scope_aliases=dict(provider.scope_aliases),
        token_life=pb.TokenLife.Value(f"TOKEN_LIFE_{provider.token_life.value}"),
        token_params=dict(provider.token_params),
    )


def _classes(codes: Mapping[str, int]) -> dict[str, enums.AnswerClass]:
    return {
        code: enums.AnswerClass.of(enum_name(pb.AnswerClass.DESCRIPTOR, number, "ANSWER_CLASS_"))
        for code, number in codes.items()
    }


def _numbers(codes: Mapping[str, enums.AnswerClass]) -> dict[str, pb.AnswerClass.ValueType]:
    return {
        code: pb.AnswerClass.Value(f"ANSWER_CLASS_{answer_class.value}")
        for code, answer_class in codes.items()
    }
