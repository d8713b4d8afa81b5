"""From a run folder to its verdict and its report: load, judge, draw, write."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from quotalab.errors import RunFolderError
from quotalab.frames import load
from quotalab.ledger.folder import RunFolder
from quotalab.profiles.rules import workspace_rules
from quotalab.report.junit import junit
from quotalab.report.markdown import markdown
from quotalab.rules import Verdict, check_settings, judge, load_rules
from quotalab.workspace import Workspace

__all__ = ["check_workspace_rules", "compare_runs", "document", "judge_run"]


def check_workspace_rules(workspace: Workspace) -> None:
    """Refuse settings of rules or thresholds that there are not, before a run that would take them along.

    Where the workspace sets nothing, no rule is loaded. Raises `InputError` naming the file and the key.
    """
    file = str(workspace.root / "pyproject.toml")
    settings = workspace_rules(workspace.settings, file)
    if settings:
        check_settings(load_rules(workspace.rule_files()), settings, file, "tool.quotalab.rules")


def judge_run(
    folder: Path,
    workspace: Workspace,
    *,
    only: Sequence[str] | None = None,
    timer: Callable[[str], None] | None = None,
) -> Verdict:
    """Judge the run in `folder` by the workspace's rules, and write what a reader needs into it.

    Written, each whole or not at all: `verdict.json`, `junit.xml`, `summary.md`, `figures/*.svg` and `*.png`,
    `report.html`. `only` chooses rules by the beginnings of their ids; then nothing is written, so that what
    the folder holds is always of all rules. `timer` is called with the name of each stage when it has ended:
    ``load``, ``judge``, ``figures``, ``html``. The judges read no clock; the caller may.

    Raises `InputError` when the folder is no run folder, or a file of rules or one of `only` is wrong.
    """
    ended = timer or (lambda _: None)
    rules = load_rules(workspace.rule_files())
    frames = load(folder)
    ended("load")
    verdict = judge(frames, rules, only)
    if only is not None:
        ended("judge")
        return verdict
    run_folder = RunFolder(folder)
    _write(run_folder.verdict, document(verdict).encode())
    _write(run_folder.junit, junit(verdict))
    _write(run_folder.summary, markdown(verdict).encode())
    ended("judge")
    # Only now, so that whoever wants no figures pays for no matplotlib and no Jinja2.
    from quotalab.report.figures import draw_all

    drawings = draw_all(frames)
    _make(run_folder.figures)
    for drawing in drawings:
        _write(run_folder.figures / f"{drawing.name}.svg", drawing.svg.encode())
        _write(run_folder.figures / f"{drawing.name}.png", drawing.png)
    names = {drawing.name for drawing in drawings}
    for path in run_folder.figures.iterdir():  # of an earlier judging
        if path.suffix in (".svg", ".png") and path.stem not in names:
            path.unlink()
    ended("figures")
    from quotalab.report.page import page

    _write(run_folder.report, page(frames, verdict, drawings).encode())
    ended("html")
    return verdict


def compare_runs(
    first: Path, second: Path, workspace: Workspace, out: Path | None = None
) -> tuple[str, Path]:
    """Judge two runs by the same rules; the terminal's text, and where the page with both was written.

    By default that is `beside.html` in the second run's folder; nothing else in either is touched. Raises as
    `judge_run` does.
    """
    from quotalab.report.beside import beside_page, beside_text, judge_for_comparison

    one, other = judge_for_comparison(first, workspace), judge_for_comparison(second, workspace)
    path = out or RunFolder(second).path / "beside.html"
    _write(path, beside_page(one, other).encode())
    return beside_text(one, other), path


def document(verdict: Verdict) -> str:
    """`verdict.json`, as text."""
    return json.dumps(verdict.as_document(), indent=1, allow_nan=False) + "\n"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"{folder}: cannot be made: {error.strerror or error}") from error


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.unlink(missing_ok=True)  # of a judging that was cut off; a link would be written through
        with part.open("xb") as file:
            file.write(data)
        part.replace(path)
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be written: {error.strerror or error}") from error
