"""From a run folder to DataFrames: one row a call, an operation or an event.

**Times** are int64 nanoseconds since 1970 UTC, under the ledger's own names (`sent`, `at`, `answered`,
`done`, `planned`, `started`, `ended`, `deadline`): exact to compare and to subtract, where floats are not.
**Texts** are categoricals; a missing one is NaN, and has the code -1.

`calls`, in order of `seq`, indexed from 0:

===================  ===========  ====================================================================
seq                  int64        order of arrival over all tables
sent, at             int64        ns: left its sender, was decided
answered, done       int64        ns: its answer left the sandbox, and reached the sender
kind, actor, ...     category     every column of text of the ledger's schema, headers left out
status               int16
cost, bytes          int64
objects              int64        that the answer returns
objects_asked        int64        that the request wanted at most
retry_after_ns       Int64        ns, promised, counted from `at`; <NA>: nothing was promised
key:LIMIT            category     what the limit counted the call under; NaN: the limit was not asked
charge:LIMIT         Int64        what was charged in the end; <NA>: nothing, as when a refusal is free
remaining:LIMIT      Int64        what the sandbox said was left after the call; <NA>: not asked
oauth:FIELD          category     the fields of the schema's `oauth` struct; numbers among them Int64
===================  ===========  ====================================================================

A ledger may name limits that its profile does not have; `limit_names` holds the profile's, then those.

`operations`: seq, calls int64; planned, started, ended, deadline int64 ns; operation, person, name, outcome,
error category. `events`: seq int64; at int64 ns; what, who category; details str, a JSON object.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from quotalab.errors import RunFolderError
from quotalab.frames.rows import sound_rows
from quotalab.ledger.columns import Columns, LedgerColumns, open_ledger
from quotalab.ledger.folder import RunDescription, RunFolder
from quotalab.profiles.provider import Provider, parse_provider
from quotalab.profiles.reading import Table
from quotalab.profiles.rules import RuleSettings, rule_settings

__all__ = ["RECORDED", "Frames", "frames_of", "load"]

T = TypeVar("T")

RECORDED = "recorded"
"""The clock of a run that was no run: its calls were recorded elsewhere, and no sandbox decided them."""

_HEADERS = ("request_headers", "response_headers")  # their JSON costs more to read than all else together
_BY_LIMIT = {"keys": "key", "charges": "charge", "remaining": "remaining"}
_NULLABLE = ("retry_after_ns",)
_NOTHING = np.empty(0, dtype=object)


@dataclass(frozen=True, eq=False)
class Frames:
    """A run, as the judges see it."""

    calls: pd.DataFrame
    operations: pd.DataFrame
    events: pd.DataFrame
    provider: Provider
    """With the numbers that formulas gave for the run's people, and those drawn for opaque limits."""
    run: RunDescription
    torn: bool
    """Whether a stream of the ledger was cut off."""
    limit_names: tuple[str, ...]
    undrawn: tuple[str, ...] = ()
    """Opaque limits whose number the ledger does not tell; `provider` has their floor in its place."""
    notes: tuple[str, ...] = ()
    """What was amiss with the ledger's rows and was put right."""
    settings: RuleSettings = field(default_factory=dict)
    """`inputs/rules.json`: what the workspace set for single rules."""
    folder: Path | None = None
    """The run folder, for what is read only when a rule asks for it."""
    tells: frozenset[str] = frozenset()
    """Of recorded traffic: what the recording says of its calls beside when, what and from where."""
    _known: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def complete(self) -> bool:
        """Whether the run came to its end and nothing of its ledger is lost."""
        return self.run.complete and not self.torn

    @property
    def is_recorded(self) -> bool:
        """Whether the calls were recorded elsewhere: then no sandbox is a witness."""
        return self.run.clock == RECORDED

    @property
    def api_calls(self) -> pd.DataFrame:
        """The calls to the provider's API: a part of `calls`, with its index."""
        return self.once(_api_calls)

    @property
    def span_ns(self) -> tuple[int, int]:
        """[start, end) in ns: the run's own span as far as it came, and whatever the ledger has beside it."""
        return self.once(_span_ns)

    def once(self, function: Callable[[Frames], T]) -> T:
        """`function(self)`, computed the first time and kept: rules share what costs time to find out."""
        if function not in self._known:
            self._known[function] = function(self)
        known: T = self._known[function]
        return known


