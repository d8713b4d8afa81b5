"""The page in headless Chromium: its script runs under the page's own policy, and nothing is amiss."""

from __future__ import annotations

import subprocess

import pytest
from tests.needed import need
from tests.sandbox.chromium import PROGRAM


@pytest.mark.full
def test_the_curve_of_a_limit_can_be_zoomed_into(naive, tmp_path):
    """The canvas and its buttons are put beside the picture, which stays for printing; no error is logged."""
    need("chromium", PROGRAM)
    page = (naive[0] / "report.html").resolve().as_uri()
    command = [str(PROGRAM), "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    command += ["--window-size=1280,2400", "--virtual-time-budget=4000", "--enable-logging=stderr"]
    done = subprocess.run(
        [*command, "--dump-dom", page], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.count("<canvas") == 1
    assert 'class="card moves"' in done.stdout
    for label in ("Zoom in", "Zoom out", "Earlier", "Later", "Show the whole run"):
        assert f'aria-label="{label}"' in done.stdout
    assert "CONSOLE" not in done.stderr
    assert "Content Security Policy" not in done.stderr
