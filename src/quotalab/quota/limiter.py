"""What every limiter can be asked, and the instant that never comes."""

from __future__ import annotations

from typing import Protocol, TypeVar

__all__ = ["NEVER", "Limiter", "Metered"]

NEVER = 2**63 - 1
"""A wait that no patience helps; an instant that never comes."""

What = TypeVar("What", contravariant=True)


class Limiter(Protocol[What]):
    """One limit's state, for all its keys.

    `what` is that of a call which this limit looks at: its cost, the instant at which it will have been
    answered, or the member that it brings. Instants never go backwards from one question to the next.
    """

    number: int
    """In force now; the engine sets it when the timetable says so."""

    def room(self, key: str, now_ns: int, what: What, /) -> int | None:
        """How much remains once the call has been charged; None: it does not fit."""
        ...

    def wait_ns(self, key: str, now_ns: int, what: What, /) -> int:
        """Of a call that `room` has no room for: how long until it would fit, or `NEVER`."""
        ...

    def take(self, key: str, now_ns: int, what: What, /) -> str | None:
        """Charge a call, whether it fits or not; the member that had to leave for it, if any."""
        ...

    def left(self, key: str, now_ns: int, /) -> int:
        """How much remains; below zero where more was charged than the number."""
        ...

    def reset_ns(self, key: str, now_ns: int, /) -> int:
        """The instant at which nothing will be used if nothing more is charged, or `NEVER`."""
        ...

    def sweep(self, now_ns: int, /) -> int:
        """Forget the keys about which nothing need be known any more; how many are left."""
        ...


class Metered(Limiter[int], Protocol):
    """A limiter that calls are charged to by their cost."""

    def enter(self, key: str, now_ns: int, cost: int, /) -> int | None:
        """`room` and, where there is some, `take`, in one; the cost is not 0."""
        ...

    def leave(self, key: str, now_ns: int, cost: int, /) -> None:
        """As if the last `enter`, which was at this instant, had not been."""
        ...

    def give_back(self, key: str, at_ns: int, now_ns: int, amount: int, /) -> None:
        """Take `amount` off what was charged at `at_ns`, where that still counts now."""
        ...
