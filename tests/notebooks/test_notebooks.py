"""The notebooks: stored without outputs, and each runs from a fresh kernel."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from tests.needed import need

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
names = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
OURS = {"quotalab", "matplotlib", "numpy", "pandas", *sys.stdlib_module_names}


def cells_of(path: Path) -> list[dict[str, object]]:
    """The code cells of a notebook."""
    document = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in document["cells"] if cell["cell_type"] == "code"]


def test_there_are_six() -> None:
    """What people come for has a notebook each."""
    assert [path.stem for path in NOTEBOOKS] == [
        "choosing_a_policy",
        "comparing_two_nights",
        "first_look",
        "how_true_is_virtual_time",
        "judging_your_own_logs",
        "reading_a_failed_verdict",
    ]


@names
def test_a_notebook_is_stored_without_outputs(path: Path) -> None:
    """A difference shows what was changed, never what somebody's machine printed."""
    for cell in cells_of(path):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@names
def test_a_notebook_imports_quotalab_and_what_it_is_drawn_with(path: Path) -> None:
    """An installed quotalab has all that its notebooks need, but for Jupyter itself."""
    text = "".join("".join(cell["source"]) + "\n" for cell in cells_of(path))  # type: ignore[arg-type]
    imported = re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE)
    assert imported
    assert set(imported) <= OURS


@pytest.mark.full
@pytest.mark.filterwarnings("default")
@names
def test_a_notebook_runs_from_a_fresh_kernel(path: Path) -> None:
    """Every cell, in order, and something is drawn."""
    need(
        "notebooks", (ROOT / ".venv" / ".notebooks").exists()
    )  # ./lab jupyter --version installs what it takes
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
    shown = [
        kind for cell in notebook.cells for out in cell.get("outputs", []) for kind in out.get("data", {})
    ]
    assert "image/png" in shown
