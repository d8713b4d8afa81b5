"""Limits of every kind through the sandbox: whom they ask, what they are told, and what the ledger says."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from quotalab.sandbox.transport import MemoryTransport

SECOND_NS = 10**9
HOUR_NS = 3600 * SECOND_NS
CALLBACK = "https://app.test/oauth/callback"
OURS = {"where": "a test", "confidence": "own"}


def limit(kind: str, **fields) -> dict:
    """A limit of the app, ours."""
    return {"kind": kind, "source": OURS, **fields}


ROOMY = limit("fixed_window", limit=100_000, period="1d")


def events(world, *what: str) -> list[tuple]:
    """(at since the start, who, details) of events of these kinds."""
    rows = world.rows("events")
    return [(row["at"], row["who"], json.loads(row["details"])) for row in rows if row["what"] in what]


# ---- numbers that nobody discloses, and numbers that change


def test_an_undisclosed_number_is_drawn_from_the_seed_and_written_down(open_world):
    """Between floor and ceiling, the same for a seed, another's by another; exactly so many are let in."""
    drawn = []
    for seed in (1, 1, 2, 3):
        limits = {"secret": limit("opaque", floor=5, ceiling=60, period="1h")}
        world = open_world(seed=seed, limits=limits)
        token = world.connect()["access_token"]
        admitted = sum(world.call(token).status_code == 200 for _ in range(70))
        [(at, who, details)] = events(world, "limit-drawn")
        assert (at, who, details) == (0, None, {"limit": "secret", "number": admitted})
        drawn.append(admitted)
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1
    assert all(5 <= number <= 60 for number in drawn)


def test_another_limit_does_not_change_what_is_drawn(open_world):
    """Each limit draws from a stream of its own."""
    one = limit("opaque", floor=1, ceiling=10**9, period="1h")
    alone, among = open_world(limits={"b": one}), open_world(limits={"a": one, "b": one})
    numbers = [
        {details["limit"]: details["number"] for _, _, details in events(world, "limit-drawn")}
        for world in (alone, among)
    ]
    assert numbers[0]["b"] == numbers[1]["b"] != numbers[1]["a"]


TIMETABLE = [
    {"after": "1h", "why": "a notice", "limits": {"app": 2}},
    {"after": "2h", "why": "over", "limits": {"app": 50}},
    {"after": "30h", "why": "later", "limits": {"app": 60}},
]


def test_a_change_of_a_number_is_an_event_at_its_very_instant(open_world):
    """Whenever the sandbox notices: at a call long after, or at the end of the run."""
    world = open_world("oauth.access_token_lifetime=9d", limits={"app": ROOMY}, timetable=TIMETABLE)
    token = world.connect()["access_token"]
    world.clock.jump(HOUR_NS - 1)
    assert [world.call(token).status_code for _ in range(3)] == [200, 200, 200]
    world.clock.jump(1)
    assert world.call(token).status_code == 429
    world.clock.jump(40 * HOUR_NS)
    world.sandbox.close(world.clock.now_ns())
    changed = events(world, "limit-changed")
    assert [(at, details) for at, _, details in changed] == [
        (HOUR_NS, {"limit": "app", "before": 100_000, "now": 2, "why": "a notice"}),
        (2 * HOUR_NS, {"limit": "app", "before": 2, "now": 50, "why": "over"}),
        (30 * HOUR_NS, {"limit": "app", "before": 50, "now": 60, "why": "later"}),
    ]


def test_what_lies_beyond_the_end_is_no_event(open_world):
    """`close` tells what the timetable held up to the end, that instant included."""
    world = open_world(limits={"app": ROOMY}, timetable=TIMETABLE)
    world.clock.jump(2 * HOUR_NS)
    world.sandbox.close(world.clock.now_ns())
    assert [details["now"] for _, _, details in events(world, "limit-changed")] == [2, 50]


# ---- callers without a token


ANONYMOUS = {
    "anonymous": limit(
        "fixed_window", limit=2, period="1h", key=["ip"], match={"callers": "anonymous"}, hidden=True
    ),
    "app": limit("fixed_window", limit=3, period="1h"),
}


