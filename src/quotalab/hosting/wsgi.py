"""A WSGI app inside the process: each request runs in the greenlet of the person who makes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx

from quotalab.hosting.client import AppAnsweredError

__all__ = ["OnlyTheApp", "wsgi_transport"]


class OnlyTheApp(httpx.BaseTransport):
    """Lets nothing but the app's own host through."""

    def __init__(self, inner: httpx.BaseTransport, base: str) -> None:
        self._inner = inner
        self._host = urlsplit(base).netloc

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx. Raises `AppAnsweredError` for any other host."""
        if request.url.netloc.decode() != self._host:
            raise AppAnsweredError(f"the app sent the person to {request.url.host}, which is not the app")
        return self._inner.handle_request(request)

    def close(self) -> None:
        """Close what lies below."""
        self._inner.close()


def wsgi_transport(app: Callable[..., Any], base: str) -> httpx.BaseTransport:
    """The way to a WSGI app at `base`, in memory."""
    return OnlyTheApp(httpx.WSGITransport(app=app), base)
