"""Recording a run: the folder with its inputs, the ledger while it is written, and the proper end."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from quotalab import __version__
from quotalab.ledger.canonical import ledger_sha256
from quotalab.ledger.folder import RunDescription, RunFolder
from quotalab.ledger.reader import compact, read_ledger
from quotalab.ledger.writer import LedgerWriter

__all__ = ["Recording", "default_folder"]

_UNKNOWN_ID = "[unknown]"
_PACKAGES = ("authlib", "gevent", "httpx", "locust", "numpy", "pandas", "pyarrow", "time-machine")


def default_folder(now_ns: int, scenario: str, provider: str, seed: int | None) -> Path:
    """``runs/<time>-<scenario>-<provider>-<seed>``, with a number behind it where that is taken."""
    stamp = datetime.datetime.fromtimestamp(now_ns // 10**9, datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    name = f"{stamp}-{scenario}-{provider.replace('/', '+')}"
    if seed is not None:
        name += f"-{seed}"
    path, count = Path("runs") / name, 1
    while path.exists():
        count += 1
        path = path.with_name(f"{name}-{count}")
    return path


def _with_known_ids(app_log: pa.Table, known: pa.ChunkedArray) -> pa.Table:
    """The app's log with the request ids that the ledger has; any other may be anything, a secret too."""
    ids = app_log["request_id"]
    strange = pc.and_(pc.is_valid(ids), pc.invert(pc.is_in(ids, value_set=known.unique().drop_null())))
    shown = pc.if_else(strange, _UNKNOWN_ID, ids)
    return app_log.set_column(
        app_log.schema.get_field_index("request_id"), app_log.field("request_id"), shown
    )


class Recording:
    """A run folder under way: `writer` takes the rows; `end` closes it well.

    `scenario` is the locustfile, or in a word what there is in place of one.
    `documents` are the resolved profiles, kept as ``inputs/NAME.json``; `described` are the other fields of
    `RunDescription`. `monotonic_ns` is a real clock. Raises `RunFolderError`.
    """

    def __init__(
        self,
        path: Path,
        monotonic_ns: Callable[[], int],
        *,
        scenario: Path | str,
        documents: Mapping[str, Mapping[str, Any]],
        **described: Any,
    ) -> None:
        self.folder = RunFolder.create(path)
        inputs = {}
        if isinstance(scenario, Path):
            text = scenario.read_text(encoding="utf-8")
            inputs[scenario.name] = self.folder.write_input(scenario.name, text)
            scenario = scenario.stem
        for name, document in documents.items():
            text = json.dumps(document, indent=2, default=str) + "\n"  # dates become text
            inputs[f"{name}.json"] = self.folder.write_input(f"{name}.json", text)
        versions = {"quotalab": __version__, "python": platform.python_version()}
        versions |= {package: importlib.metadata.version(package) for package in _PACKAGES}
        self._description = RunDescription(scenario=scenario, inputs=inputs, versions=versions, **described)
        self.folder.write_description(self._description)
        self._monotonic_ns = monotonic_ns
        self._began_ns = monotonic_ns()
        self.writer = LedgerWriter(self.folder.path, monotonic_ns)

    def discard(self) -> None:
        """The run never began: leave nothing behind."""
        self.writer.close()
        shutil.rmtree(self.folder.path)

    def end(self, ended_ns: int, app_log: pa.Table | None = None) -> None:
        """The run came to its end: close the ledger, make Parquet of it, and say that it is complete.

        `app_log` is what the app wrote of its calls (`APP_LOG`); it lies beside the ledger.
        """
        self.writer.close()
        wall_s = (self._monotonic_ns() - self._began_ns) / 1e9
        tables = read_ledger(self.folder.path)
        written = compact(self.folder.path, tables)
        if app_log is not None:
            written["applog.parquet"] = self._write(_with_known_ids(app_log, tables.calls["request_id"]))
        self.folder.write_description(
            replace(
                self._description,
                complete=True,
                ended_ns=ended_ns,
                wall_s=round(wall_s, 3),
                ledger_sha256=ledger_sha256(tables),
                tables=written,
            )
        )

    def _write(self, app_log: pa.Table) -> str:
        """Write the app's log; returns the file's SHA-256."""
        path = self.folder.path / "applog.parquet"
        pq.write_table(app_log, path, compression="zstd")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
