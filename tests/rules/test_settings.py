"""Thresholds of rules, and the silence of one: defaults, profile, workspace."""

from __future__ import annotations

import pytest

from quotalab.errors import ProfileError
from quotalab.frames import load
from quotalab.frames.testing import LedgerBuilder, provider_document
from quotalab.profiles.rules import workspace_rules
from quotalab.report.junit import junit
from quotalab.report.summary import summary
from quotalab.rules import Judgement, check_settings, judge, load_rules, rule


@rule("QL905", "herd", share=0.2, within_s=1.0, least=3)
def herd(frames, *, share, within_s, least):
    """A herd."""
    return Judgement("FAIL", note=f"{share!r} {within_s!r} {least!r}")


@rule("QL906", "calm")
def calm(frames):
    """A calm."""
    return Judgement("PASS")


@pytest.fixture
def frames(tmp_path):
    """`frames(workspace's settings, profile's)`: an empty run under them."""
    made = 0

    def frames_with(workspace=None, profile=None):
        nonlocal made
        made += 1
        document = provider_document(**({} if profile is None else {"rules": profile}))
        return load(LedgerBuilder(document).write(tmp_path / f"run-{made}", rules=workspace))

    return frames_with


@pytest.mark.parametrize(
    ("workspace", "profile", "said"),
    [
        ({}, {}, "0.2 1.0 3"),
        ({}, {"share": 0.5, "least": 9}, "0.5 1.0 9"),
        ({"share": 1}, {"share": 0.5}, "1.0 1.0 3"),
        ({"within_s": "1m 30s"}, {"within_s": "2s", "least": 4}, "0.2 90.0 4"),
        ({"within_s": 0.25}, {}, "0.2 0.25 3"),
        ({"least": 5.0}, {}, "0.2 1.0 5"),
    ],
)
def test_the_workspace_wins_over_the_profile_and_that_over_the_default(frames, workspace, profile, said):
    """Each threshold on its own; durations are seconds, whole numbers stay whole."""
    judged = herd(frames({"QL905": workspace}, {"QL905": profile}))
    assert judged.note == said
    (result,) = judge(frames({"QL905": workspace}, {"QL905": profile}), [herd]).rules
    assert " ".join(map(repr, result.thresholds.values())) == said


def test_the_document_tells_the_thresholds_that_were_used(frames):
    """Whoever reads a verdict sees by what it was judged."""
    (row,) = judge(frames({"QL905": {"share": 0.3}}), [herd]).as_document()["rules"]
    assert row["thresholds"] == {"share": 0.3, "within_s": 1.0, "least": 3}
    assert row["silenced"] is None


def test_a_silenced_rule_is_judged_and_shown_and_never_counts(frames):
    """The verdict is the others'; the reason stands in every form of the report."""
    verdict = judge(frames({"QL905": {"silence": "our cron\njobs may"}}), [herd, calm])
    assert verdict.verdict == "PASS"
    assert verdict.first_change is None
    assert (verdict.rules[0].verdict, verdict.rules[0].silenced) == ("FAIL", "our cron jobs may")
    assert verdict.as_document()["rules"][0]["silenced"] == "our cron jobs may"
    text = summary(verdict)
    assert "silent QL905 herd" in text
    assert "would be FAIL; silenced: our cron jobs may" in text
    assert "PASS: the 1 rule that applies holds" in text
    xml = junit(verdict).decode()
    assert '<skipped message="silenced: our cron jobs may (would be FAIL)" />' in xml
    assert 'failures="0" errors="0" skipped="1"' in xml


def test_silencing_all_leaves_nothing_to_count(frames):
    """A run of which no rule counts is NA, never PASS."""
    assert judge(frames({"QL905": {"silence": "why"}}), [herd]).verdict == "NA"


WRONG = [
    (
        {"QL905": {"shar": 1}},
        r"inputs/rules\.json: QL905\.shar: is no threshold of herd; did you mean 'share'",
    ),
    ({"QL906": {"x": 1}}, r"inputs/rules\.json: QL906\.x: is no threshold of calm; there is: silence"),
    ({"QL905": {"least": 1.5}}, r"QL905\.least: must be a whole number, not 1\.5"),
]


