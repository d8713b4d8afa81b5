"""summary.md and GitHub's annotations."""

from __future__ import annotations

import re

from quotalab.report import github_lines
from quotalab.report.markdown import as_text


def test_the_summary_has_verdict_limits_and_broken_rules(naive):
    """What a reader of a pull request wants, and no more than three findings of a rule."""
    folder, verdict = naive
    text = (folder / "summary.md").read_text()
    assert text.startswith("## quotalab: FAIL\n")
    assert f"| hourly | {verdict.limits[0].peak_asked}/100 |" in text
    for result in verdict.rules:
        assert (f"**{result.rule.id}**" in text) == (result.verdict not in ("PASS", "NA"))
    assert len(text) < 8000


def test_hostile_texts_are_only_text_in_markdown(hostile):
    """No tag, link, table cell or heading of a client's making."""
    text = (hostile[0] / "summary.md").read_text()
    assert not re.search(r"(?<!\\)<", text)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)
    assert as_text("[a](b) <b> |`*_# @me") == "\\[a\\]\\(b\\) \\<b\\> \\|\\`\\*\\_\\# \\@me"


def test_annotations_are_one_line_each(hostile, naive):
    """FAIL is an error, WARN a warning, REVIEW a notice; nothing in a text begins another command."""
    for _, verdict in (hostile, naive):
        lines = github_lines(verdict)
        assert all(re.match(r"::(error|warning|notice) title=[^:,]*::[^\r\n]*$", line) for line in lines)
        assert all("\n" not in line and "\r" not in line for line in lines)
        fails = [result for result in verdict.rules if result.counts and result.verdict == "FAIL"]
        assert sum(line.startswith("::error title=QL") for line in lines) == len(fails) < 10
        assert lines[-1].startswith(f"::notice title=quotalab%3A {verdict.verdict}::")


def test_a_percent_sign_is_escaped(naive):
    """The runner decodes %25; a bare one would be read as an escape."""
    for line in github_lines(naive[1]):
        assert not re.search(r"%(?!25|0A|0D|3A|2C)", line)
