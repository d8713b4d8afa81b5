"""Limits decided by the plainest means there are: all that happened is kept, and gone through anew each time.

Slow, and meant to be seen to be right: it makes the ledgers that rules are tested on, and is what the judges'
arithmetic is measured against. It shares nothing with that arithmetic, nor with the engine.
"""

from __future__ import annotations

import datetime
import itertools
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from quotalab.profiles.limits import METERED, Limit, key_offset_ns

__all__ = ["NEVER", "Plain", "PlainCall"]

NEVER = 2**63 - 1
_DAY_NS = 86_400 * 10**9
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class PlainCall:
    """What the limits have to know of a call."""

    at_ns: int
    answered_ns: int
    kind: str
    method: str
    route: str | None
    tags: tuple[str, ...]
    known: bool
    """Whether it came with a valid token."""
    values: Mapping[str, str | None]
    """Of the parts that a key may have, and of what a cardinality limit counts."""
    objects: int = 0
    objects_asked: int = 0


@dataclass
class _Account:
    """All that happened to one key of one limit."""

    charges: list[tuple[int, int, int, bool]] = field(default_factory=list)
    """(when, amount, when the call that it belongs to was decided, whether it comes back), as decided."""
    under_way: list[tuple[int, int]] = field(default_factory=list)
    """(counts from, answered) of admitted calls."""
    members: list[str | None] = field(default_factory=list)
    """In the order in which they entered; those that were evicted are gone."""
    counted: list[int] = field(default_factory=list)
    """Answers since the last block began."""
    blocks: list[tuple[int, int, int]] = field(default_factory=list)
    """(begun, end, length)."""


