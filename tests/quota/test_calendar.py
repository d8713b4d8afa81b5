"""Windows that the clock cuts: against the wall clocks of zones, minute by minute, and at DST changes in words."""

from __future__ import annotations

import datetime
import random
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from quota_oracle import OURS

from quotalab.profiles.limits import Limit
from quotalab.quota import NEVER, Engine
from quotalab.quota.calendar import calendar_of, first_instant_ns

SECOND = 10**9
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
EPOCH = datetime.date(1970, 1, 1)

# Zones, and days on which something happens to their clocks.
CHANGES = {
    "America/Los_Angeles": ("2026-03-08", "2026-11-01"),
    "Europe/Berlin": ("2026-03-29", "2026-10-25"),
    "Australia/Lord_Howe": ("2026-04-05", "2026-10-04"),  # by half an hour
    "America/Havana": ("2026-03-08", "2026-11-01"),  # spring: no midnight; autumn: two
    "Africa/Cairo": ("2026-04-24", "2026-10-29"),  # spring: no midnight; autumn: back from midnight to 23:00
    "America/St_Johns": ("2006-04-02", "2006-10-29"),  # at 00:01, so that clocks show the day before again
    "Asia/Kathmandu": ("1986-01-01", "2026-01-01"),  # 15 minutes, from midnight
}
ALL_CHANGES = [(zone, day) for zone, changed in CHANGES.items() for day in changed]


def at(text: str) -> int:
    """The instant that a text with its offset means."""
    return int(datetime.datetime.fromisoformat(text).timestamp()) * SECOND


def ours(period_ns=DAY, zone="UTC", kind="fixed_window", most=3, **fields) -> Limit:
    """A limit that is aligned to the clock."""
    return Limit("daily", kind, most, OURS, period_ns=period_ns, zone=zone, **fields)


def windows(calendar, first_ns, last_ns):
    """The (start, end, index) of all windows from that of one instant to that of another."""
    found, now = [], first_ns
    while now <= last_ns:
        calendar.move(now)
        assert calendar.start_ns <= now < calendar.end_ns
        found.append((calendar.start_ns, calendar.end_ns, calendar.index))
        now = calendar.end_ns
    return found


