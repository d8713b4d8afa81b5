"""The resource server: bearer tokens, routes and their answers, limits and refusals."""

from __future__ import annotations

import datetime
import json

import pytest

from quotalab.sandbox import items

SECOND_NS = 10**9
OURS = {"where": "a test", "confidence": "own"}
INVALID = 'Bearer realm="api", error="invalid_token", error_description="The access token {}"'


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Basic YTpi", "bearer", "Token x"])
def test_without_a_bearer_token_the_challenge_has_no_error(faced, authorization):
    """RFC 6750, 3.1: a request that lacks any authentication gets no error code."""
    headers = {"Authorization": authorization} if authorization is not None else {}
    answer = faced.http.get("/v1/events", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == 'Bearer realm="api"'


@pytest.mark.parametrize("token", ["unknown", "", "é", "x" * 50_000, "a b c", "\x01"])
def test_an_unknown_token_is_invalid(faced, token):
    """RFC 6750, 3.1: invalid_token, whatever was sent as one."""
    answer = faced.http.get("/v1/events", headers=[(b"Authorization", b"Bearer " + token.encode("latin-1"))])
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    assert answer.headers["www-authenticate"] == INVALID.format("is unknown")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_case_insensitive(faced, scheme):
    """RFC 9110, 11.1; the token itself is not."""
    token = faced.connect()["access_token"]
    assert faced.http.get("/v1/events", headers={"Authorization": f"{scheme}  {token} "}).status_code == 200
    swapped = faced.http.get("/v1/events", headers={"Authorization": f"{scheme} {token.swapcase()}"})
    assert swapped.status_code == 401


def test_a_token_in_the_query_or_body_is_no_token(faced):
    """RFC 6750, 2.2 and 2.3 are not offered: tokens do not belong into addresses."""
    token = faced.connect()["access_token"]
    assert faced.http.get("/v1/events", params={"access_token": token}).status_code == 401
    assert faced.http.post("/v1/events", data={"access_token": token}).status_code == 401


def test_a_scope_that_was_not_granted_is_named(faced):
    """RFC 6750, 3.1: 403 insufficient_scope with the scopes that are needed; the call counts."""
    token = faced.connect(scope="events.read")["access_token"]
    answer = faced.call(token, method="POST", json={"title": "x"})
    assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")
    assert answer.headers["www-authenticate"] == (
        'Bearer realm="api", error="insufficient_scope", scope="events.write"'
    )
    row = faced.rows()[-1]
    assert (row["error"], row["scopes_needed"], row["charges"]) == (
        "insufficient_scope",
        "events.write",
        [("hourly", 1)],
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/nothing"), ("DELETE", "/events"), ("GET", "/events/"), ("GET", "/events/1/x")],
)
def test_an_unknown_route_is_not_found_counted_and_an_event(faced, method, path):
    """The provider's 404 costs a call like any other, and the ledger says where the app went."""
    token = faced.connect()["access_token"]
    answer = faced.call(token, path, method)
    assert (answer.status_code, answer.json()) == (
        404,
        {"error": "not_found", "message": "There is no such endpoint."},
    )
    tables = faced.tables()
    row = tables.calls.to_pylist()[-1]
    assert (row["route"], row["error"], row["path"]) == (None, "not_found", f"/v1{path}")
    assert (row["cost"], row["charges"]) == (1, [("hourly", 1)])
    event = tables.events.to_pylist()[-1]
    assert (event["what"], event["who"], event["details"]) == (
        "unknown-route",
        "p00001",
        f'{{"path":"/v1{path}"}}',
    )


def test_a_list_is_read_page_by_page(faced):
    """120 items are pages of 50, 50 and 20; the last has no next, and beyond it there is nothing."""
    token = faced.connect()["access_token"]
    pages = [faced.call(token, f"/events?page={n}").json() for n in (1, 2, 3, 4)]
    assert faced.call(token).json() == pages[0]
    assert [len(page["events"]) for page in pages] == [50, 50, 20, 0]
    assert [page["next_page"] for page in pages] == ["2", "3", None, None]
    assert pages[0]["events"][0] == {"id": "1", "title": "Stand-up", "duration_minutes": 15}
    assert [item["id"] for page in pages for item in page["events"]] == [str(n + 1) for n in range(120)]


@pytest.mark.parametrize("page", ["0", "-1", "x", "", "1.5", "٣", "1" * 50, "01", " 1"])
def test_a_page_that_is_no_number_is_refused(faced, page):
    """400, never a crash."""
    answer = faced.http.get(
        "/v1/events",
        params={"page": page},
        headers={"Authorization": f"Bearer {faced.connect()['access_token']}"},
    )
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_what_is_created_can_be_read_and_listed(faced):
    """201 with Location and the item; the person's list has grown, and nobody else's."""
    token = faced.connect()["access_token"]
    made = faced.call(token, method="POST", json={"title": "Déjà vu", "id": "7", "nested": [1, {"a": None}]})
    item = {"id": "121", "title": "Déjà vu", "duration_minutes": 15, "nested": [1, {"a": None}]}
    assert (made.status_code, made.headers["location"], made.json()) == (201, "/v1/events/121", item)
    assert faced.call(token, "/events/121").json() == item
    assert len(faced.call(token, "/events?page=3").json()["events"]) == 21
    other = faced.connect("p00002")["access_token"]
    assert faced.call(other, "/events/121").status_code == 404
    assert len(faced.call(other, "/events?page=3").json()["events"]) == 20


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"[]",
        b"null",
        b'"x"',
        b"\xff",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": ' + b"1" * 5000 + b"}",
        b"[" * 100_000,
    ],
    ids=lambda body: body[:12],
)
def test_a_body_that_is_no_json_object_is_refused(faced, body):
    """400 for whatever cannot be kept as a JSON object, however deep or strange; nothing is created."""
    token = faced.connect()["access_token"]
    answer = faced.call(token, method="POST", content=body)
    assert answer.status_code == 400
    assert faced.call(token, "/events/121").status_code == 404


