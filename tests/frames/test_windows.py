"""The window arithmetic against the plainest counting there is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotalab.errors import InputError
from quotalab.frames import largest_in_any_window, use_curve

# Few keys, few instants and short windows, so that ties and hits on a window's edge are common.
ROWS = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=30
)
WINDOWS = st.integers(1, 12)


def columns(rows, *, start_ns=0):
    at, key, cost, admitted = zip(*rows, strict=True) if rows else ((), (), (), ())
    return (
        np.array(at, dtype=np.int64) + start_ns,
        np.array(key, dtype=np.int64),
        np.array(cost, dtype=np.int64),
        np.array(admitted, dtype=bool),
    )


def brute_peaks(rows, window, weigh):
    """For each key, (largest sum, earliest call that completes it), over every window that ends with a call."""
    peaks = {}
    for at, key, _, _ in rows:
        total = sum(weigh(row) for row in rows if row[1] == key and at - window < row[0] <= at)
        best = peaks.get(key)
        if best is None or total > best[0] or (total == best[0] and at < best[1]):
            peaks[key] = (total, at)
    return peaks


def as_dict(peaks):
    return {int(k): (int(n), int(t)) for k, n, t in zip(peaks.key, peaks.largest, peaks.at_ns, strict=True)}


@given(ROWS, WINDOWS)
def test_largest_count_is_that_of_brute_force(rows, window):
    """The largest count of each key, and when it was reached, are those of trying every window."""
    at, key, _, _ = columns(rows, start_ns=1_767_571_200_000_000_000)
    expected = {
        k: (n, t + 1_767_571_200_000_000_000)
        for k, (n, t) in brute_peaks(rows, window, lambda row: 1).items()
    }
    assert as_dict(largest_in_any_window(at, key, window)) == expected


@given(ROWS, WINDOWS)
def test_largest_sum_of_costs_is_that_of_brute_force(rows, window):
    """Weighted by cost, the peaks are those of trying every window."""
    at, key, cost, _ = columns(rows)
    expected = brute_peaks(rows, window, lambda row: row[2])
    assert as_dict(largest_in_any_window(at, key, window, cost)) == expected


def test_a_call_one_period_after_another_is_not_in_its_window():
    """Windows are half-open: calls exactly W apart never count together, calls W - 1 apart do."""
    key = np.zeros(2, dtype=np.int64)
    assert largest_in_any_window(np.array([5, 15]), key, 10).largest.tolist() == [1]
    assert largest_in_any_window(np.array([5, 14]), key, 10).largest.tolist() == [2]


def test_the_last_call_of_one_key_is_not_in_the_window_of_the_next():
    """On the composite axis a key's first call does not see the end of the key before it."""
    at, key = np.array([100, 100, 0, 0]), np.array([0, 0, 1, 1])
    assert as_dict(largest_in_any_window(at, key, 10)) == {0: (2, 100), 1: (2, 0)}


def test_keys_far_apart_need_no_room_between():
    """Two codes a trillion apart are counted without laying out the codes between them."""
    at, key = np.array([1, 2, 3]), np.array([0, 10**12, 10**12])
    assert as_dict(largest_in_any_window(at, key, 10)) == {0: (1, 1), 10**12: (2, 3)}


@pytest.mark.parametrize("keys", [2, 3, 50])
def test_an_axis_that_does_not_fit_is_taken_in_parts(keys):
    """With a window so long that few keys fit into 63 bits, the counts are those of each key by itself."""
    window = 2**62 - 10  # two keys do not fit together
    rng = np.random.default_rng(1)
    at, key = rng.integers(0, 5, 400), rng.integers(0, keys, 400)
    counts = np.bincount(key, minlength=keys).tolist()
    assert largest_in_any_window(at, key, window).largest.tolist() == counts


def test_times_that_cannot_lie_on_one_axis_are_refused():
    """A span and a window that together need 64 bits are an error, and nothing wraps."""
    at = np.array([0, 2**62 + 2**61])
    with pytest.raises(InputError, match="do not fit into 63 bits"):
        largest_in_any_window(at, np.zeros(2, dtype=np.int64), 2**62)


def test_costs_whose_sum_would_wrap_are_refused():
    """Costs that add up to 2**62 or more are an error; the largest that do not are counted."""
    at, key = np.array([1, 2, 3]), np.zeros(3, dtype=np.int64)
    with pytest.raises(InputError, match=r"2\*\*62"):
        largest_in_any_window(at, key, 10, np.full(3, 2**61))
    costs = np.array([2**61, 2**60, 0])
    assert largest_in_any_window(at, key, 10, costs).largest.tolist() == [2**61 + 2**60]


def test_a_row_without_a_key_is_refused():
    """The code -1 of a missing category is no key to count under."""
    with pytest.raises(InputError, match="without a key"):
        largest_in_any_window(np.array([1]), np.array([-1]), 10)


def test_nothing_has_no_peaks():
    """No rows, no peaks."""
    none = np.empty(0, dtype=np.int64)
    assert len(largest_in_any_window(none, none, 10).key) == 0


@given(ROWS, WINDOWS)
def test_the_curve_of_use_peaks_where_the_windows_do(rows, window):
    """The highest step of the use curve is the largest sum in any window, and the curve ends at 0."""
    rows = [row for row in rows if row[1] == 0]
    at, key, cost, _ = columns(rows)
    times, use = use_curve(at, cost, window)
    if not rows:
        assert len(times) == 0
        return
    assert int(use.max()) == int(largest_in_any_window(at, key, window, cost).largest[0])
    assert int(use[-1]) == 0
    assert (np.diff(times) > 0).all()
