"""Access logs, a block at a time: common, combined, nginx's and ALB lines.

Well-formed lines are cut up with numpy, all at once. The others go through patterns one by one, and so do
lines of another format than most: nothing that one line holds can spoil the next.
"""

from __future__ import annotations

import datetime
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quotalab.traces.parsed import FIRST_NS, LAST_NS, NO_BYTES, Parsed, civil_ns, joined

__all__ = [
    "JSON_NAMES",
    "LONGEST_LINE",
    "columns_of",
    "common_time_ns",
    "iso_time_ns",
    "looks_like_alb",
    "looks_like_common",
    "one_line",
    "parse_alb",
    "parse_common",
    "request_of_record",
    "split_request",
]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_NEWLINE, _BLANK, _QUOTE, _BACKSLASH, _DASH, _COLON, _QUESTION = b'\n "\\-:?'
LONGEST_LINE = 1 << 14
"""A longer one is no request's."""
_LONGEST_SOURCE, _LONGEST_METHOD = 256, 64
_MONTHS = {m: i for i, m in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}
_MONTH_CODES = np.array(sorted(int.from_bytes(m, "big") for m in _MONTHS), dtype=np.int64)
_MONTH_NUMBERS = np.array(
    [_MONTHS[int(code).to_bytes(3, "big")] for code in _MONTH_CODES.tolist()], dtype=np.int64
)

# Everything is bounded, so that no line makes a pattern try its square.
_DAY_0 = datetime.date(1970, 1, 1).toordinal()
_COMMON_TIME = re.compile(rb"(\d\d)/(\w{3})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)")
_COMMON = re.compile(
    rb"^(\S{1,255}) \S{1,255} .{0,255}?\[([^\[\]]{20,40})\] "
    rb'"((?:[^"\\]|\\.)*)" (\d{3}) (\d{1,18}|-)'
    rb'(?: "(?:[^"\\]|\\.)*" "((?:[^"\\]|\\.)*)")?'
)
_ALB = re.compile(
    rb"^[a-z0-9]{1,8} (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z) \S{1,255} "
    rb"(\S{1,64}?)(?::\d{1,5})? \S{1,64} \S{1,32} \S{1,32} \S{1,32} (\d{3}|-) \S{1,4} "
    rb'\d{1,18} (\d{1,18}) "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"'
)
_TAIL = re.compile(rb'^\s*"[^"]*"\s*$|^[^"\[\]]{1,400}"\s*$')

JSON_NAMES: Mapping[str, tuple[str, ...]] = {
    "time": ("time", "t", "at", "ts", "timestamp", "@timestamp", "time_iso8601", "msec", "time_local",
             "datetime", "date", "startedDateTime"),
    "source": ("source", "client", "client_ip", "remote_addr", "ip", "remote_ip", "clientip", "host", "user"),
    "method": ("method", "request_method", "verb", "http_method"),
    "path": ("path", "uri", "request_uri", "url", "target"),
    "request": ("request", "request_line"),
    "status": ("status", "status_code", "response", "code"),
    "bytes": ("bytes", "body_bytes_sent", "bytes_sent", "size", "response_bytes"),
    "agent": ("agent", "user_agent", "http_user_agent", "useragent"),
    "kind": ("kind",),
}  # fmt: skip
"""Names under which logs of records (JSON lines, CSV) carry what a trace keeps, best first."""


def looks_like_common(line: bytes) -> bool:
    """Whether a line is one of a common or combined log."""
    return _COMMON.match(line[:LONGEST_LINE]) is not None


def looks_like_alb(line: bytes) -> bool:
    """Whether a line is one of an Application Load Balancer's log."""
    return _ALB.match(line[:LONGEST_LINE]) is not None


@dataclass(frozen=True)
class _Geometry:
    """Where the lines of a block begin and end, and where its blanks and quotes are."""

    buf: npt.NDArray[np.uint8]
    starts: Ints
    ends: Ints
    quotes: Ints
    first_quote: Ints
    """Index into `quotes` of each line's first."""
    quoted: Ints
    """Quotes in each line."""
    plain: Bools
    """Lines without a control character in a quoted text's way: no escaped quote, not too long."""


