"""The stage: sandbox, app and ledger, set up for a cast of people. What a scenario plays on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
from gevent import Greenlet
from gevent.pool import Group

from quotalab.browser import Browser
from quotalab.clock import Clock, Entropy
from quotalab.clock.carried import CarriedContext
from quotalab.errors import QuotalabError, ScenarioError
from quotalab.hosting import Hosted, environment_of, open_app, set_environment
from quotalab.hosting.environment import known_values
from quotalab.hosting.opening import base_of
from quotalab.hosting.output import AppOutput
from quotalab.ledger import LedgerWriter, Operation
from quotalab.profiles.app import IN_PROCESS_BASE, AppSettings
from quotalab.profiles.policy import Policy
from quotalab.profiles.provider import Provider
from quotalab.profiles.reference import ReferenceApi
from quotalab.profiles.traffic import Habits, Traffic
from quotalab.reference import build as build_reference
from quotalab.sandbox import Access, Sandbox
from quotalab.sandbox.transport import MemoryTransport, current_operation
from quotalab.scenario.ending import Ending
from quotalab.scenario.probes import Probes
from quotalab.traffic import Cast, PersonPlan, person_name, plan

__all__ = ["MEMORY_ISSUER", "Stage", "app_place", "traceparent"]

MEMORY_ISSUER = "https://provider.test"  # .test: RFC 6761, never a real host
_PRINTED = "what the app has printed"


def app_place(settings: AppSettings) -> tuple[str, str]:
    """Where people find the app, and its redirect URI there; a free port is chosen where it needs one."""
    base = base_of(settings) if settings.is_web else IN_PROCESS_BASE
    return base, base.rstrip("/") + settings.callback


class Stage:
    """Everything that people act on in one run.

    Without `hosts` people and app are in other processes, unless the app has one of its own: what there is
    here is the sandbox, and the cast. From `own` the app draws, where it must not draw the same as another
    process. `printed` has what the app in this process has printed up to now. `state` is where the app keeps
    things: given, somebody else looks through it at the end. `close` ends it all; the ledger is then whole,
    and the app's state is gone.
    """

    def __init__(
        self,
        *,
        provider: Provider,
        policy: Policy,
        traffic: Traffic | None,
        users: int,
        start_ns: int,
        span_ns: int,
        clock: Clock,
        entropy: Entropy,
        ledger: LedgerWriter,
        app: AppSettings,
        root: Path,
        place: tuple[str, str],
        server: Any = None,
        told: Mapping[str, str] | None = None,
        hosts: bool = True,
        own: Entropy | None = None,
        state: Path | None = None,
        printed: AppOutput | None = None,
    ) -> None:
        self.clock = clock
        self.entropy = entropy
        base, self.callback = place
        self.ledger = ledger
        self._traffic = traffic
        self._span_ns = span_ns
        self._people = tuple(person_name(i + 1) for i in range(users))
        self.begin(start_ns)
        self.habits = traffic.habits if traffic is not None else Habits()
        self.later = Group()
        """What people will do some time, beside what they ask of the app."""
        self.later.greenlet_class = Greenlet  # so no part of the operation in which they decide it
        self._abandoned: list[Operation] = []
        self._count: dict[str, int] = {}
        self._own = own or entropy
        self._operation_key = self._own.key("operations")
        self._server = server
        self._app_is_elsewhere = app.is_elsewhere
        self._opened: Sandbox | None = None
        self._ending: Ending | None = None
        self.app_log: pa.Table | None = None
        """When the stage is closed: the entries of the app's own log, where it has one."""
        self._hosted: Hosted | None = None
        self.asked = 0
        """How many operations have come to an end of their own."""
        self.give_up: Callable[[QuotalabError], None] = _raise
        """Ends the run, because going on would tell nothing."""
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if state is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="quotalab-app-")
            state = Path(self._temporary.name)
        self.state = state
        self._transport: httpx.BaseTransport | None = None
        self._carried = CarriedContext()
        if printed is None and app.is_in_process and hosts and self._temporary is not None:
            printed = AppOutput()
        self._printed = printed
        self.app: Any = None
        try:
            self.provider = provider.for_people(users)
            self.sandbox, access = self._open(self.provider, start_ns)
            self._opened = self.sandbox
            if self._temporary is not None:
                kept = self.state if app.kind == "reference" else None
                self._ending = Ending(app, root, self.sandbox, kept)
            self.access = access
            """What the app's developer is given."""
            self.probes = Probes(
                provider.faults,
                self._people,
                sandbox=self.sandbox,
                clock=clock,
                entropy=entropy,
                ledger=ledger,
                start_ns=start_ns,
            )
            if hosts or app.is_elsewhere:
                self._hosted = self._host(app, access, policy, provider.reference, root, base, told)
                self.app = self._hosted.app
                if self._hosted.output is not None and self._ending is not None:
                    self._ending.outputs[_PRINTED] = self._hosted.output
        except BaseException:
            self.close()
            raise

    def begin(self, now_ns: int) -> None:
        """People's days begin now, and nobody has come on yet."""
        if self._traffic is None:
            plans = tuple(PersonPlan(person, ()) for person in self._people)
        else:
            plans = plan(
                self._traffic, self.entropy, people=len(self._people), start_ns=now_ns, span_ns=self._span_ns
            )
        self.cast = Cast(plans, self.clock)

    def _open(self, provider: Provider, start_ns: int) -> tuple[Sandbox, Access]:
        parts: dict[str, Any] = {
            "clock": self.clock,
            "entropy": self.entropy,
            "ledger": self.ledger,
            "people": self._people,
            "start_ns": start_ns,
        }
        if self._server is None:
            sandbox = Sandbox(provider, issuer=MEMORY_ISSUER, **parts)
            sandbox.keep_secrets()
            self._transport = MemoryTransport(sandbox, self.clock)
            return sandbox, replace(sandbox.register(self.callback), transport=self._transport)
        sandbox = Sandbox(provider, issuer=self._server.address, **parts)
        sandbox.keep_secrets()
        if not self._app_is_elsewhere:
            self._server.note_senders()
        self._server.serve(sandbox)
        self._transport = httpx.HTTPTransport()
        return sandbox, sandbox.register(self.callback)

    def _host(
        self,
        settings: AppSettings,
        access: Access,
        policy: Policy,
        api: ReferenceApi | None,
        root: Path,
        base: str,
        told: Mapping[str, str] | None,
    ) -> Hosted:
        """The app, open. `told` is what its environment has been told already."""
        if settings.kind == "reference":
            app = build_reference(
                access,
                policy,
                api=api,
                clock=self.clock,
                entropy=self._own,
                state=self.state,
                traceparent=traceparent,
                log=root / settings.log.file if settings.log is not None else None,
            )
            return Hosted(settings, access, app)
        if not settings.is_elsewhere:
            environment = environment_of(settings.env, known_values(access, app_base=base))
            if told is not None and environment != dict(told):
                raise ScenarioError(
                    "the app's environment is set before the scenario is loaded, for the provider that it "
                    "seems to name, and it names another one: name it with --provider"
                )
            set_environment(environment)
        return open_app(settings, access, root, base=base, folder=self.state, traceparent=traceparent)

    def app_for_person(self) -> Any:
        """What one person has of the app: a web app's people have an HTTP client each."""
        assert self._hosted is not None
        return self._hosted.for_person()

    @property
    def app_label(self) -> str:
        """The app in a word."""
        return self._hosted.label if self._hosted is not None else "reference"

    def watch_app(self) -> None:
        """From now on the run ends when an app in another process does."""
        if self._hosted is not None:
            self._hosted.watch(self.give_up)

    def last_output(self) -> str:
        """What the app wrote last, to end a message with."""
        if self._printed is not None:
            return self._printed.last()
        return self._hosted.last_output() if self._hosted is not None else ""

    def next_person(self, *, again: bool = False) -> PersonPlan:
        """The next of the cast, with what they will do: see `Cast.next`."""
        return self.cast.next(again=again)

    def person_left(self, person: str) -> None:
        """A user has stopped acting as the person, who may come on again."""
        self.cast.back(person)

    def browser(self, person: str) -> Browser:
        """A browser with the person's name and password at the provider."""
        assert self._transport is not None
        return Browser(self._transport, person, self.sandbox.password_of(person), traceparent)

    def next_operation(self, person: str) -> str:
        """An id for the person's next operation."""
        count = self._count[person] = self._count.get(person, 0) + 1
        return blake2b(f"{person} {count}".encode(), key=self._operation_key, digest_size=16).hexdigest()

    def record(self, row: Operation) -> None:
        """Append an operation to the ledger.

        What the end of the run cut off comes in no certain order, and is written sorted when it closes.
        """
        if row.outcome == "abandoned":
            self._abandoned.append(row)
        else:
            self.asked += 1
            self.ledger.operation(row)

    def close(self) -> None:
        """Write what was cut off, close app, server and sandbox, and forget the app's state."""
        self.later.kill()
        for row in sorted(self._abandoned, key=lambda row: (row.planned, row.operation)):
            self.ledger.operation(row)
        self._abandoned.clear()
        if self._hosted is not None:
            self._hosted.close()
        if self._ending is not None:
            if self._printed is not None and self._printed.file is not None:
                self._ending.outputs[_PRINTED] = self._printed.file
            self.app_log = self._ending.look()
            self._ending = None
        if self._transport is not None:
            self._transport.close()
        if self._server is not None:
            self._server.stop()
        if self._opened is not None:
            self._opened.close(self.clock.now_ns())
        self._carried.restore()
        if self._printed is not None:
            self._printed.close()
        if self._temporary is not None:
            self._temporary.cleanup()


def traceparent() -> str | None:
    """The current operation as a `traceparent` header (W3C Trace Context, 3.2)."""
    operation = current_operation.get()
    return f"00-{operation}-{operation[:16]}-01" if operation else None


def _raise(error: QuotalabError) -> None:
    raise error
