"""Wrong calls and broken input: one clear line, exit 2, nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GOOD_SCENARIO = """
from locust import constant, task
from quotalab.scenario import Person

class Someone(Person):
    population = 2
    wait_time = constant(60)

    @task
    def look(self):
        with self.asking("look", within_s=30) as asked:
            self.app.week(self.name, self.patience(asked))
"""


def workspace(folder: Path, **files: str) -> Path:
    """A workspace with the given files, by path."""
    (folder / "pyproject.toml").write_text("[tool.quotalab]\n")
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "--provider", "nowhere"], "provider 'nowhere': is not in profiles/providers/"),
        (["run", "--provider", "temporary-prod"], "did you mean 'temporary-production'?"),
        (["run", "--provider", "temporary-production/many"], "has no variant 'many'; there is: approval, few-users"),
        (["run", "--policy", "rude"], "policy 'rude': is not in profiles/policies/"),
        (["run", "--traffic", "rush"], "traffic 'rush': is not in profiles/traffic/"),
        (["run", "overlord"], "scenario 'overlord': is not in locustfiles/ of the workspace nor bundled; did you"),
        (["run", "--provider", "temporary-production", "--set", "limits.hourly.limit=-5"],
         "limits.hourly.limit: must be a whole number of 1 or more, not -5"),
        (["run", "--set", "limits.hourly.period=soon"], "limits.hourly.period: must be a duration such as"),
        (["run", "--set", "limits.hourly.kind=rolling"], "did you mean 'rolling_window'?"),
        (["run", "--set", "nonsense"], "is not key=value"),
        (["run", "--for", "1x"], "--for: '1x' is not a duration"),
        (["run", "--for", "0s"], "--for: must be longer than nothing"),
        (["run", "--start", "yesterday"], "--start: 'yesterday' is not a date"),
        (["run", "--users", "0"], "must be a whole number from 1"),
        (["run", "--clock", "real", "--start", "2026-01-05"], "--start: only virtual time can begin"),
        (["run", "overload", "--", "--users", "7"], "Locust option --users: the population is --users"),
        (["run", "overload", "--", "--warp", "9"], "Locust options after --: unrecognized arguments: --warp"),
        (["report", "/nowhere/at/all"], "/nowhere/at/all: there is no such run folder"),
        (["--workspace", "/nowhere", "run"], "/nowhere: there is no such workspace folder"),
    ],
)  # fmt: skip
def test_a_wrong_call_gets_one_clear_line(call, arguments: list[str], told: str) -> None:
    """The line names what was wrong and what would be right; no traceback, exit 2, no folder."""
    extra = ["--out", "OUT"] if "run" in arguments and "--" not in arguments else []
    before = set(Path.cwd().glob("runs/*"))
    ended = call(*arguments, *extra)
    assert ended.code == 2
    assert told in ended.err
    assert "Traceback" not in ended.err
    assert len(ended.err.strip().splitlines()[-1:]) == 1
    assert ended.out == ""
    assert not Path("OUT").exists()
    assert set(Path.cwd().glob("runs/*")) == before


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"locustfiles/bad.py": "import nowhere_at_all\n"},
         "bad.py:1: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ({"locustfiles/bad.py": "x = 1\nraise ValueError('it is Tuesday')\n"}, "bad.py:2: ValueError: it is Tuesday"),
        ({"locustfiles/bad.py": "def broken(:\n"}, "bad.py:1: SyntaxError"),
        ({"locustfiles/bad.py": "import sys\nsys.exit(5)\n"}, "bad.py: exits (5) when it is loaded"),
        ({"locustfiles/bad.py": "x = 1\n"}, "bad.py: defines no user class"),
        ({"locustfiles/bad.py": "from locust import User, task\nclass U(User):\n    @task\n    def t(self): pass\n"},
         "bad.py: U is a plain Locust user and would reach no sandbox"),
        ({"locustfiles/bad.py": GOOD_SCENARIO + "    traffic = 'office-day'\n"}, "follows no traffic profile"),
        ({"locustfiles/bad.py": "from quotalab.scenario import PlannedPerson\nclass P(PlannedPerson): pass\n"},
         "P follows a plan; give --traffic"),
        ({"locustfiles/bad.py": "from quotalab.scenario import PlannedPerson\n"
          "class P(PlannedPerson):\n    traffic = 'office-day'\n"}, "P has no operation 'look_at_week'"),
        ({"locustfiles/bad.py": GOOD_SCENARIO, "pyproject.toml": "[tool.quotalab.app]\nbuild = 'nowhere:build'\n"},
         "app 'nowhere:build': cannot be imported"),
        ({"locustfiles/bad.py": GOOD_SCENARIO, "pyproject.toml": "[tool.quotalab.app]\nbuild = 'mine:make'\n",
          "mine.py": "x = 1\n"}, "app 'mine:make': module 'mine' has no 'make'"),
        ({"locustfiles/bad.py": GOOD_SCENARIO, "pyproject.toml": "[tool.quotalab.app]\nbuild = 'mine:make'\n",
          "mine.py": "def make(access):\n    raise KeyError('DATABASE')\n"}, "build(access) raised KeyError: 'DATABASE'"),
        ({"locustfiles/bad.py": GOOD_SCENARIO, "pyproject.toml": "[tool.quotalab.app]\nbuild = 7\n"},
         "tool.quotalab.app.build: must be a text, not 7"),
        ({"locustfiles/bad.py": GOOD_SCENARIO, "pyproject.toml": "[tool.quotalab.rules.QL999]\nsilence = 'x'\n"},
         "tool.quotalab.rules.QL999: there is no such rule; did you mean "),
        ({"locustfiles/bad.py": GOOD_SCENARIO, "pyproject.toml": "[tool.quotalab.rules.QL101]\nmost = 1\n"},
         "tool.quotalab.rules.QL101.most: is no threshold of quota-overrun; there is: silence"),
        ({"locustfiles/bad.py": GOOD_SCENARIO, "pyproject.toml": "[tool.quotalab.app]\nbuilt = 'a:b'\n"},
         "tool.quotalab.app.built: is not a key that is known here; did you mean 'build'?"),
    ],
)  # fmt: skip
def test_a_broken_scenario_or_app_gets_one_clear_line(
    call, tmp_path: Path, files: dict[str, str], told: str
) -> None:
    """The line names the file and the line in it; nothing is written."""
    root = tmp_path / "w"
    root.mkdir()
    workspace(root, **files)
    ended = call("run", "bad", "--out", str(tmp_path / "out"), cwd=root)
    assert ended.code == 2, ended.err
    assert told in ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "out").exists()


def test_a_provider_that_the_reference_integration_does_not_know_gets_one_clear_line(
    call, tmp_path: Path
) -> None:
    """Without a [reference] table an app of one's own is needed; nothing is written."""
    bundled = (ROOT / "profiles" / "providers" / "temporary-production.toml").read_text()
    before, _, rest = bundled.partition("[reference]")
    mine = before + "[variants" + rest.partition("[variants")[2]
    root = tmp_path / "w"
    root.mkdir()
    workspace(root, **{"profiles/providers/mine.toml": mine})
    ended = call("run", "overload", "--provider", "mine", "--out", str(tmp_path / "out"), cwd=root)
    assert ended.code == 2
    assert ended.err.strip() == (
        "quotalab: the provider profile has no [reference] table, so the reference integration cannot call "
        "its API; add one, or name an app of your own under [tool.quotalab.app]"
    )
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_not_overwritten(call, tmp_path: Path) -> None:
    """A run never mixes with an older one."""
    (tmp_path / "mine.txt").write_text("kept")
    ended = call("run", "overload", "--out", str(tmp_path))
    assert ended.code == 2
    assert "is not empty" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_that_cannot_be_made_is_named(call, tmp_path: Path) -> None:
    """A file where a folder should go is no place for a run."""
    (tmp_path / "file").write_text("")
    ended = call("run", "overload", "--out", str(tmp_path / "file" / "run"))
    assert ended.code == 2
    assert "cannot be made" in ended.err


def test_help_says_what_each_option_is(call) -> None:
    """Every option of run has a line, and exit codes are explained."""
    ended = call("run", "--help")
    assert ended.code == 0
    for option in ("--provider", "--policy", "--traffic", "--users", "--for", "--seed", "--set", "--out"):
        assert option in ended.out
    assert "Exit codes" in call("--help").out
