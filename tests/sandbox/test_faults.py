"""Planted faults: what the app is answered, what is charged, and what the ledger says of it."""

from __future__ import annotations

import json
import re
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest

from quotalab.clock import SeededEntropy
from quotalab.sandbox.faults import Draws

ROOT = Path(__file__).parents[2]
START_NS = 1_767_571_200_000_000_000
SECOND_NS = 10**9
HOUR_NS = 3600 * SECOND_NS
OURS = {"where": "a test", "confidence": "own"}
TALKATIVE = {
    "headers": [
        {"name": "X-RateLimit-Limit", "value": "{hourly.limit}"},
        {"name": "X-RateLimit-Remaining", "value": "{hourly.remaining}"},
        {"name": "X-RateLimit-Reset", "value": "{hourly.reset_epoch_s}"},
        {"name": "X-Served-By", "value": "node-7"},
    ],
    "source": OURS,
}


def plant(open_world: Any, *faults: dict[str, Any], settings: tuple[str, ...] = (), **more: Any) -> Any:
    """A world with these faults."""
    return open_world(*settings, faults=list(faults), **more)


def events(tables: Any, what: str = "fault") -> list[tuple[int, str | None, dict[str, Any]]]:
    """The events of a kind: nanoseconds since the start, who, details."""
    return [
        (row["at"].value - START_NS, row["who"], json.loads(row["details"]))
        for row in tables.events.to_pylist()
        if row["what"] == what
    ]


def api(tables: Any) -> list[dict[str, Any]]:
    """The calls to the API."""
    return [row for row in tables.calls.to_pylist() if row["kind"] == "api"]


def charged(row: dict[str, Any]) -> dict[str, int]:
    return dict(row["charges"] or ())


# ---- answered before any limit is asked


