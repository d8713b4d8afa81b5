"""Locust's own means, driven by traffic profiles: a `LoadTestShape` and a wait function.

For tasks written in Locust's style; a `PlannedPerson` needs neither.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from locust import LoadTestShape

from quotalab.clock import RealClock
from quotalab.profiles.loading import load_traffic
from quotalab.profiles.traffic import Traffic
from quotalab.traffic import rate_curve
from quotalab.workspace import Workspace

__all__ = ["TrafficShape", "think_time"]

_HOUR_NS = 3600 * 10**9


class TrafficShape(LoadTestShape):
    """As many people at a time as the day of a traffic profile has: `most` in its busiest hour.

    ::

        class Day(TrafficShape):
            abstract = False
            traffic = "office-day"
            most = 60

    Hours are those of the profile's time zone; weekdays and holidays have their share.
    """

    abstract: ClassVar[bool] = True
    traffic: ClassVar[str] = "office-day"
    most: ClassVar[int] = 100
    spawn_rate: ClassVar[float] = 10.0
    """People who come or go in a second."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._traffic = load_traffic(Workspace.find(Path.cwd()), self.traffic)
        self._begins: list[int] = []
        self._shares: list[float] = []

    def tick(self) -> tuple[int, float] | None:
        """Locust asks once a second."""
        return round(self.most * self.share(self._now_ns())), self.spawn_rate

    def share(self, now_ns: int) -> float:
        """How busy it is at a moment, from 0 to 1, on straight lines between the middles of hours."""
        if not self._begins or not self._begins[0] <= now_ns < self._begins[-1] - _HOUR_NS:
            curve = rate_curve(self._traffic, now_ns - 24 * _HOUR_NS, now_ns + 48 * _HOUR_NS)
            self._begins = [begin + _HOUR_NS // 2 for begin, _ in curve]
            self._shares = [share for _, share in curve]
        place = bisect_right(self._begins, now_ns) - 1
        low, high = self._begins[place], self._begins[place + 1]
        part = (now_ns - low) / (high - low)
        return self._shares[place] + (self._shares[place + 1] - self._shares[place]) * part

    def _now_ns(self) -> int:
        stage: Any = getattr(getattr(self.runner, "environment", None), "stage", None)
        clock = stage.clock if stage is not None else RealClock()
        now_ns: int = clock.now_ns()
        return now_ns


def think_time(traffic: str | Traffic) -> Callable[[Any], float]:
    """A `wait_time` by a profile's law of think times, each person from a stream of their own."""
    profile = load_traffic(Workspace.find(Path.cwd()), traffic) if isinstance(traffic, str) else traffic

    def wait(person: Any) -> float:
        stream = getattr(person, "_think_stream", None)
        if stream is None:
            stream = person._think_stream = person.stage.entropy.stream("think", person.name)
        return profile.think_s.value(stream.random())

    return wait
