"""Sessions whose gaps follow a Markov chain: people of classes, drawn all at once.

Rank by rank: the first gap of every session, then the second of every session that has one, and so on.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quotalab.clock import Entropy
from quotalab.profiles.traffic import Calendar, Chain, Discrete
from quotalab.traffic.arrivals import Arrivals, drawn, kept_apart, steps_up_to
from quotalab.traffic.calendar import HOUR_NS, days_of_periods, hours_of_days, share_of_day
from quotalab.traffic.draws import Draws

__all__ = ["chain_arrivals", "chain_period", "classes_of_people"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_SECOND_NS = 10**9
_SILENCE_NS = 1801 * _SECOND_NS
"""What ends a session, in `quotalab.traces.measuring`, is more than half an hour."""


def classes_of_people(chain: Chain, draws: Draws, people: int) -> Ints:
    """The class of each person: dealt from shuffled decks that hold each class as often as was fitted.

    As many people as were fitted are of each class exactly as often; more people change nobody's class.
    """
    deck = np.repeat(np.arange(len(chain.classes)), [one.people for one in chain.classes])
    decks = -(-people // len(deck))
    return np.concatenate([deck[draws.permutation(len(deck), number)] for number in range(decks)])[:people]


def chain_arrivals(
    chain: Chain, calendar: Calendar, entropy: Entropy, *, people: int, start_ns: int, end_ns: int
) -> Arrivals:
    """What `people` ask in [start, end), each by their own draws of a period."""
    classes = classes_of_people(chain, Draws(entropy, "traffic", "class"), people)
    days = days_of_periods(start_ns, end_ns, chain.period_days)
    parts = [chain_period(chain, calendar, entropy, classes, int(day)) for day in days]
    return Arrivals.together([part.between(start_ns, end_ns) for part in parts])


def chain_period(
    chain: Chain,
    calendar: Calendar,
    entropy: Entropy,
    classes: Ints,
    day: int,
    *,
    origin_ns: int | None = None,
) -> Arrivals:
    """All of the period that begins on a day since 1970; late sessions last beyond its end.

    With `origin_ns`, sessions that would begin before it begin a period later, for comparisons.
    """
    number = day // chain.period_days
    draws = {
        what: Draws(entropy, "traffic", what)
        for what in (
            "sessions",
            "day",
            "hour",
            "place",
            "mood",
            "length",
            "gap",
            "within",
            "operation",
            "dither",
        )
    }
    everybody = np.arange(len(classes))
    counts = _by_class(
        [one.sessions for one in chain.classes], classes, draws["sessions"].uniform(everybody, number)
    )
    person, session = steps_up_to(counts)
    of_class = classes[person]
    hour = _rows_drawn(
        np.array([one.by_hour for one in chain.classes]),
        of_class,
        draws["hour"].uniform(person, number, session),
    )
    days = day + np.arange(chain.period_days)
    begins = hours_of_days(days, calendar).ravel()[hour]
    start = begins + (draws["place"].uniform(person, number, session) * HOUR_NS).astype(np.int64)
    spread = _spread_evenly(
        person, counts[person], *(draws[what].uniform(person, number, session) for what in ("mood", "length"))
    )
    mood, rest = _moods_drawn(chain, of_class, spread)
    length = _by_class([one.length for each in chain.classes for one in each.moods], mood, rest)
    if origin_ns is not None:
        start = np.where(start < origin_ns, start + chain.period_days * 24 * HOUR_NS, start)
    if not calendar.plain:
        share = share_of_day(days, calendar)[hour // 24]
        comes = draws["day"].uniform(person, day + hour // 24) < share
        person, session, mood, start, length = (
            column[comes] for column in (person, session, mood, start, length)
        )
    # The longest sessions first, so that those that are still under way are always the first so many.
    order = np.argsort(-length, kind="stable")
    person, session, mood, start, length = (
        column[order] for column in (person, session, mood, start, length)
    )
    return _sessions(chain, draws, number, person, session, mood, start, length)


def _sessions(
    chain: Chain,
    draws: dict[str, Draws],
    number: int,
    person: Ints,
    session: Ints,
    mood: Ints,
    start: Ints,
    length: Ints,
) -> Arrivals:
    gaps = len(chain.within_s)
    # States: after each class of pause; the start; after each short class in a run; after so many short gaps
    # without one, by the last pause.
    short, start_state = chain.short, gaps - chain.short
    following = np.array(
        [
            [*one.following, one.first, *one.in_run, *one.after_short]
            for each in chain.classes
            for one in each.moods
        ]
    ).cumsum(axis=2)
    within = _table(chain.within_s)
    operations = np.array([*chain.operations.following, chain.operations.first]).cumsum(axis=1)
    resolution_ns = max(chain.resolution_ns, 1)
    total = int(length.sum())
    first = np.cumsum(length) - length
    at, asked = np.empty(total, dtype=np.int64), np.empty(total, dtype=np.int64)
    now = np.zeros(len(person), dtype=np.int64)
    state = np.full(len(person), start_state)
    run = np.zeros(len(person), dtype=np.int64)
    pause = np.zeros(len(person), dtype=np.int64)  # 0: none yet; else its class, from 1
    doing = np.full(len(person), len(chain.operations.names))
    active = np.searchsorted(-length, -np.arange(1, int(length.max(initial=0)) + 1), "right")
    for rank, n in enumerate(active.tolist()):
        who, which = person[:n], session[:n]
        if rank:
            gap = _chosen(following[mood[:n], state[:n]], draws["gap"].uniform(who, number, which, rank))
            brief = gap < short
            run[:n] = np.where(brief, run[:n] + 1, 0)
            pause[:n] = np.where(brief, pause[:n], gap - short + 1)
            remembered = short + pause[:n] * (chain.run - 1) + run[:n] - 1
            after_short = start_state + 1 + np.where(run[:n] >= chain.run, gap, remembered)
            state[:n] = np.where(brief, after_short, gap - short)
            place = draws["within"].uniform(who, number, which, rank) * (within.shape[1] - 1)
            low = place.astype(np.int64)
            values = within[gap, low]
            values = values + (within[gap, low + 1] - values) * (place - low)
            now[:n] += np.rint(values * (_SECOND_NS / resolution_ns)).astype(np.int64) * resolution_ns
        doing[:n] = _chosen(operations[doing[:n]], draws["operation"].uniform(who, number, which, rank))
        at[first[:n] + rank], asked[first[:n] + rank] = now[:n], doing[:n]
    row, rank_of = steps_up_to(length)
    start = kept_apart(person, start - start % resolution_ns, now, _SILENCE_NS)
    at += start[row]
    # The recorder's clock had steps; what happened within one is spread over it.
    dither = draws["dither"].uniform(person[row], number, session[row], rank_of)
    at += (dither * resolution_ns).astype(np.int64)
    return Arrivals(person[row], at, asked, chain.operations.names)


def _spread_evenly(person: Ints, count: Ints, order: Floats, within: Floats) -> Floats:
    """Uniform draws of which each person's lie one in each of `count` equal parts of [0, 1).

    So that what one person does in many sessions does not hang on a few of them; rows are by person.
    """
    place = np.empty(len(person), dtype=np.int64)
    by_order = np.lexsort((order, person))
    first = np.append(True, np.diff(person) != 0)[: len(person)]
    begin = np.flatnonzero(first)
    place[by_order] = np.arange(len(person)) - np.repeat(begin, np.diff(begin, append=len(person)))
    return (place + within) / count


def _moods_drawn(chain: Chain, of_class: Ints, uniform: Floats) -> tuple[Ints, Floats]:
    """Each session's mood, counted through all classes, and what of the draw is left for its length."""
    most = max(len(one.moods) for one in chain.classes)
    high = np.ones((len(chain.classes), most))
    for code, one in enumerate(chain.classes):
        high[code, : len(one.moods) - 1] = np.cumsum([mood.share for mood in one.moods])[:-1]
    place = (uniform[:, None] >= high[of_class]).sum(axis=1)
    low = np.hstack([np.zeros((len(high), 1)), high])[of_class, place]
    rest = (uniform - low) / np.maximum(high[of_class, place] - low, 1e-12)
    first = np.cumsum([0, *(len(one.moods) for one in chain.classes)])
    return first[of_class] + place, np.minimum(rest, 1 - 1e-12)


