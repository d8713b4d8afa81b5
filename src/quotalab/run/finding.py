"""Finding a project's app by reading its code, without running any of it.

What is found is a guess to begin with: an object that FastAPI, Flask and their like make, a function that
makes one, or a script; the paths that look like the beginning and the end of an authorization; and the
environment variables that look like a provider's endpoints and credentials.
"""

from __future__ import annotations

import ast
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

__all__ = ["Candidate", "Found", "Route", "find_app"]

_ASGI = {"FastAPI", "Starlette", "Quart", "Litestar", "get_asgi_application"}
_WSGI = {"Flask", "Bottle", "get_wsgi_application"}
_ROUTERS = {"APIRouter": "prefix", "Blueprint": "url_prefix"}
_MOUNTS = {"include_router": "prefix", "register_blueprint": "url_prefix"}
_MOST_MOUNTS = 8
_METHODS = {"get", "post", "put", "patch", "delete"}
_FACTORIES = {"create_app", "make_app", "build_app", "get_app"}
_SKIPPED = {"venv", "env", "node_modules", "tests", "test", "build", "dist", "site-packages", "locustfiles",
            "migrations", "docs", "analysis", "notebooks"}  # fmt: skip
_NO_APPS = {"setup", "conftest"}
_MOST_FILES = 2_000
_MOST_FOLDERS = 5_000
_MOST_BYTES = 1_000_000
_WORKS = re.compile(r"sync|pull|fetch|poll|import|update|refresh|export|push|job|work|once")
_BEGINS = re.compile(r"connect|login|signin|authori[sz]e|oauth|install")
_ENDS = re.compile(r"callback|redirect|complete")
_ASIDE = re.compile(r"logout|signout|health|webhook|static|favicon|metrics|docs|admin|\{|<")

# What a handler calls to send a person to the provider, and to take them back (Authlib, requests-oauthlib).
_SENDS = {"create_authorization_url", "authorization_url", "authorize_redirect"}
_TAKES = {"fetch_token", "authorize_access_token"}

