"""`run` and `audit`: the commands of these names, in processes of their own.

A kernel's or a test's own clock can't be made virtual.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

from quotalab.api.opened import Run, load
from quotalab.errors import FaultError, InputError, InterruptedRunError, QuotalabError

__all__ = ["audit", "run"]

_Text = str | PathLike[str]
_ERRORS: Mapping[int, type[QuotalabError]] = {
    FaultError.exit_code: FaultError,
    InterruptedRunError.exit_code: InterruptedRunError,
}
_MARK = "quotalab: "


def run(
    scenario: _Text | None = None,
    *,
    provider: _Text | None = None,
    traffic: _Text | None = None,
    policy: _Text | None = None,
    users: int | None = None,
    for_: str = "24h",
    start: str | None = None,
    seed: int = 1,
    clock: str = "virtual",
    transport: str | None = None,
    set: Mapping[str, object] | None = None,
    responses: _Text | None = None,
    out: _Text | None = None,
    stall: str | None = None,
    workspace: _Text | None = None,
    locust: Sequence[str] = (),
) -> Run:
    """Simulate and judge, as ``quotalab run`` does; arguments are called as its options are.

    `for_` is ``--for``; `set` maps keys of the provider profile to values; `locust` are options after ``--``.
    A run that is judged FAIL is a run like any other. Raises `QuotalabError` with the command's own words.
    """
    named: dict[str, object] = {
        "provider": provider,
        "traffic": traffic,
        "policy": policy,
        "users": users,
        "for": for_,
        "start": start,
        "seed": seed,
        "clock": clock,
        "transport": transport,
        "responses": responses,
        "out": out,
        "stall": stall,
    }
    after = [] if scenario is None else [str(scenario)]
    return _told("run", named, _settings(set), [*after, *(["--", *locust] if locust else [])], workspace)


def audit(
    file: _Text,
    *,
    provider: _Text,
    person: str | None = None,
    columns: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    hosts: Sequence[str] = (),
    format: str | None = None,
    log_format: str | None = None,
    unit: str | None = None,
    origin: str | None = None,
    app: str | None = None,
    set: Mapping[str, object] | None = None,
    out: _Text | None = None,
    workspace: _Text | None = None,
) -> Run:
    """Judge recorded traffic, as ``quotalab audit`` does; arguments are called as its options are.

    `columns` and `headers` map what a recording tells to what it is called there, as ``{"time": "t"}``;
    `hosts` are what ``--host`` names. What needs a run is NA, and there are no operations. Raises
    `QuotalabError` with the command's own words.
    """
    named: dict[str, object] = {
        "provider": provider,
        "person": person,
        "columns": None if columns is None else _mapped(columns),
        "headers": None if headers is None else _mapped(headers),
        "format": format,
        "log-format": log_format,
        "unit": unit,
        "origin": origin,
        "app": app,
        "out": out,
    }
    more = [f"--host={host}" for host in hosts] + _settings(set)
    return _told("audit", named, more, [str(file)], workspace)


def _told(
    what: str,
    named: Mapping[str, object],
    more: Sequence[str],
    after: Sequence[str],
    workspace: _Text | None,
) -> Run:
    """The run folder that a command leaves, opened."""
    command = [sys.executable, "-m", "quotalab"]
    if workspace is not None:
        command += [f"--workspace={workspace}"]
    command += [what, *(f"--{name}={value}" for name, value in named.items() if value is not None)]
    command += [*more, *after]
    ended = subprocess.run(  # noqa: S603 - our own command with the caller's own arguments, no shell
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if ended.returncode not in (0, 1):
        raise _ERRORS.get(ended.returncode, InputError)(_words(ended.stderr, ended.returncode))
    lines = ended.stdout.strip().splitlines()
    if ended.returncode and not (lines and Path(lines[-1]).is_dir()):
        raise QuotalabError(_words(ended.stderr, ended.returncode))
    return load(lines[-1], workspace=workspace)


def _settings(given: Mapping[str, object] | None) -> list[str]:
    return [f"--set={key}={_toml(value)}" for key, value in (given or {}).items()]


def _mapped(names: Mapping[str, str]) -> str:
    return ",".join(f"{what}={name}" for what, name in names.items())


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _words(said: str, code: int) -> str:
    """What the command said last in its own name, with the lines that go on from there."""
    start = said.rfind("\n" + _MARK) + 1
    text = said[start:].strip()
    if text.startswith(_MARK):
        return text.removeprefix(_MARK)
    return text.splitlines()[-1] if text else f"the command ended with exit code {code} and said nothing"
