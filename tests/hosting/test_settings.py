"""The table of the app: one kind, whole, and nothing that is not known."""

from __future__ import annotations

import pytest

from quotalab.errors import ProfileError
from quotalab.profiles.app import app_settings, default_scenario


@pytest.mark.parametrize(
    ("app", "kind", "target", "web", "elsewhere", "access"),
    [
        ({}, "reference", "", False, False, True),
        ({"build": "a.b:make"}, "build", "a.b:make", False, False, True),
        ({"module": "a.b"}, "module", "a.b", False, False, False),
        ({"wsgi": "a:app"}, "wsgi", "a:app", True, False, False),
        ({"asgi": "a:make()"}, "asgi", "a:make()", True, False, False),
        ({"asgi": "a:make(access)"}, "asgi", "a:make(access)", True, False, True),
        ({"command": ["x", "y", "x"], "url": "http://127.0.0.1:{port}"}, "command", "x y x", True, True, False),
        ({"url": "http://127.0.0.1:80"}, "url", "http://127.0.0.1:80", True, True, False),
    ],
)  # fmt: skip
def test_a_kind_says_how_an_app_is_reached(
    app: dict, kind: str, target: str, web: bool, elsewhere: bool, access: bool
) -> None:
    """Web apps have a client each, apps elsewhere the real time, and only some can take `Access`."""
    read = app_settings({"app": app}, "f")
    assert (read.kind, read.target) == (kind, target)
    assert (read.is_web, read.is_elsewhere, read.takes_access) == (web, elsewhere, access)


@pytest.mark.parametrize(
    ("app", "told"),
    [
        ({"wsgi": "a:b", "asgi": "a:b"}, "app.asgi: an app has one kind, and wsgi is named too"),
        ({"env": {"A": "b"}}, "app: names no app; name one of: build, module, wsgi, asgi, command, url"),
        ({"wsgi": "a.b"}, "app.wsgi: must be 'module:object' or 'module:function()'"),
        ({"asgi": "a:b(1)"}, "app.asgi: must be"),
        ({"build": "a:b()"}, "app.build: must be 'module:function'"),
        ({"module": "a:b"}, "app.module: must be the name of a module"),
        ({"command": ["x"]}, "app.url: is missing"),
        ({"command": "x y"}, "app.command: must be a list of texts"),
        ({"command": [], "url": "http://h:1"}, "app.command: must name a program"),
        ({"url": "http://h:{port}"}, "app.url: {port} is for a command"),
        ({"url": "127.0.0.1:80"}, "app.url: must be as 'http://127.0.0.1:3000'"),
        ({"url": "http://h:1/path"}, "app.url: must be as"),
        ({"url": "http://h:99999999"}, "app.url: must be as"),
        ({"url": "http://h:1", "env": {"A": "b"}}, "app.env: an app that runs already takes none"),
        ({"wsgi": "a:b", "connect": "login"}, "app.connect: must be a path of the app"),
        ({"wsgi": "a:b", "rewrite": {"api.example.com": "x"}}, "app.rewrite.api.example.com: must be an address"),
        ({"wsgi": "a:b", "callbak": "/x"}, "did you mean 'callback'?"),
        ({"wsgi": "a:b", "listens_within": "soon"}, "app.listens_within: must be a duration"),
    ],
)  # fmt: skip
def test_a_wrong_table_gets_one_line_with_its_key(app: dict, told: str) -> None:
    """The line says what would be right."""
    with pytest.raises(ProfileError) as raised:
        app_settings({"app": app}, "f")
    assert told in str(raised.value)


def test_a_workspace_names_its_scenario() -> None:
    """`quotalab run` without a name runs it."""
    assert default_scenario({"scenario": "day"}, "f") == "day"
    assert default_scenario({}, "f") is None
    with pytest.raises(ProfileError, match="scenario: must be a text"):
        default_scenario({"scenario": 3}, "f")
