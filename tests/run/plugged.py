"""Projects of other people, copied and plugged in by ``quotalab init``."""

from __future__ import annotations

import difflib
import os
import shutil
import subprocess
import sys
from pathlib import Path

STRANGERS = Path(__file__).parents[1] / "strangers"
GRANTS = 'oauth.grants=["authorization_code", "client_credentials"]'


def command(python: Path | str, *arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """``quotalab`` as a user of that interpreter calls it."""
    return subprocess.run(
        [str(python), "-m", "quotalab", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        check=False,
    )


def plugged(name: str, folder: Path, python: Path | str = sys.executable) -> tuple[Path, str]:
    """A stranger's project in `folder`, plugged in; and what init said."""
    root = folder / name
    shutil.copytree(STRANGERS / name, root, ignore=shutil.ignore_patterns("__pycache__"))
    done = command(python, "init", "--yes", cwd=root)
    assert done.returncode == 0, done.stderr
    return root, done.stdout


def changed_lines(name: str, root: Path) -> int:
    """Lines of the stranger's own files that are new, gone or different."""
    changed = 0
    for before in (STRANGERS / name).rglob("*"):
        if before.is_file() and "__pycache__" not in before.parts:
            after = root / before.relative_to(STRANGERS / name)
            lines = difflib.ndiff(before.read_text().splitlines(), after.read_text().splitlines())
            changed += sum(line[:2] in ("+ ", "- ") for line in lines)
    return changed
