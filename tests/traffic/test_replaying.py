"""Replays: as recorded, faster, looped, thinned and multiplied; resampled."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from quotalab.clock import SeededEntropy
from quotalab.errors import ProfileError
from quotalab.profiles.traffic import Traffic, parse_traffic
from quotalab.traces import ColumnMap, import_trace
from quotalab.traces.naming import parse_naming
from quotalab.traffic import PersonPlan, plan

SECOND = 10**9
HOUR = 3600 * SECOND
DAY = 24 * HOUR
MONDAY = 1_767_571_200 * SECOND
RECORDED = 1_700_000_000  # 2023-11-14 22:13:20 UTC, a Tuesday
ROWS = [
    (0, "a", "/x"),
    (5, "a", "/y"),
    (7, "b", "/x"),
    (4000, "a", "/x"),
    (4001, "c", "/y"),
    (7205, "c", "/x"),
]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Six requests of three sources in two hours, at other times than those of a run."""
    path = tmp_path / "t.csv"
    path.write_text("t,client,path\n" + "".join(f"{RECORDED + t},{who},{what}\n" for t, who, what in ROWS))
    operations = [{"name": "look", "path": "/x"}, {"name": "open", "path": "/y"}]
    naming = parse_naming({"schema": 1, "operations": operations}, "ops.toml")
    out = tmp_path / "t.parquet"
    import_trace(path, out, key=b"k" * 16, columns=ColumnMap({}), naming=naming)
    return out


def profile(path: Path, kind: str = "replay", **changed: Any) -> Traffic:
    """A profile of a kind over the trace, with what is changed."""
    table = {"trace": path.name, "operations": {"look": "look", "*": "open"}, **changed}
    document = {"schema": 1, "kind": kind, "name": "r", "title": "R", "people": 3, kind: table}
    return parse_traffic(document, str(path.parent / "r.toml"))


def planned(
    traffic: Traffic, people: int = 3, start_ns: int = MONDAY, span_ns: int = DAY, seed: int = 1
) -> tuple[PersonPlan, ...]:
    """What people do."""
    return plan(traffic, SeededEntropy(seed), people=people, start_ns=start_ns, span_ns=span_ns)


def times(plans: tuple[PersonPlan, ...], start_ns: int = MONDAY) -> list[tuple[float, str]]:
    """(seconds since the start, operation) of everybody's operations."""
    return sorted(
        ((step.planned_ns - start_ns) / SECOND, step.name) for kept in plans for step in kept.operations
    )


EXPECTED = sorted((float(t), {"/x": "look", "/y": "open"}[path]) for t, _, path in ROWS)


def test_a_replay_has_the_traces_own_timing(trace: Path) -> None:
    """From the run's start on; each person is one source, all of it."""
    plans = planned(profile(trace))
    assert times(plans) == EXPECTED
    assert sorted(len(kept.operations) for kept in plans) == [1, 2, 3]


def test_a_factor_makes_it_faster(trace: Path) -> None:
    """Twice as fast, gaps included."""
    assert times(planned(profile(trace, factor=2))) == [(t / 2, name) for t, name in EXPECTED]


def test_a_loop_begins_it_anew(trace: Path) -> None:
    """Every three hours, for as long as the run lasts."""
    found = times(planned(profile(trace, loop="3h"), span_ns=7 * HOUR))
    assert found == [
        (t + 10_800 * i, name) for i in range(3) for t, name in EXPECTED if t + 10_800 * i < 25_200
    ]


def test_the_clock_can_be_kept(trace: Path) -> None:
    """At 22:13:20 and later, on the run's first day, or every day."""
    offset = RECORDED % 86_400
    found = times(planned(profile(trace, align="clock"), span_ns=3 * DAY))
    assert found == [(t + offset, name) for t, name in EXPECTED]
    daily = times(planned(profile(trace, align="clock", loop="24h"), span_ns=3 * DAY))
    everyday = [(t + offset + 86_400 * i, name) for i in range(-1, 3) for t, name in EXPECTED]
    assert daily == [one for one in everyday if 0 <= one[0] < 3 * 86_400]


def test_fewer_people_are_some_of_the_sources(trace: Path) -> None:
    """Whole sources are left out; a person more changes none of the others."""
    two, three = planned(profile(trace), people=2), planned(profile(trace), people=3)
    assert three[:2] == two
    assert set(times(two)) < set(EXPECTED)


