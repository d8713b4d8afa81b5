"""Workspaces: the four folders of a user's project, and the bundled ones below them."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quotalab.errors import InputError, WorkspaceError

__all__ = ["Workspace"]

_FOLDERS = {
    "scenario": ("locustfiles", ".py"),
    "provider": ("profiles/providers", ".toml"),
    "traffic": ("profiles/traffic", ".toml"),
    "policy": ("profiles/policies", ".toml"),
    "review": ("profiles/reviews", ".toml"),
}


def _bundled_root() -> Path:
    """The four folders as the wheel carries them, or this repository's own in an editable install."""
    package = Path(__file__).parent
    carried = package / "_workspace"
    return carried if carried.is_dir() else package.parents[1]


@dataclass(frozen=True)
class Workspace:
    """Where scenarios, profiles and rules are found by name: the user's folders, then the bundled ones."""

    root: Path
    settings: Mapping[str, Any]
    """The ``[tool.quotalab]`` table of the root's pyproject.toml; empty where there is none."""
    bundled: Path
    marked: bool = True
    """Whether the root is a workspace by its pyproject.toml or by name, not merely where we happen to be."""

    @classmethod
    def find(cls, start: Path, named: Path | None = None) -> Workspace:
        """The workspace `named`, else the nearest folder from `start` upwards marked by ``[tool.quotalab]``.

        Where nothing is marked, `start` itself serves, with the bundled folders alone below it.
        Raises `WorkspaceError` when `named` is no folder or a pyproject.toml on the way is broken.
        """
        bundled = _bundled_root()
        if named is not None:
            if not named.is_dir():
                raise WorkspaceError(f"{named}: there is no such workspace folder")
            return cls(named.resolve(), _settings(named / "pyproject.toml") or {}, bundled)
        start = start.resolve()
        for folder in (start, *start.parents):
            settings = _settings(folder / "pyproject.toml")
            if settings is not None:
                return cls(folder, settings, bundled)
        return cls(start, {}, bundled, marked=False)

    def _roots(self) -> tuple[Path, ...]:
        return (self.root,) if self.root == self.bundled else (self.root, self.bundled)

    def names(self, kind: str) -> list[str]:
        """The names there are of `kind`: scenario, provider, traffic, policy or review."""
        folder, suffix = _FOLDERS[kind]
        found = {
            path.stem
            for root in self._roots()
            for path in (root / folder).glob(f"*{suffix}")
            if not path.name.startswith("_")
        }
        return sorted(found)

    def file(self, kind: str, name: str) -> Path:
        """The file of a scenario or profile, by name or by path; the user's own wins over the bundled.

        Raises `InputError` naming what there is.
        """
        folder, suffix = _FOLDERS[kind]
        if name.endswith(suffix) or "/" in name:
            path = Path(name)
            if not path.is_file():
                raise InputError(f"{kind} {name!r}: there is no such file")
            return path.resolve()
        for root in self._roots():
            path = root / folder / f"{name}{suffix}"
            if path.is_file():
                return path
        known = self.names(kind)
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there is: {', '.join(known) or 'none'}"
        raise InputError(f"{kind} {name!r}: is not in {folder}/ of the workspace nor bundled; {hint}")

    def rule_files(self) -> list[Path]:
        """The files of rules: all bundled ones, then the workspace's own."""
        # Rules are code: a folder that nobody has marked as a workspace, or named, has none of its own.
        roots = reversed(self._roots()) if self.marked else [self.bundled]
        return [path for root in roots for path in sorted((root / "analysis").glob("[!_]*.py"))]


def _settings(pyproject: Path) -> dict[str, Any] | None:
    """The ``[tool.quotalab]`` table; None where there is no such file or table."""
    try:
        document = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WorkspaceError(f"{pyproject}: cannot be read: {error}") from error
    tool = document.get("tool", {})
    table = tool.get("quotalab") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise WorkspaceError(f"{pyproject}: tool.quotalab: must be a table")
    return table
