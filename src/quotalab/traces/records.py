"""Logs of records: CSV with a column map, JSON lines, HAR.

Arrow's readers take a block at a time; where one raises, its lines are taken one by one.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from quotalab.errors import InputError
from quotalab.traces.access_logs import JSON_NAMES, columns_of, one_line, request_of_record
from quotalab.traces.parsed import FIRST_NS, LAST_NS, NO_BYTES, Parsed

__all__ = ["ColumnMap", "CsvReader", "JsonReader", "har_records"]

_UNITS_NS = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}
_MOST_HAR_BYTES = 1 << 29
_WANTED = ("time", "source", "method", "path", "status", "bytes", "agent", "kind")
_NUMBER = r"^-?[0-9]{1,18}(\.[0-9]+)?$"


@dataclass(frozen=True)
class ColumnMap:
    """Which column of a table holds what, and how its times are written."""

    names: Mapping[str, str]
    """Of `time` and any of source, method, path, status, bytes, agent, kind: the file's own names."""
    unit_ns: int = 10**9
    """What a number in the time column counts."""
    origin_ns: int = 0
    """The moment at which such a number is 0, nanoseconds since 1970 UTC."""

    @classmethod
    def parse(cls, text: str | None, *, unit: str = "s", origin_ns: int = 0) -> ColumnMap:
        """A map written ``time=t,source=client``; what is not named is found by its usual names.

        Raises `InputError` naming what may stand there.
        """
        if unit not in _UNITS_NS:
            raise InputError(f"--unit: must be one of {', '.join(_UNITS_NS)}, not {unit!r}")
        names: dict[str, str] = {}
        for part in (text or "").split(","):
            if not part.strip():
                continue
            what, equals, column = part.partition("=")
            what = what.strip()
            if not equals or what not in _WANTED or not column.strip():
                known = ", ".join(_WANTED)
                raise InputError(f"--columns: {part!r} is not WHAT=COLUMN with WHAT one of {known}")
            names[what] = column.strip()
        return cls(names, _UNITS_NS[unit], origin_ns)

    def over(self, header: Sequence[str]) -> dict[str, str]:
        """What is where under this header. Raises `InputError` where a column is not there, or no time is."""
        found = {}
        for what in _WANTED:
            if what in self.names:
                if self.names[what] not in header:
                    known = ", ".join(header)[:300]
                    raise InputError(
                        f"--columns: there is no column {self.names[what]!r}; there are: {known}"
                    )
                found[what] = self.names[what]
                continue
            lower = {name.lower(): name for name in header}
            usual = next((lower[name.lower()] for name in JSON_NAMES[what] if name.lower() in lower), None)
            if usual is not None and usual not in self.names.values():
                found[what] = usual
        if "time" not in found:
            raise InputError(
                f"no column holds times by one of the usual names; say which with --columns time=NAME: "
                f"{', '.join(header)[:300]}"
            )
        return found


class CsvReader:
    """A CSV file with a header, block by block; the separator is found in the header."""

    def __init__(self, columns: ColumnMap) -> None:
        self._columns = columns
        self._header: list[str] = []
        self._where: dict[str, str] = {}
        self._delimiter = ","

    def __call__(self, block: bytes) -> Parsed:
        lines = 0
        if not self._header:
            head, _, block = block.partition(b"\n")
            self._start(head)
        lines = block.count(b"\n")
        if not lines:
            return Parsed(np.empty(0, dtype=np.int64))
        good, odd = _without_odd_quotes(block)
        dropped: Counter[str] = Counter()
        if odd:
            dropped["a CSV line with a stray quote"] = odd
        table = self._read(good, dropped)
        parsed = _from_table(table, self._where, self._columns, dropped)
        parsed.lines = lines
        return parsed

    def _start(self, head: bytes) -> None:
        text = head.decode("utf-8-sig", "replace").rstrip("\r")
        if len(text) > 1 << 16:
            raise InputError("the first line is no CSV header; name the format with --format")
        self._delimiter = max(",\t;|", key=text.count)
        try:
            self._header = next(csv.reader([text], delimiter=self._delimiter), [])
        except csv.Error as error:
            raise InputError(f"the first line is no CSV header: {error}") from None
        if len(set(self._header)) != len(self._header):
            raise InputError(f"the CSV header names a column twice: {text[:200]}")
        self._where = self._columns.over(self._header)

    def _read(self, block: bytes, dropped: Counter[str]) -> pa.Table:
        wanted = sorted(set(self._where.values()))
        wrong = Counter[str]()

        def skip(_: Any) -> str:
            wrong["a CSV line with the wrong number of columns"] += 1
            return "skip"

        if not block:
            return pa.table({name: pa.array([], pa.binary()) for name in wanted})
        try:
            block.decode("utf-8")  # the reader's own complaint about a line that is none cannot be caught
            table = pa_csv.read_csv(
                io.BytesIO(block),
                read_options=pa_csv.ReadOptions(column_names=self._header, use_threads=False),
                parse_options=pa_csv.ParseOptions(delimiter=self._delimiter, invalid_row_handler=skip),
                convert_options=pa_csv.ConvertOptions(
                    include_columns=wanted,
                    column_types=dict.fromkeys(wanted, pa.binary()),
                    strings_can_be_null=False,
                ),
            )
        except (pa.ArrowException, UnicodeDecodeError):
            return self._one_by_one(block, wanted, dropped)
        dropped.update(wrong)
        return table

    def _one_by_one(self, block: bytes, wanted: list[str], dropped: Counter[str]) -> pa.Table:
        places = [self._header.index(name) for name in wanted]
        rows: list[list[bytes]] = []
        for line in block.split(b"\n"):
            if not line.strip():
                continue
            try:
                fields = next(csv.reader([line.decode("utf-8").rstrip("\r")], delimiter=self._delimiter), [])
            except (UnicodeDecodeError, csv.Error):
                dropped["binary junk"] += 1
                continue
            if len(fields) != len(self._header):
                dropped["a CSV line with the wrong number of columns"] += 1
                continue
            rows.append([fields[place].encode() for place in places])
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(wanted)
        return pa.table(
            {name: pa.array(column, pa.binary()) for name, column in zip(wanted, columns, strict=True)}
        )


