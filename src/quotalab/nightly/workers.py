"""Runs side by side: each cell a process of its own, as virtual time is installed once in a process.

A cell that has ended leaves a note in its folder, so that a job that was killed goes on where it stood; what
a killed cell left is removed and run again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quotalab import __version__
from quotalab.errors import FaultError, InputError, RunFolderError

__all__ = ["Cell", "Ended", "code_sha256", "locked", "run_cells"]

_NOTE = "cell.json"
_NOT_CODE = ("runs", "node_modules", "__pycache__", "venv", "baselines")
_JUDGED = (0, 1, 3)


@dataclass(frozen=True)
class Cell:
    """One run of many: a name that serves as its folder's, and the arguments of ``quotalab``."""

    name: str
    arguments: tuple[str, ...]
    locust: tuple[str, ...] = ()
    """Options that follow after ``--``."""

    def command(self, *more: str) -> tuple[str, ...]:
        """What to call ``quotalab`` with; `more` are further options of its own."""
        after = ("--", *self.locust) if self.locust else ()
        return (*self.arguments, *more, *after)


@dataclass(frozen=True)
class Ended:
    """A cell that has a verdict."""

    cell: Cell
    folder: Path
    code: int
    """The exit code: 0, 1, or 3 where quotalab contradicts itself."""
    kept: bool
    """It had ended in an earlier call, and was not run again."""

    @property
    def verdict(self) -> dict[str, Any]:
        """Its ``verdict.json``."""
        document: dict[str, Any] = json.loads((self.folder / "verdict.json").read_text(encoding="utf-8"))
        return document


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Make `folder`, and keep other jobs out of it for the block; yields the lock's file descriptor.

    Whoever inherits that holds the lock as well: the runs of a job that was killed keep the next one out
    until they have ended, so that nobody else writes where they still do.

    Raises `RunFolderError` when it cannot be made, or another job is at work in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w", encoding="utf-8")
    except OSError as error:
        raise RunFolderError(f"{folder}: cannot be written: {error.strerror or error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # given up with the process, however it ends
        except OSError:
            raise RunFolderError(
                f"{folder}: another job is at work here, or runs of one that was killed; wait for them, or "
                "name another --out"
            ) from None
        yield lock.fileno()


def run_cells(
    cells: Sequence[Cell],
    folder: Path,
    *,
    jobs: int,
    cwd: Path,
    lock: int,
    ended: Callable[[Ended], None] = lambda _: None,
) -> list[Ended]:
    """Run each cell in ``folder/<name>``, `jobs` at a time; returns them in the order given.

    `lock` is what `locked` yielded. `ended` is told of each cell when it is there. Raises `InputError` with
    the cell's own words for the first that has no verdict; those under way are let finish, so that they need
    not be run again. Ctrl-C ends them all.
    """
    workers = _Workers(folder, cwd, code_sha256(cwd), lock)
    done: dict[str, Ended] = {}
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        waiting = list(reversed(cells))
        busy: dict[Future[Ended], Cell] = {}
        failed: Exception | None = None
        try:
            while busy or (waiting and failed is None):
                while waiting and len(busy) < jobs and failed is None:
                    cell = waiting.pop()
                    busy[pool.submit(workers.run, cell)] = cell
                finished, _ = wait(busy, return_when=FIRST_COMPLETED)
                for future in finished:
                    del busy[future]
                    try:
                        one = future.result()
                    except (InputError, OSError) as error:
                        failed = failed or error
                        continue
                    done[one.cell.name] = one
                    ended(one)
        except BaseException:
            workers.end_all()
            raise
    if failed is not None:
        raise failed
    return [done[cell.name] for cell in cells]


class _Workers:
    """The processes under way."""

    def __init__(self, folder: Path, cwd: Path, code: str, lock: int) -> None:
        self._folder = folder
        self._code = code
        self._cwd = cwd
        self._lock = lock
        self._running: set[subprocess.Popen[str]] = set()
        self._over = False

    def run(self, cell: Cell) -> Ended:
        """Run a cell, unless it has ended before."""
        folder = self._folder / cell.name
        code = _noted(folder, self._asked(cell))
        if code is not None:
            return Ended(cell, folder, code, kept=True)
        if folder.exists():
            shutil.rmtree(folder)  # what a killed job left
        if self._over:
            raise InputError("interrupted")
        process = subprocess.Popen(  # noqa: S603 - our own command with the user's own arguments, no shell
            [sys.executable, "-m", "quotalab", *cell.command("--out", str(folder))],
            cwd=self._cwd,
            pass_fds=(self._lock,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self._running.add(process)
        try:
            said = process.communicate()[1].strip()
        finally:
            self._running.discard(process)
        if process.returncode not in _JUDGED or not (folder / "verdict.json").is_file():
            last = said.splitlines()[-1].removeprefix("quotalab: ") if said else "it said nothing"
            what = f"{cell.name}: ended with exit code {process.returncode}: {last}"
            raise FaultError(what) if process.returncode == FaultError.exit_code else InputError(what)
        _note(folder, self._asked(cell), process.returncode)
        return Ended(cell, folder, process.returncode, kept=False)

    def _asked(self, cell: Cell) -> dict[str, Any]:
        return {"code_sha256": self._code, "arguments": list(cell.command())}

    def end_all(self) -> None:
        """End what runs, and start nothing more."""
        self._over = True
        for process in list(self._running):
            process.terminate()


def code_sha256(root: Path) -> str:
    """A digest of what runs depend on: Python and TOML files below `root`, and what is installed.

    A cell that ended with other code is run again. Data that an app reads from elsewhere is not seen.
    """
    digest = hashlib.sha256(f"{sys.version} {__version__}".encode())
    installed = sorted(f"{one.name} {one.version}" for one in importlib.metadata.distributions())
    digest.update("\n".join(installed).encode())
    for folder, below, files in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith(".") and name not in _NOT_CODE)
        for name in sorted(files):
            if name.endswith((".py", ".toml")):
                path = Path(folder, name)
                digest.update(str(path.relative_to(root)).encode() + b"\0")
                with contextlib.suppress(OSError):  # a broken link is no code
                    digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def _note(folder: Path, asked: dict[str, Any], code: int) -> None:
    part = folder / (_NOTE + ".part")
    part.write_text(json.dumps({**asked, "code": code}) + "\n", encoding="utf-8")
    part.replace(folder / _NOTE)


def _noted(folder: Path, asked: dict[str, Any]) -> int | None:
    """The exit code of a cell that has ended, if it was the same cell."""
    try:
        note = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(note, dict) or not (folder / "verdict.json").is_file():
        return None
    code = note.pop("code", None)
    return code if note == asked and code in _JUDGED else None
