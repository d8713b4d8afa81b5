"""A night in words: for the terminal, for a CI page, for whatever shows test results, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from quotalab.ledger.text import visible
from quotalab.nightly.comparing import LEVEL, Compared, FigureChange, RuleChange

__all__ = ["junit", "lines", "markdown", "night_document", "night_text", "sentence"]

_WORDS = {
    "new": "no baseline yet",
    "same": "the same, call by call",
    "changed": "changed, no worse",
    "improved": "improved",
    "regressed": "REGRESSED",
}
_KEPT = "the baseline now"


def sentence(compared: Sequence[Compared], *, kept: bool = False) -> str:
    """The night in a sentence or two, with what to do; `kept`: it has just become the baseline."""
    words = [one.word for one in compared]
    runs = sum(len(one.runs) for one in compared)
    if "regressed" in words:
        worst = ", ".join(one.group.name for one in compared if one.word == "regressed")
        return (
            f"Regression in {worst}. If it is meant, accept it with quotalab nightly --update-baseline and "
            "commit the baselines."
        )
    if kept:
        return f"These {runs} runs are the baseline now. Review it with git diff and commit it."
    if all(word == "new" for word in words):
        return (
            f"No baseline yet, so {runs} runs were compared with nothing. Look at them, then keep them: "
            "quotalab nightly --update-baseline, and commit the baselines."
        )
    told = "; ".join(f"{_WORDS[word]}: {words.count(word)}" for word in _WORDS if word in words)
    return f"No regression in {runs} runs. Of {_groups(len(words))}, {told}."


def _groups(number: int) -> str:
    return "one group" if number == 1 else f"{number} groups"


def lines(one: Compared) -> list[str]:
    """What there is to say of a group beside its word."""
    told = []
    if one.differs:
        differs = ", ".join(f"{name} {was} -> {now}" for name, (was, now) in one.differs.items())
        told.append(f"the baseline is of another environment ({differs}): figures are compared, not calls")
    order = ("regression", "improvement", "change").index
    told += [_rule(rule, len(one.runs)) for rule in sorted(one.rules, key=lambda change: order(change.word))]
    told += [_figure(figure) for figure in sorted(one.figures, key=lambda change: order(change.word))]
    if one.first is not None:
        told.append(one.first)
    able = 0.5 ** len(one.runs) <= LEVEL
    if one.figures and not able:
        told.append(
            f"{len(one.runs)} seeds cannot show that a figure got worse: at least 5 are needed, better 10"
        )
    for limit, (cases, seeds, bound) in one.overrun.items():
        if cases:
            told.append(f"{limit} was overrun in {cases} of {seeds} seeds: at most {bound:.0%}, 95 % sure")
    return [visible(line) for line in told]


def _rule(change: RuleChange, seeds: int) -> str:
    which = ", ".join(map(str, change.seeds[:8])) + (", ..." if len(change.seeds) > 8 else "")
    rule = f"{change.rule} {change.name}".strip()
    return (
        f"{change.word}: {rule} {change.before} -> {change.after} "
        f"in {len(change.seeds)} of {seeds} seeds ({which})"
    )


def _figure(change: FigureChange) -> str:
    way = "worse" if change.worse >= 0 else "better"
    return (
        f"{change.word}: {change.figure} {change.before:.4g} -> {change.after:.4g} "
        f"({abs(change.worse):.1%} {way}; effect {change.effect:+.2f}, p {change.chance:.2g})"
    )


def night_text(compared: Sequence[Compared], *, kept: bool = False) -> str:
    """A screen of plain text, ending in the sentence."""
    told = []
    for one in compared:
        verdicts = sorted({run.verdict for run in one.runs})
        word = _KEPT if kept else _WORDS[one.word]
        told.append(f"{word:<24}{visible(one.group.name)}  ({', '.join(verdicts)})")
        told += [f"    {line}" for line in lines(one)]
    return "\n".join([*told, "", sentence(compared, kept=kept)])


def markdown(compared: Sequence[Compared], *, kept: bool = False) -> str:
    """For a CI job's summary page."""
    told = [
        f"## quotalab nightly\n\n{_plain(sentence(compared, kept=kept))}\n",
        "| runs | verdicts | against the baseline |",
        "|---|---|---|",
    ]
    for one in compared:
        verdicts = ", ".join(
            f"{sum(r.verdict == v for r in one.runs)} {v}" for v in sorted({r.verdict for r in one.runs})
        )
        told.append(f"| {_plain(one.group.name)} | {verdicts} | {_KEPT if kept else _WORDS[one.word]} |")
    for one in compared:
        if lines(one):
            told += [f"\n**{_plain(one.group.name)}**\n", *(f"- {_plain(line)}" for line in lines(one))]
    return "\n".join(told) + "\n"


def _plain(text: str) -> str:
    """Text that Markdown takes as nothing but text."""
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>#|!" else char for char in visible(text))


def junit(compared: Sequence[Compared], *, kept: bool = False) -> str:
    """One testcase a group: a regression is a failure, a missing baseline is skipped."""
    totals = {
        "tests": str(len(compared)),
        "failures": str(sum(one.word == "regressed" for one in compared)),
        "skipped": str(sum(one.word == "new" for one in compared)),
    }
    root = ElementTree.Element("testsuites", totals)
    suite = ElementTree.SubElement(root, "testsuite", {"name": "quotalab nightly", **totals})
    for one in compared:
        attributes = {"classname": "quotalab.nightly", "name": visible(one.group.name)}
        case = ElementTree.SubElement(suite, "testcase", attributes)
        text = "\n".join(lines(one))
        if one.word == "regressed":
            message = next(line for line in text.splitlines() if line.startswith("regression"))
            ElementTree.SubElement(case, "failure", {"type": "regression", "message": message}).text = text
        elif one.word == "new":
            ElementTree.SubElement(case, "skipped", {"message": _KEPT if kept else _WORDS["new"]})
        elif text:
            ElementTree.SubElement(case, "system-out").text = text
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def night_document(compared: Sequence[Compared], *, kept: bool = False) -> dict[str, Any]:
    """``nightly.json``: all that was compared."""
    return {
        "schema": 1,
        "sentence": sentence(compared, kept=kept),
        "groups": [
            {
                "name": one.group.name,
                "word": one.word,
                "environment": {name: list(pair) for name, pair in one.differs.items()},
                "changed_seeds": list(one.changed),
                "first_difference": one.first,
                "figures": [vars(change) for change in one.figures],
                "rules": [{**vars(change), "seeds": list(change.seeds)} for change in one.rules],
                "overrun": {
                    limit: {"seeds": cases, "of": seeds, "share_at_most": bound}
                    for limit, (cases, seeds, bound) in one.overrun.items()
                },
                "runs": [
                    {**run.document(), "folder": f"runs/{folder.name}"}
                    for run, folder in zip(one.runs, one.folders, strict=True)
                ],
            }
            for one in compared
        ],
    }