def test_an_error_before_the_work_is_neither_done_nor_charged(open_world, face) -> None:
    """503 with Retry-After: 30; no limit was asked, nothing was made, and the event and the mark say why."""
    world = plant(open_world, {"kind": "error", "status": 503, "retry_after": "30s"}, face=face)
    token = world.connect()["access_token"]
    answer = world.call(token, method="POST", json={"title": "x"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
    assert answer.json()["error"] == "server_error"
    tables = world.tables()
    (row,) = api(tables)
    assert (row["status"], row["error"], row["fault"]) == (503, "server_error", "error-1")
    assert (row["keys"], row["charges"], row["cost"], row["limit"]) == ([], [], 0, None)
    assert (row["retry_after_ns"], row["token_state"], row["person"]) == (30 * SECOND_NS, "valid", "p00001")
    assert events(tables) == [(0, "p00001", {"kind": "error", "name": "error-1"})]


@pytest.mark.parametrize("status", [500, 502, 504, 429])
def test_an_error_may_have_any_status_and_no_retry_after(open_world, status: int) -> None:
    """Without `retry_after` nothing is promised."""
    world = plant(open_world, {"kind": "error", "status": status, "name": "e"})
    answer = world.call(world.connect()["access_token"])
    assert (answer.status_code, "Retry-After" in answer.headers) == (status, False)
    assert api(world.tables())[0]["retry_after_ns"] is None


def test_an_error_after_the_work_is_charged_and_done(open_world, face) -> None:
    """`worked`: the event exists afterwards, the call is charged, only the answer is lost."""
    world = plant(open_world, {"kind": "error", "worked": True, "until": "1m"}, face=face)
    token = world.connect()["access_token"]
    assert world.call(token, method="POST", json={"title": "x"}).status_code == 503
    world.clock.jump(60 * SECOND_NS)
    assert world.call(token, "/events/121").json()["title"] == "x"
    first, second = api(world.tables())
    assert (first["status"], first["fault"], charged(first)) == (503, "error-1", {"hourly": 1})
    assert (second["status"], second["fault"], charged(second)) == (200, None, {"hourly": 1})
    assert dict(second["remaining"]) == {"hourly": 98}


def test_an_error_after_the_work_leaves_a_refusal_alone(open_world) -> None:
    """What a limit refused did no work: it stays a 429, and bears no mark."""
    world = plant(open_world, {"kind": "error", "worked": True}, settings=("limits.hourly.limit=1",))
    token = world.connect()["access_token"]
    assert [world.call(token).status_code for _ in range(2)] == [503, 429]
    assert [row["fault"] for row in api(world.tables())] == ["error-1", None]


def test_a_valid_token_is_refused_and_stays_valid(open_world, face) -> None:
    """401 invalid_token, not charged, and the ledger's token_state is valid."""
    world = plant(open_world, {"kind": "spurious_401", "until": "1s"}, face=face)
    token = world.connect()["access_token"]
    answer = world.call(token)
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    world.clock.jump(SECOND_NS)
    assert world.call(token).status_code == 200
    first, second = api(world.tables())
    assert (first["token_state"], first["fault"], first["keys"]) == ("valid", "spurious_401-1", [])
    assert (second["token_state"], second["fault"]) == ("valid", None)


def test_a_token_that_is_unknown_is_not_refused_spuriously(open_world) -> None:
    """Its 401 is deserved: no mark, no event."""
    world = plant(open_world, {"kind": "spurious_401"})
    assert world.call("nobody").status_code == 401
    tables = world.tables()
    assert [(row["token_state"], row["fault"]) for row in api(tables)] == [("unknown", None)]
    assert events(tables) == []


# ---- dropped, cut, not JSON


def lost(face: str) -> type[Exception]:
    """What a closed connection is: an error of httpx, and what makes a server close a socket."""
    return httpx.RemoteProtocolError if face == "memory" else BrokenPipeError


@pytest.mark.parametrize(("when", "left"), [("before", 99), ("after", 98)])
def test_a_connection_is_dropped_before_or_after_the_work(open_world, face, when: str, left: int) -> None:
    """No answer, status 0; before the work nothing is charged or made, after it both."""
    world = plant(open_world, {"kind": "drop", "when": when, "until": "1m"}, face=face)
    token = world.connect()["access_token"]
    with pytest.raises(lost(face)) as raised:
        world.call(token, method="POST", json={"title": "x"})
    if face == "memory":
        assert str(raised.value) == "Server disconnected without sending a response."
    world.clock.jump(60 * SECOND_NS)
    assert world.call(token, "/events/121").status_code == (404 if when == "before" else 200)
    first, second = api(world.tables())
    assert (first["status"], first["error"], first["fault"]) == (0, "connection_dropped", "drop-1")
    assert charged(first) == ({} if when == "before" else {"hourly": 1})
    assert dict(second["remaining"]) == {"hourly": left}


def test_a_dropped_refusal_promises_nothing(open_world) -> None:
    """What was not heard was not said."""
    world = plant(open_world, {"kind": "drop", "when": "after"}, settings=("limits.hourly.limit=1",))
    token = world.connect()["access_token"]
    for _ in range(2):
        with pytest.raises(httpx.RemoteProtocolError):
            world.call(token)
    row = api(world.tables())[1]
    assert (row["limit"], row["status"], row["retry_after_ns"]) == ("hourly", 0, None)


def test_less_comes_than_content_length_says(open_world, face) -> None:
    """Half of the body; httpx says what it says of a peer that closed too early."""
    world = plant(open_world, {"kind": "truncate", "until": "1m"}, face=face)
    token = world.connect()["access_token"]
    with pytest.raises(lost(face)) as raised:
        world.call(token, "/events/7")
    world.clock.jump(60 * SECOND_NS)
    whole = len(world.call(token, "/events/7").content)
    if face == "memory":
        assert str(raised.value) == (
            "peer closed connection without sending complete message body "
            f"(received {whole // 2} bytes, expected {whole})"
        )
    first, _ = api(world.tables())
    assert (first["status"], first["bytes"], first["error"]) == (200, whole // 2, "truncated")
    assert (first["fault"], charged(first)) == ("truncate-1", {"hourly": 1})


def test_a_stream_is_read_up_to_the_cut(open_world) -> None:
    """Status and headers come, then half of the body, then the error."""
    world = plant(open_world, {"kind": "truncate"})
    headers = {"Authorization": f"Bearer {world.connect()['access_token']}"}
    with world.http.stream("GET", "/v1/events/7", headers=headers) as answer:
        assert answer.status_code == 200
        parts = answer.iter_bytes()
        came = next(parts)
        with pytest.raises(httpx.RemoteProtocolError):
            next(parts)
    assert len(came) == int(answer.headers["Content-Length"]) // 2


@pytest.mark.parametrize(("worked", "charges"), [(True, {"hourly": 1}), (False, {})])
def test_a_page_comes_where_json_is_expected(open_world, face, worked: bool, charges: dict[str, int]) -> None:
    """200 and HTML; charged only where the work was done."""
    world = plant(open_world, {"kind": "not_json", "worked": worked}, face=face)
    answer = world.call(world.connect()["access_token"])
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers.get_list("Content-Type") == ["text/html; charset=utf-8"]
    assert answer.text.startswith("<!doctype html>")
    (row,) = api(world.tables())
    assert (row["error"], row["fault"], charged(row)) == ("not_json", "not_json-1", charges)


# ---- slow


def test_a_slow_answer_comes_later_and_is_under_way_longer(open_world, face) -> None:
    """By 20 s: `answered` and `done` lie 20 s after `at`."""
    world = plant(open_world, {"kind": "slow", "by": "20s"}, face=face)
    token = world.connect()["access_token"]
    before_ns = world.clock.now_ns()
    assert world.call(token, timeout=30).status_code == 200
    assert world.clock.now_ns() - before_ns == 20 * SECOND_NS
    (row,) = [row for row in world.rows() if row["kind"] == "api"]
    assert (row["at"], row["answered"], row["done"]) == (0, 20 * SECOND_NS, 20 * SECOND_NS)
    assert row["fault"] == "slow-1"


def test_who_has_less_patience_than_a_slow_answer_needs_times_out(open_world) -> None:
    """httpx's read timeout holds in memory too: after 5 s, while the call is done all the same."""
    world = plant(open_world, {"kind": "slow", "by": "20s"})
    token = world.connect()["access_token"]
    with pytest.raises(httpx.ReadTimeout):
        world.call(token, timeout=5)
    assert world.clock.now_ns() == START_NS + 5 * SECOND_NS
    (row,) = [row for row in world.rows() if row["kind"] == "api"]
    assert (row["status"], row["answered"]) == (200, 20 * SECOND_NS)


# ---- at the token endpoint

AT_TOKEN = {"calls": ["token"], "from": "1m", "until": "2m"}
SINGLE_USE = ("oauth.refresh_rotation=single_use",)


def token_rows(tables: Any) -> list[dict[str, Any]]:
    """The calls to the token endpoint, but for the first, which came before the fault."""
    return [row for row in tables.calls.to_pylist() if row["kind"] == "token"][1:]


def later(open_world: Any, *faults: dict[str, Any], **more: Any) -> tuple[Any, dict[str, Any]]:
    """A world in which p00001 has connected, at the instant at which the faults begin."""
    world = plant(open_world, *faults, **more)
    given = world.connect()
    world.clock.jump(60 * SECOND_NS)
    return world, given


def test_an_outage_of_the_token_endpoint_spends_nothing(open_world, face) -> None:
    """503 with Retry-After; the refresh token, for a single use here, is good afterwards; the API is well."""
    fault = {"kind": "error", "retry_after": "30s", **AT_TOKEN}
    world, given = later(open_world, fault, settings=SINGLE_USE, face=face)
    answer = world.refresh(given["refresh_token"])
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
    assert world.call(given["access_token"]).status_code == 200
    world.clock.jump(60 * SECOND_NS)
    assert world.refresh(given["refresh_token"]).status_code == 200
    tables = world.tables()
    first, second = token_rows(tables)
    assert (first["status"], first["error"], first["fault"]) == (503, "server_error", "error-1")
    assert (first["person"], first["client_id"], first["retry_after_ns"]) == (
        "p00001",
        "app-1",
        30 * SECOND_NS,
    )
    assert first["oauth"]["issued_token"] is None
    assert (second["status"], second["fault"]) == (200, None)
    assert events(tables) == [(60 * SECOND_NS, "p00001", {"kind": "error", "name": "error-1"})]
    assert [row["fault"] for row in api(tables)] == [None]


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "error", "worked": True},
        {"kind": "drop", "when": "after"},
        {"kind": "truncate"},
        {"kind": "not_json"},
    ],
    ids=lambda fault: fault["kind"],
)
def test_an_answer_with_tokens_is_lost_and_they_were_given_out(
    open_world, face, fault: dict[str, Any]
) -> None:
    """The refresh token is spent: asked again, which is all that an app can do, it takes its family along."""
    world, given = later(open_world, {**fault, **AT_TOKEN}, settings=SINGLE_USE, face=face)
    try:
        answer = world.refresh(given["refresh_token"])
    except (httpx.RemoteProtocolError, BrokenPipeError):
        pass
    else:
        assert "access_token" not in answer.text
    world.clock.jump(60 * SECOND_NS)
    assert world.refresh(given["refresh_token"]).json()["error"] == "invalid_grant"
    assert world.call(given["access_token"]).status_code == 401
    tables = world.tables()
    lost_one, reuse = token_rows(tables)
    assert (lost_one["fault"], reuse["fault"]) == (f"{fault['kind']}-1", None)
    assert lost_one["oauth"]["issued_refresh_token"] is not None
    assert [details["why"] for _, _, details in events(tables, "token-revoked")] == [
        "refresh token used twice"
    ]


