"""Rows of a ledger that are not as a run writes them: out of order, written twice, or of two runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from quotalab.errors import RunFolderError
from quotalab.ledger.columns import Columns, LedgerColumns
from quotalab.ledger.schema import SCHEMAS

__all__ = ["sound_rows"]


def sound_rows(tables: LedgerColumns, folder: Path) -> tuple[LedgerColumns, tuple[str, ...]]:
    """The tables in order of `seq`, each row once, and a sentence for whatever had to be put right.

    A row that is there twice, the same in every column, is kept once. `seq` counts over all tables of a run:
    raises `RunFolderError` where one stands for two different rows, which are then of two runs.
    """
    notes: list[str] = []
    sound = {name: _sound(name, getattr(tables, name), folder, notes) for name in SCHEMAS}
    every = np.sort(np.concatenate([_seq(table) for table in sound.values()]))
    twice = every[1:][every[1:] == every[:-1]]
    if len(twice):
        raise _mixed(folder, int(twice[0]))
    found = LedgerColumns(**sound, torn=tables.torn, notes=tables.notes)
    return found, (*tables.notes, *notes)


def _sound(name: str, columns: Columns, folder: Path, notes: list[str]) -> Columns:
    seq = _seq(columns)
    steps = np.diff(seq)
    if (steps > 0).all():
        return columns
    table = columns.whole()
    order = np.argsort(seq, kind="stable")
    if (steps < 0).any():
        notes.append(f"the rows of {name} were out of order, and were sorted by seq")
    seq = seq[order]
    table = table.take(pa.array(order))
    again = np.append(False, seq[1:] == seq[:-1])
    if again.any():
        for place in np.flatnonzero(again).tolist():
            if table.slice(place, 1).to_pylist() != table.slice(place - 1, 1).to_pylist():
                raise _mixed(folder, int(seq[place]))
        notes.append(f"{int(again.sum()):,} rows of {name} were there twice, and are counted once")
        table = table.filter(pa.array(~again))
    return Columns(table)


def _seq(columns: Columns) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    parts = list(columns.parts("seq"))
    if any(part.null_count for part in parts):
        return np.empty(0, dtype=np.int64)  # refused where columns are read, with the table's name
    return np.concatenate([np.empty(0, dtype=np.int64), *(part.to_numpy() for part in parts)])


def _mixed(folder: Path, seq: int) -> RunFolderError:
    return RunFolderError(
        f"{folder}: seq {seq} stands for two different rows: rows of two runs are mixed; judge each run in a "
        "folder of its own"
    )