@pytest.mark.parametrize("token", [None, "unknown"])
def test_calls_without_a_valid_token_have_limits_of_their_own(open_world, face, token):
    """GitHub's 60 an hour for each address: 401 while they fit, then the refusal; others are not asked."""
    world = open_world(face=face, limits=ANONYMOUS)
    good = world.connect()["access_token"]
    assert [world.call(token).status_code for _ in range(3)] == [401, 401, 429]
    assert world.call(good).status_code == 200
    rows = [row for row in world.rows() if row["kind"] == "api"]
    assert [row["keys"] for row in rows] == [[("anonymous", "127.0.0.1")]] * 3 + [[("app", "app-1")]]
    assert [row["limit"] for row in rows] == [None, None, "anonymous", None]
    assert [row["route"] for row in rows] == ["list_events"] * 4


def test_many_wrong_answers_block_an_address(open_world):
    """Discord's way: beyond three 401, 403 or 404 in ten minutes the address is blocked, whoever calls."""
    penalty = limit(
        "penalty", threshold=3, window="10m", block="1h", key=["ip"], statuses=[401, 403, 404, 429]
    )
    world = open_world(
        limits={"app": ROOMY, "ban": penalty},
        refusals=[{"limits": ["ban"], "status": 403, "body": {"banned": "{refusing.wait_s}"}}],
    )
    token = world.connect()["access_token"]
    seen = [
        world.call(*call).status_code for call in ((None,), ("x",), (token, "/x"), (token,), (token, "/x"))
    ]
    assert seen == [401, 401, 404, 200, 404]
    for secret in (token, None, "unknown"):
        answer = world.call(secret)
        assert (answer.status_code, answer.json()) == (403, {"banned": 3600})
        assert answer.headers["retry-after"] == "3600"
    world.clock.jump(HOUR_NS - 1)
    assert world.call(None).status_code == 403
    world.clock.jump(1)
    assert world.call(None).status_code == 401
    assert [row["remaining"] for row in world.rows() if row["kind"] == "api"][:2] == [
        [("ban", 3)],
        [("ban", 2)],
    ]


# ---- time at the provider


WORK = ("latency.work=2s",)


def test_an_admitted_call_is_under_way_for_as_long_as_it_takes(open_world):
    """`answered` is two seconds after `at` for whom was let in, at once for whom was not; then the way back."""
    world = open_world(*WORK, limits={"app": limit("fixed_window", limit=1, period="1h")})
    token = world.connect()["access_token"]
    for secret in (token, token, "unknown"):
        world.call(secret)
    rows = [row for row in world.rows() if row["kind"] == "api"]
    assert [(row["at"], row["answered"], row["done"]) for row in rows] == [
        (0, 2 * SECOND_NS, 2 * SECOND_NS),
        (2 * SECOND_NS, 2 * SECOND_NS, 2 * SECOND_NS),
        (2 * SECOND_NS, 2 * SECOND_NS, 2 * SECOND_NS),
    ]
    assert [row["limit"] for row in rows] == [None, "app", None]


def test_the_way_and_the_work_add_up(open_world):
    """There, the work, and back: in the order of the columns, and the clock has moved that far."""
    world = open_world("latency.median=40ms", *WORK, limits={"app": ROOMY})
    token = world.connect()["access_token"]
    before_ns = world.clock.now_ns()
    world.call(token)
    row = world.last()
    assert row["sent"] < row["at"] < row["answered"] < row["done"]
    assert row["answered"] - row["at"] == 2 * SECOND_NS
    assert row["done"] - row["sent"] == world.clock.now_ns() - before_ns


def test_a_route_may_have_work_of_its_own(open_world):
    """`work` of a route goes before the profile's; with `work_sigma` it is drawn about that median."""
    route = {"name": "slow", "path": "/slow", "answer": "fixed", "work": "7s"}
    world = open_world(
        *WORK, limits={"app": ROOMY}, routes=[route, {**route, "name": "x", "path": "/x", "work": 0}]
    )
    token = world.connect()["access_token"]
    for path in ("/slow", "/x", "/unknown"):
        world.call(token, path)
    taken = [row["answered"] - row["at"] for row in world.rows() if row["kind"] == "api"]
    assert taken == [7 * SECOND_NS, 0, 2 * SECOND_NS]