def _without_odd_quotes(block: bytes) -> tuple[bytes, int]:
    """The lines whose quotes come in pairs: a stray one would swallow the next line."""
    buf = np.frombuffer(block, np.uint8)
    quotes = np.flatnonzero(buf == ord('"'))
    if not len(quotes):
        return block, 0
    ends = np.flatnonzero(buf == ord("\n"))
    odd = np.bincount(np.searchsorted(ends, quotes), minlength=len(ends))[: len(ends)] % 2 == 1
    if not odd.any():
        return block, 0
    lengths = np.diff(ends, prepend=-1)
    return buf[np.repeat(~odd, lengths)].tobytes(), int(odd.sum())


def _from_table(
    table: pa.Table, where: Mapping[str, str], columns: ColumnMap, dropped: Counter[str]
) -> Parsed:
    """Requests of a table whose wanted columns are binary."""

    def column(what: str) -> pa.Array | None:
        return table[where[what]].combine_chunks() if what in where else None

    times = column("time")
    assert times is not None, "a header without times is refused"
    at_ns, good = _times(times, columns)
    wrong = len(good) - int(good.sum())
    if wrong:
        dropped["a time that is none"] += wrong
    mask = pa.array(good)

    def text(what: str) -> pa.Array | None:
        found = column(what)
        return None if found is None else pc.filter(found, mask)

    path = text("path")
    if path is not None:
        path = _without_query(path)
    status, size = text("status"), text("bytes")
    return Parsed(
        at_ns[good],
        text("source"),
        text("method"),
        path,
        None if status is None else _whole(status, 0, 999).astype(np.int16),
        None if size is None else _whole(size, NO_BYTES, 2**62),
        text("agent"),
        text("kind"),
        dropped=dropped,
    )


def _without_query(paths: pa.Array) -> pa.Array:
    encoded = paths.dictionary_encode()
    cut = [
        None if path is None else path.partition(b"?")[0]
        for path in encoded.dictionary.cast(pa.binary()).to_pylist()
    ]
    return pa.array(cut, pa.binary()).take(encoded.indices)


def _text(values: pa.Array) -> pa.Array:
    """Binary values as text; what is no UTF-8 becomes empty."""
    try:
        return values.cast(pa.string())
    except pa.ArrowException:
        return pa.array(
            [(value or b"").decode("utf-8", "ignore") for value in values.to_pylist()], pa.string()
        )


def _times(values: pa.Array, columns: ColumnMap) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Numbers by the map's unit and origin, else ISO 8601 or the access logs' own way."""
    text = pc.utf8_trim_whitespace(_text(values))
    numeric = np.asarray(pc.fill_null(pc.match_substring_regex(text, _NUMBER), False))
    at_ns = np.zeros(len(text), dtype=np.int64)
    good = numeric.copy()
    if numeric.any():
        numbers = text.filter(pa.array(numeric))
        parts = pc.split_pattern(numbers, ".", max_splits=1)
        units = pc.list_element(parts, 0).cast(pa.int64()).to_numpy(zero_copy_only=False)
        fraction = _fraction(numbers)
        most = (LAST_NS - min(columns.origin_ns, 0)) // columns.unit_ns
        inside = np.abs(units) <= most
        units = np.where(inside, units, 0).astype(np.int64)
        moments = columns.origin_ns + units * columns.unit_ns
        moments = moments + fraction * columns.unit_ns // 10**9
        at_ns[numeric] = moments
        good[numeric] = inside & (moments >= FIRST_NS) & (moments < LAST_NS)
    for i in np.flatnonzero(~numeric).tolist():
        found = request_of_record({"time": text[i].as_py()})
        if found is not None:
            at_ns[i], good[i] = found[0], True
    return at_ns, good


def _fraction(numbers: pa.Array) -> npt.NDArray[np.int64]:
    """What stands behind the point of each number, in thousand-millionths, with the number's sign."""
    behind = pc.extract_regex(numbers, r"^(?P<sign>-?)[0-9]+\.?(?P<digits>[0-9]{0,9})")
    digits = pc.utf8_rpad(pc.struct_field(behind, "digits"), 9, "0").cast(pa.int64())
    sign = np.where(pc.equal(pc.struct_field(behind, "sign"), "-").to_numpy(zero_copy_only=False), -1, 1)
    behind_ns: npt.NDArray[np.int64] = sign * digits.to_numpy(zero_copy_only=False)
    return behind_ns


