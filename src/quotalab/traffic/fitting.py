"""Fitting: a trace becomes a traffic profile that travels without it.

The profile holds how many people of which class there are, when their sessions begin, how long they are,
and how their gaps follow each other. Classes are made of tempo (a person's mean logarithm of gaps) and
length (a person's mean session), three of each; people without a gap, and each source that makes a large
part of all requests, are classes of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quotalab.errors import InputError
from quotalab.traces.measuring import Sessions, sessions_of
from quotalab.traces.trace import Trace
from quotalab.traffic.calendar import HOUR_NS
from quotalab.traffic.replaying import period_of
from quotalab.traffic.think_times import FittedLaw, fit_laws

__all__ = ["Gaps", "chain_document", "gaps_of", "laws_document", "operations_of", "replay_document", "toml"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_DAY_NS = 24 * HOUR_NS
_SECOND_NS = 10**9
_EDGES_S = (0, 1, 2, 3, 5, 8, 14, 31, 61, 181, 601, 1801)
"""Gap classes where the recorder's clock had steps of a second: [0, 1), [1, 2), ..., to a session's end."""
_CLASSES = 3
_LARGE = 0.007
"""A source that makes more of all requests than this is a class of its own."""
_SHORT_S, _RUN = 2.0, 8
"""So many gaps below so many seconds in a row are a run: what follows is counted by itself. Up to that it is
counted by how many there were, and by the pause before them: who waits keeps to a pace."""
_DIFFERENT = 1.5
"""How much more people's means must vary than chance makes them, for people to be of classes by tempo."""
_MOODS, _ENOUGH_SESSIONS = 3, 9
"""Moods of a large source that has at least so many sessions with a gap."""
_PRIOR = 0.5
"""How many transitions like everybody's a class is given besides its own."""
_POINTS = 17
_MOST_VALUES = 64
_MOST_OPERATIONS = 20
_MONDAY = 4


@dataclass(frozen=True)
class Gaps:
    """The gaps within sessions, in order of source and time."""

    seconds: Floats
    source: Ints
    session: Ints
    """Row in the `Sessions`."""
    begins: npt.NDArray[np.bool_]
    """Whether it is its session's first."""


def gaps_of(trace: Trace, sessions: Sessions) -> Gaps:
    """All gaps of a trace within sessions."""
    at = trace.at_ns[sessions.order]
    session = np.repeat(np.arange(len(sessions)), sessions.length)
    inside = session[1:] == session[:-1]
    mine = session[1:][inside]
    begins = np.append(True, mine[1:] != mine[:-1])[: len(mine)]
    return Gaps(np.diff(at)[inside] / _SECOND_NS, sessions.source[mine], mine, begins)


def operations_of(trace: Trace, named: Mapping[str, str], mix: Mapping[str, float]) -> dict[str, Any]:
    """The table of operations: what is asked first, and what after what.

    `named` gives the scenario's operation for the trace's (``*``: for any other). `mix` draws operations by
    shares instead, whatever the trace says. Raises `InputError` where more than 20 are left.
    """
    if mix:
        total = sum(mix.values())
        shares = [round(share / total, 6) for share in mix.values()]
        return {"names": list(mix), "first": shares, "next": [shares] * len(shares)}
    ours = [named.get(name, named.get("*", name)) for name in trace.operations]
    names = sorted(set(ours))
    if len(names) > _MOST_OPERATIONS:
        raise InputError(
            f"the trace has {len(names)} operations, {_MOST_OPERATIONS} at most can be fitted; import it "
            f"with --operations, or name them with --map"
        )
    codes = np.array([names.index(name) for name in ours])[trace.operation]
    sessions = sessions_of(trace)
    asked = codes[sessions.order]
    first = np.bincount(asked[sessions.first], minlength=len(names))
    inside = np.ones(len(asked), dtype=bool)
    inside[sessions.first] = False
    later = np.flatnonzero(inside)
    pairs = np.bincount(asked[later - 1] * len(names) + asked[later], minlength=len(names) ** 2)
    seldom = 1e-9 * (np.bincount(codes, minlength=len(names)) + 1)  # for what nothing ever followed
    following = pairs.reshape(len(names), len(names)) + seldom
    return {"names": names, "first": _rounded(first), "next": [_rounded(row) for row in following]}