class Plain:
    """A provider's limits. Calls come in order of time: `waits`, `take`, `answer`."""

    def __init__(self, limits: Sequence[Limit], start_ns: int) -> None:
        self._limits = tuple(limits)
        self._start_ns = start_ns
        self._accounts: dict[tuple[str, str], _Account] = {}

    def number(self, limit: Limit, now_ns: int) -> int:
        """The limit's number in force now."""
        number = limit.limit
        for change in limit.changes:
            if now_ns >= self._start_ns + change.after_ns:
                number = change.limit
        return number

    def asked(self, call: PlainCall) -> list[tuple[Limit, str]]:
        """The limits that the call is asked of, each with the key that it counts the call under."""
        return [(limit, _key(limit, call)) for limit in self._limits if _is_asked(limit, call)]

    def waits(self, call: PlainCall) -> dict[str, int]:
        """By limit: 0 where the call fits, else how long until it would, or `NEVER`."""
        return {limit.name: self._wait_ns(limit, key, call) for limit, key in self.asked(call)}

    def cost(self, call: PlainCall) -> int:
        """The largest that a limit is asked for; 0 when none is."""
        return max(
            (_need(limit, call) if limit.kind in METERED else 1 for limit, _ in self.asked(call)), default=0
        )

    def take(
        self, call: PlainCall, waits: Mapping[str, int], refused: bool
    ) -> tuple[dict[str, int], dict[str, int]]:
        """Let the call, whose waits are `waits`, be admitted or refused: what is charged, what remains."""
        asked = self.asked(call)
        charges: dict[str, int] = {}
        settlements = []
        for limit, key in asked:
            account = self._account(limit, key)
            if limit.kind == "penalty" and waits[limit.name] and limit.action == "extend":
                begun_ns, _, length_ns = account.blocks[-1]
                account.blocks[-1] = (begun_ns, call.at_ns + length_ns, length_ns)
            if refused:
                refusing = [other for other, _ in asked if other.kind in METERED and waits[other.name]]
                if limit.kind in METERED and any(_is_charged(limit, other) for other in refusing):
                    charges[limit.name] = _need(limit, call)
                    account.charges.append((call.at_ns, _need(limit, call), call.at_ns, False))
            elif limit.kind in METERED:
                charges[limit.name] = _final(limit, call)
                if limit.cost.when != "after":
                    account.charges.append((call.at_ns, _need(limit, call), call.at_ns, False))
                settlements.append((account, _settlement(limit, call)))
            elif limit.kind == "concurrency":
                charges[limit.name] = 1
                account.under_way.append((call.at_ns + limit.min_age_ns, call.answered_ns))
            elif limit.kind == "cardinality":
                member = call.values[_member(limit)]
                charges[limit.name] = int(member not in account.members)
                if member not in account.members:
                    account.members.append(member)
                    if limit.on_excess == "evict_oldest" and len(account.members) > limit.limit:
                        del account.members[0]
            else:
                charges[limit.name] = 0
        remaining = {
            limit.name: self.number(limit, call.at_ns) - self._used(limit, key, call.at_ns)
            for limit, key in asked
        }
        for account, settlement in settlements:  # even at the same instant, after the call was decided
            if settlement[1]:
                account.charges.append(settlement)
        return charges, remaining

    def answer(self, call: PlainCall, status: int, refused_by: str | None) -> None:
        """The answer that the call got: penalties count it."""
        for limit, key in self.asked(call):
            account = self._account(limit, key)
            if limit.kind != "penalty" or status not in limit.statuses or refused_by == limit.name:
                continue
            if self._blocked_ns(account, call.at_ns):
                continue
            account.counted.append(call.at_ns)
            if self._counted(limit, account, call.at_ns) > limit.limit:
                self._block(limit, account, call.at_ns)

    def _account(self, limit: Limit, key: str) -> _Account:
        return self._accounts.setdefault((limit.name, key), _Account())

    def _wait_ns(self, limit: Limit, key: str, call: PlainCall) -> int:
        now_ns, account = call.at_ns, self._account(limit, key)
        number = self.number(limit, now_ns)
        if limit.kind == "penalty":
            blocked_ns = self._blocked_ns(account, now_ns)
            # A call that extends a block is told of all that it is in for.
            return account.blocks[-1][2] if blocked_ns and limit.action == "extend" else blocked_ns
        if limit.kind == "cardinality":
            fits = call.values[_member(limit)] in account.members or len(account.members) < number
            return 0 if fits or limit.on_excess == "evict_oldest" else NEVER
        if limit.kind == "concurrency":
            instants = [now_ns, *(end for _, end in account.under_way if end > now_ns)]
            return min(at for at in instants if _under_way(account, at) + 1 <= number) - now_ns
        need = _need(limit, call)
        used = self._exactly_used(limit, key, now_ns)
        if limit.kind == "balance":
            return self._balance_wait_ns(limit, now_ns, need, used, number)
        if need == 0 or used + need <= number:
            return 0
        if need > number:
            return NEVER
        if limit.kind == "token_bucket":
            return int(-((number - used - need) // limit.rate))
        if (limit.counts or limit.kind) == "rolling_window":
            # Whoever has left by then has; settlements to come are not foreseen.
            inside = sorted(_rolling_charges(account, now_ns, limit.period_ns))
            left = used
            for at_ns, leaving in itertools.groupby(inside, key=lambda one: one[0]):
                left -= sum(amount for _, amount in leaving)
                if left + need <= number:
                    return int(at_ns) + limit.period_ns - now_ns
        return self._window(limit, key, now_ns)[1] - now_ns

    def _balance_wait_ns(
        self, limit: Limit, now_ns: int, need: int, used: int | Fraction, number: int
    ) -> int:
        wait_ns = 0
        while need and (used >= number if limit.may_go_negative else used + need > number):
            if not limit.period_ns or (need > number and not limit.may_go_negative):
                return NEVER
            wait_ns = _clock_window(limit, now_ns + wait_ns)[1] - now_ns
            used = max(0, used - number)
        return wait_ns

    def _used(self, limit: Limit, key: str, now_ns: int) -> int:
        """Used now, rounded up."""
        account = self._account(limit, key)
        if limit.kind == "penalty":
            return self._counted(limit, account, now_ns)
        if limit.kind == "cardinality":
            return len(account.members)
        if limit.kind == "concurrency":
            return _under_way(account, now_ns)
        return int(-(-self._exactly_used(limit, key, now_ns) // 1))

    def _exactly_used(self, limit: Limit, key: str, now_ns: int) -> int | Fraction:
        account, kind = self._account(limit, key), limit.counts or limit.kind
        if kind == "rolling_window":
            return sum(amount for _, amount in _rolling_charges(account, now_ns, limit.period_ns))
        known = sorted((one for one in account.charges if one[0] <= now_ns), key=lambda one: one[0])
        if kind == "fixed_window":
            start_ns, _ = self._window(limit, key, now_ns)
            inside = [one for one in known if one[0] >= start_ns]
            return sum(amount for _, amount, decided_ns, back in inside if not back or decided_ns >= start_ns)
        used, last_ns = Fraction(0), known[0][0] if known else now_ns
        for at_ns, amount in [*((one[0], one[1]) for one in known), (now_ns, 0)]:
            if kind == "token_bucket":
                used = max(Fraction(0), used - limit.rate * (at_ns - last_ns))
            elif limit.period_ns:
                while (end_ns := _clock_window(limit, last_ns)[1]) <= at_ns:
                    used, last_ns = max(Fraction(0), used - limit.limit), end_ns
            used, last_ns = max(Fraction(0), used + amount), at_ns
        return used

    def _window(self, limit: Limit, key: str, now_ns: int) -> tuple[int, int]:
        """[start, end) of a fixed window; where none is open it begins now."""
        period_ns = limit.period_ns
        if limit.align == "offset":
            start_ns = now_ns - (now_ns - key_offset_ns(limit, key)) % period_ns
            return start_ns, start_ns + period_ns
        if limit.align == "clock":
            return _clock_window(limit, now_ns)
        opened_ns = None
        for at_ns, amount, _, _ in sorted(self._account(limit, key).charges, key=lambda one: one[0]):
            if at_ns <= now_ns and amount > 0 and (opened_ns is None or at_ns >= opened_ns + period_ns):
                opened_ns = at_ns
        if opened_ns is None or now_ns >= opened_ns + period_ns:
            opened_ns = now_ns
        return opened_ns, opened_ns + period_ns

    def _blocked_ns(self, account: _Account, now_ns: int) -> int:
        """How long a block still lasts."""
        if not account.blocks or now_ns >= account.blocks[-1][1]:
            return 0
        return NEVER if account.blocks[-1][1] == NEVER else account.blocks[-1][1] - now_ns

    def _counted(self, limit: Limit, account: _Account, now_ns: int) -> int:
        return sum(at_ns > now_ns - limit.period_ns for at_ns in account.counted)

    def _block(self, limit: Limit, account: _Account, now_ns: int) -> None:
        account.counted.clear()
        if limit.action == "ban":
            account.blocks.append((now_ns, NEVER, NEVER))
            return
        in_a_row = 1
        for earlier, later in zip(
            account.blocks[::-1], [(now_ns, 0, 0), *account.blocks[::-1]], strict=False
        ):
            if later[0] - earlier[1] >= limit.forgive_ns:
                break
            in_a_row += 1
        length_ns = min(limit.block_ns * limit.escalation ** (in_a_row - 1), limit.longest_ns)
        account.blocks.append((now_ns, now_ns + length_ns, length_ns))


def _is_asked(limit: Limit, call: PlainCall) -> bool:
    match = limit.match
    needed = {"tenant", "object"}.intersection(
        (*limit.key, *((limit.of,) if limit.kind == "cardinality" else ()))
    )
    callers = "known" if call.known or call.kind != "api" else "anonymous"
    return (
        call.kind in match.kinds
        and match.callers in (callers, "all")
        and (
            not (match.routes or match.tags)
            or (call.route or "unknown") in match.routes
            or bool({*call.tags} & {*match.tags})
        )
        and (not match.methods or call.method in match.methods)
        and all(call.values.get(part) is not None for part in needed)
        and (limit.on_excess != "evict_oldest" or call.values.get("refresh_token") is not None)
    )


def _key(limit: Limit, call: PlainCall) -> str:
    return "|".join(call.values.get(part) or ("unknown" if part == "route" else "") for part in limit.key)


def _member(limit: Limit) -> str:
    return "refresh_token" if limit.on_excess == "evict_oldest" else limit.of


def _own(limit: Limit, call: PlainCall) -> int:
    own = limit.cost.methods.get(call.method, limit.cost.base)
    return own if call.route is None else limit.cost.routes.get(call.route, own)


def _need(limit: Limit, call: PlainCall) -> int:
    cost = limit.cost
    if cost.when == "after":
        return int(bool(_own(limit, call) or cost.per_object))
    return _own(limit, call) + cost.per_object * (
        call.objects_asked if cost.when == "refund" else call.objects
    )


def _final(limit: Limit, call: PlainCall) -> int:
    return _own(limit, call) + limit.cost.per_object * call.objects


def _settlement(limit: Limit, call: PlainCall) -> tuple[int, int, int, bool]:
    """What happens to an admitted call's account when its answer has been given."""
    final = _final(limit, call)
    if limit.cost.when == "after":
        return call.answered_ns, final, call.at_ns, False
    return call.answered_ns, final - _need(limit, call), call.at_ns, True


def _is_charged(limit: Limit, refusing: Limit) -> bool:
    """Whether a call that `refusing` refuses is charged to `limit`."""
    mode = refusing.refused_calls
    if mode == "longer":
        length, own = limit.length_ns, refusing.length_ns
        return own is not None and (length is None or length > own)
    return mode == "all" or (mode == "this" and limit.name == refusing.name)


def _under_way(account: _Account, now_ns: int) -> int:
    return sum(counts_ns <= now_ns < answered_ns for counts_ns, answered_ns in account.under_way)


def _rolling_charges(account: _Account, now_ns: int, period_ns: int) -> list[tuple[int, int]]:
    """(when, amount) of what counts now; what came back is taken from the charge that it belongs to."""
    return [
        (decided_ns if back else at_ns, amount)
        for at_ns, amount, decided_ns, back in account.charges
        if at_ns <= now_ns and (decided_ns if back else at_ns) > now_ns - period_ns
    ]


def _clock_window(limit: Limit, now_ns: int) -> tuple[int, int]:
    """[start, end) of the window of a clock-aligned limit."""
    period_ns = limit.period_ns
    if limit.zone == "UTC" and not limit.calendar:
        start_ns = now_ns - now_ns % period_ns
        return start_ns, start_ns + period_ns
    zone = zoneinfo.ZoneInfo(limit.zone)
    day = (_EPOCH + datetime.timedelta(seconds=now_ns // 10**9)).astimezone(zone).date()
    if _midnight_ns(zone, day + datetime.timedelta(days=1)) <= now_ns:
        day += datetime.timedelta(
            days=1
        )  # a clock that was set back over midnight shows the day before again
    if limit.calendar:
        first = day.replace(day=1)
        following = (first + datetime.timedelta(days=31)).replace(day=1)
        return _midnight_ns(zone, first), _midnight_ns(zone, following)
    days = period_ns // _DAY_NS if period_ns % _DAY_NS == 0 else 1
    first = day - datetime.timedelta(days=(day - _EPOCH.date()).days % days)
    start_ns, end_ns = _midnight_ns(zone, first), _midnight_ns(zone, first + datetime.timedelta(days=days))
    if period_ns % _DAY_NS:
        start_ns = now_ns - (now_ns - start_ns) % period_ns
        end_ns = min(end_ns, start_ns + period_ns)
    return start_ns, end_ns


def _midnight_ns(zone: zoneinfo.ZoneInfo, day: datetime.date) -> int:
    """The first instant at which the zone's clocks show that day or a later one."""
    midnight = datetime.datetime(day.year, day.month, day.day, tzinfo=zone)
    seconds = (midnight.astimezone(datetime.UTC) - _EPOCH) // datetime.timedelta(seconds=1)
    while (_EPOCH + datetime.timedelta(seconds=seconds - 60)).astimezone(zone).date() >= day:
        seconds -= 60  # the midnight was skipped
    return seconds * 10**9
