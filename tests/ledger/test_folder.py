"""The run folder and its description."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quotalab.errors import RunFolderError
from quotalab.frames.testing import LedgerBuilder
from quotalab.ledger import OAuthFacts, RunDescription, RunFolder, read_ledger
from quotalab.ledger.reader import compact, read_cells

DESCRIPTION = RunDescription(
    scenario="calendar",
    provider="temporary-production",
    traffic=None,
    policy="polite",
    seed=1,
    clock="virtual",
    transport="memory",
    users=3,
    start_ns=1,
    span_ns=2,
    settings=("a=1",),
    command=("quotalab", "run"),
    inputs={"provider.json": "00"},
    versions={"python": "3.11"},
)


def test_a_description_comes_back_as_it_was_written(tmp_path):
    """`run.json` holds every field, and nothing half-written is left beside it."""
    folder = RunFolder.create(tmp_path / "run")
    for description in (DESCRIPTION, dataclasses.replace(DESCRIPTION, complete=True, wall_s=1.5)):
        folder.write_description(description)
        assert RunFolder(folder.path).description() == description
    assert sorted(path.name for path in folder.path.iterdir()) == ["inputs", "run.json"]


def test_an_input_is_kept_with_its_checksum(tmp_path):
    """An input is written as it is, and its SHA-256 is that of the file."""
    folder = RunFolder.create(tmp_path / "run")
    checksum = folder.write_input("provider.json", '{"é": 1}')
    assert checksum == hashlib.sha256((folder.inputs / "provider.json").read_bytes()).hexdigest()
    assert folder.read_input("provider.json") == {"é": 1}


def test_a_folder_that_holds_something_is_not_taken(tmp_path):
    """A run never mixes with what is there; an empty folder is fine."""
    (tmp_path / "empty").mkdir()
    RunFolder.create(tmp_path / "empty")
    with pytest.raises(RunFolderError) as caught:
        RunFolder.create(tmp_path)
    assert str(caught.value) == f"{tmp_path}: is not empty; a run needs a folder of its own (another --out)"


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    """A file in the way gets one line."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError) as caught:
        RunFolder.create(tmp_path / "file")
    assert str(caught.value) == f"{tmp_path / 'file'}: cannot be made: File exists"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("scenario", 3, "scenario: must be a text, not 3"),
        ("policy", ["x"], r"policy: must be a text or null, not \['x'\]"),
        ("users", "3", "users: must be a whole number, not '3'"),
        ("users", True, "users: must be a whole number, not True"),
        ("start_ns", 1.5, r"start_ns: must be a whole number, not 1\.5"),
        ("span_ns", 2**70, "span_ns: must be a whole number, not"),
        ("seed", {}, "seed: must be a whole number or null, not {}"),
        ("wall_s", "1", "wall_s: must be a number or null, not '1'"),
        ("complete", 1, "complete: must be true or false, not 1"),
        ("settings", "a=1", "settings: must be a list of texts, not 'a=1'"),
        ("command", [1], r"command: must be a list of texts, not \[1\]"),
        ("inputs", ["x"], r"inputs: must be an object of texts, not \['x'\]"),
        ("tables", {"calls.parquet": None}, "tables: must be an object of texts, not"),
    ],
)
def test_a_field_of_another_type_is_told(tmp_path, field, value, said):
    """Whoever wrote `run.json` by hand gets the field and what would be right."""
    folder = RunFolder.create(tmp_path / "run")
    folder.write_description(DESCRIPTION)
    document = json.loads((folder.path / "run.json").read_text())
    (folder.path / "run.json").write_text(json.dumps({**document, field: value}))
    with pytest.raises(RunFolderError, match=rf"run\.json: {said}"):
        folder.description()


def test_a_folder_that_is_not_there_is_told(tmp_path):
    """Reading a run that does not exist names the path that was given."""
    with pytest.raises(RunFolderError) as caught:
        RunFolder(tmp_path / "no").description()
    assert str(caught.value) == f"{tmp_path / 'no'}: there is no such run folder"