def test_a_connection_that_is_dropped_before_the_work_leaves_the_code_good(open_world, face) -> None:
    """The app may ask again with the same code."""
    world = plant(open_world, {"kind": "drop", "calls": ["token"], "until": "1s"}, face=face)
    code = world.authorize()["code"]
    with pytest.raises(lost(face)):
        world.redeem(code)
    world.clock.jump(SECOND_NS)
    assert world.redeem(code).status_code == 200
    rows = [row for row in world.tables().calls.to_pylist() if row["kind"] == "token"]
    assert [(row["status"], row["fault"]) for row in rows] == [(0, "drop-1"), (200, None)]


def test_a_slow_token_endpoint_outlasts_a_client(open_world) -> None:
    """httpx gives up after 5 s; the tokens were given out, and answered after 20 s."""
    world, given = later(open_world, {"kind": "slow", "by": "20s", **AT_TOKEN})
    form = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]}
    auth = (world.access.client_id, world.access.client_secret)
    with pytest.raises(httpx.ReadTimeout):
        world.http.post("/oauth/token", data=form, auth=auth, timeout=5)
    assert world.clock.now_ns() == START_NS + 65 * SECOND_NS
    row = [row for row in world.rows() if row["kind"] == "token"][1]
    assert (row["at"], row["answered"], row["done"]) == (60 * SECOND_NS, 80 * SECOND_NS, 80 * SECOND_NS)
    assert (row["status"], row["fault"]) == (200, "slow-1")


