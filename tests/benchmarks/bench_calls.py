"""How many calls a second the whole way takes, against httpx with a transport that does nothing.

Interleaved in one process, so that both sides meet the same machine: five rounds of each, in turns::

    ./lab python tests/benchmarks/bench_calls.py

Printed are the calls a second of both sides in each round, and the ratio of the medians; the target is at
least 0.5. The way is: httpx, authentication, the in-memory transport, sandbox, quota, ledger.
"""

from __future__ import annotations

import base64
import hashlib
import statistics
import tempfile
import time
import tomllib
from collections.abc import Generator
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from quotalab.browser import Browser
from quotalab.clock import RealClock, SeededEntropy
from quotalab.ledger import LedgerWriter
from quotalab.profiles.provider import parse_provider
from quotalab.sandbox import Sandbox
from quotalab.sandbox.transport import MemoryTransport

ROOT = Path(__file__).parents[2]
ROUNDS, CALLS = 5, 4000
TARGET = 0.5


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


def main() -> None:
    """Measure and print."""
    path = ROOT / "profiles" / "providers" / "temporary-production.toml"
    provider = parse_provider(
        tomllib.loads(path.read_text(encoding="utf-8")),
        path.name,
        settings=("latency.median=0s", "limits.hourly.limit=1000000000"),
    )
    clock = RealClock()
    with tempfile.TemporaryDirectory() as folder:
        ledger = LedgerWriter(Path(folder), clock.monotonic_ns)
        sandbox = Sandbox(
            provider,
            clock=clock,
            entropy=SeededEntropy(1),
            ledger=ledger,
            people=["p00001"],
            issuer="https://provider.test",
        )
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


def granted(sandbox: Sandbox, clock: RealClock) -> str:
    """An access token of the one person, who signs in and consents."""
    callback, verifier = "https://app.test/callback", "v" * 43
    access = sandbox.register(callback)
    digest = hashlib.sha256(verifier.encode()).digest()
    asked = {
        "response_type": "code",
        "client_id": access.client_id,
        "redirect_uri": callback,
        "scope": "events.read",
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