def _geometry(block: bytes) -> _Geometry:
    buf = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(buf == _NEWLINE)
    starts = np.empty_like(ends)
    starts[0] = 0
    starts[1:] = ends[:-1] + 1
    quotes = np.flatnonzero(buf == _QUOTE)
    first_quote = np.searchsorted(quotes, starts)
    quoted = np.diff(first_quote, append=len(quotes))
    escaped = quotes[buf[np.maximum(quotes - 1, 0)] == _BACKSLASH]
    plain = ends - starts < LONGEST_LINE
    if len(escaped):
        plain[np.searchsorted(starts, escaped, "right") - 1] = False
    quotes = np.append(quotes, [len(buf) - 1] * 8)  # so that a next one can be asked for anywhere
    return _Geometry(buf, starts, ends, quotes, first_quote, quoted, plain)


def parse_common(block: bytes) -> Parsed:
    """Common and combined log lines, with whatever else follows them."""
    shape = _geometry(block)
    buf, starts = shape.buf, shape.starts
    opens, closes = shape.quotes[shape.first_quote], shape.quotes[shape.first_quote + 1]
    time_at = opens - 28
    good = shape.plain & ((shape.quoted == 2) | ((shape.quoted >= 6) & (shape.quoted % 2 == 0)))
    good &= (time_at > starts + 4) & (closes + 6 <= shape.ends)
    rows = np.flatnonzero(good)
    time_at, opens, closes = time_at[rows], opens[rows], closes[rows]
    at_ns, timely = _common_times(buf, time_at)
    timely &= (buf[time_at - 1] == ord("[")) & (buf[opens - 2] == ord("]")) & (buf[opens - 1] == _BLANK)
    status, known = _digits(buf, closes + 2, closes + 5)
    timely &= known & (buf[closes + 1] == _BLANK)
    source_end = _next(buf, _BLANK, starts[rows], _LONGEST_SOURCE)
    timely &= (source_end < time_at) & (source_end > starts[rows])
    rows, time_at, opens, closes, at_ns, status, source_end = _kept(
        timely, rows, time_at, opens, closes, at_ns, status, source_end
    )
    after = _next(buf, _BLANK, closes + 6, 20)
    size = _sizes(buf, closes + 6, np.minimum(after, shape.ends[rows]))
    method_end, path_at, path_end = _request(shape, opens, closes)
    agent = np.where(shape.quoted[rows] >= 6, shape.first_quote[rows] + 4, shape.first_quote[rows] + 1)
    agent_at, agent_end = shape.quotes[agent] + 1, shape.quotes[agent + 1]
    none = shape.quoted[rows] < 6
    agent_at, agent_end = np.where(none, closes, agent_at), np.where(none, closes, agent_end)
    source, method, path, agents = _cut(
        block,
        (starts[rows], source_end),
        (opens + 1, method_end),
        (path_at, path_end),
        (agent_at, agent_end),
    )
    fast = Parsed(at_ns, source, method, path, status.astype(np.int16), size, agents)
    return _with_the_rest(block, shape, rows, fast, "common log")


