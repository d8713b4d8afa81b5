"""Habits of people: how they are drawn, and what they make of a consent page."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from quotalab.browser import Browser, PageClosed
from quotalab.clock import ManualClock, SeededEntropy
from quotalab.profiles.traffic import Habits
from quotalab.traffic import Habit, habit_of

PEOPLE = [f"p{i:05d}" for i in range(2000)]
CALLBACK = "https://app.test/callback"
NONE = Habit(denies=False, closes=False, unticks=None, late_ns=0, withdraw_after_ns=None)
PAGE = """<form method="post" action="/decide"><input type="hidden" name="csrf" value="x">
<input type="checkbox" name="scope" value="a" checked><input type="checkbox" name="scope" value="b" checked>
<input type="checkbox" name="scope" value="c" checked><input type="checkbox" name="scope" value="d">
<button name="decision" value="allow">Allow</button><button name="decision" value="deny">No</button></form>"""


def drawn(habits: Habits, seed: int = 1) -> list[Habit]:
    return [habit_of(habits, SeededEntropy(seed), person) for person in PEOPLE]


def test_by_default_everybody_allows_everything_at_once_and_for_good():
    """Habits are none unless a traffic profile has some."""
    assert set(drawn(Habits())) == {NONE}


def test_shares_are_of_the_people():
    """Of two thousand people about as many as it says, and nobody both denies and closes."""
    habits = drawn(
        Habits(deny=0.1, close=0.2, untick=0.3, late=0.4, late_by_ns=100, withdraw=0.5, withdraw_after_ns=10)
    )
    counted = [
        sum(habit.denies for habit in habits),
        sum(habit.closes for habit in habits),
        sum(habit.unticks is not None for habit in habits),
        sum(habit.late_ns > 0 for habit in habits),
        sum(habit.withdraw_after_ns is not None for habit in habits),
    ]
    for share, count in zip((0.1, 0.2, 0.3, 0.4, 0.5), counted, strict=True):
        assert abs(count / len(PEOPLE) - share) < 0.04
    assert not any(habit.denies and habit.closes for habit in habits)
    assert {habit.late_ns // 50 for habit in habits if habit.late_ns} <= {1, 2, 3}


def test_one_habit_more_changes_no_other():
    """Each share is held against its own draw; nobody else's day changes with it."""
    before = Habits(untick=0.5, late=0.5, late_by_ns=1000)
    after = replace(before, deny=0.3, withdraw=0.5, withdraw_after_ns=5)
    for one, other in zip(drawn(before), drawn(after), strict=True):
        assert (one.unticks, one.late_ns) == (other.unticks, other.late_ns)
    assert drawn(after) == drawn(after)
    assert drawn(after) != drawn(after, seed=2)


def decide(habit: Habit) -> tuple[bytes, int]:
    """What the form is sent with, and how late."""
    clock = ManualClock(0)
    sent: list[tuple[bytes, int]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, text=PAGE)
        sent.append((request.read(), clock.now_ns()))
        return httpx.Response(303, headers={"Location": CALLBACK})

    browser = Browser(httpx.MockTransport(answer), "p1", "secret")
    address = browser.visit(
        "https://provider.test/authorize",
        CALLBACK,
        habit.choices,
        consider=lambda boxes: habit.consider(boxes, clock),
    )
    assert address == CALLBACK
    return sent[0]


@pytest.mark.parametrize(
    ("unticks", "left"),
    [(None, "abc"), (0.0, "bc"), (0.34, "ac"), (0.99, "ab"), (1.0, "ab")],
)
def test_one_of_the_ticked_scopes_is_unticked(unticks, left):
    """All that stay ticked are sent, each under the same name; what was not ticked stays so."""
    boxes = "".join(f"&scope={name}" for name in left)
    assert decide(replace(NONE, unticks=unticks))[0] == f"csrf=x&decision=allow{boxes}".encode()


def test_a_page_may_lie_open():
    """The form is sent when the person is back."""
    assert decide(replace(NONE, late_ns=90))[1] == 90


def test_who_denies_presses_the_other_button():
    """And the browser comes back with the refusal."""
    assert b"decision=deny" in decide(replace(NONE, denies=True))[0]


def test_who_closes_the_page_sends_nothing():
    """The way ends there."""
    with pytest.raises(PageClosed):
        decide(replace(NONE, closes=True))
