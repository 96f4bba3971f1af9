"""Cases of refresh attempts, as ``client_cases`` has the first ones."""

from __future__ import annotations

import tokenvault_client as tv
from tests.rpc.client_cases import GRANT_NAME, NOON, STAMP, Case
from tokenvault.v1 import attempt_service_pb2 as attempts
from tokenvault.v1 import resources_pb2 as resources

NAME = tv.attempt_name("acme", "0192f0c1-0000-7000-8000-00000000beef")
PROVIDER = "tenants/acme/providers/idp"
MESSAGE = attempts.Attempt(
    name=NAME,
    grant=GRANT_NAME,
    provider=PROVIDER,
    refresh_class=resources.REFRESH_CLASS_S,
    state=attempts.ATTEMPT_STATE_IN_DOUBT,
    waits_for=attempts.WAITS_FOR_PROFILE,
    retries=1,
    generation=4,
    reason="REFRESH_IN_DOUBT",
    answer_kept=True,
    received=attempts.ReceivedAnswer(
        status=200, length=72, media_type="text/html", why="not JSON", oddity="it broke off"
    ),
    spool="s1",
    create_time=STAMP,
    update_time=STAMP,
    etag="5.1.7",
)
RESULT = tv.Attempt(
    name=NAME,
    grant=GRANT_NAME,
    provider=PROVIDER,
    refresh_class=tv.RefreshClass.S,
    state=tv.AttemptState.IN_DOUBT,
    waits_for=tv.WaitsFor.PROFILE,
    retries=1,
    generation=4,
    reason="REFRESH_IN_DOUBT",
    answer_kept=True,
    received=tv.ReceivedAnswer(
        status=200, length=72, media_type="text/html", why="not JSON", oddity="it broke off"
    ),
    spool="s1",
    create_time=NOON,
    update_time=NOON,
    next_try_time=None,
    etag="5.1.7",
)
ATTEMPT_CASES = [
    Case(
        "AttemptService/ListAttempts",
        lambda vault: vault.list_attempts(
            "tenants/acme",
            which=tv.AttemptFilter.WAITING,
            provider=PROVIDER,
            page_size=2,
            page_token="t",
        ),
        attempts.ListAttemptsRequest(
            parent="tenants/acme",
            filter=attempts.ATTEMPT_FILTER_WAITING,
            provider=PROVIDER,
            page_size=2,
            page_token="t",
        ),
        attempts.ListAttemptsResponse(attempts=[MESSAGE], next_page_token="n"),
        tv.Page((RESULT,), "n"),
    ),
    Case(
        "AttemptService/GetAttempt",
        lambda vault: vault.get_attempt(NAME),
        attempts.GetAttemptRequest(name=NAME),
        attempts.GetAttemptResponse(attempt=MESSAGE),
        RESULT,
    ),
    Case(
        "AttemptService/ResolveAttempt",
        lambda vault: vault.resolve_attempt(
            NAME, tv.AttemptAction.PRESENT_AGAIN, etag="5.1.7", reason="ticket 7"
        ),
        attempts.ResolveAttemptRequest(
            name=NAME,
            action=attempts.ATTEMPT_ACTION_PRESENT_AGAIN,
            etag="5.1.7",
            reason="ticket 7",
        ),
        attempts.ResolveAttemptResponse(attempt=MESSAGE),
        RESULT,
    ),
]