def chain_document(
    trace: Trace,
    *,
    name: str,
    named: Mapping[str, str] | None = None,
    mix: Mapping[str, float] | None = None,
    people: int | None = None,
) -> dict[str, Any]:
    """A traffic profile of kind ``chain``. Raises `InputError` where there is nothing to fit."""
    if len(trace) < 2:
        raise InputError("the trace holds fewer than two requests; there is nothing to fit")
    sessions = sessions_of(trace)
    gaps = gaps_of(trace, sessions)
    edges = _edges(gaps.seconds, trace.resolution_ns)
    gap_class = np.clip(np.searchsorted(edges, gaps.seconds, "right") - 1, 0, len(edges) - 2)
    classes, labels = _classes(trace, sessions, gaps)
    short = int((edges[1:] <= _SHORT_S).sum())
    kinds = len(edges) - 1
    mood, first_mood = _moods(sessions, gaps, classes, len(labels))
    following = _transitions(gaps, gap_class, mood, int(first_mood[-1]), kinds, short)
    period_days = max(1, period_of(trace) // _DAY_NS)
    hour = _hour_of_period(sessions.start_ns, period_days)
    per_source = np.bincount(sessions.source, minlength=trace.source_count)
    tables = []
    for code, label in enumerate(labels):
        mine = classes == code
        of_mine = mine[sessions.source]
        tables.append(
            {
                "name": label,
                "people": int(mine.sum()),
                "sessions": _discrete(per_source[mine]),
                "by_hour": np.bincount(hour[of_mine], minlength=24 * period_days).tolist(),
                "moods": [
                    {
                        "share": int((mood == one).sum()),
                        "length": _discrete(sessions.length[mood == one]),
                        **_following(following[one], kinds, short),
                    }
                    for one in range(first_mood[code], first_mood[code + 1])
                ],
            }
        )
    document = {
        "kind": "chain",
        **_head(trace, sessions, period_days, name, people),
        "period_days": period_days,
        "gaps": {
            "resolution": f"{trace.resolution_ns}ns",
            "run": _RUN,
            "short": short,
            "within_s": [_within(gaps.seconds[gap_class == i], edges, i) for i in range(len(edges) - 1)],
        },
        "operations": operations_of(trace, named or {}, mix or {}),
        "classes": tables,
    }
    laws = fit_laws(gaps.seconds, trace.resolution_ns / _SECOND_NS)
    if laws:
        document["think_s"] = _law_table(laws[0])
    return document


def laws_document(
    trace: Trace,
    *,
    name: str,
    named: Mapping[str, str] | None = None,
    mix: Mapping[str, float] | None = None,
    people: int | None = None,
) -> dict[str, Any]:
    """A traffic profile of kind ``laws``, to be edited by hand: simpler, and less true than the chain."""
    if len(trace) < 2:
        raise InputError("the trace holds fewer than two requests; there is nothing to fit")
    sessions = sessions_of(trace)
    days = max(1, period_of(trace) // _DAY_NS)
    per_day = np.bincount(sessions.source * days + _hour_of_period(sessions.start_ns, days) // 24)
    laws = fit_laws(gaps_of(trace, sessions).seconds, trace.resolution_ns / _SECOND_NS)
    table = operations_of(trace, named or {}, mix or {})
    shares = np.array(table["first"])
    for _ in range(200):
        shares = shares @ np.array(table["next"])
    return {
        **_head(trace, sessions, days, name, people),
        "arrivals": {"by_hour": np.bincount(_hour_of_period(sessions.start_ns, 1), minlength=24).tolist()},
        "sessions": {"per_person": np.bincount(per_day)[1:].tolist()},
        "operations": {
            "per_session": _discrete(np.minimum(sessions.length, 10_000)),
            "think_s": _law_table(laws[0]) if laws else {"law": "constant", "value": 0},
        },
        "mix": {one: round(float(share), 6) for one, share in zip(table["names"], shares, strict=True)},
    }


def _head(trace: Trace, sessions: Sessions, days: int, name: str, people: int | None) -> dict[str, Any]:
    """What a fitted profile says of itself."""
    return {
        "schema": 1,
        "name": name,
        "title": f"Fitted to a trace of {len(trace):,} requests",
        "description": f"{trace.source_count:,} sources, {len(sessions):,} sessions, in {days} d.",
        "people": people or trace.source_count,
    }


def replay_document(
    trace: Trace,
    path: str,
    *,
    name: str,
    kind: str,
    named: Mapping[str, str] | None = None,
    people: int | None = None,
) -> dict[str, Any]:
    """A traffic profile of kind ``replay`` or ``resample``, which needs the trace beside it."""
    operations = dict(named or {}) or {one: one for one in trace.operations}
    return {
        "schema": 1,
        "kind": kind,
        "name": name,
        "title": f"A trace of {len(trace):,} requests, {'resampled' if kind == 'resample' else 'replayed'}",
        "people": people or trace.source_count,
        kind: {"trace": path, "operations": operations},
    }


def _edges(seconds: Floats, resolution_ns: int) -> Floats:
    if resolution_ns >= _SECOND_NS or not len(seconds):
        return np.array(_EDGES_S, dtype=np.float64)
    shares = [0, 0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 0.95, 0.98, 0.995]
    return np.append(np.unique(np.quantile(seconds, shares)), _EDGES_S[-1])


def _classes(trace: Trace, sessions: Sessions, gaps: Gaps) -> tuple[Ints, list[str]]:
    """The class of each source, and the classes' names."""
    sources = trace.source_count
    count = np.bincount(gaps.source, minlength=sources)
    mean_log = np.bincount(gaps.source, np.log1p(gaps.seconds), minlength=sources) / np.maximum(count, 1)
    requests = np.bincount(trace.source, minlength=sources)
    mean_length = requests / np.bincount(sessions.source, minlength=sources)
    has = count > 0
    thirds = np.arange(1, _CLASSES) / _CLASSES
    tempo = np.searchsorted(np.quantile(mean_log[has], thirds) if has.any() else [0.0, 0.0], mean_log)
    if not _people_differ(gaps, count, mean_log):
        tempo = np.ones(sources, dtype=np.int64)
    length = np.searchsorted(np.quantile(mean_length, thirds), mean_length)
    code = np.where(has, tempo * _CLASSES + length, _CLASSES * _CLASSES)
    large = np.flatnonzero(requests > max(_LARGE * len(trace), 50))
    for i, source in enumerate(large.tolist() if sources > 1 else []):
        code[source] = _CLASSES * _CLASSES + 1 + i
    used, classes = np.unique(code, return_inverse=True)
    tempi, lengths = ("quick", "steady", "slow"), ("short", "middling", "long")
    names = []
    for one in used.tolist():
        if one < _CLASSES * _CLASSES:
            names.append(f"{tempi[one // _CLASSES]}, {lengths[one % _CLASSES]} sessions")
        elif one == _CLASSES * _CLASSES:
            names.append("single requests")
        else:
            share = requests[large[one - _CLASSES * _CLASSES - 1]] / len(trace)
            names.append(f"one that makes {share:.1%} of all")
    return classes.reshape(-1).astype(np.int64), names


def _people_differ(gaps: Gaps, count: Ints, mean_log: Floats) -> bool:
    """Whether people's mean logarithms of gaps differ by more than chance: the F ratio of their variances.

    Sorting people by what is chance alone would make quick ones and slow ones of them that never were.
    """
    has = count > 0
    people, total = int(has.sum()), int(count.sum())
    if people < 2 or total <= people:
        return False
    logs = np.log1p(gaps.seconds)
    among = float((count * (mean_log - logs.mean()) ** 2).sum()) / (people - 1)
    inside = float(((logs - mean_log[gaps.source]) ** 2).sum()) / (total - people)
    return among > _DIFFERENT * inside


def _moods(sessions: Sessions, gaps: Gaps, classes: Ints, many: int) -> tuple[Ints, Ints]:
    """The mood of each session, counted through all classes, and the first mood of each class (and the end).

    Where one source is a class of its own, its sessions differ as people do: by equal parts of their mean
    logarithm of gaps. Elsewhere people differ, and one mood is enough.
    """
    count = np.bincount(gaps.session, minlength=len(sessions))
    mean_log = np.bincount(gaps.session, np.log1p(gaps.seconds), minlength=len(sessions)) / np.maximum(
        count, 1
    )
    of_class = classes[sessions.source]
    people = np.bincount(classes, minlength=many)
    mood = np.zeros(len(sessions), dtype=np.int64)
    first = [0]
    for code in range(many):
        mine = np.flatnonzero(of_class == code)
        thinking = mine[count[mine] > 0]
        parts = np.zeros(len(mine), dtype=np.int64)
        if people[code] == 1 and len(thinking) >= _ENOUGH_SESSIONS:
            cuts = np.quantile(mean_log[thinking], np.arange(1, _MOODS) / _MOODS)
            parts = np.where(count[mine] > 0, np.searchsorted(cuts, mean_log[mine]), _MOODS)
        used, parts = np.unique(parts, return_inverse=True)
        mood[mine] = first[-1] + parts.reshape(-1)
        first.append(first[-1] + len(used))
    return mood, np.array(first)


def _transitions(gaps: Gaps, gap_class: Ints, mood: Ints, many: int, kinds: int, short: int) -> Floats:
    """Shares of gap classes (moods, states, kinds): after each pause; at the start; after each short gap in a
    run; after so many of them, by the last pause."""
    start = kinds - short
    states = start + 1 + short + ((_RUN - 1) * (start + 1) if short else 0)
    before = np.empty_like(gap_class)
    if len(before):
        brief = gap_class < short
        run = _runs(brief, gaps.begins)
        remembered = short + _last_pauses(gap_class - short + 1, brief, gaps.begins) * (_RUN - 1) + run - 1
        after_short = start + 1 + np.where(run >= _RUN, gap_class, remembered)
        before[1:] = np.where(brief, after_short, gap_class - short)[:-1]
    before[gaps.begins] = start
    flat = (mood[gaps.session] * states + before) * kinds + gap_class
    counts = np.bincount(flat, minlength=many * states * kinds).reshape(many, states, kinds)
    everybody = counts.sum(axis=0) + 0.01
    everybody = everybody / everybody.sum(axis=1, keepdims=True)
    shares = counts + _PRIOR * everybody
    found: Floats = shares / shares.sum(axis=2, keepdims=True)
    return found


def _runs(short: npt.NDArray[np.bool_], begins: npt.NDArray[np.bool_]) -> Ints:
    """How many short gaps of a session follow each other up to each gap, itself included."""
    place = np.arange(len(short))
    since = np.maximum.accumulate(np.where(~short, place + 1, np.where(begins, place, 0)))
    found: Ints = np.where(short, place - since + 1, 0)
    return found


def _last_pauses(pause: Ints, short: npt.NDArray[np.bool_], begins: npt.NDArray[np.bool_]) -> Ints:
    """Up to each gap the last of its session that was not short; 0: there was none."""
    place = np.arange(len(short))
    last = np.maximum.accumulate(np.where(short, -1, place))
    first = np.maximum.accumulate(np.where(begins, place, 0))
    found: Ints = np.where(last >= first, pause[last], 0)
    return found


def _following(rows: Floats, kinds: int, short: int) -> dict[str, Any]:
    """One mood's states, as they stand in a profile."""
    pauses = kinds - short
    found: dict[str, Any] = {"first": _rounded(rows[pauses])}
    if pauses:
        found["next"] = [_rounded(row) for row in rows[:pauses]]
    if short:
        found["next_in_run"] = [_rounded(row) for row in rows[pauses + 1 : pauses + 1 + short]]
        found["next_after_short"] = [_rounded(row) for row in rows[pauses + 1 + short :]]
    return found


def _hour_of_period(at_ns: Ints, period_days: int) -> Ints:
    """The hour of the period; periods of whole weeks begin on Mondays."""
    hour = at_ns // HOUR_NS
    found: Ints = (hour // 24 - _MONDAY) % period_days * 24 + hour % 24
    return found


def _within(seconds: Floats, edges: Floats, i: int) -> list[float]:
    if not len(seconds):
        return [float(edges[i]), float(edges[i])]
    if seconds.min() == seconds.max():
        return [round(float(seconds.min()), 6)] * 2
    return [round(float(one), 6) for one in np.quantile(seconds, np.linspace(0, 1, _POINTS))]


def _discrete(values: Ints) -> dict[str, list[float]]:
    """A law of at most 64 values: as they are, else the means of equal parts."""
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) > _MOST_VALUES:
        # The most frequent ones stay; the rest, in order, are put together in parts of about equal mass.
        ordered = np.sort(values)
        parts = np.array_split(ordered, _MOST_VALUES)
        top = np.array_split(parts[-1], min(len(parts[-1]), 8))
        pieces = [piece for piece in [*parts[:-1], *top] if len(piece)]
        means = [round(float(piece.mean())) for piece in pieces]
        table: dict[int, int] = {}
        for mean, piece in zip(means, pieces, strict=True):
            table[mean] = table.get(mean, 0) + len(piece)
        return {"values": list(table), "weights": list(table.values())}
    return {"values": distinct.tolist(), "weights": counts.tolist()}


def _law_table(law: FittedLaw) -> dict[str, Any]:
    parameters = {
        name: round(value if name == "mu" else max(value, 1e-6), 6) for name, value in law.parameters.items()
    }
    return {"law": law.law, **parameters, "most": 1800}


def _rounded(weights: npt.NDArray[Any]) -> list[float]:
    total = weights.sum()
    return (
        [round(float(weight / total), 6) for weight in weights]
        if total
        else [1.0 / len(weights)] * len(weights)
    )


# ---- as TOML


def toml(document: Mapping[str, Any], comments: Sequence[str] = ()) -> str:
    """A document of tables, lists, texts and numbers as TOML."""
    lines = [f"# {line}".rstrip() for line in comments]
    _table_lines(document, "", lines)
    return "\n".join(lines) + "\n"


def _table_lines(table: Mapping[str, Any], path: str, lines: list[str]) -> None:
    below: list[tuple[str, Any]] = []
    for key, value in table.items():
        if (isinstance(value, Mapping) and not _inline(value)) or _is_array_of_tables(value):
            below.append((key, value))
        else:
            lines.append(f"{_key(key)} = {_value(value)}")
    for key, value in below:
        name = f"{path}.{_key(key)}" if path else _key(key)
        for one in value if isinstance(value, list) else [value]:
            lines += ["", f"[[{name}]]" if isinstance(value, list) else f"[{name}]"]
            _table_lines(one, name, lines)


def _inline(value: Mapping[str, Any]) -> bool:
    return set(value) <= {"values", "weights", "at"} or "law" in value


def _is_array_of_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) for one in value)


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else _text(key)


def _text(text: str) -> str:
    plain = "".join(one if one.isprintable() else " " for one in text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".") if abs(value) < 1e15 else repr(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        if value and isinstance(value[0], list):
            return "[\n" + "".join(f"  {_value(one)},\n" for one in value) + "]"
        return "[" + ", ".join(map(_value, value)) + "]"
    return str(value)
