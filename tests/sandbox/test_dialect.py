"""What a provider says of its limits: every shape of header and body that providers use, as exact values."""

from __future__ import annotations

import base64
import json

import pytest

from quotalab.profiles.templates import LIMIT_FIELDS, WAIT_FIELDS
from quotalab.quota import NEVER
from quotalab.sandbox.dialect import promise

SECOND_NS = 10**9
START_S = 1_767_571_200  # Monday 2026-01-05 00:00 UTC
OURS = {"where": "a test", "confidence": "own"}


def limit(kind: str, **fields) -> dict:
    """A limit of the app, ours."""
    return {"kind": kind, "source": OURS, **fields}


LIMITS = {
    "short": limit("fixed_window", limit=200, period="15m"),
    "daily": limit("fixed_window", limit=2000, period="1d"),
    "bucket": limit("token_bucket", capacity=40, rate="2/s", cost=8),
    "roll": limit("rolling_window", limit=50, period="10s", hidden=True),
    "other": limit("fixed_window", limit=5, period="1h", match={"routes": ["create_event"]}),
    "never": limit("balance", credits=1000),
}


def headers_after(open_world, headers: list[dict], *, calls: int = 1, face: str = "memory", **laid):
    """The headers of the last of some calls, made at 90.25 s after midnight."""
    world = open_world(face=face, limits=laid.pop("limits", LIMITS), dialect={"headers": headers}, **laid)
    token = world.connect()["access_token"]
    world.clock.jump(90 * SECOND_NS + SECOND_NS // 4)
    for _ in range(calls):
        answer = world.call(token)
    return answer.headers


SHAPES = [
    ("{short.limit}", "200"),
    ("{short.used}", "1"),
    ("{short.remaining}", "199"),
    ("{short.name}", "short"),
    ("{bucket.percent}", "20"),
    ("{short.percent}", "0"),
    # delta: RateLimit-Reset before draft 7, Fitbit, Reddit
    ("{short.reset_s}", "810"),
    ("{bucket.reset_s}", "4"),
    # float: Discord's Reset-After
    ("{short.reset_decimal_s}", "809.750"),
    ("{bucket.reset_decimal_s}", "4.000"),
    ("{short.reset_ms}", "809750"),
    # epoch: GitHub, X, Twitch, GitLab; with decimals: Discord; milliseconds
    ("{short.reset_epoch_s}", str(START_S + 900)),
    ("{bucket.reset_epoch_s}", str(START_S + 95)),
    ("{bucket.reset_epoch_decimal}", f"{START_S + 94}.250"),
    ("{bucket.reset_epoch_ms}", f"{START_S + 94}250"),
    # ISO: Jira; HTTP-date: GitLab's RateLimit-ResetTime
    ("{short.reset_iso}", "2026-01-05T00:15:00Z"),
    ("{daily.reset_iso}", "2026-01-06T00:00:00Z"),
    ("{short.reset_http_date}", "Mon, 05 Jan 2026 00:15:00 GMT"),
    ("{bucket.reset_http_date}", "Mon, 05 Jan 2026 00:01:35 GMT"),
    # HubSpot's Interval-Milliseconds
    ("{short.period_ms}", "900000"),
    ("{short.period_s}", "900"),
    ("{bucket.period_s}", "20"),
    # SP-API's rate
    ("{bucket.rate}", "2.0"),
    # used of limit (Shopify), pairs (Strava), usage (Salesforce), percent in JSON (Meta)
    ("{bucket.used}/{bucket.limit}", "8/40"),
    ("{short.limit},{daily.limit}", "200,2000"),
    ("{short.used},{daily.used}", "1,1"),
    ("api-usage={daily.used}/{daily.limit}", "api-usage=1/2000"),
    ('{{"call_count":{bucket.percent},"type":"x"}}', '{"call_count":20,"type":"x"}'),
    # draft-polli: WHOOP; draft-ietf-httpapi-ratelimit-headers-10
    (
        "{short.limit}, {short.limit};window={short.period_s}, {daily.limit};window={daily.period_s}",
        "200, 200;window=900, 2000;window=86400",
    ),
    (
        '"burst";q={short.limit};w={short.period_s},"daily";q={daily.limit};w={daily.period_s}',
        '"burst";q=200;w=900,"daily";q=2000;w=86400',
    ),
    (
        '"burst";r={short.remaining};t={short.reset_s};pk=:{short.key_base64}:',
        f'"burst";r=199;t=810;pk=:{base64.b64encode(b"app-1").decode()}:',
    ),
    ("{now_iso} {now_epoch_s}", f"2026-01-05T00:01:30Z {START_S + 90}"),
    ("{person} {person_n} {person_n:04d} {tenant}", "p00001 1 0001 tenant-1"),
    ("100%s {{}} %", "100%s {} %"),
]


@pytest.mark.parametrize(("template", "value"), SHAPES)
def test_a_header_has_the_providers_shape(open_world, face, template, value):
    """Exactly this value at 90.25 s after midnight, after one call."""
    headers = headers_after(open_world, [{"name": "X-Limit", "value": template}], face=face)
    assert headers["x-limit"] == value


@pytest.mark.parametrize(
    "template",
    [
        "{other.remaining}",  # not asked of this call
        "{short.remaining},{other.remaining}",
        "{roll.remaining}",  # hidden
        "{never.reset_s}",  # never refilled
        "{never.reset_iso}",
        "{never.period_s}",
        "{short.rate}",
        "{message}",
    ],
)
def test_a_header_without_a_value_is_left_out(open_world, template):
    """Where one of its fields has no value there is no header."""
    assert "x-limit" not in headers_after(open_world, [{"name": "X-Limit", "value": template}])


def test_every_field_of_a_limit_is_rendered(open_world):
    """Each that a template may name has a value of a bucket that was asked, or is about refusals."""
    limits = {"bucket": LIMITS["bucket"]}
    headers = [{"name": f"X-{name}", "value": f"{{bucket.{name}}}"} for name in LIMIT_FIELDS] + [
        {"name": f"X-{name}", "value": f"{{refusing.{name}}}", "on": "refusal"} for name in WAIT_FIELDS
    ]
    found = headers_after(open_world, headers, limits=limits, calls=6)
    assert [name for name in (*LIMIT_FIELDS, *WAIT_FIELDS) if f"x-{name}" not in found] == []


def test_the_tightest_is_the_one_with_the_least_left_by_share(open_world):
    """Of those that were asked and are not hidden; of equal ones the profile's first."""
    limits = {
        "a": limit("fixed_window", limit=10, period="1h"),
        "b": limit("fixed_window", limit=5, period="1h"),
        "c": limit("rolling_window", limit=5, period="2h"),
        "hidden": limit("rolling_window", limit=3, period="2h", hidden=True),
        "elsewhere": limit("rolling_window", limit=1, period="2h", match={"methods": ["POST"]}),
    }
    shown = [{"name": "X", "value": "{tightest.name} {tightest.remaining}"}]
    assert headers_after(open_world, shown, limits=limits)["x"] == "b 4"
    # 7 of 10 are left of a, 2 of 5 of the others
    assert headers_after(open_world, shown, limits=limits, calls=3)["x"] == "b 2"
    limits["dear"] = limit("fixed_window", limit=100, period="1h", cost=50)
    assert headers_after(open_world, shown, limits=limits)["x"] == "dear 50"


def test_without_a_visible_limit_nothing_is_tightest(open_world):
    """A call that was asked of hidden limits alone has no header about the tightest."""
    limits = {"hidden": limit("rolling_window", limit=3, period="2h", hidden=True)}
    shown = [{"name": "X", "value": "{tightest.name}"}, {"name": "Y", "value": "y", "on": "near"}]
    headers = headers_after(open_world, shown, limits=limits)
    assert "x" not in headers
    assert "y" not in headers


def test_near_and_far_are_about_the_limit_that_the_value_names(open_world):
    """At four of five used the limit is near its end: one header goes, the other comes."""
    limits = {
        "a": limit("fixed_window", limit=5, period="1h"),
        "b": limit("fixed_window", limit=100, period="1h"),
    }
    headers = [
        {"name": "A-Near", "value": "{a.remaining}", "on": "near"},
        {"name": "A-Far", "value": "far", "on": "far"},
        {"name": "B-Near", "value": "{b.remaining}", "on": "near"},
        {"name": "B-Far", "value": "{b.remaining}", "on": "far"},
    ]
    world = open_world(limits=limits, dialect={"headers": headers, "near": 0.8})
    token = world.connect()["access_token"]
    seen = []
    for _ in range(6):
        answer = world.call(token)
        seen.append([answer.headers.get(name) for name in ("a-near", "a-far", "b-near", "b-far")])
    assert seen[2] == [None, "far", None, "97"]
    assert seen[3] == ["1", None, None, "96"]
    assert seen[5] == ["0", None, None, "95"]


def test_headers_come_on_success_on_refusal_or_always(open_world, face):
    """And of refusals only on those by the limits named."""
    limits = {
        "person": limit("fixed_window", limit=1, period="1h", key=["person"]),
        "app": limit("fixed_window", limit=2, period="1h"),
    }
    headers = [
        {"name": "Always", "value": "a{app.remaining}"},
        {"name": "Success", "value": "s", "on": "success"},
        {"name": "Refusal", "value": "{refusing.name} {refusing.wait_s}", "on": "refusal"},
        {"name": "By-App", "value": "app", "on": "refusal", "limits": ["app"]},
    ]
    world = open_world(face=face, limits=limits, dialect={"headers": headers})
    ann, bob, eve = (world.connect(person)["access_token"] for person in ("p00001", "p00002", "p00003"))
    seen = []
    for token in (ann, ann, bob, eve):
        found = world.call(token).headers
        seen.append([found.get(name) for name in ("always", "success", "refusal", "by-app")])
    assert seen == [
        ["a1", "s", None, None],
        ["a1", None, "person 3600", None],
        ["a0", "s", None, None],
        ["a0", None, "app 3600", "app"],
    ]


@pytest.mark.parametrize("status", [403, 404])
def test_an_error_after_the_limits_carries_the_headers_too(open_world, status):
    """A call that was asked of the limits tells of them, whatever else is wrong with it."""
    world = open_world(limits=LIMITS, dialect={"headers": [{"name": "X", "value": "{short.remaining}"}]})
    token = world.connect(scope="events.read")["access_token"]
    answer = world.call(token, "/events" if status == 403 else "/x", "POST" if status == 403 else "GET")
    assert (answer.status_code, answer.headers["x"]) == (status, "199")
    assert "x" not in world.call("unknown").headers


PROMISES = [
    ("seconds", "3", 3 * SECOND_NS),
    ("decimal", "2.3", 2_300_000_000),
    ("epoch", str(START_S + 93), 2_750_000_000),
    ("iso", "2026-01-05T00:01:33Z", 2_750_000_000),
    ("http_date", "Mon, 05 Jan 2026 00:01:33 GMT", 2_750_000_000),
    ("none", None, None),
]


@pytest.mark.parametrize(("form", "text", "promised_ns"), PROMISES)
def test_retry_after_has_the_providers_form(open_world, face, form, text, promised_ns):
    """A wait of 2.25 s from 90.25 s after midnight, in every form; the ledger knows what it promised."""
    limits = {"bucket": limit("token_bucket", capacity=9, rate="4/s", cost=9)}
    world = open_world(f"refusal.retry_after={form}", face=face, limits=limits)
    token = world.connect()["access_token"]
    world.clock.jump(90 * SECOND_NS + SECOND_NS // 4)
    world.call(token)
    assert world.call(token).headers.get("retry-after") == text
    assert world.last()["retry_after_ns"] == promised_ns


def test_whoever_comes_back_when_promised_is_let_in(open_world):
    """In every form: obeying Retry-After to the nanosecond is always enough."""
    for form, _, promised_ns in PROMISES[:5]:
        limits = {"bucket": limit("token_bucket", capacity=9, rate="4/s", cost=9)}
        world = open_world(f"refusal.retry_after={form}", limits=limits)
        token = world.connect()["access_token"]
        world.clock.jump(90 * SECOND_NS + SECOND_NS // 4)
        world.call(token)
        world.clock.jump(promised_ns)
        assert world.call(token).status_code == 200


@pytest.mark.parametrize("form", ["seconds", "decimal", "epoch", "iso", "http_date"])
def test_nothing_is_promised_where_no_wait_helps(open_world, form):
    """A balance that is never refilled: no Retry-After, and null in the body."""
    world = open_world(
        f"refusal.retry_after={form}",
        limits={"money": limit("balance", credits=1)},
        refusal={"body": {"wait": "{refusing.wait_s}", "at": "{refusing.reset_iso}"}},
    )
    token = world.connect()["access_token"]
    world.call(token)
    answer = world.call(token)
    assert (answer.status_code, answer.json()) == (429, {"wait": None, "at": None})
    assert "retry-after" not in answer.headers
    assert world.last()["retry_after_ns"] is None


@pytest.mark.parametrize("form", ["seconds", "decimal", "epoch", "iso", "http_date", "none"])
@pytest.mark.parametrize("wait_ns", [NEVER, NEVER - 1, 2**62])
def test_a_wait_of_ages_is_no_fault(form, wait_ns):
    """What no date or no column of the ledger can hold is not promised."""
    promised = promise(form, START_S * SECOND_NS, wait_ns)
    assert promised is None or 2**62 <= promised[1] < NEVER


@pytest.mark.parametrize("status", [200, 403, 429, 503, 529])
def test_a_refusal_has_the_providers_status_and_body(open_world, face, status):
    """HTTP 200 with an error in it, 403, 503, 529: numbers stay numbers, texts are filled in."""
    body = {
        "error": {
            "code": status,
            "reason": "{refusing.name}",
            "message": "Retry after {refusing.wait_iso}, {refusing.limit} calls: 100%",
            "retry_after": "{refusing.wait_decimal_s}",
            "list": ["{refusing.remaining}", "{bucket.rate}", None, True, 1.5, "{{x}}"],
            "missing": "{other.limit}",
            "who": "{person_n:04d}",
        }
    }
    world = open_world(
        face=face,
        limits={**LIMITS, "bucket": limit("token_bucket", capacity=9, rate="4/s", cost=9)},
        refusal={"status": status, "body": body, "retry_after": "none"},
    )
    token = world.connect()["access_token"]
    world.call(token)
    answer = world.call(token)
    assert answer.status_code == status
    assert answer.json() == {
        "error": {
            "code": status,
            "reason": "bucket",
            "message": "Retry after 2026-01-05T00:00:03Z, 9 calls: 100%",
            "retry_after": 2.25,
            "list": [0, 4.0, None, True, 1.5, "{x}"],
            "missing": None,
            "who": "0001",
        }
    }
    row = world.last()
    assert (row["status"], row["error"], row["limit"]) == (status, "rate_limited", "bucket")


def test_limits_may_refuse_each_in_its_own_way(open_world, face):
    """`[[refusals]]` name their limits; `[refusal]` is for all others. GitLab's is plain text."""
    limits = {
        "person": limit("fixed_window", limit=1, period="1h", key=["person"]),
        "app": limit("fixed_window", limit=2, period="1h"),
    }
    world = open_world(
        face=face,
        limits=limits,
        refusals=[
            {"limits": ["person"], "status": 403, "body": {"by": "{refusing.name}"}, "retry_after": "none"}
        ],
        refusal={
            "status": 503,
            "content_type": "text/plain",
            "body": "Retry later: {refusing.wait_minutes} é",
        },
    )
    ann, bob = (world.connect(person)["access_token"] for person in ("p00001", "p00002"))
    world.call(ann)
    own = world.call(ann)
    assert (own.status_code, own.json()) == (403, {"by": "person"})
    world.call(bob)
    other = world.call(world.connect("p00003")["access_token"])
    assert (other.status_code, other.content.decode()) == (503, "Retry later: 60 é")
    assert (other.headers["content-type"], other.headers["retry-after"]) == ("text/plain", "3600")


def test_what_is_hidden_is_told_by_name_and_wait_alone(open_world):
    """No header tells what a hidden limit's number is; that it refused, and for how long, may be said."""
    limits = {"hidden": limit("fixed_window", limit=1, period="1h", hidden=True)}
    headers = [
        {"name": "By", "value": "{refusing.name} {refusing.wait_s}", "on": "refusal"},
        {"name": "Number", "value": "{refusing.limit}", "on": "refusal"},
    ]
    found = headers_after(open_world, headers, limits=limits, calls=2)
    assert (found["by"], "number" in found) == ("hidden 3510", False)


def test_an_undisclosed_number_is_told_nowhere(open_world):
    """Not even in a body."""
    limits = {"secret": limit("opaque", floor=1, ceiling=1, period="1h")}
    body = {"limit": "{refusing.limit}", "own": "{secret.used}", "name": "{refusing.name}"}
    world = open_world(limits=limits, refusal={"body": body})
    token = world.connect()["access_token"]
    world.call(token)
    assert world.call(token).json() == {"limit": None, "own": None, "name": "secret"}


ERRORS = {
    "no_token": {"status": 401, "body": {"error": {"status": 401, "message": "{message}"}}},
    "unknown_token": {"status": 400, "body": {"code": 190, "message": "{message}"}, "message": "Malformed"},
    "expired_token": {"status": 401, "body": {"Detail": "TokenExpired at {now_iso}"}, "challenge": False},
    "revoked_token": {"status": 200, "content_type": "text/plain", "body": "token_revoked: {message}"},
    "insufficient_scope": {"status": 200, "body": {"ok": False, "error": "missing", "needed": "{scope}"}},
    "unknown_route": {"status": 404, "body": [{"errorCode": "NOT_FOUND", "id": "{request_id}"}]},
    "not_found": {"status": 410, "body": {}},
    "bad_request": {"status": 422, "body": {"errors": ["{message}"]}},
    "too_large": {"status": 400, "body": {"message": "too big: {message}"}},
}


def test_errors_have_the_providers_shape(open_world, face):
    """Each with its own status, body and challenge; what the ledger calls them stays the same."""
    world = open_world(face=face, errors=ERRORS)
    tokens = world.connect()
    token, narrow = tokens["access_token"], world.connect("p00002", scope="events.read")["access_token"]
    seen = {}
    seen["no_token"] = world.call(None)
    seen["unknown_token"] = world.call("unknown")
    seen["unknown_route"] = world.call(token, "/x")
    seen["not_found"] = world.call(token, "/events/x")
    seen["bad_request"] = world.call(token, method="POST", content=b"x")
    seen["too_large"] = world.call(token, method="POST", json={"a": "x" * 4000})
    seen["insufficient_scope"] = world.call(narrow, method="POST", json={})
    world.clock.jump(3600 * SECOND_NS)
    seen["expired_token"] = world.call(token)
    again = world.connect("p00003")
    world.refresh(again["refresh_token"])
    world.refresh(again["refresh_token"])
    seen["revoked_token"] = world.call(again["access_token"])
    assert {name: answer.status_code for name, answer in seen.items()} == {
        name: ERRORS[name]["status"] for name in seen
    }
    assert seen["no_token"].json() == {"error": {"status": 401, "message": "A bearer token is needed."}}
    assert seen["unknown_token"].json() == {"code": 190, "message": "Malformed"}
    assert seen["unknown_route"].json()[0]["errorCode"] == "NOT_FOUND"
    assert seen["not_found"].json() == {}
    assert seen["bad_request"].json() == {"errors": ["The body must be a JSON object."]}
    assert seen["too_large"].json() == {"message": "too big: The item is too large, or there are too many."}
    assert seen["insufficient_scope"].json() == {"ok": False, "error": "missing", "needed": "events.write"}
    assert seen["expired_token"].json() == {"Detail": "TokenExpired at 2026-01-05T01:00:00Z"}
    assert seen["revoked_token"].text == "token_revoked: The access token was revoked."
    challenges = {
        name: answer.headers["www-authenticate"]
        for name, answer in seen.items()
        if "www-authenticate" in answer.headers
    }
    assert challenges == {
        "no_token": 'Bearer realm="api"',
        "insufficient_scope": 'Bearer realm="api", error="insufficient_scope", scope="events.write"',
    }
    codes = [row["error"] for row in world.rows() if row["kind"] == "api" and row["error"]]
    assert codes == [
        *("unauthorized", "invalid_token", "not_found", "not_found", "invalid_request", "too_large"),
        *("insufficient_scope", "invalid_token", "invalid_token"),
    ]


def test_a_challenge_quotes_nothing_that_would_end_it(open_world):
    """RFC 6750, 3: no quotes or backslashes in error_description, ASCII only."""
    errors = {"unknown_token": {"status": 401, "message": 'a "token" \\ é', "challenge": True}}
    world = open_world(errors=errors)
    answer = world.call("x")
    assert answer.headers["www-authenticate"] == (
        'Bearer realm="api", error="invalid_token", error_description="a \'token\' \' \'"'
    )
    assert answer.json()["message"] == 'a "token" \\ é'


def test_a_request_id_is_the_answers_own_and_the_ledgers(open_world, face):
    """16 hexadecimal digits, another for each answer, the same in header, body and ledger; the seed repeats."""
    seen = []
    for seed in (1, 1, 2):
        world = open_world(
            face=face,
            seed=seed,
            dialect={"headers": [{"name": "X-Request-Id", "value": "{request_id}"}]},
            errors={"unknown_route": {"body": {"id": "{request_id}"}}},
        )
        token = world.connect()["access_token"]
        answers = [world.call(token, path) for path in ("/events", "/x", "/events/1")]
        ids = [answer.headers["x-request-id"] for answer in answers]
        assert all(len(one) == 16 and int(one, 16) >= 0 for one in ids)
        assert len(set(ids)) == 3
        assert answers[1].json() == {"id": ids[1]}
        assert [row["request_id"] for row in world.rows() if row["kind"] == "api"] == ids
        seen.append(ids)
    assert seen[0] == seen[1] != seen[2]


def test_a_request_id_that_no_answer_shows_is_not_in_the_ledger(world):
    """What the provider does not show nobody can look up."""
    world.call(world.connect()["access_token"])
    assert world.last()["request_id"] is None


def test_nothing_that_a_client_says_breaks_a_header(open_world, face):
    """A path segment in a header is percent-encoded where it is not printable ASCII."""
    route = {"name": "r", "path": "/c/{name}", "answer": "fixed"}
    route["headers"] = [{"name": "X-Name", "value": "<{name}>"}]
    world = open_world(face=face, routes=[route])
    answer = world.call(world.connect()["access_token"], "/c/a%0d%0aSet-Cookie:%20x=1%C3%A9%25")
    assert answer.headers["x-name"] == "<a%0D%0ASet-Cookie: x=1%C3%A9%>"
    assert "set-cookie" not in answer.headers


def test_a_number_in_force_is_what_is_told(open_world):
    """When the timetable has cut a limit, headers tell the new number and a remainder of at least 0."""
    world = open_world(
        limits={"app": limit("fixed_window", limit=10, period="1d")},
        timetable=[{"after": "1h", "why": "a notice", "limits": {"app": 2}}],
        dialect={"headers": [{"name": "X", "value": "{app.used}/{app.limit} {app.remaining}"}]},
    )
    token = world.connect()["access_token"]
    for _ in range(3):
        answer = world.call(token)
    assert answer.headers["x"] == "3/10 7"
    token = world.connect()["access_token"]
    world.clock.jump(3600 * SECOND_NS)
    token = world.connect()["access_token"]
    answer = world.call(token)
    assert (answer.status_code, answer.headers["x"]) == (429, "3/2 0")


def test_static_bodies_are_encoded_once(world):
    """An error without fields in it is the same bytes each time."""
    renderer = world.sandbox._renderer
    assert (
        renderer._refusals["hourly"].body.static
        == json.dumps(
            {"error": "rate_limited", "message": "Your app has used up its calls for now."},
            separators=(",", ":"),
        ).encode()
    )
