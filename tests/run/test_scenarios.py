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
    "revoked_consent": {"look_at_week", "open_event", "export_calendar"},
    "quota_cut": {"look_at_week", "open_event", "sync_calendar"},
    "outage_and_recovery": {"look_at_week", "open_event", "add_event"},
    "approval_day": {"look_at_week", "open_event", "add_event"},
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


def table(ended, name: str):
    """A table of a run's ledger; times in hours after its start, calls to the API and for tokens only."""
    rows = getattr(read_ledger(ended.folder), name).to_pandas()
    if name == "calls":
        rows = rows[rows["kind"].isin(["api", "token"])]
    for column in rows.columns.intersection(["at", "planned"]):
        rows[column] = (rows[column].astype("int64") - MONDAY) / HOUR
    return rows


def most_in_an_hour(at, begin: float, end: float) -> int:
    """The most of these moments in any hour that lies within [begin, end)."""
    at = sorted(moment for moment in at if begin <= moment < end)
    return max(
        (sum(1 for later in at[i : i + 1000] if later < moment + 1) for i, moment in enumerate(at)), default=0
    )


@pytest.mark.parametrize("arguments", [pytest.param((), marks=pytest.mark.full), ("--users", "15")])
def test_who_withdraws_consent_is_asked_once_and_left_alone(run_once, arguments: tuple[str, ...]) -> None:
    """One call and one renewal find it out; then not a call before the person has agreed anew.

    Ten people at noon. Their operation is declined where the app noticed; nobody else meets an error.
    """
    ended = run_once("revoked_consent", *arguments)
    assert ended.code == 0, ended.err
    assert (ended.rule("QL101"), ended.rule("QL301")) == ("PASS", "PASS")
    events, calls = table(ended, "events"), table(ended, "calls")
    withdrawn = events[events["what"] == "consent-withdrawn"]
    assert withdrawn["at"].tolist() == [12.0] * 10
    gone = set(withdrawn["who"])
    given = events[events["what"] == "consent-given"]
    after = calls[calls["at"] >= 12]
    assert set(calls[~calls["status"].isin([200, 201])]["person"]) <= gone
    opened = 0
    for person in gone:
        again = given[(given["who"] == person) & (given["at"] > 12)]["at"].tolist()
        own = after[after["person"] == person]
        before = own[own["at"] < (again[0] if again else 24)]
        opened += len(before) > 0
        found_out = list(zip(before["kind"], before["status"], strict=True))
        assert found_out in ([], [("token", 400)], [("api", 401), ("token", 400)])
        assert len(again) <= 1
        assert set(own[own["at"] > (again[0] if again else 24)]["status"]) <= {200}
    assert opened > 5
    operations = table(ended, "operations")
    assert set(operations[operations["error"] == "the person has taken their consent back"]["person"]) <= gone
    assert "failed" not in set(operations["outcome"])
    assert "The consent of 10 people was withdrawn." in (ended.folder / "report.html").read_text()


@pytest.mark.full
def test_a_cut_is_learned_from_one_refusal(run_once) -> None:
    """Then at most 38 calls are asked for in any hour, 40 less the margin; without a budget three times that."""
    good, naive = run_once("quota_cut"), run_once("quota_cut", "--policy", "naive")
    calls = table(good, "calls").query("kind == 'api'")
    refused = calls[calls["limit"].notna()]
    assert (good.code, good.rule("QL101"), good.rule("QL201")) == (0, "PASS", "PASS")
    assert len(refused) == 1
    assert 12 <= refused["at"].iloc[0] < 12.1
    assert most_in_an_hour(calls["at"], 0, 12) > 50
    learned = refused["at"].iloc[0]
    assert 34 <= most_in_an_hour(calls["at"], learned + 0.001, 24) <= 38
    assert "The limit hourly went from 100 to 40" in (good.folder / "report.html").read_text()
    calls = table(naive, "calls").query("kind == 'api'")
    assert (naive.code, naive.rule("QL101"), naive.rule("QL201")) == (1, "FAIL", "FAIL")
    assert most_in_an_hour(calls["at"], 12, 24) > 120
    assert len(calls[calls["limit"].notna()]) > 300


@pytest.mark.full
def test_an_outage_is_met_with_one_call_each_and_no_overrun_after_it(run_once) -> None:
    """No operation asks twice while the provider is down; what has waited stays within the limit after it."""
    good, naive = run_once("outage_and_recovery"), run_once("outage_and_recovery", "--policy", "naive")
    asked = []
    for ended in (good, naive):
        calls = table(ended, "calls").query("kind == 'api'")
        down = calls[(calls["at"] >= 10) & (calls["at"] < 11)]
        assert set(down["status"]) == {503}
        assert set(down["fault"]) == {"outage"}
        assert set(calls[(calls["at"] < 10) | (calls["at"] >= 11)]["status"]) <= {200, 201, 429}
        asked.append(set(down["operation"].value_counts()))
        assert "The fault outage (error) struck" in (ended.folder / "report.html").read_text()
    assert asked[0] == {1}
    assert asked[1] == {1, 5}  # five at once, but for what must not be done twice
    assert (good.code, good.rule("QL101")) == (0, "PASS")
    assert (naive.code, naive.rule("QL101")) == (1, "FAIL")
    after = table(good, "calls").query("kind == 'api'")["at"]
    assert 90 < most_in_an_hour(after, 11, 24) <= 97
    assert most_in_an_hour(after, 12.2, 24) < 60  # as before
    assert most_in_an_hour(table(naive, "calls").query("kind == 'api'")["at"], 11, 24) > 100


@pytest.mark.full
def test_the_approval_is_taken_up_and_its_limit_kept(run_once) -> None:
    """Twenty people at most until noon; then hundreds, up to 291 calls an hour: 300 less the margin."""
    good, naive = run_once("approval_day"), run_once("approval_day", "--policy", "naive")
    events = table(good, "events")
    assert events[events["what"] == "approved"]["at"].tolist() == [12.0]
    given = events[events["what"] == "consent-given"]
    assert 0 < given[given["at"] < 12]["who"].nunique() <= 20
    assert given["who"].nunique() > 300
    calls = table(good, "calls").query("kind == 'api'")
    assert good.code == 0
    told = {rule["id"] for rule in good.verdict["rules"] if rule["verdict"] not in ("PASS", "NA")}
    assert told == {"QL603"}  # people look at the same event within seconds, and it is read again
    assert calls["limit"].isna().all()
    assert most_in_an_hour(calls["at"], 0, 12) <= 97
    assert 280 < most_in_an_hour(calls["at"], 12, 24) <= 291
    assert (
        "The app was approved, the limit people went from 20 to 500"
        in (good.folder / "report.html").read_text()
    )
    assert (naive.code, naive.rule("QL101")) == (1, "FAIL")
    assert most_in_an_hour(table(naive, "calls").query("kind == 'api'")["at"], 12, 24) > 300


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
