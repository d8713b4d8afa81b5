"""Importing: every format gives the same trace; what is broken is counted, and nothing ends in a traceback."""

from __future__ import annotations

import gzip
import json
import random
import re
import resource
import subprocess
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quotalab.errors import InputError
from quotalab.traces import ColumnMap, ImportReport, Naming, import_trace, read_trace
from quotalab.traces.doubts import Suspicion
from quotalab.traces.naming import kind_of, parse_naming
from quotalab.traces.opening import BLOCK
from quotalab.traces.parsed import civil_ns

KEY = b"a key of sixteen"
COMBINED = [
    b'203.0.113.7 - frank [05/Jan/2026:09:00:01 +0000] "GET /week?person=7 HTTP/1.1" 200 2326 "-" "Mozilla/5.0 (X11)"',
    b'203.0.113.8 - - [05/Jan/2026:11:00:02 +0200] "POST /events HTTP/1.1" 201 - "-" "python-requests/2.31"',
    b'203.0.113.7 - - [05/Jan/2026:04:00:05 -0500] "GET /events/17 HTTP/2.0" 429 0 "-" "Googlebot/2.1"',
]
COMMON = [line.split(b' "-"')[0] for line in COMBINED]
ALB = [
    b'https 2026-01-05T09:00:01.000000Z app/lb/50dc 203.0.113.7:2817 10.0.0.1:80 0.086 0.048 0.037 200 200 0 2326 "GET https://example.com:443/week?person=7 HTTP/1.1" "Mozilla/5.0 (X11)" ECDHE TLSv1.2 arn "Root=1" "example.com" "arn" 0 2026-01-05T09:00:01.000000Z "forward" "-" "-"',
    b'https 2026-01-05T09:00:02.000000Z app/lb/50dc 203.0.113.8:2818 - -1 -1 -1 201 - 0 0 "POST https://example.com:443/events HTTP/1.1" "python-requests/2.31" ECDHE TLSv1.2 arn "Root=1" "example.com" "arn" 0 2026-01-05T09:00:02.000000Z "forward" "-" "-"',
    b'h2 2026-01-05T09:00:05.000000Z app/lb/50dc 203.0.113.7:2817 10.0.0.1:80 0.086 0.048 0.037 429 429 0 0 "GET https://example.com:443/events/17 HTTP/2.0" "Googlebot/2.1" ECDHE TLSv1.2 arn "Root=1" "example.com" "arn" 0 2026-01-05T09:00:05.000000Z "forward" "-" "-"',
]
JSONL = [
    b'{"time_iso8601": "2026-01-05T09:00:01+00:00", "remote_addr": "203.0.113.7", "request": "GET /week?person=7 HTTP/1.1", "status": 200, "body_bytes_sent": 2326, "http_user_agent": "Mozilla/5.0 (X11)"}',
    b'{"time": 1767603602, "remote_addr": "203.0.113.8", "method": "POST", "path": "/events", "status": "201", "agent": "python-requests/2.31"}',
    b'{"timestamp": "2026-01-05T09:00:05.000Z", "ip": "203.0.113.7", "method": "GET", "uri": "/events/17", "status": 429, "bytes": 0, "user_agent": "Googlebot/2.1"}',
]
CSV = [
    b"when,who,verb,what,code,size,browser",
    b"2026-01-05T09:00:01Z,203.0.113.7,GET,/week?person=7,200,2326,Mozilla/5.0 (X11)",
    b'2026-01-05T09:00:02Z,203.0.113.8,POST,"/events",201,,python-requests/2.31',
    b"2026-01-05T09:00:05Z,203.0.113.7,GET,/events/17,429,0,Googlebot/2.1",
]
MAP = ColumnMap(
    {
        "time": "when",
        "source": "who",
        "method": "verb",
        "path": "what",
        "status": "code",
        "bytes": "size",
        "agent": "browser",
    }
)
NINE_NS = 1_767_603_600 * 10**9


def har() -> bytes:
    """The three requests as a browser would record them."""
    entries = [
        {
            "startedDateTime": f"2026-01-05T09:00:0{second}.000Z",
            "request": {
                "method": method,
                "url": f"https://example.com{path}",
                "headers": [{"name": "User-Agent", "value": agent}],
            },
            "response": {"status": status, "content": {"size": size}},
        }
        for second, method, path, status, size, agent in (
            (1, "GET", "/week?person=7", 200, 2326, "Mozilla/5.0 (X11)"),
            (2, "POST", "/events", 201, 0, "python-requests/2.31"),
            (5, "GET", "/events/17", 429, 0, "Googlebot/2.1"),
        )
    ]
    return json.dumps({"log": {"version": "1.2", "creator": {"name": "x"}, "entries": entries}}).encode()


