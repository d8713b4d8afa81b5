"""Which law fits think times best: by likelihood, heavy tails among the candidates.

Recorders' clocks have steps, so the likelihood is that of the step in which each gap lies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["FittedLaw", "fit_laws"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FittedLaw:
    """A law with its maximum-likelihood parameters, as a traffic profile has them."""

    law: str
    parameters: dict[str, float]
    aic: float
    """Akaike's criterion: twice the parameters less twice the log-likelihood; the smallest is chosen."""


def fit_laws(gaps_s: Floats, step_s: float) -> list[FittedLaw]:
    """Laws for gaps recorded in steps of `step_s`, best first. Empty where there are no gaps."""
    if not len(gaps_s):
        return []
    values, weights = np.unique(gaps_s, return_counts=True)
    middle = values + step_s / 2
    logs = np.log(middle)
    total = int(weights.sum())
    mean = float((middle * weights).sum() / total)
    mu = float((logs * weights).sum() / total)
    sigma = max(float(np.sqrt((((logs - mu) ** 2) * weights).sum() / total)), 1e-9)
    shape = _weibull_shape(middle, weights)
    scale = float(((middle**shape * weights).sum() / total) ** (1 / shape))
    lomax, alpha = _lomax(middle, weights)
    candidates: list[tuple[str, dict[str, float], Callable[[Floats], Floats]]] = [
        ("exponential", {"mean": mean}, lambda x: np.exp(-x / mean)),
        ("lognormal", {"mu": mu, "sigma": sigma}, lambda x: _lognormal_survival(x, mu, sigma)),
        ("weibull", {"scale": scale, "shape": shape}, lambda x: np.exp(-((x / scale) ** shape))),
        ("pareto", {"scale": lomax, "alpha": alpha}, lambda x: (1 + x / lomax) ** -alpha),
    ]
    fitted = []
    for law, parameters, survival in candidates:
        share = survival(values) - survival(values + step_s)
        likelihood = float((np.log(np.maximum(share, 1e-300)) * weights).sum())
        fitted.append(FittedLaw(law, parameters, 2 * len(parameters) - 2 * likelihood))
    return sorted(fitted, key=lambda one: one.aic)


def _lognormal_survival(x: Floats, mu: float, sigma: float) -> Floats:
    from math import erfc, sqrt

    z = (np.log(np.maximum(x, 1e-300)) - mu) / (sigma * sqrt(2))
    return np.array([0.5 * erfc(one) for one in z.tolist()])


def _weibull_shape(x: Floats, weights: npt.NDArray[np.int64]) -> float:
    """The shape at which the likelihood's derivative is 0; it falls from left to right."""
    logs = np.log(x)
    mean_log = float((logs * weights).sum() / weights.sum())
    if np.ptp(logs) < 1e-12:
        return 100.0
    low, high = 0.01, 100.0
    for _ in range(80):
        shape = (low * high) ** 0.5
        powers = np.exp(shape * (logs - logs.max())) * weights
        if float((powers * logs).sum() / powers.sum() - mean_log) > 1 / shape:
            high = shape
        else:
            low = shape
    return float(shape)


def _lomax(x: Floats, weights: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Scale and alpha of a Pareto law of the second kind; golden section over the scale's logarithm."""
    total = weights.sum()

    def at(log_scale: float) -> tuple[float, float]:
        spread = (np.log1p(x / np.exp(log_scale)) * weights).sum() / total
        alpha = 1 / max(spread, 1e-12)
        return float(np.log(alpha) - log_scale - (1 + alpha) * spread), float(alpha)

    low, high = float(np.log(x.min())) - 3, float(np.log(x.max())) + 6
    golden = (5**0.5 - 1) / 2
    for _ in range(80):
        first, second = high - golden * (high - low), low + golden * (high - low)
        if at(first)[0] > at(second)[0]:
            high = second
        else:
            low = first
    middle = (low + high) / 2
    return float(np.exp(middle)), at(middle)[1]
