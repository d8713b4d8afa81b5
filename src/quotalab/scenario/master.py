"""The master's side of a run in several processes: sandbox, ledger and cast are here, people and app there.

Calls come over HTTP as ever, and are numbered here alone. What workers have to tell comes over a channel each
(`quotalab.scenario.channel`). A channel that closes without a farewell is a worker that was lost: what it
had told is in the ledger, and an event says the rest.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gevent.event import Event as Flag
from gevent.server import StreamServer

from quotalab.clock import RealClock, SystemEntropy
from quotalab.errors import QuotalabError, ScenarioError
from quotalab.ledger import Event, Operation
from quotalab.scenario.channel import JOIN, MOST_HELLO_BYTES, TOLD, line_of, read_line
from quotalab.scenario.needs import Needs
from quotalab.scenario.stage import Stage

__all__ = ["Workers"]

_log = logging.getLogger(__name__)
_ENDS_WITHIN_S = 20.0


@dataclass(eq=False)
class _Worker:
    """One that has joined."""

    number: int
    """By its joining, from 1."""
    ready: bool = False
    people: set[str] = field(default_factory=set)
    """Who is on there."""


class Workers:
    """Those of one run, of which `runner` is Locust's master. `serve` begins to answer them."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self._secret = SystemEntropy().token("workers")
        self._joined: list[_Worker] = []
        self._present: set[_Worker] = set()
        self._changed = Flag()
        """Set whenever a worker is ready, or is gone."""
        self._clock = RealClock()
        self._quits = False
        self._ends_by_ns = 0
        self.lost: list[str] = []
        """What to tell of workers that ended without a farewell."""
        self._server = StreamServer(("127.0.0.1", 0), self._serve)
        runner.register_message(JOIN, self._asked)
        self._quit_locust, runner.quit = runner.quit, self._quit

    def serve(
        self,
        stage: Stage,
        needs: Needs,
        *,
        place: tuple[str, str],
        root: Path,
        seed: int | None,
        span_ns: int,
        expected: int,
        raised: Callable[[str], None] = lambda _: None,
    ) -> None:
        """The stage is there. `raised` is told of what scenario and app raise in workers, in words.

        `expected` is how many there will be: the reference integration, of which each has one, keeps to its
        share of the app's budget.
        """
        self._stage = stage
        self._raised = raised
        self._expected = expected
        self._told = {
            "access": asdict(stage.access),
            "provider": dict(needs.provider.document),
            "policy": dict(needs.policy.document),
            "habits": asdict(stage.habits),
            "users": needs.users,
            "start_ns": stage.clock.now_ns(),
            "span_ns": span_ns,
            "root": str(root),
            "place": place,
            "seed": seed,
        }
        self._server.start()

    def _asked(self, msg: Any, **_: Any) -> None:
        """A worker's question, over Locust's messages; without an answer it is asked again."""
        if self._server.started:
            where = {"port": self._server.server_port, "secret": self._secret}
            self._runner.send_message(TOLD, where, client_id=msg.node_id)

    def await_ready(self, number: int, check: Callable[[], None]) -> None:
        """Wait until so many workers are ready; `check` is asked now and then, and raises what ends it."""
        while sum(one.ready for one in self._present) < number:
            check()
            self._changed.wait(0.2)
            self._changed.clear()

    def _quit(self) -> None:
        """In place of the runner's own, which gives workers half a second to tell how the rest went.

        They have the time that they need.
        """
        runner = self._runner
        if not self._quits:
            self._quits = True
            runner.stop(send_stop_to_client=False)
            runner.send_message("quit")
            self._ends_by_ns = self._clock.now_ns() + int(
                ((runner.environment.stop_timeout or 0.0) + _ENDS_WITHIN_S) * 1e9
            )
            self._await_farewells()
        self._quit_locust()

    def _await_farewells(self) -> None:
        while self._present and self._clock.now_ns() < self._ends_by_ns:
            self._changed.wait(0.2)
            self._changed.clear()

    def close(self) -> None:
        """All have been told to quit: wait for the last of them, and hear nobody any more."""
        self._await_farewells()
        for one in list(self._present):
            self._part(one, "did not end when it was told to")
        self._server.stop(timeout=1)

    def _serve(self, socket: Any, _address: Any) -> None:
        worker: _Worker | None = None
        with socket, socket.makefile("rb") as file:
            hello = read_line(file, MOST_HELLO_BYTES) or {}
            if not hmac.compare_digest(str(hello.get("secret")).encode(), self._secret.encode()):
                return
            worker = _Worker(len(self._joined) + 1)
            self._joined.append(worker)
            self._present.add(worker)
            state = self._stage.state / f"worker-{worker.number}"
            state.mkdir()
            answer: dict[str, Any] = {
                **self._told,
                "number": worker.number,
                "state": str(state),
                "sharing": self._sharing,
            }
            try:
                while True:
                    socket.sendall(line_of(answer))
                    message = read_line(file)
                    if message is None:
                        break
                    answer = self._answer(worker, message)
            except OSError:
                pass  # the worker has gone
            finally:
                self._part(worker, "ended without a word")

    @property
    def _sharing(self) -> int:
        """How many processes the app's budget is shared by."""
        return max(self._expected, len(self._present))

    def _part(self, worker: _Worker, lost: str | None = None) -> None:
        """The worker is gone; `lost` says how, where it has said no farewell."""
        if worker not in self._present:
            return
        self._present.remove(worker)
        self._changed.set()
        people = sorted(worker.people)
        for person in people:
            self._stage.cast.back(person)
        if lost is None:
            return
        now_ns = self._stage.clock.now_ns()
        self._stage.ledger.event(
            Event(now_ns, "worker-lost", None, {"worker": worker.number, "how": lost, "people": people})
        )
        self.lost.append(
            f"worker {worker.number} {lost}: the ledger has every call of its {len(people)} people, and of "
            f"their operations those that it had told of"
        )

    def _answer(self, worker: _Worker, message: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self._do(worker, message)
        except QuotalabError as error:
            return {"error": str(error)}
        except Exception as error:
            _log.exception("a worker's message could not be taken")
            self._stage.sandbox.faults.append(
                f"a worker's message could not be taken: {type(error).__name__}"
            )
            return {"error": "the message could not be taken"}

    def _do(self, worker: _Worker, message: Mapping[str, Any]) -> dict[str, Any]:
        stage = self._stage
        match message["do"]:
            case "tell":
                self._record(message)
                return {"sharing": self._sharing}
            case "next":
                kept = stage.next_person(again=message["again"])
                worker.people.add(kept.person)
                steps = [(step.planned_ns, step.name) for step in kept.operations]
                return {"person": kept.person, "operations": steps}
            case "back":
                worker.people.discard(message["person"])
                stage.cast.back(message["person"])
            case "password":
                return {"password": stage.sandbox.password_of(message["person"])}
            case "watch":
                stage.sandbox.watch(message["code"])
            case "was_sent":
                return {"was_sent": stage.sandbox.was_sent(message["code"])}
            case "ready":
                worker.ready = True
                self._changed.set()
            case "give_up":
                stage.give_up(ScenarioError(message["why"]))
            case "farewell":
                self._part(worker)
            case _:
                raise ScenarioError("a worker's message is unknown; start it with the same version")
        return {}

    def _record(self, message: Mapping[str, Any]) -> None:
        """Rows, in the order in which they were written there."""
        stage = self._stage
        for row in message["operations"]:
            told = Operation(*row)
            stage.record(told._replace(calls=stage.sandbox.calls_of(told.operation)))
        for row in message["events"]:
            stage.ledger.event(Event(*row))
        for what in message["raised"]:
            self._raised(what)
