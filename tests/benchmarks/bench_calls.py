"""How many calls a second the whole way takes, against httpx with a transport that does nothing.

Interleaved in one process, so that both sides meet the same machine: five rounds of each, in turns::

    ./lab python tests/benchmarks/bench_calls.py

Printed are the calls a second of both sides in each round, and the ratio of the medians; the target is at
least 0.5. The way is: httpx, authentication, the in-memory transport, sandbox, quota, ledger.

Then, for a provider with three limits and five headers about them: which share of such a call's time the
engine and the rendering of the dialect take together. The target is at most a quarter. Each call's share is
measured by itself, by a clock around the engine and one around the renderer, whose own cost counts with them.
"""

from __future__ import annotations

import base64
import hashlib
import statistics
import tempfile
import time
import tomllib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from quotalab.browser import Browser
from quotalab.clock import Clock, RealClock, SeededEntropy
from quotalab.ledger import LedgerWriter
from quotalab.profiles.provider import parse_provider
from quotalab.sandbox import Sandbox
from quotalab.sandbox.transport import MemoryTransport

ROOT = Path(__file__).parents[2]
ROUNDS, CALLS = 5, 4000
TARGET = 0.5
MOST_SHARE = 0.25
OURS = {"where": "a benchmark", "confidence": "own"}
TALKATIVE = {
    "limits": {
        "minute": {
            "kind": "rolling_window",
            "limit": 10**9,
            "period": "1m",
            "key": ["person"],
            "source": OURS,
        },
        "daily": {"kind": "fixed_window", "limit": 10**9, "period": "1d", "source": OURS},
        "bucket": {"kind": "token_bucket", "capacity": 10**9, "rate": "100/s", "source": OURS},
    },
    "dialect": {
        "headers": [
            {"name": "X-RateLimit-Limit", "value": "{minute.limit},{daily.limit}"},
            {"name": "X-RateLimit-Usage", "value": "{minute.used},{daily.used}"},
            {"name": "X-RateLimit-Remaining", "value": "{tightest.remaining}"},
            {"name": "X-RateLimit-Reset", "value": "{daily.reset_epoch_s}"},
            {"name": "RateLimit", "value": '"bucket";r={bucket.remaining};t={bucket.reset_s}'},
        ]
    },
}


class BearerAuth(httpx.Auth):
    """Sends one token."""

    def __init__(self, token: str) -> None:
        self._header = f"Bearer {token}"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = self._header
        yield request


