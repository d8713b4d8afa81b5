"""RFC 7662: introspection."""

from __future__ import annotations

import pytest

SECOND_NS = 10**9
START_S = 1_767_571_200
PATH = "/oauth/introspect"


def introspect(world, token, auth="basic", /, **form):
    """Ask what is known of a token, authenticated as the app."""
    if auth == "basic":
        auth = (world.access.client_id, world.access.client_secret)
    if token is not None:
        form["token"] = token
    return world.http.post(PATH, data=form, auth=auth)


@pytest.mark.parametrize("hint", [None, "access_token", "refresh_token", "nonsense"])
def test_what_is_known_of_a_live_token(faced, hint):
    """2.2: scope, client, person, issuer, times in seconds; the hint is one only (2.1)."""
    tokens = faced.connect()
    more = {"token_type_hint": hint} if hint else {}
    answer = introspect(faced, tokens["access_token"], **more)
    assert answer.headers["cache-control"] == "no-store"
    known = {
        "active": True,
        "client_id": "app-1",
        "sub": "p00001",
        "username": "p00001",
        "iss": "https://provider.test",
        "scope": "events.read events.write",
        "iat": START_S,
    }
    assert answer.json() == {**known, "token_type": "Bearer", "exp": START_S + 3600}
    refresh = introspect(faced, tokens["refresh_token"], **more).json()
    assert refresh == {**known, "exp": START_S + 30 * 86_400}


def test_a_token_that_never_expires_says_no_end(open_world):
    """2.2: `exp` is optional."""
    world = open_world("oauth.access_token_lifetime=never", "oauth.refresh_token_lifetime=never")
    tokens = world.connect()
    for token in (tokens["access_token"], tokens["refresh_token"]):
        assert "exp" not in introspect(world, token).json()


def test_of_a_dead_token_nothing_is_said(faced):
    """2.2: expired to the nanosecond, revoked, rotated away, unknown: {"active": false}, with status 200."""
    tokens = faced.connect()
    faced.clock.jump(3600 * SECOND_NS - 1)
    assert introspect(faced, tokens["access_token"]).json()["active"] is True
    faced.clock.jump(1)
    fresh = faced.refresh(tokens["refresh_token"]).json()
    gone = faced.connect("p00002")
    faced.http.post(
        "/oauth/revoke",
        data={"token": gone["refresh_token"]},
        auth=(faced.access.client_id, faced.access.client_secret),
    )
    for token in (
        tokens["access_token"],
        tokens["refresh_token"],
        gone["access_token"],
        gone["refresh_token"],
        "unknown",
        "é\x00",
    ):
        answer = introspect(faced, token)
        assert (answer.status_code, answer.json()) == (200, {"active": False})
    # To ask about a spent refresh token is no reuse: the family lives on.
    assert introspect(faced, fresh["refresh_token"]).json()["active"] is True
    assert faced.refresh(fresh["refresh_token"]).status_code == 200


def test_of_another_clients_token_nothing_is_said(world):
    """2.2: a client that may not know is told that the token is not active."""
    tokens = world.connect()
    other = world.sandbox.register("https://other.test/callback")
    auth = (other.client_id, other.client_secret)
    for token in (tokens["access_token"], tokens["refresh_token"]):
        assert introspect(world, token, auth).json() == {"active": False}


@pytest.mark.parametrize(
    ("auth", "form"),
    [(None, {}), (None, {"client_id": "app-1"}), (("app-1", "wrong"), {}), (("nobody", "x"), {})],
)
def test_strangers_learn_nothing(open_world, auth, form):
    """2.1: "the endpoint MUST also require some form of authorization"; a client's name is none."""
    world = open_world('oauth.client_authentication=["basic", "post", "none"]')
    answer = introspect(world, world.connect()["access_token"], auth, **form)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert answer.headers["www-authenticate"] == 'Basic realm="oauth"'


@pytest.mark.parametrize("form", [{}, {"token": ""}, {"token": ["a", "b"]}])
def test_a_request_without_one_token_is_invalid(faced, form):
    """2.1: the token is required."""
    answer = introspect(faced, None, **form)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_it_is_a_call_of_its_own_kind(faced):
    """The ledger knows whose token was asked about, by its mark."""
    token = faced.connect()["access_token"]
    introspect(faced, token)
    row = faced.last()
    assert (row["kind"], row["actor"], row["client_id"], row["person"]) == (
        "introspect", "app", "app-1", "p00001",
    )  # fmt: skip
    assert row["token"] == faced.sandbox._recorder.mark(token)


def test_a_provider_without_it_has_no_such_address(open_world, face):
    """`introspection = false`: neither the metadata nor the app's access tells of one, and there is none."""
    world = open_world("oauth.introspection=false", face=face)
    assert world.access.introspection_endpoint is None
    document = world.http.get("/.well-known/oauth-authorization-server").json()
    assert not [name for name in document if name.startswith("introspection")]
    assert introspect(world, "x").status_code == 404
