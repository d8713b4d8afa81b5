"""The token endpoint: redeeming, refreshing, expiring, and everything that is refused."""

from __future__ import annotations

import base64
import random

import pytest

from .conftest import PEOPLE

SECOND_NS = 10**9
CALLBACK = "https://app.test/oauth/callback"


def refused(answer, error: str, status: int = 400) -> None:
    """Assert an error response of RFC 6749, 5.2."""
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"


def test_a_token_response_is_not_stored_by_anybody(faced):
    """RFC 6749, 5.1: JSON, `no-store`, `no-cache`."""
    answer = faced.redeem(faced.authorize()["code"])
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"


def test_the_client_may_also_send_its_secret_in_the_body(faced):
    """RFC 6749, 2.3.1: `client_secret_post`."""
    answer = faced.redeem(
        faced.authorize()["code"],
        auth=None,
        client_id=faced.access.client_id,
        client_secret=faced.access.client_secret,
    )
    assert answer.status_code == 200


def test_a_code_is_redeemed_once_and_its_second_use_revokes_what_it_gave(faced):
    """RFC 6749, 4.1.2: both the access token and the refresh token of the first use die."""
    code = faced.authorize()["code"]
    tokens = faced.redeem(code).json()
    assert faced.call(tokens["access_token"]).status_code == 200
    refused(faced.redeem(code), "invalid_grant")
    revoked = faced.call(tokens["access_token"])
    assert revoked.status_code == 401
    assert 'error_description="The access token was revoked"' in revoked.headers["www-authenticate"]
    refused(faced.refresh(tokens["refresh_token"]), "invalid_grant")


def test_a_code_expires_to_the_nanosecond(open_world):
    """A code of 60 s is good until a nanosecond before its 60 seconds are over, and not at the instant."""
    for late, status in ((-1, 200), (0, 400), (1, 400)):
        world = open_world()
        code = world.authorize()["code"]
        world.clock.jump(60 * SECOND_NS + late)
        assert world.redeem(code).status_code == status


def test_an_access_token_expires_to_the_nanosecond(world):
    """A token of an hour is good until a nanosecond before the hour is over, and not at the instant."""
    token = world.connect()["access_token"]
    world.clock.jump(3600 * SECOND_NS - 1)
    assert world.call(token).status_code == 200
    world.clock.jump(1)
    expired = world.call(token)
    assert expired.status_code == 401
    assert expired.headers["www-authenticate"] == (
        'Bearer realm="api", error="invalid_token", error_description="The access token expired"'
    )


def test_a_refresh_token_expires_to_the_nanosecond(open_world):
    """A refresh token lives as long as the profile says."""
    for late, status in ((-1, 200), (0, 400)):
        world = open_world("oauth.refresh_token_lifetime=2h")
        tokens = world.connect()
        world.clock.jump(7200 * SECOND_NS + late)
        assert world.refresh(tokens["refresh_token"]).status_code == status


def test_refreshing_rotates(faced):
    """RFC 9700, 4.14.2: new tokens of the same scopes, and the old access token lives on until it expires."""
    first = faced.connect()
    answer = faced.refresh(first["refresh_token"])
    second = answer.json()
    assert answer.headers["cache-control"] == "no-store"
    assert second["scope"] == first["scope"]
    assert second["refresh_token"] != first["refresh_token"]
    assert faced.call(first["access_token"]).status_code == 200
    assert faced.call(second["access_token"]).status_code == 200
    assert faced.refresh(second["refresh_token"]).status_code == 200


def test_the_reuse_of_a_rotated_refresh_token_is_refused_and_ends_the_grant(faced):
    """RFC 9700, 4.14.2: who of the two is the thief cannot be told, so the active tokens are revoked."""
    first = faced.connect()
    other = faced.connect("p00002")
    second = faced.refresh(first["refresh_token"]).json()
    refused(faced.refresh(first["refresh_token"]), "invalid_grant")
    refused(faced.refresh(second["refresh_token"]), "invalid_grant")
    assert faced.call(second["access_token"]).status_code == 401
    assert faced.call(other["access_token"]).status_code == 200