def parse_alb(block: bytes) -> Parsed:
    """Lines of an AWS Application Load Balancer; the port is taken off the source."""
    shape = _geometry(block)
    buf = shape.buf
    opens, closes = shape.quotes[shape.first_quote], shape.quotes[shape.first_quote + 1]
    good = shape.plain & (shape.quoted >= 4) & (shape.quoted % 2 == 0)
    blanks = np.append(np.flatnonzero(buf == _BLANK), [len(buf)] * 12)
    first_blank = np.searchsorted(blanks, shape.starts)
    good &= np.searchsorted(blanks, opens) - first_blank == 12
    rows = np.flatnonzero(good)
    opens, closes, first = opens[rows], closes[rows], first_blank[rows]
    field = [blanks[first + i] for i in range(12)]
    at_ns, timely = _iso_times(buf, field[0] + 1)
    timely &= field[1] - field[0] == 28
    client_at, client_end = field[2] + 1, field[3]
    colons = np.append(np.flatnonzero(buf == _COLON), len(buf))
    last = colons[np.maximum(np.searchsorted(colons, client_end) - 1, 0)]
    client_end = np.where((last > client_at) & (last < client_end), last, client_end)
    timely &= client_end > client_at
    status, known = _digits(buf, field[7] + 1, field[8])
    status = np.where(known & (status < 1000), status, 0)
    keep = (rows, opens, closes, at_ns, status, client_at, client_end, field[10], field[11])
    rows, opens, closes, at_ns, status, client_at, client_end, sent, sent_end = _kept(timely, *keep)
    size = _sizes(buf, sent + 1, sent_end)
    method_end, path_at, path_end = _request(shape, opens, closes)
    agent = shape.first_quote[rows] + 2
    source, method, path, agents = _cut(
        block,
        (client_at, client_end),
        (opens + 1, method_end),
        (path_at, path_end),
        (shape.quotes[agent] + 1, shape.quotes[agent + 1]),
    )
    fast = Parsed(at_ns, source, method, path, status.astype(np.int16), size, agents)
    return _with_the_rest(block, shape, rows, fast, "ALB log")


def _kept(mask: Bools, *columns: Ints) -> tuple[Ints, ...]:
    return columns if mask.all() else tuple(column[mask] for column in columns)


def _request(shape: _Geometry, opens: Ints, closes: Ints) -> tuple[Ints, Ints, Ints]:
    """Ends of the methods, starts and ends of the paths, within quoted request lines."""
    buf = shape.buf
    method_end = np.minimum(_next(buf, _BLANK, opens + 1, _LONGEST_METHOD), closes)
    path_at = np.minimum(method_end + 1, closes)
    # The path ends before `` HTTP/1.1`` or `` HTTP/2``, where one of them is there.
    path_end = closes
    for width in (9, 7):
        at = np.maximum(closes - width, 0)
        versioned = (buf[at] == _BLANK) & (buf[at + 1] == ord("H")) & (at >= path_at)
        path_end = np.where(versioned & (path_end == closes), at, path_end)
    questions = np.append(np.flatnonzero(buf == _QUESTION), len(buf))
    path_end = np.minimum(path_end, questions[np.searchsorted(questions, path_at)])
    return method_end, path_at, np.maximum(path_end, path_at)


def _next(buf: npt.NDArray[np.uint8], byte: int, at: Ints, most: int) -> Ints:
    """Where the byte comes next, at or after each place; beyond `most` bytes it is not looked for."""
    found = at + most
    left = np.arange(len(at))
    place = at
    for _ in range(most):
        here = buf[np.minimum(place, len(buf) - 1)] == byte
        if here.any():
            found[left[here]] = place[here]
            left, place = left[~here], place[~here]
        if not len(left):
            break
        place = place + 1
    return found


def _cut(block: bytes, *spans: tuple[Ints, Ints]) -> list[pa.Array]:
    """The texts between the given offsets, which rise from span to span and from row to row.

    Everything between two rising offsets is one text of a single Arrow array over the block itself; every
    other one is wanted. Nothing is copied but what is taken.
    """
    rows = len(spans[0][0])
    offsets = np.empty((rows, 2 * len(spans)), dtype=np.int32)
    for i, (start, end) in enumerate(spans):
        offsets[:, 2 * i], offsets[:, 2 * i + 1] = start, end
    flat = np.append(offsets.ravel(), np.int32(len(block)))
    texts = pa.Array.from_buffers(pa.binary(), len(flat) - 1, [None, pa.py_buffer(flat), pa.py_buffer(block)])
    step = 2 * len(spans)
    return [texts.take(pa.array(np.arange(2 * i, rows * step, step))) for i in range(len(spans))]


