"""A real browser, Debian's chromium, at the real pages over a socket: signing in, consent, withdrawal."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from tests.sandbox.chromium import Chromium

pytestmark = pytest.mark.full

SETTINGS = (
    "oauth.untick=true",
    "test_phase.unverified=true",
    'test_phase.restricted_scopes=["events.write"]',
)


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""


class _Threads(socketserver.ThreadingMixIn, WSGIServer):
    """A browser keeps connections open, also such as it does not need yet."""

    daemon_threads = True


@pytest.fixture
def served(open_world: Any) -> Iterator[Any]:
    """A world on a free port, with an app whose callback is a page of the same server."""
    server = make_server("127.0.0.1", 0, None, server_class=_Threads, handler_class=_Quiet)
    address = f"http://127.0.0.1:{server.server_port}"
    world = open_world(*SETTINGS, issuer=address)
    world.callback = f"{address}/app/callback"
    world.access = world.sandbox.register(world.callback)
    one_by_one = threading.Lock()

    def application(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/app/callback":
            start_response("200 OK", [("Content-Type", "text/html")])
            return [b'<link rel="icon" href="data:,"><h1>the app</h1>']
        with one_by_one:
            return world.sandbox(environ, start_response)

    server.set_app(application)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield world
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Any]:
    """A browser that has never been anywhere."""
    browser = Chromium(tmp_path / "browser")
    yield browser
    browser.close()


def start(world: Any) -> str:
    """Where the app sends the person."""
    return f"{world.access.authorization_endpoint}?{world.query(redirect_uri=world.callback)}"


def sign_in(world: Any, page: Any, person: str = "p00001") -> None:
    """Fill in the sign-in form and send it."""
    page.fill("#username", person)
    page.fill("#password", world.sandbox.password_of(person))
    page.click("button")


def came_back(page: Any) -> dict[str, str]:
    """The parameters that the app's page was opened with."""
    assert page.run("document.querySelector('h1').textContent") == "the app"
    return dict(parse_qsl(urlsplit(page.run("location.href")).query))


def is_narrow_enough(page: Any) -> bool:
    """Whether nothing has to be scrolled sideways."""
    return bool(page.run("document.documentElement.scrollWidth <= window.innerWidth"))


def test_a_person_signs_in_unticks_allows_and_takes_it_back(served, page, tmp_path):
    """The whole way in a real browser, without a word in its console; the app has a token of what was left."""
    page.open(start(served))
    assert page.run("document.title") == "Sign in"
    assert page.run("document.activeElement.id") == "username"
    sign_in(served, page)
    assert page.run("document.title") == "Allow access?"
    text = page.run("document.body.innerText")
    for words in (
        "Allow app-2 to use your account?",
        "Signed in as p00001",
        "has not been reviewed",
        "restricted",
    ):
        assert words in text
    for width in (1280, 390, 320):
        for scheme in ("light", "dark"):
            picture = page.look(width, 800, scheme)
            assert picture.startswith(b"\x89PNG")
            (tmp_path / f"consent-{width}-{scheme}.png").write_bytes(picture)
            assert is_narrow_enough(page)
    page.run("document.querySelector('input[value=\"events.write\"]').click()")
    page.click("button[value=allow]")
    back = came_back(page)
    assert (back["state"], back["iss"]) == (served.state, served.access.issuer)
    tokens = served.redeem(back["code"], redirect_uri=served.callback).json()
    assert tokens["scope"] == "events.read"
    page.open(f"{served.access.issuer}/oauth/connections")
    assert "See the events on your calendar" in page.run("document.body.innerText")
    page.click("button")
    assert "No app has your consent." in page.run("document.body.innerText")
    assert served.call(tokens["access_token"]).status_code == 401
    assert page.complaints == []
    assert {urlsplit(address).hostname for address in page.addresses} == {"127.0.0.1"}
    rows = served.rows()
    assert {row["kind"] for row in rows} == {"authorize", "token", "api"}
    # A browser asks for no icon by itself: that would be a call to the API.
    assert [row["path"] for row in rows if row["kind"] == "api"] == ["/v1/events"]


def test_a_person_cancels(served, page):
    """The app is told that it was refused."""
    page.open(start(served))
    sign_in(served, page)
    page.click("button[value=deny]")
    assert came_back(page)["error"] == "access_denied"
    assert page.complaints == []


def test_a_wrong_password_and_a_broken_link_are_told_in_words(served, page):
    """401 and 400 are pages like the others; the browser's only complaint is their status."""
    page.open(start(served))
    page.fill("#username", "p00001")
    page.fill("#password", "wrong")
    page.click("button")
    assert "That name and password do not match." in page.run("document.body.innerText")
    page.open(f"{served.access.authorization_endpoint}?client_id=%3Cscript%3Ealert(1)%3C/script%3E")
    assert "The client is unknown." in page.run("document.body.innerText")
    assert [text.partition(":")[0] for text in page.complaints] == ["Failed to load resource"] * 2


def test_another_sites_form_does_not_get_through(served, page):
    """A page of another origin posts the person's consent, cookie and all: refused, by what the browser says."""
    page.open(start(served))
    sign_in(served, page)
    action, csrf = page.run("[document.forms[0].getAttribute('action'), document.forms[0].csrf.value]")
    page.open("data:text/html,<form method=post><input name=csrf><input name=decision value=allow></form>")
    page.run(f"document.forms[0].action = {served.access.issuer + action!r}")
    page.run(f"document.forms[0].csrf.value = {csrf!r}")
    page._until_loaded(lambda: page.run("document.forms[0].submit()"))
    assert "code=" not in page.run("location.href")
    assert [row["what"] for row in served.rows("events")] == []
