"""What a locustfile does by Locust's own means works in a run, or is refused with a reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

DAY = """
from collections import Counter
from locust import constant, events, tag, task
from locust.event import EventHook
from quotalab.scenario import Person

heard = Counter()
events.theirs = EventHook()
for name in ("init", "test_start", "spawning_complete", "request", "theirs"):
    getattr(events, name).add_listener(lambda kept=name, **_: heard.update([kept]))

@events.quitting.add_listener
def tell(**_):
    with open("heard", "w") as file:
        print(*(f"{name} {times}" for name, times in heard.items()), sep=chr(10), file=file)

class Someone(Person):
    population = 2
    wait_time = constant(60)

    @task
    def look(self):
        with self.asking("look", within_s=30) as asked:
            self.app.week(self.name, self.patience(asked))

    @tag("own")
    @task
    def say(self):
        self.environment.events.theirs.fire()
"""


def workspace(folder: Path) -> Path:
    """A workspace with the scenario `day`."""
    (folder / "locustfiles").mkdir()
    (folder / "pyproject.toml").write_text('[tool.quotalab]\nscenario = "day"\n', encoding="utf-8")
    (folder / "locustfiles" / "day.py").write_text(DAY, encoding="utf-8")
    return folder


def test_a_locustfiles_listeners_are_called(tmp_path: Path, call: Any) -> None:
    """Those of a run's own course, each operation's request, and an event of the locustfile's own making."""
    root = workspace(tmp_path)
    ended = call("run", "--for", "9m30s", "--out", "out", cwd=root)
    assert ended.code == 0, ended.err
    heard = {name: int(times) for name, times in map(str.split, (root / "heard").read_text().splitlines())}
    assert list(heard)[:2] == ["init", "test_start"]
    once = ("init", "test_start", "spawning_complete")  # and quitting, on which this was written
    assert {name: heard[name] for name in once} == dict.fromkeys(once, 1)
    assert heard["request"] > 2
    assert heard["theirs"] > 2
    assert heard["request"] + heard["theirs"] == 2 * 10


RAISES = """
@events.request.add_listener
def keep(**_):
    raise KeyError("secret")

@events.test_start.add_listener
def begin(**_):
    open("nowhere/at/all")
"""


def test_a_listener_that_raises_is_told_and_is_no_success(tmp_path: Path, call: Any) -> None:
    """Each once, with how often and where, in place of a traceback each time; all else goes on, and exit 2."""
    root = workspace(tmp_path)
    file = root / "locustfiles" / "day.py"
    file.write_text(DAY + RAISES, encoding="utf-8")
    ended = call("run", "--for", "9m30s", "--out", "out", cwd=root)
    assert ended.code == 2
    heard = dict(map(str.split, (root / "heard").read_text().splitlines()))
    line = DAY.count("\n") + 4
    assert [told for told in ended.err.splitlines() if told.startswith("quotalab: ")] == [
        f"quotalab: a listener on Locust's events raised KeyError ({file}:{line}), {heard['request']} times",
        f"quotalab: a listener on Locust's events raised FileNotFoundError ({file}:{line + 4}), 1 times",
    ]
    assert "Traceback" not in ended.err
    assert "secret" not in ended.err
    assert "PASS" in ended.out


REFUSED = {
    "--master": "--master: a run starts its workers itself: --processes",
    "--worker": "--worker: a run starts its workers itself: --processes",
    "--csv x": "--csv: the run folder's ledger has every call and operation",
    "--html x": "--html: the run folder has report.html",
    "--autostart": "--autostart: a run has no web page",
    "--only-summary": "--only-summary: means nothing in a run",
}
ASK = """
import sys
from quotalab.errors import InputError
from quotalab.run.locust_options import environment_for
for option in sys.argv[1:]:
    try:
        environment_for((), option.split())
    except InputError as error:
        print(error)
"""


def test_what_a_run_cannot_keep_is_refused_with_the_reason() -> None:
    """Each in a line that names the option."""
    done = subprocess.run([sys.executable, "-c", ASK, *REFUSED], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"Locust option {told}" for told in REFUSED.values()]
