"""The table of judgements, row by row."""

from __future__ import annotations

import pytest

from vault_service.domain.answers import (
    JUDGEMENTS,
    AnswerClass,
    BreakerKey,
    Counted,
    Duration,
    Fault,
    Judgement,
    TokenEndpointError,
)

_TABLE = {
    "NOT_SENT": ("PROVIDER", "TRANSIENT", "NO", "PROVIDER", False),
    "IN_DOUBT": ("PROVIDER", "TRANSIENT", "MAYBE", "PROVIDER", False),
    "RATE_LIMITED": ("PROVIDER", "TRANSIENT", "NO", "NONE", False),
    "INVALID_GRANT": ("GRANT", "MAYBE_PERMANENT", "NO", "NONE", True),
    "CLIENT_REFUSED": ("OAUTH_CLIENT", "PERMANENT", "NO", "OAUTH_CLIENT", False),
    "REQUEST_REFUSED": ("CONFIGURATION", "PERMANENT", "NO", "OAUTH_CLIENT", False),
    "PROVIDER_FAULT": ("PROVIDER", "TRANSIENT", "NO", "PROVIDER", False),
    "UNREADABLE_SUCCESS": ("PROVIDER", "TRANSIENT", "MAYBE", "PROVIDER", False),
}


@pytest.mark.parametrize("answer_class", AnswerClass, ids=lambda one: str(one.name))
def test_each_class_has_its_judgement(answer_class: AnswerClass) -> None:
    """Each class of answer says whose fault it is, for how long, and what follows."""
    fault, duration, counted, breaker, may_condemn = _TABLE[answer_class.name]
    expected = Judgement(
        Fault[fault], Duration[duration], Counted[counted], BreakerKey[breaker], may_condemn
    )
    assert JUDGEMENTS[answer_class] == expected
    assert TokenEndpointError(answer_class).judgement == expected
