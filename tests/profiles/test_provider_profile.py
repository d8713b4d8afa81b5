"""Provider profiles: what one says, and one clear line for everything that can be wrong with one."""

from __future__ import annotations

import copy
import datetime
import json
import re
import tomllib
from pathlib import Path

import pytest

from quotalab.errors import ProfileError
from quotalab.profiles.dialect import ERRORS, RETRY_AFTER
from quotalab.profiles.limits import Limit, Match, Source
from quotalab.profiles.oauth import NEVER_NS
from quotalab.profiles.provider import Provider, parse_provider
from quotalab.profiles.reading import merge
from quotalab.profiles.reference import Allowance, Signs, WaitHeader
from quotalab.profiles.routes import Page, Parameter, Route
from quotalab.profiles.templates import LIMIT_FIELDS, WAIT_FIELDS, Field, Template

ROOT = Path(__file__).parents[2]
HOUR_NS = 3600 * 10**9
OURS = "our choice: a common size of temporary production access"


def document() -> dict:
    """The bundled temporary-production profile."""
    path = ROOT / "profiles" / "providers" / "temporary-production.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def laid(**tables: object) -> Provider:
    """The bundled profile with tables laid over it."""
    return parse_provider(merge(document(), tables), "p.toml")


def test_temporary_production_is_what_it_says():
    """One rolling limit of 100 calls an hour for the whole app, an hour's tokens, no overrun tolerated."""
    provider = parse_provider(document(), "p.toml")
    assert provider.name == "temporary-production"
    assert provider.limits == (
        Limit("hourly", "rolling_window", 100, Source(OURS, None, "own"), period_ns=HOUR_NS),
    )
    assert provider.oauth.access_token_lifetime_ns == HOUR_NS
    assert provider.oauth.refresh_token_lifetime_ns == 30 * 24 * HOUR_NS
    assert (provider.oauth.pkce, provider.oauth.refresh_rotation) == ("required", "single_use")
    refusal = provider.dialect.refusal("hourly")
    assert (refusal.status, refusal.retry_after, refusal.content_type) == (429, "seconds", "application/json")
    assert refusal.body == {"error": "rate_limited", "message": "Your app has used up its calls for now."}
    assert (provider.approval.refusals, provider.approval.headroom) == ("never", 0.02)
    assert provider.test_phase.forbidden_scopes == ("calendar.admin",)
    assert provider.routes[1] == Route(
        name="read_event",
        methods=("GET",),
        path="/events/{id}",
        scopes=("events.read",),
        tags=(),
        answer="read",
        status=200,
        content_type="application/json",
        body=Template((Field("", "item", ""),)),
        headers=(),
        collection="events",
        item=None,
        page=None,
        id_at=Parameter("path", "id"),
        object_at=None,
        tenant=True,
        work_ns=None,
    )


def test_few_users_is_its_variant():
    """The variant adds a cap of people and changes the title, and nothing else that is enforced."""
    plain = parse_provider(document(), "p.toml")
    few = parse_provider(document(), "p.toml", variant="few-users")
    assert few.name == "temporary-production/few-users"
    (people,) = [limit for limit in few.limits if limit not in plain.limits]
    assert (people.kind, people.limit, people.of) == ("cardinality", 10, "person")
    assert people.match == Match(kinds=("authorize",))
    assert few.test_phase == plain.test_phase
    assert (few.routes, few.oauth, few.dialect) == (plain.routes, plain.oauth, plain.dialect)


def test_a_variants_routes_lie_over_those_of_the_same_name():
    """Key by key, in the profile's order; a route of another name comes after them."""
    whole = document()
    whole["variants"]["small"] = {
        "routes": [
            {"name": "create_event", "status": 202},
            {"name": "me", "path": "/me", "answer": "fixed"},
        ]
    }
    plain = parse_provider(whole, "p.toml")
    small = parse_provider(whole, "p.toml", variant="small")
    assert [route.name for route in small.routes] == ["list_events", "read_event", "create_event", "me"]
    assert small.routes[:2] == plain.routes[:2]
    assert (small.routes[2].status, small.routes[2].path) == (202, "/events")
    assert small.document["routes"][2]["scopes"] == ["events.write"]
    assert [route.name for route in plain.routes] == ["list_events", "read_event", "create_event"]


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
    assert (again.dialect, again.routes, again.reference) == (
        provider.dialect,
        provider.routes,
        provider.reference,
    )


