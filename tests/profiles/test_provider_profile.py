"""Provider profiles: the bundled ones, and one clear line for everything that can be wrong with one."""

from __future__ import annotations

import copy
import datetime
import json
import tomllib
from pathlib import Path

import pytest

from quotalab.errors import ProfileError
from quotalab.profiles.provider import Limit, Route, Source, parse_provider

ROOT = Path(__file__).parents[2]
HOUR_NS = 3600 * 10**9


def document() -> dict:
    """The bundled temporary-production profile."""
    path = ROOT / "profiles" / "providers" / "temporary-production.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def test_temporary_production_is_what_it_says():
    """One rolling limit of 100 calls an hour for the whole app, an hour's tokens, no overrun tolerated."""
    provider = parse_provider(document(), "p.toml")
    source = Source("our choice: a common size of temporary production access", None, "own")
    assert provider.name == "temporary-production"
    assert provider.limits == (Limit("hourly", "rolling_window", 100, HOUR_NS, ("app",), "clock", source),)
    assert provider.oauth.access_token_lifetime_ns == HOUR_NS
    assert provider.oauth.refresh_token_lifetime_ns == 30 * 24 * HOUR_NS
    assert (provider.oauth.pkce, provider.oauth.refresh_rotation) == ("required", "rotate")
    assert (provider.refusal.status, provider.refusal.retry_after) == (429, "seconds")
    assert (provider.approval.refusals, provider.approval.headroom) == ("never", 0.02)
    assert provider.test_phase.forbidden_scopes == ("calendar.admin",)
    assert provider.test_phase.max_people is None
    assert provider.routes[1] == Route(
        "read_event", "GET", "/events/{id}", ("events.read",), "read", "events", 50, None
    )


def test_few_users_is_its_variant():
    """The variant changes the cap of people and the title, and nothing else that is enforced."""
    plain = parse_provider(document(), "p.toml")
    few = parse_provider(document(), "p.toml", variant="few-users")
    assert few.name == "temporary-production/few-users"
    assert few.test_phase.max_people == 10
    assert few.test_phase.forbidden_scopes == plain.test_phase.forbidden_scopes
    assert (few.limits, few.routes, few.oauth) == (plain.limits, plain.routes, plain.oauth)


def test_a_profile_kept_by_a_run_is_the_same_profile():
    """The resolved document, as JSON keeps it, is read as the same provider again."""
    with_date = document()
    with_date["limits"]["hourly"]["source"]["read"] = datetime.date(2026, 1, 5)
    provider = parse_provider(with_date, "p.toml", variant="few-users", settings=["limits.hourly.limit=7"])
    kept = json.loads(json.dumps(provider.document, default=str))
    again = parse_provider(kept, "p.toml")
    assert provider.limits[0].limit == 7
    assert provider.limits[0].source.read == datetime.date(2026, 1, 5)
    assert (again.name, again.limits, again.test_phase) == (
        provider.name,
        provider.limits,
        provider.test_phase,
    )


DROPPED = object()
ONE_OF_KINDS = (
    "must be one of 'rolling_window', 'fixed_window', not 'rolling' (did you mean 'rolling_window'?)"
)
DURATION = 'must be a duration such as "90s", "15m" or "1h"'

