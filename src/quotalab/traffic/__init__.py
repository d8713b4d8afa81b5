"""Arrivals, sessions and what people ask, planned ahead from a traffic profile; who they are."""

from quotalab.traffic.arrivals import Arrivals
from quotalab.traffic.cast import Cast
from quotalab.traffic.habits import Habit, habit_of
from quotalab.traffic.planning import PersonPlan, PlannedOperation, arrivals, person_name, plan, rate_curve

__all__ = [
    "Arrivals",
    "Cast",
    "Habit",
    "PersonPlan",
    "PlannedOperation",
    "arrivals",
    "habit_of",
    "person_name",
    "plan",
    "rate_curve",
]
