"""What a campaign does, in the words of its result."""

from __future__ import annotations

from typing import Final

METHOD: Final = " ".join(
    """
    One run: a forked process with the whole refresh engine (no gRPC) refreshes a grant of its own
    at a real PostgreSQL (a database for each slot, copied from a template; fsync off, which
    matters to power cuts only), on a real spool with its syncs, over TLS to the scripted
    authorization server, and dies by SIGKILL to itself at one moment of it, or by a timer at a
    random one. Every time of the engine is the one that ships, multiplied by `scale`: lease, POST
    limit and margin, the time a late answer is waited for, pauses in doubt, confirmation, the
    wait for a spool, breakers, graces; the provider is as slow as 0.6 of the POST limit of the
    grant. The next process of the slot has the victim's spool (or none: group destroyed) and
    sweeps from the end of the lease on, alone or beside two live replicas with spools of their
    own, one of which has callers. Group odd: the answer ends in a form that no standard allows or
    nobody asked for; "wrapped" is one that nobody can read until the profile is mended 15 s (as
    they ship) after the lease. Group outage: 503 for 10 s to 4 min from the kill on, from before
    the request on, or as the word for a request that was carried out. Group away: the answer is
    in the spool of the victim only, which comes back when the grace is over and the provider was
    down until then, beside siblings that live. When no attempt is open any more the authorization
    server judges from its ledger, the grant is refreshed once more, and judged again. Classes G
    and S kill the family on reuse; a third of the runs of class S each can introspect, can probe,
    can only retry. DEKs were unwrapped by OpenBao at the preparation; in transit_runs each
    process does so itself. A process recovers the run before it and is the next victim. What was
    durable at a kill is told by acknowledged syncs and commits in shared memory. A loss is in the
    window where the newest tokens were durable nowhere when the process died and nothing else
    could bring them: class S, and class G where nobody could ask the provider before the grace
    was over (grace.missed). resolved_s is in seconds as they ship, since the kill.
    by_point_and_class (groups plain and random) counts the moments of a point evenly, so a loss
    there is a share of deaths at that point, not of refreshes.
    """.split()
)
