"""What a retry is, and what a call before a promised end is: against plain loops, and case by case."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotalab.frames import load
from quotalab.frames.testing import LedgerBuilder, provider_document
from quotalab.rules import early_calls, retries

SECOND = 10**9
LIMITS = {"each": {"kind": "rolling_window", "limit": 100, "period": "1h", "key": ["person"]}}
RETRYABLE = (0, 408, 425, 429, 500, 502, 503, 504)

CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "gap": st.integers(0, 3),
            "away": st.integers(0, 4),
            "back": st.integers(0, 4),
            "person": st.sampled_from(["ann", "bob", None]),
            "operation": st.sampled_from([None, "op-1", "op-2"]),
            "target": st.sampled_from(["x", "y"]),
            "idempotency_key": st.sampled_from([None, None, "k"]),
            "outcome": st.sampled_from(["fine", "refused", "silent", "broken"]),
            "promise": st.integers(0, 8),
        }
    ),
    max_size=14,
)


def build(steps, unit):
    """Calls that arrive in order, each sent `away` before and answered `back` after, in steps of `unit` ns."""
    ledger = LedgerBuilder(provider_document(LIMITS))
    at = 10
    for step in steps:
        at += step["gap"]
        refused = step["outcome"] in ("refused", "silent")
        ledger.call(
            at_ns=at * unit,
            sent_ns=(at - step["away"]) * unit,
            done_ns=(at + step["back"]) * unit,
            person=step["person"],
            operation=step["operation"],
            target=step["target"],
            idempotency_key=step["idempotency_key"],
            refused_by="each" if refused else None,
            retry_after_s=step["promise"] * unit // SECOND if step["outcome"] == "refused" else None,
            status=503 if step["outcome"] == "broken" else None,
        )
    return ledger


def rows_of(frames):
    return frames.calls.astype(object).where(frames.calls.notna(), None).to_dict("records")


def brute_retries(calls):
    """For each call, the latest answered attempt by each kind of link in turn; plain loops."""
    found = {}
    for i, call in enumerate(calls):
        kinds = (
            lambda a, c: a["operation"] is not None and a["operation"] == c["operation"],
            lambda a, c: a["idempotency_key"] is not None and a["idempotency_key"] == c["idempotency_key"],
            lambda a, c: a["operation"] is None,
            lambda a, c: c["operation"] is None,
        )
        for kind, linked in enumerate(kinds):
            before = [
                (a["done"], j)
                for j, a in enumerate(calls)
                if all(a[name] == call[name] for name in ("client_id", "person", "target"))
                and linked(a, call)
                and (a["done"], j) < (call["sent"], i)
            ]
            if not before:
                continue
            # Of equal answers the one of the higher row is the later.
            _, j = max(before)
            attempt = calls[j]
            if attempt["limit"] is None and attempt["status"] not in RETRYABLE:
                continue
            within = max(600 * SECOND, 2 * (attempt["retry_after_ns"] or 0))
            if kind >= 2 and call["sent"] - attempt["done"] > within:
                continue
            found[i] = (j, min(kind, 2))
            break
    return found


@settings(max_examples=30, deadline=None)
@given(CALLS, st.sampled_from([SECOND, 100 * SECOND]))
def test_retries_are_those_of_plain_loops(tmp_path_factory, steps, unit):
    """Attempts, links and counts equal those of comparing every call with every other."""
    compare_retries(tmp_path_factory.mktemp("runs"), steps, unit)


@pytest.mark.full
@settings(max_examples=300, deadline=None)
@given(CALLS, st.sampled_from([SECOND, 100 * SECOND]))
def test_retries_are_those_of_plain_loops_at_length(tmp_path_factory, steps, unit):
    """The same, three hundred times."""
    compare_retries(tmp_path_factory.mktemp("runs"), steps, unit)


def compare_retries(folder, steps, unit):
    frames = load(build(steps, unit).write(folder / "run"))
    expected = brute_retries(rows_of(frames))
    links = retries(frames)
    names = ["operation", "idempotency key", "person, target and time"]
    found = {
        row: (attempt, names.index(by))
        for row, attempt, by in zip(links["row"], links["attempt"], links["linked_by"], strict=True)
    }
    assert found == expected

    def depth(row):
        return 1 + depth(expected[row][0]) if row in expected else 0

    assert [depth(row) for row in links["row"]] == links["number"].tolist()


def brute_early(calls):
    found = {}
    for i, call in enumerate(calls):
        kinds = (
            lambda r, c: r["operation"] is not None and r["operation"] == c["operation"],
            lambda r, c: (
                r["operation"] is None
                and c["person"] is not None
                and (r["person"], r["route"]) == (c["person"], c["route"])
            ),
            lambda r, c: (
                c["operation"] is None
                and c["person"] is not None
                and (r["person"], r["route"]) == (c["person"], c["route"])
            ),
            lambda r, c: True,
        )
        for kind, linked in enumerate(kinds):
            ends = [
                (r["at"] + r["retry_after_ns"], r["done"], j)
                for j, r in enumerate(calls)
                if r["limit"] is not None
                and r["retry_after_ns"]
                and r["key:each"] == call["key:each"]
                and linked(r, call)
                and (r["done"], j) < (call["sent"], i)
                and r["at"] + r["retry_after_ns"] > call["at"]
            ]
            if ends:
                end, _, j = max(ends)
                found[i] = (j, kind < 3, end - call["at"])
                break
    return found


@settings(max_examples=30, deadline=None)
@given(CALLS)
def test_early_calls_are_those_of_plain_loops(tmp_path_factory, steps):
    """Who was early, after which refusal, and by how much equal those of comparing all with all."""
    compare_early(tmp_path_factory.mktemp("runs"), steps)


@pytest.mark.full
@settings(max_examples=300, deadline=None)
@given(CALLS)
def test_early_calls_are_those_of_plain_loops_at_length(tmp_path_factory, steps):
    """The same, three hundred times."""
    compare_early(tmp_path_factory.mktemp("runs"), steps)


def compare_early(folder, steps):
    frames = load(build(steps, SECOND).write(folder / "run"))
    links = early_calls(frames)
    found = {
        row: (refusal, same, early)
        for row, refusal, same, early in zip(
            links["row"], links["refusal"], links["same"], links["early_ns"], strict=True
        )
    }
    assert found == brute_early(rows_of(frames))


def test_a_success_in_between_ends_the_chain(tmp_path):
    """Refused, repeated well, asked again: the second call is a retry, the third is not."""
    ledger = LedgerBuilder()
    ledger.call(0, refused_by="hourly", operation="op")
    ledger.call(5, operation="op")
    ledger.call(10, operation="op")
    links = retries(load(ledger.write(tmp_path / "run")))
    assert links[["row", "attempt", "number"]].to_numpy().tolist() == [[1, 0, 1]]


def test_by_time_alone_ten_minutes_or_twice_the_promise_count(tmp_path):
    """600 s after an answer without a promise is a retry, one nanosecond more is not; 2 x 400 s is."""
    for name, promise, gap_ns, number in (
        ("at", None, 600 * SECOND, 1),
        ("past", None, 600 * SECOND + 1, 0),
        ("promised", 400, 800 * SECOND, 1),
        ("past-promised", 400, 800 * SECOND + 1, 0),
    ):
        ledger = LedgerBuilder()
        ledger.call(0, refused_by="hourly", retry_after_s=promise)
        ledger.call(at_ns=gap_ns)
        assert len(retries(load(ledger.write(tmp_path / name)))) == number


def test_another_known_operation_is_no_retry_unless_the_idempotency_key_is_the_same(tmp_path):
    """Two operations that ask for the same thing are two first attempts; one idempotency key is one."""
    for name, key, number in (("plain", None, 0), ("keyed", "k", 1)):
        ledger = LedgerBuilder()
        ledger.call(0, refused_by="hourly", operation="a", idempotency_key=key)
        ledger.call(1, operation="b", idempotency_key=key)
        assert len(retries(load(ledger.write(tmp_path / name)))) == number


def test_in_real_time_the_measured_lag_is_forgiven(tmp_path):
    """A call that is early by no more than the refusal's answer took is early in virtual time alone."""
    for clock, number in (("virtual", 1), ("real", 0)):
        ledger = LedgerBuilder(clock=clock)
        ledger.call(0, done_ns=SECOND // 10, refused_by="hourly", retry_after_s=60)
        ledger.call(at_ns=60 * SECOND - SECOND // 10)
        assert len(early_calls(load(ledger.write(tmp_path / clock)))) == number


def test_a_refusal_that_no_wait_helps_promises_nothing(tmp_path):
    """After a ban nothing is early: there is no promised end."""
    ban = {"kind": "penalty", "statuses": [403], "threshold": 1, "window": "9s", "action": "ban"}
    ledger = LedgerBuilder(provider_document({"ban": ban}))
    for at in range(4):
        ledger.decided_call(at, status=403, operation="op")
    frames = load(ledger.write(tmp_path / "run"))
    assert frames.calls["limit"].notna().tolist() == [False, False, True, True]
    assert frames.calls["retry_after_ns"].isna().all()
    assert len(early_calls(frames)) == 0
