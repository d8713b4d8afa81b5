"""Arrivals: who asks for what when, as arrays, from which people's plans are cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Arrivals", "drawn", "kept_apart", "steps_up_to"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Arrivals:
    """Operations that people will ask for; arrays of one length, in no certain order."""

    person: Ints
    """From 0."""
    at_ns: Ints
    operation: Ints
    """Codes into `names`."""
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.at_ns)

    def kept(self, rows: npt.NDArray[np.bool_] | Ints) -> Arrivals:
        """Some of the rows."""
        return Arrivals(self.person[rows], self.at_ns[rows], self.operation[rows], self.names)

    def between(self, start_ns: int, end_ns: int) -> Arrivals:
        """Those in [start, end)."""
        inside = (self.at_ns >= start_ns) & (self.at_ns < end_ns)
        return self if inside.all() else self.kept(inside)

    def in_order(self) -> Arrivals:
        """By person and time; equal times keep their order."""
        return self.kept(np.lexsort((self.at_ns, self.person)))

    @classmethod
    def none(cls) -> Arrivals:
        """Nothing at all."""
        empty = np.empty(0, dtype=np.int64)
        return cls(empty, empty, empty, ())

    @classmethod
    def together(cls, parts: Sequence[Arrivals]) -> Arrivals:
        """All parts, under one list of names."""
        names: dict[str, int] = {}
        codes = []
        for part in parts:
            places = np.array([names.setdefault(name, len(names)) for name in part.names], dtype=np.int64)
            codes.append(places[part.operation] if len(part) else part.operation)
        if not parts:
            return cls.none()
        return cls(
            np.concatenate([part.person for part in parts]),
            np.concatenate([part.at_ns for part in parts]),
            np.concatenate(codes),
            tuple(names),
        )


def drawn(cumulated: Floats, uniform: Floats) -> Ints:
    """The index whose share of [0, 1) holds each draw."""
    found: Ints = np.minimum(np.searchsorted(cumulated, uniform, "right"), len(cumulated) - 1)
    return found


def steps_up_to(counts: Ints) -> tuple[Ints, Ints]:
    """For counts (2, 0, 3): the rows (0, 0, 2, 2, 2) and their places (0, 1, 0, 1, 2)."""
    rows = np.repeat(np.arange(len(counts)), counts)
    first = np.cumsum(counts) - counts
    return rows, np.arange(len(rows)) - first[rows]


def kept_apart(person: Ints, start_ns: Ints, lasts_ns: Ints, silence_ns: int) -> Ints:
    """When sessions begin, once each waits until its person's session before has been over for `silence_ns`.

    Sessions of a trace are apart by definition; drawn ones would meet, and make windows too full.
    """
    order = np.lexsort((start_ns, person))
    start, lasts = start_ns[order], lasts_ns[order]
    new = np.append(True, np.diff(person[order]) != 0)[: len(order)]
    first = np.flatnonzero(new)
    count = np.diff(first, append=len(order))
    most = np.argsort(-count, kind="stable")
    first, count = first[most], count[most]
    for rank in range(1, int(count.max(initial=0))):
        rows = first[: np.searchsorted(-count, -rank, "left")] + rank
        start[rows] = np.maximum(start[rows], start[rows - 1] + lasts[rows - 1] + silence_ns)
    found = np.empty_like(start)
    found[order] = start
    return found