def test_a_folder_that_is_no_run_is_told(tmp_path):
    """A folder without `run.json` is not a run folder, and an input that is missing is named."""
    with pytest.raises(RunFolderError) as caught:
        RunFolder(tmp_path).description()
    assert str(caught.value) == f"{tmp_path}: is not a run folder: it has no run.json"
    with pytest.raises(RunFolderError, match=r"it has no inputs/provider\.json$"):
        RunFolder(tmp_path).read_input("provider.json")


def written(**changed) -> str:
    """A description's JSON with fields changed; None drops one."""
    document = json.loads(json.dumps(dataclasses.asdict(DESCRIPTION))) | changed
    return json.dumps({name: value for name, value in document.items() if value != "dropped"})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON: Expecting property name"),
        ("[" * 100_000, "is not JSON: "),
        ("[]", "schema must be 1"),
        (written(schema=2), "schema must be 1"),
        (written(users="dropped"), "missing 1 required positional argument: 'users'"),
        (written(colour="red"), "got an unexpected keyword argument 'colour'"),
        (written(settings=None), "settings: must be a list of texts, not None"),
    ],
    ids=["json", "deep", "list", "schema", "missing", "unknown", "null"],
)
def test_a_description_that_is_wrong_is_told_in_one_line(tmp_path, text, says):
    """Whatever is wrong with `run.json`, the file is named first, and there is no traceback."""
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunFolderError) as caught:
        RunFolder(tmp_path).description()
    assert str(caught.value).startswith(f"{tmp_path / 'run.json'}: {says}")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_told(tmp_path):
    """A description that is not UTF-8 cannot be read."""
    (tmp_path / "run.json").write_bytes(b"\xff")
    with pytest.raises(RunFolderError, match=r"run\.json: cannot be read: "):
        RunFolder(tmp_path).description()


def test_a_ledger_from_before_a_column_was_added_is_read(tmp_path):
    """What was not recorded then is not known: null, and all else as it was."""
    builder = LedgerBuilder()
    builder.call(1, kind="token", token=None, oauth=OAuthFacts("refresh_token", client_auth="basic"))
    builder.call(2)
    folder = builder.write(tmp_path / "new")
    tables = read_ledger(folder)
    compact(folder, tables)
    path = folder / "calls.parquet"
    calls = pq.read_table(path)
    kept = calls.schema.field("oauth").type
    added = ("code_challenge", "state_length", "client_auth")
    old = pa.struct([field for field in kept if field.name not in added])
    rows = [
        row and {name: value for name, value in row.items() if name not in added}
        for row in calls.column("oauth").to_pylist()
    ]
    place = calls.schema.get_field_index("oauth")
    calls = calls.set_column(place, "oauth", pa.array(rows, old)).drop_columns(["token_at"])
    pq.write_table(calls, path)
    again = read_ledger(folder).calls
    assert again.schema == tables.calls.schema
    assert again.column("token_at").to_pylist() == [None, None]
    facts = again.column("oauth").to_pylist()
    assert (facts[0]["grant_type"], facts[0]["client_auth"], facts[1]) == ("refresh_token", None, None)


def test_cells_of_a_column_are_read_without_the_rest(tmp_path):
    """In the order and as often as asked, across row groups, from Parquet as from the streams."""
    ledger = LedgerBuilder()
    for at in range(7):
        ledger.call(at, response_headers=f'{{"n": "{at}"}}')
    folder = ledger.write(tmp_path / "run")
    rows = [6, 0, 3, 3]
    wanted = [f'{{"n": "{row}"}}' for row in rows]
    tables = read_ledger(folder)
    for path in [*folder.glob("calls.*")]:
        path.unlink()
    pq.write_table(tables.calls, folder / "calls.parquet", row_group_size=3)
    assert read_cells(folder, "response_headers", rows) == wanted
    (folder / "calls.parquet").unlink()
    with (
        pa.OSFile(str(folder / "calls.1.arrows"), "wb") as file,
        pa.ipc.new_stream(file, tables.calls.schema) as out,
    ):
        out.write_table(tables.calls)
    assert read_cells(folder, "response_headers", rows) == wanted
    (folder / "calls.1.arrows").unlink()
    (folder / "calls.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(RunFolderError, match=r"calls\.parquet: is not a readable Parquet file"):
        read_cells(folder, "response_headers", rows)
