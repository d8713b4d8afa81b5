"""`quotalab init`: what it finds in a project's code, what it writes, what it leaves alone."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from quotalab.cli import main
from quotalab.errors import InputError
from quotalab.profiles.app import app_settings
from quotalab.run.finding import Candidate, Route, find_app
from quotalab.run.starting import InitOptions, init


def project(folder: Path, **files: str) -> Path:
    """A project with the given modules; two underscores in a name are a slash."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "candidates"),
    [
        ({"src__shop__web": "from fastapi import FastAPI\napi = FastAPI(title='x')"}, [Candidate("asgi", "shop.web:api")]),
        ({"shop__web": "import flask\napp: object = flask.Flask(__name__)"}, [Candidate("wsgi", "shop.web:app")]),
        ({"web": "def create_app(config=None):\n    app = Flask(__name__)\n    return app"},
         [Candidate("wsgi", "web:create_app()")]),
        ({"web": "def create_app(config):\n    return Flask(__name__)"}, []),
        ({"site__wsgi": "application = get_wsgi_application()"}, [Candidate("wsgi", "site.wsgi:application")]),
        ({"tests__web": "app = FastAPI()", "venv__lib": "app = FastAPI()"}, []),
        ({"broken": "def (", "job": "def load(): pass\ndef sync_all(): pass\nif __name__ == '__main__':\n    load()"},
         [Candidate("module", "job", ("sync_all", "load"))]),
        ({"web": "app = Flask(__name__)", "job": "def load(): pass\nif __name__ == '__main__':\n    load()"},
         [Candidate("wsgi", "web:app")]),
    ],
)  # fmt: skip
def test_an_app_is_found_without_running_it(tmp_path: Path, files: dict[str, str], candidates: list) -> None:
    """Objects and functions of the known frameworks; a script where there is no web app; no tests, no venv."""
    assert find_app(project(tmp_path, **files)).candidates == candidates


def test_paths_and_variables_are_found_by_their_names(tmp_path: Path) -> None:
    """Where consent begins and ends, what the app is for, and which variable holds what."""
    found = find_app(
        project(
            tmp_path,
            web=(
                "import os\nfrom os import getenv\napp = FastAPI()\nrouter = APIRouter(prefix='/v2')\n"
                "A = os.environ['ACME_CLIENT_ID']\nB = os.environ.get('ACME_CLIENT_SECRET', '')\n"
                "C = getenv('ACME_AUTH_URL')\nD = os.getenv('DATABASE_URL')\n"
                "class S(BaseSettings):\n    token_url: str\n    api_base: str = ''\n"
                "    model_config = SettingsConfigDict(env_prefix='acme_')\n"
                "@app.get('/healthz')\ndef health(): pass\n"
                "@router.get('/login')\ndef login(): pass\n"
                "@app.route('/oauth/callback', methods=['GET'])\ndef back(): pass\n"
                "@app.get('/items/{n}')\ndef item(n): pass\n"
                "@app.get('/items')\nasync def items(): pass\n"
                "@router.post('/refresh')\ndef refresh(): pass\n"
            ),
        )
    )
    assert (found.connect, found.callback) == ("/v2/login", "/oauth/callback")
    assert found.work == Route("post", "/v2/refresh", "refresh")
    assert found.env == {
        "ACME_CLIENT_ID": "client_id",
        "ACME_CLIENT_SECRET": "client_secret",
        "ACME_AUTH_URL": "authorization_endpoint",
        "ACME_TOKEN_URL": "token_endpoint",
        "ACME_API_BASE": "api_base",
    }


APP = "import os\nAPI = os.environ['API_URL']\napp = Flask(__name__)\n@app.get('/today')\ndef today(): pass\n"
OTHERS = '[project]\nname = "x"  # kept\n\n[tool.ruff]\nline-length = 99\n'