# Which of a provider's values a variable holds, by its name; the first that fits.
_VALUES = (
    (re.compile(r"CLIENT_?ID$"), "client_id"),
    (re.compile(r"CLIENT_?SECRET$"), "client_secret"),
    (re.compile(r"(REDIRECT|CALLBACK)_?(URL|URI)$"), "redirect_uri"),
    (re.compile(r"REVO\w*_?(URL|URI|ENDPOINT)$"), "revocation_endpoint"),
    (re.compile(r"TOKEN_?(URL|URI|ENDPOINT)$"), "token_endpoint"),
    (re.compile(r"AUTH(ORI[SZ](E|ATION))?_?(BASE_?)?(URL|URI|ENDPOINT)$"), "authorization_endpoint"),
    (re.compile(r"ISSUER(_?(URL|URI))?$"), "issuer"),
    (re.compile(r"API(_?(BASE|ROOT|URL|URI|ENDPOINT|BASE_?URL|HOST))?$"), "api_base"),
    (re.compile(r"(PUBLIC|EXTERNAL|SITE|APP|OWN)_?(BASE_?)?(URL|URI)$"), "app_base"),
)
_BUILT_IN = {"authorization_endpoint", "token_endpoint", "revocation_endpoint", "issuer", "api_base"}
_ADDRESS = re.compile(r"https?://(?!localhost|127\.|0\.0\.0\.0)[\w.-]+(:\d+)?(/[\w./~-]*)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Route:
    """A path of a web app."""

    method: str
    path: str
    name: str
    sends: bool = field(default=False, compare=False)
    """Whether its code makes the address of an authorization."""
    takes: bool = field(default=False, compare=False)
    """Whether its code takes an authorization's token."""


@dataclass(frozen=True)
class Candidate:
    """What may be the app: its kind and target as the settings name them."""

    kind: str
    target: str
    calls: tuple[str, ...] = ()
    """Of a script: what can be called without knowing more, as ``pull()``; the likeliest first."""

    @property
    def is_sure(self) -> bool:
        """Whether the first of the calls is, by its name, what the script is for."""
        return bool(self.calls) and bool(_WORKS.search(self.calls[0]) or self.calls[0].startswith("main("))


@dataclass
class Found:
    """What a project's code tells of its app."""

    candidates: list[Candidate] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    """Variables, each with the name of the value of the provider that it seems to hold."""
    built_in: dict[str, str] = field(default_factory=dict)
    """Addresses that stand in the code, each with the name of the provider's value that it seems to be."""
    unread: list[str] = field(default_factory=list)
    """Files of code that could not be read as Python."""
    cut: bool = False
    """Whether there is more code than is looked at."""
    insecure_oauthlib: bool = False
    """Whether oauthlib is used, which takes no http address unless it is told to."""
    client_credentials: bool = False
    """Whether the app asks for tokens of its own (RFC 6749, 4.4)."""

    @property
    def connect(self) -> str | None:
        """The path that seems to send people to the provider."""
        shown = [one for one in self.routes if one.method == "get" and not _ASIDE.search(one.path)]
        shown = [one for one in shown if not one.takes and not _ENDS.search(one.path)]
        named = [one for one in shown if one.sends or _BEGINS.search(one.path)]
        named.sort(key=lambda one: (not one.sends, "connect" not in one.path, len(one.path)))
        return named[0].path if named else None

    @property
    def callback(self) -> str | None:
        """The path that seems to take them back."""
        plain = [one for one in self.routes if not _ASIDE.search(one.path)]
        named = [one for one in plain if _ENDS.search(one.path)] or [one for one in plain if one.takes]
        named.sort(key=lambda one: not one.takes)
        return named[0].path if named else None

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
    mounts = _Mounts()
    for path, module in _modules(root, found):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of theirs, about their code
                tree = ast.parse(path.read_bytes())
            found.candidates += _web_apps(tree, module)
            script = _script(tree, module)
            if script is not None:
                scripts.append(script)
            mounts.read(tree, module, path.name == "__init__.py")
            _read_env(tree, found)
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            found.unread.append(str(path.relative_to(root)))
    found.routes = mounts.routes()
    if not found.candidates:
        found.candidates = scripts
    return found


def _modules(root: Path, found: Found) -> Iterator[tuple[Path, str]]:
    """The project's modules with their names, in a fixed order."""
    files_left, folders_left = _MOST_FILES, _MOST_FOLDERS
    in_src = (root / "src").is_dir() and not (root / "src" / "__init__.py").exists()
    for folder, below, files in os.walk(root):
        if not folders_left:
            found.cut = True
            return
        folders_left -= 1
        here = Path(folder)
        below[:] = sorted(
            name
            for name in below
            if name.isidentifier() and name not in _SKIPPED and not (here / name / "pyvenv.cfg").exists()
        )
        for file in sorted(files):
            path = here / file
            if not file.endswith(".py") or not path.is_file():
                continue
            parts = list(path.relative_to(root).with_suffix("").parts)
            if parts[0] == "src" and in_src:
                parts = parts[1:]
            if parts and parts[-1] == "__init__":
                parts = parts[:-1]
            if not parts or not all(part.isidentifier() for part in parts) or parts[0] in _NO_APPS:
                continue
            if not files_left:
                found.cut = True
                return
            files_left -= 1
            if path.stat().st_size > _MOST_BYTES:
                found.unread.append(str(path.relative_to(root)))
            else:
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
        line for line in tree.body if isinstance(line, ast.FunctionDef) and not line.name.startswith("_")
    ]
    calls = [f"{line.name}()" for line in functions if _takes_nothing(line) and line.name != "main"]
    calls.sort(key=lambda call: not _WORKS.search(call))
    for line in functions:
        told = [argument.arg for argument in (*line.args.posonlyargs, *line.args.args)]
        if line.name == "main" and _takes_nothing(line) and told[:1] in (["argv"], ["args"]):
            # What it is without a command line, and not the one of quotalab.
            calls.insert(sum(bool(_WORKS.search(call)) for call in calls), "main([])")
    return Candidate("module", module, tuple(calls)) if main and calls else None


