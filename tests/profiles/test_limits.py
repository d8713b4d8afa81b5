"""Limits of a profile: every kind and parameter, every mistake in one line, and the timelines of their page."""

from __future__ import annotations

import datetime
import re
import tomllib
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotalab.errors import ProfileError
from quotalab.profiles.limits import (
    KINDS,
    METERED,
    Change,
    Cost,
    Formula,
    Limit,
    Match,
    Source,
    key_offset_ns,
    parse_limits,
    parse_source,
)
from quotalab.profiles.reading import Table
from quotalab.quota import NEVER, Engine

PAGE = (Path(__file__).parents[2] / "docs" / "limit-kinds.md").read_text(encoding="utf-8")
SECOND_NS = 10**9
MINUTE_NS = 60 * SECOND_NS
DAY_NS = 86_400 * SECOND_NS
ROUTES = {"list": ("read", "cheap"), "add": ("write",)}
SOURCE = {"where": "a page", "read": datetime.date(2026, 11, 1), "confidence": "high"}
SMALLEST = {
    "rolling_window": {"limit": 3, "period": "1m"},
    "fixed_window": {"limit": 3, "period": "1m"},
    "token_bucket": {"capacity": 3, "rate": "1/s"},
    "concurrency": {"limit": 3},
    "balance": {"credits": 3},
    "cardinality": {"limit": 3, "of": "person"},
    "penalty": {"statuses": [401], "threshold": 3, "window": "1m", "block": "5m"},
    "opaque": {"floor": 2, "ceiling": 4, "period": "1m"},
}


def parsed(table: dict, **more: object) -> tuple[Limit, ...]:
    """The limits of a profile that has this one, called `quota`, and whatever `more` gives."""
    top = {"limits": {"quota": {"source": SOURCE, **table}}, **more}
    return parse_limits(Table(top, "p.toml"), ROUTES)


def one(kind: str, **changed: object) -> Limit:
    """The smallest limit of a kind with some keys changed."""
    return parsed({"kind": kind, **SMALLEST[kind], **changed})[0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_smallest_limit_of_a_kind_has_the_defaults(kind):
    """Only what a kind cannot do without has to be given."""
    limit = one(kind)
    assert (limit.name, limit.kind, limit.key, limit.match) == ("quota", kind, ("app",), Match())
    assert (limit.cost, limit.refused_calls, limit.changes) == (Cost(), "free", ())
    assert limit.hidden is (kind == "opaque")
    assert limit.source == Source("a page", datetime.date(2026, 11, 1), "high")
    assert limit.limit == (0 if kind == "opaque" else 3)


def test_windows_keep_period_alignment_and_zone():
    """A fixed window says where its edges are; a rolling one has none, whatever its table says."""
    fixed = one("fixed_window", period="1d", zone="America/Los_Angeles")
    assert (fixed.period_ns, fixed.align, fixed.zone, fixed.calendar) == (
        DAY_NS,
        "clock",
        "America/Los_Angeles",
        "",
    )
    assert one("fixed_window", align="offset").align == "offset"
    month = one("fixed_window", period="month", zone="Europe/Berlin")
    assert (month.period_ns, month.calendar, month.zone) == (30 * DAY_NS, "month", "Europe/Berlin")
    rolling = one("rolling_window", align="first_call", zone="Europe/Berlin")
    assert (rolling.align, rolling.zone) == ("clock", "UTC")


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("2/s", Fraction(2, SECOND_NS)),
        ("50/1m", Fraction(50, MINUTE_NS)),
        ("0.5/s", Fraction(1, 2 * SECOND_NS)),
        ("1/3/s", Fraction(1, 3 * SECOND_NS)),
        ("0.017/s", Fraction(17, 1000 * SECOND_NS)),
        ("1/10s", Fraction(1, 10 * SECOND_NS)),
        (" 900 / m ", Fraction(900, MINUTE_NS)),
    ],
)
def test_a_rate_is_an_exact_fraction(text, rate):
    """No float comes between the text and the tokens a nanosecond."""
    assert one("token_bucket", rate=text).rate == rate


def test_lengths_order_limits_by_their_period():
    """A bucket is as long as it takes to fill; a balance that is never refilled lasts for ever."""
    assert one("rolling_window").length_ns == MINUTE_NS
    assert one("token_bucket", capacity=7, rate="2/s").length_ns == 3_500_000_000
    assert one("token_bucket", capacity=1, rate="3/s").length_ns == 333_333_334  # rounded up
    assert one("balance").length_ns is None
    assert one("balance", period="1d").length_ns == DAY_NS