def load(folder: Path) -> Frames:
    """The run in `folder`; one that was cut is read up to the cut.

    Raises `RunFolderError` when it is no run folder or its ledger cannot be read, and `ProfileError` when the
    provider's document in it is not valid.
    """
    run_folder = RunFolder(folder)
    run = run_folder.description()
    run_folder.check(run)
    document = run_folder.read_input("provider.json")
    if not isinstance(document, dict):
        raise RunFolderError(f"{folder / 'inputs' / 'provider.json'}: must hold a JSON object")
    provider = parse_provider(document, "inputs/provider.json")
    settings = run_folder.read_input("rules.json") if (run_folder.inputs / "rules.json").exists() else {}
    if not isinstance(settings, dict):
        raise RunFolderError(f"{folder / 'inputs' / 'rules.json'}: must hold a JSON object")
    by_rule = rule_settings(Table(settings, str(folder / "inputs" / "rules.json")))
    frames = frames_of(open_ledger(folder), provider, run, by_rule, folder)
    if not frames.is_recorded:
        return frames
    recording = run_folder.read_input("recording.json")
    tells, notes = (
        recording.get(name) if isinstance(recording, dict) else None for name in ("tells", "notes")
    )
    for texts in (tells, notes):
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise RunFolderError(
                f"{folder / 'inputs' / 'recording.json'}: must hold lists of tells and notes"
            )
    return replace(frames, tells=frozenset(tells or ()), notes=(*frames.notes, *(notes or ())))


def frames_of(
    tables: LedgerColumns,
    provider: Provider,
    run: RunDescription,
    settings: RuleSettings,
    folder: Path | None,
) -> Frames:
    """The tables of a ledger as frames; `folder` is where they are from."""
    where = folder or Path()
    tables, notes = sound_rows(tables, where)
    events = _frame(tables.events, where / "events")
    provider, undrawn = _with_drawn(provider.for_people(run.users), events)
    names = [limit.name for limit in provider.limits]
    calls: dict[str, Any] = {}
    for column in tables.calls.schema:
        if column.name in _HEADERS:
            continue
        if column.name in _BY_LIMIT:
            _unpack(tables.calls.parts(column.name), tables.calls.rows, _BY_LIMIT[column.name], names, calls)
        elif column.name == "oauth":
            for field in column.type:
                calls[f"oauth:{field.name}"] = _column(tables.calls, "oauth", where / "calls", field.name)
        else:
            calls[column.name] = _column(tables.calls, column.name, where / "calls")
    pa.default_memory_pool().release_unused()
    return Frames(
        calls=pd.DataFrame(calls, copy=False),
        operations=_frame(tables.operations, where / "operations"),
        events=events,
        provider=provider,
        run=run,
        torn=tables.torn,
        limit_names=tuple(names),
        undrawn=undrawn,
        notes=(*notes, *_lost_workers(events)),
        settings=settings,
        folder=folder,
    )


def _with_drawn(provider: Provider, events: pd.DataFrame) -> tuple[Provider, tuple[str, ...]]:
    """The provider with what was drawn for its opaque limits, and the names of those without."""
    drawn: dict[str, int] = {}
    for details in events["details"][events["what"] == "limit-drawn"]:
        told = json.loads(details)
        if isinstance(told.get("limit"), str) and isinstance(told.get("number"), int):
            drawn.setdefault(told["limit"], told["number"])
    known = {name: number for name, number in drawn.items() if number >= 1}
    limits = tuple(
        limit.drawn(known.get(limit.name, limit.floor)) if limit.kind == "opaque" else limit
        for limit in provider.limits
    )
    undrawn = (limit.name for limit in limits if limit.kind == "opaque" and limit.name not in known)
    return replace(provider, limits=limits), tuple(undrawn)