def _number(buf: npt.NDArray[np.uint8], at: Ints, width: int, bad: Bools) -> Ints:
    """A number of fixed width; `bad` is set where one of its characters is no digit."""
    total = np.zeros(len(at), dtype=np.int64)
    for i in range(width):
        digit = buf[at + i] - np.uint8(48)
        bad |= digit > 9
        total = total * 10 + digit
    return total


def _common_times(buf: npt.NDArray[np.uint8], at: Ints) -> tuple[Ints, Bools]:
    """Times written ``10/Oct/2000:13:55:36 -0700``, and which of them are times."""
    bad = np.zeros(len(at), dtype=bool)
    day, year = _number(buf, at, 2, bad), _number(buf, at + 7, 4, bad)
    hour, minute, second = (_number(buf, at + i, 2, bad) for i in (12, 15, 18))
    code = (
        (buf[at + 3].astype(np.int64) << 16)
        | (buf[at + 4].astype(np.int64) << 8)
        | buf[at + 5].astype(np.int64)
    )
    place = np.minimum(np.searchsorted(_MONTH_CODES, code), 11)
    bad |= _MONTH_CODES[place] != code
    zone = _number(buf, at + 22, 2, bad) * 60 + _number(buf, at + 24, 2, bad)
    sign = buf[at + 21]
    bad |= (sign != ord("+")) & (sign != ord("-"))
    for i, mark in ((2, "/"), (6, "/"), (11, ":"), (14, ":"), (17, ":"), (20, " ")):
        bad |= buf[at + i] != ord(mark)
    zone_s = np.where(sign == ord("-"), -zone, zone) * 60
    return _checked(year, _MONTH_NUMBERS[place], day, hour, minute, second, zone_s, bad)


def _iso_times(buf: npt.NDArray[np.uint8], at: Ints) -> tuple[Ints, Bools]:
    """Times written ``2018-07-02T22:23:00.186641Z``."""
    at = np.minimum(at, max(len(buf) - 28, 0))
    bad = np.zeros(len(at), dtype=bool)
    if len(buf) < 28:
        return np.zeros(len(at), dtype=np.int64), np.zeros(len(at), dtype=bool)
    year = _number(buf, at, 4, bad)
    month, day, hour, minute, second = (_number(buf, at + i, 2, bad) for i in (5, 8, 11, 14, 17))
    micro = _number(buf, at + 20, 6, bad)
    for i, mark in ((4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":"), (19, "."), (26, "Z")):
        bad |= buf[at + i] != ord(mark)
    at_ns, good = _checked(year, month, day, hour, minute, second, np.zeros_like(year), bad)
    return at_ns + micro * 1000, good


def _checked(
    year: Ints, month: Ints, day: Ints, hour: Ints, minute: Ints, second: Ints, zone_s: Ints, bad: Bools
) -> tuple[Ints, Bools]:
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    longest = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])[np.clip(month, 0, 12)]
    longest = longest + (leap & (month == 2))
    bad = bad | (month < 1) | (month > 12) | (day < 1) | (day > longest)
    bad |= (hour > 23) | (minute > 59) | (second > 60) | (year < 1970) | (year > 2099)
    at_ns = civil_ns(year, np.where(bad, 1, month), np.where(bad, 1, day), hour * 3600 + minute * 60 + second)
    at_ns = at_ns - zone_s * 1_000_000_000
    return at_ns, ~bad & (at_ns >= FIRST_NS) & (at_ns < LAST_NS)


def _digits(buf: npt.NDArray[np.uint8], at: Ints, end: Ints) -> tuple[Ints, Bools]:
    """Numbers of three digits from `at`, and where there is one that ends at `end`."""
    bad = end - at != 3
    return _number(buf, np.minimum(at, len(buf) - 3), 3, bad), ~bad


