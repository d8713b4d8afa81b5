"""The scenarios whose traffic is data, and Locust's own shapes and waits, in runs of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import pytest

from quotalab.clock import SeededEntropy
from quotalab.ledger import read_ledger
from quotalab.profiles.loading import load_traffic
from quotalab.traffic import plan
from quotalab.workspace import Workspace

ROOT = Path(__file__).parents[2]
HOUR = 3600 * 10**9
MONDAY = 1_767_571_200 * 10**9
SCENARIOS = {
    "onboarding_storm": {"look_at_week", "export_calendar"},
    "nightly_batch": {"look_at_week", "open_event", "export_calendar"},
    "launch_spike": {"look_at_week", "open_event", "add_event"},
    "token_expiry_herd": {"look_at_week"},
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_says_what_it_asks_and_what_a_good_app_does(name: str) -> None:
    """In its docstring, with the command that runs it; its traffic names the operations that it has."""
    text = (ROOT / "locustfiles" / f"{name}.py").read_text(encoding="utf-8")
    docstring = text.split('"""')[1]
    assert "?" in docstring.splitlines()[0]
    assert f"quotalab run {name}" in docstring
    assert "A good app" in docstring
    traffic = load_traffic(Workspace.find(ROOT), name.replace("_", "-"))
    assert set(traffic.mix) == SCENARIOS[name]


def busiest(name: str, people: int) -> Counter[int]:
    """Operations of a Monday by hour, for a scenario's traffic."""
    traffic = load_traffic(Workspace.find(ROOT), name)
    plans = plan(traffic, SeededEntropy(1), people=people, start_ns=MONDAY, span_ns=24 * HOUR)
    return Counter((step.planned_ns - MONDAY) // HOUR for kept in plans for step in kept.operations)


def test_their_traffic_peaks_where_their_names_say() -> None:
    """At ten, at two, at noon; every hour alike for the herd."""
    assert busiest("onboarding-storm", 200).most_common(1)[0][0] == 10
    assert busiest("nightly-batch", 120).most_common(1)[0][0] == 2
    assert busiest("launch-spike", 100).most_common(1)[0][0] == 12
    assert set(busiest("token-expiry-herd", 60).values()) == {60}


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "span"),
    [
        ("token_expiry_herd", "2h"),
        ("onboarding_storm", "13h"),
        ("nightly_batch", "13h"),
        ("launch_spike", "13h"),
    ],
)
def test_a_scenario_runs(run_once, name: str, span: str) -> None:
    """The default app stays inside the limit, and what was planned was asked."""
    ended = run_once(name, "--for", span)
    assert ended.code == 0, ended.err
    assert ended.rule("QL101") == "PASS"
    assert ended.verdict["metrics"]["operations"] > 50


def test_a_replayed_trace_runs(run_once, tmp_path: Path) -> None:
    """A profile over a trace goes where any other goes; the run folder knows which trace it was."""
    import json

    from quotalab.traces import import_trace, read_trace
    from quotalab.traffic.fits import fit, written

    lines = ["t,client", *(f"{60 * i},c{i % 5}" for i in range(50))]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    import_trace(tmp_path / "t.csv", tmp_path / "t.parquet", key=b"k" * 16)
    trace = read_trace(tmp_path / "t.parquet")
    named = {"*": "open_event"}
    profile = written(
        fit(trace, "t.parquet", kind="replay", name="t", named=named, seeds=0), tmp_path / "t.toml"
    )
    ended = run_once("temporary_access", "--traffic", str(profile), "--for", "1h")
    assert ended.code == 0, ended.err
    operations = read_ledger(ended.folder).operations.to_pandas()
    planned = sorted((operations["planned"].astype("int64") - MONDAY) // 10**9)
    assert planned == [60 * i for i in range(50)]
    text = "".join(path.read_text() for path in (ended.folder / "inputs").iterdir())
    assert "sha256" in text
    assert json.loads((ended.folder / "run.json").read_text())["traffic"] == "t"


SHAPES = """
from quotalab.scenario import TrafficShape, think_time
from quotalab.clock import SeededEntropy
from quotalab.profiles.loading import load_traffic
from quotalab.workspace import Workspace
from pathlib import Path

class Day(TrafficShape):
    abstract = False
    traffic = "office-day"
    most = 60

arrivals = load_traffic(Workspace.find(Path.cwd()), "office-day").arrivals
shape, hour, monday = Day(), 3600 * 10**9, 1_767_571_200 * 10**9
for number in (0, 3, 14, 23):
    assert abs(shape.share(monday + number * hour + hour // 2) - arrivals[number] / max(arrivals)) < 1e-9
between = shape.share(monday + 15 * hour)
assert abs(between - (arrivals[14] + arrivals[15]) / 2 / max(arrivals)) < 1e-9
assert 0 <= shape.tick()[0] <= 60

class Someone:
    def __init__(self, name):
        self.name = name
        self.stage = type("Stage", (), {"entropy": SeededEntropy(1)})

wait = think_time("office-day")
first, again, other = Someone("p00001"), Someone("p00001"), Someone("p00002")
drawn = [wait(first) for _ in range(200)]
assert drawn == [wait(again) for _ in range(200)]
assert drawn != [wait(other) for _ in range(200)]
assert all(11 <= value <= 1805 for value in drawn)
"""


def test_shapes_and_waits_are_the_profiles() -> None:
    """A shape has each hour's share of the busiest, what lies between between them; waits are drawn by person.

    In a process of its own: to import Locust patches it.
    """
    done = subprocess.run(
        [sys.executable, "-c", SHAPES], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_locustfile_with_a_shape_runs_in_virtual_time(run_once, tmp_path: Path) -> None:
    """People come and go as the shape says, up to the population; tasks wait by the profile."""
    path = tmp_path / "shaped.py"
    path.write_text(
        textwrap.dedent(
            """
            from locust import task
            from quotalab.scenario import Person, TrafficShape, think_time

            class Day(TrafficShape):
                abstract = False
                most = 12

            class Looker(Person):
                population = 12
                wait_time = think_time("office-day")

                @task
                def look(self):
                    with self.asking("look", within_s=600) as asked:
                        self.app.event(self.name, "1", self.patience(asked))
            """
        )
    )
    ended = run_once(str(path), "--for", "1h", "--start", "2026-01-05T14:00")
    assert ended.code == 0, ended.err
    operations = read_ledger(ended.folder).operations.to_pandas()
    assert 8 <= operations["person"].nunique() <= 12
    assert len(operations) > 100
