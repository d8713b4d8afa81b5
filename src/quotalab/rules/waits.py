"""How long an app waited before its retries, and how it had been told to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quotalab.frames import Frames
from quotalab.frames.calendar import NEVER
from quotalab.frames.limits import asked
from quotalab.rules.meanings import Bools, Ints, promises_ns, retries

__all__ = ["NO_WAIT_NS", "Waits", "alike", "forms_of", "in_words", "room_ns", "too_long", "waits_by_kind"]

NO_WAIT_NS = 10_000_000
"""What is shorter is no wait."""
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Waits:
    """Waits that jitter should spread."""

    name: str
    beyond: str
    links: pd.DataFrame
    either: tuple[Ints, ...]
    """The waits, in ns: as counted from the answer, and as counted from the decision where that may be
    meant."""

    @property
    def waits_ns(self) -> Ints:
        return self.either[0]


def waits_by_kind(frames: Frames) -> list[Waits]:
    calls, links = frames.calls, frames.once(retries)
    promise = frames.once(promises_ns)[links["attempt"].to_numpy()]
    gap = links["gap_ns"].to_numpy()
    nth = np.minimum(links["number"].to_numpy(), 6)
    kinds = []
    for number in range(1, 7):
        mine = (promise == 0) & (nth == number) & (gap >= NO_WAIT_NS)
        name = f"{('first', 'second', 'third', 'fourth', 'fifth', 'later')[number - 1]} retries"
        if mine.any():
            kinds.append(Waits(name, "", links[mine], (gap[mine],)))
    end = calls["at"].to_numpy()[links["attempt"].to_numpy()] + promise
    beyond = calls["sent"].to_numpy()[links["row"].to_numpy()] - end
    told = np.flatnonzero((promise > 0) & (beyond >= 0))
    if len(told):
        # Only where several were told to come at the same time does it matter that they do.
        pairs = np.unique(np.column_stack([end[told] // _SECOND_NS, links["first"].to_numpy()[told]]), axis=0)
        seconds, callers = np.unique(pairs[:, 0], return_counts=True)
        told = told[np.isin(end[told] // _SECOND_NS, seconds[callers > 1])]
    if len(told):
        name = "retries whose promised end was another's too"
        waits = (beyond[told], gap[told] - promise[told])
        kinds.append(Waits(name, " beyond it", links.iloc[told], waits))
    return kinds


def alike(waits_ns: Ints, close_ns: int) -> Ints:
    """Positions of the most waits that lie within 1 %, or `close_ns`, of each other."""
    order = np.argsort(waits_ns, kind="stable")
    ordered = waits_ns[order]
    ends = np.searchsorted(ordered, ordered + np.maximum(close_ns, np.abs(ordered) // 100), "right")
    start = int(np.argmax(ends - np.arange(len(ordered))))
    found: Ints = order[start : ends[start]]
    return found


def room_ns(frames: Frames) -> Ints:
    """How long after each refusal without a promise there was room again, by the judges' arithmetic; 0:
    none."""
    calls = frames.calls
    room = np.zeros(len(calls), dtype=np.int64)
    unpromised = frames.once(promises_ns) == 0
    for limit in frames.provider.limits:
        mine = frames.once(asked)[limit.name]
        refused = ((calls["limit"] == limit.name).to_numpy() & unpromised)[mine.rows]
        wait_ns = mine.uses.wait_ns[refused]
        room[mine.rows[refused]] = np.where(wait_ns >= NEVER, 0, wait_ns)
    return room


def forms_of(frames: Frames, rows: Ints) -> npt.NDArray[Any]:
    """In which form each call's Retry-After was written: by the profile's dialect, and its planted faults."""
    calls, provider = frames.calls, frames.provider
    form = np.full(len(calls.iloc[rows]), "seconds", dtype=object)
    limits = calls["limit"].iloc[rows]
    for name in limits.cat.categories:
        if name in {limit.name for limit in provider.limits}:
            own = provider.dialect.refusal(name).retry_after
            form[(limits == name).to_numpy()] = "seconds" if own == "none" else own
    struck = calls["fault"].iloc[rows]
    for names in struck.cat.categories:
        for fault in provider.faults:
            if fault.kind == "retry_after" and fault.as_ and fault.name in names.split():
                form[(struck == names).to_numpy()] = fault.as_
    return form


def in_words(form: str) -> str:
    names = {
        "seconds": "whole seconds",
        "decimal": "seconds with decimals",
        "http_date": "an HTTP date",
        "iso": "an ISO 8601 date",
        "epoch": "seconds since 1970",
    }
    return f"a Retry-After in {names[form]}" if form in ("seconds", "decimal", "epoch") else f"{names[form]}"


def too_long(name: str, kept: Bools, waited: Ints, promise: Ints, least: float) -> tuple[Bools, str]:
    """Kept waits that are much too long in a way that tells why; and how that is said."""
    ratio = waited / promise
    longer = kept & (np.abs(ratio / 1000 - 1) < 0.01)
    text = (
        f"{int(longer.sum()):,} of {int(kept.sum()):,} retries waited a thousand times what {in_words(name)} "
    )
    text += "promised"
    if name in ("http_date", "iso") and int(longer.sum()) < least:
        half_ns = 1800 * _SECOND_NS
        beyond = waited - promise
        off = np.abs(beyond - np.round(beyond / half_ns) * half_ns)
        longer = kept & (beyond > half_ns // 2) & (beyond < 15 * 3600 * _SECOND_NS) & (off < 5 * _SECOND_NS)
        text = (
            f"{int(longer.sum()):,} of {int(kept.sum()):,} retries waited whole half hours beyond "
            f"{in_words(name)}, as if it were of another time zone"
        )
    enough = int(longer.sum()) >= least and 2 * int(longer.sum()) >= int(kept.sum())
    return longer, text if enough else ""