def test_the_table_is_added_and_nothing_else_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is written is shown; the file begins as it was; the table is one that run reads."""
    project(tmp_path, web=APP)
    (tmp_path / "pyproject.toml").write_text(OTHERS)
    assert main(["init", str(tmp_path)]) == 0
    text = (tmp_path / "pyproject.toml").read_text()
    assert text.startswith(OTHERS)
    settings = tomllib.loads(text)["tool"]["quotalab"]
    assert settings == {"scenario": "web_day", "app": {"wsgi": "web:app", "env": {"API_URL": "{api_base}"}}}
    assert app_settings(settings, "f").kind == "wsgi"
    scenario = (tmp_path / "locustfiles" / "web_day.py").read_text()
    assert len([line for line in scenario.splitlines() if line.strip()]) <= 11
    assert 'self.app.get("/today")' in scenario
    compile(scenario, "web_day.py", "exec")
    said = capsys.readouterr().out
    assert '  + wsgi = "web:app"' in said
    assert "look at this: no path was found that sends people to the provider" in said
    assert said.splitlines()[-1] == "a first run: quotalab run --for 8h"


def test_what_is_there_is_never_clobbered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table or a scenario that exists is refused, untouched; --force replaces the table and keeps the others."""
    project(tmp_path, web=APP, locustfiles__web_day="mine = 1\n")
    (tmp_path / "pyproject.toml").write_text(OTHERS)
    assert main(["init", str(tmp_path)]) == 2
    assert "web_day.py: is there already" in capsys.readouterr().err
    assert (tmp_path / "pyproject.toml").read_text() == OTHERS
    theirs = "[tool.quotalab]\n[tool.quotalab.app]\nbuild = 'a:b'\n\n[tool.black]\nx = 1\n"
    (tmp_path / "pyproject.toml").write_text(OTHERS + theirs)
    assert main(["init", str(tmp_path), "--scenario", "other"]) == 2
    assert "has [tool.quotalab] already" in capsys.readouterr().err
    assert (tmp_path / "pyproject.toml").read_text() == OTHERS + theirs
    assert not (tmp_path / "locustfiles" / "other.py").exists()
    assert main(["init", str(tmp_path), "--force"]) == 0
    tool = tomllib.loads((tmp_path / "pyproject.toml").read_text())["tool"]
    assert tool["quotalab"]["app"]["wsgi"] == "web:app"
    assert (tool["black"], tool["ruff"]) == ({"x": 1}, {"line-length": 99})


def test_a_file_that_cannot_be_added_to_is_told_what_to_add(tmp_path: Path) -> None:
    """An inline table cannot be added to by text; nothing is written."""
    project(tmp_path, web=APP)
    before = "tool = { black = { x = 1 } }\n"
    (tmp_path / "pyproject.toml").write_text(before)
    with pytest.raises(InputError, match=r"cannot be added to safely; add this by hand:\n\[tool\.quotalab\]"):
        init(InitOptions(tmp_path))
    assert (tmp_path / "pyproject.toml").read_text() == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"app": "django=x:y"}, "--app: must be KIND=TARGET, as asgi=myapp.web:app; kinds: asgi, wsgi,"),
        ({"app": "wsgi=x.y"}, "app.wsgi: must be 'module:object'"),
        ({"app": "wsgi=x:y", "scenario": "a/b"}, "--scenario: must be a name such as 'first_day', not 'a/b'"),
        ({"app": "wsgi=x:y", "provider": "nowhere"}, "provider 'nowhere': is not in profiles/providers/"),
        ({}, "no app was found, neither a FastAPI, Starlette or Flask object nor a script"),
    ],
)
def test_a_wrong_call_writes_nothing(tmp_path: Path, options: dict[str, str], told: str) -> None:
    """One line that says what would be right."""
    with pytest.raises(InputError) as raised:
        init(InitOptions(tmp_path, **options))
    assert told in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_of_several_apps_one_is_named(tmp_path: Path) -> None:
    """No choice is made for the team."""
    project(tmp_path, a="app = Flask(__name__)", b="app = FastAPI()")
    with pytest.raises(
        InputError, match=r"more than one app \(wsgi=a:app, asgi=b:app\); name one: --app wsgi=a:app"
    ):
        init(InitOptions(tmp_path))
    assert 'asgi = "b:app"' in init(InitOptions(tmp_path, app="asgi=b:app")).table


def test_on_a_terminal_it_asks_and_an_empty_line_takes_what_was_found(tmp_path: Path) -> None:
    """The app, the provider, the scenario's name, in this order."""
    project(tmp_path, web=APP)
    asked = []

    def ask(question: str, default: str) -> str:
        asked.append((question, default))
        return {"provider profile": "github"}.get(question, default)

    started = init(InitOptions(tmp_path), ask)
    assert asked == [
        ("app, as KIND=MODULE:OBJECT", "wsgi=web:app"),
        ("provider profile", "temporary-production"),
        ("name of the scenario", "web_day"),
    ]
    assert 'provider = "github"' in started.text
