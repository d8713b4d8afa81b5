"""RFC 7009: revocation."""

from __future__ import annotations

import json

import pytest

PATH = "/oauth/revoke"


def revoke(world, token, auth="basic", /, **form):
    """Ask for a token's revocation, authenticated as the app."""
    if auth == "basic":
        auth = (world.access.client_id, world.access.client_secret)
    if token is not None:
        form["token"] = token
    return world.http.post(PATH, data=form, auth=auth)


def active(world, tokens) -> tuple[bool, bool]:
    """Whether the access token, and the refresh token, are still good."""
    return (
        world.call(tokens["access_token"]).status_code == 200,
        world.refresh(tokens["refresh_token"]).status_code == 200,
    )


@pytest.mark.parametrize("hint", [None, "refresh_token", "access_token", "nonsense"])
def test_a_refresh_token_takes_all_of_its_grant_with_it(faced, hint):
    """2.1: the access tokens "based on the same authorization grant" die too; a hint helps or is ignored."""
    tokens, others = faced.connect(), faced.connect("p00002")
    fresh = faced.refresh(tokens["refresh_token"]).json()
    answer = revoke(faced, fresh["refresh_token"], **({"token_type_hint": hint} if hint else {}))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert faced.call(tokens["access_token"]).status_code == 401
    assert active(faced, fresh) == (False, False)
    assert active(faced, others) == (True, True)


@pytest.mark.parametrize("hint", [None, "refresh_token", "access_token"])
def test_an_access_token_dies_alone(faced, hint):
    """2.1: "the server MAY revoke the respective refresh token as well"; this one does not."""
    tokens = faced.connect()
    assert (
        revoke(faced, tokens["access_token"], **({"token_type_hint": hint} if hint else {})).status_code
        == 200
    )
    refused = faced.call(tokens["access_token"])
    assert refused.status_code == 401
    assert 'error_description="The access token was revoked"' in refused.headers["www-authenticate"]
    fresh = faced.refresh(tokens["refresh_token"]).json()
    assert faced.call(fresh["access_token"]).status_code == 200


@pytest.mark.parametrize("token", ["unknown", "é\x00", "a" * 100_000, "twice"])
def test_an_invalid_token_is_as_good_as_revoked(faced, token):
    """2.2: "invalid tokens do not cause an error response"."""
    if token == "twice":
        token = faced.connect()["refresh_token"]
        assert revoke(faced, token).status_code == 200
    assert revoke(faced, token).status_code == 200


def test_another_clients_token_is_refused_and_lives_on(world):
    """2.1: the server "verifies whether the token was issued to the client making the revocation request"."""
    tokens = world.connect()
    other = world.sandbox.register("https://other.test/callback")
    for token in (tokens["access_token"], tokens["refresh_token"]):
        answer = revoke(world, token, (other.client_id, other.client_secret))
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert active(world, tokens) == (True, True)


@pytest.mark.parametrize(
    ("auth", "form"),
    [
        (None, {}),
        (None, {"client_id": "app-1"}),
        (None, {"client_id": "app-1", "client_secret": "wrong"}),
        (("app-1", "wrong"), {}),
        (("nobody", "wrong"), {}),
    ],
)
def test_a_client_that_is_not_authenticated_revokes_nothing(faced, auth, form):
    """2.1: the client's credentials are validated first; RFC 6749, 5.2 says how it is told."""
    tokens = faced.connect()
    answer = revoke(faced, tokens["refresh_token"], auth, **form)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert answer.headers["www-authenticate"] == 'Basic realm="oauth"'
    assert answer.headers["cache-control"] == "no-store"
    assert active(faced, tokens) == (True, True)


def test_a_public_client_revokes_by_its_name(open_world, face):
    """2.1: only confidential clients have credentials to be validated."""
    world = open_world('oauth.client_authentication=["none"]', face=face)
    assert world.access.client_secret == ""
    tokens = world.redeem(world.authorize()["code"], auth=None, client_id="app-1").json()
    assert revoke(world, tokens["refresh_token"], None, client_id="app-1").status_code == 200
    assert world.call(tokens["access_token"]).status_code == 401


@pytest.mark.parametrize("form", [{}, {"token": ""}, {"token": ["a", "b"]}, {"token": "a", "x": ["1", "1"]}])
def test_a_request_without_one_token_is_invalid(faced, form):
    """2.1: the token is required; RFC 6749, 3.2: nothing is said twice."""
    answer = revoke(faced, None, **form)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_it_is_a_call_of_its_own_kind_and_an_event_says_who_and_why(faced):
    """The ledger has kind, person and mark; and what was revoked, of whom, and why."""
    tokens = faced.connect()
    revoke(faced, tokens["access_token"])
    revoke(faced, tokens["refresh_token"])
    revoke(faced, "unknown")
    rows = [row for row in faced.rows() if row["kind"] == "revoke"]
    issued = next(row["oauth"] for row in faced.rows() if row["kind"] == "token")
    marks = [issued["issued_token"], issued["issued_refresh_token"]]
    assert [row["token"] for row in rows[:2]] == marks
    assert [(row["person"], row["client_id"], row["actor"]) for row in rows] == [
        ("p00001", "app-1", "app"),
        ("p00001", "app-1", "app"),
        (None, "app-1", "app"),
    ]
    assert [row["oauth"]["refresh_token"] for row in rows] == [None, marks[1], None]
    events = [row for row in faced.rows("events") if row["what"] == "token-revoked"]
    assert [(row["who"], json.loads(row["details"])) for row in events] == [
        ("p00001", {"client": "app-1", "token": marks[0], "why": "revoked by the app"}),
        ("p00001", {"client": "app-1", "why": "revoked by the app"}),
    ]


def test_a_provider_without_it_has_no_such_address(open_world, face):
    """`revocation = false`: neither the metadata nor the app's access tells of one, and there is none."""
    world = open_world("oauth.revocation=false", face=face)
    assert world.access.revocation_endpoint is None
    document = world.http.get("/.well-known/oauth-authorization-server").json()
    assert not [name for name in document if name.startswith("revocation")]
    assert revoke(world, "x").status_code == 404


def test_a_get_is_not_allowed(faced):
    """2.1: the client uses POST, so that no token is in an address."""
    answer = faced.http.get(PATH)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
