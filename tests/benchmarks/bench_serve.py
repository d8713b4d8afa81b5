"""The sandbox stand-alone, under 16 connections, beside the same server with an app that does nothing.

Each serves in a process of its own, a third one asks: it keeps 16 connections open, and on each the next
request goes out when the last one's answer is there. In turns, so that both meet the same machine::

    ./lab python tests/benchmarks/bench_serve.py [--seconds 30]

Printed are errors (there must be none), the requests a second of both, and the ratio.

Then, in memory: which share of a call the bearer check and the routing take together, which may be at most a
fifth; and how long it takes to look up 100 tokens, the least of 15 turns, where no others live and among
100,000 that do, which should be the same.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import random
import re
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from quotalab.clock import RealClock, SeededEntropy
from quotalab.ledger import LedgerWriter
from quotalab.profiles.loading import load_provider
from quotalab.sandbox import Sandbox
from quotalab.sandbox.http import Request
from quotalab.workspace import Workspace

ROOT = Path(__file__).parents[2]
CONNECTIONS, ROUNDS = 16, 3
MOST_SHARE = 0.2
SETTINGS = ("latency.median=0s", "limits.hourly.limit=1000000000")
CALLBACK = "https://app.test/callback"
VERIFIER = "a-verifier-of-43-characters-or-more-Zx9_~.-1"
NOTHING = """
import sys
from gevent.event import Event
from quotalab.sandbox.server import LoopbackServer
body = b"x" * int(sys.argv[1])
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
server = LoopbackServer()
server.serve(application)
print("export API_BASE=" + server.address, flush=True)
Event().wait()
"""


def started(*command: str) -> tuple[subprocess.Popen[str], dict[str, str]]:
    """A server's process, and what it says to export."""
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said: dict[str, str] = {}
    for line in process.stdout:
        if found := re.fullmatch(r"export (\w+)='?(.*?)'?\n", line):
            said[found[1]] = found[2]
        elif said:
            break
        if "API_BASE" in said and "ISSUER" not in said:
            break
    return process, said


def connected(said: dict[str, str]) -> str:
    """An access token, by the consent that is given at once."""
    asked = {
        "response_type": "code",
        "client_id": said["CLIENT_ID"],
        "redirect_uri": CALLBACK,
        "scope": said["SCOPE"],
        "code_challenge": _challenge(),
        "code_challenge_method": "S256",
    }
    with httpx.Client() as client:
        sent_to = client.get(f"{said['AUTHORIZATION_ENDPOINT']}?{urlencode(asked)}").headers["location"]
        form = {
            "grant_type": "authorization_code",
            "code": parse_qs(urlsplit(sent_to).query)["code"][0],
            "redirect_uri": CALLBACK,
            "code_verifier": VERIFIER,
        }
        auth = (said["CLIENT_ID"], said["CLIENT_SECRET"])
        return str(client.post(said["TOKEN_ENDPOINT"], data=form, auth=auth).json()["access_token"])


def _challenge() -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


