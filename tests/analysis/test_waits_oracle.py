"""The rules of waiting against plain loops, written from the rules' own words, on random ledgers of retries."""

from __future__ import annotations

import math
from collections import defaultdict
from random import Random
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.analysis.test_backoff_oracle import RETRYABLE, linked

from quotalab.frames import load
from quotalab.frames.testing import LedgerBuilder, provider_document

MS, SECOND, MINUTE = 10**6, 10**9, 60 * 10**9
SEEDS = st.integers(0, 2**32)
FORMS = ("http_date", "iso", "decimal")


def retrying(draw):
    """Callers that fail and try again: their waits all alike, spread, or growing; told how long, or not."""
    untold = draw.random() < 0.4
    limit = {"kind": "rolling_window", "limit": 2, "period": "20s", "key": ["app"]}
    document = provider_document({"hourly": limit}, refusal={"retry_after": "none"} if untold else None)
    document["faults"] = [{"name": form, "kind": "retry_after", "as": form} for form in FORMS]
    style = draw.choice(["alike", "alike", "spread", "growing", "nearly"])
    known, refused = draw.choice([0, 1, 1, 0.5]), draw.choice([0, 0.5, 1])
    promises = [None] if untold else draw.choice([[None], [None, 2], [2, 2, 10], [0, 2, 30]])
    short = draw.choice([0, 0, 0.3, 0.6, 1])
    forms = draw.choice([[None], [None, "http_date"], ["iso"], [None, *FORMS]])
    reads = draw.choice([forms, forms[:1]])
    told_wait = draw.choice([1, 1, 1000, 3600])
    calls, operations = [], []
    for caller in range(draw.choice([3, 8, 20, 30])):
        sent = draw.choice([10_000, draw.randint(0, 60_000)])
        form = draw.choice(forms)
        operation = f"op-{caller}" if draw.random() < known else None
        person = draw.choice([f"p{caller}", f"p{caller}", "ann"])
        method = draw.choice(["GET", "GET", "POST"])
        key = draw.choice([None, None, f"k{caller}"])
        begun = sent
        for number in range(draw.randint(1, 7)):
            at = sent + draw.choice([0, 0, 20])
            status = draw.choice([503, 503, 503, 503, 503, 0, 200, 404])
            limited = draw.random() < refused
            promise = draw.choice(promises)
            promise = promise if limited or status == 503 else None
            done = at + draw.choice([0, 30])
            calls.append(
                {
                    "at_ns": at * MS,
                    "sent_ns": sent * MS,
                    "done_ns": done * MS,
                    "status": (0 if draw.random() < 0.1 else 429) if limited else status,
                    "refused_by": "hourly" if limited else None,
                    "retry_after_s": promise,
                    "fault": form if promise else None,
                    "operation": operation,
                    "person": person,
                    "target": f"t{caller}",
                    "method": method,
                    "idempotency_key": key,
                }
            )
            wait = {"alike": 1000, "nearly": 1000 + draw.randint(0, 12), "growing": 400 * 2**number}.get(
                style, draw.choice([5, draw.randint(0, 5000)])
            )
            if promise and form in reads:
                beyond = draw.choice([0, 0, draw.randint(0, 4000)])
                wait = int(promise * 1000 * (told_wait if told_wait == 1000 else 1)) + beyond
                wait += 1800_000 * draw.randint(1, 3) if told_wait == 3600 else 0
            if untold and limited:
                wait = draw.choice([wait, 20_000 - draw.choice([0, 300, 900, 6_000, 9_000, 15_000])])
            if draw.random() < short:
                wait = int(wait * draw.choice([0.3, 0.5, 0.9, 0.97]))
            sent = done + wait
        if operation:
            deadline = begun + draw.choice([5_000, 20_000, 12_000, 90_000])
            outcome = draw.choice(["failed", "failed", "done", "declined"])
            operations.append((operation, person, begun / 1000, done / 1000, deadline / 1000, outcome))
    ledger = LedgerBuilder(document)
    for call in sorted(calls, key=lambda one: one["at_ns"]):
        ledger.call(**call)
    for operation, person, planned, ended, deadline, outcome in operations:
        ledger.operation(
            planned, ended, deadline_s=deadline, outcome=outcome, operation=operation, person=person
        )
    return ledger


def records(frame):
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


