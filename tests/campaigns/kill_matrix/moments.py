"""The moments at which a victim dies, in the order of a refresh; each belongs to a point K0–K12."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.support.authserver import Cut, Ending, Fault
from vault_service.domain import limits


@dataclass(frozen=True, slots=True)
class Moment:
    """What the authorization server does with the victim's request meanwhile: how long it takes
    ``before`` and ``after`` it is carried out, and between pieces of the answer (``drip``). All are
    shares of the POST limit of the grant, so that a provider is as slow as its limit allows.

    ``waits_for``: the step that shall be over before the other of the two ways to durability goes
    on: "spool" holds the commit back, "database" the spool, "" neither.
    """

    name: str
    before: float = 0.0
    after: float = 0.0
    cut: Cut | None = None
    drip: float = 0.0
    waits_for: str = ""
    dies_after: float = 0.0  # of the victim's own, from the moment on

    @property
    def point(self) -> str:
        """K0 to K12."""
        return self.name.partition(".")[0].upper()

    def fault(self, post_limit_s: float, ending: Ending | None) -> Fault | None:
        """For the victim's request; None where it is answered as any other."""
        if not (self.before or self.after or self.cut or self.drip or ending):
            return None
        return Fault(
            delay_before_s=self.before * post_limit_s,
            delay_after_s=self.after * post_limit_s,
            cut=self.cut,
            drip_bytes=_PIECE_BYTES if self.drip else 0,
            drip_s=self.drip * post_limit_s,
            ending=ending,
        )


_PIECE_BYTES = 100
_SLOW = 0.6  # of the POST limit: 12 s of 20


def _spool(*names: str) -> list[Moment]:
    return [Moment(name, waits_for="spool") for name in names]


def _alone(*names: str) -> list[Moment]:
    return [Moment(name, waits_for="database") for name in names]


MOMENTS: tuple[Moment, ...] = (
    Moment("k0.flight"),  # nothing was done yet
    Moment("k1.prepared"),  # all keys and credentials are in memory
    Moment("k1.half"),  # half of RESERVED is written
    Moment("k1.written"),  # before its sync
    Moment("k1.reserved"),
    Moment("k2.before"),
    Moment("k2.open"),  # lease and INTENT are written, the transaction is open
    Moment("k2.commit_sent"),
    Moment("k2.begun"),
    Moment("k3.half"),  # half of SENT is written
    Moment("k3.written"),
    Moment("k3.marked"),
    Moment("k3.connect"),  # no connection yet
    Moment("k3.connected"),  # TLS is up, nothing was sent
    Moment("k4.dropped", before=0.1, cut=Cut.BEFORE_COMMIT),  # never carried out
    Moment("k4.sent"),  # carried out at once
    Moment("k4.slow", before=_SLOW),  # carried out when the victim is dead already
    Moment("k4.waiting", after=_SLOW, dies_after=0.2),  # carried out, no answer yet
    Moment("k5.first", drip=0.4),  # a part of the answer is here
    Moment("k5.whole"),  # all of its bytes are, and nothing has read them
    Moment("k6.body"),  # read, not sealed
    *_spool("k7.sealed", "k7.half", "k7.written", "k7.stored"),
    Moment("k8.parsed"),  # judged and sealed for the row; nothing is durable
    *_spool("k8.kept", "k9.open", "k9.commit_sent"),
    *_alone("k9.alone_open", "k9.alone_commit_sent", "k10.alone"),
    *_spool("k10.committed"),
    Moment("k11.reply"),  # all is done, the caller has no reply
    Moment("k12.settled"),  # durable in both places, nothing freed
    Moment("k12.half"),  # half of FREE is written
    Moment("k12.written"),
)
BY_NAME = {moment.name: moment for moment in MOMENTS}
assert len(BY_NAME) == len(MOMENTS), "a moment has one name"
POINTS = tuple(dict.fromkeys(moment.point for moment in MOMENTS))
assert tuple(f"K{number}" for number in range(13)) == POINTS, POINTS


GRACES_S = (limits.GRACE_MIN_S, 5, 10, 30, 60)  # as they ship; the first is the least allowed


@dataclass(frozen=True, slots=True)
class Provider:
    """One kind of authorization server: ``behaviour`` of its realm, ``profile`` of the vault."""

    name: str
    refresh_class: str
    behaviour: Mapping[str, object] = field(default_factory=dict)
    profile: Mapping[str, object] = field(default_factory=dict)
    grace_s: int = 0  # class G, as it ships


_S = {"family_kill_on_reuse": True}
PROVIDERS: tuple[Provider, ...] = (
    Provider("n", "N"),
    Provider("m", "M"),
    *(Provider(f"g-{grace_s}", "G", _S, grace_s=grace_s) for grace_s in GRACES_S),
    Provider("s", "S", _S | {"introspects": False}),
    Provider("s-introspects", "S", _S, {"introspection_endpoint": "/introspect"}),
    Provider(
        "s-probed",
        "S",
        _S | {"introspects": False, "kills_old_access_token": True},
        {"probe_endpoint": "/resource", "refresh_kills_old_access_token": True},
    ),
)
PROVIDER_BY_NAME = {provider.name: provider for provider in PROVIDERS}
CLASSES = ("N", "M", "G", "S")
ENDINGS = tuple(Ending)
