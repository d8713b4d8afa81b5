"""Recorded calls one by one, with all that a recording may tell of them: HAR, access logs, CSV, JSON lines.

A trace keeps who asked when; a judge needs more: the answer's Retry-After, the token, the person. What cannot
be read is counted by reason with the line where it first was, and all else is kept.
"""

from __future__ import annotations

import base64
import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from quotalab.errors import InputError
from quotalab.traces.access_logs import LONGEST_LINE, one_line, request_of_record
from quotalab.traces.importing import FORMATS, format_of
from quotalab.traces.log_formats import LogFormat
from quotalab.traces.opening import Blocks

__all__ = ["FACTS", "Reading", "RecordedCall", "RecordingMap", "read_recording"]

_UNITS_NS = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}
_MOST_HAR = 1 << 29
_MOST_CALLS = 5_000_000
_LONGEST_ANSWER = 1 << 16
"""Characters; a refusal or a token is told in fewer."""
_MOST_IN_VAIN = 200_000
"""Lines; a file whose first ones are all no calls is read no further."""
_WORDS = ("time", "method", "path", "status", "source", "bytes", "agent")
FACTS = (
    "person",
    "app",
    "tenant",
    "token",
    "operation",
    "request_id",
    "idempotency_key",
    "retry_after",
    "duration",
    "host",
)
"""What a column or a header may tell beside what every access log does."""
_NUMBER = re.compile(r"-?\d{1,18}(\.\d{1,9})?")
_HEADERS = {"retry-after": "retry_after", "idempotency-key": "idempotency_key", "x-request-id": "request_id"}
_ENTRIES = re.compile(r'"entries"\s*:\s*\[')


class RecordedCall(NamedTuple):
    """One call as recorded; in the clear, never to be written so."""

    line: int
    """Where it stands in the file, from 1; of a HAR file, its number among the entries."""
    at_ns: int
    method: str
    path: str
    """Without the query."""
    query: str
    status: int
    """0: it was not recorded."""
    size: int
    source: str | None
    facts: Mapping[str, str]
    """Of `FACTS`, those that are known."""
    request_headers: Mapping[str, str]
    response_headers: Mapping[str, str]
    """By names in lower case; empty where the file has none."""
    body: str = ""
    answer: str = ""
    """The answer's body, if it was recorded and is no longer than 64 KB."""