def asked(api_base: str, token: str, seconds: float) -> tuple[int, int]:
    """Ask for so long over all connections; how many answers were right, and how many were not."""
    parts = urlsplit(api_base)
    request = (
        f"GET {parts.path}/events HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n"
    ).encode()
    selector = selectors.DefaultSelector()
    got: dict[socket.socket, bytes] = {}
    for _ in range(CONNECTIONS):
        connection = socket.create_connection((parts.hostname, parts.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection, selectors.EVENT_READ)
        got[connection] = b""
        connection.sendall(request)
    right = wrong = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for key, _ in selector.select(1):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            part = connection.recv(65536)
            answer = got[connection] + part
            head, blank, body = answer.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            if not part or (blank and length is None):
                wrong += 1
                selector.unregister(connection)
                continue
            if not blank or length is None or len(body) < int(length[1]):
                got[connection] = answer
                continue
            got[connection] = b""
            if head.startswith(b"HTTP/1.1 200"):
                right += 1
            else:
                wrong += 1
            connection.sendall(request)
    for connection in got:
        connection.close()
    return right, wrong


def under_load(seconds: float) -> None:
    """Both servers in turns, over sockets."""
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    for lines in ((), ("--quiet",)):
        with tempfile.TemporaryDirectory() as folder:
            sandbox, said = started(
                *("-m", "quotalab", "sandbox", "--provider", "temporary-production", "--consent", "auto"),
                *("--redirect-uri", CALLBACK, "--out", f"{folder}/out", *settings, *lines),
            )
            # What it prints has to be read by somebody.
            reader = subprocess.Popen(["cat"], stdin=sandbox.stdout, stdout=subprocess.DEVNULL)
            token = connected(said)
            size = len(
                httpx.get(f"{said['API_BASE']}/events", headers={"Authorization": f"Bearer {token}"}).content
            )
            nothing, its = started("-c", NOTHING, str(size))
            rates: dict[str, list[float]] = {"sandbox": [], "nothing": []}
            errors = 0
            for _ in range(ROUNDS):
                for name, base in (("sandbox", said["API_BASE"]), ("nothing", its["API_BASE"])):
                    right, wrong = asked(base, token, seconds / ROUNDS)
                    rates[name].append(right * ROUNDS / seconds)
                    errors += wrong
            sandbox.send_signal(signal.SIGINT)
            nothing.kill()
            code = sandbox.wait()
            nothing.wait()
            reader.wait()
            for stream in (sandbox.stdout, nothing.stdout):
                assert stream is not None
                stream.close()
        ratio = statistics.median(rates["sandbox"]) / statistics.median(rates["nothing"])
        print(
            f"{CONNECTIONS} connections, {seconds:g} s each, {'no lines' if lines else 'a line a call'}: "
            f"{errors} errors, exit {code}; sandbox {statistics.median(rates['sandbox']):,.0f}, the same server "
            f"with an app that does nothing {statistics.median(rates['nothing']):,.0f} requests a second; "
            f"ratio {ratio:.2f}"
        )


def in_memory() -> None:
    """Bearer check, routing and the growth of look-ups, without a socket."""
    provider = load_provider(Workspace.find(ROOT), "temporary-production", SETTINGS)
    clock = RealClock()
    with tempfile.TemporaryDirectory() as folder:
        ledger = LedgerWriter(Path(folder), clock.monotonic_ns)
        sandbox = Sandbox(
            provider,
            clock=clock,
            entropy=SeededEntropy(1),
            ledger=ledger,
            people=["p00001"],
            issuer="http://127.0.0.1",
        )
        access = sandbox.register(CALLBACK)
        server, store = sandbox._api, sandbox._store
        tokens: list[str] = []

        def fill(number: int) -> None:
            while len(tokens) < number:
                tokens.append(f"{len(tokens):043d}")
                _issue(store, tokens[-1], access.client_id)

        def request(token: str) -> Request:
            headers = [("host", "127.0.0.1"), ("accept", "*/*"), ("authorization", f"Bearer {token}")]
            return Request(
                "GET", "/v1/events", "", headers, b"", ip="127.0.0.1", sent_ns=clock.now_ns(), operation=None
            )

        fill(100)
        one = request(tokens[7])
        now_ns = clock.now_ns()

        def check() -> None:
            server._match(one)
            server._token(server.secret(one), now_ns)

        calls, checks = [], []
        for _ in range(7):
            calls.append(_each_ns(lambda: sandbox.exchange(one), 3000))
            checks.append(_each_ns(check, 3000))
        share = statistics.median(checks) / statistics.median(calls)
        print(
            f"a call in memory {statistics.median(calls) / 1e3:.1f} us, bearer check and routing "
            f"{statistics.median(checks) / 1e3:.2f} us: {share:.1%} (at most {MOST_SHARE:.0%})"
        )
        for number in (100, 100_000):
            fill(number)
            some = [request(token) for token in random.Random(1).sample(tokens, 100)] * 30

            def look_up(rest: Iterator[Request]) -> None:
                server._token(server.secret(next(rest)), now_ns)

            turns = [_each_ns(partial(look_up, iter(some)), len(some)) for _ in range(15)]
            print(f"look-up among {number:>7,} live tokens: {min(turns):.0f} ns")
        ledger.close()


def _issue(store: Any, token: str, client_id: str) -> None:
    from quotalab.sandbox.store import Grant

    store.add_access(token, Grant("p00001", client_id), "events.read events.write", token)


def _each_ns(work: Callable[[], object], times: int) -> float:
    before = time.perf_counter_ns()
    for _ in range(times):
        work()
    return (time.perf_counter_ns() - before) / times


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0)
    options, _ = parser.parse_known_args()
    in_memory()
    under_load(options.seconds)
