"""Addresses that are built into a library, sent to the sandbox instead.

Where a library takes no base address, ``[tool.quotalab.app] rewrite`` maps the beginnings of addresses to
others. The change is made where a request has been made ready and is about to leave: below requests, httpx,
aiohttp and urllib3's pool manager, so that the library itself notices nothing. Other HTTP libraries (urllib,
http.client, those in C) are not served.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Rewriter"]


class Rewriter:
    """A map of addresses; `install` puts it below the HTTP libraries that are there, `undo` takes it away."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        kept = {begin.rstrip("/"): target.rstrip("/") for begin, target in addresses.items()}
        self._addresses = sorted(kept.items(), key=lambda pair: -len(pair[0]))
        self._undone: list[tuple[Any, str, Any]] = []

    def __call__(self, address: str) -> str:
        """Where a request for `address` goes: the longest beginning wins, and it ends where a part ends."""
        for begin, target in self._addresses:
            rest = address[len(begin) :]
            if address.startswith(begin) and (not rest or rest[0] in "/?#"):
                return target + rest
        return address

    def install(self) -> None:
        """Serve those libraries that are installed."""
        if self._addresses:
            for name, patch in (
                ("requests", self._requests),
                ("httpx", self._httpx),
                ("urllib3", self._urllib3),
                ("aiohttp", self._aiohttp),
            ):
                if importlib.util.find_spec(name) is not None:
                    patch()

    def undo(self) -> None:
        """Leave the libraries as they were."""
        while self._undone:
            owner, name, before = self._undone.pop()
            setattr(owner, name, before)

    def _replace(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        before = getattr(owner, name)
        self._undone.append((owner, name, before))
        setattr(owner, name, make(before))

    def _requests(self) -> None:
        from requests.adapters import HTTPAdapter

        def make(before: Any) -> Any:
            def send(adapter: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
                asked = request.url
                there = self(asked)
                if there == asked:
                    return before(adapter, request, *args, **kwargs)
                kwargs["proxies"] = {}
                moved = request.copy()
                moved.url = there
                response = before(adapter, moved, *args, **kwargs)
                response.request, response.url = request, asked
                return response

            return send

        self._replace(HTTPAdapter, "send", make)

    def _httpx(self) -> None:
        import httpx

        def moved(request: Any) -> Any:
            asked = str(request.url)
            there = self(asked)
            if there == asked:
                return request
            headers = request.headers.copy()
            headers["Host"] = urlsplit(there).netloc
            return httpx.Request(
                request.method, there, headers=headers, stream=request.stream, extensions=request.extensions
            )

        def make(before: Any) -> Any:
            def handle_request(transport: Any, request: Any) -> Any:
                return before(transport, moved(request))

            return handle_request

        def make_async(before: Any) -> Any:
            async def handle_async_request(transport: Any, request: Any) -> Any:
                return await before(transport, moved(request))

            return handle_async_request

        self._replace(httpx.HTTPTransport, "handle_request", make)
        self._replace(httpx.AsyncHTTPTransport, "handle_async_request", make_async)

    def _urllib3(self) -> None:
        import urllib3

        def make(before: Any) -> Any:
            def urlopen(manager: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
                return before(manager, method, self(url), *args, **kwargs)

            return urlopen

        self._replace(urllib3.PoolManager, "urlopen", make)

    def _aiohttp(self) -> None:
        import aiohttp

        def make(before: Any) -> Any:
            async def _request(session: Any, method: str, str_or_url: Any, **kwargs: Any) -> Any:
                asked = str(str_or_url)
                there = self(asked)
                return await before(session, method, str_or_url if there == asked else there, **kwargs)

            return _request

        self._replace(aiohttp.ClientSession, "_request", make)
