"""The ``[tool.quotalab.app]`` table of a workspace: which app is under test, and how it is reached."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from quotalab.profiles.reading import Table

__all__ = [
    "IN_PROCESS_BASE",
    "LOG_FIELDS",
    "LOG_FORMATS",
    "AppLog",
    "AppSettings",
    "app_settings",
    "default_scenario",
]

LOG_FORMATS = ("jsonl", "logfmt", "csv")
LOG_FIELDS = ("at", "method", "path", "status", "person", "tenant", "route", "wait", "request_id")
"""What an entry of the app's log may say of a call to the provider."""

IN_PROCESS_BASE = "https://app.test"  # .test: RFC 6761, never a real host
"""Where people find a web app that runs inside the process."""

_KINDS = ("build", "module", "wsgi", "asgi", "command", "url")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*(\((access)?\))?")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class AppLog:
    """The log in which the app writes its calls to the provider."""

    file: str
    """Relative to the workspace."""
    format: str
    columns: Mapping[str, str]
    """Each of `LOG_FIELDS` -> its name in the log; in JSON dots go down."""


@dataclass(frozen=True)
class AppSettings:
    """The app under test; the reference integration where nothing is named."""

    kind: str = "reference"
    """``build``, ``module``, ``wsgi``, ``asgi``, ``command``, ``url``, or ``reference``."""
    target: str = ""
    """What was named, in one line: ``module:object``, a module, a command, an address."""
    command: tuple[str, ...] = ()
    url: str | None = None
    """Where an app in another process listens; ``{port}`` is a free port of this machine."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables to set before the app is imported or started; `Access` fields in braces."""
    rewrite: Mapping[str, str] = field(default_factory=dict)
    """Addresses that are built into a library, and where requests for them go instead."""
    connect: str | None = None
    """The path at which a web app sends a person to the provider; None: its people connect nothing."""
    callback: str = "/oauth/callback"
    """The path at which a web app takes the person back: its redirect URI."""
    listens_within_ns: int = 30 * 10**9
    """Real time in which a command must listen."""
    sandbox_port: int = 0
    """Where the sandbox listens on loopback; 0: a free port."""
    files: tuple[str, ...] = ()
    """Globs, relative to the workspace, of logs and other files in which no secret may stand."""
    log: AppLog | None = None

    @property
    def is_web(self) -> bool:
        """Whether people reach it over HTTP."""
        return self.kind in ("wsgi", "asgi", "command", "url")

    @property
    def is_elsewhere(self) -> bool:
        """Whether it runs in another process, which has the real time."""
        return self.kind in ("command", "url")

    @property
    def is_in_process(self) -> bool:
        """Whether it is a team's own app and runs in this process."""
        return not self.is_elsewhere and self.kind != "reference"

    @property
    def takes_access(self) -> bool:
        """Whether it can be given `Access`, and with it a transport in memory."""
        return self.kind in ("reference", "build") or self.target.endswith("(access)")

    @property
    def label(self) -> str:
        """The app in a word, for reports."""
        return self.target if self.kind != "reference" else "reference"


