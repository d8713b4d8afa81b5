"""Access logs in a format of one's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from quotalab.errors import InputError
from quotalab.traces import ImportReport, LogFormat, import_trace, read_trace
from quotalab.traces.access_logs import parse_common

COMBINED = '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'
LINES = (
    b'203.0.113.7 - - [05/Jan/2026:09:00:01 +0100] "GET /week?p=7 HTTP/1.1" 200 2326 "-" "Mozilla/5.0 (X11)"\n'
    b'203.0.113.8 - ann [05/Jan/2026:09:00:05 +0000] "POST /events HTTP/2.0" 201 - "https://x/" "curl/8 \\x22a\\x22"\n'
)


def told(format: str, block: bytes) -> list[tuple[Any, ...]]:
    """Rows of a block."""
    parsed = LogFormat.parse(format)(block)
    return rows(parsed)


def rows(parsed: Any) -> list[tuple[Any, ...]]:
    texts = [column.to_pylist() for column in (parsed.source, parsed.method, parsed.path, parsed.agent)]
    return list(zip(parsed.at_ns.tolist(), *texts, parsed.status.tolist(), parsed.size.tolist(), strict=True))


def test_the_combined_format_in_words_reads_what_its_own_parser_reads() -> None:
    """Row for row."""
    assert told(COMBINED, LINES) == rows(parse_common(LINES))
    assert len(told(COMBINED, LINES)) == 2


@pytest.mark.parametrize(
    ("format", "line", "row"),
    [
        (
            "$msec|$http_x_forwarded_for|$request_method|${request_uri}|$status|$request_time",
            b"1767603601.250|10.0.0.1, 10.0.0.2|GET|/a?b=c|204|0.003",
            (1_767_603_601_250_000_000, b"10.0.0.1, 10.0.0.2", b"GET", b"/a", None, 204, -1),
        ),
        (
            '$time_iso8601 $host $upstream_response_time $upstream_addr "$request" $remote_addr',
            b'2026-01-05T09:00:01+01:00 x.test 0.120, 0.004 : 0.1 10.0.0.1:80, 10.0.0.2:80 "GET / HTTP/1.1" 10.0.0.9',
            (1_767_600_001_000_000_000, b"10.0.0.9", b"GET", b"/", None, 0, -1),
        ),
        ("[$time_local]", b"[05/Jan/2026:09:00:01 +0000]\r", (1_767_603_601_000_000_000, *[None] * 4, 0, -1)),
    ],
)
def test_variables_are_told_apart_by_what_stands_between_them(
    format: str, line: bytes, row: tuple[Any, ...]
) -> None:
    """Times in three forms, lists of upstreams, braces, carriage returns; what is not there stays empty."""
    assert told(format, line + b"\n") == [row]


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("$remote_adr [$time_local]", "there is no variable $remote_adr; did you mean $remote_addr?"),
        ("$foo123 [$time_local]", "there is no variable $foo123; it is none of nginx's"),
        ("$remote_addr$status [$time_local]", "nothing stands between $remote_addr and $status"),
        ("$remote_addr $status", "tells no time; there must be $time_local, $time_iso8601 or $msec"),
        ("plain", "has no variable, such as $remote_addr"),
        ("", "has no variable, such as $remote_addr"),
    ],
)
def test_a_format_that_cannot_be_read_names_the_variable(format: str, message: str) -> None:
    """One line."""
    with pytest.raises(InputError, match=re.escape(f"--log-format: {message}")):
        LogFormat.parse(format)


def imported(tmp_path: Path, content: bytes, format: str) -> ImportReport:
    """An import of that content."""
    (tmp_path / "x.log").write_bytes(content)
    return import_trace(
        tmp_path / "x.log", tmp_path / "x.parquet", key=b"k" * 16, log_format=LogFormat.parse(format)
    )


def test_lines_that_do_not_fit_are_counted_and_other_formats_read(tmp_path: Path) -> None:
    """Junk, a wrong time, an empty line, a tail, a line too long; a combined line among them is one, and told."""
    content = b"".join(
        [
            b"1767603601.000 10.0.0.1 GET\n",
            b"1767603601.0 10.0.0.1 GET\n",
            b"9999999999.000 10.0.0.1 GET\n",
            b"\n",
            b"\0\1\2\3 junk\n",
            b"1767603602.000 " + b"x" * 20_000 + b" GET\n",
            LINES.splitlines(keepends=True)[0],
            b"1767603603.000 10.0.0.1 GET",
        ]
    )
    report = imported(tmp_path, content, "$msec $remote_addr $request_method")
    assert report.rows == 3
    assert report.lines == 8
    assert report.other == {"common log": 1}
    assert report.dropped == {
        "a line that --log-format does not fit": 1,
        "a time that is none": 1,
        "an empty line": 1,
        "binary junk": 1,
        "a line too long to be a request's": 1,
    }
    assert len(read_trace(report.out)) == 3
    assert report.told().splitlines()[0].startswith("x.log: custom log, 8 lines")
