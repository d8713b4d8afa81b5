"""Writing and reading back: schema, batches, cut streams, Parquet."""

from __future__ import annotations

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quotalab.errors import RunFolderError
from quotalab.ledger import Call, Event, OAuthFacts, Operation, compact, read_ledger
from quotalab.ledger.schema import SCHEMAS

START_NS = 1_767_571_200_000_000_000


@pytest.mark.parametrize(("table", "row"), [("calls", Call), ("operations", Operation), ("events", Event)])
def test_a_rows_fields_are_its_tables_columns(table, row):
    """A row is appended by position: names and order are the schema's, after `seq`."""
    assert ("seq", *row._fields) == tuple(SCHEMAS[table].names)


def test_the_oauth_struct_is_its_tuple():
    """The nested struct is written by position too."""
    struct = SCHEMAS["calls"].field("oauth").type
    assert tuple(struct.field(i).name for i in range(struct.num_fields)) == OAuthFacts._fields


def test_rows_come_back_as_they_were_written(writing):
    """Every column of every table, nulls, maps and the nested struct survive the way to the file and back."""
    one = writing()
    facts = OAuthFacts("refresh_token", None, None, *"abcde", "https://app.test/cb", "x y", "x")
    rows = [
        one.row(5),
        one.row(6, oauth=facts, person=None, token=None, keys=(), charges=(), remaining=(), retry_after_ns=7),
    ]
    assert [one.writer.call(row) for row in rows] == [0, 1]
    assert one.operation(9) == 2
    assert one.event(9, b=1, a="é") == 3
    one.writer.close()
    tables = read_ledger(one.folder)
    assert not tables.torn
    calls = tables.calls.to_pylist()
    for seq, (row, got) in enumerate(zip(rows, calls, strict=True)):
        wanted = row._asdict() | {"seq": seq}
        wanted |= {name: list(wanted[name]) for name in ("keys", "charges", "remaining")}
        wanted["oauth"] = row.oauth._asdict() if row.oauth else None
        got |= {name: got[name].value for name in ("sent", "at", "answered", "done")}
        assert got == wanted
    (operation,) = tables.operations.to_pylist()
    assert operation["deadline"].value == START_NS + 9 + 10**9
    assert (operation["seq"], operation["outcome"], operation["calls"]) == (2, "done", 1)
    (event,) = tables.events.to_pylist()
    assert (event["seq"], event["who"], event["details"]) == (3, "ann", '{"a":"\\u00e9","b":1}')


def test_a_batch_is_written_at_256_rows(writing):
    """255 calls are still gathered; the 256th brings all of them, and other tables' rows, to the disk."""
    one = writing()
    one.event()
    empty = one.on_disk()
    for _ in range(255):
        one.call()
    assert one.on_disk() == empty
    one.call()
    calls, events, operations = one.on_disk()
    assert calls > empty[0]
    assert events > empty[1]
    assert operations == empty[2]
    assert read_ledger(one.folder).calls.num_rows == 256


@pytest.mark.parametrize("append", ["call", "operation", "event", "flush_if_due"])
def test_a_batch_waits_for_one_real_second_at_most(writing, append):
    """A row gathered at 0 is written by whatever happens next at 1 s, and by nothing a nanosecond earlier."""
    one = writing()
    one.call()
    empty = one.on_disk()
    happen = one.writer.flush_if_due if append == "flush_if_due" else getattr(one, append)
    one.now_ns = 10**9 - 1
    happen()
    assert one.on_disk() == empty
    one.now_ns = 10**9
    happen()
    assert one.on_disk() != empty
    written = one.on_disk()
    one.now_ns = 2 * 10**9 - 1
    one.call()
    assert one.on_disk() == written


def test_closing_twice_is_closing_once(writing):
    """The second close changes no byte."""
    one = writing()
    one.call()
    one.writer.close()
    closed = one.on_disk()
    one.writer.close()
    assert one.on_disk() == closed


def test_an_empty_ledger_has_three_empty_tables(writing):
    """A run in which nothing happened is whole, not torn."""
    one = writing()
    one.writer.close()
    tables = read_ledger(one.folder)
    assert [tables.calls.num_rows, tables.operations.num_rows, tables.events.num_rows] == [0, 0, 0]
    assert not tables.torn


def three_batches(one) -> tuple[bytes, list[int]]:
    """The bytes of a calls stream of three batches of 4 rows, and where each of them ends."""
    ends = []
    for _ in range(3):
        for _ in range(4):
            one.call()
        one.writer.flush()
        ends.append(one.on_disk()[0])
    one.writer.close()
    return (one.folder / "calls.0.arrows").read_bytes(), ends


def test_a_stream_cut_anywhere_is_read_up_to_its_last_whole_batch(writing):
    """Cut in schema, metadata, bodies, between batches or in the end mark: whole batches, and torn."""
    one = writing()
    whole, ends = three_batches(one)
    path = one.folder / "calls.0.arrows"
    near = [end + step for end in (0, *ends, len(whole)) for step in range(-9, 10)]
    for length in sorted({*near, *range(0, len(whole), 61)} & set(range(len(whole)))):
        path.write_bytes(whole[:length])
        tables = read_ledger(one.folder)
        assert tables.torn, length
        assert tables.calls.num_rows == 4 * sum(end <= length for end in ends), length
    path.write_bytes(whole)
    assert not read_ledger(one.folder).torn