@given(
    base=st.integers(0, 1000),
    per_person=st.integers(1, 100),
    over=st.integers(0, 50),
    least=st.integers(1, 500),
    span=st.integers(0, 5000),
    people=st.integers(0, 200),
)
def test_a_formula_grows_with_the_people_within_its_bounds(base, per_person, over, least, span, people):
    """The number for so many people is what counting them one by one gives, and never out of bounds."""
    formula = Formula(base, per_person, over, least, least + span)
    counted = base
    for person in range(1, people + 1):
        counted += per_person if person > over else 0
    assert formula.number(people) == sorted((least, counted, least + span))[1]


def test_a_limit_takes_its_number_from_the_people():
    """Until the people are known the formula stands for one of them."""
    limit = one("rolling_window", limit={"base": 100, "per_person": 10, "over": 5, "most": 500})
    assert limit.formula == Formula(100, 10, 5, 1, 500)
    assert limit.limit == 100
    assert [limit.for_people(people).limit for people in (5, 6, 12, 45, 1000)] == [100, 110, 170, 500, 500]
    assert one("concurrency").for_people(12).limit == 3


def test_costs_are_read_by_route_method_and_object():
    """A whole number is the base; a table says the rest."""
    assert one("fixed_window", cost=2).cost == Cost(base=2)
    table = {"base": 0, "routes": {"add": 3}, "methods": {"POST": 2}, "per_object": 1, "when": "refund"}
    assert one("fixed_window", cost=table).cost == Cost(0, {"add": 3}, {"POST": 2}, 1, "refund")


def test_an_address_is_blocked_whoever_calls():
    """A penalty by address alone counts calls without a token too; any other limit counts known callers."""
    assert one("penalty", key=["ip"]).match.callers == "all"
    assert one("penalty", key=["app"]).match.callers == "known"
    assert one("rolling_window", key=["ip"]).match.callers == "known"


def test_a_timetable_changes_numbers_in_order_of_time():
    """Each entry says from when on, which limits, and why."""
    entries = [
        {"after": "1h", "why": "halved", "limits": {"quota": 2}},
        {"after": "2h", "why": "restored", "limits": {"quota": 3}},
    ]
    (limit,) = parsed({"kind": "rolling_window", **SMALLEST["rolling_window"]}, timetable=entries)
    hour_ns = 60 * MINUTE_NS
    assert limit.changes == (Change(hour_ns, 2, "halved"), Change(2 * hour_ns, 3, "restored"))


def test_an_offset_is_a_keys_own_and_lies_within_the_period():
    """Other keys and other limits have other offsets; the same key always has the same."""
    limit = one("fixed_window", align="offset")
    offsets = {key_offset_ns(limit, f"tenant-{n}") for n in range(100)}
    assert len(offsets) == 100
    assert all(0 <= offset < MINUTE_NS for offset in offsets)
    assert key_offset_ns(limit, "tenant-1") == key_offset_ns(limit, "tenant-1")


def test_a_source_has_a_date_or_none():
    """A run folder keeps profiles as JSON, so a date may come as text."""

    def source(**table: object) -> Source:
        return parse_source(Table({"where": "a page", "confidence": "low", **table}, "p.toml"))

    assert source().read is None
    assert source(read="2026-11-01").read == datetime.date(2026, 11, 1)
    assert source(read=datetime.date(2026, 11, 1)) == source(read="2026-11-01")


ONE_OF_KINDS = "must be one of " + ", ".join(repr(kind) for kind in KINDS)
DURATION = 'must be a duration such as "90s", "15m" or "1h"'
RATE = "must be tokens and a time, such as '2/s' or '0.5/1m', not "
PARTS = "'app', 'person', 'tenant', 'token', 'ip', 'route', 'object'"
CHANGE = "cannot change"

