"""Probes: callbacks that an attacker could have made, given to the app before the true one.

Each asks one question, and the app's answer becomes an event of the ledger. The app refuses by raising; it
accepts when it raises nothing, when the person is connected afterwards, or, where it could have seen what was
wrong without asking anybody, when it sends the code to the token endpoint. That a code was injected only the
provider can tell (PKCE, RFC 7636), so there sending it is no mistake.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from hashlib import sha256
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from quotalab.clock import Clock, Entropy
from quotalab.errors import ScenarioError
from quotalab.ledger import Event, LedgerWriter
from quotalab.profiles.faults import PROBES, Fault
from quotalab.sandbox import Sandbox
from quotalab.sandbox.faults import Draws

__all__ = ["Probes"]

_ATTACKER = "https://attacker.test"  # .test: RFC 6761, never a real host
_LOCAL = ("forged_state", "wrong_issuer")
"""What the app can see by itself."""

Visit = Callable[[str, str], str]
"""A person's browser: opens an address as that person, and gives the address that it is sent back to."""


class Probes:
    """The probes of a run; one for all of its people."""

    def __init__(
        self,
        faults: Sequence[Fault],
        people: Sequence[str],
        *,
        sandbox: Sandbox,
        clock: Clock,
        entropy: Entropy,
        ledger: LedgerWriter,
        start_ns: int,
    ) -> None:
        self._probes = [fault for fault in faults if fault.kind in PROBES]
        self._people = tuple(people)
        self._sandbox = sandbox
        self._clock = clock
        self._entropy = entropy
        self._ledger = ledger
        self._start_ns = start_ns
        self._draws = Draws(entropy)
        self._concerned = {fault.name: self._draws.concerned(fault, people) for fault in self._probes}

    def due(self, person: str) -> list[Fault]:
        """Those that come with a consent which the person gives now."""
        if not self._probes:
            return []
        now_ns = self._clock.now_ns()
        return [
            fault
            for fault in self._probes
            if fault.is_on(now_ns - self._start_ns)
            and person in self._concerned[fault.name]
            and self._draws.strikes(fault, person, "consent", now_ns)
        ]

    def ask(
        self,
        probe: Fault,
        person: str,
        address: str,
        *,
        visit: Visit,
        deliver: Callable[[str], None],
        is_connected: Callable[[], bool],
    ) -> None:
        """Ask one question; `address` is where the app has just sent the person.

        `deliver` brings a callback to the app and raises what the app raises.
        """
        asked_ns = self._clock.now_ns()
        try:
            callback = self._forged(probe, person, address, visit)
        except ScenarioError:
            self._record(probe, person, asked_ns, "not asked", "nobody came back with a code")
            return
        code = dict(parse_qsl(urlsplit(callback).query)).get("code", "")
        self._sandbox.watch(code)
        was_connected = is_connected()
        raised = None
        try:
            deliver(callback)
        except Exception as error:
            raised = type(error).__name__
        was_sent = self._sandbox.was_sent(code)
        if is_connected() and not was_connected:
            self._record(probe, person, asked_ns, "accepted", "the person is connected")
        elif was_sent and probe.kind in _LOCAL:
            self._record(probe, person, asked_ns, "accepted", "the code was sent to the token endpoint")
        elif raised is None:
            self._record(probe, person, asked_ns, "accepted", "nothing was raised")
        else:
            self._record(probe, person, asked_ns, "refused", f"{raised} was raised")

    def _forged(self, probe: Fault, person: str, address: str, visit: Visit) -> str:
        """The callback of this probe. Raises `ScenarioError` when there is no code to make it of."""
        if probe.kind == "injected_code":
            return self._with_injected(person, address, visit)
        callback = _with_code(visit(person, address))
        if probe.kind == "forged_state":
            return _changed(callback, state=self._entropy.token("forged-state"))
        return _changed(callback, iss=_ATTACKER)

    def _with_injected(self, person: str, address: str, visit: Visit) -> str:
        """The victim's own state, with a code that another person got by a request of their own."""
        others = [one for one in self._people if one != person]
        if not others:
            raise ScenarioError("there is no other person whose code could be injected")
        attacker = others[self._draws.number("attacker", person) % len(others)]
        asked = dict(parse_qsl(urlsplit(address).query))
        own = {"state": self._entropy.token("attacker-state")}
        if "code_challenge" in asked:
            digest = sha256(self._entropy.token("attacker-verifier").encode()).digest()
            own |= {
                "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
                "code_challenge_method": "S256",
            }
        return _changed(_with_code(visit(attacker, _changed(address, **own))), state=asked.get("state", ""))

    def _record(self, probe: Fault, person: str, asked_ns: int, answer: str, how: str) -> None:
        details: dict[str, object] = {
            "question": probe.kind,
            "name": probe.name,
            "answer": answer,
            "how": how,
        }
        self._ledger.event(Event(asked_ns, "probe", person, details))


def _with_code(callback: str) -> str:
    if "code" not in dict(parse_qsl(urlsplit(callback).query)):
        raise ScenarioError("the provider sent nobody back with a code")
    return callback


def _changed(address: str, **parameters: str) -> str:
    """An address with parameters of its query set."""
    parts = urlsplit(address)
    query = urlencode({**dict(parse_qsl(parts.query, keep_blank_values=True)), **parameters})
    return urlunsplit(parts._replace(query=query))
