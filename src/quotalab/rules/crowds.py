"""Crowds: how many different people called within a stretch of time, and what each got of what was there.

Vectorised: sorting and binary search, no loop over calls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quotalab.frames.accounts import Searched

__all__ = ["Shares", "crowd", "shares"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def crowd(key: Ints, who: Ints, at_ns: Ints, within_ns: int) -> Ints:
    """For each row, how many different `who` have a row of the same `key` in (at - within, at]; in any order.

    Each row stands for its person from its own time until the person's next row, or until it has left the
    stretch: how many stand at an instant is a difference of two counts.
    """
    order = np.lexsort((at_ns, who, key))
    k, w, t = key[order], who[order], at_ns[order]
    ends_ns = t + within_ns
    if len(t):
        again = (k[1:] == k[:-1]) & (w[1:] == w[:-1])
        ends_ns[:-1] = np.where(again, np.minimum(ends_ns[:-1], t[1:]), ends_ns[:-1])
    begun = np.lexsort((at_ns, key))
    ended = np.lexsort((ends_ns, k))
    have_begun = Searched(key[begun], at_ns[begun]).find(key, at_ns, "right")
    have_ended = Searched(k[ended], ends_ns[ended]).find(key, at_ns, "right")
    return have_begun - have_ended


@dataclass(frozen=True)
class Shares:
    """What people got, beside what those got who asked for the same at the same time; arrays by person."""

    who: Ints
    asked: Ints
    got: Ints
    expected: Floats
    """What the person would have got at the rate of everybody who asked for the same in the same hour."""
    unlucky: Floats
    """How likely it is to get nothing at all at those rates; 1 where something was got."""
    jain: float
    """Jain's index of got / expected, without the spread that chance alone makes: 1 is even."""


def shares(who: Ints, stratum: Ints, got: Bools, least: float) -> Shares | None:
    """Shares of those who could expect at least `least`; None where fewer than two could.

    `stratum`: codes of what was asked for and when. Jain's index of n values is (sum x)^2 / (n sum x^2),
    which is 1 / (1 + v), v being the squared coefficient of variation (Jain, Chiu, Hawe 1984). People who ask
    for little differ by chance: the variance of a sum of draws at the strata's rates is taken off v.
    """
    rate = np.bincount(stratum, weights=got) / np.maximum(np.bincount(stratum), 1)
    chance = rate[stratum]
    people = int(who.max(initial=-1)) + 1
    asked = np.bincount(who, minlength=people)
    mine = np.bincount(who, weights=got, minlength=people)
    expected: Floats = np.bincount(who, weights=chance, minlength=people).astype(np.float64)
    spread = np.bincount(who, weights=chance * (1 - chance), minlength=people)
    with np.errstate(divide="ignore"):
        nothing = np.exp(np.bincount(who, weights=np.log1p(-chance), minlength=people))
    kept = np.flatnonzero(expected >= least)
    if len(kept) < 2:
        return None
    ratio = mine[kept] / expected[kept]
    mean = float(ratio.mean())
    by_chance = float((spread[kept] / expected[kept] ** 2).mean())
    beyond = max(0.0, float(ratio.var()) - by_chance)
    return Shares(
        who=kept,
        asked=asked[kept],
        got=mine[kept].astype(np.int64),
        expected=expected[kept],
        unlucky=np.where(mine[kept] > 0, 1.0, nothing[kept]),
        jain=mean**2 / (mean**2 + beyond) if mean else 1.0,
    )
