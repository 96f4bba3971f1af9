"""What the authorization server does in a run, as its case says."""

from __future__ import annotations

import time

import msgspec

from tests.campaigns.kill_matrix.moments import BY_NAME
from tests.campaigns.kill_matrix.plan import RANDOM, Case
from tests.campaigns.kill_matrix.scaling import scaled
from tests.campaigns.kill_matrix.vault import times_of
from tests.support.authserver import Answer, Controls, Ending, Fault, Rule

_AWAY = Answer.html(503)


def script(server: Controls, case: Case, family: str) -> float:
    """For the victim's request and what follows it. The end of the outage on the monotonic clock
    where it has begun, else 0."""
    ending = Ending(case.ending) if case.ending else None
    if case.moment == RANDOM:
        fault: Fault | None = Fault(
            delay_before_s=case.server_before_s, delay_after_s=case.server_after_s
        )
    else:
        fault = BY_NAME[case.moment].fault(times_of(case.provider).post_limit_s, ending)
    early = case.outage in ("before", "carried")
    if early:
        commits = case.outage == "carried"
        fault = msgspec.structs.replace(fault or Fault(), answer=_AWAY, commits=commits)
    if fault is not None:
        server.add_rules(Rule(fault=fault, family=family, kind="refresh_token", label=family))
    if case.is_unread:
        # Until the profile is mended every answer is of that form, also those to other processes.
        wrapped = Fault(ending=ending)
        server.add_rules(
            Rule(fault=wrapped, family=family, kind="refresh_token", times=None, label=family)
        )
    return _outage(server, case, family) if early else 0.0


def script_outage(server: Controls, case: Case, family: str) -> float:
    """Of a provider that goes down when the victim is dead: the end of it, 0 where it does not."""
    return _outage(server, case, family) if case.outage == "kill" else 0.0


def _outage(server: Controls, case: Case, family: str) -> float:
    outage_s = scaled(case.outage_s)
    rule = Rule(
        fault=Fault(answer=_AWAY), family=family, kind="any", times=None, for_s=outage_s,
        label=family,
    )  # fmt: skip
    server.add_rules(rule)
    return time.monotonic() + outage_s