def imported(tmp_path: Path, content: bytes | Sequence[bytes], **options: Any) -> ImportReport:
    """Import some lines."""
    path = tmp_path / "recorded.log"
    path.write_bytes(content if isinstance(content, bytes) else b"\n".join(content) + b"\n")
    options.setdefault("key", KEY)
    return import_trace(path, tmp_path / "trace.parquet", **options)


def rows(report: ImportReport) -> list[dict[str, Any]]:
    """The trace's rows."""
    return pq.read_table(report.out).to_pylist()


# ---- formats

FORMATS: list[tuple[str, Any, dict[str, Any]]] = [
    ("combined", COMBINED, {}),
    ("alb", ALB, {}),
    ("jsonl", JSONL, {}),
    ("csv", CSV, {"columns": MAP}),
    ("har", har(), {}),
    ("combined-crlf", [line + b"\r" for line in COMBINED], {}),
    ("nginx-with-more", [line + b' "10.0.0.1" 0.012' for line in COMBINED], {}),
    ("gzip", gzip.compress(b"\n".join(COMBINED)), {}),
    (
        "gzip-members",
        b"".join(gzip.compress(line + b"\n") for line in COMBINED),
        {},
    ),
    ("zstd", pa.Codec("zstd").compress(b"\n".join(COMBINED) + b"\n").to_pybytes(), {}),
]


@pytest.mark.parametrize(
    ("content", "options"), [one[1:] for one in FORMATS], ids=[one[0] for one in FORMATS]
)
def test_every_format_gives_the_same_trace(content: Any, options: dict[str, Any], tmp_path: Path) -> None:
    """Times in UTC, methods, paths without their query, statuses and kinds."""
    found = rows(imported(tmp_path, content, key=None, **options))
    assert [row["at"].value - NINE_NS for row in found] == [10**9, 2 * 10**9, 5 * 10**9]
    assert [row["path"].removeprefix("https://example.com:443") for row in found] == [
        "/week",
        "/events",
        "/events/17",
    ]
    assert [row["method"] for row in found] == ["GET", "POST", "GET"]
    assert [row["status"] for row in found] == [200, 201, 429]
    assert [row["kind"] for row in found] == ["browser", "program", "crawler"]
    assert found[0]["bytes"] == 2326
    assert found[0]["source"] == found[2]["source"]


def test_common_logs_have_no_kinds_and_all_else(tmp_path: Path) -> None:
    """Without a User-Agent nobody is called a program."""
    found = rows(imported(tmp_path, COMMON, key=None))
    assert [row["status"] for row in found] == [200, 201, 429]
    assert {row["kind"] for row in found} == {"unknown"}
    assert [row["bytes"] for row in found] == [2326, None, 0]


