"""Every bundled profile: each of its routes answers, and what the app is refused comes as the profile says."""

from __future__ import annotations

import json
import pathlib
import re
import tomllib

import pytest

PROVIDERS = pathlib.Path(__file__).parents[2] / "profiles" / "providers"
BUNDLED = [
    (path.stem, variant)
    for path in sorted(PROVIDERS.glob("*.toml"))
    for variant in (None, *tomllib.loads(path.read_text(encoding="utf-8")).get("variants", {}))
]


def requests_of(world, route) -> list[tuple[str, str, dict]]:
    """(method, path, body and query) of calls to a route, for the first item of its collection."""
    collection = world.provider.collections.get(route.collection)
    segments = dict.fromkeys(re.findall(r"\{(\w+)\}", route.path), "x1")
    more: dict = {}
    if collection is not None:
        first = world.sandbox._api._ids[route.collection].of(1)
        at = route.id_at
        if at is None or at.place == "path":
            segments |= {"id": first} if "id" in segments else {}
        elif at.place in ("query", "form"):
            more = {"params" if at.place == "query" else "data": {at.name: first}}
        elif at.place == "json":
            document: dict = {at.name.rpartition(".")[2]: first}
            for step in at.name.split(".")[-2::-1]:
                document = {step: document}
            more = {"json": document}
    at = world.provider.tenants.at
    if at is not None and at.place == "path" and at.name in segments:
        segments[at.name] = tenant_of(world)
    path = re.sub(r"\{(\w+)\}", lambda match: segments[match[1]], route.path)
    body = {} if more else {"json": {"title": "x"}}
    return [
        (method, path, {**more, **(body if method in ("POST", "PUT", "PATCH") else {})})
        for method in route.methods
    ]


def tenant_of(world) -> str:
    """The first person's tenant."""
    return world.sandbox._api._caller("p00001").tenant


def headers_of(world) -> dict[str, str]:
    """What every call of the app carries."""
    at = world.provider.tenants.at
    return {at.name: tenant_of(world)} if at is not None and at.place == "header" else {}


@pytest.mark.parametrize(("profile", "variant"), BUNDLED)
def test_every_route_of_a_bundled_profile_answers(open_world, profile, variant, face):
    """The route's own status, JSON where it says so, and a row of the ledger; no fault anywhere."""
    world = open_world(profile=profile, variant=variant, face=face)
    token = world.connect()["access_token"]
    for route in world.provider.routes:
        if not set(route.scopes) <= set(re.split("[ ,]", world.scope)):
            continue
        for method, path, more in requests_of(world, route):
            world.clock.jump(60 * 10**9)
            answer = world.call(token, path, method, headers=headers_of(world), **more)
            assert answer.status_code == route.status, (route.name, answer.text)
            if method != "HEAD" and answer.content and "json" in answer.headers["content-type"]:
                json.loads(answer.content)
    rows = [row for row in world.rows() if row["kind"] == "api"]
    assert {row["error"] for row in rows} == {None}
    assert all(row["keys"] or not row["cost"] for row in rows)


@pytest.mark.parametrize(("profile", "variant"), BUNDLED)
def test_a_bundled_profile_refuses_in_its_own_way(open_world, profile, variant):
    """Called a hundred thousand times at once it refuses, with the status that the refusing limit has."""
    world = open_world(profile=profile, variant=variant)
    token = world.connect()["access_token"]
    routes = [
        route
        for route in world.provider.routes
        if set(route.scopes) <= set(re.split("[ ,]", world.scope)) and "GET" in route.methods
    ] or list(world.provider.routes)
    route = next((route for route in routes if route.tags), routes[0])
    method, path, more = requests_of(world, route)[0]
    for _ in range(600):
        answer = world.call(token, path, method, headers=headers_of(world), **more)
        if answer.status_code != route.status or "retry-after" in answer.headers:
            break
    else:
        return
    row = world.last()
    refusal = world.provider.dialect.refusal(row["limit"])
    assert (row["error"], row["status"]) == ("rate_limited", refusal.status)
    assert ("retry-after" in answer.headers) == (row["retry_after_ns"] is not None)
    assert (refusal.retry_after != "none") == (row["retry_after_ns"] is not None)


@pytest.mark.parametrize(("profile", "variant"), BUNDLED)
def test_a_bundled_profile_says_what_is_wrong_in_its_own_way(open_world, profile, variant):
    """No token, an unknown one and an unknown endpoint: status and, where it is JSON, body of the profile."""
    world = open_world(profile=profile, variant=variant)
    token = world.connect()["access_token"]
    for name, secret in (("no_token", None), ("unknown_token", "unknown"), ("unknown_route", token)):
        error = world.provider.dialect.errors[name]
        answer = world.call(secret, "/no/such/endpoint", headers=headers_of(world))
        assert answer.status_code == error.status, name
        assert ("www-authenticate" in answer.headers) == error.challenge
        assert answer.headers.get("content-type") == error.content_type
