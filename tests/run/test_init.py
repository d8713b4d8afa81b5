"""`quotalab init`: what it finds in a project's code, what it writes, what it leaves alone."""

from __future__ import annotations

import ast
import importlib.metadata
import tomllib
from pathlib import Path

import pytest

from quotalab.cli import main
from quotalab.errors import InputError
from quotalab.profiles.app import app_settings
from quotalab.run import finding
from quotalab.run.finding import Candidate, Route, find_app
from quotalab.run.starting import InitOptions, init

SOURCE = Path(__file__).parents[2] / "src" / "quotalab"
PROVIDER = Path(__file__).parents[2] / "profiles" / "providers" / "temporary-production.toml"


def project(folder: Path, **files: str) -> Path:
    """A project with the given modules; two underscores in a name are a slash."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/").replace("/init/", "__init__") + ".py")
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
         [Candidate("module", "job", ("sync_all()", "load()"))]),
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


@pytest.mark.parametrize(
    ("files", "paths"),
    [
        ({"shop__main": "from .api import auth\nfrom .api.items import router as items\nfrom . import api\n"
                        "def create_app():\n    app = FastAPI()\n    app.include_router(auth.router, prefix='/auth')\n"
                        "    app.include_router(api.items.router, prefix='/v1')",
          "shop__api____init__": "",
          "shop__api__auth": "router: APIRouter = APIRouter()\n@router.get('/start')\ndef start(): pass",
          "shop__api__items": "router = APIRouter(prefix='/items')\n@router.get('')\ndef items(): pass"},
         ["/auth/start", "/v1/items"]),
        ({"web": "from routes import outer\napp = FastAPI()\napp.include_router(outer, prefix='/a')",
          "routes": "outer = APIRouter(prefix='/b')\ninner = APIRouter()\nouter.include_router(inner, prefix='/c')\n"
                    "@inner.get('/d')\ndef d(): pass\n@inner.get('')\ndef e(): pass"},
         ["/a/b/c/d", "/a/b/c"]),
        ({"web____init__": "def create_app():\n    from . import bp as pages\n    from web.bp import second\n    app = Flask(__name__)\n"
                           "    app.register_blueprint(pages.first)\n    app.register_blueprint(second, url_prefix='/new')",
          "web__bp": "first = Blueprint('a', __name__, url_prefix='/one')\nsecond = Blueprint('b', __name__, url_prefix='/old')\n"
                     "@first.route('/x')\ndef x(): pass\n@second.route('/y')\ndef y(): pass"},
         ["/one/x", "/new/y"]),
        ({"web": "from pages import router\napp = FastAPI()\napp.include_router(router, prefix='/p')",
          "pages____init__": "from .router import router", "pages__router": "router = APIRouter()\n@router.get('/x')\ndef x(): pass"},
         ["/p/x"]),
        ({"web": "a = APIRouter(prefix='/a')\na.include_router(a)\n@a.get('/x')\ndef x(): pass"}, ["/a" * 8 + "/x"]),
        ({"web": "app = FastAPI()\n@app.get('')\ndef home(): pass"}, ["/"]),
    ],
)  # fmt: skip
def test_a_path_has_the_prefixes_of_all_that_it_hangs_on(
    tmp_path: Path, files: dict[str, str], paths: list[str]
) -> None:
    """Routers that other modules mount, under other names; a blueprint's prefix is replaced, a router's is not."""
    assert [route.path for route in find_app(project(tmp_path, **files)).routes] == paths


def test_the_ends_of_consent_are_told_by_the_code_before_the_name(tmp_path: Path) -> None:
    """An app's own login is not where it sends people to the provider."""
    found = find_app(
        project(
            tmp_path,
            web=(
                "app = FastAPI()\n@app.get('/login')\ndef login(): pass\n"
                "@app.get('/google')\nasync def google(r): return await oauth.google.authorize_redirect(r, X)\n"
                "@app.get('/complete/{n}')\ndef other(n): pass\n@app.get('/redirects')\ndef list_them(): pass\n"
                "@app.get('/auth')\ndef back(r): return oauth.google.authorize_access_token(r)\n"
            ),
        )
    )
    assert (found.connect, found.callback) == ("/google", "/redirects")
    (tmp_path / "web.py").write_text((tmp_path / "web.py").read_text().replace("redirects", "list"))
    assert find_app(tmp_path).callback == "/auth"


