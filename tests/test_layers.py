"""The floors of the house: a module imports from its own floor or below, and two halves never meet."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "quotalab"

# From the ground up. A room may import what lies below its floor, itself, and nothing else.
FLOORS = [
    {"errors"},
    {"workspace"},
    {"profiles"},
    {"ledger", "traces"},
    {"clock", "frames"},
    {"traffic", "quota", "rules", "browser", "aftermath"},
    {"sandbox"},
    {"reference"},
    {"hosting"},
    {"scenario"},
    {"run", "report"},
    {"nightly", "api"},
    {"testing", "cli"},
    {"__main__"},
]
ACTING = {
    "aftermath",
    "browser",
    "clock",
    "hosting",
    "quota",
    "reference",
    "run",
    "sandbox",
    "scenario",
    "traffic",
}
JUDGING = {"frames", "rules", "report"}
FOREIGN_TO_JUDGES = {"gevent", "locust", "flask", "authlib", "httpx", "time_machine"}


def room_of(path: Path) -> str:
    """The floor that a file of the package belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it, as absolute dotted names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def rooms_in(modules: set[str]) -> set[str]:
    """The rooms of this package among imported modules."""
    known = set().union(*FLOORS)
    rooms = {name.split(".")[1] for name in modules if name.startswith("quotalab.")}
    return rooms & known


MODULES = [path for path in sorted(SOURCE.rglob("*.py")) if path != SOURCE / "__init__.py"]


def test_every_file_of_the_package_belongs_to_a_floor() -> None:
    """A new room is given a place before anything imports it."""
    assert {room_of(path) for path in MODULES if "_workspace" not in path.parts} <= set().union(*FLOORS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_from_its_own_floor_or_below(path: Path) -> None:
    """Nothing imports from above, and rooms of one floor do not import each other."""
    height = {room: i for i, floor in enumerate(FLOORS) for room in floor}
    mine = room_of(path)
    for other in rooms_in(imports_of(path)) - {mine}:
        assert height[other] < height[mine], f"{mine} imports {other}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_acting_and_judging_half_never_import_each_other(path: Path) -> None:
    """The judges' arithmetic stays an independent witness."""
    rooms = rooms_in(imports_of(path))
    if room_of(path) in ACTING:
        assert not rooms & JUDGING
    if room_of(path) in JUDGING:
        assert not rooms & ACTING


@pytest.mark.parametrize("path", sorted((ROOT / "analysis").glob("*.py")), ids=lambda path: path.name)
def test_rules_import_only_the_judging_half(path: Path) -> None:
    """A rule is judged anywhere: it needs numpy, pandas and the judging half."""
    imported = imports_of(path)
    assert rooms_in(imported) <= JUDGING | {"ledger", "profiles", "errors"}
    assert not {name.split(".")[0] for name in imported} & FOREIGN_TO_JUDGES


def modules_after(statement: str) -> set[str]:
    """The top-level modules loaded in a fresh process once `statement` has run."""
    code = f"{statement}\nimport sys\nprint(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


@pytest.mark.parametrize("name", ["quotalab", "quotalab.cli", "quotalab.clock", "quotalab.ledger"])
def test_importing_the_lower_floors_loads_neither_gevent_nor_locust(name: str) -> None:
    """Only run, scenario and virtual time may patch the process."""
    assert not modules_after(f"import {name}") & {"gevent", "locust"}


def test_importing_the_package_loads_nothing_that_costs() -> None:
    """A pytest that has quotalab installed pays for it only where a test uses it."""
    loaded = modules_after("import quotalab, quotalab.testing.plugin")
    assert not loaded & {
        "gevent",
        "locust",
        "pandas",
        "numpy",
        "pyarrow",
        "matplotlib",
        "httpx",
    }


@pytest.mark.parametrize("name", ["quotalab.frames", "quotalab.rules", "quotalab.report"])
def test_the_judging_half_loads_nothing_of_the_acting_half(name: str) -> None:
    """A run folder is judged where none of the libraries that made it are."""
    loaded = modules_after(
        f"import {name}, sys; "
        f"assert not {{'quotalab.' + room for room in {sorted(ACTING)!r}}} & sys.modules.keys()"
    )
    assert not loaded & FOREIGN_TO_JUDGES


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    """Start-up counts in every run: help and errors need no pandas, matplotlib or httpx."""
    assert not modules_after("import quotalab.cli") & {"pandas", "matplotlib", "httpx", "numpy", "pyarrow"}
