"""The bundled provider profiles: all are valid, every figure says where it comes from, and they hang together."""

from __future__ import annotations

import datetime
import re
import tomllib
from fractions import Fraction
from pathlib import Path

import pytest

from quotalab.profiles.limits import Limit, Source
from quotalab.profiles.oauth import NEVER_NS
from quotalab.profiles.provider import Provider, parse_provider
from quotalab.profiles.reference import FIELD, Endpoint

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "profiles" / "providers"
PAGE = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")
SECOND_NS = 10**9
HOUR_NS = 3600 * SECOND_NS
DAY_NS = 24 * HOUR_NS
NAMES = (
    *("discord", "github", "google", "ietf-draft-10", "jira", "meta", "microsoft-graph", "shopify", "slack"),
    *("spotify", "strava", "temporary-production", "x", "xero"),
)
MADE_UP = ("temporary-production", "ietf-draft-10")
"""Of these no provider's page tells anything."""


def bundled(name: str) -> Provider:
    """A bundled profile, ``NAME`` or ``NAME/VARIANT``."""
    name, _, variant = name.partition("/")
    document = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    return parse_provider(document, f"{name}.toml", variant=variant or None)


def every_name() -> list[str]:
    """All profiles and variants."""
    return [whole for name in NAMES for whole in (name, *(f"{name}/{v}" for v in bundled(name).variants))]


ALL = every_name()


def limit_of(name: str, limit: str) -> Limit:
    """A limit of a bundled profile."""
    return next(one for one in bundled(name).limits if one.name == limit)


def test_these_are_bundled():
    """A new profile is given a place in these tests."""
    assert sorted(path.stem for path in FOLDER.glob("*.toml")) == sorted(NAMES)
    assert len(ALL) == 32


@pytest.mark.parametrize("name", ALL)
def test_a_profile_is_valid_and_is_called_as_its_file(name):
    """Each variant too, by its own name and title."""
    provider = bundled(name)
    assert provider.name == name
    assert provider.title
    assert provider.description.endswith(".")
    base = name.partition("/")[0]
    assert name == base or provider.title != bundled(base).title


def sources_of(provider: Provider) -> dict[str, Source | None]:
    """Of everything that holds figures."""
    found = {f"limits.{limit.name}": limit.source for limit in provider.limits}
    return {**found, "oauth": provider.oauth.source, "dialect": provider.dialect.source}


@pytest.mark.parametrize("name", ALL)
def test_every_figure_has_a_source_with_a_day(name):
    """Our own choice alone needs no day; nothing was read after the month of the research."""
    provider = bundled(name)
    for what, source in sources_of(provider).items():
        assert source is not None, what
        if source.confidence == "own" and source.read is None:
            assert source.where.startswith("our choice"), what
        else:
            assert source.read is not None, what
            assert datetime.date(2026, 1, 1) <= source.read <= datetime.date(2026, 11, 30), what


@pytest.mark.parametrize("name", ALL)
def test_a_test_phase_has_a_source(name):
    """What a variant restricts before approval says where that is written."""
    provider = bundled(name)
    restricts = provider.test_phase.forbidden_scopes or any(
        limit.kind == "cardinality" and limit.of == "person" for limit in provider.limits
    )
    if restricts:
        source = provider.test_phase.source
        assert source is not None
        assert source.read is not None or source.confidence == "own"


@pytest.mark.parametrize("name", [name for name in ALL if name.partition("/")[0] not in MADE_UP])
def test_what_is_not_known_is_told(name):
    """Each gap is a sentence; whoever made a number up says so there or in its source."""
    provider = bundled(name)
    assert len(provider.gaps) >= 5
    assert all(gap[0].isupper() and gap.endswith(".") for gap in provider.gaps)
    told = " ".join(provider.gaps)
    assert "refused calls are counted" in told or any(
        limit.refused_calls in ("longer", "all") for limit in provider.limits
    )
    if any(limit.source.confidence in ("undisclosed", "own") for limit in provider.limits):
        assert re.search(r"undisclosed|stands? in|of our own|is only told|not on the page", told)