WRONG = [
    ("schema", 2, "must be a whole number of at most 1, not 2"),
    ("schema", DROPPED, "is missing; it must be a whole number of 1 or more"),
    ("name", DROPPED, "is missing; it must be a text"),
    ("name", 5, "must be a text, not 5"),
    ("title", "", "must be a text, not ''"),
    ("description", ["x"], "must be a text, not ['x']"),
    ("api_path", "v1", "must begin and not end with a slash, as in '/v1', not 'v1'"),
    ("api_path", "/v1/", "must begin and not end with a slash, as in '/v1', not '/v1/'"),
    ("colour", "red", "is not a key that is known here; known here: "),
    ("limts", {}, "is not a key that is known here; did you mean 'limits'?"),
    ("oauth", DROPPED, "is missing; it must be a table"),
    ("oauth", "yes", "must be a table, not 'yes'"),
    ("oauth.pkce", "maybe", "must be one of 'required', 'optional', not 'maybe'"),
    ("oauth.access_token_lifetime", DROPPED, f"is missing; it {DURATION}"),
    ("oauth.access_token_lifetime", "0s", f"{DURATION} of at least 1 s, not '0s'"),
    ("oauth.access_token_lifetime", -5, f"{DURATION} of at least 1 s, not -5"),
    ("oauth.refresh_token_lifetime", 1.5, f"{DURATION}, not 1.5"),
    ("oauth.refresh_rotation", True, "must be one of 'none', 'rotate', not True"),
    ("oauth.code_lifetime", "soon", f"{DURATION}: 'soon' is not a duration such as 90s, 15m, 1h or 24h"),
    ("oauth.pkc", "required", "is not a key that is known here; did you mean 'pkce'?"),
    ("scopes", [], "must be a table, not []"),
    ("test_phase.max_people", 0, "must be a whole number of 1 or more, not 0"),
    ("test_phase.max_people", "ten", "must be a whole number of 1 or more, not 'ten'"),
    ("test_phase.forbidden_scopes", ["x"], "must be a list of 'events.read', 'events.write', "),
    ("test_phase.forbidden_scopes", "events.read", "must be a list of 'events.read', 'events.write', "),
    ("limits", DROPPED, "is missing; there must be at least one [limits.NAME] table"),
    ("limits", {}, "is missing; there must be at least one [limits.NAME] table"),
    ("limits", 100, "must be a table, not 100"),
    ("limits.hourly", 100, "must be a table, not 100"),
    ("limits.hourly.kind", "rolling", ONE_OF_KINDS),
    ("limits.hourly.kind", DROPPED, "is missing; it must be one of 'rolling_window', 'fixed_window'"),
    ("limits.hourly.kind", ["a"], "must be one of 'rolling_window', 'fixed_window', not ['a']"),
    (
        "limits.hourly.kind",
        "token_bucket",
        "'token_bucket' cannot be enforced yet; there is: rolling_window, fixed_window",
    ),
    ("limits.hourly.limit", -1, "must be a whole number of 1 or more, not -1"),
    ("limits.hourly.limit", 0, "must be a whole number of 1 or more, not 0"),
    ("limits.hourly.limit", 1.5, "must be a whole number of 1 or more, not 1.5"),
    ("limits.hourly.limit", True, "must be a whole number of 1 or more, not True"),
    ("limits.hourly.limit", "100", "must be a whole number of 1 or more, not '100'"),
    ("limits.hourly.limit", 10**13, "must be a whole number of at most 1000000000000, not 10000000000000"),
    ("limits.hourly.period", "0s", f"{DURATION} of at least 0.001 s, not '0s'"),
    ("limits.hourly.period", "-1h", f"{DURATION}: '-1h' is not a duration such as 90s, 15m, 1h or 24h"),
    ("limits.hourly.period", DROPPED, f"is missing; it {DURATION}"),
    ("limits.hourly.key", [], "must name at least one of app, person, token, ip, route"),
    ("limits.hourly.key", "app", "must be a list of 'app', 'person', 'token', 'ip', 'route', not 'app'"),
    (
        "limits.hourly.key",
        ["apps"],
        "must be a list of 'app', 'person', 'token', 'ip', 'route', not ['apps']",
    ),
    ("limits.hourly.key", ["app", "app"], "names something twice: ['app', 'app']"),
    ("limits.hourly.align", "utc", "must be one of 'clock', 'first_call', not 'utc'"),
    ("limits.hourly.perid", "1h", "is not a key that is known here; did you mean 'period'?"),
    ("limits.hourly.source", DROPPED, "is missing; it must be a table"),
    ("limits.hourly.source.where", DROPPED, "is missing; it must be a text"),
    ("limits.hourly.source.confidence", "sure", "must be one of 'high', 'medium', 'low', 'own', not 'sure'"),
    ("limits.hourly.source.read", "yesterday", "must be a date such as 2026-11-01, not 'yesterday'"),
    ("limits.hourly.source.read", 2026, "must be a date such as 2026-11-01, not 2026"),
    ("refusal.status", 200, "must be a whole number of 400 or more, not 200"),
    ("refusal.status", 600, "must be a whole number of at most 599, not 600"),
    ("refusal.retry_after", "date", "must be one of 'seconds', 'none', not 'date'"),
    ("latency.median", "-1ms", f"{DURATION}: '-1ms' is not a duration such as 90s, 15m, 1h or 24h"),
    ("latency.sigma", 4, "must be a number from 0 to 3, not 4"),
    ("approval.refusals", "sometimes", "must be 'never', 'share:0.05' or 'if-obeyed', not 'sometimes'"),
    ("approval.refusals", "share:2", "must be 'never', 'share:0.05' or 'if-obeyed', not 'share:2'"),
    ("approval.refusals", "share:few", "must be 'never', 'share:0.05' or 'if-obeyed', not 'share:few'"),
    ("approval.headroom", 2, "must be a number from 0 to 1, not 2"),
    ("approval.headroom", -0.1, "must be a number from 0 to 1, not -0.1"),
    ("approval.wait_p95", "x", f"{DURATION}: 'x' is not a duration such as 90s, 15m, 1h or 24h"),
    ("collections.events.initial", -1, "must be a whole number of 0 or more, not -1"),
    ("collections.events.item", [], "must be a table of fields without 'id', which the sandbox gives"),
    ("collections.events.item", {"id": 1}, "must be a table of fields without 'id', which the sandbox gives"),
    ("routes", {}, "must be an array of tables, not {}"),
    ("routes", [1], "must be an array of tables, not [1]"),
    ("variants", 3, "must be a table of variants"),
]


