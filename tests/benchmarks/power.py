"""How often does a night find a planted regression, and how often does it cry wolf?

    ./lab python tests/benchmarks/power.py --trials 59 --harmless 200

Declared beforehand: a night is the three cells in `NIGHT`, each with the same five fresh seeds; a trial compares
one night of the changed app with the same night of the unchanged one, and counts only what `PLANTED` names as
the right rule or figure. Runs are forked from one process that has imported what can be imported before virtual
time is installed. A line of the table is printed after each round of trials, so it may be ended at any time.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import pickle
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from quotalab.frames import load
from quotalab.nightly.baselines import Baseline
from quotalab.nightly.comparing import compare_night
from quotalab.nightly.matrix import MARGINS, Group
from quotalab.nightly.statistics import share_at_most
from quotalab.nightly.telling import Told, tell
from quotalab.report.judging import document
from quotalab.rules import judge, load_rules
from quotalab.workspace import Workspace

SEEDS = 5
NIGHT = (
    ("overload", "polite", 30, "90m"),
    ("overload", "obedient", 30, "90m"),
    ("token_expiry_herd", "polite", 20, "130m"),
)
"""Scenario, policy, people, span: five busy hours a seed."""
HERE = Workspace.find(Path(__file__).parent)
RULES = load_rules(HERE.rule_files())


def budget_up() -> None:
    """The budget is 5 % larger than what the provider allows."""
    policy = importlib.import_module("quotalab.profiles.policy")
    before = policy._budget
    policy._budget = lambda table: _raised(before(table))


def _raised(budget: Any) -> Any:
    return replace(budget, calls=round(budget.calls * 1.05))


def no_jitter() -> None:
    """Whoever waits, waits exactly as long as the others."""
    policy = importlib.import_module("quotalab.profiles.policy")
    before = policy._retry
    policy._retry = lambda table: replace(before(table), jitter="none")


def early() -> None:
    """Retry-After is taken for one second less than it says."""
    integration = importlib.import_module("quotalab.reference.integration")
    before = integration.promised_ns

    def less(*arguments: Any) -> int | None:
        promised = before(*arguments)
        return None if promised is None else max(promised - 10**9, 0)

    integration.promised_ns = less


def no_lock() -> None:
    """Everybody who finds an expired token refreshes it."""
    authorization = importlib.import_module("quotalab.reference.authorization")
    before = authorization.Authorizer.token

    class Unlocked(dict):  # type: ignore[type-arg]
        def setdefault(self, key: object, default: object = None) -> Any:
            return contextlib.nullcontext()

    def token(self: Any, person: str, *, beside: str | None = None) -> str:
        self._refreshing = Unlocked()
        return before(self, person, beside=beside)

    authorization.Authorizer.token = token


def retry_more() -> None:
    """One attempt more."""
    policy = importlib.import_module("quotalab.profiles.policy")
    before = policy._retry
    policy._retry = lambda table: _again(before(table))


def _again(retry: Any) -> Any:
    return retry if retry.attempts is None else replace(retry, attempts=retry.attempts + 1)


def scope_more() -> None:
    """A scope more than the app needs."""
    authorization = importlib.import_module("quotalab.reference.authorization")
    before = authorization.Authorizer.__init__

    def init(self: Any, *arguments: Any, scope: str, **options: Any) -> None:
        before(self, *arguments, scope=f"{scope} calendar.admin", **options)

    authorization.Authorizer.__init__ = init


def patch_version() -> None:
    """The HTTP library's patch version, which it tells in every request."""
    httpx = importlib.import_module("httpx")
    httpx.__version__ += ".1"
    httpx._client.USER_AGENT += ".1"


def log_line() -> None:
    """A line in the log at each call."""
    integration = importlib.import_module("quotalab.reference.integration")
    logging = importlib.import_module("logging")
    before = integration.Calendar._send

    def send(self: Any, *arguments: Any, **options: Any) -> Any:
        logging.getLogger("calendar").info("calling")
        return before(self, *arguments, **options)

    integration.Calendar._send = send


def reordered() -> None:
    """Imports in another order."""
    for name in ("wave", "colorsys", "quotalab.reference.integration", "decimal"):
        importlib.import_module(name)


def elsewhere() -> None:
    """Another machine's path."""
    os.chdir(tempfile.mkdtemp())


PLANTED: dict[Callable[[], None], tuple[str, ...]] = {
    budget_up: ("QL101", "QL102", "utilisation", "refused"),
    no_jitter: ("QL203", "QL105"),
    early: ("QL201",),
    no_lock: ("QL302", "token_calls"),
    retry_more: ("calls", "refused", "retry_amplification", "calls_per_operation", "QL208"),
    scope_more: ("scopes", "QL406", "QL407"),
}
HARMLESS = (patch_version, log_line, reordered, elsewhere)


