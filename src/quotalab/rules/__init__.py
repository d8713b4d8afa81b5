"""Rules, findings and verdicts: what the files in `analysis/` are written against.

A rule is a function from `Frames` to `Judgement` under a stable id::

    @rule("QL101", "quota-overrun")
    def quota_overrun(frames: Frames) -> Judgement:
        \"\"\"...the rule's page, under the headings of `HEADINGS`...\"\"\"
"""

from quotalab.rules.finding import MOST_FINDINGS, VERDICTS, Finding, Judgement, worst
from quotalab.rules.loading import load_rules
from quotalab.rules.meanings import (
    early_after_failures,
    early_calls,
    promises_ns,
    repeats,
    retries,
    unsafe,
    unsafe_retries,
)
from quotalab.rules.metrics import demand, metrics, waits_ns
from quotalab.rules.registry import HEADINGS, Rule, rule, select
from quotalab.rules.verdict import Fault, RuleResult, UnknownRoute, Verdict, judge

__all__ = [
    "HEADINGS",
    "MOST_FINDINGS",
    "VERDICTS",
    "Fault",
    "Finding",
    "Judgement",
    "Rule",
    "RuleResult",
    "UnknownRoute",
    "Verdict",
    "demand",
    "early_after_failures",
    "early_calls",
    "judge",
    "load_rules",
    "metrics",
    "promises_ns",
    "repeats",
    "retries",
    "rule",
    "select",
    "unsafe",
    "unsafe_retries",
    "waits_ns",
    "worst",
]