def test_without_rotation_a_refresh_token_serves_again(open_world):
    """`refresh_rotation = "none"`: no new refresh token, and the old one stays good."""
    world = open_world("oauth.refresh_rotation=none")
    tokens = world.connect()
    for _ in range(3):
        again = world.refresh(tokens["refresh_token"])
        assert sorted(again.json()) == ["access_token", "expires_in", "scope", "token_type"]


def test_a_rotated_refresh_token_is_only_refused_where_reuse_ends_nothing(open_world, face):
    """`rotate`: the reuse is invalid_grant, and the family lives on."""
    world = open_world("oauth.refresh_rotation=rotate", face=face)
    first = world.connect()
    second = world.refresh(first["refresh_token"]).json()
    refused(world.refresh(first["refresh_token"]), "invalid_grant")
    assert world.refresh(second["refresh_token"]).status_code == 200
    assert world.call(first["access_token"]).status_code == 200
    assert "token-revoked" not in [row["what"] for row in world.rows("events")]


@pytest.mark.parametrize("rotation", ["rotate", "single_use"])
def test_within_its_grace_a_rotated_refresh_token_still_works(open_world, rotation):
    """The grace counts from the first use, to the nanosecond; only then reuse is what it is."""
    for late, status in ((0, 200), (30 * SECOND_NS - 1, 200), (30 * SECOND_NS, 400)):
        world = open_world(f"oauth.refresh_rotation={rotation}", "oauth.refresh_grace=30s")
        first = world.connect()
        second = world.refresh(first["refresh_token"]).json()
        world.clock.jump(10 * SECOND_NS)
        assert world.refresh(first["refresh_token"]).status_code == 200  # does not begin the grace anew
        world.clock.jump(max(late - 10 * SECOND_NS, 0))
        again = world.refresh(first["refresh_token"])
        assert again.status_code == status
        family_lives = status == 200 or rotation == "rotate"
        assert (world.call(second["access_token"]).status_code == 200) is family_lives
        if status == 200:
            assert world.refresh(again.json()["refresh_token"]).status_code == 200


@pytest.mark.parametrize("rotation", ["rotate", "single_use"])
def test_workers_that_race_for_one_refresh_token_get_what_a_plain_account_says(open_world, rotation):
    """Twelve people's workers renew with any token they ever had, at once, late, at the end of the grace."""
    world = open_world(
        f"oauth.refresh_rotation={rotation}", "oauth.refresh_grace=30s", "limits.hourly.limit=10000"
    )
    lot = random.Random(rotation)
    for person in PEOPLE:
        first = world.connect(person)
        rotated: dict[str, int | None] = {first["refresh_token"]: None}
        access, lives = [first["access_token"]], True
        for _ in range(10):
            world.clock.jump(lot.choice([0, 0, 10 * SECOND_NS, 20 * SECOND_NS - 1, 1]))
            token, now_ns = lot.choice(list(rotated)), world.clock.now_ns()
            first_ns = rotated[token]
            in_time = first_ns is None or now_ns - first_ns < 30 * SECOND_NS
            right = lives and in_time
            lives = lives and (in_time or rotation == "rotate")
            answer = world.refresh(token)
            assert answer.status_code == (200 if right else 400)
            if right:
                rotated[token] = now_ns if first_ns is None else first_ns
                assert answer.json()["refresh_token"] not in rotated
                rotated[answer.json()["refresh_token"]] = None
                access.append(answer.json()["access_token"])
        assert {world.call(one).status_code for one in access} == ({200} if lives else {401})


def test_with_a_grace_without_end_old_refresh_tokens_stay_good(open_world):
    """Microsoft's way: a new one with each renewal, and the old ones are not revoked."""
    world = open_world("oauth.refresh_rotation=rotate", "oauth.refresh_grace=never")
    first = world.connect()
    for _ in range(3):
        world.clock.jump(86_400 * SECOND_NS)
        assert world.refresh(first["refresh_token"]).json()["refresh_token"] != first["refresh_token"]


def test_the_reuse_of_a_refresh_token_is_an_event_with_its_reason(world):
    """Whose grant was revoked, of which app, and why: once."""
    first = world.connect()
    world.refresh(first["refresh_token"])
    world.refresh(first["refresh_token"])
    world.refresh(first["refresh_token"])
    events = [row for row in world.rows("events") if row["what"] == "token-revoked"]
    assert [(row["who"], row["details"]) for row in events] == [
        ("p00001", '{"client":"app-1","why":"refresh token used twice"}')
    ]


