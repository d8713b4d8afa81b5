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
    _check_not_hidden(name.partition(".")[0], root, named)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ScenarioError(f"app {named!r}: cannot be imported: {error}") from error
    except SystemExit as error:
        raise ScenarioError(f"app {named!r}: exits ({error.code}) when it is imported") from None
    except Exception as error:
        raise ScenarioError(f"app {named!r}: importing it raised {told(error)}") from error


def _check_not_hidden(name: str, root: Path, named: str) -> None:
    """Whether the project's module is the one that is loaded under its name. Raises `ScenarioError`."""
    loaded = sys.modules.get(name)
    places = (root / "src", root)
    own = [file for at in places for file in (at / name / "__init__.py", at / f"{name}.py") if file.is_file()]
    if loaded is None or not own:
        return
    there = getattr(loaded, "__file__", None)
    if there is None or not any(Path(there).resolve() == file.resolve() for file in own):
        other = there or "which is built in"
        raise ScenarioError(
            f"app {named!r}: {own[0]} is hidden by another module of the name, {other}; "
            f"rename it, or move it into a package"
        )


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
