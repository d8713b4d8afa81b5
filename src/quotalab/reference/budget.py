"""A request budget: the app's own account of what it may still ask of the provider, shared by all it does.

It never lets more than its share go in any period of any allowance, keeps a margin, keeps room for what
people are waiting for, and spreads background work evenly, so that an hour's calls are not gone after ten
minutes.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from quotalab.clock import Clock
from quotalab.profiles import policy
from quotalab.profiles.reference import Allowance
from quotalab.reference.errors import Declined

__all__ = ["Account", "Budget"]

_WIDEST_FIRST = ("app", "tenant", "person")

_CALLS = re.compile(r"[1-9][0-9]{0,8}")

_Ticket = tuple[bool, int]
"""Interactive first, then first come: (is background, number)."""


@dataclass(eq=False)
class _Waiting:
    """A call that waits."""

    accounts: Sequence[Account]
    background: bool
    wakes_ns: int = 0
    enlisted: list[Account] = field(default_factory=list)
    """Where it has a place."""
    goes: bool = False
    """It has been let go, and has yet to wake up."""


class Account:
    """One allowance, of the app or of one person or tenant. Only a `Budget` uses it, under its lock."""

    def __init__(self, allowance: Allowance, settings: policy.Budget, processes: int = 1) -> None:
        self._period_ns = allowance.period_ns
        self._settings = settings
        self._one = allowance.per == "person"  # who is in one process
        self._calls = allowance.calls
        self.share(processes)
        self._in_flight = 0
        self._leaves_ns: deque[int] = deque()
        """When each settled call leaves the account, ascending."""
        self._spread_ns = 0
        """When the next background call would be due if all before it had been spread evenly."""
        self._closed_until_ns = 0
        self._waiting: list[_Ticket] = []
        """Who waits for this account, in order."""

    def allow(self, calls: int) -> None:
        """So many calls may go in a period from now on; what has gone stays counted."""
        self._calls = calls
        self._most = max(1, int(calls * (1 - self._settings.margin) / self._processes))
        self._most_background = max(1, int(self._most * (1 - self._settings.reserve)))
        self._interval_ns = self._period_ns // self._most_background
        self._burst_ns = (self._settings.burst - 1) * self._interval_ns

    def share(self, processes: int) -> None:
        """As many processes share the allowance from now on, in equal parts."""
        self._processes = 1 if self._one else processes
        self.allow(self._calls)

    def wait_ns(self, ticket: _Ticket, now_ns: int) -> int:
        """0 when the call may go now, else how long until it is worth asking again."""
        leaves_ns = self._leaves_ns
        while leaves_ns and leaves_ns[0] <= now_ns:
            leaves_ns.popleft()
        background = ticket[0]
        ready_ns = max(now_ns, self._closed_until_ns)
        # Whoever waits ahead takes the room that comes free first, and the first turns.
        ahead = bisect_left(self._waiting, ticket)
        if background:
            turns = ahead - bisect_left(self._waiting, (True, 0))
            # Who goes late begins the spreading anew, and so will those ahead who are late already.
            spread_ns = max(self._spread_ns, ready_ns) + turns * self._interval_ns
            ready_ns = max(ready_ns, spread_ns - self._burst_ns)
        most = self._most_background if background else self._most
        too_many = len(leaves_ns) + self._in_flight + ahead + 1 - most
        if too_many > 0:
            if too_many <= len(leaves_ns):
                ready_ns = max(ready_ns, leaves_ns[too_many - 1])
            else:  # the room that is needed belongs to calls not answered yet
                ready_ns = max(ready_ns, now_ns + self._period_ns)
        return ready_ns - now_ns

    def enlist(self, ticket: _Ticket) -> None:
        """The call waits for this account, and keeps its place before those that come later."""
        insort(self._waiting, ticket)

    def strike(self, ticket: _Ticket) -> None:
        """The call does not wait for this account any longer."""
        self._waiting.remove(ticket)

    def ahead(self, ticket: _Ticket) -> list[_Ticket]:
        """Who waits for this account and is to go before."""
        return self._waiting[: bisect_left(self._waiting, ticket)]

    def take(self, now_ns: int, *, background: bool) -> None:
        """A call goes."""
        self._in_flight += 1
        if background:
            self._spread_ns = max(self._spread_ns, now_ns) + self._interval_ns

    def settle(self, now_ns: int) -> None:
        """A call has been answered."""
        self._in_flight -= 1
        leaves_ns = now_ns + self._period_ns
        if self._leaves_ns:
            leaves_ns = max(leaves_ns, self._leaves_ns[-1])
        self._leaves_ns.append(leaves_ns)

    def close(self, until_ns: int) -> None:
        """Nothing goes before `until_ns`."""
        self._closed_until_ns = max(self._closed_until_ns, until_ns)


class Budget:
    """Call `acquire` before each call to the provider and `settle` after it, with what `acquire` returned.

    `who` says for whom a call is made: by ``person`` and ``tenant``, as far as they are known; allowances of
    what is not known are not asked.

    A call counts from when it is let go until one period after its answer came: the provider counted it
    somewhere in between, so however long the network took, no two counts can disagree.
    Safe for threads and greenlets.
    """

    def __init__(self, allowances: Sequence[Allowance], settings: policy.Budget, clock: Clock) -> None:
        self._allowances = tuple(allowances)
        self._settings = settings
        self._clock = clock
        self._processes = 1
        self._lock = threading.Lock()
        self._accounts: dict[tuple[int, str], Account] = {}
        self._tickets = 0
        self._waiting: dict[_Ticket, _Waiting] = {}

    def acquire(self, who: Mapping[str, str], *, interactive: bool, deadline_ns: int) -> Sequence[Account]:
        """Wait for room for one call in every allowance, at most until `deadline_ns` (by the clock).

        A call is taken from all its accounts or from none. Raises `Declined` at once when there will be no
        room by then.
        """
        with self._lock:
            self._tickets += 1
            ticket = (not interactive, self._tickets)
            concerned = self._accounts_of(who)
            call = _Waiting([account for _, account in concerned], background=not interactive)
            self._waiting[ticket] = call
        try:
            while True:
                with self._lock:
                    if call.goes:
                        return call.accounts
                    now_ns = self._clock.now_ns()
                    waits_ns = self._waits_ns(ticket, call, now_ns)
                    if not any(waits_ns) and self._let_go_ahead(ticket, call, now_ns):
                        waits_ns = self._waits_ns(ticket, call, now_ns)
                    self._strike(ticket, call)
                    wait_ns = max(waits_ns, default=0)
                    if wait_ns == 0:
                        self._let_go(ticket, call, now_ns)
                        return call.accounts
                    if now_ns + wait_ns > deadline_ns:
                        raise Declined("the budget has no call left before the deadline")
                    # A place is kept in the accounts that are no wider than the one that is waited for
                    # longest: whoever shares those waits for that one too, behind this call. In a wider one
                    # who waits for an account of their own keeps no room from others.
                    widest = min(
                        _WIDEST_FIRST.index(per)
                        for (per, _), own_ns in zip(concerned, waits_ns, strict=True)
                        if own_ns == wait_ns
                    )
                    for per, account in concerned:
                        if _WIDEST_FIRST.index(per) >= widest:
                            account.enlist(ticket)
                            call.enlisted.append(account)
                    call.wakes_ns = now_ns + wait_ns
                self._clock.sleep_ns(wait_ns)
        except BaseException:
            with self._lock:
                self._strike(ticket, call)
                self._waiting.pop(ticket, None)
                if call.goes:  # it was let go, and ends before it is made
                    self._settle(call.accounts)
            raise

    def _waits_ns(self, ticket: _Ticket, call: _Waiting, now_ns: int) -> list[int]:
        return [account.wait_ns(ticket, now_ns) for account in call.accounts]

    def _let_go_ahead(self, ticket: _Ticket, call: _Waiting, now_ns: int) -> bool:
        """Before a call goes, let those go that are ahead of it and wake up at this very instant, in order:
        which of them is woken first is chance. Returns whether there were any."""
        ahead = sorted({other for account in call.accounts for other in account.ahead(ticket)})
        went = False
        for other in ahead:
            waiting = self._waiting[other]
            if waiting.wakes_ns <= now_ns and not any(self._waits_ns(other, waiting, now_ns)):
                self._strike(other, waiting)
                self._let_go(other, waiting, now_ns)
                went = True
        return went

    def _let_go(self, ticket: _Ticket, call: _Waiting, now_ns: int) -> None:
        del self._waiting[ticket]
        call.goes = True
        for account in call.accounts:
            account.take(now_ns, background=call.background)

    def _strike(self, ticket: _Ticket, call: _Waiting) -> None:
        while call.enlisted:
            call.enlisted.pop().strike(ticket)

    def settle(self, accounts: Sequence[Account]) -> None:
        """A call that was let go has been answered, or has failed: it may have been counted all the same."""
        with self._lock:
            self._settle(accounts)

    def _settle(self, accounts: Iterable[Account]) -> None:
        now_ns = self._clock.now_ns()
        for account in accounts:
            account.settle(now_ns)

    def close(self, who: Mapping[str, str], duration_ns: int) -> None:
        """The provider refused a call and said to wait: nothing like it goes before that has passed.

        Which limit refused is not known. Where there are allowances of people or tenants, it was most likely
        this person's or tenant's; one person's day must not end everybody's.
        """
        with self._lock:
            concerned = self._accounts_of(who)
            narrowest = max((_WIDEST_FIRST.index(per) for per, _ in concerned), default=0)
            for per, account in concerned:
                if _WIDEST_FIRST.index(per) == narrowest:
                    account.close(self._clock.now_ns() + duration_ns)

    def heed(self, who: Mapping[str, str], headers: Mapping[str, str]) -> None:
        """Take up how many calls the provider now says that it allows, where a header tells of it.

        What is not there, or is no number, changes nothing. Whoever waits goes on waiting as before.
        """
        with self._lock:
            for i, allowance in enumerate(self._allowances):
                told = headers.get(allowance.calls_at) if allowance.calls_at else None
                account = self._accounts.get((i, self._key(allowance, who) or ""))
                if told is not None and account is not None and _CALLS.fullmatch(told):
                    account.allow(int(told))

    def share(self, processes: int) -> None:
        """As many processes of the app, each with a budget, share what it is allowed, in equal parts."""
        with self._lock:
            if processes != self._processes:
                self._processes = processes
                for account in self._accounts.values():
                    account.share(processes)

    def _key(self, allowance: Allowance, who: Mapping[str, str]) -> str | None:
        return "" if allowance.per == "app" else who.get(allowance.per)

    def _accounts_of(self, who: Mapping[str, str]) -> list[tuple[str, Account]]:
        found = []
        for i, allowance in enumerate(self._allowances):
            key = self._key(allowance, who)
            if key is None:
                continue
            account = self._accounts.get((i, key))
            if account is None:
                account = self._accounts[i, key] = Account(allowance, self._settings, self._processes)
            found.append((allowance.per, account))
        return found
