"""The verdict on a run: every rule asked, the limits counted, the sandbox checked."""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from quotalab.frames import Disagreement, Frames, LimitUse, disagreements, limit_uses
from quotalab.rules.finding import MOST_FINDINGS, Finding, Judgement, worst
from quotalab.rules.metrics import metrics
from quotalab.rules.registry import Rule, select
from quotalab.rules.settings import silence_of, thresholds_of, unknown_ids
from quotalab.rules.times import count, iso
from quotalab.rules.witnesses import NEEDS, lacking
from quotalab.rules.words import allowed

__all__ = ["Fault", "RuleResult", "UnknownRoute", "Verdict", "judge"]

_SCHEMA = 1
_MOST_FAULTS = 100
_MOST_UNKNOWN = 20


@dataclass(frozen=True)
class Fault:
    """A contradiction of quotalab's own, or a rule that could not judge: never the app's doing."""

    message: str
    calls: tuple[int, ...] = ()
    rule: str | None = None
    """The id of the rule that could not judge."""

    @property
    def is_of_the_workspace(self) -> bool:
        """Whether the rule that could not judge is one of the workspace's own."""
        return self.rule is not None and self.rule not in NEEDS


@dataclass(frozen=True)
class RuleResult:
    """One rule's judgement."""

    rule: Rule
    judgement: Judgement
    silenced: str | None = None
    """Why the workspace silenced it; then it is judged and shown, and counts for nothing."""
    thresholds: Mapping[str, int | float] = field(default_factory=dict)
    """What it judged by, of what settings can change."""

    @property
    def counts(self) -> bool:
        """Whether the run's verdict depends on it."""
        return self.silenced is None

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`."""
        return self.judgement.verdict

    @property
    def unit(self) -> str:
        """Of the metric: ``s``, ``share``, or a noun."""
        return self.rule.unit if self.judgement.unit is None else self.judgement.unit

    @property
    def remedy(self) -> str:
        """What to change: the judgement's own words, else the first sentence of the rule's page on it."""
        if self.judgement.remedy:
            return self.judgement.remedy
        text = " ".join(self.rule.sections.get("What to do instead", "").split())
        return text.partition(". ")[0].rstrip(".") or f"see what {self.rule.id} found"


@dataclass(frozen=True)
class UnknownRoute:
    """Calls to something that the profile has no route for: the app was not tested where it made them."""

    method: str
    path: str
    calls: int


@dataclass(frozen=True)
class Verdict:
    """What `verdict.json` says."""

    run: Mapping[str, Any]
    verdict: str
    limits: tuple[LimitUse, ...]
    rules: tuple[RuleResult, ...]
    metrics: Mapping[str, float | int | None]
    faults: tuple[Fault, ...]
    faults_total: int
    unknown_routes: tuple[UnknownRoute, ...]
    unknown_routes_total: int
    """How many different ones there are."""
    notes: tuple[str, ...] = ()
    """What a reader must know about how the run was judged."""
    only: tuple[str, ...] | None = None
    """The beginnings of the ids of the rules that were asked; None: all were."""

    def exit_code(self, strict: bool = False) -> int:
        """3: quotalab contradicts itself; 1: FAIL, and with `strict` WARN and REVIEW; else 0."""
        if self.faults:
            return 3
        return int(self.verdict == "FAIL" or (strict and self.verdict in ("WARN", "REVIEW")))

    @property
    def tightest(self) -> LimitUse | None:
        """The limit with the least headroom; the profile's first of equal ones.

        One that is there to be filled (people, penalties) is named only when it was overrun, or has no other
        beside it.
        """
        tight = [use for use in self.limits if not use.is_for_filling or use.headroom < 0]
        return min(tight or self.limits, key=lambda use: use.headroom, default=None)

    @property
    def first_change(self) -> RuleResult | None:
        """The rule to act on first: the worst, and of equal ones the lowest id; None when all is well."""
        broken = [result for result in self.rules if result.counts and result.verdict not in ("PASS", "NA")]
        return next((result for result in broken if result.verdict == self.verdict), None)

    def as_document(self) -> dict[str, Any]:
        """The JSON document: schema 1, to which fields are added and of which none is renamed."""
        return {
            "schema": _SCHEMA,
            "run": dict(self.run),
            "verdict": self.verdict,
            "limits": [_limit(use) for use in self.limits],
            "rules": [_rule(result) for result in self.rules],
            "metrics": dict(self.metrics),
            "faults": [{"message": fault.message, "calls": list(fault.calls)} for fault in self.faults],
            "faults_total": self.faults_total,
            "unknown_routes": [
                {"method": route.method, "path": route.path, "calls": route.calls}
                for route in self.unknown_routes
            ],
            "unknown_routes_total": self.unknown_routes_total,
            "notes": list(self.notes),
            "only": None if self.only is None else list(self.only),
        }


def judge(frames: Frames, rules: Sequence[Rule], only: Sequence[str] | None = None) -> Verdict:
    """Ask each rule, or those whose ids begin with one of `only`.

    A rule that raises does not stop the others: it is named as a fault, and its verdict is REVIEW. One that
    the run's settings silence is judged like any other, and left out of the run's verdict.
    Raises `InputError` when one of `only` meets no rule, or a setting is of no threshold that there is.
    """
    chosen = select(rules, only)
    thresholds = {one.id: thresholds_of(one, frames) for one in rules}  # all: a misspelt key is never ignored
    faults = _sandbox_faults(frames)
    if not frames.is_recorded:  # else nothing of ours decided, and there is nobody to contradict
        faults += [_fault(one) for one in frames.once(disagreements)]
    results = []
    for one in chosen:
        lacks = lacking(one.id, frames)
        judgement = _ask(one, frames) if lacks is None else Judgement("NA", note=lacks)
        if isinstance(judgement, Fault):
            faults.insert(0, judgement)
            judgement = Judgement("REVIEW", note=judgement.message)
        results.append(RuleResult(one, judgement, silence_of(one, frames), thresholds[one.id]))
    unknown = _unknown_routes(frames)
    run = frames.run
    return Verdict(
        run={
            "scenario": run.scenario,
            "provider": run.provider,
            "traffic": run.traffic or "",
            "policy": run.policy or "",
            "app": run.app,
            "seed": run.seed,
            "clock": run.clock,
            "virtual_s": (
                frames.span_ns[1] - run.start_ns if run.ended_ns is None else run.ended_ns - run.start_ns
            )
            / 1e9,
            "wall_s": run.wall_s,
            "ledger_sha256": run.ledger_sha256 or "",
            "complete": frames.complete,
        },
        verdict=worst(result.verdict for result in results if result.counts),
        limits=frames.once(limit_uses),
        rules=tuple(results),
        metrics=metrics(frames),
        faults=tuple(faults[:_MOST_FAULTS]),
        faults_total=len(faults),
        unknown_routes=tuple(unknown[:_MOST_UNKNOWN]),
        unknown_routes_total=len(unknown),
        notes=tuple(_notes(rules, frames)),
        only=None if only is None else tuple(only),
    )


def _sandbox_faults(frames: Frames) -> list[Fault]:
    """What went wrong in the sandbox itself while the run lasted."""
    events = frames.events[frames.events["what"] == "sandbox-fault"]
    errors = pd.Series(map(_error_of, events["details"].tolist()), dtype="object").value_counts(sort=False)
    return [
        Fault(f"the sandbox itself failed: {error}, {count(int(times), 'time')}")
        for error, times in errors.items()
    ]


def _error_of(details: str) -> str:
    try:
        return str(json.loads(details)["error"])
    except (ValueError, KeyError, TypeError):
        return "for a reason that the ledger does not tell"


def _notes(rules: Sequence[Rule], frames: Frames) -> Iterator[str]:
    yield from frames.notes
    unknown = unknown_ids(rules, frames)
    if unknown:
        yield (
            f"the run's settings speak of {', '.join(unknown)}, which is no rule here: they change nothing "
            "(a workspace's own rules need --workspace)"
        )


def _ask(one: Rule, frames: Frames) -> Judgement | Fault:
    try:
        judgement: object = one(frames)
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}, line {last.lineno}"
        message = f"the rule {one.id} ({one.name}) raised {type(error).__name__} in {where}: {error}"
        return Fault(message, rule=one.id)
    if not isinstance(judgement, Judgement):
        return Fault(
            f"the rule {one.id} ({one.name}) must return a Judgement, not {type(judgement).__name__}",
            rule=one.id,
        )
    wrong = _wrong(judgement)
    return Fault(f"the rule {one.id} ({one.name}) returned {wrong}", rule=one.id) if wrong else judgement


def _wrong(judgement: Judgement) -> str | None:
    """What is wrong with a judgement: whatever could not be written down as it is."""
    for name in ("metric", "threshold"):
        value: object = getattr(judgement, name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (is_number and math.isfinite(float(value))):  # type: ignore[arg-type]
            return f"the {name} {value!r}, which must be a finite number of Python's own, or None"
    for name in ("note", "remedy", "unit"):
        text: object = getattr(judgement, name)
        if text is not None and not isinstance(text, str):
            return f"the {name} {text!r}, which must be a text or None"
    if not _whole(judgement.untold) or judgement.untold < 0:
        return f"{judgement.untold!r} untold findings, which must be a whole number of 0 or more"
    findings: object = judgement.findings
    if not isinstance(findings, tuple):
        return f"a {type(findings).__name__} of findings, which must be a tuple"
    return next(filter(None, map(_wrong_finding, judgement.findings)), None)


def _wrong_finding(finding: object) -> str | None:
    if not isinstance(finding, Finding):
        return f"the finding {finding!r}, which must be a Finding"
    message: object = finding.message
    if not isinstance(message, str):
        return f"a finding with the message {message!r}, which must be a text"
    if finding.at_ns is not None and not _whole(finding.at_ns):
        return f"a finding at {finding.at_ns!r}, which must be whole nanoseconds of type int, or None"
    calls: object = finding.calls
    if not isinstance(calls, tuple) or not all(map(_whole, calls)):
        return f"a finding with the calls {calls!r}, which must be a tuple of int"
    return None


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _fault(one: Disagreement) -> Fault:
    if one.seq < 0:
        return Fault(f"the ledger {one.message}")
    return Fault(f"call {one.seq} {one.message}", (one.seq,))


def _unknown_routes(frames: Frames) -> list[UnknownRoute]:
    """Methods and paths that were answered 404 for want of a route, the most called first."""
    calls = frames.api_calls
    unknown = calls[calls["route"].isna() & (calls["status"] == 404)]
    found = unknown.groupby(["method", "path"], observed=True).size().rename("calls").reset_index()
    found = found.astype({"method": "str", "path": "str"})
    found = found.sort_values(["calls", "path", "method"], ascending=[False, True, True])
    columns = (found[name].tolist() for name in ("method", "path", "calls"))
    return [UnknownRoute(*row) for row in zip(*columns, strict=True)]


def _limit(use: LimitUse) -> dict[str, Any]:
    return {
        "name": use.limit.name,
        "kind": use.limit.kind,
        "key": list(use.limit.key),
        "limit": use.limit.limit,
        "period_s": use.limit.period_ns / 1e9 if use.limit.period_ns else None,
        "keys": use.keys,
        "worst_key": use.worst_key,
        "allows": allowed(use.limit),
        "peak_asked": use.peak_asked,
        "limit_at_peak": use.number,
        "peak_at": None if use.peak_at_ns is None else iso(use.peak_at_ns),
        "utilisation": use.utilisation,
        "headroom": use.headroom,
        "refused": use.refused,
    }


def _rule(result: RuleResult) -> dict[str, Any]:
    judgement = result.judgement
    return {
        "id": result.rule.id,
        "name": result.rule.name,
        "verdict": judgement.verdict,
        "metric": judgement.metric,
        "threshold": judgement.threshold,
        "unit": result.unit,
        "findings": [_finding(finding) for finding in judgement.findings[:MOST_FINDINGS]],
        "findings_total": judgement.found,
        "note": judgement.note,
        "thresholds": dict(result.thresholds),
        "silenced": result.silenced,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "message": finding.message,
        "at": None if finding.at_ns is None else iso(finding.at_ns),
        "calls": list(finding.calls),
    }
