"""What a provider's profile must be like: bounds, and rules between its members."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass
from vault_service.domain.error_codes import NEVER_THE_GRANT, ONLY_WITH_DESCRIPTION
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.provider import ProviderProfile, Recovery, RefreshClass
from vault_service.domain.token_answer import TOKEN_MEMBERS
from vault_service.ports import EndpointGuard

_SUBJECT_FROM: Final = re.compile(r"(id_token|response):[A-Za-z0-9_.-]{1,64}")
_PARAMETER: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_PATH: Final = re.compile(r"[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,7}")
_SCOPE: Final = re.compile(rf"[!-~]{{1,{limits.SCOPE_MAX_CHARS}}}")
_CODE: Final = re.compile(rf"[ -~]{{1,{limits.ERROR_KEY_MAX_CHARS}}}")
_RESERVED: Final = frozenset(
    "response_type client_id redirect_uri scope state nonce code_challenge "
    "code_challenge_method client_secret request request_uri response_mode".split()
)
# What the service sets in token requests itself, and what is a secret or a way around its checks.
_RESERVED_IN_TOKEN_REQUESTS: Final = frozenset(
    "grant_type code redirect_uri code_verifier refresh_token scope client_id client_secret "
    "client_assertion client_assertion_type assertion username password device_code token "
    "token_type_hint state nonce code_challenge code_challenge_method".split()
)
_PARAMS_MAX: Final = 20
_GRACE_MAX_S: Final = 30 * 86_400
_NO_CODE_MEANS: Final = frozenset((AnswerClass.NOT_SENT, AnswerClass.UNREADABLE_SUCCESS))

_NEEDED: Final = ("issuer", "authorization_endpoint", "token_endpoint")
_ENDPOINTS: Final = (
    *_NEEDED,
    "revocation_endpoint",
    "probe_endpoint",
    "introspection_endpoint",
)
# Field, least, most.
_RANGES: Final = (
    ("default_life_s", 1, limits.TOKEN_LIFE_MAX_S),
    ("max_idle_s", 0, limits.IDLE_MAX_S),
    ("confirm_after_s", limits.CONFIRM_AFTER_S, limits.CONFIRM_AFTER_MAX_S),
    ("rate_per_s", 0, limits.RATE_MAX),
    ("rate_per_min", 0, limits.RATE_MAX),
    ("refresh_parallel_max", 1, limits.HTTP_CONNECTIONS_PER_HOST_MAX),
)


def require_sound(profile: ProviderProfile, guard: EndpointGuard) -> None:
    """Raises FIELD_MALFORMED naming the field, ENDPOINT_NOT_ALLOWED."""
    for field in _NEEDED:
        if not getattr(profile, field):
            raise malformed(field, "is needed, an https URL")
    _require_reading(profile)
    _require_refreshing(profile)
    for field, least, most in _RANGES:
        if not least <= getattr(profile, field) <= most:
            raise malformed(field, f"is {least} to {most}")
    _require_parameters("authorization_params", profile.authorization_params, _RESERVED, malformed)
    require_token_params(profile.token_params, malformed)
    _require_codes("error_in_200", profile.error_in_200.codes)
    _require_codes("error_codes", profile.error_codes)
    for field in _ENDPOINTS:
        if url := getattr(profile, field):
            guard.check(url)


def _require_reading(profile: ProviderProfile) -> None:
    """How answers are read."""
    if not _SUBJECT_FROM.fullmatch(profile.subject_from):
        raise malformed("subject_from", "is 'id_token:{claim}' or 'response:{member}'")
    if profile.scope_separator not in (" ", ",", "+"):
        raise malformed("scope_separator", "is ' ', ',' or '+'")
    for name, path in profile.token_paths.items():
        if name not in TOKEN_MEMBERS:
            raise malformed("token_paths", f"places {', '.join(TOKEN_MEMBERS)}")
        _require_path("token_paths", path)
    _require_path("error_in_200", profile.error_in_200.member)
    if len(profile.error_code_paths) > limits.ERROR_PATHS_MAX_COUNT:
        raise malformed("error_code_paths", f"has at most {limits.ERROR_PATHS_MAX_COUNT} paths")
    for path in profile.error_code_paths:
        _require_path("error_code_paths", path)
    _require_aliases(profile.scope_aliases)


def _require_refreshing(profile: ProviderProfile) -> None:
    """What a refresh does, and what is done when its answer is lost."""
    graceful = profile.refresh_class is RefreshClass.G
    if graceful and not limits.GRACE_MIN_S <= profile.grace_s <= _GRACE_MAX_S:
        raise malformed(
            "grace_s",
            f"is {limits.GRACE_MIN_S} to {_GRACE_MAX_S} for class G: in less nobody can find out "
            "what became of a lost answer and ask again; put class S",
        )
    if profile.grace_s and not graceful:
        raise malformed("grace_s", "is for class G only, and 0 for every other")
    if profile.refresh_class is not RefreshClass.S and profile.recovery is not Recovery.RETRY:
        raise malformed("recovery", "is RETRY but for class S: the old token works on")
    if profile.refresh_kills_old_access_token and not profile.probe_endpoint:
        raise malformed("probe_endpoint", "is needed where refresh_kills_old_access_token is set")
    if profile.recovery is Recovery.PROBE_ONLY and not (
        profile.refresh_kills_old_access_token or profile.introspection_endpoint
    ):
        raise malformed(
            "recovery",
            "can be PROBE_ONLY with an introspection_endpoint or refresh_kills_old_access_token",
        )


def _require_path(field: str, path: str) -> None:
    if len(path) > limits.JSON_PATH_MAX_CHARS or not _PATH.fullmatch(path):
        raise malformed(field, "has dotted paths of member names, such as authed_user.access_token")


def _require_aliases(aliases: Mapping[str, str]) -> None:
    if len(aliases) > limits.SCOPES_MAX_COUNT:
        raise malformed("scope_aliases", f"has at most {limits.SCOPES_MAX_COUNT} entries")
    if not all(_SCOPE.fullmatch(scope) for pair in aliases.items() for scope in pair):
        raise malformed(
            "scope_aliases",
            f"has scopes of 1 to {limits.SCOPE_MAX_CHARS} printable ASCII without spaces",
        )


def require_token_params(
    parameters: Mapping[str, str], malformed: Callable[[str, str], VaultError]
) -> None:
    """Bounds of extra parameters of token requests, a provider's or an OAuthClient's. Raises what
    ``malformed`` makes of the field and what is wrong."""
    _require_parameters("token_params", parameters, _RESERVED_IN_TOKEN_REQUESTS, malformed)


def _require_parameters(
    field: str,
    parameters: Mapping[str, str],
    ours: frozenset[str],
    malformed: Callable[[str, str], VaultError],
) -> None:
    if len(parameters) > _PARAMS_MAX:
        raise malformed(field, f"has at most {_PARAMS_MAX} entries")
    for key, value in parameters.items():
        short = _PARAMETER.fullmatch(key) and len(value) <= limits.TEXT_MAX_CHARS
        if not short or not value.isprintable():
            raise malformed(field, "has short names and values")
        if key.lower() in ours:
            raise malformed(field, f"cannot set {key}: the service does")


def _require_codes(field: str, codes: Mapping[str, AnswerClass]) -> None:
    if len(codes) > limits.ERROR_TABLE_MAX_COUNT:
        raise malformed(field, f"has at most {limits.ERROR_TABLE_MAX_COUNT} codes")
    for key, answer_class in codes.items():
        if not _CODE.fullmatch(key):
            raise malformed(
                field, f"has codes of 1 to {limits.ERROR_KEY_MAX_CHARS} printable ASCII"
            )
        if answer_class in _NO_CODE_MEANS:
            raise malformed(field, f"cannot give a code the class {answer_class.name}")
        code, described, _ = key.partition(": ")
        ours = code in NEVER_THE_GRANT or (code in ONLY_WITH_DESCRIPTION and not described)
        if ours and answer_class is AnswerClass.INVALID_GRANT:
            raise malformed(
                field, f"cannot make {code} a verdict on a grant: it speaks of our registration"
            )


def malformed(field: str, message: str) -> VaultError:
    """FIELD_MALFORMED of a provider's field."""
    return VaultError(
        Reason.FIELD_MALFORMED, f"provider.{field} {message}", metadata={"field": field}
    )
