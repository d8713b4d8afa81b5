"""The page on the nightly job, and the files to copy beside it, do what they say."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from quotalab.nightly.matrix import MARGINS, read_matrix
from quotalab.nightly.statistics import share_at_most
from quotalab.workspace import Workspace

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "nightly.md").read_text(encoding="utf-8")


def test_the_matrix_of_the_page_is_valid(tmp_path: Path) -> None:
    """What the page says to write into pyproject.toml makes the night that it describes."""
    text = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)[1]
    (tmp_path / "pyproject.toml").write_text(text)
    matrix = read_matrix(Workspace.find(tmp_path))
    assert [group.name for group in matrix.groups] == [
        "temporary_access~temporary-production~polite",
        "overload~temporary-production~polite",
    ]
    assert len(matrix.cells) == 2 * tomllib.loads(text)["tool"]["quotalab"]["nightly"]["seeds"] == 20


def test_the_table_of_figures_is_that_of_the_code() -> None:
    """Every figure stands there with its margin."""
    rows = re.findall(r"^\| (`.*?) \| (?:more|less) \| ([\d.]+)", PAGE, re.MULTILINE)
    told = {name: float(margin) / 100 for names, margin in rows for name in re.findall(r"`(\w+)[.`]", names)}
    assert told == dict(MARGINS)


def test_the_bound_on_the_page_is_exact() -> None:
    """0 of 20 shows at most 13.9 %."""
    assert f"0 of 20: at most {share_at_most(0, 20):.1%}".replace("%", " %") in PAGE


def test_every_file_that_the_page_links_is_there() -> None:
    """And no file to copy is left out of the page."""
    linked = set(re.findall(r"\]\(ci/([\w.-]+)\)", PAGE))
    assert linked == set(os.listdir(DOCS / "ci"))


def test_timer_service_and_cron_line_are_well_formed() -> None:
    """The timer belongs to the service of its name, and cron's line has its five fields."""
    service, timer = configparser.ConfigParser(interpolation=None), configparser.ConfigParser()
    service.optionxform = timer.optionxform = str
    service.read(DOCS / "ci" / "quotalab-nightly.service")
    timer.read(DOCS / "ci" / "quotalab-nightly.timer")
    assert "quotalab nightly" in service["Service"]["ExecStart"]
    assert timer["Timer"]["OnCalendar"] == "*-*-* 02:17:00"
    line = next(one for one in (DOCS / "ci" / "crontab").read_text().splitlines() if not one.startswith("#"))
    assert re.fullmatch(r"(\S+ ){5}cd .* && .*quotalab nightly --jobs 2", line)


def steps(file: str) -> list[str]:
    """The shell steps of a CI file, in order."""
    document = yaml.safe_load((DOCS / "ci" / file).read_text(encoding="utf-8"))
    if "jobs" in document:
        return [step["run"] for step in document["jobs"]["nightly"]["steps"] if "run" in step]
    return list(document["quota-nightly"]["script"])


@pytest.mark.full
@pytest.mark.parametrize("file", ["github-actions.yml", "gitlab-ci.yml"])
def test_the_steps_of_the_ci_files_run(tmp_path: Path, file: str) -> None:
    """In a project with a small night, each step as it stands, in a shell that stops at errors.

    The requirements are empty here: quotalab is installed already, and tests reach no package index.
    """
    (tmp_path / "requirements.txt").write_text("")
    (tmp_path / "pyproject.toml").write_text('[tool.quotalab.nightly]\nseeds = 1\nfor = "10m"\n')
    summary = tmp_path / "step-summary.md"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    (tmp_path / "bin").mkdir()
    pip = tmp_path / "bin" / "python3"  # the project's own environment has no pip inside
    pip.write_text(
        '#!/bin/sh\n[ "$*" = "-m pip install -r requirements.txt" ] && exec test ! -s requirements.txt\nexit 9\n'
    )
    pip.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path / 'bin'}{os.pathsep}{path}", "GITHUB_STEP_SUMMARY": str(summary)}
    for step in steps(file):
        ended = subprocess.run(
            ["bash", "-e", "-c", step], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, (step, ended.stderr)
    night = tmp_path / "runs" / "nightly" / "tonight"
    assert {"index.html", "junit.xml", "summary.md", "nightly.json"} <= set(os.listdir(night))
    if file == "github-actions.yml":
        assert "No baseline yet" in summary.read_text()


def test_the_table_of_planted_changes_has_those_that_are_measured() -> None:
    """As many as the script declares, with the rules that it declares."""
    script = (DOCS.parent / "tests/benchmarks/power.py").read_text(encoding="utf-8")
    planted = script.partition("PLANTED = (")[2].partition("\nHARMLESS")[0]
    table = PAGE.partition("| planted |")[2].partition("| harmless")[0]
    assert planted.count("Change(") == table.count("\n| ")
    told = re.findall(r"QL\d+|retry_amplification|`scopes`", table)
    assert told
    assert all(rule.strip("`") in planted for rule in told)