WRONG = [
    (
        "rolling_window",
        {"kind": "rolling"},
        "kind",
        f"{ONE_OF_KINDS}, not 'rolling' (did you mean 'rolling_window'?)",
    ),
    ("rolling_window", {"kind": ["a"]}, "kind", f"{ONE_OF_KINDS}, not ['a']"),
    ("rolling_window", {"kind": None}, "kind", f"is missing; it {ONE_OF_KINDS}"),
    ("rolling_window", {"limit": None}, "limit", "is missing; it must be a whole number of 1 or more"),
    ("rolling_window", {"limit": -1}, "limit", "must be a whole number of 1 or more, not -1"),
    ("rolling_window", {"limit": 0}, "limit", "must be a whole number of 1 or more, not 0"),
    ("rolling_window", {"limit": 1.5}, "limit", "must be a whole number of 1 or more, not 1.5"),
    ("rolling_window", {"limit": True}, "limit", "must be a whole number of 1 or more, not True"),
    ("rolling_window", {"limit": "100"}, "limit", "must be a whole number of 1 or more, not '100'"),
    ("rolling_window", {"limit": 10**13}, "limit", "must be a whole number of at most 1000000000000, not "),
    ("rolling_window", {"period": None}, "period", f"is missing; it {DURATION}"),
    ("rolling_window", {"period": "0s"}, "period", f"{DURATION} of at least 0.001 s, not '0s'"),
    ("rolling_window", {"period": "month"}, "period", f"{DURATION}: 'month' is not a duration"),
    ("rolling_window", {"period": 1.5}, "period", f"{DURATION}, not 1.5"),
    ("rolling_window", {"period": "200000d"}, "period", "must be shorter than 146 years, not '200000d'"),
    ("rolling_window", {"perid": "1h"}, "perid", "is not a key that is known here; did you mean 'period'?"),
    ("rolling_window", {"rate": "1/s"}, "rate", "is not a key that is known here; known here: align, "),
    (
        "rolling_window",
        {"key": []},
        "key",
        "must name at least one of app, person, tenant, token, ip, route, object",
    ),
    ("rolling_window", {"key": "app"}, "key", f"must be a list of {PARTS}, not 'app'"),
    ("rolling_window", {"key": ["apps"]}, "key", f"must be a list of {PARTS}, not ['apps']"),
    ("rolling_window", {"key": ["app", "app"]}, "key", "names something twice: ['app', 'app']"),
    ("rolling_window", {"hidden": "yes"}, "hidden", "must be true or false, not 'yes'"),
    (
        "rolling_window",
        {"refused_calls": "none"},
        "refused_calls",
        "must be one of 'free', 'this', 'longer', 'all'",
    ),
    ("rolling_window", {"source": None}, "source", "is missing; it must be a table"),
    ("rolling_window", {"source": {"confidence": "own"}}, "source.where", "is missing; it must be a text"),
    (
        "rolling_window",
        {"source": SOURCE | {"confidence": "sure"}},
        "source.confidence",
        "must be one of 'high', ",
    ),
    (
        "rolling_window",
        {"source": SOURCE | {"read": "soon"}},
        "source.read",
        "must be a date such as 2026-11-01, not",
    ),
    (
        "rolling_window",
        {"source": SOURCE | {"read": 2026}},
        "source.read",
        "must be a date such as 2026-11-01, not",
    ),
    (
        "rolling_window",
        {"source": SOURCE | {"read": datetime.datetime(2026, 11, 1)}},
        "source.read",
        "must be a date such as 2026-11-01, not datetime",
    ),
    ("rolling_window", {"source": SOURCE | {"page": 3}}, "source.page", "is not a key that is known here"),
    (
        "rolling_window",
        {"match": {"kinds": []}},
        "match.kinds",
        "must name at least one of api, token, authorize",
    ),
    (
        "rolling_window",
        {"match": {"kinds": ["metadata"]}},
        "match.kinds",
        "must be a list of 'api', 'token', 'authorize', 'revoke', 'introspect'",
    ),
    (
        "rolling_window",
        {"match": {"routes": ["x"]}},
        "match.routes",
        "must be a list of 'list', 'add', 'unknown', not ['x']",
    ),
    (
        "rolling_window",
        {"match": {"tags": ["x"]}},
        "match.tags",
        "must be a list of 'cheap', 'read', 'write', not",
    ),
    (
        "rolling_window",
        {"match": {"methods": ["get"]}},
        "match.methods",
        "must be a list of 'GET', 'HEAD', 'POST', ",
    ),
    (
        "rolling_window",
        {"match": {"callers": "none"}},
        "match.callers",
        "must be one of 'known', 'anonymous', 'all'",
    ),
    (
        "rolling_window",
        {"match": {"route": []}},
        "match.route",
        "is not a key that is known here; did you mean 'rou",
    ),
    (
        "rolling_window",
        {"match": {"callers": "anonymous"}},
        "match.callers",
        "without a token there is no app; the key may hold ip and route only",
    ),
    (
        "rolling_window",
        {"match": {"kinds": ["token"], "tags": ["read"]}},
        "match.kinds",
        "other than 'api' have no routes",
    ),
    (
        "rolling_window",
        {"match": {"kinds": ["token"]}, "key": ["tenant"]},
        "key",
        "of calls that are not the API's may hold app, ip and person only",
    ),
    ("rolling_window", {"cost": -1}, "cost", "must be a whole number of 0 or more, not -1"),
    ("rolling_window", {"cost": 1.5}, "cost", "must be a whole number of 0 or more, not 1.5"),
    ("rolling_window", {"cost": 4}, "cost", "of 4 never fits into a limit of 3"),
    ("rolling_window", {"cost": {"routes": {"add": 9}}}, "cost", "of 9 never fits into a limit of 3"),
    ("rolling_window", {"cost": {"methods": {"POST": 5}}}, "cost", "of 5 never fits into a limit of 3"),
    ("rolling_window", {"cost": {"routes": {"x": 1}}}, "cost.routes.x", "is not known; there is: list, add"),
    (
        "rolling_window",
        {"cost": {"methods": {"get": 1}}},
        "cost.methods.get",
        "is not known; there is: GET, HEAD",
    ),
    (
        "rolling_window",
        {"cost": {"when": "later"}},
        "cost.when",
        "must be one of 'before', 'refund', 'after', not",
    ),
    (
        "rolling_window",
        {"cost": {"per_objects": 1}},
        "cost.per_objects",
        "is not a key that is known here; did you",
    ),
    (
        "rolling_window",
        {"limit": {"base": 5}},
        "limit.per_person",
        "is missing; it must be a whole number of 1 or m",
    ),
    (
        "rolling_window",
        {"limit": {"per_person": 1, "least": 9, "most": 5}},
        "limit.least",
        "must be at most 'most', ",
    ),
    ("rolling_window", {"limit": {"per_person": 1, "x": 9}}, "limit.x", "is not a key that is known here"),
    ("fixed_window", {"align": "utc"}, "align", "must be one of 'clock', 'first_call', 'offset', not 'utc'"),
    (
        "fixed_window",
        {"zone": "Mars/Olympus"},
        "zone",
        "'Mars/Olympus' is no time zone of the IANA database, such as",
    ),
    (
        "fixed_window",
        {"zone": "/etc/passwd"},
        "zone",
        "'/etc/passwd' is no time zone of the IANA database, such as",
    ),
    ("fixed_window", {"zone": 1}, "zone", "must be a text, not 1"),
    (
        "fixed_window",
        {"zone": "Europe/Berlin", "align": "first_call"},
        "zone",
        "means something only where align is 'clock'",
    ),
    (
        "fixed_window",
        {"zone": "Europe/Berlin", "period": "7h"},
        "period",
        "must divide a day, or be whole days, where a time zone is given",
    ),
    ("fixed_window", {"period": "month", "align": "offset"}, "period", "'month' needs align = 'clock'"),
    ("token_bucket", {"capacity": 0}, "capacity", "must be a whole number of 1 or more, not 0"),
    ("token_bucket", {"rate": None}, "rate", "is missing; it must be a text"),
    ("token_bucket", {"rate": "2"}, "rate", f"{RATE}'2'"),
    ("token_bucket", {"rate": "fast"}, "rate", f"{RATE}'fast'"),
    ("token_bucket", {"rate": "-2/s"}, "rate", f"{RATE}'-2/s'"),
    ("token_bucket", {"rate": "2/fortnight"}, "rate", f"{RATE}'2/fortnight'"),
    ("token_bucket", {"rate": "2/0s"}, "rate", f"{RATE}'2/0s'"),
    ("token_bucket", {"rate": "1/0/s"}, "rate", f"{RATE}'1/0/s'"),
    (
        "token_bucket",
        {"rate": "0/s"},
        "rate",
        "must lie between 1 token in 11 days and 1 a nanosecond, not '0/s'",
    ),
    (
        "token_bucket",
        {"rate": "2/ns"},
        "rate",
        "must lie between 1 token in 11 days and 1 a nanosecond, not '2/ns'",
    ),
    (
        "token_bucket",
        {"rate": "1/12d"},
        "rate",
        "must lie between 1 token in 11 days and 1 a nanosecond, not ",
    ),
    ("token_bucket", {"period": "1m"}, "period", "is not a key that is known here"),
    ("concurrency", {"limit": 0}, "limit", "must be a whole number of 1 or more, not 0"),
    ("concurrency", {"min_age": "soon"}, "min_age", f"{DURATION}: 'soon' is not a duration"),
    ("concurrency", {"cost": 2}, "cost", "is not a key that is known here"),
    ("balance", {"credits": None}, "credits", "is missing; it must be a whole number of 1 or more"),
    ("balance", {"may_go_negative": 1}, "may_go_negative", "must be true or false, not 1"),
    ("balance", {"period": "1d", "align": "offset"}, "align", "of a balance must be 'clock'"),
    (
        "cardinality",
        {"of": None},
        "of",
        "is missing; it must be one of 'person', 'tenant', 'token', 'ip', 'object'",
    ),
    (
        "cardinality",
        {"of": "app"},
        "of",
        "must be one of 'person', 'tenant', 'token', 'ip', 'object', not 'app'",
    ),
    (
        "cardinality",
        {"key": ["person"]},
        "of",
        "'person' is part of the key, so there is never more than one",
    ),
    (
        "cardinality",
        {"on_excess": "evict_oldest"},
        "on_excess",
        "'evict_oldest' needs of = 'token' and match.kinds",
    ),
    (
        "cardinality",
        {"of": "token", "match": {"kinds": ["token"]}},
        "on_excess",
        "of calls to the token endpoint must be 'evict_oldest'",
    ),
    (
        "cardinality",
        {"of": "ip", "match": {"kinds": ["authorize"]}},
        "match",
        "of kind 'authorize' alone needs of = 'person' and key = ['app']",
    ),
    (
        "cardinality",
        {"match": {"kinds": ["api", "introspect"]}},
        "match",
        "of a cardinality may name the kinds api, token and authorize only",
    ),
    ("penalty", {"statuses": None}, "statuses", "is missing; it must be a value"),
    ("penalty", {"statuses": []}, "statuses", "must be a list of HTTP statuses from 100 to 599, not []"),
    (
        "penalty",
        {"statuses": [999]},
        "statuses",
        "must be a list of HTTP statuses from 100 to 599, not [999]",
    ),
    ("penalty", {"statuses": 401}, "statuses", "must be a list of HTTP statuses from 100 to 599, not 401"),
    ("penalty", {"threshold": 0}, "threshold", "must be a whole number of 1 or more, not 0"),
    ("penalty", {"window": None}, "window", f"is missing; it {DURATION}"),
    ("penalty", {"block": None}, "block", f"is missing; it {DURATION}"),
    ("penalty", {"action": "jail"}, "action", "must be one of 'block', 'extend', 'ban', not 'jail'"),
    ("penalty", {"action": "ban"}, "block", "is not a key that is known here"),
    ("penalty", {"escalation": 0}, "escalation", "must be a whole number of 1 or more, not 0"),
    ("penalty", {"longest": "1m"}, "longest", "must be no shorter than 'block'"),
    ("opaque", {"floor": 5}, "ceiling", "must be a whole number of 5 or more, not 4"),
    ("opaque", {"counts": "token_bucket"}, "counts", "must be one of 'rolling_window', 'fixed_window', not"),
    ("opaque", {"limit": 3}, "limit", "is not a key that is known here"),
]


