"""QL601 to QL607: polling, reads that were not needed, costly operations, small pages."""

from __future__ import annotations

import json
import random

import pytest

from quotalab.frames import load
from quotalab.frames.testing import LedgerBuilder, provider_document

OURS = {"where": "a test", "confidence": "own"}


def listing(limits=None, **page):
    """A provider with a collection that is listed in pages, and read one by one."""
    document = provider_document(limits)
    document["collections"] = {"events": {"initial": 100}}
    document["routes"] = [
        {
            "name": "list_events",
            "path": "/events",
            "answer": "list",
            "collection": "events",
            "page": {"size": 30, "most": 200, "size_at": "query:per_page", **page},
        },
        {"name": "read_event", "path": "/events/{id}", "answer": "read", "collection": "events"},
        {"name": "list_notes", "path": "/notes", "answer": "fixed"},
    ]
    return document


# ---- QL601


def poll(ledger, times, *, every_s=300.0, start_s=0.0, **columns):
    for i in range(times):
        ledger.call(start_s + i * every_s, target="events", **columns)


@pytest.mark.parametrize(("times", "verdict"), [(9, "PASS"), (10, "WARN")])
def test_ten_equal_answers_in_a_row_are_polling(ask, times, verdict):
    """Every five minutes the same: from ten on it is a finding with its calls and what it cost."""
    ledger = LedgerBuilder()
    poll(ledger, times)
    judgement = ask("QL601", ledger)
    assert (judgement.verdict, judgement.metric) == (verdict, float(verdict == "WARN"))
    if verdict == "WARN":
        assert judgement.findings[0].message == (
            "'list_events' of ann was asked 10 times from Mon 5 Jan 00:00:00, every 5 min, and each answer had "
            "the same 2 bytes."
        )
        assert judgement.findings[0].calls == tuple(range(10))
        assert judgement.note == "9 calls of 10 told the app nothing that it did not know"


@pytest.mark.parametrize(
    ("columns", "verdict"),
    [
        ({"every_s": 900.0}, "WARN"),
        ({"every_s": 901.0}, "PASS"),
        ({"status": 304}, "WARN"),
        ({"status": 404}, "NA"),
        ({"method": "POST"}, "NA"),
        ({"known": False}, "NA"),
    ],
)
def test_only_good_reads_at_short_gaps_are_polling(ask, columns, verdict):
    """A quarter of an hour is the longest gap; what is no good read of somebody's is none."""
    ledger = LedgerBuilder()
    poll(ledger, 12, **columns)
    assert ask("QL601", ledger).verdict == verdict


def test_what_changes_on_the_way_is_no_polling(ask):
    """Another length, another person, another target, or a write of one's own ends a series."""
    for change in ({"bytes": 3}, {"method": "POST", "target": "write"}):
        ledger = LedgerBuilder()
        poll(ledger, 6)
        ledger.call(1700, **{"target": "events", **change})
        poll(ledger, 6, start_s=1800)
        assert ask("QL601", ledger).verdict == "PASS"
    ledger = LedgerBuilder()
    for i in range(30):
        ledger.call(i * 100, target=f"t{i % 5}", person="ab"[i % 2])
    assert ask("QL601", ledger).verdict == "PASS"


def test_people_come_at_no_regular_times(ask):
    """Gaps of which the spread is above a quarter of the mean are people's, not a timer's."""
    ledger = LedgerBuilder()
    at = 0
    for i in range(20):
        ledger.call(at, target="events")
        at += (100, 200)[i % 2]  # mean 150, spread 50
    assert ask("QL601", ledger).verdict == "PASS"


# ---- QL602


def conditional(times, *, etag=True, sent=False):
    ledger = LedgerBuilder()
    for i in range(times):
        ledger.call(
            i * 1000,
            target="events",
            response_headers=json.dumps({"etag": "[redacted]"} if etag else {}),
            request_headers=json.dumps({"if-none-match": "[redacted]"} if sent else {}),
        )
    return ledger


@pytest.mark.parametrize(
    ("times", "etag", "sent", "verdict"),
    [
        (11, True, False, "WARN"),
        (10, True, False, "PASS"),
        (11, True, True, "PASS"),
        (11, False, False, "NA"),
        (1, True, False, "NA"),
    ],
)
def test_an_etag_that_is_not_used(ask, times, etag, sent, verdict):
    """Ten repeated reads that could have been conditional; NA where no ETag is offered."""
    judgement = ask("QL602", conditional(times, etag=etag, sent=sent))
    assert judgement.verdict == verdict
    if verdict == "WARN":
        assert judgement.findings[0].message == (
            "'list_events' of ann was asked for at Mon 5 Jan 00:16:40 without If-None-Match (call 1), though the "
            "answer before had an ETag (call 0)."
        )
        assert judgement.metric == 10.0


# ---- QL603


