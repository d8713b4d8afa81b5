"""The same scenario on the virtual and on the real clock, with short windows: do they tell the same?

``./lab python tests/benchmarks/compare_clocks.py`` prints a table; with ``--write`` it goes into docs/how-true.md.
It takes as long as its real runs do, some three minutes.

Three cases. In "room" every person acts at fixed times and the limit refuses nobody, so that nothing depends on who
comes first: the counts of calls in every whole window after the start must agree exactly. In "crowd" the limit is
always used up: who gets a place is a race, but how many do is not, so that the most admitted in any rolling window,
and in each window of a fixed one, must agree exactly. Waits are compared by their 95th percentile.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quotalab.ledger import read_ledger

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-true.md"
PERIOD_S = 20
SPAN_S = 64
CROWD = 12
ROOM = """
from locust import constant_pacing, task
from quotalab.scenario import Person

class Punctual(Person):
    policy = "obedient"
    population = 5
    wait_time = constant_pacing(4)

    @task
    def look(self):
        with self.asking("look", within_s=60) as asked:
            self.app.event(self.name, "1", self.patience(asked))
"""
CASES = {
    "room": (ROOM, ["--set", f"limits.hourly.limit={PERIOD_S * 2}"]),
    "crowd, rolling window": (
        ROOM.replace("constant_pacing(4)", "constant_pacing(1)").replace("= 5", f"= {CROWD}"),
        ["--set", "limits.hourly.limit=60"],
    ),
    "crowd, fixed window": (
        ROOM.replace("constant_pacing(4)", "constant_pacing(1)").replace("= 5", f"= {CROWD}"),
        ["--set", "limits.hourly.limit=60", "--set", "limits.hourly.kind=fixed_window"],
    ),
}


@dataclass(frozen=True)
class Told:
    """What one run told."""

    counts: tuple[int, ...]
    most: int
    p95_s: float


def run(text: str, clock: str, settings: list[str]) -> Told:
    """One run on a clock."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "comparing.py").write_text(text)
        out = Path(folder) / "run"
        done = subprocess.run(
            [sys.executable, "-m", "quotalab", "run", str(Path(folder) / "comparing.py"), "--clock", clock,
             "--for", f"{SPAN_S}s", "--set", f"limits.hourly.period={PERIOD_S}s", *settings, "--out", str(out)],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        if done.returncode not in (0, 1):
            raise SystemExit(done.stderr)
        return told(out, fixed="limits.hourly.kind=fixed_window" in settings)


def told(out: Path, *, fixed: bool) -> Told:
    """Admitted calls in each whole window, the most in any rolling one, and the 95th percentile of waits."""
    tables = read_ledger(out)
    calls = tables.calls.select(["at", "kind", "limit"]).to_pandas()
    at = calls[(calls["kind"] == "api") & calls["limit"].isna()]["at"].astype("int64").to_numpy()
    at = np.sort(at)
    period_ns = PERIOD_S * 10**9
    most = int(max(np.searchsorted(at, at + period_ns) - np.arange(len(at))))
    # A fixed window goes by the clock; else windows begin half a second before the first call, which is further
    # from any call than a busy machine is late.
    begin = -(-int(at[0]) // period_ns) * period_ns if fixed else int(at[0]) - 500_000_000
    edges = np.arange(begin, int(at[-1]) - period_ns, period_ns)
    counts = [int(((at >= edge) & (at < edge + period_ns)).sum()) for edge in edges]
    operations = tables.operations.to_pandas()
    ended = operations[operations["outcome"] == "done"]
    waits = (ended["ended"] - ended["planned"]).dt.total_seconds()
    return Told(tuple(counts), most, float(np.percentile(waits, 95)))


def main() -> None:
    """Print the table, and write it where that is asked."""
    rows = [
        "| case | clock | admitted in each whole window | most in any 20 s | p95 of waits | apart |",
        "|---|---|---|---|---|---|",
    ]
    for name, (text, settings) in CASES.items():
        virtual, real = run(text, "virtual", settings), run(text, "real", settings)
        apart = abs(real.p95_s - virtual.p95_s) / virtual.p95_s
        for clock, one, last in (("virtual", virtual, ""), ("real", real, f"{apart:.1%}")):
            counts = " ".join(map(str, one.counts[:2]))
            rows.append(f"| {name} | {clock} | {counts} | {one.most} | {one.p95_s:.3f} s | {last} |")
    print("\n".join(rows))
    if "--write" in sys.argv[1:]:
        page = PAGE.read_text(encoding="utf-8")
        block = "<!-- clocks -->\n" + "\n".join(rows) + "\n<!-- /clocks -->"
        PAGE.write_text(
            re.sub(r"<!-- clocks -->.*<!-- /clocks -->", block, page, flags=re.DOTALL), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
