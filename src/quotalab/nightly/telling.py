"""What one run comes to for a comparison: its figures, its rules, and its calls in order."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quotalab.ledger.folder import RunFolder
from quotalab.ledger.reader import read_ledger
from quotalab.ledger.text import visible

__all__ = ["COLUMNS", "Told", "call_lines", "environment", "packed", "tell", "unpacked"]

COLUMNS = ("at", "kind", "person", "method", "route", "status", "limit", "retry_after", "operation")
"""What a line of calls says: time from the run's start (s), and the columns of the ledger; ``-``: none.

An operation is the number of its first appearance, from 1: a retry is seen to be one.
"""

_BATCH_ROWS = 8192


@dataclass(frozen=True)
class Told:
    """One run, as it is compared."""

    seed: int
    verdict: str
    rules: Mapping[str, str]
    """Id -> verdict."""
    figures: Mapping[str, float | None]
    """``utilisation.<limit>``, ``wait_p95_s``, ...: see `tell`."""
    ledger_sha256: str | None
    calls_sha256: str
    names: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Id -> name of the rules, for people; a baseline does not keep them."""

    def document(self) -> dict[str, Any]:
        """As a baseline keeps it."""
        return {
            "seed": self.seed,
            "verdict": self.verdict,
            "ledger_sha256": self.ledger_sha256,
            "calls_sha256": self.calls_sha256,
            "rules": dict(sorted(self.rules.items())),
            "figures": dict(sorted(self.figures.items())),
        }

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Told:
        """What `document` wrote. Raises ``KeyError``, ``TypeError`` or ``ValueError`` where it did not."""
        given = document["figures"].items()
        figures = {str(name): None if value is None else float(value) for name, value in given}
        if not all(value is None or math.isfinite(value) for value in figures.values()):
            raise ValueError("a figure is no number")
        return cls(
            int(document["seed"]),
            str(document["verdict"]),
            {str(id): str(verdict) for id, verdict in document["rules"].items()},
            figures,
            document["ledger_sha256"],
            str(document["calls_sha256"]),
        )


def environment(folder: Path) -> dict[str, str]:
    """What calls repeat exactly on: the versions that ran, and the family of processors."""
    versions = dict(RunFolder(folder).description().versions)
    return {**dict(sorted(versions.items())), "machine": platform.machine(), "system": platform.system()}


def call_lines(folder: Path) -> Iterator[str]:
    """The calls of a run in order, a line each, as `COLUMNS` say. Raises `RunFolderError`."""
    start_ns = RunFolder(folder).description().start_ns
    wanted = ["at", "kind", "person", "method", "route", "status", "limit", "retry_after_ns", "operation"]
    numbers: dict[str | None, int | None] = {None: None}
    table = read_ledger(folder).calls.select(wanted)
    for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
        columns = [batch.column(0).cast("int64").to_pylist()]
        columns += [batch.column(place).to_pylist() for place in range(1, len(wanted))]
        for at, kind, person, method, route, status, limit, promise, operation in zip(*columns, strict=True):
            since = at - start_ns
            cells = (
                f"{since // 10**9}.{since % 10**9:09}",
                kind,
                person,
                method,
                route,
                status,
                limit,
                None if promise is None else f"{promise / 1e9:g}",
                numbers.setdefault(operation, len(numbers)),
            )
            yield "\t".join("-" if cell is None else visible(str(cell)).replace("\t", " ") for cell in cells)


def packed(lines: Iterator[str]) -> bytes:
    """Lines of calls, gzipped; the same lines always give the same bytes."""
    text = "\t".join(COLUMNS) + "\n" + "".join(f"{line}\n" for line in lines)
    return gzip.compress(text.encode(), compresslevel=9, mtime=0)


def unpacked(data: bytes, most_bytes: int = 2**30) -> list[str]:
    """What `packed` packed. Raises ``ValueError`` when it is something else, or too large."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            text = file.read(most_bytes + 1)
    except (OSError, EOFError) as error:
        raise ValueError(f"is not gzip: {error}") from error
    if len(text) > most_bytes:
        raise ValueError(f"unpacks to more than {most_bytes:,} bytes")
    lines = text.decode(errors="replace").splitlines()
    if not lines or lines[0] != "\t".join(COLUMNS):
        raise ValueError("does not begin with the names of the columns")
    return lines[1:]


def tell(seed: int, folder: Path) -> Told:
    """What a judged run comes to.

    Figures, of which more is worse unless said: ``utilisation.<limit>``, ``refused``, ``calls`` (to the API),
    ``token_calls``, ``calls_per_operation``, ``retry_amplification``, ``wait_p50_s``, ``wait_p95_s``,
    ``done_share`` (less is worse) and ``scopes`` (the most that one authorization asked for).
    """
    document = json.loads(RunFolder(folder).verdict.read_text(encoding="utf-8"))
    m = document["metrics"]
    calls = read_ledger(folder).calls
    asked = [row["scopes_asked"] for row in calls.column("oauth").to_pylist() if row and row["scopes_asked"]]
    figures: dict[str, float | None] = {
        f"utilisation.{limit['name']}": limit["utilisation"] for limit in document["limits"]
    }
    figures |= {
        "refused": m["refused"],
        "calls": m["api_calls"],
        "token_calls": calls.column("kind").to_pylist().count("token"),
        "calls_per_operation": m["calls_per_operation"],
        "retry_amplification": m["retry_amplification"],
        "wait_p50_s": m["wait_p50_s"],
        "wait_p95_s": m["wait_p95_s"],
        "done_share": m["operations_done"] / m["operations"] if m["operations"] else None,
        "scopes": max((len(scopes.split()) for scopes in asked), default=None),
    }
    digest = hashlib.sha256()
    for line in call_lines(folder):
        digest.update(line.encode() + b"\n")
    return Told(
        seed,
        document["verdict"],
        {rule["id"]: rule["verdict"] for rule in document["rules"]},
        figures,
        document["run"]["ledger_sha256"],
        digest.hexdigest(),
        {rule["id"]: rule["name"] for rule in document["rules"]},
    )
