"""Arrivals, sessions and what people ask: planned ahead from a traffic profile."""

from quotalab.traffic.arrivals import Arrivals
from quotalab.traffic.planning import PersonPlan, PlannedOperation, arrivals, person_name, plan, rate_curve

__all__ = ["Arrivals", "PersonPlan", "PlannedOperation", "arrivals", "person_name", "plan", "rate_curve"]
