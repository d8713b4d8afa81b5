"""A rule: its id, its name, the function that judges, and the page that its docstring is."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from quotalab.errors import InputError
from quotalab.frames import Frames
from quotalab.profiles.rules import RULE_ID, SILENCE
from quotalab.rules.finding import Judgement
from quotalab.rules.settings import thresholds_of

__all__ = ["HEADINGS", "Rule", "rule", "select"]

HEADINGS = ("What it checks", "Why it matters", "Example", "What to do instead", "Source")
"""The headings of a rule's page, in order; each stands on a line of its own after ``## ``."""

_NAME = re.compile(r"[a-z]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Rule:
    """One thing that is judged."""

    id: str
    name: str
    function: Callable[..., Judgement]
    thresholds: Mapping[str, int | float] = field(default_factory=dict)
    """The keyword arguments that the function takes, with their defaults; names that end in ``_s`` are
    seconds."""
    unit: str = ""
    """Of the metric and its threshold: ``s``, ``share`` (1.0 is all), or a noun, as ``early calls``."""

    def __call__(self, frames: Frames) -> Judgement:
        """Judge a run, by the thresholds that its settings give."""
        return self.function(frames, **thresholds_of(self, frames))

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


def rule(
    id: str, name: str, *, unit: str = "", **thresholds: int | float
) -> Callable[[Callable[..., Judgement]], Rule]:
    """Make a function the rule `id`, called `name` (lower case, with hyphens), whose metric is in `unit`.

    `thresholds` are the function's keyword arguments, with the defaults that hold where neither the workspace
    nor the profile sets others. A name that ends in ``_s`` is of seconds; a whole number stays one.
    """
    if not RULE_ID.fullmatch(id):
        raise ValueError(f"a rule's id must be letters and three digits, as in QL101, not {id!r}")
    if not _NAME.fullmatch(name):
        raise ValueError(f"the name of {id} must be lower case with hyphens, not {name!r}")

    for key, default in thresholds.items():
        if isinstance(default, bool) or not isinstance(default, int | float) or key == SILENCE:
            raise ValueError(f"the threshold {key} of {id} must be a number by another name than {SILENCE}")

    def make(function: Callable[..., Judgement]) -> Rule:
        taken = set(inspect.signature(function).parameters) - {"frames"}
        if taken != set(thresholds):
            raise ValueError(
                f"{id} has the thresholds {sorted(thresholds)}, and its function takes {sorted(taken)} "
                "beside frames"
            )
        return Rule(id, name, function, thresholds, unit)

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
