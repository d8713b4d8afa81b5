"""Backoff policies compared, as a table and a figure.

    python scripts/compare_backoff.py [FIGURE] [--runs N]

Where the environment variable QUOTALAB_DATA names the folder of recorded data, the published comparison stands
beside ours. FIGURE (.png or .svg) is drawn if it is named. N is the number of runs at 10 clients (2000), of which
a quarter is made at 50 and a tenth at 100.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from quotalab.clock import SeededEntropy
from quotalab.traces.drawing import COLOURS, plain_ticks, save
from quotalab.traffic.backoff import POLICIES, Backoff, contend, under_quota

CLIENTS = {10: 1, 50: 4, 100: 10}
QUOTA = {"clients": 15, "limit": 10, "window_ms": 3_600_000, "backoff": Backoff(1000, 600_000)}


def published() -> dict[tuple[str, int], tuple[float, float]]:
    """Mean calls and time by policy and clients; empty where the table is not at hand."""
    path = Path(os.environ.get("QUOTALAB_DATA", "")) / "backoff" / "aws-backoff-table.csv"
    if not os.environ.get("QUOTALAB_DATA") or not path.is_file():
        return {}
    with path.open(encoding="utf-8") as file:
        return {
            (row["backoff"], int(row["clients"])): (float(row["mean_calls"]), float(row["mean_time"]))
            for row in csv.DictReader(file)
        }


def main() -> int:
    """Print the tables, draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("figure", nargs="?", type=Path)
    parser.add_argument("--runs", type=int, default=2000)
    options = parser.parse_args()
    theirs = published()
    ours: dict[tuple[str, int], tuple[float, float]] = {}
    print(
        f"{'contention for one row':<22}{'clients':>8}{'calls':>10}{'published':>11}{'time ms':>11}{'published':>11}"
    )
    for policy in POLICIES:
        for clients, part in CLIENTS.items():
            outcomes = [
                contend(policy, clients, SeededEntropy(1), run) for run in range(max(2, options.runs // part))
            ]
            calls = float(np.mean([outcome.calls for outcome in outcomes]))
            time_ms = float(np.mean([outcome.time_ms for outcome in outcomes]))
            ours[policy, clients] = (calls, time_ms)
            known = theirs.get((policy, clients))
            told = (
                f"{known[0]:>11.1f}{time_ms:>11.0f}{known[1]:>11.0f}"
                if known
                else f"{'-':>11}{time_ms:>11.0f}{'-':>11}"
            )
            print(f"{policy:<22}{clients:>8}{calls:>10.1f}{told}", flush=True)
    quota: dict[str, tuple[float, float]] = {}
    print(f"\n{'10 calls an hour':<22}{'clients':>8}{'calls':>10}{'done after s':>14}")
    for policy in (*POLICIES, "Retry-After"):
        outcomes = [
            under_quota(policy, entropy=SeededEntropy(1), run=run, **QUOTA)  # type: ignore[arg-type]
            for run in range(1 if policy == "none" else 100)
        ]
        quota[policy] = (
            float(np.mean([outcome.calls for outcome in outcomes])),
            float(np.mean([outcome.time_ms for outcome in outcomes])) / 1000,
        )
        print(
            f"{policy:<22}{QUOTA['clients']:>8}{quota[policy][0]:>10,.1f}{quota[policy][1]:>14,.1f}",
            flush=True,
        )
    if options.figure is not None:
        save(drawn(ours, theirs, quota), options.figure)
    return 0


def drawn(
    ours: dict[tuple[str, int], tuple[float, float]],
    theirs: dict[tuple[str, int], tuple[float, float]],
    quota: dict[str, tuple[float, float]],
) -> Figure:
    """Calls and time where clients contend, the published ones as lines; calls under a quota."""
    figure = Figure(figsize=(11, 3.6), dpi=120, layout="constrained")
    contention, time, hourly = figure.subplots(1, 3)
    for policy, colour in zip(POLICIES, COLOURS, strict=True):
        for ax, place in ((contention, 0), (time, 1)):
            known = sorted(
                (n, values[place]) for (name, n), values in theirs.items() if name == policy and n <= 110
            )
            if known:
                ax.plot(*zip(*known, strict=True), color=colour, linewidth=1, alpha=0.6)
            points = [(n, ours[policy, n][place]) for n in CLIENTS]
            ax.plot(*zip(*points, strict=True), "o", color=colour, label=policy, markersize=5)
    for ax in (contention, time):
        ax.set_yscale("log")
        ax.set_xlabel("clients")
        ax.grid(alpha=0.25, linewidth=0.6)
    contention.set_title("Contention: calls (lines: published)", fontsize=9, loc="left")
    time.set_title("Contention: time, ms", fontsize=9, loc="left")
    contention.legend(frameon=False, fontsize=8)
    names = list(quota)
    hourly.barh(names, [quota[name][0] for name in names], color=[*COLOURS, "#c2185b"])
    hourly.set_xscale("log")
    hourly.invert_yaxis()
    hourly.set_title("10 calls an hour, 15 wanted: calls", fontsize=9, loc="left")
    for ax in (contention, time, hourly):
        plain_ticks(ax)
    return figure


if __name__ == "__main__":
    sys.exit(main())