def test_without_the_refresh_grant_there_is_no_refresh_token(open_world, face):
    """`grants`: none is issued, and none is taken."""
    world = open_world('oauth.grants=["authorization_code"]', face=face)
    tokens = world.connect()
    assert sorted(tokens) == ["access_token", "expires_in", "scope", "token_type"]
    refused(world.refresh("x"), "unsupported_grant_type")


@pytest.mark.parametrize("days", [0, 1, 20])
def test_the_reuse_of_a_code_is_seen_as_long_as_what_it_gave_lives(open_world, days):
    """RFC 6749, 4.1.2: also when the code itself has long expired, and tokens were renewed meanwhile."""
    world = open_world("oauth.refresh_token_lifetime=15d")
    code = world.authorize()["code"]
    tokens = world.redeem(code).json()
    for _ in range(days):
        world.clock.jump(86_400 * SECOND_NS)
        world.connect("p00002")  # what has perished is forgotten
        tokens = world.refresh(tokens["refresh_token"]).json()
    assert world.call(tokens["access_token"]).status_code == 200
    refused(world.redeem(code), "invalid_grant")
    assert world.call(tokens["access_token"]).status_code == 401
    refused(world.refresh(tokens["refresh_token"]), "invalid_grant")


def test_a_code_reused_by_another_client_revokes_nothing(world):
    """Who has never held the code cannot end the grant with it."""
    other = world.sandbox.register("https://other.test/callback")
    code = world.authorize()["code"]
    tokens = world.redeem(code).json()
    refused(world.redeem(code, auth=(other.client_id, other.client_secret)), "invalid_grant")
    assert world.call(tokens["access_token"]).status_code == 200


@pytest.mark.parametrize(
    ("methods", "basic", "post", "none"),
    [
        ('["basic"]', 200, 401, 401),
        ('["post"]', 401, 200, 401),
        ('["none"]', 401, 401, 200),
        ('["basic", "post"]', 200, 200, 401),
        ('["basic", "none"]', 200, 401, 200),
    ],
)
def test_clients_authenticate_in_the_ways_of_the_profile(open_world, methods, basic, post, none):
    """RFC 6749, 2.3.1 and 2.1: every other way is invalid_client, and the code is not spent by it."""
    for way, status in (("basic", basic), ("post", post), ("none", none)):
        world = open_world(f"oauth.client_authentication={methods}")
        access = world.access
        secret = access.client_secret or "x"
        code = world.authorize()["code"]
        if way == "basic":
            answer = world.redeem(code, auth=(access.client_id, secret))
        elif way == "post":
            answer = world.redeem(code, auth=None, client_id=access.client_id, client_secret=secret)
        else:
            answer = world.redeem(code, auth=None, client_id=access.client_id)
        assert answer.status_code == status
        if status == 401:
            refused(answer, "invalid_client", 401)
            assert answer.headers["www-authenticate"] == 'Basic realm="oauth"'


def test_a_wrong_secret_is_never_taken_for_none(open_world):
    """Where public clients are taken too, a client that shows a secret must show the right one."""
    world = open_world('oauth.client_authentication=["basic", "post", "none"]')
    code = world.authorize()["code"]
    refused(world.redeem(code, auth=("app-1", "wrong")), "invalid_client", 401)
    refused(world.redeem(code, auth=None, client_id="app-1", client_secret="wrong"), "invalid_client", 401)
    assert world.redeem(code, auth=None, client_id="app-1").status_code == 200


def test_a_public_client_has_to_prove_that_it_asked(open_world):
    """RFC 9700, 2.1.1: "public clients MUST use PKCE", also where others need not."""
    world = open_world("oauth.pkce=optional", 'oauth.client_authentication=["basic", "none"]')
    code = world.authorize(code_challenge=None, code_challenge_method=None)["code"]
    answer = world.redeem(code, auth=None, client_id="app-1", code_verifier=None)
    refused(answer, "invalid_request")
    assert world.redeem(code, code_verifier=None).status_code == 200  # with its secret


def test_a_challenge_without_its_verifier_is_refused(open_world):
    """RFC 7636, 4.6, also where PKCE is optional."""
    world = open_world("oauth.pkce=optional")
    code = world.authorize()["code"]
    refused(world.redeem(code, code_verifier=None), "invalid_request")
    assert world.redeem(code).status_code == 200