def test_addresses_in_the_code_are_sent_to_the_sandbox(tmp_path: Path) -> None:
    """Those with a telling name, not where a variable says the same, and not the app's own."""
    project(
        tmp_path,
        job=(
            "import os\nBASE = 'https://api.acme.example/v3/'\nSITE_URL = 'https://me.example'\n"
            "LOCAL_API = 'http://localhost:80'\nTOKEN_URL = os.getenv('TOKEN_URL', 'https://acme.example/t')\n"
            "client = Client(authorize_url='https://acme.example/a', access_token_url='https://acme.example/t')\n"
            "SPOILT_API = 'https://x.example/\"y'\nURL = 'https://other.example/x'\n"
            "def sync(): pass\nif __name__ == '__main__': sync()\n"
        ),
    )
    started = init(InitOptions(tmp_path))
    assert tomllib.loads(started.table)["tool"]["quotalab"]["app"] == {
        "module": "job",
        "env": {"TOKEN_URL": "{token_endpoint}"},
        "rewrite": {
            "https://api.acme.example/v3": "{api_base}",
            "https://acme.example/a": "{authorization_endpoint}",
        },
    }
    assert started.doubts == ()


@pytest.mark.parametrize(
    ("script", "call", "sure"),
    [
        ("def main(argv=None): pass\ndef get_token(): pass", "main([])", True),
        ("def main(argv=None): pass\ndef sync(): pass", "sync()", True),
        ("def main(): parse(sys.argv)\ndef get_token(): pass", "get_token()", False),
        ("def main(args): pass\ndef get_token(): pass", "get_token()", False),
    ],
)
def test_a_script_is_called_by_what_it_is_for(tmp_path: Path, script: str, call: str, sure: bool) -> None:
    """By a function named for its work, else by main with no arguments; else a person is asked to look."""
    project(tmp_path, job=f"{script}\nif __name__ == '__main__': main()")
    started = init(InitOptions(tmp_path))
    assert f"            self.app.{call}\n" in started.text
    assert ("no function was found that is surely what the script does" in "\n".join(started.doubts)) != sure


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


def test_the_rest_of_the_table_is_the_teams(tmp_path: Path) -> None:
    """Silenced rules and the nightly matrix stay, and alone need no --force."""
    project(tmp_path, web=APP)
    rules = "[tool.quotalab.rules]\nQL301 = { off = 'never' }\n"
    (tmp_path / "pyproject.toml").write_text(rules)
    init(InitOptions(tmp_path))
    once = (tmp_path / "pyproject.toml").read_text()
    assert once.startswith(rules + "\n[tool.quotalab]\n")
    with pytest.raises(InputError, match=r"has \[tool\.quotalab\] already"):
        init(InitOptions(tmp_path, scenario="other"))
    init(InitOptions(tmp_path, force=True))
    assert (tmp_path / "pyproject.toml").read_text() == once
    (tmp_path / "pyproject.toml").write_text("[tool.quotalab]\nscenario = 'x'\nnightly = { seeds = 3 }\n")
    with pytest.raises(InputError, match="cannot be added to safely"):
        init(InitOptions(tmp_path, force=True))


def test_line_ends_stay_as_they_are(tmp_path: Path) -> None:
    """A file from Windows is extended in its own way, byte for byte the same before."""
    project(tmp_path, web=APP)
    before = OTHERS.replace("\n", "\r\n").encode()
    (tmp_path / "pyproject.toml").write_bytes(before)
    init(InitOptions(tmp_path))
    after = (tmp_path / "pyproject.toml").read_bytes()
    assert after.startswith(before)
    assert after.count(b"\n") == after.count(b"\r\n")
    assert tomllib.loads(after.decode())["tool"]["quotalab"]["scenario"] == "web_day"


def test_a_link_stays_a_link_and_leads_nothing_astray(tmp_path: Path) -> None:
    """pyproject.toml is written where it leads; a scenario that leads elsewhere is not written at all."""
    root = project(tmp_path / "app", web=APP)
    (tmp_path / "kept.toml").write_text(OTHERS)
    (tmp_path / "kept.toml").chmod(0o640)
    (root / "pyproject.toml").symlink_to("../kept.toml")
    (root / "locustfiles").mkdir()
    (root / "locustfiles" / "web_day.py").symlink_to("../../outside.py")
    with pytest.raises(InputError, match=r"web_day\.py: is there already"):
        init(InitOptions(root))
    init(InitOptions(root, force=True))
    assert not (tmp_path / "outside.py").exists()
    assert (root / "pyproject.toml").is_symlink()
    assert "[tool.quotalab.app]" in (tmp_path / "kept.toml").read_text()
    assert (tmp_path / "kept.toml").stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app", "kept.toml"]


