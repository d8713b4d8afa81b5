"""The figures of a run that no single rule owns: how much was called, asked for and waited for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from quotalab.frames import Frames
from quotalab.rules.meanings import operation_places, retries

__all__ = ["HOUR_NS", "demand", "metrics", "quantile_ns", "waits_ns"]

Ints = npt.NDArray[np.int64]

HOUR_NS = 3_600_000_000_000
_WAITED = ("done", "stale")


def waits_ns(frames: Frames) -> pd.Series:
    """The waits of the operations that were done or stale, ended - planned, in ns; index of `operations`."""
    operations = frames.operations
    waited = operations[operations["outcome"].isin(_WAITED)]
    return (waited["ended"] - waited["planned"]).rename("wait_ns")


def quantile_ns(values: npt.ArrayLike, share: float) -> int:
    """The smallest of `values` that at least `share` of them do not exceed (nearest rank; exact)."""
    return int(np.quantile(np.asarray(values, dtype=np.int64), share, method="inverted_cdf"))


def demand(frames: Frames, bin_ns: int = HOUR_NS) -> pd.DataFrame:
    """What people asked for and what was let through, in bins of `bin_ns` from the start of the run's span.

    Index: start of the bin, int64 ns. Columns: `planned` (operations planned in the bin), `demand` (calls
    that they would have taken: each the mean admitted calls of the done operations of its name; of all done
    ones where none of its name was, or where it is not known which calls were whose; 1 where none was done at
    all), and of the calls to the API `refused` (by a limit), `failed` (no answer, or an error of the
    provider's: no limit's doing, and no use to anybody) and `admitted` (the rest).
    """
    start_ns, end_ns = frames.span_ns
    start_ns -= start_ns % bin_ns
    count = -((start_ns - end_ns) // bin_ns)
    operations, calls = frames.operations, frames.api_calls

    def binned(times: pd.Series, weights: npt.NDArray[np.float64] | None = None) -> npt.NDArray[np.float64]:
        place = ((times.to_numpy() - start_ns) // bin_ns).clip(0, count - 1)
        return np.bincount(place, weights=weights, minlength=count).astype(np.float64)

    refused = calls["limit"].notna()
    failed = ~refused & _failed(calls)
    admitted = ~refused & ~failed
    return pd.DataFrame(
        {
            "planned": binned(operations["planned"]),
            "demand": binned(operations["planned"], frames.once(_calls_wanted)),
            "admitted": binned(calls["at"][admitted]),
            "failed": binned(calls["at"][failed]),
            "refused": binned(calls["at"][refused]),
        },
        index=pd.Index(start_ns + np.arange(count) * bin_ns, name="from_ns"),
    )


def _failed(calls: pd.DataFrame) -> pd.Series:
    """Which calls got no answer, or an error of the provider's."""
    return (calls["status"] == 0) | (calls["status"] >= 500)


def _calls_wanted(frames: Frames) -> npt.NDArray[np.float64]:
    """How many calls each operation would have taken, had none been refused and none failed. Use with
    ``frames.once``."""
    operations, calls = frames.operations, frames.calls
    admitted = ((calls["kind"] == "api") & calls["limit"].isna() & ~_failed(calls)).to_numpy()
    done = operations[operations["outcome"] == "done"]
    if not (admitted & calls["operation"].notna().to_numpy()).any():
        return np.full(len(operations), int(admitted.sum()) / len(done) if len(done) else 1.0)
    of = frames.once(operation_places)[admitted]
    each = np.bincount(of[of >= 0], minlength=len(operations))[done.index.to_numpy()]
    fallback = float(each.mean()) if len(done) else 1.0
    codes = operations["name"].cat.codes.to_numpy().astype(np.int64)
    names = len(operations["name"].cat.categories)
    done_codes = done["name"].cat.codes.to_numpy().astype(np.int64)
    known = done_codes >= 0
    number = np.bincount(done_codes[known], minlength=names)
    total = np.bincount(done_codes[known], weights=each[known], minlength=names)
    mean = np.append(np.where(number > 0, total / np.maximum(number, 1), fallback), fallback)
    return mean[codes]


def metrics(frames: Frames) -> dict[str, float | int | None]:
    """The `metrics` of `verdict.json`; None where there was nothing to measure.

    Waits are those of done or stale operations, by nearest rank. `calls_per_operation`: calls to the API for
    each operation, whatever came of it. `retry_amplification`: calls to the API for each that was no retry.
    """
    calls, operations, api = frames.calls, frames.operations, frames.api_calls
    outcomes = operations["outcome"].value_counts()
    waits = waits_ns(frames).to_numpy()
    again = frames.once(retries)["row"].to_numpy()
    again_api = int((calls["kind"].iloc[again] == "api").sum())
    return {
        "calls": len(calls),
        "api_calls": len(api),
        "refused": int(api["limit"].notna().sum()),
        "operations": len(operations),
        "operations_done": int(outcomes.get("done", 0)),
        "operations_stale": int(outcomes.get("stale", 0)),
        "operations_declined": int(outcomes.get("declined", 0)),
        "operations_failed": int(outcomes.get("failed", 0)),
        "operations_abandoned": int(outcomes.get("abandoned", 0)),
        "wait_p50_s": quantile_ns(waits, 0.50) / 1e9 if len(waits) else None,
        "wait_p95_s": quantile_ns(waits, 0.95) / 1e9 if len(waits) else None,
        "calls_per_operation": len(api) / len(operations) if len(operations) else None,
        "retry_amplification": len(api) / (len(api) - again_api) if len(api) else None,
        "demand_peak_per_hour": float(demand(frames)["demand"].max()) if len(operations) else None,
    }
