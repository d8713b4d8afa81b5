"""What the terminal shows: limits, rules, figures, and three sentences to end on."""

from __future__ import annotations

import textwrap

from quotalab.frames import LimitUse
from quotalab.report.text import visible
from quotalab.rules import RuleResult, Verdict
from quotalab.rules.times import clock_time, count, duration, share
from quotalab.rules.words import allowed, asked_for, whom

__all__ = ["limit_in_words", "measured", "sentences", "summary"]

_WIDTH = 100
_BAR = 20
_MOST_ROWS = 8  # of limits, and of broken rules, so that the whole fits one screen
_MOST_NAMES = 8  # of rules that need no attention; of more only the ids are shown
_COLOURS = {"FAIL": "31", "WARN": "33", "REVIEW": "35", "PASS": "32", "NA": "2"}
_LATER = ("PASS", "NA")


def sentences(verdict: Verdict) -> tuple[str, str, str]:
    """The verdict, the tightest limit with its worst moment, and what to change first."""
    return _verdict(verdict), _tightest(verdict), _change(verdict)


def summary(verdict: Verdict, *, colour: bool = False) -> str:
    """One screen of plain text, at most 100 columns wide, ending in the three `sentences`.

    `colour` marks verdicts with ANSI colours: for terminals only.
    """
    run = verdict.run
    took = f" in {run['wall_s']:.1f} s" if run["wall_s"] is not None else ""
    head = [run["scenario"], run["provider"], run["traffic"]]
    if run["app"] != "unknown":
        head.append(run["policy"] if run["app"] == "reference" else f"app {run['app']}")
    if run["seed"] is not None:
        head.append(f"seed {run['seed']}")
    head.append(f"{duration(round(run['virtual_s'] * 1e9))} {run['clock']}{took}")
    lines = [*textwrap.wrap(visible(" · ".join(str(part) for part in head if part)), _WIDTH), ""]
    if not run["complete"]:
        lines += ["This run was cut: it is judged up to the cut.", ""]
    for note in verdict.notes:
        lines += [*textwrap.wrap(visible(note), _WIDTH), ""]
    for route in verdict.unknown_routes[:3]:
        asked = visible(f"{route.method} {route.path}")
        lines.append(_fit(f"no route in the profile for {asked}: {count(route.calls, 'call')} answered 404"))
    if verdict.unknown_routes_total > 3:
        lines.append(f"... and for {verdict.unknown_routes_total - 3:,} more")
    if verdict.unknown_routes:
        lines.append("")
    lines += _limits(verdict)
    lines += ["", *_rules(verdict, colour), "", *_metrics(verdict), ""]
    for sentence in sentences(verdict):
        lines += textwrap.wrap(sentence, _WIDTH, break_on_hyphens=False)
    return "\n".join(lines)


def limit_in_words(use: LimitUse) -> str:
    """``hourly (100 in 1 h for the app)``, with the number in force at the peak."""
    return f"{use.limit.name} ({allowed(use.limit, use.number)} for {whom(use.limit)})"


def _verdict(verdict: Verdict) -> str:
    api, operations = verdict.metrics["api_calls"] or 0, verdict.metrics["operations"] or 0
    judged = f"{count(int(api), 'call')} to the API"
    if verdict.run["app"] != "unknown":
        judged += f" and {count(int(operations), 'operation')}"
    cut = "" if verdict.run["complete"] else ", in a run that was cut and is judged up to the cut"
    mistaken = _mistaken(verdict)
    if mistaken:
        return f"{verdict.verdict}, but {mistaken} could not judge, so do not rely on it{cut}."
    if verdict.faults:
        return (
            f"{verdict.verdict}, but quotalab contradicts itself ({count(verdict.faults_total, 'fault')}), "
            f"so do not rely on it{cut}."
        )
    if verdict.verdict == "NA":
        return f"NA: none of the rules found anything to judge in {judged}{cut}."
    if verdict.verdict == "PASS":
        held = sum(result.counts and result.verdict == "PASS" for result in verdict.rules)
        rules = count(held, "rule that applies holds", "rules that apply hold")
        return f"PASS: {'the' if held == 1 else 'all'} {rules}, over {judged}{cut}."
    worst = [result for result in verdict.rules if result.counts and result.verdict == verdict.verdict]
    names = ", ".join(f"{result.rule.id} {result.rule.name}" for result in worst[:3])
    more = f" and {len(worst) - 3:,} more" if len(worst) > 3 else ""
    verb = {"FAIL": "broken", "WARN": "in need of attention", "REVIEW": "for a person to look at"}[
        verdict.verdict
    ]
    return (
        f"{verdict.verdict}: {names}{more} {'is' if len(worst) == 1 else 'are'} {verb}, over {judged}{cut}."
    )


def _mistaken(verdict: Verdict) -> str:
    """The workspace's own rules that could not judge, where nothing of quotalab's own is at fault."""
    if not all(fault.is_of_the_workspace for fault in verdict.faults):
        return ""
    return ", ".join(str(fault.rule) for fault in verdict.faults)


def _tightest(verdict: Verdict) -> str:
    use = verdict.tightest
    if use is None or use.peak_at_ns is None:
        return "No call was asked of a limit, so none is tight."
    by = "" if use.limit.key == ("app",) else visible(f" by {use.worst_key}")
    left = f"{share(use.headroom)} of headroom left"
    if use.headroom < 0:
        left = f"{use.peak_asked - use.number:,} too many and {count(use.refused, 'call')} refused in all"
        if not use.refused:
            left = f"{use.peak_asked - use.number:,} too many"
            if any(other.refused for other in verdict.limits):
                left += ", refused by other limits"
    return visible(f"The tightest limit is {limit_in_words(use)}: {asked_for(use, by)}, {left}.")


