"""Importing: a recorded file becomes a trace, and a report of what was dropped and what looks doubtful.

Blocks go in and row groups come out, so that memory stays flat however long the file is; only what is kept
for each source grows, with their number. Sources and paths are replaced by keyed hashes on the way.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from quotalab.errors import InputError
from quotalab.traces.access_logs import looks_like_alb, looks_like_common, parse_alb, parse_common
from quotalab.traces.doubts import Doubt, Suspicion
from quotalab.traces.log_formats import LogFormat
from quotalab.traces.naming import Naming, kind_of
from quotalab.traces.opening import PARQUET, Blocks
from quotalab.traces.parsed import NO_BYTES, Parsed
from quotalab.traces.records import ColumnMap, CsvReader, JsonReader, har_records
from quotalab.traces.trace import KINDS, META, SCHEMA

__all__ = ["FORMATS", "ImportReport", "format_of", "import_trace"]

Ints = npt.NDArray[np.int64]

FORMATS = ("common", "combined", "nginx", "alb", "har", "jsonl", "csv")
_GROUP = 1 << 18
_MOST_KNOWN = 1 << 18
_WORD = pa.dictionary(pa.int32(), pa.string())
_WRITTEN: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": [field.name for field in SCHEMA if field.type == _WORD],
    "write_statistics": ["at"],
}
_SPELT_OUT = pa.schema([field.with_type(pa.string()) if field.type == _WORD else field for field in SCHEMA])


@dataclass
class ImportReport:
    """What an import read, kept, left out, and thinks of it."""

    file: str
    format: str
    out: Path
    lines: int = 0
    rows: int = 0
    bytes_read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Lines that are not in the trace, by reason."""
    other: Counter[str] = field(default_factory=Counter)
    """Lines of another format than the file's; they are in the trace."""
    operations: Counter[str] = field(default_factory=Counter)
    doubts: list[Doubt] = field(default_factory=list)
    sources: int = 0
    first_ns: int = 0
    last_ns: int = 0
    pseudonymous: bool = True

    def told(self) -> str:
        """The report as lines of text."""
        lines = [f"{self.file}: {self.format}, {self.lines:,} lines, {self.bytes_read / 1e6:,.1f} MB"]
        if self.rows:
            first, last = (
                np.datetime64(at, "ns").astype("datetime64[s]") for at in (self.first_ns, self.last_ns)
            )
            who = f"{self.sources:,} sources" if self.sources else "sources not told apart"
            lines.append(f"kept      {self.rows:,} requests of {who}, {first} to {last} UTC")
            if self.pseudonymous:
                lines.append("          sources and paths are keyed hashes")
            most = [f"{name} {count:,}" for name, count in self.operations.most_common(8)]
            lines.append(f"          operations: {', '.join(most)}")
        for reason, count in self.dropped.most_common():
            lines.append(f"dropped   {count:,}: {reason}")
        for written, count in self.other.most_common():
            lines.append(f"mixed     {count:,} lines are of another format ({written}) and were read as such")
        for doubt in self.doubts:
            lines.append(f"doubt     {doubt.name}: {doubt.text}")
        if self.rows and not self.doubts:
            lines.append("doubt     none")
        return "\n".join(lines)


def import_trace(
    path: Path,
    out: Path,
    *,
    key: bytes | None,
    format: str | None = None,
    columns: ColumnMap | None = None,
    naming: Naming | None = None,
    log_format: LogFormat | None = None,
    progress: Callable[[str], None] | None = None,
) -> ImportReport:
    """Write the requests of `path` to the trace `out`; returns the report.

    `key` makes the pseudonyms: the same key gives the same source the same name; None keeps sources and
    paths in the clear. `log_format` says how the lines of an access log are written. Raises `InputError`
    when the file cannot be read or holds nothing to keep, the report is then in its message; or when `out` is
    there and is no trace, be it the log itself.
    """
    naming = naming or Naming()
    blocks = Blocks(path)
    _spare(out)
    stream = iter(blocks)
    first = next(stream, b"")
    format = (
        "custom log"
        if log_format
        else format or format_of(first, columns is not None and bool(columns.names))
    )
    report = ImportReport(path.name, format, out, pseudonymous=key is not None)
    part = out.with_name(out.name + ".part")
    suspicion = Suspicion()
    kept = _Kept(key, naming, report)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(part, SCHEMA, **_WRITTEN) as writer:
            groups = _Groups(writer)
            for parsed in _parsed(format, first, stream, path, columns or ColumnMap({}), log_format):
                report.lines += parsed.lines
                report.dropped += parsed.dropped
                report.other += parsed.other
                suspicion.in_file_order(parsed.at_ns)
                groups.add(kept.table(parsed))
                if progress is not None:
                    progress(f"{report.lines:,} lines, {blocks.bytes_read / 1e6:,.0f} MB")
            groups.flush()
            _settle(report, blocks)
            if report.rows and groups.in_order:
                _judge(report, suspicion, kept)
                writer.add_key_value_metadata(_meta(report, naming, suspicion))
        if not report.rows:
            raise InputError(f"{report.told()}\nnothing was imported: no line of {path} is a request")
        if not groups.in_order:
            _rewrite_in_order(part, groups.rows, report, naming, suspicion, kept)
        part.replace(out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)
    return report


