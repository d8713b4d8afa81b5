"""RFC 6749, 4.4: an app that acts for itself."""

from __future__ import annotations

import pytest

GRANTS = 'oauth.grants=["authorization_code", "refresh_token", "client_credentials"]'


def ask(world, **changed):
    """Ask for a token of the app's own."""
    return world.token(**{"grant_type": "client_credentials", "scope": "events.read", **changed})


def test_the_app_gets_a_token_of_its_own_and_no_refresh_token(open_world, face):
    """4.4.3: "A refresh token SHOULD NOT be included"; the token opens what its scopes open."""
    world = open_world(GRANTS, face=face)
    answer = ask(world)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    tokens = answer.json()
    assert sorted(tokens) == ["access_token", "expires_in", "scope", "token_type"]
    assert tokens["scope"] == "events.read"
    assert world.call(tokens["access_token"]).status_code == 200
    assert world.call(tokens["access_token"], method="POST", json={}).status_code == 403
    world.clock.jump(3600 * 10**9)
    assert world.call(tokens["access_token"]).status_code == 401


def test_its_calls_are_its_own_accounts(open_world, face):
    """What the app makes for itself no person sees; the account bears the client's name."""
    world = open_world(GRANTS, face=face)
    own = ask(world, scope="events.read events.write").json()["access_token"]
    persons = world.connect()["access_token"]
    created = world.call(own, method="POST", json={}).json()["id"]
    assert world.call(own, f"/events/{created}").status_code == 200
    assert world.call(persons, f"/events/{created}").status_code == 404
    assert {row["person"] for row in world.rows() if row["kind"] == "api"} == {"app-1", "p00001"}


def test_where_the_provider_does_not_have_it_the_grant_is_unsupported(faced):
    """RFC 6749, 5.2; the answer names what there is."""
    answer = ask(faced)
    assert (answer.status_code, answer.json()) == (
        400,
        {
            "error": "unsupported_grant_type",
            "error_description": "A grant_type here is one of: authorization_code, refresh_token.",
        },
    )


@pytest.mark.parametrize("auth", [None, ("app-1", "wrong"), ("nobody", "x")])
def test_only_a_client_with_a_secret_gets_one(open_world, auth):
    """4.4: "The client credentials grant type MUST only be used by confidential clients"."""
    world = open_world(GRANTS, 'oauth.client_authentication=["basic", "none"]')
    answer = ask(world, auth=auth, client_id="app-1" if auth is None else None)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize("scope", [None, "everything", "events.read everything", "calendar.admin"])
def test_other_scopes_are_refused(open_world, scope):
    """RFC 6749, 3.3: unknown, missing where scopes are needed, or forbidden in the test phase."""
    world = open_world(GRANTS)
    answer = ask(world, scope=scope)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")


def test_it_can_be_revoked_and_introspected(open_world):
    """A token of the app's own has its client as subject, and no user name."""
    world = open_world(GRANTS)
    token = ask(world).json()["access_token"]
    auth = (world.access.client_id, world.access.client_secret)
    known = world.http.post("/oauth/introspect", data={"token": token}, auth=auth).json()
    assert (known["sub"], known["client_id"], "username" in known) == ("app-1", "app-1", False)
    world.http.post("/oauth/revoke", data={"token": token}, auth=auth)
    assert world.call(token).status_code == 401