def _chosen(cumulated: Floats, uniform: Floats) -> Ints:
    """For each row of cumulated shares, the index that holds the row's draw."""
    found: Ints = np.minimum((uniform[:, None] >= cumulated).sum(axis=1), cumulated.shape[1] - 1)
    return found


def _rows_drawn(shares: Floats, row: Ints, uniform: Floats) -> Ints:
    """An index by the shares of each row's class: one search on an axis on which class follows class."""
    cumulated = shares.cumsum(axis=1)
    cumulated = cumulated / cumulated[:, -1:]
    axis = (cumulated + np.arange(len(shares))[:, None]).ravel()
    place = np.searchsorted(axis, row + uniform, "right") - row * shares.shape[1]
    found: Ints = np.clip(place, 0, shares.shape[1] - 1)
    return found


def _by_class(laws: list[Discrete], of_class: Ints, uniform: Floats) -> Ints:
    """A whole number by the law of each row's class."""
    found = np.empty(len(of_class), dtype=np.int64)
    for code, law in enumerate(laws):
        mine = of_class == code
        place = drawn(np.cumsum(law.shares), uniform[mine])
        found[mine] = np.rint(np.array(law.values))[place].astype(np.int64)
    return found


def _table(rows: tuple[tuple[float, ...], ...]) -> Floats:
    """Rows of quantiles, each over the same number of probabilities."""
    width = max(map(len, rows))
    return np.array([np.interp(np.linspace(0, 1, width), np.linspace(0, 1, len(row)), row) for row in rows])
