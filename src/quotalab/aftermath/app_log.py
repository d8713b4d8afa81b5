"""The app's own log of its calls, read line by line: JSON lines, logfmt or CSV.

Whatever can be read is kept; a line that cannot is counted, and told with its number. Limits hold for the
length of a line, the number of lines and how deep JSON goes: a log is foreign input.
"""

from __future__ import annotations

import csv
import datetime
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from quotalab.ledger.schema import APP_LOG as ENTRIES
from quotalab.profiles.app import AppLog

__all__ = ["ENTRIES", "ReadLog", "read_log"]

MOST_LINES = 2_000_000
LONGEST_LINE = 65_536
"""Bytes."""
_MOST_BROKEN = 20
_LONGEST_TEXT = 512
_LOGFMT = re.compile(r'([^\s="]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s"]*))')
_METHOD = re.compile(r"[A-Z]{3,7}")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
# A number that stands for a time, by its size: seconds, ms, us or ns since 1970, for all of this century.
_UNITS = ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3), (10**20, 1))


@dataclass
class ReadLog:
    """What could be read of a log."""

    entries: pa.Table | None
    lines: int = 0
    broken: int = 0
    first_broken: list[tuple[int, str]] = field(default_factory=list)
    """The numbers of the first lines that could not be read, each with the reason."""
    foreign: int = 0
    """Entries of calls to other hosts."""
    cut: bool = False
    """Whether there were more lines than are read."""
    missing: str | None = None
    """Why there is nothing: the file cannot be opened."""


def read_log(log: AppLog, path: Path, *, begin: int, host: str, shown: Callable[[str], str]) -> ReadLog:
    """The entries of `path` from byte `begin` on.

    `host` is the provider's; calls to others are counted only. `shown` replaces what could be a secret in a
    text of the log. Request ids look like secrets and are left as they are: whoever writes the entries keeps
    those that are known and no others.
    """
    rows: dict[str, list[Any]] = {name: [] for name in ENTRIES.names}
    read = ReadLog(None)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                read.missing = "is no regular file"
                return read
            for number, entry in _entries(log.format, file, begin, read):
                told = {name: _at(entry, column) for name, column in log.columns.items()}
                if (there := _host(told["path"])) is not None and there != host:
                    read.foreign += 1
                    continue
                _add(rows, number, told, shown)
    except OSError as error:
        read.missing = f"cannot be read: {error.strerror or error}"
        return read
    read.entries = pa.table({name: pa.array(rows[name], ENTRIES.field(name).type) for name in ENTRIES.names})
    return read


def _entries(
    format: str, file: BinaryIO, begin: int, read: ReadLog
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Each line's number and what it says."""
    header: list[str] | None = None
    place = number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        start = place
        place += len(line)
        whole = line.endswith(b"\n") or len(line) <= LONGEST_LINE
        while not line.endswith(b"\n") and len(line) > LONGEST_LINE:  # pass over the rest of it
            line = file.readline(LONGEST_LINE + 1)
            place += len(line)
            if len(line) <= LONGEST_LINE:
                break
        is_header = format == "csv" and header is None
        if start < begin and not is_header:
            continue
        if start >= begin and not is_header:
            read.lines += 1
            if read.lines > MOST_LINES:
                read.lines, read.cut = MOST_LINES, True
                return
        try:
            if not whole:
                raise ValueError(f"is longer than {LONGEST_LINE} bytes")
            text = line.decode("utf-8").strip()
            if is_header:
                header = next(csv.reader([text], strict=True), [])
                continue
            if text:
                yield number, _PARSERS[format](text, header or [])
        except (ValueError, RecursionError, csv.Error) as error:
            if is_header:
                header = []
            read.broken += 1
            if len(read.first_broken) < _MOST_BROKEN:
                read.first_broken.append((number, _why(error)))


def _json(text: str, _: list[str]) -> Mapping[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("is no JSON object")
    return found


def _logfmt(text: str, _: list[str]) -> Mapping[str, Any]:
    pairs = _LOGFMT.findall(text)
    if not pairs:
        raise ValueError("has no key=value")
    return {key: re.sub(r"\\(.)", r"\1", quoted) or plain for key, quoted, plain in pairs}


def _csv(text: str, header: list[str]) -> Mapping[str, Any]:
    values = next(csv.reader([text], strict=True))
    if len(values) != len(header):
        raise ValueError(f"has {len(values)} fields, and the header {len(header)}")
    return dict(zip(header, values, strict=True))


_PARSERS: Mapping[str, Callable[[str, list[str]], Mapping[str, Any]]] = {
    "jsonl": _json,
    "logfmt": _logfmt,
    "csv": _csv,
}


def _why(error: BaseException) -> str:
    """Without what the line holds."""
    if isinstance(error, json.JSONDecodeError):
        return f"is not JSON: {error.msg} at column {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return "is not UTF-8"
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    return str(error)


def _at(entry: Any, name: str) -> Any:
    """A field by its name, or by dots downwards."""
    if name in entry:
        return entry[name]
    for part in name.split("."):
        entry = entry.get(part) if isinstance(entry, Mapping) else None
    return entry


def _host(url: Any) -> str | None:
    """The host (with its port) of an address; None of a path."""
    if not isinstance(url, str) or "://" not in url[:20]:
        return None
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:
        return None


def _add(
    rows: dict[str, list[Any]], number: int, told: Mapping[str, Any], shown: Callable[[str], str]
) -> None:
    method = _text(told["method"])
    rows["line"].append(number)
    rows["at"].append(_time_ns(told["at"]))
    rows["method"].append(method.upper() if method and _METHOD.fullmatch(method.upper()) else None)
    rows["path"].append(_path(told["path"], shown))
    rows["status"].append(_status(told["status"]))
    for name in ("person", "tenant", "route", "wait"):
        text = _text(told[name])
        rows[name].append(shown(text) if text is not None else None)
    rows["request_id"].append(_text(told["request_id"]))


def _text(value: Any) -> str | None:
    """A value as text; None where it says nothing."""
    if value is None or isinstance(value, dict | list):
        return None
    text = str(value).strip()[:_LONGEST_TEXT]
    return text if text and text not in ("-", "null", "None") else None


def _status(value: Any) -> int | None:
    text = _text(value)
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) <= 3 else None


def _path(value: Any, shown: Callable[[str], str]) -> str | None:
    """The path alone, as the ledger has it: without host and query, its percent-encoding undone."""
    text = _text(value)
    if text is None:
        return None
    try:
        path = urlsplit(text).path
    except ValueError:
        return None
    return shown(unquote(path, errors="replace")) if path else "/"


def _time_ns(value: Any) -> int | None:
    """A moment in ns since 1970: a number by its size, or ISO 8601, UTC where it names no offset."""
    text = _text(value)
    if text is None:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        try:
            moment = datetime.datetime.fromisoformat(text)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        since = moment - _EPOCH
        return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
    if not number.is_finite() or number < 0:
        return None
    for most, unit in _UNITS:
        if number < most:
            found = int(number * unit)
            return found if found < 2**62 else None
    return None
