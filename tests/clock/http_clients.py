"""Many requests through one HTTP library over loopback, in virtual time: a program that tells how it went.

Run as ``python http_clients.py LIBRARY,... sandbox,echo REQUESTS [SPOILT]`` by test_http_libraries.py. Clients call a server
of the same process with a timeout close above the slowest answer, while a timer ticks every millisecond. It is
a sandbox, each of whose answers must come exactly when the network's model says, or an echo of up to 3 MB that
takes no time at all. As a control the clock can be spoilt.
"""

from __future__ import annotations

import json
import socket
import sys
import tempfile
import time
import tomllib
from collections import Counter
from pathlib import Path

from quotalab.clock.virtual import install

START_NS = 1_767_571_200_000_000_000
CLIENTS = 20
TIMEOUT_S = 1.0
SETTINGS = (
    "limits.hourly.limit=1000000000",
    "oauth.access_token_lifetime=30d",
    "latency.median=40ms",
    "latency.sigma=0.5",
)
PATH = "/v1/events"


def spoil_polling(virtual):
    """A control: several timers fire before input and output are looked for again."""
    kind = type(virtual._loop)
    jump = kind._jump
    kind._jump = lambda loop: [jump(loop) for _ in range(5)]


def spoil_sending(virtual):
    """A control: small packets wait to be gathered, and time does not wait for them."""
    virtual._sockets.restore()
    before = socket.socket.setsockopt

    def setsockopt(sock, level, option, *value):
        if (level, option) != (socket.IPPROTO_TCP, socket.TCP_NODELAY):
            before(sock, level, option, *value)

    socket.socket.setsockopt = setsockopt


SPOILT = {"polling": spoil_polling, "sending": spoil_sending}


def with_requests(address, headers):
    import requests

    session = requests.Session()
    session.trust_env = False
    session.headers.update(headers)

    def send(method, path, body=None):
        answer = session.request(method, address + path, data=body, timeout=TIMEOUT_S)
        return answer.status_code, answer.content

    return send


def with_httpx(address, headers):
    import httpx

    client = httpx.Client(base_url=address, headers=headers, timeout=TIMEOUT_S, trust_env=False, verify=False)

    def send(method, path, body=None):
        answer = client.request(method, path, content=body)
        return answer.status_code, answer.content

    return send


def with_urllib3(address, headers):
    import urllib3

    pool = urllib3.PoolManager(headers=headers, timeout=TIMEOUT_S, retries=False)

    def send(method, path, body=None):
        answer = pool.request(method, address + path, body=body)
        return answer.status, answer.data

    return send


def with_http_client(address, headers):
    import http.client

    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=TIMEOUT_S)

    def send(method, path, body=None):
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    return send


def with_fasthttp(address, headers):
    from locust import FastHttpUser
    from locust.env import Environment

    class Someone(FastHttpUser):
        host = address
        network_timeout = connection_timeout = TIMEOUT_S
        max_retries = 0

    client = Someone(Environment(user_classes=[Someone])).client

    def send(method, path, body=None):
        answer = client.request(method, path, data=body, headers=headers)
        return answer.status_code, answer.content

    return send


LIBRARIES = {
    "requests": with_requests,
    "httpx": with_httpx,
    "urllib3": with_urllib3,
    "http.client": with_http_client,
    "FastHttpUser": with_fasthttp,
}


class Seen:
    """What came of the requests; ``takes_ns`` tells how long one takes that is sent at an instant."""

    def __init__(self, takes_ns):
        self._takes_ns = takes_ns
        self.errors = Counter()
        self.wrong = 0
        self.requests = 0

    def begin(self):
        """To be called when a request is sent; what it returns is for :meth:`end`."""
        self.requests += 1
        return time.time_ns(), time.monotonic_ns()

    def end(self, begun, body, status, content):
        """An answer has come now."""
        sent_ns, began_ns = begun
        if status != 200 or (body is not None and content != body):
            self.errors[f"answered {status} with {len(content)} bytes"] += 1
        elif time.monotonic_ns() - began_ns != self._takes_ns(sent_ns):
            self.wrong += 1

    def fail(self, error):
        """The library has raised."""
        self.errors[f"{type(error).__name__}: {error}"[:120]] += 1


