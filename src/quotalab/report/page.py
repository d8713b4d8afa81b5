"""report.html: one page that needs nothing beside itself, put together from frames, verdict and drawings."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from quotalab.frames import Frames, LimitUse, window_rows
from quotalab.frames.headers import headers_of
from quotalab.report.flows import Flow, oauth_flows
from quotalab.report.happenings import Happening, happenings
from quotalab.report.lifecycle import life_in_figures
from quotalab.report.promises import kept_promises, promises_in_words
from quotalab.report.summary import limit_in_words, measured, sentences
from quotalab.report.text import prose, visible
from quotalab.rules import Finding, RuleResult, Verdict
from quotalab.rules.catalogue import FAMILIES
from quotalab.rules.finding import VERDICTS
from quotalab.rules.times import clock_time, count, duration, share
from quotalab.rules.words import asked_for, counts_in, made_up

if TYPE_CHECKING:
    from quotalab.report.figures import Drawing

__all__ = ["page"]

_MOST_FINDINGS = 12  # of one rule; the rest is counted, and is in verdict.json
_MOST_CALLS = 12  # of one finding
_MOST_HEADERS = (
    3,
    4,
    150,
)  # findings of a rule, calls of a finding, calls of the page whose headers are shown
_MOST_PROMISES = 60
_SHORT_ID = 12  # a longer operation id is shown by its first 8 characters, and whole where one points
_MOST_WINDOW_ROWS = 400
_SHOWN_WINDOW_ROWS = 14


def page(frames: Frames, verdict: Verdict, drawings: Sequence[Drawing]) -> str:
    """The page as HTML. Whatever a client sent is escaped, and what cannot be seen is written out."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    calls = _Calls(frames)
    script = (Path(__file__).parent / "report.js").read_text(encoding="utf-8")
    flows, more_flows = oauth_flows(frames)
    text: str = environment.get_template("report.html.jinja").render(
        title=f"{verdict.run['scenario']} against {verdict.run['provider']}",
        frames=frames,
        provider=frames.provider,
        run=frames.run,
        verdict=verdict,
        complete=frames.complete,
        sentences=sentences(verdict),
        when=f"{clock_time(frames.span_ns[0])} to {clock_time(frames.span_ns[1])} UTC",
        tiles=_tiles(verdict),
        limits=[_limit(use) for use in verdict.limits],
        drawings=[(drawing, Markup(drawing.inline)) for drawing in drawings],  # noqa: S704 - drawn by us
        script=Markup(script),  # noqa: S704 - ours
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        promises=_promises(frames),
        life=life_in_figures(frames),
        flows=[_shown_flow(flow, i) for i, flow in enumerate(flows, 1)],
        more_flows=more_flows,
        happenings=[_happening(one, frames) for one in frames.once(happenings)],
        window=_window(frames, verdict, calls),
        families=_families(verdict, calls, _headers(frames, verdict)),
        command=shlex.join(frames.run.command),
        inputs=sorted(frames.run.inputs.items()),
        versions=sorted(frames.run.versions.items()),
        count=count,
        share=share,
        duration=duration,
        clock_time=clock_time,
    )
    return text


class _Calls:
    """Rows of calls for tables, by `seq`."""

    def __init__(self, frames: Frames) -> None:
        self._calls = frames.calls
        self._seq = frames.calls["seq"].to_numpy()
        operations = frames.operations
        self._names = dict(
            zip(operations["operation"].astype(object), operations["name"].astype(object), strict=True)
        )

    def rows(self, seqs: Sequence[int]) -> list[dict[str, Any]]:
        """The calls `seqs`, in that order; those that the ledger does not have are left out."""
        places = np.searchsorted(self._seq, seqs)
        places = np.minimum(places, max(len(self._seq) - 1, 0))
        found = [place for place, seq in zip(places, seqs, strict=True) if self._seq[place] == seq]
        return self.shown(self._calls.iloc[found])

    def shown(self, calls: pd.DataFrame) -> list[dict[str, Any]]:
        """Texts for the columns of a table of calls."""
        columns = ["person", "operation", "method", "path", "limit"]
        texts = [_texts(calls[name]) for name in columns]
        numbers = [calls[name].tolist() for name in ("seq", "at", "status")]
        promises = calls["retry_after_ns"].tolist()
        return [
            {
                "seq": seq,
                "time": clock_time(at_ns, decimals=3),
                "person": person,
                "operation": operation,
                "short": operation if len(operation) <= _SHORT_ID else f"{operation[:8]}…",
                "name": self._names.get(operation, ""),
                "method": method,
                "path": path,
                "status": status,
                "limit": limit,
                "promise": "" if pd.isna(promise) else duration(int(promise)),
            }
            for seq, at_ns, status, promise, person, operation, method, path, limit in zip(
                *numbers, promises, *texts, strict=True
            )
        ]


