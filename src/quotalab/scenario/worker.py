"""A worker's side of a run in several processes: people and app are here, the sandbox is the master's."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
import httpx
from gevent.event import AsyncResult
from gevent.queue import Queue

from quotalab.clock import RealClock, SeededEntropy, SystemEntropy
from quotalab.errors import QuotalabError, ScenarioError
from quotalab.ledger import Event, Operation
from quotalab.profiles.app import app_settings
from quotalab.profiles.policy import parse_policy
from quotalab.profiles.provider import Provider, parse_provider
from quotalab.profiles.traffic import Habits
from quotalab.sandbox import Access
from quotalab.scenario.channel import line_of, read_line
from quotalab.scenario.stage import Stage, traceparent
from quotalab.traffic import PersonPlan, PlannedOperation
from quotalab.workspace import Workspace

__all__ = ["Channel", "WorkerStage"]

_TELL_EVERY_S = 0.5
_MOST_ROWS = 256
_PATIENCE_S = 10.0


class Channel:
    """To the master. `hello` is its first answer: what a worker's stage is made of.

    `on_lost` is called when the master is gone. Raises `ScenarioError` where there is none.
    """

    def __init__(self, port: int, secret: str, on_lost: Callable[[], None]) -> None:
        try:
            self._socket = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S)
        except OSError as error:
            raise ScenarioError(
                f"the master's sandbox cannot be reached at 127.0.0.1:{port} ({error}): it listens on "
                f"loopback, so that workers run on the master's machine"
            ) from error
        self._socket.settimeout(None)
        self._file = self._socket.makefile("rb")
        self._on_lost = on_lost
        self._outgoing: Queue[tuple[dict[str, Any], AsyncResult]] = Queue()
        self.is_open = True
        self.hello = self._exchange({"secret": secret})
        if self.hello is None:
            raise ScenarioError(
                "the master's sandbox did not take this worker; start it with the same version"
            )
        self._carrier = gevent.spawn(self._carry)

    def ask(self, do: str, **what: Any) -> dict[str, Any]:
        """Tell the master something, and wait for its answer.

        Raises `ScenarioError` as it says, or when it is gone.
        """
        return _told_of(self.send(do, **what).get())

    def send(self, do: str, **what: Any) -> AsyncResult:
        """Tell the master something, in order with all else; what comes back may be waited for."""
        answer = AsyncResult()
        if self.is_open:
            self._outgoing.put(({"do": do, **what}, answer))
        else:
            answer.set(None)
        return answer

    def close(self) -> None:
        """Say farewell: the master need not wonder."""
        if self.is_open:
            with gevent.Timeout(_PATIENCE_S, False):
                self.send("farewell").get()
            self.is_open = False
        self._carrier.kill()
        self._socket.close()

    def _exchange(self, message: Mapping[str, Any]) -> dict[str, Any] | None:
        try:
            self._socket.sendall(line_of(message))
        except OSError:
            return None
        return read_line(self._file)

    def _carry(self) -> None:
        # Alone on the connection: whoever waits may be killed, and the next still gets their own answer.
        while self.is_open:
            message, waiting = self._outgoing.get()
            answer = self._exchange(message)
            self.is_open = answer is not None
            waiting.set(answer)
        while not self._outgoing.empty():
            self._outgoing.get()[1].set(None)
        self._on_lost()


def _told_of(answer: dict[str, Any] | None) -> dict[str, Any]:
    """What the master has answered. Raises `ScenarioError` as it says, or when it is gone."""
    if answer is None:
        raise ScenarioError("the master is gone")
    if "error" in answer:
        raise ScenarioError(answer["error"])
    return answer


class _FarLedger:
    """What a stage writes here, on its way to the master, who numbers it."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._operations: list[Operation] = []
        self._events: list[Event] = []
        self._raised: list[str] = []

    def operation(self, row: Operation) -> None:
        self._operations.append(row)
        if len(self._operations) >= _MOST_ROWS:
            self.flush()

    def event(self, row: Event) -> None:
        self._events.append(row)

    def raised(self, what: str) -> None:
        self._raised.append(what)

    def flush(self) -> AsyncResult:
        """Send what there is, or only a sign of life."""
        sent = self._channel.send(
            "tell", operations=self._operations, events=self._events, raised=self._raised
        )
        self._operations, self._events, self._raised = [], [], []
        return sent