def _spare(out: Path) -> None:
    """A trace may be written anew; whatever else is there is somebody's, and stays. Raises `InputError`."""
    try:
        with out.open("rb") as file:
            replaceable = file.read(len(PARQUET)) == PARQUET
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror or error}") from None
    if not replaceable:
        raise InputError(f"{out}: is there already and is no trace; name another file with --out")


def format_of(first: bytes, mapped: bool) -> str:
    """The format of a file by its first lines; `mapped`: it has columns, by what the caller says."""
    lines = [line.rstrip(b"\r") for line in first[: 1 << 20].split(b"\n") if line.strip()][:100]
    if not lines:
        return "common"  # nothing to tell from, and nothing that will be kept
    objects = [line.lstrip(b"\xef\xbb\xbf \t").startswith(b"{") for line in lines]
    if objects[0]:
        start = first[:4096]
        if b'"log"' in start and (b'"entries"' in first[: 1 << 20] or b'"creator"' in start):
            return "har"
    if mapped:
        return "jsonl" if objects[0] else "csv"
    common = sum(map(looks_like_common, lines))
    alb = sum(map(looks_like_alb, lines))
    if common or alb:
        return "jsonl" if sum(objects) > common + alb else "common" if common >= alb else "alb"
    if objects[0] or sum(objects) > len(lines) // 2:
        return "jsonl"
    head = lines[0][:4096]
    if any(mark in head for mark in b",\t;|") and b"\0" not in head and b"[" not in head:
        return "csv"
    return "common"


def _parsed(
    format: str,
    first: bytes,
    rest: Iterator[bytes],
    path: Path,
    columns: ColumnMap,
    log_format: LogFormat | None,
) -> Iterator[Parsed]:
    if format == "har":
        content = bytearray(first)
        for block in rest:
            content += block
            if len(content) > 1 << 30:
                break
        yield har_records(path, bytes(content))
        return
    readers: dict[str, Callable[[], Callable[[bytes], Parsed]]] = {
        "csv": lambda: CsvReader(columns),
        "jsonl": lambda: JsonReader(columns),
        "alb": lambda: parse_alb,
    }
    reader = log_format or readers.get(format, lambda: parse_common)()
    if first:
        yield reader(first)
    for block in rest:
        yield reader(block)


