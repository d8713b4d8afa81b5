"""A limit of each kind in words."""

from __future__ import annotations

import pytest

from quotalab.frames import limit_uses, load
from quotalab.frames.testing import LedgerBuilder, provider_document
from quotalab.rules.words import allowed, asked_for, counts_in, lasts_ns, made_up, whom

SECOND = 10**9
DAY = 86_400 * SECOND
PENALTY = {"kind": "penalty", "statuses": [401, 403], "threshold": 5, "window": "1m"}

CASES = [
    (
        {"kind": "rolling_window", "limit": 1000, "period": "1h"},
        "1,000 in 1 h",
        "1 were asked for in the 1 h up to Mon 5 Jan 00:00:01",
        3600 * SECOND,
    ),
    (
        {"kind": "fixed_window", "limit": 9, "period": "24h", "zone": "America/Los_Angeles"},
        "9 in 24 h by the clock of America/Los_Angeles",
        "1 were asked for in the 24 h up to Mon 5 Jan 00:00:01",
        DAY,
    ),
    (
        {"kind": "token_bucket", "capacity": 40, "rate": "2/s"},
        "40, then 2 a second",
        "1 were asked for and had not drained away by Mon 5 Jan 00:00:01",
        20 * SECOND,
    ),
    (
        {"kind": "concurrency", "limit": 5},
        "5 at once",
        "1 were asked for at once at Mon 5 Jan 00:00:01",
        60 * SECOND,
    ),
    (
        {"kind": "balance", "credits": 5000, "period": "month"},
        "5,000 credits in a calendar month",
        "1 were asked for in the calendar month up to Mon 5 Jan 00:00:01",
        30 * DAY,
    ),
    (
        {"kind": "balance", "credits": 5},
        "5 credits in all",
        "1 were asked for up to Mon 5 Jan 00:00:01",
        366 * DAY,
    ),
    (
        {"kind": "cardinality", "limit": 1, "of": "person"},
        "1 person",
        "1 person asked up to Mon 5 Jan 00:00:01",
        366 * DAY,
    ),
    (
        {**PENALTY, "block": "10m"},
        "5 answers 401 or 403 in 1 min, then blocked for 10 min",
        "0 such answers were counted in the 1 min up to Mon 5 Jan 00:00:01",
        600 * SECOND,
    ),
    (
        {**PENALTY, "action": "ban"},
        "5 answers 401 or 403 in 1 min, then banned",
        "0 such answers were counted in the 1 min up to Mon 5 Jan 00:00:01",
        60 * SECOND,
    ),
    (
        {"kind": "opaque", "floor": 7, "ceiling": 7, "period": "1h"},
        "7 in 1 h",
        "1 were asked for in the 1 h up to Mon 5 Jan 00:00:01",
        3600 * SECOND,
    ),
]


@pytest.mark.parametrize(("limit", "allows", "peak", "lasts"), CASES)
def test_a_limit_in_words(tmp_path, limit, allows, peak, lasts):
    """What it allows, what was asked of it, and how long its refusals hang together."""
    ledger = LedgerBuilder(provider_document({"l": limit}))
    ledger.decided_call(1)
    (use,) = limit_uses(load(ledger.write(tmp_path / "run")))
    assert (allowed(use.limit), asked_for(use), lasts_ns(use.limit)) == (allows, peak, lasts)
    assert made_up(use.limit).startswith("the ")
    assert whom(use.limit) == "the app"
    assert counts_in(use.limit).replace("undisclosed, ", "") in (
        limit["kind"].replace("_", " "),
        "rolling window",
    )


def test_a_slow_rate_is_told_by_the_unit_that_makes_it_one_or_more(tmp_path):
    """A token in ten minutes is six an hour."""
    limit = {"kind": "token_bucket", "capacity": 4, "rate": "1/10m", "key": ["person", "route"]}
    (limit,) = LedgerBuilder(provider_document({"l": limit})).provider.limits
    assert (allowed(limit, 5), whom(limit)) == ("5, then 6 an hour", "each person and route")