def test_more_people_are_not_identical(trace: Path) -> None:
    """Further people are copies whose sessions are moved by up to `spread`; the first ones stay exact."""
    plans = planned(profile(trace, spread="10m"), people=9, start_ns=MONDAY, span_ns=DAY)
    assert times(plans[:3]) == EXPECTED
    assert plans[:3] == planned(profile(trace), people=3)
    moved = [at for at, _ in times(plans[3:])]
    assert not set(moved) & {at for at, _ in EXPECTED}
    assert len(set(moved)) == len(moved)
    everything = [step.planned_ns for kept in plans for step in kept.operations]
    assert len(everything) >= 12


def test_copies_keep_the_gaps_of_a_session(trace: Path) -> None:
    """A session is moved as a whole: what windows of a source hold does not change."""
    plans = planned(profile(trace, spread="10m", align="clock"), people=90, span_ns=2 * DAY)
    sessions = [
        kept for kept in plans if len(kept.operations) == 3
    ]  # of the source with two requests 5 s apart
    assert len(sessions) == 30
    for kept in sessions:
        assert kept.operations[1].planned_ns - kept.operations[0].planned_ns == 5 * SECOND


def test_the_same_seed_replays_the_same_and_another_does_not(trace: Path) -> None:
    """Copies are drawn from the seed."""
    first = planned(profile(trace), people=30)
    assert planned(profile(trace), people=30) == first
    assert planned(profile(trace), people=30, seed=2) != first


def test_resampling_keeps_sessions_and_hours(trace: Path) -> None:
    """Each person has their own sessions, each once a day, in the hours of their own; within them, anywhere."""
    plans = planned(profile(trace, "resample"), start_ns=MONDAY, span_ns=3 * DAY)
    assert [name for _, name in times(plans)].count("look") == pytest.approx(4 * 3, abs=4)
    hours = {int(at // 3600) % 24 for at, _ in times(plans)}
    assert hours <= {22, 23, 0, 1}
    longer = planned(profile(trace, "resample"), people=10, start_ns=MONDAY, span_ns=3 * DAY)
    assert longer[:3] == plans


@pytest.mark.parametrize(
    ("kind", "changed", "message"),
    [
        ("replay", {"trace": "no.parquet"}, "replay.trace: "),
        ("replay", {"factor": 0}, "replay.factor: must be above 0"),
        ("replay", {"factor": 2, "align": "clock"}, "replay.factor: must be 1 where the time of day is kept"),
        ("replay", {"operations": {}}, "replay.operations: must say which operation"),
        ("replay", {"sha256": "00"}, "replay.sha256: "),
        ("resample", {"factor": 2}, "resample.factor: is not a key that is known here"),
    ],
)
def test_a_wrong_profile_names_its_key(kind: str, changed: dict[str, Any], message: str, trace: Path) -> None:
    """When it is read."""
    with pytest.raises(ProfileError, match=re.escape(message)):
        profile(trace, kind, **changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"loop": "1h"}, "replay.loop: must be at least as long as what is replayed, 7,206 s"),
        ({"operations": {"look": "look"}}, "replay.operations: does not say what 'open' of the trace is"),
    ],
)
def test_what_the_trace_does_not_allow_names_the_key(
    changed: dict[str, Any], message: str, trace: Path
) -> None:
    """When it is planned."""
    with pytest.raises(ProfileError, match=re.escape(message)):
        planned(profile(trace, **changed))


def test_a_file_that_is_no_trace_names_the_key(trace: Path) -> None:
    """Parquet of something else."""
    pa.parquet.write_table(pa.table({"a": [1]}), trace)
    with pytest.raises(ProfileError, match=re.escape("replay.trace: ")):
        planned(profile(trace))


def test_the_run_folder_knows_which_trace_it_was(trace: Path) -> None:
    """The document that is kept has the file's SHA-256, and a profile that has another is refused."""
    kept = profile(trace).document["replay"]["sha256"]
    assert re.fullmatch("[0-9a-f]{64}", kept)
    assert profile(trace, sha256=kept).replay is not None


def test_many_people_cost_no_loop(trace: Path) -> None:
    """Ten thousand people for a week of looped days: within what the edges cut off."""
    plans = planned(profile(trace, loop="24h"), people=9_999, span_ns=DAY)
    count = sum(len(kept.operations) for kept in plans)
    assert count == pytest.approx(9_999 * 2, rel=0.1)
