"""Generated traffic held against the trace: the same figures, and what limiters would refuse of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quotalab.clock import SeededEntropy
from quotalab.profiles.traffic import Calendar, Chain, Replay, parse_traffic
from quotalab.traces.limiters import FixedWindow, Limiter, SlidingLog, TokenBucket, refused
from quotalab.traces.measuring import Figures, Sessions, measure, sessions_of
from quotalab.traces.trace import Trace
from quotalab.traffic.arrivals import Arrivals, steps_up_to
from quotalab.traffic.calendar import HOUR_NS
from quotalab.traffic.chain import chain_period, classes_of_people
from quotalab.traffic.draws import Draws
from quotalab.traffic.fitting import gaps_of
from quotalab.traffic.replaying import period_of, replay_arrivals

__all__ = ["LIMITERS", "Comparison", "compare", "generators"]

Ints = npt.NDArray[np.int64]
_SECOND_NS = 10**9
_DAY_NS = 24 * HOUR_NS
_MONDAY = 4

LIMITERS: Mapping[str, Limiter] = {
    "token bucket 1/s burst 5": TokenBucket(_SECOND_NS, 5),
    "token bucket 1/s burst 10": TokenBucket(_SECOND_NS, 10),
    "token bucket 1/6s burst 10": TokenBucket(6 * _SECOND_NS, 10),
    "fixed window 10/60s": FixedWindow(10, 60 * _SECOND_NS),
    "sliding log 10/60s": SlidingLog(10, 60 * _SECOND_NS),
    "fixed window 60/3600s": FixedWindow(60, HOUR_NS),
    "sliding log 60/3600s": SlidingLog(60, HOUR_NS),
    "fixed window 5/1s": FixedWindow(5, _SECOND_NS),
}
"""Limiters of each source, as in the reference rows."""

Generator = Callable[[int], Trace]
"""Gives traffic as long as the trace, by seed."""


@dataclass(frozen=True)
class Comparison:
    """A trace and what generators make of it."""

    trace: Figures
    generated: Mapping[str, Figures]
    """The figures of each generator's first seed."""
    refused: Mapping[str, int]
    """Of the trace, by limiter."""
    mean_refused: Mapping[str, Mapping[str, float]]
    """By generator and limiter, the mean over the seeds."""
    seeds: int

    def error(self, generator: str, limiter: str) -> float:
        """How far the mean is from the trace, as a share; 0 where both refuse nothing."""
        expected, found = self.refused[limiter], self.mean_refused[generator][limiter]
        return found / expected - 1 if expected else (float("inf") if found else 0.0)

    def table(self) -> str:
        """Both tables as text."""
        names = list(self.generated)
        width = max(map(len, names)) + 2
        head = f"{'':<28}{'trace':>12}" + "".join(f"{name:>{max(width, 18)}}" for name in names)
        lines = [head]
        for label, pick in _ROWS:
            mine = [_told(pick(figures)) for figures in (self.trace, *self.generated.values())]
            if mine[0] != "-":
                lines.append(
                    f"{label:<28}{mine[0]:>12}" + "".join(f"{one:>{max(width, 18)}}" for one in mine[1:])
                )
        lines += ["", f"refused by a limiter of each source, mean of {self.seeds} seeds", head]
        for limiter, expected in self.refused.items():
            cells = []
            for name in names:
                found, error = self.mean_refused[name][limiter], self.error(name, limiter)
                told = f"{found:,.0f} ({error:+.0%})" if np.isfinite(error) and expected else f"{found:,.0f}"
                cells.append(f"{told:>{max(width, 18)}}")
            lines.append(f"{limiter:<28}{expected:>12,}" + "".join(cells))
        return "\n".join(lines)


_ROWS: tuple[tuple[str, Callable[[Figures], Any]], ...] = (
    ("requests", lambda f: f.requests),
    ("per hour, mean", lambda f: f.per_hour["mean"]),
    ("per hour, max", lambda f: f.per_hour["max"]),
    ("peak to mean, minute", lambda f: f.peak_to_mean["minute"]),
    ("peak to mean, second", lambda f: f.peak_to_mean["second"]),
    ("dispersion 1 s", lambda f: f.dispersion["1s"]),
    ("dispersion 10 s", lambda f: f.dispersion["10s"]),
    ("dispersion 60 s", lambda f: f.dispersion["60s"]),
    ("dispersion 1 h", lambda f: f.dispersion["1h"]),
    ("gaps, CV", lambda f: f.gap_cv),
    ("gaps, CV within the hour", lambda f: f.gap_cv_within_hour),
    ("CV of a source's gaps", lambda f: f.of_sources.get("gap_cv_median")),
    ("sessions", lambda f: f.of_sources.get("sessions")),
    ("requests per session, mean", lambda f: f.of_sources and f.of_sources["requests_per_session"]["mean"]),
    ("requests per session, p99", lambda f: f.of_sources and f.of_sources["requests_per_session"]["p99"]),
    ("length of a session, mean s", lambda f: f.of_sources and f.of_sources["session_length_s"]["mean"]),
    ("most of a source, 10 s p99", lambda f: f.of_sources and f.of_sources["largest_in"]["10s"]["p99"]),
    ("most of a source, 60 s p99", lambda f: f.of_sources and f.of_sources["largest_in"]["60s"]["p99"]),
    ("most of a source, 1 h p99", lambda f: f.of_sources and f.of_sources["largest_in"]["1h"]["p99"]),
    ("largest source's share", lambda f: f.of_sources.get("top1_share")),
)


