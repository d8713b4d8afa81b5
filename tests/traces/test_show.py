"""The figures of traces: exact on small ones, the README's on recorded ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotalab.traces import Trace
from quotalab.traces.measuring import (
    SECOND_NS,
    dispersion,
    measure,
    sessions_of,
    windows_of_sources,
)
from quotalab.traces.telling import table

SMALL = Trace.of(
    np.array([0, 1, 1, 30, 3600, 3601, 7199, 90_000]) * SECOND_NS, np.array([0, 0, 1, 0, 1, 1, 1, 0])
)


def test_the_figures_of_a_small_trace_are_exact() -> None:
    """Eight requests of two sources over 25 hours, counted by hand."""
    figures = measure(SMALL)
    assert (figures.requests, figures.sources, figures.span_h) == (8, 2, 25.0)
    assert figures.per_hour == {"min": 0, "median": 0.0, "mean": 0.3, "p99": 3.8, "max": 4, "hours": 25}
    assert figures.gap_zero_share == round(1 / 7, 3)
    assert figures.of_sources["sessions"] == 5
    assert figures.of_sources["largest_in"]["60s"] == {"p50": 2.5, "p90": 2.9, "p99": 3.0, "max": 3.0}
    assert figures.of_sources["top1_share"] == 0.5


def test_hours_of_the_day_are_those_of_the_zone() -> None:
    """Midnight UTC of 1 January 1970 is one o'clock in Berlin, and a Thursday."""
    figures = measure(SMALL, "Europe/Berlin")
    assert figures.share_by_hour[1] == 0.5
    assert figures.share_by_weekday == (0.0, 0.0, 0.0, 0.875, 0.125, 0.0, 0.0)


def test_sessions_end_with_a_silence_of_more_than_half_an_hour() -> None:
    """Thirty minutes are one session, a second more are two."""
    together = sessions_of(Trace.of(np.array([0, 1800]) * SECOND_NS, np.zeros(2, dtype=np.int64)))
    apart = sessions_of(Trace.of(np.array([0, 1801]) * SECOND_NS, np.zeros(2, dtype=np.int64)))
    assert (len(together), len(apart)) == (1, 2)


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3)), min_size=1, max_size=40), st.integers(1, 60)
)
def test_largest_counts_are_those_of_brute_force(rows: list[tuple[int, int]], window: int) -> None:
    """Any half-open window, each source by itself, ties and boundaries included."""
    at, source = (np.array(column) for column in zip(*rows, strict=True))
    trace = Trace.of(at * SECOND_NS, source)
    found = windows_of_sources(trace, window * SECOND_NS)
    expected = [
        max(
            sum(
                1
                for other, one in zip(trace.at_ns, trace.source, strict=True)
                if one == code and start - window * SECOND_NS < other <= start
            )
            for start in trace.at_ns
        )
        for code in range(trace.source_count)
    ]
    assert found.tolist() == expected


@given(st.lists(st.integers(0, 500), min_size=2, max_size=60))
def test_dispersion_is_variance_over_mean_of_full_bins(times: list[int]) -> None:
    """Against plain counting; the last bin only where the trace covers nine tenths of it."""
    at = np.sort(np.array(times))
    span = int(at[-1] - at[0]) + 1
    bins = span // 10 + (span % 10 >= 9) or 1
    counts = [sum(1 for t in at if at[0] + 10 * i <= t < at[0] + 10 * (i + 1)) for i in range(bins)]
    found = dispersion(at * SECOND_NS, 10 * SECOND_NS)
    if bins < 2:
        assert found is None
    else:
        assert found == pytest.approx(np.var(counts) / np.mean(counts), abs=0.005001)


