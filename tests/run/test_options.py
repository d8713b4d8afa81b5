"""Options of a run: spans and starts, exact to the nanosecond."""

from __future__ import annotations

import pytest

from quotalab.clock import ManualClock
from quotalab.errors import InputError
from quotalab.run.options import DEFAULT_START_NS, parse_span_ns, parse_start_ns
from quotalab.run.timings import Timings

S = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "span_ns"),
    [
        ("24h", 86_400 * S),
        ("90s", 90 * S),
        ("1h 30m", 5400 * S),
        ("1.5h", 5400 * S),
        ("7d", 604_800 * S),
        ("1ns", 1),
    ],
)
def test_a_span_is_exact(text: str, span_ns: int) -> None:
    """Durations are read without floats."""
    assert parse_span_ns("--for", text) == span_ns


@pytest.mark.parametrize("text", ["", "0s", "367d", "-1h", "1 fortnight", "h", "1e3s"])
def test_a_wrong_span_names_the_option(text: str) -> None:
    """Nothing, too much, or no duration at all."""
    with pytest.raises(InputError, match=r"^--for: "):
        parse_span_ns("--for", text)


@pytest.mark.parametrize(
    ("text", "start_ns"),
    [
        ("2026-01-05", DEFAULT_START_NS),
        ("2026-01-05T00:00", DEFAULT_START_NS),
        ("2026-01-05T01:00+01:00", DEFAULT_START_NS),
        ("2026-01-05T00:00:00.000001Z", DEFAULT_START_NS + 1000),
    ],
)
def test_a_start_is_utc_unless_it_says_otherwise(text: str, start_ns: int) -> None:
    """ISO 8601, exact to the microsecond."""
    assert parse_start_ns(text) == start_ns


@pytest.mark.parametrize("text", ["yesterday", "1969-12-31", "2500-01-01", ""])
def test_a_wrong_start_names_the_option(text: str) -> None:
    """No date, or one that cannot be simulated."""
    with pytest.raises(InputError, match=r"^--start: "):
        parse_start_ns(text)


def test_timings_add_up() -> None:
    """Each stage gets the time since the one before; the whole is compared with the span."""
    clock = ManualClock(0)
    timings = Timings(clock)
    clock.jump(2 * S)
    timings.done("one")
    clock.jump(6 * S)
    timings.done("two")
    assert timings.table(86_400 * S).splitlines()[1:] == [
        "     2.00 s  one",
        "     6.00 s  two",
        "     8.00 s  in all: 10,800 times real time",
    ]
