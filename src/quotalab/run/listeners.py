"""What listeners on Locust's events raise: Locust logs it with a traceback each time, and goes on."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from types import TracebackType

import locust.event

__all__ = ["RaisingListeners"]


class RaisingListeners(logging.Filter):
    """Tells `tell` of each exception in place of Locust's own words, until `restore`."""

    def __init__(self, tell: Callable[[BaseException, TracebackType | None], None]) -> None:
        super().__init__()
        self._tell = tell
        logging.getLogger().addFilter(self)

    def restore(self) -> None:
        """Leave the words to Locust again."""
        logging.getLogger().removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging. `EventHook.fire` logs while it handles the exception."""
        error = sys.exc_info()[1]
        if record.pathname != locust.event.__file__ or error is None:
            return True
        self._tell(error, error.__traceback__)
        return False
