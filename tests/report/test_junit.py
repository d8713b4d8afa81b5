"""junit.xml: valid whatever a client sent, one testcase a rule."""

from __future__ import annotations

from xml.etree import ElementTree

from quotalab.frames import load
from quotalab.frames.testing import LedgerBuilder
from quotalab.report.junit import junit
from quotalab.rules import Finding, Judgement, Rule, judge


def cases(folder):
    suite = ElementTree.fromstring((folder / "junit.xml").read_bytes()).find("testsuite")
    return {case.get("name"): case for case in suite}


def test_each_verdict_has_its_element(tmp_path):
    """FAIL is a failure, NA is skipped; PASS, WARN and REVIEW pass, the last two with what was found."""
    finding = Finding("it broke", 1_767_571_200_000_000_000, (0,))
    rules = [
        Rule(
            f"QL{i}01",
            verdict.lower(),
            lambda frames, v=verdict: Judgement(v, findings=(finding,) * (v != "NA")),
        )
        for i, verdict in enumerate(("FAIL", "WARN", "REVIEW", "PASS", "NA"), 1)
    ]
    frames = load(LedgerBuilder().write(tmp_path / "run"))
    root = ElementTree.fromstring(junit(judge(frames, rules)))
    assert root.attrib == {"tests": "5", "failures": "1", "errors": "0", "skipped": "1"}
    assert [[child.tag for child in case] for case in root[0]] == [
        ["failure"],
        ["system-out"],
        ["system-out"],
        ["system-out"],
        ["skipped"],
    ]
    failure = root[0][0][0]
    assert failure.attrib == {"type": "FAIL", "message": "it broke"}
    assert failure.text == "2026-01-05T00:00:00Z it broke"
    assert root[0][1].attrib == {"classname": "quotalab.QL2", "name": "QL201 warn"}
    assert root[0][1][0].text == "WARN\n2026-01-05T00:00:00Z it broke"


def test_a_fault_is_an_error_of_its_own_testcase(tmp_path):
    """quotalab's own contradiction does not hide among the rules."""

    def broken(frames):
        raise ValueError("\x00 no")

    frames = load(LedgerBuilder().write(tmp_path / "run"))
    root = ElementTree.fromstring(junit(judge(frames, [Rule("QL101", "broken", broken)])))
    assert root.attrib["errors"] == "1"
    assert root[0][-1].get("name") == "agreement"
    assert "\\x00 no" in root[0][-1][0].get("message")


def test_hostile_texts_leave_it_valid(hostile):
    """Control characters, `]]>` and markup come back as text from a strict parser."""
    found = cases(hostile[0])
    text = found["QL502 long-waits"].find("system-out").text
    assert "]]>" in text
    assert "<script>alert(1)</script>" in text
    assert "\\x1b[31mred\\x07\\x00" in text
    assert found["QL101 quota-overrun"].find("failure") is not None
