"""How near each limit came to its end."""

from __future__ import annotations

from quotalab.frames import limit_uses, load, window_rows
from quotalab.frames.testing import START_NS, LedgerBuilder, provider_document

SECOND = 10**9


def uses(ledger, path):
    return limit_uses(load(ledger.write(path)))


def test_refused_calls_count_as_asked_for(tmp_path):
    """Three calls asked of a limit of 2 within its period: 150 % of it, headroom -50 %."""
    ledger = LedgerBuilder(provider_document({"h": {"kind": "rolling_window", "limit": 2, "period": "10s"}}))
    for at in (0, 5, 9, 30):
        ledger.decided_call(at)
    (use,) = uses(ledger, tmp_path / "run")
    assert (use.peak_asked, use.refused, use.keys, use.worst_key) == (3, 1, 1, "app")
    assert (use.utilisation, use.headroom) == (1.5, -0.5)
    assert use.peak_at_ns == START_NS + 9 * SECOND
    assert use.from_ns == START_NS - SECOND + 1
    frames = load(tmp_path / "run")
    assert window_rows(frames, use)["seq"].tolist() == [0, 1, 2]
    assert window_rows(frames, use)["used"].tolist() == [0, 1, 2]


def test_headroom_is_exact_where_the_profile_asks_for_two_percent(tmp_path):
    """98 of 100 leave headroom of exactly 0.02: no rounding makes it less."""
    ledger = LedgerBuilder()
    for i in range(98):
        ledger.decided_call(i)
    (use,) = uses(ledger, tmp_path / "run")
    assert use.headroom == 0.02


def test_the_worst_key_is_the_fullest_and_of_equals_the_earliest(tmp_path):
    """Two people reach the same peak: the one who reached it first is named."""
    limits = {"each": {"kind": "rolling_window", "limit": 5, "period": "10s", "key": ["person"]}}
    ledger = LedgerBuilder(provider_document(limits))
    for at, person in ((0, "zoe"), (1, "ann"), (2, "ann"), (3, "zoe"), (20, "bob")):
        ledger.decided_call(at, person=person)
    (use,) = uses(ledger, tmp_path / "run")
    assert (use.keys, use.worst_key, use.peak_asked) == (3, "ann", 2)
    assert use.peak_at_ns == START_NS + 2 * SECOND


def test_fixed_windows_count_each_window_by_itself(tmp_path):
    """Two calls on each side of a window's edge are two in each of them, not four."""
    limits = {"m": {"kind": "fixed_window", "limit": 4, "period": "10s"}}
    ledger = LedgerBuilder(provider_document(limits))
    for at in (8, 9, 10, 11, 12):
        ledger.decided_call(at)
    (use,) = uses(ledger, tmp_path / "run")
    assert (use.peak_asked, use.from_ns, use.peak_at_ns) == (
        3,
        START_NS + 10 * SECOND,
        START_NS + 12 * SECOND,
    )


def test_first_call_windows_begin_where_they_are_opened(tmp_path):
    """With windows from the first call, the same five calls lie in one."""
    limits = {"m": {"kind": "fixed_window", "limit": 9, "period": "10s", "align": "first_call"}}
    ledger = LedgerBuilder(provider_document(limits))
    for at in (8, 9, 10, 11, 12, 18):
        ledger.decided_call(at)
    (use,) = uses(ledger, tmp_path / "run")
    assert (use.peak_asked, use.from_ns) == (5, START_NS + 8 * SECOND)


def test_a_limit_that_nothing_asked_has_no_peak(tmp_path):
    """Without calls: nothing asked, full headroom, no worst moment."""
    (use,) = uses(LedgerBuilder(), tmp_path / "run")
    assert (use.keys, use.worst_key, use.peak_asked, use.peak_at_ns, use.headroom) == (0, None, 0, None, 1.0)
    assert len(window_rows(load(tmp_path / "run"), use)) == 0


def test_only_calls_to_the_api_are_asked_of_a_limit(tmp_path):
    """A row of another kind takes no part in the arithmetic, even if it names keys."""
    ledger = LedgerBuilder()
    for at in range(3):
        ledger.decided_call(at)
    ledger._rows[1] = ledger._rows[1]._replace(kind="token")
    (use,) = uses(ledger, tmp_path / "run")
    assert use.peak_asked == 2
