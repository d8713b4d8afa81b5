"""Finding a project's app by reading its code, without running any of it.

What is found is a guess to begin with: an object that FastAPI, Flask and their like make, a function that
makes one, or a script; the paths that look like the beginning and the end of an authorization; and the
environment variables that look like a provider's endpoints and credentials.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Candidate", "Found", "Route", "find_app"]

_ASGI = {"FastAPI", "Starlette", "Quart", "Litestar", "get_asgi_application"}
_WSGI = {"Flask", "Bottle", "get_wsgi_application"}
_ROUTERS = {"APIRouter": "prefix", "Blueprint": "url_prefix"}
_METHODS = {"get", "post", "put", "patch", "delete"}
_FACTORIES = {"create_app", "make_app", "build_app", "get_app"}
_SKIPPED = {"venv", "env", "node_modules", "tests", "test", "build", "dist", "site-packages", "locustfiles",
            "migrations", "docs", "analysis", "notebooks"}  # fmt: skip
_MOST_FILES = 2_000
_MOST_BYTES = 1_000_000
_WORKS = re.compile(r"sync|pull|fetch|poll|import|update|refresh|export|push|job|work|once")
_BEGINS = re.compile(r"connect|login|signin|authori[sz]e|oauth|install")
_ENDS = re.compile(r"callback|redirect|complete")
_ASIDE = re.compile(r"logout|signout|health|webhook|static|favicon|metrics|docs|admin|\{|<")

# Which of a provider's values a variable holds, by its name; the first that fits.
_VALUES = (
    (re.compile(r"CLIENT_?ID$"), "client_id"),
    (re.compile(r"CLIENT_?SECRET$"), "client_secret"),
    (re.compile(r"(REDIRECT|CALLBACK)_?(URL|URI)$"), "redirect_uri"),
    (re.compile(r"REVO\w*_?(URL|URI|ENDPOINT)$"), "revocation_endpoint"),
    (re.compile(r"TOKEN_?(URL|URI|ENDPOINT)$"), "token_endpoint"),
    (re.compile(r"AUTH(ORI[SZ](E|ATION))?_?(URL|URI|ENDPOINT)$"), "authorization_endpoint"),
    (re.compile(r"ISSUER(_?(URL|URI))?$"), "issuer"),
    (re.compile(r"API(_?(BASE|ROOT|URL|URI|ENDPOINT|BASE_?URL|HOST))?$"), "api_base"),
)


@dataclass(frozen=True)
class Route:
    """A path of a web app."""

    method: str
    path: str
    name: str


@dataclass(frozen=True)
class Candidate:
    """What may be the app: its kind and target as the settings name them."""

    kind: str
    target: str
    functions: tuple[str, ...] = ()
    """Of a script: what can be called without arguments."""


@dataclass
class Found:
    """What a project's code tells of its app."""

    candidates: list[Candidate] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    """Variables, each with the name of the value of the provider that it seems to hold."""
    insecure_oauthlib: bool = False
    """Whether oauthlib is used, which takes no http address unless it is told to."""
    client_credentials: bool = False
    """Whether the app asks for tokens of its own (RFC 6749, 4.4)."""

    @property
    def connect(self) -> str | None:
        """The path that seems to send people to the provider."""
        named = [
            route
            for route in self.routes
            if route.method == "get" and _BEGINS.search(route.path) and not _ENDS.search(route.path)
        ]
        named = [route for route in named if not _ASIDE.search(route.path)]
        return (
            min(named, key=lambda route: ("connect" not in route.path, len(route.path))).path
            if named
            else None
        )

    @property
    def callback(self) -> str | None:
        """The path that seems to take them back."""
        return next((route.path for route in self.routes if _ENDS.search(route.path)), None)

    @property
    def work(self) -> Route:
        """The path that a first scenario asks for: what changes something, else what shows something."""
        taken = {self.connect, self.callback}
        plain = [one for one in self.routes if one.path not in taken and not _ASIDE.search(one.path)]
        plain = [one for one in plain if not _BEGINS.search(one.path)]
        best = sorted(
            plain,
            key=lambda one: (not _WORKS.search(one.path), one.method != "post", one.path == "/"),
        )
        return best[0] if best else Route("get", "/", "home")


def find_app(root: Path) -> Found:
    """Read the project below `root`."""
    found = Found()
    scripts: list[Candidate] = []
    for path, module in _modules(root):
        try:
            tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError):
            continue
        found.candidates += _web_apps(tree, module)
        script = _script(tree, module)
        if script is not None:
            scripts.append(script)
        _read_routes(tree, found)
        _read_env(tree, found)
    if not found.candidates:
        found.candidates = scripts
    return found


def _modules(root: Path) -> Iterator[tuple[Path, str]]:
    """The project's modules with their names, in a fixed order."""
    count = 0
    for folder, below, files in os.walk(root):
        here = Path(folder)
        below[:] = sorted(
            name
            for name in below
            if name.isidentifier() and name not in _SKIPPED and not (here / name / "pyvenv.cfg").exists()
        )
        for file in sorted(files):
            path = here / file
            if not file.endswith(".py") or path.stat().st_size > _MOST_BYTES:
                continue
            count += 1
            if count > _MOST_FILES:
                return
            parts = list(path.relative_to(root).with_suffix("").parts)
            if parts[0] == "src":
                parts = parts[1:]
            if parts and parts[-1] == "__init__":
                parts = parts[:-1]
            if parts and all(part.isidentifier() for part in parts) and parts[0] not in ("setup", "conftest"):
                yield path, ".".join(parts)


