"""Every rule has a broken integration on which it fires, and nothing fires on the good one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from broken_cases import Case, all_cases
from matrix_page import BREAKS_NONE, good_cases, table
from playing import Played, play, play_all

from quotalab.rules import load_rules

ROOT = Path(__file__).parents[2]
RULES = load_rules(sorted((ROOT / "analysis").glob("[!_]*.py")))
CASES = all_cases()
JOBS = max(2, (os.cpu_count() or 2) // 2)
SEEDS = 10
PAGE = ROOT / "docs" / "confusion-matrix.md"
TOO_SMALL = {
    "spotify": {"QL501"},
    "strava": {"QL501"},
    "temporary-production": {"QL501"},
    "x": {"QL102", "QL501", "QL504"},  # the credits are used up by half past two
}
"""Whose allowance does not do for a whole day of everybody, and what rules say of it."""


def test_every_rule_has_a_broken_integration():
    """A rule that nothing makes fire proves nothing; and no case is of a rule that there is not."""
    assert {case.rule for case in CASES} == {one.id for one in RULES} - set(BREAKS_NONE)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.file.stem}")
def test_what_follows_is_of_rules_that_there_are(case):
    """A declaration of a rule that was renamed would hide something."""
    assert case.told.endswith(".")
    assert case.follows <= {one.id for one in RULES} - {case.rule}


def test_a_case_is_read_without_running_it(tmp_path):
    """Literals alone; several in one file; a scenario of a case's own is no case."""
    (tmp_path / "ql101.py").write_text(
        '"""Wrong."""\nimport nowhere\nRULE = "QL101"\nFOLLOWS = {"QL102"}\nRUN = {"users": 3}\n'
        "def build(access): ...\n"
    )
    (tmp_path / "more.py").write_text(
        'CASES = [{"RULE": "QL100", "TOLD": "So.", "POLICY": {"budget": {}}}]\n'
    )
    (tmp_path / "people.py").write_text('"""A scenario."""\nRUNNING = 1\n')
    one, two = all_cases(tmp_path)
    assert (one.rule, one.told, one.policy, one.build) == ("QL100", "So.", {"budget": {}}, None)
    assert (two.rule, two.told, two.follows, two.run) == ("QL101", "Wrong.", {"QL102"}, {"users": 3})
    assert two.build == "build"
    (tmp_path / "ql103.py").write_text('RULE = "QL103"\nRUN = {"user": 3}\n')
    with pytest.raises(ValueError, match=r"ql103\.py: RUN has user, which is no option"):
        all_cases(tmp_path)


def test_what_is_not_as_declared_is_told():
    """Silence of the own rule, another's noise, a fault: a line each."""
    case = Case("QL101", "Wrong.", frozenset({"QL102"}))
    fine = Played(case, 1, {"QL101": "FAIL", "QL102": "WARN", "QL103": "NA"}, {}, [])
    assert fine.wrong == []
    assert table([fine], []).splitlines()[1].split() == ["QL101", "#", "+", "."]
    bad = Played(case, 1, {"QL101": "PASS", "QL103": "REVIEW"}, {"QL103": ["why"]}, ["broke"])
    assert bad.wrong == [
        "QL101: broke",
        "QL101 does not fire on its own broken integration: PASS",
        "QL101, seed 1: QL103 fires as well (REVIEW): why",
        "QL101 declares that QL102 follows, and it does not (no such rule)",
    ]
    assert table([bad], []).splitlines()[1].split() == ["QL101", "o", "!"]


def test_a_run_that_cannot_be_is_told_with_its_reason():
    """A case that never ran is no case that is silent."""
    played = play(Case("QL101", "Wrong.", run={"provider": "nowhere"}), 1)
    (line,) = played.wrong
    assert line.startswith("QL101: there was no run: ")
    assert "provider 'nowhere'" in line


def test_one_case_from_end_to_end():
    """The command runs an integration, finds what it is wrong in, and says so."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent), "QL101"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "  FAIL   QL101: " in done.stdout
    assert done.stdout.endswith("as declared\n")


@pytest.mark.full
def test_every_rule_fires_on_its_own_and_nothing_undeclared():
    """The whole matrix of broken integrations, as the docs have it (`./lab python tests/matrix --write`)."""
    played = list(play_all([(case, case.run.get("seed", 1)) for case in CASES], JOBS))
    assert [line for one in played for line in one.wrong] == []
    assert f"```\n{table(played, []).rstrip()}\n```" in PAGE.read_text(encoding="utf-8")


@pytest.mark.full
@pytest.mark.parametrize("case", good_cases(), ids=lambda case: case.told)
def test_the_good_integration_makes_no_rule_fire(case):
    """On every bundled provider, with ten seeds."""
    played = list(play_all([(case, seed) for seed in range(1, SEEDS + 1)], JOBS))
    assert [line for one in played for line in one.wrong] == []
    assert min(one.calls for one in played) >= 40


@pytest.mark.full
def test_a_whole_day_says_of_the_good_integration_only_what_its_allowance_costs():
    """A thousand calls and more on every provider: what no app could have done is told, and nothing else."""
    names = [case.told for case in good_cases()]
    day = {"for": "24h", "start": "2026-01-05"}
    cases = [
        Case("", name, frozenset(TOO_SMALL.get(name, ())), run={"provider": name, **day}) for name in names
    ]
    played = list(play_all([(case, 1) for case in cases], JOBS))
    assert [line for one in played for line in one.wrong] == []
    assert min(one.calls for one in played) >= 900
