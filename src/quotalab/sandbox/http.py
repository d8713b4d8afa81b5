"""A request and an answer, as the sandbox sees them however they came: in memory or over a socket."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl

__all__ = ["MAX_BODY_BYTES", "Request", "Response", "html", "json_response", "redirect"]

MAX_BODY_BYTES = 1_000_000

Headers = list[tuple[str, str]]


class Request:
    """What a client sent; all of it is hostile input.

    `headers` keep their order; names are lower-case. `sent_ns` is when it left its sender.
    """

    __slots__ = ("body", "headers", "ip", "method", "operation", "path", "query", "sent_ns")

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

    def header(self, name: str) -> str | None:
        """The first header of that (lower-case) name."""
        for header, value in self.headers:
            if header == name:
                return value
        return None

    def bearer(self) -> str | None:
        """The token of an ``Authorization: Bearer`` header (RFC 6750, 2.1)."""
        authorization = self.header("authorization")
        if authorization is None or authorization[:7].lower() != "bearer ":
            return None
        return authorization[7:].strip()

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


class Response:
    """An answer of the sandbox."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


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
                "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
            ),
            ("Referrer-Policy", "no-referrer"),
            *headers,
        ],
        page.encode(),
    )


def redirect(location: str, *headers: tuple[str, str]) -> Response:
    """See Other (RFC 9110, 15.4.4): a form that was posted is not posted again elsewhere (RFC 9700, 4.12)."""
    fixed = [("Location", location), ("Cache-Control", "no-store"), ("Content-Type", "text/plain")]
    return Response(303, [*fixed, *headers], b"")
