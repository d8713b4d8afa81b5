"""The [reference] table: read as written, and each mistake gets one line with file and key."""

from __future__ import annotations

from typing import Any

import pytest

from quotalab.errors import ProfileError
from quotalab.profiles.reading import Table, merge
from quotalab.profiles.reference import Allowance, Endpoint, Signs, WaitHeader, parse_reference

S = 1_000_000_000
LEAST: dict[str, Any] = {
    "list": {"path": "/events", "items_at": ""},
    "read": {"path": "/events/{n}"},
    "create": {"path": "/events"},
}


def parsed(**changed: Any):
    """The least table, with what is changed."""
    return parse_reference(Table(merge(LEAST, changed), "p.toml", "reference"))


def test_the_least_table_means_what_most_providers_do() -> None:
    """Refused by 429, expired by 401, Retry-After in seconds, no pages, the policy's budget."""
    api = parsed()
    assert (api.refused, api.expired, api.failed) == (Signs((429,)), Signs((401,)), Signs())
    assert api.forbidden == Signs((403,))
    assert api.waits == (WaitHeader("Retry-After", "seconds"),)
    assert (api.scope, api.tenant, api.next, api.budget) == ("", None, "", ())
    assert (api.list.method, api.create.method) == ("GET", "POST")


def test_a_full_table_reads_as_written() -> None:
    """One value or several, whatever there is ("*"), headers in lower case, several allowances."""
    api = parsed(
        scope="a,b",
        headers={"X-Tenant": "{tenant}"},
        tenant="/connections",
        tenant_at="/0/id",
        list={"path": "/{tenant}/events", "items_at": "/a~1b", "next": "link"},
        refused={
            "statuses": [],
            "body": {"/e": [1, "x"], "/any": "*"},
            "headers": {"Retry-After": "*", "Left": "0"},
        },
        expired={"body": {"/code": 190}},
        failed={"body": {"/ok": False}},
        waits=["X-Reset: epoch_ms"],
        budget=[
            {"calls": 200, "period": "15m", "calls_at": "X-Limit"},
            {"calls": 9, "period": "1d", "per": "tenant"},
        ],
    )
    assert api.tenant == Endpoint("GET", "/connections")
    assert api.refused == Signs((), {"/e": (1, "x"), "/any": ()}, {"retry-after": (), "left": ("0",)})
    assert api.expired == Signs((401,), {"/code": (190,)})
    assert api.failed == Signs((), {"/ok": (False,)})
    assert api.budget == (Allowance(200, 900 * S, "app", "X-Limit"), Allowance(9, 86_400 * S, "tenant"))


def test_braces_that_hold_no_field_are_braces() -> None:
    """A GraphQL query stands as it is."""
    query = "query { events(first: 50) { nodes { id } } }"
    api = parsed(list={"method": "POST", "json": {"query": query}})
    assert api.list.json == {"query": query}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"read": {"path": "/events/{id}"}}, "reference.read.path: has an unknown field {id}; there is: n"),
        ({"list": {"path": "/{n}"}}, "reference.list.path: has an unknown field {n}; there is none here"),
        ({"read": {"path": "events"}}, "reference.read.path: must begin with a slash, not 'events'"),
        ({"read": {"path": "/{n:zz}"}}, "reference.read.path: has a field with an unknown format, {n:zz}"),
        ({"create": {"json": {"a": [{"b": "{titel}"}]}}}, "reference.create.json: has an unknown field {titel}"),
        ({"create": {"form": {"a": "{n}"}}}, "reference.create.form.a: has an unknown field {n}"),
        ({"create": {"form": {"a": "b"}, "json": {}}}, "reference.create.form: cannot be sent beside 'json'"),
        ({"list": {"json": {}}}, "reference.list.method: GET has no body"),
        ({"headers": {"X": "{tenant}"}}, "reference.headers.X: has an unknown field {tenant}; it needs 'tenant'"),
        ({"headers": {"X": "a\nb"}}, "reference.headers.X: must be a header's name and a value"),
        ({"headers": {"X Y": "a"}}, "reference.headers.X Y: must be a header's name and a value"),
        ({"tenant": "/me"}, "reference.tenant_at: is missing"),
        ({"list": {"items_at": "items"}}, "reference.list.items_at: must be a JSON pointer such as '/data/items'"),
        ({"list": {"next": "cursor"}}, "reference.list.next: must be 'query:NAME', 'form:NAME', 'json:NAME'"),
        ({"list": {"next": "query:"}}, "reference.list.next: must be 'query:NAME'"),
        ({"list": {"next": 7}}, "reference.list.next: must be 'query:NAME'"),
        ({"list": {"next": "url"}}, "reference.list.next_at: is missing; it must point to the next page's address"),
        ({"list": {"next": "json:a"}}, "reference.list.next: is 'json:a', but 'json' has no table for it"),
        ({"list": {"method": "POST", "json": {"a": "x"}, "next": "json:a.b"}},
         "reference.list.next: is 'json:a.b', but 'json' has no table for it"),
        ({"list": {"next": "form:a"}}, "reference.list.next: is 'form:a', but the list is asked for without 'form'"),
        ({"refused": {"statuses": [True]}}, "reference.refused.statuses: must be a list of HTTP statuses"),
        ({"refused": {"body": {"error": "x"}}}, "reference.refused.body.error: must be a JSON pointer"),
        ({"refused": {"body": {"/error": {}}}}, "reference.refused.body./error: must be a text, a number, true or"),
        ({"refused": {"body": {"/error": []}}}, "reference.refused.body./error: must be a text, a number, true or"),
        ({"refused": {"headers": {"Left": 0}}}, "reference.refused.headers.Left: must be a text or a list of texts"),
        ({"expired": {"headers": {"Left": "0"}}}, "reference.expired.headers: is not a key that is known here"),
        ({"waits": ["Retry-After"]}, "reference.waits: holds 'Retry-After'; each must be such as"),
        ({"waits": ["Retry-After: minutes"]}, "reference.waits: holds 'Retry-After: minutes'"),
        ({"budget": [{"calls": 0, "period": "1h"}]}, "reference.budget[0].calls: must be a whole number of 1 or more"),
        ({"budget": [{"calls": 1, "period": "1h", "per": "tenant"}]}, "reference.budget[0].per: 'tenant' needs"),
        ({"budget": [{"calls": 1, "period": "1h", "calls_at": "X Limit"}]}, "reference.budget[0].calls_at: must be a header's name"),
        ({"budgets": []}, "reference.budgets: is not a key that is known here; did you mean 'budget'?"),
    ],
)  # fmt: skip
def test_each_mistake_is_named_with_its_key(changed: dict[str, Any], told: str) -> None:
    """file: key: what would be right."""
    with pytest.raises(ProfileError) as caught:
        parsed(**changed)
    assert str(caught.value).startswith(f"p.toml: {told}")