def test_a_lifetime_may_never_end():
    """Some providers' tokens do not expire."""
    provider = laid(oauth={"access_token_lifetime": "never"})
    assert provider.oauth.access_token_lifetime_ns == NEVER_NS


def test_numbers_by_formula_follow_the_people():
    """`for_people` gives every limit that has a formula its number."""
    provider = laid(limits={"hourly": {"limit": {"base": 10, "per_person": 5}}})
    assert provider.for_people(12).limits[0].limit == 70


def test_people_share_tenants():
    """With twenty people in each, the twenty-first is in the second."""
    tenants = laid(tenants={"people": 20, "at": "header:X-Org"}).tenants
    assert [tenants.of_person(n) for n in (1, 20, 21, 41)] == [1, 1, 2, 3]
    assert tenants.at == Parameter("header", "x-org")


def test_each_limit_is_refused_in_its_own_words_or_in_those_of_all():
    """``[[refusals]]`` names limits; ``[refusal]`` is for the rest."""
    dialect = laid(
        limits={
            "daily": {
                "kind": "fixed_window",
                "limit": 9,
                "period": "1d",
                "source": {"where": "x", "confidence": "own"},
            }
        },
        refusals=[
            {"limits": ["daily"], "status": 403, "retry_after": "none", "body": {"in": "{refusing.wait_s}"}}
        ],
    ).dialect
    assert dialect.refusal("hourly").status == 429
    daily = dialect.refusal("daily")
    assert (daily.status, daily.retry_after) == (403, "none")
    assert daily.body == {"in": Template((Field("refusing", "wait_s", ""),))}


def test_there_is_an_answer_to_every_error():
    """What a profile does not say has a default, with a challenge where a token is what is wrong."""
    errors = laid(errors={"expired_token": {"status": 400, "body": {"code": 190}}}).dialect.errors
    assert errors.keys() == ERRORS.keys()
    assert (errors["expired_token"].status, errors["expired_token"].body) == (400, {"code": 190})
    assert not errors["expired_token"].challenge
    assert errors["revoked_token"].challenge
    assert errors["insufficient_scope"].challenge
    assert not errors["not_found"].challenge


def test_the_reference_knows_how_the_api_is_called():
    """Everything a developer reads in the documentation is in the table."""
    reference = laid(
        reference={
            "refused": {"statuses": [429], "headers": {"X-Left": "0"}, "body": {"/error/code": [4, 17]}},
            "waits": ["Retry-After: seconds", "X-Reset: epoch_ms"],
            "budget": [{"calls": 5, "period": "1s", "per": "person"}],
        }
    ).reference
    assert reference is not None
    assert (reference.items_at, reference.next, reference.next_at) == ("/events", "query:page", "/next_page")
    assert reference.refused == Signs((429,), {"/error/code": (4, 17)}, {"x-left": ("0",)})
    assert reference.expired == Signs((401,), {}, {})
    assert reference.waits == (WaitHeader("Retry-After", "seconds"), WaitHeader("X-Reset", "epoch_ms"))
    assert reference.budget == (Allowance(5, 10**9, "person"),)


def test_pages_have_a_place_and_a_size():
    """What is not said: the style's own parameter, and at most 100 at once."""
    whole = document()
    whole["routes"][0]["page"] = {"style": "cursor", "size_at": "json:variables.first"}
    page = parse_provider(whole, "p.toml").routes[0].page
    assert page == Page("cursor", Parameter("query", "cursor"), Parameter("json", "variables.first"), 50, 100)


