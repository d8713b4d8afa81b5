"""Limits, and the engine that decides."""

from quotalab.quota.engine import NEVER, Decision, Engine, Selection, Standing

__all__ = ["NEVER", "Decision", "Engine", "Selection", "Standing"]
