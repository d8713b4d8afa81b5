"""The terminal's screen, and the three sentences that it ends on."""

from __future__ import annotations

import re

import pytest

from quotalab.frames import load
from quotalab.frames.testing import LedgerBuilder, provider_document
from quotalab.report import judge_run, sentences, summary
from quotalab.rules import Judgement, Rule, judge

LIMITS = {"ten": {"kind": "rolling_window", "limit": 10, "period": "1h"}}


def judged(ledger, path, verdict="PASS", **judgement):
    rules = [Rule("QL101", "quota-overrun", lambda frames: Judgement(verdict, **judgement))]
    return judge(load(ledger.write(path)), rules)


def asking(number, **run):
    ledger = LedgerBuilder(provider_document(LIMITS), **run)
    for i in range(number):
        ledger.decided_call(i)
    return ledger


def one_sentence(text):
    """No stop before the last character but within numbers and names."""
    return len(re.findall(r"[.!?](?=\s|$)", text)) == 1 and text.endswith(".")


def test_all_is_well(tmp_path):
    """PASS: what held, how near the limit was, and what to try next."""
    assert sentences(judged(asking(4), tmp_path / "run")) == (
        "PASS: the 1 rule that applies holds, over 4 calls to the API and 0 operations.",
        "The tightest limit is ten (10 in 1 h for the app): 4 were asked for in the 1 h up to Mon 5 Jan 00:00:03, "
        "60 % of headroom left.",
        "Nothing has to change: try other seeds and more people before you rely on it.",
    )


def test_an_overrun(tmp_path):
    """FAIL: the rule, how many were too many, and the judgement's own remedy."""
    verdict = judged(asking(13), tmp_path / "run", "FAIL", remedy="Ask for less")
    assert sentences(verdict) == (
        "FAIL: QL101 quota-overrun is broken, over 13 calls to the API and 0 operations.",
        "The tightest limit is ten (10 in 1 h for the app): 13 were asked for in the 1 h up to Mon 5 Jan "
        "00:00:12, 3 too many and 3 calls refused in all.",
        "Change first (QL101): ask for less.",
    )


def test_a_run_that_was_cut_is_said_to_be(tmp_path):
    """The verdict's sentence says that it holds up to the cut only."""
    first, _, _ = sentences(judged(asking(1, complete=False), tmp_path / "run"))
    assert first.endswith(", in a run that was cut and is judged up to the cut.")


def test_a_contradiction_comes_before_any_advice(tmp_path):
    """With faults no advice is given but to report them."""
    ledger = LedgerBuilder(provider_document(LIMITS))
    for i in range(11):
        ledger.call(i)
    first, _, last = sentences(judged(ledger, tmp_path / "run"))
    assert first == "PASS, but quotalab contradicts itself (1 fault), so do not rely on it."
    assert last.startswith("Change nothing yet: report the faults")


@pytest.mark.parametrize("id", ["ACME001", "QL101"])
def test_a_rule_that_raises_is_to_be_mended_by_whose_it_is(tmp_path, id):
    """One of the workspace's own: by its owner. One of the bundled ones is a fault of quotalab's."""

    def broken(frames):
        raise KeyError("nothing")

    verdict = judge(load(asking(1).write(tmp_path / "run")), [Rule(id, "broken", broken)])
    first, _, last = sentences(verdict)
    assert verdict.exit_code() == 3
    if id == "QL101":
        assert first == "REVIEW, but quotalab contradicts itself (1 fault), so do not rely on it."
        return
    assert first == "REVIEW, but ACME001 could not judge, so do not rely on it."
    assert last.startswith(
        "Change first: mend the workspace's own rule and judge again; the rule ACME001 (broken) raised KeyError "
        "in test_summary.py, line "
    )


def test_an_unknown_route_is_to_be_dealt_with_first(tmp_path):
    """Behind a 404 nothing was tested: that comes before what the rules found."""
    ledger = asking(1)
    ledger.call(2, route=None, status=404, path="/v2/things")
    verdict = judged(ledger, tmp_path / "run", "FAIL")
    assert "give the profile a route for GET /v2/things" in sentences(verdict)[2]
    assert "no route in the profile for GET /v2/things: 1 call answered 404" in summary(verdict)


def test_nothing_to_judge(tmp_path):
    """NA: neither limit nor rule had anything, and the advice is to make calls."""
    found = sentences(judged(LedgerBuilder(), tmp_path / "run", "NA"))
    assert found[0] == "NA: none of the rules found anything to judge in 0 calls to the API and 0 operations."
    assert found[1] == "No call was asked of a limit, so none is tight."
    assert found[2].startswith("Change first: let the scenario make calls")


@pytest.mark.parametrize("name", ["naive", "hostile"])
def test_the_screen_ends_in_exactly_three_sentences_and_fits(request, name):
    """At most 40 lines of 100 columns; the last paragraph is the three sentences."""
    _, verdict = request.getfixturevalue(name)
    text = summary(verdict)
    lines = text.split("\n")
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    assert " ".join(text.rsplit("\n\n", 1)[1].split("\n")) == " ".join(sentences(verdict))
    assert text.isascii() or set(re.findall(r"[^\x00-\x7f]", text)) <= {"·", "…"}
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    if name == "naive":
        assert all(one_sentence(sentence) for sentence in sentences(verdict))


def test_every_bundled_judgement_makes_one_sentence_of_advice(workspace, tmp_path):
    """What a rule's page or judgement says to change reads as a single sentence."""
    ledger = LedgerBuilder(provider_document(LIMITS))
    folder = ledger.write(tmp_path / "run")
    for result in judge_run(folder, workspace).rules:
        assert one_sentence(f"{result.remedy}."), result.rule.id


def test_colour_only_when_asked_for(naive):
    """Plain text by default; with colour the same text with the verdicts marked."""
    plain, coloured = summary(naive[1]), summary(naive[1], colour=True)
    assert "\x1b" not in plain
    assert "\x1b[31mFAIL\x1b[0m" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain


def test_many_limits_and_rules_are_cut_to_the_screen(tmp_path):
    """Twenty limits and thirty broken rules still fit, and the rest is counted."""
    limits = {f"l{i}": {"kind": "rolling_window", "limit": i + 1, "period": "1m"} for i in range(20)}
    ledger = LedgerBuilder(provider_document(limits))
    ledger.decided_call(0)
    rules = [Rule(f"QL{i}", f"rule-{i}", lambda frames: Judgement("WARN")) for i in range(101, 131)]
    text = summary(judge(load(ledger.write(tmp_path / "run")), rules))
    assert "... and 12 more limits" in text
    assert "... and 22 more" in text
    assert len(text.split("\n")) <= 40