@pytest.mark.parametrize("seed", range(30))
def test_garbage_behind_whole_batches_is_left_out(writing, seed):
    """Whatever follows the last whole batch, with or without an end mark before it: torn, and nothing lost."""
    rng = random.Random(seed)
    one = writing()
    whole, ends = three_batches(one)
    kept = rng.choice((ends[1], ends[2], len(whole)))
    garbage = rng.choice((rng.randbytes(rng.randrange(1, 400)), bytes(rng.randrange(1, 4096)), b"\xff" * 64))
    (one.folder / "calls.0.arrows").write_bytes(whole[:kept] + garbage)
    tables = read_ledger(one.folder)
    assert tables.torn
    assert tables.calls.num_rows == 4 * sum(end <= kept for end in ends)


@pytest.mark.parametrize("seed", range(80))
def test_a_damaged_batch_is_an_end_and_never_a_crash(writing, seed):
    """Bytes overwritten within the last batch: the batches before it are read, and no error escapes."""
    rng = random.Random(seed)
    one = writing()
    whole, ends = three_batches(one)
    at = rng.randrange(ends[1], ends[2])
    damaged = bytearray(whole)
    damaged[at : at + 8] = rng.randbytes(8)
    (one.folder / "calls.0.arrows").write_bytes(damaged[: len(whole)])
    tables = read_ledger(one.folder)
    assert tables.calls.num_rows in (8, 12)
    if tables.calls.num_rows == 8:
        assert tables.torn
    tables.calls.to_pylist()


def test_several_processes_parts_are_one_table(writing):
    """Parts are put together in order of `seq`, and one torn part makes the ledger torn."""
    first, second = writing(), writing(process=1)
    second.writer.seq = 1
    second.call(person="bob")
    second.writer.close()
    first.call()
    first.writer.seq = 2
    first.call()
    first.writer.close()
    tables = read_ledger(first.folder)
    assert tables.calls["person"].to_pylist() == ["ann", "bob", "ann"]
    assert not tables.torn
    part = first.folder / "calls.1.arrows"
    part.write_bytes(part.read_bytes()[:-1])
    assert read_ledger(first.folder).torn


def test_compaction_keeps_every_row_and_removes_the_streams(writing):
    """What is read from Parquet equals what was read from the streams; nothing else is left."""
    one = writing()
    for i in range(300):
        one.call(i, status=200 + i % 3)
    one.event(3, n=1)
    one.writer.close()
    before = read_ledger(one.folder)
    compact(one.folder, before)
    after = read_ledger(one.folder)
    assert sorted(path.name for path in one.folder.iterdir()) == [
        "calls.parquet",
        "events.parquet",
        "operations.parquet",
    ]
    for table, schema in SCHEMAS.items():
        assert getattr(after, table).equals(getattr(before, table))
        assert getattr(after, table).schema.equals(schema)
    assert not after.torn


def test_a_missing_table_is_named(writing):
    """One clear line says which table the folder lacks."""
    one = writing()
    one.writer.close()
    (one.folder / "events.0.arrows").unlink()
    with pytest.raises(RunFolderError) as caught:
        read_ledger(one.folder)
    assert str(caught.value) == (
        f"{one.folder}: has no events table: neither events.parquet nor events.*.arrows"
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda table: table.drop_columns(["status"]), "it lacks the column 'status'"),
        (
            lambda table: table.set_column(
                table.schema.get_field_index("status"), "status", pa.array(["two hundred"])
            ),
            "a column is of another type: ",
        ),
        (None, "is not a readable Parquet file: "),
    ],
    ids=["column", "type", "bytes"],
)
def test_a_foreign_parquet_file_is_named(writing, change, says):
    """A table of other columns, of other types, or of no Parquet at all gets one line that names the file."""
    one = writing()
    one.call()
    one.writer.close()
    compact(one.folder, read_ledger(one.folder))
    path = one.folder / "calls.parquet"
    if change is None:
        path.write_bytes(b"PAR1 not so PAR1")
    else:
        pq.write_table(change(pq.read_table(path)), path)
    with pytest.raises(RunFolderError) as caught:
        read_ledger(one.folder)
    assert str(caught.value).startswith(f"{path}: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_stream_of_other_columns_is_named(writing):
    """A stream that another version wrote is refused, not guessed at."""
    one = writing()
    one.writer.close()
    path = one.folder / "calls.0.arrows"
    with pa.ipc.new_stream(path, pa.schema([("seq", pa.int64())])):
        pass
    with pytest.raises(RunFolderError) as caught:
        read_ledger(one.folder)
    assert str(caught.value) == f"{path}: was written with other columns than this version's"


def test_a_ledger_never_overwrites_another(writing):
    """A second writer in one folder is refused in one line."""
    one = writing()
    with pytest.raises(RunFolderError) as caught:
        writing()
    assert str(caught.value) == f"{one.folder}: the ledger cannot be written there: File exists"


def test_a_full_disk_is_told_in_one_line(writing, monkeypatch):
    """What the operating system refuses names the file."""
    one = writing()
    one.call()

    class Full:
        def write_batch(self, batch):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr(one.writer._streams["calls"], "_writer", Full())
    with pytest.raises(RunFolderError) as caught:
        one.writer.flush()
    assert str(caught.value) == f"{one.folder / 'calls.0.arrows'}: cannot be written: No space left on device"
