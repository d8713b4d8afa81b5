"""Exact statistics for few runs: bounds on a share, tests of paired differences, many tests at once.

All of these count cases instead of assuming a distribution, as a night has eight seeds rather than eight
hundred. Sources: C. Clopper and E. Pearson, Biometrika 26 (1934), for the bound; R. Fisher, The Design of
Experiments (1935), section 21, for the paired permutation test; R. Tarone, Biometrics 46 (1990), for the
correction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["corrected", "greater_by_chance", "rank_biserial", "share_at_most", "signs_by_chance"]

_MOST_ENUMERATED = 20


def share_at_most(cases: int, trials: int, confidence: float = 0.95) -> float:
    """The upper bound on a probability of which `cases` came up in `trials`, one-sided and exact.

    0 in 59 shows at most 4.95 % with 95 % confidence; 1.0 where there were no trials, or all were cases.
    """
    if not 0 <= cases <= trials:
        raise ValueError(f"there cannot be {cases} cases in {trials} trials")
    if cases == trials:
        return 1.0
    low, high = cases / trials, 1.0
    while True:
        middle = (low + high) / 2
        if not low < middle < high:
            return high
        if _at_most(cases, trials, middle) > 1 - confidence:
            low = middle
        else:
            high = middle


def _at_most(cases: int, trials: int, share: float) -> float:
    """P(X <= cases) of a binomial X."""
    hit, miss = math.log(share), math.log1p(-share)
    whole = math.lgamma(trials + 1)
    return math.fsum(
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * hit + (trials - k) * miss)
        for k in range(cases + 1)
    )


def signs_by_chance(differences: Sequence[float]) -> float:
    """The sign test, one-sided: how probable so many positive differences are if either sign is as likely.

    Differences of zero say nothing and are left out; 1.0 when nothing is left.
    """
    signs = [d > 0 for d in differences if d != 0]
    ups = sum(signs)
    patterns: int = 2 ** len(signs)
    return sum(math.comb(len(signs), k) for k in range(ups, len(signs) + 1)) / patterns


def greater_by_chance(differences: Sequence[float]) -> float:
    """The paired permutation test, one-sided: how probable so large a sum is if each sign may flip.

    Exact: all 2^n flips are counted, for up to 20 differences that are not zero; of more, the sign test is
    asked instead. A sum that rounding alone keeps from being as large counts as being so.
    """
    values = np.array([d for d in differences if d != 0], dtype=float)
    if len(values) > _MOST_ENUMERATED:
        return signs_by_chance(differences)
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    slack = 1e-9 * float(np.abs(values).sum())
    return float((sums >= values.sum() - slack).mean())


def rank_biserial(differences: Sequence[float]) -> float:
    """The effect's size from -1 (every pair fell) to 1 (every pair rose): matched pairs, by ranks.

    Ranks are of the absolute differences, equal ones sharing theirs; zeros are left out, and 0.0 is what
    nothing left comes to (D. Kerby, Comprehensive Psychology 3, 2014).
    """
    values = np.array([d for d in differences if d != 0], dtype=float)
    if not len(values):
        return 0.0
    size = np.abs(values)
    ranks = np.array([(size < one).sum() + ((size == one).sum() + 1) / 2 for one in size])
    return float((ranks * np.sign(values)).sum() / ranks.sum())


def corrected(chances: Sequence[float], least: Sequence[float], level: float = 0.05) -> list[float]:
    """Each probability as what it is worth among so many; what is at most `level` is significant.

    Tarone's correction: `least` is the smallest that each test could have given. A test that could never have
    been significant, such as one of figures that did not change at all, takes nothing from the others.
    """
    for counted in range(1, len(chances) + 2):
        able = [one <= level / counted for one in least]
        if sum(able) <= counted:
            break
    return [min(1.0, counted * p) if can else 1.0 for p, can in zip(chances, able, strict=True)]
