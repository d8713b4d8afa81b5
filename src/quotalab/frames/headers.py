"""Which headers some calls had: read from the ledger only when asked for, and only for the rows named.

The headers' JSON costs more to read than all else together, so that the frames leave it out.
"""

from __future__ import annotations

import json
from typing import Any

import numpy.typing as npt
import pyarrow.parquet as pq

from quotalab.frames.loading import Frames
from quotalab.ledger.reader import read_cells, read_ledger

__all__ = ["header_names", "headers_of"]

_MOST_HEADERS = 60
_HEADERS = ("request_headers", "response_headers")


def header_names(frames: Frames, column: str, rows: npt.NDArray[Any]) -> list[frozenset[str]] | None:
    """The names of the headers, in lower case, of the calls at the positions `rows`.

    `column` is ``request_headers`` or ``response_headers``. None where there is no ledger to read.
    """
    if frames.folder is None:
        return None
    return [frozenset(_parsed(text)) for text in read_cells(frames.folder, column, rows.tolist())]


def headers_of(frames: Frames, seqs: frozenset[int]) -> dict[int, tuple[dict[str, str], dict[str, str]]]:
    """The headers of requests and answers by `seq`, as the ledger has them: redacted.

    Empty where there is no ledger to read, or its rows have no headers.
    """
    if frames.folder is None or not seqs:
        return {}
    parquet = frames.folder / "calls.parquet"
    if parquet.exists():
        columns = ["seq", *_HEADERS]
        table = pq.read_table(parquet, columns=columns, filters=[("seq", "in", list(seqs))])
    else:
        table = read_ledger(frames.folder).calls
    found = {}
    for seq, *texts in zip(*(table.column(name).to_pylist() for name in ("seq", *_HEADERS)), strict=True):
        if seq in seqs:
            asked, answered = (
                {str(name): str(value) for name, value in list(_parsed(text).items())[:_MOST_HEADERS]}
                for text in texts
            )
            found[seq] = (asked, answered)
    return found


def _parsed(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
