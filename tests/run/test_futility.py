"""A run in which nothing goes is given up early, and only then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.run.test_app_unhappy_paths import DAY, workspace

from quotalab.clock import ManualClock
from quotalab.hosting.client import AppAnsweredError
from quotalab.hosting.futility import Futility
from quotalab.ledger import read_ledger

S = 10**9
RAISES = """
class Mine:
    def is_connected(self, person):
        return True
    def sync(self):
        print("about to sync")
        return {}["token"]
def build(access):
    return Mine()
"""


class Hook:
    """Of Locust's `EventHook` what is used here: importing Locust patches the process."""

    def __init__(self) -> None:
        self.fire: Callable[..., None] = lambda **_: None

    def add_listener(self, listener: Callable[..., None]) -> None:
        """Whom to tell."""
        self.fire = listener


class Watched:
    """A `Futility` with events to fire, a clock that is set and a number of calls."""

    def __init__(self, users: int) -> None:
        self.events = SimpleNamespace(user_error=Hook(), request=Hook())
        self.clock = ManualClock(0)
        self.calls = 0
        self.told: list[tuple[int, int, str]] = []
        Futility(self.clock, users, lambda: self.calls, self._tell).listen_to(self.events)

    def _tell(self, failed: int, in_row: int, error: BaseException, _: Any) -> None:
        self.told.append((failed, in_row, type(error).__name__))

    def fail(self, times: int, every_ns: int = S, *, outside: bool = False) -> None:
        """So many operations end by an exception, as `Person.asking` tells it; or tasks that ask nothing."""
        for _ in range(times):
            error = KeyError("secret")
            self.events.user_error.fire(user_instance=None, exception=error, tb=None)
            if not outside:
                self.end(error)
            self.clock.jump(every_ns)

    def end(self, error: Exception | None) -> None:
        """An operation ends."""
        self.events.request.fire(request_type="operation", name="sync", exception=error)


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize(("users", "enough"), [(1, 100), (10, 100), (30, 300)])
def test_ten_failures_for_each_person_are_enough(users: int, enough: int, outside: bool) -> None:
    """100 at least; each counts once, whether its operation tells of it too or not, and it is told once."""
    watched = Watched(users)
    watched.fail(enough - 1, outside=outside)
    assert watched.told == []
    watched.fail(500, outside=outside)
    assert watched.told == [(enough, enough, "KeyError")]


def test_failures_at_one_instant_may_be_people_who_come_at_once() -> None:
    """Less than a minute is no proof, unless there are a hundred for each person."""
    watched = Watched(20)
    watched.fail(1999, every_ns=0)
    assert watched.told == []
    watched.fail(1, every_ns=0)
    assert len(watched.told) == 1


def test_a_failure_of_the_apps_own_kind_counts_too() -> None:
    """An answer of 500 is no exception that Locust hears of before the operation has ended."""
    watched = Watched(1)
    for _ in range(100):
        watched.end(AppAnsweredError("the app answered 500"))
        watched.clock.jump(S)
    assert watched.told == [(100, 100, "AppAnsweredError")]


def test_a_call_begins_the_count_anew() -> None:
    """Who connects and then fails without a call is futile; who fails after a call each time is not."""
    watched = Watched(1)
    watched.fail(99)
    watched.calls = 1
    watched.fail(99)
    assert watched.told == []
    watched.fail(1)
    assert watched.told == [(199, 100, "KeyError")]
    other = Watched(1)
    for _ in range(500):
        other.calls += 1
        other.fail(1)
    assert other.told == []


def test_one_operation_that_goes_ends_the_watch() -> None:
    """Done, stale and declined ones carry no exception; what fails from then on is for the rules."""
    watched = Watched(1)
    watched.fail(99)
    watched.end(None)
    watched.fail(1000)
    assert watched.told == []


@pytest.mark.parametrize(
    ("wait", "failed"),
    [
        pytest.param("constant(1)", 121, id="in a minute"),
        pytest.param("constant(0)", 1000, id="at once", marks=pytest.mark.full),
    ],
)
def test_an_app_that_raises_in_each_task_does_not_raise_for_a_day(
    call, tmp_path: Path, wait: str, failed: int
) -> None:
    """Exit 2 with what, where and how often; the folder can be read, and holds the operations."""
    day = DAY.replace("constant(0.2)", wait).replace('self.app.get("/sync")', "self.app.sync()")
    root = workspace(tmp_path, 'build = "mine:build"', day=day, mine=RAISES)
    out = tmp_path / "out"
    ended = call("run", "--for", "24h", "--out", str(out), cwd=root)
    assert ended.code == 2
    assert (
        f"all that people have done has failed, {failed:,} times, the last {failed:,} without one call of app "
        f"'mine:build' to the sandbox" in ended.err
    )
    assert f"the last failure: KeyError ({root / 'mine.py'}:7)" in ended.err
    assert "; its last output:\n  | about to sync" in ended.err
    assert f"what there is until then: quotalab report {out}" in ended.err
    outcomes = read_ledger(out).operations.column("outcome").to_pylist()
    assert failed <= outcomes.count("failed") <= failed + 1  # the other person's, which was under way