class _FarSandbox:
    """The master's, as far as people need more of it than HTTP."""

    def __init__(self, channel: Channel, issuer: str) -> None:
        self.issuer = issuer
        self._channel = channel

    def password_of(self, person: str) -> str:
        password: str = self._channel.ask("password", person=person)["password"]
        return password

    def calls_of(self, operation: str) -> int:  # noqa: ARG002
        return 0  # the master knows, and writes it

    def watch(self, code: str) -> None:
        self._channel.ask("watch", code=code)

    def was_sent(self, code: str) -> bool:
        return bool(self._channel.ask("was_sent", code=code)["was_sent"])

    def close(self, now_ns: int) -> None:
        """Its end is the master's affair."""


class _Linked(httpx.HTTPTransport):
    """To a sandbox on a socket, with the operation on whose behalf a call is made, as in memory."""

    def __init__(self) -> None:
        super().__init__(limits=httpx.Limits(max_connections=None, max_keepalive_connections=None))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        trace = traceparent()
        if trace is not None:
            request.headers.setdefault("traceparent", trace)
        return super().handle_request(request)


class WorkerStage(Stage):
    """A stage without a sandbox and a cast of its own."""

    def __init__(self, channel: Channel) -> None:
        told = channel.hello
        assert told is not None, "refused otherwise"
        self._channel = channel
        self._far = _FarLedger(channel)
        self._teller: gevent.Greenlet | None = None
        self._access = Access(**told["access"])
        root = Path(told["root"])
        app = app_settings(Workspace.find(root).settings, str(root / "pyproject.toml"))
        base, callback = told["place"]
        if app.is_elsewhere:  # the master has started it
            app = replace(app, kind="url", command=(), url=base, env={})
        seed = told["seed"]
        ledger: Any = self._far
        super().__init__(
            provider=parse_provider(told["provider"], "the master's provider profile"),
            policy=parse_policy(told["policy"], "the master's policy profile"),
            traffic=None,
            users=told["users"],
            start_ns=told["start_ns"],
            span_ns=told["span_ns"],
            clock=RealClock(),
            entropy=SystemEntropy() if seed is None else SeededEntropy(seed),
            own=SystemEntropy(),
            ledger=ledger,
            app=app,
            root=root,
            place=(base, callback),
            state=Path(told["state"]),
        )
        self.habits = Habits(**told["habits"])
        self.give_up = self._give_up
        self._share(told["sharing"])
        self._teller = gevent.spawn(self._tell)
        channel.send("ready")

    def _open(self, provider: Provider, start_ns: int) -> tuple[Any, Access]:  # noqa: ARG002
        self._transport = _Linked()
        return _FarSandbox(self._channel, self._access.issuer), replace(
            self._access, transport=self._transport
        )

    def next_person(self, *, again: bool = False) -> PersonPlan:
        """The next of the master's cast."""
        told = self._channel.send("next", again=again)
        try:
            dealt = _told_of(told.get())
        except gevent.GreenletExit:
            told.rawlink(self._dealt_too_late)
            raise
        return PersonPlan(dealt["person"], tuple(PlannedOperation(*step) for step in dealt["operations"]))

    def _dealt_too_late(self, told: AsyncResult) -> None:
        """Whoever asked for a person is not there any more."""
        if told.value is not None and "person" in told.value:
            self.person_left(told.value["person"])

    def person_left(self, person: str) -> None:
        """A user has stopped acting as the person, who may come on again, here or elsewhere."""
        self._channel.send("back", person=person)

    def record(self, row: Operation) -> None:
        """Write down how an operation went."""
        self.ledger.operation(row)

    def raised(self, what: str) -> None:
        """Tell the master what scenario or app raised, in words without a secret."""
        self._far.raised(what)

    def close(self) -> None:
        """Close the app, and tell all that is left."""
        if self._teller is not None:
            self._teller.kill()
        super().close()
        self._far.flush()

    def _give_up(self, error: QuotalabError) -> None:
        self._channel.send("give_up", why=str(error))

    def _share(self, processes: int) -> None:
        share = getattr(self.app, "share_budget", None)
        if callable(share) and self.app_label == "reference":
            share(processes)

    def _tell(self) -> None:
        while True:
            gevent.sleep(_TELL_EVERY_S)
            answer = self._far.flush().get()
            if answer is not None:
                self._share(answer.get("sharing", 1))
