"""Apps that have the real time: in another process and language, started here or running already."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.needed import need
from tests.run.plugged import STRANGERS

from quotalab.hosting.process import free_port
from quotalab.ledger import read_ledger

NODE = shutil.which("node")
pytestmark = pytest.mark.full


@pytest.fixture(autouse=True)
def _node():
    need("node", NODE)


DAY = """
from locust import constant, task
from quotalab.scenario import Person

class Visitor(Person):
    population = 4
    wait_time = constant(0.2)

    @task
    def ask(self):
        with self.asking("ask", within_s=60):
            self.app.get("/")
"""


def workspace(folder: Path, table: str) -> Path:
    """A project with the Node app, a table and a scenario."""
    (folder / "locustfiles").mkdir()
    (folder / "locustfiles" / "day.py").write_text(DAY)
    (folder / "pyproject.toml").write_text(
        f'[tool.quotalab]\nscenario = "day"\n[tool.quotalab.app]\n{table}\n'
    )
    shutil.copy(STRANGERS / "node" / "server.js", folder)
    return folder


def test_a_node_app_is_started_driven_and_ended(call, tmp_path: Path) -> None:
    """It is told its port and the API by its environment; every operation makes a call; nothing is left running."""
    root = workspace(
        tmp_path,
        f'command = ["{NODE}", "server.js"]\nurl = "http://127.0.0.1:{{port}}"\n'
        'env = { PORT = "{port}", API = "{api_base}" }',
    )
    out = tmp_path / "out"
    settings = ("--set", "limits.hourly.period=20s")
    ended = call("run", "--clock", "real", "--for", "3s", *settings, "--out", str(out), cwd=root)
    assert ended.code in (0, 1), ended.err
    tables = read_ledger(out)
    agents = set(tables.calls.column("request_headers").to_pylist())
    assert all("node-app/1.0" in row for row in agents)
    outcomes = tables.operations.column("outcome").to_pylist()
    assert outcomes.count("done") >= 4
    assert set(outcomes) <= {"done", "abandoned"}
    assert tables.calls.num_rows >= outcomes.count("done")
    left = [
        path
        for path in Path("/proc").glob("[0-9]*/cwd")
        if os.path.exists(path) and os.readlink(path) == str(root)
    ]
    assert left == []


def test_an_app_that_runs_already_knows_the_sandboxs_port(call, tmp_path: Path) -> None:
    """`url` with `sandbox_port`: nothing is started, nothing is ended."""
    port, sandbox = free_port(), free_port()
    root = workspace(tmp_path, f'url = "http://127.0.0.1:{port}"\nsandbox_port = {sandbox}')
    app = subprocess.Popen(
        [str(NODE), "server.js"],
        cwd=root,
        env={**os.environ, "PORT": str(port), "API": f"http://127.0.0.1:{sandbox}/v1"},
    )
    try:
        out = tmp_path / "out"
        ended = call("run", "--clock", "real", "--for", "2s", "--out", str(out), cwd=root)
        assert ended.code in (0, 1), ended.err
        assert read_ledger(out).calls.num_rows >= 4
        assert f"export API_BASE=http://127.0.0.1:{sandbox}/v1\n" in ended.err
        assert app.poll() is None
    finally:
        app.kill()
        app.wait()
