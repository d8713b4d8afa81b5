"""The broken integrations: what each is wrong in, the run that shows it, and what else may follow from it.

Each is a file in ``broken/``, named for its rule::

    \"\"\"It retries at once, whatever Retry-After says.\"\"\"      # one sentence: a line of the printed matrix

    RULE = "QL201"
    FOLLOWS = {
        "QL101",  # whoever asks again in a spent hour is refused again
    }
    RUN = {"scenario": "overload", "users": 20, "for": "2h", "settings": ("limits.hourly.limit=50",)}
    POLICY = {"budget": {"enabled": False}, "retry": {"obey_retry_after": False, "jitter": "none"}}

`FOLLOWS` are the other rules that fire, no more and no fewer, each with its reason. `RUN` has the options of ``quotalab
run``: scenario, provider, traffic, users, for, start, seed, settings, transport; scenario and provider may name
a file in ``broken/``; ``rules`` are settings of rules, ``app`` further keys of ``[tool.quotalab.app]``. `POLICY`
changes keys of the polite policy, with which the reference integration then runs. A module with
``build(access)`` brings an app of its own; `reference_variants.reference` makes it a variant of the reference
integration. With several cases in one file, ``CASES`` lists dictionaries with the same names in place of them,
each with a sentence ``TOLD``, and ``build`` as the name of its function. All of it is written out as literals:
it is read without running the file.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["BROKEN", "Case", "all_cases"]

BROKEN = Path(__file__).parent / "broken"
_OPTIONS = {"scenario", "provider", "traffic", "users", "for", "start", "seed", "settings", "transport"}
_MORE = {"rules", "app"}
_NAMES = {"RULE", "FOLLOWS", "RUN", "POLICY", "CASES"}


@dataclass(frozen=True)
class Case:
    """One run, of a broken integration or of the good one."""

    rule: str
    """That must fire; empty: none may."""
    told: str
    follows: frozenset[str] = frozenset()
    run: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] | None = None
    build: str | None = None
    """Name of the function in `file` that builds the app."""
    file: Path | None = None

    @property
    def name(self) -> str:
        """How the case is called on the command line and in the matrix."""
        return self.rule or self.told

    @property
    def allowed(self) -> frozenset[str]:
        """The rules that may fire."""
        return self.follows | {self.rule}


def all_cases(folder: Path = BROKEN) -> list[Case]:
    """Every broken integration in `folder`, in order of the rules. Nothing of them is run."""
    cases = [case for path in sorted(folder.glob("[!_]*.py")) for case in _cases(path)]
    return sorted(cases, key=lambda case: (case.rule, str(case.file)))


def _cases(path: Path) -> Sequence[Case]:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    names: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "build":
            names["build"] = "build"
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            targets: list[ast.expr] = [node.target]
        elif isinstance(node, ast.Assign):
            targets = node.targets
        else:
            continue
        for target in targets:
            if isinstance(target, ast.Name) and target.id in _NAMES:
                try:
                    names[target.id] = ast.literal_eval(node.value)
                except ValueError:
                    raise ValueError(f"{path.name}: {target.id} must be written out, as a literal") from None
    told = (ast.get_docstring(tree) or "").partition("\n")[0]
    if "CASES" in names:
        return [_case(path, told, one) for one in names["CASES"]]
    return [_case(path, told, names)] if "RULE" in names else []  # else a scenario of a case's own


def _case(path: Path, told: str, names: Mapping[str, Any]) -> Case:
    run = dict(names.get("RUN", {}))
    unknown = set(run) - _OPTIONS - _MORE
    if unknown:
        raise ValueError(f"{path.name}: RUN has {', '.join(sorted(unknown))}, which is no option of a run")
    return Case(
        rule=names["RULE"],
        told=names.get("TOLD", told),
        follows=frozenset(names.get("FOLLOWS", ())),
        run=run,
        policy=names.get("POLICY"),
        build=names.get("build"),
        file=path,
    )