def _texts(column: pd.Series) -> list[str]:
    """The values of a categorical; never all of its categories, of which a large run has a million."""
    categories = column.cat.categories
    return [str(categories[code]) if code >= 0 else "" for code in column.cat.codes.tolist()]


def _headers(frames: Frames, verdict: Verdict) -> dict[int, tuple[dict[str, str], dict[str, str]]]:
    """The headers of the first calls of the first findings of each broken rule, read in one go."""
    findings, of_each, most = _MOST_HEADERS
    wanted: dict[int, None] = {}
    for result in verdict.rules:
        for finding in result.judgement.findings[:findings]:
            wanted.update(dict.fromkeys(finding.calls[:of_each]))
    return headers_of(frames, frozenset(list(wanted)[:most]))


def _promises(frames: Frames) -> dict[str, Any] | None:
    """Promised and kept waits in figures, and the refusals after which the app was the farthest off."""
    table = frames.once(kept_promises)
    if not len(table):
        return None
    asked = table[table["next"] >= 0].sort_values("late_ns", kind="stable")
    seq, at_ns = frames.calls["seq"].to_numpy(), frames.calls["at"].to_numpy()
    early, late = asked[asked["late_ns"] < 0], asked[asked["late_ns"] >= 0]
    chosen = pd.concat([early.head(_MOST_PROMISES), late.tail(max(_MOST_PROMISES - len(early), 10))])
    rows = [
        {
            "seq": seq[one["row"]],
            "time": clock_time(int(at_ns[one["row"]]), decimals=3),
            "promised": f"{one['promised_ns'] / 1e9:,.1f}",
            "next": seq[one["next"]],
            "kept": f"{one['kept_ns'] / 1e9:,.1f}",
            "early": f"{-one['late_ns'] / 1e9:,.1f}" if one["late_ns"] < 0 else "",
            "late": f"{one['late_ns'] / 1e9:,.1f}" if one["late_ns"] >= 0 else "",
            "who": "the same" if one["same"] else "another",
        }
        for one in chosen.to_dict("records")
    ]
    return {"words": promises_in_words(table), "rows": rows, "total": len(table)}


def _shown_flow(flow: Flow, number: int) -> dict[str, Any]:
    often = f"{flow.number:,} of {flow.of:,} flows"
    return {
        "title": flow.title,
        "often": f"The commonest: {often}" if number == 1 else often,
        "svg": Markup(flow.svg(f"flow-{number}")),  # noqa: S704 - every text in it is escaped
        "words": flow.words,
        "left_out": flow.left_out,
    }


def _tiles(verdict: Verdict) -> list[tuple[str, str, str]]:
    """(figure, what it is, more about it)."""
    m, use = verdict.metrics, verdict.tightest
    tiles = [
        (f"{m['api_calls']:,}", "calls to the API", f"{m['refused']:,} refused, {m['calls']:,} calls in all")
    ]
    if use is not None and use.peak_at_ns is not None:
        tiles.append(
            (
                f"{use.peak_asked:,}/{use.number:,}",
                "asked for at the peak",
                f"{use.limit.name}, {clock_time(use.peak_at_ns)}",
            )
        )
        overrun = "the limit was overrun" if use.headroom < 0 else "left at the worst moment"
        tiles.append((share(use.headroom), "headroom", overrun))
    if m["operations"]:
        served = (m["operations_done"] or 0) + (m["operations_stale"] or 0)
        rest = [
            f"{m[f'operations_{word}']:,} {word}"
            for word in ("stale", "declined", "failed", "abandoned")
            if m[f"operations_{word}"]
        ]
        tiles.append(
            (share(served / m["operations"]), "of operations answered", ", ".join(rest) or "all of them done")
        )
    if m["wait_p95_s"] is not None and m["wait_p50_s"] is not None:
        median = duration(round(m["wait_p50_s"] * 1e9))
        tiles.append((duration(round(m["wait_p95_s"] * 1e9)), "wait, 95th percentile", f"median {median}"))
    if m["demand_peak_per_hour"] is not None:
        tiles.append((f"{m['demand_peak_per_hour']:,.0f}", "calls wanted in the busiest hour", "by demand"))
    return tiles


