"""A decision on three limits at once against the same three asked one by one of `limits`; and memory.

Interleaved in one process, so that both sides meet the same machine: seven rounds of each, in turns, each from
an empty store::

    ./lab python tests/benchmarks/bench_quota.py [--quick]

The three are a rolling window for the app, a fixed window and a token bucket for each person; `limits` has no
token bucket, so its sliding window counter stands for it, or, where that would flatter us, its fixed window.
Printed are the medians of CPU time and their ratio; the target is at least 5. Then, each in a process of its own: the bytes
that a live key takes, for each kind of limit at a million keys, and how the process grows over ten million
arrivals of people who come and go. ``--quick`` takes a tenth of the keys and arrivals.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction

from limits import RateLimitItemPerHour
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter

from quotalab.profiles.limits import Limit, Source
from quotalab.quota import Engine

ROUNDS, CALLS, TARGET = 7, 10_000, 5.0
HOUR_NS = 3600 * 10**9
NOW_NS = 1_767_571_200 * 10**9
MUCH = 10**6
OURS = Source("a benchmark", None, "own")


def limit(kind: str, number: int = MUCH, **fields: object) -> Limit:
    """A limit that refuses nothing here."""
    return Limit(kind, kind, number, OURS, **{"key": ("person",), "period_ns": HOUR_NS, **fields})


def ours(callers: list[dict[str, str]]) -> float:
    """Microseconds a decision."""
    engine = Engine(
        [
            limit("rolling_window", key=("app",)),
            limit("fixed_window"),
            limit("token_bucket", rate=Fraction(100, 10**9)),
        ]
    )
    selection = engine.select("api", "GET", "list")
    decide, now_ns = engine.decide, NOW_NS
    began = time.process_time()
    for caller in callers:
        now_ns += 1000
        decide(now_ns, selection, caller, answered_ns=now_ns)
    took_s = time.process_time() - began
    assert engine.standing("rolling_window", "app-1", now_ns).used == len(callers)
    return took_s * 1e6 / len(callers)


def theirs(third: type) -> Callable[[list[dict[str, str]]], float]:
    """Microseconds for the same three limits, by `limits`."""

    def asked(callers: list[dict[str, str]]) -> float:
        storage = MemoryStorage()
        app, person, bucket = (
            one(storage).hit for one in (MovingWindowRateLimiter, FixedWindowRateLimiter, third)
        )
        for_app, for_person, for_bucket = (
            RateLimitItemPerHour(MUCH, namespace=name) for name in ("app", "person", "bucket")
        )
        began = time.process_time()
        for caller in callers:
            assert app(for_app, caller["app"])
            assert person(for_person, caller["person"])
            assert bucket(for_bucket, caller["person"])
        return (time.process_time() - began) * 1e6 / len(callers)

    return asked


def speed() -> None:
    """One key, and ten thousand."""
    for keys in (1, 10_000):
        callers = [{"app": "app-1", "person": f"p{i % keys:05}", "route": "list"} for i in range(CALLS)]
        ways = {
            "quotalab": ours,
            "limits, sliding": theirs(SlidingWindowCounterRateLimiter),
            "limits, fixed": theirs(FixedWindowRateLimiter),
        }
        took: dict[str, list[float]] = {name: [] for name in ways}
        for way in ways.values():
            way(callers)  # warm up
        for _ in range(ROUNDS):
            for name, way in ways.items():
                took[name].append(way(callers))
        mine = statistics.median(took["quotalab"])
        print(f"three limits, {keys:,} key{'s' if keys > 1 else ''}")
        for name, found in took.items():
            rounds = "  ".join(f"{one:5.2f}" for one in found)
            ratio = statistics.median(found) / mine
            print(f"  {name:<16} {statistics.median(found):6.2f} us   {ratio:4.1f} times   rounds: {rounds}")
    print(f"  target: at least {TARGET} times")


KINDS = {
    "rolling_window": limit("rolling_window"),
    "fixed_window": limit("fixed_window"),
    "fixed_window, first call": limit("fixed_window", align="first_call"),
    "fixed_window, offset": limit("fixed_window", align="offset"),
    "token_bucket": limit("token_bucket", rate=Fraction(1, 60 * 10**9)),
    "balance": limit("balance"),
    "concurrency": limit("concurrency"),
    "concurrency, least age": limit("concurrency", min_age_ns=10**9),
    "cardinality": limit("cardinality", of="token"),
    "penalty": limit("penalty", statuses=(403,), block_ns=HOUR_NS, longest_ns=HOUR_NS),
    "opaque": limit("opaque", counts="rolling_window"),
}


def resident() -> int:
    """Bytes that this process holds in memory."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def memory(kind: str, keys: int) -> None:
    """Print the bytes that a live key takes, without the key's own text."""
    people = [f"p{i:07}" for i in range(keys)]
    engine = Engine([KINDS[kind]])
    selection = engine.select("api", "GET")
    before, now_ns = resident(), NOW_NS
    for person in people:
        now_ns += 1000
        caller = {"person": person, "token": person}
        decision = engine.decide(now_ns, selection, caller, answered_ns=now_ns + HOUR_NS)
        if selection.penalties:
            engine.observe(now_ns, selection, decision, 403)
    print(f"  {kind:<26} {(resident() - before) / keys:6.0f} bytes a key")


def growth(arrivals: int) -> None:
    """Print the process's size ten times while so many calls of ever new people are decided."""
    engine = Engine(
        [
            limit("rolling_window"),
            limit("fixed_window", align="first_call"),
            limit("token_bucket", rate=Fraction(1, 60 * 10**9)),
            limit("balance"),
        ]
    )
    selection = engine.select("api", "GET")
    now_ns, sizes = NOW_NS, []
    for i in range(arrivals):
        now_ns += 50_000_000  # 72,000 calls an hour
        engine.decide(now_ns, selection, {"person": str(i // 10)}, answered_ns=now_ns)
        if (i + 1) % (arrivals // 10) == 0:
            sizes.append(resident() / 2**20)
    print(f"  {arrivals:,} arrivals: " + "  ".join(f"{size:.0f}" for size in sizes) + "  MiB")


def apart(*arguments: str) -> None:
    """Measure in a process of its own."""
    print(
        subprocess.run(
            [sys.executable, __file__, *arguments], check=True, capture_output=True, text=True
        ).stdout,
        end="",
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--memory", nargs=2)
    parser.add_argument("--growth", type=int)
    options, _ = parser.parse_known_args()
    if options.memory:
        memory(options.memory[0], int(options.memory[1]))
    elif options.growth:
        growth(options.growth)
    else:
        speed()
        keys = 100_000 if options.quick else 1_000_000
        print(f"memory at {keys:,} live keys, target about 200 bytes")
        for kind in KINDS:
            apart("--memory", kind, str(keys))
        print("memory over time, target: flat")
        apart("--growth", str(10 * keys))


if __name__ == "__main__":
    main()
