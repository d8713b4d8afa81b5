"""People's habits when an app asks for their consent: drawn for each person from their own stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quotalab.clock import Clock, Entropy
from quotalab.profiles.traffic import Habits

__all__ = ["Habit", "habit_of"]

Box = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Habit:
    """What one person does on the consent page, and later."""

    denies: bool
    closes: bool
    unticks: float | None
    """Which of the scopes that may be unticked, from 0 to 1 along the list; None: none."""
    late_ns: int
    """How long the page lies open."""
    withdraw_after_ns: int | None
    """How long after it was given consent is taken back; None: it is not."""

    @property
    def choices(self) -> dict[str, str]:
        """Which button is pressed, where it is not the first."""
        return {"decision": "deny"} if self.denies else {}

    def consider(self, boxes: Sequence[Box], clock: Clock) -> Sequence[Box] | None:
        """Take one's time over a page; the boxes that stay ticked, or None: the page is closed."""
        if self.late_ns:
            clock.sleep_ns(self.late_ns)
        if self.closes:
            return None
        if self.unticks is None or len(boxes) < 2:
            return boxes
        gone = min(int(self.unticks * len(boxes)), len(boxes) - 1)
        return [*boxes[:gone], *boxes[gone + 1 :]]


def habit_of(habits: Habits, entropy: Entropy, person: str) -> Habit:
    """One person's habit.

    Each share is held against a draw of its own, in one order: to change one changes no other person's
    habits, and nothing else of this person's.
    """
    stream = entropy.stream("habits", person)
    leaves, unticks, which, late, late_by, withdraws, after = (stream.random() for _ in range(7))
    return Habit(
        denies=leaves < habits.deny,
        closes=habits.deny <= leaves < habits.deny + habits.close,
        unticks=which if unticks < habits.untick else None,
        late_ns=round(habits.late_by_ns * (0.5 + late_by)) if late < habits.late else 0,
        withdraw_after_ns=(
            round(habits.withdraw_after_ns * (0.5 + after)) if withdraws < habits.withdraw else None
        ),
    )
