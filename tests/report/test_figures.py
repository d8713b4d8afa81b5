"""Figures keep what matters, and show what the frames say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from quotalab.frames import limit_uses, load
from quotalab.frames.testing import LedgerBuilder, provider_document
from quotalab.report.figures import _time_ticks, bin_ns, draw_all, thinned, use_of_limit
from quotalab.rules.metrics import HOUR_NS

DAY_NS = 24 * HOUR_NS


@given(st.integers(0, 2**32 - 1))
def test_thinning_keeps_spikes_and_ends(seed):
    """A hundred thousand steps become a few thousand: lowest, highest, first and last are among them."""
    draw = np.random.default_rng(seed)
    times = np.cumsum(draw.integers(1, 1000, 20_000))
    level = draw.integers(0, 50, 20_000)
    level[draw.integers(0, 20_000)] = 1000
    thin_times, thin = thinned(times, level)
    assert len(thin) <= 4 * 420
    assert (thin.max(), thin.min()) == (1000, level.min())
    assert (thin_times[0], thin_times[-1]) == (times[0], times[-1])
    assert thin_times[thin.argmax()] == times[level.argmax()]
    assert (np.diff(thin_times) > 0).all()


def test_short_curves_are_not_thinned():
    """What fits is drawn as it is."""
    times, level = np.arange(800), np.arange(800) % 7
    assert thinned(times, level)[1] is level


def test_use_is_drawn_up_to_its_peak_at_its_time(tmp_path):
    """The highest drawn point is what was asked for at the peak, the second curve what was admitted."""
    limits = {"ten": {"kind": "rolling_window", "limit": 10, "period": "1h"}}
    ledger = LedgerBuilder(provider_document(limits))
    for i in range(14):
        ledger.decided_call(7200 + 60 * i)
    frames = load(ledger.write(tmp_path / "run"))
    ax = use_of_limit(frames, limit_uses(frames)[0], Figure().add_subplot())
    asked, admitted, limit, peak = (line.get_xydata() for line in ax.lines)
    assert asked[:, 1].max() == 14
    assert asked[asked[:, 1].argmax(), 0] == pytest.approx(2 + 13 / 60)
    assert admitted[:, 1].max() == 10
    assert limit[:, 1].tolist() == [10, 10]
    assert peak.tolist() == [[pytest.approx(2 + 13 / 60), 14]]
    assert (asked[-1].tolist(), asked[0].tolist()) == ([24, 0], [0, 0])


def test_fixed_windows_fall_to_nothing_at_their_end(tmp_path):
    """A saw: up with each call, down at the window's end, and a call at that end is the next one's."""
    limits = {"m": {"kind": "fixed_window", "limit": 9, "period": "1h"}}
    ledger = LedgerBuilder(provider_document(limits))
    for at in (0, 1800, 3600):
        ledger.decided_call(at)
    frames = load(ledger.write(tmp_path / "run"))
    ax = use_of_limit(frames, limit_uses(frames)[0], Figure().add_subplot())
    steps = ax.lines[0].get_xydata().tolist()
    assert steps[-6:] == [[0, 1], [0.5, 2], [1, 0], [1, 1], [2, 0], [24, 0]]


@pytest.mark.parametrize(
    ("span_ns", "width_ns"),
    [(DAY_NS, HOUR_NS), (HOUR_NS // 2, 60 * 10**9), (7 * DAY_NS, 6 * HOUR_NS), (10**9, 10**9)],
)
def test_a_day_is_shown_by_the_hour(tmp_path, span_ns, width_ns):
    """Bins are round, and no more than 48 of them."""
    ledger = LedgerBuilder(span_ns=span_ns)
    assert bin_ns(load(ledger.write(tmp_path / "run"))) == width_ns


@given(st.integers(0, 10**6), st.integers(1, 400 * DAY_NS))
def test_ticks_are_few_and_within(start_s, span_ns):
    """Whatever the span: at most fifteen ticks, all inside it, each with its words."""
    start_ns = 1_767_571_200_000_000_000 + start_s * 10**9
    places, words = _time_ticks(start_ns, start_ns + span_ns)
    assert len(places) == len(words) <= 15
    assert all(0 <= place <= span_ns / HOUR_NS for place in places)


def test_nothing_is_drawn_of_nothing(tmp_path):
    """An empty run has no figures."""
    assert draw_all(load(LedgerBuilder().write(tmp_path / "run"))) == []


def test_what_a_client_sent_is_in_no_figure(hostile):
    """Only numbers, times and the profile's words are drawn."""
    for path in (hostile[0] / "figures").glob("*.svg"):
        assert "alert" not in path.read_text()


def test_a_number_that_changes_is_drawn_as_steps(tmp_path):
    """Ten, from the second hour on five: the line falls then."""
    limits = {"ten": {"kind": "rolling_window", "limit": 10, "period": "1h"}}
    change = {"after": "2h", "limits": {"ten": 5}, "why": "a test"}
    ledger = LedgerBuilder(provider_document(limits, timetable=[change]), span_ns=4 * HOUR_NS)
    ledger.decided_call(60)
    frames = load(ledger.write(tmp_path / "run"))
    ax = use_of_limit(frames, limit_uses(frames)[0], Figure().add_subplot())
    assert ax.lines[1].get_xydata().tolist() == [[0, 10], [2, 5], [4, 5]]


@pytest.mark.parametrize(
    "limit",
    [
        {"kind": "token_bucket", "capacity": 2, "rate": "1/m"},
        {"kind": "balance", "credits": 2, "period": "month", "zone": "Asia/Tokyo"},
        {"kind": "concurrency", "limit": 1},
        {"kind": "cardinality", "limit": 1, "of": "person"},
        {"kind": "penalty", "statuses": [200, 429], "threshold": 1, "window": "9m", "block": "1m"},
        {"kind": "opaque", "floor": 2, "ceiling": 2, "period": "1h", "counts": "fixed_window"},
    ],
)
@pytest.mark.parametrize("calls", [1, 30])
def test_each_kind_is_drawn_up_to_its_peak(tmp_path, limit, calls):
    """No kind is drawn below its peak, or more than the last token above it."""
    ledger = LedgerBuilder(provider_document({"l": limit}))
    for i in range(calls):
        ledger.decided_call(20 * i, person="ab"[i % 2], answered_ns=(20 * i + 30) * 10**9)
    frames = load(ledger.write(tmp_path / "run"))
    (use,) = limit_uses(frames)
    ax = use_of_limit(frames, use, Figure().add_subplot())
    assert use.peak_asked - 1 < ax.lines[0].get_xydata()[:, 1].max() <= use.peak_asked
    names = {drawing.name for drawing in draw_all(frames)}
    promised = frames.calls["retry_after_ns"].notna().any()
    assert names == {"limit-1-l"} | ({"refused"} if use.refused else set()) | (
        {"promises"} if promised else set()
    )