@pytest.mark.parametrize(("settings", "said"), WRONG)
def test_a_wrong_threshold_is_one_clear_line(frames, settings, said):
    """In a run folder as in a workspace, whichever rules are asked."""
    with pytest.raises(ProfileError, match=said):
        judge(frames(settings), [calm, herd], ["QL906"])
    with pytest.raises(ProfileError, match=said.replace(r"inputs/rules\.json: ", "p: t.")):
        check_settings([calm, herd], settings, "p", "t")


def test_a_wrong_threshold_of_the_profile_names_the_profile(frames):
    """Where it stands is where it is mended."""
    with pytest.raises(ProfileError, match=r"inputs/provider\.json: approval\.rules\.QL905\.x: is no thresh"):
        judge(frames(None, {"QL905": {"x": 1}}), [herd])


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"ql905": {}}, r"tool\.quotalab\.rules\.ql905: is no rule's id"),
        ({"QL905": 3}, r"tool\.quotalab\.rules\.QL905: must be a table, not 3"),
        ({"QL905": {"share": "much"}}, r"QL905\.share: must be a number of 0 or more, not 'much'"),
        ({"QL905": {"share": True}}, r"QL905\.share: must be a number of 0 or more, not True"),
        ({"QL905": {"share": -1}}, r"QL905\.share: must be a number of 0 or more, not -1"),
        ({"QL905": {"share": float("nan")}}, r"QL905\.share: must be a number of 0 or more, not nan"),
        ({"QL905": {"share": float("inf")}}, r"QL905\.share: must be a number of 0 or more, not inf"),
        (
            {"QL905": {"within_s": "soon"}},
            r"QL905\.within_s: .* or a duration such as \"90s\": 'soon' is not",
        ),
        ({"QL905": {"silence": " "}}, r"QL905\.silence: must be the reason, a text of at most 300"),
        ({"QL905": {"silence": True}}, r"QL905\.silence: must be the reason, .*, not True"),
        ([], r"tool\.quotalab\.rules: must be a table, not \[\]"),
    ],
)
def test_a_value_of_the_wrong_type_is_one_clear_line(rules, said):
    """The file, the key, and what would be right."""
    with pytest.raises(ProfileError, match=rf"pyproject\.toml: .*{said}"):
        workspace_rules({"rules": rules}, "pyproject.toml")


def test_a_profile_silences_nothing(frames):
    """That is for the team that answers for it."""
    with pytest.raises(ProfileError, match=r"approval\.rules\.QL905\.silence: only a workspace silences"):
        frames(None, {"QL905": {"silence": "please"}})


def test_an_unknown_rule_is_refused_in_a_workspace_and_noted_in_a_run_folder(frames):
    """A folder may have been judged by rules that are not here; a workspace has all of its own."""
    with pytest.raises(ProfileError, match=r"p: t\.QL950: there is no such rule; did you mean 'QL905'"):
        check_settings([herd], {"QL950": {}}, "p", "t")
    verdict = judge(frames({"QL905": {}, "QL950": {"x": 1}}), [herd])
    (note,) = verdict.notes
    assert note.startswith("the run's settings speak of QL950, which is no rule here")
    assert verdict.as_document()["notes"] == [note]
    assert "speak of QL950" in summary(verdict)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "@rule('QL905', 'x', a=1)\ndef f(frames): ...",
            r"has the thresholds \['a'\], and its function takes",
        ),
        ("@rule('QL905', 'x')\ndef f(frames, *, b): ...", r"function takes \['b'\] beside frames"),
        ("@rule('QL905', 'x', a='1')\ndef f(frames, *, a): ...", "the threshold a of QL905 must be a number"),
        ("@rule('QL905', 'x', silence=1)\ndef f(frames, *, silence): ...", "by another name than silence"),
    ],
)
def test_thresholds_that_do_not_fit_the_function_are_refused_where_they_are_written(tmp_path, line, said):
    """A rule file's mistake is found when the file is loaded."""
    path = tmp_path / "own.py"
    path.write_text(f"from quotalab.rules import rule\n{line}\n")
    with pytest.raises(Exception, match=said):
        load_rules([path])
