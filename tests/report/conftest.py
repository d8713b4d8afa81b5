"""A believable day, judged once a session, and a small run full of hostile texts."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from quotalab.frames.testing import LedgerBuilder
from quotalab.report import judge_run
from quotalab.workspace import Workspace

HERE = Path(__file__).parent

HOSTILE = (
    "<script>alert(1)</script>",
    "]]>",
    "--><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "{{ 7 * 7 }}",
    "\x1b[31mred\x07\x00",
    "left\u202ethgir",
    "line\nbreak",
    "$\\alpha",
    "\x85\ufeff\ufffe",
)


@pytest.fixture(scope="session")
def workspace():
    """The bundled rules alone."""
    root = HERE.parents[1]
    return Workspace(root, {}, root)


@pytest.fixture(scope="session")
def believable_day():
    """The generator in day.py."""
    spec = importlib.util.spec_from_file_location("_day", HERE / "day.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.believable_day


@pytest.fixture(scope="session")
def naive(believable_day, workspace, tmp_path_factory):
    """(folder, verdict) of a small day without a budget: much is refused."""
    folder = believable_day("naive", operations=1500, people=40).write(tmp_path_factory.mktemp("day") / "run")
    return folder, judge_run(folder, workspace)


@pytest.fixture(scope="session")
def hostile(workspace, tmp_path_factory):
    """(folder, verdict) of a run in which everything that a client may send is an attack on its reader."""
    ledger = LedgerBuilder(scenario=HOSTILE[0], traffic=HOSTILE[5], command=("quotalab", "run", HOSTILE[3]))
    for i, text in enumerate(HOSTILE):
        texts = {"person": text, "path": text, "method": text[:16], "client_id": text, "token": text}
        ledger.call(i * 10, operation=text, target=text, **texts)
        ledger.call(
            i * 10 + 1,
            refused_by="hourly",
            retry_after_s=60,
            operation=text,
            target=text,
            error=text,
            **texts,
        )
        ledger.call(i * 10 + 2, operation=text, target=text, route=None, status=404, **texts)
        ledger.operation(
            i * 10, i * 10 + 9, operation=text, person=text, name=text, error=text, outcome="failed"
        )
        ledger.operation(i * 10, i * 10 + 9, operation=f"{text} late", person=text, name=text, deadline_s=0)
    folder = ledger.write(tmp_path_factory.mktemp("hostile") / "run")
    return folder, judge_run(folder, workspace)
