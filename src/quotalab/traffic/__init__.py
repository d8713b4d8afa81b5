"""Arrivals, sessions and what people ask: planned ahead from a traffic profile."""

from quotalab.traffic.planning import PersonPlan, PlannedOperation, person_name, plan

__all__ = ["PersonPlan", "PlannedOperation", "person_name", "plan"]
