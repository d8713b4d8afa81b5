"""What is looked at when a run has ended: the app's files for secrets, and the app's own log of its calls."""

from quotalab.aftermath.app_log import ENTRIES, ReadLog, read_log
from quotalab.aftermath.searching import (
    AppFiles,
    Found,
    Hit,
    Patterns,
    Searched,
    Skipped,
    is_log,
    search_file,
)

__all__ = [
    "ENTRIES",
    "AppFiles",
    "Found",
    "Hit",
    "Patterns",
    "ReadLog",
    "Searched",
    "Skipped",
    "is_log",
    "read_log",
    "search_file",
]
