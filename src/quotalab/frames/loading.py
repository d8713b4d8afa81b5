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

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from quotalab.errors import RunFolderError
from quotalab.frames.rows import sound_rows
from quotalab.ledger.folder import RunDescription, RunFolder
from quotalab.ledger.reader import LedgerTables, read_ledger
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
    frames = frames_of(read_ledger(folder), provider, run, by_rule, folder)
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
    tables: LedgerTables,
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
    for column in tables.calls.schema.names:
        array = tables.calls.column(column).combine_chunks()
        if column in _HEADERS:
            continue
        if column in _BY_LIMIT:
            _unpack(array, _BY_LIMIT[column], names, calls)
        elif column == "oauth":
            for i in range(array.type.num_fields):
                part = array.field(i) if array.null_count == 0 else pa.compute.struct_field(array, i)
                is_text = pa.types.is_string(part.type)
                calls[f"oauth:{array.type.field(i).name}"] = _category(part) if is_text else _nullable(part)
        else:
            calls[column] = _column(array, column, where / "calls")
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


def _frame(table: pa.Table, where: Path) -> pd.DataFrame:
    columns = {name: _column(table.column(name).combine_chunks(), name, where) for name in table.schema.names}
    return pd.DataFrame(columns, copy=False)


def _column(array: pa.Array, name: str, where: Path) -> Any:
    if name == "details":
        return pd.Series(array.to_numpy(zero_copy_only=False), dtype="str")
    if pa.types.is_string(array.type):
        return _category(array)
    if name in _NULLABLE:
        return _nullable(array)
    if array.null_count:
        raise RunFolderError(f"{where}: the column {name!r} lacks a value that every row must have")
    if pa.types.is_timestamp(array.type):
        array = array.view(pa.int64())
    return array.to_numpy(zero_copy_only=False)


def _category(array: pa.Array) -> pd.Categorical:
    encoded = array.dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    categories = pd.Index(encoded.dictionary.to_numpy(zero_copy_only=False), dtype="str")
    return pd.Categorical.from_codes(codes, categories=categories)


def _nullable(array: pa.Array) -> pd.arrays.IntegerArray:
    missing = array.is_null().to_numpy(zero_copy_only=False)
    values = array.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return pd.arrays.IntegerArray(values, missing)


def _unpack(array: pa.MapArray, prefix: str, names: list[str], columns: dict[str, Any]) -> None:
    """A column for each limit of a column of maps; limits not in `names` yet are added to it."""
    rows = len(array)
    offsets = array.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    lengths = np.diff(offsets)
    if array.null_count:
        lengths = np.where(array.is_null().to_numpy(zero_copy_only=False), 0, lengths)
    row_of = np.repeat(np.arange(rows), lengths)
    # A row that is null may still span entries; only the entries of other rows are looked at.
    entry = np.repeat(offsets[:-1], lengths) + _counting(lengths)
    # `keys` and `items` hold all entries of the buffer, to which the offsets point.
    encoded = array.keys.dictionary_encode()
    limit_of = encoded.indices.to_numpy(zero_copy_only=False)[entry]
    found = encoded.dictionary.to_pylist()
    items = array.items
    is_text = pa.types.is_string(items.type)
    if is_text:
        texts = items.dictionary_encode()
        values = texts.indices.fill_null(-1).to_numpy(zero_copy_only=False)[entry].astype(np.int64)
        categories = pd.Index(texts.dictionary.to_numpy(zero_copy_only=False), dtype="str")
    else:
        values = items.fill_null(0).to_numpy(zero_copy_only=False)[entry]
    names += [name for name in found if name not in names]
    for name in names:
        mine = limit_of == (found.index(name) if name in found else -1)
        column = np.full(rows, -1 if is_text else 0, dtype=np.int64)
        column[row_of[mine]] = values[mine]
        if is_text:
            columns[f"{prefix}:{name}"] = pd.Categorical.from_codes(
                column, categories=categories
            ).remove_unused_categories()
        else:
            missing = np.ones(rows, dtype=bool)
            missing[row_of[mine]] = False
            columns[f"{prefix}:{name}"] = pd.arrays.IntegerArray(column, missing)


def _counting(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """0, 1, ... within each of the lengths, one after the other."""
    ends = np.cumsum(lengths)
    return np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - lengths, lengths)


def _api_calls(frames: Frames) -> pd.DataFrame:
    return frames.calls[frames.calls["kind"] == "api"]


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
