"""Apps that cannot be used, each told in one line; and what an app is told by its environment."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from quotalab.errors import ScenarioError
from quotalab.hosting import environment_of, open_app
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


def test_loopback_is_kept_from_the_proxy_and_what_was_said_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both spellings; a star already means all."""
    monkeypatch.setenv("NO_PROXY", "corp.example, localhost")
    monkeypatch.setenv("no_proxy", "*")
    told = environment_of({"API": "{api_base}/x"}, known_values(ACCESS))
    assert told == {"API": "http://127.0.0.1:1/v1/x", "NO_PROXY": "corp.example,localhost,127.0.0.1"}


def test_a_template_that_names_nothing_known_is_told_with_what_there_is() -> None:
    """As is one that is broken."""
    for template in ("{api_bas}", "{", "{}", "{api_base.x}"):
        with pytest.raises(
            ScenarioError, match=r"tool\.quotalab\.app\.env\.A: .* may use only \{issuer\}, \{api_base\}"
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
