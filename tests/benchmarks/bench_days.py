"""Whole runs: how many times faster than real time a day is, where the time goes, what ten seeds give.

Target: a default day, from start to verdict and report, at least 8,000 times real time; aim 15,000.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
DAY_S = 86_400


def run(*arguments: str) -> tuple[float, dict, str]:
    """Wall seconds of a whole ``quotalab run``, its verdict, and what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "quotalab", "run", *arguments, "--out", str(out), "--timings"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        took_s = time.perf_counter() - began
        if done.returncode not in (0, 1):
            raise SystemExit(done.stderr)
        return took_s, json.loads((out / "verdict.json").read_text(encoding="utf-8")), done.stdout


def main() -> None:
    """Print the figures."""
    took, last = [], ""
    for _ in range(5):
        took_s, _, last = run()
        took.append(took_s)
    median_s = statistics.median(took)
    print(
        f"default day, process start to end: {median_s:.2f} s = {DAY_S / median_s:,.0f} times real time (of 5)"
    )
    print("Where the time went" + last.partition("Where the time went")[2].rpartition("\n\n")[0])

    print("ten seeds:   calls  peak asked  refused  demand/h  done")
    for seed in range(1, 11):
        _, verdict, _ = run("--seed", str(seed))
        metrics, (limit,) = verdict["metrics"], verdict["limits"]
        share = metrics["operations_done"] / metrics["operations"]
        print(
            f"  seed {seed:2}  {metrics['api_calls']:7,}  {limit['peak_asked']:10}  {metrics['refused']:7}"
            f"  {metrics['demand_peak_per_hour']:8.0f}  {share:4.0%}"
        )

    for name, arguments in (
        ("rolling window", ()),
        ("fixed window", ("--set", "limits.hourly.kind=fixed_window")),
    ):
        took_s, verdict, _ = run("overload", *arguments)
        metrics = verdict["metrics"]
        admitted = metrics["api_calls"] - metrics["refused"]
        print(f"overload, {name}: {admitted:,} admitted, {metrics['refused']:,} refused, {took_s:.1f} s")


if __name__ == "__main__":
    main()
