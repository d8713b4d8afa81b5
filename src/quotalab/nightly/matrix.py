"""``[tool.quotalab.nightly]``: which scenarios, providers, policies and seeds make a night."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from quotalab.nightly.workers import Cell
from quotalab.profiles.loading import load_policy, load_provider
from quotalab.profiles.reading import Table
from quotalab.run.options import scenario_of
from quotalab.workspace import Workspace

__all__ = ["MARGINS", "Group", "Matrix", "read_matrix"]

MARGINS: Mapping[str, float] = {
    "utilisation": 0.02,
    "refused": 0.02,
    "calls": 0.02,
    "calls_per_operation": 0.02,
    "retry_amplification": 0.01,
    "token_calls": 0.02,
    "wait_p50_s": 0.05,
    "wait_p95_s": 0.05,
    "done_share": 0.01,
    "scopes": 0.0,
}
"""By how much, as a share of what it was, a figure must have got worse to be called a regression."""

_MOST_CELLS = 10_000


@dataclass(frozen=True)
class Group:
    """The cells that differ in their seeds alone: these are what is compared."""

    scenario: str
    provider: str | None
    policy: str | None
    cells: tuple[tuple[int, Cell], ...]
    """Seed and cell, in order of the seeds."""

    @property
    def name(self) -> str:
        """What it is called, as a file's name."""
        parts = (self.scenario, self.provider, self.policy)
        return "~".join(part.replace("/", "+") for part in parts if part)


@dataclass(frozen=True)
class Matrix:
    """A night: its groups, and what it is compared with."""

    groups: tuple[Group, ...]
    baselines: Path
    margins: Mapping[str, float]

    @property
    def cells(self) -> list[Cell]:
        """Every cell."""
        return [cell for group in self.groups for _, cell in group.cells]


def read_matrix(workspace: Workspace) -> Matrix:
    """The night of a workspace. Raises `InputError` that names the key for what is not there.

    Without the table: the scenario that ``quotalab run`` takes, with ten seeds of a day each. Fewer than five
    can never show that a figure got worse; ten can where up to fifty of them changed.
    """
    top = Table(workspace.settings, str(workspace.root / "pyproject.toml"), "tool.quotalab")
    table = top.table("nightly", {})
    scenarios = table.texts("scenarios", (scenario_of(workspace),))
    providers = table.texts("providers", (None,))
    policies = table.texts("policies", (None,))
    seeds = _seeds(table)
    more = ["--for", f"{table.duration_ns('for', 86_400 * 10**9, least_ns=10**9) // 10**9}s"]
    users = table.whole("users", None, least=1, most=1_000_000)
    if users is not None:
        more += ["--users", str(users)]
    traffic = table.text("traffic", None)
    if traffic is not None:
        workspace.file("traffic", traffic)
        more += ["--traffic", traffic]
    transport = table.choice("transport", ("memory", "socket"), None)
    if transport is not None:
        more += ["--transport", transport]
    settings = table.texts("set", ())
    for setting in settings:
        more += ["--set", setting]
    baselines = workspace.root / table.text("baselines", "baselines")
    margins = dict(MARGINS)
    below = table.table("margins", {})
    for key in below:
        if key not in margins:
            raise below.error(key, "is not a figure that is compared; these are: " + ", ".join(margins))
        margins[key] = below.number(key, most=10.0)
    table.done()
    for key, kind, names in (("scenarios", "scenario", scenarios), ("policies", "policy", policies)):
        for name in names:
            if name is not None:
                workspace.file(kind, name)
                if kind == "policy":
                    load_policy(workspace, name)
        if not names:
            raise table.error(key, "must name one at least")
    if not providers:
        raise table.error("providers", "must name one at least")
    for name in providers:
        if name is not None:
            load_provider(workspace, name, settings)
    count = len(scenarios) * len(providers) * len(policies) * len(seeds)
    if count > _MOST_CELLS:
        raise table.error("", f"makes {count:,} cells; at most {_MOST_CELLS:,} are run in a night")
    root = ("--workspace", str(workspace.root))
    groups = []
    for scenario in scenarios:
        for provider in providers:
            for policy in policies:
                asked = [*root, "run", scenario, *more]
                if provider is not None:
                    asked += ["--provider", provider]
                if policy is not None:
                    asked += ["--policy", policy]
                bare = Group(scenario, provider, policy, ())
                cells = tuple(
                    (seed, Cell(f"{bare.name}~{seed}", (*asked, "--seed", str(seed)))) for seed in seeds
                )
                groups.append(Group(scenario, provider, policy, cells))
    return Matrix(tuple(groups), baselines, margins)


def _seeds(table: Table) -> tuple[int, ...]:
    """A list of seeds, or how many, counted from 1."""
    given = table.any("seeds", 10)
    wanted = "how many (from 1 on), or a list of different whole numbers"
    if isinstance(given, int) and not isinstance(given, bool) and 1 <= given <= _MOST_CELLS:
        return tuple(range(1, given + 1))
    if (
        not isinstance(given, list)
        or not given
        or not all(isinstance(seed, int) and not isinstance(seed, bool) for seed in given)
        or len(set(given)) != len(given)
    ):
        raise table.error("seeds", f"must be {wanted}, not {given!r}")
    return tuple(given)