def _change(verdict: Verdict) -> str:
    first = verdict.first_change
    if _mistaken(verdict):
        wrong = visible(verdict.faults[0].message)
        return f"Change first: mend the workspace's own rule and judge again; {wrong}."
    if verdict.faults:
        return (
            "Change nothing yet: report the faults with this run folder, then judge it again with a quotalab "
            "that agrees with itself."
        )
    if verdict.unknown_routes:
        route = visible(f"{verdict.unknown_routes[0].method} {verdict.unknown_routes[0].path}")
        return (
            f"Change first: give the profile a route for {route}, as the app was not tested beyond its 404."
        )
    if first is not None:
        remedy = first.remedy
        return visible(f"Change first ({first.rule.id}): {remedy[:1].lower()}{remedy[1:]}.")
    if verdict.verdict == "NA":
        who = "app" if verdict.run["app"] == "unknown" else "scenario"
        return f"Change first: let the {who} make calls to the API, so that there is something to judge."
    return "Nothing has to change: try other seeds and more people before you rely on it."


def _limits(verdict: Verdict) -> list[str]:
    rows = [("limit", "asked", "use", "headroom", "worst moment", "refused")]
    for use in verdict.limits[:_MOST_ROWS]:
        rows.append(
            (
                visible(use.limit.name)[:24],
                f"{use.peak_asked:,}/{use.number:,}",
                _bar(use.utilisation),
                share(use.headroom),
                "-" if use.peak_at_ns is None else clock_time(use.peak_at_ns),
                f"{use.refused:,}",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    left = (0, 2, 4)
    lines = [
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    if len(verdict.limits) > _MOST_ROWS:
        lines.append(f"... and {len(verdict.limits) - _MOST_ROWS} more limits")
    return lines


def _bar(utilisation: float) -> str:
    full = min(_BAR, int(utilisation * _BAR))
    return "#" * full + "." * (_BAR - full) + ("!" if utilisation > 1 else "")


def _rules(verdict: Verdict, colour: bool) -> list[str]:
    broken = [result for result in verdict.rules if result.counts and result.verdict not in _LATER]
    broken.sort(key=lambda result: ("FAIL", "WARN", "REVIEW").index(result.verdict))
    lines = [_fit(_rule(result)) for result in broken[:_MOST_ROWS]]
    if len(broken) > _MOST_ROWS:
        lines.append(f"... and {len(broken) - _MOST_ROWS} more")
    silenced = [result for result in verdict.rules if not result.counts]
    lines += [_fit(_silenced(result)) for result in silenced[:_MOST_ROWS]]
    if len(silenced) > _MOST_ROWS:
        lines.append(f"... and {len(silenced) - _MOST_ROWS} more that are silenced")
    for word in _LATER:
        said = [one.rule for one in verdict.rules if one.counts and one.verdict == word]
        ids = [one.id if len(said) > _MOST_NAMES else f"{one.id} {one.name}" for one in said]
        if word == "NA" and len(said) > _MOST_NAMES:
            lines.append(
                f"{word:<7}{len(said):,} rules had nothing to judge: report.html says why, one by one"
            )
        elif ids:
            text = f"{word:<7}{', '.join(ids)}"
            lines += textwrap.wrap(text, _WIDTH, subsequent_indent=" " * 7, break_on_hyphens=False)
    return [_coloured(line) for line in lines] if colour else lines


def _rule(result: RuleResult) -> str:
    judgement = result.judgement
    figures = measured(result)
    found = count(judgement.found, "finding") if judgement.findings else visible(judgement.note or "")
    head = f"{result.verdict:<7}{result.rule.id} {result.rule.name}"
    return "  ".join(part for part in (f"{head:<40}", figures, found) if part)


def _silenced(result: RuleResult) -> str:
    head = f"silent {result.rule.id} {result.rule.name}"
    return f"{head:<40}  would be {result.verdict}; silenced: {visible(result.silenced or '')}"


def measured(result: RuleResult) -> str:
    """The metric and what it is held against, in the rule's unit: ``97 % of a limit (threshold 98 %)``."""
    metric, threshold = result.judgement.metric, result.judgement.threshold
    if metric is None:
        return ""
    unit = visible(result.unit)
    words = _number(metric, unit)
    if unit and unit not in ("s", "share"):
        words += f" {unit}"
    return words if threshold is None else f"{words} (threshold {_number(threshold, unit)})"


def _number(value: float, unit: str) -> str:
    if unit == "share":
        return share(value)
    if unit == "s":
        return duration(round(value * 1e9))
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.3g}"


def _metrics(verdict: Verdict) -> list[str]:
    m = verdict.metrics
    lines = [f"calls       {m['calls']:,}, {m['api_calls']:,} of them to the API, {m['refused']:,} refused"]
    if m["operations"]:
        outcomes = ", ".join(
            f"{m[f'operations_{outcome}']:,} {outcome}"
            for outcome in ("done", "stale", "declined", "failed", "abandoned")
            if m[f"operations_{outcome}"]
        )
        lines.append(f"operations  {m['operations']:,}: {outcomes}")
    if m["wait_p50_s"] is not None and m["wait_p95_s"] is not None:
        lines.append(
            f"waits       median {duration(round(m['wait_p50_s'] * 1e9))}, "
            f"95th percentile {duration(round(m['wait_p95_s'] * 1e9))}"
        )
    if m["demand_peak_per_hour"] is not None:
        lines.append(f"demand      up to {m['demand_peak_per_hour']:,.0f} calls an hour were wanted")
    return lines


def _coloured(line: str) -> str:
    word = line.split(" ", 1)[0]
    return f"\x1b[{_COLOURS[word]}m{word}\x1b[0m{line[len(word) :]}" if word in _COLOURS else line


def _fit(line: str) -> str:
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"
