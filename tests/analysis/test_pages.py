"""Every bundled rule has its page."""

from __future__ import annotations

from quotalab.frames import load
from quotalab.frames.testing import LedgerBuilder
from quotalab.rules import HEADINGS

FAMILIES = {
    "quota": "QL1",
    "backoff": "QL2",
    "tokens": "QL3",
    "canaries": "QL3",  # what the search for secrets at the end of a run found
    "authorization": "QL4",
    "operations": "QL5",
    "economy": "QL6",
    "records": "QL7",
}


def test_every_page_has_all_headings_in_order_and_text_below_each(rules):
    """What a rule checks, why, an example, what to do instead, and its source."""
    for one in rules.values():
        assert one.title, one.id
        assert tuple(one.sections) == HEADINGS, one.id
        assert all(len(text) > 20 for text in one.sections.values()), one.id


def test_every_rule_is_in_the_file_of_its_family(rules):
    """A family a file."""
    for one in rules.values():
        stem = one.function.__module__.removeprefix("_quotalab_rules_")
        assert one.family == FAMILIES[stem]


def test_the_bundled_rules_are_these(rules):
    """Ids and names that were given out once are never reused."""
    assert {one.id: one.name for one in rules.values()} == {
        "QL101": "quota-overrun",
        "QL102": "no-headroom",
        "QL103": "window-edge-burst",
        "QL104": "concurrency-overrun",
        "QL105": "herd-at-reset",
        "QL106": "unfair-share",
        "QL107": "penalty-triggered",
        "QL108": "overshoot-in-flight",
        "QL109": "ignored-limit-headers",
        "QL201": "retry-before-retry-after",
        "QL202": "retry-too-fast",
        "QL203": "retry-without-jitter",
        "QL204": "unbounded-retries",
        "QL205": "retry-of-permanent-error",
        "QL206": "unsafe-retry",
        "QL207": "retry-storm",
        "QL208": "gave-up-early",
        "QL209": "slow-recovery",
        "QL210": "wait-cut-short",
        "QL211": "retry-after-misread",
        "QL212": "backoff-without-growth",
        "QL301": "expired-token-reused",
        "QL302": "refresh-stampede",
        "QL303": "refresh-token-reused",
        "QL304": "ignored-invalid-grant",
        "QL305": "revoked-token-reused",
        "QL306": "token-per-call",
        "QL307": "refresh-too-early",
        "QL308": "refresh-after-rejection-only",
        "QL309": "token-in-url",
        "QL310": "token-not-revoked",
        "QL401": "missing-pkce",
        "QL402": "plain-pkce",
        "QL403": "reused-challenge",
        "QL404": "weak-state",
        "QL405": "redirect-mismatch",
        "QL406": "over-scoped",
        "QL407": "restricted-scope",
        "QL408": "unknown-scope",
        "QL409": "missing-scope",
        "QL410": "partial-consent-ignored",
        "QL411": "denied-consent-mishandled",
        "QL412": "code-reused",
        "QL413": "deprecated-grant",
        "QL414": "client-secret-exposed",
        "QL415": "forged-callback-accepted",
        "QL416": "wrong-issuer-accepted",
        "QL417": "injected-code-accepted",
        "QL320": "token-at-rest",
        "QL321": "token-in-log",
        "QL322": "secret-in-own-output",
        "QL501": "failed-operations",
        "QL502": "long-waits",
        "QL503": "error-shown-to-person",
        "QL504": "lost-operations",
        "QL505": "starved-interactive",
        "QL506": "starved-background",
        "QL507": "stale-answers",
        "QL601": "polling",
        "QL602": "unconditional-reads",
        "QL603": "repeated-reads",
        "QL604": "calls-per-operation",
        "QL605": "limit-filled-by-few",
        "QL606": "no-bulk",
        "QL607": "page-size-too-small",
        "QL701": "unlogged-call",
        "QL702": "log-without-metadata",
        "QL703": "logged-call-that-never-was",
    }


def test_on_an_empty_run_every_rule_has_nothing_to_judge(rules, tmp_path):
    """No calls and no operations: NA throughout, with the reason."""
    frames = load(LedgerBuilder().write(tmp_path / "run"))
    for one in rules.values():
        judgement = one(frames)
        assert (judgement.verdict, judgement.findings) == ("NA", ()), one.id
        assert judgement.note, one.id
