"""The control plane: what a test may do to a server. Runs on the server's loop."""

from __future__ import annotations

import copy
import inspect
from typing import Any, get_type_hints

import msgspec

from tests.support.authserver.behaviour import Behaviour
from tests.support.authserver.faults import Answer, Rule
from tests.support.authserver.ledger import Entry
from tests.support.authserver.listener import Listener
from tests.support.authserver.loss import FamilyState, Finding, Held, judge
from tests.support.authserver.model import Family, Issued, Killed, Standing
from tests.support.authserver.service import Request, Service

_PREFIX = "/control/"


class Operations:
    """Each method is an operation of the control endpoint too; ``Controls`` documents them."""

    def __init__(self, service: Service, listener: Listener | None = None) -> None:
        """Without a listener: those of the state only."""
        self._service = service
        self._listener = listener

    def configure(self, realm: str, behaviour: Behaviour) -> None:
        """Of a realm, new or not."""
        self._service.realms[realm] = behaviour

    def behaviour(self, realm: str) -> Behaviour:
        """As it is."""
        return self._service.realms[realm]

    def add_client(self, client_id: str, client_secret: str) -> None:
        """One more registration."""
        self._service.clients[client_id] = client_secret

    def new_families(
        self, count: int, realm: str, subject: str, client_id: str, life_s: int | None
    ) -> list[Issued]:
        """Consents without a browser."""
        behaviour = self._service.realms[realm]
        return [
            self._service.model.new_family(
                behaviour, subject=subject, realm=realm, client_id=client_id, life_s=life_s
            )
            for _ in range(count)
        ]

    def add_rules(self, rules: list[Rule]) -> None:
        """After those that are in force."""
        for rule in rules:
            # Checked, and a copy: a rule counts what is left of it.
            made = msgspec.convert(msgspec.to_builtins(rule), Rule)
            self._service.rules.add(made, self._service.now())

    def clear_rules(self, label: str) -> None:
        """Those of a label, "": all."""
        self._service.rules.clear(label)

    def open_gate(self, name: str) -> None:
        """For ever."""
        self._sockets().gates.gate(name).set()

    def entries(self, kind: str, families: list[str] | None, since: int) -> list[Entry]:
        """Copies, as they are now."""
        found = self._service.ledger.select(kind=kind, families=families, since=since)
        return [copy.copy(entry) for entry in found]

    def families(self, names: list[str] | None, subject: str) -> list[FamilyState]:
        """By name, by subject, or all."""
        known = self._service.model.families
        chosen = list(known.values()) if names is None else [known[name] for name in names]
        return [self._state(each) for each in chosen if subject in ("", each.subject)]

    def generation_of(self, token: str) -> tuple[str, int] | None:
        """Of a refresh or access token."""
        return self._service.model.family_of(token)

    def standing(self, refresh_token: str) -> Standing:
        """Now."""
        return self._service.model.standing(refresh_token)

    def access_works(self, access_token: str) -> bool:
        """Now."""
        return self._service.model.access_works(access_token)

    def kill(self, family: str, by: Killed) -> None:
        """Without a POST."""
        self._service.model.kill(family, by)

    def advance(self, seconds: float) -> None:
        """The state's clock only."""
        self._service.model.advance(seconds)

    def judge(self, held: list[Held]) -> list[Finding]:
        """In the order of ``held``."""
        model = self._service.model
        return [
            judge(
                each,
                self._state(model.families[each.family]),
                self._service.ledger.of_family(each.family),
                model.standing(each.refresh_token),
            )
            for each in held
        ]

    async def listen(self) -> None:
        """Once more, on the same port."""
        await self._sockets().up()

    async def refuse(self) -> None:
        """Connections are refused, and those that are open are reset."""
        self._sockets().down()

    def _sockets(self) -> Listener:
        assert self._listener is not None, "this server has no sockets"
        return self._listener

    def _state(self, family: Family) -> FamilyState:
        return FamilyState(
            name=family.name,
            realm=family.realm,
            subject=family.subject,
            refresh_class=family.behaviour.refresh_class,
            generation=family.generation,
            killed=family.killed,
            working=self._service.model.working(family.name),
        )


HINTS = {
    name: get_type_hints(member)
    for name, member in vars(Operations).items()
    if inspect.isfunction(member) and not name.startswith("_")
}


async def perform(operations: Operations, name: str, arguments: dict[str, Any]) -> Any:
    """One operation. Raises KeyError for an unknown one."""
    hints = HINTS[name]
    typed = {key: msgspec.convert(value, hints[key]) for key, value in arguments.items()}
    result = getattr(operations, name)(**typed)
    return await result if inspect.isawaitable(result) else result


async def answer_control(operations: Operations, request: Request) -> Answer:
    """POST /control/{operation} with its arguments as a JSON object: {"result": ...}."""
    try:
        name = request.target.removeprefix(_PREFIX)
        result = await perform(operations, name, msgspec.json.decode(request.body, type=dict))
    except (KeyError, TypeError, ValueError) as error:
        return Answer.json({"error": repr(error)}, 400)
    return Answer(body=msgspec.json.encode({"result": result}))
