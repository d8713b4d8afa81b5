"""Which page of a list a request asks for, and what asks for the next one."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, urlencode

from quotalab.profiles.routes import Page
from quotalab.sandbox.http import Request, reader

__all__ = ["Asked", "Pages"]

_FROM_1 = re.compile(r"[1-9][0-9]{0,8}")
_FROM_0 = re.compile(r"0|[1-9][0-9]{0,8}")
_CURSOR = re.compile(r"after:(0|[1-9][0-9]{0,8})")


class Asked(NamedTuple):
    """A page, as a request asks for it."""

    start: int
    """How many items come before it."""
    size: int


class Pages:
    """The pages of one list."""

    def __init__(self, page: Page) -> None:
        self._style = page.style
        self._at = page.at
        self._read = reader(page.at)
        self._read_size = reader(page.size_at) if page.size_at is not None else None
        self.size = page.size
        self._most = page.most

    def asked(self, request: Request, segments: Mapping[str, str]) -> Asked | str:
        """The page that a request asks for, or what is wrong with how it asks. More than the most at once
        is answered with the most."""
        size = self.size
        if self._read_size is not None:
            text = self._read_size(request, segments)
            if text is not None:
                if not _FROM_1.fullmatch(text):
                    return "The page size must be a whole number from 1."
                size = min(int(text), self._most)
        text = self._read(request, segments)
        if text is None or (self._style == "cursor" and not text):
            return Asked(0, size)
        if self._style == "page":
            if not _FROM_1.fullmatch(text):
                return f"{self._at.name} must be a whole number from 1."
            return Asked((int(text) - 1) * size, size)
        if self._style == "offset":
            if not _FROM_0.fullmatch(text):
                return f"{self._at.name} must be a whole number from 0."
            return Asked(int(text), size)
        start = _start_of(text)
        return Asked(start, size) if start is not None else f"{self._at.name} is no cursor."

    def next(self, asked: Asked, total: int) -> str | None:
        """What asks for the page behind `asked`; None: there is none."""
        start = asked.start + asked.size
        if start >= total:
            return None
        if self._style == "page":
            return str(asked.start // asked.size + 2)
        return str(start) if self._style == "offset" else _cursor(start)

    def next_url(self, request: Request, issuer: str, following: str) -> str:
        """The address of the next page: this one's, with the next page's parameter."""
        name = self._at.name
        pairs = [pair for pair in request.query_pairs() if pair[0] != name]
        query = urlencode([*pairs, (name, following)], errors="replace")
        return f"{issuer}{quote(request.path, errors='replace')}?{query}"


def _cursor(start: int) -> str:
    return base64.urlsafe_b64encode(b"after:%d" % start).rstrip(b"=").decode()


def _start_of(cursor: str) -> int | None:
    if len(cursor) > 40 or not cursor.isascii():
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except ValueError:
        return None
    match = _CURSOR.fullmatch(text)
    start = int(match[1]) if match else None
    return start if start is not None and _cursor(start) == cursor else None