def _text(node: ast.AST | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


class _Mounts:
    """The routes of all modules, and the routers that they hang on, which other modules may mount."""

    def __init__(self) -> None:
        self._prefixes: dict[str, str] = {}  # router -> its own; routers are named by module and variable
        self._parents: dict[str, tuple[str, str, bool]] = {}
        """Router -> what mounts it, under which prefix, and whether that replaces the router's own."""
        self._also: dict[str, str] = {}  # a name in a module -> where it comes from
        self._found: list[tuple[str, Route]] = []
        self._modules: set[str] = set()

    def read(self, tree: ast.Module, module: str, is_package: bool) -> None:
        """Note what a module says."""
        self._modules.add(module)
        package = module if is_package else module.rpartition(".")[0]
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                source = ".".join([*above, *([node.module] if node.module else [])])
                for alias in node.names:
                    self._also[f"{module}.{alias.asname or alias.name}"] = f"{source}.{alias.name}"
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    name = alias.asname or alias.name.partition(".")[0]
                    self._also[f"{module}.{name}"] = alias.name if alias.asname else name
            elif isinstance(node, ast.Assign | ast.AnnAssign) and _called(node.value) in _ROUTERS:
                prefix = _keyword(node.value, _ROUTERS[_called(node.value)])
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    self._prefixes[_dotted(target, module)] = prefix or ""
            elif isinstance(node, ast.Call) and _called(node) in _MOUNTS and node.args:
                prefix = _keyword(node, _MOUNTS[_called(node)])
                parent = _dotted(getattr(node.func, "value", node.func), module)
                replaces = _called(node) == "register_blueprint" and prefix is not None
                self._parents[_dotted(node.args[0], module)] = (parent, prefix or "", replaces)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self._read_handler(node, module)

    def _read_handler(self, node: ast.FunctionDef | ast.AsyncFunctionDef, module: str) -> None:
        called = {_called(inner) for inner in ast.walk(node)}
        for decorator in node.decorator_list:
            if not isinstance(decorator, ast.Call) or not isinstance(decorator.func, ast.Attribute):
                continue
            path = _text(decorator.args[0]) if decorator.args else None
            if path is None or not path.isprintable() or not (path == "" or path.startswith("/")):
                continue
            for method in _methods(decorator):
                route = Route(method, path, node.name, bool(called & _SENDS), bool(called & _TAKES))
                self._found.append((_dotted(decorator.func.value, module), route))

    def routes(self) -> list[Route]:
        """All routes, with the prefixes of what they hang on."""
        # A router that another module imports is the one that it is at home.
        parents = {self._home(name): mount for name, mount in self._parents.items()}
        found = []
        for owner, route in self._found:
            path, name = route.path, self._home(owner)
            for _ in range(_MOST_MOUNTS):
                above, prefix, replaces = parents.get(name, ("", "", False))
                path = prefix + ("" if replaces else self._prefixes.get(name, "")) + path
                name = self._home(above)
            found.append(replace(route, path=path or "/"))
        return found

    def _home(self, name: str) -> str:
        """Where a name comes from, as far as the imports that were read tell."""
        for _ in range(_MOST_MOUNTS):
            parts = name.split(".")
            ends = range(len(parts), 0, -1)
            end = next((end for end in ends if ".".join(parts[:end]) in self._modules), 0)
            head = ".".join(parts[: end + 1])  # a name in the module, or one of the module's own name
            if head not in self._also:
                break
            name = self._also[head] + name[len(head) :]
        return name


def _dotted(node: ast.AST, module: str) -> str:
    """A name such as ``auth.router``, as seen from a module; the module's alone for what is no name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return ".".join([module, node.id, *parts]) if isinstance(node, ast.Name) else module


def _keyword(call: ast.AST | None, name: str) -> str | None:
    keywords = call.keywords if isinstance(call, ast.Call) else []
    return next((_text(one.value) for one in keywords if one.arg == name), None)


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
    settings: set[ast.AST] = set()
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
        elif isinstance(node, ast.Call):
            function = node.func
            asks = isinstance(function, ast.Attribute) and (
                (function.attr == "get" and _is_environ(function.value)) or function.attr == "getenv"
            )
            if node.args and (asks or getattr(function, "id", "") in ("getenv", "config", "env")):
                name = _text(node.args[0])
            for keyword in node.keywords:
                _note_built_in(keyword.arg, keyword.value, found)
        elif isinstance(node, ast.ClassDef) and any("Settings" in ast.dump(base) for base in node.bases):
            _read_settings(node, found)
            settings.update(node.body)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node not in settings:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            _note_built_in(getattr(target, "id", None), node.value, found)
        if name is not None:
            _note(name, found)


def _note_built_in(name: str | None, node: ast.AST | None, found: Found) -> None:
    """A constant address, under a name that tells which of the provider's it is."""
    address = _text(node) or ""
    if name is not None and _ADDRESS.fullmatch(address):
        value = _value(name.upper())
        if value is None and address.partition("//")[2].startswith("api."):
            value = "api_base"
        if value in _BUILT_IN:
            found.built_in.setdefault(address.rstrip("/"), str(value))


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
    value = _value(name)
    if value is not None and _VARIABLE.fullmatch(name):
        found.env.setdefault(name, value)


def _value(name: str) -> str | None:
    """Which of a provider's values a name seems to mean."""
    return next((value for pattern, value in _VALUES if pattern.search(name)), None)
