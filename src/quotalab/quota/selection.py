"""Which limits a call is asked of, and what it costs each: worked out once for each kind of call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quotalab.profiles.limits import METERED, Limit, Match
from quotalab.quota.limiter import Limiter, Metered
from quotalab.quota.penalty import Penalty

__all__ = ["Asked", "Selection", "is_asked"]

_UNKNOWN_ROUTE = "unknown"
_OF_A_TOKEN = frozenset(("app", "person", "tenant", "token"))
"""What a call without a valid token does not have."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One limit that a call is asked of."""

    limit: Limit
    limiter: Limiter[Any]
    metered: Metered | None
    """The limiter, where calls are charged to it by their cost."""
    parts: tuple[str, ...]
    route: str
    base: int
    """The cost of the call's route or method, without that of its objects."""

    def key(self, caller: Mapping[str, str]) -> str:
        """The key under which the limit counts the call."""
        return "|".join([self.route if part == "route" else caller[part] for part in self.parts])

    def costs(self, objects: int, objects_asked: int) -> tuple[int, int]:
        """What has to fit, and what is charged in the end."""
        per_object = self.limit.cost.per_object
        final = self.base + per_object * objects
        if self.limit.cost.when == "refund":
            return self.base + per_object * objects_asked, final
        if self.limit.cost.when == "after":
            return (1 if self.base or per_object else 0), final
        return final, final

    @property
    def is_plain(self) -> bool:
        """Whether each call is charged the same cost, which is not 0, at once."""
        cost = self.limit.cost
        return self.metered is not None and self.base > 0 and not cost.per_object and cost.when == "before"


Ask = tuple[str, str | None, Callable[[Mapping[str, str]], str], Callable[[str, int, int], int | None], int]
"""Of a limit: name, the only part of its key or None, its key, `enter`, what a call costs."""


class Selection:
    """The limits that calls of one kind, method, route and caller are asked of."""

    __slots__ = (
        "asked",
        "asks",
        "charged_when_refused",
        "charges",
        "cost",
        "counts_objects",
        "leaves",
        "penalties",
        "penalty_positions",
    )

    def __init__(self, asked: Sequence[Asked]) -> None:
        self.asked = tuple(asked)
        metered = [(one, one.metered) for one in asked if one.metered is not None]
        self.counts_objects = any(one.limit.cost.per_object for one, _ in metered)
        """Whether it matters how many objects a call returns and asks for."""
        self.penalty_positions = tuple(
            (position, one.limiter) for position, one in enumerate(asked) if isinstance(one.limiter, Penalty)
        )
        self.penalties = bool(self.penalty_positions)
        """Whether the answers' statuses matter, so that `Engine.observe` must be told them."""
        self.charged_when_refused = tuple(self._charged_when_refused_by(one) for one in asked)
        """For each limit, the positions of those that are charged a call which it refuses."""

        # Where every call costs the same, at once: what `decide` needs, so that it need ask nobody.
        self.asks: tuple[Ask, ...] | None = None
        self.leaves: tuple[tuple[Callable[[str, int, int], None], int], ...] = ()
        self.charges: tuple[tuple[str, int], ...] = ()
        self.cost = 0
        if all(one.is_plain for one in asked):
            self.asks = tuple(
                (one.limit.name, _single(one), one.key, limiter.enter, one.base) for one, limiter in metered
            )
            self.leaves = tuple((limiter.leave, one.base) for one, limiter in metered)
            self.charges = tuple((one.limit.name, one.base) for one in asked)
            self.cost = max((one.base for one in asked), default=0)

    def _charged_when_refused_by(self, refusing: Asked) -> frozenset[int]:
        mode = refusing.limit.refused_calls
        if mode == "free":
            return frozenset()
        return frozenset(
            position
            for position, one in enumerate(self.asked)
            if one.metered is not None
            and (
                mode == "all"
                or (mode == "this" and one is refusing)
                or (mode == "longer" and _longer(one, refusing))
            )
        )


def is_asked(
    limit: Limit,
    kind: str,
    method: str,
    route: str | None,
    tags: Sequence[str],
    *,
    known: bool,
    with_object: bool,
    with_tenant: bool,
) -> bool:
    """Whether calls of this sort are asked of a limit."""
    needs = {*limit.key, limit.of} if limit.kind == "cardinality" else {*limit.key}
    return (
        _matches(limit.match, kind, method, route, tags, known)
        and (with_object or "object" not in needs)
        and (with_tenant or "tenant" not in needs)
        and (known or not needs & _OF_A_TOKEN)
    )


def asked_of(limit: Limit, limiter: Limiter[Any], method: str, route: str | None) -> Asked:
    """What is known of the calls of a route and method to a limit that they are asked of."""
    cost = limit.cost
    base = (
        cost.routes.get(route, cost.methods.get(method, cost.base))
        if route
        else cost.methods.get(method, cost.base)
    )
    metered: Any = limiter if limit.kind in METERED else None
    return Asked(limit, limiter, metered, limit.key, route or _UNKNOWN_ROUTE, base)


def _matches(
    match: Match, kind: str, method: str, route: str | None, tags: Sequence[str], known: bool
) -> bool:
    return (
        kind in match.kinds
        and match.callers in ("all", "known" if known else "anonymous")
        and (
            not (match.routes or match.tags)
            or (route or _UNKNOWN_ROUTE) in match.routes
            or not set(tags).isdisjoint(match.tags)
        )
        and (not match.methods or method in match.methods)
    )


def _longer(one: Asked, than: Asked) -> bool:
    """Whether the period of one limit is longer than that of another; for ever is longest."""
    mine, other = one.limit.length_ns, than.limit.length_ns
    return other is not None and (mine is None or mine > other)


def _single(one: Asked) -> str | None:
    """The only part of a key, where the caller knows it."""
    return one.parts[0] if len(one.parts) == 1 and one.parts != ("route",) else None
