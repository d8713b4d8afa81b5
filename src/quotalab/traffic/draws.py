"""Uniform draws by key, many at once: each follows from the seed and the numbers that it is asked for.

A person's draws are their own however many people there are, and a million of them take a moment.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quotalab.clock import Entropy

__all__ = ["Draws"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


class Draws:
    """Draws for one purpose, numbered in as many dimensions as it takes."""

    def __init__(self, entropy: Entropy, *purpose: str) -> None:
        self._seed = np.uint64(entropy.stream("draws", *purpose).getrandbits(64))

    def uniform(self, *numbers: Ints | int) -> Floats:
        """In [0, 1), one for each row of the numbers, which are broadcast against each other."""
        arrays = np.broadcast_arrays(*(np.asarray(number, dtype=np.int64) for number in numbers))
        state = np.full(arrays[0].shape, self._seed)
        for array in arrays:
            state = _mixed(state ^ _mixed(array.astype(np.uint64) * _GOLDEN + _GOLDEN))
        drawn: Floats = (state >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return drawn

    def permutation(self, size: int, *numbers: int) -> Ints:
        """The numbers from 0 to size - 1, shuffled."""
        order: Ints = np.argsort(self.uniform(np.arange(size), *numbers), kind="stable")
        return order


def _mixed(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's last step (Steele, Lea and Flood, 2014)."""
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))
