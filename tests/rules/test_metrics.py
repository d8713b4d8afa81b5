"""The figures that no single rule owns, and words for times."""

from __future__ import annotations

import pytest

from quotalab.frames import load
from quotalab.frames.testing import START_NS, LedgerBuilder
from quotalab.rules import demand, metrics, waits_ns
from quotalab.rules.metrics import quantile_ns
from quotalab.rules.times import clock_time, count, duration, iso, share

SECOND = 10**9
HOUR = 3600 * SECOND


def test_nothing_measured_is_none_not_zero(tmp_path):
    """Without calls and operations there is no wait, no amplification and no demand."""
    found = metrics(load(LedgerBuilder().write(tmp_path / "run")))
    assert found["calls"] == found["operations"] == 0
    for name in (
        "wait_p50_s",
        "wait_p95_s",
        "calls_per_operation",
        "retry_amplification",
        "demand_peak_per_hour",
    ):
        assert found[name] is None


def test_waits_count_from_planned_and_only_of_the_answered(tmp_path):
    """A late start is part of the wait; declined, failed and abandoned operations have none."""
    ledger = LedgerBuilder()
    ledger.operation(10, 14, started=START_NS + 13 * SECOND)
    ledger.operation(20, 21, outcome="stale")
    for outcome in ("declined", "failed", "abandoned"):
        ledger.operation(30, 99, outcome=outcome)
    frames = load(ledger.write(tmp_path / "run"))
    assert waits_ns(frames).tolist() == [4 * SECOND, SECOND]
    found = metrics(frames)
    assert (found["wait_p50_s"], found["wait_p95_s"]) == (1.0, 4.0)
    outcomes = [found[f"operations_{w}"] for w in ("done", "stale", "declined", "failed", "abandoned")]
    assert outcomes == [1, 1, 1, 1, 1]


def test_quantiles_are_values_that_occurred():
    """Nearest rank: of 1 to 20 the 95th percentile is 19, of 1 to 21 it is 20."""
    assert quantile_ns(range(1, 21), 0.95) == 19
    assert quantile_ns(range(1, 22), 0.95) == 20
    assert quantile_ns([7], 0.5) == 7


def test_amplification_is_calls_for_each_first_attempt(tmp_path):
    """Four calls to the API, one of them a retry: 4/3. Calls to other endpoints do not count."""
    ledger = LedgerBuilder()
    ledger.call(0, refused_by="hourly", operation="a", target="x")
    ledger.call(5, operation="a", target="x")
    ledger.call(6, target="y")
    ledger.call(7, target="z")
    ledger.call(8, kind="token", target="t", status=503)
    ledger.call(9, kind="token", target="t")
    found = metrics(load(ledger.write(tmp_path / "run")))
    assert found["retry_amplification"] == 4 / 3
    assert (found["calls"], found["api_calls"], found["refused"]) == (6, 4, 1)


def test_demand_is_planned_operations_times_the_mean_calls_of_done_ones_of_the_name(tmp_path):
    """Two looks at 1 and 3 calls make 2 a look; a name never done takes the mean of all done ones."""
    ledger = LedgerBuilder(span_ns=3 * HOUR)
    ledger.operation(10, name="look", operation="one")
    ledger.operation(3600, name="look", operation="two")
    ledger.operation(3700, name="look", outcome="declined")
    ledger.operation(7200, name="sync", outcome="failed", operation="four")
    ledger.call(10, operation="one")
    for at in (3600, 3601, 3602):
        ledger.call(at, operation="two")
    ledger.call(
        3800, refused_by="hourly", operation="two"
    )  # an attempt of the app's, not a want of the person's
    ledger.call(7200, operation="four")
    table = demand(load(ledger.write(tmp_path / "run")))
    assert table.index.tolist() == [START_NS, START_NS + HOUR, START_NS + 2 * HOUR]
    assert table["planned"].tolist() == [1, 2, 1]
    assert table["demand"].tolist() == [2, 4, 2]
    assert table["admitted"].tolist() == [1, 3, 1]
    assert table["refused"].tolist() == [0, 1, 0]


def test_what_the_provider_failed_to_answer_is_neither_demand_nor_admitted(tmp_path):
    """Two errors and a lost answer before the one that was good: a look takes the two that were answered."""
    ledger = LedgerBuilder(span_ns=2 * HOUR)
    ledger.operation(10, name="look", operation="one")
    ledger.operation(3700, name="look", outcome="failed", operation="two")
    for at, status in ((10, 503), (11, 500), (12, 0), (13, 200), (14, 499), (3700, 503)):
        ledger.call(at, operation="one" if at < 3600 else "two", status=status)
    table = demand(load(ledger.write(tmp_path / "run")))
    assert table["demand"].tolist() == [2, 2]
    assert table["admitted"].tolist() == [2, 0]
    assert table["failed"].tolist() == [3, 1]
    assert table["refused"].tolist() == [0, 0]


def test_demand_where_nothing_was_done_is_a_call_each(tmp_path):
    """With no done operation to learn from, an operation is taken to want one call."""
    ledger = LedgerBuilder(span_ns=HOUR)
    ledger.operation(10, outcome="failed", calls=5)
    assert demand(load(ledger.write(tmp_path / "run")))["demand"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 s"),
        (80_000_000, "80 ms"),
        (2_500_000_000, "2.5 s"),
        (59_900_000_000, "1 min"),
        (2800 * SECOND, "46 min 40 s"),
        (HOUR, "1 h"),
        (HOUR + 12 * 60 * SECOND + 59 * SECOND, "1 h 12 min"),
        (24 * HOUR, "24 h"),
        (51 * HOUR, "2 d 3 h"),
        (-SECOND, "-1 s"),
    ],
)
def test_durations_in_words(ns, text):
    """At most two units, rounded to three digits below a minute and cut off above."""
    assert duration(ns) == text


def test_times_in_words():
    """RFC 3339 with the decimals it takes; for people, cut off and with the day."""
    at = START_NS + 9 * HOUR + 250_000_000
    assert iso(at) == "2026-01-05T09:00:00.25Z"
    assert iso(START_NS) == "2026-01-05T00:00:00Z"
    assert clock_time(at) == "Mon 5 Jan 09:00:00"
    assert clock_time(at, day=False, decimals=3) == "09:00:00.250"


def test_counts_and_shares_in_words():
    """One call, two calls, one person, two people; percent with three digits at most."""
    assert [count(1, "call"), count(2012, "call")] == ["1 call", "2,012 calls"]
    assert [count(1, "person", "people"), count(0, "person", "people")] == ["1 person", "0 people"]
    assert [share(0.025), share(-5.86), share(0.9999), share(123.4)] == [
        "2.5 %",
        "-586 %",
        "100 %",
        "12,340 %",
    ]
