"""Faults planted in the engine, one at a time: the comparison with the oracle has to find each.

A fault is a change of one line of source. Each is compiled into modules of its own, beside the real ones, and
the same days that the real engine passes are decided by it.
"""

from __future__ import annotations

import importlib
import itertools
import re
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
from quota_oracle import days, difference

import quotalab.quota
from quotalab.profiles.limits import KINDS, Cost, Match
from quotalab.quota import Engine

SOURCE = Path(quotalab.quota.__file__).parent
DAYS = {
    "any": days(range(100)),
    "plain": [
        ([replace(limit, cost=Cost(), match=Match()) for limit in limits], start, day)
        for limits, start, day in days(range(60), kinds=["fixed_window", "rolling_window"])
    ],
    **{kind: days(range(100), kinds=[kind]) for kind in KINDS if kind != "opaque"},
}
FIRST = {  # where a fault is looked for first, by the first word of its name
    "rolling": "rolling_window",
    "clock": "fixed_window",
    "first": "plain",
    "offset": "fixed_window",
    "even": "fixed_window",
    "bucket": "token_bucket",
    "balance": "balance",
    "concurrency": "concurrency",
    "cardinality": "cardinality",
    "penalty": "penalty",
}

FAULTS = {
    "rolling: the window is closed at its old end": (
        *(
            "windows.py",
            "if kept[kept[0]] <= now_ns - self._period_ns:",
            "if kept[kept[0]] < now_ns - self._period_ns:",
        ),
    ),
    "rolling: one more than the number": (
        "windows.py",
        "return left if left >= 0 or",
        "return left if left >= -1 or",
    ),
    "rolling: in the fast way one more than the number": (
        *(
            "windows.py",
            "        if left < 0:\n            return None\n        if used == 1:",
            "        if left < -1:\n            return None\n        if used == 1:",
        ),
    ),
    "rolling: waits for the newest instead of the oldest": (
        *("windows.py", "return kept[oldest] + self", "return kept[-1] + self"),
    ),
    "rolling: waits a nanosecond too long": (
        *(
            "windows.py",
            "return kept[oldest] + self._period_ns - now_ns",
            "return kept[oldest] + self._period_ns - now_ns + 1",
        ),
    ),
    "rolling: costs are forgotten when charges leave": (
        *("windows.py", "first - head if costs is None else sum(costs[head:first])", "first - head"),
    ),
    "rolling: a refund is lost": (*("windows.py", "        kept[_USED] -= amount\n", ""),),
    "rolling: a refund comes after the charge has left": (
        *("windows.py", "if kept is None or at_ns <= now_ns - self._period_ns:", "if kept is None:"),
    ),
    "rolling: what is undone stays": ("windows.py", "        kept.pop()\n", "        return\n"),
    "clock: a call at the reset is counted in the old window": (
        *("windows.py", "now_ns >= self._end_ns", "now_ns > self._end_ns"),
    ),
    "clock: one less than the number": (
        *(
            "windows.py",
            "left = self.number - self._used.get(key, 0) - what",
            "left = self.number - self._used.get(key, 0) - what - 1",
        ),
    ),
    "clock: refunds go into later windows": (
        *(
            "windows.py",
            "        if at_ns >= self._calendar.start_ns:\n            self._used[key] -= amount",
            "        self._used[key] = self._used.get(key, 0) - amount",
        ),
    ),
    "clock: what is undone stays": (*("windows.py", "        self._used[key] -= cost\n", "        pass\n"),),
    "first call: the window begins with every call": (
        *("windows.py", "return now_ns + self._period_ns", "return now_ns + self._period_ns // 2"),
    ),
    "first call: the window is closed at its end": (
        *("windows.py", "now_ns >= window & self._END", "now_ns > window & self._END"),
    ),
    "first call: what is undone stays begun": (
        *(
            "windows.py",
            "        if self._before is None:\n            del self._windows[key]\n        else:\n            self._windows[key] = self._before",
            "        self._windows[key] -= _cost << 64",
        ),
    ),
    "offset: all keys share one": (
        "windows.py",
        "offset_ns = key_offset_ns(self._limit, key)",
        "offset_ns = 0",
    ),
    "even windows: begin one nanosecond late": (
        *(
            "calendar.py",
            "self.index = now_ns // self._period_ns",
            "self.index = (now_ns - 1) // self._period_ns",
        ),
    ),
    "bucket: the rate is a float": (
        *(
            "bucket.py",
            "self._p = limit.rate.numerator\n        self._q = limit.rate.denominator",
            "self._p, self._q = 1, round(1 / limit.rate, 2)",
        ),
    ),
    "bucket: the rate is rounded": (
        *(
            "bucket.py",
            "self._p = limit.rate.numerator\n        self._q = limit.rate.denominator",
            "self._p, self._q = 1, round(1 / limit.rate)",
        ),
    ),
    "bucket: what is left is rounded up": (
        *(
            "bucket.py",
            "return self.number + -self._level(key, now_ns) // self._q",
            "return self.number - self._level(key, now_ns) // self._q",
        ),
    ),
    "bucket: the wait is rounded down": (
        *(
            "bucket.py",
            "return -(-(self._level(key, now_ns) + (what - self.number) * self._q) // self._p)",
            "return (self._level(key, now_ns) + (what - self.number) * self._q) // self._p",
        ),
    ),
    "bucket: idle time is saved up": (*("bucket.py", "            drained = now\n", "            pass\n"),),
    "bucket: a refund is lost": (
        "bucket.py",
        "            self._drained[key] -= amount * self._q",
        "            pass",
    ),
    "balance: no more than one refill": (
        *("balance.py", "self._base = self._calendar.index * self.number", "self._base += self.number"),
    ),
    "balance: negative where it must not be": (
        *("balance.py", "or (self._may_go_negative and used < self.number)", "or used < self.number"),
    ),
    "balance: goes negative at nothing left": (
        *("balance.py", "used < self.number)", "used <= self.number)"),
    ),
    "balance: a refund is lost": ("balance.py", "            self._spent[key] -= amount", "            pass"),
    "concurrency: under way at the instant of the answer": (
        *(
            "concurrency.py",
            "        if ends[0] <= now_ns:\n            ended = bisect_right(ends, now_ns)",
            "        if ends[0] < now_ns:\n            ended = bisect_right(ends, now_ns - 1)",
        ),
    ),
    "concurrency: the least age is ignored": (
        *("concurrency.py", "self._min_age_ns = limit.min_age_ns", "self._min_age_ns = 0"),
    ),
    "concurrency: calls that come of age meanwhile are not seen": (
        *(
            "concurrency.py",
            "young = self._young.get(key, ())\n        begun",
            "young: tuple[int, ...] = ()\n        begun",
        ),
    ),
    "cardinality: a member is counted again": (
        *("cardinality.py", "        if what in members:\n            return left\n", ""),
    ),
    "cardinality: the newest has to leave": ("cardinality.py", "next(iter(members))", "list(members)[-1]"),
    "penalty: blocks at the threshold": ("penalty.py", "if count > self.number:", "if count >= self.number:"),
    "penalty: the count goes on": (*("penalty.py", "            self._counted.pop(key, None)\n", ""),),
    "penalty: blocked at the block's end": (
        *("penalty.py", "now_ns < block.end_ns", "now_ns <= block.end_ns"),
    ),
    "penalty: no escalation": ("penalty.py", "last.duration_ns * limit.escalation", "last.duration_ns"),
    "penalty: no longest block": (
        *("penalty.py", "duration_ns = min(duration_ns, limit.longest_ns)", "duration_ns = duration_ns"),
    ),
    "penalty: never forgiven": ("penalty.py", "and now_ns < last.end_ns + limit.forgive_ns", ""),
    "penalty: forgiven too late": (
        *(
            "penalty.py",
            "and now_ns < last.end_ns + limit.forgive_ns",
            "and now_ns <= last.end_ns + limit.forgive_ns",
        ),
    ),
    "penalty: calls while blocked do not extend it": (
        *("penalty.py", 'if self._limit.action == "extend":', "if False:"),
    ),
    "penalty: answers while blocked count": (
        *(
            "penalty.py",
            "if status not in self._statuses or self._blocked(key, now_ns):",
            "if status not in self._statuses:",
        ),
    ),
    "penalty: a ban ends": (
        *(
            "penalty.py",
            "return _Block(NEVER, NEVER)",
            "return _Block(now_ns + limit.block_ns, limit.block_ns)",
        ),
    ),
    "engine: the first limit that refuses is named": (
        *("engine.py", "if wait_ns > longest_ns:", "if named is None:"),
    ),
    "engine: of equal waits the last is named": (
        *("engine.py", "if wait_ns > longest_ns:", "if wait_ns >= longest_ns:"),
    ),
    "engine: charged though another limit refuses": (
        *("engine.py", "                leave(key, now_ns, cost)\n", "                pass\n"),
    ),
    "engine: the refusing limits are never charged": (
        *(
            "engine.py",
            "                if what:\n                    one.limiter.take(keys[position], now_ns, what)\n",
            "",
        ),
    ),
    "engine: asking charges": ("engine.py", "if asks is not None and charge:", "if asks is not None:"),
    "engine: settled a nanosecond late": (
        *("engine.py", "settlements[0].due_ns <= now_ns", "settlements[0].due_ns < now_ns"),
    ),
    "engine: settled in the order of decision": (
        *("engine.py", "settlement = _Settlement(answered_ns,", "settlement = _Settlement(now_ns,"),
    ),
    "engine: the timetable comes a nanosecond late": (
        *("engine.py", "changes[-1].at_ns <= now_ns", "changes[-1].at_ns < now_ns"),
    ),
    "engine: the timetable counts from 1970": ("engine.py", "start_ns + change.after_ns", "change.after_ns"),
    "selection: charged afterwards is charged at once": (
        *("engine.py", "            need = 0\n", "            need = final\n"),
    ),
    "selection: objects asked for do not matter": (
        *("selection.py", "per_object * objects_asked, final", "per_object * objects, final"),
    ),
    "selection: a method's cost goes before a route's": (
        *(
            "selection.py",
            "cost.routes.get(route, cost.methods.get(method, cost.base))",
            "cost.methods.get(method, cost.routes.get(route, cost.base))",
        ),
    ),
    "selection: longer is as long or longer": ("selection.py", "mine > other", "mine >= other"),
    "selection: tags are ignored": ("selection.py", "or not set(tags).isdisjoint(match.tags)", ""),
    "selection: methods are ignored": (
        *("selection.py", "and (not match.methods or method in match.methods)", ""),
    ),
    "selection: an unknown route has no name in a key": (
        *("selection.py", '_UNKNOWN_ROUTE = "unknown"', '_UNKNOWN_ROUTE = ""'),
    ),
    "selection: calls without an object are asked too": (
        *("selection.py", '(with_object or "object" not in needs)', "True"),
    ),
}


