"""The published comparison of backoff policies, reproduced; and the same policies where the ranking changes."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from quotalab.clock import ManualClock, SeededEntropy
from quotalab.traffic.backoff import POLICIES, Backoff, contend, under_quota

QUICK = {10: 300, 50: 60, 100: 24}
FULL = {10: 2000, 50: 500, 100: 200}
NEAR = 3.5
"""Combined standard errors."""


@dataclass(frozen=True)
class Cell:
    """Mean and standard error of a policy's calls and time."""

    calls: float
    calls_se: float
    time: float
    time_se: float


def measured(policy: str, clients: int, runs: int, backoff: Backoff | None = None) -> Cell:
    """Some runs of our model."""
    outcomes = [contend(policy, clients, SeededEntropy(1), run, backoff=backoff) for run in range(runs)]
    calls, times = np.array([o.calls for o in outcomes]), np.array([o.time_ms for o in outcomes])
    root = runs**0.5
    return Cell(calls.mean(), calls.std(ddof=1) / root, times.mean(), times.std(ddof=1) / root)


@pytest.fixture(scope="session")
def published(recorded_folder: Path) -> dict[tuple[str, int], Cell]:
    """The reference table."""
    with (recorded_folder / "backoff" / "aws-backoff-table.csv").open(encoding="utf-8") as file:
        return {
            (row["backoff"], int(row["clients"])): Cell(
                float(row["mean_calls"]),
                float(row["se_calls"]),
                float(row["mean_time"]),
                float(row["se_time"]),
            )
            for row in csv.DictReader(file)
        }


def apart(ours: Cell, theirs: Cell) -> tuple[float, float]:
    """How many combined standard errors lie between the calls and between the times."""
    return (
        (ours.calls - theirs.calls) / float(np.hypot(ours.calls_se, theirs.calls_se)),
        (ours.time - theirs.time) / float(np.hypot(ours.time_se, theirs.time_se)),
    )


def check(published: dict[tuple[str, int], Cell], runs: dict[int, int]) -> None:
    """Every cell near the published one, and the orderings that its notes tell."""
    cells = {(policy, n): measured(policy, n, runs[n]) for n in runs for policy in POLICIES}
    for key, cell in cells.items():
        calls, time = apart(cell, published[key])
        assert abs(calls) < NEAR, key
        assert abs(time) < NEAR, key
    for n in (50, 100):
        calls = {policy: cells[policy, n].calls for policy in POLICIES}
        assert calls["none"] > calls["exp"] > calls["decorrelated jitter"] > calls["equal jitter"]
        assert calls["equal jitter"] > calls["exp+full jitter"]
        time = {policy: cells[policy, n].time for policy in POLICIES}
        assert time["none"] < time["decorrelated jitter"] < time["exp+full jitter"] < time["equal jitter"]
        assert 12 < time["exp"] / time["exp+full jitter"] < 15
    ten = {policy: cells[policy, 10] for policy in POLICIES}
    assert min(ten, key=lambda policy: ten[policy].calls) == "decorrelated jitter"
    assert ten["none"].calls == pytest.approx(ten["exp"].calls, rel=0.03)
    assert 7 < ten["exp"].time / ten["exp+full jitter"].time < 8


def test_the_published_comparison_is_met_by_few_runs(published: dict[tuple[str, int], Cell]) -> None:
    """Calls and time of all five policies at 10, 50 and 100 clients."""
    check(published, QUICK)


@pytest.mark.full
def test_the_published_comparison_is_met_by_many_runs(published: dict[tuple[str, int], Cell]) -> None:
    """The same with 2,000, 500 and 200 runs."""
    check(published, FULL)


@pytest.mark.parametrize("policy", ["exp+full jitter", "equal jitter"])
def test_an_exponent_off_by_one_is_caught(policy: str, published: dict[tuple[str, int], Cell]) -> None:
    """A first wait of the base instead of twice the base makes 9 % more calls, far from the published ones."""
    wrong = measured(policy, 100, QUICK[100], Backoff(first_exponent=0))
    right = published[policy, 100]
    assert wrong.calls / right.calls == pytest.approx(1.09, abs=0.03)
    assert apart(wrong, right)[0] > 3 * NEAR


class Half(Random):
    """Always draws the middle."""

    def random(self) -> float:
        return 0.5


@pytest.mark.parametrize(
    ("policy", "waits"),
    [
        ("none", [0, 0, 0]),
        ("exp", [10, 20, 40]),
        ("exp+full jitter", [5, 10, 20]),
        ("equal jitter", [7.5, 15, 30]),
        ("decorrelated jitter", [10, 17.5, 28.75]),
    ],
)
def test_waits_are_those_of_the_source(policy: str, waits: list[float]) -> None:
    """By hand, with every draw in the middle; the cap of 2,000 ms is kept after many failures."""
    before, found = 5.0, []
    for attempt in (1, 2, 3):
        before = POLICIES[policy](Backoff(), Half(), attempt, before)
        found.append(before)
    assert found == waits
    assert POLICIES[policy](Backoff(), Half(), 60, 1e9) <= 2000


def test_a_run_takes_virtual_time_alone_and_repeats() -> None:
    """The clock stands at the last event; the same seed gives the same run, another another."""
    clock = ManualClock(1_000)
    first = contend("exp", 5, SeededEntropy(1), 0, clock=clock)
    assert clock.now_ns() - 1_000 == first.time_ms * 1_000_000
    assert contend("exp", 5, SeededEntropy(1), 0) == first
    assert contend("exp", 5, SeededEntropy(2), 0) != first


def test_without_delay_and_chance_contention_is_exact() -> None:
    """Of n clients that read and write at the same instants one is done in each round."""
    outcome = contend("none", 4, SeededEntropy(1), 0, delay_ms=(10, 0))
    assert (outcome.calls, outcome.time_ms) == (4 + 3 + 2 + 1, 4 * 40)


def hourly(policy: str, runs: int = 10) -> dict[str, Any]:
    """15 clients want one call each of ten an hour; waits from 1 s to 10 min."""
    outcomes = [
        under_quota(
            policy,
            15,
            SeededEntropy(1),
            run,
            backoff=Backoff(base_ms=1000, cap_ms=600_000),
            limit=10,
            window_ms=3_600_000,
        )
        for run in range(runs)
    ]
    return {
        "calls": np.mean([o.calls for o in outcomes]),
        "time_s": np.mean([o.time_ms for o in outcomes]) / 1000,
    }


def test_under_an_hourly_quota_the_ranking_changes() -> None:
    """Jitter makes fewer calls where clients contend, and more where the quota comes back by the clock alone.

    There the plain exponential makes fewest of the five, decorrelated jitter most but for no backoff at all,
    and whoever obeys Retry-After asks twice at most and is done first.
    """
    found = {policy: hourly(policy, 1 if policy == "none" else 10) for policy in (*POLICIES, "Retry-After")}
    calls = [
        found[policy]["calls"]
        for policy in ("exp", "equal jitter", "exp+full jitter", "decorrelated jitter", "none")
    ]
    assert calls == sorted(calls)
    assert calls[-1] > 100_000
    assert found["Retry-After"]["calls"] == 15 + 5
    assert found["Retry-After"]["time_s"] == pytest.approx(3600.2, abs=0.2)
    assert all(found[policy]["time_s"] > 3660 for policy in POLICIES if policy != "none")
