"""Playing a case: a run in a workspace and a process of its own, judged by all rules.

As a program it is the process: it takes the folder of a prepared workspace and leaves ``played.json`` there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
_FIRES = ("FAIL", "WARN", "REVIEW")


@dataclass(frozen=True)
class Played:
    """What the rules said of a case."""

    case: Any
    seed: int
    verdicts: dict[str, str]
    findings: dict[str, list[str]]
    """The first messages of each rule that fired."""
    faults: list[str]
    """Contradictions of quotalab's own, or why there was no run."""
    calls: int = 0

    @property
    def fired(self) -> set[str]:
        """The rules that found something."""
        return {id for id, verdict in self.verdicts.items() if verdict in _FIRES}

    @property
    def wrong(self) -> list[str]:
        """What is not as the case declares it, a line each; none: all is well."""
        lines = [f"{self.case.name}: {fault}" for fault in self.faults]
        if not self.verdicts:
            return lines
        if self.case.rule and self.case.rule not in self.fired:
            told = self.verdicts.get(self.case.rule, "no such rule")
            lines.append(f"{self.case.name} does not fire on its own broken integration: {told}")
        for id in sorted(self.fired - self.case.allowed):
            said = (self.findings[id] or ["no finding"])[0]
            lines.append(
                f"{self.case.name}, seed {self.seed}: {id} fires as well ({self.verdicts[id]}): {said}"
            )
        lines += [
            f"{self.case.name} declares that {id} follows, and it does not ({self.verdicts.get(id, 'no such rule')})"
            for id in sorted(self.case.follows - self.fired)
        ]
        return lines


def play_all(pairs: Iterable[tuple[Any, int]], jobs: int) -> Iterator[Played]:
    """Each (case, seed), `jobs` processes side by side; in the order given."""
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda pair: play(*pair), pairs)


def play(case: Any, seed: int, keep: Path | None = None) -> Played:
    """Play one case; `keep` is a folder that the workspace with its run is left in."""
    with tempfile.TemporaryDirectory(prefix="matrix-") as made:
        folder = keep or Path(made)
        environment = prepare(case, seed, folder)
        done = subprocess.run(
            [sys.executable, str(HERE / "playing.py"), str(folder)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        result = folder / "played.json"
        if not result.exists():
            lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit {done.returncode}"]
            return Played(case, seed, {}, {}, [f"there was no run: {lines[-1]}"])
        return Played(case, seed, **json.loads(result.read_text(encoding="utf-8")))


def prepare(case: Any, seed: int, folder: Path) -> dict[str, str]:
    """Make the workspace of a case; returns the environment of its process."""
    folder.mkdir(parents=True, exist_ok=True)
    run = case.run
    lines = ["[tool.quotalab]"]
    if case.build is not None:
        app = {"build": f"{case.file.stem}:{case.build}", **run.get("app", {})}
        lines += ["[tool.quotalab.app]", *(f"{key} = {_toml(value)}" for key, value in app.items())]
    elif run.get("app"):
        lines += ["[tool.quotalab.app]", *(f"{key} = {_toml(value)}" for key, value in run["app"].items())]
    for id, values in run.get("rules", {}).items():
        lines += [
            f"[tool.quotalab.rules.{id}]",
            *(f"{key} = {_toml(value)}" for key, value in values.items()),
        ]
    (folder / "pyproject.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    policy = None
    if case.policy is not None:
        policy = "broken"
        policies = folder / "profiles" / "policies"
        policies.mkdir(parents=True)
        (policies / "broken.toml").write_text(_policy(case.policy), encoding="utf-8")
    asked = {
        "scenario": _named(case, run.get("scenario", "temporary_access"), ".py"),
        "provider": _named(case, run.get("provider", "temporary-production"), ".toml"),
        "traffic": run.get("traffic"),
        "policy": policy,
        "users": run.get("users"),
        "for": run.get("for", "2h"),
        "start": run.get("start", "2026-01-05T08:00"),
        "seed": seed,
        "transport": run.get("transport", "memory"),
        "settings": list(run.get("settings", ())),
    }
    (folder / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
    broken = str(case.file.parent) if case.file is not None else ""
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, [broken, str(HERE), os.environ.get("PYTHONPATH")])),
        "MATRIX_WORKSPACE": str(folder),
        "MATRIX_PROVIDER": str(asked["provider"]),
        "MATRIX_POLICY": policy or "polite",
        "MATRIX_SETTINGS": "\n".join(asked["settings"]),
        "MATRIX_SEED": str(seed),
    }


def _named(case: Any, name: str, suffix: str) -> str:
    """A file beside the case, or a name that the workspace knows."""
    name, _, variant = name.partition("/")
    beside = case.file.parent / f"{name.removesuffix(suffix)}{suffix}" if case.file is not None else None
    found = str(beside) if beside is not None and beside.is_file() else name
    return f"{found}/{variant}" if variant else found


def _policy(changes: dict[str, Any]) -> str:
    """The polite policy with `changes`, as TOML."""
    import tomllib

    document = tomllib.loads((ROOT / "profiles" / "policies" / "polite.toml").read_text(encoding="utf-8"))
    for key, value in changes.items():
        document[key] = {**document[key], **value} if isinstance(value, dict) else value
    document["name"] = "broken"
    plain = {key: value for key, value in document.items() if not isinstance(value, dict)}
    lines = [f"{key} = {_toml(value)}" for key, value in plain.items()]
    for name, table in document.items():
        if isinstance(table, dict):
            lines += [f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """Texts, numbers, truth, and lists and tables of them, as TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


def _main(folder: Path) -> None:
    """The process of one run."""
    from quotalab.run.options import RunOptions, parse_span_ns, parse_start_ns
    from quotalab.run.simulate import simulate
    from quotalab.workspace import Workspace

    asked = json.loads((folder / "asked.json").read_text(encoding="utf-8"))
    workspace = Workspace.find(folder, folder)
    simulated = simulate(
        RunOptions(
            scenario=asked["scenario"],
            provider=asked["provider"],
            traffic=asked["traffic"],
            policy=asked["policy"],
            users=asked["users"],
            span_ns=parse_span_ns("for", asked["for"]),
            start_ns=parse_start_ns(asked["start"]),
            seed=asked["seed"],
            transport=asked["transport"],
            settings=tuple(asked["settings"]),
            out=folder / "run",
        ),
        workspace,
    )
    from quotalab.frames import load
    from quotalab.rules import judge, load_rules

    # Of the checkout alone: a case's own folder may hold what is no rule.
    rules = load_rules(sorted((ROOT / "analysis").glob("[!_]*.py")))
    verdict = judge(load(simulated.folder), rules)
    played = {
        "verdicts": {result.rule.id: result.verdict for result in verdict.rules},
        "findings": {
            result.rule.id: [finding.message for finding in result.judgement.findings[:5]]
            or [result.judgement.note or ""]
            for result in verdict.rules
            if result.verdict in _FIRES
        },
        "faults": [fault.message for fault in verdict.faults] + list(simulated.faults),
        "calls": int(verdict.metrics["calls"] or 0),
    }
    (folder / "played.json").write_text(json.dumps(played), encoding="utf-8")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
