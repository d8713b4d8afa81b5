"""Rules, findings and verdicts: what the files in `analysis/` are written against.

A rule is a function from `Frames` to `Judgement` under a stable id::

    @rule("QL101", "quota-overrun")
    def quota_overrun(frames: Frames) -> Judgement:
        \"\"\"...the rule's page, under the headings of `HEADINGS`...\"\"\"

One with thresholds names them, with defaults that a workspace or a profile can change::

    @rule("QL105", "herd-at-reset", share=0.2, within_s=1.0)
    def herd_at_reset(frames: Frames, *, share: float, within_s: float) -> Judgement: ...
"""

from quotalab.rules.finding import MOST_FINDINGS, VERDICTS, Finding, Judgement, worst
from quotalab.rules.loading import load_rules
from quotalab.rules.meanings import early_calls, retries
from quotalab.rules.metrics import demand, metrics, waits_ns
from quotalab.rules.registry import HEADINGS, Rule, rule, select
from quotalab.rules.settings import check_settings, silence_of, thresholds_of
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
    "check_settings",
    "demand",
    "early_calls",
    "judge",
    "load_rules",
    "metrics",
    "retries",
    "rule",
    "select",
    "silence_of",
    "thresholds_of",
    "waits_ns",
    "worst",
]