def test_no_depth_of_json_is_a_fault(world):
    """Whatever the parser takes the writer takes, or it is refused: no depth in between is a 500."""
    token = world.connect()["access_token"]
    seen = {
        world.call(token, method="POST", content=content).status_code
        for depth in range(800, 1010, 5)
        for content in (b'{"a":' + b"[" * depth + b"]" * depth + b"}", b'{"a":' * depth + b"1" + b"}" * depth)
    }
    assert seen <= {201, 400, 413, 429}  # where the parser's depth ends depends on the interpreter
    assert world.sandbox.faults == []


def test_items_have_limits(world, monkeypatch):
    """An item of more than 4000 bytes is too large, and so are more items than a person may have."""
    monkeypatch.setattr(items, "MAX_ITEMS", 20)
    token = world.connect()["access_token"]
    assert world.call(token, method="POST", json={"a": "x" * 3900}).status_code == 201
    answer = world.call(token, method="POST", json={"a": "x" * 4000})
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")
    for _ in range(19):
        world.call(token, method="POST", content=b"{}")
    assert world.call(token, method="POST", content=b"{}").status_code == 413


@pytest.mark.parametrize(
    "item", ["0", "121", "01", "0000000019", "1e1", "x", "٣", "-1", "9" * 400, "1%00", "%31%2f", "%C2%B2"]
)
def test_an_item_that_is_not_there_is_not_found(faced, item):
    """404 for every id that the sandbox has not given out, whatever it looks like."""
    assert faced.call(faced.connect()["access_token"], f"/events/{item}").status_code == 404


def test_an_encoded_id_is_the_same_id(faced):
    """RFC 3986, 2.3: unreserved characters may be percent-encoded."""
    assert faced.call(faced.connect()["access_token"], "/events/%31%32").json()["id"] == "12"


def routes(*found: dict) -> list[dict]:
    """Routes with names."""
    return [{"name": f"r{i}", **route} for i, route in enumerate(found)]


def test_a_fixed_answer_is_the_profiles_own(open_world, face):
    """Any JSON, dates as text (RFC 3339)."""
    body = {"when": datetime.date(2026, 1, 5), "list": [1, None, "é"]}
    world = open_world(face=face, routes=routes({"path": "/about", "answer": "fixed", "body": body}))
    answer = world.call(world.connect()["access_token"], "/about")
    assert answer.json() == {"when": "2026-01-05", "list": [1, None, "é"]}


def test_what_stands_in_a_path_never_becomes_a_header(open_world, face):
    """A created item's Location is quoted, so that a line break in a path breaks no header."""
    created = {"path": "/c/{name}/events", "method": "POST", "answer": "create", "collection": "events"}
    world = open_world(face=face, routes=routes(created))
    answer = world.call(
        world.connect()["access_token"], "/c/a%0d%0aSet-Cookie:%20x=1%C3%A9/events", "POST", json={}
    )
    assert answer.status_code == 201
    assert answer.headers["location"] == "/v1/c/a%0D%0ASet-Cookie%3A%20x%3D1%C3%A9/events/121"
    assert "set-cookie" not in answer.headers


