"""``quotalab init``: a project gets a table of settings and a first scenario against its own app."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quotalab.errors import InputError
from quotalab.profiles.app import app_settings
from quotalab.profiles.loading import load_provider
from quotalab.run.finding import Candidate, Found, find_app
from quotalab.workspace import Workspace

__all__ = ["InitOptions", "Started", "init"]

Ask = Callable[[str, str], str]
"""Asks a person: a question and the answer that an empty line gives."""

_PROVIDER = "temporary-production"
_OURS = {"scenario", "app"}
"""What init writes of ``[tool.quotalab]``, and with ``force`` replaces; the rest is the team's."""
_KINDS = ("asgi", "wsgi", "module", "build", "command", "url")


@dataclass(frozen=True)
class InitOptions:
    """Options of ``quotalab init``."""

    root: Path
    app: str | None = None
    """``KIND=TARGET``; None: found in the code."""
    provider: str | None = None
    scenario: str | None = None
    force: bool = False


@dataclass(frozen=True)
class Started:
    """What was written."""

    pyproject: Path
    table: str
    scenario: Path
    text: str
    run: str
    """The command of a first run."""
    doubts: tuple[str, ...]


def init(options: InitOptions, ask: Ask | None = None) -> Started:
    """Write the table and the scenario. Nothing that is there is changed without ``force``.

    With `ask`, a person confirms what was found. Raises `InputError`.
    """
    root = options.root.resolve()
    if root.exists() and not root.is_dir():
        raise InputError(f"{options.root}: is no folder")
    pyproject = root / "pyproject.toml"
    before = _read(pyproject)
    theirs = _document(before, pyproject).get("tool", {})
    theirs = theirs.get("quotalab", {}) if isinstance(theirs, dict) else {}
    if not isinstance(theirs, dict) or (_OURS & {*theirs} and not options.force):
        raise InputError(
            f"{pyproject}: has [tool.quotalab] already; change it there, or let --force replace it"
        )
    found = find_app(root) if root.is_dir() else Found()
    candidate = _chosen(options.app, found, root, ask)
    provider = options.provider or (ask("provider profile", _PROVIDER) if ask else _PROVIDER)
    load_provider(Workspace.find(root if root.is_dir() else Path.cwd()), provider)
    name = options.scenario or _scenario_name(candidate, root)
    if ask and options.scenario is None:
        name = ask("name of the scenario", name)
    if not name.isidentifier() or name in sys.stdlib_module_names:  # Locust loads it under this name
        raise InputError(f"--scenario: must be a name such as 'first_day', not {name!r}")
    scenario = root / "locustfiles" / f"{name}.py"
    if os.path.lexists(scenario) and not options.force:
        raise InputError(
            f"{scenario}: is there already; name another one with --scenario, or let --force replace it"
        )
    table = _table(candidate, found, name)
    after = _with_table(before, table, pyproject)
    app_settings(tomllib.loads(table)["tool"]["quotalab"], str(pyproject))
    text = _scenario(candidate, found, provider)
    try:
        scenario.parent.mkdir(parents=True, exist_ok=True)
        _write(scenario, text)
        _write(pyproject.resolve(), after)  # a link stays one
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be written: {error.strerror}") from error
    return Started(
        pyproject, table, scenario, text, _first_run(candidate, found), tuple(_doubts(candidate, found))
    )


