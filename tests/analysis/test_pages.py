"""Every bundled rule has its page."""

from __future__ import annotations

from quotalab.frames import load
from quotalab.frames.testing import LedgerBuilder
from quotalab.rules import HEADINGS

FAMILIES = {"quota": "QL1", "backoff": "QL2", "tokens": "QL3", "operations": "QL5"}


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
        "QL301": "expired-token-reused",
        "QL501": "failed-operations",
        "QL502": "long-waits",
    }


def test_on_an_empty_run_every_rule_has_nothing_to_judge(rules, tmp_path):
    """No calls and no operations: NA throughout, with the reason."""
    frames = load(LedgerBuilder().write(tmp_path / "run"))
    for one in rules.values():
        judgement = one(frames)
        assert (judgement.verdict, judgement.findings) == ("NA", ()), one.id
        assert judgement.note, one.id