def test_a_refusal_says_when_to_come_back_in_whole_seconds_rounded_up(open_world, face):
    """429 with the profile's body; obeying Retry-After to the second is always enough."""
    world = open_world("limits.hourly.limit=1", "limits.hourly.period=10s", face=face)
    token = world.connect()["access_token"]
    assert world.call(token).status_code == 200
    for late_ns, seconds in ((0, "10"), (1, "10"), (SECOND_NS - 1, "9"), (9 * SECOND_NS - 1, "1")):
        world.clock.jump(late_ns)
        answer = world.call(token)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, seconds)
        assert answer.json() == {
            "error": "rate_limited",
            "message": "Your app has used up its calls for now.",
        }
    world.clock.jump(SECOND_NS)
    assert world.call(token).status_code == 200
    refused = [row for row in world.rows() if row["status"] == 429]
    assert [row["retry_after_ns"] for row in refused] == [s * SECOND_NS for s in (10, 10, 9, 1)]


def test_a_provider_may_refuse_in_its_own_way(open_world):
    """Status and body are the profile's, and Retry-After may be missing."""
    world = open_world(
        "limits.hourly.limit=1",
        "refusal.status=403",
        "refusal.retry_after=none",
        'refusal.body={error={code=403, reason="quotaExceeded"}}',
    )
    token = world.connect()["access_token"]
    world.call(token)
    answer = world.call(token)
    assert (answer.status_code, answer.json()) == (403, {"error": {"code": 403, "reason": "quotaExceeded"}})
    assert "retry-after" not in answer.headers
    row = world.rows()[-1]
    assert (row["error"], row["limit"], row["retry_after_ns"]) == ("rate_limited", "hourly", None)


def test_refused_by_one_limit_charged_to_none(open_world, face):
    """A person beyond their own limit takes nothing of the app's, and the longest wait is promised."""
    limits = {
        "app": {"kind": "rolling_window", "limit": 3, "period": "1h", "key": ["app"], "source": OURS},
        "person": {"kind": "rolling_window", "limit": 1, "period": "2h", "key": ["person"], "source": OURS},
    }
    world = open_world(face=face, limits=limits)
    ann, bob = (world.connect(person)["access_token"] for person in ("p00001", "p00002"))
    assert [world.call(token).status_code for token in (ann, ann, ann, ann, bob)] == [200, 429, 429, 429, 200]
    rows = [row for row in world.rows() if row["kind"] == "api"]
    assert [row["limit"] for row in rows] == [None, "person", "person", "person", None]
    assert [row["charges"] for row in rows] == [
        [("app", 1), ("person", 1)],
        [],
        [],
        [],
        [("app", 1), ("person", 1)],
    ]
    assert [row["remaining"] for row in rows[-2:]] == [
        [("app", 2), ("person", 0)],
        [("app", 1), ("person", 0)],
    ]
    assert rows[1]["retry_after_ns"] == 7200 * SECOND_NS


def test_keys_are_what_the_profile_counts_by(open_world):
    """Person, address, route and the token's mark, as the ledger shows them."""
    limits = {
        part: {"kind": "rolling_window", "limit": 9, "period": "1h", "key": [part], "source": OURS}
        for part in ("app", "person", "ip", "route", "token")
    }
    world = open_world(limits=limits)
    token = world.connect()["access_token"]
    world.call(token)
    world.call(token, "/nothing")
    first, second = world.rows()[-2:]
    mark = first["token"]
    assert dict(first["keys"]) == {
        "app": "app-1",
        "person": "p00001",
        "ip": "127.0.0.1",
        "route": "list_events",
        "token": mark,
    }
    assert dict(second["keys"])["route"] == "unknown"


def test_a_call_without_a_valid_token_is_not_asked_of_the_limits(open_world):
    """401 comes before any limit, and costs nobody anything."""
    world = open_world("limits.hourly.limit=1")
    token = world.connect()["access_token"]
    for _ in range(5):
        assert world.call("unknown").status_code == 401
    assert world.call(token).status_code == 200
    row = next(row for row in world.rows() if row["status"] == 401)
    assert (row["cost"], row["keys"], row["charges"], row["remaining"]) == (0, [], [], [])


def test_the_answer_to_head_has_no_body(open_world):
    """RFC 9110, 9.3.2: over a socket a body would be read as the next answer."""
    world = open_world(face="wsgi")
    answer = world.http.head("/.well-known/oauth-authorization-server")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(
        len(
            json.dumps(
                world.http.get("/.well-known/oauth-authorization-server").json(), separators=(",", ":")
            )
        )
    )