class Nothing(httpx.BaseTransport):
    """Answers every request with the same bytes."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Type": "application/json"}, content=self._content)


def calls_a_second(client: httpx.Client) -> float:
    """The rate of `CALLS` calls, one after the other."""
    began = time.perf_counter()
    for _ in range(CALLS):
        client.get("/v1/events").raise_for_status()
    return CALLS / (time.perf_counter() - began)


def opened(folder: str, clock: RealClock, **laid: Any) -> tuple[Sandbox, LedgerWriter]:
    """A sandbox of the default profile with tables laid over it, and its ledger."""
    path = ROOT / "profiles" / "providers" / "temporary-production.toml"
    provider = parse_provider(
        {**tomllib.loads(path.read_text(encoding="utf-8")), **laid},
        path.name,
        settings=("latency.median=0s",) if laid else ("latency.median=0s", "limits.hourly.limit=1000000000"),
    )
    ledger = LedgerWriter(Path(folder), clock.monotonic_ns)
    sandbox = Sandbox(
        provider,
        clock=clock,
        entropy=SeededEntropy(1),
        ledger=ledger,
        people=["p00001"],
        issuer="https://provider.test",
    )
    return sandbox, ledger


def main() -> None:
    """Measure and print."""
    clock = RealClock()
    with tempfile.TemporaryDirectory() as folder:
        sandbox, ledger = opened(folder, clock)
        auth = BearerAuth(granted(sandbox, clock))
        whole = httpx.Client(
            base_url=sandbox.issuer, auth=auth, transport=MemoryTransport(sandbox, clock), trust_env=False
        )
        content = whole.get("/v1/events").raise_for_status().content
        bare = httpx.Client(base_url=sandbox.issuer, auth=auth, transport=Nothing(content), trust_env=False)
        rates: dict[str, list[float]] = {"quotalab": [], "bare httpx": []}
        for client in (whole, bare):
            calls_a_second(client)  # warm up
        for _ in range(ROUNDS):
            rates["quotalab"].append(calls_a_second(whole))
            rates["bare httpx"].append(calls_a_second(bare))
        ledger.close()
    for name, found in rates.items():
        rounds = "  ".join(f"{rate:6.0f}" for rate in found)
        print(f"{name:>10}  {statistics.median(found):6.0f} calls/s   rounds: {rounds}")
    ratio = statistics.median(rates["quotalab"]) / statistics.median(rates["bare httpx"])
    print(f"{'ratio':>10}  {ratio:6.2f}   target: at least {TARGET}")
    print_shares(clock)


def print_shares(clock: RealClock) -> None:
    """Which shares of a call's time quota and dialect take, where a provider has much to tell."""
    with tempfile.TemporaryDirectory() as folder:
        sandbox, ledger = opened(folder, clock, **TALKATIVE)
        auth = BearerAuth(granted(sandbox, clock))
        client = httpx.Client(
            base_url=sandbox.issuer, auth=auth, transport=MemoryTransport(sandbox, clock), trust_env=False
        )
        calls_a_second(client)  # warm up
        rates, engine_ns, dialect_ns = [], [], []
        for _ in range(ROUNDS):
            rates.append(calls_a_second(client))
            engine, dialect = Stopwatch(), Stopwatch()
            limits, renderer = sandbox._limits.engine, sandbox._renderer
            decide, add_headers = limits.decide, renderer.add_headers
            limits.decide = engine.around(decide)  # type: ignore[method-assign]
            renderer.add_headers = dialect.around(add_headers)  # type: ignore[method-assign]
            calls_a_second(client)
            limits.decide, renderer.add_headers = decide, add_headers  # type: ignore[method-assign]
            engine_ns.append(engine.mean_ns)
            dialect_ns.append(dialect.mean_ns)
        ledger.close()
    call_ns = 1e9 / statistics.median(rates)
    quota, told = statistics.median(engine_ns), statistics.median(dialect_ns)
    print(f"with three limits and five headers a call takes {call_ns / 1000:.0f} us, of which")
    for name, part in (("quota", quota), ("dialect", told), ("both", quota + told)):
        print(f"{name:>10}  {part / 1000:6.1f} us  {part / call_ns:6.1%}")
    print(f"{'target':>10}  at most {MOST_SHARE:.0%} for both")


class Stopwatch:
    """Adds up the time that calls of a function take."""

    def __init__(self) -> None:
        self._spent_ns = 0
        self._times = 0

    @property
    def mean_ns(self) -> float:
        """Nanoseconds a call."""
        return self._spent_ns / self._times

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with a clock around it."""

        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter_ns()
            result = function(*arguments, **named)
            self._spent_ns += time.perf_counter_ns() - began
            self._times += 1
            return result

        return timed


def granted(sandbox: Sandbox, clock: Clock, scope: str = "events.read") -> str:
    """An access token of the one person, who signs in and consents."""
    callback, verifier = "https://app.test/callback", "v" * 43
    access = sandbox.register(callback)
    digest = hashlib.sha256(verifier.encode()).digest()
    asked = {
        "response_type": "code",
        "client_id": access.client_id,
        "redirect_uri": callback,
        "scope": scope,
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    transport = MemoryTransport(sandbox, clock)
    browser = Browser(transport, "p00001", sandbox.password_of("p00001"))
    back = browser.visit(f"{access.authorization_endpoint}?{urlencode(asked)}", callback)
    with httpx.Client(transport=transport, trust_env=False) as client:
        answer = client.post(
            access.token_endpoint,
            auth=(access.client_id, access.client_secret),
            data={
                "grant_type": "authorization_code",
                "code": parse_qs(urlsplit(back).query)["code"][0],
                "redirect_uri": callback,
                "code_verifier": verifier,
            },
        )
    return str(answer.raise_for_status().json()["access_token"])


if __name__ == "__main__":
    main()