def blocking(library, address, headers, seen, bodies):
    """Clients that are greenlets."""
    import gevent

    def client(number):
        send = LIBRARIES[library](address, headers)
        for body in bodies:
            time.sleep(0.01 + number / 1000)
            begun = seen.begin()
            try:
                seen.end(begun, body, *send("GET" if body is None else "POST", PATH, body))
            except Exception as error:
                seen.fail(error)

    gevent.joinall([gevent.spawn(client, number) for number in range(CLIENTS)], raise_error=True)


def with_aiohttp(address, headers, seen, bodies):
    """Clients that are asyncio's tasks."""
    import asyncio

    import aiohttp

    async def client(session, number):
        for body in bodies:
            await asyncio.sleep(0.01 + number / 1000)
            begun = seen.begin()
            try:
                method = "GET" if body is None else "POST"
                async with session.request(method, address + PATH, data=body) as answer:
                    seen.end(begun, body, answer.status, await answer.read())
            except Exception as error:
                seen.fail(error)

    async def main():
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            await asyncio.gather(*(client(session, number) for number in range(CLIENTS)))

    asyncio.run(main())


def a_sandbox(virtual, address, folder):
    """A sandbox whose answers take their time, a person's token for it, and how long a request takes."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    from bench_calls import ROOT, granted

    from quotalab.clock import SeededEntropy
    from quotalab.ledger import LedgerWriter
    from quotalab.profiles.provider import parse_provider
    from quotalab.sandbox import Sandbox
    from quotalab.sandbox.network import Network

    path = ROOT / "profiles" / "providers" / "temporary-production.toml"
    provider = parse_provider(tomllib.loads(path.read_text()), path.name, settings=SETTINGS)
    entropy = SeededEntropy(1)
    sandbox = Sandbox(
        provider,
        clock=virtual.clock,
        entropy=entropy,
        ledger=LedgerWriter(Path(folder), virtual.clock.monotonic_ns),
        people=["p00001"],
        issuer=address,
    )
    network = Network(provider.latency, entropy)
    token = granted(sandbox, virtual.clock)
    return sandbox, token, lambda sent_ns: sum(network.legs_ns("p00001", PATH, sent_ns))


def echo(environ, start_response):
    """Answers with what it is sent, in no time."""
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [body]


def converse(virtual, library, kind, requests, folder):
    """Let the clients send their requests; what came of them."""
    import gevent

    from quotalab.sandbox.server import LoopbackServer

    server = LoopbackServer()
    if kind == "sandbox":
        application, token, takes_ns = a_sandbox(virtual, server.address, folder)
        bodies = [None] * (requests // CLIENTS)
    else:
        application, token, takes_ns = echo, "any", lambda sent_ns: 0
        bodies = [b"x" * size for size in (1, 1000, 100_000, 3_000_000)] * (requests // CLIENTS // 4)
    connections = set()

    def counting(environ, start_response):
        connections.add(environ["REMOTE_PORT"])
        return application(environ, start_response)

    server.serve(counting)

    def tick():
        while True:
            time.sleep(0.001)

    ticking = gevent.spawn(tick)
    seen = Seen(takes_ns)
    headers = {"Authorization": f"Bearer {token}"}
    if library == "aiohttp":
        with_aiohttp(server.address, headers, seen, bodies)
    else:
        blocking(library, server.address, headers, seen, bodies)
    ticking.kill()
    server.stop()
    return {
        "library": library,
        "kind": kind,
        "requests": seen.requests,
        "errors": dict(seen.errors),
        "wrong": seen.wrong,
        "connections": len(connections),
    }


def main(libraries, kinds, requests, spoil=None):
    with install(START_NS, 1) as virtual:
        if spoil is not None:
            SPOILT[spoil](virtual)
        for library in libraries.split(","):
            for kind in kinds.split(","):
                with tempfile.TemporaryDirectory() as folder:
                    print(json.dumps(converse(virtual, library, kind, requests, folder)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
