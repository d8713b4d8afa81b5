"""What virtual time costs: a sleep, the clock's share of a run, and calls in memory and over sockets.

Each figure is the ratio of two sides measured in turns in one run, in processes of their own where only one of
them may have virtual time::

    ./lab python tests/benchmarks/bench_clock.py

Targets: a virtual sleep at most 1.3 times a stock gevent sleep; over sockets at least 0.5 of what the same
library and server reach without the virtual clock; a thousand people in memory at least 0.6 of the same
scenario on a transport that does nothing and 0.3 of bare httpx. Memory for each of 10,000 people is printed.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROUNDS = 5
PATH = "/v1/events"


def measured(part: str, *arguments: str) -> float:
    """A figure of one part of this file, in a fresh process."""
    done = subprocess.run(
        [sys.executable, __file__, part, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(json.loads(done.stdout.splitlines()[-1]))


def installed(clock: str) -> None:
    """Virtual time, or gevent alone."""
    if clock == "virtual":
        from quotalab.clock.virtual import install

        install(1_767_571_200_000_000_000, 1)
    else:
        from gevent import monkey

        monkey.patch_all()


def sleep_us(clock: str, greenlets: str) -> float:
    """CPU microseconds of one of so many greenlets' short sleeps.

    A greenlet alone turns the loop once for each sleep on either clock. Of many, the stock loop wakes all that
    are due in one turn; in virtual time each comes to rest before the next, which is a turn for each.
    """
    installed(clock)
    import gevent

    count = int(greenlets)
    each = 100_000 // count

    def sleeper() -> None:
        for _ in range(each):
            gevent.sleep(1e-6)

    began = time.process_time()
    gevent.joinall([gevent.spawn(sleeper) for _ in range(count)])
    return (time.process_time() - began) / (count * each) * 1e6


def socket_us(clock: str) -> float:
    """CPU microseconds of one request by requests to gevent's server on loopback."""
    installed(clock)
    import gevent
    import requests

    from quotalab.sandbox.server import LoopbackServer

    def application(environ: dict, start_response: Callable) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "2")])
        return [b"{}"]

    server = LoopbackServer()
    server.serve(application)

    def client() -> None:
        session = requests.Session()
        session.trust_env = False
        for _ in range(200):
            session.get(server.address + PATH, timeout=5)
            gevent.sleep(1e-6)

    began = time.process_time()
    gevent.joinall([gevent.spawn(client) for _ in range(20)], raise_error=True)
    return (time.process_time() - began) / 4000 * 1e6


def people_us(kind: str, people: str = "1000", calls: str = "25") -> float:
    """CPU microseconds of a call of Locust's people in 24 virtual hours.

    For ``memory``: kilobytes a person. For ``fired``: timers that came due for each call to the sandbox.
    """
    import tempfile
    import tomllib

    installed("virtual" if kind != "bare" else "real")
    import gevent
    import httpx

    sys.path.insert(0, str(Path(__file__).parent))
    from bench_calls import ROOT, BearerAuth, Nothing, granted

    from quotalab.clock import RealClock, SeededEntropy
    from quotalab.ledger import LedgerWriter
    from quotalab.profiles.provider import parse_provider
    from quotalab.sandbox import Sandbox
    from quotalab.sandbox.transport import MemoryTransport

    count, each = int(people), int(calls)
    if kind == "bare":
        client = httpx.Client(base_url="https://provider.test", transport=Nothing(b"{}"), trust_env=False)
        began = time.process_time()
        for _ in range(count * each):
            client.get(PATH)
        return (time.process_time() - began) / (count * each) * 1e6
    from locust import User, constant, task
    from locust.env import Environment

    transport: httpx.BaseTransport = Nothing(b"{}")
    auth = None
    if kind in ("sandbox", "fired"):
        path = ROOT / "profiles" / "providers" / "temporary-production.toml"
        provider = parse_provider(
            tomllib.loads(path.read_text(encoding="utf-8")),
            path.name,
            settings=("limits.hourly.limit=1000000000", "oauth.access_token_lifetime=2d"),
        )
        clock = _virtual_clock()
        sandbox = Sandbox(
            provider,
            clock=clock,
            entropy=SeededEntropy(1),
            ledger=LedgerWriter(Path(tempfile.mkdtemp()), RealClock().monotonic_ns),
            people=["p00001"],
            issuer="https://provider.test",
        )
        auth = BearerAuth(granted(sandbox, clock))
        transport = MemoryTransport(sandbox, clock)
    client = httpx.Client(base_url="https://provider.test", transport=transport, auth=auth, trust_env=False)
    made = 0

    class Someone(User):
        wait_time = constant(86_400 / each)

        @task
        def look(self) -> None:
            nonlocal made
            client.get(PATH).raise_for_status()
            made += 1

    environment = Environment(user_classes=[Someone])
    runner = environment.create_local_runner()
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    runner.start(count, spawn_rate=count)
    gevent.sleep(86_400)
    took_s = time.process_time() - began
    if kind == "fired":
        return gevent.get_hub().loop.fired / made
    after_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    runner.quit()
    return (after_kb - before_kb) / count if kind == "memory" else took_s / made * 1e6


def _virtual_clock():
    import gc

    from quotalab.clock.virtual import VirtualClock

    return next(thing for thing in gc.get_objects() if isinstance(thing, VirtualClock))


PARTS = {"sleep": sleep_us, "socket": socket_us, "people": people_us}


def compared(what: str, ours: list[float], theirs: list[float], bound: str, *, rate: bool) -> None:
    """Print both sides' medians and their ratio."""
    mine, other = statistics.median(ours), statistics.median(theirs)
    ratio = other / mine if rate else mine / other
    print(f"{what:>52}  {mine:7.1f} us against {other:7.1f} us   ratio {ratio:5.2f}   target: {bound}")


def main() -> None:
    """Measure and print."""
    sides: dict[tuple[str, ...], list[float]] = {}
    for _ in range(ROUNDS):
        for part in (("sleep", "1"), ("sleep", "100"), ("socket",)):
            for clock in ("virtual", "stock"):
                found = measured(part[0], clock, *part[1:])
                sides.setdefault((*part, clock), []).append(found)
    for count in ("1", "100"):
        compared(
            f"a sleep of {count} greenlets",
            sides["sleep", count, "virtual"],
            sides["sleep", count, "stock"],
            "at most 1.3",
            rate=False,
        )
    compared(
        "a request over sockets",
        sides["socket", "virtual"],
        sides["socket", "stock"],
        "at least 0.5",
        rate=True,
    )
    calls = {}
    for kind in ("sandbox", "nothing", "bare"):
        calls[kind] = [measured("people", kind, "1000", "250")]
    compared(
        "a call of 1,000 people in 24 h, to nothing",
        calls["sandbox"],
        calls["nothing"],
        "at least 0.6",
        rate=True,
    )
    compared("the same, to bare httpx", calls["sandbox"], calls["bare"], "at least 0.3", rate=True)
    # A sleep in virtual time against the stock one, for each timer that fired; reads of the clock come on top.
    more_us = statistics.median(sides["sleep", "1", "virtual"]) - statistics.median(
        sides["sleep", "1", "stock"]
    )
    share = measured("people", "fired", "1000", "25") * more_us / calls["sandbox"][0]
    print(f"{'what virtual timers add to such a call':>52}  {share:7.1%}   target: at most 5 %")
    print(f"{'10,000 people':>52}  {measured('people', 'memory', '10000', '2'):7.1f} KiB a person")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(PARTS[sys.argv[1]](*sys.argv[2:])))
    else:
        main()