DROPPED = object()
DURATION = 'must be a duration such as "90s", "15m" or "1h"'
HEADER = {"name": "X-Left", "value": "{hourly.remaining}"}

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
    ("gaps", "none", "must be a list of texts, not 'none'"),
    ("oauth", DROPPED, "is missing; it must be a table"),
    ("oauth", "yes", "must be a table, not 'yes'"),
    ("oauth.pkce", "maybe", "must be one of 'required', 'optional', not 'maybe'"),
    ("oauth.access_token_lifetime", DROPPED, f"is missing; it {DURATION}"),
    ("oauth.access_token_lifetime", "0s", f"{DURATION} of at least 1 s, not '0s'"),
    ("oauth.access_token_lifetime", -5, f"{DURATION} of at least 1 s, not -5"),
    ("oauth.refresh_token_lifetime", 1.5, f"{DURATION}, not 1.5"),
    ("oauth.refresh_rotation", True, "must be one of 'none', 'rotate', 'single_use', not True"),
    ("oauth.code_lifetime", "soon", f"{DURATION}: 'soon' is not a duration such as 90s, 15m, 1h or 24h"),
    ("oauth.scope_delimiter", ";", "must be one of ' ', ',', not ';'"),
    ("oauth.pkc", "required", "is not a key that is known here; did you mean 'pkce'?"),
    ("oauth.source", {"where": "x"}, "oauth.source.confidence: is missing; it must be one of 'high', "),
    ("scopes", [], "must be a table, not []"),
    ("scopes", {"a b": "x"}, "scopes.a b: is no scope's name: no spaces, quotes or backslashes, ASCII only"),
    ("scopes.events", 1, "must be a text, not 1"),
    ("test_phase.max_people", 10, "is not a key that is known here"),
    ("test_phase.forbidden_scopes", ["x"], "must be a list of 'events.read', 'events.write', "),
    ("test_phase.forbidden_scopes", "events.read", "must be a list of 'events.read', 'events.write', "),
    ("tenants", {"people": 0}, "tenants.people: must be a whole number of 1 or more, not 0"),
    ("tenants", {"id": "one"}, "tenants.id: must hold {n} once, not 'one'"),
    ("tenants", {"id": "{m}"}, "tenants.id: '{m}' has an unknown field 'm'; there is: n"),
    (
        "tenants",
        {"at": "query:t"},
        "tenants.at: must be such as 'header:X-Tenant' or 'path:tenant', not 'query:t'",
    ),
    ("tenants", {"at": "path:org"}, "tenants.at: names {org}, which no route's path has"),
    ("latency.median", "-1ms", f"{DURATION}: '-1ms' is not a duration such as 90s, 15m, 1h or 24h"),
    ("latency.sigma", 4, "must be a number from 0 to 3, not 4"),
    ("latency.work", "x", f"{DURATION}: 'x' is not a duration such as 90s, 15m, 1h or 24h"),
    ("latency.work_sigma", "x", "must be a number from 0 to 3, not 'x'"),
    ("approval.refusals", "sometimes", "must be 'never', 'share:0.05' or 'if-obeyed', not 'sometimes'"),
    ("approval.refusals", "share:2", "must be 'never', 'share:0.05' or 'if-obeyed', not 'share:2'"),
    ("approval.refusals", "share:few", "must be 'never', 'share:0.05' or 'if-obeyed', not 'share:few'"),
    ("approval.refusals", ["never"], "must be 'never', 'share:0.05' or 'if-obeyed', not ['never']"),
    ("approval.headroom", 2, "must be a number from 0 to 1, not 2"),
    ("approval.headroom", -0.1, "must be a number from 0 to 1, not -0.1"),
    ("approval.wait_p95", "x", f"{DURATION}: 'x' is not a duration such as 90s, 15m, 1h or 24h"),
    ("refusal.status", 199, "must be a whole number of 200 or more, not 199"),
    ("refusal.status", 600, "must be a whole number of at most 599, not 600"),
    ("refusal.status", 302, "must be 200 or an error's, not 302"),
    (
        "refusal.retry_after",
        "date",
        "must be one of 'none', 'seconds', 'decimal', 'http_date', 'iso', 'epoch'",
    ),
    ("refusal.limits", ["hourly"], "is not a key that is known here"),
    ("refusal.body", "{x}", "'{x}' has an unknown field 'x'; there is: message, now_epoch_s, "),
    (
        "refusal.body",
        {"a": ["{hourly.left}"]},
        "'{hourly.left}' has an unknown field 'hourly.left'; of a limit",
    ),
    ("refusal.body", "{x", "'{x' is no template: "),
    ("refusal.content_type", "text/plain", "refusal.body: of content type 'text/plain' must be a text"),
    ("refusals", {}, "must be an array of tables, not {}"),
    ("refusals", [{}], "refusals[0].limits: is missing; it must be a list of 'hourly'"),
    ("refusals", [{"limits": []}], "refusals[0].limits: must name at least one limit"),
    ("refusals", [{"limits": ["daily"]}], "refusals[0].limits: must be a list of 'hourly', not ['daily']"),
    ("refusals", [{"limits": ["hourly"]}] * 2, "says twice how 'hourly' refuses"),
    ("errors", {"gone": {}}, "errors.gone: is not a key that is known here; known here: bad_request, "),
    ("errors", {"no_token": 401}, "errors.no_token: must be a table, not 401"),
    (
        "errors",
        {"no_token": {"status": 99}},
        "errors.no_token.status: must be a whole number of 200 or more, not 99",
    ),
    (
        "errors",
        {"no_token": {"body": "{refusing.name}"}},
        "errors.no_token.body: '{refusing.name}' has an unknown f",
    ),
    ("errors", {"no_token": {"challenge": 1}}, "errors.no_token.challenge: must be true or false, not 1"),
    ("errors", {"no_token": {"message": 1}}, "errors.no_token.message: must be a text, not 1"),
    ("dialect.near", 2, "must be a number from 0 to 1, not 2"),
    ("dialect.headers", {}, "must be an array of tables, not {}"),
    ("dialect.headers", [{"name": "X"}], "dialect.headers[0].value: is missing; it must be a text"),
    (
        "dialect.headers",
        [{"name": "X Y", "value": "1"}],
        "dialect.headers[0].name: is no header's name: 'X Y'",
    ),
    (
        "dialect.headers",
        [HEADER | {"on": "error"}],
        "dialect.headers[0].on: must be one of 'always', 'success', ",
    ),
    ("dialect.headers", [HEADER | {"value": "a\nb"}], "dialect.headers[0].value: may not hold line breaks"),
    (
        "dialect.headers",
        [HEADER | {"value": "{x}"}],
        "dialect.headers[0].value: '{x}' has an unknown field 'x'",
    ),
    (
        "dialect.headers",
        [HEADER | {"value": "{refusing.name}"}],
        "dialect.headers[0].value: '{refusing.name}' has an unknown field 'refusing.name'",
    ),
    (
        "dialect.headers",
        [HEADER | {"limits": ["hourly"]}],
        "dialect.headers[0].limits: means something only with on = 'refusal'",
    ),
    ("dialect.header", [], "is not a key that is known here; did you mean 'headers'?"),
    ("collections.events.initial", -1, "must be a whole number of 0 or more, not -1"),
    ("collections.events.of", "team", "must be one of 'person', 'tenant', 'app', not 'team'"),
    ("collections.events.item", [], "must be a table of fields"),
    (
        "collections.events.item",
        {"id": "{x}"},
        "'{x}' has an unknown field 'x'; there is: id, n, now_epoch_s, ",
    ),
    ("collections.events.id", "E", "must hold {n} once, not 'E'"),
    ("collections.events.id", "{n}-{n}", "must hold {n} once, not '{n}-{n}'"),
    ("routes", {}, "must be an array of tables, not {}"),
    ("routes", [1], "must be an array of tables, not [1]"),
    ("variants", 3, "must be a table of variants"),
    ("reference", 1, "must be a table, not 1"),
    ("reference.scopes", "x", "is not a key that is known here; did you mean 'scope'?"),
    ("reference.list", DROPPED, "is missing; it must be a table"),
    ("reference.list.path", DROPPED, "is missing; it must be a text"),
    ("reference.list.path", "events", "must begin with a slash, not 'events'"),
    (
        "reference.list.items_at",
        "events",
        "must be a JSON pointer such as '/data/items' (RFC 6901), not 'events'",
    ),
    (
        "reference.list.next",
        "body:page",
        "must be 'query:NAME', 'form:NAME', 'json:NAME', 'url' or 'link', not 'bo",
    ),
    ("reference.read.path", "/events/{x}", "has an unknown field {x}; there is: n"),
    ("reference.read.path", "/events/{n:s}", "has a field with an unknown format, {n:s}; {n:08x} is known"),
    ("reference.read.method", "DELETE", "must be one of 'GET', 'POST', 'PUT', 'PATCH', not 'DELETE'"),
    ("reference.create.json", "x", "must be a table"),
    (
        "reference.create.json",
        {"a": "{tenant}"},
        "has an unknown field {tenant}; it needs 'tenant', the path of the",
    ),
    ("reference.create.form", {"a": "b"}, "cannot be sent beside 'json'"),
    ("reference.tenant", "/me", "reference.tenant_at: is missing; it must be a value"),
    (
        "reference.refused",
        {"statuses": [99]},
        "reference.refused.statuses: must be a list of HTTP statuses, not [99]",
    ),
    (
        "reference.refused",
        {"body": {"error": 4}},
        "reference.refused.body.error: must be a JSON pointer such as ",
    ),
    (
        "reference.refused",
        {"headers": {"X": 1}},
        "reference.refused.headers.X: must be a text or a list of texts",
    ),
    (
        "reference.waits",
        ["Retry-After"],
        "holds 'Retry-After'; each must be such as 'Retry-After: seconds', with on",
    ),
    (
        "reference.waits",
        ["X: days"],
        "holds 'X: days'; each must be such as 'Retry-After: seconds', with one of ",
    ),
    (
        "reference.budget",
        [{"calls": 0}],
        "reference.budget[0].calls: must be a whole number of 1 or more, not 0",
    ),
    (
        "reference.budget",
        [{"calls": 1, "period": "1s", "per": "tenant"}],
        "reference.budget[0].per: 'tenant' needs 'tenant', the path of the call that tells it",
    ),
]


