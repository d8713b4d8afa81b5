"""Exact statistics, held against counting every case."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotalab.nightly.statistics import (
    corrected,
    greater_by_chance,
    rank_biserial,
    share_at_most,
    signs_by_chance,
)

DIFFERENCES = st.lists(st.integers(-6, 6), max_size=9)


@pytest.mark.parametrize(
    ("cases", "trials", "bound"),
    [(0, 59, 0.04951), (0, 200, 0.01487), (0, 1, 0.95), (1, 20, 0.21611), (3, 10, 0.60662), (0, 3, 0.63160)],
)
def test_the_bound_on_a_share_is_that_of_the_tables(cases: int, trials: int, bound: float) -> None:
    """Clopper and Pearson's upper bound at 95 %, one-sided."""
    assert share_at_most(cases, trials) == pytest.approx(bound, abs=1e-5)


def test_no_trials_or_all_cases_bound_nothing() -> None:
    """Where nothing was tried, or all was a case, the bound is 1."""
    assert share_at_most(0, 0) == 1.0
    assert share_at_most(7, 7) == 1.0
    with pytest.raises(ValueError, match="3 cases in 2 trials"):
        share_at_most(3, 2)


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))))
def test_at_the_bound_so_few_cases_have_the_probability_left_over(case: tuple[int, int]) -> None:
    """By exact fractions: P(X <= cases) at the bound is 5 %."""
    cases, trials = case
    share = Fraction(share_at_most(cases, trials))
    left = sum(math.comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(cases + 1))
    assert float(left) == pytest.approx(0.05, rel=1e-6)


@given(DIFFERENCES)
def test_the_sign_test_counts_every_pattern_of_signs(differences: list[int]) -> None:
    """Of all patterns of signs, the share that has at least as many positive ones."""
    kept = [d for d in differences if d]
    ups = sum(d > 0 for d in kept)
    patterns = list(itertools.product((0, 1), repeat=len(kept)))
    assert signs_by_chance(differences) == sum(sum(p) >= ups for p in patterns) / len(patterns)


@given(DIFFERENCES)
def test_the_permutation_test_counts_every_flip(differences: list[int]) -> None:
    """Of all ways to flip the signs, the share whose sum is at least the one seen."""
    flips = list(itertools.product((1, -1), repeat=len(differences)))
    seen = sum(differences)
    sums = [sum(s * d for s, d in zip(flip, differences, strict=True)) for flip in flips]
    assert greater_by_chance(differences) == sum(one >= seen for one in sums) / len(flips)


def test_eight_seeds_that_all_rose_are_one_in_256() -> None:
    """As much as eight pairs can say; seven of eight say less; equal runs say nothing."""
    assert greater_by_chance([0.1] * 8) == signs_by_chance([3.0] * 8) == 1 / 256
    assert signs_by_chance([1.0] * 7 + [-1.0]) == 9 / 256
    assert greater_by_chance([0.0] * 8) == signs_by_chance([]) == 1.0
    assert greater_by_chance([1.0] * 40) == 2.0**-40  # too many to enumerate: by signs


@pytest.mark.parametrize(
    ("differences", "size"),
    [([1, 2, 3], 1.0), ([-1, -2, -3], -1.0), ([1, -1], 0.0), ([3, -1], 1 / 3), ([0, 0], 0.0), ([], 0.0)],
)
def test_the_effect_runs_from_all_fell_to_all_rose(differences: list[float], size: float) -> None:
    """The ranks of what rose less the ranks of what fell, out of all ranks."""
    assert rank_biserial(differences) == pytest.approx(size)


def test_tests_that_could_never_show_anything_cost_the_others_nothing() -> None:
    """Tarone's correction: nine figures that did not change leave the tenth its whole level."""
    assert corrected([1 / 256] + [1.0] * 9, [1 / 256] + [1.0] * 9) == [1 / 256] + [1.0] * 9
    # Three that could: 0.05 / 3 is still within reach of each, so each counts three times.
    assert corrected([0.01, 0.004, 0.5], [0.002, 0.004, 0.01]) == pytest.approx([0.03, 0.012, 1.0])
    # Two that could alone, but not once two are counted: neither is worth anything.
    assert corrected([0.04, 0.04], [0.04, 0.04]) == [1.0, 1.0]
    assert corrected([], []) == []


@settings(deadline=None)  # how long it takes depends on the sizes drawn
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=6))
def test_false_alarms_stay_within_the_level_whatever_the_tests_can_give(
    sizes: list[tuple[int, int]],
) -> None:
    """By the union bound over the smallest values each test takes: at most 5 % in all."""
    least = [2.0 ** -max(pair) for pair in sizes]
    # The largest p of each test, of those that it can take, that would still be called significant.
    alarms = 0.0
    for i, one in enumerate(least):
        steps = [one * k for k in range(1, int(0.06 / one) + 1)]
        found = [
            p for p in steps if corrected([p if j == i else 1.0 for j in range(len(least))], least)[i] <= 0.05
        ]
        alarms += max(found, default=0.0)
    assert alarms <= 0.05 + 1e-12
