"""junit.xml: one testcase a rule, for whatever shows test results.

FAIL is a failure; NA, and a rule that is silenced, is skipped. WARN and REVIEW are passed with a note in
`system-out`: JUnit has no word for them, and a build that must stop at them asks for `--strict`. A fault of
quotalab's own is an error of a testcase of its own.
"""

from __future__ import annotations

from xml.etree import ElementTree

from quotalab.report.text import visible
from quotalab.rules import RuleResult, Verdict
from quotalab.rules.times import iso

__all__ = ["junit"]

_MOST_LINES = 100


def junit(verdict: Verdict) -> bytes:
    """The document, UTF-8; what XML cannot hold is written out visibly."""
    failures = sum(result.counts and result.verdict == "FAIL" for result in verdict.rules)
    skipped = sum(not result.counts or result.verdict == "NA" for result in verdict.rules)
    errors = int(bool(verdict.faults))
    totals = {
        "tests": str(len(verdict.rules) + errors),
        "failures": str(failures),
        "errors": str(errors),
        "skipped": str(skipped),
    }
    name = visible(f"{verdict.run['scenario']} against {verdict.run['provider']}")
    root = ElementTree.Element("testsuites", totals)
    suite = ElementTree.SubElement(root, "testsuite", {"name": name, **totals})
    for result in verdict.rules:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            {"classname": f"quotalab.{result.rule.family}", "name": f"{result.rule.id} {result.rule.name}"},
        )
        text = "\n".join(_lines(result))
        if not result.counts:
            message = visible(f"silenced: {result.silenced} (would be {result.verdict})")
            ElementTree.SubElement(case, "skipped", {"message": message})
        elif result.verdict == "FAIL":
            message = visible(result.judgement.findings[0].message) if result.judgement.findings else "FAIL"
            ElementTree.SubElement(case, "failure", {"type": "FAIL", "message": message}).text = text
        elif result.verdict == "NA":
            ElementTree.SubElement(case, "skipped", {"message": visible(result.judgement.note or "NA")})
        elif text:
            ElementTree.SubElement(case, "system-out").text = f"{result.verdict}\n{text}"
    if verdict.faults:
        case = ElementTree.SubElement(suite, "testcase", {"classname": "quotalab", "name": "agreement"})
        message = visible(verdict.faults[0].message)
        text = "\n".join(visible(fault.message) for fault in verdict.faults)
        ElementTree.SubElement(case, "error", {"type": "FaultError", "message": message}).text = text
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _lines(result: RuleResult) -> list[str]:
    judgement = result.judgement
    lines = [visible(judgement.note)] if judgement.note else []
    for finding in judgement.findings[:_MOST_LINES]:
        when = "" if finding.at_ns is None else f"{iso(finding.at_ns)} "
        lines.append(when + visible(finding.message))
    untold = judgement.found - min(len(judgement.findings), _MOST_LINES)
    if untold:
        lines.append(f"... and {untold:,} more")
    return lines
