"""Reading recorded calls: every format, and what is broken in each."""

import gzip
import json

import pytest

from quotalab.errors import InputError
from quotalab.traces.recorded import RecordingMap, read_recording

PLAIN = RecordingMap.parse(None)


def har(entries, path):
    path.write_text(json.dumps({"log": {"entries": entries}}, indent=1))
    return path


def entry(at="2026-03-02T09:00:00.250Z", url="https://api.example.com/v1/events?day=3", status=200, **more):
    return {
        "startedDateTime": at,
        "time": 120,
        "request": {"method": "GET", "url": url, "headers": more.get("sent", [])},
        "response": {"status": status, "headers": more.get("got", []), "content": {"size": 10}},
    }


def test_har_entry_with_headers(tmp_path):
    """A HAR entry tells time, duration, path, query, token, person by the map, and Retry-After."""
    sent = [{"name": "Authorization", "value": "Bearer t"}, {"name": "X-User", "value": "ann"}]
    got = [{"name": "Retry-After", "value": "60"}]
    path = har([entry(status=429, sent=sent, got=got)], tmp_path / "a.har")
    (call,), reading = read_recording(path, RecordingMap.parse(None, "person=X-User"))
    assert (call.at_ns, call.method, call.path, call.query) == (
        1_772_442_000_250_000_000, "GET", "/v1/events", "day=3",
    )  # fmt: skip
    assert call.status == 429
    assert call.response_headers == {"retry-after": "60"}
    assert call.facts == {
        "token": "Bearer t", "person": "ann", "host": "api.example.com", "duration": "0.12",
        "retry_after": "60",
    }  # fmt: skip
    assert reading.told() == []


def test_truncated_har_keeps_what_is_whole(tmp_path):
    """Of a HAR file that is cut off the whole entries are kept, and the message names the line."""
    path = har([entry(), entry(), entry()], tmp_path / "a.har")
    text = path.read_text()
    cut = text.rindex('"response"')
    path.write_text(text[:cut])
    calls, reading = read_recording(path, PLAIN)
    assert len(calls) == 2
    line = text[:cut].rstrip().count("\n") + 1
    assert reading.told() == [
        f"line {line}: the HAR file is cut off or broken there (Expecting property name enclosed in double "
        "quotes); the 2 whole entries before it were read"
    ]


def test_har_of_several_hosts_asks_which(tmp_path):
    """Entries of several hosts are refused with their names, and --host chooses."""
    path = har([entry(), entry(url="https://cdn.example.net/a.js")], tmp_path / "a.har")
    with pytest.raises(InputError, match=r"several hosts: api.example.com \(1\), cdn.example.net \(1\); say"):
        read_recording(path, PLAIN)
    calls, reading = read_recording(path, RecordingMap.parse(None, hosts=["API.example.com"]))
    assert len(calls) == 1
    assert reading.told() == ["1 left out, the first in entry 2: a call to another host"]


COMMON = '10.0.0.{} - - [02/Mar/2026:09:00:{:02d} +0000] "GET /v1/events?n={} HTTP/1.1" {} 12\n'


def test_access_log_with_broken_lines(tmp_path):
    """What is no call is counted by reason, with the line of the first; the rest is kept."""
    path = tmp_path / "access.log"
    path.write_text(
        COMMON.format(1, 1, 5, 200) + "what is this\n\n" + COMMON.format(2, 2, 6, 429) + "nor this\n"
    )
    calls, reading = read_recording(path, PLAIN)
    assert [(call.line, call.status, call.query, call.source) for call in calls] == [
        (1, 200, "n=5", "10.0.0.1"), (4, 429, "n=6", "10.0.0.2"),
    ]  # fmt: skip
    assert reading.told() == [
        "2 left out, the first in line 2: a line of no known format",
        "1 left out, the first in line 3: an empty line",
    ]


def test_line_of_100_mb(tmp_path):
    """A line of 100 MB is passed over in flat memory, and its number is told."""
    path = tmp_path / "access.log"
    with path.open("wb") as file:
        file.write(COMMON.format(1, 1, 5, 200).encode())
        for _ in range(100):
            file.write(b"x" * (1 << 20))
        file.write(b"\n" + COMMON.format(2, 2, 6, 200).encode())
    calls, reading = read_recording(path, PLAIN)
    assert [call.line for call in calls] == [1, 3]
    assert reading.first == {"a line of more than 8 MB, which is no call's": 2}