@dataclass
class Reading:
    """What was read, and what was not."""

    file: str
    format: str
    lines: int = 0
    bytes_read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Lines (of a HAR file, entries) that are no calls, by reason."""
    first: dict[str, int] = field(default_factory=dict)
    """The line at which each reason was met first."""
    doubts: list[str] = field(default_factory=list)
    """What is amiss with the file as a whole."""
    hosts: Counter[str] = field(default_factory=Counter)

    @property
    def unit(self) -> str:
        """What `lines` counts."""
        return "entry" if self.format == "har" else "line"

    def drop(self, reason: str, line: int) -> None:
        """Count a line that is no call."""
        self.dropped[reason] += 1
        self.first.setdefault(reason, line)

    def told(self) -> list[str]:
        """What is amiss, a sentence each."""
        first = (
            f"{number:,} left out, the first in {self.unit} {self.first[reason]:,}: {reason}"
            for reason, number in self.dropped.most_common()
        )
        return [*self.doubts, *first]


@dataclass(frozen=True)
class RecordingMap:
    """Which column or header holds what."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """What -> the file's own name of the column."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """What -> a request header's name, in lower case: of HAR files."""
    unit_ns: int = 10**9
    origin_ns: int = 0
    hosts: frozenset[str] = frozenset()
    """Only calls to these; empty: to any."""

    @classmethod
    def parse(
        cls,
        columns: str | None,
        headers: str | None = None,
        *,
        unit: str = "s",
        origin_ns: int = 0,
        hosts: Iterable[str] = (),
    ) -> RecordingMap:
        """Maps written ``time=t,person=user_id``. Raises `InputError` naming what may stand there."""
        if unit not in _UNITS_NS:
            raise InputError(f"--unit: must be one of {', '.join(_UNITS_NS)}, not {unit!r}")
        named = _map("--columns", columns, (*_WORDS, *FACTS))
        told = {what: name.lower() for what, name in _map("--headers", headers, FACTS[:7]).items()}
        return cls(named, told, _UNITS_NS[unit], origin_ns, frozenset(host.lower() for host in hosts))


def _map(option: str, text: str | None, known: tuple[str, ...]) -> dict[str, str]:
    names: dict[str, str] = {}
    for part in (text or "").split(","):
        if not part.strip():
            continue
        what, equals, name = (one.strip() for one in part.partition("="))
        if not equals or what not in known or not name:
            raise InputError(
                f"{option}: {part.strip()!r} is not WHAT=NAME with WHAT one of {', '.join(known)}"
            )
        names[what] = name
    return names


def read_recording(
    path: Path, mapped: RecordingMap, *, format: str | None = None, log_format: LogFormat | None = None
) -> tuple[list[RecordedCall], Reading]:
    """The calls of a recorded file, in its order, and what was read.

    Raises `InputError` where the file cannot be read, is in no known format, or holds no call: the message
    has what was met and where.
    """
    if format is not None and format not in FORMATS:
        raise InputError(f"--format: must be one of {', '.join(FORMATS)}, not {format!r}")
    blocks = Blocks(path)
    stream = iter(blocks)
    first = next(stream, b"")
    if first.startswith(b"PK\x03\x04"):
        raise InputError(f"{path}: is a ZIP archive; unpack it, and name a file of it")
    named = "common" if log_format else format or format_of(first, bool(mapped.columns))
    reading = Reading(path.name, named)
    if named == "har":
        calls = _har(path, first, stream, mapped, reading)
    else:
        calls = _lines(path, first, stream, blocks, mapped, reading, log_format)
    reading.bytes_read = blocks.bytes_read
    if blocks.tear:
        reading.doubts.append(f"{blocks.tear}; what came before was read")
    if not calls:
        told = "".join(f"\n  {one}" for one in reading.told())
        if reading.lines > _MOST_IN_VAIN and named != "har":
            told += f"\n  after {_MOST_IN_VAIN:,} lines it was read no further"
        raise InputError(
            f"{path}: no {reading.unit} of it is a call, read as {named}: it must be a HAR file, an access "
            f"log (common, combined, nginx, ALB), CSV with a header, or JSON lines{told}"
        )
    return calls, reading


# ---- lines


def _lines(
    path: Path,
    first: bytes,
    rest: Iterator[bytes],
    blocks: Blocks,
    mapped: RecordingMap,
    reading: Reading,
    log_format: LogFormat | None,
) -> list[RecordedCall]:
    calls: list[RecordedCall] = []
    row = _row_reader(mapped, reading, log_format)
    for line in _numbered(first, rest, blocks, reading):
        if not calls and reading.lines > _MOST_IN_VAIN:
            break
        if not line.strip():
            reading.drop("an empty line", reading.lines)
            continue
        found = row(line)
        if found is None:
            continue
        if isinstance(found, str):
            reading.drop(found, reading.lines)
            continue
        host = found.facts.get("host", "").lower()
        if mapped.hosts and host not in mapped.hosts:
            reading.drop("a call to another host" if host else "a call whose host is not told", reading.lines)
            continue
        calls.append(found)
        if len(calls) > _MOST_CALLS:
            raise InputError(
                f"{path}: holds more than {_MOST_CALLS:,} calls (line {reading.lines:,}); audit a part of it"
            )
    return calls


def _numbered(first: bytes, rest: Iterator[bytes], blocks: Blocks, reading: Reading) -> Iterator[bytes]:
    """Each line, with its number in `reading.lines`; one that is too long for a block is counted."""
    too_long = 0

    def skip() -> int:
        for _ in range(blocks.too_long - too_long):
            reading.lines += 1
            reading.drop("a line of more than 8 MB, which is no call's", reading.lines)
        return blocks.too_long

    too_long = skip()
    block: bytes | None = first
    while block is not None:
        for line in block.split(b"\n")[:-1]:
            reading.lines += 1
            yield line.rstrip(b"\r")
        block = next(rest, None)
        too_long = skip()


_Row = Callable[[bytes], "RecordedCall | str | None"]


def _row_reader(mapped: RecordingMap, reading: Reading, log_format: LogFormat | None) -> _Row:
    if reading.format == "csv":
        return _Csv(mapped, reading)
    if reading.format == "jsonl":
        return lambda line: _json_row(line, mapped, reading.lines)
    return lambda line: _log_row(line, mapped, reading.lines, log_format)


def _log_row(
    line: bytes, mapped: RecordingMap, number: int, log_format: LogFormat | None
) -> RecordedCall | str:
    if log_format is not None:
        parsed = log_format(line + b"\n")
        if not len(parsed):
            return next(iter(parsed.dropped), "a line that --log-format does not fit")
        columns = (parsed.source, parsed.method, parsed.path, parsed.agent)
        source, method, path, _ = (None if one is None else one[0].as_py() for one in columns)
        status = 0 if parsed.status is None else int(parsed.status[0])
        size = -1 if parsed.size is None else int(parsed.size[0])
        return _call(number, (int(parsed.at_ns[0]), source, method, path, status, size, None), {})
    if line.lstrip().startswith(b"{"):
        return _json_row(line, mapped, number)
    found = one_line(line)
    return found if isinstance(found, str) else _call(number, found[1], {}, _query(line))


def _query(line: bytes) -> str:
    match = re.search(rb'"[A-Z]{1,16} [^ ?"]*\?([^ "]*)', line[:LONGEST_LINE])
    return match.group(1).decode("utf-8", "replace") if match else ""


def _json_row(line: bytes, mapped: RecordingMap, number: int) -> RecordedCall | str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        other = one_line(line)
        if isinstance(other, str):
            return "a broken JSON line" if line[:512].isascii() else "binary junk"
        return _call(number, other[1], {}, _query(line))
    if not isinstance(record, dict):
        return "a JSON line that is no object"
    return _record_row(record, mapped, number)


class _Csv:
    """The lines of a CSV file, the header first."""

    def __init__(self, mapped: RecordingMap, reading: Reading) -> None:
        self._mapped, self._reading = mapped, reading
        self._header: list[str] = []
        self._delimiter = ","

    def __call__(self, line: bytes) -> RecordedCall | str | None:
        text = line.decode("utf-8-sig" if not self._header else "utf-8", "replace")
        if not self._header:
            self._start(text)
            return None
        try:
            fields = next(csv.reader([text], delimiter=self._delimiter, strict=True), [])
        except csv.Error:
            return "a CSV line with a stray quote"
        if len(fields) != len(self._header):
            return "a CSV line with the wrong number of columns"
        return _record_row(dict(zip(self._header, fields, strict=True)), self._mapped, self._reading.lines)

    def _start(self, text: str) -> None:
        if len(text) > 1 << 16 or "\0" in text:
            raise InputError("line 1 is no CSV header; name the format with --format")
        self._delimiter = max(",\t;|", key=text.count)
        self._header = next(csv.reader([text], delimiter=self._delimiter), [])
        if len(set(self._header)) != len(self._header):
            raise InputError(f"line 1: the CSV header names a column twice: {text[:200]}")
        lacking = [name for name in self._mapped.columns.values() if name not in self._header]
        known = ", ".join(self._header)[:300]
        if lacking:
            raise InputError(f"--columns: line 1 has no column {lacking[0]!r}; there are: {known}")
        probe = _record_row(dict.fromkeys(self._header, "1"), self._mapped, 1)
        if isinstance(probe, str):
            raise InputError(
                f"line 1: no column holds times by one of the usual names (time, timestamp, ...); say which "
                f"with --columns time=NAME; there are: {known}"
            )


def _record_row(record: Mapping[str, Any], mapped: RecordingMap, number: int) -> RecordedCall | str:
    found = dict(record)
    for what, name in mapped.columns.items():
        found[what] = record.get(name)
    if "time" in mapped.columns or mapped.unit_ns != 10**9 or mapped.origin_ns:
        time = next(
            (found[n] for n in ("time", "t", "at", "ts", "timestamp") if found.get(n) is not None), None
        )
        if (at_ns := _scaled_ns(time, mapped)) is not None:
            found["time"] = {"ns": at_ns}
    row = request_of_record(found)
    if row is None:
        return "a record without a time"
    facts = {what: str(found[what]) for what in FACTS if found.get(what) not in (None, "")}
    if "retry_after" not in facts and found.get("retry-after") not in (None, ""):
        facts["retry_after"] = str(found["retry-after"])
    url = next((found[n] for n in ("path", "uri", "request_uri", "url") if isinstance(found.get(n), str)), "")
    host, path, query = _parts(url)
    if host:
        facts.setdefault("host", host)
        row = (*row[:3], path.encode("utf-8", "replace"), *row[4:])
    return _call(number, row, facts, query)


def _scaled_ns(time: Any, mapped: RecordingMap) -> int | None:
    if isinstance(time, bool) or time is None:
        return None
    if isinstance(time, str):
        if not _NUMBER.fullmatch(time.strip()):
            return None
        whole, _, fraction = time.strip().partition(".")
        sign = -1 if whole.startswith("-") else 1
        part = sign * int((fraction or "0").ljust(9, "0")) * mapped.unit_ns // 10**9
        return mapped.origin_ns + int(whole) * mapped.unit_ns + part
    if isinstance(time, int):
        return mapped.origin_ns + time * mapped.unit_ns
    if isinstance(time, float) and abs(time) < 1e18:
        return mapped.origin_ns + round(time * mapped.unit_ns)
    return None


def _call(number: int, row: tuple[Any, ...], facts: Mapping[str, str], query: str = "") -> RecordedCall:
    at_ns, source, method, path, status, size, _ = row
    return RecordedCall(
        number,
        at_ns,
        _text(method) or "GET",
        _text(path) or "/",
        query,
        status,
        size,
        _text(source),
        facts,
        {},
        {name: value for name, value in (("retry-after", facts.get("retry_after")),) if value},
    )


def _text(value: bytes | str | None) -> str | None:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


# ---- HAR


def _har(
    path: Path, first: bytes, rest: Iterator[bytes], mapped: RecordingMap, reading: Reading
) -> list[RecordedCall]:
    content = bytearray(first)
    for block in rest:
        content += block
        if len(content) > _MOST_HAR:
            raise InputError(f"{path}: a HAR file of more than {_MOST_HAR >> 20} MB is not read")
    calls = []
    for number, entry in enumerate(_entries(path, bytes(content).rstrip(), reading), 1):
        reading.lines = number
        found = _entry(entry, mapped, number)
        if isinstance(found, str):
            reading.drop(found, number)
            continue
        host = found.facts.get("host", "")
        reading.hosts[host] += 1
        if mapped.hosts and host not in mapped.hosts:
            reading.drop("a call to another host", number)
        else:
            calls.append(found)
    if not mapped.hosts and len(reading.hosts) > 1:
        told = ", ".join(f"{host or 'none'} ({number:,})" for host, number in reading.hosts.most_common(8))
        raise InputError(
            f"{path}: has calls to several hosts: {told}; say which is the provider's with --host"
        )
    return calls


def _entries(path: Path, content: bytes, reading: Reading) -> list[Any]:
    """The entries; of a file that is cut off, those before the cut."""
    text = content.decode("utf-8-sig", "replace")
    try:
        document = json.loads(text)
        entries = document["log"]["entries"]
    except json.JSONDecodeError as error:
        return _salvaged(path, text, error, reading)
    except (RecursionError, LookupError, TypeError) as error:
        raise InputError(f"{path}: is no HAR file (log.entries): {type(error).__name__}: {error}") from None
    if not isinstance(entries, list):
        raise InputError(f"{path}: is no HAR file: log.entries must be a list")
    return entries


def _salvaged(path: Path, text: str, error: json.JSONDecodeError, reading: Reading) -> list[Any]:
    start = _ENTRIES.search(text)
    if start is None:
        raise InputError(
            f"{path}: line {error.lineno}: is no HAR file, which is JSON with log.entries: {error.msg}"
        ) from None
    decoder, entries, place = json.JSONDecoder(), [], start.end()
    while True:
        while place < len(text) and text[place] in " \t\r\n,":
            place += 1
        if place >= len(text) or text[place] == "]":
            break
        try:
            entry, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            break
        entries.append(entry)
    reading.doubts.append(
        f"line {error.lineno:,}: the HAR file is cut off or broken there ({error.msg}); the "
        f"{len(entries):,} whole entries before it were read"
    )
    return entries


def _entry(entry: Any, mapped: RecordingMap, number: int) -> RecordedCall | str:
    request = entry.get("request") if isinstance(entry, dict) else None
    if not isinstance(request, dict):
        return "a HAR entry without a request"
    response = entry.get("response")
    response = response if isinstance(response, dict) else {}
    content, post = response.get("content"), request.get("postData")
    url = request.get("url")
    host, path, query = _parts(url if isinstance(url, str) else "")
    row = request_of_record(
        {
            "time": entry.get("startedDateTime"),
            "method": request.get("method"),
            "path": path,
            "status": response.get("status"),
            "bytes": content.get("size") if isinstance(content, dict) else None,
        }
    )
    if row is None:
        return "a HAR entry without a time"
    sent, got = _headers(request.get("headers")), _headers(response.get("headers"))
    facts = {what: got.get(name) or sent.get(name) for name, what in _HEADERS.items()}
    facts["token"] = sent.get("authorization")
    facts["operation"] = sent.get("traceparent", "")[3:35]
    facts |= {what: sent.get(name) for what, name in mapped.headers.items()}
    facts["host"] = host
    took_ms = entry.get("time")
    if isinstance(took_ms, int | float) and not isinstance(took_ms, bool) and 0 <= took_ms < 1e9:
        facts["duration"] = str(took_ms / 1e3)
    return RecordedCall(
        number,
        row[0],
        _text(row[2]) or "GET",
        path,
        query,
        row[4],
        row[5],
        None,
        {what: value for what, value in facts.items() if value},
        sent,
        got,
        _posted(post),
        _answer(content),
    )


def _posted(post: Any) -> str:
    """A request's body; recorders write a form's fields beside its text, or in place of it."""
    if not isinstance(post, dict):
        return ""
    if isinstance(post.get("text"), str) and post["text"]:
        return str(post["text"])
    fields = post.get("params")
    pairs = [
        (one["name"], one["value"])
        for one in (fields[:200] if isinstance(fields, list) else ())
        if isinstance(one, dict) and isinstance(one.get("name"), str) and isinstance(one.get("value"), str)
    ]
    return urlencode(pairs)


def _answer(content: Any) -> str:
    text = content.get("text") if isinstance(content, dict) else None
    if not isinstance(text, str) or len(text) > _LONGEST_ANSWER:
        return ""
    if content.get("encoding") == "base64":
        try:
            return base64.b64decode(text, validate=True).decode("utf-8", "replace")
        except ValueError:
            return ""
    return text


def _parts(url: str) -> tuple[str, str, str]:
    """Host, path and query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", "/", ""
    return parts.netloc.rpartition("@")[2].lower(), parts.path or "/", parts.query


def _headers(headers: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for header in headers[:200] if isinstance(headers, list) else ():
        if isinstance(header, dict) and isinstance(header.get("name"), str):
            found[header["name"].lower()] = str(header.get("value", ""))
    return found
