"""Where the time of a run goes: real seconds, stage by stage."""

from __future__ import annotations

from quotalab.clock import Clock

__all__ = ["Timings"]


class Timings:
    """Call `done` when a stage has ended; it gets the time since the one before."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_ns = clock.monotonic_ns()
        self._stages: list[tuple[str, int]] = []

    def done(self, stage: str) -> None:
        """A stage has ended now."""
        now_ns = self._clock.monotonic_ns()
        self._stages.append((stage, now_ns - self._last_ns))
        self._last_ns = now_ns

    def table(self, span_ns: int) -> str:
        """The stages as a table, and how many times faster than real time the whole was."""
        total_ns = sum(took_ns for _, took_ns in self._stages) or 1
        rows = [f"  {took_ns / 1e9:7.2f} s  {stage}" for stage, took_ns in self._stages]
        return "\n".join(
            [
                "Where the time went (real seconds):",
                *rows,
                f"  {total_ns / 1e9:7.2f} s  in all: {span_ns / total_ns:,.0f} times real time",
            ]
        )