@pytest.mark.parametrize(
    ("kind", "changed", "key", "says"), WRONG, ids=[f"{kind}-{changed}"[:80] for kind, changed, _, _ in WRONG]
)
def test_every_mistake_is_one_line_with_file_key_and_what_is_allowed(kind, changed, key, says):
    """The text is ``file: key: what would be right``."""
    table = {"kind": kind, "source": SOURCE, **SMALLEST[kind], **changed}
    table = {name: value for name, value in table.items() if value is not None}
    with pytest.raises(ProfileError) as caught:
        parse_limits(Table({"limits": {"quota": table}}, "p.toml"), ROUTES)
    assert str(caught.value).startswith(f"p.toml: limits.quota.{key}: {says}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("top", "says"),
    [
        ({}, "limits: is missing; there must be at least one [limits.NAME] table"),
        ({"limits": {}}, "limits: is missing; there must be at least one [limits.NAME] table"),
        ({"limits": 100}, "limits: must be a table, not 100"),
        ({"limits": {"quota": 100}}, "limits.quota: must be a table, not 100"),
        (
            {"limits": {"a b": {}}},
            "limits.a b: is no name for a limit: letters, digits, dashes and underscores are",
        ),
        ({"limits": {"tightest": {}}}, "limits.tightest: is no name for a limit"),
        ({"limits": {"refusing": {}}}, "limits.refusing: is no name for a limit"),
    ],
)
def test_limits_have_names_and_there_is_one_at_least(top, says):
    """``tightest`` and ``refusing`` are taken: templates mean something else by them."""
    with pytest.raises(ProfileError) as caught:
        parse_limits(Table(top, "p.toml"), ROUTES)
    assert str(caught.value).startswith(f"p.toml: {says}")


