"""Apps that break a run, each ending it with a reason, and a folder that can be read."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from quotalab.ledger import read_ledger

DAY = """
from locust import constant, task
from quotalab.scenario import Person

class Visitor(Person):
    population = 2
    wait_time = constant(0.2)

    @task
    def sync(self):
        with self.asking("sync", within_s=60):
            self.app.get("/sync")
"""
SERVER = """
import os, sys, urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    asked = 0
    def do_GET(self):
        Handler.asked += 1
        if Handler.asked == 4:
            print("out of memory", flush=True)
            os._exit(9)
        try:
            urllib.request.urlopen(os.environ["API"] + "/events").read()
        except OSError:
            pass
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *arguments):
        pass

HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def workspace(folder: Path, table: str, **files: str) -> Path:
    """A project with a table, modules and the scenario `day`."""
    (folder / "locustfiles").mkdir()
    (folder / "locustfiles" / "day.py").write_text(files.pop("day", DAY))
    (folder / "pyproject.toml").write_text(
        f'[tool.quotalab]\nscenario = "day"\n[tool.quotalab.app]\n{table}\n'
    )
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def test_an_app_in_another_process_is_refused_in_virtual_time(call, tmp_path: Path) -> None:
    """At once, with what to add."""
    root = workspace(tmp_path, 'command = ["node", "x.js"]\nurl = "http://127.0.0.1:{port}"')
    ended = call("run", cwd=root)
    assert (ended.code, ended.out) == (2, "")
    assert "app 'node x.js': runs in another process, which has the real time; add --clock real" in ended.err


def test_memory_is_refused_to_an_app_that_cannot_take_it(call, tmp_path: Path) -> None:
    """It would reach nothing."""
    ended = call("run", "--transport", "memory", cwd=workspace(tmp_path, 'wsgi = "web:app"'))
    assert ended.code == 2
    assert "--transport memory: app 'web:app' calls the sandbox by an HTTP library of its own" in ended.err


def test_a_scenario_for_another_app_names_what_is_missing(call, tmp_path: Path) -> None:
    """The operation and the attribute, at once; the folder can be read."""
    root = workspace(tmp_path, 'wsgi = "web:app"', web="from flask import Flask\napp = Flask('web')\n")
    ended = call("run", "temporary_access", "--for", "24h", "--out", str(tmp_path / "out"), cwd=root)
    assert ended.code == 2
    assert (
        "temporary_access.py: the operation 'look_at_week' wants 'week' of the app, which web:app does not have "
        "(it has: get, post and the rest of httpx.Client)" in ended.err
    )
    assert "Traceback" not in ended.err
    assert read_ledger(tmp_path / "out").operations.column("outcome").to_pylist() == ["failed"]


@pytest.mark.full
def test_an_app_whose_start_never_ends_ends_the_run(call, tmp_path: Path) -> None:
    """In virtual time nothing else would: the clock would go on and on."""
    app = "import asyncio\nasync def app(scope, receive, send):\n    await asyncio.Event().wait()\n"
    ended = call("run", cwd=workspace(tmp_path, 'asgi = "web:app"', web=app))
    assert ended.code == 2
    assert ended.err.endswith(
        "app 'web:app': still waits for something after 30 s of its start (listens_within allows more)\n"
    )


@pytest.mark.full
def test_people_that_cannot_be_started_end_the_run(call, tmp_path: Path) -> None:
    """A task of the name of a method of Locust's hides it; a run without people would have nothing to say."""
    root = workspace(
        tmp_path,
        'wsgi = "web:app"',
        web="from flask import Flask\napp = Flask('web')\n",
        day=DAY.replace("def sync(self)", "def start(self)"),
    )
    ended = call("run", "--for", "1m", "--out", str(tmp_path / "out"), cwd=root)
    assert ended.code == 2
    assert (
        "the scenario's people cannot be started: TypeError: Visitor.start() takes 1 positional argument but 2 "
        "were given" in ended.err
    )


@pytest.mark.full
def test_an_attribute_that_the_app_itself_lacks_is_its_own_error(call, tmp_path: Path) -> None:
    """Only what the scenario asks for is a misfit."""
    root = workspace(
        tmp_path,
        'build = "mine:build"',
        day=DAY.replace('self.app.get("/sync")', "self.app.sync()").replace(
            "    @task", "    def is_connected(self):\n        return True\n\n    @task"
        ),
        mine="class Mine:\n    def sync(self):\n        return self.nothing\ndef build(access):\n    return Mine()\n",
    )
    ended = call("run", "--for", "30s", "--out", str(tmp_path / "out"), cwd=root)
    assert ended.code == 2
    assert "the scenario or the app raised AttributeError" in ended.err
    assert f"({root / 'mine.py'}:3)" in ended.err


@pytest.mark.full
def test_an_app_that_calls_nobody_proves_nothing(call, tmp_path: Path) -> None:
    """Operations that are done without one call are no PASS: exit 2, after the verdict."""
    root = workspace(
        tmp_path,
        'wsgi = "web:app"',
        web="def app(environ, start):\n    start('200 OK', [])\n    return [b'']\n",
    )
    ended = call("run", "--for", "1m", "--out", str(tmp_path / "out"), cwd=root)
    assert ended.code == 2
    assert "not one call of app 'web:app' reached the sandbox at http://127.0.0.1:" in ended.err
    assert call("report", str(tmp_path / "out")).code == 0


