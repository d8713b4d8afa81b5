"""What locustfiles import: people, operations, and what they may meet.

Importing it imports Locust, which patches the process for gevent.
"""

from quotalab.reference import Declined
from quotalab.scenario import plain  # listens to Locust's events
from quotalab.scenario.operations import Asked, operation
from quotalab.scenario.person import Person, PlannedPerson
from quotalab.scenario.shapes import TrafficShape, think_time

__all__ = [
    "Asked",
    "Declined",
    "Person",
    "PlannedPerson",
    "TrafficShape",
    "operation",
    "plain",
    "think_time",
]
