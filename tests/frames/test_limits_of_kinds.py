"""How near each kind of limit came to its end, and the calls that made it so."""

from __future__ import annotations

import numpy as np
import pytest

from quotalab.frames import limit_uses, load, window_rows
from quotalab.frames.curves import use_curves
from quotalab.frames.testing import START_NS, LedgerBuilder, provider_document
from quotalab.frames.windows import largest_in_any_window

SECOND = 10**9


def use_of(path, limit, calls, **document):
    """(frames, the limit's use) of decided calls."""
    ledger = LedgerBuilder(provider_document({"l": limit}, **document), span_ns=100 * SECOND)
    for at, columns in calls:
        ledger.decided_call(at, **columns)
    frames = load(ledger.write(path))
    return frames, limit_uses(frames)[0]


def curves_of(frames, use):
    """The curves as (name, [(seconds, level), ...])."""
    return [
        (one.name, list(zip(((one.at_ns - START_NS) / SECOND).tolist(), one.level.tolist(), strict=True)))
        for one in use_curves(frames, use)
    ]


def seconds(use):
    return ((use.from_ns - START_NS) / SECOND, (use.peak_at_ns - START_NS) / SECOND)


def test_a_bucket_is_as_full_as_everything_asked_makes_it(tmp_path):
    """Five asked of three at 4 s, when it was empty, and a sixth half a token later: 5.5, rounded up."""
    limit = {"kind": "token_bucket", "capacity": 3, "rate": "1/1s"}
    frames, use = use_of(tmp_path / "run", limit, [(0, {}), *[(4, {})] * 5, (4.5, {}), (20, {})])
    assert (use.peak_asked, use.number, use.refused, seconds(use)) == (6, 3, 3, (4, 4.5))
    assert window_rows(frames, use)["seq"].tolist() == [1, 2, 3, 4, 5, 6]
    (asked, steps), (admitted, inside) = curves_of(frames, use)
    assert (asked, admitted) == ("asked", "admitted")
    assert steps[:3] == [(0, 0), (0, 1), (1, 0)]
    assert (4.5, 5.5) in steps
    assert (10, 0) in steps
    # Of the call at 4.5 s half a token was there to be had, which is not enough.
    assert max(level for _, level in inside) == 3


def test_a_balance_is_what_was_spent_in_each_period(tmp_path):
    """Twelve of ten in the second period; what was overspent in the first is not counted again."""
    limit = {"kind": "balance", "credits": 10, "period": "10s", "cost": {"base": 0, "per_object": 1}}
    calls = [(1, {"objects": 11}), (12, {"objects": 9}), (13, {"objects": 3})]
    frames, use = use_of(tmp_path / "run", limit, calls)
    assert (use.peak_asked, use.headroom, seconds(use)) == (12, -0.2, (10, 13))
    assert curves_of(frames, use)[0][1] == [(1, 11), (10, 0), (12, 9), (13, 12), (20, 0)]


def test_a_balance_without_end_adds_up(tmp_path):
    """Never refilled: all of the run."""
    frames, use = use_of(tmp_path / "run", {"kind": "balance", "credits": 5}, [(0, {}), (50, {}), (90, {})])
    assert (use.peak_asked, use.peak_at_ns - START_NS, len(window_rows(frames, use))) == (3, 90 * SECOND, 3)


def test_at_once_counts_those_under_way_and_the_one_that_asks(tmp_path):
    """Two of two under way at 3 s and a third that asks: the first, which ended at 2 s, is not among them."""
    until = [2, 9, 9, None]
    calls = [(i, {"answered_ns": end and end * SECOND}) for i, end in enumerate(until)]
    frames, use = use_of(tmp_path / "run", {"kind": "concurrency", "limit": 2}, calls)
    assert (use.peak_asked, use.number, use.refused) == (3, 2, 1)
    assert window_rows(frames, use)["seq"].tolist() == [1, 2, 3]
    (_, asked), (_, admitted) = curves_of(frames, use)
    assert asked == [(0, 1), (1, 2), (2, 1), (2, 2), (3, 3), (3, 2), (9, 1), (9, 0)]
    assert max(level for _, level in admitted) == 2


