"""Locust in several processes: one sandbox, one ledger, one verdict; no process is lost without a word."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.run.conftest import Ended

from quotalab.hosting.process import free_port
from quotalab.ledger import LedgerTables, read_ledger

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "locust.md").read_text(encoding="utf-8")
SCENARIO = """
import os, signal
from pathlib import Path
from locust import constant, events, tag, task
from quotalab.scenario import Person

ACT = os.environ.get("ACT")
begun = 0

class Visitor(Person):
    policy = os.environ.get("POLICY", "polite")
    population = 8
    wait_time = constant(0.05)

    def on_start(self):
        with open(f"people.{os.getpid()}", "a") as file:
            print(self.name, file=file)

    @tag("read")
    @task
    def read(self):
        global begun
        begun += 1
        if begun == 20 and ACT:
            try:
                Path("acted").mkdir()
            except FileExistsError:
                pass
            else:
                who, what = ACT.split()
                pid = {"self": os.getpid, "parent": os.getppid}[who]()
                os.kill(pid, getattr(signal, what))
        with self.asking("read", within_s=30) as asked:
            self.app.event(self.name, "7", self.patience(asked))

    @tag("write")
    @task
    def write(self):
        raise RuntimeError("tags keep this out")
"""
LIMITS = (
    "--set", "limits.hourly.period=20s",
    "--set", 'reference.budget=[{ calls = 100, period = "20s" }]',
)  # fmt: skip


def workspace(folder: Path) -> Path:
    """A workspace with the scenario `visits.py`."""
    (folder / "pyproject.toml").write_text("[tool.quotalab]\n")
    (folder / "visits.py").write_text(SCENARIO)
    return folder


def start(cwd: Path, *options: str, **env: str) -> subprocess.Popen[str]:
    """Locust on the scenario."""
    import os

    return subprocess.Popen(
        [sys.executable, "-m", "locust", "-f", "visits.py", *options],
        cwd=cwd, env={**os.environ, **env}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def headless(*more: str) -> tuple[str, ...]:
    """The options of a master or of a process that is alone; of eight people."""
    return ("--headless", "--only-summary", "-u", "8", "-r", "8", "--run-folder", "here", *LIMITS, *more)


def ended(process: subprocess.Popen[str], cwd: Path) -> Ended:
    """Wait for it."""
    out, err = process.communicate(timeout=120)
    return Ended(process.returncode, out, err, cwd / "here")


def check(tables: LedgerTables, cwd: Path, workers: int) -> None:
    """What is true of a ledger however many processes it is from."""
    seq = [n for table in (tables.calls, tables.operations, tables.events) for n in table["seq"].to_pylist()]
    assert sorted(seq) == list(range(len(seq)))
    operations = tables.operations["operation"].to_pylist()
    assert len(set(operations)) == len(operations)
    api = [row for row in tables.calls.select(["kind", "operation"]).to_pylist() if row["kind"] == "api"]
    made = Counter(row["operation"] for row in api)
    assert set(made) <= set(operations)
    for row in tables.operations.select(["operation", "outcome", "calls"]).to_pylist():
        # A call on its way when the end cut its operation off may arrive later.
        assert made[row["operation"]] == row["calls"] or row["outcome"] == "abandoned"
    people = [set(file.read_text().split()) for file in cwd.glob("people.*")]
    assert len(people) == workers
    assert sum(map(len, people)) == len(set.union(*people)) == 8


def requests_of(stats: Path) -> int:
    """What Locust's own statistics count, in all."""
    with stats.open() as file:
        return int({row["Name"]: row["Request Count"] for row in csv.DictReader(file)}["Aggregated"])


@pytest.mark.full
def test_three_processes_are_one_run_that_a_polite_app_gets_through(tmp_path: Path) -> None:
    """With tags, --csv and --html: Locust's numbers and the ledger's agree to the last operation."""
    root = workspace(tmp_path)
    options = headless("-t", "6s", "--tags", "read", "--csv", "out", "--html", "out.html", "--verdict")
    done = ended(start(root, *options, "--processes", "3"), root)
    assert done.code == 0, done.out + done.err
    assert done.rule("QL101") == "PASS"
    assert done.description["complete"] is True
    tables = read_ledger(done.folder)
    check(tables, root, 3)
    assert tables.operations.num_rows == requests_of(root / "out_stats.csv") > 20
    assert (root / "out.html").is_file()
    assert [path.name for path in root.glob("**/run.json")] == ["run.json"]
    assert done.out.count("The tightest limit") == 1


@pytest.mark.full
def test_master_and_workers_started_by_hand_fail_together_where_the_app_is_naive(tmp_path: Path) -> None:
    """The master's exit code is the verdict; the workers', Locust's."""
    root = workspace(tmp_path)
    port = str(free_port())
    env = {"POLICY": "naive"}
    limit = ("--set", "limits.hourly.limit=20")
    options = headless("-t", "6s", *limit, "--tags", "read", "--csv", "out", "--verdict")
    master = start(root, *options, "--master", "--master-bind-port", port, "--expect-workers", "2", **env)
    workers = [start(root, "--worker", "--master-port", port, **env) for _ in range(2)]
    done = ended(master, root)
    for worker in workers:
        assert ended(worker, root).code in (0, 1)
    assert done.code == 1, done.out + done.err
    assert "FAIL: QL101 quota-overrun" in done.out
    tables = read_ledger(done.folder)
    check(tables, root, 2)
    assert tables.operations.num_rows == requests_of(root / "out_stats.csv")