@pytest.mark.full
def test_an_app_that_ends_in_the_middle_ends_the_run(call, tmp_path: Path) -> None:
    """With its exit code and its last words; what was recorded until then is judged."""
    root = workspace(
        tmp_path,
        f'command = ["{sys.executable}", "server.py"]\nurl = "http://127.0.0.1:{{port}}"\n'
        'env = { PORT = "{port}", API = "{api_base}" }',
        server=SERVER,
    )
    out = tmp_path / "out"
    ended = call("run", "--clock", "real", "--for", "60s", "--out", str(out), cwd=root)
    assert ended.code == 2
    assert (
        "server.py': ended (exit code 9) in the middle of the run; its last output:\n  | out of memory"
        in ended.err
    )
    assert f"what there is until then: quotalab report {out}" in ended.err
    assert read_ledger(out).calls.num_rows == 3
    assert call("report", str(out)).code in (0, 1)


@pytest.mark.full
def test_a_secret_that_an_app_in_another_process_prints_is_found(call, tmp_path: Path) -> None:
    """Its output is a log that needs no naming: QL321 names the line, and the run fails."""
    root = workspace(
        tmp_path,
        f'command = ["{sys.executable}", "server.py"]\nurl = "http://127.0.0.1:{{port}}"\n'
        'env = { PORT = "{port}", API = "{api_base}", SECRET = "{client_secret}" }',
        server=SERVER.replace("asked == 4", "asked < 0").replace(
            "HTTPServer((", "print('begins', os.environ['SECRET'], flush=True)\n\nHTTPServer(("
        ),
    )
    out = tmp_path / "out"
    ended = call("run", "--clock", "real", "--for", "2s", "--out", str(out), cwd=root)
    assert ended.code == 1, ended.err
    rule = next(
        one for one in json.loads((out / "verdict.json").read_text())["rules"] if one["id"] == "QL321"
    )
    assert rule["verdict"] == "FAIL"
    assert [finding["message"] for finding in rule["findings"]] == [
        "what the app has printed holds a secret (client secret, plain) in line 1."
    ]


PRINTS = """
import logging, os, sys, urllib.error, urllib.request
logging.basicConfig(format="%(message)s", stream=sys.stdout)
print("begins", file=sys.stderr)

class Mine:
    def __init__(self, access):
        self.access = access
    def is_connected(self, person):
        return True
    def sync(self):
        logging.warning("as %s", os.environ["SECRET"])
        try:
            urllib.request.urlopen(self.access.api_base + "/events")
        except urllib.error.HTTPError:
            pass

def build(access):
    return Mine(access)
def app(environ, start):
    mine = Mine(type("Access", (), {"api_base": os.environ["API"]}))
    mine.sync()
    start("200 OK", [])
    return []
"""


@pytest.mark.parametrize(
    ("table", "asks"),
    [
        ('build = "mine:build"', "self.app.sync()"),
        pytest.param('wsgi = "mine:app"', 'self.app.get("/sync")', marks=pytest.mark.full),
    ],
)
def test_a_secret_that_an_app_in_the_process_prints_is_found(
    call, tmp_path: Path, table: str, asks: str
) -> None:
    """Though the scenario, which imports the app, is loaded first; and all is shown as ever."""
    root = workspace(
        tmp_path,
        f'{table}\nenv = {{ SECRET = "{{client_secret}}", API = "{{api_base}}" }}',
        day="import mine\n"
        + DAY.replace('self.app.get("/sync")', asks).replace("constant(0.2)", "constant(40)"),
        mine=PRINTS,
    )
    out = tmp_path / "out"
    ended = call("run", "--for", "1m", "--transport", "socket", "--out", str(out), cwd=root)
    assert ended.code == 1, ended.err
    assert ended.err.splitlines()[0] == "begins"
    assert len([line for line in ended.out.splitlines() if line.startswith("as ")]) == 4
    rule = next(
        one for one in json.loads((out / "verdict.json").read_text())["rules"] if one["id"] == "QL321"
    )
    assert rule["verdict"] == "FAIL"
    # The first line is what it says of itself.
    assert [finding["message"] for finding in rule["findings"]] == [
        "what the app has printed holds a secret (client secret, plain) 4 times, in line 2, 3, 4, 5."
    ]


@pytest.mark.full
def test_the_environment_is_set_before_a_scenario_imports_the_app(call, tmp_path: Path) -> None:
    """For the provider that its class names, which only its text can tell by then."""
    root = workspace(
        tmp_path,
        'module = "mine"\nenv = { API = "{api_base}" }',
        day=DAY.replace("from locust", "import mine\nfrom locust", 1)
        .replace("    population", "    provider = 'github'\n    population")
        .replace('self.app.get("/sync")', "assert self.app is mine\n            mine.sync()"),
        mine="import os, urllib.request, urllib.error\nAPI = os.environ['API']\ndef sync():\n"
        "    try:\n        urllib.request.urlopen(API + '/user')\n"
        "    except urllib.error.HTTPError as error:\n        assert error.code in (401, 403)\n",
    )
    ended = call("run", "--for", "1m", "--out", str(tmp_path / "out"), cwd=root)
    assert ended.code in (0, 1), ended.err
    assert set(read_ledger(tmp_path / "out").calls.column("status").to_pylist()) <= {401, 403}


@pytest.mark.full
def test_a_provider_that_the_text_does_not_tell_is_asked_for(call, tmp_path: Path) -> None:
    """Else the app would have been told another one's endpoints."""
    root = workspace(
        tmp_path,
        'module = "mine"\nenv = { API = "{api_base}" }',
        day=DAY.replace("    population", "    provider = 'git' + 'hub'\n    population"),
        mine="",
    )
    ended = call("run", "--for", "1m", "--out", str(tmp_path / "out"), cwd=root)
    assert ended.code == 2
    assert "it names another one: name it with --provider" in ended.err
    assert not (tmp_path / "out").exists()