@pytest.mark.parametrize(("gap_s", "verdict"), [(5.0, "WARN"), (5.001, "PASS")])
def test_a_read_again_within_seconds(ask, gap_s, verdict):
    """Five seconds apart is within; the finding tells the route and the pairs."""
    ledger = LedgerBuilder()
    ledger.call(0, target="me")
    ledger.call(gap_s, target="me")
    judgement = ask("QL603", ledger)
    assert judgement.verdict == verdict
    if verdict == "WARN":
        assert judgement.findings[0].message == (
            "1 read of 'list_events' came within 5 s of the same read for the same person; the first 5 s after "
            "it."
        )
        assert judgement.findings[0].calls == (0, 1)
        assert judgement.metric == 0.5


def test_a_share_of_repeated_reads_is_tolerated(ask):
    """Two in a hundred pass, three do not."""
    for repeated, verdict in ((2, "PASS"), (3, "WARN")):
        ledger = LedgerBuilder(
            provider_document({"h": {"kind": "rolling_window", "limit": 999, "period": "1h"}})
        )
        for i in range(100 - repeated):
            ledger.call(i * 10, target=f"t{i}")
            if i < repeated:
                ledger.call(i * 10 + 1, target=f"t{i}")
        assert ask("QL603", ledger).verdict == verdict


def test_retries_writes_and_other_people_are_no_repeated_reads(ask):
    """After a failure it is a retry; after a write there is something new; others have their own."""
    ledger = LedgerBuilder()
    ledger.call(0, target="me", status=503)
    ledger.call(1, target="me")
    ledger.call(2, target="write", method="POST", status=201)
    ledger.call(3, target="me")
    ledger.call(4, target="me", person="bob")
    judgement = ask("QL603", ledger)
    assert (judgement.verdict, judgement.metric) == ("PASS", 0.0)


def test_repeated_reads_agree_with_the_plain_way(rules, tmp_path):
    """Random reads and writes: the share counted pair by pair."""
    draw = random.Random(11)
    for number in range(15):
        ledger, rows = (
            LedgerBuilder(provider_document({"h": {"kind": "rolling_window", "limit": 999, "period": "1h"}})),
            [],
        )
        for i in range(80):
            at = i + draw.random() / 2
            row = (at, draw.choice("ab"), draw.choice("xyz"), draw.choice(["GET"] * 5 + ["POST"]))
            ledger.call(row[0], person=row[1], target=row[2], method=row[3])
            rows.append(row)
        reads = [i for i, row in enumerate(rows) if row[3] == "GET"]
        again = 0
        for i in reads:
            before = [j for j in reads if j < i and rows[j][1:3] == rows[i][1:3]]
            if before and rows[i][0] - rows[before[-1]][0] <= 5:
                wrote = any(r[3] == "POST" and r[1] == rows[i][1] for r in rows[before[-1] : i])
                again += not wrote
        judgement = rules["QL603"](load(ledger.write(tmp_path / str(number))))
        assert judgement.metric == again / len(reads)


# ---- QL604


@pytest.mark.parametrize(("calls", "verdict"), [(10, "PASS"), (11, "WARN")])
def test_an_operation_of_many_calls(ask, calls, verdict):
    """The mean of the done ones is judged, name by name; refused calls and others' do not count."""
    ledger = LedgerBuilder(listing())
    ledger.operation(0, operation="cheap", name="open")
    ledger.operation(0, operation="lost", name="open", outcome="failed")
    ledger.operation(0, operation="dear")
    for i in range(calls):
        ledger.call(i, operation="dear", target=f"t{i}", route="list_notes")
    for i in range(30):
        ledger.call(50, operation="dear", target="t0", route="list_notes", refused_by="hourly")
        ledger.call(50, operation="lost", target=f"t{i}", route="list_notes")
    judgement = ask("QL604", ledger)
    assert (judgement.verdict, judgement.metric, judgement.threshold) == (verdict, float(calls), 10.0)
    if verdict == "WARN":
        assert judgement.findings[0].message == (
            "'look' takes 11 calls, the mean of 1 operation that were done, where 10 are tolerated. The "
            "costliest took 11."
        )


def test_pages_of_a_list_are_no_waste_and_the_same_target_twice_is(ask):
    """Twenty pages are one list; three calls for two targets are half as many again as needed."""
    ledger = LedgerBuilder(listing())
    ledger.operation(0, operation="export")
    for i in range(20):
        ledger.call(i, operation="export", target=f"page-{i}", objects_asked=200)
    assert (ask("QL604", ledger).verdict, ask("QL604", ledger).metric) == ("PASS", 1.0)
    for targets, verdict in (("abab", "WARN"), ("aab", "WARN"), ("aabc", "PASS")):
        ledger = LedgerBuilder()
        ledger.operation(0, operation="look")
        for i, target in enumerate(targets):
            ledger.call(i, operation="look", target=target, route="other")
        assert ask("QL604", ledger).verdict == verdict


def test_without_operations_or_their_calls_there_is_nothing_to_count(ask):
    """NA, and why."""
    ledger = LedgerBuilder()
    ledger.call(0)
    assert ask("QL604", ledger).note == "there was no operation"
    ledger.operation(0)
    assert ask("QL604", ledger).note == "it is not known which calls were an operation's"


