"""Rules, their ids and pages, and how their files are loaded."""

from __future__ import annotations

import sys

import pytest

from quotalab.errors import InputError
from quotalab.rules import Judgement, Rule, load_rules, rule, select, worst

RULE = '''
from quotalab.rules import Judgement, rule

@rule("{id}", "{name}")
def judge(frames):
    """A title.

    ## What it checks
    This.

    ## What to do instead
    Do that. And more.
    """
    return Judgement("PASS")
'''


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("id", ["ql101", "QL1", "QL1010", "101", "Q101", "QL10x"])
def test_an_id_is_letters_and_three_digits(id):
    """Whatever else is refused where it is written."""
    with pytest.raises(ValueError, match="letters and three digits"):
        rule(id, "name")


@pytest.mark.parametrize("name", ["", "Name", "two words", "under_score", "-x"])
def test_a_name_is_lower_case_with_hyphens(name):
    """Whatever else is refused where it is written."""
    with pytest.raises(ValueError, match="lower case with hyphens"):
        rule("QL101", name)


def test_a_verdict_is_one_of_five_words():
    """A rule cannot invent a verdict."""
    with pytest.raises(ValueError, match="must be one of FAIL, WARN, REVIEW, PASS, NA, not 'OK'"):
        Judgement("OK")


def test_the_worst_verdict_wins_in_the_stated_order():
    """FAIL before WARN before REVIEW before PASS before NA; nothing at all is NA."""
    order = ["FAIL", "WARN", "REVIEW", "PASS", "NA"]
    for i, word in enumerate(order):
        assert worst(reversed(order[i:])) == word
    assert worst([]) == "NA"


def test_rules_are_loaded_by_path_under_private_names(tmp_path):
    """`sys.path` is untouched, the module's name is private, and rules come in order of their ids."""
    before = list(sys.path)
    files = [
        write(tmp_path / "b.py", RULE.format(id="QL901", name="late")),
        write(tmp_path / "a.py", RULE.format(id="QL105", name="early")),
    ]
    rules = load_rules(files)
    assert [one.id for one in rules] == ["QL105", "QL901"]
    assert rules[0].function.__module__ == "_quotalab_rules_a"
    assert sys.path == before
    assert rules[0].title == "A title"
    assert rules[0].sections == {"What it checks": "This.", "What to do instead": "Do that. And more."}
    assert rules[0].family == "QL1"


def test_a_workspace_may_have_a_file_of_a_bundled_ones_name(tmp_path):
    """Two files of one stem are both loaded: rule files only add."""
    one = write(tmp_path / "one" / "quota.py", RULE.format(id="QL101", name="one"))
    two = write(tmp_path / "two" / "quota.py", RULE.format(id="QL199", name="two"))
    rules = load_rules([one, two])
    assert [rule.function.__module__ for rule in rules] == [
        "_quotalab_rules_quota",
        "_quotalab_rules_quota_2",
    ]


def test_a_rule_that_is_imported_is_not_given_twice(tmp_path):
    """Only rules that a file defines are its own."""
    one = write(tmp_path / "one.py", RULE.format(id="QL101", name="one"))
    two = write(tmp_path / "two.py", "from _quotalab_rules_one import judge\n")
    assert [rule.id for rule in load_rules([one, two])] == ["QL101"]


@pytest.mark.parametrize(("id", "name"), [("QL101", "other"), ("QL102", "one")])
def test_an_id_or_a_name_twice_is_refused(tmp_path, id, name):
    """Ids are never reused, and names are as good as ids to a reader."""
    one = write(tmp_path / "one.py", RULE.format(id="QL101", name="one"))
    two = write(tmp_path / "two.py", RULE.format(id=id, name=name))
    with pytest.raises(InputError, match=rf"two\.py: .*{id}"):
        load_rules([one, two])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = (\n", r"line 1: cannot be loaded: SyntaxError: '\(' was never closed"),
        ("\nimport nowhere_at_all\n", "line 2: cannot be loaded: ModuleNotFoundError: No module named"),
        ("raise SystemExit(3)\n", "line 1: cannot be loaded: SystemExit: 3"),
        (RULE.format(id="x", name="one"), "line 4: cannot be loaded: ValueError: a rule's id"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path, text, said):
    """One clear line says which file, where, and what is wrong."""
    path = write(tmp_path / "broken.py", text)
    with pytest.raises(InputError, match=rf"broken\.py: {said}"):
        load_rules([path])
    assert "_quotalab_rules_broken" not in sys.modules


def test_rules_are_chosen_by_how_their_ids_begin():
    """QL2 means the family, QL301 the rule; one that meets nothing is refused with what there is."""
    rules = [Rule(id, id.lower(), lambda frames: Judgement("PASS")) for id in ("QL101", "QL201", "QL301")]
    assert [one.id for one in select(rules, None)] == ["QL101", "QL201", "QL301"]
    assert [one.id for one in select(rules, ["QL2", "QL301"])] == ["QL201", "QL301"]
    with pytest.raises(InputError, match="no rule 'QL9'; there is: QL101, QL201, QL301"):
        select(rules, ["QL1", "QL9"])
    with pytest.raises(InputError, match="no rule ''"):
        select(rules, [""])
