"""Arrivals, sessions and what people ask, planned ahead from a traffic profile; their habits."""

from quotalab.traffic.habits import Habit, habit_of
from quotalab.traffic.planning import PersonPlan, PlannedOperation, person_name, plan

__all__ = ["Habit", "PersonPlan", "PlannedOperation", "habit_of", "person_name", "plan"]
