"""What judging costs: all rules against one quota rule alone, a row's cost as ledgers grow, and peak memory.

A day is made up whole, as arrays: people who call at random under one limit of calls an hour, of which a
fiftieth is refused, decided and promised exactly as the sandbox would, so that no rule or account is at odds
with it. Before them each person's token is renewed, as no ledger is of calls to the API alone::

    ./lab python tests/benchmarks/bench_rules.py            1e5 and 1e6 calls
    ./lab python tests/benchmarks/bench_rules.py --long     and 1e7: some 15 minutes, 7 GB

Each row is a process of its own, whose peak memory is printed; what judging costs a row is CPU time, so that
a machine that does other work beside it tells the same. Targets: all rules at most 15 times one quota
rule alone, seconds a row flat from 1e5 to 1e7, 1e7 calls in less than 8 GB.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from quotalab.frames import load
from quotalab.frames.testing import START_NS, LedgerBuilder, provider_document
from quotalab.ledger.schema import CALLS, EVENTS, OPERATIONS, SCHEMAS
from quotalab.rules import judge, load_rules

ROOT = Path(__file__).parents[2]
SECOND = 10**9
HOUR = 3600 * SECOND
PEOPLE, TARGETS = 2000, 5000
MOST = 15.0
GIGABYTES = 8.0


def texts(codes: np.ndarray, names: list[str]) -> pa.Array:
    """Codes into names, as the ledger's plain texts."""
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names)).cast(pa.string())


def by_limit(values: pa.Array, has: np.ndarray) -> pa.Array:
    """A map with the one limit's value where it `has` one."""
    offsets = np.append(0, np.cumsum(has)).astype(np.int32)
    kept = values.filter(pa.array(has))
    return pa.MapArray.from_arrays(pa.array(offsets), pa.array(["hourly"] * len(kept)), kept)


