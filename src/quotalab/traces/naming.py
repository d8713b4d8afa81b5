"""Which operation a request belongs to: a small file of globs, and the burst that makes requests one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path
from typing import Any

from quotalab.errors import InputError, ProfileError
from quotalab.profiles.reading import Table, read_toml

__all__ = ["Naming", "kind_of", "load_naming"]

_MOST_KNOWN = 1 << 18
_CRAWLER = re.compile(
    rb"bot\b|bot/|crawl|spider|slurp|archiver|facebookexternalhit|mediapartners|feedfetcher|preview", re.I
)
_PROGRAM = re.compile(
    rb"^(?:$|-$)|curl|wget|python|java/|java\b|okhttp|go-http|libwww|axios|node|ruby|perl|php|matlab|\br \(|"
    rb"aiohttp|httpie|apache-httpclient|postman|powershell|dotnet|erddap|scrapy|urllib|requests|dart|kube-probe|monitor",
    re.I,
)


@dataclass(frozen=True)
class _Glob:
    name: str
    method: str | None
    path: re.Pattern[str]


class Naming:
    """Names operations by method and path; asked for each distinct pair once."""

    def __init__(
        self,
        globs: tuple[_Glob, ...] = (),
        ignored: tuple[re.Pattern[str], ...] = (),
        other: str | None = "request",
        burst_ns: int = -1,
        kinds: tuple[str, ...] = (),
    ) -> None:
        self._globs = globs
        self._ignored = ignored
        self._other = other
        self.burst_ns = burst_ns
        """Requests of a source no further apart are one operation; -1: each is one of its own."""
        self.ignored_kinds = kinds
        self._known: dict[tuple[str, str], str | None] = {}
        self.one_name = other if not globs and not ignored else None
        """The operation of every request, where there is no choice."""

    def __call__(self, method: str, path: str) -> str | None:
        """The operation of a request; None: it is left out."""
        key = (method, path)
        if key not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = self._name(method, path)
        return self._known[key]

    def _name(self, method: str, path: str) -> str | None:
        if any(pattern.match(path) for pattern in self._ignored):
            return None
        for glob in self._globs:
            if glob.method in (None, method) and glob.path.match(path):
                return glob.name
        return self._other


def load_naming(path: Path) -> Naming:
    """Read an operations file; raises `InputError` naming the file and the key."""
    if not path.is_file():
        raise InputError(f"--operations {path}: there is no such file")
    return parse_naming(read_toml(path), str(path))


def parse_naming(document: Mapping[str, Any], file: str) -> Naming:
    """Validate an operations file; raises `ProfileError` naming the file and the key."""
    top = Table(document, file)
    top.whole("schema", least=1, most=1)
    burst_ns = top.duration_ns("burst", -1)
    other = top.text("other", None)
    ignore = top.table("ignore", {})
    ignored = tuple(re.compile(translate(glob)) for glob in ignore.texts("paths", ()))
    kinds = ignore.texts("kinds", (), allowed=("browser", "program", "crawler", "unknown"))
    ignore.done()
    globs = []
    for table in top.array("operations"):
        globs.append(
            _Glob(
                table.text("name"), table.text("method", None), re.compile(translate(table.text("path", "*")))
            )
        )
        table.done()
    top.done()
    if not globs and other is None:
        raise ProfileError(
            file, "operations", "names no operation, and without `other` nothing would be left"
        )
    return Naming(tuple(globs), ignored, other, burst_ns, kinds)


def kind_of(agent: bytes) -> str:
    """What a User-Agent says it is: crawler, program, browser; unknown where it says nothing known."""
    if _CRAWLER.search(agent):
        return "crawler"
    if _PROGRAM.search(agent):
        return "unknown" if agent in (b"", b"-") else "program"
    return "browser" if b"Mozilla/" in agent or b"Opera/" in agent else "unknown"
