"""Limiters: against brute force on anything, against the reference rows on recorded traces."""

from __future__ import annotations

import csv
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotalab.errors import InputError
from quotalab.traces import Trace
from quotalab.traces.limiters import FixedWindow, Limiter, SlidingLog, TokenBucket, refused
from quotalab.traffic.comparing import LIMITERS


def brute_force(times: list[int], limiter: Limiter) -> list[bool]:
    """One source's requests in order, decided one by one."""
    found = []
    accepted: list[int] = []
    level, last = Fraction(limiter.burst if isinstance(limiter, TokenBucket) else 0), 0
    for t in times:
        if isinstance(limiter, TokenBucket):
            level = min(Fraction(limiter.burst), level + Fraction(t - last, limiter.interval_ns))
            last = t
            passes = level >= 1
            level -= passes
        elif isinstance(limiter, SlidingLog):
            passes = sum(1 for one in accepted if t - limiter.window_ns < one <= t) < limiter.limit
        else:
            passes = (
                sum(1 for one in accepted if one // limiter.window_ns == t // limiter.window_ns)
                < limiter.limit
            )
        if passes:
            accepted.append(t)
        found.append(not passes)
    return found


limiters = st.one_of(
    st.builds(TokenBucket, st.integers(1, 9), st.integers(1, 5)),
    st.builds(SlidingLog, st.integers(1, 5), st.integers(1, 20)),
    st.builds(FixedWindow, st.integers(1, 5), st.integers(1, 20)),
)


@given(st.lists(st.tuples(st.integers(0, 80), st.integers(0, 3)), max_size=60), limiters)
def test_every_decision_is_that_of_brute_force(rows: list[tuple[int, int]], limiter: Limiter) -> None:
    """Each source has its own limiter; rows in any order; ties and boundaries included."""
    at, source = (
        np.array(column, dtype=np.int64) for column in (zip(*rows, strict=True) if rows else ([], []))
    )
    found = refused(at, source, limiter)
    for code in range(4):
        mine = np.flatnonzero(source == code)
        order = mine[np.argsort(at[mine], kind="stable")]
        assert found[order].tolist() == brute_force(at[order].tolist(), limiter)


def test_times_that_would_wrap_are_refused() -> None:
    """Arithmetic is exact or not done."""
    with pytest.raises(InputError, match="cannot be counted exactly"):
        refused(np.array([2**62]), np.array([0]), TokenBucket(1, 1))


@pytest.mark.parametrize("name", ["epa_1995_08_29", "erddap_voto_2024"])
def test_the_reference_rows_are_met_exactly(
    name: str, recorded: Callable[[str], Trace], recorded_folder: Path
) -> None:
    """All eight limiters of each recorded trace with sources, to the request."""
    with (recorded_folder / "traces" / "limiter-reference.csv").open(encoding="utf-8") as file:
        rows = {row["limiter"]: int(row["refused"]) for row in csv.DictReader(file) if row["trace"] == name}
    trace = recorded(name)
    assert {
        limiter: int(refused(trace.at_ns, trace.source, one).sum()) for limiter, one in LIMITERS.items()
    } == rows
