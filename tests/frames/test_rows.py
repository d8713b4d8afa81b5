"""Ledgers whose rows are not as a run writes them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quotalab.errors import RunFolderError
from quotalab.frames import load
from quotalab.frames.testing import LedgerBuilder
from quotalab.ledger import compact, read_ledger
from quotalab.rules import judge


def written(tmp_path, calls=5, name="run"):
    """A run folder with Parquet tables that `run.json` does not vouch for."""
    ledger = LedgerBuilder()
    for at in range(calls):
        ledger.decided_call(at)
        ledger.operation(at)
    folder = ledger.write(tmp_path / name)
    compact(folder, read_ledger(folder))
    return folder


def change(folder, table, function):
    path = folder / f"{table}.parquet"
    pq.write_table(function(pq.read_table(path)), path.with_suffix(".new"))
    path.with_suffix(".new").rename(path)


def same(one, other):
    return one.calls.equals(other.calls) and one.operations.equals(other.operations)


def test_rows_out_of_order_are_sorted_and_it_is_said(tmp_path):
    """The verdict is that of the rows in order."""
    whole = load(written(tmp_path))
    folder = written(tmp_path, name="mixed")
    change(folder, "calls", lambda table: table.take([3, 1, 4, 0, 2]))
    frames = load(folder)
    assert same(frames, whole)
    assert frames.notes == ("the rows of calls were out of order, and were sorted by seq",)
    assert judge(frames, []).notes == frames.notes


def test_rows_that_are_there_twice_count_once(tmp_path):
    """As when a stream was copied behind another."""
    whole = load(written(tmp_path))
    folder = written(tmp_path, name="twice")
    change(folder, "operations", lambda table: pa.concat_tables([table, table.slice(1, 2)]))
    frames = load(folder)
    assert same(frames, whole)
    assert frames.notes == (
        "the rows of operations were out of order, and were sorted by seq",
        "2 rows of operations were there twice, and are counted once",
    )


@pytest.mark.parametrize("table", ["calls", "operations"])
def test_rows_of_two_runs_are_refused(tmp_path, table):
    """A seq that stands for two different rows, of one table."""
    folder = written(tmp_path)
    ledger = LedgerBuilder()
    for at in range(3):
        ledger.decided_call(at, person="bob")
        ledger.operation(at, person="bob")
    other = read_ledger(ledger.write(tmp_path / "other"))
    change(folder, table, lambda own: pa.concat_tables([own, getattr(other, table)]))
    with pytest.raises(
        RunFolderError, match=r"run: seq [01] stands for two different rows: rows of two runs"
    ):
        load(folder)


def test_a_table_of_another_run_is_refused(tmp_path):
    """`seq` counts over all tables of a run, so it cannot be in two of them."""
    folder = written(tmp_path)
    ledger = LedgerBuilder()
    for at in range(3):
        ledger.operation(at)
    other = read_ledger(ledger.write(tmp_path / "other"))
    change(folder, "operations", lambda _: other.operations)
    with pytest.raises(RunFolderError, match=r"seq 0 stands for two different rows"):
        load(folder)


def test_a_column_that_is_not_known_is_left_out_and_said(tmp_path):
    """Columns are added by later versions; nothing is done with them."""
    whole = load(written(tmp_path))
    folder = written(tmp_path, name="new")
    change(folder, "calls", lambda table: table.append_column("weather", pa.array(["fine"] * len(table))))
    frames = load(folder)
    assert same(frames, whole)
    assert frames.notes == ("calls.parquet has weather, which this version does not know",)


def test_a_table_that_is_missing_is_named(tmp_path):
    """A ledger has three."""
    folder = written(tmp_path)
    (folder / "events.parquet").unlink()
    with pytest.raises(RunFolderError, match=r"has no events table: neither events\.parquet nor events\.\*"):
        load(folder)


def test_a_ledger_as_a_run_writes_it_needs_no_word(tmp_path):
    """Nothing is noted of what is right."""
    assert load(written(tmp_path)).notes == ()
