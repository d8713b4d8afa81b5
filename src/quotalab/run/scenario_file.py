"""Loading a locustfile as Locust does, with one clear line when it cannot be used."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

from quotalab.errors import ScenarioError

__all__ = ["load_scenario"]


def load_scenario(path: Path) -> tuple[list[type[Any]], Any]:
    """The user classes of a locustfile, in order of definition, and its `LoadTestShape` if it has one.

    Raises `ScenarioError` naming the file and, if it raised, the line.
    """
    from locust.util.load_locustfile import load_locustfile

    try:
        classes, shapes = load_locustfile(str(path))
    except Exception as error:
        raise ScenarioError(
            f"{path}{_line(error, path)}: {type(error).__name__}: {_one_line(error)}"
        ) from error
    except SystemExit as error:
        raise ScenarioError(f"{path}: exits ({error.code}) when it is loaded") from None
    if len(shapes) > 1:
        raise ScenarioError(f"{path}: has {len(shapes)} shapes; a run has one LoadTestShape or none")
    return list(classes.values()), shapes[0] if shapes else None


def _line(error: Exception, path: Path) -> str:
    """Where in the file it happened: ``:12``, or nothing."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f":{error.lineno}"
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    return f":{lines[-1]}" if lines else ""


def _one_line(error: Exception) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return " ".join(str(text).split()) or "no message"
