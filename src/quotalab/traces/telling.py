"""The figures of a trace as a table of text."""

from __future__ import annotations

from typing import Any

from quotalab.traces.measuring import Figures

__all__ = ["table"]

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_BARS = " .:-=+*#%@"


def table(figures: Figures) -> str:
    """What `quotalab trace show` prints."""
    hour, peaks, burst = figures.per_hour, figures.peak_to_mean, figures.dispersion
    operations = list(figures.operations.items())
    rows: list[tuple[str, str]] = [
        ("requests", f"{figures.requests:,} in {figures.span_h:,g} h, {figures.first} to {figures.last} UTC"),
        ("operations", ", ".join(f"{name} {share:.1%}" for name, share in operations[:8])),
        ("clock", f"steps of {figures.resolution_s:g} s; {figures.gap_zero_share:.1%} of the gaps are 0"),
        (
            "per hour",
            f"min {hour['min']:,}, median {hour['median']:,g}, mean {hour['mean']:,g}, p99 {hour['p99']:,g}, "
            f"max {hour['max']:,} ({hour['hours']:,} hours)",
        ),
        ("peak to mean", ", ".join(f"{name} {value:g}" for name, value in peaks.items())),
        (
            "dispersion",
            ", ".join(f"{name} {value:g}" for name, value in burst.items() if value is not None)
            + " (1: as random as can be)",
        ),
        (
            "gaps",
            f"mean {figures.gap_mean_s:g} s, CV {figures.gap_cv:g}, "
            f"within the hour {figures.gap_cv_within_hour:g}",
        ),
        ("kinds", ", ".join(f"{name} {share:.1%}" for name, share in figures.kinds.items())),
        (
            "day",
            _strip(figures.share_by_hour)
            + f"  0 to 23 h, {figures.zone}; {_extremes(figures.share_by_hour)}",
        ),
        (
            "week",
            ", ".join(f"{_DAYS[i]} {share:.1%}" for i, share in enumerate(figures.share_by_weekday) if share),
        ),
    ]
    rows += _of_sources(figures)
    return "\n".join(f"{name:<22}{text}" for name, text in rows)


def _of_sources(figures: Figures) -> list[tuple[str, str]]:
    of = figures.of_sources
    if not of:
        return [("sources", "not told apart")]
    rows = [
        (
            "sources",
            f"{figures.sources:,}; the largest makes {of['top1_share']:.1%}, "
            f"ten make {of['top10_share']:.1%}",
        ),
        ("requests per source", _told(of["requests_per_source"])),
    ]
    if of["gap_cv_median"] is not None:
        rows.append(
            ("CV of a source's gaps", f"median {of['gap_cv_median']:g}, of sources with 10 requests or more")
        )
    rows += [(f"largest in {name}", _told(values)) for name, values in of["largest_in"].items()]
    rows += [
        (
            "sessions",
            f"{of['sessions']:,}, ended by 30 min of silence; per source {_told(of['sessions_per_source'])}",
        ),
        ("requests per session", _told(of["requests_per_session"])),
        ("length of a session", _told(of["session_length_s"], " s")),
        (
            "never away",
            f"{of['always_on_sources']:,} sources are there in half of the hours and make "
            f"{of['always_on_share']:.1%}",
        ),
    ]
    return rows


def _told(values: dict[str, Any], unit: str = "") -> str:
    return ", ".join(f"{name} {value:,g}{unit}" for name, value in values.items())


def _strip(shares: tuple[float, ...]) -> str:
    most = max(shares) or 1
    return "|" + "".join(_BARS[round(share / most * (len(_BARS) - 1))] for share in shares) + "|"


def _extremes(shares: tuple[float, ...]) -> str:
    busiest = shares.index(max(shares))
    quietest = min((share, i) for i, share in enumerate(shares) if share)[1]
    return f"busiest {busiest} h {shares[busiest]:.2%}, quietest {quietest} h {shares[quietest]:.2%}"
