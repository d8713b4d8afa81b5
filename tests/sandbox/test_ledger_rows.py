"""What the ledger is told: every column of a small scenario, and the time that calls take."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl

import httpx
import pytest

from quotalab.sandbox.transport import MemoryTransport, current_operation

CALLBACK = "https://app.test/oauth/callback"
MINUTE_NS = 60 * 10**9
NO_FACTS = dict.fromkeys(
    (
        *("grant_type", "response_type", "pkce_method", "state", "code", "refresh_token", "issued_token"),
        *("issued_refresh_token", "redirect_uri", "scopes_asked", "scopes_granted"),
        *("code_challenge", "state_length", "client_auth"),
    )
)


def test_every_column_of_a_small_scenario(open_world):
    """Sign in, consent, redeem, two calls of which the second is refused, refresh: row by row, all columns."""
    world = open_world("limits.hourly.limit=1")
    code = world.authorize()["code"]
    world.clock.jump(MINUTE_NS // 2)
    tokens = world.redeem(code).json()
    current = current_operation.set("operation-1")
    listed = world.call(tokens["access_token"], headers={"X-Api-Key": "k", "Idempotency-Key": "once"})
    current_operation.reset(current)
    world.clock.jump(MINUTE_NS)
    world.call(tokens["access_token"], "/events?page=2")
    refreshed = world.refresh(tokens["refresh_token"]).json()
    mark = world.sandbox._recorder.mark
    rows = world.rows()

    api, browser = {"actor": "app", "tenant": None, "ip": "127.0.0.1", "fault": None}, {"actor": "browser"}
    plain = {
        **api,
        "client_id": "app-1",
        "person": "p00001",
        "token": None,
        "route": None,
        "error": None,
        "cost": 0,
        "limit": None,
        "retry_after_ns": None,
        "keys": [],
        "charges": [],
        "remaining": [],
        "operation": None,
        "request_id": None,
        "idempotency_key": None,
        "scopes_needed": None,
        "oauth": None,
        "token_state": None,
        "token_at": None,
        "object": None,
        "objects": 0,
        "objects_asked": 0,
    }
    asked = {
        **NO_FACTS,
        "response_type": "code",
        "pkce_method": "S256",
        "state": mark(world.state),
        "state_length": len(world.state),
        "code_challenge": mark(dict(parse_qsl(world.query()))["code_challenge"]),
        "redirect_uri": CALLBACK,
        "scopes_asked": "events.read events.write",
    }
    authorize = {**plain, **browser, "kind": "authorize", "path": "/oauth/authorize", "oauth": asked}
    token = {**plain, "kind": "token", "path": "/oauth/token", "method": "POST", "status": 200}
    scopes = "events.read events.write"
    listing = {
        **plain,
        "kind": "api",
        "method": "GET",
        "path": "/v1/events",
        "route": "list_events",
        "objects": 50,
        "objects_asked": 50,
        "token": mark(tokens["access_token"]),
        "token_state": "valid",
        "token_at": "header",
        "cost": 1,
        "tenant": "tenant-1",
        "keys": [("hourly", "app-1")],
        "remaining": [("hourly", 0)],
        "scopes_needed": "events.read",
    }
    wanted = [
        {**authorize, "method": "GET", "status": 200, "person": None},
        {**authorize, "method": "POST", "status": 303, "path": "/oauth/login"},
        {**authorize, "method": "GET", "status": 200},
        {
            **authorize,
            "method": "POST",
            "status": 303,
            "oauth": {**asked, "code": mark(code), "scopes_granted": scopes},
        },
        {
            **token,
            "oauth": {
                **NO_FACTS,
                "grant_type": "authorization_code",
                "client_auth": "basic",
                "code": mark(code),
                "redirect_uri": CALLBACK,
                "issued_token": mark(tokens["access_token"]),
                "issued_refresh_token": mark(tokens["refresh_token"]),
                "scopes_granted": scopes,
            },
        },
        {
            **listing,
            "status": 200,
            "charges": [("hourly", 1)],
            "operation": "operation-1",
            "idempotency_key": mark("once"),
        },
        {
            **listing,
            "status": 429,
            "error": "rate_limited",
            "limit": "hourly",
            "retry_after_ns": 59 * MINUTE_NS,
        },
        {
            **token,
            "oauth": {
                **NO_FACTS,
                "grant_type": "refresh_token",
                "client_auth": "basic",
                "refresh_token": mark(tokens["refresh_token"]),
                "issued_token": mark(refreshed["access_token"]),
                "issued_refresh_token": mark(refreshed["refresh_token"]),
                "scopes_granted": scopes,
            },
        },
    ]
    times = [0, 0, 0, 0, MINUTE_NS // 2, MINUTE_NS // 2, 3 * MINUTE_NS // 2, 3 * MINUTE_NS // 2]
    seqs = [0, 1, 2, 4, 5, 6, 7, 8]  # consent-given is 3
    for row, want, at, seq in zip(rows, wanted, times, seqs, strict=True):
        rest = {name: row.pop(name) for name in ("target", "bytes", "request_headers", "response_headers")}
        assert row == {**want, "seq": seq, "sent": at, "at": at, "answered": at, "done": at}
        assert len(rest["target"]) == 18
        assert json.loads(rest["response_headers"])["content-type"]
        row.update(rest)
    assert rows[5]["target"] != rows[6]["target"]  # another page is another target
    assert rows[5]["bytes"] == len(listed.content)
    headers = json.loads(rows[5]["request_headers"])
    assert headers["x-api-key"] == headers["authorization"] == headers["idempotency-key"] == "[redacted]"
    assert headers["host"] == "provider.test"
    assert headers["user-agent"] == f"python-httpx/{httpx.__version__}"
    assert json.loads(rows[6]["response_headers"]) == {
        "content-type": "application/json",
        "retry-after": "3540",
    }


def test_two_calls_that_ask_the_same_share_a_target(world):
    """Method, path, query and body make the target; token, headers and time do not."""
    first, second = (world.connect(person)["access_token"] for person in ("p00001", "p00002"))
    for token, path, method, body in (
        (first, "/events?page=1", "GET", b""),
        (second, "/events?page=1", "GET", b""),
        (first, "/events?page=2", "GET", b""),
        (first, "/events?page=1", "POST", b""),
        (first, "/events?page=1", "POST", b"{}"),
    ):
        world.clock.jump(1)
        world.call(token, path, method, content=body, headers={"X": path})
    targets = [row["target"] for row in world.rows() if row["kind"] == "api"]
    assert targets[0] == targets[1]
    assert len(set(targets)) == 4


def test_the_events_of_a_scenario(world):
    """Consent and refusal are events, in the order in which they happen, with who and what."""
    world.authorize("p00002", decision="deny")
    code = world.authorize()["code"]
    world.redeem(code)
    world.redeem(code)
    assert [(row["what"], row["who"], row["details"]) for row in world.rows("events")] == [
        ("consent-denied", "p00002", '{"client":"app-1"}'),
        ("consent-given", "p00001", '{"client":"app-1","scopes":"events.read events.write"}'),
        ("token-revoked", "p00001", '{"client":"app-1","why":"code used twice"}'),
        ("token-refused", None, '{"client":"app-1","error":"invalid_grant"}'),
    ]


TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("traceparent", "operation"),
    [
        (f"00-{TRACE}-b7ad6b7169203331-01", TRACE),
        (f"00-{TRACE.upper()}-b7ad6b7169203331-01", None),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", None),
        (f"00-{TRACE}", None),
        ("", None),
        ("é" * 60, None),
    ],
)
def test_an_operation_comes_from_the_trace(faced, traceparent, operation):
    """W3C Trace Context, 3.2: a valid trace id is the operation, and its calls are counted once."""
    token = faced.connect()["access_token"]
    headers = [
        (b"traceparent", traceparent.encode("latin-1")),
        (b"authorization", f"Bearer {token}".encode()),
    ]
    for _ in range(2):
        faced.http.get("/v1/events", headers=headers)
    assert faced.sandbox.calls_of(TRACE) == (2 if operation else 0)
    assert faced.sandbox.calls_of(TRACE) == 0
    assert [row["operation"] for row in faced.rows()[-2:]] == [operation] * 2


LATENCY = ("latency.median=40ms", "latency.sigma=0.5")


def test_a_calls_way_takes_time_there_and_back(open_world):
    """`sent`, `at` and `done` are the sender's clock before, the sandbox's in between, the sender's after."""
    world = open_world(*LATENCY)
    token = world.connect()["access_token"]
    began_ns = world.clock.now_ns()
    world.call(token)
    ended_ns = world.clock.now_ns()
    row = world.rows()[-1]
    start_ns = 1_767_571_200_000_000_000
    assert (row["sent"], row["done"]) == (began_ns - start_ns, ended_ns - start_ns)
    assert row["sent"] < row["at"] < row["done"]
    assert row["at"] - row["sent"] != row["done"] - row["at"]


