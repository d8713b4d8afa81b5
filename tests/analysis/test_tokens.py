"""QL301: a token that was rejected is not presented again."""

from __future__ import annotations

import pytest

from quotalab.frames.testing import START_NS, LedgerBuilder

SECOND = 10**9


def rejected():
    """A token works at 1 s and is rejected at 10 s; that answer is there at 10.2 s."""
    ledger = LedgerBuilder()
    ledger.call(1)
    ledger.call(10, done_ns=10_200_000_000, status=401, asked=False)
    return ledger


def test_one_rejection_is_fine(ask):
    """A token expires, is rejected, and a new one is used."""
    ledger = rejected()
    ledger.call(11, token="t2")
    judgement = ask("QL301", ledger)
    assert (judgement.verdict, judgement.metric) == ("PASS", 0.0)


def test_presenting_it_again_fails(ask):
    """Two more calls with the rejected token are one finding, with the rejection and both calls."""
    ledger = rejected()
    for at in (12, 13):
        ledger.call(at, status=401, asked=False)
    judgement = ask("QL301", ledger)
    assert (judgement.verdict, judgement.metric, judgement.threshold) == ("FAIL", 2.0, 0.0)
    (finding,) = judgement.findings
    assert (finding.calls, finding.at_ns) == ((1, 2, 3), START_NS + 12 * SECOND)
    assert finding.message == (
        "The token of ann was rejected at Mon 5 Jan 00:00:10 (call 1) and presented 2 more times, first 1.8 s "
        "after that answer (call 2)."
    )


@pytest.mark.parametrize(("sent_ns", "verdict"), [(10_199_999_999, "PASS"), (10_200_000_000, "FAIL")])
def test_a_call_that_was_on_its_way_is_fine(ask, sent_ns, verdict):
    """Only a call sent once the 401 was there presents the token again."""
    ledger = rejected()
    ledger.call(at_ns=11 * SECOND, sent_ns=sent_ns, status=401, asked=False)
    assert ask("QL301", ledger).verdict == verdict


def test_where_nothing_takes_time_the_rejected_call_itself_is_not_a_second_one(ask):
    """Sent, decided and answered at one instant: the 401 does not come after itself, the next call does."""
    ledger = LedgerBuilder()
    ledger.call(10, status=401, asked=False)
    assert ask("QL301", ledger).verdict == "PASS"
    ledger = LedgerBuilder()
    for _ in range(2):
        ledger.call(10, status=401, asked=False)
    assert ask("QL301", ledger).verdict == "FAIL"


def test_tokens_are_judged_each_by_itself(ask):
    """One person's rejected token says nothing of another's; a 401 without a token says nothing at all."""
    ledger = rejected()
    ledger.call(11, token=None, status=401, asked=False)
    ledger.call(12, token="t2", person="bob")
    ledger.call(13, token=None, status=401, asked=False)
    assert ask("QL301", ledger).verdict == "PASS"


def test_a_401_from_the_token_endpoint_is_another_matter(ask):
    """Only answers of the API reject an access token."""
    ledger = LedgerBuilder()
    ledger.call(1, kind="token", status=401)
    ledger.call(2)
    assert ask("QL301", ledger).verdict == "PASS"
