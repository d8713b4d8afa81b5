"""Apps that cannot be used, each told in one line; and what an app is told by its environment."""

from __future__ import annotations

import calendar
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quotalab.errors import ScenarioError
from quotalab.hosting import environment_of, open_app, process
from quotalab.hosting.environment import known_values
from quotalab.hosting.opening import base_of
from quotalab.profiles.app import AppSettings, app_settings
from quotalab.sandbox import Access

ACCESS = Access(
    "http://127.0.0.1:1", "http://127.0.0.1:1/v1", "http://127.0.0.1:1/a", "http://127.0.0.1:1/t", "id", "s3cret", "r"
)  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules are forgotten afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def opened(root: Path, **app: object) -> object:
    """The app, open."""
    settings = app_settings({"app": app}, "f")
    return open_app(settings, ACCESS, root, base=base_of(settings), folder=root)


@pytest.mark.parametrize(
    ("text", "app", "told"),
    [
        ("import nothing_like_it", {"wsgi": "webapp1:app"}, "app 'webapp1:app': cannot be imported: No module"),
        ("1 / 0", {"wsgi": "webapp1:app"}, "importing it raised ZeroDivisionError"),
        ("raise SystemExit(4)", {"module": "webapp1"}, "app 'webapp1': exits (4) when it is imported"),
        ("", {"wsgi": "webapp1:app"}, "module 'webapp1' has no 'app'"),
        ("app = 3", {"wsgi": "webapp1:app"}, "is no web app: it cannot be called"),
        ("def app():\n    raise KeyError('DB')", {"asgi": "webapp1:app()"}, "app 'webapp1:app()': it raised KeyError: 'DB'"),
        ("app = 3", {"build": "webapp1:app"}, "is not a function"),
        ("def app(access):\n    raise SystemExit(0)", {"build": "webapp1:app"}, "app 'webapp1:app': build(access) exits (0)"),
        ("def app():\n    raise SystemExit", {"wsgi": "webapp1:app()"}, "app 'webapp1:app()': it exits (None)"),
    ],
)  # fmt: skip
def test_an_app_that_cannot_be_imported_is_named_with_the_place(
    project: Path, text: str, app: dict, told: str
) -> None:
    """And with what was raised there."""
    (project / "webapp1.py").write_text(text)
    with pytest.raises(ScenarioError) as raised:
        opened(project, **app)
    assert told in str(raised.value)


WAITS = "import gevent\nwhile True: gevent.sleep(0.001)"


def test_an_app_that_waits_for_ever_at_its_start_is_not_waited_for(project: Path) -> None:
    """By the run's clock, which in virtual time would go on and on."""
    (project / "webapp1.py").write_text(WAITS)
    with pytest.raises(ScenarioError, match=r"still waits for something after 0\.1 s of its start"):
        opened(project, listens_within="100ms", module="webapp1")


@pytest.mark.parametrize(
    ("file", "app"),
    [
        ("calendar.py", {"wsgi": "calendar:app"}),
        ("src/calendar/__init__.py", {"module": "calendar.sync"}),
        ("time.py", {"module": "time"}),
    ],
)
def test_a_module_that_another_one_hides_is_named_with_that(
    project: Path, file: str, app: dict[str, str]
) -> None:
    """Python loads a name once: the standard library's would be taken for the app."""
    (project / file).parent.mkdir(parents=True, exist_ok=True)
    (project / file).write_text("app = 1")
    other = "which is built in" if file == "time.py" else calendar.__file__
    with pytest.raises(ScenarioError) as raised:
        opened(project, **app)
    assert f"{project / file} is hidden by another module of the name, {other}; rename it" in str(
        raised.value
    )


def test_a_module_that_is_loaded_already_is_found_again(project: Path) -> None:
    """As where the scenario has imported the app; also by way of a link to the project."""
    (project / "link").symlink_to(project)
    (project / "webapp3.py").write_text("x = 1")
    first = opened(project, module="webapp3").app
    assert opened(project / "link", module="webapp3").app is first


@pytest.mark.parametrize(
    ("code", "told", "output"),
    [
        ("print('no database'); raise SystemExit(3)", "ended (exit code 3) before it listened at", "  | no database"),
        ("import time; print('busy', flush=True); time.sleep(60)", "does not listen at", "  | busy"),
        ("import os; os.kill(os.getpid(), 9)", "ended (killed by signal 9)", "it wrote nothing"),
    ],
)  # fmt: skip
def test_a_command_that_does_not_listen_is_told_with_its_last_output(
    project: Path, code: str, told: str, output: str
) -> None:
    """And it is ended."""
    with pytest.raises(ScenarioError) as raised:
        opened(
            project,
            command=[sys.executable, "-c", code],
            url="http://127.0.0.1:{port}",
            listens_within="500ms",
        )
    assert told in str(raised.value)
    assert str(raised.value).endswith(output)


def test_a_command_that_is_none_is_told(project: Path) -> None:
    """With the system's reason."""
    with pytest.raises(ScenarioError, match="cannot be started: No such file"):
        opened(project, command=["no-such-program"], url="http://127.0.0.1:{port}")