def main() -> int:
    """Print the table; exit 1 where a planted regression was missed or a harmless change was none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=59)
    parser.add_argument("--harmless", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=1000, help="the first of the fresh seeds")
    parser.add_argument(
        "--only", choices=[change.__name__ for change in PLANTED], help="plant this one alone"
    )
    asked = parser.parse_args()
    planted = [change for change in PLANTED if asked.only in (None, change.__name__)]
    began = time.monotonic()
    # What does not patch the process is imported once, before all forks.
    for name in (
        "httpx",
        "authlib.oauth2",
        "cryptography.fernet",
        "quotalab.sandbox.app",
        "quotalab.reference",
    ):
        importlib.import_module(name)
    found: dict[str, list[int]] = {}
    for trial in range(max(asked.trials, asked.harmless)):
        seeds = range(asked.seed + SEEDS * trial, asked.seed + SEEDS * (trial + 1))
        changes: list[Callable[[], None]] = [*planted] if trial < asked.trials else []
        if trial < asked.harmless:
            changes.append(HARMLESS[trial % len(HARMLESS)])
        nights = _nights([None, *changes], seeds, asked.jobs)
        for change in changes:
            words = _regressions(nights[None], nights[change])
            if change in PLANTED:
                cell = found.setdefault(change.__name__, [0, 0])
                cell[0] += any(word in PLANTED[change] for word in words)
                if not set(words) & set(PLANTED[change]):
                    print(f"trial {trial}: {change.__name__} missed; it found {words}", flush=True)
            else:
                cell = found.setdefault("harmless", [0, 0])
                cell[0] += bool(words)
            cell[1] += 1
        print(f"--- {trial + 1} trials, {(time.monotonic() - began) / 60:.1f} min")
        for name, (hits, trials) in found.items():
            bound = share_at_most(hits if name == "harmless" else trials - hits, trials)
            word = "false alarms" if name == "harmless" else "found"
            shown = f"at most {bound:.1%}" if name == "harmless" else f"at least {1 - bound:.1%}"
            print(f"{name:<12} {word:<12} {hits:>3} of {trials:<3}  {shown}", flush=True)
    missed = any(hits < trials for name, (hits, trials) in found.items() if name != "harmless")
    return int(missed or found.get("harmless", [0])[0] > 0)


def _nights(changes: list[Any], seeds: range, jobs: int) -> dict[Any, list[list[Told]]]:
    """For each change, for each cell of the night, what each seed came to."""
    wanted = [(change, cell, seed) for change in changes for cell in NIGHT for seed in seeds]
    told = dict(zip(wanted, _forked(wanted, jobs), strict=True))
    return {change: [[told[change, cell, seed] for seed in seeds] for cell in NIGHT] for change in changes}


def _forked(wanted: list[Any], jobs: int) -> Iterator[Told]:
    """Each in a fork of its own, `jobs` at a time, in the order given."""
    running: dict[int, tuple[int, Path]] = {}
    results: dict[int, Told] = {}
    with tempfile.TemporaryDirectory(prefix="quotalab-power-") as place:
        for i, one in enumerate([*wanted, *[None] * jobs]):
            while running and (one is None or len(running) >= jobs):
                pid, status = os.waitpid(-1, 0)
                number, file = running.pop(pid)
                if status:
                    raise SystemExit(f"{wanted[number]}: ended with status {status}")
                results[number] = pickle.loads(file.read_bytes())  # our own, of a moment ago
                file.unlink()
            if one is not None:
                file = Path(place) / f"{i}.pickle"
                sys.stdout.flush()
                pid = os.fork()
                if not pid:
                    _in_fork(one, file, Path(place) / f"run{i}")
                running[pid] = i, file
    yield from (results[i] for i in range(len(wanted)))


def _in_fork(one: Any, file: Path, folder: Path) -> None:
    code = 1
    try:
        change, (scenario, policy, users, span), seed = one
        if change is not None:
            change()
        from quotalab.run.options import RunOptions, parse_span_ns
        from quotalab.run.simulate import simulate

        options = RunOptions(
            scenario=scenario, policy=policy, users=users, span_ns=parse_span_ns("span", span), seed=seed,
            out=folder,
        )  # fmt: skip
        simulate(options, HERE)
        (folder / "verdict.json").write_text(document(judge(load(folder), RULES)))
        file.write_bytes(pickle.dumps(tell(seed, folder)))
        shutil.rmtree(folder)
        code = 0
    except BaseException as error:
        print(f"{one}: {type(error).__name__}: {error}", file=sys.stderr)
    finally:
        os._exit(code)


def _regressions(before: list[list[Told]], after: list[list[Told]]) -> list[str]:
    """The rules and figures that a night names as regressions."""
    parts = []
    for (scenario, policy, _, _), was, now in zip(NIGHT, before, after, strict=True):
        group = Group(scenario, None, policy, ())
        baseline = Baseline(Path("none"), {}, tuple(was))
        parts.append((group, now, [Path("none")] * len(now), baseline, {"forked": "yes"}))
    names = []
    for one in compare_night(parts, MARGINS):
        names += [change.figure.partition(".")[0] for change in one.figures if change.word == "regression"]
        names += [change.rule for change in one.rules if change.word == "regression"]
    return sorted(set(names))


if __name__ == "__main__":
    sys.exit(main())
