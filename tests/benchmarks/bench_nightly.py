"""A night of 24 cells of 24 h, one after another and side by side: minutes, and how many times faster.

Target: two jobs on two processors at least 1.7 times as fast as one.

    ./lab python tests/benchmarks/bench_nightly.py [JOBS]        (default: 2)
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

NIGHT = """[tool.quotalab.nightly]
scenarios = ["temporary_access", "launch_spike", "nightly_batch", "token_expiry_herd"]
providers = ["temporary-production", "google", "strava"]
seeds = 2
"""
CELLS = 24


def night(folder: Path, jobs: int) -> float:
    """Wall seconds of the whole command, from nothing."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "quotalab", "nightly", "--jobs", str(jobs), "--out", f"night-{jobs}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    took_s = time.perf_counter() - began
    ran = len(list(folder.glob(f"night-{jobs}/runs/*/cell.json")))
    if done.returncode or ran != CELLS:
        raise SystemExit(f"{ran} of {CELLS} runs, exit {done.returncode}\n{done.stdout}{done.stderr}")
    return took_s


def main() -> None:
    """Print the figures."""
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    took = {}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pyproject.toml").write_text(NIGHT, encoding="utf-8")
        for jobs in (1, most):
            took[jobs] = night(Path(folder), jobs)
            print(f"{CELLS} cells of 24 h, --jobs {jobs}: {took[jobs] / 60:.2f} min", flush=True)
    print(f"--jobs {most} is {took[1] / took[most]:.2f} times as fast as --jobs 1")


if __name__ == "__main__":
    main()
