"""Which headers some calls had: read from the ledger only when a rule asks, and only for the rows it names.

The headers' JSON costs more to read than all else together, so that the frames leave it out.
"""

from __future__ import annotations

import json
from typing import Any

import numpy.typing as npt

from quotalab.frames.loading import Frames
from quotalab.ledger.reader import read_cells

__all__ = ["header_names"]


def header_names(frames: Frames, column: str, rows: npt.NDArray[Any]) -> list[frozenset[str]] | None:
    """The names of the headers, in lower case, of the calls at the positions `rows`.

    `column` is ``request_headers`` or ``response_headers``. None where there is no ledger to read.
    """
    if frames.folder is None:
        return None
    return [_names(text) for text in read_cells(frames.folder, column, rows.tolist())]


def _names(text: str | None) -> frozenset[str]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return frozenset()
    return frozenset(found) if isinstance(found, dict) else frozenset()