@pytest.mark.parametrize("name", ALL)
def test_only_an_undisclosed_number_is_drawn(name):
    """And what is drawn is never called known."""
    for limit in bundled(name).limits:
        assert limit.kind != "opaque" or limit.source.confidence == "undisclosed"


def route_of(provider: Provider, endpoint: Endpoint) -> str | None:
    """The route that answers one of the reference integration's requests."""
    path = FIELD.sub("7", endpoint.path.partition("?")[0])
    for route in provider.routes:
        pattern = "".join(
            re.escape(part) if i % 2 == 0 else "[^/]+"
            for i, part in enumerate(re.split(r"\{(\w+)\}", route.path))
        )
        if endpoint.method in route.methods and re.fullmatch(pattern, path):
            return route.name
    return None


@pytest.mark.parametrize("name", ALL)
def test_the_reference_calls_routes_that_are_there_with_scopes_that_it_asks_for(name):
    """List, read and create reach routes of that kind, and their scopes are in the authorization request."""
    provider = bundled(name)
    reference = provider.reference
    assert reference is not None
    asked = set(reference.scope.split(provider.oauth.scope_delimiter))
    assert asked <= provider.scopes.keys()
    by_name = {route.name: route for route in provider.routes}
    for what in ("list", "read", "create"):
        route = by_name[route_of(provider, getattr(reference, what)) or ""]
        assert route.answer == what
        assert set(route.scopes) <= asked
    if reference.tenant is not None:
        assert route_of(provider, reference.tenant) is not None
    assert (reference.tenant is None) == (not any("{tenant}" in str(part) for part in (
        reference.headers, reference.list, reference.read, reference.create
    )) and not any(allowance.per == "tenant" for allowance in reference.budget))  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_the_reference_knows_a_refusal_when_it_sees_one(name):
    """By status, by body or, of a 403, by header: every limit's refusal bears a sign that the table knows."""
    provider = bundled(name)
    reference = provider.reference
    assert reference is not None
    for limit in provider.limits:
        if limit.kind == "cardinality":  # no wait helps
            continue
        refusal = provider.dialect.refusal(limit.name)
        signs = reference.refused
        by_header = refusal.status == 403 and bool(signs.headers)
        by_body = any(pointed(refusal.body, pointer) in values for pointer, values in signs.body.items())
        assert refusal.status in signs.statuses or by_header or by_body, limit.name


def pointed(document: object, pointer: str) -> object:
    """What a JSON pointer points to."""
    for step in pointer.split("/")[1:]:
        if isinstance(document, list):
            document = document[int(step)] if int(step) < len(document) else None
        else:
            document = document.get(step) if isinstance(document, dict) else None
    return document


@pytest.mark.parametrize("name", NAMES)
def test_a_token_that_is_no_good_is_told_by_a_sign_that_the_reference_knows(name):
    """An expired token's answer has status 401 or a body that the reference integration renews by."""
    provider = bundled(name)
    reference = provider.reference
    assert reference is not None
    error = provider.dialect.errors["expired_token"]
    expired = reference.expired
    assert error.status in expired.statuses or any(
        pointed(error.body, pointer) in values for pointer, values in expired.body.items()
    )


@pytest.mark.parametrize("name", NAMES)
def test_people_are_told_what_an_app_may_do(name):
    """Every scope has words of its own, and routes ask only for scopes that are there."""
    provider = bundled(name)
    assert len(set(provider.scopes.values())) == len(provider.scopes)
    assert {scope for route in provider.routes for scope in route.scopes} <= provider.scopes.keys()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "temporary-production"])
def test_an_app_can_ask_who_it_speaks_for_list_read_and_create(name):
    """The handful of calls that a provider's own library begins with."""
    assert {route.answer for route in bundled(name).routes} == {"fixed", "list", "read", "create"}


# ---- the figures, as they stand on the providers' pages