@pytest.mark.full
def test_a_worker_that_is_killed_is_named_and_keeps_what_it_had_told(tmp_path: Path) -> None:
    """The others go on, and the run ends with a verdict."""
    root = workspace(tmp_path)
    options = headless("-t", "8s", "--tags", "read", "--verdict")
    done = ended(start(root, *options, "--processes", "2", ACT="self SIGKILL"), root)
    assert done.code == 0, done.out + done.err
    assert re.search(r"quotalab: worker \d ended without a word: the ledger has every call of", done.err)
    assert (
        "was lost: of what its 4 people asked, operations that it had not told of yet are missing" in done.out
    )
    tables = read_ledger(done.folder)
    (lost,) = [
        json.loads(details)
        for what, details in zip(
            *(tables.events[name].to_pylist() for name in ("what", "details")), strict=True
        )
        if what == "worker-lost"
    ]
    assert any(set(file.read_text().split()) == set(lost["people"]) for file in root.glob("people.*"))
    people = Counter(tables.operations["person"].to_pylist())
    others = {f"p{n:05d}" for n in range(1, 9)} - set(lost["people"])
    assert min(people[person] for person in others) > max(people[person] for person in lost["people"])
    asked = Counter(tables.calls["person"].to_pylist())
    assert all(asked[person] for person in lost["people"])