def _told(value: Any) -> str:
    return "-" if value in (None, {}) else f"{value:,g}" if isinstance(value, float) else f"{value:,}"


def compare(trace: Trace, generators: Mapping[str, Generator], seeds: int = 20) -> Comparison:
    """Hold each generator against the trace."""
    figures, refusals = {}, {}
    for name, generate in generators.items():
        made = [generate(seed) for seed in range(1, seeds + 1)]
        figures[name] = measure(made[0])
        refusals[name] = _mean_refused(made)
    own = {name: int(refused(trace.at_ns, trace.source, one).sum()) for name, one in LIMITERS.items()}
    return Comparison(measure(trace), figures, own, refusals, seeds)


def _mean_refused(made: list[Trace]) -> dict[str, float]:
    """All seeds at once: the people of one seed are not those of another."""
    offset = np.cumsum([0, *(one.source_count for one in made)])
    at = np.concatenate([one.at_ns for one in made])
    who = np.concatenate([one.source + shift for one, shift in zip(made, offset, strict=False)])
    return {name: float(refused(at, who, one).sum()) / len(made) for name, one in LIMITERS.items()}


def generators(trace: Trace, document: Mapping[str, Any]) -> dict[str, Generator]:
    """The two generators, by a profile of kind ``chain``, and two simple ones as what there is to beat."""
    chain = parse_traffic(document, "fitted").chain
    assert chain is not None, "a fitted profile is a chain"
    sessions = sessions_of(trace)
    return {
        "resampled": lambda seed: _resampled(trace, sessions, seed),
        "parametric": lambda seed: _parametric(trace, chain, seed),
        "lognormal gaps": lambda seed: _independent(trace, sessions, seed),
        "Poisson": lambda seed: _poisson(trace, seed),
    }


def _as_recorded(trace: Trace, made: Arrivals) -> Trace:
    """What the trace's own recorder would have written down of it."""
    at_ns = made.at_ns - made.at_ns % trace.resolution_ns
    return Trace.of(at_ns, made.person, meta=trace.meta, sources=trace.sources)


def _resampled(trace: Trace, sessions: Sessions, seed: int) -> Trace:
    replay = Replay(Path(), "", True, True, 1.0, None, 0, {})
    period_ns = period_of(trace)
    start_ns = int(trace.at_ns[0]) // HOUR_NS * HOUR_NS
    made = replay_arrivals(
        trace,
        sessions,
        replay,
        SeededEntropy(seed),
        people=trace.source_count,
        start_ns=start_ns - period_ns,
        end_ns=start_ns + 3 * period_ns,
        only_loop=0,
    )
    return _as_recorded(trace, made)


def _parametric(trace: Trace, chain: Chain, seed: int) -> Trace:
    entropy = SeededEntropy(seed)
    people = trace.source_count
    classes = classes_of_people(chain, Draws(entropy, "traffic", "class"), people)
    day = int(trace.at_ns[0]) // _DAY_NS - _MONDAY
    first_day = day // chain.period_days * chain.period_days + _MONDAY
    origin_ns = int(trace.at_ns[0]) // HOUR_NS * HOUR_NS
    made = chain_period(chain, Calendar(), entropy, classes, first_day, origin_ns=origin_ns)
    return _as_recorded(trace, made)


def _independent(trace: Trace, sessions: Sessions, seed: int) -> Trace:
    """The trace's own sessions in start, source and length, with independent lognormal gaps."""
    draw = np.random.default_rng(seed)
    gaps = gaps_of(trace, sessions).seconds
    step_s = trace.resolution_ns / _SECOND_NS
    logs = np.log(gaps + step_s / 2) if len(gaps) else np.zeros(1)
    row, rank = steps_up_to(sessions.length)
    drawn = np.exp(draw.normal(logs.mean(), logs.std(), len(row)))
    drawn = np.minimum(drawn, 1800.0)
    drawn[rank == 0] = 0
    since = np.cumsum(drawn)
    since -= since[sessions.first][row]
    at_ns = sessions.start_ns[row] + (since * _SECOND_NS).astype(np.int64)
    made = Arrivals(sessions.source[row], at_ns, np.zeros(len(row), dtype=np.int64), ("request",))
    return _as_recorded(trace, made)


def _poisson(trace: Trace, seed: int) -> Trace:
    """As many requests in each hour, evenly spread over it, each of any source."""
    draw = np.random.default_rng(seed)
    hour = trace.at_ns // HOUR_NS * HOUR_NS
    at_ns = hour + (draw.random(len(hour)) * HOUR_NS).astype(np.int64)
    who = draw.integers(0, trace.source_count, len(hour))
    return _as_recorded(trace, Arrivals(who, at_ns, np.zeros(len(hour), dtype=np.int64), ("request",)))