def test_two_limits_of_one_name_are_no_toml():
    """TOML itself refuses a table that is there twice."""
    with pytest.raises(tomllib.TOMLDecodeError, match="Cannot declare"):
        tomllib.loads("[limits.a]\n[limits.a]\n")


@pytest.mark.parametrize(
    ("entries", "kind", "says"),
    [
        ([{"why": "x", "limits": {}}], "rolling_window", f"timetable[0].after: is missing; it {DURATION}"),
        (
            [{"after": "1h", "limits": {}}],
            "rolling_window",
            "timetable[0].why: is missing; it must be a text",
        ),
        (
            [{"after": "1h", "why": "x"}],
            "rolling_window",
            "timetable[0].limits: is missing; it must be a table",
        ),
        (
            [{"after": "1h", "why": "x", "limits": {"other": 1}}],
            "rolling_window",
            "timetable[0].limits.other: there is no such limit; there is: quota",
        ),
        (
            [{"after": "1h", "why": "x", "limits": {"quota": 0}}],
            "rolling_window",
            "timetable[0].limits.quota: must be a whole number of 1 or more, not 0",
        ),
        (
            [{"after": "1h", "why": "x", "limits": {"quota": 1}}] * 2,
            "rolling_window",
            "timetable[1].after: must be later than that of the entry before",
        ),
        *(
            (
                [{"after": "1h", "why": "x", "limits": {"quota": 1}}],
                kind,
                f"timetable[0].limits.quota: the number of a limit of kind {kind!r} {CHANGE}",
            )
            for kind in ("opaque", "concurrency", "penalty")
        ),
    ],
)
def test_a_wrong_timetable_is_named_by_its_place(entries, kind, says):
    """Entries have no names: the error counts them from 0."""
    with pytest.raises(ProfileError) as caught:
        parsed({"kind": kind, **SMALLEST[kind]}, timetable=entries)
    assert str(caught.value).startswith(f"p.toml: {says}")


