"""Whether a token is alive, read from answers that decide if a refresh may be tried again."""

from __future__ import annotations

from vault_service.domain.answer_rules import is_success, members_of, reports_failure
from vault_service.domain.answers import TokenEndpointError
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.oauth import Liveness
from vault_service.domain.provider import ProviderProfile


def read_introspection(answer: HttpAnswer) -> Liveness:
    """RFC 7662 §2.2: ``active`` is true or false in a 200; anything else is UNKNOWN."""
    if answer.status != 200:
        return Liveness.UNKNOWN
    try:
        active = members_of(answer).get("active")
    except TokenEndpointError:
        return Liveness.UNKNOWN
    if not isinstance(active, bool):
        return Liveness.UNKNOWN
    return Liveness.ACTIVE if active else Liveness.INACTIVE


def read_probe(answer: HttpAnswer, profile: ProviderProfile) -> Liveness:
    """RFC 6750 §3.1: 401 is a token that is dead. A 2xx is one that works, unless its body is an
    object that reports a failure; a 403 tells about scopes, so it is UNKNOWN like the rest."""
    if answer.status == 401:
        return Liveness.INACTIVE
    if not is_success(answer):
        return Liveness.UNKNOWN
    try:
        failed = reports_failure(members_of(answer), profile)
    except TokenEndpointError:
        # A list, or more than we read: resources answer as they like, and 2xx says it worked.
        failed = not answer.body.reveal().lstrip().startswith((b"[", b"{"))
    return Liveness.UNKNOWN if failed else Liveness.ACTIVE
