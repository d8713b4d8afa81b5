"""The engine: asks all limits of a call together and charges all of them or none.

Integers only, and time is passed in: nanoseconds, never backwards. Windows are half-open, [x, x + W):
at most N calls in any such interval, and a call at the instant of a reset belongs to the new window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush
from typing import Any, NamedTuple

from quotalab.errors import FaultError
from quotalab.profiles.limits import Limit
from quotalab.quota.balance import Balance
from quotalab.quota.bucket import TokenBucket
from quotalab.quota.calendar import calendar_of
from quotalab.quota.cardinality import Cardinality
from quotalab.quota.concurrency import Concurrency
from quotalab.quota.limiter import NEVER, Limiter, Metered
from quotalab.quota.penalty import Penalty
from quotalab.quota.selection import Asked, Selection, asked_of, is_asked
from quotalab.quota.windows import ClockWindow, FirstCallWindow, OffsetWindow, RollingWindow

__all__ = ["NEVER", "Decision", "Engine", "Selection", "Standing"]

_SWEEP_EVERY = 65_536
"""So many decisions at least lie between two sweeps; more where there are more keys."""


class Decision(NamedTuple):
    """What the engine decided about one call."""

    limit: str | None
    """The limit that refused the call; None: it was admitted."""
    wait_ns: int
    """How long until every limit would admit it, if nothing else were charged meanwhile; 0 when admitted."""
    cost: int
    """The largest that it has to fit with; 0 when it was asked of no limit."""
    keys: tuple[tuple[str, str], ...]
    """By limit that was asked."""
    charges: tuple[tuple[str, int], ...]
    """By limit: what is charged in the end; of a refused call, what was charged all the same."""
    remaining: tuple[tuple[str, int], ...]
    """By limit that was asked, after this call; what is settled when it has been answered is not in it."""
    evicted: str | None = None
    """The member that had to leave for the one that this call brought."""


class Standing(NamedTuple):
    """How a key stands with a limit."""

    limit: int
    """The number in force."""
    used: int
    """Rounded up."""
    remaining: int
    reset_ns: int
    """The instant at which nothing will be used if nothing more is charged, or `NEVER`."""


class _Settlement(NamedTuple):
    """What is charged or given back once a call has been answered; in order of time, then of decision."""

    due_ns: int
    number: int
    metered: Metered
    key: str
    at_ns: int
    amount: int
    """Below zero: given back."""


class _Change(NamedTuple):
    at_ns: int
    name: str
    number: int
    why: str


_new: Callable[..., Decision] = tuple.__new__  # a third of the time that Decision(...) takes


class Engine:
    """All limits of a provider.

    Not for use from several threads at once; greenlets are fine, since no method yields. Raises `FaultError`
    when time runs backwards.
    """

    def __init__(
        self,
        limits: Sequence[Limit],
        *,
        start_ns: int = 0,
        on_change: Callable[[int, str, int, int, str], None] | None = None,
    ) -> None:
        """Opaque limits come with their drawn number. `on_change` is told at, limit, before, now, why."""
        self._limits = tuple((limit, _limiter(limit)) for limit in limits)
        self._limiters = {limit.name: limiter for limit, limiter in self._limits}
        self._on_change = on_change
        self._now_ns = start_ns
        self._changes = sorted(
            (
                _Change(start_ns + change.after_ns, limit.name, change.limit, change.why)
                for limit in limits
                for change in limit.changes
            ),
            key=lambda change: change.at_ns,
            reverse=True,
        )
        self._settlements: list[_Settlement] = []
        self._settled = 0
        self._due_ns = self._changes[-1].at_ns if self._changes else NEVER
        """When the next change or settlement comes."""
        self._until_sweep = _SWEEP_EVERY

    def select(
        self,
        kind: str,
        method: str,
        route: str | None = None,
        tags: Sequence[str] = (),
        *,
        known: bool = True,
        with_object: bool = False,
        with_tenant: bool = True,
    ) -> Selection:
        """The limits that such calls are asked of, for `decide`; to be kept, since it takes a while.

        `known`: with a valid token. `with_object`, `with_tenant`: whether the call names or has one.
        """
        return Selection(
            [
                asked_of(limit, limiter, method, route)
                for limit, limiter in self._limits
                if is_asked(
                    *(limit, kind, method, route, tags),
                    known=known,
                    with_object=with_object,
                    with_tenant=with_tenant,
                )
            ]
        )

    def decide(
        self,
        now_ns: int,
        selection: Selection,
        caller: Mapping[str, str],
        *,
        objects: int = 0,
        objects_asked: int = 0,
        answered_ns: int | None = None,
        charge: bool = True,
    ) -> Decision:
        """Admit or refuse one call; `caller` gives the value of each part that a limit's key may have.

        Refused by one limit, the call is charged to none, unless that limit says otherwise. When several
        refuse, the one with the longest wait is named. `objects` are returned, of `objects_asked`;
        `answered_ns` is when the call, once admitted, will have been answered (None: at once).
        With `charge` false the limits are only asked, and what remains is what remains without the call.
        """
        if now_ns < self._now_ns:
            raise self._backwards(now_ns)
        self._now_ns = now_ns
        if now_ns >= self._due_ns:
            self._catch_up(now_ns)
        self._until_sweep -= 1
        if not self._until_sweep:
            self._sweep(now_ns)
        asks = selection.asks
        if asks is not None and charge:
            keys = []
            remaining = []
            for name, part, whole_key, enter, cost in asks:
                key = caller[part] if part is not None else whole_key(caller)
                left = enter(key, now_ns, cost)
                if left is None:
                    break
                keys.append((name, key))
                remaining.append((name, left))
            else:
                return _new(
                    Decision,
                    (None, 0, selection.cost, tuple(keys), selection.charges, tuple(remaining), None),
                )
            for (_, key), (leave, cost) in zip(keys, selection.leaves, strict=False):
                leave(key, now_ns, cost)
        answered_ns = now_ns if answered_ns is None else answered_ns
        if answered_ns < now_ns:
            raise FaultError(f"a call of {now_ns} can't have been answered before, at {answered_ns}")
        return self._decide(now_ns, selection, caller, objects, objects_asked, answered_ns, charge)

    def _decide(
        self,
        now_ns: int,
        selection: Selection,
        caller: Mapping[str, str],
        objects: int,
        objects_asked: int,
        answered_ns: int,
        charge: bool,
    ) -> Decision:
        """Any decision, with all that limits may want to know."""
        keys, whats, finals, refusing = [], [], [], []
        named, longest_ns, dearest = None, 0, 0
        for position, one in enumerate(selection.asked):
            key = one.key(caller)
            what: Any = 0
            final = 0
            if one.metered is not None:
                what, final = one.costs(objects, objects_asked)
                dearest = max(dearest, what)
            else:
                dearest = max(dearest, 1)
                if isinstance(one.limiter, Concurrency):
                    what, final = answered_ns, 1
                elif isinstance(one.limiter, Cardinality):
                    what = caller[one.limit.of]
                    final = int(not one.limiter.has(key, what))
            keys.append(key)
            whats.append(what)
            finals.append(final)
            if one.limiter.room(key, now_ns, what) is None:
                refusing.append(position)
                wait_ns = min(one.limiter.wait_ns(key, now_ns, what), NEVER)
                if wait_ns > longest_ns:
                    named, longest_ns = one.limit.name, wait_ns
        charges: list[tuple[str, int]] = []
        evicted = None
        if charge and not refusing:
            for one, key, what, final in zip(selection.asked, keys, whats, finals, strict=True):
                charges.append((one.limit.name, final))
                if one.metered is None:
                    gone = one.limiter.take(key, now_ns, what)
                    evicted = gone if evicted is None else evicted
                else:
                    self._meter(one, one.metered, key, now_ns, what, final, answered_ns)
        elif charge:
            for position in sorted(frozenset().union(*(selection.charged_when_refused[i] for i in refusing))):
                one, what = selection.asked[position], whats[position]
                charges.append((one.limit.name, what))
                if what:
                    one.limiter.take(keys[position], now_ns, what)
            for position in refusing:
                limiter = selection.asked[position].limiter
                if isinstance(limiter, Penalty):
                    limiter.ask_blocked(keys[position], now_ns)
        names = [one.limit.name for one in selection.asked]
        lefts = [one.limiter.left(key, now_ns) for one, key in zip(selection.asked, keys, strict=True)]
        return Decision(
            named,
            longest_ns,
            dearest,
            tuple(zip(names, keys, strict=True)),
            tuple(charges),
            tuple(zip(names, lefts, strict=True)),
            evicted,
        )

    def _meter(
        self, one: Asked, metered: Metered, key: str, now_ns: int, need: int, final: int, answered_ns: int
    ) -> None:
        """Charge an admitted call by its cost, now and when it has been answered."""
        if one.limit.cost.when == "after":
            need = 0
        elif final > need:
            raise FaultError(f"a call to limits.{one.limit.name} returns more objects than it asked for")
        if need:
            metered.take(key, now_ns, need)
        if final != need:
            self._settled += 1
            settlement = _Settlement(answered_ns, self._settled, metered, key, now_ns, final - need)
            heappush(self._settlements, settlement)
            self._due_ns = min(self._due_ns, answered_ns)

    def observe(self, now_ns: int, selection: Selection, decision: Decision, status: int) -> None:
        """Count the answer to a call at the call's own instant, before the next is decided.

        Only needed where `selection.penalties`.
        """
        if now_ns < self._now_ns:
            raise self._backwards(now_ns)
        for position, penalty in selection.penalty_positions:
            penalty.answer(decision.keys[position][1], now_ns, status)

    def standing(self, name: str, key: str, now_ns: int) -> Standing:
        """How a key stands with a limit now."""
        self.advance(now_ns)
        limiter = self._limiters[name]
        left = limiter.left(key, now_ns)
        reset_ns = min(limiter.reset_ns(key, now_ns), NEVER)
        return Standing(limiter.number, limiter.number - left, left, reset_ns)

    def advance(self, now_ns: int) -> None:
        """Let time pass: the timetable and what is to be settled, up to and including `now_ns`."""
        if now_ns < self._now_ns:
            raise self._backwards(now_ns)
        self._now_ns = now_ns
        if now_ns >= self._due_ns:
            self._catch_up(now_ns)

    def number(self, name: str) -> int:
        """The number of a limit that is in force now."""
        return self._limiters[name].number

    def _backwards(self, now_ns: int) -> FaultError:
        return FaultError(f"the engine's time can't go backwards: {now_ns} after {self._now_ns}")

    def _catch_up(self, now_ns: int) -> None:
        """Settle and change what is due. No settlement depends on a number, so either may come first."""
        settlements, changes = self._settlements, self._changes
        while settlements and settlements[0].due_ns <= now_ns:
            due_ns, _, metered, key, at_ns, amount = heappop(settlements)
            if amount > 0:
                metered.take(key, due_ns, amount)
            else:
                metered.give_back(key, at_ns, due_ns, -amount)
        while changes and changes[-1].at_ns <= now_ns:
            at_ns, name, number, why = changes.pop()
            limiter = self._limiters[name]
            before, limiter.number = limiter.number, number
            if self._on_change is not None:
                self._on_change(at_ns, name, before, number, why)
        self._due_ns = min(
            settlements[0].due_ns if settlements else NEVER, changes[-1].at_ns if changes else NEVER
        )

    def _sweep(self, now_ns: int) -> None:
        """Forget the keys about which nothing need be known any more."""
        self._until_sweep = max(_SWEEP_EVERY, sum(limiter.sweep(now_ns) for _, limiter in self._limits))


def _limiter(limit: Limit) -> Limiter[Any]:
    kind = limit.counts if limit.kind == "opaque" else limit.kind
    if kind == "rolling_window":
        return RollingWindow(limit)
    if kind == "fixed_window" and limit.align == "first_call":
        return FirstCallWindow(limit)
    if kind == "fixed_window" and limit.align == "offset":
        return OffsetWindow(limit)
    if kind == "fixed_window":
        return ClockWindow(limit, calendar_of(limit))
    if kind == "token_bucket":
        return TokenBucket(limit)
    if kind == "balance":
        return Balance(limit, calendar_of(limit))
    if kind == "concurrency":
        return Concurrency(limit)
    if kind == "cardinality":
        return Cardinality(limit)
    if kind == "penalty":
        return Penalty(limit)
    raise FaultError(f"limits.{limit.name}: kind {limit.kind!r} passed validation but has no limiter")