def _sizes(buf: npt.NDArray[np.uint8], at: Ints, end: Ints) -> Ints:
    """Numbers of any width up to 15 digits; `NO_BYTES` where it is none."""
    total = np.zeros(len(at), dtype=np.int64)
    width = end - at
    bad = (width < 1) | (width > 15)
    for i in range(min(int(width.max(initial=0)), 15)):
        inside = i < width
        digit = buf[np.minimum(at + i, len(buf) - 1)] - np.uint8(48)
        bad |= inside & (digit > 9) & ~((digit + np.uint8(48) == 13) & (i == width - 1))
        total = np.where(inside & (digit <= 9), total * 10 + digit, total)
    total[bad] = NO_BYTES
    return total


# ---- one by one


def _with_the_rest(block: bytes, shape: _Geometry, rows: Ints, fast: Parsed, expected: str) -> Parsed:
    """The fast lines with those that had to be taken one by one, in the order of the file."""
    fast.lines = len(shape.starts)
    if len(rows) == len(shape.starts):
        return fast
    left = np.ones(len(shape.starts), dtype=bool)
    left[rows] = False
    numbers, records, dropped, other = [], [], Counter[str](), Counter[str]()
    for number in np.flatnonzero(left).tolist():
        line = block[shape.starts[number] : shape.ends[number]]
        found = one_line(line)
        if isinstance(found, str):
            dropped[found] += 1
        else:
            written, record = found
            if written != expected:
                other[written] += 1
            numbers.append(number)
            records.append(record)
    slow = columns_of(records, dropped)
    slow.other = other
    return joined(
        fast, slow, np.argsort(np.concatenate([rows, np.array(numbers, dtype=np.int64)]), kind="stable")
    )


def columns_of(records: list[tuple[Any, ...]], dropped: Counter[str]) -> Parsed:
    """Rows (at_ns, source, method, path, status, bytes, agent) as columns."""
    at, source, method, path, status, size, agent = (
        [list(column) for column in zip(*records, strict=True)] if records else [[] for _ in range(7)]
    )
    return Parsed(
        np.array(at, dtype=np.int64),
        pa.array(source, pa.binary()),
        pa.array(method, pa.binary()),
        pa.array(path, pa.binary()),
        np.array(status, dtype=np.int16),
        np.array(size, dtype=np.int64),
        pa.array(agent, pa.binary()),
        dropped=dropped,
    )


def one_line(line: bytes) -> tuple[str, tuple[Any, ...]] | str:
    """The format of a line and (at_ns, source, method, path, status, bytes, agent), or why there is none."""
    line = line.rstrip(b"\r")
    if not line.strip():
        return "an empty line"
    if len(line) >= LONGEST_LINE:
        return "a line too long to be a request's"
    if line.lstrip().startswith(b"{"):
        return _json_line(line)
    if match := _COMMON.match(line):
        source, time, request, status, size, agent = match.groups()
        at_ns = common_time_ns(time)
        if at_ns is None:
            return "a time that is none"
        method, path = split_request(request)
        told = NO_BYTES if size == b"-" else int(size)
        return "common log", (at_ns, source, method, path, int(status), told, agent)
    if match := _ALB.match(line):
        time, source, status, size, request, agent = match.groups()
        at_ns = iso_time_ns(time.decode("ascii"))
        if at_ns is None:
            return "a time that is none"
        method, path = split_request(request)
        code = 0 if status == b"-" else int(status)
        return "ALB log", (at_ns, source, method, path, code, int(size), agent)
    if sum(byte < 9 or 13 < byte < 32 for byte in line[:512]) or b"\0" in line:
        return "binary junk"
    if _TAIL.match(line):
        return "the tail of a record whose head is missing"
    return "a line of no known format"


def _json_line(line: bytes) -> tuple[str, tuple[Any, ...]] | str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return "a broken JSON line"
    if not isinstance(record, dict):
        return "a line of no known format"
    found = request_of_record(record)
    return "a JSON line without a time" if found is None else ("JSON lines", found)


