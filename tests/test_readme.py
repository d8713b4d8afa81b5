"""The README's example works as printed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from quotalab.rules import load_rules
from quotalab.rules.catalogue import FAMILIES

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def block(after: str, language: str) -> str:
    """The first block of code of a language after a text."""
    found = re.search(rf"```{language}\n(.*?)```", README[README.index(after) :], re.DOTALL)
    assert found is not None
    return found.group(1)


def test_the_app_of_the_readme_is_plugged_in_and_fails_as_promised(tmp_path: Path) -> None:
    """Its three files, word for word: people connect, 240 calls an hour are wanted, 100 are let through."""
    (tmp_path / "locustfiles").mkdir()
    (tmp_path / "pyproject.toml").write_text(block("says how it is built", "toml"))
    (tmp_path / "notes.py").write_text(block("naive `notes.py`", "python"))
    (tmp_path / "locustfiles" / "notes_day.py").write_text(block("`locustfiles/notes_day.py`", "python"))
    done = subprocess.run(
        [sys.executable, "-m", "quotalab", "run", "notes_day", "--for", "3h", "--out", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "app notes:build" in done.stdout
    verdict = json.loads((tmp_path / "out" / "verdict.json").read_text())
    assert {rule["id"]: rule["verdict"] for rule in verdict["rules"]}["QL101"] == "FAIL"
    assert verdict["metrics"]["refused"] > 0
    assert verdict["metrics"]["operations_done"] > 200


def test_every_family_of_rules_is_in_the_readme() -> None:
    """What is judged is named, family by family, as the catalogue names it."""
    rules = load_rules(sorted((Path(__file__).parents[1] / "analysis").glob("[!_]*.py")))
    told = dict(re.findall(r"^\| (QL\d) (\w+) \|", README, re.MULTILINE))
    assert {one.family for one in rules} <= set(told)
    assert told == {family: name.lower() for family, name in FAMILIES.items()}