def test_a_balance_that_is_refilled_keeps_its_number():
    """Only one without a period may change."""
    entries = [{"after": "1h", "why": "x", "limits": {"quota": 1}}]
    assert parsed({"kind": "balance", "credits": 3}, timetable=entries)[0].changes != ()
    with pytest.raises(ProfileError, match="the number of a balance that is refilled cannot change"):
        parsed({"kind": "balance", "credits": 3, "period": "1d"}, timetable=entries)


# ---- the page about kinds: docs/limit-kinds.md


def known_keys(kind: str) -> set[str]:
    """The keys that a limit of this kind may have, as the parser itself lists them."""
    more = {"period": "1d"} if kind == "balance" else {"counts": "fixed_window"} if kind == "opaque" else {}
    with pytest.raises(ProfileError) as caught:
        one(kind, qqqqq=1, **more)
    return set(str(caught.value).partition("known here: ")[2].split(", "))


def test_the_table_of_parameters_names_every_key_of_every_kind():
    """What the page says a kind takes is what the parser takes."""
    table: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for parameter, kinds in re.findall(r"^\| `(\w+)` \| ([\w, ]+) \|", PAGE, re.MULTILINE):
        for kind in KINDS if kinds == "all" else kinds.split(", "):
            table[kind].add(parameter)
    assert table == {kind: known_keys(kind) for kind in KINDS}