def _lost_workers(events: pd.DataFrame) -> tuple[str, ...]:
    """Of a run in several processes: what the ledger lacks because one of them was lost."""
    notes = []
    for details in events["details"][events["what"] == "worker-lost"]:
        told = json.loads(details)
        worker, people = told.get("worker"), told.get("people")
        if isinstance(worker, int) and isinstance(people, list):
            notes.append(
                f"worker {worker} was lost: of what its {len(people)} people asked, operations that it had "
                f"not told of yet are missing; the calls are all there"
            )
    return tuple(notes)


def _frame(table: Columns, where: Path) -> pd.DataFrame:
    columns = {name: _column(table, name, where) for name in table.schema.names}
    return pd.DataFrame(columns, copy=False)


def _column(table: Columns, name: str, where: Path, field_name: str | None = None) -> Any:
    """One column as the frames have it, read part by part: what is not kept is never there as a whole."""
    kind = table.schema.field(name).type
    kind = kind if field_name is None else kind.field(field_name).type
    parts = table.parts(name, field_name)
    if name == "details":
        return pd.Series(np.concatenate([_NOTHING, *map(_objects, parts)]), dtype="str")
    if pa.types.is_string(kind):
        return _category(parts, table.rows)
    may_lack = field_name is not None or name in _NULLABLE
    is_time = pa.types.is_timestamp(kind)
    values = np.empty(table.rows, dtype=np.int64 if may_lack or is_time else kind.to_pandas_dtype())
    missing = np.zeros(table.rows if may_lack else 0, dtype=bool)
    start = 0
    for part in parts:
        end = start + len(part)
        if may_lack:
            missing[start:end] = part.is_null()
        elif part.null_count:
            raise RunFolderError(f"{where}: the column {name!r} lacks a value that every row must have")
        values[start:end] = part.view(pa.int64()) if is_time else part.fill_null(0)
        start = end
    return pd.arrays.IntegerArray(values, missing) if may_lack else values


def _objects(array: pa.Array) -> npt.NDArray[Any]:
    texts: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return texts


def _category(parts: Iterable[pa.Array], rows: int) -> pd.Categorical:
    """Texts as categories, in order of their first appearance."""
    encoded = [part if pa.types.is_dictionary(part.type) else part.dictionary_encode() for part in parts]
    codes = np.empty(rows, dtype=np.int32)
    texts = pa.array([], pa.string())
    start = 0
    if encoded:
        chunks = pa.chunked_array(encoded).unify_dictionaries().chunks
        del encoded
        texts = chunks[0].dictionary
        for chunk in chunks:
            codes[start : start + len(chunk)] = chunk.indices.fill_null(-1)
            start += len(chunk)
    highest = np.maximum.accumulate(codes) if rows else np.array([-1])
    if highest[0] <= 0 and highest[-1] == len(texts) - 1 and (np.diff(highest) <= 1).all():
        return _of_codes(codes, texts, np.arange(len(texts)))
    # Whoever wrote the file had them in another order, or more of them.
    known = np.flatnonzero(codes >= 0)[::-1]
    first = np.full(len(texts), rows, dtype=np.int64)
    first[codes[known]] = known  # of several rows the last one stays, which is the first
    order = np.argsort(first, kind="stable")
    return _of_codes(codes, texts, order[first[order] < rows])


def _of_codes(codes: npt.NDArray[np.int32], texts: pa.Array, kept: npt.NDArray[np.int64]) -> pd.Categorical:
    """The categorical of these codes, with those of the texts that are `kept`, in that order."""
    if len(kept) < len(texts) or (np.diff(kept) < 0).any():
        place = np.full(len(texts) + 1, -1, dtype=np.int32)
        place[kept] = np.arange(len(kept))
        codes, texts = place[codes], texts.take(pa.array(kept))
    found = pd.Categorical.from_codes(codes, categories=pd.Index(texts.to_pandas(), dtype="str"))
    # To see that no category is there twice pandas has made an object and a place in a hash table of each,
    # and keeps them with the index: several times what the texts themselves take. A copy is without them.
    return copy.deepcopy(found)


