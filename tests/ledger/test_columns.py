"""A ledger's columns, one after the other, from files and streams."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quotalab.errors import RunFolderError
from quotalab.ledger import OAuthFacts, columns, compact, read_ledger
from quotalab.ledger.columns import open_ledger
from quotalab.ledger.schema import SCHEMAS


@pytest.fixture
def folder(writing):
    """A ledger whose rows differ, with nulls, maps and the struct."""
    one = writing()
    for i in range(7):
        facts = OAuthFacts("refresh_token", state=f"s{i}") if i % 2 else None
        one.call(i, person=[None, "bob", "ann"][i % 3], oauth=facts, retry_after_ns=i or None)
    one.operation(9)
    one.event(9, a=1)
    one.writer.close()
    return one.folder


def texts(array):
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def column(table, name, field=None):
    parts = [texts(part) for part in table.parts(name, field)]
    return [value for part in parts for value in part.to_pylist()]


def alike(folder, tables):
    """Whether each column, and each field of the struct, is what the whole tables have."""
    opened = open_ledger(folder)
    for name in SCHEMAS:
        whole, table = getattr(tables, name), getattr(opened, name)
        assert table.rows == len(whole)
        assert table.schema == whole.schema
        assert table.whole().equals(whole)
        for field in whole.schema:
            assert column(table, field.name) == whole.column(field.name).to_pylist()
    for field in SCHEMAS["calls"].field("oauth").type:
        told = [row and row[field.name] for row in tables.calls.column("oauth").to_pylist()]
        assert column(opened.calls, "oauth", field.name) == told


def test_columns_of_streams_and_of_files_are_those_of_the_tables(folder, monkeypatch):
    """In parts of three rows, and from row groups of two."""
    monkeypatch.setattr(columns, "_PART_ROWS", 3)
    tables = read_ledger(folder)
    alike(folder, tables)
    compact(folder, tables)
    for name in SCHEMAS:
        pq.write_table(getattr(tables, name), folder / f"{name}.parquet", row_group_size=2)
    alike(folder, tables)


def test_what_an_earlier_version_had_not_is_null(folder):
    """A column, and a field of the struct."""
    tables = read_ledger(folder)
    compact(folder, tables)
    kept = [field for field in SCHEMAS["calls"].field("oauth").type if field.name != "state_length"]
    rows = [
        row and {field.name: row[field.name] for field in kept} for row in tables.calls["oauth"].to_pylist()
    ]
    place = tables.calls.schema.get_field_index("oauth")
    old = tables.calls.set_column(place, "oauth", pa.array(rows, pa.struct(kept)))
    pq.write_table(old.drop_columns(["token_at"]), folder / "calls.parquet")
    calls = open_ledger(folder).calls
    assert column(calls, "token_at") == column(calls, "oauth", "state_length") == [None] * 7
    assert column(calls, "oauth", "state") == [None, "s1", None, "s3", None, "s5", None]


def test_a_file_that_lacks_a_column_is_refused_before_any_is_read(folder):
    """As when it is read whole."""
    tables = read_ledger(folder)
    compact(folder, tables)
    pq.write_table(tables.calls.drop_columns(["status"]), folder / "calls.parquet")
    with pytest.raises(
        RunFolderError, match=r"calls\.parquet: is no calls table .*: it lacks the column 'status'"
    ):
        open_ledger(folder)


def test_a_column_of_another_type_is_refused_when_it_is_read(folder):
    """Texts that are no numbers; numbers that were written as texts are numbers."""
    tables = read_ledger(folder)
    compact(folder, tables)
    place = tables.calls.schema.get_field_index("status")
    for status in ("two hundred", "200"):
        other = tables.calls.set_column(place, "status", pa.array([status] * 7))
        pq.write_table(other, folder / "calls.parquet")
        calls = open_ledger(folder).calls
        if status == "200":
            assert column(calls, "status") == [200] * 7
            continue
        with pytest.raises(RunFolderError, match=r"calls\.parquet: a column is of another type: "):
            column(calls, "status")


def test_a_file_of_broken_pages_is_refused_when_it_is_read(folder):
    """The footer may be whole where a column is not."""
    tables = read_ledger(folder)
    compact(folder, tables)
    path = folder / "calls.parquet"
    at = pq.ParquetFile(path).metadata.row_group(0).column(0)
    broken = bytearray(path.read_bytes())
    start = at.dictionary_page_offset or at.data_page_offset
    broken[start : start + 20] = b"\xff" * 20
    path.write_bytes(bytes(broken))
    with pytest.raises(RunFolderError, match=r"calls\.parquet: is not a readable Parquet file: "):
        column(open_ledger(folder).calls, "seq")