def test_no_known_format(tmp_path):
    """A file that holds no call says what it may be, and what was met where."""
    path = tmp_path / "poem.txt"
    path.write_text("roses are red\nviolets are blue\n")
    with pytest.raises(InputError, match=r"(?s)no line of it is a call.*2 left out, the first in line 1"):
        read_recording(path, PLAIN)


@pytest.mark.parametrize(
    "text", ['{"log": {"entries": 3}}', '{"log": {"entries": [', '{"log": {"entries": []}}']
)
def test_har_without_entries(tmp_path, text):
    """A HAR file without an entry is refused, never taken for good."""
    path = tmp_path / "a.har"
    path.write_text(text)
    with pytest.raises(InputError, match=r"a\.har"):
        read_recording(path, PLAIN, format="har")


def test_csv_with_column_map(tmp_path):
    """A map names the columns of time, person and Retry-After; a short row is told with its line."""
    path = tmp_path / "calls.csv"
    path.write_text("t,url,code,who,wait\n1500,/v1/events,429,ann,30\n1,2\n2500,/v1/events,200,bob,\n")
    mapped = RecordingMap.parse("time=t,status=code,person=who,retry_after=wait", unit="ms")
    calls, reading = read_recording(path, mapped)
    assert [(call.at_ns, call.facts.get("person"), call.response_headers) for call in calls] == [
        (1_500_000_000, "ann", {"retry-after": "30"}), (2_500_000_000, "bob", {}),
    ]  # fmt: skip
    assert reading.told() == ["1 left out, the first in line 3: a CSV line with the wrong number of columns"]


def test_csv_missing_columns(tmp_path):
    """A column that is not there, and a header without times, are named with the columns that there are."""
    path = tmp_path / "calls.csv"
    path.write_text("when,url\n1,/a\n")
    with pytest.raises(InputError, match=r"line 1 has no column 'who'; there are: when, url"):
        read_recording(path, RecordingMap.parse("time=when,person=who"))
    with pytest.raises(InputError, match=r"line 1: no column holds times .* there are: when, url"):
        read_recording(path, PLAIN, format="csv")


def test_wrong_map():
    """A map of what cannot be mapped is refused with what can be."""
    with pytest.raises(InputError, match=r"--columns: 'colour=c' is not WHAT=NAME with WHAT one of time, "):
        RecordingMap.parse("colour=c")
    with pytest.raises(InputError, match=r"--unit: must be one of s, ms, us, ns, not 'h'"):
        RecordingMap.parse(None, unit="h")


def test_gzip_bomb(tmp_path):
    """What unpacks to hundreds of times its size is refused before it is unpacked."""
    path = tmp_path / "bomb.log.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(120):
            file.write(b"\0" * (1 << 20))
    with pytest.raises(InputError, match="unpacks to more than 400 times its size"):
        read_recording(path, PLAIN)


def test_lines_without_end(tmp_path):
    """A file of which nothing is a call is given up on, not read to its end."""
    path = tmp_path / "blank.log"
    path.write_bytes(b"\n" * 300_000)
    with pytest.raises(InputError, match="after 200,000 lines it was read no further"):
        read_recording(path, PLAIN)


def test_zip_archive_and_torn_gzip(tmp_path):
    """A ZIP archive is named as one; of a torn gzip file what came before is read."""
    path = tmp_path / "a.zip"
    path.write_bytes(b"PK\x03\x04....")
    with pytest.raises(InputError, match="is a ZIP archive; unpack it"):
        read_recording(path, PLAIN)
    torn = tmp_path / "b.log.gz"
    lines = "".join(COMMON.format(i % 250, i % 60, i * 7919, 200) for i in range(20_000))
    whole = gzip.compress(lines.encode())
    torn.write_bytes(whole[: len(whole) // 2])
    calls, reading = read_recording(torn, PLAIN)
    assert 5_000 < len(calls) < 15_000
    assert reading.doubts == ["torn gzip: it ends in the middle; what came before was read"]
