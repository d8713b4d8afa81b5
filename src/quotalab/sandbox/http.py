"""A request and an answer, as the sandbox sees them however they came: in memory or over a socket."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from quotalab.profiles.routes import Parameter

__all__ = [
    "MAX_BODY_BYTES",
    "MAX_HEADERS",
    "MAX_HEADER_BYTES",
    "Request",
    "Response",
    "html",
    "json_response",
    "reader",
    "redirect",
]

MAX_BODY_BYTES = 1_000_000
MAX_HEADERS = 200
MAX_HEADER_BYTES = 65_536

_UNREAD = object()

Headers = list[tuple[str, str]]


class Request:
    """What a client sent; all of it is hostile input.

    `headers` keep their order; names are lower-case. `sent_ns` is when it left its sender.
    """

    __slots__ = ("_json", "body", "headers", "ip", "method", "operation", "path", "query", "sent_ns")

    def __init__(
        self,
        method: str,
        path: str,
        query: str,
        headers: Headers,
        body: bytes,
        *,
        ip: str,
        sent_ns: int,
        operation: str | None,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.ip = ip
        self.sent_ns = sent_ns
        self.operation = operation
        self._json: Any = _UNREAD

    def json(self) -> Any:
        """The body as JSON; None if it is none, however deep or strange."""
        if self._json is _UNREAD:
            try:
                self._json = json.loads(self.body)
            except (ValueError, RecursionError):
                self._json = None
        return self._json

    def header(self, name: str) -> str | None:
        """The first header of that (lower-case) name."""
        for header, value in self.headers:
            if header == name:
                return value
        return None

    def authorization(self, scheme: str) -> str | None:
        """What an ``Authorization`` header says under a (lower-case) scheme: bearer is RFC 6750, 2.1."""
        said = self.header("authorization")
        if said is None:
            return None
        own, blank, credentials = said.partition(" ")
        return credentials.strip() if blank and own.lower() == scheme else None

    def cookie(self, name: str) -> str | None:
        """The value of a cookie; whatever else a browser sends along does not matter (RFC 6265, 5.4)."""
        for pair in (self.header("cookie") or "").split(";"):
            key, _, value = pair.partition("=")
            if key.strip() == name:
                return value.strip()
        return None

    def query_pairs(self) -> list[tuple[str, str]]:
        """Query parameters in order; none when there are more than 100."""
        return _pairs(self.query)

    def form_pairs(self) -> list[tuple[str, str]]:
        """Parameters of an ``application/x-www-form-urlencoded`` body; none of any other, or beyond 100."""
        kind = (self.header("content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            return []
        return _pairs(self.body.decode("utf-8", "replace"))


def _pairs(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        return []


Read = Callable[[Request, Mapping[str, str]], str | None]


def reader(parameter: Parameter) -> Read:
    """What reads a parameter of a request whose path has these segments; None: it is not there.

    Of a query or form the last value of that name counts; a whole number in JSON counts as its text.
    """
    place, name = parameter.place, parameter.name
    if place == "path":
        return lambda _, segments: segments.get(name)
    if place == "header":
        return lambda request, _: request.header(name)
    if place == "query":
        return lambda request, _: dict(request.query_pairs()).get(name) if request.query else None
    if place == "form":
        return lambda request, _: dict(request.form_pairs()).get(name)
    steps = name.split(".")

    def read(request: Request, _: Mapping[str, str]) -> str | None:
        found = request.json()
        for step in steps:
            found = found.get(step) if isinstance(found, dict) else None
        if isinstance(found, str):
            return found
        try:
            return str(found) if isinstance(found, int) and not isinstance(found, bool) else None
        except ValueError:  # more digits than Python writes
            return None

    return read


class Response:
    """An answer of the sandbox.

    A `status` of 0 is none: the connection is closed without an answer. A `length` is what Content-Length
    says where less of the body comes before the connection is closed.
    """

    __slots__ = ("body", "headers", "length", "status")

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.length: int | None = None


def json_response(status: int, document: Any, *headers: tuple[str, str]) -> Response:
    """A JSON answer."""
    body = json.dumps(document, separators=(",", ":")).encode()
    return Response(status, [("Content-Type", "application/json"), *headers], body)


def html(status: int, page: str, *headers: tuple[str, str]) -> Response:
    """A page; it may be framed by nobody and loads nothing (OWASP: clickjacking; RFC 9700, 4.16)."""
    return Response(
        status,
        [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Cache-Control", "no-store"),
            (
                "Content-Security-Policy",
                "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
                "frame-ancestors 'none'",
            ),
            ("X-Frame-Options", "DENY"),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            *headers,
        ],
        page.encode(),
    )


def redirect(location: str, *headers: tuple[str, str]) -> Response:
    """See Other (RFC 9110, 15.4.4): a form that was posted is not posted again elsewhere (RFC 9700, 4.12)."""
    fixed = [("Location", location), ("Cache-Control", "no-store"), ("Content-Type", "text/plain")]
    return Response(303, [*fixed, *headers], b"")
