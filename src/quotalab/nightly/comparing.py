"""Tonight against the baseline: is it the same, call by call; and if not, is it worse?

An unchanged app repeats exactly, so the first look is at digests. A changed one is compared over its seeds in
pairs: a figure is a regression when it got worse by more than its margin *and* so often that chance is no
explanation, all figures of the night taken together. A rule that fails where it did not is one as it stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from statistics import median

from quotalab.nightly.baselines import Baseline
from quotalab.nightly.matrix import MARGINS, Group
from quotalab.nightly.statistics import corrected, greater_by_chance, rank_biserial, share_at_most
from quotalab.nightly.telling import COLUMNS, Told, call_lines

__all__ = ["LEVEL", "Compared", "FigureChange", "RuleChange", "compare_night"]

LEVEL = 0.05
_BETTER_WHEN_MORE = ("done_share",)
_SEVERITY = {"FAIL": 3, "WARN": 2, "REVIEW": 1, "PASS": 0, "NA": 0}


@dataclass(frozen=True)
class FigureChange:
    """One figure of a group over its seeds."""

    figure: str
    before: float
    """The median of the baseline's seeds; `after`: of tonight's."""
    after: float
    worse: float
    """Median change for the worse, as a share of `before` (of 1 where that is 0); negative: better."""
    effect: float
    """From -1 (better in every seed) to 1 (worse in every seed)."""
    chance: float
    """How probable so much is by chance, corrected for all that was compared tonight."""
    word: str
    """regression, improvement, or change: not enough of either."""


@dataclass(frozen=True)
class RuleChange:
    """A rule whose verdict changed in some seeds."""

    rule: str
    seeds: tuple[int, ...]
    before: str
    after: str
    word: str
    """regression; improvement; or change: worse in so few seeds that it may be chance, or nothing is left to
    judge."""
    name: str = ""


@dataclass(frozen=True)
class Compared:
    """A group beside its baseline."""

    group: Group
    runs: tuple[Told, ...]
    folders: tuple[Path, ...]
    baseline: Baseline | None
    differs: Mapping[str, tuple[str, str]]
    """What of the environment is another: name -> (the baseline's, tonight's)."""
    changed: tuple[int, ...]
    """Seeds whose calls are not those of the baseline."""
    first: str | None
    """The first call that differs, in words."""
    figures: tuple[FigureChange, ...]
    rules: tuple[RuleChange, ...]
    overrun: Mapping[str, tuple[int, int, float]]
    """Limit -> seeds that overran it, all seeds, and the upper bound on the probability of it."""

    @property
    def word(self) -> str:
        """In a word: new, same, changed, improved or regressed."""
        if self.baseline is None:
            return "new"
        words = {change.word for change in self.figures} | {change.word for change in self.rules}
        if "regression" in words:
            return "regressed"
        if "improvement" in words:
            return "improved"
        return "changed" if self.changed else "same"


def compare_night(
    groups: Sequence[tuple[Group, Sequence[Told], Sequence[Path], Baseline | None, Mapping[str, str]]],
    margins: Mapping[str, float] = MARGINS,
) -> list[Compared]:
    """Each group with its runs, their folders, its baseline and the environment they ran in, compared.

    False regressions have a probability of at most `LEVEL` over all figures of all groups together, and so
    have false improvements.
    """
    compared = [_compare(*parts) for parts in groups]
    places = [(i, j) for i, one in enumerate(compared) for j in range(len(one.figures))]
    raw = [compared[i].figures[j] for i, j in places]
    least = [_least(compared[i], compared[i].figures[j].figure) for i, j in places]
    worth = corrected([change.chance for change in raw], least, LEVEL)
    changed: dict[int, list[FigureChange]] = {i: [] for i in range(len(compared))}
    for (i, _), change, chance in zip(places, raw, worth, strict=True):
        margin = margins[change.figure.partition(".")[0]]
        large = abs(change.worse) > margin
        word = "change"
        if large and chance <= LEVEL:
            word = "regression" if change.worse > 0 else "improvement"
        changed[i].append(replace(change, chance=chance, word=word))
    return [replace(one, figures=tuple(changed[i])) for i, one in enumerate(compared)]


def _pairs(one: Compared, figure: str) -> list[tuple[float, float]]:
    assert one.baseline is not None
    pairs = []
    for before, after in zip(one.baseline.runs, one.runs, strict=True):
        was, now = before.figures.get(figure), after.figures.get(figure)
        if was is not None and now is not None:
            pairs.append((was, now))
    return pairs


def _least(one: Compared, figure: str) -> float:
    return 0.5 ** sum(was != now for was, now in _pairs(one, figure))


def _compare(
    group: Group,
    runs: Sequence[Told],
    folders: Sequence[Path],
    baseline: Baseline | None,
    environment: Mapping[str, str],
) -> Compared:
    one = Compared(group, tuple(runs), tuple(folders), baseline, {}, (), None, (), (), _overrun(runs))
    if baseline is None:
        return one
    differs = {
        name: (baseline.environment.get(name, "none"), environment.get(name, "none"))
        for name in sorted({*baseline.environment, *environment})
        if baseline.environment.get(name) != environment.get(name)
    }
    changed = tuple(
        after.seed
        for before, after in zip(baseline.runs, runs, strict=True)
        if before.calls_sha256 != after.calls_sha256
    )
    one = replace(one, differs=differs, changed=changed)
    # Another machine or version may well make other calls; the same one makes the same.
    first = None
    if changed and not differs:
        place = next(i for i, run in enumerate(runs) if run.seed == changed[0])
        first = _first_difference(baseline, changed[0], folders[place])
    names = sorted({name for run in (*baseline.runs, *runs) for name in run.figures})
    figures = []
    for name in names:
        pairs = _pairs(one, name)
        if any(was != now for was, now in pairs):
            figures.append(_figure(name, pairs))
    return replace(one, first=first, figures=tuple(figures), rules=tuple(_rules(baseline.runs, runs)))


def _figure(name: str, pairs: Sequence[tuple[float, float]]) -> FigureChange:
    sign = -1.0 if name in _BETTER_WHEN_MORE else 1.0
    worse = [sign * (now - was) for was, now in pairs]
    before = median(was for was, _ in pairs)
    middle = median(worse)
    # One-sided, in the direction it went: regressions and improvements are a family each.
    chance = greater_by_chance(worse if middle >= 0 else [-one for one in worse])
    return FigureChange(
        name,
        before,
        median(now for _, now in pairs),
        middle / (abs(before) or 1.0),
        rank_biserial(worse),
        chance,
        "change",
    )


def _rules(before: Sequence[Told], after: Sequence[Told]) -> list[RuleChange]:
    found: dict[tuple[str, str, str], list[int]] = {}
    for was, now in zip(before, after, strict=True):
        for rule in sorted({*was.rules, *now.rules}):
            pair = was.rules.get(rule, "NA"), now.rules.get(rule, "NA")
            if pair[0] != pair[1]:
                found.setdefault((rule, *pair), []).append(now.seed)
    changes = []
    for (rule, was_, now_), seeds in sorted(found.items()):
        step = _SEVERITY[now_] - _SEVERITY[was_]
        if step:
            # One seed that fails is a failure; a rule that only warns in a few may do so by chance.
            many = greater_by_chance([1.0] * len(seeds)) <= LEVEL or len(seeds) == len(after)
            if step < 0:
                word = "change" if now_ == "NA" else "improvement"
            else:
                word = "regression" if now_ == "FAIL" or many else "change"
            name = next((run.names[rule] for run in after if rule in run.names), "")
            changes.append(RuleChange(rule, tuple(seeds), was_, now_, word, name))
    return changes


def _overrun(runs: Sequence[Told]) -> dict[str, tuple[int, int, float]]:
    names = sorted({name for run in runs for name in run.figures if name.startswith("utilisation.")})
    over = {}
    for name in names:
        cases = sum((run.figures.get(name) or 0.0) > 1.0 for run in runs)
        over[name.partition(".")[2]] = (cases, len(runs), share_at_most(cases, len(runs)))
    return over


def _first_difference(baseline: Baseline, seed: int, folder: Path) -> str:
    expected = baseline.calls(seed)
    if expected is None:
        return f"seed {seed}: the calls differ; the baseline keeps none to compare with"
    for number, (was, now) in enumerate(zip_longest(expected, call_lines(folder)), start=1):
        if was != now:
            what = f"expected {_call(was)}, came {_call(now)}"
            return f"seed {seed}: call {number:,} is the first that differs: {what}"
    return f"seed {seed}: the calls are the same in all that a baseline keeps of them"


def _call(line: str | None) -> str:
    if line is None:
        return "none"
    cell = dict(zip(COLUMNS, line.split("\t"), strict=False))
    hours, rest = divmod(float(cell["at"]), 3600)
    said = [cell[name] for name in ("person", "method", "route") if cell[name] != "-"]
    text = (
        f"at {hours:02.0f}:{rest // 60:02.0f}:{rest % 60:06.3f} {' '.join(said)} ({cell['kind']}) "
        f"answered {cell['status']}"
    )
    if cell["limit"] != "-":
        text += f" by {cell['limit']}"
    if cell["retry_after"] != "-":
        text += f", Retry-After {cell['retry_after']} s"
    return text if cell["operation"] == "-" else f"{text} (operation {cell['operation']})"
