"""Decisions a second with the state in Redis, over loopback, beside a bare PING and a decision in memory.

Interleaved in one process, seven rounds of each, in turns, each from an empty deployment; then four processes
at once::

    ./lab python tests/benchmarks/bench_redis.py [--quick]

Starts a redis-server of its own on a free port. One limit: a fixed window; three: a rolling window for the app,
a fixed window and a token bucket for each person. Printed are the medians, and how many round trips of a PING
by the same library a decision takes. ``--quick`` takes a fifth of the calls.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction

from quotalab.profiles.limits import Limit, Source
from quotalab.quota import Engine
from quotalab.quota.redis import RedisEngine

ROUNDS, CALLS = 7, 5_000
HOUR_NS = 3600 * 10**9
NOW_NS = 1_767_571_200 * 10**9
OURS = Source("a benchmark", None, "own")
PEOPLE = [{"app": "app-1", "person": f"p{i:03}"} for i in range(100)]


def limit(kind: str, **fields: object) -> Limit:
    """A limit that refuses nothing here."""
    return Limit(kind, kind, 10**6, OURS, **{"key": ("person",), "period_ns": HOUR_NS, **fields})


ONE = [limit("fixed_window")]
THREE = [
    limit("rolling_window", key=("app",)),
    limit("fixed_window"),
    limit("token_bucket", period_ns=0, rate=Fraction(100, 10**9)),
]


def microseconds(calls: int, each: Callable[[int], object]) -> float:
    """How long one of so many takes."""
    began = time.perf_counter()
    for i in range(calls):
        each(i)
    return (time.perf_counter() - began) * 1e6 / calls


def decider(engine: Engine | RedisEngine) -> Callable[[int], object]:
    """One decision."""
    selection = engine.select("api", "GET")
    return lambda i: engine.decide(NOW_NS + i * 1000, selection, PEOPLE[i % len(PEOPLE)])


def hammer(url: str, calls: int) -> None:
    """One of several processes: three limits, from when its input says so."""
    engine = RedisEngine(THREE, url, prefix="together")
    decide = decider(engine)
    print("ready", flush=True)
    sys.stdin.readline()
    print(microseconds(calls, decide))


def together(url: str, calls: int) -> float:
    """Decisions a second of four processes at once."""
    command = [sys.executable, __file__, "--hammer", url, str(calls)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()
    began = time.perf_counter()
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate()
    return 4 * calls / (time.perf_counter() - began)


def compare(url: str, calls: int) -> None:
    """All ways in turns; then four processes."""
    import redis

    client = redis.Redis.from_url(url, protocol=2)
    took: dict[str, list[float]] = {}
    for round_ in range(ROUNDS):
        ways = {
            "PING": lambda _: client.ping(),
            "one limit, Redis": decider(RedisEngine(ONE, url, prefix=f"one-{round_}")),
            "three limits, Redis": decider(RedisEngine(THREE, url, prefix=f"three-{round_}")),
            "three limits, memory": decider(Engine(THREE)),
        }
        for name, way in ways.items():
            took.setdefault(name, []).append(microseconds(calls, way))
    ping = statistics.median(took["PING"])
    for name, found in took.items():
        median = statistics.median(found)
        rounds = "  ".join(f"{one:6.1f}" for one in found)
        print(
            f"  {name:<21} {median:6.1f} us  {1e6 / median:9,.0f} a second  {median / ping:5.2f} PINGs  rounds: {rounds}"
        )
    print(f"  three limits, Redis, four processes at once: {together(url, calls):,.0f} a second")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--hammer", nargs=2)
    options, _ = parser.parse_known_args()
    if options.hammer:
        hammer(options.hammer[0], int(options.hammer[1]))
        return
    if not shutil.which("redis-server"):
        print("  redis-server is not installed")
        return
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", folder, "--save", ""]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            for line in server.stdout:
                if "Ready to accept connections" in line:
                    break
            compare(f"redis://127.0.0.1:{port}/0", CALLS // 5 if options.quick else CALLS)
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    main()
