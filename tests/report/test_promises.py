"""Promised and kept waits after refusals."""

from __future__ import annotations

import random

from quotalab.frames import load
from quotalab.frames.testing import LedgerBuilder, provider_document
from quotalab.report.promises import kept_promises, promises_in_words

LIMITS = {"one": {"kind": "rolling_window", "limit": 1, "period": "1h", "key": ["person"]}}
SECOND = 10**9


def kept(ledger, path):
    return kept_promises(load(ledger.write(path / "run")))


def test_early_late_and_never(tmp_path):
    """Early by the rest of the wait, late by what is beyond it, and -1 where nobody called again."""
    ledger = LedgerBuilder(provider_document(LIMITS))
    ledger.call(0, operation="a")
    for at_s, person in ((10, "ann"), (11, "bob"), (12, "cy")):
        ledger.call(at_s, refused_by="one", retry_after_s=60, person=person, operation=person)
    ledger.call(15, person="ann", operation="ann", refused_by="one", retry_after_s=55)
    ledger.call(74.5, person="bob", operation="other")
    table = kept(ledger, tmp_path)
    assert table["row"].tolist() == [1, 2, 3, 4]
    assert table["next"].tolist() == [4, 5, -1, -1]
    assert table["late_ns"].tolist() == [-55 * SECOND, 35 * SECOND // 10, 0, 0]
    assert table["same"].tolist() == [True, False, False, False]
    words = dict(promises_in_words(table))
    assert words["next call too early"] == "1 (25 %)"
    assert words["not called again"] == "2"
    assert words["too early by"] == "median 55 s, at most 55 s"
    assert words["later than promised by"] == "median 3.5 s, at most 3.5 s"


def test_what_was_on_its_way_already_is_not_the_next_call(tmp_path):
    """A call that left before the refusal was known breaks no promise."""
    ledger = LedgerBuilder(provider_document(LIMITS))
    ledger.call(10, refused_by="one", retry_after_s=60, done_ns=11 * SECOND)
    ledger.call(at_ns=12 * SECOND, sent_ns=10 * SECOND)
    ledger.call(80)
    assert kept(ledger, tmp_path)["next"].tolist() == [2]


def test_it_finds_what_looking_at_every_pair_finds(tmp_path):
    """Random calls of three keys, many at one instant, against the plainest search."""
    draw = random.Random(7)
    ledger, rows = LedgerBuilder(provider_document(LIMITS)), []
    for at_s in sorted(draw.randrange(40) for _ in range(150)):
        sent, done = at_s - draw.randrange(3), at_s + draw.randrange(4)
        refused, person = draw.random() < 0.5, draw.choice("abc")
        times = {"sent_ns": sent * SECOND, "done_ns": done * SECOND, "person": person}
        ledger.call(at_s, **times, **({"refused_by": "one", "retry_after_s": 5} if refused else {}))
        rows.append((sent, done, person, refused))
    expected = []
    for i, (_, done, person, refused) in enumerate(rows):
        later = [
            (sent, j) for j, (sent, _, who, _) in enumerate(rows) if who == person and (sent, j) > (done, i)
        ]
        if refused:
            expected.append(min(later)[1] if later else -1)
    assert kept(ledger, tmp_path)["next"].tolist() == expected
