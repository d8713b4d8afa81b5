"""People as Locust users: one user acts as one person."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType, TracebackType
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from gevent import Greenlet
from gevent.event import AsyncResult, Event
from gevent.lock import RLock
from gevent.pool import Group
from locust import User, constant, task
from locust.exception import StopUser

from quotalab.browser import PageClosed
from quotalab.errors import ScenarioError
from quotalab.hosting import AppClient, Misfit
from quotalab.hosting.client import __file__ as client_file
from quotalab.hosting.client import answers, judge_answers
from quotalab.ledger import Event as LedgerEvent
from quotalab.ledger import Operation
from quotalab.reference import Declined, IntegrationError, NotConnected, Patience
from quotalab.sandbox.consent import CONNECTIONS
from quotalab.sandbox.transport import current_operation
from quotalab.scenario.operations import Asked, Terms, terms_of
from quotalab.scenario.stage import Stage
from quotalab.traffic import PlannedOperation, habit_of

__all__ = ["Person", "PlannedPerson"]


_PASSING = ("server_error", "temporarily_unavailable")
"""Errors with which a provider sends people back that are no answer to them (RFC 6749, 4.1.2.1)."""


def _is_client(place: TracebackType) -> bool:
    return place.tb_frame.f_code.co_filename == client_file


class Left(StopUser):
    """A person has walked away: they gave the app no consent, and ask nothing more of it."""


class Person(User):
    """Someone who uses the app. Write tasks as for any Locust user, with `asking` around what is asked.

    Class attributes say what the scenario is made for; options of the command line win over them.
    """

    abstract = True
    provider: ClassVar[str] = "temporary-production"
    policy: ClassVar[str] = "polite"
    traffic: ClassVar[str | None] = None
    population: ClassVar[int] = 100

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        stage: Stage | AsyncResult | None = getattr(environment, "stage", None)
        if stage is None:
            raise ScenarioError(
                f"{type(self).__name__} has no stage: start it with quotalab run, or with locust"
            )
        # A worker's is set when the master has told of it.
        self.stage: Stage = stage.get() if isinstance(stage, AsyncResult) else stage
        stage = self.stage
        cast = stage.next_person(again=getattr(environment, "shape_class", None) is not None)
        self.name = cast.person
        self.plan = cast.operations
        self.app: Any = stage.app_for_person()
        """The app under test; of a web app, this person's HTTP client on it."""
        self._turned_away = False
        self._connecting = RLock()
        self._habit = habit_of(stage.habits, stage.entropy, self.name)
        self._left = False
        """Whether the person wants nothing more of the app."""
        self._withdraws = False

    def start(self, group: Group) -> Greenlet:
        """See Locust. When the user has stopped, the person may come on again."""
        greenlet: Greenlet = super().start(group)
        greenlet.link(self._stopped)
        return greenlet

    def _stopped(self, _: Greenlet) -> None:
        if not self._left and not self._turned_away:
            self.stage.person_left(self.name)

    def connect(self) -> None:
        """Give the app consent: sign in, agree, come back, after the probes that come with it.

        Override for another app; for probes to be asked of it, override `begin_consent`, `deliver` and
        `is_connected` instead.
        """
        for probe in self.stage.probes.due(self.name):
            self.stage.probes.ask(
                probe,
                self.name,
                self.begin_consent(),
                visit=self._visit,
                deliver=self.deliver,
                is_connected=self.is_connected,
            )
        # Begun anew: an app that has refused a callback need not take another for the same request.
        self._decide(self.begin_consent())

    def _decide(self, address: str) -> None:
        """Go to the provider, decide by one's own habits, come back; or not."""
        stage = self.stage
        habit = self._habit
        try:
            callback = stage.browser(self.name).visit(
                address,
                stage.callback,
                habit.choices,
                consider=lambda boxes: habit.consider(boxes, stage.clock),
            )
        except PageClosed:
            self._left = True
            raise Left from None
        error = dict(parse_qsl(urlsplit(callback).query)).get("error")
        self._turned_away = error is not None and error not in _PASSING
        if habit.denies:
            with suppress(Exception):  # by which an app says that it was refused
                self.deliver(callback)
            self._left = True
            raise Left
        self.deliver(callback)
        if habit.withdraw_after_ns is not None and not self._withdraws:
            self._withdraws = True
            stage.later.spawn(self._withdraw, habit.withdraw_after_ns)

    def _withdraw(self, after_ns: int) -> None:
        """Take consent back, at the provider."""
        self.stage.clock.sleep_ns(after_ns)
        self.stage.browser(self.name).press(self.stage.sandbox.issuer + CONNECTIONS, "client")

    def begin_consent(self) -> str:
        """The address to which the app sends the person for consent. Override for another app."""
        if isinstance(self.app, AppClient):
            return self.app.begin_consent()
        address: str = self.app.connect(self.name)
        return address

    def deliver(self, callback: str) -> None:
        """Come back to the app at the address that the provider gave; raises if the app does not take it.

        Override for another app: its answer must become an exception where it shows an error.
        """
        if isinstance(self.app, AppClient):
            self.app.deliver(callback)
        else:
            self.app.connected(callback)

    def _visit(self, person: str, address: str) -> str:
        return self.stage.browser(person).visit(address, self.stage.callback)

    def is_connected(self) -> bool:
        """Whether the app has this person's consent. Override for another app."""
        if isinstance(self.app, AppClient):
            return self.app.connected
        if isinstance(self.app, ModuleType) and not hasattr(self.app, "is_connected"):
            return True  # a script has nobody to connect
        connected: bool = self.app.is_connected(self.name)
        return connected

    def disconnect(self) -> None:
        """End the connection in the app, which the ledger is told. Override for another app."""
        self.app.disconnect(self.name)
        self.stage.ledger.event(LedgerEvent(self.stage.clock.now_ns(), "disconnected", self.name, {}))

    def patience(self, asked: Asked) -> Patience:
        """How long the app may take over an operation, as the reference integration wants it."""
        return Patience(asked.deadline_ns, asked.interactive)

    @contextmanager
    def asking(self, name: str, *, within_s: float) -> Iterator[Asked]:
        """Something asked of the app now; what happens inside belongs to it, calls included.

        It is done when the block ends, stale when the block said so, declined on `Declined`, failed on any
        other exception, abandoned when the run ends first. Exceptions of the app go no further. What a web
        app answered inside the block decides too: see `quotalab.hosting.client`.
        """
        now_ns = self.stage.clock.now_ns()
        connected = False
        with self._recorded(name, now_ns, Terms(int(within_s * 1_000_000_000), interactive=True)) as asked:
            self._connect_first()
            connected = True
            yield asked
        if not connected:
            raise StopUser  # whom the provider turned away has nothing more to ask

    @contextmanager
    def _recorded(self, name: str, planned_ns: int, terms: Terms) -> Iterator[Asked]:
        stage = self.stage
        deadline_ns = planned_ns + terms.deadline_ns
        asked = Asked(stage.next_operation(self.name), name, planned_ns, deadline_ns, terms.interactive)
        started_ns = stage.clock.now_ns()
        token = current_operation.set(asked.operation)
        heard: dict[tuple[str, str], int] = {}
        hearing = answers.set(heard)
        outcome: str | None = "abandoned"
        told, failure = None, None
        try:
            yield asked
            judge_answers(heard)
            outcome = "stale" if asked.stale else "done"
        except Declined as error:
            outcome, told = "declined", str(error)
        except Left:
            # The person no longer wants what they had asked for: neither done nor failed, and no operation.
            outcome = None
            raise
        except StopUser:
            raise
        except Exception as error:
            # Only our own texts are known to hold no secret; of any other exception the type must do.
            outcome = "failed"
            told = (
                f"{type(error).__name__}: {error}"
                if isinstance(error, IntegrationError)
                else type(error).__name__
            )
            failure = error
            misfit = error if isinstance(error, Misfit) else self._misfit(name, error)
            if misfit is not None:
                stage.give_up(misfit)
            elif not isinstance(error, IntegrationError | ScenarioError):
                self.environment.events.user_error.fire(
                    user_instance=self, exception=error, tb=error.__traceback__
                )
        finally:
            current_operation.reset(token)
            answers.reset(hearing)
            ended_ns = stage.clock.now_ns()
            calls = stage.sandbox.calls_of(asked.operation)
            if outcome is not None:
                stage.record(
                    Operation(
                        asked.operation,
                        self.name,
                        name,
                        planned_ns,
                        started_ns,
                        ended_ns,
                        deadline_ns,
                        outcome,
                        told,
                        calls,
                    )
                )
                self.environment.events.request.fire(
                    request_type="operation",
                    name=name,
                    response_time=(ended_ns - planned_ns) / 1_000_000,
                    response_length=0,
                    exception=failure if outcome == "failed" else None,
                    context={},
                )

    def _misfit(self, name: str, error: Exception) -> Misfit | None:
        """Whether the scenario itself asked the app for something that it does not have."""
        if not isinstance(error, AttributeError) or error.obj is not self.app:
            return None
        last = error.__traceback__
        while last is not None and last.tb_next is not None and not _is_client(last.tb_next):
            last = last.tb_next
        scenario = sys.modules[type(self).__module__].__file__ or ""
        if last is None or last.tb_frame.f_code.co_filename not in (scenario, __file__):
            return None  # the app's own code lacks it: that is the app's affair
        public = [own for own in dir(self.app) if not own.startswith("_")]
        has = (
            "get, post and the rest of httpx.Client"
            if isinstance(self.app, AppClient)
            else ", ".join(public[:12])
        )
        return Misfit(
            f"{scenario}: the operation {name!r} wants {error.name!r} of the app, which "
            f"{self.stage.app_label} does not have (it has: {has}); name a scenario that is made for it, or "
            f"let quotalab init write one"
        )

    def _connect_first(self) -> None:
        """Whom the provider turned away does not try again all day; whom anything else kept from connecting
        does, with the next thing that they ask."""
        if self.is_connected():
            return
        with self._connecting:
            if self.is_connected():
                return
            if self._left:
                raise Left
            if self._turned_away:
                raise NotConnected("the provider did not let the person connect")
            self.connect()


