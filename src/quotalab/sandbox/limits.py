"""The provider's limits in the sandbox: undisclosed numbers drawn, engines asked, changes told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from quotalab.clock import Entropy
from quotalab.profiles.limits import Limit
from quotalab.quota import Decision, Engine, Selection, Standing
from quotalab.sandbox.record import NOT_ASKED, Recorder

if TYPE_CHECKING:
    from quotalab.quota.redis import RedisEngine

__all__ = ["MakeEngine", "OnChange", "ProviderLimits", "in_memory"]

OnChange = Callable[[int, str, int, int, str], None]
MakeEngine = Callable[[str, Sequence[Limit], int, OnChange | None, Recorder], "Engine | RedisEngine"]
"""Makes an engine: its name (``calls`` or ``tokens``), its limits, the start, who is told of changes, and who
writes down what happens to the state."""


def in_memory(
    _: str, limits: Sequence[Limit], start_ns: int, on_change: OnChange | None, __: Recorder
) -> Engine:
    """An engine whose state is this process's own."""
    return Engine(limits, start_ns=start_ns, on_change=on_change)


class ProviderLimits:
    """All limits of the provider, with those that are asked only once a token has been issued apart.

    Draws the numbers of undisclosed limits and writes them down as events, and so each change of a number at
    its very instant. `start_ns` is what the timetable counts from.
    """

    def __init__(
        self,
        limits: Sequence[Limit],
        *,
        start_ns: int,
        entropy: Entropy,
        recorder: Recorder,
        make_engine: MakeEngine = in_memory,
    ) -> None:
        self._recorder = recorder
        drawn = tuple(self._drawn(limit, entropy) for limit in limits)
        self.by_name: dict[str, Limit] = {limit.name: limit for limit in drawn}
        self.visible = frozenset(limit.name for limit in drawn if not limit.hidden)
        self.hidden = frozenset(self.by_name) - self.visible
        self.undisclosed = frozenset(limit.name for limit in drawn if limit.kind == "opaque")
        self._fixed = {limit.name: limit.limit for limit in drawn if not limit.changes}
        self._issued = tuple(limit for limit in drawn if limit.on_excess == "evict_oldest")
        asked = tuple(limit for limit in drawn if limit.on_excess != "evict_oldest")
        self.engine = make_engine("calls", asked, start_ns, self._changed, recorder)
        self._holders = None
        if self._issued:
            self._holders = make_engine("tokens", self._issued, start_ns, None, recorder)
        self._holding = self._holders.select("token", "POST", with_tenant=False) if self._holders else None

    def _drawn(self, limit: Limit, entropy: Entropy) -> Limit:
        if limit.kind != "opaque":
            return limit
        number = entropy.stream("opaque", limit.name).randint(limit.floor, limit.ceiling)
        self._recorder.event("limit-drawn", None, limit=limit.name, number=number)
        return limit.drawn(number)

    def _changed(self, at_ns: int, limit: str, before: int, now: int, why: str) -> None:
        self._recorder.event("limit-changed", None, at_ns, limit=limit, before=before, now=now, why=why)

    def select(self, kind: str, method: str, *, known: bool) -> Selection:
        """The limits of a call that is not the API's."""
        return self.engine.select(kind, method, known=known, with_object=False, with_tenant=False)

    def number(self, name: str) -> int:
        """A limit's number, as it is in force."""
        number = self._fixed.get(name)
        return number if number is not None else self.engine.number(name)

    def standing(self, name: str, key: str, now_ns: int) -> Standing:
        """How a key stands with a limit."""
        if self.by_name[name].on_excess == "evict_oldest" and self._holders is not None:
            return self._holders.standing(name, key, now_ns)
        return self.engine.standing(name, key, now_ns)

    def issued(self, now_ns: int, caller: Mapping[str, str]) -> Decision:
        """Count a refresh token that was issued; `evicted` is the mark of the one that has to go."""
        if self._holders is None or self._holding is None:
            return NOT_ASKED
        return self._holders.decide(now_ns, self._holding, caller)

    def advance(self, now_ns: int) -> None:
        """What the timetable holds up to now, for the end of a run."""
        self.engine.advance(now_ns)
