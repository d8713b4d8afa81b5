"""The engine with its state in Redis, for several processes that are one provider.

Each decision is one script that Redis runs on its own, `redis.lua` beside this file: all limits of a call are
asked, and all of them or none are charged, whoever else asks at the same time. Time is Redis's own, so the
clocks of the processes need not agree. It is counted in whole microseconds since 1970, and so is how long a
call takes, rounded up. On arrivals at whole microseconds every answer is that of `quotalab.quota.Engine`,
waits and resets to the nanosecond; a limit that could not be kept so is refused when the engine is made.

All keys in Redis begin with the deployment's prefix in braces. A key expires once it says nothing any more;
members of a cardinality and bans stay, and the deployment's own key stays for thirty days after its last
decision. Redis must not be let evict keys by itself (``maxmemory-policy noeviction``, its default).

Where Redis cannot be asked, `StateLostError` is raised and nothing is admitted; whether a decision whose
answer was lost had been charged is not known, and it is not asked again. The next question tries anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from hashlib import blake2b
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from quotalab.errors import FaultError, InputError, StateLostError
from quotalab.profiles.limits import METERED, Limit, Source, key_offset_ns
from quotalab.quota.calendar import Calendar, calendar_of
from quotalab.quota.engine import Decision, Engine, Standing
from quotalab.quota.limiter import NEVER
from quotalab.quota.selection import Asked, Selection

if TYPE_CHECKING:
    from redis import Redis

__all__ = ["RedisEngine", "SharedDecision"]

_US = 1000
_DAY_US = 86_400 * 10**6
_MOST = 2**53 - 1
"""Up to here Lua counts exactly; an instant that never comes."""
_LONGEST_US = 36_525 * _DAY_US
"""A century: from any instant until 2155, an instant that is so much later can still be counted."""
_LARGEST = 2**50
_SINCE_NS = 1_577_836_800 * 10**9
"""2020-01-01: windows that have no number of their own are numbered from here on. No time is before it."""
_REMEMBERED_S = 30 * 86_400
_ATTEMPTS = 5
_PARTS = ("state", "log", "young", "due")
"""What there is of each limit and key; before the key's own text, which may be anything."""
_PREFIX = re.compile(r"[\w.:-]+", re.ASCII)
_SCRIPT = files("quotalab.quota").joinpath("redis.lua").read_text("utf-8")


class SharedDecision(Decision):
    """A decision, and the instant at which Redis made it."""

    at_ns: int


class _SharedSelection(Selection):
    """A selection with what the script is told about its limits."""

    __slots__ = ("statics",)

    def __init__(self, asked: Sequence[Asked]) -> None:
        super().__init__(asked)
        self.statics = json.dumps(
            [
                _static(one.limit, [position + 1 for position in sorted(charged)])
                for one, charged in zip(asked, self.charged_when_refused, strict=True)
            ]
        )


class _Windows:
    """The windows of a calendar around now, as the script is told them."""

    def __init__(self, limit: Limit) -> None:
        self.calendar = calendar_of(limit)
        self.calendar.move(_SINCE_NS)

    def around(self, now_us: int, until_us: int) -> tuple[Calendar, list[int]]:
        """The calendar, and the number of its window followed by where that and those after it begin.

        A calendar that was handed out is not moved any more.
        """
        if now_us * _US >= self.calendar.end_ns:
            self.calendar = copy(self.calendar)
            self.calendar.move(now_us * _US)
        row = [self.calendar.index]
        while len(row) < 4 or row[-1] <= until_us:
            row.append(_up(self.calendar.start_after(len(row) - 1)))
        return self.calendar, row


