"""The process's own random generators, seeded and put back.

Reached: the global :mod:`random`, ``random.Random()`` without a seed, ``random.SystemRandom`` and with it
:mod:`secrets`, ``os.urandom``, and what draws from these (``uuid4``, ``numpy.random.default_rng()``). Not
reached: OpenSSL's own generator, numpy's legacy global one, modules that did ``from os import urandom``
before, and the order of sets of strings, which follows PYTHONHASHSEED.
"""

from __future__ import annotations

import os
import random
from typing import Any

from quotalab.clock.entropy import SeededEntropy

__all__ = ["SeededProcess"]


class SeededProcess:
    """All that the process draws follows from ``seed`` until :meth:`restore`."""

    def __init__(self, seed: int) -> None:
        entropy = SeededEntropy(seed)
        system = entropy.stream("process", "urandom")
        seeds = entropy.stream("process", "Random()")
        reseed = self._seed = random.Random.seed

        def urandom(size: int, /) -> bytes:
            if size < 0:
                raise ValueError("negative argument not allowed")
            return system.randbytes(size)

        def seed_random(self: random.Random, a: Any = None, version: int = 2) -> None:
            reseed(self, seeds.getrandbits(256) if a is None else a, version)

        self._urandom = os.urandom
        os.urandom = urandom
        random._urandom = urandom  # type: ignore[attr-defined]
        random.Random.seed = seed_random  # type: ignore[method-assign]
        random.seed(seeds.getrandbits(256))

    def restore(self) -> None:
        """Put the operating system's randomness back, and seed the global generator from it."""
        os.urandom = self._urandom
        random._urandom = self._urandom  # type: ignore[attr-defined]
        random.Random.seed = self._seed  # type: ignore[method-assign]
        random.seed()
