"""What the engine has to decide, worked out slowly: every event is kept for ever, and all are looked at again.

Nothing here is shared with the engine but the words. Waits and resets are found by trying one nanosecond
after the other, so the numbers have to be small.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from quotalab.profiles.limits import METERED, Change, Cost, Limit, Match, Source, key_offset_ns
from quotalab.quota import NEVER, Decision, Engine, Standing

OURS = Source("a test", None, "own")
ROUTES = {"list": ("reads",), "read": ("reads", "light"), "create": ("writes",), None: ()}


@dataclass(frozen=True)
class Event:
    """A charge, or a refund (an amount below zero) of what call number `call` was charged at `charged_at`."""

    at: int
    call: int
    amount: int
    charged_at: int


@dataclass(frozen=True)
class Call:
    """One call of a made-up day."""

    at: int
    caller: dict[str, str]
    kind: str = "api"
    method: str = "GET"
    route: str | None = "list"
    known: bool = True
    with_object: bool = False
    with_tenant: bool = True
    objects: int = 0
    objects_asked: int = 0
    answered: int | None = None
    charge: bool = True
    status: int = 200


class Oracle:
    """Decides as `Engine` has to."""

    def __init__(self, limits, start=0):
        self.limits = list(limits)
        self.start = start
        self.events = {}  # (limit, key) -> charges and refunds, those still to come included
        self.spans = {}  # (limit, key) -> (from, until) of each admitted call
        self.members = {}  # (limit, key) -> in order of entry
        self.answers = {}  # (limit, key) -> ("asked" or status, at), in order
        self.calls = 0

    def number(self, limit, now):
        """In force at `now`."""
        number = limit.limit
        for change in limit.changes:
            if self.start + change.after_ns <= now:
                number = change.limit
        return number

    # What is used at an instant by what had happened until `now`.

    def used(self, limit, key, at, now):
        kind = limit.counts if limit.kind == "opaque" else limit.kind
        happened = sorted(
            (event for event in self.events.get((limit.name, key), ()) if event.at <= now),
            key=lambda event: (event.at, event.call, event.amount < 0),
        )
        return getattr(self, f"_{kind}")(limit, key, happened, at)

    def _rolling_window(self, limit, key, happened, at):
        return sum(event.amount for event in happened if at - limit.period_ns < event.charged_at <= at)

    def _fixed_window(self, limit, key, happened, at):
        if limit.align == "first_call":
            return self._first_call(limit, happened, at)[1]
        window = self.window(limit, key, at)
        return sum(
            event.amount
            for event in happened
            if self.window(limit, key, event.at) == self.window(limit, key, event.charged_at) == window
        )

    def _first_call(self, limit, happened, at):
        start, used = None, 0
        for event in happened:
            is_open = start is not None and event.at < start + limit.period_ns
            if event.amount > 0:
                if not is_open:
                    start, used = event.at, 0
                used += event.amount
            elif is_open and start <= event.charged_at:
                used += event.amount
        return (None, 0) if start is None or at >= start + limit.period_ns else (start, used)

    @staticmethod
    def window(limit, key, at):
        """The number of the window that holds an instant."""
        offset = key_offset_ns(limit, key) if limit.align == "offset" else 0
        return (at - offset) // limit.period_ns

    def _token_bucket(self, limit, key, happened, at):
        level, last = Fraction(0), 0
        for event in happened:
            level = max(Fraction(0), level - limit.rate * (event.at - last))
            level = max(Fraction(0), level + event.amount)
            last = event.at
        return max(Fraction(0), level - limit.rate * (at - last))

    def _balance(self, limit, key, happened, at):
        used = 0
        last = None
        for event in [*happened, Event(at, 0, 0, at)]:
            if limit.period_ns and last is not None:
                for _ in range(last // limit.period_ns, event.at // limit.period_ns):
                    used = max(0, used - self.number(limit, event.at))
            last = event.at
            used = max(0, used + event.amount)
        return used

    def _concurrency(self, limit, key, happened, at):
        return sum(1 for begin, end in self.spans.get((limit.name, key), ()) if begin <= at < end)

    def _cardinality(self, limit, key, happened, at):
        return len(self.members.get((limit.name, key), ()))

    def _penalty(self, limit, key, happened, at):
        return len(self._penalties(limit, key, at)[0])

    def _penalties(self, limit, key, at):
        """The answers that count at an instant, and the (begin, end, duration) of each block so far."""
        counted, blocks = [], []
        for what, when in self.answers.get((limit.name, key), ()):
            if blocks and when < blocks[-1][1]:
                if what == "asked" and limit.action == "extend":
                    begin, _, duration = blocks[-1]
                    blocks[-1] = (begin, when + duration, duration)
                continue
            if what not in limit.statuses:
                continue
            counted.append(when)
            if sum(1 for one in counted if when - limit.period_ns < one) <= limit.limit:
                continue
            counted = []
            if limit.action == "ban":
                blocks.append((when, NEVER, NEVER))
                continue
            row, begin = 1, when  # its number since the key was last forgiven
            for earlier, end, _ in reversed(blocks):
                if begin >= end + limit.forgive_ns:
                    break
                row, begin = row + 1, earlier
            duration = min(limit.block_ns * limit.escalation ** (row - 1), limit.longest_ns)
            blocks.append((when, when + duration, duration))
        return [one for one in counted if at - limit.period_ns < one <= at], blocks

    def blocked_until(self, limit, key, at):
        blocks = self._penalties(limit, key, at)[1]
        return blocks[-1][1] if blocks and at < blocks[-1][1] else None

    # Whether a call fits at an instant.

    def fits(self, limit, key, what, at, now):
        number = self.number(limit, now)
        if limit.kind == "penalty":
            return self.blocked_until(limit, key, at) is None
        if limit.kind == "cardinality":
            members = self.members.get((limit.name, key), ())
            return what in members or len(members) < number or limit.on_excess == "evict_oldest"
        used = self.used(limit, key, at, now)
        if limit.kind == "concurrency":
            return used + 1 <= number
        if limit.kind == "balance" and limit.may_go_negative:
            return what == 0 or used < number
        return what == 0 or used + what <= number

    def wait(self, limit, key, what, now):
        if self.fits(limit, key, what, now, now):
            return 0
        number = self.number(limit, now)
        if limit.kind == "penalty" and limit.action == "ban":
            return NEVER
        if limit.kind == "cardinality" or (limit.kind == "balance" and not limit.period_ns):
            return NEVER
        if (
            limit.kind in METERED
            and what > number
            and not (limit.kind == "balance" and limit.may_go_negative)
        ):
            return NEVER
        if limit.kind == "penalty" and limit.action == "extend":
            return self._penalties(limit, key, now)[1][-1][2]
        at = now
        while not self.fits(limit, key, what, at, now):
            at += 1
        return at - now

    # Which limits a call is asked of, and what it costs.

    @staticmethod
    def asked(limit, call):
        match = limit.match
        if call.kind not in match.kinds:
            return False
        if {"known": not call.known, "anonymous": call.known, "all": False}[match.callers]:
            return False
        if match.routes or match.tags:
            if call.route is None:
                return False
            if call.route not in match.routes and not any(tag in match.tags for tag in ROUTES[call.route]):
                return False
        if match.methods and call.method not in match.methods:
            return False
        parts = set(limit.key) | ({limit.of} if limit.kind == "cardinality" else set())
        return not ("object" in parts and not call.with_object) and not (
            "tenant" in parts and not call.with_tenant
        )

    @staticmethod
    def key(limit, call):
        return "|".join(
            (call.route or "unknown") if part == "route" else call.caller[part] for part in limit.key
        )

    @staticmethod
    def need_and_final(limit, call):
        cost = limit.cost
        c = cost.base
        if call.method in cost.methods:
            c = cost.methods[call.method]
        if call.route in cost.routes:
            c = cost.routes[call.route]
        final = c + cost.per_object * call.objects
        need = {"before": final, "refund": c + cost.per_object * call.objects_asked, "after": 1}[cost.when]
        if cost.when == "after" and c == 0 and cost.per_object == 0:
            need = 0
        return need, final

    def decide(self, call):
        self.calls += 1
        now = call.at
        answered = now if call.answered is None else call.answered
        asked = [(limit, self.key(limit, call)) for limit in self.limits if self.asked(limit, call)]
        whats, finals = [], []
        for limit, key in asked:
            if limit.kind in METERED:
                need, final = self.need_and_final(limit, call)
            elif limit.kind == "cardinality":
                need = call.caller[limit.of]
                final = 0 if need in self.members.get((limit.name, key), ()) else 1
            else:
                need, final = None, {"concurrency": 1, "penalty": 0}[limit.kind]
            whats.append(need)
            finals.append(final)
        waits = [self.wait(limit, key, what, now) for (limit, key), what in zip(asked, whats, strict=True)]
        longest = max(waits, default=0)
        charges, evicted = [], None
        if call.charge and not longest:
            for (limit, key), what, final in zip(asked, whats, finals, strict=True):
                gone = self._admit(limit, key, what, final, now, answered)
                evicted = evicted or gone
                charges.append((limit.name, final))
        elif call.charge:
            charged = set()
            for (limit, _), wait in zip(asked, waits, strict=True):
                if wait:
                    charged |= self._charged_by_refusal(limit, [one for one, _ in asked])
            for (limit, key), what, wait in zip(asked, whats, waits, strict=True):
                if limit.name in charged:
                    self._charge(limit, key, Event(now, self.calls, what, now))
                    charges.append((limit.name, what))
                if limit.kind == "penalty" and wait:
                    self.answers[limit.name, key].append(("asked", now))
        remaining = tuple(
            (limit.name, self.number(limit, now) - ceil(self.used(limit, key, now, now)))
            for limit, key in asked
        )
        if call.charge and not longest:
            for (limit, key), what, final in zip(asked, whats, finals, strict=True):
                self._settle(limit, key, what, final, now, answered)
        return Decision(
            next(
                (limit.name for (limit, _), wait in zip(asked, waits, strict=True) if wait == longest > 0),
                None,
            ),
            longest,
            max(
                (what if limit.kind in METERED else 1 for (limit, _), what in zip(asked, whats, strict=True)),
                default=0,
            ),
            tuple((limit.name, key) for limit, key in asked),
            tuple(charges),
            remaining,
            evicted,
        )

    def _charge(self, limit, key, event):
        if event.amount:
            self.events.setdefault((limit.name, key), []).append(event)

    def _admit(self, limit, key, what, final, now, answered):
        if limit.kind == "concurrency":
            self.spans.setdefault((limit.name, key), []).append((now + limit.min_age_ns, answered))
        elif limit.kind == "cardinality":
            members = self.members.setdefault((limit.name, key), [])
            if what not in members:
                members.append(what)
            if len(members) > limit.limit:
                return members.pop(0)
        elif limit.kind in METERED and limit.cost.when != "after":
            self._charge(limit, key, Event(now, self.calls, what, now))
        return None

    def _settle(self, limit, key, what, final, now, answered):
        if limit.kind not in METERED:
            return
        if limit.cost.when == "after":
            self._charge(limit, key, Event(answered, self.calls, final, answered))
        elif limit.cost.when == "refund":
            self._charge(limit, key, Event(answered, self.calls, final - what, now))

    @staticmethod
    def _charged_by_refusal(refusing, asked):
        mode = refusing.refused_calls
        metered = [limit for limit in asked if limit.kind in METERED]
        if mode == "free":
            return set()
        if mode == "this":
            return {refusing.name}
        if mode == "all":
            return {limit.name for limit in metered}
        lengths = {limit.name: limit.length_ns for limit in asked}
        return {
            limit.name
            for limit in metered
            if lengths[refusing.name] is not None
            and (lengths[limit.name] is None or lengths[limit.name] > lengths[refusing.name])
        }

    def observe(self, call, decision):
        """Count an answer, unless a block of the limit itself refused the call."""
        for limit in self.limits:
            if limit.kind == "penalty" and self.asked(limit, call):
                key = self.key(limit, call)
                kept = self.answers.setdefault((limit.name, key), [])
                if ("asked", call.at) != (kept[-1] if kept else None):
                    kept.append((call.status, call.at))

    def standing(self, limit, key, now):
        number, used = self.number(limit, now), ceil(self.used(limit, key, now, now))
        return Standing(number, used, number - used, self.reset(limit, key, now))

    def reset(self, limit, key, now):
        kind = limit.counts if limit.kind == "opaque" else limit.kind
        if kind in ("concurrency", "cardinality"):
            return now
        if kind == "penalty":
            until = self.blocked_until(limit, key, now)
            return now if until is None else until
        at = now
        if kind == "fixed_window" and limit.align == "first_call":
            happened = [event for event in self.events.get((limit.name, key), ()) if event.at <= now]
            happened.sort(key=lambda event: (event.at, event.call, event.amount < 0))
            start, _ = self._first_call(limit, happened, now)
            return now if start is None else start + limit.period_ns
        if kind == "fixed_window":
            while self.window(limit, key, at) == self.window(limit, key, now):
                at += 1
            return at
        if kind == "balance" and not limit.period_ns:
            return NEVER
        while self.used(limit, key, at, now):
            at += 1
        return at


# Made-up days: small numbers, many ties.


def a_limit(draw, name, kind=None):
    """A limit of any kind, with numbers so small that boundaries are hit."""
    kind = kind or draw.choice(
        (
            "rolling_window",
            "fixed_window",
            "token_bucket",
            "concurrency",
            "balance",
            "cardinality",
            "penalty",
            "opaque",
        )
    )
    keys = [
        ("app",),
        ("person",),
        ("ip",),
        ("person", "ip"),
        ("person", "route"),
        ("tenant",),
        ("app", "object"),
    ]
    fields = {"key": draw.choice(keys)}
    match = {"callers": "known"}
    if draw.random() < 0.15:
        match["routes"] = ("list",)
    if draw.random() < 0.15:
        match["tags"] = (draw.choice(("reads", "writes")),)
    if draw.random() < 0.1:
        match["methods"] = (draw.choice(("GET", "POST")),)
    if draw.random() < 0.2:
        fields["key"], match["callers"] = (
            draw.choice((("ip",), ("route",))),
            draw.choice(("anonymous", "all")),
        )
    number = draw.randint(1, 5)
    if kind in METERED:
        fields["cost"] = a_cost(draw)
        number += 3 * fields["cost"].per_object
        fields["refused_calls"] = draw.choice(("free", "free", "this", "longer", "all"))
        fields["period_ns"] = draw.randint(1, 12)
    if kind == "fixed_window":
        fields["align"] = draw.choice(("clock", "first_call", "offset"))
    elif kind == "opaque":
        fields["counts"] = draw.choice(("rolling_window", "fixed_window"))
        fields["align"] = (
            draw.choice(("clock", "first_call", "offset")) if fields["counts"] == "fixed_window" else "clock"
        )
    elif kind == "token_bucket":
        fields["period_ns"] = 0
        fields["rate"] = Fraction(draw.randint(1, 4), draw.randint(4, 9))
    elif kind == "concurrency":
        fields["min_age_ns"] = draw.choice((0, 0, 1, 3, 6))
    elif kind == "balance":
        fields["may_go_negative"] = draw.random() < 0.5
        fields["period_ns"] = draw.choice((0, 3, 7, 10))
    elif kind == "cardinality":
        fields["of"] = draw.choice(
            [of for of in ("person", "ip", "object", "tenant") if of not in fields["key"]]
        )
        if match["callers"] != "known":
            fields["key"], match["callers"] = ("app",), "known"
        if draw.random() < 0.5:
            fields |= {
                "key": draw.choice((("person",), ("app",))),
                "of": "token",
                "on_excess": "evict_oldest",
            }
            match = {"kinds": ("token",)}
    elif kind == "penalty":
        number = draw.randint(1, 2)
        fields["key"] = (
            draw.choice((("app",), ("person",), ("ip",))) if match["callers"] == "known" else fields["key"]
        )
        fields |= {
            "period_ns": draw.randint(2, 12),
            "statuses": draw.choice(((403,), (401, 403, 429), (429,))),
            "action": draw.choice(("block", "block", "extend", "ban")),
            "block_ns": draw.randint(1, 8),
            "escalation": draw.choice((1, 2, 3, 3)),
            "longest_ns": draw.choice((8, 9, 30)),
            "forgive_ns": draw.choice((0, 3, 9, 40)),
        }
    if kind in ("rolling_window", "fixed_window", "token_bucket") or (
        kind == "balance" and not fields["period_ns"]
    ):
        after = 0
        changes = []
        while draw.random() > 0.75:
            after += draw.randint(0 if not changes else 1, 40)
            changes.append(Change(after, draw.randint(1, 6), "a test"))
        fields["changes"] = tuple(changes)
        if "cost" in fields and draw.random() < 0.1 and set(fields["key"]) <= {"app", "person", "ip"}:
            match["kinds"] = ("api", "token")
            match.pop("routes", None)
            match.pop("tags", None)
    return Limit(name, kind, number, OURS, match=Match(**match), **fields)


def a_cost(draw):
    """Mostly 1; else anything that may be written."""
    if draw.random() < 0.4:
        return Cost()
    return Cost(
        base=draw.choice((0, 1, 1, 2)),
        routes={"create": draw.randint(0, 4)} if draw.random() < 0.3 else {},
        methods={"POST": draw.randint(0, 3)} if draw.random() < 0.3 else {},
        per_object=draw.choice((0, 1, 1, 2)),
        when=draw.choice(("before", "refund", "refund", "after")),
    )


def a_day(draw, calls=None, kinds=None):
    """Limits, the start, and the calls of a made-up day."""
    calls = draw.randint(0, 30) if calls is None else calls
    limits = [
        a_limit(draw, f"limit-{i}", None if kinds is None else draw.choice(kinds))
        for i in range(draw.randint(1, 4))
    ]
    start = draw.randint(0, 40)
    now, day, trouble = start, [], draw.random()
    gaps = draw.choice(((0, 0, 1, 1, 2), (0, 0, 1, 1, 2, 3, 5, 10, 13)))
    people, addresses, tokens = (
        draw.choice(("a", "ab")),
        draw.choice(("x", "xy")),
        draw.choice(("kl", "klmn")),
    )
    sorts = draw.choice((("api",), ("api", "api", "token")))
    for _ in range(calls):
        now += draw.choice(gaps)
        asked = draw.randint(0, 3)
        day.append(
            Call(
                at=now,
                caller={
                    "app": "app-1",
                    "person": draw.choice(people),
                    "ip": draw.choice(addresses),
                    "tenant": draw.choice("tu"),
                    "token": draw.choice(tokens),
                    "object": draw.choice("op"),
                },
                kind=draw.choice(sorts),
                method=draw.choice(("GET", "GET", "POST")),
                route=draw.choice((*ROUTES, "list")),
                known=draw.random() < 0.85,
                with_object=draw.random() < 0.6,
                with_tenant=draw.random() < 0.9,
                objects=draw.randint(0, asked),
                objects_asked=asked,
                answered=now + draw.choice((0, 1, 2, 4, 9, 20)) if draw.random() < 0.8 else None,
                charge=draw.random() < 0.9,
                status=draw.choice((401, 403)) if draw.random() < trouble else 200,
            )
        )
    return limits, start, day


def anonymous(call):
    """A call without a token has an address only."""
    if call.known:
        return call
    return replace(call, kind="api", caller={part: call.caller[part] for part in ("ip", "object")})


def ask(engine, call, selections=None):
    """The engine's decision."""
    sort = (call.kind, call.method, call.route, call.known, call.with_object, call.with_tenant)
    selections = {} if selections is None else selections
    if sort not in selections:
        selections[sort] = engine.select(
            call.kind,
            call.method,
            call.route,
            ROUTES[call.route],
            known=call.known,
            with_object=call.with_object,
            with_tenant=call.with_tenant,
        )
    selection = selections[sort]
    decision = engine.decide(
        call.at,
        selection,
        call.caller,
        objects=call.objects,
        objects_asked=call.objects_asked,
        answered_ns=call.answered,
        charge=call.charge,
    )
    if call.charge and selection.penalties:
        status = 429 if decision.limit is not None else call.status
        engine.observe(call.at, selection, decision, status)
    return decision


