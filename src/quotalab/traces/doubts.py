"""What is suspicious about a recording: clocks, counts, gaps, sources. Each doubt has its figure."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Doubt", "Suspicion"]

Ints = npt.NDArray[np.int64]

_SECOND_NS = 10**9
_MINUTE_NS, _HOUR_NS, _DAY_NS = 60 * _SECOND_NS, 3600 * _SECOND_NS, 86_400 * _SECOND_NS
_MOST_BACK_NS = _MINUTE_NS
_LARGEST_SOURCE = 0.25
_STUCK = 0.1
"""The share of all requests from which on one instant has too many."""
_MOST_MINUTES = 2_000_000
_ENOUGH = 200
"""Rows below which nothing is concluded from shares."""


@dataclass(frozen=True)
class Doubt:
    """One thing that does not look as it should."""

    name: str
    figure: float
    text: str


class Suspicion:
    """Counts what doubts are made of while blocks go by, in flat memory."""

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self._back = 0
        self._far_back = 0
        self._most_back_ns = 0
        self._run = 0
        """How many requests in a row, up to now, have the very same time."""
        self._longest_run, self._longest_run_ns = 0, 0
        self._seconds: Ints = np.zeros(60, dtype=np.int64)
        self._minutes: Ints = np.zeros(60, dtype=np.int64)
        self._by_minute: dict[int, int] = {}
        self._grain = 1
        """Minutes to a bin: 1, or a day's where there are too many minutes to keep them all."""
        self._unit_ns = _MINUTE_NS
        self.first_ns = 2**63 - 1
        self.last_ns = -1

    @property
    def resolution_ns(self) -> int:
        """The coarsest of 1 s, 1 ms, 1 us and 1 ns of which all times are whole multiples."""
        return min(self._unit_ns, _SECOND_NS)

    def in_file_order(self, at_ns: Ints) -> None:
        """Take the times of a block, in the order of the file."""
        if not len(at_ns):
            return
        steps = np.diff(at_ns, prepend=at_ns[0] if self._last_ns is None else self._last_ns)
        back = -steps[steps < 0]
        self._back += len(back)
        self._far_back += int((back >= _MOST_BACK_NS).sum())
        self._most_back_ns = max(self._most_back_ns, int(back.max(initial=0)))
        self._repeats(at_ns, steps)
        self._last_ns = int(at_ns[-1])
        self.first_ns = min(self.first_ns, int(at_ns.min()))
        self.last_ns = max(self.last_ns, int(at_ns.max()))
        self._seconds += np.bincount(at_ns // _SECOND_NS % 60, minlength=60)
        minute = at_ns // _MINUTE_NS
        self._minutes += np.bincount(minute % 60, minlength=60)
        values, counts = np.unique(minute // self._grain * self._grain, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            self._by_minute[value] = self._by_minute.get(value, 0) + count
        if len(self._by_minute) > _MOST_MINUTES:
            self._by_day()
        while self._unit_ns > 1 and np.any(at_ns % self._unit_ns):
            self._unit_ns = {_MINUTE_NS: _SECOND_NS}.get(self._unit_ns, self._unit_ns // 1000)

    def _repeats(self, at_ns: Ints, steps: Ints) -> None:
        """Follow the runs of one and the same time, from block to block."""
        begins = np.flatnonzero(steps)
        ends = np.append(begins, len(at_ns))
        lengths = np.diff(ends, prepend=0)
        lengths[0] += self._run
        longest = int(lengths.argmax())
        if lengths[longest] > self._longest_run:
            self._longest_run = int(lengths[longest])
            before = int(ends[longest]) - 1
            self._longest_run_ns = int(at_ns[before]) if before >= 0 else self._last_ns or 0
        self._run = int(lengths[-1])

    def _by_day(self) -> None:
        self._grain = 1440
        days: dict[int, int] = {}
        for minute, count in self._by_minute.items():
            day = minute // 1440 * 1440
            days[day] = days.get(day, 0) + count
        self._by_minute = days

    def doubts(
        self,
        *,
        rows: int,
        lines: int,
        unreadable: int,
        mixed: int,
        of_source: Counter[str],
        of_kind: Counter[str],
    ) -> list[Doubt]:
        """All doubts, in a fixed order."""
        found: list[Doubt | None] = [
            self._clock(rows),
            self._stuck(rows),
            self._constant("constant-second", "second of the minute", self._seconds, _HOUR_NS),
            self._constant("constant-minute", "minute of the hour", self._minutes, 6 * _HOUR_NS),
            self._steady(),
            self._missing_days(),
            self._silence(),
            _torn(unreadable, lines),
            Doubt("mixed-formats", mixed / lines, f"{mixed / lines:.1%} of the lines are of another format")
            if lines and mixed
            else None,
            _largest(of_source, rows),
            _kinds("programs", "program", of_kind, 0.2),
            _kinds("crawlers", "crawler", of_kind, 0.05),
        ]
        return [doubt for doubt in found if doubt is not None]

    def _clock(self, rows: int) -> Doubt | None:
        if self._far_back:
            most_s = self._most_back_ns / 1e9
            autumn = " (an hour that comes twice, as in autumn)" if abs(most_s - 3600) < 600 else ""
            text = (
                f"time runs backwards by a minute or more {self._far_back:,} times, "
                f"by up to {most_s:,.0f} s{autumn}"
            )
            return Doubt("clock-runs-backwards", most_s, text)
        if rows >= _ENOUGH and self._back > rows / 20:
            text = f"{self._back / rows:.1%} of the requests are earlier than the one before"
            return Doubt("out-of-order", self._back / rows, text)
        return None

    def _stuck(self, rows: int) -> Doubt | None:
        """A clock that stands still: hundreds of requests in a row, and many of all, at one instant."""
        if self._longest_run < _ENOUGH or self._longest_run < _STUCK * rows:
            return None
        share = self._longest_run / rows
        at = np.datetime64(self._longest_run_ns, "ns").astype("datetime64[ms]")
        text = f"{self._longest_run:,} requests in a row, {share:.1%} of all, have the very same time, {at}"
        return Doubt("clock-stands-still", share, text)

    def _constant(self, name: str, what: str, counts: Ints, least_ns: int) -> Doubt | None:
        """A field of the time that hardly varies."""
        total = int(counts.sum())
        if total < _ENOUGH or self.last_ns - self.first_ns < least_ns:
            return None
        share = float(counts.max() / total)
        distinct = int((counts > 0).sum())
        if share < 0.5 and distinct > 12:
            return None
        text = (
            f"{share:.0%} of the requests have {int(counts.argmax()):02d} as {what}; "
            f"{distinct} values occur at all"
        )
        return Doubt(name, share, text)

    def _steady(self) -> Doubt | None:
        """Counts by minute that vary less than chance alone would make them."""
        if not self._by_minute or self._grain > 1:
            return None
        minutes = np.fromiter(self._by_minute, dtype=np.int64)
        counts = np.fromiter(self._by_minute.values(), dtype=np.int64)
        first, last = int(minutes.min()), int(minutes.max())
        inner = (minutes > first) & (minutes < last)
        bins = last - first - 1
        if bins < 30 or counts[inner].sum() < 2 * bins:
            return None
        mean = counts[inner].sum() / bins
        variance = ((counts[inner] ** 2).sum() - bins * mean * mean) / bins
        dispersion = float(variance / mean)
        if dispersion >= 1 - 3.5 * math.sqrt(2 / bins):
            return None
        text = f"counts by minute have an index of dispersion of {dispersion:.2f}; chance alone makes it 1"
        return Doubt("steadier-than-chance", dispersion, text)

    def _missing_days(self) -> Doubt | None:
        days = np.unique(np.fromiter(self._by_minute, dtype=np.int64) // 1440)
        if len(days) < 2:
            return None
        missing = int(days[-1] - days[0]) + 1 - len(days)
        if not missing:
            return None
        gaps = np.diff(days)
        where = int(np.argmax(gaps))
        after = np.datetime64(int(days[where]), "D")
        text = (
            f"{missing:,} of {missing + len(days):,} days hold no request, "
            f"{int(gaps[where]) - 1:,} of them after {after}"
        )
        return Doubt("missing-days", missing, text)

    def _silence(self) -> Doubt | None:
        """A silence of two hours or more within a recording that is otherwise never silent for so long."""
        minutes = np.sort(np.fromiter(self._by_minute, dtype=np.int64))
        if len(minutes) < _ENOUGH or self._grain > 1:
            return None
        gaps = np.diff(minutes)
        longest, usual = int(gaps.max()), float(np.quantile(gaps, 0.99))
        if longest < 120 or longest < 30 * usual or longest > 2 * 1440:  # whole days are told as missing days
            return None
        after = np.datetime64(int(minutes[int(np.argmax(gaps))]), "m")
        text = (
            f"nothing for {longest / 60:.1f} h after {after}; "
            f"99 of 100 silences are shorter than {usual:.0f} min"
        )
        return Doubt("silence", longest * 60.0, text)


def _torn(unreadable: int, lines: int) -> Doubt | None:
    if not lines or unreadable < lines / 100:
        return None
    return Doubt(
        "unreadable-lines", unreadable / lines, f"{unreadable / lines:.1%} of the lines are torn or of no use"
    )


def _largest(of_source: Counter[str], rows: int) -> Doubt | None:
    if rows < _ENOUGH or len(of_source) < 2:
        return None
    _, count = of_source.most_common(1)[0]
    if count / rows < _LARGEST_SOURCE:
        return None
    return Doubt(
        "one-source",
        count / rows,
        f"one of {len(of_source):,} sources makes {count / rows:.1%} of the requests",
    )


def _kinds(name: str, kind: str, of_kind: Counter[str], most: float) -> Doubt | None:
    total = of_kind.total()
    share = of_kind[kind] / total if total >= _ENOUGH else 0.0
    if share < most:
        return None
    return Doubt(
        name, share, f"{share:.1%} of the requests come from {name} by their own account, not from people"
    )
