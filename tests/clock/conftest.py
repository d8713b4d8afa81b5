"""Runs tests and snippets in processes whose time is virtual, for installing it changes a whole process.

A test marked ``virtual_time`` is an ordinary function without fixtures. All such tests of a file run in one
process, in their order: the file is imported, then time is made virtual, then the tests are called. What
the file imports at its top is therefore imported before the clocks are patched.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import traceback
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent

import pytest

MONDAY_NS = 1_767_571_200_000_000_000  # 2026-01-05 00:00 UTC
PREAMBLE = f"""\
import sys
from quotalab.clock.virtual import install
START_NS = {MONDAY_NS}
"""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "virtual_time: runs in a process of its own, in virtual time")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if pyfuncitem.get_closest_marker("virtual_time") is None:
        return None
    results, said = _run_file(pyfuncitem.path)
    if pyfuncitem.name not in results:
        pytest.fail(f"the process ended before this test did:\n{said}", pytrace=False)
    if results[pyfuncitem.name] is not None:
        pytest.fail(results[pyfuncitem.name], pytrace=False)
    return True


@cache
def _run_file(path: Path) -> tuple[dict[str, str | None], str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", __file__, str(path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    results = [json.loads(line[2:]) for line in done.stdout.splitlines() if line.startswith("@@")]
    return dict(results), done.stderr


def _main(path: Path) -> None:
    spec = importlib.util.spec_from_file_location("tests_in_virtual_time", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    from quotalab.clock.virtual import install

    with install(MONDAY_NS, 1) as module.virtual:
        for name, test in list(vars(module).items()):
            if name.startswith("test_") and any(m.name == "virtual_time" for m in _marks(test)):
                try:
                    test()
                except BaseException:  # LoopExit and the like are results too
                    outcome = traceback.format_exc()
                else:
                    outcome = None
                print("@@" + json.dumps([name, outcome]), flush=True)


def _marks(test: object) -> list[pytest.Mark]:
    return getattr(test, "pytestmark", [])


@dataclass(frozen=True)
class Finished:
    """A process that has ended."""

    lines: list[str]
    said: str
    code: int


@pytest.fixture
def run():
    """Runs a snippet in a fresh process that knows ``install`` and ``START_NS``."""

    def run(code: str, *, hash_seed: str = "0") -> Finished:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PREAMBLE + dedent(code)],
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )
        return Finished(done.stdout.splitlines(), done.stderr, done.returncode)

    return run


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