class Told:
    """What loops find out of the calls before any rule is asked."""

    def __init__(self, frames):
        self.calls, self.operations = records(frames.calls), records(frames.operations)
        self.promise = [call["retry_after_ns"] or 0 for call in self.calls]
        self.retry = linked(
            self.calls,
            lambda a: a["limit"] is not None or a["status"] in RETRYABLE,
            lambda a: max(600 * SECOND, 2 * (a["retry_after_ns"] or 0)),
        )
        self.gap = {i: self.calls[i]["sent"] - self.calls[j]["done"] for i, (j, _) in self.retry.items()}

    def chain(self, i):
        """The attempts up to a call, the first of all first."""
        return [*self.chain(self.retry[i][0]), i] if i in self.retry else [i]

    def too_soon(self):
        """Call -> (the refusal or failure of its own whose end it came before, whether that is sure)."""
        calls, found, others = self.calls, {}, set()

        def near(r, c):
            return (r["person"], r["route"]) == (c["person"], c["route"])

        for limited in (True, False):
            for i, call in enumerate(calls):
                links = [
                    (True, lambda r, c: r["operation"] is not None and r["operation"] == c["operation"]),
                    (False, lambda r, c: r["operation"] is None and near(r, c)),
                    (False, lambda r, c: c["operation"] is None and near(r, c)),
                ]
                open_ = [
                    (r["at"] + self.promise[j], r["done"], j)
                    for j, r in enumerate(calls)
                    if self.promise[j]
                    and (r["limit"] is not None) == limited
                    and (r["done"], j) < (call["sent"], i)
                    and r["at"] + self.promise[j] > call["at"]
                ]
                if i in found or i in others:
                    continue
                for sure, link in links:
                    mine = [one for one in open_ if link(calls[one[2]], call)]
                    if mine:
                        found[i] = (max(mine)[2], sure)
                        break
                else:
                    if open_ and limited:
                        others.add(i)
        return found

    def room_ns(self, i):
        """How long after a refusal that promised nothing a window of 20 s had room for a third call again."""
        call = self.calls[i]
        if call["limit"] is None or self.promise[i]:
            return 0
        inside = [
            a["at"]
            for a in self.calls[:i]
            if a["limit"] is None and a["key:hourly"] is not None and a["at"] > call["at"] - 20 * SECOND
        ]
        return sorted(inside)[len(inside) - 2] + 20 * SECOND - call["at"] if len(inside) >= 2 else 0


