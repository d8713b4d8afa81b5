"""The conformance page: every test that it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = re.findall(
    r"^\| (.+?) \| (.+?) \| `(.+?)::(.+?)` \|$", (ROOT / "docs" / "conformance.md").read_text("utf-8"), re.M
)


def test_the_page_has_rows_of_every_standard_that_has_a_file():
    """A file of the sandbox named after an RFC has at least one clause on the page."""
    named = {
        path.stem.removeprefix("rfc") for path in (ROOT / "src" / "quotalab" / "sandbox").glob("rfc*.py")
    }
    told = set(re.findall(r"RFC (\d+)", " ".join(clause for clause, _, _, _ in ROWS)))
    assert named <= told
    assert len(ROWS) > 40


@pytest.mark.parametrize(("file", "test"), sorted({(file, test) for _, _, file, test in ROWS}))
def test_every_test_that_the_page_names_is_there(file, test):
    """By its file and name."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert test in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
