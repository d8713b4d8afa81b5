"""How often does a night find a planted regression, and how often does it cry wolf?

    nice ./lab python tests/benchmarks/power.py --trials 59 --harmless 200

Declared beforehand: a night is the matrix of ``power/pyproject.toml``: one cell, eight seeds, four busy hours
each. A trial is the night of the clean app with seeds that no other trial has, kept as the baseline, and the
night of the changed app with the same seeds, compared by the job's own code. A planted change counts as found
only when the night names one of the rules or figures that stand beside it in `PLANTED` as a regression; any
regression at all after one of the `HARMLESS` changes is a false alarm. All changes are edits of the app's source
or of its policy, as a commit would make them.

Each run is forked from a process that has made the imports, and its result is kept as a line of a file, so that
a measurement that was ended goes on where it stood. Exit 1 where a change was missed or an alarm was false.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gevent.monkey

gevent.monkey.patch_all()  # before Locust; virtual time, which each run installs for itself, does it as well
_fork, _wait = (gevent.monkey.get_original("os", name) for name in ("fork", "waitpid"))

from gevent._hub_local import set_hub  # noqa: E402

import quotalab  # noqa: E402
from quotalab.clock import virtual  # noqa: E402
from quotalab.frames import load  # noqa: E402
from quotalab.ledger.folder import RunFolder  # noqa: E402
from quotalab.nightly.baselines import Baseline  # noqa: E402
from quotalab.nightly.comparing import Compared, compare_night  # noqa: E402
from quotalab.nightly.matrix import read_matrix  # noqa: E402
from quotalab.nightly.statistics import share_at_most  # noqa: E402
from quotalab.nightly.telling import Told, tell  # noqa: E402
from quotalab.nightly.workers import code_sha256  # noqa: E402
from quotalab.report.judging import document  # noqa: E402
from quotalab.rules import judge, load_rules  # noqa: E402
from quotalab.run.options import RunOptions, parse_span_ns  # noqa: E402
from quotalab.workspace import Workspace  # noqa: E402

ROOT = Path(__file__).parents[2]
NIGHT = Path(__file__).with_suffix("")
RULES = load_rules(Workspace.find(NIGHT).rule_files())
_BEFORE_FORKS = (
    "authlib.oauth2.rfc6749.parameters",
    "authlib.oauth2.rfc7636",
    "cryptography.fernet",
    "httpx",
    "locust.env",
    "pyarrow.parquet",
    "quotalab.sandbox.server",
    "quotalab.traces",
    "quotalab.traffic",
)


@dataclass(frozen=True)
class Change:
    """A commit of the app's: `old` becomes `new` in a file of this repository."""

    name: str
    file: str
    old: str
    new: str
    right: tuple[str, ...] = ()
    """The rules and figures of which one must be named; none: the change is harmless."""
    version: tuple[str, str] = ("httpx", "1")
    """What the environment of the night says of a library."""

    def made(self, text: str) -> str:
        """The file's text with the change."""
        if self.old and text.count(self.old) != 1:
            raise SystemExit(f"{self.name}: {self.file} does not have {self.old!r} once")
        return text.replace(self.old, self.new) if self.old else text


_POLICY = "profiles/policies/polite.toml"
_CALLS = "src/quotalab/reference/integration.py"
_OAUTH = "src/quotalab/reference/authorization.py"

PLANTED = (
    Change("budget 5 % larger", _POLICY, "calls = 100 ", "calls = 105 ", ("QL101",)),
    Change("jitter removed", _POLICY, 'jitter = "full"', 'jitter = "none"', ("QL203", "QL105")),
    Change(
        "Retry-After less a second",
        _CALLS,
        "waited_ns = retry.base_ns if promised_wait_ns is None else promised_wait_ns",
        "waited_ns = retry.base_ns if promised_wait_ns is None else promised_wait_ns - 10**9",
        ("QL201",),
    ),
    Change(
        "no lock around refreshes",
        _OAUTH,
        "with self._refreshing.setdefault(person, threading.Lock()):",
        "with threading.Lock():",
        ("QL302",),
    ),
    Change(
        "one retry more",
        _POLICY,
        "attempts = 4",
        "attempts = 5",
        ("retry_amplification", "calls_per_operation", "calls"),
    ),
    Change(
        "one scope more",
        _OAUTH,
        "scope=self._scope,\n            state=",
        'scope=f"{self._scope} calendar.admin",\n            state=',
        ("QL407", "scopes"),
    ),
)
HARMLESS = (
    Change(
        "patch version of httpx",
        _CALLS,
        '"User-Agent": "calendar-app/1.0"',
        '"User-Agent": "python-httpx/1.0.1"',
        version=("httpx", "1.0.1"),
    ),
    Change(
        "a log line",
        _CALLS,
        "        attempt, refused_token = 0, None\n",
        '        __import__("logging").getLogger("calendar").info("calling %s", request.method)\n'
        "        attempt, refused_token = 0, None\n",
    ),
    Change(
        "imports reordered",
        _CALLS,
        "import re\nimport threading\nfrom base64 import urlsafe_b64encode\n",
        "from base64 import urlsafe_b64encode\nimport threading\nimport re\n",
    ),
    Change("another path", _POLICY, "", ""),  # as every change has: a workspace of its own
)