def midnights(zone, first_ns, last_ns):
    """The first instant of each local day, found by reading the zone's clock at every half minute.

    A day begins when a clock shows it, or a later one, for the first time.
    """
    found, newest = [], None
    for now_ns in range(first_ns - first_ns % MINUTE, last_ns, MINUTE // 2):
        day = datetime.datetime.fromtimestamp(now_ns // SECOND, ZoneInfo(zone)).date()
        if newest is not None and day > newest:
            found.append((day, now_ns))
        newest = day if newest is None else max(day, newest)
    return found


@pytest.mark.parametrize(("zone", "day"), ALL_CHANGES)
def test_local_days_begin_when_clocks_first_show_them(zone, day):
    """Around each change of clocks, windows of a day go from the first instant of a local day to the next's."""
    around = at(f"{day}T12:00+00:00")
    first, last = around - 4 * DAY, around + 4 * DAY
    seen = midnights(zone, first, last)
    assert len(seen) >= 7
    for date, instant in seen:
        assert first_instant_ns(ZoneInfo(zone), (date - EPOCH).days) == instant
    expected = [(start, end) for (_, start), (_, end) in pairwise(seen)]
    found = windows(calendar_of(ours(zone=zone)), seen[0][1], seen[-1][1] - 1)
    assert [(start, end) for start, end, _ in found] == expected
    assert [index for *_, index in found] == [(date - EPOCH).days for date, _ in seen[:-1]]


@pytest.mark.parametrize(("zone", "day"), ALL_CHANGES)
@pytest.mark.parametrize("hours", [1, 6, 0.25, 8])
def test_stretches_of_a_local_day_are_of_elapsed_time_from_its_midnight(zone, day, hours):
    """A day is cut from its first instant on; its end cuts the last stretch short; indices count all of them."""
    around, period = at(f"{day}T12:00+00:00"), int(hours * HOUR)
    seen = midnights(zone, around - 3 * DAY, around + 3 * DAY)
    expected = []
    for (_, start), (_, end) in pairwise(seen):
        begin = start
        while begin < end:
            expected.append((begin, min(begin + period, end)))
            begin += period
    found = windows(calendar_of(ours(period, zone)), seen[0][1], seen[-1][1] - 1)
    assert [(start, end) for start, end, _ in found] == expected
    indices = [index for *_, index in found]
    assert indices == list(range(indices[0], indices[0] + len(found)))


@pytest.mark.parametrize("zone", [*CHANGES, "UTC", "Pacific/Apia"])
@pytest.mark.parametrize(
    "limit",
    [{"period_ns": HOUR}, {"period_ns": DAY}, {"period_ns": 7 * DAY}, {"calendar": "month"}],
    ids=["hour", "day", "week", "month"],
)
def test_one_jump_is_as_many_steps(zone, limit):
    """Moved to an instant at once or by way of many others, a calendar shows the same window."""
    draw = random.Random(zone)
    start = at("2026-01-05T00:00+00:00")
    instants = sorted(start + draw.randrange(400 * DAY) for _ in range(60))
    stepped = calendar_of(ours(zone=zone, **limit))
    stepped.move(start)
    first_index = stepped.index
    for now in instants:
        stepped.move(now)
        jumped = calendar_of(ours(zone=zone, **limit))
        jumped.move(start)
        assert jumped.index == first_index
        jumped.move(now)
        assert (stepped.start_ns, stepped.end_ns, stepped.index) == (
            *(jumped.start_ns, jumped.end_ns),
            jumped.index,
        )
        again = calendar_of(ours(zone=zone, **limit))
        again.move(start)
        assert again.start_after(stepped.index - first_index) == stepped.start_ns


@pytest.mark.parametrize("zone", [*CHANGES, "UTC"])
def test_months_are_the_local_calendars(zone):
    """A year's months begin with the first instant of their first local day, leap day and all."""
    firsts = [
        first_instant_ns(ZoneInfo(zone), (datetime.date(2028, m, 1) - EPOCH).days) for m in range(1, 13)
    ]
    found = windows(calendar_of(ours(zone=zone, calendar="month")), firsts[0], firsts[-1])
    assert [start for start, *_ in found] == firsts
    assert [index for *_, index in found] == list(range(2028 * 12, 2028 * 12 + 12))


@pytest.mark.parametrize(
    ("zone", "day", "start", "hours"),
    [
        ("America/Los_Angeles", "2026-03-08", "2026-03-08T00:00-08:00", 23),
        ("America/Los_Angeles", "2026-11-01", "2026-11-01T00:00-07:00", 25),
        ("Europe/Berlin", "2026-03-29", "2026-03-29T00:00+01:00", 23),
        ("Europe/Berlin", "2026-10-25", "2026-10-25T00:00+02:00", 25),
        ("Australia/Lord_Howe", "2026-04-05", "2026-04-05T00:00+11:00", 24.5),
        ("Australia/Lord_Howe", "2026-10-04", "2026-10-04T00:00+10:30", 23.5),
        ("America/Havana", "2026-03-08", "2026-03-08T01:00-04:00", 23),
        ("America/Havana", "2026-11-01", "2026-11-01T00:00-04:00", 25),
        ("Africa/Cairo", "2026-04-24", "2026-04-24T01:00+03:00", 23),
        ("Africa/Cairo", "2026-10-29", "2026-10-29T00:00+03:00", 25),
    ],
)
def test_days_are_as_long_as_their_clocks_make_them(zone, day, start, hours):
    """A daily limit used up at a local midnight admits the next call after 23, 23.5, 24.5 or 25 hours."""
    begin = at(start)
    mine = Engine([ours(zone=zone, most=1)])
    selection = mine.select("api", "GET")
    caller = {"app": "a"}
    assert mine.decide(begin - 1, selection, caller).limit is None
    assert mine.decide(begin, selection, caller).limit is None, "a new day"
    assert mine.decide(begin, selection, caller).wait_ns == int(hours * HOUR)
    assert mine.decide(begin + int(hours * HOUR) - 1, selection, caller).wait_ns == 1
    assert mine.decide(begin + int(hours * HOUR), selection, caller).limit is None
    assert str(datetime.datetime.fromtimestamp(begin // SECOND, ZoneInfo(zone)).date()) == day


def test_a_long_day_has_one_more_hour():
    """On 2026-11-01 in Los Angeles hourly windows begin 25 times, and the two hours named 1 are two windows."""
    begin = at("2026-11-01T00:00-07:00")
    found = windows(calendar_of(ours(HOUR, "America/Los_Angeles")), begin, begin + 25 * HOUR - 1)
    assert len(found) == 25
    assert all(end - start == HOUR for start, end, _ in found)


def test_a_balance_is_refilled_at_local_midnights():
    """5 credits a day in Berlin: 17 spent on a Friday are back to 2 spent on Monday, the day of 23 hours counted."""
    limit = ours(zone="Europe/Berlin", kind="balance", most=5)
    mine = Engine([limit])
    friday = at("2026-03-27T18:00+01:00")
    selection = mine.select("api", "GET")
    for _ in range(5):
        mine.decide(friday, selection, {"app": "a"})
    refused = mine.decide(friday, selection, {"app": "a"})
    assert (refused.limit, refused.wait_ns) == ("daily", 6 * HOUR)
    dear = Engine([ours(zone="Europe/Berlin", kind="balance", most=5, cost=limit.cost.__class__(base=17))])
    selection = dear.select("api", "GET")
    assert dear.decide(friday, selection, {"app": "a"}).remaining == (("daily", -12),)
    assert dear.decide(friday, selection, {"app": "a"}).wait_ns == at("2026-03-30T00:00+02:00") - friday
    assert dear.standing("daily", "a", friday).reset_ns == at("2026-03-31T00:00+02:00")
    assert dear.standing("daily", "a", at("2026-03-30T00:00+02:00")).used == 2


def test_hours_of_a_zone_refill_a_balance_each_once():
    """1 credit an hour in Los Angeles: 26 spent at the start of the day of 25 hours are back after 26 hours."""
    mine = Engine([ours(HOUR, "America/Los_Angeles", "balance", 1)])
    begin = at("2026-11-01T00:00-07:00")
    mine._limiters["daily"].take("a", begin, 26)
    assert mine.standing("daily", "a", begin).reset_ns == begin + 26 * HOUR
    assert mine.standing("daily", "a", begin + 25 * HOUR - 1).used == 2
    assert mine.standing("daily", "a", begin + 25 * HOUR).used == 1


def test_what_would_begin_after_the_last_nanosecond_never_does():
    """Beyond the year 2262 instants no longer fit into 64 bits."""
    for limit in (
        ours(DAY, "Europe/Berlin"),
        ours(HOUR, "Europe/Berlin"),
        ours(calendar="month"),
        ours(DAY),
    ):
        calendar = calendar_of(limit)
        calendar.move(at("2026-01-05T00:00+00:00"))
        assert calendar.start_after(10**7) == NEVER
    month = calendar_of(ours(calendar="month"))
    month.move(0)
    assert month.start_after(10**6) == NEVER


def test_west_of_greenwich_time_begins_on_the_last_day_of_1969():
    """At the first instant since 1970 it is still the day before in Los Angeles, with an index below zero."""
    calendar = calendar_of(ours(zone="America/Los_Angeles"))
    calendar.move(0)
    assert (calendar.start_ns, calendar.end_ns, calendar.index) == (-16 * HOUR, 8 * HOUR, -1)
    mine = Engine([ours(zone="America/Los_Angeles", kind="balance", most=2)])
    assert mine.decide(0, mine.select("api", "GET"), {"app": "a"}).remaining == (("daily", 1),)


def test_weeks_are_seven_local_days_from_1970():
    """The first of January 1970 was a Thursday, and weeks of a zone begin on Thursdays."""
    calendar = calendar_of(ours(7 * DAY, "Europe/Berlin"))
    calendar.move(at("2026-03-29T12:00+02:00"))
    assert (calendar.start_ns, calendar.end_ns) == (
        at("2026-03-26T00:00+01:00"),
        at("2026-04-02T00:00+02:00"),
    )
