"""What a parser makes of a block: columns of requests, and how many lines it could not use and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["FIRST_NS", "LAST_NS", "NO_BYTES", "Parsed", "civil_ns", "joined"]

Ints = npt.NDArray[np.int64]

FIRST_NS = 0
LAST_NS = 4_102_444_800_000_000_000
"""1970 to 2099: what lies outside is no time of a request."""
NO_BYTES = -1


@dataclass
class Parsed:
    """Requests in the order of the file; all columns have one length."""

    at_ns: Ints
    """Nanoseconds since 1970 UTC."""
    source: pa.Array | None = None
    """Who asked, in the clear; None where the file does not tell sources apart."""
    method: pa.Array | None = None
    path: pa.Array | None = None
    """Without the query."""
    status: npt.NDArray[np.int16] | None = None
    """0 where there is none."""
    size: Ints | None = None
    """Bytes of the answer, `NO_BYTES` where it is not said."""
    agent: pa.Array | None = None
    kind: pa.Array | None = None
    """browser, program, crawler or unknown, where the file says so itself."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Lines without a request, by reason."""
    other: Counter[str] = field(default_factory=Counter)
    """Lines of another format than the file's, read all the same."""
    lines: int = 0

    def __len__(self) -> int:
        return len(self.at_ns)


def joined(first: Parsed, second: Parsed, order: Ints) -> Parsed:
    """Both, rows reordered by `order` over the first's rows and then the second's."""

    def arrays(one: pa.Array | None, other: pa.Array | None) -> pa.Array | None:
        if one is None and other is None:
            return None
        one = pa.nulls(len(first), pa.binary()) if one is None else one.cast(pa.binary())
        other = pa.nulls(len(second), pa.binary()) if other is None else other.cast(pa.binary())
        return pa.concat_arrays([one, other]).take(pa.array(order))

    def numbers(one: Any, other: Any, missing: int, dtype: Any) -> Any:
        if one is None and other is None:
            return None
        one = np.full(len(first), missing, dtype) if one is None else one
        other = np.full(len(second), missing, dtype) if other is None else other
        return np.concatenate([one, other])[order]

    return Parsed(
        at_ns=np.concatenate([first.at_ns, second.at_ns])[order],
        source=arrays(first.source, second.source),
        method=arrays(first.method, second.method),
        path=arrays(first.path, second.path),
        status=numbers(first.status, second.status, 0, np.int16),
        size=numbers(first.size, second.size, NO_BYTES, np.int64),
        agent=arrays(first.agent, second.agent),
        kind=arrays(first.kind, second.kind),
        dropped=first.dropped + second.dropped,
        other=first.other + second.other,
        lines=first.lines + second.lines,
    )


def civil_ns(year: Ints, month: Ints, day: Ints, second_of_day: Ints) -> Ints:
    """Nanoseconds since 1970 of dates in the Gregorian calendar, UTC (Hinnant's days_from_civil)."""
    y = year - (month <= 2)
    era = y // 400
    yoe = y - era * 400
    doy = (153 * (month + np.where(month > 2, -3, 9)) + 2) // 5 + day - 1
    doe = yoe * 365 + yoe // 4 - yoe // 100 + doy
    at_ns: Ints = ((era * 146_097 + doe - 719_468) * 86_400 + second_of_day) * 1_000_000_000
    return at_ns