def _happening(happening: Happening, frames: Frames) -> dict[str, str]:
    until_ns = happening.until_ns
    lasted = "" if until_ns is None else duration(until_ns - happening.at_ns)
    if happening.lasts(frames.span_ns):
        lasted = "the whole run"
    told = happening.told
    return {
        "at": clock_time(happening.at_ns),
        "lasted": lasted,
        "told": f"{told[:1].upper()}{told[1:]}.",
    }


def _limit(use: LimitUse) -> dict[str, Any]:
    # The bar's full width is the limit, or what was asked if that was more.
    width = max(use.peak_asked, use.number)
    return {
        "use": use,
        "words": limit_in_words(use),
        "kind": counts_in(use.limit),
        "peak_at": "" if use.peak_at_ns is None else clock_time(use.peak_at_ns),
        "filled": 100 * min(use.peak_asked, use.number) / width,
        "over": 100 * max(use.peak_asked - use.number, 0) / width,
    }


def _window(frames: Frames, verdict: Verdict, calls: _Calls) -> dict[str, Any] | None:
    """The worst window of the tightest limit, or what else made up its peak, call by call."""
    use = verdict.tightest
    if use is None or use.peak_at_ns is None:
        return None
    rows = window_rows(frames, use)
    if not len(rows):
        return None
    refused = rows["limit"].notna().to_numpy()
    shown = calls.shown(rows.iloc[:_MOST_WINDOW_ROWS])
    for row, used in zip(shown, rows["used"].tolist(), strict=False):
        row["used"] = used
    # Folded, the table shows where it gets tight: around the first refusal, else the end.
    tight = int(refused.argmax()) if refused.any() else len(rows)
    begin = max(0, min(tight - _SHOWN_WINDOW_ROWS // 2, len(shown) - _SHOWN_WINDOW_ROWS))
    story = (
        f"Of {limit_in_words(use)}, {asked_for(use)}: {count(len(rows), 'call')} of "
        f"{count(rows['person'].nunique(), 'person', 'people')}."
    )
    routes = rows["route"].astype(object).where(rows["route"].notna(), "unknown routes").value_counts()
    story += f" Most were {routes.index[0]}: {share(routes.iloc[0] / len(rows))}."
    if refused.any():
        first = int(rows["at"].to_numpy()[refused.argmax()])
        story += f" {refused.sum():,} were refused, the first at {clock_time(first)}."
    return {
        "story": story,
        "limit": use.limit,
        "number": use.number,
        "short": f"{made_up(use.limit)[:1].upper()}{made_up(use.limit)[1:]}",
        "heading": f"{made_up(use.limit)[:1].upper()}{made_up(use.limit)[1:]}, call by call",
        "total": len(rows),
        "all": shown,
        "begin": begin,
        "shown": shown[begin : begin + _SHOWN_WINDOW_ROWS],
    }


_Headers = dict[int, tuple[dict[str, str], dict[str, str]]]


def _families(
    verdict: Verdict, calls: _Calls, headers: _Headers
) -> list[tuple[str, list[dict[str, Any]], str]]:
    families: dict[str, list[dict[str, Any]]] = {}
    for result in verdict.rules:
        families.setdefault(result.rule.family, []).append(_rule(result, calls, headers))
    return [(FAMILIES.get(family, family), rules, _tally(rules)) for family, rules in families.items()]


def _tally(rules: Sequence[dict[str, Any]]) -> str:
    words = ["silent" if one["silenced"] else one["verdict"] for one in rules]
    return ", ".join(f"{words.count(word)} {word}" for word in (*VERDICTS, "silent") if word in words)


def _rule(result: RuleResult, calls: _Calls, headers: _Headers) -> dict[str, Any]:
    judgement, sections = result.judgement, result.rule.sections
    return {
        "rule": result.rule,
        "verdict": result.verdict,
        "figures": measured(result),
        "note": judgement.note,
        "total": judgement.found,
        "findings": [_finding(finding, calls, headers) for finding in judgement.findings[:_MOST_FINDINGS]],
        "sections": [(heading, prose(text)) for heading, text in sections.items()],
        "silenced": result.silenced,
        "open": result.counts and result.verdict in ("FAIL", "WARN", "REVIEW"),
    }


def _finding(finding: Finding, calls: _Calls, headers: _Headers) -> dict[str, Any]:
    return {
        "message": finding.message,
        "calls": calls.rows(finding.calls[:_MOST_CALLS]),
        "more": max(len(finding.calls) - _MOST_CALLS, 0),
        "headers": [
            (seq, list(asked.items()), list(answered.items()))
            for seq in finding.calls[: _MOST_HEADERS[1]]
            for asked, answered in [headers.get(seq, ({}, {}))]
            if asked or answered
        ],
    }