def test_plain_is_taken_where_the_profile_has_it(open_world, face):
    """RFC 7636, 4.2, 4.3 and 4.6: by name or by default; the verifier is compared as it is."""
    world = open_world('oauth.pkce_methods=["S256", "plain"]', face=face)
    for method in ("plain", None):
        code = world.authorize(code_challenge=world.verifier, code_challenge_method=method)["code"]
        for wrong in ("b" * 43, world.verifier + "x"):
            refused(world.redeem(code, code_verifier=wrong), "invalid_grant")
        assert world.redeem(code).status_code == 200
    assert world.redeem(world.authorize()["code"]).status_code == 200  # S256
    only = open_world('oauth.pkce_methods=["plain"]', face=face)
    assert only.authorize_error() == "invalid_request"
    assert only.authorize_error(code_challenge="x" * 42, code_challenge_method="plain") == "invalid_request"
    assert only.authorize_error(code_challenge="x" * 129, code_challenge_method="plain") == "invalid_request"
    assert (
        only.authorize_error(code_challenge="x" * 43 + "\n", code_challenge_method="plain")
        == "invalid_request"
    )


def test_tokens_of_different_lifetimes_are_each_forgotten_in_time(open_world):
    """A short-lived token that came late goes before a long-lived one that came first."""
    timetable = [{"after": "1h", "why": "review", "approve": True}]
    world = open_world("test_phase.refresh_token_lifetime=2h", timetable=timetable)
    store = world.sandbox._store
    short = world.connect()["refresh_token"]
    world.clock.jump(3600 * SECOND_NS)
    long = world.connect("p00002")["refresh_token"]
    world.clock.jump(2 * 3600 * SECOND_NS)
    third = world.connect("p00003")["refresh_token"]
    assert list(store.refresh) == [long, third]
    assert short not in store.refresh
    world.clock.jump(30 * 86_400 * SECOND_NS)
    fourth = world.connect()["refresh_token"]
    assert list(store.refresh) == [fourth]


def test_a_refresh_may_ask_for_less_and_never_for_more(world):
    """RFC 6749, 6: fewer scopes for the access token; the refresh token keeps what was granted."""
    tokens = world.connect()
    less = world.refresh(tokens["refresh_token"], scope="events.read").json()
    assert less["scope"] == "events.read"
    assert world.call(less["access_token"], method="POST", json={}).status_code == 403
    assert world.refresh(less["refresh_token"]).json()["scope"] == "events.read events.write"


@pytest.mark.parametrize("scope", ["calendar.admin", "events.read everything", " ", "é"])
def test_a_refresh_for_other_scopes_is_refused_and_costs_nothing(world, scope):
    """An invalid scope leaves the refresh token as it was."""
    tokens = world.connect()
    refused(world.refresh(tokens["refresh_token"], scope=scope), "invalid_scope")
    assert world.refresh(tokens["refresh_token"]).status_code == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"code": "unknown"},
        {"code": "é\x00"},
        {"redirect_uri": "https://evil.test/"},
        {"redirect_uri": None},
        {"redirect_uri": CALLBACK + "/"},
        {"code_verifier": "b" * 43},
        {"code_verifier": "a-verifier-of-43-characters-or-more-Zx9_~.-1\n"},
    ],
    ids=str,
)
def test_a_code_with_what_does_not_belong_to_it_is_an_invalid_grant(faced, changed):
    """RFC 6749, 5.2 and RFC 7636, 4.6; what was wrong once may be put right."""
    code = faced.authorize()["code"]
    refused(faced.redeem(**{"code": code, **changed}), "invalid_grant")
    assert faced.redeem(code).status_code == 200


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"grant_type": None}, "invalid_request"),
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"grant_type": 'é"\x00'}, "unsupported_grant_type"),
        ({"code": None}, "invalid_request"),
        ({"code": ""}, "invalid_request"),
        ({"code_verifier": None}, "invalid_request"),
        ({"code_verifier": "short"}, "invalid_request"),
        ({"code_verifier": "é" * 43}, "invalid_request"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
    ],
    ids=str,
)
def test_a_wrong_token_request_is_told_what_is_wrong(faced, changed, error):
    """RFC 6749, 5.2: missing, malformed or unsupported."""
    code = faced.authorize()["code"]
    refused(faced.redeem(**{"code": code, **changed}), error)
    assert faced.redeem(code).status_code == 200
    events = faced.rows("events")
    assert [row["what"] for row in events] == ["consent-given", "token-refused"]
    assert events[1]["details"] == f'{{"client":"app-1","error":"{error}"}}' or error in events[1]["details"]