@pytest.mark.parametrize(
    ("name", "limit", "kind", "number", "period_ns", "key"),
    [
        ("github", "core", "fixed_window", 5000, HOUR_NS, ("person",)),
        ("github", "anonymous", "fixed_window", 60, HOUR_NS, ("ip",)),
        ("github", "concurrent", "concurrency", 100, 0, ("app", "person")),
        ("github", "points", "rolling_window", 900, 60 * SECOND_NS, ("app", "person")),
        ("github", "content_hour", "rolling_window", 500, HOUR_NS, ("app", "person")),
        ("github/enterprise", "core", "fixed_window", 15000, HOUR_NS, ("person",)),
        ("google", "gmail_project", "rolling_window", 1_200_000, 60 * SECOND_NS, ("app",)),
        ("google", "gmail_person", "rolling_window", 15000, 60 * SECOND_NS, ("app", "person")),
        ("google", "youtube_units", "fixed_window", 10000, DAY_NS, ("app",)),
        ("google", "youtube_searches", "fixed_window", 100, DAY_NS, ("app",)),
        ("google", "refresh_tokens", "cardinality", 100, 0, ("app", "person")),
        ("google/testing", "test_users", "cardinality", 100, 0, ("app",)),
        ("microsoft-graph", "global", "rolling_window", 130_000, 10 * SECOND_NS, ("app",)),
        ("microsoft-graph", "mailbox", "rolling_window", 10000, 600 * SECOND_NS, ("app", "person")),
        ("microsoft-graph", "mailbox_concurrent", "concurrency", 4, 0, ("app", "person")),
        ("slack", "channel_messages", "token_bucket", 1, 0, ("app", "tenant", "object")),
        ("slack/unlisted", "history", "token_bucket", 1, 0, ("app", "tenant", "route")),
        ("spotify/development", "listed_people", "cardinality", 5, 0, ("app",)),
        ("strava", "read_15min", "fixed_window", 100, 900 * SECOND_NS, ("app",)),
        ("strava", "read_day", "fixed_window", 1000, DAY_NS, ("app",)),
        ("strava", "overall_15min", "fixed_window", 200, 900 * SECOND_NS, ("app",)),
        ("strava", "overall_day", "fixed_window", 2000, DAY_NS, ("app",)),
        ("strava/single-player", "athletes", "cardinality", 1, 0, ("app",)),
        ("strava/ten-athletes", "overall_day", "fixed_window", 4000, DAY_NS, ("app",)),
        ("discord", "global", "rolling_window", 50, SECOND_NS, ("app",)),
        ("discord", "invalid", "penalty", 10000, 600 * SECOND_NS, ("ip",)),
        ("jira", "points", "fixed_window", 65000, HOUR_NS, ("app",)),
        ("jira", "issue_short", "rolling_window", 20, 2 * SECOND_NS, ("tenant", "object")),
        ("jira", "issue_long", "rolling_window", 100, 30 * SECOND_NS, ("tenant", "object")),
        ("xero", "concurrent", "concurrency", 5, 0, ("app", "tenant")),
        ("xero", "minute", "fixed_window", 60, 60 * SECOND_NS, ("app", "tenant")),
        ("xero", "day", "fixed_window", 5000, DAY_NS, ("app", "tenant")),
        ("xero/starter", "day", "fixed_window", 1000, DAY_NS, ("app", "tenant")),
        ("xero", "app_minute", "fixed_window", 10000, 60 * SECOND_NS, ("app",)),
        ("x", "me", "fixed_window", 75, 900 * SECOND_NS, ("app", "person")),
        ("x", "post_day", "fixed_window", 10000, DAY_NS, ("app",)),
        ("x", "like_day", "fixed_window", 1000, DAY_NS, ("app", "person")),
    ],
)
def test_a_limit_is_what_its_page_says(name, limit, kind, number, period_ns, key):
    """Kind, number, period and key."""
    found = limit_of(name, limit)
    assert (found.kind, found.limit, found.period_ns, found.key) == (kind, number, period_ns, key)