def test_numbers_as_times_count_from_the_origin_in_the_unit(tmp_path: Path) -> None:
    """Exactly: 1.000000001 s is a nanosecond more than a second."""
    content = [b"t,client", b"0.5,a", b"1.000000001,b", b"-0.25,c"]
    for unit, scale in (("s", 10**9), ("ms", 10**6)):
        columns = ColumnMap.parse(None, unit=unit, origin_ns=NINE_NS)
        found = rows(imported(tmp_path, content, columns=columns))
        expected = [-scale // 4, scale // 2, scale + scale // 10**9]
        assert [row["at"].value - NINE_NS for row in found] == expected


def test_json_lines_take_a_column_map(tmp_path: Path) -> None:
    """Foreign names, a unit and an origin."""
    content = [b'{"when": 1500, "who": "a"}', b'{"when": 2500.5, "who": "b"}']
    columns = ColumnMap({"time": "when", "source": "who"}, unit_ns=10**6, origin_ns=NINE_NS)
    found = rows(imported(tmp_path, content, columns=columns, key=None))
    assert [(row["at"].value - NINE_NS, row["source"]) for row in found] == [
        (1_500_000_000, "a"),
        (2_500_500_000, "b"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("when=t", "--columns: 'when=t' is not WHAT=COLUMN with WHAT one of time, source"),
        ("time", "--columns: 'time' is not WHAT=COLUMN"),
        ("time=nowhere", "--columns: there is no column 'nowhere'; there are: a, b"),
        (None, "no column holds times by one of the usual names; say which with --columns time=NAME: a, b"),
    ],
)
def test_a_wrong_column_map_gets_one_line(text: str | None, message: str, tmp_path: Path) -> None:
    """It says what there is."""
    with pytest.raises(InputError, match=re.escape(message)):
        imported(tmp_path, [b"a,b", b"1,2"], columns=ColumnMap.parse(text), format="csv")


token = st.text("abcXYZ0189-_./%~", min_size=1, max_size=12)


@st.composite
def log_lines(draw: st.DrawFn) -> bytes:
    """A line of a combined or common log, sometimes with what makes such lines hard."""
    quoted = st.text('ab \\"?[]:', max_size=8).map(lambda text: text.replace("\\", "").replace('"', '\\"'))
    day, month = draw(st.integers(0, 32)), draw(st.sampled_from(["Jan", "Feb", "Dec", "Xxx"]))
    time = f"{day:02d}/{month}/{draw(st.sampled_from([1969, 2024, 2026]))}:{draw(st.integers(0, 24)):02d}:59:07 {draw(st.sampled_from(['+0000', '-0330', '+1400', '0000']))}"
    request = (
        draw(st.sampled_from(["GET", "POST", ""]))
        + draw(st.sampled_from([" ", "", "  "]))
        + "/"
        + draw(quoted)
    )
    request += draw(st.sampled_from([" HTTP/1.1", "", " "]))
    line = f'{draw(token)} - {draw(token)} [{time}] "{request}" {draw(st.sampled_from(["200", "404", "-", "20"]))} {draw(st.sampled_from(["-", "0", "1234567"]))}'
    if draw(st.booleans()):
        line += f' "{draw(quoted)}" "{draw(quoted)}"'
    return line.encode() + draw(st.sampled_from([b"", b"\r", b" extra"]))


PATTERN = re.compile(
    rb'^(\S+) \S+ .*?\[([^\[\]]+)\] "((?:[^"\\]|\\.)*)" (\d{3}) (\d+|-)(?: "(?:[^"\\]|\\.)*" "((?:[^"\\]|\\.)*)")?'
)


def oracle(line: bytes) -> tuple[Any, ...] | None:
    """(seconds, source, method, path, status) of a line, the slow and plain way."""
    import datetime

    match = PATTERN.match(line.rstrip(b"\r"))
    if not match:
        return None
    source, time, request, status, _, _ = match.groups()
    try:
        at = datetime.datetime.strptime(time.decode(), "%d/%b/%Y:%H:%M:%S %z").timestamp()
    except ValueError:
        return None
    if at < 0:
        return None
    method, _, rest = request.partition(b" ")
    path, blank, version = rest.rpartition(b" ")
    path = path if blank and version.startswith(b"H") else rest
    return int(at), source.decode(), method.decode(), path.partition(b"?")[0].decode(), int(status)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.lists(log_lines(), min_size=1, max_size=12))
