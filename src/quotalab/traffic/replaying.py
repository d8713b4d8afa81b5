"""Replaying: people live what a trace recorded, as it was, faster, again and again, or as more people.

Each person is given a source. While there are people enough each source is given once; further people are
copies, and are not identical: their sessions are moved, each by its own draw. Fewer people than sources are
given a part of them.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from quotalab.clock import Entropy
from quotalab.errors import InputError, ProfileError
from quotalab.profiles.traffic import Replay
from quotalab.traces.measuring import SESSION_NS, Sessions, sessions_of
from quotalab.traces.trace import Trace, read_trace
from quotalab.traffic.arrivals import Arrivals, kept_apart, steps_up_to
from quotalab.traffic.calendar import HOUR_NS
from quotalab.traffic.draws import Draws

__all__ = ["period_of", "replay_arrivals", "replayed"]

Ints = npt.NDArray[np.int64]

_DAY_NS = 24 * HOUR_NS


@lru_cache(maxsize=2)
def _trace(path: Path, sha256: str) -> tuple[Trace, Sessions]:
    del sha256  # another file under the same name is another trace
    trace = read_trace(path).by_operation()
    return trace, sessions_of(trace)


def period_of(trace: Trace) -> int:
    """How long a trace lasts: whole hours, or whole days where it covers most of one."""
    span_ns = int(trace.at_ns[-1] - trace.at_ns[0]) + trace.resolution_ns
    unit_ns = _DAY_NS if span_ns > 20 * HOUR_NS else HOUR_NS
    return max(1, round((span_ns + unit_ns // 3) / unit_ns)) * unit_ns


def replayed(
    replay: Replay, file: str, entropy: Entropy, *, people: int, start_ns: int, end_ns: int
) -> Arrivals:
    """What `people` ask in [start, end) by a profile. Raises `ProfileError` naming the key."""
    key = "resample" if replay.shuffled else "replay"
    try:
        trace, sessions = _trace(replay.trace, replay.sha256)
    except ProfileError:
        raise
    except InputError as error:
        raise ProfileError(file, f"{key}.trace", str(error)) from None
    names = tuple(replay.operations.get(name, replay.operations.get("*", "")) for name in trace.operations)
    for theirs, ours in zip(trace.operations, names, strict=True):
        if not ours:
            raise ProfileError(
                file,
                f"{key}.operations",
                f"does not say what {theirs!r} of the trace is; '*' is any",
            )
    span_ns = int((int(trace.at_ns[-1] - trace.at_ns[0]) + trace.resolution_ns) / replay.factor)
    if replay.loop_ns is not None and replay.loop_ns < span_ns:
        raise ProfileError(
            file, f"{key}.loop", f"must be at least as long as what is replayed, {span_ns / 1e9:,.0f} s"
        )
    found = replay_arrivals(trace, sessions, replay, entropy, people=people, start_ns=start_ns, end_ns=end_ns)
    return Arrivals.together([Arrivals(found.person, found.at_ns, found.operation, names)])


def replay_arrivals(
    trace: Trace,
    sessions: Sessions,
    replay: Replay,
    entropy: Entropy,
    *,
    people: int,
    start_ns: int,
    end_ns: int,
    only_loop: int | None = None,
) -> Arrivals:
    """The trace's requests as `people` live them in [start, end); operations under the trace's own codes.

    `only_loop` asks for one round alone, for comparisons.
    """
    step_ns: int | None
    if replay.shuffled:
        # Whole days, so that the time of day is kept.
        step_ns, origin_ns = -(-period_of(trace) // _DAY_NS) * _DAY_NS, 0
    elif replay.at_clock_time:
        step_ns, origin_ns = replay.loop_ns, 0
    else:
        step_ns, origin_ns = replay.loop_ns, start_ns
    sources = _sources(trace.source_count, people, Draws(entropy, "traffic", "source"))
    session, person = _sessions_of_people(sessions, sources, trace.source_count)
    copy = person // trace.source_count
    begin = sessions.start_ns[session]
    if not replay.shuffled and not replay.at_clock_time:
        begin = ((begin - int(trace.at_ns[0])) / replay.factor).astype(np.int64) if replay.factor != 1 else (
            begin - int(trace.at_ns[0])
        )  # fmt: skip
    if step_ns is None:
        loops = range(1)
        step_ns = 0
        if replay.at_clock_time:  # the same time of day, on the run's first day
            origin_ns = (start_ns // _DAY_NS - int(trace.at_ns[0]) // _DAY_NS) * _DAY_NS
    else:
        # A session may last into the next round, and is moved by an hour or `spread` at most.
        longest = int((sessions.end_ns - sessions.start_ns).max()) + max(replay.spread_ns, HOUR_NS)
        low, high = int(begin.min()), int(begin.max())
        loops = range(
            (start_ns - origin_ns - high - longest) // step_ns, (end_ns - origin_ns - low) // step_ns + 1
        )
        if not replay.shuffled and not replay.at_clock_time:
            loops = range(max(loops.start, 0), loops.stop)
    draws = (
        Draws(entropy, "traffic", "moved"),
        Draws(entropy, "traffic", "dealt"),
        Draws(entropy, "traffic", "dither"),
    )
    parts = []
    for loop in loops if only_loop is None else [only_loop]:
        moved, content = begin, session
        if replay.shuffled:
            content = _dealt(session, person, loop, draws[1])
            moved = begin // HOUR_NS * HOUR_NS + (draws[0].uniform(person, loop, session) * HOUR_NS).astype(
                np.int64
            )
            moved -= moved % trace.resolution_ns
            lasts = sessions.end_ns[content] - sessions.start_ns[content]
            moved = kept_apart(person, moved, lasts, SESSION_NS + 10**9)
        elif copy.any():
            shift = (draws[0].uniform(person, loop, session) * 2 - 1) * replay.spread_ns
            moved = begin + np.where(copy > 0, shift, 0).astype(np.int64)
        part = _spelt_out(trace, sessions, content, person, moved + origin_ns + loop * step_ns, replay.factor)
        if replay.shuffled:  # what one step of the recorder's clock held is spread over it
            row, rank = steps_up_to(sessions.length[content])
            dither = draws[2].uniform(person[row], loop, content[row], rank) * trace.resolution_ns
            part = Arrivals(part.person, part.at_ns + dither.astype(np.int64), part.operation, part.names)
        parts.append(part)
        parts[-1] = parts[-1].between(start_ns, end_ns)
    return Arrivals.together(parts) if parts else Arrivals.none()


def _sources(sources: int, people: int, draws: Draws) -> Ints:
    """The source of each person: dealt from shuffled decks that hold each source once."""
    decks = -(-people // sources)
    return np.concatenate([draws.permutation(sources, number) for number in range(decks)])[:people]


def _sessions_of_people(sessions: Sessions, source: Ints, sources: int) -> tuple[Ints, Ints]:
    """Every session of every person, and the person; sessions are in order of source already."""
    count = np.bincount(sessions.source, minlength=sources)
    first = np.cumsum(count) - count
    mine = count[source]
    person = np.repeat(np.arange(len(source)), mine)
    place = np.arange(len(person)) - np.repeat(np.cumsum(mine) - mine, mine)
    return first[source[person]] + place, person


def _dealt(session: Ints, person: Ints, loop: int, draws: Draws) -> Ints:
    """Each person's own sessions in another order, like a deck that is dealt anew: each once."""
    order = np.lexsort((draws.uniform(person, loop, session), person))
    return session[order]  # rows are in order of person, so a person's rows stay where they are


def _spelt_out(
    trace: Trace, sessions: Sessions, content: Ints, person: Ints, start_ns: Ints, factor: float
) -> Arrivals:
    length = sessions.length[content]
    first = np.cumsum(length) - length
    rows = sessions.order[np.repeat(sessions.first[content] - first, length) + np.arange(int(length.sum()))]
    since = trace.at_ns[rows] - np.repeat(sessions.start_ns[content], length)
    if factor != 1:
        since = (since / factor).astype(np.int64)
    return Arrivals(
        np.repeat(person, length),
        np.repeat(start_ns, length) + since,
        trace.operation[rows],
        trace.operations,
    )