class RedisEngine:
    """All limits of a provider, with the methods of `Engine` and its answers.

    Raises `InputError` for a limit that cannot be kept exactly, for limits that are not those of the other
    processes of the deployment, and without the library; `StateLostError` whenever Redis cannot be asked.
    """

    def __init__(
        self,
        limits: Sequence[Limit],
        url: str,
        *,
        prefix: str,
        start_ns: int | None = None,
        on_change: Callable[[int, str, int, int, str], None] | None = None,
        on_loss: Callable[[], None] | None = None,
        timeout_s: float = 2.0,
        reads_time: bool = True,
    ) -> None:
        """Limits as for `Engine`; `url` such as ``redis://127.0.0.1:6379/0``; `prefix` names the deployment.

        `start_ns` is what the timetable counts from, for the process that comes first (None: Redis's time
        then); those that join take over what it said. `on_loss` is told when Redis has come back without what
        it knew, in the process that notices first. With `reads_time` false, time is what each method is
        passed, at whole microseconds; nothing expires then.
        """
        if not _PREFIX.fullmatch(prefix):
            raise InputError(
                f"redis: {prefix!r} is no prefix; letters, digits, dots, colons, dashes and underscores are"
            )
        for limit in limits:
            _check(limit)
        self._limits = {limit.name: limit for limit in limits}
        self._selects = Engine(limits)
        self._windows = {limit.name: _Windows(limit) for limit in limits if _has_calendar(limit)}
        self._on_change = on_change
        self._on_loss = on_loss
        self._reads_time = reads_time
        self._prefix = prefix
        self._digest = _digest(limits)
        self._numbers = {limit.name: limit.limit for limit in limits}
        self._changes = sorted(
            ((change.after_ns, limit.name, change) for limit in limits for change in limit.changes),
            key=lambda entry: entry[0],
            reverse=True,
        )
        self._start_us = None if start_ns is None else _up(start_ns)
        self._seen_us = 0
        self._has_joined = False
        self._where, self._redis = _client(url, timeout_s)
        self._sha = ""
        self._join()

    @property
    def start_ns(self) -> int:
        """What the timetable counts from, the same for all processes."""
        assert self._start_us is not None, "known since it joined"
        return self._start_us * _US

    def close(self) -> None:
        """Let go of the connections; what is in Redis stays."""
        self._redis.close()

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
        """The limits that such calls are asked of, for `decide`; see `Engine.select`."""
        selection = self._selects.select(
            kind, method, route, tags, known=known, with_object=with_object, with_tenant=with_tenant
        )
        return _SharedSelection(selection.asked)

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
    ) -> SharedDecision:
        """Admit or refuse one call; see `Engine.decide`.

        It takes as long as from `now_ns` to `answered_ns`, beginning when Redis decides.
        """
        assert isinstance(selection, _SharedSelection), "made by this engine's select"
        answered_ns = now_ns if answered_ns is None else answered_ns
        takes_us = _up(answered_ns - now_ns)
        if answered_ns < now_ns:
            raise FaultError(f"a call of {now_ns} can't have been answered before, at {answered_ns}")
        keys, needs, finals, members, brought = [], [], [], [], []
        for one in selection.asked:
            keys.append(one.key(caller))
            need, final, member = 0, 0, 0
            if one.metered is not None:
                need, final = one.costs(objects, objects_asked)
                if final > need and one.limit.cost.when != "after":
                    raise FaultError(
                        f"a call to limits.{one.limit.name} returns more objects than it asked for"
                    )
                if max(need, final) > _LARGEST:
                    raise _overflow(one.limit.name)
            elif one.limit.kind == "cardinality":
                brought.append(_bytes(caller[one.limit.of]))
                member = len(brought)
            needs.append(need)
            finals.append(final)
            members.append(member)
        names = [one.limit.name for one in selection.asked]
        if not names:
            return _decision(now_ns, Decision(None, 0, 0, (), (), ()))
        dynamic = {
            "takes": takes_us, "needs": needs, "finals": finals, "members": members, "charge": charge
        }  # fmt: skip
        reply, calendars = self._ask(
            "decide", now_ns, selection.statics, names, keys, dynamic, brought, takes_us
        )
        at_us = reply[0]
        evicted = None if reply[1] is None else reply[1].decode("utf-8", "surrogatepass")
        rows = [reply[i : i + 5] for i in range(2, len(reply), 5)]
        named, longest_ns, dearest, is_refused = None, 0, 0, False
        for one, key, need, calendar, (refuses, number, _, a, b) in zip(
            selection.asked, keys, needs, calendars, rows, strict=True
        ):
            dearest = max(dearest, need if one.metered is not None else 1)
            if refuses:
                is_refused = True
                wait_ns = min(_wait_ns(one.limit, key, need, number, at_us, a, b, calendar), NEVER)
                if wait_ns > longest_ns:
                    named, longest_ns = one.limit.name, wait_ns
        charges: tuple[tuple[str, int], ...] = ()
        if charge and not is_refused:
            charges = tuple(
                (one.limit.name, final if one.metered is not None else _charged(one.limit, row[4]))
                for one, final, row in zip(selection.asked, finals, rows, strict=True)
            )
        elif charge:
            refusing = [selection.charged_when_refused[i] for i, row in enumerate(rows) if row[0]]
            charged = sorted(frozenset().union(*refusing))
            charges = tuple((names[i], needs[i]) for i in charged)
        decision = Decision(
            named,
            longest_ns,
            dearest,
            tuple(zip(names, keys, strict=True)),
            charges,
            tuple((name, row[2]) for name, row in zip(names, rows, strict=True)),
            evicted,
        )
        return _decision(at_us * _US, decision)

    def observe(self, now_ns: int, selection: Selection, decision: Decision, status: int) -> None:
        """Count the answer to a call at the call's own instant; see `Engine.observe`.

        Calls that other processes had decided before this was told do not know of it.
        """
        assert isinstance(selection, _SharedSelection), "made by this engine's select"
        positions = [
            position
            for position, _ in selection.penalty_positions
            if status in selection.asked[position].limit.statuses
        ]
        if positions:
            statics = json.dumps([_static(selection.asked[position].limit, []) for position in positions])
            names, keys = zip(*(decision.keys[position] for position in positions), strict=True)
            dynamic = {"at": decision.at_ns // _US} if isinstance(decision, SharedDecision) else {}
            self._ask("observe", now_ns, statics, names, keys, dynamic)

    def standing(self, name: str, key: str, now_ns: int) -> Standing:
        """How a key stands with a limit now."""
        limit = self._limits[name]
        (at_us, number, left, a, b), (calendar,) = self._ask(
            "standing", now_ns, json.dumps([_static(limit, [])]), [name], [key], {}
        )
        reset_ns = min(_reset_ns(limit, key, number, at_us, a, b, calendar), NEVER)
        return Standing(number, number - left, left, reset_ns)

    def advance(self, now_ns: int) -> None:
        """Let time pass: the timetable up to now; what is to be settled is when its key is asked next."""
        self._call("time", now_ns, [], [])

    def number(self, name: str) -> int:
        """The number of a limit that was in force when Redis was asked last."""
        return self._numbers[name]

    # ---- how Redis is asked

    def _ask(
        self,
        mode: str,
        now_ns: int,
        statics: str,
        names: Sequence[str],
        keys: Sequence[str],
        dynamic: Mapping[str, Any],
        members: Sequence[bytes] = (),
        takes_us: int = 0,
    ) -> tuple[list[Any], list[Calendar | None]]:
        """The script's reply, and the calendar of each limit that has one, as it was told of it."""
        now_us = self._seen_us if self._reads_time else now_ns // _US
        until_us = now_us + takes_us
        for _ in range(_ATTEMPTS):
            calendars: list[Calendar | None] = []
            windows: list[int | list[int]] = []
            for name, key in zip(names, keys, strict=True):
                if name in self._windows:
                    calendar, row = self._windows[name].around(now_us, until_us)
                    calendars.append(calendar)
                    windows.append(row)
                else:
                    calendars.append(None)
                    windows.append(_offset_us(self._limits[name], key))
            reply = self._call(
                mode,
                now_ns,
                [
                    f"{{{self._prefix}}}:{name}:{part}:".encode() + _bytes(key)
                    for name, key in zip(names, keys, strict=True)
                    for part in _PARTS
                ],
                [statics, json.dumps({**dynamic, "windows": windows}), *members],
            )
            if reply[0] == b"windows":
                now_us, until_us = reply[1], reply[2] + _US
            elif reply[0] == b"overflow":
                raise _overflow(reply[1].decode())
            else:
                return reply, calendars
        raise self._lost("its time goes faster than it can be asked")

    def _call(
        self, mode: str, now_ns: int, keys: Sequence[bytes], arguments: Sequence[str | bytes]
    ) -> list[Any]:
        """The script's reply, joining the deployment again where Redis does not know of it."""
        given = "" if self._reads_time else self._given(now_ns)
        for _ in range(_ATTEMPTS):
            reply = self._run(
                [self._deployment, *keys], [mode, self._digest, given, _REMEMBERED_S, *arguments]
            )
            if reply[0] == b"join":
                self._join()
            elif reply[0] == b"backwards":
                raise FaultError(f"the engine's time can't go backwards: {now_ns} after {reply[1] * _US}")
            else:
                if not isinstance(reply[0], bytes):
                    self._see(reply[0])
                return reply
        raise self._lost("it forgets what it has just been told")

    def _run(self, keys: Sequence[bytes], arguments: Sequence[str | bytes | int]) -> list[Any]:
        """The reply of the script, which Redis is given where it does not have it."""
        from redis.exceptions import NoScriptError, RedisError

        try:
            for _ in range(_ATTEMPTS):
                try:
                    reply: Any = self._redis.evalsha(self._sha, len(keys), *keys, *arguments)
                except NoScriptError:
                    loaded: Any = self._redis.script_load(_SCRIPT)
                    self._sha = loaded if isinstance(loaded, str) else loaded.decode()
                else:
                    assert isinstance(reply, list), "a table is what the script returns"
                    return reply
        except (RedisError, OSError) as error:
            raise self._lost(str(error).strip() or type(error).__name__) from error
        raise self._lost("it forgets its scripts")

    def _join(self) -> None:
        """Become a process of the deployment: agree on the limits and on the start."""
        given = "" if self._reads_time else "0"
        start = "" if self._start_us is None else str(self._start_us)
        is_new, digest, start_us, now_us = self._run(
            [self._deployment], ["join", self._digest, given, _REMEMBERED_S, start]
        )
        if digest.decode() != self._digest:
            raise InputError(
                f"redis: the deployment {self._prefix!r} at {self._where} has other limits, or is of another "
                "version; give this one a prefix of its own"
            )
        if self._has_joined and is_new and self._on_loss is not None:
            self._on_loss()
        self._has_joined = True
        self._start_us = start_us
        self._see(now_us)

    def _see(self, now_us: int) -> None:
        """Note what time it is, and tell of the numbers that have changed by then."""
        self._seen_us = max(self._seen_us, now_us)
        while self._changes and self.start_ns + self._changes[-1][0] <= self._seen_us * _US:
            after_ns, name, change = self._changes.pop()
            before, self._numbers[name] = self._numbers[name], change.limit
            if self._on_change is not None:
                self._on_change(self.start_ns + after_ns, name, before, change.limit, change.why)

    @property
    def _deployment(self) -> bytes:
        return f"{{{self._prefix}}}".encode()

    def _given(self, now_ns: int) -> str:
        if now_ns % _US or now_ns < _SINCE_NS:
            raise FaultError(f"a time that is passed in must be whole microseconds since 2020, not {now_ns}")
        return str(now_ns // _US)

    def _lost(self, reason: str) -> StateLostError:
        return StateLostError(f"redis: the limits' state at {self._where} can't be asked: {reason}")


# ---- what the script is told


def _static(limit: Limit, charges: Sequence[int]) -> dict[str, Any]:
    """A limit, in the script's words; `charges` are those that are charged a call which it refuses."""
    static: dict[str, Any] = {
        "name": limit.name,
        "kind": _kind(limit),
        "number": limit.limit,
        "changes": [(_up(change.after_ns), change.limit) for change in limit.changes],
        "period": limit.period_ns // _US,
        "charges": charges,
        "metered": limit.kind in METERED,
        "settles": limit.kind in METERED and limit.cost.when != "before",
        "after": limit.cost.when == "after",
    }
    if static["kind"] in ("clock", "balance"):
        static["even"] = not _has_calendar(limit) and limit.period_ns > 0
        static["longest"] = limit.period_ns // _US + (2 * _DAY_US if _has_calendar(limit) else 0)
        static["may_go_negative"] = limit.may_go_negative
    elif limit.kind == "token_bucket":
        p, q = _rate(limit)
        static |= {"p": p, "q": q, "digit": 2 ** (53 - (p + q).bit_length())}
    elif limit.kind == "concurrency":
        static["min_age"] = limit.min_age_ns // _US
    elif limit.kind == "cardinality":
        static["evicts"] = limit.on_excess == "evict_oldest"
    elif limit.kind == "penalty":
        static |= {
            "extends": limit.action == "extend",
            "bans": limit.action == "ban",
            "block": limit.block_ns // _US,
            "escalation": limit.escalation,
            "longest": limit.longest_ns // _US,
            "forgive": limit.forgive_ns // _US,
        }
    return static


def _kind(limit: Limit) -> str:
    kind = limit.counts if limit.kind == "opaque" else limit.kind
    if kind == "fixed_window":
        return "first" if limit.align == "first_call" else "clock"
    return {"rolling_window": "rolling", "token_bucket": "bucket"}.get(kind, kind)


def _has_calendar(limit: Limit) -> bool:
    """Whether its windows are others than whole periods since 1970, or since its own offset."""
    return (
        _kind(limit) in ("clock", "balance")
        and limit.align == "clock"
        and (limit.calendar != "" or (limit.zone != "UTC" and limit.period_ns > 0))
    )


def _rate(limit: Limit) -> tuple[int, int]:
    """Of a token bucket, p and q of the p / q tokens that drain each microsecond."""
    rate = limit.rate * _US
    return rate.numerator, rate.denominator


def _offset_us(limit: Limit, key: str) -> int:
    """Where windows begin; rounded up, which parts whole microseconds in the same way."""
    return _up(key_offset_ns(limit, key)) if limit.align == "offset" else 0


def _up(value_ns: int) -> int:
    return min(-(-value_ns // _US), _MOST)


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")


def _check(limit: Limit) -> None:
    """Refuse a limit that Redis could not keep exactly."""
    times = {
        "period": limit.period_ns,
        "min_age": limit.min_age_ns,
        "block": limit.block_ns,
        "longest": limit.longest_ns,
        "forgive": limit.forgive_ns,
    }
    for name, time_ns in times.items():
        if time_ns % _US:
            raise _inexact(limit, name, f"of {time_ns} ns is no whole number of microseconds")
        if time_ns > _LONGEST_US * _US:
            raise _inexact(limit, name, "is longer than a century")
    numbers = (limit.limit, *(change.limit for change in limit.changes))
    if max(numbers) > _LARGEST:
        raise _inexact(limit, "number", f"of {max(numbers)} is above {_LARGEST}")
    cost = limit.cost
    dearest = max(cost.base, cost.per_object, *cost.routes.values(), *cost.methods.values())
    if dearest > _LARGEST:
        raise _inexact(limit, "cost", f"of {dearest} is above {_LARGEST}")
    if limit.kind == "token_bucket" and sum(_rate(limit)) >= 2**52:
        p, q = _rate(limit)
        raise _inexact(limit, "rate", f"of {p}/{q} tokens a microsecond needs more than 52 bits")


def _inexact(limit: Limit, what: str, why: str) -> InputError:
    return InputError(f"limits.{limit.name}: {what} {why}; in Redis it could not be kept exactly")


def _overflow(name: str) -> InputError:
    return InputError(f"limits.{name}: more would be used than can be counted exactly in Redis, 2^53")


def _digest(limits: Sequence[Limit]) -> str:
    """What processes must have in common that share their state: the limits and the script."""
    told = repr([replace(limit, source=Source("", None, "own")) for limit in limits])
    return blake2b(f"{_SCRIPT}\n{told}".encode(), digest_size=16).hexdigest()


def _client(url: str, timeout_s: float) -> tuple[str, Redis]:
    """Where Redis is, without a password, and a client that never asks twice."""
    try:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        raise InputError("redis: needs the redis library: pip install 'quotalab[redis]'") from None
    try:
        client = Redis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            protocol=2,
        )
    except (ValueError, TypeError) as error:
        raise InputError(f"redis: no address of a Redis: {error}") from None
    options = client.connection_pool.connection_kwargs
    if "path" in options:
        return str(options["path"]), client
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}", client


# ---- what its replies mean


def _decision(at_ns: int, decision: Decision) -> SharedDecision:
    shared = SharedDecision(*decision)
    shared.at_ns = at_ns
    return shared


def _charged(limit: Limit, has: int) -> int:
    """What an admitted call is charged by a limit that knows no costs."""
    if limit.kind == "cardinality":
        return 1 - has
    return int(limit.kind == "concurrency")


def _wait_ns(
    limit: Limit, key: str, need: int, number: int, now_us: int, a: int, b: int, calendar: Calendar | None
) -> int:
    """How long until a call fits that a limit refuses; `a` and `b` are its kind's `wait` in the script."""
    kind, now_ns = _kind(limit), now_us * _US
    if kind == "penalty" and limit.action == "extend":
        return b * _US
    if kind == "cardinality" or (kind == "penalty" and a == _MOST):
        return NEVER
    if limit.kind in METERED and need > number and not (kind == "balance" and limit.may_go_negative):
        return NEVER
    if kind == "rolling":
        return (a - now_us) * _US + limit.period_ns
    if kind == "clock":
        return _end_ns(limit, key, now_ns, a) - now_ns
    if kind == "bucket":
        return _drains_ns(limit, a + need - number, b)
    if kind == "balance":
        if not limit.period_ns:
            return NEVER
        spare = 1 if limit.may_go_negative else need
        start_ns = _refilled_ns(limit, b, -(-(a + spare - number) // number), calendar)
        return NEVER if start_ns == NEVER else start_ns - now_ns
    return (a - now_us) * _US


def _reset_ns(
    limit: Limit, key: str, number: int, now_us: int, a: int, b: int, calendar: Calendar | None
) -> int:
    """When nothing will be used; `a` and `b` are its kind's `reset` in the script."""
    kind, now_ns = _kind(limit), now_us * _US
    if kind == "rolling":
        return a * _US + limit.period_ns if a else now_ns
    if kind == "clock":
        return _end_ns(limit, key, now_ns, a)
    if kind == "bucket":
        return now_ns + _drains_ns(limit, a, b)
    if kind == "balance":
        if not limit.period_ns:
            return NEVER
        return _refilled_ns(limit, b, -(-a // number), calendar) if a else now_ns
    if kind == "penalty" and a == _MOST:
        return NEVER
    return max(a * _US, now_ns)


def _end_ns(limit: Limit, key: str, now_ns: int, end_us: int) -> int:
    """The end of the window that holds an instant, which an offset has between microseconds."""
    if limit.align != "offset":
        return end_us * _US
    return now_ns - (now_ns - key_offset_ns(limit, key)) % limit.period_ns + limit.period_ns


def _drains_ns(limit: Limit, whole: int, part: int) -> int:
    """How long a token bucket takes to drain so many tokens and so many q-ths of one."""
    p, q = _rate(limit)
    return -(-(whole * q + part) * _US // p)


def _refilled_ns(limit: Limit, index: int, refills: int, calendar: Calendar | None) -> int:
    """Where the window begins that comes so many after the one with a number."""
    if calendar is None:
        return min((index + refills) * limit.period_ns, NEVER)
    return calendar.start_after(index + refills - calendar.index)