@pytest.mark.full
def test_a_master_that_is_killed_leaves_a_readable_folder_and_no_workers(tmp_path: Path) -> None:
    """`communicate` ends when the last process has closed what it wrote to."""
    root = workspace(tmp_path)
    options = headless("-t", "60s", "--tags", "read", "--verdict")
    done = ended(start(root, *options, "--processes", "2", ACT="parent SIGKILL"), root)
    assert done.code == -9
    assert done.err.count("quotalab: the master is gone, and this worker ends") == 2
    assert done.description["complete"] is False
    assert read_ledger(done.folder).calls.num_rows > 8
    judged = subprocess.run(
        [sys.executable, "-m", "quotalab", "report", str(done.folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stderr
    assert "This run was cut: it is judged up to the cut." in judged.stdout


@pytest.mark.full
@pytest.mark.parametrize(
    ("act", "more"),
    [("self SIGINT", ()), ("self SIGTERM", ()), ("parent SIGTERM", ("--processes", "2"))],
)
def test_a_run_that_is_told_to_end_ends_with_a_verdict(
    tmp_path: Path, act: str, more: tuple[str, ...]
) -> None:
    """Once, on what there is."""
    root = workspace(tmp_path)
    options = headless("--tags", "read", "--verdict")
    done = ended(start(root, *options, *more, ACT=act), root)
    assert done.code == 0, done.out + done.err
    assert done.out.count("The tightest limit") == 1
    assert done.rule("QL101") == "PASS"
    assert "SystemExit" not in done.err


@pytest.mark.full
def test_a_master_without_workers_leaves_nothing(tmp_path: Path) -> None:
    """It says that nothing was tested, and a pipeline does not take it for a pass."""
    root = workspace(tmp_path)
    options = headless("-t", "5s", "--verdict", "--master", "--master-bind-port", str(free_port()))
    done = ended(start(root, *options, "--expect-workers-max-wait", "1"), root)
    assert "Gave up waiting for workers to connect" in done.err
    assert "quotalab: no test was started, so that there is nothing to judge" in done.err
    assert done.code == 1
    assert not done.folder.exists()


@pytest.mark.full
def test_the_command_of_the_page_is_as_it_says(tmp_path: Path) -> None:
    """In two processes the obedient policy is refused, as in one: what is judged is the app."""
    command = re.search(r"```sh\nlocust (.*--processes.*)\n```", PAGE)[1]
    words = command.replace("locustfiles/", f"{ROOT}/locustfiles/").replace("-t 10s", "-t 4s").split()
    done = subprocess.run(
        [sys.executable, "-m", "locust", "--only-summary", *words],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    (folder,) = (tmp_path / "runs").iterdir()
    verdict = json.loads((folder / "verdict.json").read_text())["verdict"]
    assert done.returncode == (1 if verdict == "FAIL" else 0), done.stdout + done.stderr
    tables = read_ledger(folder)
    assert tables.operations.num_rows == requests_of(tmp_path / "out_stats.csv")


@pytest.mark.full
def test_quotalab_run_starts_workers_itself(call, tmp_path: Path) -> None:
    """On the real clock, with a run's own options; one folder, one verdict."""
    root = workspace(tmp_path)
    options = ("visits.py", "--clock", "real", "--for", "4s", "--out", "out", *LIMITS)
    done = call("run", *options, "--", "--processes", "2", "--tags", "read", cwd=root)
    assert done.code == 0, done.out + done.err
    assert done.description["transport"] == "socket"
    check(read_ledger(root / "out"), root, 2)


@pytest.mark.full
def test_ctrl_c_ends_a_run_with_its_workers(call, tmp_path: Path) -> None:
    """What people had done by then is in the folder."""
    root = workspace(tmp_path)
    options = ("visits.py", "--clock", "real", "--for", "60s", "--out", "out", *LIMITS)
    done = call("run", *options, "--", "--processes", "2", "--tags", "read", cwd=root, ACT="parent SIGINT")
    assert done.code == 130
    assert "interrupted; judge what there is: quotalab report out" in done.err
    check(read_ledger(root / "out"), root, 2)


def test_what_cannot_be_is_refused_before_anything_is_made(call, tmp_path: Path) -> None:
    """A clock is one process, workers have no memory in common, and nobody comes from elsewhere."""
    root = workspace(tmp_path)
    for options, why in {
        (
            "--",
            "--processes",
            "2",
        ): "Locust option --processes: virtual time is one process; leave it out, or add --clock real",
        ("--clock", "real", "--transport", "memory", "--", "--processes", "2"): "--transport memory: workers "
        "are processes of their own; leave --transport out",
        ("--clock", "real", "--", "--processes", "-2"): "Locust option --processes: must be a number of "
        "processes, or -1 for one a CPU, not -2",
    }.items():
        done = call("run", "visits.py", "--out", "out", *options, cwd=root)
        assert (done.code, done.err) == (2, f"quotalab: {why}\n")
    for options in (("--master", "--master-bind-host", "0.0.0.0"), ("--worker", "--master-host", "10.0.0.1")):
        done = ended(start(root, "--headless", *options), root)
        assert (
            f"argument {options[1]}: {options[2]} is not on loopback, where the sandbox listens" in done.err
        )
        assert done.code == 2
    assert not (root / "out").exists()
    assert not (root / "runs").exists()


CHANNEL = """
import socket, sys
from pathlib import Path
from types import SimpleNamespace
import gevent
from quotalab.clock import ManualClock
from quotalab.profiles.traffic import Habits
from quotalab.scenario.channel import line_of, read_line
from quotalab.scenario.master import Workers
from quotalab.traffic import Cast, PersonPlan

told = SimpleNamespace(document={})
cast = Cast([PersonPlan(name, ()) for name in ("ann", "bob")], ManualClock(0))
events = []
stage = SimpleNamespace(
    access=Habits(), habits=Habits(), clock=ManualClock(0), state=Path(sys.argv[1]), cast=cast,
    next_person=cast.next, ledger=SimpleNamespace(event=events.append),
)
runner = SimpleNamespace(quit=None, register_message=lambda *_: None)
needs = SimpleNamespace(provider=told, policy=told, users=1)
workers = Workers(runner)
workers.serve(stage, needs, place=("", ""), root=".", seed=1, span_ns=1, expected=1)

def guest():
    made = socket.create_connection(("127.0.0.1", workers._server.server_port))
    return made, made.makefile("rb")

for hello in (b'{"secret": "guessed"}\\n', b'{"secret": 1}\\n', b"[]\\n", b"x" * 5000, b'{"do": "next"}\\n'):
    stranger, file = guest()
    stranger.sendall(hello)
    stranger.shutdown(socket.SHUT_WR)
    try:
        print(file.read())
    except ConnectionResetError:
        print(b"")
print(len(workers._joined))

def join():
    made, file = guest()
    def ask(message):
        made.sendall(line_of(message))
        return read_line(file)
    print(ask({"secret": workers._secret})["number"])
    return made, file, ask

polite, _, ask = join()
print(ask({"do": "next", "again": False})["person"], ask({"do": "farewell"}))
killed, file, ask = join()
print(ask({"do": "next", "again": False})["person"], ask({"do": "nonsense"}))
killed.close(), file.close()
stays, _, ask = join()
print(ask({"do": "next", "again": False})["person"], ask({"do": "next", "again": False})["person"])
workers.close()
print(*[(row.what, row.details["worker"], row.details["people"]) for row in events], sep="\\n")
print(*[line.partition(":")[0] for line in workers.lost], sep="\\n")
"""


def test_the_channel_serves_who_knows_the_secret_and_misses_who_leaves_without_a_farewell(
    tmp_path: Path,
) -> None:
    """Strangers get not one byte. People of a worker that has gone come on again elsewhere."""
    done = subprocess.run(
        [sys.executable, "-c", CHANNEL, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.splitlines() == [
        *["b''"] * 5, "0",
        "1", "ann {}",
        "2", "bob {'error': \"a worker's message is unknown; start it with the same version\"}",
        "3", "ann bob",
        "('worker-lost', 2, ['bob'])", "('worker-lost', 3, ['ann', 'bob'])",
        "worker 2 ended without a word", "worker 3 did not end when it was told to",
    ], done.stderr  # fmt: skip
