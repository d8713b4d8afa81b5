"""Load in trouble: how retries multiply it, outages, and what comes after them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from quotalab.frames import Frames
from quotalab.rules.meanings import INFERRED, Ints, retries

__all__ = ["After", "Outage", "amplification_by_minute", "end_of", "number_between", "outages", "rate_before"]

_MINUTE_NS = 60 * 1_000_000_000


def amplification_by_minute(frames: Frames, links: pd.DataFrame) -> pd.DataFrame:
    """By minute (since 1970): the app's first attempts, the retries that became of them, how many are
    guesses."""
    calls = frames.calls
    minute = calls["at"].to_numpy() // _MINUTE_NS
    first = (calls["actor"] == "app").to_numpy().copy()
    first[links["row"].to_numpy()] = False
    firsts = pd.Series(minute[first]).value_counts()
    root = pd.Series(minute[links["first"].to_numpy()])
    told = pd.DataFrame({"retries": root.value_counts()}).sort_index()
    told["guess"] = links["linked_by"].isin(INFERRED).groupby(root.to_numpy()).sum().reindex(told.index)
    told["firsts"] = firsts.reindex(told.index)
    told["amplification"] = 1 + told["retries"] / told["firsts"]
    return told


@dataclass(frozen=True)
class Outage:
    from_ns: int
    until_ns: int
    """The last failure."""
    first: int
    last: int
    """`seq` of the first and the last failure."""
    failures: int
    calls: int
    firsts: int

    @property
    def amplification(self) -> float:
        return self.calls / max(self.firsts, 1)


def outages(frames: Frames, least: int, apart_ns: int) -> list[Outage]:
    """Stretches in which most calls to the API failed, in order of time."""
    calls = frames.api_calls
    order = np.argsort(calls["at"].to_numpy(), kind="stable")
    at_ns, row = calls["at"].to_numpy()[order], calls.index.to_numpy()[order]
    status = calls["status"].to_numpy()[order]
    unlimited = calls["limit"].isna().to_numpy()[order]
    failed = np.flatnonzero(((status >= 500) | (status == 0)) & unlimited)
    again = np.zeros(len(frames.calls), dtype=bool)
    again[frames.once(retries)["row"].to_numpy()] = True
    seq = frames.calls["seq"].to_numpy()
    cuts = np.flatnonzero(np.diff(at_ns[failed]) > apart_ns) + 1
    found = []
    for part in np.split(failed, cuts):
        if len(part) < least:
            continue
        stretch = slice(part[0], part[-1] + 1)
        number = part[-1] + 1 - part[0]
        if 2 * len(part) < number:
            continue
        firsts = int((~again[row[stretch]]).sum())
        ends = int(seq[row[part[0]]]), int(seq[row[part[-1]]])
        found.append(Outage(int(at_ns[part[0]]), int(at_ns[part[-1]]), *ends, len(part), int(number), firsts))
    return found


def number_between(sorted_ns: Ints, from_ns: int, to_ns: int) -> int:
    first, last = np.searchsorted(sorted_ns, [from_ns, to_ns])
    return int(last - first)


def rate_before(planned_ns: Ints, from_ns: int, to_ns: int, calls: int, known: bool) -> float | None:
    """Calls before an outage for each planned operation, or for each ns; None: there is nothing to tell
    from."""
    if not known:
        return calls / (to_ns - from_ns) if to_ns > from_ns else None
    planned = number_between(planned_ns, from_ns, to_ns)
    return calls / planned if planned else None


def end_of(to_ns: int, end_ns: int) -> str:
    return "the run ended" if to_ns == end_ns else "the next outage began"


class After:
    """The load after an outage, in whole minutes from its end, beside what was to be expected."""

    def __init__(self, at_ns: Ints, planned_ns: Ints | None, rate: float, from_ns: int, to_ns: int) -> None:
        minutes = max((to_ns - from_ns) // _MINUTE_NS, 0)
        edges = from_ns + 1 + np.arange(minutes + 1) * _MINUTE_NS
        self._made = np.diff(np.searchsorted(at_ns, edges))
        if planned_ns is None:
            self._wanted = np.full(minutes, rate * _MINUTE_NS)
        else:
            self._wanted = np.diff(np.searchsorted(planned_ns, edges)) * rate

    def above(self, times: float) -> tuple[int, bool]:
        """How long the load stays above `times` what is expected, in ns; whether it ends within the time."""
        high = self._made > times * self._wanted + 3 * np.sqrt(np.maximum(self._wanted, 1))
        places = np.flatnonzero(high)
        if not len(places) or places[0] >= 5:
            return 0, True
        last = places[np.append(np.flatnonzero(np.diff(places) > 5), len(places) - 1)[0]]
        return int(last + 1) * _MINUTE_NS, bool(last + 1 < len(high))

    def rest(self, after_ns: int) -> tuple[int, float]:
        """Calls made, and expected, from `after_ns` on."""
        first = -(-after_ns // _MINUTE_NS)
        return int(self._made[first:].sum()), float(self._wanted[first:].sum())