class _Kept:
    """Turns parsed blocks into rows of a trace: names, pseudonyms, kinds."""

    def __init__(self, key: bytes | None, naming: Naming, report: ImportReport) -> None:
        self._key = key
        self._naming = naming
        self._report = report
        self._names: dict[tuple[str, bytes], str] = {}
        self._kinds: dict[bytes, str] = {}
        self.of_source: Counter[str] = Counter()
        self.of_kind: Counter[str] = Counter()
        self.has_sources = True

    def table(self, parsed: Parsed) -> pa.Table:
        """The rows of a block that are kept."""
        rows = len(parsed)
        kinds = self._kind(parsed)
        method, methods = _encoded(parsed.method, rows, lambda values: [_shown(one) for one in values])
        path, raw_paths = _encoded(parsed.path, rows, list)
        operation, names, keep = self._operations(method, methods, path, raw_paths)
        if self._naming.ignored_kinds and kinds is not None:
            codes = kinds.indices.fill_null(3).to_numpy(zero_copy_only=False)
            ignored = np.isin(codes, [KINDS.index(kind) for kind in self._naming.ignored_kinds])
            keep &= ~ignored
        source, sources = _encoded(parsed.source, rows, self._sources)
        if sources and (source < 0).any():  # whoever is not told is one source among the others
            source = np.where(source < 0, len(sources), source)
            sources = [*sources, *self._sources([None])]
        self.has_sources = self.has_sources and parsed.source is not None
        paths = [self._pseudonym("p", one) if one is not None else None for one in raw_paths]
        status = parsed.status
        size = parsed.size
        columns = [
            pa.array(parsed.at_ns).cast(pa.timestamp("ns", "UTC")),
            _word(source, sources),
            _word(operation, names),
            _word(method, methods),
            _word(path, paths),
            pa.nulls(rows, pa.int16()) if status is None else pa.array(status, mask=status == 0),
            pa.nulls(rows, pa.int64()) if size is None else pa.array(size, mask=size == NO_BYTES),
            pa.nulls(rows, _WORD) if kinds is None else kinds,
        ]
        table = pa.Table.from_arrays(columns, schema=SCHEMA)
        left = rows - int(keep.sum())
        if left:
            self._report.dropped["a request that the operations file leaves out"] += left
            table = table.filter(pa.array(keep))
        self._count(source[keep], sources, operation[keep], names, kinds, keep)
        return table

    def _count(
        self,
        source: Ints,
        sources: list[str | None],
        operation: Ints,
        names: list[str],
        kinds: Any,
        keep: Any,
    ) -> None:
        report = self._report
        report.rows += len(source)
        for code, count in enumerate(np.bincount(operation, minlength=len(names)).tolist()):
            if count:
                report.operations[names[code]] += count
        if sources and len(source):
            counts = np.bincount(source[source >= 0], minlength=len(sources))
            for code in np.flatnonzero(counts).tolist():
                self.of_source[sources[code] or "-"] += int(counts[code])
        if kinds is not None:
            codes = kinds.indices.fill_null(3).to_numpy(zero_copy_only=False)[keep]
            for code, count in enumerate(np.bincount(codes, minlength=len(KINDS)).tolist()):
                self.of_kind[KINDS[code]] += count

    def _kind(self, parsed: Parsed) -> pa.Array | None:
        if parsed.kind is not None:
            codes, told = _encoded(parsed.kind, len(parsed), list)
            known = [one.decode("ascii", "ignore") if one else "" for one in told]
            places = np.array([KINDS.index(one) if one in KINDS else 3 for one in known] or [3])
        elif parsed.agent is not None:
            codes, agents = _encoded(parsed.agent, len(parsed), list)
            if len(self._kinds) > _MOST_KNOWN:
                self._kinds.clear()
            for agent in agents:
                if (agent or b"") not in self._kinds:
                    self._kinds[agent or b""] = kind_of((agent or b"")[:512])
            places = np.array([KINDS.index(self._kinds[agent or b""]) for agent in agents] or [3])
        else:
            return None
        found = np.where(codes >= 0, places[codes], 3).astype(np.int32)
        return pa.DictionaryArray.from_arrays(pa.array(found), pa.array(KINDS, pa.string()))

    def _operations(
        self, method: Ints, methods: list[str], path: Ints, paths: list[bytes | None]
    ) -> tuple[Ints, list[str], npt.NDArray[np.bool_]]:
        """Codes and names of the rows' operations, and which rows are kept."""
        rows = len(method)
        if self._naming.one_name is not None:
            return np.zeros(rows, dtype=np.int64), [self._naming.one_name], np.ones(rows, dtype=bool)
        pairs, inverse = np.unique((method + 1) * (len(paths) + 1) + path + 1, return_inverse=True)
        names: dict[str, int] = {}
        codes = np.empty(len(pairs), dtype=np.int64)
        for i, pair in enumerate(pairs.tolist()):
            m, p = divmod(pair, len(paths) + 1)
            name = self._naming(methods[m - 1] if m else "", _shown(paths[p - 1], 4096) if p else "")
            codes[i] = -1 if name is None else names.setdefault(name, len(names))
        code = codes[inverse.reshape(-1)]
        return np.maximum(code, 0), list(names) or ["request"], code >= 0

    def _sources(self, values: list[bytes | None]) -> list[str]:
        return [self._pseudonym("s", value or b"-") for value in values]

    def _pseudonym(self, kind: str, value: bytes) -> str:
        if self._key is None:
            return _shown(value, 1024)
        known = self._names.get((kind, value))
        if known is None:
            if len(self._names) >= 2 * _MOST_KNOWN:
                self._names.clear()
            mac = hashlib.blake2b(value, key=self._key[:64], digest_size=8, person=kind.encode())
            known = self._names[kind, value] = kind + mac.hexdigest()
        return known


def _shown(value: bytes | None, most: int = 32) -> str:
    """Bytes as text that can be printed and written anywhere."""
    text = (value or b"")[:most].decode("utf-8", "replace")
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)


def _encoded(column: Any, rows: int, name: Callable[[list[Any]], list[Any]]) -> tuple[Ints, list[Any]]:
    """Codes (-1: null) and the names that `name` gives to the distinct values."""
    if column is None:
        return np.full(rows, -1, dtype=np.int64), []
    encoded = column.dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    names = name(encoded.dictionary.to_pylist())
    return codes, names


