"""Two runs side by side: what the first and the second came to, on the terminal and as one page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from quotalab.frames import LimitUse, load
from quotalab.report.figures import Drawing, draw_all
from quotalab.report.summary import measured, sentences
from quotalab.report.text import visible
from quotalab.rules import RuleResult, Verdict, judge, load_rules
from quotalab.rules.finding import VERDICTS
from quotalab.rules.times import count, duration, share
from quotalab.workspace import Workspace

__all__ = ["Judged", "Row", "beside_page", "beside_text", "judge_for_comparison", "rows_of"]

_WIDTH = 100
_CELL = 26


@dataclass(frozen=True)
class Judged:
    """One of the two runs."""

    folder: Path
    verdict: Verdict
    drawings: tuple[Drawing, ...]


@dataclass(frozen=True)
class Row:
    """One thing of both runs."""

    group: str
    name: str
    first: str
    second: str
    change: str
    """``better``, ``worse``, ``other`` or nothing when both are alike."""


def judge_for_comparison(folder: Path, workspace: Workspace) -> Judged:
    """Judge a run by the workspace's rules and draw its figures; nothing is written."""
    frames = load(folder)
    return Judged(folder, judge(frames, load_rules(workspace.rule_files())), tuple(draw_all(frames)))


def rows_of(one: Verdict, other: Verdict) -> list[Row]:
    """Inputs, verdict, limits, figures and rules; what both lack is left out."""
    rows = []
    for name in ("scenario", "provider", "traffic", "policy", "app", "seed", "clock"):
        pair = [str(verdict.run[name] if verdict.run[name] is not None else "") for verdict in (one, other)]
        rows.append(Row("run", name, pair[0], pair[1], "" if pair[0] == pair[1] else "other"))
    pair = [str(verdict.run["ledger_sha256"])[:12] for verdict in (one, other)]
    rows.append(Row("run", "ledger", pair[0], pair[1], "" if pair[0] == pair[1] else "other"))
    rows.append(Row("verdict", "verdict", one.verdict, other.verdict, _verdicts(one.verdict, other.verdict)))
    rows += _limits(one, other)
    rows += _metrics(one, other)
    by_id = [{result.rule.id: result for result in verdict.rules} for verdict in (one, other)]
    for id in sorted(by_id[0].keys() | by_id[1].keys()):
        rows.append(_rule(by_id[0].get(id), by_id[1].get(id)))
    return [row for row in rows if row.first or row.second]


def _limits(one: Verdict, other: Verdict) -> list[Row]:
    uses = [{use.limit.name: use for use in verdict.limits} for verdict in (one, other)]
    rows = []
    for name in dict.fromkeys([*uses[0], *uses[1]]):
        pair = [use.get(name) for use in uses]
        told = [_use(use) for use in pair]
        change = "" if told[0] == told[1] else "other"
        if pair[0] is not None and pair[1] is not None:
            change = _numbers(pair[0].headroom, pair[1].headroom, more_is_better=True)
        rows.append(Row("limits", name, told[0], told[1], change))
    return rows


def _use(use: LimitUse | None) -> str:
    if use is None:
        return "no such limit"
    refused = f", {use.refused:,} refused" if use.refused else ""
    return f"{use.peak_asked:,}/{use.number:,}, {share(use.headroom)} left{refused}"


def _metrics(one: Verdict, other: Verdict) -> list[Row]:
    def seconds(value: float) -> str:
        return duration(round(value * 1e9))

    def number(value: float) -> str:
        return f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"

    figures: tuple[tuple[str, str, Callable[[float], str], bool | None], ...] = (
        ("calls", "calls", number, None),
        ("api_calls", "calls to the API", number, None),
        ("refused", "refused", number, False),
        ("operations", "operations", number, None),
        ("operations_done", "done", number, True),
        ("operations_stale", "stale", number, None),
        ("operations_declined", "declined", number, False),
        ("operations_failed", "failed", number, False),
        ("operations_abandoned", "abandoned", number, False),
        ("wait_p50_s", "wait, median", seconds, False),
        ("wait_p95_s", "wait, 95th percentile", seconds, False),
        ("calls_per_operation", "calls an operation", number, False),
        ("retry_amplification", "retry amplification", number, False),
        ("demand_peak_per_hour", "calls wanted in the busiest hour", number, None),
    )
    rows = []
    for key, name, told, more_is_better in figures:
        before, after = one.metrics.get(key), other.metrics.get(key)
        change = ""
        if before is not None and after is not None:
            change = _numbers(before, after, more_is_better=more_is_better)
        texts = ["" if value is None else told(value) for value in (before, after)]
        rows.append(Row("figures", name, texts[0], texts[1], change))
    return rows