def planted(file: str, line: str, fault: str) -> type[Engine]:
    """The engine with one change of its source."""
    sources = {
        path.name: path.read_text(encoding="utf-8") for path in SOURCE.glob("*.py") if path.name != "redis.py"
    }
    assert line in sources[file], "the line that the fault is about is gone"
    sources[file] = sources[file].replace(line, fault)
    package = types.ModuleType("quota_with_a_fault")
    package.__path__ = []
    modules = {"quota_with_a_fault": package}
    pending = {name: text for name, text in sources.items() if name != "__init__.py"}
    order = [
        "limiter.py",
        "calendar.py",
        *sorted(set(pending) - {"limiter.py", "calendar.py", "selection.py", "engine.py"}),
    ]
    try:
        for name in [*order, "selection.py", "engine.py"]:
            module = types.ModuleType(f"quota_with_a_fault.{name.removesuffix('.py')}")
            modules[module.__name__] = module
            sys.modules.update(modules)
            text = re.sub(r"\bquotalab\.quota\.", "quota_with_a_fault.", pending[name])
            exec(compile(text, f"{name} with a fault", "exec"), module.__dict__)
        return modules["quota_with_a_fault.engine"].Engine
    finally:
        for name in modules:
            sys.modules.pop(name, None)


def first_difference(engine: type[Engine], first: str = "any") -> str | None:
    """The first difference from the oracle on all the days; an error is one."""
    for limits, start, day in itertools.chain(DAYS[first], *DAYS.values()):
        try:
            found = difference(limits, start, day, engine)
        except Exception as error:  # a fault may well break the engine, which is being found out too
            found = repr(error)
        if found is not None:
            return found
    return None


def test_without_a_fault_there_is_no_difference():
    """The engine, compiled in the same way with nothing changed, decides all days as the oracle does."""
    assert first_difference(planted("engine.py", "import", "import")) is None
    assert importlib.import_module("quotalab.quota").Engine is Engine


@pytest.mark.parametrize("fault", FAULTS)
def test_the_oracle_finds_each_fault(fault):
    """The same days, decided by the engine with this fault, differ somewhere."""
    first = FIRST.get(fault.split()[0].removesuffix(":"), "any")
    assert first_difference(planted(*FAULTS[fault]), first) is not None