def timelines() -> list[tuple[str, Limit, list[tuple[str, ...]]]]:
    """Each example of the page that a table follows: its limit and the table's rows."""
    found = []
    for block, rows in re.findall(r"```toml\n(\[limits\.[^`]+)```\n\n\| at .*\n\|[-|]+\n((?:\|.*\n)+)", PAGE):
        document = tomllib.loads(block)
        for table in document["limits"].values():
            table["source"] = SOURCE
        (limit,) = parse_limits(Table(document, "limit-kinds.md"), {})
        limit = limit.drawn(3) if limit.kind == "opaque" else limit
        cells = [tuple(cell.strip() for cell in row.strip("|").split("|")) for row in rows.splitlines()]
        found.append((f"{limit.kind}-{len(found)}", limit, cells))
    return found


TIMELINES = timelines()


def number(pattern: str, text: str, otherwise: int) -> int:
    """The number that a pattern finds in a cell."""
    match = re.search(pattern, text)
    return int(match[1]) if match else otherwise


def test_every_kind_has_a_timeline():
    """No kind is explained without one, nor are costs that come later."""
    assert {limit.kind for _, limit, _ in TIMELINES} == set(KINDS)
    assert {limit.cost.when for _, limit, _ in TIMELINES if limit.kind in METERED} == {
        "before",
        "refund",
        "after",
    }
    assert len(TIMELINES) == 13


@pytest.mark.parametrize(("limit", "rows"), [pytest.param(*rest, id=name) for name, *rest in TIMELINES])
def test_the_engine_does_what_the_timeline_says(limit, rows):
    """Every row: how many calls are admitted, how long the refused ones have to wait, what is left."""
    midnight_ns = 1_767_571_200 * SECOND_NS  # 2026-01-05
    engine = Engine([limit], start_ns=midnight_ns)
    selection = engine.select("api", "GET", "list", ())
    for at, calls, happens, left in rows:
        hours, minutes, seconds = map(int, at.split(":"))
        now_ns = midnight_ns + (hours * 3600 + minutes * 60 + seconds) * SECOND_NS
        got = number(r"getting (\d+)", calls, 0)
        person = re.search(r"by (\w+)", calls)
        decisions = []
        for _ in range(number(r"^(\d+)", calls, 0)):
            decision = engine.decide(
                now_ns,
                selection,
                {"app": "app", "person": person[1] if person else "ana", "ip": "192.0.2.1"},
                objects=got,
                objects_asked=number(r"asking for (\d+)", calls, got),
                answered_ns=now_ns + number(r"lasting (\d+) s", calls, 0) * SECOND_NS,
            )
            engine.observe(now_ns, selection, decision, number(r"answered (\d+)", calls, 200))
            decisions.append(decision)
        refused = [decision for decision in decisions if decision.limit]
        admitted = len(decisions) - len(refused)
        said_refused = number(
            r"(\d+) refused", happens, len(decisions) if happens.startswith("refused") else 0
        )
        assert (admitted, len(refused)) == (len(decisions) - said_refused, said_refused)
        assert number(r"(\d+) admitted", happens, admitted) == admitted
        wait_ns = NEVER if "no wait helps" in happens else number(r"wait (\d+) s", happens, 0) * SECOND_NS
        assert {decision.wait_ns for decision in refused} == ({wait_ns} if refused else set())
        assert dict(decisions[-1].remaining)[limit.name] == int(left)


def test_the_formula_and_the_timetable_of_the_page_are_valid():
    """What the page shows apart from timelines is read, too."""
    shown = re.search(r"A formula is `(\{[^`]+\})`", PAGE)[1]
    formula = tomllib.loads(f"limit = {shown}")["limit"]
    entries = tomllib.loads(re.search(r"```toml\n(\[\[timetable\]\][^`]+)```", PAGE)[1])["timetable"]
    limits = {"hourly": {"kind": "rolling_window", "limit": formula, "period": "1h", "source": SOURCE}}
    (limit,) = parse_limits(Table({"limits": limits, "timetable": entries}, "limit-kinds.md"), {})
    assert [limit.for_people(people).limit for people in (1, 21, 1000)] == [100, 110, 500]
    assert limit.changes == (Change(6 * 60 * MINUTE_NS, 50, "the provider halves the quota"),)