def _unpack(
    parts: Iterable[pa.MapArray], rows: int, prefix: str, names: list[str], columns: dict[str, Any]
) -> None:
    """A column for each limit of a column of maps; limits not in `names` yet are added to it."""
    found: dict[str, tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]] = {}
    texts: list[pa.Array] = [pa.array([], pa.string())]
    met = start = 0
    for part in parts:
        row_of, limit_of, limits, items = _entries(part)
        is_text = pa.types.is_string(items.type)
        if is_text:
            encoded = items.dictionary_encode()
            texts.append(encoded.dictionary)
            values = np.where(encoded.indices.is_null(), -1, encoded.indices.fill_null(0).to_numpy() + met)
            met += len(encoded.dictionary)
        else:
            values = items.fill_null(0).to_numpy(zero_copy_only=False)
        names += [name for name in limits if name not in names]
        for code, name in enumerate(limits):
            if name not in found:
                none = np.full(rows, -1, np.int32) if is_text else np.zeros(rows, np.int64)
                found[name] = none, np.ones(0 if is_text else rows, dtype=bool)
            mine = limit_of == code
            column, missing = found[name]
            column[start + row_of[mine]] = values[mine]
            if not is_text:
                missing[start + row_of[mine]] = False
        start += len(part)
    of_all = pa.concat_arrays(texts).dictionary_encode()
    place = np.append(of_all.indices.to_numpy(), -1).astype(np.int32)
    for name in names:
        if prefix == "key":
            codes = place[found[name][0]] if name in found else np.full(rows, -1, np.int32)
            used = np.zeros(len(of_all.dictionary) + 1, dtype=bool)
            used[codes] = True
            columns[f"{prefix}:{name}"] = _of_codes(codes, of_all.dictionary, np.flatnonzero(used[:-1]))
        else:
            nothing = np.zeros(rows, np.int64), np.ones(rows, dtype=bool)
            columns[f"{prefix}:{name}"] = pd.arrays.IntegerArray(*found.get(name, nothing))


def _entries(
    part: pa.MapArray,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], list[str], pa.Array]:
    """Of the entries of a part of a column of maps: row, code of the limit; the limits; and the items."""
    offsets = part.offsets.to_numpy(zero_copy_only=False)
    lengths = np.diff(offsets)
    if part.null_count:
        lengths = np.where(part.is_null().to_numpy(zero_copy_only=False), 0, lengths)
    row_of = np.repeat(np.arange(len(part)), lengths)
    # A row that is null may still span entries; only the entries of other rows are looked at.
    entry = pa.array(np.repeat(offsets[:-1], lengths) + _counting(lengths))
    # `keys` and `items` hold all entries of the buffer, to which the offsets point.
    limits = part.keys.take(entry).dictionary_encode()
    return row_of, limits.indices.to_numpy(), limits.dictionary.to_pylist(), part.items.take(entry)


def _counting(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """0, 1, ... within each of the lengths, one after the other."""
    ends = np.cumsum(lengths)
    return np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - lengths, lengths)


def _api_calls(frames: Frames) -> pd.DataFrame:
    is_api = (frames.calls["kind"] == "api").to_numpy()
    return frames.calls if is_api.all() else frames.calls[is_api]


def _span_ns(frames: Frames) -> tuple[int, int]:
    start_ns = frames.run.start_ns
    end_ns = start_ns + frames.run.span_ns
    if not frames.run.complete or frames.run.ended_ns is not None:
        end_ns = frames.run.ended_ns if frames.run.ended_ns is not None else start_ns
    times = [(frames.calls, "at"), (frames.operations, "planned"), (frames.operations, "ended")]
    for frame, column in times:
        if len(frame):
            start_ns = min(start_ns, int(frame[column].min()))
            end_ns = max(end_ns, int(frame[column].max()) + 1)
    return start_ns, max(end_ns, start_ns + 1)
