"""A simulated person's browser, against a server of a few lines."""

from __future__ import annotations

import httpx
import pytest

from quotalab.browser import Browser
from quotalab.errors import ScenarioError

CALLBACK = "https://app.test/callback"
FORM = """<html><form action="/in?next=a&amp;b=1" method="post">
<input type="hidden" name="csrf" value="x&quot;y"><input name="username"><input name="password" type="password">
<button name="decision" value="allow">Yes</button><button name="decision" value="deny">No</button></form>
<form action="/other"><input name="decoy"></form></html>"""


def browse(handler, **choices: str) -> str:
    """Where the browser ends."""
    browser = Browser(httpx.MockTransport(handler), "p1", "secret", lambda: "00-trace-span-01")
    return browser.visit("https://provider.test/start", CALLBACK, choices)


def test_it_fills_the_first_form_keeps_cookies_and_stops_at_the_callback() -> None:
    """Hidden fields are sent back, known ones filled in, the first button pressed."""
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if request.url.path == "/start":
            return httpx.Response(200, text=FORM, headers={"Set-Cookie": "a=1; Path=/; HttpOnly"})
        if request.method == "POST":
            return httpx.Response(303, headers={"Location": "/on"})
        return httpx.Response(302, headers={"Location": f"{CALLBACK}?code=1&state=2"})

    assert browse(handler) == f"{CALLBACK}?code=1&state=2"
    post = seen[1]
    assert str(post.url) == "https://provider.test/in?next=a&b=1"
    assert post.read() == b"csrf=x%22y&username=p1&password=secret&decision=allow"
    assert post.headers["cookie"] == "a=1"
    assert post.headers["traceparent"] == "00-trace-span-01"
    assert [request.method for request in seen] == ["GET", "POST", "GET"]


def test_a_person_may_choose_otherwise() -> None:
    """A choice takes the place of the first button."""
    bodies = []

    def handler(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            bodies.append(request.read())
            return httpx.Response(303, headers={"Location": CALLBACK})
        return httpx.Response(200, text=FORM)

    browse(handler, decision="deny")
    assert bodies[0].endswith(b"decision=deny")


@pytest.mark.parametrize("status", [200, 400, 500])
def test_a_page_that_leads_nowhere_is_an_error_with_its_status(status: int) -> None:
    """A page without a form, or an error, is the end of the way."""
    with pytest.raises(ScenarioError, match=f"ended on a page with status {status}"):
        browse(lambda _: httpx.Response(status, text="<p>nothing</p>"))


def test_going_round_in_circles_ends() -> None:
    """Redirects without end are given up."""
    with pytest.raises(ScenarioError, match="ended on a page with status 302"):
        browse(lambda _: httpx.Response(302, headers={"Location": "/start"}))
