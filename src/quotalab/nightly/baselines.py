"""Baselines: what accepted runs came to, as small files in the user's repository.

``baselines/<group>.json`` is read and reviewed by people: figures, verdicts and digests of each seed.
``baselines/<group>.calls/<seed>.gz`` has each call of it in a line, so that the first that differs can be
named with what was expected. Both are the same bytes whenever the same runs are written.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from quotalab.errors import InputError, RunFolderError
from quotalab.nightly.matrix import Group
from quotalab.nightly.telling import Told, call_lines, packed, unpacked

__all__ = ["Baseline", "read_baseline", "write_baseline"]

_SCHEMA = 1


@dataclass(frozen=True)
class Baseline:
    """The accepted runs of one group."""

    file: Path
    environment: Mapping[str, str]
    runs: tuple[Told, ...]

    def calls(self, seed: int) -> list[str] | None:
        """The lines of calls of a seed; None where they are not kept. Raises `InputError`."""
        path = self.file.with_suffix(".calls") / f"{seed}.gz"
        try:
            return unpacked(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise InputError(f"{path}: is damaged: {error}; make it again with --update-baseline") from None


def read_baseline(folder: Path, group: Group) -> Baseline | None:
    """The baseline of a group; None where there is none.

    Raises `InputError` when it is damaged, or of runs that were asked for otherwise than tonight's.
    """
    path = folder / f"{group.name}.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is damaged: {error}; {_AGAIN}") from None
    if not isinstance(document, dict) or document.get("schema") != _SCHEMA:
        raise InputError(f"{path}: is no baseline: schema must be {_SCHEMA}")
    try:
        runs = tuple(Told.read(run) for run in document["runs"])
        environment = {str(key): str(value) for key, value in document["environment"].items()}
        asked = document["asked"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: is damaged: {type(error).__name__}: {error}; {_AGAIN}") from None
    if asked != _asked(group):
        raise InputError(
            f"{path}: is of runs that were asked for with {' '.join(map(str, asked))}, tonight's with "
            f"{' '.join(_asked(group))}; {_AGAIN}"
        )
    seeds, wanted = [run.seed for run in runs], [seed for seed, _ in group.cells]
    if seeds != wanted:
        raise InputError(f"{path}: is of the seeds {seeds}, tonight's are {wanted}; {_AGAIN}")
    return Baseline(path, environment, runs)


_AGAIN = "make it again with --update-baseline"


def write_baseline(
    folder: Path,
    group: Group,
    environment: Mapping[str, str],
    runs: Sequence[Told],
    folders: Sequence[Path],
) -> bool:
    """Write the baseline of a group, each file whole or not at all; returns whether anything changed.

    `folders` are the run folders of `runs`. Raises `RunFolderError` when it cannot be written.
    """
    path = folder / f"{group.name}.json"
    document = {
        "schema": _SCHEMA,
        "asked": _asked(group),
        "environment": dict(environment),
        "runs": [run.document() for run in runs],
    }
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    new, part = path.with_suffix(".calls.part"), path.with_name(path.name + ".part")
    kept = path.with_suffix(".calls")
    try:
        if path.is_file() and path.read_text(encoding="utf-8") == text and kept.is_dir():
            return False
        if new.exists():
            shutil.rmtree(new)
        new.mkdir(parents=True)
        for run, run_folder in zip(runs, folders, strict=True):
            (new / f"{run.seed}.gz").write_bytes(packed(call_lines(run_folder)))
        part.write_text(text, encoding="utf-8")
        if kept.exists():
            shutil.rmtree(kept)
        new.rename(kept)
        part.replace(path)
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)  # half of it is nothing to commit
        part.unlink(missing_ok=True)
    return True


def _asked(group: Group) -> list[str]:
    """What the runs were asked for with, less the workspace's path and the seed."""
    arguments = list(group.cells[0][1].arguments)
    for option in ("--workspace", "--seed"):
        place = arguments.index(option)
        del arguments[place : place + 2]
    return arguments