def test_revocation_and_introspection_are_struck_where_they_are_named(open_world) -> None:
    """Each by its kind, about the person whose token it is; what was not revoked lives on."""
    world = plant(open_world, {"kind": "error", "status": 500, "calls": ["revoke", "introspect"]})
    given = world.connect()
    auth = (world.access.client_id, world.access.client_secret)
    form = {"token": given["access_token"]}
    statuses = [
        world.http.post(f"/oauth/{path}", data=form, auth=auth).status_code
        for path in ("revoke", "introspect")
    ]
    assert statuses == [500, 500]
    assert world.call(given["access_token"]).status_code == 200
    rows = world.tables().calls.to_pylist()
    assert [
        (row["kind"], row["person"], row["fault"]) for row in rows if row["kind"] in ("revoke", "introspect")
    ] == [
        ("revoke", "p00001", "error-1"),
        ("introspect", "p00001", "error-1"),
    ]
    assert {row["fault"] for row in rows if row["kind"] in ("token", "api")} == {None}


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({}, "temporarily_unavailable"),
        ({"status": 500}, "server_error"),
        ({"worked": True, "status": 502}, "server_error"),
    ],
)
def test_people_are_sent_back_with_an_error_and_not_asked(open_world, face, keys, error: str) -> None:
    """RFC 6749, 4.1.2.1, with state and issuer; later they are asked. Who shows a wrong URI gets its page."""
    world = plant(open_world, {"kind": "error", "calls": ["authorize"], "until": "1m", **keys}, face=face)
    back = world.authorize()
    assert back == {"error": error, "state": world.state, "iss": "https://provider.test"}
    wrong = world.http.get(
        f"/oauth/authorize?{world.query(redirect_uri='https://evil.test/')}", headers=world.signed_in()
    )
    assert (wrong.status_code, "location" in wrong.headers) == (400, False)
    world.clock.jump(60 * SECOND_NS)
    assert "code" in world.authorize()
    tables = world.tables()
    struck = [row for row in tables.calls.to_pylist() if row["fault"]]
    assert [(row["kind"], row["status"], row["error"], row["fault"]) for row in struck] == [
        ("authorize", 303, error, "error-1")
    ]
    assert events(tables) == [(0, "p00001", {"kind": "error", "name": "error-1"})]


