"""Which code is to be named when time cannot go on."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from types import FrameType

__all__ = ["caller", "innermost", "place"]

_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep
_GEVENT = f"{os.sep}gevent{os.sep}"


@lru_cache(maxsize=1024)
def _is_machinery(filename: str) -> bool:
    return filename.startswith((_OURS, "<frozen importlib")) or _GEVENT in filename


def innermost(frame: FrameType | None) -> FrameType | None:
    """The innermost frame from ``frame`` outwards that is not gevent's, this package's or an import's."""
    while frame is not None and _is_machinery(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def place(frame: FrameType | None) -> str:
    """``file:line in function``."""
    if frame is None:
        return "gevent's own loop"
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"


def caller() -> str:
    """``file:line in function`` of the code that called into gevent or this package."""
    return place(innermost(sys._getframe(1)))
