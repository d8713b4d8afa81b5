"""Calls over sockets of an app in the process are linked to the operation that sends them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from quotalab.ledger import read_ledger

DAY = """
from locust import constant, task
from quotalab.scenario import Person

class Visitor(Person):
    population = 5
    wait_time = constant(7)

    @task
    def sync(self):
        with self.asking("sync", within_s=60) as asked:
            self.app.sync(asked.operation)
"""
APP = """
import asyncio, os, threading
from concurrent.futures import ThreadPoolExecutor

class Mine:
    def __init__(self, access):
        self.base = access.api_base
        self.transport = access.transport
        self.begin()
    def is_connected(self, person):
        return True
    def sync(self, key):
        # Whose each call is, is told by argument, and so known without any context.
        self.ask("GET", key, None)
        self.ask("POST", key, b"x" * 200_000)

def build(access):
    return CLIENT(access)
"""
CLIENTS = {
    "requests": """
import requests
from requests.adapters import HTTPAdapter

class CLIENT(Mine):
    def begin(self):
        self.session = requests.Session()
        self.session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=2, pool_block=True))
    def ask(self, method, key, body):
        self.session.request(method, self.base + "/events", data=body, headers={"Idempotency-Key": key})
""",
    "httpx": """
import httpx

class CLIENT(Mine):
    def begin(self):
        limits = httpx.Limits(max_connections=2)
        self.client = httpx.Client(transport=self.transport or httpx.HTTPTransport(limits=limits))
    def ask(self, method, key, body):
        self.client.request(method, self.base + "/events", content=body, headers={"Idempotency-Key": key})
""",
    "aiohttp": """
import aiohttp

class CLIENT(Mine):
    def begin(self):
        self.loop = asyncio.SelectorEventLoop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.session = asyncio.run_coroutine_threadsafe(self.open(), self.loop).result()
    async def open(self):
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=2))
    def ask(self, method, key, body):
        asyncio.run_coroutine_threadsafe(self.send(method, key, body), self.loop).result()
    async def send(self, method, key, body):
        headers = {"Idempotency-Key": key}
        async with self.session.request(method, self.base + "/events", data=body, headers=headers) as answer:
            await answer.read()
    def close(self):
        asyncio.run_coroutine_threadsafe(self.session.close(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
""",
    "a pool of threads": """
import httpx

class CLIENT(Mine):
    def begin(self):
        self.client = httpx.Client(limits=httpx.Limits(max_connections=1))
        self.pool = ThreadPoolExecutor(2)
    def ask(self, method, key, body):
        headers = {"Idempotency-Key": key}
        self.pool.submit(self.client.request, method, self.base + "/events", content=body, headers=headers).result()
""",
}


def calls_and_operations(
    call: Any, folder: Path, client: str, *arguments: str
) -> tuple[list[Any], list[Any]]:
    """The ledger's rows of a minute, of five people who ask at once over two connections."""
    (folder / "locustfiles").mkdir(exist_ok=True)
    (folder / "locustfiles" / "day.py").write_text(DAY, encoding="utf-8")
    (folder / "mine.py").write_text(APP + CLIENTS[client], encoding="utf-8")
    (folder / "pyproject.toml").write_text(
        '[tool.quotalab]\nscenario = "day"\n[tool.quotalab.app]\nbuild = "mine:build"\n', encoding="utf-8"
    )
    out = folder / "-".join(["out", *(word for word in arguments if word.isalpha())])
    ended = call("run", "--for", "59s", "--out", str(out), *arguments, cwd=folder)
    assert ended.code in (0, 1), ended.err
    ledger = read_ledger(out)
    return ledger.calls.to_pylist(), ledger.operations.to_pylist()


@pytest.mark.parametrize(
    "client",
    ["requests", *(pytest.param(one, marks=pytest.mark.full) for one in CLIENTS if one != "requests")],
)
def test_each_call_bears_the_operation_that_sent_it(call: Any, tmp_path: Path, client: str) -> None:
    """On kept connections that people share: one operation for each key, within its time, two calls of each."""
    calls, operations = calls_and_operations(call, tmp_path, client, "--transport", "socket")
    known = {one["operation"]: one for one in operations if one["outcome"] == "done"}
    assert len(known) > 30
    keys: dict[str, set[str]] = {}
    for one in calls:
        keys.setdefault(one["operation"], set()).add(one["idempotency_key"])
    assert None not in keys
    assert all(len(sent) == 1 for sent in keys.values())
    assert len({next(iter(sent)) for sent in keys.values()}) == len(keys)
    of_each = Counter(one["operation"] for one in calls)
    for operation, row in known.items():
        assert of_each[operation] == row["calls"] == 2
    for one in calls:
        if one["operation"] in known:
            row = known[one["operation"]]
            assert row["started"] <= one["sent"] <= one["done"] <= row["ended"]


@pytest.mark.full
def test_sockets_link_as_memory_does(call: Any, tmp_path: Path) -> None:
    """The same operations, with as many calls each."""
    told = {
        transport: calls_and_operations(call, tmp_path, "httpx", "--transport", transport)
        for transport in ("memory", "socket")
    }
    of_each = {
        transport: (
            Counter(one["operation"] for one in calls),
            sorted((one["operation"], one["person"], one["outcome"], one["calls"]) for one in operations),
        )
        for transport, (calls, operations) in told.items()
    }
    assert len(of_each["memory"][0]) > 30
    assert of_each["socket"] == of_each["memory"]
