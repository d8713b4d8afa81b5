"""A rule: its id, its name, the function that judges, and the page that its docstring is."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from quotalab.errors import InputError
from quotalab.frames import Frames
from quotalab.rules.finding import Judgement

__all__ = ["HEADINGS", "Rule", "rule", "select"]

HEADINGS = ("What it checks", "Why it matters", "Example", "What to do instead", "Source")
"""The headings of a rule's page, in order; each stands on a line of its own after ``## ``."""

_ID = re.compile(r"[A-Z]{2,8}[0-9]{3}")
_NAME = re.compile(r"[a-z]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Rule:
    """One thing that is judged."""

    id: str
    name: str
    function: Callable[[Frames], Judgement]

    def __call__(self, frames: Frames) -> Judgement:
        """Judge a run."""
        return self.function(frames)

    @property
    def page(self) -> str:
        """What the rule is about, as Markdown: the function's docstring."""
        return inspect.getdoc(self.function) or ""

    @property
    def title(self) -> str:
        """The page's first line."""
        return self.page.partition("\n")[0].rstrip(".")

    @property
    def sections(self) -> dict[str, str]:
        """Heading -> text below it."""
        parts = re.split(r"^## +(.+)$", self.page, flags=re.MULTILINE)
        return {heading.strip(): text.strip() for heading, text in zip(parts[1::2], parts[2::2], strict=True)}

    @property
    def family(self) -> str:
        """What the ids of a family share: QL1 of QL101."""
        return self.id[:-2]


def rule(id: str, name: str) -> Callable[[Callable[[Frames], Judgement]], Rule]:
    """Make a function the rule `id`, called `name` (lower case, with hyphens)."""
    if not _ID.fullmatch(id):
        raise ValueError(f"a rule's id must be letters and three digits, as in QL101, not {id!r}")
    if not _NAME.fullmatch(name):
        raise ValueError(f"the name of {id} must be lower case with hyphens, not {name!r}")

    def make(function: Callable[[Frames], Judgement]) -> Rule:
        return Rule(id, name, function)

    return make


def select(rules: Sequence[Rule], only: Sequence[str] | None) -> list[Rule]:
    """The rules whose ids begin with one of `only` (QL2, QL301); all of them when it is None.

    Raises `InputError` when one of `only` meets no rule.
    """
    if only is None:
        return list(rules)
    for wanted in only:
        if not wanted or not any(one.id.startswith(wanted) for one in rules):
            raise InputError(
                f"there is no rule {wanted!r}; there is: {', '.join(one.id for one in rules) or 'none'}"
            )
    return [one for one in rules if any(one.id.startswith(wanted) for wanted in only)]
