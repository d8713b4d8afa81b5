"""The run folder: where things lie in it, and `run.json`, which says what the run was."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from quotalab.errors import RunFolderError

__all__ = ["RunDescription", "RunFolder"]

_SCHEMA = 1
_MOST = 2**62


@dataclass(frozen=True)
class RunDescription:
    """`run.json`: every input of a run. Times in nanoseconds since 1970 UTC."""

    scenario: str
    provider: str
    traffic: str | None
    policy: str | None
    seed: int | None
    clock: str
    transport: str
    users: int
    start_ns: int
    span_ns: int
    settings: tuple[str, ...]
    command: tuple[str, ...]
    inputs: Mapping[str, str]
    """Name of each input file under `inputs/` -> SHA-256 of its bytes."""
    versions: Mapping[str, str]
    app: str = "reference"
    """``reference``, the ``module:function`` that built the app, or ``unknown``: whoever called."""
    complete: bool = False
    """Whether the run came to its end; a run that was cut is judged up to the cut."""
    ended_ns: int | None = None
    wall_s: float | None = None
    """Real seconds, the simulation alone."""
    ledger_sha256: str | None = None
    tables: Mapping[str, str] = field(default_factory=dict)
    """Name of each Parquet file -> SHA-256 of its bytes; empty until the run is complete."""
    schema: int = field(default=_SCHEMA)


class RunFolder:
    """Paths of a run folder, and its description."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.inputs = path / "inputs"
        self.figures = path / "figures"
        self.verdict = path / "verdict.json"
        self.report = path / "report.html"
        self.junit = path / "junit.xml"
        self.summary = path / "summary.md"
        self._run = path / "run.json"

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """Make a new run folder; one that is there already and not empty is refused."""
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise RunFolderError(f"{path}: is not empty; a run needs a folder of its own (another --out)")
            folder = cls(path)
            folder.inputs.mkdir()
        except OSError as error:
            raise RunFolderError(f"{path}: cannot be made: {error.strerror or error}") from error
        return folder

    def write_input(self, name: str, content: str) -> str:
        """Keep an input as `inputs/name`; returns its SHA-256."""
        data = content.encode()
        (self.inputs / name).write_bytes(data)
        return hashlib.sha256(data).hexdigest()

    def check(self, description: RunDescription) -> None:
        """Raise `RunFolderError` when an input or a table is not what the run left behind."""
        for name, sha256 in (*description.inputs.items(), *description.tables.items()):
            path = (self.inputs if name in description.inputs else self.path) / Path(name).name
            try:
                with path.open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise RunFolderError(f"{path}: cannot be read: {error.strerror or error}") from error
            if found != sha256:
                raise RunFolderError(f"{path}: was changed after the run: its SHA-256 is another in run.json")

    def read_input(self, name: str) -> Any:
        """The JSON document `inputs/name`."""
        return self._json(self.inputs / name)

    def write_description(self, description: RunDescription) -> None:
        """Write `run.json`, whole or not at all."""
        part = self._run.with_suffix(".part")
        part.write_text(json.dumps(asdict(description), indent=2) + "\n", encoding="utf-8")
        part.rename(self._run)

    def description(self) -> RunDescription:
        """Read `run.json`; raises `RunFolderError` when this is no run folder, or leads out of itself."""
        self.check_links()
        document = self._json(self._run)
        if not isinstance(document, dict) or document.get("schema") != _SCHEMA:
            raise RunFolderError(f"{self._run}: schema must be {_SCHEMA}")
        try:
            description = RunDescription(**document)
        except TypeError as error:
            raise RunFolderError(f"{self._run}: {str(error).partition('() ')[2] or error}") from error
        for one in fields(RunDescription):
            value = getattr(description, one.name)
            wanted, is_right = _RIGHT[str(one.type)]
            if not is_right(value):
                shown = repr(value)
                shown = shown if len(shown) < 60 else shown[:57] + "..."
                raise RunFolderError(f"{self._run}: {one.name}: must be {wanted}, not {shown}")
        return replace(description, settings=tuple(description.settings), command=tuple(description.command))

    def check_links(self) -> None:
        """Raise `RunFolderError` when anything in the folder is a link to somewhere outside it.

        Run folders come from others: what is judged must lie in the folder, and what is written must not
        land elsewhere.
        """
        home = self.path.resolve()
        for folder, folders, files in os.walk(self.path):
            for name in (*folders, *files):
                path = Path(folder) / name
                if path.is_symlink() and not path.resolve().is_relative_to(home):
                    raise RunFolderError(f"{path}: is a link that leads out of the run folder")

    def _json(self, path: Path) -> Any:
        if not self.path.is_dir():
            raise RunFolderError(f"{self.path}: there is no such run folder")
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunFolderError(
                f"{self.path}: is not a run folder: it has no {path.relative_to(self.path)}"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise RunFolderError(f"{path}: cannot be read: {error}") from error
        except (json.JSONDecodeError, RecursionError) as error:
            raise RunFolderError(f"{path}: is not JSON: {error}") from error


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -_MOST < value < _MOST


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST


def _are_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_text, value))


def _is_map(value: object) -> bool:
    return isinstance(value, Mapping) and all(map(_is_text, value.values()))


_RIGHT: Mapping[str, tuple[str, Callable[[object], bool]]] = {
    "str": ("a text", _is_text),
    "str | None": ("a text or null", lambda value: value is None or _is_text(value)),
    "int": ("a whole number", _is_whole),
    "int | None": ("a whole number or null", lambda value: value is None or _is_whole(value)),
    "float | None": ("a number or null", lambda value: value is None or _is_number(value)),
    "bool": ("true or false", lambda value: isinstance(value, bool)),
    "tuple[str, ...]": ("a list of texts", _are_texts),
    "Mapping[str, str]": ("an object of texts", _is_map),
}
"""By a field's type, as written above: what it must be, and whether it is."""
