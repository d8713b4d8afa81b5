"""Virtual time itself: one number, and how often code looked at it without letting it pass."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

__all__ = ["LAST_NS", "MONOTONIC_ORIGIN_NS", "Timeline", "written"]

#: What monotonic clocks read at the start; not 0, which some code takes for "never".
MONOTONIC_ORIGIN_NS = 1_000_000_000_000

#: The end of time, 9999-12-31 00:00 UTC: later than that no datetime can tell.
LAST_NS = 253_402_214_400_000_000_000


def written(at_ns: int) -> str:
    """An instant as people read it: 2026-01-05T00:00:00.000000000Z."""
    seconds, fraction_ns = divmod(at_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction_ns:09d}Z"


class Timeline:
    """Where virtual time stands.

    ``looks`` counts clock reads and callbacks asked of the loop since time last moved. Code that waits by
    sleeping lets time move and the count starts again; code that spins drives it to ``looks_limit``, and
    ``on_too_many`` is then called in the code that spins. Plain attributes, because every clock read, sleep
    and spawn passes here.
    """

    __slots__ = ("looks", "looks_limit", "now_ns", "on_too_many", "start_ns")

    def __init__(self, start_ns: int, looks_limit: int, on_too_many: Callable[[str], None]) -> None:
        self.start_ns = start_ns
        self.now_ns = start_ns
        self.looks = 0
        self.looks_limit = looks_limit
        self.on_too_many = on_too_many

    def read_wall_ns(self) -> int:
        """Now, in nanoseconds since 1970-01-01 00:00 UTC."""
        self.looks += 1
        if self.looks > self.looks_limit:
            self.on_too_many("reads the clock")
        return self.now_ns

    def read_monotonic_ns(self) -> int:
        """Now, in nanoseconds since 1000 s before the start."""
        return self.read_wall_ns() - self.start_ns + MONOTONIC_ORIGIN_NS
