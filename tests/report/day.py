"""A believable day, to have something to judge: office hours, sign-ins, one limit of 100 calls an hour.

``./lab python tests/report/day.py OUT [obedient|naive]`` writes it as a run folder. Nothing of the acting half is
used: a heap of what is due, a request budget in a few lines, and seeded draws.
"""

from __future__ import annotations

import heapq
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np

from quotalab.frames.testing import START_NS, LedgerBuilder
from quotalab.ledger import OAuthFacts

SECOND = 10**9
HOUR = 3600 * SECOND
PROFILE = Path(__file__).parents[2] / "profiles" / "providers" / "temporary-production.toml"
# Share of the day's operations that are planned in each hour.
HOURS = np.array([1, 1, 1, 1, 2, 5, 12, 30, 85, 130, 105, 80, 50, 75, 110, 95, 80, 60, 35, 20, 14, 9, 5, 2])
NAMES = {  # name: share, API calls, deadline in seconds, whether an older copy will do
    "look at the week": (0.45, 1, 1800, True),
    "open an event": (0.25, 1, 900, True),
    "add an event": (0.12, 2, 3600, False),
    "sync in the background": (0.18, 2, 7200, False),
}
ROUTES = {
    "look at the week": ("GET", "list_events", "/v1/events"),
    "open an event": ("GET", "read_event", "/v1/events/7"),
    "add an event": ("POST", "create_event", "/v1/events"),
    "sync in the background": ("GET", "list_events", "/v1/events"),
}


def believable_day(policy: str = "obedient", *, operations: int = 3000, people: int = 120) -> LedgerBuilder:
    """The ledger of a day: `obedient` keeps a budget of 97 calls an hour, `naive` has none and retries soon."""
    return _Day(policy, operations, people).simulate()


class _Day:
    def __init__(self, policy: str, operations: int, people: int) -> None:
        document = json.loads(json.dumps(tomllib.loads(PROFILE.read_text()), default=str))
        self.ledger = LedgerBuilder(
            {key: value for key, value in document.items() if key != "variants"},
            scenario="office_day",
            traffic="office",
            policy=policy,
            users=people,
            seed=20260105,
            command=("quotalab", "run", "office_day", "--policy", policy, "--seed", "20260105"),
            ended_ns=START_NS + 24 * HOUR,
            wall_s=3.4,
            versions={"quotalab": "0.1.0", "python": "3.11.7", "locust": "2.47.0"},
            ledger_sha256="0" * 64,
        )
        self.policy = policy
        self.draw = np.random.default_rng(20260105)
        self.tokens: dict[str, int] = {}
        self.budget: list[int] = []
        self.due: list[tuple[int, int, Any, dict[str, Any]]] = []
        self.turns = 0
        hours = self.draw.choice(24, size=operations, p=HOURS / HOURS.sum())
        planned = np.sort(hours * HOUR + self.draw.integers(0, HOUR, operations))
        names = self.draw.choice(list(NAMES), size=operations, p=[share for share, *_ in NAMES.values()])
        who = self.draw.integers(0, people, operations)
        cached = self.draw.random(operations) < 0.45
        for i in range(operations):
            _, calls, deadline_s, stale = NAMES[names[i]]
            operation = {
                "id": f"op-{i:05d}",
                "name": str(names[i]),
                "person": f"person-{who[i]:03d}",
                "planned": int(planned[i]),
                "deadline": int(planned[i]) + deadline_s * SECOND,
                "left": 0 if stale and cached[i] else calls,
                "stale": stale,
                "calls": 0,
                "tries": 0,
            }
            self.later(int(planned[i]), self.go_on, operation)

    def later(self, at: int, step: Any, operation: dict[str, Any]) -> None:
        self.turns += 1
        heapq.heappush(self.due, (at, self.turns, step, operation))

    def simulate(self) -> LedgerBuilder:
        while self.due:
            at, _, step, operation = heapq.heappop(self.due)
            step(at, operation)
        return self.ledger

    def leg(self) -> int:
        return int(40e6 * np.exp(0.5 * self.draw.standard_normal()))

    def go_on(self, at: int, operation: dict[str, Any]) -> None:
        if operation["left"] == 0:
            self.end(operation, at, "done")
        elif self.policy == "obedient" and not self.afford(at, operation):
            return
        elif operation["person"] not in self.tokens:
            self.later(at + self.leg(), self.authorize, operation)
        elif self.tokens[operation["person"]] <= at + 60 * SECOND:
            self.later(at + self.leg(), self.token, operation)
        else:
            self.send(at, operation)

    def afford(self, at: int, operation: dict[str, Any]) -> bool:
        self.budget = [t for t in self.budget if t > at - HOUR - SECOND]
        if len(self.budget) < 97:
            self.budget.append(at)
            return True
        free = self.budget[-97] + HOUR + SECOND + int(self.draw.integers(0, 20 * SECOND))
        if operation["stale"] and self.draw.random() < 0.5:
            self.end(operation, at, "stale")
        elif free > operation["deadline"]:
            self.end(operation, at, "declined", "BudgetSpent")
        else:
            self.later(free, self.go_on, operation)
        return False

    def authorize(self, at: int, operation: dict[str, Any]) -> None:
        self.ledger.call(
            at_ns=at, kind="authorize", actor="browser", person=operation["person"], asked=False, token=None,
            method="POST", route=None, path="/oauth/authorize", target="authorize",
        )  # fmt: skip
        self.later(at + 8 * SECOND, self.token, operation)

    def token(self, at: int, operation: dict[str, Any]) -> None:
        person = operation["person"]
        facts = OAuthFacts("refresh_token" if person in self.tokens else "authorization_code")
        self.ledger.call(
            at_ns=at, kind="token", person=person, asked=False, token=None, oauth=facts,
            method="POST", route=None, path="/oauth/token", target=f"token {person} {at}",
        )  # fmt: skip
        self.tokens[person] = at + HOUR
        self.later(at + self.leg(), self.send, operation)

    def send(self, at: int, operation: dict[str, Any]) -> None:
        operation["sent"] = at
        self.later(at + self.leg(), self.arrive, operation)

    def arrive(self, at: int, operation: dict[str, Any]) -> None:
        person = operation["person"]
        method, route, path = ROUTES[operation["name"]]
        done = at + self.leg()
        operation["calls"] += 1
        seq = self.ledger.decided_call(
            at_ns=at, sent_ns=operation["sent"], done_ns=done, person=person, method=method, route=route,
            path=path, target=f"{person} {route} {operation['left']}", operation=operation["id"],
            token=f"token of {person} until {self.tokens[person]}", client_id="calendar-app", ip="127.0.0.1",
        )  # fmt: skip
        if self.ledger.refused_by(seq) is None:
            operation["left"] -= 1
            self.later(done, self.go_on, operation)
        elif operation["tries"] >= 2:
            self.end(operation, done, "failed", "RateLimited")
        else:
            operation["tries"] += 1
            self.later(done + int((1.5 + self.draw.random()) * SECOND), self.go_on, operation)

    def end(self, operation: dict[str, Any], at: int, outcome: str, error: str | None = None) -> None:
        self.ledger.operation(
            operation["planned"] / SECOND, at / SECOND, outcome=outcome,
            deadline_s=operation["deadline"] / SECOND, operation=operation["id"], person=operation["person"],
            name=operation["name"], calls=operation["calls"], error=error,
        )  # fmt: skip


if __name__ == "__main__":
    believable_day(*sys.argv[2:3]).write(Path(sys.argv[1]))