def _rule(one: RuleResult | None, other: RuleResult | None) -> Row:
    there = one or other
    assert there is not None, "an id is of one of the two"
    change = "other"
    if one is not None and other is not None:
        change = _verdicts(one.verdict, other.verdict)
        if not change and one.verdict not in ("PASS", "NA"):
            change = "" if measured(one) == measured(other) else "other"
    return Row("rules", f"{there.rule.id} {there.rule.name}", _result(one), _result(other), change)


def _result(result: RuleResult | None) -> str:
    if result is None:
        return "no such rule"
    silent = " (silenced)" if not result.counts else ""
    if result.verdict in ("PASS", "NA"):
        return f"{result.verdict}{silent}"
    found = count(result.judgement.found, "finding")
    return f"{result.verdict}{silent}: {measured(result) or found}"


def _verdicts(one: str, other: str) -> str:
    places = [VERDICTS.index("PASS" if word == "NA" else word) for word in (one, other)]
    if places[0] == places[1]:
        return "" if one == other else "other"
    return "better" if places[1] > places[0] else "worse"


def _numbers(one: float, other: float, *, more_is_better: bool | None) -> str:
    if one == other:
        return ""
    if more_is_better is None:
        return "other"
    return "better" if (other > one) == more_is_better else "worse"


def beside_text(first: Judged, second: Judged) -> str:
    """For the terminal: what differs, at most 100 columns wide; what is alike is counted."""
    rows = rows_of(first.verdict, second.verdict)
    lines = [_columns("", first.folder.name, second.folder.name, "")]
    alike = 0
    for row in rows:
        if row.change or row.group in ("verdict", "limits") or row.name in ("scenario", "provider"):
            lines.append(_columns(row.name, row.first, row.second, row.change))
        else:
            alike += 1
    lines += ["", f"{count(alike, 'row')} alike in both.", ""]
    for one in (first, second):
        lines += [visible(f"{one.folder.name}: {sentences(one.verdict)[0]}")]
    return "\n".join(line.rstrip() for line in lines)


def _columns(name: str, first: str, second: str, change: str) -> str:
    cells = [_cut(visible(text), _CELL) for text in (name, first, second)]
    return f"{cells[0]:<{_CELL}}  {cells[1]:<{_CELL}}  {cells[2]:<{_CELL}}  {change}"[:_WIDTH]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def beside_page(first: Judged, second: Judged) -> str:
    """One page that needs nothing beside itself: both runs' rows, and their figures in pairs."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    groups: dict[str, list[Row]] = {}
    for row in rows_of(first.verdict, second.verdict):
        groups.setdefault(row.group, []).append(row)
    text: str = environment.get_template("beside.html.jinja").render(
        runs=[
            {
                "name": one.folder.name,
                "verdict": one.verdict.verdict,
                "sentences": sentences(one.verdict),
            }
            for one in (first, second)
        ],
        groups=list(groups.items()),
        pairs=_pairs(first, second),
    )
    return text


def _pairs(first: Judged, second: Judged) -> list[tuple[str, list[Markup | None]]]:
    """The figures of the same title, the first run's order kept."""
    by_title = [{drawing.title: drawing for drawing in one.drawings} for one in (first, second)]
    pairs = []
    for title in dict.fromkeys([*by_title[0], *by_title[1]]):
        shown: list[Markup | None] = []
        for side, drawings in zip("ab", by_title, strict=True):
            drawing = drawings.get(title)
            if drawing is None:
                shown.append(None)
                continue
            inline = drawing.inline.replace(f'"{drawing.name}-', f'"{side}-{drawing.name}-')
            inline = inline.replace(f"#{drawing.name}-", f"#{side}-{drawing.name}-")
            shown.append(Markup(inline))  # noqa: S704 - drawn by us
        pairs.append((title, shown))
    return pairs