def _windows(reference: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {
        name: {key: round(value, 1) for key, value in reference[f"per_client_peak_{name}"].items()}
        for name in ("1s", "10s", "60s", "1h")
    }


@pytest.mark.parametrize(
    ("name", "zone"), [("epa_1995_08_29", "America/New_York"), ("erddap_voto_2024", "UTC")]
)
def test_recorded_traces_with_sources_have_the_readmes_figures(
    name: str, zone: str, recorded: Callable[[str], Trace], recorded_folder: Path
) -> None:
    """Every figure that both know is the same, to the last digit given."""
    text = (recorded_folder / "traces" / "figures.json").read_text()
    reference = json.loads(text)["with_clients"][name]
    figures = measure(recorded(name), zone)
    of = figures.of_sources
    assert figures.requests == reference["requests"]
    assert figures.sources == reference["clients"]
    assert round(figures.span_h, 1) == reference["span_h"]
    assert figures.per_hour == {k: round(v, 1) for k, v in reference["req_per_hour"].items()}
    assert figures.peak_to_mean == {
        unit: reference[f"peak_to_mean_{unit}"] for unit in ("hour", "minute", "second")
    }
    assert figures.dispersion == {
        "1s": reference["IDC_second"],
        "10s": reference["IDC_10s"],
        "60s": reference["IDC_minute"],
        "1h": reference["IDC_hour"],
    }
    assert round(figures.gap_mean_s, 3) == reference["interarrival_mean_s"]
    assert figures.gap_cv == reference["interarrival_cv"]
    assert figures.gap_cv_within_hour == reference["interarrival_cv_within_hour"]
    assert figures.gap_zero_share == reference["interarrival_zero_share"]
    assert {str(i): share for i, share in enumerate(figures.share_by_hour)} == reference[
        "share_by_local_hour"
    ]
    assert of["top1_share"] == reference["top1_share"]
    assert of["top10_share"] == reference["top10_share"]
    assert of["largest_in"] == _windows(reference)
    assert of["sessions"] == reference["sessions_total(30min gap)"]
    assert of["gap_cv_median"] == reference["per_client_interarrival_cv_median(n>=10)"]
    assert round(of["requests_per_session"]["mean"], 1) == reference["requests_per_session"]["mean"]
    assert round(of["session_length_s"]["mean"], 1) == pytest.approx(
        reference["session_length_s"]["mean"], abs=0.1
    )
    assert of["always_on_sources"] == reference["always_on_clients(active in >=50% of hours)"]
    assert of["always_on_share"] == pytest.approx(reference["always_on_request_share"], abs=0.0001)
    kinds = figures.kinds
    assert kinds.get("crawler", 0) == pytest.approx(
        reference.get("ua_declared_crawler_share", reference.get("host_name_crawler_share")), abs=0.0001
    )


@pytest.mark.parametrize("name", ["azure_llm_2023_code", "azure_llm_2023_conv"])
def test_recorded_traces_without_sources_have_the_readmes_figures(
    name: str, recorded: Callable[[str], Trace], recorded_folder: Path
) -> None:
    """Rates and gaps, within what the stamps' four decimals leave of them; sources are not made up."""
    text = (recorded_folder / "traces" / "figures.json").read_text()
    reference = json.loads(text)["rate_only"][name]
    figures = measure(recorded(name))
    assert (figures.requests, figures.sources, figures.of_sources) == (reference["requests"], 0, {})
    assert figures.peak_to_mean["second"] == reference["peak_to_mean_second"]
    assert figures.peak_to_mean["minute"] == reference["peak_to_mean_minute"]
    assert figures.dispersion["1s"] == pytest.approx(reference["IDC_second"], abs=0.011)
    assert figures.dispersion["60s"] == reference["IDC_minute"]
    assert figures.gap_mean_s == reference["interarrival_mean_s"]
    assert figures.gap_cv == reference["interarrival_cv"]
    assert figures.first == reference["first"][:19].replace(" ", "T")
    assert "not told apart" in table(figures)


def test_the_table_names_every_figure() -> None:
    """A reader finds rate, bursts, sources, windows, sessions and the day."""
    text = table(measure(SMALL))
    for word in (
        "per hour",
        "peak to mean",
        "dispersion",
        "gaps",
        "day",
        "largest in 1h",
        "sessions",
        "never away",
    ):
        assert word in text