def legs(world, *people: str) -> list[tuple[int, int]]:
    """How long the two legs of a call by the first person took, when all of them call at one instant."""
    tokens = [world.connect(person)["access_token"] for person in people]
    world.clock.jump(1_767_571_200_000_000_000 + 3600 * 10**9 - world.clock.now_ns() - 10**9)
    sandbox = world.sandbox
    taken = []
    for token in tokens[::-1]:
        clock = FrozenClock(world.clock.now_ns())
        sandbox._clock = clock
        client = httpx.Client(transport=MemoryTransport(sandbox, clock), base_url=sandbox.issuer)
        client.get("/v1/events", headers={"Authorization": f"Bearer {token}"})
        client.close()
        taken = clock.slept
    return taken


class FrozenClock:
    """Stands still, and notes what it is asked to sleep."""

    def __init__(self, now_ns: int) -> None:
        self.now = now_ns
        self.slept: list[int] = []

    def now_ns(self) -> int:
        return self.now

    def sleep_ns(self, duration_ns: int) -> None:
        self.slept.append(duration_ns)


def test_a_persons_latency_does_not_depend_on_other_people(open_world):
    """With and without others who call at the same instant, mine takes the same; theirs takes another."""
    alone = legs(open_world(*LATENCY), "p00001")
    together = legs(open_world(*LATENCY), "p00001", "p00002", "p00003")
    other = legs(open_world(*LATENCY), "p00002")
    assert len(alone) == 2
    assert alone == together
    assert alone != other


