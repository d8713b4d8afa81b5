"""Events in traffic: spikes, herds, storms and leaks, laid over what people do anyway.

Each takes its draws from a stream of its own, by its place in the profile and by person: an event more
changes nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from quotalab.clock import Entropy
from quotalab.errors import ProfileError
from quotalab.profiles.traffic import Event, Growth
from quotalab.traffic.arrivals import Arrivals, steps_up_to
from quotalab.traffic.draws import Draws

__all__ = ["grown", "with_events"]

Ints = npt.NDArray[np.int64]

_MOST_ADDED = 20_000_000
_HALF_LIVES = 20


def with_events(
    base: Arrivals,
    events: tuple[Event, ...],
    entropy: Entropy,
    *,
    file: str,
    people: int,
    start_ns: int,
    end_ns: int,
) -> Arrivals:
    """The arrivals with every event in turn. Raises `ProfileError` for one that would not end."""
    for number, event in enumerate(events):
        draws = Draws(entropy, "traffic", "event", str(number))
        begin = start_ns + event.at_ns
        end = end_ns if event.until_ns is None else min(end_ns, start_ns + event.until_ns)
        changed = _KINDS[event.kind](base, event, draws, people, begin, max(begin, end), file)
        base = changed.between(start_ns, end_ns)
    return base


def grown(base: Arrivals, growth: Growth, entropy: Entropy, *, people: int, start_ns: int) -> Arrivals:
    """What is left when people come, and go, with the growth: each has a place in the order of coming."""
    place = Draws(entropy, "traffic", "growth").uniform(np.arange(people))
    share = np.interp(base.at_ns - start_ns, growth.at_ns, growth.share)
    return base.kept(place[base.person] < share)


def _added(base: Arrivals, person: Ints, at_ns: Ints, operation: str) -> Arrivals:
    zeros = np.zeros(len(person), dtype=np.int64)
    return Arrivals.together([base, Arrivals(person, at_ns, zeros, (operation,))])


def _taking_part(event: Event, draws: Draws, people: int) -> Ints:
    return np.flatnonzero(draws.uniform(np.arange(people), 0) < event.share)


def _refuse_if_endless(count: float, event: Event, file: str, key: str) -> None:
    if count > _MOST_ADDED:
        raise ProfileError(
            file,
            f"{event.path}.{key}",
            f"would add {count:,.0f} operations in this run; at most {_MOST_ADDED:,} can be",
        )


def _after_news(
    base: Arrivals, event: Event, draws: Draws, people: int, begin: int, end: int, file: str
) -> Arrivals:
    """Those whom news reaches come once or more; half of the visits within each half-life."""
    del end
    reached = _taking_part(event, draws, people)
    _refuse_if_endless(len(reached) * event.times, event, file, "times")
    row, time = steps_up_to(np.full(len(reached), event.times))
    person = reached[row]
    survival = np.maximum(1 - draws.uniform(person, 1, time), 2.0**-_HALF_LIVES)
    at_ns = begin + (-np.log2(survival) * event.half_life_ns).astype(np.int64)
    return _added(base, person, at_ns, event.operation)


def _ticking(
    base: Arrivals, event: Event, draws: Draws, people: int, begin: int, end: int, file: str
) -> Arrivals:
    """At every full multiple of the interval since 1970 everybody's timer goes off, within `spread` of it."""
    herd = _taking_part(event, draws, people)
    _refuse_if_endless(len(herd) * ((end - begin) / event.every_ns), event, file, "every")
    ticks = np.arange(-(-begin // event.every_ns), -(-end // event.every_ns)) * event.every_ns
    person, tick = np.repeat(herd, len(ticks)), np.tile(ticks, len(herd))
    late = draws.uniform(person, 1, tick // event.every_ns) * event.spread_ns
    return _added(base, person, tick + late.astype(np.int64), event.operation)


def _in_the_background(
    base: Arrivals, event: Event, draws: Draws, people: int, begin: int, end: int, file: str
) -> Arrivals:
    """Each at the same interval, and at a moment of their own within it: no herd."""
    who = _taking_part(event, draws, people)
    _refuse_if_endless(len(who) * ((end - begin) / event.every_ns), event, file, "every")
    first = begin + (draws.uniform(who, 1) * event.every_ns).astype(np.int64)
    counts = np.maximum(-(-(end - first) // event.every_ns), 0)
    row, time = steps_up_to(counts)
    return _added(base, who[row], first[row] + time * event.every_ns, event.operation)


def _leaking(
    base: Arrivals, event: Event, draws: Draws, people: int, begin: int, end: int, file: str
) -> Arrivals:
    """Each operation leaves a timer behind that is never stopped, until `until`: the load grows for ever."""
    leaks = draws.uniform(base.person, 1, base.at_ns) < event.share
    leaks &= (base.at_ns >= begin) & (base.at_ns < end)
    who, since = base.person[leaks], base.at_ns[leaks]
    counts = np.maximum((end - 1 - since) // event.every_ns, 0)
    del people
    _refuse_if_endless(float(counts.sum()), event, file, "every")
    row, time = steps_up_to(counts)
    return _added(base, who[row], since[row] + (time + 1) * event.every_ns, event.operation)


def _waking(
    base: Arrivals, event: Event, draws: Draws, people: int, begin: int, end: int, file: str
) -> Arrivals:
    """Phones without a network keep what was asked and send it all when it is back, within `spread`.

    With an operation given, each of them asks for that once, besides.
    """
    del file
    phones = draws.uniform(np.arange(people), 0) < event.share
    held = phones[base.person] & (base.at_ns >= begin) & (base.at_ns < end)
    back = end + (draws.uniform(np.arange(people), 1) * event.spread_ns).astype(np.int64)
    moved = Arrivals(base.person, np.where(held, back[base.person], base.at_ns), base.operation, base.names)
    if not event.operation:
        return moved
    who = np.flatnonzero(phones)
    return _added(moved, who, back[who], event.operation)


def _reconnecting(
    base: Arrivals, event: Event, draws: Draws, people: int, begin: int, end: int, file: str
) -> Arrivals:
    """Everybody is thrown off at once and comes back within `spread`, `times` times, `every` apart."""
    del end
    who = _taking_part(event, draws, people)
    _refuse_if_endless(len(who) * event.times, event, file, "times")
    row, time = steps_up_to(np.full(len(who), event.times))
    person = who[row]
    late = (draws.uniform(person, 1, time) * event.spread_ns).astype(np.int64)
    return _added(base, person, begin + time * event.every_ns + late, event.operation)


def _notifying(
    base: Arrivals, event: Event, draws: Draws, people: int, begin: int, end: int, file: str
) -> Arrivals:
    """Each operation `after` makes the provider tell `times` others, who then read, within `spread`."""
    code = base.names.index(event.after) if event.after in base.names else -1
    causes = np.flatnonzero((base.operation == code) & (base.at_ns >= begin) & (base.at_ns < end))
    _refuse_if_endless(len(causes) * event.times, event, file, "times")
    row, time = steps_up_to(np.full(len(causes), event.times))
    cause, at_ns = base.person[causes][row], base.at_ns[causes][row]
    others = max(people - 1, 1)
    told = (cause + 1 + (draws.uniform(cause, 1, at_ns, time) * others).astype(np.int64)) % people
    late = (draws.uniform(cause, 2, at_ns, time) * event.spread_ns).astype(np.int64)
    return _added(base, told, at_ns + late, event.operation)


_KINDS: Mapping[str, Callable[[Arrivals, Event, Draws, int, int, int, str], Arrivals]] = {
    "launch_spike": _after_news,
    "newsletter": _after_news,
    "cron_herd": _ticking,
    "background_sync": _in_the_background,
    "slow_leak": _leaking,
    "wake_up": _waking,
    "reconnect_storm": _reconnecting,
    "webhooks": _notifying,
}