def test_work_is_lognormal_and_each_calls_own(open_world):
    """Of 2000 draws half are below the median; another person at the same instant draws another."""
    network = open_world(*WORK, "latency.work_sigma=0.5").sandbox._network
    drawn = [network.work_ns("p00001", "/x", i, None) for i in range(2000)]
    assert sum(work < 2 * SECOND_NS for work in drawn) == pytest.approx(1000, abs=70)
    within = sum(2 * SECOND_NS / 1.6487 < work < 2 * SECOND_NS * 1.6487 for work in drawn)
    assert within == pytest.approx(0.6827 * 2000, abs=70)
    assert network.work_ns("p00001", "/x", 5, None) == drawn[5] != network.work_ns("p00002", "/x", 5, None)
    assert network.work_ns("p00001", "/x", 5, 4 * SECOND_NS) == pytest.approx(2 * drawn[5], abs=2)


class FrozenClock:
    """Stands still: whoever waits by it is still under way."""

    def __init__(self, now_ns: int) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        return self._now_ns

    def sleep_ns(self, duration_ns: int) -> None:
        """Nothing passes."""


def test_no_more_calls_are_under_way_than_may_be(open_world):
    """Two at once: a third is refused until the first has been answered, and is told when that is."""
    world = open_world(*WORK, limits={"at_once": limit("concurrency", limit=2)})
    token = world.connect()["access_token"]
    sandbox = world.sandbox
    clock, sandbox._clock = sandbox._clock, FrozenClock(world.clock.now_ns())
    with httpx.Client(transport=MemoryTransport(sandbox, clock), base_url=sandbox.issuer) as client:
        good = {"Authorization": f"Bearer {token}"}
        answers = [client.get("/v1/events", headers=good) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].headers["retry-after"] == "2"
    sandbox._clock = clock
    world.clock.jump(2 * SECOND_NS)
    assert world.call(token).status_code == 200
    rows = [row for row in world.rows() if row["kind"] == "api"]
    assert [row["remaining"] for row in rows] == [[("at_once", left)] for left in (1, 0, 0, 1)]


def test_what_was_asked_for_too_much_comes_back_with_the_answer(open_world):
    """Shopify's way: the requested cost has to fit; the difference is there again once it is answered."""
    cost = {"base": 0, "per_object": 1, "when": "refund"}
    world = open_world(*WORK, limits={"points": limit("rolling_window", limit=100, period="1h", cost=cost)})
    token = world.connect()["access_token"]
    for page in (3, 3, 9):
        world.call(token, f"/events?page={page}")
    rows = [row for row in world.rows() if row["kind"] == "api"]
    assert [(row["objects"], row["objects_asked"], row["cost"]) for row in rows] == [
        (20, 50, 50),
        (20, 50, 50),
        (0, 50, 50),
    ]
    assert [row["charges"] for row in rows] == [[("points", 20)], [("points", 20)], [("points", 0)]]
    assert [row["remaining"] for row in rows] == [[("points", left)] for left in (50, 30, 10)]


# ---- the token endpoint


TOKEN_LIMITS = {
    "app": ROOMY,
    "logins": limit("fixed_window", limit=2, period="1d", match={"kinds": ["token"]}),
}


def test_the_token_endpoint_has_limits_too(open_world, face):
    """eBay's way: refused in the provider's own words; the API's calls are not counted with them."""
    world = open_world(
        face=face,
        limits=TOKEN_LIMITS,
        refusal={"status": 429, "body": {"limit": "{refusing.name}", "wait": "{refusing.wait_s}"}},
        dialect={"headers": [{"name": "X-Left", "value": "{logins.remaining}"}]},
    )
    first = world.redeem(world.authorize()["code"])
    tokens = first.json()
    assert first.headers["x-left"] == "1"
    assert world.refresh(tokens["refresh_token"]).status_code == 200
    answer = world.redeem(world.authorize("p00002")["code"])
    assert (answer.status_code, answer.json()) == (429, {"limit": "logins", "wait": 86_400})
    assert (answer.headers["retry-after"], answer.headers["x-left"]) == ("86400", "0")
    assert world.call(tokens["access_token"]).status_code == 200
    rows = [row for row in world.rows() if row["kind"] == "token"]
    assert [(row["limit"], row["error"], row["cost"]) for row in rows] == [
        (None, None, 1),
        (None, None, 1),
        ("logins", "rate_limited", 1),
    ]
    assert [row["keys"] for row in rows] == [[("logins", "app-1")]] * 3
    assert rows[2]["retry_after_ns"] == 86_400 * SECOND_NS
    assert rows[2]["oauth"]["issued_token"] is None


