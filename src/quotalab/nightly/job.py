"""``quotalab nightly``: run the matrix, compare it with the baselines, and leave what people and CI read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from quotalab.errors import InputError
from quotalab.nightly.baselines import read_baseline, write_baseline
from quotalab.nightly.comparing import Compared, compare_night
from quotalab.nightly.matrix import read_matrix
from quotalab.nightly.pages import index_page, trend_page
from quotalab.nightly.telling import environment, tell
from quotalab.nightly.words import junit, markdown, night_document, night_text
from quotalab.nightly.workers import Ended, locked, run_cells
from quotalab.rules.times import iso
from quotalab.workspace import Workspace

__all__ = ["Night", "night_folder", "run_night"]

_MOST_NIGHTS = 400


@dataclass(frozen=True)
class Night:
    """A night that is over."""

    compared: tuple[Compared, ...]
    text: str
    code: int
    """3 where a run of quotalab contradicted itself, 1 for a regression, else 0."""


def night_folder(root: Path, now_ns: int, *, again: bool) -> Path:
    """``runs/nightly/DATE``, or ``DATE-2`` and on once that night is over; `again`: the day's last one."""
    nights = root / "runs" / "nightly"
    date = iso(now_ns)[:10]
    last = folder = nights / date
    count = 1
    while (folder / "nightly.json").exists():
        last, count = folder, count + 1
        folder = nights / f"{date}-{count}"
    return last if again and not folder.exists() else folder


def run_night(
    workspace: Workspace,
    folder: Path,
    *,
    jobs: int,
    updates: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Night:
    """Run what has not run yet in `folder`, and write ``nightly.json``, ``index.html``, ``junit.xml`` and
    ``summary.md`` there and ``trend.html`` beside it; with `updates`, tonight becomes the baseline.

    Raises `InputError` for a matrix, baseline or run that is wrong; cells that have ended are kept.
    """
    matrix = read_matrix(workspace)
    # A damaged baseline is told before hours of work, unless this work is to replace it.
    baselines = {
        group.name: None if updates else read_baseline(matrix.baselines, group) for group in matrix.groups
    }
    over: list[Ended] = []

    def ended(one: Ended) -> None:
        over.append(one)
        if progress is not None:
            progress(f"{len(over)} of {len(matrix.cells)} runs are over")

    with locked(folder) as lock:
        cells = folder / "runs"
        results = {
            one.cell.name: one
            for one in run_cells(matrix.cells, cells, jobs=jobs, cwd=workspace.root, lock=lock, ended=ended)
        }
        parts = []
        for group in matrix.groups:
            folders = [results[cell.name].folder for _, cell in group.cells]
            runs = [tell(seed, run) for (seed, _), run in zip(group.cells, folders, strict=True)]
            parts.append((group, runs, folders, baselines[group.name], environment(folders[0])))
        compared = tuple(compare_night(parts, matrix.margins))
        written = []
        if updates:
            for group, runs, folders, _, there in parts:
                if write_baseline(matrix.baselines, group, there, runs, folders):
                    written.append(group.name)
        document = night_document(compared, kept=updates)
        _write(folder / "nightly.json", json.dumps(document, indent=1, allow_nan=False) + "\n")
        _write(folder / "junit.xml", junit(compared, kept=updates))
        _write(folder / "summary.md", markdown(compared, kept=updates))
        _write(folder / "index.html", index_page(compared, folder, kept=updates))
        _write(folder.parent / "trend.html", trend_page(_past(folder.parent)))
    faults = any(one.code == 3 for one in results.values())
    regressed = any(one.word == "regressed" for one in compared)
    text = night_text(compared, kept=updates)
    if updates:
        text += f"\n{matrix.baselines}: " + (f"wrote {', '.join(written)}" if written else "was so already")
    return Night(compared, text, 3 if faults else int(regressed))


def _past(nights: Path) -> list[tuple[str, dict[str, object]]]:
    """Name and ``nightly.json`` of each night in a folder, the oldest first; damaged ones are left out."""
    found = []
    for path in sorted(nights.glob("*/nightly.json"))[-_MOST_NIGHTS:]:
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(document, dict) and document.get("schema") == 1:
            found.append((path.parent.name, document))
    return found


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
