"""QL502 to QL507: errors shown, what was lost, who was starved, and how old answers were."""

from __future__ import annotations

import random

import pytest

from quotalab.frames import load
from quotalab.frames.testing import START_NS, LedgerBuilder, provider_document

DAY = 86_400


def small(**approval):
    return LedgerBuilder(provider_document(**approval))


# ---- QL502: whoever still waits


@pytest.mark.parametrize(("waited_s", "verdict"), [(600, "NA"), (601, "WARN")])
def test_queueing_everything_is_a_long_wait(ask, waited_s, verdict):
    """Nobody was answered: who had waited longer than is tolerated when the run ended counts with that."""
    ledger = small(wait_p95="10m")
    for _ in range(20):
        ledger.operation(DAY - waited_s, DAY, outcome="abandoned", deadline_s=2 * DAY)
    judgement = ask("QL502", ledger)
    assert judgement.verdict == verdict
    if verdict == "WARN":
        assert judgement.metric == 601.0
        assert judgement.findings[0].message.endswith("20 operations still waited when the run ended.")


# ---- QL503


def refused(ledger, at_s, *, retry_after_s=2.0, deadline_s=30.0, outcome="failed", **columns):
    """An operation whose one call is refused, or answered with `status`, and that ends at once."""
    name = f"op-{at_s}"
    how = {"status": columns.pop("status")} if "status" in columns else {"refused_by": "hourly"}
    seq = ledger.call(at_s, operation=name, retry_after_s=retry_after_s, **how)
    ledger.operation(at_s, at_s, operation=name, outcome=outcome, deadline_s=at_s + deadline_s, **columns)
    return seq


def well(ledger, number, at_s=50_000):
    for i in range(number):
        ledger.call(at_s + i, operation=f"well-{i}")
        ledger.operation(at_s + i, operation=f"well-{i}", person="bob", name="other")


@pytest.mark.parametrize(("others", "verdict"), [(99, "WARN"), (98, "FAIL")])
def test_an_error_that_waiting_would_have_kept_away_is_shown(ask, others, verdict):
    """One in a hundred is WARN, one in 99 is more than a hundredth: FAIL."""
    ledger = small()
    seq = refused(ledger, 10)
    well(ledger, others)
    judgement = ask("QL503", ledger)
    assert (judgement.verdict, judgement.metric) == (verdict, 1 / (others + 1))
    assert judgement.findings[0].message == (
        "'look' of ann failed at Mon 5 Jan 00:00:10 on a refusal by 'hourly' (call 0); it could have been asked "
        "again, with 28 s left of its time."
    )
    assert judgement.findings[0].calls == (seq,)


@pytest.mark.parametrize(
    ("what", "verdict"),
    [
        ({"deadline_s": 2.0}, "PASS"),  # the promise ends with the deadline
        ({"deadline_s": 2.001}, "FAIL"),
        ({"outcome": "declined"}, "PASS"),
        ({"status": 403, "retry_after_s": None}, "PASS"),
        (
            {"status": 503, "retry_after_s": None, "deadline_s": 1.0},
            "PASS",
        ),  # a second is waited for in any case
        ({"status": 503, "retry_after_s": None, "deadline_s": 1.1}, "FAIL"),
        ({"status": 0, "retry_after_s": None}, "FAIL"),
        ({"status": 200, "retry_after_s": None, "error": "KeyError"}, "FAIL"),  # the app fell over by itself
    ],
)
def test_only_what_could_have_been_kept_from_the_person_counts(ask, what, verdict):
    """Time must be left after the promise, or after the least wait; a 403 will not pass; declining is fine."""
    ledger = small()
    refused(ledger, 10, **what)
    judgement = ask("QL503", ledger)
    assert judgement.verdict == verdict
    if what.get("status") == 200:
        assert judgement.findings[0].message == (
            "'look' of ann failed at Mon 5 Jan 00:00:10 though each of its calls was answered well (KeyError)."
        )


def test_failed_operations_without_calls_cannot_be_judged(ask):
    """Not knowing which calls were an operation's is no PASS."""
    ledger = small()
    ledger.call(1)
    ledger.operation(1, outcome="failed")
    for rule in ("QL503", "QL504"):
        judgement = ask(rule, ledger)
        assert (judgement.verdict, judgement.findings) == ("NA", ())
        assert "traceparent" in judgement.note