def request_of_record(record: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """(at_ns, source, method, path, status, bytes, agent) of a JSON record by its usual names; or None."""

    def value(what: str) -> Any:
        return next((record[name] for name in JSON_NAMES[what] if record.get(name) is not None), None)

    def text(what: str) -> bytes | None:
        found = value(what)
        return found.encode("utf-8", "replace") if isinstance(found, str) else None

    time = value("time")
    at_ns = None
    if isinstance(time, dict) and isinstance(time.get("ns"), int):  # scaled by a column map already
        at_ns = time["ns"]
    if isinstance(time, str):
        at_ns = iso_time_ns(time)
        if at_ns is None:
            at_ns = common_time_ns(time.encode("utf-8", "replace"))
        if at_ns is None and re.fullmatch(r"\d{1,12}(\.\d{1,9})?", time):
            at_ns = int(float(time) * 1e9)
    elif isinstance(time, int | float) and not isinstance(time, bool) and 0 <= time < LAST_NS / 1e6:
        at_ns = int(time * (1e6 if time > 1e11 else 1e9))
    if at_ns is None or not FIRST_NS <= at_ns < LAST_NS:
        return None
    method, path = text("method"), text("path")
    if path is None and (request := text("request")) is not None:
        method, path = split_request(request)
    status, size = value("status"), value("bytes")

    def whole(found: Any, missing: int, most: int) -> int:
        if isinstance(found, str) and found.isascii() and found.isdigit() and len(found) < 18:
            found = int(found)
        good = isinstance(found, int) and not isinstance(found, bool) and 0 <= found < most
        return found if good else missing

    path = path.partition(b"?")[0] if path is not None else None
    return (
        at_ns,
        text("source"),
        method,
        path,
        whole(status, 0, 1000),
        whole(size, NO_BYTES, 2**62),
        text("agent"),
    )


def split_request(request: bytes) -> tuple[bytes, bytes]:
    """Method and path of a request line, without version and query."""
    method, _, rest = request.partition(b" ")
    path, blank, version = rest.rpartition(b" ")
    if not blank or not version.startswith(b"H"):
        path = rest
    return method, path.partition(b"?")[0]


@lru_cache(maxsize=1024)
def common_time_ns(text: bytes) -> int | None:
    """A time written ``10/Oct/2000:13:55:36 -0700``; None where it is none."""
    try:
        if match := _COMMON_TIME.fullmatch(text):  # as nearly always; strptime takes ten times as long
            day, month, year, hour, minute, second, sign, zone_h, zone_m = match.groups()
            date = datetime.date(int(year), _MONTHS[month], int(day))
            if (
                int(hour) < 24
                and int(minute) < 60
                and int(second) < 60
                and int(zone_h) < 24
                and int(zone_m) < 60
            ):
                zone_s = (int(zone_h) * 3600 + int(zone_m) * 60) * (-1 if sign == b"-" else 1)
                of_day = int(hour) * 3600 + int(minute) * 60 + int(second)
                at_ns = ((date.toordinal() - _DAY_0) * 86_400 + of_day - zone_s) * 10**9
                return at_ns if FIRST_NS <= at_ns < LAST_NS else None
        moment = datetime.datetime.strptime(text.decode("ascii"), "%d/%b/%Y:%H:%M:%S %z")
    except (ValueError, KeyError, UnicodeDecodeError):
        return None
    return _since_1970_ns(moment)


def iso_time_ns(text: str) -> int | None:
    """A time as RFC 3339 has it, in UTC where it says no zone; None where it is none."""
    match = re.fullmatch(
        r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?)(?:[.,](\d{1,12}))?\s*(Z|[+-]\d\d:?\d\d)?", text
    )
    if match is None:
        return None
    whole, fraction, zone = match.groups()
    try:
        moment = datetime.datetime.fromisoformat(whole + ("" if zone in (None, "Z") else zone))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    at_ns = _since_1970_ns(moment)
    return at_ns if at_ns is None else at_ns + int((fraction or "0").ljust(9, "0")[:9])


def _since_1970_ns(moment: datetime.datetime) -> int | None:
    since = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    at_ns = (since.days * 86_400 + since.seconds) * 10**9
    return at_ns if FIRST_NS <= at_ns < LAST_NS else None
