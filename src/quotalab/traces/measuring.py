"""The figures of a trace: rates, burstiness, sources, windows, sessions, the day. All vectorised.

Hours, minutes and seconds are counted from the first request on, over the full ones of the trace. A
session ends with a silence of its source of more than 30 minutes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt
import pandas as pd

from quotalab.errors import InputError
from quotalab.traces.trace import KINDS, Trace

__all__ = [
    "SESSION_NS",
    "Figures",
    "Sessions",
    "counts_in_bins",
    "measure",
    "sessions_of",
    "windows_of_sources",
]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SECOND_NS = 10**9
HOUR_NS = 3600 * SECOND_NS
SESSION_NS = 1800 * SECOND_NS
WINDOWS_S = (1, 10, 60, 3600)


@dataclass(frozen=True)
class Sessions:
    """Sessions in order of source and time; the rows they are made of, in that order."""

    order: Ints
    """The trace's rows by source and time."""
    first: Ints
    """Where in `order` each session begins."""
    length: Ints
    """Its requests."""
    source: Ints
    start_ns: Ints
    end_ns: Ints

    def __len__(self) -> int:
        return len(self.first)


def sessions_of(trace: Trace, silence_ns: int = SESSION_NS) -> Sessions:
    """Cut each source's requests where it was silent for more than `silence_ns`."""
    order = np.argsort(trace.source, kind="stable")  # the trace is in order of time already
    at, source = trace.at_ns[order], trace.source[order]
    begins = np.ones(len(at), dtype=bool)
    begins[1:] = (source[1:] != source[:-1]) | (at[1:] - at[:-1] > silence_ns)
    first = np.flatnonzero(begins)
    length = np.diff(first, append=len(at))
    return Sessions(order, first, length, source[first], at[first], at[first + length - 1])


def bins_in(at_ns: Ints, width_ns: int) -> int:
    """How many bins of that width the trace fills: a last one counts when nine tenths of it are covered.

    A stamp in whole seconds stands for its whole second.
    """
    stamp_ns = SECOND_NS if not np.any(at_ns % SECOND_NS) else 1
    whole, rest = divmod(int(at_ns[-1] - at_ns[0]) + stamp_ns, width_ns)
    return whole + (10 * rest >= 9 * width_ns) or 1


def counts_in_bins(at_ns: Ints, width_ns: int) -> tuple[Ints, int]:
    """The counts of the bins that are not empty, from the first request on, and how many bins there are."""
    bins = bins_in(at_ns, width_ns)
    places = (at_ns - at_ns[0]) // width_ns
    return np.unique(places[places < bins], return_counts=True)[1], bins


def dispersion(at_ns: Ints, width_ns: int) -> float | None:
    """Variance over mean of the counts in bins of that width; 1 for a Poisson process, None for one bin."""
    counts, bins = counts_in_bins(at_ns, width_ns)
    if bins < 2:
        return None
    mean = counts.sum() / bins
    return round(float(((counts.astype(np.float64) ** 2).sum() / bins - mean * mean) / mean), 2)


def windows_of_sources(trace: Trace, window_ns: int) -> Ints:
    """The largest count of each source in any half-open window of that length, by source code.

    One sort and one binary search on a composite axis serve all sources.
    """
    at, source = trace.at_ns - trace.at_ns[0], trace.source
    stride = int(at[-1]) + window_ns + 1
    if trace.source_count * stride >= 2**63:  # whole seconds then: windows are of whole seconds too
        at, window_ns = at // SECOND_NS, window_ns // SECOND_NS
        stride = int(at[-1]) + window_ns + 1
    axis = np.sort(source * stride + at)
    counts = np.arange(1, len(axis) + 1) - np.searchsorted(axis, axis - window_ns, "right")
    starts = np.searchsorted(axis, np.arange(trace.source_count) * stride)
    return np.maximum.reduceat(counts, starts)


@dataclass(frozen=True)
class Figures:
    """What `quotalab trace show` tells; times in seconds, shares from 0 to 1."""

    requests: int
    sources: int
    """0: not told apart."""
    operations: dict[str, float]
    """Share of each operation."""
    first: str
    last: str
    span_h: float
    resolution_s: float
    per_hour: dict[str, float]
    """min, median, mean, p99, max and the number of hours."""
    peak_to_mean: dict[str, float]
    """Of the counts by hour, minute and second."""
    dispersion: dict[str, float | None]
    """Index of dispersion of counts in 1 s, 10 s, 60 s and 1 h; 1 for a Poisson process."""
    gap_mean_s: float
    gap_cv: float
    gap_cv_within_hour: float
    """After each gap was divided by the mean gap of the clock's hour in which it ends."""
    gap_zero_share: float
    share_by_hour: tuple[float, ...]
    """Of the day, in local time."""
    share_by_weekday: tuple[float, ...]
    """Monday first."""
    zone: str
    kinds: dict[str, float]
    of_sources: dict[str, Any]
    """Absent figures where sources are not told apart."""

    def to_json(self) -> dict[str, Any]:
        """The figures as a JSON document."""
        return {"schema": 1, **asdict(self)}