def app_settings(settings: Mapping[str, Any], file: str) -> AppSettings:
    """Read ``[tool.quotalab.app]`` from a workspace's settings. Raises `ProfileError`."""
    top = Table(settings, file, "tool.quotalab")
    top.text("scenario", None)
    app = top.table("app", {})
    top.any("rules", {})  # read by quotalab.profiles.rules
    top.any("nightly", None)  # and of the nightly job's matrix
    top.done()
    named = [kind for kind in _KINDS if app.peek(kind) is not None]
    if set(named) == {"command", "url"}:
        named = ["command"]
    if len(named) > 1:
        raise app.error(named[1], f"an app has one kind, and {named[0]} is named too; leave one of them out")
    told = bool({*app} - {"files", "log"})  # which the reference integration has, too
    kind = named[0] if named else "reference"
    command = _command(app)
    url = app.text("url", None)
    target = app.text(kind, "") if kind in ("build", "module", "wsgi", "asgi") else ""
    for other in ("build", "module", "wsgi", "asgi"):
        app.text(other, None)
    _check_target(app, kind, target)
    if kind == "command" and not command:
        raise app.error("command", "must name a program, as in ['node', 'server.js']")
    if url is not None:
        _check_url(app, url, command)
    elif kind == "command":
        raise app.error(
            "url", "is missing; it must be where the command listens, as 'http://127.0.0.1:{port}'"
        )
    files = app.texts("files", ())
    for pattern in files:
        _check_inside(app, "files", pattern)
    log = _log(app.table("log")) if "log" in app else None
    read = AppSettings(
        kind=kind,
        target=" ".join(command) if kind == "command" else url if kind == "url" else target,
        command=command,
        url=url,
        env=_texts(app, "env"),
        rewrite=_texts(app, "rewrite"),
        connect=_path(app, "connect", None),
        callback=_path(app, "callback", "/oauth/callback"),
        listens_within_ns=app.duration_ns("listens_within", 30 * 10**9, least_ns=10**8),
        files=files,
        log=log,
        sandbox_port=app.whole("sandbox_port", 0, most=65_535),
    )
    app.done()
    if told and not named:
        raise app.error("", f"names no app; name one of: {', '.join(_KINDS)}")
    for address in read.rewrite:
        if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname:
            raise app.error(f"rewrite.{address}", "must be an address, as in https://api.example.com")
    if kind == "url" and read.env:
        raise app.error("env", "an app that runs already takes none from here; set it where it is started")
    return read


def default_scenario(settings: Mapping[str, Any], file: str) -> str | None:
    """The scenario that ``quotalab run`` runs when none is named. Raises `ProfileError`."""
    scenario: str | None = Table(settings, file, "tool.quotalab").text("scenario", None)
    return scenario


def _command(app: Table) -> tuple[str, ...]:
    words = app.any("command", [])
    if not isinstance(words, list) or not all(isinstance(word, str) and word for word in words):
        raise app.error("command", f"must be a list of texts, as in ['node', 'server.js'], not {words!r}")
    return tuple(words)


def _texts(app: Table, key: str) -> dict[str, str]:
    table = app.table(key, {})
    return {name: table.text(name) for name in table}


def _path(app: Table, key: str, default: str | None) -> Any:
    path = app.text(key, default)
    if path is not None and not path.startswith("/"):
        raise app.error(key, f"must be a path of the app, as in '/oauth/callback', not {path!r}")
    return path


def _check_target(app: Table, kind: str, target: str) -> None:
    if kind == "build" and (target.count(":") != 1 or target.endswith(")")):
        raise app.error(kind, f"must be 'module:function', as in 'myapp.integration:build', not {target!r}")
    if kind in ("wsgi", "asgi") and not _TARGET.fullmatch(target):
        raise app.error(
            kind, f"must be 'module:object' or 'module:function()', as in 'myapp.web:app', not {target!r}"
        )
    if kind == "module" and not _MODULE.fullmatch(target):
        raise app.error(kind, f"must be the name of a module, as in 'myapp.sync', not {target!r}")


def _check_url(app: Table, url: str, command: tuple[str, ...]) -> None:
    try:
        parts = urlsplit(url.replace("{port}", "1"))
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port is not None
        good = good and not parts.path.strip("/") and not parts.query and "@" not in parts.netloc
    except ValueError:
        good = False
    if not good:
        raise app.error("url", f"must be as 'http://127.0.0.1:3000', with a port and no path, not {url!r}")
    if "{port}" in url and not command:
        raise app.error("url", "{port} is for a command that is told where to listen; write the app's port")


def _log(table: Table) -> AppLog:
    file = table.text("file")
    _check_inside(table, "file", file)
    columns = table.table("columns", {})
    named = {name: columns.text(name, name) for name in LOG_FIELDS}
    columns.done()
    log = AppLog(file, table.choice("format", LOG_FORMATS, "jsonl"), named)
    table.done()
    return log


def _check_inside(table: Table, key: str, path: str) -> None:
    """A path of the workspace's own."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\\" in path:
        raise table.error(key, f"must lie inside the workspace, as in 'logs/*.log', not {path!r}")
