"""The page in headless Chromium: its script runs under the page's own policy, and nothing is amiss."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.full
@pytest.mark.skipif(
    CHROMIUM is None and "chromium" not in os.environ.get("QUOTALAB_NEEDS", "").split(","),
    reason="there is no Chromium here",
)
def test_the_curve_of_a_limit_can_be_zoomed_into(naive, tmp_path):
    """The canvas and its buttons are put beside the picture, which stays for printing; no error is logged."""
    page = (naive[0] / "report.html").resolve().as_uri()
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
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
