"""The ``[tool.quotalab.app]`` table of a workspace: which app is under test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from quotalab.profiles.reading import Table

__all__ = ["LOG_FIELDS", "LOG_FORMATS", "AppLog", "AppSettings", "app_settings"]

LOG_FORMATS = ("jsonl", "logfmt", "csv")
LOG_FIELDS = ("at", "method", "path", "status", "person", "tenant", "route", "wait", "request_id")
"""What an entry of the app's log may say of a call to the provider."""


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
    """The app under test; the reference integration where `build` is None."""

    build: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables to set before the app is imported; `Access` fields in braces."""
    files: tuple[str, ...] = ()
    """Globs, relative to the workspace, of logs and other files in which no secret may stand."""
    log: AppLog | None = None


def app_settings(settings: Mapping[str, Any], file: str) -> AppSettings:
    """Read ``[tool.quotalab.app]`` from a workspace's settings. Raises `ProfileError`."""
    top = Table(settings, file, "tool.quotalab")
    app = top.table("app", {})
    top.any("rules", {})  # read by quotalab.profiles.rules
    top.any("nightly", None)  # and of the nightly job's matrix
    top.done()
    build = app.text("build", None)
    if build is not None and build.count(":") != 1:
        raise app.error("build", f"must be 'module:function', as in 'myapp.integration:build', not {build!r}")
    environment = app.table("env", {})
    env = {name: environment.text(name) for name in environment}
    files = app.texts("files", ())
    for pattern in files:
        _check_inside(app, "files", pattern)
    log = _log(app.table("log")) if "log" in app else None
    app.done()
    return AppSettings(build, env, files, log)


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
