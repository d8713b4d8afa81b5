"""Traces: import against a pattern line by line, a fit and a generation of a million, the scheduler's share.

``./lab python tests/benchmarks/bench_traces.py``. A combined log of 500,000 lines is made, gzipped, and imported:
decompressed, cut up, pseudonymised, and written as Parquet. Beside it Python reads the same file line by line, puts
each through a pattern with named groups, and writes nothing; and, for what it is worth, a pattern alone goes through
lines that lie in memory, and takes nothing out of them. All are timed in turn, three times; the medians of their CPU
times are compared. Exit 1 when the import is slower than the reading with `re`. Then: memory for a file four times as large; a fit of a
million requests; a million arrivals generated; and what share of the CPU a run of 10,000 people spends on its plans
and timers, by a run with an app that does nothing.
"""

from __future__ import annotations

import gzip
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from quotalab.clock import SeededEntropy
from quotalab.profiles.traffic import parse_traffic
from quotalab.traces import Trace, import_trace
from quotalab.traffic import arrivals, plan
from quotalab.traffic.fitting import chain_document

LINES, ROUNDS = 500_000, 3
PATTERN = re.compile(
    r'^(?P<source>\S+) \S+ \S+ \[(?P<time>[^\]]+)\] "(?P<method>\S+) (?P<path>\S+) [^"]*" '
    r'(?P<status>\d{3}) (?P<size>\d+|-) "(?P<referer>[^"]*)" "(?P<agent>[^"]*)"'
)
BYTES_PATTERN = re.compile(PATTERN.pattern.encode())
MONDAY_NS = 1_767_571_200 * 10**9
DAY_NS = 86_400 * 10**9