def test_the_fast_way_reads_what_a_pattern_reads(tmp_path: Path, lines: list[bytes]) -> None:
    """Line by line against a pattern, hard lines among easy ones, in the order of the file and then of time."""
    expected = [found for found in map(oracle, lines) if found]
    if not expected:
        with pytest.raises(InputError, match="nothing was imported"):
            imported(tmp_path, lines, key=None, format="combined")
        return
    report = imported(tmp_path, lines, key=None, format="combined")
    found = [
        (row["at"].value // 10**9, row["source"], row["method"], row["path"], row["status"])
        for row in rows(report)
    ]
    assert found == sorted(expected, key=lambda row: row[0])
    assert report.rows + report.dropped.total() == report.lines == len(lines)


@given(st.datetimes(min_value=__import__("datetime").datetime(1970, 1, 1)))
def test_dates_are_the_calendars(moment: Any) -> None:
    """Leap years and centuries, against the standard library's calendar."""
    import calendar

    second = moment.hour * 3600 + moment.minute * 60 + moment.second
    found = civil_ns(*(np.array([value]) for value in (moment.year, moment.month, moment.day, second)))
    if moment.year < 2200:
        assert found.tolist() == [calendar.timegm(moment.timetuple()) * 10**9]


# ---- pseudonyms


def test_nothing_of_a_source_or_path_is_left(tmp_path: Path) -> None:
    """Neither addresses nor paths nor queries nor User-Agents are anywhere in the file."""
    report = imported(tmp_path, COMBINED)
    content = report.out.read_bytes() + repr(rows(report)).encode()
    for secret in (b"203.0.113", b"/week", b"/events", b"person=7", b"frank", b"X11"):
        assert secret not in content
    assert all(re.fullmatch("s[0-9a-f]{16}", row["source"]) for row in rows(report))


def test_pseudonyms_follow_from_the_key(tmp_path: Path) -> None:
    """The same key gives the same names, another one others; equal sources stay equal."""
    first, again, other = (
        [row["source"] for row in rows(imported(tmp_path, COMBINED, key=key))]
        for key in (KEY, KEY, b"another key 1234")
    )
    assert first == again
    assert not set(first) & set(other)
    assert first[0] == first[2] != first[1]


# ---- operations

RULES: dict[str, Any] = {
    "schema": 1,
    "burst": "3s",
    "operations": [
        {"name": "look_at_week", "method": "GET", "path": "/week"},
        {"name": "open_event", "path": "/events/*"},
    ],
}


def test_requests_become_operations_by_method_and_path(tmp_path: Path) -> None:
    """The first that matches names it; `other` names the rest, without it they are left out and counted."""
    report = imported(tmp_path, COMBINED, naming=parse_naming(RULES, "ops.toml"))
    assert [row["operation"] for row in rows(report)] == ["look_at_week", "open_event"]
    assert report.dropped == {"a request that the operations file leaves out": 1}
    report = imported(tmp_path, COMBINED, naming=parse_naming({**RULES, "other": "rest"}, "ops.toml"))
    assert [row["operation"] for row in rows(report)] == ["look_at_week", "rest", "open_event"]


def test_a_burst_of_a_source_is_one_operation(tmp_path: Path) -> None:
    """A page and what it fetches within the burst, request by request, have the name of its first."""
    lines = [
        b'a - - [05/Jan/2026:09:00:%02d +0000] "GET %s HTTP/1.0" 200 1' % (second, path)
        for second, path in ((0, b"/week"), (3, b"/logo.gif"), (6, b"/x.gif"), (10, b"/events/1"))
    ]
    naming = parse_naming({**RULES, "other": "rest"}, "ops.toml")
    trace = read_trace(imported(tmp_path, lines, naming=naming).out)
    operations = trace.by_operation()
    assert [trace.operations[code] for code in operations.operation] == ["look_at_week", "open_event"]
    assert ((operations.at_ns - operations.at_ns[0]) // 10**9).tolist() == [0, 10]


@pytest.mark.parametrize("name", ["recorded.log", "notes.txt", "linked.parquet"])
def test_no_file_is_lost_to_a_trace(tmp_path: Path, name: str) -> None:
    """The log itself, by whatever name, and any file that is no trace stay; a trace is written anew."""
    log = tmp_path / "recorded.log"
    log.write_bytes(b"\n".join(COMBINED) + b"\n")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "linked.parquet").symlink_to(log)
    before = (tmp_path / name).read_bytes()
    with pytest.raises(InputError, match="is there already and is no trace"):
        import_trace(log, tmp_path / name, key=KEY)
    assert (tmp_path / name).read_bytes() == before
    for _ in range(2):
        assert import_trace(log, tmp_path / "trace.parquet", key=KEY).rows == 3


def test_what_is_to_be_ignored_is_left_out(tmp_path: Path) -> None:
    """By path and by kind."""
    naming = parse_naming(
        {"schema": 1, "other": "all", "ignore": {"paths": ["/week*"], "kinds": ["crawler"]}}, "ops.toml"
    )
    assert [row["operation"] for row in rows(imported(tmp_path, COMBINED, naming=naming))] == ["all"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"burst": "soon"}, "ops.toml: burst: must be a duration"),
        ({"operations": [{"path": "/a"}]}, "ops.toml: operations[0].name: is missing"),
        ({"operations": []}, "ops.toml: operations: names no operation"),
        (
            {"operation": []},
            "ops.toml: operation: is not a key that is known here; did you mean 'operations'?",
        ),
        ({"ignore": {"kinds": ["robot"]}}, "ops.toml: ignore.kinds: must be a list of 'browser'"),
    ],
)
def test_a_wrong_operations_file_gets_one_line(change: dict[str, Any], message: str) -> None:
    """It names the file and the key."""
    with pytest.raises(InputError, match=re.escape(message)):
        parse_naming({**RULES, **change}, "ops.toml")


