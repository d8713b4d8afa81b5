"""Limits, and the engine that decides."""

from quotalab.quota.engine import Decision, Engine

__all__ = ["Decision", "Engine"]