CLEAN = Change("clean", _POLICY, "", "")


class Results:
    """What each run came to: a line of a file each, kept from one measurement to the next."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # What ran with other code is another file's.
        parts = [ROOT / "analysis", ROOT / "profiles", NIGHT]
        parts += [
            part
            for part in sorted((ROOT / "src/quotalab").iterdir())
            if part.name not in ("api", "nightly", "testing")
        ]
        digests = [code_sha256(part) for part in parts] + [str(PLANTED + HARMLESS)]
        self.file = folder / f"{hashlib.sha256(''.join(digests).encode()).hexdigest()[:12]}.jsonl"
        self._told: dict[tuple[str, int], Told] = {}
        self._read = 0

    def told(self) -> dict[tuple[str, int], Told]:
        """By name of the change and seed, all that there are by now."""
        with contextlib.suppress(FileNotFoundError), self.file.open("rb") as lines:
            lines.seek(self._read)
            for line in lines:
                if line.endswith(b"\n"):
                    self._read += len(line)
                    document = json.loads(line)
                    self._told[document["change"], document["seed"]] = Told.read(document)
        return self._told

    def add(self, change: Change, told: Told) -> None:
        """One more; written at once and whole, as several processes write."""
        line = json.dumps({"change": change.name, **told.document()}) + "\n"
        file = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(file, line.encode())
        os.close(file)


class App:
    """A changed app: its source and its workspace, in a folder of their own."""

    def __init__(self, change: Change, folder: Path) -> None:
        self.change = change
        self._package = folder / "src/quotalab"
        self._workspace = folder / "workspace"
        shutil.copytree(ROOT / "src/quotalab/reference", self._package / "reference")
        shutil.copytree(NIGHT, self._workspace)
        policy = self._workspace / _POLICY
        policy.parent.mkdir()
        shutil.copy(ROOT / _POLICY, policy)
        file = policy if change.file == _POLICY else folder / change.file
        file.write_text(change.made(file.read_text(encoding="utf-8")), encoding="utf-8")

    def run(self, seed: int, out: Path) -> Told:
        """A run, in a process that has run nothing before and runs nothing after."""
        quotalab.__path__.insert(0, str(self._package))
        from quotalab.run.simulate import simulate

        workspace = Workspace.find(self._workspace)
        table = workspace.settings["nightly"]
        asked = RunOptions(
            scenario=table["scenarios"][0],
            policy=table["policies"][0],
            span_ns=parse_span_ns("for", table["for"]),
            settings=tuple(table["set"]),
            seed=seed,
            out=out,
        )
        with _as_if_new():
            simulated = simulate(asked, workspace)
        if simulated.errors or simulated.faults:
            raise SystemExit(f"{self.change.name}: seed {seed}: {simulated.errors} {simulated.faults}")
        verdict = judge(load(out), RULES)
        RunFolder(out).verdict.write_text(document(verdict), encoding="utf-8")
        return tell(seed, out)


@contextlib.contextmanager
def _as_if_new() -> Iterator[None]:
    """Let virtual time be installed although Locust is imported: nothing of it has slept or read a clock."""
    install = virtual.install
    set_hub(None)  # the parent's

    def install_below(*arguments: Any, **options: Any) -> virtual.VirtualTime:
        known = sys.modules.pop("locust")
        try:
            return install(*arguments, **options)
        finally:
            sys.modules["locust"] = known

    virtual.install = install_below
    try:
        yield
    finally:
        virtual.install = install


def measure(wanted: Sequence[tuple[Change, int]], results: Results, jobs: int) -> Iterator[int]:
    """Make those runs that there are no results of, `jobs` at a time; yields how many are over."""
    for name in _BEFORE_FORKS:
        importlib.import_module(name)
    missing = [one for one in dict.fromkeys(wanted) if (one[0].name, one[1]) not in results.told()]
    over = len(wanted) - len(missing)
    busy: dict[int, tuple[Change, int]] = {}
    with tempfile.TemporaryDirectory(prefix="quotalab-power-") as made:
        place = Path(made)
        apps = {change: App(change, place / f"app-{i}") for i, change in enumerate({c for c, _ in missing})}
        gc.freeze()
        try:
            for change, seed in missing:
                if len(busy) >= jobs:
                    _ended(busy)
                    over += 1
                    yield over
                busy[_forked(apps[change], seed, results, place)] = change, seed
            while busy:
                _ended(busy)
                over += 1
                yield over
        finally:
            for process in busy:
                os.kill(process, signal.SIGTERM)
                _wait(process, 0)


def _forked(app: App, seed: int, results: Results, place: Path) -> int:
    process = _fork()
    if process:
        return process
    code = 1
    gc.disable()  # it does not live for long
    try:
        out = place / f"run-{os.getpid()}"
        results.add(app.change, app.run(seed, out))
        shutil.rmtree(out)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _ended(busy: dict[int, tuple[Change, int]]) -> None:
    process, status = _wait(-1, 0)
    change, seed = busy.pop(process)
    if status:
        raise SystemExit(f"{change.name}: seed {seed}: ended with {os.waitstatus_to_exitcode(status)}")


def compared(change: Change, seeds: Sequence[int], results: Results) -> Compared:
    """The night of the changed app beside that of the clean one, as the job compares them."""
    matrix = read_matrix(Workspace.find(NIGHT))
    told = results.told()
    before = Baseline(Path("none"), dict([CLEAN.version]), tuple(told[CLEAN.name, seed] for seed in seeds))
    after = [told[change.name, seed] for seed in seeds]
    folders = [Path("none")] * len(seeds)
    (one,) = compare_night(
        [(matrix.groups[0], after, folders, before, dict([change.version]))], matrix.margins
    )
    return one


def regressions(one: Compared) -> list[str]:
    """The rules and figures that a night names as regressions."""
    found = [change.rule for change in one.rules if change.word == "regression"]
    return found + [change.figure for change in one.figures if change.word == "regression"]


def main() -> int:
    """Measure, print the table, and say by the exit code whether it is as good as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=59, help="of each planted change")
    parser.add_argument(
        "--harmless", type=int, default=200, help="comparisons, of all harmless changes together"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="WORDS", help="changes so called; repeatable"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--first", type=int, default=100_001, help="the first of the seeds")
    parser.add_argument("--out", type=Path, default=ROOT / "runs/power", help="where results are kept")
    asked = parser.parse_args()
    for one in (*PLANTED, *HARMLESS):
        one.made((ROOT / one.file).read_text(encoding="utf-8"))
    planted, harmless = (
        [one for one in group if one.name in asked.only or not asked.only] for group in (PLANTED, HARMLESS)
    )
    trials = [(one, _seeds(asked.first, trial), trial) for one in planted for trial in range(asked.trials)]
    if harmless:
        trials += [
            (harmless[trial % len(harmless)], _seeds(asked.first, trial), trial)
            for trial in range(asked.harmless)
        ]
    trials.sort(key=lambda one: one[2])  # so that a table of fewer trials is there before the whole
    wanted = [(which, seed) for change, seeds, _ in trials for seed in seeds for which in (CLEAN, change)]
    wanted = list(dict.fromkeys(wanted))
    results = Results(asked.out)
    began = time.monotonic()
    for over in measure(wanted, results, asked.jobs):
        if over % 50 == 0 or over == len(wanted):
            print(f"{over:,} of {len(wanted):,} runs, {(time.monotonic() - began) / 60:.1f} min", flush=True)
    return _table(trials, results)


def _seeds(first: int, trial: int) -> range:
    seeds = len(read_matrix(Workspace.find(NIGHT)).groups[0].cells)
    return range(first + trial * seeds, first + (trial + 1) * seeds)


def _table(trials: Sequence[tuple[Change, Sequence[int], int]], results: Results) -> int:
    """Print what was found; returns 1 where a planted change was missed or a harmless one was not."""
    found: dict[str, list[bool]] = {}
    by: dict[str, Counter[str]] = {}
    for change, seeds, trial in trials:
        named = regressions(compared(change, seeds, results))
        right = [one for one in named if not change.right or one in change.right]
        row = change.name if change.right else "harmless"
        found.setdefault(row, []).append(bool(right))
        by.setdefault(row, Counter()).update(right)
        if bool(right) != bool(change.right):
            print(
                f"trial {trial}, seeds from {seeds[0]}: {change.name}: {', '.join(named) or 'nothing'} named"
            )
    print("\n| change | nights | it was found | named, in how many |\n|---|---|---|---|")
    bad = False
    for row, nights in found.items():
        hits, all_ = sum(nights), len(nights)
        if row == "harmless":
            share = f"{hits}: at most {share_at_most(hits, all_):.1%} with 95 % confidence"
            bad |= hits > 0
        else:
            share = f"{hits}: at least {1 - share_at_most(all_ - hits, all_):.1%} with 95 % confidence"
            bad |= hits < all_
        names = ", ".join(f"{name} {number}" for name, number in by[row].most_common()) or "nothing"
        print(f"| {row} | {all_} | {share} | {names} |")
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
