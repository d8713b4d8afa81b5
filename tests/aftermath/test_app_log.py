"""The app's log: what can be read is kept, what cannot is counted with its line."""

from __future__ import annotations

import pytest

from quotalab.aftermath import app_log, read_log
from quotalab.errors import ProfileError
from quotalab.profiles.app import LOG_FIELDS, AppLog, app_settings

AT = 1_767_571_200_000_000_000  # 2026-01-05 00:00 UTC


def read(tmp_path, text, format="jsonl", *, begin=0, **columns):
    path = tmp_path / "calls.log"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    log = AppLog("calls.log", format, {name: columns.get(name, name) for name in LOG_FIELDS})
    return read_log(
        log, path, begin=begin, host="provider.test", shown=lambda text: text.replace("SECRET", "?")
    )


def rows(found):
    return [{k: v for k, v in row.items() if v is not None} for row in found.entries.to_pylist()]


def ns(found):
    return found.entries["at"].cast("int64").to_pylist()


SAME = {"line": 1, "method": "GET", "path": "/v1/events", "status": 200, "person": "ann"}


@pytest.mark.parametrize(
    ("format", "text"),
    [
        (
            "jsonl",
            '{"method": "get", "path": "https://provider.test/v1/events?x=1", "status": 200, "person": "ann"}',
        ),
        (
            "jsonl",
            '{"method": "GET", "path": "/v1/ev%65nts", "status": "200", "person": "ann", "wait": null}',
        ),
        ("logfmt", 'level=info method=GET path="/v1/events" status=200 person=ann wait='),
    ],
)
def test_an_entry_is_read_from_each_format(tmp_path, format, text):
    """The path stands without host and query, the method in capitals; what says nothing is missing."""
    found = read(tmp_path, text, format)
    assert rows(found) == [SAME]
    assert (found.lines, found.broken) == (1, 0)


def test_csv_has_its_names_in_the_first_line(tmp_path):
    """Also where this run's part begins later; a line of another length is broken."""
    text = "person,method,path,status\nbob,GET,/old,200\nann,GET,/v1/events,200\na,b\n"
    found = read(tmp_path, text, "csv", begin=text.index("ann"))
    assert rows(found) == [{**SAME, "line": 3}]
    assert found.first_broken == [(4, "has 2 fields, and the header 4")]


def test_columns_have_other_names_and_lie_deeper(tmp_path):
    """A name with dots is looked for as it stands, then downwards."""
    text = '{"http": {"verb": "GET"}, "url.path": "/v1/events", "code": 200, "user": "ann"}'
    names = {"method": "http.verb", "path": "url.path", "status": "code", "person": "user"}
    assert rows(read(tmp_path, text, **names)) == [SAME]


@pytest.mark.parametrize(
    ("at", "ns_since"),
    [
        ('"2026-01-05T00:00:01.25Z"', AT + 1_250_000_000),
        ('"2026-01-05 01:00:00+01:00"', AT),
        ('"2026-01-05T00:00:00"', AT),
        ("1767571200", AT),
        ("1767571200.123456789", AT + 123_456_789),
        ('"1767571200123"', AT + 123_000_000),
        ("1767571200123456", AT + 123_456_000),
        ("1767571200123456789", AT + 123_456_789),
        ('"yesterday"', None),
        ("-1", None),
        ("NaN", None),
        ("1e400", None),
        ("true", None),
    ],
)
def test_times_are_read_as_they_are_written(tmp_path, at, ns_since):
    """ISO 8601, or a number whose size tells its unit; what is no time is missing."""
    found = read(tmp_path, f'{{"at": {at}}}')
    if at == "1767571200.123456789":
        assert abs(ns(found)[0] - ns_since) < 1000  # a JSON number is a float
    else:
        assert ns(found) == [ns_since]


def test_broken_lines_are_counted_with_their_numbers(tmp_path, monkeypatch):
    """Not JSON, no object, no text, too long, too deep: each with its reason; the good ones are kept."""
    monkeypatch.setattr(app_log, "LONGEST_LINE", 200)
    good = b'{"method": "GET", "path": "/v1/events", "status": 200, "person": "ann"}'
    deep = b"[" * 150
    text = b"\n".join([good, b"oops", b"[1]", b"\xff", b"x" * 1000, b"", b'{"a": ' + deep, good])
    found = read(tmp_path, text)
    assert [row["line"] for row in rows(found)] == [1, 8]
    assert (found.lines, found.broken) == (8, 5)
    assert [line for line, _ in found.first_broken] == [2, 3, 4, 5, 7]
    whys = [why for _, why in found.first_broken]
    assert whys[0] == "is not JSON: Expecting value at column 1"
    assert whys[1:4] == ["is no JSON object", "is not UTF-8", "is longer than 200 bytes"]


def test_there_is_an_end_to_what_is_read(tmp_path, monkeypatch):
    """More lines than are read: it says so."""
    monkeypatch.setattr(app_log, "MOST_LINES", 2)
    found = read(tmp_path, "{}\n" * 3)
    assert (found.lines, found.cut, found.entries.num_rows) == (2, True, 2)


def test_calls_to_other_hosts_are_left_out(tmp_path):
    """And counted."""
    found = read(tmp_path, '{"path": "https://other.test/x"}\n{"path": "https://PROVIDER.test/x"}')
    assert (found.foreign, found.entries.num_rows) == (1, 1)


def test_texts_are_redacted_as_the_ledgers_are(tmp_path):
    """Every text passes through what the ledger uses; request ids are looked at later."""
    found = read(
        tmp_path,
        '{"path": "/SECRET", "person": "SECRET", "tenant": "SECRET", "route": "SECRET", "wait": "SECRET"}',
    )
    assert rows(found) == [{"line": 1, "path": "/?", "person": "?", "tenant": "?", "route": "?", "wait": "?"}]


def test_no_file_is_said(tmp_path):
    """A log that is not there, or is a folder."""
    log = AppLog("x", "jsonl", {name: name for name in LOG_FIELDS})
    for path in (tmp_path / "gone", tmp_path):
        found = read_log(log, path, begin=0, host="", shown=str)
        assert found.entries is None
        assert found.missing


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"files": ["../x"]}, "tool.quotalab.app.files: must lie inside the workspace"),
        ({"files": ["/etc/*"]}, "tool.quotalab.app.files: must lie inside the workspace"),
        ({"log": {}}, "tool.quotalab.app.log.file: is missing"),
        ({"log": {"file": "/x"}}, "tool.quotalab.app.log.file: must lie inside the workspace"),
        ({"log": {"file": "x", "format": "xml"}}, "tool.quotalab.app.log.format: must be one of"),
        (
            {"log": {"file": "x", "columns": {"when": "ts"}}},
            "tool.quotalab.app.log.columns.when: is not a key",
        ),
    ],
)
def test_wrong_settings_are_one_clear_line(table, told):
    """The file, the key and what would be right."""
    with pytest.raises(ProfileError) as caught:
        app_settings({"app": table}, "pyproject.toml")
    assert told in str(caught.value)


def test_settings_are_read():
    """Names that are not mapped are their own."""
    settings = app_settings(
        {"app": {"files": ["logs/*"], "log": {"file": "l", "columns": {"at": "ts"}}}}, "pyproject.toml"
    )
    assert settings.files == ("logs/*",)
    assert settings.log.format == "jsonl"
    assert (settings.log.columns["at"], settings.log.columns["status"]) == ("ts", "status")
