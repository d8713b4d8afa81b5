"""`quotalab rules`, the pages in the docs, and a rule of one's own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from quotalab.cli import main
from quotalab.frames.testing import LedgerBuilder
from quotalab.profiles.reading import Table
from quotalab.profiles.rules import rule_settings, workspace_rules
from quotalab.rules import HEADINGS, check_settings, load_rules
from quotalab.rules.catalogue import catalogue, rule_list, rule_page

ROOT = Path(__file__).parents[2]
RULES = load_rules(sorted((ROOT / "analysis").glob("[!_]*.py")))
HOW_TO = (ROOT / "docs" / "write-a-rule.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", HOW_TO, flags=re.MULTILINE | re.DOTALL)


def test_the_pages_in_the_docs_are_current():
    """`quotalab rules --markdown > docs/rules.md` writes what is there."""
    assert (ROOT / "docs" / "rules.md").read_text(encoding="utf-8") == catalogue(RULES)


def test_the_list_has_a_line_for_each_rule_under_its_family():
    """Ids, names and titles, 100 columns wide."""
    text = rule_list(RULES)
    assert all(f"  {one.id}  {one.name} " in text for one in RULES)
    assert text.startswith("QL1 Limits\n  QL101  quota-overrun ")
    assert max(map(len, text.splitlines())) <= 100


def test_a_page_has_every_heading_and_the_settings():
    """By id, in any case, or by name."""
    page = rule_page(RULES, "ql105")
    assert page == rule_page(RULES, "herd-at-reset")
    assert page.startswith("QL105 herd-at-reset\n\nMany people's calls came at the same instant")
    assert [line for line in page.splitlines() if line in HEADINGS] == list(HEADINGS)
    assert "`people = 5`, `herd_share = 0.1`, `within_s = 1.0`" in page
    assert "may silence it" in rule_page(RULES, "QL101")
    assert max(map(len, page.splitlines())) <= 100


def test_a_family_is_listed():
    """By what its ids share, in any case: the same lines as in the whole list."""
    listed = rule_page(RULES, "ql7")
    assert listed.splitlines()[0] == "QL7 Records"
    assert [line.split()[0] for line in listed.splitlines()[1:] if "QL7" in line] == [
        "QL701",
        "QL702",
        "QL703",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("rules", "QL199"), "there is no rule 'QL199'; there is: QL101, QL102,"),
        (("rules", "QL101", "--markdown"), "give an ID, or --markdown, not both"),
    ],
)
def test_a_wrong_call_is_one_clear_line(capsys, arguments, said):
    """Exit 2, and what there is."""
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_the_command_lists_the_workspaces_own_rules_too(tmp_path, capsys):
    """The how-to's rule, in a workspace, by id and in the list."""
    workspace(tmp_path)
    assert main(["--workspace", str(tmp_path), "rules"]) == 0
    assert "\nACME0 Your own\n  ACME001  calls-at-night" in "\n" + capsys.readouterr().out
    assert main(["--workspace", str(tmp_path), "rules", "ACME001"]) == 0
    assert "`night_calls = 10`" in capsys.readouterr().out
    assert main(["--workspace", str(tmp_path), "rules", "--markdown"]) == 0
    assert "### ACME001 calls-at-night" in capsys.readouterr().out


def workspace(folder: Path) -> None:
    (own,) = [text for kind, text in BLOCKS if kind == "python"]
    (folder / "analysis").mkdir()
    (folder / "analysis" / "ours.py").write_text(own, encoding="utf-8")
    (folder / "pyproject.toml").write_text("[tool.quotalab]\n", encoding="utf-8")


@pytest.mark.parametrize(("calls", "verdict"), [(0, "NA"), (10, "PASS"), (11, "WARN")])
def test_a_rule_of_ones_own_is_judged_beside_the_bundled_ones(tmp_path, capsys, calls, verdict):
    """The how-to's rule, on calls at 02:00: up to ten are fine."""
    workspace(tmp_path)
    ledger = LedgerBuilder()
    for i in range(calls):
        ledger.decided_call(2 * 3600 + i)
    folder = ledger.write(tmp_path / "run")
    assert main(["--workspace", str(tmp_path), "report", str(folder), "--json"]) == 0
    rules = {row["id"]: row for row in json.loads(capsys.readouterr().out)["rules"]}
    assert rules["ACME001"]["verdict"] == verdict
    assert rules["ACME001"]["thresholds"] == {"night_calls": 10}
    assert "QL101" in rules
    if verdict == "WARN":
        assert rules["ACME001"]["findings"][0]["message"] == (
            "11 calls between 02:00 and 03:00 UTC, the first of them call 0."
        )


def test_the_how_tos_settings_are_valid():
    """Each block of settings fits the rules that there are."""
    import tomllib

    blocks = [tomllib.loads(text) for kind, text in BLOCKS if kind == "toml"]
    assert len(blocks) == 3
    for block in blocks:
        if "tool" in block:
            settings = workspace_rules(block["tool"]["quotalab"], "x")
        else:
            settings = rule_settings(Table(block["approval"]["rules"], "x"), may_silence=False)
        check_settings(RULES, settings, "x", "y")


def test_the_bundled_profiles_set_only_thresholds_that_there_are():
    """A profile's `[approval.rules]` are of rules and thresholds that exist."""
    import tomllib

    for path in sorted((ROOT / "profiles" / "providers").glob("*.toml")):
        approval = tomllib.loads(path.read_text(encoding="utf-8")).get("approval", {})
        settings = rule_settings(Table(approval.get("rules", {}), path.name), may_silence=False)
        check_settings(RULES, settings, path.name, "approval.rules")
