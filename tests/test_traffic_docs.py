"""docs/traffic.md works as printed, from the first example to the last."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from quotalab.cli import main
from quotalab.clock import SeededEntropy
from quotalab.profiles.traffic import parse_traffic
from quotalab.traffic import plan

TEXT = (Path(__file__).parents[1] / "docs" / "traffic.md").read_text(encoding="utf-8")
MONDAY = 1_767_571_200 * 10**9


def blocks(language: str) -> list[str]:
    """All blocks of code of a language."""
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the page's files, in which its commands have been run one after another."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "pyproject.toml").write_text("[tool.quotalab]\n")
    (folder / "access.log").write_text(blocks("text")[0])
    (folder / "operations.toml").write_text(blocks("toml")[0])
    (folder / "locustfiles").mkdir()
    (folder / "locustfiles" / "shaped.py").write_text(blocks("python")[0])
    for line in "".join(blocks("sh")).splitlines():
        command, *arguments = shlex.split(line)
        assert command == "quotalab"
        if arguments[0] == "trace":
            with contextlib.chdir(folder):
                assert main(arguments) == 0, line
            continue
        # Virtual time is installed once in a process.
        done = subprocess.run(
            [sys.executable, "-m", "quotalab", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}: {done.stdout} {done.stderr}"
    return folder


@pytest.mark.full
def test_every_command_of_the_page_works(folder: Path) -> None:
    """They leave what the page says that they write."""
    for name in (
        "access.parquet",
        "access.png",
        *(f"profiles/traffic/{n}.toml" for n in ("mine", "shares", "again")),
    ):
        assert (folder / name).stat().st_size > 0, name


def test_every_profile_of_the_page_can_be_planned(folder: Path) -> None:
    """Those that a fit wrote, and those printed."""
    for i, text in enumerate(blocks("toml")[1:]):
        (folder / f"printed{i}.toml").write_text(text)
    for path in (*folder.glob("printed*.toml"), *folder.glob("profiles/traffic/*.toml")):
        traffic = parse_traffic(tomllib.loads(path.read_text()), str(path))
        plans = plan(traffic, SeededEntropy(1), people=30, start_ns=MONDAY, span_ns=16 * 86_400 * 10**9)
        assert any(kept.operations for kept in plans), path


def test_every_event_is_on_the_page() -> None:
    """With all of its keys."""
    from quotalab.profiles.traffic import _EVENTS

    table = dict(re.findall(r"^\| (`[a-z_`, ]+`) \| .* \| (.*) \|$", TEXT, re.MULTILINE))
    listed = {
        name: set(keys.split(", ")) for names, keys in table.items() for name in re.findall(r"`(\w+)`", names)
    }
    assert {name: set(keys) for name, keys in _EVENTS.items()} == listed