# ---- QL504


def test_giving_up_at_once_on_a_long_promise_is_a_lost_operation(ask):
    """Two of 100 are lost: WARN, by what and how many could have been in time."""
    ledger = small()
    refused(ledger, 10, retry_after_s=3600.0)
    refused(ledger, 20, retry_after_s=3.0)
    well(ledger, 98)
    judgement = ask("QL504", ledger)
    assert (judgement.verdict, judgement.metric, judgement.threshold) == ("WARN", 0.02, 0.01)
    assert [finding.message for finding in judgement.findings] == [
        "2 operations 'look' given up on after a refusal by 'hourly'; 1 of them could have been asked again "
        "before their deadline."
    ]
    assert judgement.findings[0].calls == (0, 2)


@pytest.mark.parametrize(
    ("again_s", "person", "outcome", "verdict"),
    [
        (39.9, "ann", "done", "PASS"),
        (40.0, "ann", "done", "WARN"),  # not before the lost one's deadline
        (10.0, "ann", "done", "WARN"),  # beside it, not after it
        (20.0, "bob", "done", "WARN"),
        (20.0, "ann", "stale", "WARN"),
    ],
)
def test_what_is_taken_up_again_is_not_lost(ask, again_s, person, outcome, verdict):
    """The same person's operation of that name, planned later, before the deadline, and done."""
    ledger = small()
    refused(ledger, 10)
    ledger.operation(again_s, person=person, outcome=outcome)
    assert ask("QL504", ledger).verdict == verdict


def test_one_in_a_hundred_may_be_lost(ask):
    """At the threshold it passes."""
    ledger = small()
    refused(ledger, 10)
    well(ledger, 99)
    assert ask("QL504", ledger).verdict == "PASS"


def test_taking_up_again_agrees_with_the_plain_way(rules, tmp_path):
    """Random operations of three people and two names, counted one by one."""
    draw = random.Random(5)
    for number in range(20):
        ledger, rows = small(), []
        for i in range(40):
            at, person, name = draw.randrange(50), draw.choice("abc"), draw.choice("xy")
            outcome, time = draw.choice(["failed", "done"]), draw.randrange(1, 20)
            if outcome == "failed":
                ledger.call(i, operation=f"o{i}", refused_by="hourly")
            ledger.operation(
                at, at, operation=f"o{i}", person=person, name=name, outcome=outcome, deadline_s=at + time
            )
            rows.append((at, person, name, outcome, at + time))
        lost = sum(
            row[3] == "failed"
            and not any(
                other[1:4] == (row[1], row[2], "done") and row[0] < other[0] < row[4] for other in rows
            )
            for row in rows
        )
        assert rules["QL504"](load(ledger.write(tmp_path / str(number)))).metric == lost / 40


# ---- QL505 and QL506


def mixed(*, background_calls, own_calls, declined, done):
    """An hour in which people look, and an export spends calls."""
    ledger = small()
    for i in range(background_calls):
        ledger.call(1 + i / 1000, operation="export")
    for i in range(own_calls):
        ledger.call(2 + i / 1000, operation="look-0", person="bob")
    for i in range(declined + done):
        outcome = "declined" if i < declined else "done"
        ledger.operation(0, 30, name="look", operation=f"look-{i}", outcome=outcome, deadline_s=900)
    ledger.operation(0, 60, name="export", operation="export", deadline_s=43_200)
    return ledger


@pytest.mark.parametrize(
    ("background", "own", "declined", "done", "verdict"),
    [
        (50, 50, 6, 94, "WARN"),
        (49, 51, 6, 94, "PASS"),  # what people spent themselves is not taken from them
        (50, 50, 5, 95, "PASS"),  # one in twenty is tolerated
    ],
)
def test_background_that_takes_the_calls_of_who_waits_is_found(ask, background, own, declined, done, verdict):
    """Half of the calls while people were declined were background's."""
    ledger = mixed(background_calls=background, own_calls=own, declined=declined, done=done)
    judgement = ask("QL505", ledger)
    assert judgement.verdict == verdict
    if verdict == "WARN":
        assert judgement.metric == 0.5
        assert judgement.findings[0].message == (
            "'look' of ann, planned for Mon 5 Jan 00:00:00, was declined while 50 of 100 admitted calls were "
            "background's."
        )
        assert len(judgement.findings) == declined