class PlannedPerson(Person):
    """Someone whose day is planned by a traffic profile; `@operation` methods say what can be asked.

    The plan is an open model: it does not slip because the app is slow. Each operation begins when it was
    planned, beside those that are still under way.
    """

    abstract = True
    wait_time = constant(1)  # should `live` ever end by an error: Locust then starts it again

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._begun = 0
        """How many operations of the plan have been begun."""

    @classmethod
    def terms(cls, name: str) -> Terms:
        """Deadline and kind of an operation; raises `ScenarioError` when the class has none of that name."""
        terms = terms_of(cls, name)
        if terms is None:
            known = ", ".join(sorted(known for known in dir(cls) if terms_of(cls, known))) or "none"
            raise ScenarioError(
                f"{cls.__name__} has no operation {name!r}, which the traffic plans; it has: {known}"
            )
        return terms

    @task
    def live(self) -> None:
        """The person's day, as planned."""
        clock = self.stage.clock
        under_way = Group()
        try:
            for step in self.plan[self._begun :]:
                wait_ns = step.planned_ns - clock.now_ns()
                if wait_ns > 0:
                    clock.sleep_ns(wait_ns)
                if self._left:
                    break
                self._begun += 1
                under_way.spawn(self._perform, step)
            Event().wait()  # until the run ends
        finally:
            under_way.kill()

    def _perform(self, step: PlannedOperation) -> None:
        method: Callable[[Asked], Any] = getattr(self, step.name)
        with (
            suppress(Left),
            self._recorded(step.name, step.planned_ns, self.terms(step.name)) as asked,
        ):
            self._connect_first()
            result = method(asked)
            asked.stale = asked.stale or getattr(result, "stale", False) is True
