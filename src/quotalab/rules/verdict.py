"""The verdict on a run: every rule asked, the limits counted, the sandbox checked."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quotalab.frames import Disagreement, Frames, LimitUse, disagreements, limit_uses
from quotalab.rules.finding import MOST_FINDINGS, Finding, Judgement, worst
from quotalab.rules.metrics import metrics
from quotalab.rules.registry import Rule, select
from quotalab.rules.settings import silence_of, thresholds_of, unknown_ids
from quotalab.rules.times import iso
from quotalab.rules.words import allowed

__all__ = ["Fault", "RuleResult", "UnknownRoute", "Verdict", "judge"]

_SCHEMA = 1
_MOST_FAULTS = 100
_MOST_UNKNOWN = 20


@dataclass(frozen=True)
class Fault:
    """A contradiction of quotalab's own: never the app's doing."""

    message: str
    calls: tuple[int, ...] = ()


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
        }


def judge(frames: Frames, rules: Sequence[Rule], only: Sequence[str] | None = None) -> Verdict:
    """Ask each rule, or those whose ids begin with one of `only`.

    A rule that raises does not stop the others: it is named as a fault, and its verdict is REVIEW. One that
    the run's settings silence is judged like any other, and left out of the run's verdict.
    Raises `InputError` when one of `only` meets no rule, or a setting is of no threshold that there is.
    """
    chosen = select(rules, only)
    thresholds = {one.id: thresholds_of(one, frames) for one in rules}  # all: a misspelt key is never ignored
    faults = [_fault(one) for one in frames.once(disagreements)]
    results = []
    for one in chosen:
        judgement = _ask(one, frames)
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
    )


def _notes(rules: Sequence[Rule], frames: Frames) -> Iterator[str]:
    unknown = unknown_ids(rules, frames)
    if unknown:
        yield (
            f"the run's settings speak of {', '.join(unknown)}, which is no rule here: they change nothing "
            "(a workspace's own rules need --workspace)"
        )


def _ask(one: Rule, frames: Frames) -> Judgement | Fault:
    try:
        judgement: object = one(frames)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}, line {last.lineno}"
        return Fault(f"the rule {one.id} ({one.name}) raised {type(error).__name__} in {where}: {error}")
    if not isinstance(judgement, Judgement):
        return Fault(
            f"the rule {one.id} ({one.name}) must return a Judgement, not {type(judgement).__name__}"
        )
    return judgement


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
