"""Locust alone, on the real clock: its own options, and with --verdict the run is judged at its end."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "locust.md").read_text(encoding="utf-8")


def locust(cwd: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Locust headless on a scenario of the repository."""
    return subprocess.run(
        [sys.executable, "-m", "locust", "--headless", "--only-summary", *options],
        cwd=cwd, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


SCENARIO = """
from locust import LoadTestShape, tag, task
from quotalab.scenario import Person

class Visitor(Person):
    policy = "naive"
    population = 4
    wait_time = lambda self: 0.02

    @tag("read")
    @task
    def read(self):
        with self.asking("read", within_s=30) as asked:
            self.app.event(self.name, "7", self.patience(asked))

    @tag("write")
    @task
    def write(self):
        raise RuntimeError("tags keep this out")

class Steps(LoadTestShape):
    def tick(self):
        return (4, 4) if self.get_run_time() < 6 else None
"""


def test_the_verdict_decides_the_exit_code(tmp_path: Path) -> None:
    """With tags, a shape, --csv and --html: one run folder, the summary beside Locust's own, exit 1 for FAIL."""
    (tmp_path / "visits.py").write_text(SCENARIO)
    options = (
        "-f",
        "visits.py",
        "--tags",
        "read",
        "--csv",
        "out",
        "--html",
        "out.html",
        "--run-folder",
        "here",
    )
    # The bundled profile's limit is too large to overrun in seconds: a workspace's own of the same name wins.
    profile = (ROOT / "profiles" / "providers" / "temporary-production.toml").read_text()
    (tmp_path / "pyproject.toml").write_text("[tool.quotalab]\n")
    (tmp_path / "profiles" / "providers").mkdir(parents=True)
    (tmp_path / "profiles" / "providers" / "temporary-production.toml").write_text(
        profile.replace("limit = 100\n", "limit = 5\n", 1)
    )
    done = locust(tmp_path, *options, "--verdict")
    assert done.returncode == 1, done.stderr
    assert "FAIL: QL101 quota-overrun" in done.stdout
    assert "Aggregated" in done.stdout + done.stderr
    assert json.loads((tmp_path / "here" / "verdict.json").read_text())["verdict"] == "FAIL"
    assert (tmp_path / "out_stats.csv").is_file()
    assert (tmp_path / "out.html").is_file()


@pytest.mark.full
def test_the_command_of_the_page_is_as_it_says(tmp_path: Path) -> None:
    """A run that holds exits 0, with its folder named last before Locust's statistics."""
    command = re.search(r"```sh\nlocust (.*)\n```", PAGE)[1]
    words = command.replace("locustfiles/", f"{ROOT}/locustfiles/").replace("-t 10s", "-t 3s").split()
    words.remove("--headless")
    done = locust(tmp_path, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    assert f"runs/{folder.name}" in done.stdout
    assert (folder / "report.html").is_file()