def test_members_are_those_who_asked(tmp_path):
    """Three people asked for two seats: 150 %, but nothing that needs headroom."""
    calls = [(i, {"person": name}) for i, name in enumerate(["ann", "bob", "ann", "cem"])]
    frames, use = use_of(tmp_path / "run", {"kind": "cardinality", "limit": 2, "of": "person"}, calls)
    assert (use.peak_asked, use.utilisation, use.refused, use.is_for_filling) == (3, 1.5, 1, True)
    assert window_rows(frames, use)["seq"].tolist() == [0, 1, 3]
    assert [level for _, level in curves_of(frames, use)[0][1]] == [1, 2, 2, 3]


def test_a_penalty_counts_up_to_its_block(tmp_path):
    """Three 403s where two are forgiven: 3 of 2, then from nothing."""
    limit = {"kind": "penalty", "statuses": [403], "threshold": 2, "window": "10s", "block": "4s"}
    calls = [(at, {"status": 403}) for at in (0, 1, 2)] + [(3, {}), (7, {"status": 403})]
    frames, use = use_of(tmp_path / "run", limit, calls)
    assert (use.peak_asked, use.number, use.refused) == (3, 2, 1)
    assert window_rows(frames, use)["seq"].tolist() == [0, 1, 2]
    assert curves_of(frames, use) == [
        ("asked", [(0, 1), (1, 2), (2, 3), (2, 2), (2, 1), (2, 0), (7, 1), (17, 0)])
    ]


def test_a_penalty_that_nothing_counted_for_has_no_calls(tmp_path):
    """Asked and never counted: 0 of 2, and nothing to show."""
    limit = {"kind": "penalty", "statuses": [403], "threshold": 2, "window": "10s", "block": "4s"}
    frames, use = use_of(tmp_path / "run", limit, [(0, {})])
    assert (use.peak_asked, use.keys, len(window_rows(frames, use))) == (0, 1, 0)


def test_the_peak_is_where_the_share_is_largest(tmp_path):
    """Four of five, then two of two after the change: the second is the peak, with the number in force."""
    limit = {"kind": "fixed_window", "limit": 5, "period": "10s"}
    change = {"after": "10s", "limits": {"l": 2}, "why": "a test"}
    calls = [(at, {}) for at in (0, 1, 2, 3, 10, 11)]
    _, use = use_of(tmp_path / "run", limit, calls, timetable=[change])
    assert (use.peak_asked, use.number, use.headroom, use.limit.limit) == (2, 2, 0.0, 5)


@pytest.mark.parametrize("seed", range(4))
def test_a_rolling_peak_is_the_largest_sum_in_any_window(tmp_path, seed):
    """Refunds and after-charges count as what was charged in the end, refused calls as what had to fit."""
    draw = np.random.default_rng(seed)
    when = ["before", "refund", "after"][seed % 3]
    limit = {"kind": "rolling_window", "limit": 6, "period": "5s", "key": ["person"]}
    limit["cost"] = {"base": 1, "per_object": 1, "when": when}
    calls = []
    for at in np.sort(draw.integers(0, 40, 60)).tolist():
        objects = int(draw.integers(0, 3))
        person = str(draw.choice(["ann", "bob"]))
        calls.append((at, {"objects": objects, "objects_asked": objects + 1, "person": person}))
    frames, use = use_of(tmp_path / "run", limit, calls)
    table = frames.calls
    need = {
        "before": table["objects"] + 1,
        "refund": table["objects_asked"] + 1,
        "after": table["seq"] * 0 + 1,
    }
    asked = np.where(table["limit"].isna(), table["objects"] + 1, need[when])
    key = table["key:l"].cat.codes.to_numpy().astype(np.int64)
    peaks = largest_in_any_window(table["at"].to_numpy(), key, 5 * SECOND, asked)
    assert use.peak_asked == peaks.largest.max()
    assert use.refused > 0
    assert int(window_rows(frames, use).index.map(lambda row: asked[row]).to_numpy().sum()) >= use.peak_asked


def test_of_equal_shares_the_first_is_the_peak(tmp_path):
    """Half of four, and half of two after the change: the earlier moment is named."""
    limit = {"kind": "fixed_window", "limit": 4, "period": "10s"}
    change = {"after": "10s", "limits": {"l": 2}, "why": "a test"}
    _, use = use_of(tmp_path / "run", limit, [(0, {}), (1, {}), (20, {})], timetable=[change])
    assert (use.peak_asked, use.number, use.peak_at_ns - START_NS) == (2, 4, SECOND)
