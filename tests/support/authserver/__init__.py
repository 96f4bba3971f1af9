"""A scripted authorization server: every refresh class, every fault, and a ledger of each POST.

Start one::

    with AuthServer(ca) as server:                      # a thread here
        ...
    with AuthServerProcess(directory, ca) as server:    # a process; RemoteAuthServer(port_file)
        ...                                             # controls it from any other process

Both handles are ``Controls`` and do the same:

- ``configure(refresh_class="G", grace_s=30)`` changes the root realm;
  ``realm("n", Behaviour(...))`` puts another one under ``/n`` with its own issuer. A family keeps
  the behaviour of its consent.
- ``new_families(1_000)`` makes grants without consents; ``register``, ``start``, ``completion``
  and ``consent`` go through the vault. Any code ``{user}.{anything}`` or
  ``{user}.{anything}~{first life in s}`` works once.
- ``script(Answer.json({...}, 429, Retry_After="7"), Fault(cut=Cut.AFTER_COMMIT))`` meets the next
  requests for tokens, one each; ``add_rules(Rule(fault=..., family=..., chance=0.01, for_s=10))``
  says whom and how long. ``Fault(ending=Ending.BOM)`` sends a whole answer in an odd form.
  ``held()`` stops the next request before its commit, ``outage(how)`` all.
- ``entries()``, ``sent(grant_type)``: the ledger (``ledger.Entry``), on CLOCK_MONOTONIC, the same
  clock for all processes of a host. ``read_ledger(file)`` reads the one that was kept on disk.
- ``standing(refresh_token)``, ``families()``, ``access_works(access_token)``: the state.
- ``judge([Held(family=..., refresh_token=...)])`` decides for each family: OK, DOUBLE_POST,
  LOST_IN_WINDOW, LOST or KILLED_FAMILY (``loss``). ``check_history(observations)`` does so for what
  the callers of one grant were given (``history``); ``token_parts(token)`` has the generation.

``AuthServerClient`` asks the endpoints without a vault.

Endpoints in each realm: POST token, revoke (RFC 7009), introspect (RFC 7662); GET resource tells
by 200 or 401 whether an access token works. Unscripted and unconfigured it is strict: class S, no
family killing, clients must authenticate with ``CLIENT_ID`` and ``CLIENT_SECRET``.
"""

from tests.support.authserver.behaviour import Behaviour, ErrorShape, RefreshClass
from tests.support.authserver.client import AuthServerClient
from tests.support.authserver.controls import Controls, Gate
from tests.support.authserver.faults import Answer, Cut, Ending, Fault, Rewrite, Rule
from tests.support.authserver.history import Observation, Violation, check_history
from tests.support.authserver.ledger import Done, Entry, read_ledger
from tests.support.authserver.local import AuthServer
from tests.support.authserver.loss import FamilyState, Finding, Held, Verdict, judge
from tests.support.authserver.model import Issued, Killed, Model, Refused, Standing, token_parts
from tests.support.authserver.remote import AuthServerProcess, RemoteAuthServer
from tests.support.authserver.service import CLIENT_ID, CLIENT_SECRET
from tests.support.authserver.vault_side import Completion, VaultSide

__all__ = [
    "CLIENT_ID",
    "CLIENT_SECRET",
    "Answer",
    "AuthServer",
    "AuthServerClient",
    "AuthServerProcess",
    "Behaviour",
    "Completion",
    "Controls",
    "Cut",
    "Done",
    "Ending",
    "Entry",
    "ErrorShape",
    "FamilyState",
    "Fault",
    "Finding",
    "Gate",
    "Held",
    "Issued",
    "Killed",
    "Model",
    "Observation",
    "RefreshClass",
    "Refused",
    "RemoteAuthServer",
    "Rewrite",
    "Rule",
    "Standing",
    "VaultSide",
    "Verdict",
    "Violation",
    "check_history",
    "judge",
    "read_ledger",
    "token_parts",
]