def log(lines: int) -> bytes:
    """A combined log of a week: 20,000 sources, 5,000 paths with a query each, 30 browsers."""
    draw = np.random.default_rng(1)
    seconds = np.sort(draw.integers(0, 7 * 86_400, lines))
    sources = draw.zipf(1.3, lines) % 20_000
    paths = draw.zipf(1.3, lines) % 5_000
    agents = draw.integers(90, 120, lines)
    sizes = draw.integers(0, 100_000, lines)
    return b"".join(
        b'10.%d.%d.7 - - [%02d/Jan/2026:%02d:%02d:%02d +0000] "GET /data/%d/page.html?q=%d HTTP/1.1" 200 %d '
        b'"https://example.org/start" "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, '
        b'like Gecko) Chrome/%d.0.0.0 Safari/537.36"\n'
        % (who // 200, who % 200, 5 + s // 86_400, s // 3600 % 24, s // 60 % 60, s % 60, path, i, size, agent)
        for i, (s, who, path, agent, size) in enumerate(
            zip(
                seconds.tolist(),
                sources.tolist(),
                paths.tolist(),
                agents.tolist(),
                sizes.tolist(),
                strict=True,
            )
        )
    )


def with_re(path: Path) -> int:
    """The file read line by line, each through the pattern, its groups taken; nothing is kept."""
    count = 0
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as file:
        for line in file:
            found = PATTERN.match(line)
            if found is not None:
                found.groupdict()
                count += 1
    return count


def pattern_alone(content: bytes) -> int:
    """Lines in memory through the pattern, nothing taken out."""
    match = BYTES_PATTERN.match
    return sum(match(line) is not None for line in content.split(b"\n"))


def million() -> Trace:
    """A million requests of 40,000 people with sessions, for the fit."""
    draw = np.random.default_rng(2)
    people = 40_000
    counts = draw.geometric(1 / 12.5, 2 * people)
    who = np.repeat(np.arange(2 * people) % people, counts)
    gaps = np.floor(draw.lognormal(2, 1.5, len(who)).clip(0, 1799)).astype(np.int64)
    first = np.cumsum(counts) - counts
    since = np.cumsum(gaps)
    start = draw.integers(0, 86_400, 2 * people)
    at = np.repeat(start, counts) + since - np.repeat(since[first], counts)
    return Trace.of(MONDAY_NS + at * 10**9, who, meta={"resolution_ns": 10**9}, sources=("x",))


MEMORY = """
import resource, sys
from pathlib import Path
from quotalab.traces import import_trace
import_trace(Path(sys.argv[1]), Path(sys.argv[2]), key=b"k" * 16)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""

SCHEDULER = """
import os, sys
from pathlib import Path
from quotalab.clock.virtual import install
from quotalab.clock import SeededEntropy
start_ns = 1_767_571_200 * 10**9
with install(start_ns, 1) as virtual:
    import gevent
    from gevent.pool import Group
    from quotalab.profiles.loading import load_traffic
    from quotalab.traffic import plan
    from quotalab.workspace import Workspace
    traffic = load_traffic(Workspace.find(Path(sys.argv[1])), "office-day")
    begin = os.times()
    plans = plan(traffic, SeededEntropy(1), people=10_000, start_ns=start_ns, span_ns=86_400 * 10**9)
    planned = os.times()
    done = [0]
    def perform():
        done[0] += 1
    def live(kept):
        under_way = Group()
        for step in kept.operations:
            wait_ns = step.planned_ns - virtual.clock.now_ns()
            if wait_ns > 0:
                virtual.clock.sleep_ns(wait_ns)
            under_way.spawn(perform)
    gevent.joinall([gevent.spawn(live, kept) for kept in plans])
    ended = os.times()
cpu = lambda a, b: b.user + b.system - a.user - a.system
print(done[0], cpu(begin, planned), cpu(planned, ended))
"""


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="quotalab-bench-"))
    content = log(LINES)
    packed, out = folder / "big.log.gz", folder / "big.parquet"
    packed.write_bytes(gzip.compress(content, 6))
    ours, theirs, alone = [], [], []
    for _ in range(ROUNDS):
        start = time.process_time()
        report = import_trace(packed, out, key=b"k" * 16)
        ours.append(time.process_time() - start)
        start = time.process_time()
        assert with_re(packed) == LINES
        theirs.append(time.process_time() - start)
        start = time.process_time()
        assert pattern_alone(content) == LINES
        alone.append(time.process_time() - start)
        assert report.rows == LINES
    mine, pattern = statistics.median(ours), statistics.median(theirs)
    print(
        f"import   {LINES:,} lines, {len(content) / 1e6:.0f} MB in gzip: {LINES / mine / 1e3:,.0f}k lines a CPU second "
        f"with Parquet and pseudonyms; read with re {LINES / pattern / 1e3:,.0f}k; {pattern / mine:.2f} times as fast "
        f"(matching alone, in memory: {LINES / statistics.median(alone) / 1e3:,.0f}k)"
    )
    peaks = []
    for times in (1, 4):
        path = folder / "many.log"
        with path.open("wb") as file:
            for _ in range(times):
                file.write(content)
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(path), str(out)], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout))
        path.unlink()
    print(
        f"memory   {peaks[0]} MB for {len(content) / 1e6:.0f} MB of log, {peaks[1]} MB for four times as much"
    )

    trace = million()
    start = time.process_time()
    document = chain_document(trace, name="bench", mix={"look": 1})
    print(
        f"fit      {len(trace):,} requests of {trace.source_count:,} sources: {time.process_time() - start:.2f} CPU s"
    )
    traffic = parse_traffic(document, "bench.toml")
    start = time.process_time()
    made = arrivals(traffic, SeededEntropy(1), people=trace.source_count, start_ns=MONDAY_NS, span_ns=DAY_NS)
    print(f"generate {len(made):,} arrivals: {time.process_time() - start:.2f} CPU s")
    start = time.process_time()
    plans = plan(traffic, SeededEntropy(1), people=trace.source_count, start_ns=MONDAY_NS, span_ns=DAY_NS)
    count = sum(len(kept.operations) for kept in plans)
    print(f"plan     {count:,} operations as people's plans: {time.process_time() - start:.2f} CPU s")

    done = subprocess.run(
        [sys.executable, "-c", SCHEDULER, str(Path(__file__).parents[2])],
        capture_output=True,
        text=True,
        check=True,
    )
    performed, planning, scheduling = done.stdout.split()
    each_us = float(scheduling) / int(performed) * 1e6
    # A call through httpx and the sandbox in memory takes 300 us or more (bench_calls).
    share = each_us / (each_us + 300)
    print(
        f"schedule 10,000 people, {int(performed):,} operations: planning {float(planning):.2f} CPU s, timers and "
        f"greenlets {float(scheduling):.2f} CPU s, {each_us:.0f} us an operation: {share:.0%} of the CPU where each "
        f"costs one call of 300 us"
    )
    print(f"peak     {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB in this process")
    return int(mine > pattern)


if __name__ == "__main__":
    sys.exit(main())
