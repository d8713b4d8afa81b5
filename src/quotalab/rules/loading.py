"""Loading the files of rules by their path, under private names and without touching ``sys.path``."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from quotalab.errors import InputError
from quotalab.rules.registry import Rule

__all__ = ["load_rules"]


def load_rules(files: Sequence[Path]) -> list[Rule]:
    """The rules in `files`, in order of their ids.

    ``quota.py`` is loaded as ``_quotalab_rules_quota``; a second file of that stem, which a workspace may
    have beside the bundled one, as ``_quotalab_rules_quota_2``. Raises `InputError` naming the file when one
    cannot be loaded, or gives an id or a name that another rule has.
    """
    found: dict[str, tuple[Rule, Path]] = {}
    stems: dict[str, int] = {}
    for path in files:
        nth = stems[path.stem] = stems.get(path.stem, 0) + 1
        for one in _load(path, f"_quotalab_rules_{path.stem}" + (f"_{nth}" if nth > 1 else "")):
            for other, where in found.values():
                if one.id == other.id:
                    raise InputError(f"{path}: the rule {one.id} is in {where} already; ids are never reused")
                if one.name == other.name:
                    raise InputError(f"{path}: {one.id} is called {one.name!r} as {other.id} in {where} is")
            found[one.id] = (one, path)
    return [one for _, (one, _) in sorted(found.items())]


def _load(path: Path, name: str) -> list[Rule]:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look their module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise InputError(f"{path}: {_where(error, path)}cannot be loaded: {_said(error)}") from error
    own = [one for one in vars(module).values() if isinstance(one, Rule)]
    return [one for one in own if one.function.__module__ == name]


def _where(error: BaseException, path: Path) -> str:
    """``line 7: ``, where the error came up in the file itself."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: " if error.filename == str(path) else ""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    return f"line {lines[-1]}: " if lines else ""


def _said(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text.strip() else type(error).__name__