def make(folder: Path, calls: int) -> Path:
    """A run folder of so many calls, of a day."""
    draw = np.random.default_rng(1)
    limit = int(calls / 24 * 0.98)
    limits = {"hourly": {"kind": "fixed_window", "limit": limit, "period": "1h", "key": ["app"]}}
    document = provider_document(limits, refusals="share:0.05")
    LedgerBuilder(document, users=PEOPLE).write(folder)
    at = START_NS + np.sort(draw.integers(0, 24 * HOUR, calls))
    hour = at // HOUR
    starts = np.searchsorted(hour, hour)
    nth = np.arange(calls) - starts
    refused = nth >= limit
    answered = at + np.where(refused, 0, draw.integers(10, 80, calls) * 10**6)
    wait = (hour + 1) * HOUR - at
    person, target = draw.integers(0, PEOPLE, calls), draw.integers(0, TARGETS, calls)
    people = [f"p{i:05}" for i in range(PEOPLE)]
    operation = np.arange(calls) // 2
    names = [f"{i:032x}" for i in range(int(operation[-1]) + 1)]
    app = pa.array(["app"]).take(pa.array(np.zeros(calls, dtype=np.int32)))
    none = pa.nulls(calls, pa.string())
    zero = pa.array(np.zeros(calls, dtype=np.int64))
    columns = {
        "seq": pa.array(PEOPLE + np.arange(calls)),
        "sent": pa.array(at - 20 * 10**6),
        "at": pa.array(at),
        "answered": pa.array(answered),
        "done": pa.array(answered + 20 * 10**6),
        "kind": texts(np.zeros(calls), ["api"]),
        "actor": app,
        "client_id": app,
        "person": texts(person, people),
        "ip": texts(np.zeros(calls), ["10.0.0.1"]),
        "token": texts(person, [f"t{i}" for i in range(PEOPLE)]),
        "token_state": texts(np.zeros(calls), ["valid"]),
        "method": texts((target % 10 == 0).astype(int), ["GET", "POST"]),
        "route": texts(target % 3, ["list_events", "read_event", "create_event"]),
        "path": texts(target, [f"/events/{i}" for i in range(TARGETS)]),
        "target": texts(target, [f"target-{i}" for i in range(TARGETS)]),
        "status": pa.array(np.where(refused, 429, 200).astype(np.int16)),
        "cost": pa.array(np.ones(calls, dtype=np.int64)),
        "objects": zero,
        "objects_asked": zero,
        "limit": pa.array(np.where(refused, "hourly", ""), mask=~refused),
        "retry_after_ns": pa.array(-(-wait // SECOND) * SECOND, mask=~refused),
        "keys": by_limit(app, np.ones(calls, dtype=bool)),
        "charges": by_limit(pa.array(np.ones(calls, dtype=np.int64)), ~refused),
        "remaining": by_limit(pa.array(np.maximum(limit - nth - 1, 0)), np.ones(calls, dtype=bool)),
        "operation": texts(operation, names),
        "request_headers": texts(np.zeros(calls), ["{}"]),
        "response_headers": texts(np.zeros(calls), ["{}"]),
        "bytes": zero,
    }
    tables = {
        "calls": [
            columns.get(one.name, none).cast(one.type) if one.name in columns else pa.nulls(calls, one.type)
            for one in CALLS
        ],
        "operations": _operations(at[::2], person[::2], refused[::2], names, people, PEOPLE + calls),
        "events": [pa.nulls(0, one.type) for one in EVENTS],
    }
    for stream in folder.glob("*.arrows"):
        stream.unlink()
    for name, arrays in tables.items():
        table = pa.Table.from_arrays(arrays, schema=SCHEMAS[name])
        if name == "calls":
            table = pa.concat_tables([_renewals(people), table])
        pq.write_table(table, folder / f"{name}.parquet")
    return folder


def _renewals(people: list[str]) -> pa.Table:
    """A refresh of each person's token, all before the day begins."""
    rows = []
    for i, person in enumerate(people):
        at = START_NS - (len(people) - i) * 10**6
        facts = {"grant_type": "refresh_token", "refresh_token": f"r{i}", "issued_token": f"t{i}"}
        row = dict.fromkeys(CALLS.names) | dict.fromkeys(("sent", "at", "answered", "done"), at)
        row |= {"seq": i, "kind": "token", "actor": "app", "client_id": "app", "person": person}
        row |= {
            "ip": "10.0.0.1",
            "method": "POST",
            "path": "/oauth/token",
            "target": f"token-{i}",
            "status": 200,
        }
        row |= dict.fromkeys(("cost", "objects", "objects_asked", "bytes"), 0)
        row |= {"keys": (), "charges": (), "remaining": (), "oauth": facts}
        rows.append(row | {"request_headers": "{}", "response_headers": "{}"})
    return pa.Table.from_pylist(rows, schema=CALLS)


def _operations(at, person, refused, names, people, first) -> list[pa.Array]:
    count = len(at)
    columns = {
        "seq": pa.array(first + np.arange(count)),
        "operation": pa.array(names),
        "person": texts(person, people),
        "name": texts(np.arange(count) % 4, ["look_at_week", "open_event", "add_event", "export_calendar"]),
        "planned": pa.array(at - SECOND),
        "started": pa.array(at - SECOND),
        "ended": pa.array(at + SECOND),
        "deadline": pa.array(at + 30 * SECOND),
        "outcome": texts(refused.astype(int), ["done", "failed"]),
        "calls": pa.array(np.full(count, 2)),
    }
    return [
        columns[one.name].cast(one.type) if one.name in columns else pa.nulls(count, one.type)
        for one in OPERATIONS
    ]


def peak_gb() -> float:
    """The most memory that this process has held, in GB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e9
    return float("nan")


def measure(folder: Path, each: bool) -> None:
    """One row of the table, and with `each` what every rule costs beside the others."""
    rules = load_rules(sorted((ROOT / "analysis").glob("[!_]*.py")))
    began = time.perf_counter()
    frames = load(folder)
    loaded_s = time.perf_counter() - began
    calls = len(frames.calls)
    alone = next(one for one in rules if one.id == "QL101")
    began = time.perf_counter()
    alone(frames)
    one_s = time.perf_counter() - began
    del frames
    frames = load(folder)
    took = []
    began = time.perf_counter()
    for one in rules:
        own = time.perf_counter()
        one(frames)
        took.append((time.perf_counter() - own, one.id))
    all_s = time.perf_counter() - began
    began = time.perf_counter()
    verdict = judge(frames, rules)
    again_s = time.perf_counter() - began
    if verdict.faults:
        raise SystemExit(f"the made-up day is at odds with itself: {verdict.faults[0].message}")
    del frames
    frames = load(folder)
    began, cpu_began = time.perf_counter(), time.process_time()
    judge(frames, rules)
    judge_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    print(
        f"{calls:10,}  {loaded_s:7.2f}  {one_s:8.3f}  {all_s:9.2f}  {all_s / one_s:6.1f}  {judge_s:6.2f}  "
        f"{cpu_s / calls * 1e6:7.2f}  {peak_gb():6.2f}",
        flush=True,
    )
    if each:
        most = ", ".join(f"{id} {own_s:.2f} s" for own_s, id in sorted(took, reverse=True)[:8])
        print(
            f"            {len(rules)} rules; the dearest: {most} (judged again: {again_s:.2f} s)", flush=True
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--long", action="store_true", help="1e7 calls too")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--calls", type=int, help=argparse.SUPPRESS)
    options, _ = parser.parse_known_args()
    if options.folder is not None:
        if options.calls is not None:
            make(options.folder, options.calls)
        else:
            measure(options.folder, each=True)
        return
    print(
        "     calls   load s  QL101 s  rules s  ratio  judge s  us a row  peak GB"
        f"   (targets: ratio {MOST:g}, 1e7 in {GIGABYTES:g} GB)"
    )
    for calls in (10**5, 10**6, 10**7) if options.long else (10**5, 10**6):
        with tempfile.TemporaryDirectory() as folder:
            place = str(Path(folder) / "run")
            for more in (["--calls", str(calls)], []):
                subprocess.run([sys.executable, __file__, "--folder", place, *more], check=True)


if __name__ == "__main__":
    main()
