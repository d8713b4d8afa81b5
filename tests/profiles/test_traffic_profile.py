"""Traffic profiles: what a good one holds, and what is said about a bad one."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest

from quotalab.errors import ProfileError
from quotalab.profiles.reading import read_toml
from quotalab.profiles.traffic import Habits, Quantiles, parse_traffic

OFFICE_DAY = Path(__file__).parents[2] / "profiles" / "traffic" / "office-day.toml"
REMOVED = object()


def good() -> dict[str, Any]:
    """A small profile without a mistake."""
    return {
        "schema": 1,
        "name": "small",
        "title": "A small day",
        "people": 3,
        "arrivals": {"by_hour": [0] * 9 + [3, 1] + [0] * 13},
        "sessions": {"per_person": [1, 3]},
        "operations": {
            "per_session": {"at": [0, 0.5, 1], "values": [1, 2, 6]},
            "think_s": {"at": [0, 1], "values": [10, 30]},
        },
        "mix": {"look": 3, "add": 1},
    }


def test_shares_are_made_to_sum_to_one() -> None:
    """Weights of any scale become shares; the order of the mix is the file's."""
    traffic = parse_traffic(good(), "small.toml")
    assert traffic.arrivals == (0.0,) * 9 + (0.75, 0.25) + (0.0,) * 13
    assert traffic.sessions == (0.25, 0.75)
    assert list(traffic.mix.items()) == [("look", 0.75), ("add", 0.25)]


def test_everything_else_is_kept_as_written() -> None:
    """Names, population, laws and the document itself; a description may be left out."""
    traffic = parse_traffic(good(), "small.toml")
    assert (traffic.name, traffic.title, traffic.description, traffic.people) == (
        "small",
        "A small day",
        "",
        3,
    )
    assert traffic.operations == Quantiles((0.0, 0.5, 1.0), (1.0, 2.0, 6.0))
    assert traffic.think_s == Quantiles((0.0, 1.0), (10.0, 30.0))
    assert traffic.document == good()


def test_people_have_no_habits_unless_there_are_some() -> None:
    """Every share is none by default; times are durations."""
    assert parse_traffic(good(), "small.toml").habits == Habits(
        late_by_ns=1_800_000_000_000, withdraw_after_ns=10_800_000_000_000
    )
    habits = {"deny": 0.25, "close": 0.5, "late_by": "5m", "withdraw": 1, "withdraw_after": "1h"}
    assert parse_traffic({**good(), "habits": habits}, "small.toml").habits == Habits(
        deny=0.25, close=0.5, late_by_ns=300_000_000_000, withdraw=1.0, withdraw_after_ns=3_600_000_000_000
    )


@pytest.mark.parametrize(
    ("habits", "message"),
    [
        ({"deny": 0.6, "close": 0.5}, "habits.deny: and 'close' are more than all people together"),
        ({"untick": 1.5}, "habits.untick: must be a number from 0 to 1, not 1.5"),
        ({"dney": 0.1}, "habits.dney: is not a key that is known here; did you mean 'deny'?"),
    ],
)
def test_wrong_habits_get_one_line(habits: dict[str, Any], message: str) -> None:
    """The file, the key, and what would be right."""
    with pytest.raises(ProfileError) as raised:
        parse_traffic({**good(), "habits": habits}, "small.toml")
    assert str(raised.value) == f"small.toml: {message}"


def test_quantiles_lie_on_straight_lines() -> None:
    """A law meets its table at the given probabilities and is linear between; its mean is the area below."""
    law = Quantiles((0.0, 0.5, 1.0), (1.0, 2.0, 6.0))
    assert [law.value(p) for p in (0.0, 0.25, 0.5, 0.75, 1.0)] == [1.0, 1.5, 2.0, 4.0, 6.0]
    assert law.mean() == 0.5 * 1.5 + 0.5 * 4.0


def test_a_law_may_be_a_single_value() -> None:
    """Two equal quantiles give the same value at every probability."""
    law = Quantiles((0.0, 1.0), (7.0, 7.0))
    assert (law.value(0.0), law.value(0.3), law.value(1.0), law.mean()) == (7.0, 7.0, 7.0, 7.0)


