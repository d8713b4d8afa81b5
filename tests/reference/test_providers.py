"""The reference integration against providers that speak differently; exact virtual times."""

from __future__ import annotations

import itertools
import pathlib
from typing import Any

import pytest

from quotalab.errors import ScenarioError
from quotalab.reference import Declined, Patience, ProviderError, build
from quotalab.sandbox import Access

S = 1_000_000_000
FOREVER = Patience(2**62)
PROVIDERS = pathlib.Path(__file__).parents[2] / "profiles" / "providers"
NO_BUDGET: dict[str, Any] = {"budget": {"enabled": False}, "retry": {"jitter": "none", "base": "1s"}}
OURS = {"where": "a test", "confidence": "own"}


def calls(w) -> list[tuple[str | None, int]]:
    """(route, status) of every call to the API, in order."""
    rows = w.tables().calls.select(["kind", "route", "status"]).to_pylist()
    return [(row["route"], row["status"]) for row in rows if row["kind"] == "api"]


def limited(number: int, **refusal: Any) -> dict[str, Any]:
    """A provider whose limit is `number` calls an hour, and that refuses like this."""
    return {"limits": {"hourly": {"limit": number}}, "refusal": refusal}


@pytest.mark.parametrize("name", sorted(path.stem for path in PROVIDERS.glob("*.toml")))
def test_every_bundled_provider_is_spoken(world, name: str) -> None:
    """Whatever its API looks like: people connect, look, open, add and export, with nothing refused.

    What the sandbox of a provider does not let people do is not asked; no call goes to an unknown route.
    """
    w = world(bundled=name)
    w.connect()
    week = w.app.week("p00001", FOREVER).data
    assert len(week) > 0
    assert w.app.event("p00001", "7", FOREVER).data
    assert w.app.add("p00001", "Review", FOREVER).data
    assert len(w.app.export("p00001", Patience(2**62, interactive=False)).data) >= len(week)
    routes = calls(w)
    assert all(route is not None and 200 <= status < 300 for route, status in routes), routes


def test_a_provider_without_a_reference_table_is_one_clear_line(tmp_path: pathlib.Path) -> None:
    """It says what is missing and what would be right."""
    access = Access("", "", "", "", "", "", "")
    with pytest.raises(ScenarioError) as caught:
        build(access, None, None, clock=None, entropy=None, state=tmp_path)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "the provider profile has no [reference] table, so the reference integration cannot call its API; "
        "add one, or name an app of your own under [tool.quotalab.app]"
    )


# ---- refusals


@pytest.mark.parametrize(
    ("refusal", "waits"),
    [
        ({"retry_after": "seconds"}, ["Retry-After: seconds"]),
        ({"retry_after": "decimal"}, ["Retry-After: seconds"]),
        ({"retry_after": "http_date"}, ["Retry-After: http_date"]),
        ({"retry_after": "iso"}, ["Retry-After: iso"]),
        ({"retry_after": "epoch"}, ["X-Reset: epoch", "Retry-After: epoch"]),
    ],
)
def test_a_promise_is_kept_whatever_its_form(world, refusal: dict[str, str], waits: list[str]) -> None:
    """Refused at 600.25 s, 2999.75 s before there is room: the next call goes then, or rounded up."""
    w = world(provider={**limited(1, **refusal), "reference": {"waits": waits}}, **NO_BUDGET)
    w.connect()
    w.app.event("p00001", "1", FOREVER)
    w.clock.jump(600_250_000_000)
    w.app.event("p00001", "1", FOREVER)
    assert w.now_s() == {"seconds": 3600.25, "decimal": 3600.05}.get(refusal["retry_after"], 3600.0)
    assert [status for _, status in calls(w)] == [200, 429, 200]


@pytest.mark.parametrize(
    ("waits", "least", "waited_s"), [(["x-reset: seconds"], "60s", 3600), ([], "4000s", 4000)]
)
def test_the_least_wait_that_is_documented_is_kept_where_retry_after_says_nothing(
    world, waits: list[str], least: str, waited_s: int
) -> None:
    """What another header says may be of another limit, so it makes the wait longer and never shorter."""
    provider = {
        **limited(1, retry_after="none"),
        "dialect": {"headers": [{"name": "x-reset", "value": "{hourly.reset_s}"}]},
        "reference": {"waits": waits, "refused_wait": least},
    }
    w = world(provider=provider, **NO_BUDGET)
    w.connect()
    w.app.event("p00001", "1", FOREVER)
    w.app.event("p00001", "1", FOREVER)
    assert w.now_s() == waited_s
    assert [status for _, status in calls(w)] == [200, 429, 200]