def difference(limits, start, day, engine=Engine):
    """The first difference between engine and oracle on a day; None: they agree on everything."""
    changes = []
    mine = engine(limits, start_ns=start, on_change=lambda *change: changes.append(change))
    oracle, selections = Oracle(limits, start), {}
    for i, call in enumerate(map(anonymous, day)):
        found = ask(mine, call, selections)
        expected = oracle.decide(call)
        if found != expected:
            return f"call {i}: {found} is not {expected}"
        if call.charge:
            oracle.observe(replace(call, status=429 if expected.limit is not None else call.status), expected)
        for name, key in expected.keys:
            limit = next(one for one in limits if one.name == name)
            stands, should = mine.standing(name, key, call.at), oracle.standing(limit, key, call.at)
            if stands != should:
                return f"after call {i}, {name} of {key}: {stands} is not {should}"
    end = day[-1].at if day else start
    mine.advance(end)
    due = sorted(
        (
            (start + change.after_ns, order, limit.name, change.limit, change.why)
            for order, limit in enumerate(limits)
            for change in limit.changes
            if start + change.after_ns <= end
        ),
        key=lambda change: change[:2],
    )
    numbers = {limit.name: limit.limit for limit in limits}
    expected = []
    for at, _, name, number, why in due:
        expected.append((at, name, numbers[name], number, why))
        numbers[name] = number
    if sorted(changes) != sorted(expected) or [at for at, *_ in changes] != [at for at, *_ in expected]:
        return f"the timetable: {changes} is not {expected}"
    if {limit.name: mine.number(limit.name) for limit in limits} != numbers:
        return "the numbers in force at the end"
    return None


def days(seeds, calls=30, kinds=None):
    """Made-up days, one a seed."""
    return [a_day(random.Random(seed), calls, kinds) for seed in seeds]
