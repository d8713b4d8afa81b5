"""The page on plugging in an app works as printed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from quotalab.hosting.environment import known_values
from quotalab.profiles.app import app_settings
from quotalab.sandbox import Access

PAGE = (Path(__file__).parents[1] / "docs" / "plug-in-your-app.md").read_text(encoding="utf-8")


def block(after: str, language: str) -> str:
    """The first block of code of a language after a text."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE[PAGE.index(after) :], re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.mark.full
def test_the_flask_app_of_the_page_is_plugged_in(tmp_path: Path) -> None:
    """Its three files, word for word: people connect, and a hard-coded https address reaches the sandbox."""
    (tmp_path / "locustfiles").mkdir()
    (tmp_path / "shop.py").write_text(block("`shop.py`", "python"))
    (tmp_path / "pyproject.toml").write_text(block("The table in", "toml"))
    (tmp_path / "locustfiles" / "shop_day.py").write_text(block("`locustfiles/shop_day.py`", "python"))
    done = subprocess.run(
        [sys.executable, "-m", "quotalab", "run", "--for", "2h", "--out", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={
            **__import__("os").environ,
            "HTTP_PROXY": "http://127.0.0.1:9",
            "HTTPS_PROXY": "http://127.0.0.1:9",
        },
    )
    assert done.returncode == 1, done.stderr  # a token lasts an hour, and it renews none
    verdict = json.loads((tmp_path / "out" / "verdict.json").read_text())
    assert {rule["id"]: rule["verdict"] for rule in verdict["rules"]}["QL301"] == "FAIL"
    assert verdict["metrics"]["operations_done"] > 60
    assert verdict["metrics"]["api_calls"] > 60


@pytest.mark.parametrize("table", re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
def test_every_table_of_the_page_is_valid(table: str) -> None:
    """No key is invented."""
    settings = tomllib.loads(table)["tool"]["quotalab"]
    assert app_settings(settings, "page").kind in ("wsgi", "module", "command")


def test_the_page_names_every_value_that_templates_may_hold() -> None:
    """Braces on the page are those that are filled in, and none is missing."""
    access = Access("i", "a", "z", "t", "c", "s", "r")
    told = PAGE[PAGE.index("**By `env`.**") : PAGE.index("**By `rewrite`**")]
    assert set(re.findall(r"\{(\w+)\}", told)) == set(known_values(access, app_base="", port=""))


def test_the_page_names_every_kind() -> None:
    """The table of kinds is whole."""
    rows = re.findall(r"^\| `(\w+) = ", PAGE, re.MULTILINE)
    assert rows == ["build", "module", "wsgi", "asgi", "command", "url"]
