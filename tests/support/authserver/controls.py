"""The handle of a server, the same whether it runs in a thread here or in another process."""

from __future__ import annotations

import contextlib
import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from tests.support.authserver.behaviour import Behaviour
from tests.support.authserver.faults import Answer, Cut, Fault, Rule
from tests.support.authserver.ledger import Entry
from tests.support.authserver.loss import FamilyState, Finding, Held
from tests.support.authserver.model import Issued, Killed, Standing
from tests.support.authserver.vault_side import VaultSide

_numbers = itertools.count(1)
_OUTAGES = {
    "reset": Fault(cut=Cut.BEFORE_COMMIT),
    "close": Fault(cut=Cut.BEFORE_COMMIT, cut_by_close=True),
    "503": Fault(answer=Answer.html(503)),
}


class Gate:
    """Requests wait at it until it is set."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        # Several processes may control one server.
        self.name = f"gate-{os.getpid()}-{next(_numbers)}"

    def set(self) -> None:
        """Let them go."""
        self._controls.operate("open_gate", name=self.name)


class Controls(VaultSide, ABC):
    """Every method may be called from any thread; only the vault's side has coroutines."""

    def __init__(self, port: int) -> None:
        super().__init__(f"127.0.0.1:{port}")
        self.port = port

    @abstractmethod
    def operate(self, operation: str, **arguments: Any) -> Any:
        """Do one of ``operations.Operations``, and return its result."""

    # What it is

    @property
    def behaviour(self) -> Behaviour:
        """Of the root realm, as it is now."""
        made: Behaviour = self.operate("behaviour", realm="")
        return made

    def configure(
        self, behaviour: Behaviour | None = None, *, realm: str = "", **changes: Any
    ) -> Behaviour:
        """Put a realm, or change fields of the one that is there; returns what holds now.

        A family keeps the behaviour of its consent; a realm's own is for its clients, its rate and
        its next consents.
        """
        base = behaviour or self.operate("behaviour", realm=realm)
        made = msgspec.convert({**msgspec.to_builtins(base), **changes}, Behaviour)
        self.operate("configure", realm=realm, behaviour=made)
        return made

    def realm(self, name: str, behaviour: Behaviour) -> VaultSide:
        """Put a realm; returns how the vault sees it."""
        self.configure(behaviour, realm=name)
        return VaultSide(self.host_port, name, behaviour)

    def add_client(self, client_id: str, client_secret: str) -> None:
        """One more registration beside ``CLIENT_ID``."""
        self.operate("add_client", client_id=client_id, client_secret=client_secret)

    def new_families(
        self,
        count: int,
        *,
        realm: str = "",
        subject: str = "",
        client_id: str = "",
        life_s: int | None = None,
    ) -> list[Issued]:
        """Grants without a consent; ``client_id`` "" lets every client refresh them."""
        made: list[Issued] = self.operate(
            "new_families",
            count=count,
            realm=realm,
            subject=subject,
            client_id=client_id,
            life_s=life_s,
        )
        return made

    def new_family(self, **facts: Any) -> Issued:
        """One, as ``new_families``."""
        return self.new_families(1, **facts)[0]

    def kill(self, family: str, by: Killed = Killed.OWNER) -> None:
        """The owner ends it at the provider."""
        self.operate("kill", family=family, by=by)

    def advance(self, seconds: float) -> None:
        """Let lives, graces and windows pass; the ledger's clock goes on as it is."""
        self.operate("advance", seconds=seconds)

    # What happens to requests

    def script(self, *what: Answer | Fault, **match: Any) -> None:
        """One each for the next requests that fit ``match`` (fields of ``Rule``, default: any
        request for tokens)."""
        faults = [Fault(answer=each) if isinstance(each, Answer) else each for each in what]
        self.add_rules(*(Rule(fault=fault, **match) for fault in faults))

    def add_rules(self, *rules: Rule) -> None:
        """After those in force; each has counts of its own."""
        self.operate("add_rules", rules=list(rules))

    def clear_rules(self, label: str = "") -> None:
        """Those of a label, "": all."""
        self.operate("clear_rules", label=label)

    @contextlib.contextmanager
    def held(self, **match: Any) -> Iterator[Gate]:
        """The next request waits before its commit for ``set``; set at the latest at the end."""
        gate = Gate(self)
        self.script(Fault(gate=gate.name), **match)
        try:
            yield gate
        finally:
            gate.set()

    @contextlib.contextmanager
    def outage(self, how: str = "refuse", **match: Any) -> Iterator[None]:
        """Until the block ends: "refuse" (nothing listens), "reset", "close" or "503" (each before
        the commit), or "hang" (no answer, reset at the end)."""
        if how == "refuse":
            self.down()
            try:
                yield
            finally:
                self.up()
            return
        gate = Gate(self)
        fault = _OUTAGES.get(how) or Fault(gate=gate.name, cut=Cut.BEFORE_COMMIT)
        self.add_rules(Rule(fault=fault, times=None, label=gate.name, **{"kind": "any", **match}))
        try:
            yield
        finally:
            self.clear_rules(gate.name)
            gate.set()

    def up(self) -> None:
        """Listen, on the same port as ever."""
        self.operate("listen")

    def down(self) -> None:
        """Nothing listens any more; open connections are reset."""
        self.operate("refuse")

    # What happened

    @property
    def posts(self) -> list[Entry]:
        """All POSTs, oldest first; copies as they are now."""
        return self.entries()

    def sent(self, grant_type: str) -> list[Entry]:
        """The POSTs of one grant type, oldest first."""
        return self.entries(kind=grant_type)

    def entries(
        self, *, kind: str = "", families: Iterable[str] | None = None, since: int = 0
    ) -> list[Entry]:
        """Entries after sequence number ``since``, oldest first; copies as they are now."""
        chosen = None if families is None else list(families)
        found: list[Entry] = self.operate("entries", kind=kind, families=chosen, since=since)
        return found

    def families(
        self, names: Iterable[str] | None = None, *, subject: str = ""
    ) -> list[FamilyState]:
        """Families by name, by subject, or all in the order of their consents."""
        chosen = None if names is None else list(names)
        found: list[FamilyState] = self.operate("families", names=chosen, subject=subject)
        return found

    def generation_of(self, token: str) -> tuple[str, int] | None:
        """Family and generation of a refresh or access token, None: it is none of ours."""
        found: tuple[str, int] | None = self.operate("generation_of", token=token)
        return found

    def standing(self, refresh_token: str) -> Standing:
        """What a refresh with it would meet now."""
        found: Standing = self.operate("standing", refresh_token=refresh_token)
        return found

    def access_works(self, access_token: str) -> bool:
        """Whether a resource server would take it now."""
        return bool(self.operate("access_works", access_token=access_token))

    def judge(self, held: Sequence[Held]) -> list[Finding]:
        """One finding for each, in their order."""
        found: list[Finding] = self.operate("judge", held=list(held))
        return found
