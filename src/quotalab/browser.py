"""A simulated person's browser: follows real redirects, fills in real forms, keeps cookies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from urllib.parse import urlencode, urljoin

import httpx

from quotalab.errors import ScenarioError

__all__ = ["Browser", "PageClosed"]

_MOST_STEPS = 12


Box = tuple[str, str]
"""A ticked box of a form: its name and value."""


class PageClosed(Exception):
    """The person has closed the page on which they were to decide."""


class _FirstForm(HTMLParser):
    """The first form of a page: where it goes, and what its fields hold."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self.boxes: list[Box] = []
        """Those that are ticked; several may have one name."""
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        kept = {name: value or "" for name, value in attrs}
        if tag == "form" and self.action is None:
            self.action = kept.get("action", "")
            self._inside = True
        elif not self._inside or "name" not in kept:
            return
        elif tag == "input" and kept.get("type") == "checkbox":
            if "checked" in kept:
                self.boxes.append((kept["name"], kept.get("value", "on")))
        elif tag in ("input", "button"):
            self.fields.setdefault(kept["name"], kept.get("value", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False


class Browser:
    """One person's browser, over any httpx transport.

    `traceparent` gives the trace that a request belongs to (W3C Trace Context), or None.
    """

    def __init__(
        self,
        transport: httpx.BaseTransport,
        username: str,
        password: str,
        traceparent: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._transport = transport
        self._known = {"username": username, "password": password}
        self._traceparent = traceparent
        self._cookies: dict[str, str] = {}

    def visit(
        self,
        address: str,
        until: str,
        choices: Mapping[str, str] | None = None,
        *,
        consider: Callable[[Sequence[Box]], Sequence[Box] | None] | None = None,
    ) -> str:
        """Open `address`, sign in and agree where asked, and go on until a redirect leads to `until`.

        `choices` answers form fields that a person decides on; a form's first button is pressed otherwise.
        `consider` is shown the ticked boxes of the page that asks for a decision, and returns those that
        stay ticked; it may take its time, or return None to close the page, which raises `PageClosed`.
        Returns the whole address that the browser was sent to. Raises `ScenarioError` when the way ends
        elsewhere, naming the last page's status.
        """
        method: str = "GET"
        form: Sequence[Box] | None = None
        for _ in range(_MOST_STEPS):
            response = self._send(method, address, form)
            location = response.headers.get("location")
            if location is not None:
                address = urljoin(address, location)
                if address.partition("?")[0] == until:
                    return address
                method, form = "GET", None
                continue
            page = _FirstForm(response.text)
            if page.action is None or response.status_code >= 400:
                break
            boxes: Sequence[Box] = page.boxes
            if consider is not None and "decision" in page.fields:
                left = consider(boxes)
                if left is None:
                    raise PageClosed
                boxes = left
            form = self._filled(page, choices or {}, boxes)
            method, address = "POST", urljoin(address, page.action)
        raise ScenarioError(f"the way to {until} ended on a page with status {response.status_code}")

    def press(self, address: str, field: str) -> bool:
        """Open `address`, sign in where asked, and send the first form that has `field`; whether there was
        one."""
        method: str = "GET"
        form: list[Box] | None = None
        for _ in range(_MOST_STEPS):
            response = self._send(method, address, form)
            location = response.headers.get("location")
            if location is not None:
                method, form, address = "GET", None, urljoin(address, location)
                continue
            page = _FirstForm(response.text)
            if page.action is None or response.status_code >= 400:
                break
            method, form, address = "POST", self._filled(page, {}, page.boxes), urljoin(address, page.action)
            if field in page.fields:
                self._send(method, address, form)
                return True
        return False

    def _filled(self, page: _FirstForm, choices: Mapping[str, str], boxes: Sequence[Box]) -> list[Box]:
        known = {name: value for name, value in self._known.items() if name in page.fields}
        return [*{**page.fields, **known, **choices}.items(), *boxes]

    def _send(self, method: str, address: str, form: Sequence[Box] | None) -> httpx.Response:
        headers = {"Accept": "text/html", "User-Agent": "simulated-browser/1.0"}
        if self._cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        traceparent = self._traceparent()
        if traceparent is not None:
            headers["traceparent"] = traceparent
        content = None
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            content = urlencode(form).encode()
        response = self._transport.handle_request(
            httpx.Request(method, address, headers=headers, content=content)
        )
        response.read()
        response.close()
        for cookie in response.headers.get_list("set-cookie"):
            for name, morsel in SimpleCookie(cookie).items():
                self._cookies[name] = morsel.value
        return response
