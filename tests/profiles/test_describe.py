"""Profiles in words, and the `profiles` command that prints them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from quotalab.cli import main
from quotalab.profiles.describe import WIDTH, checked, profile_list, profile_page, say_duration, say_limit
from quotalab.profiles.limits import parse_limits
from quotalab.profiles.loading import load_provider
from quotalab.profiles.provider import parse_provider
from quotalab.profiles.reading import Table
from quotalab.workspace import Workspace

ROOT = Path(__file__).parents[2]
WORKSPACE = Workspace.find(ROOT)
WHOLE = [
    whole
    for name in WORKSPACE.names("provider")
    for whole in (name, *(f"{name}/{variant}" for variant in load_provider(WORKSPACE, name).variants))
]
SOURCE = {"where": "a page", "confidence": "own"}
SMALL = """\
schema = 1
name = "acme"
title = "Acme"
oauth = { access_token_lifetime = "1h", refresh_token_lifetime = "never" }
[limits.hourly]
kind = "rolling_window"
limit = 5
period = "1h"
source = { where = "our choice", confidence = "own" }
"""


def page(name: str) -> str:
    """The page about a bundled profile."""
    return profile_page(load_provider(WORKSPACE, name))


def said(**table: object) -> str:
    """A limit in words."""
    top = {"limits": {"quota": {"source": SOURCE, **table}}}
    return say_limit(parse_limits(Table(top, "p.toml"), {})[0])


@pytest.mark.parametrize(
    ("ns", "words"),
    [
        (10**9, "a second"),
        (10 * 10**9, "10 seconds"),
        (60 * 10**9, "a minute"),
        (90 * 10**9, "90 seconds"),
        (900 * 10**9, "15 minutes"),
        (3600 * 10**9, "an hour"),
        (8 * 3600 * 10**9, "8 hours"),
        (86_400 * 10**9, "a day"),
        (184 * 86_400 * 10**9, "184 days"),
        (1_500_000_000, "1.5 seconds"),
        (20_000_000, "0.02 seconds"),
        (0, "0 seconds"),
    ],
)
def test_durations_are_said_in_their_largest_whole_unit(ns, words):
    """As people say them."""
    assert say_duration(ns) == words


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"kind": "rolling_window", "limit": 100, "period": "1h"}, "100 calls in any hour, for the app"),
        (
            {"kind": "rolling_window", "limit": 20, "period": "2s", "key": ["tenant", "object"]},
            "20 calls in any 2 seconds, for each tenant and each object",
        ),
        (
            {"kind": "rolling_window", "limit": 900, "period": "1m", "cost": {"methods": {"POST": 5}}},
            "900 units in any minute, for the app",
        ),
        (
            {"kind": "rolling_window", "limit": {"per_person": 200}, "period": "1h"},
            "200 calls for each of the people in any hour, for the app",
        ),
        (
            {"kind": "fixed_window", "limit": 1, "period": "15m", "key": ["app", "person"]},
            "1 call in 15 minutes, in windows by the clock (UTC), for each person",
        ),
        (
            {"kind": "fixed_window", "limit": 7, "period": "1d", "zone": "America/Los_Angeles"},
            "7 calls a day, in windows by the clock of America/Los_Angeles, for the app",
        ),
        (
            {"kind": "fixed_window", "limit": 7, "period": "month"},
            "7 calls a month, in calendar months of UTC, for the app",
        ),
        (
            {"kind": "fixed_window", "limit": 7, "period": "1m", "align": "first_call"},
            "7 calls a minute, in windows that begin with the first call after the one before, for the app",
        ),
        (
            {"kind": "fixed_window", "limit": 7, "period": "1m", "align": "offset"},
            "7 calls a minute, in windows that begin at an offset of each key's own, for the app",
        ),
        (
            {"kind": "token_bucket", "capacity": 40, "rate": "2/s"},
            "40 calls at once, and 2 a second flow back, for the app",
        ),
        (
            {"kind": "token_bucket", "capacity": 20, "rate": "20/1m"},
            "20 calls at once, and 20 a minute flow back, for the app",
        ),
        (
            {"kind": "token_bucket", "capacity": 2, "rate": "0.017/s"},
            "2 calls at once, and 0.017 a second flow back, for the app",
        ),
        (
            {"kind": "concurrency", "limit": 25, "min_age": "20s"},
            "25 calls that last 20 seconds or longer at once, for the app",
        ),
        (
            {"kind": "balance", "credits": 5000},
            "5,000 credits; none come back; a call is admitted as long as one is left, for the app",
        ),
        (
            {"kind": "balance", "credits": 5, "period": "1d", "may_go_negative": False},
            "5 credits; as many come back every day; a call must fit, for the app",
        ),
        ({"kind": "cardinality", "limit": 1, "of": "person"}, "1 person ever, for the app"),
        (
            {
                "kind": "cardinality",
                "limit": 100,
                "of": "token",
                "key": ["app", "person"],
                "on_excess": "evict_oldest",
                "match": {"kinds": ["token"]},
            },
            "100 refresh tokens; one more ends the oldest, for each person",
        ),
        (
            {
                "kind": "penalty",
                "threshold": 9,
                "window": "10m",
                "statuses": [401, 429],
                "block": "1h",
                "key": ["ip"],
            },
            "more than 9 answers 401 or 429 in 10 minutes bring a block of an hour, for each address",
        ),
        (
            {
                "kind": "penalty",
                "threshold": 9,
                "window": "1m",
                "statuses": [429],
                "block": "10s",
                "action": "extend",
                "escalation": 2,
                "longest": "1h",
            },
            "more than 9 answers 429 in a minute bring a block of 10 seconds, each further one 2 times as long, at "
            "most an hour, begun anew by every call meanwhile, for the app",
        ),
        (
            {"kind": "penalty", "threshold": 9, "window": "1m", "statuses": [429], "action": "ban"},
            "more than 9 answers 429 in a minute bring a ban, for the app",
        ),
        (
            {"kind": "opaque", "floor": 60, "ceiling": 120, "period": "30s"},
            "an undisclosed number of calls (from 60 to 120 in the sandbox) in any 30 seconds, for the app",
        ),
    ],
)
def test_a_limit_is_said_in_one_sentence(table, words):
    """Its number, how it counts, and for whom."""
    assert said(**table) == words


@pytest.mark.parametrize("name", WHOLE)
def test_a_page_is_plain_text_of_its_width_and_leaves_nothing_out(name):
    """Every limit, header, route, scope, gap and source is on it, and no template is left unfilled."""
    provider = load_provider(WORKSPACE, name)
    text = page(name)
    flat = " ".join(text.split())
    assert all(len(line) <= WIDTH for line in text.splitlines() if "https://" not in line)
    assert text.replace("\n", "").isprintable()
    for limit in provider.limits:
        assert f"{limit.name}: {say_limit(limit)}" in flat
        assert limit.source.where in flat
        assert f"confidence {limit.source.confidence}" in flat
    for header in provider.dialect.headers:
        assert f"{header.name}: " in flat
    for route in provider.routes:
        assert f"{route.name}: {','.join(route.methods)} {provider.api_path}{route.path}" in flat
    for scope, words in provider.scopes.items():
        assert f"{scope} {words}" in flat
    assert all(gap in flat for gap in provider.gaps)
    assert "Template(" not in text
    assert "Field(" not in text


def test_headers_are_shown_as_they_look():
    """Pairs, used of limit, seconds since 1970, percent in JSON, structured fields: with a quarter used."""
    assert "  X-RateLimit-Usage: 50,500\n" in page("strava")
    assert "  X-Shopify-Shop-Api-Call-Limit: 10/40\n" in page("shopify")
    assert "  x-ratelimit-reset: 1767605407\n" in page("github")
    assert '  X-App-Usage: {"call_count":25,"total_time":0,"total_cputime":0} (from 50% of use on)\n' in page(
        "meta"
    )
    assert '"burst";r=75;t=30;pk=:YXBw:,"daily";r=750;t=43200;pk=:YXBw:' in page("ietf-draft-10")
    assert "  X-Rate-Limit-Problem: day (on refusals by day)\n" in page("xero")
    assert "  none that tells of a limit\n" in page("slack")


def test_refusals_are_shown_as_they_look():
    """Status, Retry-After in its form, and the body with its fields filled in."""
    assert '429, Retry-After: 36.0 (seconds with a decimal), {"errors": "Exceeded 2.0 calls' in page(
        "shopify"
    )
    assert 'refusal   429, no Retry-After, {"message": "Rate Limit Exceeded"' in page("strava")
    assert "429, no Retry-After, (no body)" in page("xero")
    flat = " ".join(page("discord").split())
    assert '{"message": "You are being rate limited.", "retry_after": 36.0, "global": true}' in flat


def test_a_page_of_a_variant_is_of_that_variant():
    """What the test phase allows stands in a section of its own."""
    text = page("strava/single-player")
    assert text.startswith("strava/single-player: Strava: single-player mode\n")
    assert "TEST PHASE\n  athletes: 1 person ever\n" in text
    assert "Variants: single-player, ten-athletes\n" in page("strava")
    assert "Variants" not in text
    assert "forbidden scopes: calendar.admin" in page("temporary-production")


def test_the_list_has_a_line_for_each_profile_and_variant():
    """Variants stand below their profile."""
    lines = profile_list(WORKSPACE).splitlines()
    assert [line.split()[0] for line in lines] == WHOLE
    width = len("  temporary-production/few-users  ")
    assert "temporary-production".ljust(width) + "Temporary production access" in lines
    assert "  spotify/development".ljust(width) + "Spotify: development mode" in lines


def test_a_broken_profile_does_not_hide_the_others(tmp_path):
    """The list says what is wrong with it, and goes on."""
    folder = tmp_path / "profiles" / "providers"
    folder.mkdir(parents=True)
    (folder / "acme.toml").write_text(SMALL)
    (folder / "broken.toml").write_text("schema = 2\n")
    flat = " ".join(profile_list(Workspace.find(tmp_path, tmp_path)).split())
    assert " acme Acme " in f" {flat} "
    assert "broken cannot be used: " in flat
    assert "broken.toml: schema: must be a whole number of at most 1, not 2" in flat
    assert "xero Xero" in flat


# ---- checking a user's own


def test_a_valid_profile_is_said_to_be_in_one_line(tmp_path):
    """With how many limits and routes; what has no source, or no day, is warned of once."""
    file = tmp_path / "acme.toml"
    file.write_text(SMALL)
    line, warnings = checked(file)
    assert line == f"{file}: a valid profile: 1 limit, 0 routes"
    assert warnings == (
        f"{file}: oauth: has no source; say where its figures come from",
        f"{file}: dialect: has no source; say where its figures come from",
    )


def test_a_page_that_was_read_needs_a_day(tmp_path):
    """Our own choice alone has none."""
    file = tmp_path / "acme.toml"
    file.write_text(SMALL.replace('"own"', '"high"'))
    assert (
        f"{file}: limits.hourly.source: has no 'read'; say on which day the page was read" in checked(file)[1]
    )


def test_variants_are_warned_of_too(tmp_path):
    """What only a variant has needs a source as well."""
    file = tmp_path / "acme.toml"
    file.write_text(
        SMALL + '[variants.plus.limits.hourly]\nsource = { where = "a page", confidence = "low" }\n'
    )
    assert (
        f"{file}: limits.hourly.source: has no 'read'; say on which day the page was read" in checked(file)[1]
    )


@pytest.mark.parametrize("name", WORKSPACE.names("provider"))
def test_the_bundled_profiles_are_warned_of_nothing(name):
    """They say where everything comes from."""
    file = ROOT / "profiles" / "providers" / f"{name}.toml"
    assert checked(file)[1] == ()


def test_a_variant_that_is_broken_is_told_too(tmp_path, capsys):
    """Nobody has to run it to find out."""
    file = tmp_path / "acme.toml"
    file.write_text(SMALL + "[variants.plus.limits.hourly]\nlimit = 0\n")
    assert main(["profiles", "--check", str(file)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        f"quotalab: {file}: limits.hourly.limit: must be a whole number of 1 or more, not 0\n"
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("schema = 1\n[limits.a]\n[limits.a]\n", "is not valid TOML: "),
        ("x = " + "[" * 5000, "is not valid TOML: "),
        ("\0", "is not valid TOML: "),
        ("", "schema: is missing; it must be a whole number of 1 or more"),
    ],
)
def test_what_is_no_profile_gets_one_line(tmp_path, capsys, text, says):
    """And exit code 2; never a traceback."""
    file = tmp_path / "acme.toml"
    file.write_text(text)
    assert main(["profiles", "--check", str(file)]) == 2
    assert capsys.readouterr().err.startswith(f"quotalab: {file}: {says}")


def test_the_command_checks_lists_and_shows(tmp_path, capsys, monkeypatch):
    """Warnings go where errors go, so that what is printed is the verdict alone."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "acme.toml"
    file.write_text(SMALL)
    assert main(["profiles", "--check", "acme.toml"]) == 0
    said = capsys.readouterr()
    assert said.out == "acme.toml: a valid profile: 1 limit, 0 routes\n"
    assert said.err.splitlines()[0] == (
        "quotalab: warning: acme.toml: oauth: has no source; say where its figures come from"
    )
    assert main(["profiles"]) == 0
    assert capsys.readouterr().out.startswith("discord  ")
    assert main(["profiles", "acme.toml"]) == 0
    assert capsys.readouterr().out.startswith(
        "acme: Acme\n\nLIMITS\n  hourly: 5 calls in any hour, for the app\n"
    )
    assert main(["profiles", "slack/unlisted"]) == 0
    assert capsys.readouterr().out.startswith("slack/unlisted: Slack: a commercial app")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["githup"],
            "provider 'githup': is not in profiles/providers/ of the workspace nor bundled; did you mean",
        ),
        (["github/pro"], "variants: has no variant 'pro'; there is: app, enterprise"),
        (["github", "--check", "x.toml"], "profiles: give a NAME, or --check FILE, not both"),
        (["--check", "nowhere.toml"], "nowhere.toml: cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_call_is_one_line_and_two(arguments, says, capsys, tmp_path, monkeypatch):
    """What was wrong, and what there is."""
    monkeypatch.chdir(tmp_path)
    assert main(["profiles", *arguments]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


def test_pages_of_profiles_without_more_are_short():
    """A section that has nothing to say is not there."""
    text = profile_page(parse_provider(tomllib.loads(SMALL), "acme.toml"))
    assert "GAPS" not in text
    assert "ROUTES" not in text
    assert "SCOPES" not in text
    assert (
        "  refresh tokens last for ever and are replaced with every use; to use one again revokes all\n"
        in text
    )