def changed(key: str, value: object) -> dict:
    """The bundled profile with one dotted key changed or dropped."""
    whole = copy.deepcopy(document())
    table = whole
    *way, last = key.split(".")
    for part in way:
        table = table[part]
    if value is DROPPED:
        del table[last]
    else:
        table[last] = value
    return whole


@pytest.mark.parametrize(
    ("key", "value", "says"),
    WRONG,
    ids=[f"{key}={'dropped' if value is DROPPED else value}" for key, value, _ in WRONG],
)
def test_whatever_is_wrong_is_one_line_with_file_key_and_what_would_be_right(key, value, says):
    """The text is ``file: key: what would be right``."""
    with pytest.raises(ProfileError) as caught:
        parse_provider(changed(key, value), "p.toml")
    assert str(caught.value).startswith(f"p.toml: {key}: {says}")
    assert (caught.value.file, caught.value.key) == ("p.toml", key)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("route", "key", "says"),
    [
        ({"path": "events"}, "routes[0].path", "must begin with a slash, not 'events'"),
        ({"path": "/e/{id}"}, "routes[0].path", "must hold {id} if and only if one item is read"),
        ({"answer": "read"}, "routes[0].path", "must hold {id} if and only if one item is read"),
        ({"answer": "lists"}, "routes[0].answer", "must be one of 'list', 'read', 'create', 'fixed'"),
        ({"method": "get"}, "routes[0].method", "must be one of 'GET', 'POST', 'PUT', 'PATCH', 'DELETE'"),
        ({"scopes": ["x"]}, "routes[0].scopes", "must be a list of 'events.read', 'events.write'"),
        ({"collection": "x"}, "routes[0].collection", "must be one of 'events', not 'x'"),
        ({"page_size": 0}, "routes[0].page_size", "must be a whole number of 1 or more, not 0"),
        ({"name": "read_event"}, "routes", "gives one name to two routes"),
        ({"colour": 1}, "routes[0].colour", "is not a key that is known here"),
        (
            {"path": "/events", "method": "POST", "answer": "create"},
            "routes[2]",
            "answers POST /events, which 'list_events' already does",
        ),
    ],
)
def test_a_wrong_route_is_named_by_its_place(route, key, says):
    """Routes have no table of their own: the error counts them from 0."""
    whole = document()
    whole["routes"][0] |= route
    with pytest.raises(ProfileError) as caught:
        parse_provider(whole, "p.toml")
    assert str(caught.value).startswith(f"p.toml: {key}: {says}")


def test_an_unknown_variant_is_told_which_there_are():
    """The error lists the profile's variants."""
    with pytest.raises(ProfileError) as caught:
        parse_provider(document(), "p.toml", variant="many-users")
    assert str(caught.value) == "p.toml: variants: has no variant 'many-users'; there is: few-users"


def test_settings_reach_every_key_and_are_validated_like_the_file():
    """`--set` lies over file and variant, and a wrong value gets the same line as in the file."""
    provider = parse_provider(
        document(),
        "p.toml",
        variant="few-users",
        settings=[
            "limits.hourly.kind=fixed_window",
            "limits.hourly.align=first_call",
            "test_phase.max_people=3",
        ],
    )
    assert (provider.limits[0].kind, provider.limits[0].align) == ("fixed_window", "first_call")
    assert provider.test_phase.max_people == 3
    with pytest.raises(
        ProfileError, match=r"^p\.toml: limits\.hourly\.limit: must be a whole number of 1 or"
    ):
        parse_provider(document(), "p.toml", settings=["limits.hourly.limit=-5"])
