"""What the report tells of the provider's decisions and of planted faults."""

from __future__ import annotations

from matplotlib.figure import Figure

from quotalab.frames import limit_uses
from quotalab.frames.loading import load
from quotalab.frames.testing import START_NS, LedgerBuilder, provider_document
from quotalab.report import judge_run
from quotalab.report.figures import demand_by_bin, use_of_limit
from quotalab.report.happenings import Happening, happenings

HOUR_NS = 3600 * 10**9
HOURLY = {"hourly": {"kind": "rolling_window", "limit": 10, "period": "1h"}}
FAULTS = [
    {"kind": "error", "name": "outage", "from": "2h", "until": "3h"},
    {"kind": "drop", "name": "always"},
    {"kind": "slow", "name": "never", "by": "1s"},
    {"kind": "withdraw_consent", "name": "gone", "at": "4h"},
]


def eventful() -> LedgerBuilder:
    """Eight hours: an outage, a fault all day, one that strikes nobody, consents withdrawn, an approval."""
    ledger = LedgerBuilder({**provider_document(HOURLY), "faults": FAULTS}, span_ns=8 * HOUR_NS)
    ledger.call(60)
    for at in (7300, 7400, 7500):
        ledger.event(at, "fault", "a", kind="error", name="outage")
    ledger.event(9000, "fault", "a", kind="drop", name="always")
    for person in "ab":
        ledger.event(14400, "fault", person, kind="withdraw_consent", name="gone")
        ledger.event(14400, "consent-withdrawn", person, client="c", why="gone")
    ledger.event(15000, "consent-withdrawn", "c", client="c")
    ledger.event(18000, "approved", why="reviewed")
    ledger.event(18000, "limit-changed", limit="hourly", before=10, now=1000, why="reviewed")
    ledger.event(20000, "consent-given", "a")
    return ledger


def test_what_happened_is_told_with_its_span(tmp_path):
    """Of one instant one; a fault as long as it was in force; habits, and faults that struck nobody, are not."""
    frames = load(eventful().write(tmp_path / "run"))
    at, end_ns = START_NS, START_NS + 8 * HOUR_NS
    assert happenings(frames) == [
        Happening(at, end_ns, "always", "the fault always (drop) struck 1 time"),
        Happening(at + 2 * HOUR_NS, at + 3 * HOUR_NS, "outage", "the fault outage (error) struck 3 times"),
        Happening(at + 4 * HOUR_NS, None, "consent withdrawn", "the consent of 2 people was withdrawn"),
        Happening(
            at + 5 * HOUR_NS,
            None,
            "approved",
            "the app was approved, the limit hourly went from 10 to 1,000 (reviewed)",
        ),
    ]


def test_figures_mark_it_where_it_happened(tmp_path):
    """A letter for each that divides the run, at its time, and what the letters mean; a band for what lasted."""
    frames = load(eventful().write(tmp_path / "run"))
    (use,) = limit_uses(frames)
    for draw in (lambda ax: use_of_limit(frames, use, ax), lambda ax: demand_by_bin(frames, ax)):
        ax = draw(Figure().add_subplot())
        letters = {text.get_text(): text.xy[0] for text in ax.texts if text.get_text() in "ABCDEFGH"}
        assert letters == {"A": 2, "B": 4, "C": 5}
        assert {"A outage", "B consent withdrawn", "C approved"} <= {text.get_text() for text in ax.texts}
        (band,) = [patch for patch in ax.patches if patch.get_width() == 1]
        assert band.get_x() == 2


def test_the_page_has_a_table_of_it_only_where_something_happened(workspace, tmp_path):
    """With time, how long, and a sentence each."""
    judge_run(eventful().write(tmp_path / "run"), workspace)
    text = (tmp_path / "run" / "report.html").read_text()
    assert "What happened" in text
    assert '<td class="t">the whole run</td><td>The fault always (drop) struck 1 time.</td>' in text
    assert '<td class="t">1 h</td><td>The fault outage (error) struck 3 times.</td>' in text
    judge_run(LedgerBuilder().write(tmp_path / "quiet"), workspace)
    assert "What happened" not in (tmp_path / "quiet" / "report.html").read_text()