def test_a_retry_after_shorter_than_the_least_wait_is_believed(world) -> None:
    """It is of this refusal, whatever the documentation says of others."""
    w = world(provider={**limited(1), "reference": {"refused_wait": "2h"}}, **NO_BUDGET)
    w.connect()
    w.app.event("p00001", "1", FOREVER)
    w.app.event("p00001", "1", FOREVER)
    assert w.now_s() == 3600.0


def test_backoff_grows_from_the_least_wait(world) -> None:
    """Refused for good: 60 s are waited and up to 60, 120, 240 more, not one second's jitter."""
    provider = {**limited(1, retry_after="none"), "reference": {"waits": [], "refused_wait": "60s"}}
    retry = {"jitter": "full", "base": "1s", "attempts": 4}
    w = world("polite", provider=provider, retry=retry, budget={"enabled": False})
    w.connect()
    w.app.event("p00001", "1", FOREVER)
    with pytest.raises(ProviderError, match="429"):
        w.app.event("p00001", "2", FOREVER)
    at_s = [row["at"].timestamp() for row in w.tables().calls.to_pylist() if row["kind"] == "api"]
    waits = [later - at for at, later in itertools.pairwise(at_s[1:])]
    assert len(waits) == 3
    assert all(60 <= wait <= 60 + 60 * 2**i for i, wait in enumerate(waits))
    assert max(waits) > 62


def test_errors_inside_200_are_refusals_where_the_profile_says_so(world) -> None:
    """Slack: {"ok": false, "error": "ratelimited"}; a write is asked again as well, for nothing was done."""
    body = {"ok": False, "error": "ratelimited"}
    signs = {"refused": {"body": {"/error": "ratelimited"}}, "failed": {"body": {"/ok": False}}}
    w = world(provider={**limited(1, status=200, body=body), "reference": signs}, **NO_BUDGET)
    w.connect()
    w.app.event("p00001", "1", FOREVER)
    assert w.app.add("p00001", "Review", FOREVER).data["title"] == "Review"
    assert w.now_s() == 3600.0
    assert [route for route, _ in calls(w)] == ["read_event", "create_event", "create_event"]


def test_errors_inside_200_that_are_no_refusals_are_errors_and_no_data(world) -> None:
    """Nothing of them is kept or shown, and they are not asked again."""
    errors = {"not_found": {"status": 200, "body": {"ok": False, "error": "no_such_event"}}}
    provider = {"errors": errors, "reference": {"failed": {"body": {"/ok": False}}}}
    w = world(provider=provider, **NO_BUDGET)
    w.connect()
    with pytest.raises(ProviderError, match="the provider answered 200 and an error at /ok"):
        w.app.event("p00001", "9999", FOREVER)
    assert calls(w) == [("read_event", 200)]


def test_a_403_is_a_refusal_when_a_header_says_so_and_else_a_permission(world) -> None:
    """GitHub: the same status for both. The last call let in says `remaining: 0` too, and is data."""
    remaining = {"name": "x-remaining", "value": "{hourly.remaining}"}
    reset = {"name": "x-reset", "value": "{hourly.reset_epoch_s}"}
    provider = {
        **limited(2, status=403, retry_after="none"),
        "dialect": {"headers": [remaining, reset]},
        "reference": {"refused": {"headers": {"x-remaining": "0"}}, "waits": ["x-reset: epoch"]},
    }
    w = world(provider=provider, **NO_BUDGET)
    w.connect()
    w.app.event("p00001", "1", FOREVER)
    w.clock.jump(60 * S)
    w.app.event("p00001", "2", FOREVER)
    assert w.now_s() == 60.0
    w.app.event("p00001", "3", FOREVER)
    assert w.now_s() == 3660.0
    assert [status for _, status in calls(w)] == [200, 200, 403, 200]


def test_a_403_without_a_sign_of_a_limit_is_not_asked_again(world) -> None:
    """A permission does not come by waiting."""
    provider = {"reference": {"scope": "events.write", "refused": {"headers": {"Retry-After": "*"}}}}
    w = world(provider=provider, **NO_BUDGET)
    w.connect()
    with pytest.raises(ProviderError, match="403 Forbidden"):
        w.app.event("p00001", "1", FOREVER)
    assert (calls(w), w.now_s()) == ([("read_event", 403)], 0.0)


def test_without_a_promise_the_backoff_decides(world) -> None:
    """Strava says nothing: 1, 2, 4, ... seconds, at most 5 minutes."""
    w = world("obedient", provider={**limited(1, retry_after="none"), "reference": {"waits": []}})
    w.connect()
    w.app.event("p00001", "1", FOREVER)
    w.app.event("p00001", "2", FOREVER)
    # 1 + 2 + ... + 256 = 511 s, then every 300 s: the first at or after 3600 s is at 511 + 11 * 300.
    assert w.now_s() == 3811.0
    assert len(calls(w)) == 1 + 9 + 11 + 1


# ---- tokens


