"""quotalab for notebooks and scripts: runs in processes of their own, opened as DataFrames."""

from quotalab.api.columns import CALLS, EVENTS, LIMITS, OPERATIONS
from quotalab.api.judged import Judged
from quotalab.api.opened import Run, load
from quotalab.api.starting import audit, run

__all__ = ["CALLS", "EVENTS", "LIMITS", "OPERATIONS", "Judged", "Run", "audit", "load", "run"]
