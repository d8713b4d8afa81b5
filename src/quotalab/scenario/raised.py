"""What a scenario or the app raised, in words that hold no secret."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path
from types import TracebackType

__all__ = ["in_words", "own_place"]


def in_words(exception: BaseException, tb: TracebackType | None) -> str:
    """Type and place. Not the text: only our own are known to hold no secret."""
    return f"{type(exception).__name__} ({own_place(tb)})"


def own_place(tb: TracebackType | None) -> str:
    """``file:line`` of the innermost frame that is the team's own code, not a library's or ours."""
    frames = traceback.extract_tb(tb)
    ours = str(Path(__file__).parents[1])
    own = [
        frame
        for frame in frames
        if "site-packages" not in frame.filename
        and not frame.filename.startswith((ours, "<frozen", "src/gevent/", sysconfig.get_path("stdlib")))
    ]
    place = (own or frames)[-1:]
    return f"{place[0].filename}:{place[0].lineno}" if place else "nowhere known"