def test_the_seed_and_the_instant_draw_the_latency(open_world):
    """The same seed gives the same legs, another seed others."""
    first, again, other = (legs(open_world(*LATENCY, seed=seed), "p00001") for seed in (1, 1, 2))
    assert first == again != other


def test_latency_is_lognormal_about_its_median(open_world):
    """Of 2000 legs half are under the median of 40 ms, and 68 % within a factor of exp(0.5)."""
    world = open_world(*LATENCY)
    drawn = [leg for i in range(1000) for leg in world.sandbox._network.legs_ns("p00001", "/v1/events", i)]
    assert sum(leg < 40_000_000 for leg in drawn) == pytest.approx(1000, abs=70)
    within = sum(40_000_000 / 1.6487 < leg < 40_000_000 * 1.6487 for leg in drawn)
    assert within == pytest.approx(0.6827 * 2000, abs=70)


def test_another_host_cannot_be_reached_in_memory(world):
    """A request for anybody else fails like a refused connection, and no call is recorded."""
    for address in ("https://example.org/", "http://provider.test/", "https://provider.test:8443/"):
        with pytest.raises(httpx.ConnectError, match=r"in memory only https://provider\.test can be reached"):
            world.http.get(address)
    assert world.rows() == []


def test_where_a_call_carried_its_token(open_world):
    """In a header or not at all; in the query, under whatever name, also where nobody looks for it there."""
    world = open_world()
    tokens = world.connect()
    access, refresh = tokens["access_token"], tokens["refresh_token"]
    world.call(access)
    world.call(None)
    world.call(None, f"/events?access_token={access}")
    world.call(access, f"/events?x=1&t={access}")
    world.call(access, f"/events?r={refresh}")
    world.call(access, "/events?cursor=no-token-but-long-enough-to-be-one")
    rows = [row["token_at"] for row in world.rows() if row["kind"] == "api"]
    assert rows == ["header", None, "query", "query", "query", "header"]


def test_how_the_client_sent_its_secret(open_world):
    """Every way counts, also those that are refused; never the secret itself."""
    world = open_world()
    client, secret = world.access.client_id, world.access.client_secret
    form = {"grant_type": "refresh_token", "refresh_token": "x"}
    post, query = {**form, "client_id": client, "client_secret": secret}, {"client_secret": secret}
    world.http.post("/oauth/token", data=form, auth=(client, secret))
    world.http.post("/oauth/token", data=post)
    world.http.post("/oauth/token", data=post, auth=(client, secret))
    world.http.post("/oauth/token", data=form, params={"client_id": client, **query})
    world.http.post("/oauth/token", data={**form, "client_id": client})
    world.http.post("/oauth/revoke", data={"token": "x"}, auth=(client, secret))
    world.http.get("/oauth/authorize", params=query)
    rows = world.rows()
    assert [row["oauth"]["client_auth"] for row in rows] == [
        *("basic", "post", "basic post", "query", "none", "basic", "query"),
    ]
    assert secret not in str(rows)


def test_a_challenge_without_a_method_is_seen(open_world):
    """By its mark, and equal ones by equal marks; the length of the state beside its mark."""
    world = open_world("oauth.pkce_methods=['S256', 'plain']")
    world.authorize(code_challenge="v" * 43, code_challenge_method=None, state="short")
    row = world.last()["oauth"]
    assert (row["pkce_method"], row["state_length"]) == (None, 5)
    assert row["code_challenge"] == world.sandbox._recorder.mark("v" * 43)