@pytest.mark.parametrize(
    ("name", "limit", "capacity", "a_second"),
    [
        ("slack", "tier2", 20, Fraction(20, 60)),
        ("slack", "tier3", 50, Fraction(50, 60)),
        ("slack", "tier4", 100, Fraction(100, 60)),
        ("shopify", "rest", 40, 2),
        ("shopify/advanced", "rest", 80, 4),
        ("shopify/plus", "rest", 400, 20),
        ("shopify", "graphql", 2000, 100),
        ("shopify/plus", "graphql", 20000, 1000),
        ("jira", "burst_read", 100, 100),
        ("jira", "burst_write", 50, 50),
    ],
)
def test_a_bucket_is_what_its_page_says(name, limit, capacity, a_second):
    """How much it holds, and how much flows back in a second."""
    found = limit_of(name, limit)
    assert (found.limit, found.rate * SECOND_NS) == (capacity, a_second)


def test_windows_begin_where_the_pages_say():
    """By the clock, with the first call, at an offset; a day of Los Angeles."""
    assert {limit.align for limit in bundled("strava").limits} == {"clock"}
    assert limit_of("github", "core").align == "first_call"
    assert {limit.align for limit in bundled("xero").limits if limit.kind == "fixed_window"} == {"offset"}
    assert limit_of("google", "youtube_units").zone == "America/Los_Angeles"
    assert limit_of("x", "post_reads_month").calendar == "month"


def test_refused_calls_are_charged_where_the_pages_say_so():
    """Strava's to the day, Microsoft's and Meta's to everything; nobody else says it."""
    charged = {
        f"{name}:{limit.name}": limit.refused_calls
        for name in NAMES
        for limit in bundled(name).limits
        if limit.refused_calls != "free"
    }
    assert charged == {
        "strava:read_15min": "longer",
        "strava:overall_15min": "longer",
        "microsoft-graph:global": "all",
        "microsoft-graph:mailbox": "all",
        "meta:app_hour": "all",
    }


def test_metas_number_grows_with_the_people():
    """200 calls an hour for each."""
    assert bundled("meta").for_people(12).limits[0].limit == 2400
    assert [bundled("jira/tier-2").for_people(people).limits[0].limit for people in (1, 100, 10**6)] == [
        100_010,
        101_000,
        500_000,
    ]