def same_waits(told):
    """QL203."""
    calls, kinds = told.calls, defaultdict(list)
    ends = defaultdict(set)
    for i, (j, _) in told.retry.items():
        end = calls[j]["at"] + told.promise[j]
        if not told.promise[j]:
            if told.gap[i] >= 10 * MS:
                kinds[min(len(told.chain(i)) - 1, 6)].append((i, told.gap[i], told.gap[i]))
        elif calls[i]["sent"] >= end:
            ends[end // SECOND].add(told.chain(i)[0])
    for i, (j, _) in told.retry.items():
        end = calls[j]["at"] + told.promise[j]
        if told.promise[j] and calls[i]["sent"] >= end and len(ends[end // SECOND]) > 1:
            kinds["told"].append((i, calls[i]["sent"] - end, told.gap[i] - told.promise[j]))
    shares, sure = [], []
    for waits in kinds.values():
        if len(waits) < 8:
            continue
        sets = []
        for way in (1, 2):
            for least in sorted({one[way] for one in waits}):
                most = least + max(MS, abs(least) // 100)
                sets.append([one[0] for one in waits if least <= one[way] <= most])
        largest = max(sets, key=len)
        shares.append(len(largest) / len(waits))
        if shares[-1] >= 0.5:
            sure.append(any(told.retry[i][1] for i in largest))
    if not shares:
        return "NA", None
    return "WARN" if any(sure) else "REVIEW" if sure else "PASS", max(shares)


def gave_up(told):
    """QL208."""
    met, lost = 0, 0
    for operation in told.operations:
        mine = [i for i, call in enumerate(told.calls) if call["operation"] == operation["operation"]]

        def clean(i):
            return told.calls[i]["limit"] is not None and told.calls[i]["status"] != 0

        trouble = [i for i in mine if clean(i) or told.calls[i]["status"] in (0, 500, 502, 503, 504)]
        met += bool(trouble)
        if (
            not trouble
            or operation["outcome"] != "failed"
            or mine[-1] != trouble[-1]
            or mine[-1] in told.retry
        ):
            continue
        last = told.calls[mine[-1]]
        wait = told.promise[mine[-1]] or SECOND
        may = last["method"] == "GET" or last["idempotency_key"] is not None or clean(mine[-1])
        if may and wait <= 60 * SECOND and last["done"] + wait + 10 * SECOND <= operation["deadline"]:
            lost += 1
    return ("WARN" if lost else "PASS", float(lost)) if met else ("NA", None)


def cut_short(told):
    """QL210."""
    calls = told.calls
    if not any(told.promise[j] or told.room_ns(j) for j, _ in told.retry.values()):
        return "NA", None
    cut = [
        sure
        for i, (j, sure) in told.too_soon().items()
        if 2 * (calls[i]["at"] - calls[j]["at"]) >= told.promise[j]
    ]
    woken = 0
    for i, (j, _) in told.retry.items():
        room = told.room_ns(j)
        short = calls[j]["at"] + room - calls[i]["at"]
        again = calls[i]["limit"] is not None
        woken += bool(
            room and again and 0 < short <= SECOND and 2 * (calls[i]["at"] - calls[j]["at"]) >= room
        )
    verdict = "FAIL" if any(cut) else "WARN" if woken else "REVIEW" if cut else "PASS"
    return verdict, float(len(cut) + woken)


def misread(told):
    """QL211."""
    calls, early = told.calls, told.too_soon()
    forms = defaultdict(list)
    for i, (j, sure) in told.retry.items():
        if told.promise[j]:
            waited = calls[i]["at"] - calls[j]["at"]
            forms[calls[j]["fault"] or "seconds"].append((i in early, sure, waited, told.promise[j]))
    shares = {
        form: sum(not one[0] for one in mine) / len(mine) for form, mine in forms.items() if len(mine) >= 3
    }
    if not shares:
        return "NA", None
    reads = [form for form in shares if shares[form] >= 0.5]
    verdicts = set()
    for form in shares:
        mine = forms[form]
        if form not in reads:
            if reads or form != "seconds":
                sure = any(one[1] for one in mine if one[0])
                verdicts.add("FAIL" if reads and sure else "REVIEW")
            continue
        kept = [one for one in mine if not one[0]]
        ways = [[one for one in kept if abs(one[2] / one[3] / 1000 - 1) < 0.01]]
        if form in ("http_date", "iso") and len(ways[0]) < 3:
            half = 1800 * SECOND
            beyond = [(one, one[2] - one[3]) for one in kept]
            ways = [
                [
                    one
                    for one, much in beyond
                    if half // 2 < much < 30 * half and min(much % half, half - much % half) < 5 * SECOND
                ]
            ]
        for long in ways:
            if len(long) >= 3 and 2 * len(long) >= len(kept):
                verdicts.add("WARN" if any(one[1] for one in long) else "REVIEW")
    for verdict in ("FAIL", "WARN", "REVIEW"):
        if verdict in verdicts:
            return verdict, min(shares.values())
    ignored = not reads and "seconds" in shares
    return "NA" if ignored else "PASS", min(shares.values())


def growth(told):
    """QL212."""
    plain = [
        (len(told.chain(i)) - 1, told.gap[i], sure)
        for i, (j, sure) in told.retry.items()
        if not told.promise[j]
    ]
    first, later = [one for one in plain if one[0] == 1], [one for one in plain if one[0] >= 3]
    if min(len(first), len(later)) < 8 or median(one[1] for one in first) < 10 * MS:
        return "NA", None
    times = int(median(one[1] for one in later)) / int(median(one[1] for one in first))
    sure = any(one[2] for one in [*first, *later])
    return "PASS" if times >= 1.2 else "WARN" if sure else "REVIEW", times


LOOPS = {"QL203": same_waits, "QL208": gave_up, "QL210": cut_short, "QL211": misread, "QL212": growth}


def failing(draw):
    """An API that is down for a while, once or twice, and an app whose load after it is more, less or the same."""
    known = draw.random() < 0.7
    ledger, rows, planned = LedgerBuilder(provider_document()), [], []
    down = draw.randint(5, 70) * 60
    up = down + draw.randint(1, 40) * 30
    again = up + draw.randint(2, 40) * 60 if draw.random() < 0.4 else None
    end = (again or up) + draw.randint(1, 40) * 60
    rate, after = draw.uniform(1, 8), draw.choice([0, 0.3, 1, 1.2, 2, 4, 8])
    lasts = draw.choice([60, 300, 660, 1200, 9999])
    at = 0.0
    while at < end:
        at += draw.expovariate(rate / 60)
        bad = down <= at <= up or (again is not None and at >= again and at < again + 200)
        bad = bad and draw.random() < draw.choice([1, 0.9, 0.6])
        planned.append(at)
        much = after if up < at < up + lasts else 1
        for _ in range(int(much) + (draw.random() < much % 1)):
            rows.append((at + draw.random(), 503 if bad else 200))
    for i, (at, status) in enumerate(sorted(rows)):
        ledger.call(at_ns=int(at * 1000) * MS, status=status, target=f"t{i}")
    for at in planned if known else ():
        ledger.operation(at, at + 1)
    ledger.run["span_ns"] = int(end) * SECOND
    return ledger


def recovery(frames):
    """QL209."""
    calls = [call for call in records(frames.calls) if call["kind"] == "api"]
    calls.sort(key=lambda call: call["at"])
    at = [call["at"] for call in calls]
    failed = [i for i, call in enumerate(calls) if call["status"] in (0, 503) and call["limit"] is None]
    stretches = []
    for i in failed:
        if stretches and at[i] - at[stretches[-1][-1]] <= 300 * SECOND:
            stretches[-1].append(i)
        else:
            stretches.append([i])
    outages = [
        (at[one[0]], at[one[-1]])
        for one in stretches
        if len(one) >= 10 and 2 * len(one) >= one[-1] - one[0] + 1
    ]
    if not outages:
        return "NA", None
    start, end = frames.span_ns
    planned = [operation["planned"] for operation in records(frames.operations)]

    def between(times, first, last):
        return sum(first <= one < last for one in times)

    verdicts, slowest, found = [], [], False
    for n, (down, up) in enumerate(outages):
        first = max(down - max(3600 * SECOND, up - down), start)
        if n:
            first = max(first, outages[n - 1][1] + 600 * SECOND)
        last = outages[n + 1][0] if n + 1 < len(outages) else end
        before = between(at, first, down)
        base = between(planned, first, down) if planned else down - first
        if before < 20 or base <= 0:
            continue
        made, wanted = [], []
        for minute in range((last - up) // MINUTE):
            edges = up + 1 + minute * MINUTE, up + 1 + (minute + 1) * MINUTE
            made.append(between(at, *edges))
            wanted.append(before / base * (between(planned, *edges) if planned else MINUTE))
        high = [m for m in range(len(made)) if made[m] > 1.5 * wanted[m] + 3 * math.sqrt(max(wanted[m], 1))]
        back, ended = 0, True
        if high and high[0] < 5:
            back = high[0] + 1
            for m in high:
                back = m + 1 if m + 1 - back <= 5 else back
            ended = back < len(made)
        slowest.append(back * 60.0)
        if back > 10:
            verdicts.append("WARN" if ended else "FAIL")
        elif sum(wanted[10:]) >= 20 and sum(made[10:]) < 0.5 * sum(wanted[10:]):
            verdicts.append("FAIL")
        else:
            verdicts.append("PASS")
        found |= verdicts[-1] != "PASS"
    if not verdicts:
        return "NA", None
    worst = next(verdict for verdict in ("FAIL", "WARN", "PASS") if verdict in verdicts)
    return "REVIEW" if found and not planned else worst, max(slowest)


def agree(rules, folder, draw):
    frames = load(retrying(draw).write(folder / "retrying"))
    told = Told(frames)
    judged = [(id, rules[id](frames), loops(told)) for id, loops in LOOPS.items()]
    frames = load(failing(draw).write(folder / "failing"))
    judged.append(("QL209", rules["QL209"](frames), recovery(frames)))
    for id, judgement, (verdict, metric) in judged:
        assert judgement.verdict == verdict, id
        if metric is not None:
            assert judgement.metric == pytest.approx(metric), id
        assert (judgement.verdict in ("PASS", "NA")) == (judgement.found == 0), id


@settings(max_examples=12, deadline=None)
@given(SEEDS)
def test_rules_of_waiting_say_what_plain_loops_say(rules, tmp_path_factory, seed):
    """Six rules, verdict and figure."""
    agree(rules, tmp_path_factory.mktemp("runs"), Random(seed))


@pytest.mark.full
@settings(max_examples=80, deadline=None)
@given(SEEDS)
def test_rules_of_waiting_say_what_plain_loops_say_at_length(rules, tmp_path_factory, seed):
    """The same, eighty times."""
    agree(rules, tmp_path_factory.mktemp("runs"), Random(seed))
