"""A server without sockets, for tests of what can be concluded from its ledger."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from tests.support.authserver.behaviour import Behaviour, RefreshClass
from tests.support.authserver.faults import Answer, Fault, Rule
from tests.support.authserver.loss import Finding, Held
from tests.support.authserver.operations import Operations
from tests.support.authserver.service import (
    CLIENT_ID,
    CLIENT_SECRET,
    Exchange,
    Request,
    Service,
)


class Story:
    """One family at a server without sockets: POSTs arrive, are committed, are delivered or not."""

    def __init__(self, refresh_class: RefreshClass = RefreshClass.S, **behaviour: Any) -> None:
        self.refresh_class = refresh_class
        self.service = Service()
        self.operations = Operations(self.service)
        made = Behaviour(refresh_class=refresh_class, **behaviour)
        self.operations.configure("", made)
        (self.first,) = self.operations.new_families(1, "", "", "", None)
        self.tokens = {1: self.first.refresh_token}  # by generation

    def arrive(self, generation: int = 1, fault: Fault | None = None) -> Exchange:
        """A refresh with the token of this generation comes in."""
        if fault is not None:
            self.operations.add_rules([Rule(fault=fault)])
        fields = {
            "grant_type": "refresh_token",
            "refresh_token": self.tokens[generation],
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
        }
        return self.service.arrive(Request("POST", "/token", {}, urlencode(fields).encode()), 1)

    def commit(self, exchange: Exchange) -> Answer:
        """It is decided."""
        answer = self.service.commit(exchange)
        family = self.service.model.families[self.first.family]
        self.tokens[family.generation] = family.current
        return answer

    def end(self, exchange: Exchange, *, delivered: bool = True) -> None:
        """The answer is out, or will never be."""
        self.service.end(exchange, 100 if delivered else 0, delivered=delivered)

    def post(
        self, generation: int = 1, fault: Fault | None = None, *, delivered: bool = True
    ) -> int:
        """A whole POST; its sequence number."""
        exchange = self.arrive(generation, fault)
        self.commit(exchange)
        self.end(exchange, delivered=delivered)
        assert exchange.entry is not None
        return exchange.entry.sequence

    def judge(self, holds: int, **facts: Any) -> Finding:
        """The vault holds the token of this generation, 0: none."""
        held = Held(family=self.first.family, refresh_token=self.tokens.get(holds, ""), **facts)
        (finding,) = self.operations.judge([held])
        return finding
