"""A run folder as DataFrames, and the window arithmetic that judges it.

Nothing here knows the engine that enforced the limits: what is counted here is a second, independent witness.
"""

from quotalab.frames.agreement import Disagreement, disagreements
from quotalab.frames.limits import LimitUse, limit_uses, window_rows
from quotalab.frames.loading import Frames, load
from quotalab.frames.windows import Peaks, largest_in_any_window, use_curve

__all__ = [
    "Disagreement",
    "Frames",
    "LimitUse",
    "Peaks",
    "disagreements",
    "largest_in_any_window",
    "limit_uses",
    "load",
    "use_curve",
    "window_rows",
]
