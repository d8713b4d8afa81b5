"""Who comes on: the people of a run, dealt out one by one, so that no two users act as one person."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from quotalab.clock import Clock
from quotalab.errors import ScenarioError
from quotalab.traffic.planning import PersonPlan

__all__ = ["Cast"]


class Cast:
    """The people in their order; whoever has left comes on again when all others have been on."""

    def __init__(self, plans: Sequence[PersonPlan], clock: Clock) -> None:
        self._plans = {kept.person: kept for kept in plans}
        self._waiting = deque(self._plans)
        self._left: deque[str] = deque()
        self._clock = clock
        self.dealt: set[str] = set()
        """Who has been on."""

    def next(self, *, again: bool) -> PersonPlan:
        """The next person, with what they will do; of what they were to do before now, nothing a second time.

        With `again`, as a shape that shrinks and grows needs it, the cast begins anew when everybody is on.
        Raises `ScenarioError` when more people appear than were announced.
        """
        if not self._waiting and not self._left:
            if not again:
                raise ScenarioError(
                    f"more than the {len(self._plans)} people of this run appeared; give --users"
                )
            self._left.extend(self._plans)
        person = (self._waiting or self._left).popleft()
        kept = self._plans[person]
        if person in self.dealt:
            now_ns = self._clock.now_ns()
            ahead = tuple(step for step in kept.operations if step.planned_ns > now_ns)
            return PersonPlan(person, ahead)
        self.dealt.add(person)
        return kept

    def back(self, person: str) -> None:
        """The person has left, and may come on again."""
        if person in self.dealt and person not in self._left:
            self._left.append(person)
