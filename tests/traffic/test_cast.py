"""The people of a run are dealt out so that no two users act as one person."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotalab.clock import ManualClock
from quotalab.errors import ScenarioError
from quotalab.traffic import Cast, PersonPlan, PlannedOperation

DAY = (PlannedOperation(10, "look"), PlannedOperation(20, "add"), PlannedOperation(30, "look"))


def cast_of(people: int, clock: ManualClock | None = None) -> Cast:
    """So many people with the same day."""
    return Cast([PersonPlan(f"p{i}", DAY) for i in range(people)], clock or ManualClock(0))


def test_each_comes_on_once_and_no_more_than_there_are() -> None:
    """In their order."""
    cast = cast_of(2)
    assert [cast.next(again=False).person for _ in range(2)] == ["p0", "p1"]
    with pytest.raises(ScenarioError, match="more than the 2 people of this run appeared; give --users"):
        cast.next(again=False)


def test_who_has_left_comes_on_again_for_what_is_still_ahead() -> None:
    """What they were to do before is done, or was missed; nothing is done a second time."""
    clock = ManualClock(0)
    cast = cast_of(2, clock)
    assert cast.next(again=False).operations == DAY
    cast.back("p0")
    assert cast.next(again=False).person == "p1"
    clock.jump(20)
    assert cast.next(again=False) == PersonPlan("p0", DAY[2:])


@given(st.lists(st.sampled_from(["come", "go"]), max_size=60), st.randoms(use_true_random=False))
def test_nobody_is_ever_on_twice(steps: list[str], random) -> None:
    """However people come and go, while there is somebody who is not on, with and without `again`."""
    cast = cast_of(5)
    on: list[str] = []
    for step in steps:
        if step == "come" and len(on) < 5:
            on.append(cast.next(again=random.random() < 0.5).person)
        elif step == "go" and on:
            cast.back(on.pop(random.randrange(len(on))))
        assert len(on) == len(set(on))


def test_where_everybody_is_on_a_shape_may_have_more() -> None:
    """For a moment Locust has those who come beside those who go."""
    cast = cast_of(2)
    assert [cast.next(again=True).person for _ in range(3)] == ["p0", "p1", "p0"]
