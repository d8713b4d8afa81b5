"""What the rest of the engine is given: a clock and a source of randomness."""

from __future__ import annotations

import random
from typing import Protocol

__all__ = ["Clock", "Entropy"]


class Clock(Protocol):
    """Reads the time and waits; all in integer nanoseconds."""

    def now_ns(self) -> int:
        """Wall time, in nanoseconds since 1970-01-01 00:00 UTC."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary, non-zero origin; never goes backwards. For differences only."""
        ...

    def sleep_ns(self, duration_ns: int) -> None:
        """Let ``duration_ns`` nanoseconds pass; 0 lets others run.

        Raises :class:`~quotalab.errors.InputError` when it is negative.
        """
        ...


class Entropy(Protocol):
    """Draws randomness, each purpose from a source of its own.

    However much one purpose draws, no other purpose's draws change: adding a person or a fault to a run
    leaves everybody else's luck alone.
    """

    def stream(self, *purpose: str) -> random.Random:
        """A generator for one purpose, for example ``stream("person", "17", "think-time")``."""
        ...

    def token(self, purpose: str, nbytes: int = 32) -> str:
        """The purpose's next token: ``nbytes`` random bytes in URL-safe base64 without padding."""
        ...

    def key(self, purpose: str, nbytes: int = 32) -> bytes:
        """The purpose's key, the same at every call."""
        ...