def test_what_cannot_be_written_is_told_and_nothing_else_is(tmp_path: Path) -> None:
    """A file where the folder should be: pyproject.toml is not there afterwards, nor is a part of it."""
    project(tmp_path, web=APP)
    (tmp_path / "locustfiles").touch()
    with pytest.raises(InputError, match="locustfiles: cannot be written: File exists"):
        init(InitOptions(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["locustfiles", "web.py"]


def test_code_cannot_write_itself_into_what_is_generated(tmp_path: Path) -> None:
    """Quotes, backslashes, line ends and signs beyond Unicode's first plane, in paths, variables and names."""
    project(
        tmp_path,
        web=(
            "import os\napp = Flask(__name__)\n"
            "A = os.environ['X\" }\\n[tool.evil]\\nx = \"API_URL'], os.environ['OK_API_URL']\n"
            "@app.get('/\"); evil(\"\\U0001f600')\ndef stop(): pass\n"
            "@app.get('/\\n\"); evil(\"')\ndef sync(): pass\n"
            "@app.get('/connect\"x')\ndef connect(): pass\n"
        ),
    )
    (tmp_path / 'my "own".toml').write_text(PROVIDER.read_text())
    started = init(InitOptions(tmp_path, provider=str(tmp_path / 'my "own".toml')))
    table = tomllib.loads((tmp_path / "pyproject.toml").read_text())
    assert list(table["tool"]) == ["quotalab"]
    assert table["tool"]["quotalab"]["app"]["connect"] == '/connect"x'
    assert table["tool"]["quotalab"]["app"]["env"] == {"OK_API_URL": "{api_base}"}
    calls = [node for node in ast.walk(ast.parse(started.text)) if isinstance(node, ast.Call)]
    told = [node.value for call in calls for node in call.args if isinstance(node, ast.Constant)]
    assert told == [300, 900, "stop", '/"); evil("\U0001f600']
    assert "    def visit(self):" in started.text
    (tmp_path / "pyproject.toml").unlink()
    command = init(InitOptions(tmp_path, app="command=node 'my server.js' \"\U0001f600\"", force=True)).table
    assert tomllib.loads(command)["tool"]["quotalab"]["app"]["command"] == [
        "node",
        "my server.js",
        "\U0001f600",
    ]


def test_the_task_of_a_scenario_hides_nothing_of_a_persons() -> None:
    """Locust calls start, stop and wait of each user: a method of the app's name would be called in their place."""
    users = importlib.metadata.distribution("locust").locate_file("locust/user/users.py")
    taken = set()
    for file in (users, SOURCE / "scenario" / "person.py"):
        text = Path(str(file)).read_text()
        taken |= {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
    assert "start" in taken
    assert not taken & {"visit", "work"}


def test_what_was_not_read_is_named(tmp_path: Path) -> None:
    """Code that is no Python may be the app; links that lead nowhere and endless ones harm nothing."""
    (tmp_path / "latin.py").write_bytes(b"x = 'caf\xe9'\napp = Flask(__name__)")
    (tmp_path / "two.py").write_text("print 'hello'\n" + "(" * 10_000)
    (tmp_path / "gone.py").symlink_to("nowhere")
    (tmp_path / "round").symlink_to(".")
    with pytest.raises(
        InputError, match=r"nor a script \(not read, as it is no Python: latin\.py, two\.py\); name"
    ):
        init(InitOptions(tmp_path))
    (tmp_path / "latin.py").write_bytes(b"# coding: latin-1\nx = 'caf\xe9'\napp = Flask(__name__)")
    assert (
        "not all of the code was read (not read, as it is no Python: two.py)"
        in init(InitOptions(tmp_path)).doubts
    )


def test_no_more_is_read_than_a_project_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a home folder it comes to an end, and says that there is more."""
    monkeypatch.setattr(finding, "_MOST_FOLDERS", 3)
    for folder in ("a", "b", "c", "d"):
        (tmp_path / folder).mkdir()
    project(tmp_path, c__web=APP)
    with pytest.raises(InputError, match=r"nor a script \(there is more code than is looked at\); name"):
        init(InitOptions(tmp_path))
    monkeypatch.setattr(finding, "_MOST_FOLDERS", 4)
    assert 'wsgi = "c.web:app"' in init(InitOptions(tmp_path)).table


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
        (
            {"app": "wsgi=x:y", "scenario": "json"},
            "--scenario: must be a name such as 'first_day', not 'json'",
        ),
        ({"app": "command=a 'b"}, "--app command=a 'b: cannot be split into words: No closing quotation"),
        ({"app": "command=a \x1bb"}, "'\\x1bb': has characters that cannot be seen"),
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
