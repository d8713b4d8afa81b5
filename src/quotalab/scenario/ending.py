"""What is looked at when the app has been closed: its files for secrets, and its own log of its calls."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa

from quotalab.aftermath import AppFiles, Patterns, ReadLog, Searched, read_log, search_file
from quotalab.ledger.text import visible
from quotalab.profiles.app import AppSettings
from quotalab.sandbox import Sandbox

__all__ = ["Ending"]

_MOST_SKIPPED = 20


class Ending:
    """Made before the app is; `look` when it is gone, and the sandbox is still there.

    `state` is a folder in which the app keeps things beside the files that its settings name.
    """

    def __init__(self, app: AppSettings, root: Path, sandbox: Sandbox, state: Path | None) -> None:
        self._app = app
        self._root = root.resolve()
        self._sandbox = sandbox
        self._state = state
        self._files = AppFiles(root, app.files)
        self._log = AppFiles(root, (app.log.file,)) if app.log is not None else None
        self.outputs: dict[str, Path] = {}
        """By name: files into which what the app has printed was kept."""

    def look(self) -> pa.Table | None:
        """Write events of what was found; returns the entries of the app's log, if it has one."""
        if self._app.files or self.outputs or self._state is not None or self._log is not None:
            self._search()
        return self._read_log() if self._log is not None else None

    def _search(self) -> None:
        patterns = Patterns(self._sandbox.secrets)
        searched = self._files.search(patterns)
        if self._log is not None:
            known = {name for name, _ in searched.names}
            more = self._log.search(patterns, without=known)
            searched.add(more)
        if self._state is not None:
            for path in sorted(self._state.rglob("*")):
                if path.is_file():
                    search_file(patterns, path, f"state/{path.relative_to(self._state).as_posix()}", searched)
        for name, path in self.outputs.items():
            search_file(patterns, path, name, searched, log=True)
        self._tell(searched, patterns)

    def _tell(self, searched: Searched, patterns: Patterns) -> None:
        skipped = [
            {"file": self._shown(one.file), "why": one.why} for one in searched.skipped[:_MOST_SKIPPED]
        ]
        places = Counter("log" if log else "state" for _, log in searched.names)
        for found in searched.hits:
            self._sandbox.event(
                "secret-found",
                file=self._shown(found.file),
                line=found.hit.line,
                kind=found.hit.kind,
                encoding=found.hit.encoding,
                place="log" if found.log else "state",
            )
        self._sandbox.event(
            "secrets-searched",
            logs=places["log"],
            state=places["state"],
            secrets=patterns.kinds,
            secrets_left_out=self._sandbox.secrets_left_out,
            found=len(searched.hits) + searched.untold,
            skipped=skipped,
            skipped_total=len(searched.skipped),
        )

    def _read_log(self) -> pa.Table | None:
        log = self._app.log
        assert log is not None, "asked only where there is a log"
        assert self._log is not None
        path = self._root / log.file
        begin = 0
        read = ReadLog(None, missing="leads out of the workspace")
        if path.resolve().is_relative_to(self._root):
            since = self._log.begins_at(path.resolve())
            if since is None and path.exists():
                since = path.stat().st_size  # nothing was added
            begin = since or 0
            host = urlsplit(self._sandbox.issuer).netloc.lower()
            read = read_log(log, path.resolve(), begin=begin, host=host, shown=self._sandbox.shown)
        self._sandbox.event(
            "app-log-read",
            file=self._shown(log.file),
            format=log.format,
            lines=read.lines,
            entries=read.entries.num_rows if read.entries is not None else 0,
            foreign=read.foreign,
            broken=read.broken,
            first_broken=[{"line": line, "why": visible(why)} for line, why in read.first_broken],
            cut=read.cut,
            missing=read.missing,
        )
        return read.entries

    def _shown(self, name: str) -> str:
        return visible(self._sandbox.shown(name))