def test_an_expired_token_is_known_by_what_the_body_says(world) -> None:
    """Meta: 400 with code 190. One refresh, one more try."""
    expired = {"status": 400, "body": {"error": {"code": 190}}}
    w = world(
        provider={
            "errors": {"expired_token": expired},
            "reference": {"expired": {"body": {"/error/code": 190}}},
        },
        refresh_before="0s",
        **NO_BUDGET,
    )
    w.connect()
    hold_for_ever(w)
    w.clock.jump(3600 * S)
    w.app.event("p00001", "1", FOREVER)
    assert [status for _, status in calls(w)] == [400, 200]


@pytest.mark.parametrize("bundled", ["strava", "jira", "xero"])
def test_a_missing_scope_is_no_expired_token(world, bundled: str) -> None:
    """The provider answers 401 to both: what the person has not allowed is asked for once, with no renewal."""
    w = world(bundled=bundled, **NO_BUDGET)
    w.connect()
    withhold_scopes(w)
    with pytest.raises(ProviderError, match="401"):
        w.app.event("p00001", "1", FOREVER)
    rows = w.tables().calls.select(["kind", "error"]).to_pylist()
    assert [row["error"] for row in rows].count("insufficient_scope") == 1
    assert [row["kind"] for row in rows].count("token") == 1


def withhold_scopes(w) -> None:
    """Let the person have allowed nothing that the API asks for."""
    for token in w.sandbox._store.access.values():
        token.scopes = frozenset()


def test_a_token_that_never_expires_is_not_renewed(world) -> None:
    """No `expires_in` (RFC 6749, 5.1) means good until the provider says otherwise."""
    w = world(provider={"oauth": {"access_token_lifetime": "never"}}, **NO_BUDGET)
    w.connect()
    w.clock.jump(365 * 86_400 * S)
    w.app.event("p00001", "1", FOREVER)
    kinds = w.tables().calls.select(["kind", "actor"]).to_pylist()
    assert [row["kind"] for row in kinds if row["actor"] == "app"] == ["token", "api"]


def hold_for_ever(w) -> None:
    """Let the app think that its token does not expire."""
    from dataclasses import replace

    held = w.app._authorizer._store._held
    held["p00001"] = replace(held["p00001"], expires_ns=2**62)


# ---- tenants, headers, bodies


TENANTS: dict[str, Any] = {
    "tenants": {"people": 1, "at": "header:X-Tenant"},
    "routes": [
        {
            "name": "connections",
            "path": "/connections",
            "answer": "fixed",
            "body": [{"id": "{tenant}"}],
            "tenant": False,
        },
        {"name": "list_events", "path": "/events", "answer": "list", "collection": "events"},
        {"name": "read_event", "path": "/events/{id}", "answer": "read", "collection": "events"},
        {
            "name": "create_event",
            "method": "POST",
            "path": "/events",
            "answer": "create",
            "collection": "events",
        },
    ],
    "reference": {"headers": {"X-Tenant": "{tenant}"}, "tenant": "/connections", "tenant_at": "/0/id"},
}


def test_the_tenant_is_asked_for_once_a_person_and_sent_with_every_call(world) -> None:
    """Xero: without the header a call is refused as a bad request."""
    w = world(provider=TENANTS)
    w.connect("p00001")
    w.connect("p00002")
    for person in ("p00001", "p00002"):
        w.app.event(person, "1", FOREVER)
        w.app.add(person, "x", FOREVER)
    tenants = w.tables().calls.select(["kind", "route", "status", "tenant"]).to_pylist()
    assert [(row["route"], row["status"], row["tenant"]) for row in tenants if row["kind"] == "api"] == [
        ("connections", 200, None),
        ("read_event", 200, "tenant-1"),
        ("create_event", 201, "tenant-1"),
        ("connections", 200, None),
        ("read_event", 200, "tenant-2"),
        ("create_event", 201, "tenant-2"),
    ]


def test_asking_for_the_tenant_takes_from_the_budget(world) -> None:
    """With one call an hour the tenant is known, and the event has to wait for the next hour."""
    w = world(provider=TENANTS, budget={"calls": 1, "margin": 0.0})
    w.connect()
    with pytest.raises(Declined):
        w.app.event("p00001", "1", Patience(w.clock.now_ns() + 30 * S))
    w.app.event("p00001", "1", FOREVER)
    assert w.now_s() == 3600.0
    assert [route for route, _ in calls(w)] == ["connections", "read_event"]


@pytest.mark.parametrize("kind", ["json", "form"])
def test_a_body_is_sent_as_the_profile_says(world, kind: str) -> None:
    """JSON or a form; what was typed arrives whole, whatever is in it."""
    title = 'Q&A {n} "x"=1'
    create = {"path": "/events", kind: {"title": "{title}"}}
    w = world(replaced={"create": create})
    w.connect()
    assert w.app.add("p00001", title, FOREVER).data["title"] == title
