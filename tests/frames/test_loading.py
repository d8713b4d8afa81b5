"""From a run folder to frames: columns, units, maps, and folders that are broken."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quotalab.errors import ProfileError, RunFolderError
from quotalab.frames import load
from quotalab.frames.loading import _unpack
from quotalab.frames.testing import START_NS, LedgerBuilder, provider_document
from quotalab.ledger import OAuthFacts, compact, read_ledger

TWO = {
    "hourly": {"kind": "rolling_window", "limit": 100, "period": "1h", "key": ["app"]},
    "each": {"kind": "fixed_window", "limit": 5, "period": "1m", "key": ["person", "route"]},
}


def two_limits():
    ledger = LedgerBuilder(provider_document(TWO))
    ledger.call(1)
    ledger.call(2, asked=False, status=401, person=None)
    ledger.call(3, refused_by="each", retry_after_s=57)
    ledger.call(4, kind="token", oauth=OAuthFacts("refresh_token", scopes_asked="a b"))
    ledger.operation(1, 5, outcome="stale")
    ledger.event(2, "consent-given", "ann", scope="a")
    return ledger


def test_columns_are_what_the_docstring_says(tmp_path):
    """Times are int64 ns, texts categoricals, and what may be missing a nullable integer."""
    frames = load(two_limits().write(tmp_path / "run"))
    calls = frames.calls
    assert calls["at"].tolist() == [START_NS + s * 10**9 for s in (1, 2, 3, 4)]
    assert [str(calls[name].dtype) for name in ("seq", "sent", "at", "done", "cost")] == ["int64"] * 5
    assert str(calls["person"].dtype) == str(calls["path"].dtype) == str(calls["fault"].dtype) == "category"
    assert calls["person"].tolist()[0] == "ann"
    assert calls["person"].cat.codes.tolist() == [0, -1, 0, 0]
    assert str(calls["retry_after_ns"].dtype) == "Int64"
    assert calls["retry_after_ns"].tolist() == [pd.NA, pd.NA, 57 * 10**9, pd.NA]
    assert calls["oauth:grant_type"].tolist()[3] == "refresh_token"
    assert calls["oauth:grant_type"].isna().tolist() == [True, True, True, False]
    assert "request_headers" not in calls
    assert frames.operations["ended"].tolist() == [START_NS + 5 * 10**9]
    assert frames.operations["outcome"].tolist() == ["stale"]
    assert json.loads(frames.events["details"].iloc[0]) == {"scope": "a"}


def test_maps_become_a_column_for_each_limit(tmp_path):
    """Keys, charges and what remains are found by limit; a call that was not asked has none."""
    calls = load(two_limits().write(tmp_path / "run")).calls
    assert calls["key:hourly"].cat.codes.tolist() == [0, -1, 0, -1]
    assert calls["key:each"].tolist()[0] == "ann|list_events"
    assert calls["charge:each"].tolist() == [1, pd.NA, pd.NA, pd.NA]
    assert calls["remaining:hourly"].tolist() == [99, pd.NA, 99, pd.NA]


def test_a_slice_of_maps_with_nulls_is_unpacked_by_its_own_rows():
    """Offsets of a sliced map array, and rows that are null, do not shift what belongs to whom."""
    kind = pa.map_(pa.string(), pa.int64())
    rows = pa.array([[("a", 9)], [("a", 1), ("b", 2)], None, [], [("b", 3)]], kind)
    columns: dict = {}
    names = ["a"]
    _unpack([rows[1:3], rows[3:]], 4, "charge", names, columns)
    assert names == ["a", "b"]
    assert list(columns["charge:a"]) == [1, pd.NA, pd.NA, pd.NA]
    assert list(columns["charge:b"]) == [2, pd.NA, pd.NA, 3]


def test_a_ledger_reads_the_same_as_streams_and_as_parquet(tmp_path):
    """Compacting changes nothing that the judges see."""
    folder = two_limits().write(tmp_path / "run")
    before = load(folder)
    compact(folder, read_ledger(folder))
    after = load(folder)
    pd.testing.assert_frame_equal(before.calls, after.calls)
    pd.testing.assert_frame_equal(before.operations, after.operations)
    assert before.complete
    assert after.complete


def test_an_empty_ledger_is_a_run_too(tmp_path):
    """No calls at all: frames with all their columns and no rows."""
    frames = load(LedgerBuilder().write(tmp_path / "run"))
    assert len(frames.calls) == len(frames.operations) == len(frames.events) == 0
    assert "key:hourly" in frames.calls
    assert frames.span_ns == (START_NS, START_NS + 86_400 * 10**9)


def test_a_torn_stream_makes_the_run_incomplete(tmp_path):
    """A stream without its end is read up to the last whole batch, and the run counts as cut."""
    folder = two_limits().write(tmp_path / "run")
    stream = folder / "calls.0.arrows"
    stream.write_bytes(stream.read_bytes()[:-8])
    frames = load(folder)
    assert frames.torn
    assert not frames.complete
    assert len(frames.calls) == 4


def test_a_run_that_was_cut_spans_as_far_as_its_rows(tmp_path):
    """Without an end in run.json the span goes to the last thing that the ledger has."""
    ledger = LedgerBuilder(complete=False)
    ledger.call(10)
    frames = load(ledger.write(tmp_path / "run"))
    assert not frames.complete
    assert frames.span_ns == (START_NS, START_NS + 10 * 10**9 + 1)


def test_a_folder_that_was_changed_after_its_run_is_not_judged(tmp_path):
    """An input or a table whose SHA-256 is not the one of run.json is named: its verdict would prove nothing."""
    folder = two_limits().write(tmp_path / "run")
    provider = folder / "inputs" / "provider.json"
    provider.write_text(provider.read_text().replace("100", "101", 1))
    with pytest.raises(RunFolderError, match=r"inputs/provider\.json: was changed after the run"):
        load(folder)
    provider.unlink()
    with pytest.raises(RunFolderError, match=r"inputs/provider\.json: cannot be read: No such file"):
        load(folder)


def test_rule_settings_may_be_absent(tmp_path):
    """A folder without inputs/rules.json has no settings; one with them has those."""
    ledger = two_limits()
    ledger.run["inputs"] = {}  # nothing to check them against
    folder = ledger.write(tmp_path / "run", rules={"QL105": {"a": 1}})
    assert load(folder).settings == {"QL105": {"a": 1}}
    (folder / "inputs" / "rules.json").unlink()
    assert load(folder).settings == {}


def test_broken_inputs_are_named(tmp_path):
    """A provider document that is no object, or not valid, is named with its file."""
    ledger = two_limits()
    ledger.run["inputs"] = {}  # nothing to check them against
    folder = ledger.write(tmp_path / "run")
    (folder / "inputs" / "provider.json").write_text("[]")
    with pytest.raises(RunFolderError, match=r"provider\.json: must hold a JSON object"):
        load(folder)
    (folder / "inputs" / "provider.json").write_text("{}")
    with pytest.raises(ProfileError, match=r"inputs/provider\.json: schema: is missing"):
        load(folder)
    (folder / "inputs" / "rules.json").write_text("3")
    (folder / "inputs" / "provider.json").write_text(json.dumps(provider_document()))
    with pytest.raises(RunFolderError, match=r"rules\.json: must hold a JSON object"):
        load(folder)
    with pytest.raises(RunFolderError, match="there is no such run folder"):
        load(tmp_path / "nowhere")


def test_a_row_without_its_time_is_refused(tmp_path):
    """A null where every row must have a value is an error that names the column."""
    folder = two_limits().write(tmp_path / "run")
    tables = read_ledger(folder)
    times = pa.array([None, *tables.calls["at"].to_pylist()[1:]], tables.calls["at"].type)
    broken = tables.calls.set_column(tables.calls.schema.get_field_index("at"), "at", times)
    compact(folder, type(tables)(broken, tables.operations, tables.events, False))
    with pytest.raises(RunFolderError, match="the column 'at' lacks a value"):
        load(folder)


def test_what_is_computed_once_is_kept(tmp_path):
    """`once` calls a function the first time and remembers what it said."""
    frames = load(two_limits().write(tmp_path / "run"))
    asked = []

    def count(given):
        asked.append(given)
        return np.float64(len(given.calls))

    assert frames.once(count) == frames.once(count) == 4
    assert asked == [frames]


def test_categories_stand_in_order_of_appearance_whoever_wrote_the_file(tmp_path):
    """A dictionary in another order, or with more in it, changes nothing; nor do row groups."""
    ledger = LedgerBuilder(provider_document(TWO))
    for person in ("dora", "ann", "dora", "carl", "ann"):
        ledger.decided_call(1, person=person)
    folder = ledger.write(tmp_path / "run")
    before = load(folder).calls
    assert before["person"].cat.categories.tolist() == ["dora", "ann", "carl"]
    tables = read_ledger(folder)
    compact(folder, tables)
    indices, texts = pa.array([3, 0, 3, 2, 0], pa.int32()), pa.array(["ann", "bob", "carl", "dora"])
    sorted_people = pa.DictionaryArray.from_arrays(indices, texts)
    place = tables.calls.schema.get_field_index("person")
    calls = tables.calls.set_column(place, "person", sorted_people)
    pq.write_table(calls, folder / "calls.parquet", row_group_size=2)
    pd.testing.assert_frame_equal(load(folder).calls, before)


def test_keys_of_two_limits_in_parts_are_those_of_the_whole(tmp_path, monkeypatch):
    """A key that is new in a later part, and a limit that is, are found; codes count over all parts."""
    ledger = LedgerBuilder(provider_document(TWO))
    for i, person in enumerate(("ann", "bob", "ann", "carl", "dora", "bob", "ann")):
        ledger.decided_call(i, person=person, route="list_events" if i % 2 else "read_event")
    folder = ledger.write(tmp_path / "run")
    whole = load(folder).calls
    assert whole["key:each"].tolist()[:2] == ["ann|read_event", "bob|list_events"]
    monkeypatch.setattr("quotalab.ledger.columns._PART_ROWS", 2)
    pd.testing.assert_frame_equal(load(folder).calls, whole)


def test_the_api_calls_are_those_of_kind_api(tmp_path):
    """With the index of all calls, which is their position there."""
    frames = load(two_limits().write(tmp_path / "run"))
    assert frames.api_calls.index.tolist() == [0, 1, 2]
    assert frames.api_calls.equals(frames.calls.iloc[:3])
