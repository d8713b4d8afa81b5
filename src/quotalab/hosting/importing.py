"""Importing the team's own code, with one clear line when it cannot be used."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from quotalab.errors import ScenarioError

__all__ = ["import_module", "import_object", "make_importable", "told"]


def make_importable(root: Path) -> None:
    """Let modules of a project be imported: those in its folder, and in ``src/`` where it has one."""
    for folder in (root / "src", root):
        if folder.is_dir() and str(folder) not in sys.path:
            sys.path.insert(0, str(folder))


def import_module(name: str, root: Path, *, named: str | None = None) -> ModuleType:
    """A module of the project; `named` is how the settings call the app. Raises `ScenarioError`."""
    named = named or name
    make_importable(root)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ScenarioError(f"app {named!r}: cannot be imported: {error}") from error
    except SystemExit as error:
        raise ScenarioError(f"app {named!r}: exits ({error.code}) when it is imported") from None
    except Exception as error:
        raise ScenarioError(f"app {named!r}: importing it raised {told(error)}") from error


def import_object(target: str, root: Path) -> Any:
    """What ``module:object`` names; the object may be dotted. Raises `ScenarioError`."""
    module, _, path = target.partition(":")
    found: Any = import_module(module, root, named=target)
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise ScenarioError(f"app {target!r}: module {module!r} has no {path!r}") from None
    return found


def told(error: BaseException) -> str:
    """An exception in one line, with where it was raised."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    at = f" ({last.tb_frame.f_code.co_filename}:{last.tb_lineno})" if last is not None else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}{at}" if text else f"{type(error).__name__}{at}"