def changed(key: str, value: object) -> dict:
    """The bundled profile with one dotted key changed or dropped."""
    whole = copy.deepcopy(document())
    table = whole
    *way, last = key.split(".")
    for part in way:
        table = table.setdefault(part, {})
    if value is DROPPED:
        del table[last]
    else:
        table[last] = value
    return whole


@pytest.mark.parametrize(
    ("key", "value", "says"),
    WRONG,
    ids=[f"{key}={'dropped' if value is DROPPED else value}"[:80] for key, value, _ in WRONG],
)
def test_whatever_is_wrong_is_one_line_with_file_key_and_what_would_be_right(key, value, says):
    """The text is ``file: key: what would be right``; what is wrong below a key is named by its own."""
    with pytest.raises(ProfileError) as caught:
        parse_provider(changed(key, value), "p.toml")
    below = re.match(r"[\w.\[\] -]+: ", says)
    named = says if below and below[0].startswith(key.partition(".")[0]) else f"{key}: {says}"
    assert str(caught.value).startswith(f"p.toml: {named}")
    assert caught.value.file == "p.toml"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("route", "key", "says"),
    [
        ({"path": "events"}, "routes[0].path", "must begin with a slash, not 'events'"),
        ({"path": "/{a}/{a}"}, "routes[0].path", "names one segment twice: '/{a}/{a}'"),
        (
            {"name": "list events"},
            "routes[0].name",
            "may hold letters, digits, dots, dashes and underscores, not",
        ),
        ({"answer": "read"}, "routes[0].id_at", "names {id}, which the path does not have"),
        ({"answer": "lists"}, "routes[0].answer", "must be one of 'list', 'read', 'create', 'fixed'"),
        (
            {"method": "get"},
            "routes[0].method",
            "must be one of 'GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'",
        ),
        ({"method": []}, "routes[0].method", "must name at least one of GET, HEAD, POST, PUT, PATCH, DELETE"),
        ({"method": ["GET", "get"]}, "routes[0].method", "must be a list of 'GET', 'HEAD', 'POST', 'PUT', "),
        ({"scopes": ["x"]}, "routes[0].scopes", "must be a list of 'events.read', 'events.write'"),
        ({"collection": "x"}, "routes[0].collection", "must be one of 'events', not 'x'"),
        ({"tags": "x"}, "routes[0].tags", "must be a list of texts, not 'x'"),
        ({"status": 99}, "routes[0].status", "must be a whole number of 200 or more, not 99"),
        ({"page": {"size": 0}}, "routes[0].page.size", "must be a whole number of 1 or more, not 0"),
        (
            {"page": {"size": 9, "most": 5}},
            "routes[0].page.most",
            "must be a whole number of 9 or more, not 5",
        ),
        (
            {"page": {"style": "token"}},
            "routes[0].page.style",
            "must be one of 'page', 'offset', 'cursor', not 'to",
        ),
        (
            {"page": {"at": "page"}},
            "routes[0].page.at",
            "must be such as 'query:cursor', one of path, query, form, ",
        ),
        ({"page_size": 5}, "routes[0].page_size", "is not a key that is known here"),
        ({"object_at": "path:x"}, "routes[0].object_at", "names {x}, which the path does not have"),
        (
            {"object_at": "cookie:x"},
            "routes[0].object_at",
            "must be such as 'query:cursor', one of path, query, ",
        ),
        ({"id_at": "query:id"}, "routes[0].id_at", "is not a key that is known here"),
        (
            {"body": "{item}"},
            "routes[0].body",
            "'{item}' has an unknown field 'item'; there is: count, items, ",
        ),
        (
            {"item": {"id": "{items}"}},
            "routes[0].item",
            "'{items}' has an unknown field 'items'; there is: id, n, ",
        ),
        (
            {"headers": [{"name": "X", "value": "{x}"}]},
            "routes[0].headers[0].value",
            "'{x}' has an unknown field",
        ),
        ({"work": "x"}, "routes[0].work", DURATION),
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
    if "answer" in route:
        del whole["routes"][0]["page"]
    with pytest.raises(ProfileError) as caught:
        parse_provider(whole, "p.toml")
    assert str(caught.value).startswith(f"p.toml: {key}: {says}")


def test_pages_by_address_need_to_be_pointed_to():
    """With ``url`` the answer holds the next page's address, so it must be said where."""
    whole = document()
    whole["reference"]["list"] = {"path": "/events", "items_at": "/events", "next": "url"}
    with pytest.raises(
        ProfileError, match=r"reference\.list\.next_at: is missing; it must point to the next page's"
    ):
        parse_provider(whole, "p.toml")


def test_an_unknown_variant_is_told_which_there_are():
    """The error lists the profile's variants."""
    with pytest.raises(ProfileError) as caught:
        parse_provider(document(), "p.toml", variant="many-users")
    known = "approval, few-users, outage, quota-cut, revoked"
    assert str(caught.value) == f"p.toml: variants: has no variant 'many-users'; there is: {known}"


def test_settings_reach_every_key_and_are_validated_like_the_file():
    """`--set` lies over file and variant, and a wrong value gets the same line as in the file."""
    provider = parse_provider(
        document(),
        "p.toml",
        variant="few-users",
        settings=[
            "limits.hourly.kind=fixed_window",
            "limits.hourly.align=first_call",
            "limits.people.limit=3",
        ],
    )
    assert (provider.limits[0].kind, provider.limits[0].align) == ("fixed_window", "first_call")
    assert provider.limits[1].limit == 3
    with pytest.raises(
        ProfileError, match=r"^p\.toml: limits\.hourly\.limit: must be a whole number of 1 or"
    ):
        parse_provider(document(), "p.toml", settings=["limits.hourly.limit=-5"])


# ---- the page about writing one: docs/write-a-profile.md

PAGE = (ROOT / "docs" / "write-a-profile.md").read_text(encoding="utf-8")
EXAMPLES = [tomllib.loads(block) for block in re.findall(r"```toml\n([^`]+)```", PAGE)]


def test_the_page_begins_with_a_profile_of_twenty_lines():
    """It is valid as it stands."""
    block = re.search(r"```toml\n([^`]+)```", PAGE)[1]
    assert len(block.splitlines()) == 20
    provider = parse_provider(tomllib.loads(block), "acme.toml")
    assert (provider.name, len(provider.limits), len(provider.routes)) == ("acme", 1, 1)


@pytest.mark.parametrize("example", EXAMPLES[1:], ids=[" ".join(example) for example in EXAMPLES[1:]])
def test_every_other_example_of_the_page_can_be_laid_over_it(example):
    """As a variant is; and so can each variant that an example has."""
    whole = copy.deepcopy(EXAMPLES[0])
    fragment = copy.deepcopy(example)
    whole["variants"] = {**fragment.pop("variants", {}), "laid": fragment}
    for variant in whole["variants"]:
        parse_provider(whole, "acme.toml", variant=variant)


def test_the_page_names_every_field_and_form():
    """Nothing that templates know is missing from it."""
    words = set(re.findall(r"`(\w+)`", PAGE))
    assert words >= {*LIMIT_FIELDS, *WAIT_FIELDS, *RETRY_AFTER}
