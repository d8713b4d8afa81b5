"""The sandbox's own OpenAPI document: all that there is, and nothing that is not."""

from __future__ import annotations

import re
from typing import Any

import jsonschema_rs
import pytest

from quotalab.profiles.loading import load_provider
from quotalab.sandbox.authorization import KINDS
from quotalab.sandbox.openapi import PATH, document
from quotalab.workspace import Workspace

from .conftest import ROOT

BUNDLED = Workspace.find(ROOT)
PROFILES = BUNDLED.names("provider")
ISSUER = "http://127.0.0.1:9"


def made(profile: str, *settings: str) -> dict[str, Any]:
    """The document of a bundled profile."""
    return document(load_provider(BUNDLED, profile, settings), ISSUER, KINDS)


def operations(described: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Path, method and operation of each."""
    return [
        (path, method, operation)
        for path, item in described["paths"].items()
        for method, operation in item.items()
    ]


def schemas(node: Any) -> list[Any]:
    """Every schema in a document."""
    if isinstance(node, dict):
        below = [found for value in node.values() for found in schemas(value)]
        return [*([node["schema"]] if "schema" in node else []), *below]
    return [found for value in node for found in schemas(value)] if isinstance(node, list) else []


@pytest.mark.parametrize("profile", PROFILES)
def test_every_route_and_endpoint_is_described_once(profile: str) -> None:
    """Routes with their methods, endpoints of the authorization server, names that no two share."""
    described = made(profile)
    provider = load_provider(BUNDLED, profile)
    found = {(path, method.upper()) for path, method, _ in operations(described)}
    routes = {
        (provider.api_path + route.path, method) for route in provider.routes for method in route.methods
    }
    assert routes <= found
    assert {path for path, _ in found - routes} == set(KINDS)
    names = [operation["operationId"] for _, _, operation in operations(described)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_described_is_well_formed(profile: str) -> None:
    """Schemas of JSON Schema 2020-12, path parameters as the path has them, security schemes that exist."""
    described = made(profile)
    for schema in schemas(described):
        jsonschema_rs.validator_for(schema)
    for path, _, operation in operations(described):
        named = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"]
        assert named == re.findall(r"\{(\w+)\}", path)
        for asked in operation.get("security", ()):
            assert asked.keys() <= described["components"]["securitySchemes"].keys()
        assert operation["responses"]
        assert all(answer["description"] for answer in operation["responses"].values())


@pytest.mark.parametrize("profile", PROFILES)
def test_each_way_to_refuse_and_to_fail_is_described(profile: str) -> None:
    """The dialect's statuses stand at every route."""
    described = made(profile)
    dialect = load_provider(BUNDLED, profile).dialect
    statuses = {str(one.status) for one in (*dialect.refusals, *dialect.errors.values())}
    for _, _, operation in operations(described):
        assert statuses <= operation["responses"].keys()


def test_it_is_served_where_it_says_for_its_own_address(faced) -> None:
    """By either face, as a call of kind metadata that no limit is asked of; other methods are refused."""
    answer = faced.http.get(PATH)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["openapi"] == "3.1.1"
    assert answer.json()["servers"] == [{"url": "https://provider.test"}]
    assert faced.access.client_secret not in answer.text
    assert faced.http.post(PATH).status_code == 405
    first, second = faced.rows()
    assert (first["kind"], first["keys"], first["status"]) == ("metadata", [], 200)
    assert (second["kind"], second["error"]) == ("metadata", "method_not_allowed")


def test_the_shape_of_a_body_follows_the_profile(open_world) -> None:
    """Lists, numbers, texts, keys that may be left out, and an answer that has just that shape."""
    described = open_world().http.get(PATH).json()
    listed = described["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]["application/json"][
        "schema"
    ]
    assert listed["type"] == "object"
    assert listed["properties"]["events"]["type"] == "array"
    world = open_world()
    token = world.connect()["access_token"]
    answer = world.call(token)
    validator = jsonschema_rs.validator_for(listed)
    assert validator.is_valid(answer.json())
    assert not validator.is_valid({**answer.json(), "events": 7})
    assert not validator.is_valid({})


def test_endpoints_that_the_profile_lacks_are_not_described() -> None:
    """What a caller is given to describe is all that there is."""
    provider = load_provider(BUNDLED, "temporary-production")
    described = document(provider, ISSUER, {"/oauth/token": ("token", "app")})
    assert "/oauth/token" in described["paths"]
    assert "/oauth/authorize" not in described["paths"]