def measure(trace: Trace, zone: str = "UTC") -> Figures:
    """All figures of a trace; hours of the day and days of the week are those of `zone`."""
    at = trace.at_ns
    span_ns = int(at[-1] - at[0])
    busy, hour_count = counts_in_bins(at, HOUR_NS)
    hours = np.append(busy, np.zeros(hour_count - len(busy), dtype=np.int64))
    gaps = np.diff(at) / 1e9
    local = pd.DatetimeIndex(at, tz="UTC").tz_convert(_zone(zone))
    by_hour = np.bincount(local.hour, minlength=24) / len(at)
    by_day = np.bincount(local.day_of_week, minlength=7) / len(at)
    operations = np.bincount(trace.operation, minlength=len(trace.operations)) / len(at)
    kinds = np.bincount(trace.kind, minlength=len(KINDS)) / len(at)
    known = bool(trace.sources) or trace.source_count > 1
    return Figures(
        requests=len(at),
        sources=trace.source_count if known else 0,
        operations={
            name: round(float(share), 4)
            for share, name in sorted(zip(operations, trace.operations, strict=True), reverse=True)
        },
        first=str(np.datetime64(int(at[0]), "ns").astype("datetime64[s]")),
        last=str(np.datetime64(int(at[-1]), "ns").astype("datetime64[s]")),
        span_h=round(span_ns / HOUR_NS, 2),
        resolution_s=trace.resolution_ns / 1e9,
        per_hour={
            "min": int(hours.min()),
            "median": float(np.median(hours)),
            "mean": round(float(hours.mean()), 1),
            "p99": round(float(np.quantile(hours, 0.99)), 1),
            "max": int(hours.max()),
            "hours": len(hours),
        },
        peak_to_mean={
            name: round(_peak_to_mean(at, seconds * SECOND_NS), 2)
            for name, seconds in (("hour", 3600), ("minute", 60), ("second", 1))
        },
        dispersion={
            name: dispersion(at, seconds * SECOND_NS)
            for name, seconds in (("1s", 1), ("10s", 10), ("60s", 60), ("1h", 3600))
        },
        gap_mean_s=round(float(gaps.mean()), 4) if len(gaps) else 0.0,
        gap_cv=_cv(gaps),
        gap_cv_within_hour=_cv(_by_hours_mean(at, gaps)),
        gap_zero_share=round(float((gaps == 0).mean()), 3) if len(gaps) else 0.0,
        share_by_hour=tuple(round(float(share), 4) for share in by_hour),
        share_by_weekday=tuple(round(float(share), 4) for share in by_day),
        zone=zone,
        kinds={name: round(float(share), 4) for name, share in zip(KINDS, kinds, strict=True) if share},
        of_sources=_of_sources(trace) if known else {},
    )


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise InputError(f"--zone: {name!r} is no time zone such as UTC or Europe/Berlin") from None


def _peak_to_mean(at_ns: Ints, width_ns: int) -> float:
    counts, bins = counts_in_bins(at_ns, width_ns)
    return float(counts.max() * bins / counts.sum())


def _cv(values: Floats) -> float:
    """Standard deviation over mean; 0 where there is nothing to vary."""
    if len(values) < 2 or not values.mean():
        return 0.0
    return round(float(values.std() / values.mean()), 2)


def _by_hours_mean(at_ns: Ints, gaps: Floats) -> Floats:
    """Each gap over the mean gap of the clock's hour in which it ends."""
    if not len(gaps):
        return gaps
    hour = np.unique(at_ns[1:] // HOUR_NS, return_inverse=True)[1].reshape(-1)
    means = np.bincount(hour, gaps) / np.bincount(hour)
    return gaps / np.where(means[hour] > 0, means[hour], 1)


def _quantiles(values: npt.NDArray[Any], *, mean: bool = False, digits: int = 1) -> dict[str, float]:
    told = {
        name: round(float(np.quantile(values, at)), digits)
        for name, at in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
    }
    told["max"] = round(float(values.max()), digits)
    return {"mean": round(float(values.mean()), 2), **told} if mean else told


def _of_sources(trace: Trace) -> dict[str, Any]:
    counts = np.bincount(trace.source)
    most = np.sort(counts)[::-1]
    sessions = sessions_of(trace)
    per_source = np.bincount(sessions.source, minlength=trace.source_count)
    hours = int((trace.at_ns[-1] - trace.at_ns[0]) // HOUR_NS) + 1
    active = np.unique(trace.source * hours + (trace.at_ns - trace.at_ns[0]) // HOUR_NS) // hours
    always = np.bincount(active, minlength=trace.source_count) >= hours / 2
    return {
        "requests_per_source": _quantiles(counts, mean=True),
        "top1_share": round(float(most[0] / len(trace)), 4),
        "top10_share": round(float(most[:10].sum() / len(trace)), 4),
        "gap_cv_median": _gap_cv(trace, counts),
        "largest_in": {
            name: _quantiles(windows_of_sources(trace, seconds * SECOND_NS))
            for name, seconds in (("1s", 1), ("10s", 10), ("60s", 60), ("1h", 3600))
        },
        "sessions": len(sessions),
        "sessions_per_source": _quantiles(per_source, mean=True),
        "requests_per_session": _quantiles(sessions.length, mean=True),
        "session_length_s": _quantiles((sessions.end_ns - sessions.start_ns) / 1e9, mean=True),
        "always_on_sources": int(always.sum()) if hours > 1 else 0,
        "always_on_share": round(float(counts[always].sum() / len(trace)), 4) if hours > 1 else 0.0,
    }


def _gap_cv(trace: Trace, counts: Ints) -> float | None:
    """The median, over sources with 10 or more requests, of the CV of their gaps."""
    order = np.argsort(trace.source, kind="stable")
    source = trace.source[order]
    gap = np.diff(trace.at_ns[order]) / 1e9
    same = source[1:] == source[:-1]
    who, gap = source[1:][same], gap[same]
    number = np.bincount(who, minlength=len(counts))
    total = np.bincount(who, gap, minlength=len(counts))
    squares = np.bincount(who, gap * gap, minlength=len(counts))
    enough = (counts >= 10) & (total > 0)
    if not enough.any():
        return None
    mean = total[enough] / number[enough]
    variance = np.maximum(squares[enough] / number[enough] - mean * mean, 0)
    return round(float(np.median(np.sqrt(variance) / mean)), 2)