@pytest.mark.parametrize(
    ("name", "access_ns", "refresh_ns", "rotation", "delimiter", "pkce"),
    [
        ("github", NEVER_NS, NEVER_NS, "none", " ", "optional"),
        ("github/app", 28_800 * SECOND_NS, 15_897_600 * SECOND_NS, "rotate", " ", "optional"),
        ("google", HOUR_NS, NEVER_NS, "none", " ", "optional"),
        ("google/testing", HOUR_NS, NEVER_NS, "none", " ", "optional"),
        ("microsoft-graph", HOUR_NS, 90 * DAY_NS, "rotate", " ", "optional"),
        ("slack", NEVER_NS, NEVER_NS, "none", ",", "optional"),
        ("slack/rotation", 43_200 * SECOND_NS, NEVER_NS, "rotate", ",", "optional"),
        ("shopify", NEVER_NS, NEVER_NS, "none", ",", "optional"),
        ("shopify/expiring", HOUR_NS, NEVER_NS, "rotate", ",", "optional"),
        ("strava", 6 * HOUR_NS, NEVER_NS, "rotate", ",", "optional"),
        ("spotify", HOUR_NS, NEVER_NS, "none", " ", "optional"),
        ("discord", 604_800 * SECOND_NS, NEVER_NS, "rotate", " ", "optional"),
        ("jira", HOUR_NS, 90 * DAY_NS, "rotate", " ", "optional"),
        ("xero", HOUR_NS // 2, 60 * DAY_NS, "rotate", " ", "optional"),
        ("meta", 60 * DAY_NS, 60 * DAY_NS, "none", ",", "optional"),
        ("x", 2 * HOUR_NS, 180 * DAY_NS, "rotate", " ", "required"),
    ],
)
def test_tokens_live_as_long_as_the_pages_say(name, access_ns, refresh_ns, rotation, delimiter, pkce):
    """Lifetimes, rotation, how scopes are parted, whether PKCE must be used."""
    oauth = bundled(name).oauth
    assert (oauth.access_token_lifetime_ns, oauth.refresh_token_lifetime_ns) == (access_ns, refresh_ns)
    assert (oauth.refresh_rotation, oauth.scope_delimiter, oauth.pkce) == (rotation, delimiter, pkce)


def test_what_holds_in_a_test_phase_is_told_apart_from_what_holds_always():
    """Google's seven days and hundred people, and its warning, end with the approval; Strava lets untick."""
    phase = bundled("google/testing").test_phase
    assert (phase.listed_people, phase.unverified, phase.refresh_token_lifetime_ns) == (100, True, 7 * DAY_NS)
    assert bundled("google").test_phase.listed_people is None
    assert bundled("strava").oauth.untick
    assert bundled("x").oauth.pkce_methods == ("S256", "plain")
    assert bundled("microsoft-graph").oauth.refresh_grace_ns == NEVER_NS
    assert bundled("github").oauth.grants == ("authorization_code",)
    assert "refresh_token" in bundled("github/app").oauth.grants


def test_unlisted_slack_apps_get_fifteen_messages_at_once():
    """However the history is asked for, and however many are asked for."""
    pages = {route.name: route.page for route in bundled("slack/unlisted").routes if "history" in route.tags}
    assert {(page.size, page.most) for page in pages.values() if page} == {(15, 15)}
    assert len(pages) == 2


# ---- the page about them: docs/providers.md


def row(name: str) -> list[str]:
    """What the page's table says of a profile, apart from the tests."""
    provider = bundled(name)
    kinds = sorted(
        {limit.kind for whole in ALL if whole.split("/")[0] == name for limit in bundled(whole).limits}
    )
    refusals = sorted({
        (refusal.status, refusal.retry_after)
        for refusal in map(provider.dialect.refusal, (limit.name for limit in provider.limits))
    })  # fmt: skip
    headers = list(dict.fromkeys(f"`{header.name}`" for header in provider.dialect.headers))
    return [
        f"`{name}`",
        ", ".join(f"`{name}/{variant}`" for variant in provider.variants) or "–",  # noqa: RUF001
        ", ".join(kinds),
        ", ".join(headers) or "none",
        "; ".join(f"{status}, {form}" for status, form in refusals),
    ]


def rows_of_page() -> dict[str, list[str]]:
    """The table's rows by profile."""
    found = {}
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if line.startswith("| `"):
            found[cells[0].strip("`")] = cells
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_table_of_providers_is_true(name):
    """Kinds, headers and refusals are those of the profile; all tests of that provider are named."""
    *said, tests, _ = rows_of_page()[name]
    assert said == row(name)
    mine = [
        test
        for test in names_of_tests("test_profiles.py")
        if test.startswith(f"test_{name.replace('-', '_')}_")
    ]
    assert mine
    assert tests == ", ".join(f"`{test}`" for test in mine)


def test_the_tests_of_providers_own_libraries_are_all_in_the_table():
    """Each once, and no other."""
    named = [test for *_, tests in rows_of_page().values() for test in re.findall(r"`(\w+)`", tests)]
    assert sorted(named) == sorted(names_of_tests("test_sdks.py"))


def names_of_tests(file: str) -> list[str]:
    """The tests of a file beside the sandbox."""
    text = (ROOT / "tests" / "sandbox" / file).read_text(encoding="utf-8")
    return re.findall(r"^def (test_\w+)", text, re.MULTILINE)


def test_the_table_has_no_other_providers():
    """Whoever goes leaves the table too."""
    assert sorted(rows_of_page()) == sorted(NAMES)