@pytest.mark.parametrize(
    ("agent", "kind"),
    [
        (b"Mozilla/5.0 (X11; Linux x86_64) Firefox/121.0", "browser"),
        (b"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "crawler"),
        (b"python-requests/2.31", "program"),
        (b"curl/8.4", "program"),
        (b"-", "unknown"),
        (b"", "unknown"),
        (b"NCSA Mosaic", "unknown"),
    ],
)
def test_kinds_are_what_agents_say_of_themselves(agent: bytes, kind: str) -> None:
    """Crawlers say so, programs name their library, browsers have called themselves Mozilla ever since."""
    assert kind_of(agent) == kind


# ---- bad input

GOOD = COMBINED[0]


def test_an_empty_file_is_reported(tmp_path: Path) -> None:
    """Nothing was imported, in one message, and no file is left."""
    with pytest.raises(InputError, match="0 lines") as raised:
        imported(tmp_path, b"")
    assert "nothing was imported" in str(raised.value)
    assert {path.name for path in tmp_path.iterdir()} == {"recorded.log"}


def test_binary_junk_is_counted_and_spoils_nothing(tmp_path: Path) -> None:
    """Junk between good lines costs the junk only."""
    junk = np.random.default_rng(1).integers(0, 256, 5000, dtype=np.uint8).tobytes().replace(b"\n", b"")
    report = imported(tmp_path, [GOOD, junk, b"\x00\x01\x02", GOOD, b"\xff" * 300_000, GOOD])
    assert report.rows == 3
    assert report.dropped["binary junk"] == 2
    assert report.dropped.total() == 3


@pytest.mark.parametrize("name", ["common", "alb", "jsonl", "csv", "har", None])
def test_pure_junk_is_no_traceback_in_any_format(name: str | None, tmp_path: Path) -> None:
    """Whatever it is said to be, one error says that nothing came of it."""
    junk = np.random.default_rng(2).integers(0, 256, 200_000, dtype=np.uint8).tobytes()
    with pytest.raises(InputError):
        imported(tmp_path, junk, format=name)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=120, deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from([None, "common", "alb", "jsonl", "csv", "har"]),
    st.sampled_from(
        [b"", COMBINED[0] + b"\n", ALB[0] + b"\n", JSONL[0] + b"\n", b"t,client\n1,a\n", har()[:200]]
    ),
)
def test_any_bytes_are_imported_or_refused(
    tmp_path: Path, junk: bytes, name: str | None, before: bytes
) -> None:
    """Never anything but a report or an `InputError`; every line is either kept or dropped."""
    try:
        report = imported(tmp_path, before + junk, format=name)
    except InputError:
        return
    assert report.rows >= 1


def test_a_stray_quote_does_not_swallow_the_next_line(tmp_path: Path) -> None:
    """In logs and in CSV."""
    torn = GOOD[: GOOD.index(b"HTTP")]
    assert imported(tmp_path, [GOOD, torn, GOOD]).rows == 2
    report = imported(tmp_path, [b"t,client,path", b'1,"a,/x', b"2,b,/y", b"3,c,/z"])
    assert report.rows == 2
    assert report.dropped == {"a CSV line with a stray quote": 1}


def test_wrong_csv_lines_are_counted(tmp_path: Path) -> None:
    """Too few columns, no time, text that is no UTF-8: the lines around them stay."""
    lines = [
        b"t,client",
        b"1,a",
        b"2",
        b"soon,b",
        b"3,\xff\xfe",
        b"1e999,c",
        b"99999999999999999999,d",
        b"4,e",
    ]
    report = imported(tmp_path, lines)
    assert report.rows == 2
    assert report.dropped == {
        "a CSV line with the wrong number of columns": 1,
        "a time that is none": 3,
        "binary junk": 1,
    }


def test_tails_without_a_head_are_named(tmp_path: Path) -> None:
    """As in logs whose anonymiser tore records apart; their share is a doubt."""
    report = imported(tmp_path, [GOOD, b' "Mozilla/5.0 (X11)"', b' "curl"', GOOD])
    assert report.dropped == {"the tail of a record whose head is missing": 2}
    assert ("unreadable-lines", 0.5) in {(doubt.name, doubt.figure) for doubt in report.doubts}


def test_mixed_formats_are_read_and_counted(tmp_path: Path) -> None:
    """Lines of other formats among those of the first are read as what they are."""
    report = imported(tmp_path, [*COMBINED, ALB[0], JSONL[1]])
    assert report.rows == 5
    assert report.other == {"ALB log": 1, "JSON lines": 1}
    assert "mixed-formats" in {doubt.name for doubt in report.doubts}


def test_the_format_is_that_of_most_lines_and_not_of_the_first(tmp_path: Path) -> None:
    """A log that begins with an object of JSON is a log; among JSON lines those of a log are read."""
    report = imported(tmp_path, [JSONL[1], *COMBINED, *COMBINED])
    assert (report.format, report.rows) == ("common", 1 + 2 * len(COMBINED))
    assert report.other == {"JSON lines": 1}
    report = imported(tmp_path, [COMBINED[0], *JSONL, *JSONL])
    assert (report.format, report.rows) == ("jsonl", 1 + 2 * len(JSONL))
    assert report.other == {"common log": 1}


