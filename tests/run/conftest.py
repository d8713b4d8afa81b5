"""Runs in processes of their own: virtual time is installed once in a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@dataclass
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def verdict(self) -> dict[str, Any]:
        """The run's `verdict.json`."""
        return json.loads((self.folder / "verdict.json").read_text(encoding="utf-8"))

    @property
    def description(self) -> dict[str, Any]:
        """The run's `run.json`."""
        return json.loads((self.folder / "run.json").read_text(encoding="utf-8"))

    def rule(self, rule: str) -> str:
        """The verdict on one rule."""
        return {kept["id"]: kept["verdict"] for kept in self.verdict["rules"]}[rule]


def quotalab(*arguments: str, out: Path, cwd: Path = ROOT, **env: str) -> Ended:
    """Run the command as a user would, from `cwd`."""
    process = subprocess.run(
        [sys.executable, "-m", "quotalab", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        check=False,
    )
    return Ended(process.returncode, process.stdout, process.stderr, out)


@pytest.fixture(scope="session")
def run_once(tmp_path_factory: pytest.TempPathFactory):
    """Runs ``quotalab run ...``; the same call again gives the run that was made before."""
    kept: dict[tuple[str, ...], Ended] = {}

    def run(*arguments: str, again: int = 0, **env: str) -> Ended:
        key = (*arguments, str(again), *sorted(env.items()))
        if key not in kept:
            out = tmp_path_factory.mktemp("run") / "out"
            kept[key] = quotalab("run", *arguments, "--out", str(out), out=out, **env)
        return kept[key]

    return run


@pytest.fixture
def call(tmp_path: Path):
    """Runs any quotalab command from a given folder, by default this repository."""

    def run(*arguments: str, cwd: Path = ROOT, **env: str) -> Ended:
        return quotalab(*arguments, out=tmp_path / "out", cwd=cwd, **env)

    return run