@pytest.mark.parametrize("name", ["code", "grant_type", "redirect_uri", "client_id", "anything"])
def test_a_parameter_sent_twice_is_refused(faced, name):
    """RFC 6749, 3.2: parameters are not included more than once."""
    code = faced.authorize()["code"]
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": faced.verifier,
    }
    form[name] = [form.get(name, "app-1")] * 2
    auth = (faced.access.client_id, faced.access.client_secret)
    refused(faced.http.post("/oauth/token", data=form, auth=auth), "invalid_request")
    assert faced.redeem(code).status_code == 200


def basic(text: bytes) -> dict[str, str]:
    """A Basic header of these bytes."""
    return {"Authorization": "Basic " + base64.b64encode(text).decode()}


@pytest.mark.parametrize(
    ("headers", "form"),
    [
        ({}, {}),
        ({}, {"client_id": "app-1"}),
        ({}, {"client_id": "app-1", "client_secret": "wrong"}),
        ({}, {"client_id": "app-1", "client_secret": "é\x00"}),
        ({}, {"client_id": "app-9", "client_secret": "wrong"}),
        (basic(b"app-1:wrong"), {}),
        (basic(b"app-1:"), {}),
        (basic(b"app-1"), {}),
        (basic(b"app-9:wrong"), {}),
        (basic(b"\xff\xfe:\x00"), {}),
        ({"Authorization": "Basic !!!"}, {}),
        ({"Authorization": "Basic"}, {}),
        ({"Authorization": "Bearer x"}, {}),
        ({b"Authorization": "Basic é".encode("latin-1")}, {}),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_client_that_is_not_authenticated_gets_401_with_a_challenge(faced, headers, form):
    """RFC 6749, 5.2 and RFC 7617, 2; a wrong secret and an unknown client are told alike."""
    answer = faced.http.post(
        "/oauth/token", data={"grant_type": "authorization_code", "code": "x", **form}, headers=headers
    )
    refused(answer, "invalid_client", 401)
    assert answer.headers["www-authenticate"] == 'Basic realm="oauth"'
    assert answer.json()["error_description"] == "The client could not be authenticated."


def test_two_ways_of_authentication_at_once_are_refused(faced):
    """RFC 6749, 2.3: one method in each request."""
    code = faced.authorize()["code"]
    refused(faced.redeem(code, client_secret=faced.access.client_secret), "invalid_request")


def test_the_client_id_in_the_body_must_be_the_headers(faced):
    """A client that says in the body that it is another is not authenticated."""
    code = faced.authorize()["code"]
    refused(faced.redeem(code, client_id="app-2"), "invalid_client", 401)
    assert faced.redeem(code, client_id="app-1").status_code == 200


def test_another_client_can_use_neither_code_nor_refresh_token(world):
    """RFC 6749, 5.2: what was issued to one client is an invalid grant for another, and is not spent."""
    other = world.sandbox.register("https://other.test/callback")
    auth = (other.client_id, other.client_secret)
    code = world.authorize()["code"]
    refused(world.redeem(code, auth=auth), "invalid_grant")
    tokens = world.redeem(code).json()
    refused(world.redeem(code, auth=auth), "invalid_grant")
    refused(world.refresh(tokens["refresh_token"], auth=auth), "invalid_grant")
    rotated = world.refresh(tokens["refresh_token"]).json()
    refused(world.refresh(tokens["refresh_token"], auth=auth), "invalid_grant")
    assert world.call(rotated["access_token"]).status_code == 200


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", None),
        (b'{"grant_type": "refresh_token"}', "application/json"),
        (b"\xff\xfe%zz&&&===", "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % i for i in range(200)), "application/x-www-form-urlencoded"),
        (b"grant_type=refresh_token", "text/plain"),
    ],
    ids=["empty", "json", "bytes", "many", "text"],
)
def test_a_body_that_is_no_form_is_an_invalid_request(faced, content, kind):
    """Nothing but a form of at most 100 fields holds parameters."""
    headers = {"Content-Type": kind} if kind else {}
    refused(faced.http.post("/oauth/token", content=content, headers=headers), "invalid_request")


def test_parameters_in_the_address_are_not_read(faced):
    """RFC 6749, 3.2: the token endpoint takes them from the body, so that they are in no log."""
    tokens = faced.connect()
    answer = faced.http.post(
        "/oauth/token",
        params={"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]},
        auth=(faced.access.client_id, faced.access.client_secret),
    )
    refused(answer, "invalid_request")


def test_what_has_expired_is_forgotten(open_world):
    """Codes, access tokens and refresh tokens that can never be used again take no memory."""
    world = open_world("oauth.refresh_token_lifetime=1d")
    for _ in range(3):
        world.connect()
        world.refresh(world.connect()["refresh_token"])
        world.clock.jump(2 * 86_400 * SECOND_NS)
    store = world.sandbox._store
    world.connect()
    assert (len(store.codes), len(store.access), len(store.refresh)) == (1, 1, 1)


def test_what_never_expires_says_no_lifetime(open_world, face):
    """`"never"`: no expires_in (RFC 6749, 5.1: recommended only), and good after years; as for refresh tokens."""
    world = open_world(
        "oauth.access_token_lifetime=never",
        "oauth.refresh_token_lifetime=never",
        "oauth.refresh_rotation=none",
        face=face,
    )
    tokens = world.connect()
    assert sorted(tokens) == ["access_token", "refresh_token", "scope", "token_type"]
    world.clock.jump(50 * 365 * 86_400 * SECOND_NS)
    assert world.call(tokens["access_token"]).status_code == 200
    assert sorted(world.refresh(tokens["refresh_token"]).json()) == ["access_token", "scope", "token_type"]


COMMA = 'oauth.scope_delimiter=","'


def test_scopes_may_have_commas_between_them(open_world, face):
    """Strava's and Slack's way: in the request, in the redirect, in the token answer; the ledger has spaces."""
    world = open_world(COMMA, face=face)
    back = world.authorize(scope="events.read,events.write")
    assert back["scope"] == "events.read,events.write"
    tokens = world.redeem(back["code"]).json()
    assert tokens["scope"] == "events.read,events.write"
    assert world.call(tokens["access_token"], method="POST", json={}).status_code == 201
    less = world.refresh(tokens["refresh_token"], scope="events.read").json()
    assert less["scope"] == "events.read"
    assert world.call(less["access_token"], method="POST", json={}).status_code == 403
    more = world.refresh(less["refresh_token"], scope="events.read,calendar.admin")
    refused(more, "invalid_scope")
    facts = [row["oauth"] for row in world.rows() if row["oauth"] is not None]
    assert {row["scopes_asked"] for row in facts} == {
        *("events.read events.write", "events.read", None, "events.read calendar.admin"),
    }
    assert {row["scopes_granted"] for row in facts} == {"events.read events.write", "events.read", None}


def test_a_scope_that_is_unknown_is_refused_with_commas_too(open_world):
    """Each of them is looked at."""
    world = open_world(COMMA)
    for scope in ("events.read,x", "x", ",", "calendar.admin,events.read"):
        assert world.authorize_error(scope=scope) == "invalid_scope"


def test_a_provider_may_have_no_scopes(open_world, face):
    """Notion's way: none is asked for, none is told, and the token opens every route."""
    routes = [{"name": "r", "path": "/r", "answer": "fixed"}]
    reference = {
        "list": {"path": "/r", "items_at": ""},
        "read": {"path": "/r"},
        "create": {"path": "/r"},
    }
    world = open_world(face=face, scopes={}, test_phase={}, routes=routes, reference=reference)
    back = world.authorize()
    assert sorted(back) == ["code", "iss", "state"]
    tokens = world.redeem(back["code"]).json()
    assert sorted(tokens) == ["access_token", "expires_in", "refresh_token", "token_type"]
    assert world.call(tokens["access_token"], "/r").status_code == 200
    assert "scope" not in world.refresh(tokens["refresh_token"]).json()
    assert world.authorize_error(scope="x") == "invalid_scope"
    page = world.http.get(f"/oauth/authorize?{world.query()}", headers=world.signed_in())
    assert "It asks to:" not in page.text