def _write(path: Path, text: str) -> None:
    """Write a file whole, or leave what is there; line ends are written as they are. Raises `OSError`."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="")
        if path.is_file():
            part.chmod(path.stat().st_mode & 0o777)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _chosen(named: str | None, found: Found, root: Path, ask: Ask | None) -> Candidate:
    """The app: as named, as found, or as a person says."""
    if named is None and len(found.candidates) == 1 and ask is None:
        return found.candidates[0]
    shown = [f"{one.kind}={one.target}" for one in found.candidates]
    if named is None and ask is not None:
        several = f" (found: {', '.join(shown)})" if len(shown) > 1 else ""
        named = ask(f"app, as KIND=MODULE:OBJECT{several}", shown[0] if shown else "")
    if not named:
        if shown:
            raise InputError(
                f"{root}: has more than one app ({', '.join(shown)}); name one: --app {shlex.quote(shown[0])}"
            )
        raise InputError(
            f"{root}: no app was found, neither a FastAPI, Starlette or Flask object nor a script"
            f"{_missed(found)}; name it, as --app asgi=myapp.web:app or, in another language, "
            f"--app 'command=node server.js' "
            f"(kinds: {', '.join(_KINDS)})"
        )
    kind, _, target = named.partition("=")
    if kind not in _KINDS or not target:
        raise InputError(f"--app: must be KIND=TARGET, as asgi=myapp.web:app; kinds: {', '.join(_KINDS)}")
    known = [one for one in found.candidates if (one.kind, one.target) == (kind, target)]
    return known[0] if known else Candidate(kind, target)


def _missed(found: Found) -> str:
    """What of the code was not looked at, as the end of a sentence."""
    shown = ", ".join(found.unread[:3]) + (", ..." if len(found.unread) > 3 else "")
    unread = f" (not read, as it is no Python: {shown})" if found.unread else ""
    return unread + (" (there is more code than is looked at)" if found.cut else "")


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise InputError(f"--app command={command}: cannot be split into words: {error}") from error


def _scenario_name(candidate: Candidate, root: Path) -> str:
    module = re.split(r"[.:]", candidate.target)[0] if candidate.kind not in ("command", "url") else root.name
    word = re.sub(r"\W+", "_", module).strip("_").lower() or "first"
    return f"{word}_day" if not word[0].isdigit() else f"app_{word}_day"


def _table(candidate: Candidate, found: Found, scenario: str) -> str:
    lines = ["[tool.quotalab]", f"scenario = {_quoted(scenario)}", "", "[tool.quotalab.app]"]
    if candidate.kind == "command":
        words = ", ".join(_quoted(word) for word in _words(candidate.target))
        lines += [f"command = [{words}]", 'url = "http://127.0.0.1:{port}"']
    else:
        lines.append(f"{candidate.kind} = {_quoted(candidate.target)}")
    if candidate.kind not in ("module", "build"):
        if found.connect:
            lines.append(f"connect = {_quoted(found.connect)}")
        if found.callback:
            lines.append(f"callback = {_quoted(found.callback)}")
    env = {name: "{" + value + "}" for name, value in found.env.items()}
    if candidate.kind == "command":
        env = {"PORT": "{port}"} | env
    if found.insecure_oauthlib:
        env["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
    if env and candidate.kind != "url":
        lines.append(
            "env = { " + ", ".join(f"{name} = {_quoted(value)}" for name, value in env.items()) + " }"
        )
    rewrite = _rewrite(candidate, found)
    if rewrite:
        pairs = (f'{_quoted(address)} = "{{{value}}}"' for address, value in rewrite.items())
        lines.append("rewrite = { " + ", ".join(pairs) + " }")
    return "\n".join(lines) + "\n"


def _rewrite(candidate: Candidate, found: Found) -> dict[str, str]:
    """Addresses that stand in the code of an app in this process, where no variable is told the same."""
    if candidate.kind in ("command", "url"):
        return {}
    told = set(found.env.values())
    return {address: value for address, value in found.built_in.items() if value not in told}


def _quoted(text: str) -> str:
    """A text as TOML and Python both write it. Raises `InputError`."""
    if not text.isprintable():
        raise InputError(f"{text!r}: has characters that cannot be seen")
    return json.dumps(text, ensure_ascii=False)


def _scenario(candidate: Candidate, found: Found, provider: str) -> str:
    if candidate.kind in ("module", "build"):
        call = (candidate.calls or ("work()",))[0]
        name, call = call.partition("(")[0], f"self.app.{call}"
        who, does, population, wait = "Job", "work", 1, "constant(300)"
    else:
        route = found.work
        name, call = route.name, f"self.app.{route.method}({_quoted(route.path)})"
        who, does, population, wait = "Visitor", "visit", 20, "between(300, 900)"
    return (
        f"from locust import {wait.partition('(')[0]}, task\n"
        f"\n"
        f"from quotalab.scenario import Person\n"
        f"\n"
        f"\n"
        f"class {who}(Person):\n"
        f"    provider = {_quoted(provider)}\n"
        f"    population = {population}\n"
        f"    wait_time = {wait}\n"
        f"\n"
        f"    @task\n"
        f"    def {does}(self):\n"  # not the app's name: Locust's own User has a start, a stop and a wait
        f"        with self.asking({_quoted(name)}, within_s=60):\n"
        f"            {call}\n"
    )


def _first_run(candidate: Candidate, found: Found) -> str:
    command = "quotalab run --for 8h"
    if candidate.kind in ("command", "url"):
        command = "quotalab run --clock real --for 2m"
    if found.client_credentials:  # few providers have it, so that profiles must say it
        command += """ --set 'oauth.grants=["authorization_code", "client_credentials"]'"""
    return command


def _doubts(candidate: Candidate, found: Found) -> list[str]:
    """What a person should look at, because the code did not tell."""
    doubts = []
    if candidate.kind in ("asgi", "wsgi", "command", "url") and not found.connect:
        doubts.append(
            'no path was found that sends people to the provider; if there is one: connect = "/..."'
        )
    elif candidate.kind in ("asgi", "wsgi", "command", "url") and not found.callback:
        doubts.append(
            'no path was found that takes people back from the provider; name it: callback = "/..."'
        )
    if candidate.kind == "module" and not candidate.is_sure:
        doubts.append(
            "no function was found that is surely what the script does; let the scenario call what it does"
        )
    told = {*found.env.values(), *_rewrite(candidate, found).values()}
    if candidate.kind != "build" and candidate.kind != "url" and not told & {"api_base", "issuer"}:
        doubts.append(
            "no variable was found that says where the provider's API is; add it to env, or map the address "
            'that is built in: rewrite = { "https://api.example.com" = "{api_base}" }'
        )
    if found.unread or found.cut:
        doubts.append(f"not all of the code was read{_missed(found)}")
    values = list(found.env.values())
    for value in sorted({value for value in values if values.count(value) > 1}):
        names = [name for name, kept in found.env.items() if kept == value]
        doubts.append(
            f"{' and '.join(names)} both get {{{value}}}; take out the one that is another provider's"
        )
    return doubts


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", newline="") as file:  # line ends stay as they are
            return file.read()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _document(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: is no TOML: {error}") from error


def _with_table(text: str, table: str, path: Path) -> str:
    """The file with the table at its end, and without an older one; nothing else may change."""
    kept, inside = [], False
    for line in text.splitlines(keepends=True):
        header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line)
        if header is not None:
            inside = re.fullmatch(r"tool\s*\.\s*quotalab(\s*\.\s*app(\s*\..*)?)?", header[1]) is not None
        if not inside:
            kept.append(line)
    end = "\r\n" if "\r\n" in text else "\n"
    rest = "".join(kept).rstrip("\r\n")
    after = (rest + end + end if rest else "") + table.replace("\n", end)

    def others(document: dict[str, Any]) -> dict[str, Any]:
        tool = document.get("tool", {})
        theirs = {name: value for name, value in tool.get("quotalab", {}).items() if name not in _OURS}
        return {**document, "tool": {**tool, "quotalab": theirs}}

    try:
        same = others(tomllib.loads(after)) == others(_document(text, path))
    except tomllib.TOMLDecodeError:
        same = False
    if not same:
        raise InputError(f"{path}: cannot be added to safely; add this by hand:\n{table}")
    return after
