"""The ``[tool.quotalab.app]`` table of a workspace: which app is under test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from quotalab.profiles.reading import Table

__all__ = ["AppSettings", "app_settings"]


@dataclass(frozen=True)
class AppSettings:
    """The app under test; the reference integration where `build` is None."""

    build: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables to set before the app is imported; `Access` fields in braces."""


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
    app.done()
    return AppSettings(build, env)