def test_a_refused_token_request_is_told_wrongly_too(open_world) -> None:
    """A limit of token requests, a Retry-After of 30 days, a clock that is wrong: the call bears both marks."""
    limits = {
        "hourly": {"kind": "rolling_window", "limit": 100, "period": "1h", "source": OURS},
        "tokens": {
            "kind": "rolling_window",
            "limit": 1,
            "period": "1h",
            "match": {"kinds": ["token"]},
            "source": OURS,
        },
    }
    faults = (
        {"kind": "retry_after", "as": "http_date", "to": "30d", "calls": ["token"]},
        {"kind": "clock_skew", "by": "90s"},
    )
    world = plant(open_world, *faults, limits=limits, settings=("refusal.retry_after=http_date",))
    given = world.connect()
    said = world.refresh(given["refresh_token"]).headers["Retry-After"]
    assert said == formatdate(START_NS // SECOND_NS + 30 * 86_400 + 90, usegmt=True)
    (row,) = token_rows(world.tables())
    assert (row["limit"], row["retry_after_ns"]) == ("tokens", 30 * 86_400 * SECOND_NS)
    assert row["fault"] == "retry_after-1 clock_skew-2"


# ---- told wrongly about limits


def test_rate_limit_headers_go_missing(open_world, face) -> None:
    """Those that tell of limits, and Retry-After; no others."""
    world = plant(
        open_world,
        {"kind": "headers", "how": "missing"},
        settings=("limits.hourly.limit=1",),
        face=face,
        dialect=TALKATIVE,
    )
    token = world.connect()["access_token"]
    answers = [world.call(token) for _ in range(2)]
    for answer in answers:
        assert not [name for name in answer.headers if "ratelimit" in name]
        assert answer.headers["X-Served-By"] == "node-7"
    assert (answers[1].status_code, "Retry-After" in answers[1].headers) == (429, False)
    rows = api(world.tables())
    assert [row["fault"] for row in rows] == ["headers-1", "headers-1"]
    assert rows[1]["retry_after_ns"] is None


def test_rate_limit_headers_are_wrong_and_retry_after_is_not(open_world) -> None:
    """Other numbers of as many digits."""
    fault = {"kind": "headers", "how": "wrong"}
    world = plant(open_world, fault, settings=("limits.hourly.limit=1",), dialect=TALKATIVE)
    token = world.connect()["access_token"]
    answer = world.call(token)
    for name, right in (("Limit", "1"), ("Remaining", "0"), ("Reset", str(START_NS // SECOND_NS + 3600))):
        wrong = answer.headers[f"X-RateLimit-{name}"]
        assert wrong != right
        assert (wrong.isdigit(), len(wrong)) == (True, len(right))
    assert answer.headers["X-Served-By"] == "node-7"
    assert world.call(token).headers["Retry-After"] == "3600"


def test_where_there_is_nothing_to_tell_wrongly_nothing_is_marked(open_world) -> None:
    """A provider without such headers: no mark, no event."""
    world = plant(open_world, {"kind": "headers"})
    world.call(world.connect()["access_token"])
    tables = world.tables()
    assert [row["fault"] for row in api(tables)] == [None]
    assert events(tables) == []


@pytest.mark.parametrize(
    ("keys", "text", "promise_ns"),
    [
        ({"as": "http_date"}, formatdate(START_NS // SECOND_NS + 3600, usegmt=True), 3600 * SECOND_NS),
        ({"as": "epoch"}, str(START_NS // SECOND_NS + 3600), 3600 * SECOND_NS),
        ({"as": "decimal"}, "3600.0", 3600 * SECOND_NS),
        ({"to": "30d"}, "2592000", 30 * 86_400 * SECOND_NS),
        ({"as": "iso", "to": "1m"}, "2026-01-05T00:01:00Z", 60 * SECOND_NS),
    ],
)
def test_retry_after_has_another_form_or_length(open_world, face, keys, text: str, promise_ns: int) -> None:
    """The ledger's promise is what was said."""
    world = plant(open_world, {"kind": "retry_after", **keys}, settings=("limits.hourly.limit=1",), face=face)
    token = world.connect()["access_token"]
    answers = [world.call(token) for _ in range(2)]
    assert "Retry-After" not in answers[0].headers
    assert answers[1].headers.get_list("Retry-After") == [text]
    rows = api(world.tables())
    assert [(row["fault"], row["retry_after_ns"]) for row in rows] == [
        (None, None),
        ("retry_after-1", promise_ns),
    ]


# ---- tokens, grants, the clock


def test_access_tokens_are_revoked_at_a_moment_and_can_be_renewed(open_world, face) -> None:
    """At 30 min, not before; the refresh token still works, and what it gives does too."""
    world = plant(
        open_world,
        {"kind": "revoke_token", "at": "30m", "name": "leak"},
        face=face,
    )
    given = world.connect()
    world.clock.jump(HOUR_NS // 2 - 1)
    assert world.call(given["access_token"]).status_code == 200
    world.clock.jump(SECOND_NS)
    assert world.call(given["access_token"]).status_code == 401
    fresh = world.refresh(given["refresh_token"]).json()
    assert world.call(fresh["access_token"]).status_code == 200
    tables = world.tables()
    assert [(row["token_state"], row["fault"]) for row in api(tables)] == [
        ("valid", None),
        ("revoked", "leak"),
        ("valid", None),
    ]
    assert events(tables) == [(HOUR_NS // 2, "p00001", {"kind": "revoke_token", "name": "leak"})]
    revoked = {"client": world.access.client_id, "why": "leak", "token": api(tables)[0]["token"]}
    assert events(tables, "token-revoked") == [(HOUR_NS // 2, "p00001", revoked)]


def test_withdrawn_consent_takes_every_token_with_it(open_world, face) -> None:
    """The access token is revoked, the refresh token is invalid_grant, and both calls bear the mark."""
    world = plant(open_world, {"kind": "withdraw_consent", "at": "10m"}, face=face)
    given = world.connect()
    world.clock.jump(HOUR_NS // 6 + SECOND_NS)  # written down under its own instant
    assert world.call(given["access_token"]).status_code == 401
    assert world.refresh(given["refresh_token"]).json()["error"] == "invalid_grant"
    again = world.connect()
    assert world.call(again["access_token"]).status_code == 200
    tables = world.tables()
    marked = [(row["kind"], row["fault"]) for row in tables.calls.to_pylist() if row["fault"]]
    assert marked == [("api", "withdraw_consent-1"), ("token", "withdraw_consent-1")]
    assert events(tables, "consent-withdrawn") == [
        (HOUR_NS // 6, "p00001", {"client": world.access.client_id, "why": "withdraw_consent-1"})
    ]
    assert events(tables, "token-revoked") == events(tables, "consent-withdrawn")


def test_withdrawn_consent_is_no_connection_any_more_and_its_code_is_good_for_nothing(open_world) -> None:
    """As if the person had taken it back on the page: the list is empty, and who comes back late is refused."""
    world = plant(open_world, {"kind": "withdraw_consent", "at": "10s"})
    code = world.authorize()["code"]
    world.clock.jump(10 * SECOND_NS)
    assert world.redeem(code).json()["error"] == "invalid_grant"
    assert "app-1" not in world.http.get("/oauth/connections", headers=world.signed_in()).text
    tables = world.tables()
    assert [row["fault"] for row in tables.calls.to_pylist() if row["kind"] == "token"] == [
        "withdraw_consent-1"
    ]
    assert events(tables) == [
        (10 * SECOND_NS, "p00001", {"kind": "withdraw_consent", "name": "withdraw_consent-1"})
    ]


def test_so_many_people_are_drawn_from_the_seed(open_world) -> None:
    """Four of twelve, the same four for the same seed, others for another."""

    def revoked(seed: int) -> list[str | None]:
        world = plant(open_world, {"kind": "revoke_token", "at": "1m", "people": 4}, seed=seed)
        for person in world.sandbox._store.people:
            world.connect(person)
        world.sandbox.close(START_NS + 60 * SECOND_NS)
        return [who for _, who, _ in events(world.tables())]

    first = revoked(1)
    assert len(first) == len(set(first)) == 4
    assert revoked(1) == first
    assert revoked(2) != first


def test_who_has_not_connected_has_nothing_to_lose(open_world) -> None:
    """A moment that finds no token is no event."""
    world = plant(open_world, {"kind": "withdraw_consent", "at": "1m"})
    world.clock.jump(HOUR_NS)
    world.connect()
    assert events(world.tables()) == []


def test_a_token_dies_early_although_its_answer_says_otherwise(open_world, face) -> None:
    """A quarter of an hour of the hour that expires_in said; the issuing and the refused call bear the mark."""
    world = plant(open_world, {"kind": "early_expiry", "to": 0.25}, face=face)
    given = world.connect()
    assert given["expires_in"] == 3600
    world.clock.jump(HOUR_NS // 4 - 1)
    assert world.call(given["access_token"]).status_code == 200
    world.clock.jump(1)
    assert world.call(given["access_token"]).status_code == 401
    tables = world.tables()
    assert [(row["token_state"], row["fault"]) for row in api(tables)] == [
        ("valid", None),
        ("expired", "early_expiry-1"),
    ]
    assert [row["fault"] for row in tables.calls.to_pylist() if row["kind"] == "token"] == ["early_expiry-1"]
    assert events(tables) == [(0, "p00001", {"kind": "early_expiry", "name": "early_expiry-1"})]


def test_a_constant_skew_leaves_lifetimes_alone_and_moves_instants(open_world, face) -> None:
    """Reset and Date are 90 s ahead; the token lives its hour; limits and the ledger keep true time."""
    world = plant(open_world, {"kind": "clock_skew", "by": "90s"}, face=face, dialect=TALKATIVE)
    given = world.connect()
    answer = world.call(given["access_token"])
    assert answer.headers["X-RateLimit-Reset"] == str(START_NS // SECOND_NS + 3600 + 90)
    assert answer.headers["Date"] == formatdate(START_NS // SECOND_NS + 90, usegmt=True)
    world.clock.jump(HOUR_NS - 1)
    assert world.call(given["access_token"]).headers["X-RateLimit-Remaining"] == "98"
    world.clock.jump(1)
    assert world.call(given["access_token"]).status_code == 401
    tables = world.tables()
    assert [(row["at"].value - START_NS, row["fault"]) for row in api(tables)] == [
        (0, "clock_skew-1"),
        (HOUR_NS - 1, "clock_skew-1"),
        (HOUR_NS, None),
    ]
    assert events(tables) == [(0, None, {"kind": "clock_skew", "name": "clock_skew-1"})]


def test_a_clock_that_is_put_forward_ages_what_it_has_issued(open_world) -> None:
    """Put 10 min ahead after 30 min, it lets the hour's token die after 50 min; the call bears the mark."""
    world = plant(open_world, {"kind": "clock_skew", "by": "10m", "from": "30m"})
    token = world.connect()["access_token"]
    world.clock.jump(50 * 60 * SECOND_NS - 1)
    assert world.call(token).status_code == 200
    world.clock.jump(1)
    assert world.call(token).status_code == 401
    assert [(row["token_state"], row["fault"]) for row in api(world.tables())] == [
        ("valid", None),
        ("expired", "clock_skew-1"),
    ]


def test_a_date_is_by_the_providers_own_clock(open_world) -> None:
    """The header is 90 s behind, what is promised is the true wait."""
    world = plant(
        open_world,
        {"kind": "clock_skew", "by": "-90s"},
        settings=("limits.hourly.limit=1", "refusal.retry_after=http_date"),
    )
    token = world.connect()["access_token"]
    world.call(token)
    said = world.call(token).headers["Retry-After"]
    assert said == formatdate(START_NS // SECOND_NS + 3600 - 90, usegmt=True)
    row = api(world.tables())[1]
    assert (row["retry_after_ns"], row["fault"]) == (3600 * SECOND_NS, "clock_skew-1")


# ---- which calls are struck


def test_a_fault_is_in_force_from_its_beginning_until_its_end(open_world) -> None:
    """[1 m, 2 m): at 1 m it strikes, at 2 m no longer."""
    world = plant(open_world, {"kind": "error", "from": "1m", "until": "2m"})
    token = world.connect()["access_token"]
    statuses = []
    for jump_ns in (60 * SECOND_NS - 1, 1, 60 * SECOND_NS - 1, 1):
        world.clock.jump(jump_ns)
        statuses.append(world.call(token).status_code)
    assert statuses == [200, 503, 503, 200]


def test_only_the_routes_that_are_named_are_struck(open_world) -> None:
    """`routes`: the list answers, the single event does not."""
    world = plant(open_world, {"kind": "error", "routes": ["read_event"]})
    token = world.connect()["access_token"]
    assert [world.call(token, path).status_code for path in ("/events", "/events/7")] == [200, 503]


def test_only_people_whom_it_concerns_are_struck(open_world) -> None:
    """Three of twelve, and nobody without a token."""
    world = plant(open_world, {"kind": "error", "people": 3})
    tokens = [world.connect(person)["access_token"] for person in world.sandbox._store.people]
    assert [world.call(token).status_code for token in tokens].count(503) == 3
    assert world.call(None).status_code == 401


def test_a_stranger_is_struck_as_anybody(open_world) -> None:
    """An outage does not ask for tokens."""
    world = plant(open_world, {"kind": "error"})
    assert world.call(None).status_code == 503
    assert api(world.tables())[0]["token_state"] == "none"


def struck(open_world: Any, *faults: dict[str, Any], seed: int = 1) -> list[tuple[int, str]]:
    """Which of 400 calls of p00001, a second apart, are struck, and by what."""
    world = plant(open_world, *faults, settings=("limits.hourly.limit=1000",), seed=seed, dialect=TALKATIVE)
    token = world.connect()["access_token"]
    for _ in range(400):
        world.clock.jump(SECOND_NS)
        world.call(token)
    return [(i, row["fault"]) for i, row in enumerate(api(world.tables())) if row["fault"]]


def test_a_share_of_calls_is_struck_and_another_fault_does_not_change_which(open_world) -> None:
    """About a quarter, as drawn; the same calls with a second fault beside it, whose own are its own."""
    error = {"kind": "error", "worked": True, "share": 0.25, "name": "e"}
    other = {"kind": "headers", "share": 0.5, "name": "h"}
    alone = [i for i, _ in struck(open_world, error)]
    assert 70 <= len(alone) <= 130
    both = struck(open_world, other, error)
    assert [i for i, names in both if "e" in names.split()] == alone
    assert {names for _, names in both} == {"e", "h", "h e"}
    assert [i for i, _ in struck(open_world, error, seed=2)] != alone


def test_of_several_faults_the_first_answers(open_world) -> None:
    """The profile's order decides between what would answer a call."""
    world = plant(open_world, {"kind": "error", "status": 502}, {"kind": "not_json", "worked": False})
    assert world.call(world.connect()["access_token"]).status_code == 502
    assert api(world.tables())[0]["fault"] == "error-1"


def test_without_faults_nothing_is_planted(open_world) -> None:
    """The hot path has one comparison with None; probes are the scenario's and plant nothing here."""
    assert open_world().sandbox._planted is None
    assert plant(open_world, {"kind": "forged_state"}).sandbox._planted is None


def test_one_person_more_never_moves_another_from_the_struck_to_the_spared(open_world) -> None:
    """By share each person has a draw of their own; about half of 200 are struck."""
    world = plant(open_world, {"kind": "withdraw_consent", "at": "1h", "share": 0.5})
    (fault,) = world.provider.faults
    people = [f"p{i:05d}" for i in range(200)]
    hit = [Draws(SeededEntropy(1)).strikes(fault, person) for person in people]
    assert [Draws(SeededEntropy(1)).strikes(fault, person) for person in reversed(people)] == hit[::-1]
    assert 70 <= sum(hit) <= 130


def test_faults_are_planted_by_the_lines_of_the_guides(open_world) -> None:
    """Each `--set 'faults=...'` of the pages is a profile's key that can be read."""
    pages = [ROOT / name for name in ("README.md", "docs/sandbox.md", "docs/faults.md")]
    lines = [re.findall(r"--set '(faults=[^']+)'", page.read_text(encoding="utf-8")) for page in pages]
    assert all(lines)
    for line in (line for found in lines for line in found):
        assert open_world(" ".join(line.split())).provider.faults
