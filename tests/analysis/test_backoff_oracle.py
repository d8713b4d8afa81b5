"""The rules of backoff against plain loops that compare every call with every other, on random ledgers."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotalab.frames import load
from quotalab.frames.testing import LedgerBuilder, provider_document

SECOND = 10**9
RETRYABLE = (0, 408, 425, 429, 500, 502, 503, 504)
STEP = st.fixed_dictionaries(
    {
        "gap": st.integers(0, 40),
        "away": st.integers(0, 3),
        "back": st.integers(0, 3),
        "person": st.sampled_from(["ann", "bob"]),
        "operation": st.sampled_from([None, "op-1", "op-1", "op-2"]),
        "target": st.sampled_from(["x", "x", "y"]),
        "method": st.sampled_from(["GET", "POST"]),
        "idempotency_key": st.sampled_from([None, None, "k", "l"]),
        "token": st.sampled_from(["t1", "t1", "t2"]),
        "answer": st.sampled_from([200, 403, 404, 503, 503, 0, 429, 429]),
        "promise": st.sampled_from([None, None, 0, 1, 5, 30]),
    }
)
STEPS = st.lists(STEP, min_size=1, max_size=16)


def build(steps):
    """Calls in order of arrival, each on its way there and back for some seconds."""
    ledger = LedgerBuilder(provider_document())
    at_s = 10
    for step in steps:
        at_s += step["gap"]
        refused = step["answer"] == 429
        ledger.call(
            at_s,
            sent_ns=(at_s - step["away"]) * SECOND,
            done_ns=(at_s + step["back"]) * SECOND,
            refused_by="hourly" if refused else None,
            status=step["answer"],
            retry_after_s=step["promise"] if step["answer"] in (429, 503) else None,
            **{
                name: step[name]
                for name in ("person", "operation", "target", "method", "idempotency_key", "token")
            },
        )
    return ledger


def linked(calls, again, within_ns):
    """For each call the attempt before it, and how it is linked; `again`: what may have been followed."""
    found = {}
    for i, call in enumerate(calls):
        kinds = (
            lambda a, c: a["operation"] is not None and a["operation"] == c["operation"],
            lambda a, c: a["idempotency_key"] is not None and a["idempotency_key"] == c["idempotency_key"],
            lambda a, c: a["operation"] is None,
            lambda a, c: c["operation"] is None,
        )
        for kind, same in enumerate(kinds):
            before = [
                (a["done"], j)
                for j, a in enumerate(calls)
                if (a["person"], a["target"]) == (call["person"], call["target"])
                and same(a, call)
                and (a["done"], j) < (call["sent"], i)
            ]
            if not before or not again(calls[max(before)[1]]):
                continue
            attempt = calls[max(before)[1]]
            if kind >= 2 and call["sent"] - attempt["done"] > within_ns(attempt):
                continue
            found[i] = (max(before)[1], kind < 2)
            break
    return found


def verdicts(calls):
    """QL2 rules in plain Python: id -> (verdict, metric); only those that loops can say."""
    promise = [call["retry_after_ns"] or 0 for call in calls]
    retry = linked(
        calls,
        lambda a: a["limit"] is not None or a["status"] in RETRYABLE,
        lambda a: max(600 * SECOND, 2 * (a["retry_after_ns"] or 0)),
    )

    def roots(i):
        return [*roots(retry[i][0]), i] if i in retry else [i]

    told = {}
    chains = defaultdict(list)
    for i in retry:
        chains[roots(i)[0]].append(i)
    if retry:
        longest = max(len(roots(i)) - 1 for i in retry)
        over = [mine for mine in chains.values() if max(len(roots(i)) - 1 for i in mine) > 8]
        sure = any(retry[i][1] for mine in over for i in mine)
        told["QL204"] = ("FAIL" if sure else "REVIEW" if over else "PASS", float(longest))

        def minute(i):
            return calls[i]["at"] // (60 * SECOND)

        firsts = Counter(minute(i) for i in range(len(calls)) if i not in retry)
        more = Counter(minute(roots(i)[0]) for i in retry)
        many = [m for m in more if more[m] >= 10]
        factor = {m: 1 + more[m] / firsts[m] for m in more}
        over = {m: factor[m] for m in many if factor[m] > 4}
        known = {m for m in over if any(retry[i][1] for i in retry if minute(roots(i)[0]) == m)}
        verdict = "PASS" if not over else "REVIEW" if not known else "WARN"
        if any(over[m] > 8 for m in known):
            verdict = "FAIL"
        told["QL207"] = (verdict, max(factor[m] for m in (many or factor)))
    else:
        told["QL204"] = told["QL207"] = ("NA", None)

    zero = [call["retry_after_ns"] == 0 for call in calls]
    plain = [i for i, (j, _) in retry.items() if not promise[j] and not (zero[j] and len(roots(i)) == 2)]
    gap = {i: calls[i]["sent"] - calls[retry[i][0]]["done"] for i in plain}
    fast = [i for i in plain if gap[i] < SECOND]
    row = any(retry[i][0] in fast and retry[i][1] for i in fast)
    told["QL202"] = (
        ("FAIL" if row else "WARN" if fast else "PASS", min(gap.values()) / 1e9) if plain else ("NA", None)
    )

    again = linked(calls, lambda a: a["limit"] is None and a["status"] in (403, 404), lambda a: 60 * SECOND)
    again = {
        i: sure
        for i, (j, sure) in again.items()
        if calls[i]["status"] not in (200,)
        and (calls[j]["status"] != 403 or calls[j]["token"] == calls[i]["token"])
    }
    wrong = any(call["status"] in (403, 404) for call in calls)
    verdict = "FAIL" if any(again.values()) else "REVIEW" if again else "PASS"
    told["QL205"] = (verdict, float(len(again))) if wrong else ("NA", None)

    def unsure(a):
        return a["method"] == "POST" and a["status"] in (0, 503)

    twice = linked(calls, unsure, lambda a: 600 * SECOND)
    unsafe = {
        i: sure
        for i, (j, sure) in twice.items()
        if calls[i]["idempotency_key"] is None or calls[i]["idempotency_key"] != calls[j]["idempotency_key"]
    }
    verdict = "FAIL" if any(unsafe.values()) else "REVIEW" if unsafe else "PASS"
    told["QL206"] = (verdict, float(len(unsafe))) if any(map(unsure, calls)) else ("NA", None)
    told["QL201"] = early(calls, promise)
    return told


def early(calls, promise):
    """Calls before a promised end: of a limit's refusal, else of a failure."""
    if not any(promise):
        return ("NA", None)
    found = {}
    for limited in (True, False):
        for i, call in enumerate(calls):

            def near(r, c):
                return (r["person"], r["route"]) == (c["person"], c["route"])

            kinds = [
                (True, True, lambda r, c: r["operation"] is not None and r["operation"] == c["operation"]),
                (True, False, lambda r, c: r["operation"] is None and near(r, c)),
                (True, False, lambda r, c: c["operation"] is None and near(r, c)),
            ]
            if limited:
                kinds.append((False, False, lambda r, c: True))
            for same, sure, link in kinds:
                if any(
                    promise[j]
                    and (r["limit"] is not None) == limited
                    and link(r, call)
                    and (r["done"], j) < (call["sent"], i)
                    and r["at"] + promise[j] > call["at"]
                    for j, r in enumerate(calls)
                ):
                    found.setdefault(i, (same, sure))
                    break
    links = found.values()
    if any(sure for _, sure in links):
        return ("FAIL", float(len(found)))
    if any(not same for same, _ in links):
        return ("WARN", float(len(found)))
    return ("REVIEW" if found else "PASS", float(len(found)))


def compare(rules, folder, steps):
    frames = load(build(steps).write(folder / "run"))
    calls = frames.calls.astype(object).where(frames.calls.notna(), None).to_dict("records")
    for id, (verdict, metric) in verdicts(calls).items():
        judgement = rules[id](frames)
        assert judgement.verdict == verdict, id
        if metric is not None:
            assert judgement.metric == pytest.approx(metric), id
        assert (judgement.verdict in ("PASS", "NA")) == (judgement.found == 0), id


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_rules_of_backoff_say_what_plain_loops_say(rules, tmp_path_factory, steps):
    """Six rules, verdict and figure."""
    compare(rules, tmp_path_factory.mktemp("runs"), steps)


@pytest.mark.full
@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_rules_of_backoff_say_what_plain_loops_say_at_length(rules, tmp_path_factory, steps):
    """The same, three hundred times."""
    compare(rules, tmp_path_factory.mktemp("runs"), steps)
