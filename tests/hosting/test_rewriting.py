"""Built-in addresses are sent elsewhere, below each HTTP library that is served."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from quotalab.hosting.rewriting import Rewriter

BUILT_IN = "https://api.example.com/v1"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server that answers with what was asked of it: method, path and Host."""

    class Echo(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            told = f"{self.command} {self.path} {self.headers['Host']} {body.decode()}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *arguments: object) -> None:
            pass

    listening = HTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    thread.join()
    listening.server_close()


@pytest.mark.parametrize(
    ("address", "there"),
    [
        (BUILT_IN, "http://s/a"),
        (BUILT_IN + "/events?x=1", "http://s/a/events?x=1"),
        (BUILT_IN + "?x=1", "http://s/a?x=1"),
        (BUILT_IN + "beta/events", "http://s/rest/v1beta/events"),
        ("https://api.example.com", "http://s/rest"),
        ("https://api.example.com.evil.example/v1", "https://api.example.com.evil.example/v1"),
        ("http://api.example.com/v1", "http://api.example.com/v1"),
    ],
)
def test_the_longest_beginning_wins_and_ends_where_a_part_ends(address: str, there: str) -> None:
    """Neither a longer word nor a longer host is taken for it."""
    rewriter = Rewriter({"https://api.example.com/": "http://s/rest/", BUILT_IN: "http://s/a"})
    assert rewriter(address) == there


def by_requests() -> str:
    import requests

    response = requests.post(BUILT_IN + "/events?x=1", data="body", timeout=5)
    assert response.url == BUILT_IN + "/events?x=1"
    return response.text


def by_httpx() -> str:
    import httpx

    with httpx.Client(trust_env=False) as client:
        response = client.post(BUILT_IN + "/events?x=1", content="body")
    assert str(response.url) == BUILT_IN + "/events?x=1"
    return response.text


def by_async_httpx() -> str:
    import httpx

    async def ask() -> str:
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.post(BUILT_IN + "/events?x=1", content="body")).text

    return asyncio.run(ask())


def by_urllib3() -> str:
    import urllib3

    with urllib3.PoolManager() as pool:
        return pool.request("POST", BUILT_IN + "/events?x=1", body="body").data.decode()


def by_aiohttp() -> str:
    import aiohttp

    async def ask() -> str:
        async with (
            aiohttp.ClientSession() as session,
            session.post(BUILT_IN + "/events?x=1", data="body") as got,
        ):
            return await got.text()

    return asyncio.run(ask())


@pytest.mark.parametrize("ask", [by_requests, by_httpx, by_async_httpx, by_urllib3, by_aiohttp])
def test_a_library_reaches_the_other_address_and_notices_nothing(ask, server: str) -> None:
    """The path is kept, the Host is the new one; afterwards the library is as it was."""
    rewriter = Rewriter({BUILT_IN: server + "/api"})
    rewriter.install()
    try:
        said = ask()
    finally:
        rewriter.undo()
    assert said == f"POST /api/events?x=1 {server.removeprefix('http://')} body"
