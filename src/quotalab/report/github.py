"""Annotations for GitHub Actions: one for each rule that is broken, as commands of the runner."""

from __future__ import annotations

from collections.abc import Iterator

from quotalab.report.summary import measured, sentences
from quotalab.report.text import visible
from quotalab.rules import Verdict

__all__ = ["github_lines"]

_LEVELS = {"FAIL": "error", "WARN": "warning", "REVIEW": "notice"}
_MOST_ERRORS = 10
"""Of each level, as many as GitHub shows of a step ("Limitations", GitHub documentation)."""
_MOST_TEXT = 1000


def github_lines(verdict: Verdict) -> list[str]:
    """``::error title=...::...`` and its like, the verdict's own first; nothing in them can end a line."""
    lines = [_line("error", "quotalab contradicts itself", fault.message) for fault in verdict.faults[:1]]
    lines += _rules(verdict)
    first, tightest, change = sentences(verdict)
    lines.append(_line("notice", f"quotalab: {verdict.verdict}", f"{first} {tightest} {change}"))
    return lines


def _rules(verdict: Verdict) -> Iterator[str]:
    told = dict.fromkeys(_LEVELS, 0)
    for result in verdict.rules:
        if not result.counts or result.verdict not in _LEVELS:
            continue
        told[result.verdict] += 1
        if told[result.verdict] >= _MOST_ERRORS:
            continue
        judgement = result.judgement
        message = judgement.findings[0].message if judgement.findings else judgement.note or result.verdict
        more = f" And {judgement.found - 1:,} more." if judgement.found > 1 else ""
        figures = f" ({measured(result)})" if measured(result) else ""
        title = f"{result.rule.id} {result.rule.name}{figures}"
        yield _line(_LEVELS[result.verdict], title, f"{message}{more} To do: {result.remedy}.")
    for word, number in told.items():
        if number >= _MOST_ERRORS:
            left = number - _MOST_ERRORS + 1
            yield _line(_LEVELS[word], "quotalab", f"{left} more rules are {word}: see summary.md")


def _line(level: str, title: str, message: str) -> str:
    shown = visible(message)
    shown = shown if len(shown) <= _MOST_TEXT else shown[: _MOST_TEXT - 1] + "…"
    return f"::{level} title={_property(visible(title))}::{_data(shown)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
