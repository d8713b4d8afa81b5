"""summary.md: the verdict for a pull request or a job's page; whatever a client sent stays text in it."""

from __future__ import annotations

import re

from quotalab.report.summary import measured, sentences
from quotalab.report.text import visible
from quotalab.rules import Verdict
from quotalab.rules.times import clock_time, count, duration, share

__all__ = ["as_text", "markdown"]

_MOST_FINDINGS = 3
_MOST_LIMITS = 20


def as_text(text: str) -> str:
    """`text` as nothing but text: every character that Markdown or HTML would act on is escaped."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~&@$^=:-])", r"\\\1", visible(text))


def markdown(verdict: Verdict) -> str:
    """The document: three sentences, limits, the rules that are broken with their first findings, figures."""
    run, m = verdict.run, verdict.metrics
    lines = [
        f"## quotalab: {verdict.verdict}",
        "",
        *(f"{as_text(text)}  " for text in sentences(verdict)),
        "",
    ]
    about = [str(run[name]) for name in ("scenario", "provider", "traffic", "policy") if run[name]]
    if run["seed"] is not None:
        about.append(f"seed {run['seed']}")
    lines += [as_text(" · ".join([*about, duration(round(run["virtual_s"] * 1e9)), run["clock"]])), ""]
    if not run["complete"]:
        lines += ["**This run was cut: it is judged up to the cut.**", ""]
    lines += [f"> {as_text(note)}\n" for note in verdict.notes]
    if verdict.limits:
        lines += [
            "| limit | asked | headroom | worst moment | refused |",
            "| --- | ---: | ---: | --- | ---: |",
        ]
        for use in verdict.limits[:_MOST_LIMITS]:
            when = "" if use.peak_at_ns is None else clock_time(use.peak_at_ns)
            asked = f"{use.peak_asked:,}/{use.number:,}"
            cells = (use.limit.name, asked, share(use.headroom), when, f"{use.refused:,}")
            lines.append(f"| {' | '.join(map(as_text, cells))} |")
        if len(verdict.limits) > _MOST_LIMITS:
            lines.append(f"\n... and {len(verdict.limits) - _MOST_LIMITS} more limits")
        lines.append("")
    for result in verdict.rules:
        if not result.counts:
            lines.append(
                f"- silent **{result.rule.id}** {as_text(result.rule.name)}: would be {result.verdict}; "
                f"{as_text(result.silenced or '')}"
            )
        elif result.verdict not in ("PASS", "NA"):
            judgement = result.judgement
            said = ", ".join(filter(None, (measured(result), count(judgement.found, "finding"))))
            lines.append(f"- {result.verdict} **{result.rule.id}** {as_text(f'{result.rule.name}: {said}')}")
            lines += [f"  - {as_text(finding.message)}" for finding in judgement.findings[:_MOST_FINDINGS]]
            if judgement.found > _MOST_FINDINGS:
                lines.append(f"  - and {judgement.found - _MOST_FINDINGS:,} more")
    words = [result.verdict for result in verdict.rules if result.counts]
    lines += ["", f"{words.count('PASS')} rules hold, {words.count('NA')} had nothing to judge\\."]
    lines.append(as_text(f"{m['calls']:,} calls, {m['api_calls']:,} to the API, {m['refused']:,} refused."))
    return "\n".join(lines) + "\n"