def test_the_bundled_office_day_is_valid() -> None:
    """It names the scenario's four operations, and its laws have the figures that its comments state."""
    traffic = parse_traffic(read_toml(OFFICE_DAY), "office-day.toml")
    assert (traffic.name, traffic.people) == ("office-day", 185)
    assert dict(traffic.mix) == pytest.approx(
        {"look_at_week": 0.45, "open_event": 0.37, "add_event": 0.13, "export_calendar": 0.05}, abs=1e-12
    )
    assert sum(traffic.arrivals) == pytest.approx(1, abs=1e-12)
    assert traffic.arrivals.index(max(traffic.arrivals)) == 14
    assert sum(share * n for n, share in enumerate(traffic.sessions, 1)) == pytest.approx(1.283, abs=0.001)
    assert [traffic.operations.value(p) for p in (0.5, 0.9, 0.99)] == [3, 16, 40]
    assert [traffic.think_s.value(p) for p in (0.5, 0.9, 0.99)] == [39, 202, 1175.58]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("schema", 2, "schema: must be a whole number of at most 1, not 2"),
        ("name", REMOVED, "name: is missing; it must be a text"),
        ("people", 0, "people: must be a whole number of 1 or more, not 0"),
        ("people", 2.5, "people: must be a whole number of 1 or more, not 2.5"),
        ("arrivals", REMOVED, "arrivals: is missing; it must be a table"),
        ("arrivals.by_hour", [1, 2],
         "arrivals.by_hour: must be a list of 24 numbers of 0 or more, not [1, 2]"),
        ("arrivals.by_hour", [0] * 24, "arrivals.by_hour: must hold at least one number above 0"),
        ("arrivals.by_hour", [math.inf] * 24, "arrivals.by_hour: must hold finite numbers"),
        ("sessions.per_person", [], "sessions.per_person: must hold at least one number above 0"),
        ("sessions.per_person", [1, -1],
         "sessions.per_person: must be a list of numbers of 0 or more, not [1, -1]"),
        ("sessions.per_person", [1, math.nan],
         "sessions.per_person: must be a list of numbers of 0 or more, not [1, nan]"),
        ("sessions.mean", 1, "sessions.mean: is not a key that is known here; known here: per_person"),
        ("operations.per_session.at", [0.1, 0.5, 1], "operations.per_session.at: must rise from 0 to 1"),
        ("operations.per_session.at", [0, 0.5, 0.9], "operations.per_session.at: must rise from 0 to 1"),
        ("operations.per_session.at", [0, 0, 1], "operations.per_session.at: must rise from 0 to 1"),
        ("operations.per_session.values", [0.4, 2, 6],
         "operations.per_session.values: must be a list of 3 numbers of 1 or more, not [0.4, 2, 6]"),
        ("operations.per_session.values", [1, 2],
         "operations.per_session.values: must be a list of 3 numbers of 1 or more, not [1, 2]"),
        ("operations.per_session.values", [1, 2, 20_000],
         "operations.per_session.values: must be at most 10000, not 20000"),
        ("operations.think_s", {"at": [1], "values": [1]}, "operations.think_s.at: must rise from 0 to 1"),
        ("operations.think_s.values", [30, 10],
         "operations.think_s.values: must not fall: they are quantiles"),
        ("operations.think_s.values", [10, math.inf],
         "operations.think_s.values: must be at most 86400, not inf"),
        ("operations.think", 10, "operations.think: is not a key that is known here; did you mean 'think_s'?"),
        ("mix", {}, "mix: must hold at least one number above 0"),
        ("mix", {"look": 0.0}, "mix: must hold at least one number above 0"),
        ("mix", {"look": math.inf}, "mix: must hold finite numbers"),
        ("mix.look", "often", "mix.look: must be a number of 0 or more, not 'often'"),
        ("users", 3, "users: is not a key that is known here; known here: arrivals, description, events, "
         "habits, kind, mix, name, operations, people, schema, sessions, title"),
    ],
)  # fmt: skip
def test_a_mistake_gets_one_line(key: str, value: Any, message: str) -> None:
    """The line names the file, the key and what would be right."""
    document = copy.deepcopy(good())
    *tables, last = key.split(".")
    table = document
    for name in tables:
        table = table[name]
    if value is REMOVED:
        del table[last]
    else:
        table[last] = value
    with pytest.raises(ProfileError) as raised:
        parse_traffic(document, "small.toml")
    assert str(raised.value) == f"small.toml: {message}"
