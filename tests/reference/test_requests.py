"""Requests: fields filled in, and the next page however a provider tells of it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from quotalab.profiles.reading import Table
from quotalab.profiles.reference import Endpoint, ReferenceApi, parse_reference
from quotalab.reference import ProviderError
from quotalab.reference.answers import Answer
from quotalab.reference.requests import Request, first_request, next_request

BASE = "https://api.test/v1"


def api(**listed: Any) -> ReferenceApi:
    """An API whose list is as given."""
    table = {
        "list": {"path": "/events", "items_at": "/items", **listed},
        "read": {"path": "/events/{n}"},
        "create": {"path": "/events"},
    }
    return parse_reference(Table(table, "p.toml", "reference"))


def following(
    known: ReferenceApi, document: Any, *, page: int = 1, items: int = 50, link: str | None = None
) -> Request | None:
    """What is asked for after the first page."""
    headers = {"Link": link} if link else {}
    answer = Answer(httpx.Response(200, json=document, headers=headers))
    request = first_request(BASE, known.list, {}, reads=True)
    return next_request(known, request, answer, page, items)


def test_fields_are_filled_in_once_and_paths_are_quoted() -> None:
    """What a person typed is no field and no path; a number can have its form."""
    endpoint = Endpoint("PUT", "/t/{tenant}/{n:08x}/{n}", json={"a": ["{title}", 3], "q": "{ id }"})
    values = {"tenant": "a/b c", "n": "300", "title": "{n} {tenant}"}
    request = first_request(BASE, endpoint, values, reads=False)
    assert request.url == f"{BASE}/t/a%2Fb%20c/0000012c/300"
    assert request.json == {"a": ["{n} {tenant}", 3], "q": "{ id }"}


@pytest.mark.parametrize(
    ("method", "reads", "repeatable"),
    [
        ("GET", True, True),
        ("POST", True, True),
        ("POST", False, False),
        ("PATCH", False, False),
        ("PUT", False, True),
    ],
)
def test_what_may_be_repeated_after_a_failure(method: str, reads: bool, repeatable: bool) -> None:
    """What reads, and what is idempotent (RFC 9110, 9.2.2)."""
    assert first_request(BASE, Endpoint(method, "/x"), {}, reads=reads).repeatable is repeatable


def test_a_cursor_goes_into_the_query_beside_what_is_there() -> None:
    """It replaces the one before, and is encoded."""
    known = api(path="/events?channel=C1", next="query:cursor", next_at="/meta/cursor")
    request = following(known, {"meta": {"cursor": "a=b&c"}})
    assert request is not None
    assert request.url == f"{BASE}/events?channel=C1&cursor=a%3Db%26c"
    again = next_request(known, request, Answer(httpx.Response(200, json={"meta": {"cursor": 7}})), 2, 1)
    assert again is not None
    assert again.url == f"{BASE}/events?channel=C1&cursor=7"


@pytest.mark.parametrize(
    "end", [{}, {"meta": None}, {"meta": {"cursor": None}}, {"meta": {"cursor": ""}}, []]
)
def test_where_no_cursor_is_there_is_no_page(end: Any) -> None:
    """Absent, null, and the empty text that Slack sends."""
    assert following(api(next="query:cursor", next_at="/meta/cursor"), end) is None


def test_without_a_cursor_pages_are_counted_until_one_is_empty() -> None:
    """Strava: nothing in the answer says that there is more."""
    known = api(next="query:page")
    request = following(known, {}, page=3, items=1)
    assert request is not None
    assert request.url == f"{BASE}/events?page=4"
    assert following(known, {}, page=4, items=0) is None


def test_a_cursor_goes_deep_into_json_or_into_a_form() -> None:
    """GraphQL variables; the first page's own body stays as it was."""
    body = {"query": "query { a }", "variables": {"first": 50}}
    known = api(
        method="POST",
        json=body,
        next="json:variables.after",
        next_at="/pageInfo/endCursor",
        more_at="/pageInfo/hasNextPage",
    )
    request = following(known, {"pageInfo": {"endCursor": "x", "hasNextPage": True}})
    assert request is not None
    assert request.json == {"query": "query { a }", "variables": {"first": 50, "after": "x"}}
    assert body["variables"] == {"first": 50}
    assert following(known, {"pageInfo": {"endCursor": "x", "hasNextPage": False}}) is None
    form = api(method="POST", form={"a": "b"}, next="form:cursor", next_at="/c")
    request = following(form, {"c": 5})
    assert request is not None
    assert request.form == {"a": "b", "cursor": "5"}


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (f"{BASE}/events?page=2", f"{BASE}/events?page=2"),
        ("/services/q/01-2000", "https://api.test/services/q/01-2000"),
        ("?page=2", f"{BASE}/events?page=2"),
    ],
)
def test_an_address_is_followed_as_it_is(address: str, url: str) -> None:
    """In the body or in the Link header, absolute or not."""
    for request in (
        following(api(next="url", next_at="/next"), {"next": address}),
        following(api(next="link"), {}, link=f'<{address}>; rel="next"'),
    ):
        assert request is not None
        assert request.url == url


@pytest.mark.parametrize(
    "address",
    ["https://evil.test/v1/events", "//evil.test/", "http://api.test/v1/events", "https://api.test:444/"],
)
def test_the_token_is_not_carried_to_another_host(address: str) -> None:
    """A next page elsewhere is an error, not a page."""
    with pytest.raises(ProviderError, match="on another host"):
        following(api(next="url", next_at="/next"), {"next": address})


@pytest.mark.parametrize("broken", [True, {"a": 1}, [1]])
def test_a_next_page_that_is_none_is_an_error(broken: object) -> None:
    """No request is made up from it."""
    with pytest.raises(ProviderError, match="next page that cannot be read"):
        following(api(next="query:page", next_at="/next"), {"next": broken})


@pytest.mark.parametrize("address", ["https://[x/", "https://api.test:99999999/"])
def test_an_address_that_is_none_is_an_error(address: str) -> None:
    """Whatever the library makes of it, the app gets its own error."""
    with pytest.raises(ProviderError, match="next page"):
        following(api(next="url", next_at="/next"), {"next": address})


def test_an_api_without_pages_has_one() -> None:
    """No `next`, no next page."""
    assert following(api(), {"next": 2}) is None