@pytest.mark.parametrize("packed", ["gzip", "zstd"])
def test_a_torn_file_gives_what_came_before(packed: str, tmp_path: Path) -> None:
    """Half of a compressed log: a good part of its lines, and a doubt that says why not all."""
    lines = [
        GOOD.replace(
            b"/week", b"/week/%d/%s" % (i, hash(str(i * 7)).to_bytes(9, "big", signed=True).hex().encode())
        )
        for i in range(60_000)
    ]
    content = b"\n".join(lines)
    whole = gzip.compress(content) if packed == "gzip" else pa.Codec("zstd").compress(content).to_pybytes()
    report = imported(tmp_path, whole[: len(whole) // 2])
    assert 20_000 < report.rows < 40_000
    assert "torn-file" in {doubt.name for doubt in report.doubts}


def test_a_broken_gzip_gives_what_came_before(tmp_path: Path) -> None:
    """A damaged stretch ends the file; so does what follows a gzip without being one."""
    whole = bytearray(gzip.compress(b"\n".join([GOOD] * 1000)))
    report = imported(tmp_path, bytes(whole) + b"no gzip at all")
    told = [doubt.name for doubt in report.doubts]
    assert (report.rows, told) == (
        1000,
        ["torn-file", "clock-stands-still"],
    )  # all lines are one and the same
    whole[12:20] = b"\xff" * 8
    with pytest.raises(InputError, match="broken gzip"):
        imported(tmp_path, bytes(whole))


def test_lines_out_of_order_are_sorted_and_equal_times_keep_their_order(tmp_path: Path) -> None:
    """However far apart they lie in the file."""
    seconds = [5, 3, 3, 59, 0, 3]
    lines = [
        b'a - - [05/Jan/2026:09:00:%02d +0000] "GET /%d HTTP/1.0" 200 1' % (second, i)
        for i, second in enumerate(seconds)
    ]
    found = rows(imported(tmp_path, lines, key=None))
    assert [row["path"] for row in found] == ["/4", "/1", "/2", "/5", "/0", "/3"]


def test_a_file_out_of_order_as_a_whole_is_sorted_in_flat_memory(tmp_path: Path, monkeypatch: Any) -> None:
    """Row groups that overlap are brought in order stretch by stretch; nothing is lost."""
    from quotalab.traces import importing

    monkeypatch.setattr(importing, "_GROUP", 500)
    times = np.random.default_rng(3).integers(0, 3_000_000, 20_000)
    monkeypatch.setattr("quotalab.traces.opening.BLOCK", 1 << 14)
    report = imported(tmp_path, [b"t,client,status", *(b"%d,c%d,200" % (t, t % 7) for t in times.tolist())])
    found = pq.read_table(report.out)
    at = found["at"].cast(pa.int64()).to_numpy()
    assert (at // 10**9).tolist() == sorted(times.tolist())
    assert [int(t) % 7 for t in at // 10**9] == [int(name) for name in _ordinals(found, at)]
    assert read_trace(report.out).source_count == 7
    assert "clock-runs-backwards" in {doubt.name for doubt in report.doubts}


def _ordinals(found: pa.Table, at: np.ndarray) -> list[int]:
    """Sources as the remainders that they stand for, found from their first row."""
    names: dict[str, int] = {}
    return [
        names.setdefault(name, int(t) % 7)
        for name, t in zip(found["source"].cast(pa.string()).to_pylist(), at // 10**9, strict=True)
    ]


@pytest.mark.parametrize("content", [b'{"time": ' + b"[" * 100_000, b'{"log": {"entries": ' + b"[" * 100_000])
def test_deep_nesting_is_refused(content: bytes, tmp_path: Path) -> None:
    """JSON that nests too deeply is a broken line, or no HAR file."""
    with pytest.raises(InputError):
        imported(tmp_path, content)


def test_foreign_parquet_is_no_trace(tmp_path: Path) -> None:
    """Neither imported again nor read; the message says what would be right."""
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(InputError, match="is no trace; make one with quotalab trace import"):
        read_trace(path)
    with pytest.raises(InputError, match="is Parquet"):
        import_trace(path, tmp_path / "y.parquet", key=KEY)
    with pytest.raises(InputError, match="there is no such trace"):
        read_trace(tmp_path / "nothing.parquet")


# ---- doubts


def doubts(tmp_path: Path, seconds: Any, sources: Any = None, agents: str = "") -> dict[str, float]:
    """The doubts about requests at some seconds, by name."""
    names = sources if sources is not None else [i % 50 for i in range(len(seconds))]
    lines = [
        b"t,client,agent",
        *(f"{t},c{who},{agents}".encode() for t, who in zip(seconds, names, strict=True)),
    ]
    return {doubt.name: doubt.figure for doubt in imported(tmp_path, lines).doubts}


def poisson(hours: float, per_minute: float, seed: int = 1) -> Any:
    """Whole seconds of a Poisson process."""
    draw = np.random.default_rng(seed)
    return np.sort(draw.integers(0, int(hours * 3600), draw.poisson(hours * 60 * per_minute)))


def test_honest_chance_raises_no_doubt(tmp_path: Path) -> None:
    """A day of a Poisson process of many sources."""
    for seed in range(5):
        assert doubts(tmp_path, poisson(24, 5, seed)) == {}


def test_a_clock_that_runs_backwards_is_told(tmp_path: Path) -> None:
    """By an hour, as in autumn; seconds of disorder are what servers do."""
    times = poisson(24, 5)
    again = np.concatenate([times[times < 40_000], times[times >= 36_400]])
    assert doubts(tmp_path, again)["clock-runs-backwards"] == pytest.approx(3600, abs=100)
    assert doubts(tmp_path, times - np.arange(len(times)) % 2 * (np.arange(len(times)) % 40 == 1)) == {}


def test_a_clock_that_stands_still_is_told(tmp_path: Path) -> None:
    """A tenth of a day's requests at one instant, in a row; one request less raises no doubt."""
    times = poisson(24, 1)
    apart = times[times != 50_000]
    stuck = -(-len(apart) // 9)
    assert stuck < 200
    assert doubts(tmp_path, np.sort(np.append(apart, np.full(stuck, 50_000)))) == {}  # too few to tell
    times = poisson(24, 3)
    apart = times[times != 50_000]
    stuck = -(-len(apart) // 9)
    still = np.sort(np.append(apart, np.full(stuck, 50_000)))
    assert doubts(tmp_path, still)["clock-stands-still"] == pytest.approx(stuck / len(still))
    assert "clock-stands-still" not in doubts(tmp_path, np.delete(still, np.flatnonzero(still == 50_000)[0]))
    assert doubts(tmp_path, np.full(300, 5))["clock-stands-still"] == 1.0


def test_a_standing_clock_is_followed_from_block_to_block() -> None:
    """Whatever the blocks, the longest run is that of a plain count over the whole file."""
    lot = random.Random(1)
    for _ in range(200):
        times = [at for at in range(lot.randrange(1, 12)) for _ in range(lot.choice([1, 1, 2, 90, 230]))]
        suspicion, rest = Suspicion(), times
        while rest:
            size = lot.choice([1, 2, 50, 300])
            suspicion.in_file_order(np.array(rest[:size]) * 10**9)
            rest = rest[size:]
        runs = [len(list(run)) for _, run in groupby(times)]
        assert (suspicion._longest_run, suspicion._longest_run_ns) == (
            max(runs),
            times[sum(runs[: runs.index(max(runs))])] * 10**9,
        )


def test_a_constant_field_is_told(tmp_path: Path) -> None:
    """Every request at second 0, or every one at minute 30."""
    times = poisson(48, 5)
    assert doubts(tmp_path, times // 60 * 60)["constant-second"] == 1.0
    assert doubts(tmp_path, times // 3600 * 3600 + 1800 + times % 60)["constant-minute"] == 1.0


def test_counts_steadier_than_chance_are_told(tmp_path: Path) -> None:
    """Exactly five a minute for a day: dispersion 0."""
    steady = np.repeat(np.arange(1440) * 60, 5) + np.tile([3, 17, 29, 44, 58], 1440)
    assert doubts(tmp_path, steady)["steadier-than-chance"] == pytest.approx(0, abs=0.01)


def test_missing_days_and_silences_are_told(tmp_path: Path) -> None:
    """Two days of a week, and six hours of another day; a year of silence is 365 days."""
    times = poisson(24 * 7, 1)
    day = times // 86_400
    assert doubts(tmp_path, times[(day != 2) & (day != 3)])["missing-days"] == 2
    hour = times // 3600
    assert doubts(tmp_path, times[(hour < 50) | (hour >= 56)])["silence"] == pytest.approx(6 * 3600, abs=300)
    year = np.concatenate([poisson(24, 1), poisson(24, 1) + 366 * 86_400])
    assert doubts(tmp_path, year)["missing-days"] == 365


def test_one_source_and_programs_are_told(tmp_path: Path) -> None:
    """With their shares."""
    times = poisson(24, 5)
    who = np.where(np.arange(len(times)) % 2 == 0, 0, np.arange(len(times)) % 100)
    found = doubts(tmp_path, times, who, "curl/8")
    assert found["one-source"] == pytest.approx(0.51, abs=0.01)
    assert found["programs"] == 1.0


def test_recorded_traces_raise_the_doubts_that_their_readme_names(recorded: Any) -> None:
    """The harvester's 44.37 % and the programs' 86.04 %; the day of 1995 raises none."""
    kept = {doubt["name"]: doubt["figure"] for doubt in recorded("erddap_voto_2024").meta["doubts"]}
    assert kept == {
        "one-source": pytest.approx(0.4437, abs=5e-5),
        "programs": pytest.approx(0.8604, abs=5e-5),
    }
    assert recorded("epa_1995_08_29").meta["doubts"] == []


# ---- the command


def quotalab(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run(
        [sys.executable, "-m", "quotalab", "trace", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_imports_and_shows(tmp_path: Path) -> None:
    """Import names the trace last; show prints the table, or JSON, and draws."""
    (tmp_path / "access.log").write_bytes(b"\n".join(COMBINED) + b"\n")
    done = quotalab("import", "access.log", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "access.parquet"
    shown = quotalab("show", "access.parquet", "--json", "--figure", "access.png", cwd=tmp_path)
    assert json.loads(shown.stdout)["requests"] == 3
    assert (tmp_path / "access.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("import", "nothing.log"), "quotalab: nothing.log: cannot be read: No such file or directory"),
        (
            ("import", "x.log", "--unit", "weeks"),
            "quotalab: --unit: must be one of s, ms, us, ns, not 'weeks'",
        ),
        (("import", "x.log", "--origin", "noon"), "quotalab: --origin: 'noon' is not a date"),
        (
            ("import", "x.log", "--operations", "no.toml"),
            "quotalab: --operations no.toml: there is no such file",
        ),
        (("show", "x.log"), "quotalab: x.log: is no trace; make one with quotalab trace import"),
    ],
)
def test_a_wrong_call_gets_one_line(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    """Exit 2, no traceback."""
    (tmp_path / "x.log").write_bytes(COMBINED[0])
    done = quotalab(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


# Not ru_maxrss: a process inherits the peak of the one that started it.
LARGE = """
import re, sys
from pathlib import Path
from quotalab.traces import import_trace
report = import_trace(Path(sys.argv[1]), Path(sys.argv[2]), key=b"k" * 16)
peak_kb = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
print(report.rows, report.dropped.total(), int(peak_kb) // 1024)
"""


def _memory(path: Path, tmp_path: Path) -> tuple[int, int, int]:
    done = subprocess.run(
        [sys.executable, "-c", LARGE, str(path), str(tmp_path / "out.parquet")],
        capture_output=True,
        text=True,
        check=True,
    )
    rows, dropped, megabytes = map(int, done.stdout.split())
    return rows, dropped, megabytes


@pytest.mark.parametrize("megabytes_long", [100, pytest.param(1024, marks=pytest.mark.full)])
def test_a_line_of_a_gigabyte_takes_no_gigabyte(megabytes_long: int, tmp_path: Path) -> None:
    """It is passed over, counted, and the lines around it are kept."""
    path = tmp_path / "long.log.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(GOOD + b"\n")
        for _ in range(megabytes_long):
            file.write(b"x" * (1 << 20))
        file.write(b"\n" + GOOD + b"\n")
    rows, dropped, megabytes = _memory(path, tmp_path)
    assert (rows, dropped) == (2, 1)
    assert megabytes < 300


@pytest.mark.full
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Three times the lines, out of order as a whole, take less than half as much again."""
    peaks = []
    block = b"".join(
        b'10.0.%d.%d - - [05/Jan/2026:09:%02d:%02d +0000] "GET /p/%d HTTP/1.1" 200 17 "-" "Mozilla/5.0"\n'
        % (i % 199, i % 251, i // 60 % 60, i % 60, i % 997)
        for i in range(BLOCK // 64)
    )
    for times in (6, 20):
        path = tmp_path / f"{times}.log"
        with path.open("wb") as file:
            for _ in range(times):
                file.write(block)
        peaks.append(_memory(path, tmp_path)[2])
        path.unlink()
    assert peaks[1] < 1.5 * peaks[0]
    assert resource.RLIM_INFINITY != 0


def test_naming_without_rules_calls_every_request_the_same() -> None:
    """One name, no bursts."""
    assert (Naming().one_name, Naming().burst_ns) == ("request", -1)