def test_a_command_does_not_hide_behind_what_listens_there_already(project: Path) -> None:
    """An older copy of the app would be judged in its place: the command is not even started."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        url = f"http://127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ScenarioError, match=f"something listens at {url} before it is started"):
            opened(project, command=["touch", "started"], url=url)
    assert not (project / "started").exists()


@pytest.mark.parametrize("app", [{"command": ["touch", "started"]}, {}])
def test_an_app_on_another_machine_is_refused_before_anything_is_sent(project: Path, app: dict) -> None:
    """192.0.2.1 is nobody's (RFC 5737); it could not reach the sandbox, and would be loaded for nothing."""
    with pytest.raises(ScenarioError, match=r"http://192\.0\.2\.1:80 is not on this machine"):
        opened(project, url="http://192.0.2.1:80", **app)
    assert not (project / "started").exists()


def test_no_secret_of_a_command_is_told(project: Path) -> None:
    """Its words are told as they stand in the settings."""
    with pytest.raises(ScenarioError, match=r"app 'no-such-program \{client_secret\}': cannot be started"):
        opened(project, command=["no-such-program", "{client_secret}"], url="http://127.0.0.1:{port}")


LISTENS = """
import os, signal, socket, subprocess, sys
children = [subprocess.Popen([sys.executable, "-c", sys.argv[2]]).pid]
open("pids", "w").write(" ".join(map(str, [os.getpid(), *children])))
signal.signal(signal.SIGTERM, signal.SIG_DFL if sys.argv[3] == "polite" else signal.SIG_IGN)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
if sys.argv[3] == "dies":
    server.accept()
    os._exit(3)
signal.pause()
"""
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _await_end(pids: list[int]) -> None:
    until = time.monotonic() + 20
    while any(map(_runs, pids)):
        assert time.monotonic() < until, f"of {pids} some go on"
        time.sleep(0.02)


@pytest.mark.parametrize("leader", ["polite", "stubborn", "dies"])
def test_nothing_that_a_command_has_started_outlives_the_run(
    project: Path, leader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a child that ignores SIGTERM, nor one whose parent has ended by itself."""
    monkeypatch.setattr(process, "_GRACE_S", 0.2)
    app = opened(
        project, command=[sys.executable, "-c", LISTENS, "{port}", STUBBORN, leader], url="http://127.0.0.1:{port}"
    )  # fmt: skip
    pids = [int(word) for word in (project / "pids").read_text().split()]
    assert len(pids) == 2
    if leader == "dies":
        _await_end(pids[:1])
    else:
        assert all(map(_runs, pids))
    assert _runs(pids[1])
    app.close()
    assert not any(map(_runs, pids))


KILLED = """
import os, sys
from pathlib import Path
from quotalab.hosting.process import AppProcess
AppProcess("app", [sys.executable, "-c", *sys.argv[1:]], {}, Path.cwd(), Path.cwd())
while not os.path.exists("pids"):
    pass
os.kill(os.getpid(), 9)
"""


def test_an_app_ends_with_quotalab_even_if_that_is_killed(project: Path) -> None:
    """With its children: nothing in quotalab runs any more that could end them."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, LISTENS, "0", "import signal; signal.pause()", "polite"],
        cwd=project,
        check=False,
    )
    assert done.returncode == -9
    _await_end([int(word) for word in (project / "pids").read_text().split()])


def test_of_a_long_output_the_end_is_read(project: Path) -> None:
    """Not all of it, whatever it weighs, and nothing in it reaches a terminal as it is."""
    app = process.AppProcess("app", ["true"], {}, project, project)
    with app.output.open("r+b") as output:
        output.truncate(2**40)
        output.seek(0, 2)
        output.write(b"\n\x1b[31mred\n\xe9nd\n")
    app.close()
    assert app.last_output().splitlines()[-2:] == ["  | ?[31mred", "  | \ufffdnd"]


def test_loopback_is_kept_from_the_proxy_and_what_was_said_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both spellings; a star already means all."""
    monkeypatch.setenv("NO_PROXY", "corp.example, localhost")
    monkeypatch.setenv("no_proxy", "*")
    told = environment_of({"API": "{api_base}/x"}, known_values(ACCESS))
    assert told == {"API": "http://127.0.0.1:1/v1/x", "NO_PROXY": "corp.example,localhost,127.0.0.1"}


def test_a_template_that_names_nothing_known_is_told_with_what_there_is() -> None:
    """As is one that is broken."""
    for template in ("{api_bas}", "{", "{}", "{api_base.x}", "{api_base[x]}"):
        with pytest.raises(
            ScenarioError,
            match=r"tool\.quotalab\.app\.env\.A: .* may use only \{issuer\}, \{api_base\}, .* written twice",
        ):
            environment_of({"A": template}, known_values(ACCESS))


def test_an_app_is_looked_for_in_src_too(project: Path) -> None:
    """Where projects keep it that are not installed."""
    (project / "src").mkdir()
    (project / "src" / "webapp2.py").write_text("x = 1")
    assert opened(project, module="webapp2").app.x == 1


def test_the_reference_needs_no_place() -> None:
    """An app without an address of its own is found at a host that never exists."""
    assert base_of(AppSettings()) == "https://app.test"