def _word(codes: Ints, names: list[Any]) -> pa.Array:
    """A dictionary column; names that turned out the same share a place."""
    if not names:
        return pa.nulls(len(codes), _WORD)
    places: dict[Any, int] = {}
    again = np.array([places.setdefault(name, len(places)) for name in names], dtype=np.int32)
    known = pa.array(np.where(codes >= 0, again[codes], 0).astype(np.int32), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(known, pa.array(list(places), pa.string()))


class _Groups:
    """Collects rows into row groups, each in order of time, and tells whether they follow each other."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self._tables: list[pa.Table] = []
        self._waiting = 0
        self._last_ns = -(2**63)
        self.in_order = True
        self.rows = 0

    def add(self, table: pa.Table) -> None:
        self._tables.append(table)
        self._waiting += table.num_rows
        if self._waiting >= _GROUP:
            self.flush()

    def flush(self) -> None:
        if not self._waiting:
            self._tables.clear()
            return
        table = pa.concat_tables(self._tables).unify_dictionaries().combine_chunks()
        self._tables.clear()
        self.rows += self._waiting
        self._waiting = 0
        at_ns = _at_ns(table)
        if np.any(at_ns[1:] < at_ns[:-1]):
            order = np.argsort(at_ns, kind="stable")
            table, at_ns = table.take(pa.array(order)), at_ns[order]
        self.in_order &= int(at_ns[0]) >= self._last_ns
        self._last_ns = int(at_ns[-1])
        self._writer.write_table(table)


def _at_ns(table: pa.Table) -> Ints:
    at: Ints = table["at"].cast(pa.int64()).to_numpy()
    return at


def _rewrite_in_order(
    part: Path, rows: int, report: ImportReport, naming: Naming, suspicion: Suspicion, kept: _Kept
) -> None:
    """Sort the whole file: stretch of time by stretch of time, each small enough for memory."""
    file = pq.ParquetFile(part)
    groups = range(file.num_row_groups)
    spans = []
    sample = []
    for group in groups:
        at_ns = _at_ns(file.read_row_group(group, columns=["at"]))
        spans.append((int(at_ns[0]), int(at_ns[-1])))
        sample.append(at_ns[:: max(1, len(at_ns) // 256)])
    samples = np.sort(np.concatenate(sample))
    edges = np.unique(
        samples[np.linspace(0, len(samples) - 1, max(2, 2 + rows // (2 * _GROUP))).astype(int)]
    )[1:-1]
    bounds = [-(2**63), *edges.tolist(), 2**63 - 1]
    again = part.with_name(part.name + "2")
    try:
        with pq.ParquetWriter(again, SCHEMA, **_WRITTEN) as writer:
            for low, high in pairwise(bounds):
                pieces = []
                for group in groups:
                    first, last = spans[group]
                    if last < low or first >= high:
                        continue
                    table = file.read_row_group(group)
                    at_ns = _at_ns(table)
                    begin, end = np.searchsorted(at_ns, [low, high], "left")
                    # Taken and spelt out: a slice would keep its row group, or its dictionaries, in memory.
                    pieces.append(table.take(pa.array(np.arange(begin, end))).cast(_SPELT_OUT))
                table = pa.concat_tables(pieces).cast(SCHEMA).unify_dictionaries().combine_chunks()
                if table.num_rows:
                    writer.write_table(table.take(pa.array(np.argsort(_at_ns(table), kind="stable"))))
            _judge(report, suspicion, kept)
            writer.add_key_value_metadata(_meta(report, naming, suspicion))
        again.replace(part)
    finally:
        again.unlink(missing_ok=True)


def _settle(report: ImportReport, blocks: Blocks) -> None:
    report.bytes_read = blocks.bytes_read
    if blocks.too_long:
        report.lines += blocks.too_long
        report.dropped["a line too long to be a request's"] += blocks.too_long
    if blocks.tear:
        report.doubts.append(Doubt("torn-file", 1.0, f"{blocks.tear}; what came before is in the trace"))


def _judge(report: ImportReport, suspicion: Suspicion, kept: _Kept) -> None:
    """Draw the report's conclusions."""
    report.first_ns, report.last_ns = suspicion.first_ns, suspicion.last_ns
    report.sources = len(kept.of_source) if kept.has_sources else 0
    report.doubts += suspicion.doubts(
        rows=report.rows,
        lines=report.lines,
        unreadable=sum(
            n for why, n in report.dropped.items() if "leaves out" not in why and "empty" not in why
        ),
        mixed=sum(report.other.values()),
        of_source=kept.of_source if kept.has_sources else Counter(),
        of_kind=kept.of_kind,
    )


def _meta(report: ImportReport, naming: Naming, suspicion: Suspicion) -> dict[str, str]:
    meta = {
        "schema": 1,
        "file": report.file,
        "format": report.format,
        "rows": report.rows,
        "burst_ns": naming.burst_ns,
        "resolution_ns": suspicion.resolution_ns,
        "pseudonymous": report.pseudonymous,
        "dropped": dict(report.dropped),
        "doubts": [
            {"name": doubt.name, "figure": doubt.figure, "text": doubt.text} for doubt in report.doubts
        ],
    }
    return {META.decode(): json.dumps(meta)}
