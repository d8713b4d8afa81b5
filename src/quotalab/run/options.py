"""What a run is asked to be, before anything of it exists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quotalab.clock.beginning import DEFAULT_START_NS, parse_start_ns
from quotalab.errors import InputError
from quotalab.profiles.app import default_scenario
from quotalab.profiles.reading import parse_duration_ns
from quotalab.workspace import Workspace

__all__ = [
    "DEFAULT_SCENARIO",
    "DEFAULT_START_NS",
    "RunOptions",
    "parse_span_ns",
    "parse_start_ns",
    "scenario_of",
]

DEFAULT_SCENARIO = "temporary_access"
_LONGEST_NS = 366 * 86_400 * 10**9


@dataclass(frozen=True)
class RunOptions:
    """Options of ``quotalab run``; None: the scenario's own choice."""

    scenario: str | None = None
    """None: the one that the workspace names, else `DEFAULT_SCENARIO`."""
    provider: str | None = None
    traffic: str | None = None
    policy: str | None = None
    users: int | None = None
    span_ns: int = 86_400 * 10**9
    start_ns: int | None = None
    seed: int = 1
    clock: str = "virtual"
    transport: str | None = None
    """``memory`` or ``socket``; None: memory where the app can take it."""
    settings: tuple[str, ...] = ()
    responses: Path | None = None
    """A HAR file or an OpenAPI document with answers that the provider profile lacks."""
    stall_ns: int = 60 * 10**9
    """Real time for which virtual time may stand still."""
    out: Path | None = None
    locust: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    """As it was called, for the report."""


def scenario_of(workspace: Workspace) -> str:
    """The scenario that is run where none is named: the workspace's own, else `DEFAULT_SCENARIO`."""
    named = default_scenario(workspace.settings, str(workspace.root / "pyproject.toml"))
    return named or DEFAULT_SCENARIO


def parse_span_ns(option: str, text: str) -> int:
    """A duration of more than nothing and at most a year. Raises `InputError` naming the option."""
    try:
        span_ns = parse_duration_ns(text)
    except ValueError as error:
        raise InputError(f"{option}: {error}") from None
    if not 0 < span_ns <= _LONGEST_NS:
        raise InputError(f"{option}: must be longer than nothing and at most 366d, not {text!r}")
    return span_ns
