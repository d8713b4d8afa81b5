"""The catalogue of rules: a table, a page for each, and all of it as one document."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from quotalab.errors import InputError
from quotalab.rules.registry import Rule

__all__ = ["FAMILIES", "catalogue", "rule_list", "rule_page"]

FAMILIES = {
    "QL1": "Limits",
    "QL2": "Backoff",
    "QL3": "Tokens",
    "QL4": "Authorization",
    "QL5": "Operations",
    "QL6": "Economy",
    "QL7": "Records",
}
"""What the ids of a family share -> what the family is about."""
_WIDTH = 100
_HEAD = """\
# The rules

Written by `quotalab rules --markdown` from the rules themselves; a test keeps it current. `quotalab rules ID`
shows one of them. How a rule is silenced or given other thresholds, and how to write one:
[write a rule](write-a-rule.md). Which integration makes each of them fire:
[the confusion matrix](confusion-matrix.md).
"""


def rule_list(rules: Sequence[Rule]) -> str:
    """A line a rule, by family."""
    lines = []
    width = max((len(one.name) for one in rules), default=0)
    for family, members in _by_family(rules):
        lines += ["", f"{family} {FAMILIES.get(family, 'Your own')}"]
        for one in members:
            line = f"  {one.id}  {one.name:<{width}}  "
            lines += textwrap.wrap(
                one.title,
                _WIDTH,
                initial_indent=line,
                subsequent_indent=" " * len(line),
                break_on_hyphens=False,
            )
    return "\n".join(lines[1:])


def rule_page(rules: Sequence[Rule], wanted: str) -> str:
    """A rule's page as text, or the list of a family; `wanted` is the rule's id or name, or what the ids of a
    family share. Raises `InputError` when there is none such."""
    found = [one for one in rules if wanted.upper() == one.id or wanted == one.name]
    family = [one for one in rules if wanted.upper() == one.family]
    if family and not found:
        return rule_list(family)
    if not found:
        near = [one.id for one in rules if one.id.startswith(wanted.upper()[:3])]
        known = ", ".join(near or [one.id for one in rules]) or "none"
        raise InputError(f"there is no rule {wanted!r}; there is: {known}")
    (one,) = found
    lines = [f"{one.id} {one.name}", "", *_wrapped(one.title + ".")]
    for heading, text in one.sections.items():
        lines += ["", heading, *_wrapped(text, "  ")]
    lines += ["", "Settings", *(_wrapped(_settings(one), "  "))]
    return "\n".join(lines)


def catalogue(rules: Sequence[Rule]) -> str:
    """All pages as one Markdown document."""
    lines = [_HEAD, "| id | name | what it says |", "|---|---|---|"]
    lines += [f"| [{one.id}](#{one.id.lower()}-{one.name}) | {one.name} | {one.title} |" for one in rules]
    for family, members in _by_family(rules):
        lines += ["", f"## {family}: {FAMILIES.get(family, 'your own')}"]
        for one in members:
            lines += ["", f"### {one.id} {one.name}", "", f"{one.title}."]
            for heading, text in one.sections.items():
                lines += ["", f"**{heading}.** {text}"]
            lines += ["", f"**Settings.** {_settings(one)}"]
    return "\n".join(lines) + "\n"


def _by_family(rules: Sequence[Rule]) -> Iterator[tuple[str, list[Rule]]]:
    for family in dict.fromkeys(one.family for one in rules):
        yield family, [one for one in rules if one.family == family]


def _settings(one: Rule) -> str:
    if not one.thresholds:
        return f"None of its own; `[tool.quotalab.rules.{one.id}]` may silence it, with the reason."
    values = ", ".join(f"`{key} = {value!r}`" for key, value in one.thresholds.items())
    return (
        f"{values}; other values under `[tool.quotalab.rules.{one.id}]` of the workspace, or "
        f"`[approval.rules.{one.id}]` of the provider profile."
    )


def _wrapped(text: str, indent: str = "") -> list[str]:
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        plain = " ".join(paragraph.split())
        lines += textwrap.wrap(
            plain, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
        )
    return lines
