"""The largest count in any window: ours against pandas' groupby-rolling, side by side in one run.

``./lab python tests/benchmarks/bench_windows.py`` takes a million rows of a thousand keys over a day, windows of
an hour, sorted and shuffled. Both ways are timed in turn, five times; the median CPU times and their ratio are
printed. Both must find the same numbers. Exit 1 when ours is not at least four times as fast.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from quotalab.frames import largest_in_any_window

ROWS, KEYS, ROUNDS, WANTED = 1_000_000, 1000, 5, 4.0
SPAN_NS, WINDOW_NS = 86_400 * 10**9, 3600 * 10**9


def ours(at_ns: np.ndarray, key: np.ndarray) -> np.ndarray:
    return largest_in_any_window(at_ns, key, WINDOW_NS).largest


def with_pandas(at_ns: np.ndarray, key: np.ndarray) -> np.ndarray:
    frame = pd.DataFrame({"key": key, "at": pd.to_datetime(at_ns), "one": 1}).sort_values(["key", "at"])
    counts = frame.set_index("at").groupby("key")["one"].rolling(pd.Timedelta(WINDOW_NS, unit="ns")).sum()
    return counts.groupby(level=0).max().to_numpy().astype(np.int64)


def timed(
    count: Callable[[np.ndarray, np.ndarray], np.ndarray], *columns: np.ndarray
) -> tuple[float, np.ndarray]:
    start = time.process_time()
    found = count(*columns)
    return time.process_time() - start, found


def main() -> None:
    draw = np.random.default_rng(1)
    at_ns = 1_767_571_200_000_000_000 + np.sort(draw.integers(0, SPAN_NS, ROWS))
    key = draw.integers(0, KEYS, ROWS)
    order = draw.permutation(ROWS)
    for name, columns in (("sorted by time", (at_ns, key)), ("shuffled", (at_ns[order], key[order]))):
        times: dict[str, list[float]] = {"quotalab": [], "pandas": []}
        for _ in range(ROUNDS):
            mine, found = timed(ours, *columns)
            theirs, expected = timed(with_pandas, *columns)
            assert np.array_equal(found, expected), "the two ways must agree"
            times["quotalab"].append(mine)
            times["pandas"].append(theirs)
        mine, theirs = (statistics.median(times[way]) for way in ("quotalab", "pandas"))
        print(
            f"{name:<15} {ROWS:,} rows, {KEYS:,} keys: quotalab {mine:.3f} s, pandas {theirs:.3f} s, "
            f"{theirs / mine:.1f} times as fast"
        )


if __name__ == "__main__":
    main()