@pytest.mark.parametrize("kind", ["revoke", "introspect"])
def test_so_have_revocation_and_introspection(open_world, face, kind):
    """Each by its own kind: the third in an hour is refused, and what it was about lives on."""
    match = {"kinds": [kind]}
    limits = {"app": ROOMY, "asked": limit("rolling_window", limit=2, period="1h", match=match)}
    world = open_world(face=face, limits=limits)
    given = world.connect()
    auth = (world.access.client_id, world.access.client_secret)
    forms = [{"token": "unknown"}, {"token": "unknown"}, {"token": given["access_token"]}]
    statuses = [world.http.post(f"/oauth/{kind}", data=form, auth=auth).status_code for form in forms]
    assert statuses == [200, 200, 429]
    assert world.call(given["access_token"]).status_code == 200
    rows = [row for row in world.rows() if row["kind"] == kind]
    assert [(row["keys"], row["limit"], row["error"]) for row in rows] == [
        ([("asked", "app-1")], None, None),
        ([("asked", "app-1")], None, None),
        ([("asked", "app-1")], "asked", "rate_limited"),
    ]
    assert rows[2]["retry_after_ns"] == 3600 * SECOND_NS


def test_a_refused_token_request_spends_nothing(open_world):
    """Neither code nor refresh token is used up by a refusal."""
    world = open_world(
        limits={**TOKEN_LIMITS, "logins": {**TOKEN_LIMITS["logins"], "limit": 1, "period": "10s"}}
    )
    world.connect()
    code = world.authorize("p00002")["code"]
    assert world.redeem(code).status_code == 429
    world.clock.jump(10 * SECOND_NS)
    assert world.redeem(code).status_code == 200


def test_an_unknown_client_is_asked_only_of_limits_for_strangers(open_world):
    """By its address, where the profile has such a limit; a wrong secret is still that app's call."""
    by_ip = {"kinds": ["token"], "callers": "all"}
    limits = {**TOKEN_LIMITS, "ip": limit("fixed_window", limit=3, period="1d", key=["ip"], match=by_ip)}
    world = open_world(limits=limits)
    assert world.token(auth=("app-9", "x"), grant_type="refresh_token").status_code == 401
    assert world.token(auth=("app-1", "wrong"), grant_type="refresh_token").status_code == 401
    assert world.token(auth=None, client_id="app-1", grant_type="x").status_code in (400, 401)
    assert world.token(auth=("app-9", "x"), grant_type="refresh_token").status_code == 429
    rows = world.rows()
    assert [row["client_id"] for row in rows] == [None, "app-1", "app-1", None]
    assert [[name for name, _ in row["keys"]] for row in rows] == [
        ["ip"],
        ["logins", "ip"],
        ["logins", "ip"],
        ["ip"],
    ]


EVICTING = {
    "app": ROOMY,
    "tokens": limit(
        "cardinality",
        limit=2,
        of="token",
        on_excess="evict_oldest",
        key=["app", "person"],
        match={"kinds": ["token"]},
    ),
}