# ---- QL605


@pytest.mark.parametrize(("people", "verdict"), [(1, "WARN"), (2, "PASS")])
def test_a_limit_that_few_people_fill(ask, people, verdict):
    """80 of 100 by one person are too many; 40 each are not."""
    ledger = LedgerBuilder()
    for i in range(80):
        ledger.call(i, person=f"p{i % people}")
    judgement = ask("QL605", ledger)
    assert (judgement.verdict, judgement.metric) == (verdict, 80 / people)
    if verdict == "WARN":
        assert judgement.findings[0].message == (
            "'hourly' came to 80 %: 80 were asked for in the 1 h up to Mon 5 Jan 00:01:19, for 1 person, 80 "
            "calls each; 50 are tolerated."
        )


def test_a_limit_with_room_is_not_filled(ask):
    """79 of 100 are not near; a limit for each person says nothing about the app."""
    ledger = LedgerBuilder()
    for i in range(79):
        ledger.call(i)
    assert ask("QL605", ledger).verdict == "PASS"
    each = {"each": {"kind": "rolling_window", "limit": 10, "period": "1h", "key": ["person"]}}
    ledger = LedgerBuilder(provider_document(each))
    ledger.call(0)
    assert ask("QL605", ledger).verdict == "NA"


# ---- QL606


@pytest.mark.parametrize(("objects", "verdict"), [(9, "PASS"), (10, "WARN")])
@pytest.mark.parametrize("operation", ["op", None])
def test_objects_read_one_by_one(ask, objects, verdict, operation):
    """Ten different ones in an operation, or close together where it is not known."""
    ledger = LedgerBuilder(listing())
    for i in range(objects):
        ledger.call(i * 60, route="read_event", target=f"event-{i}", operation=operation)
    judgement = ask("QL606", ledger)
    assert (judgement.verdict, judgement.metric) == (verdict, float(objects))
    if verdict == "WARN":
        where = "in one operation" if operation else "within seconds of each other"
        assert judgement.findings[0].message == (
            f"10 objects read one by one {where} by 'read_event' for ann from Mon 5 Jan 00:00:00; 'list_events' "
            "lists them, up to 200 a call."
        )


def test_the_same_object_and_other_operations_are_no_bulk(ask):
    """Twenty reads of one object are QL603's; twenty people's, or far apart, are their own."""
    ledger = LedgerBuilder(listing())
    for i in range(20):
        ledger.call(i, route="read_event", target="one", operation="op")
        ledger.call(i, route="read_event", target=f"t{i}", operation=f"op-{i}")
        ledger.call(i, route="read_event", target=f"t{i}", person=f"p{i}")
    for i in range(20):
        ledger.call(1000 + i * 61, route="read_event", target=f"t{i}", person="eve")
    assert ask("QL606", ledger).verdict == "PASS"
    assert ask("QL606", LedgerBuilder()).verdict == "NA"


# ---- QL607


def export(ledger, pages, size, *, at_s=0, operation="export"):
    for i in range(pages):
        ledger.call(at_s + i, target=f"page-{i}", objects_asked=size, operation=operation)


@pytest.mark.parametrize(("size", "spared", "verdict"), [(30, 7, "WARN"), (199, 0, "PASS"), (200, 0, "PASS")])
@pytest.mark.parametrize("operation", ["export", None])
def test_small_pages(ask, size, spared, verdict, operation):
    """Nine pages of 30 hold 270 at most: two pages of 200. Nine of 199 need nine."""
    ledger = LedgerBuilder(listing())
    export(ledger, 9, size, operation=operation)
    judgement = ask("QL607", ledger)
    assert (judgement.verdict, judgement.metric) == (verdict, spared / 9)
    if verdict == "WARN":
        assert judgement.findings[0].message == (
            "1 list by 'list_events' in pages of 30 where 200 can be asked for (query parameter per_page): 7 calls "
            "too many."
        )
        assert judgement.findings[0].calls == tuple(range(9))


def test_a_list_that_is_only_looked_at_and_one_that_is_looked_at_again(ask):
    """The first page alone, even again and again, is not a list that was followed."""
    ledger = LedgerBuilder(listing())
    for i in range(20):
        ledger.call(i, target="page-0", objects_asked=30, operation="look")
    assert ask("QL607", ledger).verdict == "NA"
    assert ask("QL607", LedgerBuilder(listing(size_at="query:n"))).verdict == "NA"


def test_a_twentieth_of_the_calls_may_be_saved(ask):
    """One spared call of 20 passes, one of 19 does not."""
    for others, verdict in ((18, "PASS"), (17, "WARN")):
        ledger = LedgerBuilder(listing())
        export(ledger, 2, 30)
        for i in range(others):
            ledger.call(100 + i, route="read_event", target=f"t{i}")
        assert ask("QL607", ledger).verdict == verdict
