"""A run folder, opened: DataFrames, limits, the verdict, and plots."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from quotalab.api.columns import calls_of, events_of, limits_of, operations_of
from quotalab.api.judged import Judged
from quotalab.errors import InputError
from quotalab.frames import Frames, LimitUse, limit_uses
from quotalab.frames import load as load_frames
from quotalab.ledger import RunFolder
from quotalab.ledger.folder import RunDescription
from quotalab.rules import judge, load_rules
from quotalab.workspace import Workspace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Run", "load"]

_SIZE = (9.4, 2.9)  # inches


def load(folder: str | PathLike[str], *, workspace: str | PathLike[str] | None = None) -> Run:
    """Open a run folder. Nothing in it is changed.

    It is judged when the verdict is asked for, by the bundled rules and those of the `workspace` (default:
    the nearest above the current folder). Raises `QuotalabError` when it is no run folder.
    """
    found = Workspace.find(Path.cwd(), None if workspace is None else Path(workspace))
    return Run(Path(folder), found)


class Run:
    """One run. DataFrames are new ones at the first asking, and the same afterwards."""

    def __init__(self, folder: Path, workspace: Workspace) -> None:
        self.folder = folder
        self._workspace = workspace
        self._frames: Frames = load_frames(folder)

    @property
    def description(self) -> RunDescription:
        """Every input of the run: `run.json`."""
        return self._frames.run

    @cached_property
    def calls(self) -> pd.DataFrame:
        """A row for each call that reached the sandbox; columns: `quotalab.api.CALLS`."""
        return calls_of(self._frames)

    @cached_property
    def operations(self) -> pd.DataFrame:
        """A row for each thing that a person asked of the app; columns: `quotalab.api.OPERATIONS`."""
        return operations_of(self._frames)

    @cached_property
    def events(self) -> pd.DataFrame:
        """A row for each event; columns: `quotalab.api.EVENTS`."""
        return events_of(self._frames)

    @cached_property
    def limits(self) -> pd.DataFrame:
        """A row for each limit of the provider, by name; columns: `quotalab.api.LIMITS`."""
        return limits_of(self.verdict.document)

    @cached_property
    def verdict(self) -> Judged:
        """What the rules say."""
        return Judged(judge(self._frames, load_rules(self._workspace.rule_files())))

    @property
    def report(self) -> Path:
        """The HTML report, where the run has been judged by ``quotalab run`` or ``quotalab report``."""
        return RunFolder(self.folder).report

    def peak(self, limit: str) -> int:
        """The most that was asked of a limit, refused calls included. Raises `InputError`."""
        return self._use(limit).peak_asked

    def plot_use(self, limit: str, ax: Axes | None = None) -> Axes:
        """What was asked of a limit over time, against what was admitted. Raises `InputError`."""
        from quotalab.report.figures import use_of_limit

        use = self._use(limit)
        if not use.keys:
            raise InputError(f"limit {limit!r}: nothing was asked of it in {self.folder}")
        return _plotted(lambda axes: use_of_limit(self._frames, use, axes), ax)

    def plot_demand(self, ax: Axes | None = None) -> Axes:
        """What people's operations would have taken, and what was admitted. Raises `InputError`."""
        from quotalab.report.figures import demand_by_bin

        self._need_operations()
        return _plotted(lambda axes: demand_by_bin(self._frames, axes), ax)

    def plot_waits(self, ax: Axes | None = None) -> Axes:
        """How long people waited: median and 95th percentile. Raises `InputError`."""
        from quotalab.report.figures import waits_by_bin

        self._need_operations()
        if not self.operations["outcome"].isin(["done", "stale"]).any():
            raise InputError(f"{self.folder}: no operation was done, so there are no waits to plot")
        return _plotted(lambda axes: waits_by_bin(self._frames, axes), ax)

    def _use(self, limit: str) -> LimitUse:
        uses = {use.limit.name: use for use in self._frames.once(limit_uses)}
        if limit not in uses:
            raise InputError(f"limit {limit!r}: the provider has {', '.join(uses) or 'none'}")
        return uses[limit]

    def _need_operations(self) -> None:
        if not len(self.operations):
            raise InputError(f"{self.folder}: nobody asked for anything, so there is nothing to plot")

    def __repr__(self) -> str:
        run = self._frames.run
        return (
            f"<Run of {run.scenario} against {run.provider}: {len(self._frames.calls):,} calls, "
            f"{len(self._frames.operations):,} operations, in {self.folder}>"
        )


def _plotted(draw: Callable[[Axes], Axes], ax: Axes | None) -> Axes:
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.figure(figsize=_SIZE, layout="constrained").add_subplot()
    return draw(ax)
