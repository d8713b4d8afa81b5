"""Three projects by people who know nothing of quotalab, plugged in by `quotalab init` and judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.run.plugged import GRANTS, STRANGERS, changed_lines, command, plugged

from quotalab.ledger import canonical_rows, read_ledger

ROOT = Path(__file__).parents[2]
QUICK = """
import sys
from pathlib import Path
from quotalab.run.options import RunOptions
from quotalab.run.simulate import simulate
from quotalab.workspace import Workspace

span, settings = int(sys.argv[1]), tuple(sys.argv[2:])
run = simulate(RunOptions(span_ns=span, settings=settings, out=Path("out")), Workspace.find(Path.cwd()))
print(run.errors, run.faults, run.silent)
"""
HOUR_NS = 3600 * 10**9


def simulated(root: Path, hours: float, *settings: str):
    """The ledger of a run of the project's own scenario, not judged."""
    arguments = [str(int(hours * HOUR_NS)), *settings]
    done = subprocess.run(
        [sys.executable, "-c", QUICK, *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return read_ledger(root / "out"), done.stdout


def test_a_fastapi_app_with_its_own_client_and_retries(tmp_path: Path) -> None:
    """Twenty people connect by its pages and sync; its background job makes all copies anew after six hours."""
    root, said = plugged("fastapi", tmp_path)
    assert "a first run: quotalab run --for 8h" in said
    assert changed_lines("fastapi", root) <= 10
    scenario = root / "locustfiles" / "calsync_day.py"
    scenario.write_text(
        scenario.read_text().replace("= 20", "= 5").replace("between(300, 900)", "between(3000, 3600)")
    )
    tables, told = simulated(root, 6.5)
    assert told.strip() == "() () None"
    calls = tables.calls.to_pandas()
    assert (calls[calls["kind"] == "token"]["status"] == 200).all()
    assert calls[calls["kind"] == "authorize"]["person"].dropna().nunique() == 5
    # Five people's copies, one after another, each with a new token first: nobody asked for them.
    begin = calls["at"].min().floor("D")
    job = calls[(calls["kind"] == "api") & ((calls["at"] - begin).dt.total_seconds().between(21_600, 21_602))]
    assert sorted(job["person"]) == [f"p0000{n}" for n in range(1, 6)]
    operations = tables.operations.to_pandas()
    assert set(operations["outcome"]) == {"done"}
    assert len(operations) > 30


@pytest.mark.full
def test_a_flask_app_on_requests_oauthlib(tmp_path: Path) -> None:
    """It connects over PKCE, caches for half an hour and sweeps by a timer, all in virtual time."""
    root, _ = plugged("flask", tmp_path)
    assert changed_lines("flask", root) <= 10
    tables, told = simulated(root, 1)
    assert told.strip() == "() () None"
    calls = tables.calls.to_pandas()
    api = calls[calls["kind"] == "api"]
    assert set(api["status"]) == {200}
    assert (api.groupby("person").size() <= 2).all()
    assert api["person"].nunique() == 20
    assert set(tables.operations.column("outcome").to_pylist()) == {"done"}


def test_a_script_with_a_client_of_its_own(tmp_path: Path) -> None:
    """Every five minutes for six hours, with a new token an hour: 72 pulls and 6 tokens."""
    root, said = plugged("script", tmp_path)
    assert said.splitlines()[-1] == f"a first run: quotalab run --for 8h --set '{GRANTS}'"
    assert changed_lines("script", root) <= 10
    tables, _ = simulated(root, 6, GRANTS)
    calls = tables.calls.to_pandas()
    assert (calls["kind"] == "api").sum() == 72
    assert (calls["kind"] == "token").sum() == 6
    assert set(calls["status"]) == {200}


@pytest.mark.full
@pytest.mark.parametrize(
    "name",
    ["fastapi", "flask"],
)
def test_the_same_run_twice_gives_the_same_ledger(tmp_path: Path, name: str) -> None:
    """On both paths into a web app, whose own calls go over sockets: identical rows under another hash seed."""
    root, _ = plugged(name, tmp_path)
    rows = []
    for turn in ("1", "2"):
        done = command(sys.executable, "run", "--for", "2h", "--out", turn, cwd=root, PYTHONHASHSEED=turn)
        assert done.returncode in (0, 1), done.stderr
        rows.append(list(canonical_rows(read_ledger(root / turn))))
    assert rows[0] == rows[1]
    assert len(rows[0]) > 50


# ---- each in its own environment


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """quotalab as a wheel, and the versions that it is tested with as constraints."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    pins = [
        line.split(" \\")[0]
        for line in (ROOT / "requirements" / "lab.txt").read_text().splitlines()
        if line[:1].isalnum()
    ]
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(pins))
    return next(folder.glob("*.whl")), constraints


@pytest.mark.full
@pytest.mark.parametrize("name", ["fastapi", "flask", "script"])
def test_a_stranger_gets_a_verdict_in_an_environment_of_its_own(
    tmp_path: Path, wheel: tuple[Path, Path], name: str
) -> None:
    """Its own requirements in its own environment, quotalab beside them, at most ten changed lines, a verdict."""
    import tomllib

    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    project = tomllib.loads((STRANGERS / name / "pyproject.toml").read_text())["project"]
    installed = subprocess.run(
        [_outer_python(), "-m", "pip", "--python", str(python), "--disable-pip-version-check", "install", "-qq",
         "--only-binary", ":all:", "-c", str(wheel[1]), *project["dependencies"], str(wheel[0])],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert installed.returncode == 0, installed.stderr
    root, _ = plugged(name, tmp_path, python)
    assert changed_lines(name, root) <= 10
    settings = ["--set", GRANTS] if name == "script" else []
    done = command(python, "run", "--for", "2h", "--out", "out", *settings, cwd=root)
    assert done.returncode in (0, 1), done.stderr
    verdict = json.loads((root / "out" / "verdict.json").read_text())
    assert verdict["verdict"] in ("PASS", "WARN", "FAIL")
    assert verdict["metrics"]["api_calls"] > 20
    assert str(environment) in subprocess.run(
        [str(python), "-c", "import quotalab; print(quotalab.__file__)"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout  # fmt: skip


def _outer_python() -> str:
    """An interpreter that has pip: the one that this environment was made from."""
    return str(Path(sys.base_prefix) / "bin" / "python3")