def _called(node: ast.AST | None) -> str:
    """The last part of the name that an expression calls; empty if it calls none."""
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _kind(name: str) -> str | None:
    return "asgi" if name in _ASGI else "wsgi" if name in _WSGI else None


def _web_apps(tree: ast.Module, module: str) -> Iterator[Candidate]:
    for line in tree.body:
        if isinstance(line, ast.Assign | ast.AnnAssign):
            kind = _kind(_called(line.value))
            targets = line.targets if isinstance(line, ast.Assign) else [line.target]
            for target in targets:
                if kind is not None and isinstance(target, ast.Name):
                    yield Candidate(kind, f"{module}:{target.id}")
        elif isinstance(line, ast.FunctionDef) and line.name in _FACTORIES and _takes_nothing(line):
            kinds = [kind for node in ast.walk(line) if (kind := _kind(_called(node))) is not None]
            if kinds:
                yield Candidate(kinds[0], f"{module}:{line.name}()")


def _takes_nothing(function: ast.FunctionDef) -> bool:
    arguments = function.args
    needed = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    return needed == 0 and not any(default is None for default in arguments.kw_defaults)


def _script(tree: ast.Module, module: str) -> Candidate | None:
    main = any(
        isinstance(line, ast.If) and "__name__" in ast.dump(line.test) and "__main__" in ast.dump(line.test)
        for line in tree.body
    )
    functions = [
        line.name
        for line in tree.body
        if isinstance(line, ast.FunctionDef)
        and _takes_nothing(line)
        and not line.name.startswith("_")
        and line.name != "main"
    ]
    if not main or not functions:
        return None
    functions.sort(key=lambda name: not _WORKS.search(name))
    return Candidate("module", module, tuple(functions))


def _text(node: ast.AST | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _read_routes(tree: ast.Module, found: Found) -> None:
    prefixes: dict[str, str] = {}
    for line in tree.body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            keyword = _ROUTERS.get(_called(line.value))
            if keyword is not None and isinstance(line.value, ast.Call):
                given = {one.arg: _text(one.value) for one in line.value.keywords}
                prefixes[line.targets[0].id] = given.get(keyword) or ""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for decorator in node.decorator_list:
            if not isinstance(decorator, ast.Call) or not isinstance(decorator.func, ast.Attribute):
                continue
            path = _text(decorator.args[0]) if decorator.args else None
            if path is None or not path.startswith("/"):
                continue
            owner = getattr(decorator.func.value, "id", "")
            for method in _methods(decorator):
                found.routes.append(Route(method, prefixes.get(owner, "") + path, node.name))


def _methods(decorator: ast.Call) -> list[str]:
    assert isinstance(decorator.func, ast.Attribute)
    if decorator.func.attr in _METHODS:
        return [decorator.func.attr]
    if decorator.func.attr not in ("route", "api_route"):
        return []
    for keyword in decorator.keywords:
        if keyword.arg == "methods" and isinstance(keyword.value, ast.List | ast.Tuple):
            said = [str(_text(one)).lower() for one in keyword.value.elts]
            return [method for method in said if method in _METHODS][-1:] or ["get"]
    return ["get"]


def _read_env(tree: ast.Module, found: Found) -> None:
    for node in ast.walk(tree):
        name = None
        found.client_credentials |= _text(node) == "client_credentials"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found.insecure_oauthlib |= any(
                one.split(".")[0] in ("requests_oauthlib", "oauthlib") for one in names
            )
        elif isinstance(node, ast.Subscript) and _is_environ(node.value):
            name = _text(node.slice)
        elif isinstance(node, ast.Call) and node.args:
            function = node.func
            asks = isinstance(function, ast.Attribute) and (
                (function.attr == "get" and _is_environ(function.value)) or function.attr == "getenv"
            )
            if asks or getattr(function, "id", "") in ("getenv", "config", "env"):
                name = _text(node.args[0])
        elif isinstance(node, ast.ClassDef) and any("Settings" in ast.dump(base) for base in node.bases):
            _read_settings(node, found)
        if name is not None:
            _note(name, found)


def _is_environ(node: ast.AST) -> bool:
    return getattr(node, "attr", getattr(node, "id", "")) == "environ"


def _read_settings(node: ast.ClassDef, found: Found) -> None:
    """The fields of a pydantic settings class are variables, under its prefix."""
    prefix = ""
    for inner in ast.walk(node):
        if isinstance(inner, ast.keyword) and inner.arg == "env_prefix":
            prefix = _text(inner.value) or ""
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            _note((prefix + line.target.id).upper(), found)


def _note(name: str, found: Found) -> None:
    for pattern, value in _VALUES:
        if pattern.search(name):
            found.env.setdefault(name, value)
            return