def test_the_oldest_refresh_token_makes_room(open_world, face):
    """Google's way: a person's third silently ends the first; other people's stay as they are."""
    world = open_world("oauth.refresh_rotation=none", face=face, limits=EVICTING)
    first, other, second = (world.connect(person) for person in ("p00001", "p00002", "p00001"))
    assert world.refresh(first["refresh_token"]).status_code == 200
    third = world.connect()
    refused = world.refresh(first["refresh_token"])
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert world.call(first["access_token"]).status_code == 200
    for tokens in (second, third, other):
        assert world.refresh(tokens["refresh_token"]).status_code == 200
    tables = world.tables()
    evicted = [row for row in tables.events.to_pylist() if row["what"] == "token-evicted"]
    assert [(row["who"], row["details"]) for row in evicted] == [
        ("p00001", '{"client":"app-1","limit":"tokens"}')
    ]
    rows = [row for row in tables.calls.to_pylist() if row["kind"] == "token"]
    assert [row["keys"] for row in rows] == [
        *([("tokens", f"app-1|{person}")] for person in ("p00001", "p00002", "p00001")),
        [],
        [("tokens", "app-1|p00001")],
        *([] for _ in range(4)),
    ]
    assert rows[4]["charges"] == [("tokens", 1)]


# ---- who may connect


def sent_back(answer) -> dict[str, str]:
    """The parameters of a redirect to the app."""
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


def test_consent_takes_a_place_and_the_ledger_says_so(open_world):
    """The form that was posted is what is charged; who looked is charged nothing; who came back neither."""
    world = open_world("limits.people.limit=2", variant="few-users")
    for person in ("p00001", "p00002", "p00001"):
        world.connect(person)
    assert world.authorize("p00003")["error"] == "access_denied"
    posted = world.http.post(
        f"/oauth/authorize?{world.query()}", data={"decision": "allow"}, headers=world.signed_in("p00003")
    )
    assert sent_back(posted)["error"] == "access_denied"
    rows = [row for row in world.rows() if row["path"] == "/oauth/authorize" and row["method"] == "POST"]
    assert [(row["keys"], row["charges"], row["remaining"], row["limit"]) for row in rows] == [
        ([("people", "app-1")], [("people", 1)], [("people", 1)], None),
        ([("people", "app-1")], [("people", 1)], [("people", 0)], None),
        ([("people", "app-1")], [("people", 0)], [("people", 0)], None),
        ([("people", "app-1")], [], [("people", 0)], "people"),
    ]
    looked = [row for row in world.rows() if row["path"] == "/oauth/authorize" and row["method"] == "GET"]
    assert {tuple(row["keys"]) for row in looked} == {()}


def test_any_limit_may_stand_before_consent(open_world):
    """So many connections an hour: access_denied, and an event that names the limit."""
    limits = {
        "app": ROOMY,
        "connections": limit("fixed_window", limit=1, period="1h", match={"kinds": ["authorize"]}),
    }
    world = open_world(limits=limits)
    world.connect("p00001")
    assert world.authorize("p00002")["error_description"] == "The app has reached a limit of the provider's."
    world.clock.jump(HOUR_NS)
    assert "code" in world.authorize("p00002")
    [(_, who, details)] = events(world, "connection-refused")
    assert (who, details) == ("p00002", {"limit": "connections"})


def test_a_formula_has_its_number_by_the_people_of_the_run(open_world):
    """The stage resolves it; a sandbox alone takes the profile as it is given."""
    limits = {"app": limit("fixed_window", limit={"base": 2, "per_person": 1, "over": 10}, period="1h")}
    world = open_world(limits=limits)
    assert world.provider.for_people(12).limits[0].limit == 4
    token = world.connect()["access_token"]
    assert [world.call(token).status_code for _ in range(3)] == [200, 200, 429]


def test_refused_calls_may_be_charged(open_world):
    """Strava's way: what the short window refuses still counts toward the day."""
    limits = {
        "short": limit("fixed_window", limit=1, period="15m", refused_calls="longer"),
        "day": limit("fixed_window", limit=3, period="1d"),
    }
    world = open_world(
        limits=limits, dialect={"headers": [{"name": "Usage", "value": "{short.used},{day.used}"}]}
    )
    token = world.connect()["access_token"]
    answers = [world.call(token) for _ in range(4)]
    assert [answer.headers["usage"] for answer in answers] == ["1,1", "1,2", "1,3", "1,4"]
    assert [row["charges"] for row in world.rows()[-4:]] == [
        [("short", 1), ("day", 1)],
        [("day", 1)],
        [("day", 1)],
        [("day", 1)],
    ]