def test_without_background_there_is_nothing_to_compare(ask):
    """One kind of operation, or no calls that are known to be an operation's: NA."""
    ledger = small()
    ledger.operation(0, deadline_s=900)
    assert ask("QL505", ledger).verdict == ask("QL506", ledger).verdict == "NA"
    ledger.operation(0, deadline_s=901)
    assert "traceparent" in ask("QL505", ledger).note


@pytest.mark.parametrize(
    ("lost", "looks_declined", "verdict"), [(6, 3, "PASS"), (6, 2, "WARN"), (5, 0, "PASS"), (6, 0, "WARN")]
)
def test_background_that_is_hardly_ever_done_is_found(ask, lost, looks_declined, verdict):
    """More than half of the exports, and more than twice the share of what people wait for."""
    ledger = small()
    ledger.call(1, operation="export-9")
    for i in range(10):
        outcome = "declined" if i < lost else "done"
        ledger.operation(0, name="export", operation=f"export-{i}", outcome=outcome, deadline_s=43_200)
        ledger.operation(0, name="look", outcome="declined" if i < looks_declined else "done", deadline_s=30)
    ledger.operation(1, name="export", outcome="abandoned", deadline_s=2 * DAY)  # it still had time
    judgement = ask("QL506", ledger)
    assert (judgement.verdict, judgement.metric) == (verdict, lost / 10)
    if verdict == "WARN" and not looks_declined:
        assert judgement.findings[0].message == (
            "6 background operations 'export' not answered in time, the first planned for Mon 5 Jan 00:00:00; "
            "of what somebody waits for 0 % was not."
        )


# ---- QL507


@pytest.mark.parametrize(("stale", "verdict"), [(5, "PASS"), (6, "WARN")])
def test_more_old_copies_than_new_ones(ask, stale, verdict):
    """Half is tolerated; above it the finding says how many."""
    ledger = small()
    for i in range(10):
        ledger.operation(i, outcome="stale" if i < stale else "done", person=f"p{i}")
    judgement = ask("QL507", ledger)
    assert (judgement.verdict, judgement.metric) == (verdict, stale / 10)
    if verdict == "WARN":
        assert [finding.message for finding in judgement.findings] == [
            "6 of 10 answers were old copies: 60 %, where 50 % is fit."
        ]


@pytest.mark.parametrize(("age_s", "verdict"), [(DAY, "PASS"), (DAY + 1, "WARN")])
def test_a_copy_older_than_a_day(ask, age_s, verdict):
    """Counted from the last operation of the same name and person that was done, not from another's."""
    ledger = small()
    ledger.operation(0)
    ledger.operation(100, name="other")
    ledger.operation(100, person="bob")
    ledger.operation(age_s, outcome="stale")
    judgement = ask("QL507", ledger)
    assert judgement.verdict == verdict
    if verdict == "WARN":
        assert judgement.findings[0].message == (
            "'look' of ann was answered at Tue 6 Jan 00:00:01 from an old copy; the last time it was done anew "
            "was 24 h before."
        )
        assert judgement.findings[0].at_ns == START_NS + age_s * 10**9


def test_ages_agree_with_the_plain_way(rules, tmp_path):
    """Random operations: the number of copies older than the threshold, counted one by one."""
    draw = random.Random(7)
    for number in range(10):
        ledger, rows = small(), []
        for _ in range(60):
            at, person, outcome = draw.randrange(200_000), draw.choice("ab"), draw.choice(["stale", "done"])
            ledger.operation(at, outcome=outcome, person=person)
            rows.append((at, person, outcome))
        old = 0
        for at, person, outcome in rows:
            before = [t for t, p, o in rows if p == person and o == "done" and t <= at]
            old += outcome == "stale" and bool(before) and at - max(before) > DAY
        judgement = rules["QL507"](load(ledger.write(tmp_path / str(number))))
        share = sum(outcome == "stale" for *_, outcome in rows) / 60
        assert judgement.found == old + (share > 0.5)
