"""Schemathesis against the sandbox's own OpenAPI document, in process: it finds nothing.

Its checks are: no status of 500 or more that is not documented as the provider's, statuses, content types,
headers and bodies as documented, and what is malformed refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from quotalab.sandbox.openapi import PATH

SECOND_NS = 10**9
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")
LEFT_OUT = {
    # What is valid by its form may be a code that nobody was given, or a cursor that leads nowhere: OAuth (RFC
    # 6749, 5.2) and most providers answer 400 then.
    "positive_data_acceptance": {"enabled": False},
    # Providers' APIs answer 404, or what their dialect has in its place, where they have no route, not 405.
    "unsupported_method": {"enabled": False},
    # Over WSGI this check fails in its own code (4.32: an unknown argument 'max_redirects'); what it asks is
    # asked below.
    "ignored_auth": {"enabled": False},
}
LEFT_IN = [
    {"include-path-regex": "^/(oauth|[.]well-known)/", "checks": {"unsupported_method": {"enabled": True}}}
]


def found_by_schemathesis(
    world: Any, token: str | None, *, examples: int, step_ns: int, changed: Mapping[str, str] | None = None
) -> tuple[list[str], Counter[int]]:
    """What it found, a line each, and how often each status was answered. Time goes on with each call."""
    statuses: Counter[int] = Counter()

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        world.clock.jump(step_ns)

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            if environ["PATH_INFO"] != PATH:
                statuses[int(status[:3])] += 1
            return start_response((changed or {}).get(status, status), headers)

        return world.sandbox(environ, start)

    config = SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "cache": {"enabled": False},
            "generation": {"max-examples": examples, "deterministic": True, "database": "none"},
            "checks": LEFT_OUT,
            "operations": LEFT_IN,
            **({"headers": {"Authorization": f"Bearer {token}"}} if token is not None else {}),
        }
    )
    found = []
    for event in from_schema(schemathesis.openapi.from_wsgi(PATH, application, config=config)).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            found.append(str(event))
        elif isinstance(event, events.ScenarioFinished):
            found += [
                f"{check.name}: {check.failure_info.failure.operation}: {check.failure_info.failure}"
                for checks in event.recorder.checks.values()
                for check in checks
                if check.failure_info is not None
            ]
    return found, statuses


def connected(world: Any) -> str:
    """An access token with every scope that may be asked for."""
    phase = world.provider.test_phase
    left_out = {*phase.forbidden_scopes, *phase.restricted_scopes}
    scopes = [scope for scope in world.provider.scopes if scope not in left_out]
    scope = world.provider.oauth.scope_delimiter.join(scopes)
    return str(world.connect(scope=scope or None)["access_token"])


@pytest.mark.parametrize("profile", ["temporary-production", "github", "slack"])
@pytest.mark.parametrize(
    ("step_ns", "examples"),
    [(SECOND_NS, 3), pytest.param(0, 25, marks=pytest.mark.full)],
    ids=["slowly", "at-once"],
)
def test_schemathesis_finds_nothing(open_world, profile: str, step_ns: int, examples: int) -> None:
    """As an app with a token, which meets the limits where its calls come all at once."""
    world = open_world("oauth.access_token_lifetime=never", profile=profile)
    token = connected(world)
    found, statuses = found_by_schemathesis(world, token, examples=examples, step_ns=step_ns)
    assert found == []
    assert world.sandbox.faults == []
    assert statuses[200] > 20
    assert sum(statuses.values()) > 150


def test_schemathesis_finds_what_is_wrong(open_world) -> None:
    """The same checks on a sandbox with a status that its document does not tell of, and on an authorization
    server that answers 404 for 405."""
    untold = {"401 Unauthorized": "418 Unauthorized", "405 Method Not Allowed": "404 Not Found"}
    found, _ = found_by_schemathesis(open_world(), None, examples=1, step_ns=0, changed=untold)
    assert any("status_code_conformance" in line for line in found)
    assert any("unsupported_method" in line and "/oauth/" in line for line in found)


@pytest.mark.parametrize("profile", ["temporary-production", "github", "slack"])
def test_nothing_that_needs_a_token_is_told_without_one(open_world, profile: str) -> None:
    """Every operation that the document secures, without a token and with one that nobody was given."""
    world = open_world(profile=profile)
    world.connect()
    document = world.http.get(PATH).json()
    asked = 0
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if not any(operation.get("security", ())):
                continue
            for token in (None, "unknown"):
                headers = {} if token is None else {"Authorization": f"Bearer {token}"}
                world.http.request(method, re.sub(r"\{\w+\}", "1", path), headers=headers)
                asked += 1
    rows = [row for row in world.rows() if row["kind"] == "api"]
    assert len(rows) == asked >= 6
    assert {row["token_state"] for row in rows} == {"none", "unknown"}
    assert all(row["error"] and row["objects"] == 0 for row in rows)