def _whole(values: pa.Array, missing: int, most: int) -> npt.NDArray[np.int64]:
    text = _text(values)
    good = np.asarray(pc.fill_null(pc.match_substring_regex(text, "^[0-9]{1,15}$"), False))
    whole = np.full(len(text), missing, dtype=np.int64)
    if good.any():
        whole[good] = text.filter(pa.array(good)).cast(pa.int64()).to_numpy(zero_copy_only=False)
    whole[(whole < 0) | (whole > most)] = missing
    return whole


class JsonReader:
    """JSON lines, an object each, under the usual names or those of the map."""

    def __init__(self, columns: ColumnMap) -> None:
        self._columns = columns

    def __call__(self, block: bytes) -> Parsed:
        records = _json_lines(block)
        if self._columns != ColumnMap({}):
            records = [self._renamed(one) if isinstance(one, Mapping) else one for one in records]
        return _parsed_records(records, block.count(b"\n"))

    def _renamed(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        columns = self._columns
        found = {**record, **{what: record.get(name) for what, name in columns.names.items()}}
        time = next((found[name] for name in JSON_NAMES["time"] if found.get(name) is not None), None)
        if isinstance(time, int | float) and not isinstance(time, bool) and abs(time) < 1e19:
            at_ns = columns.origin_ns + (
                time * columns.unit_ns if isinstance(time, int) else round(time * columns.unit_ns)
            )
            found["time"] = {"ns": at_ns}
        return found


_Read = Mapping[str, Any] | tuple[str, tuple[Any, ...]] | str
"""A record; or the format and row of a line that is of another one; or why there is nothing."""


def _json_lines(block: bytes) -> list[_Read]:
    found: list[_Read] = []
    for line in block.split(b"\n"):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            other = one_line(line)
            printable = line[:512].decode("utf-8", "replace").isprintable()
            why = "a broken JSON line" if printable else "binary junk"
            found.append(why if isinstance(other, str) else other)
            continue
        found.append(record if isinstance(record, dict) else "a JSON line that is no object")
    return found


def _parsed_records(records: Sequence[_Read], lines: int) -> Parsed:
    dropped, other = Counter[str](), Counter[str]()
    rows = []
    for record in records:
        if isinstance(record, str):
            dropped[record] += 1
            continue
        if isinstance(record, tuple):
            other[record[0]] += 1
            rows.append(record[1])
            continue
        row = request_of_record(record)
        if row is None:
            dropped["a JSON line without a time"] += 1
        else:
            rows.append(row)
    parsed = columns_of(rows, dropped)
    parsed.lines, parsed.other = lines, other
    return parsed


def har_records(path: Path, content: bytes) -> Parsed:
    """The entries of a HAR file, whose source is the browser that recorded it. Raises `InputError`."""
    if len(content) > _MOST_HAR_BYTES:
        raise InputError(f"{path}: a HAR file of more than {_MOST_HAR_BYTES >> 20} MB is not read")
    try:
        document = json.loads(content)
        entries = document["log"]["entries"]
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        told = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: is no HAR file (log.entries): {type(error).__name__}: {told}") from None
    if not isinstance(entries, list):
        raise InputError(f"{path}: is no HAR file: log.entries must be a list")
    records: list[Mapping[str, Any] | str] = []
    for entry in entries:
        request = entry.get("request") if isinstance(entry, dict) else None
        if not isinstance(request, dict):
            records.append("a HAR entry without a request")
            continue
        response = entry.get("response")
        response = response if isinstance(response, dict) else {}
        content_of = response.get("content")
        url = request.get("url")
        records.append(
            {
                "time": entry.get("startedDateTime"),
                "source": "the browser",
                "method": request.get("method"),
                "path": _path_of(url) if isinstance(url, str) else None,
                "status": response.get("status"),
                "bytes": content_of.get("size") if isinstance(content_of, dict) else None,
                "agent": _agent_of(request.get("headers")),
            }
        )
    return _parsed_records(records, len(entries))


def _path_of(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "/"
    return parts.path or "/"


def _agent_of(headers: Any) -> str | None:
    if not isinstance(headers, list):
        return None
    for header in headers:
        if isinstance(header, dict) and str(header.get("name")).lower() == "user-agent":
            return str(header.get("value"))
    return None
