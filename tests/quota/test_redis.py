"""The engine with its state in Redis: the answers of the one in memory, however many processes ask.

Most tests pass the time in, at whole microseconds; those of Redis's own time say so.
"""

from __future__ import annotations

import random
import subprocess
import sys
import zoneinfo
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quota_oracle import OURS, Call, a_day, anonymous, ask
from tests.needed import RedisServer

from quotalab.errors import FaultError, InputError, StateLostError
from quotalab.profiles.limits import KINDS, Change, Cost, Limit, Match
from quotalab.quota import NEVER, Decision, Engine
from quotalab.quota.redis import RedisEngine

US = 1000
SECOND, HOUR, DAY = 10**9, 3600 * 10**9, 86_400 * 10**9
START = 1_767_571_200 * SECOND
APP = {"app": "app-1", "person": "a", "ip": "x", "token": "k"}
draws = st.randoms(use_true_random=False)


class Server(RedisServer):
    """One whose engines are of deployments of their own."""

    prefixes = 0

    def client(self):
        import redis

        return redis.Redis.from_url(self.url, protocol=2)

    def engine(self, limits, *, prefix=None, reads_time=False, **options):
        """An engine of a deployment of its own, unless it is named."""
        self.prefixes += 1
        options.setdefault("start_ns", START)
        return RedisEngine(
            limits, self.url, prefix=prefix or f"test-{self.prefixes}", reads_time=reads_time, **options
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One for all tests that leave it as it is; each deployment has its prefix."""
    one = Server(tmp_path_factory.mktemp("redis"))
    yield one
    one.kill()


@pytest.fixture
def mortal(tmp_path):
    """One that the test may kill."""
    one = Server(tmp_path)
    yield one
    one.kill()


def limit(kind, number=3, name="limit", **fields):
    """A limit by the app."""
    return Limit(name, kind, number, OURS, **fields)


def in_microseconds(limits, start, day):
    """A day whose unit is not the nanosecond but the microsecond, in our time."""
    lengths = ("period_ns", "min_age_ns", "block_ns", "longest_ns", "forgive_ns")
    return (
        [
            replace(
                one,
                **{name: getattr(one, name) * US for name in lengths},
                rate=one.rate / US,
                changes=tuple(replace(change, after_ns=change.after_ns * US) for change in one.changes),
            )
            for one in limits
        ],
        START + start * US,
        [
            replace(
                call,
                at=START + call.at * US,
                answered=None if call.answered is None else START + call.answered * US,
            )
            for call in day
        ],
    )


def difference(server, limits, start, day):
    """The first difference between the engine in Redis and the one in memory on a day, or None."""
    changes = {"mine": [], "memory": []}
    mine = server.engine(limits, start_ns=start, on_change=lambda *change: changes["mine"].append(change))
    memory = Engine(limits, start_ns=start, on_change=lambda *change: changes["memory"].append(change))
    of_mine, of_memory = {}, {}
    for i, call in enumerate(map(anonymous, day)):
        found, expected = ask(mine, call, of_mine), ask(memory, call, of_memory)
        if found != expected:
            return f"call {i}: {found} is not {expected}"
        if found.at_ns != call.at:
            return f"call {i}: decided at {found.at_ns}"
        for name, key in expected.keys:
            stands, should = mine.standing(name, key, call.at), memory.standing(name, key, call.at)
            if stands != should:
                return f"after call {i}, {name} of {key}: {stands} is not {should}"
    end = day[-1].at if day else start
    for engine in (mine, memory):
        engine.advance(end)
    mine.close()
    if changes["mine"] != changes["memory"]:
        return f"the timetable: {changes}"
    if any(mine.number(one.name) != memory.number(one.name) for one in limits):
        return "the numbers in force at the end"
    return None


@settings(max_examples=60, deadline=None)
@given(draws)
def test_every_decision_is_that_of_the_engine_in_memory(server, draw):
    """Decisions, standings and changes, field by field, of several limits of any kind; keys that expire too."""
    assert difference(server, *in_microseconds(*a_day(draw))) is None


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_alone_is_decided_as_in_memory(server, kind):
    """Fifteen days of limits of one kind, which refuse as well as admit."""
    for seed in range(15):
        assert difference(server, *in_microseconds(*a_day(random.Random(seed), 30, [kind]))) is None


@pytest.mark.full
@settings(max_examples=1500, deadline=None)
@given(draws)
def test_many_days_are_decided_as_in_memory(server, draw):
    """The same, for longer."""
    assert difference(server, *in_microseconds(*a_day(draw))) is None


ZONES = [
    ("America/New_York", {"period_ns": HOUR}),
    ("America/New_York", {"period_ns": 6 * HOUR}),
    ("Europe/Berlin", {"period_ns": DAY}),
    ("Africa/Cairo", {"period_ns": 2 * DAY}),
    ("Australia/Lord_Howe", {"period_ns": 8 * HOUR}),
    ("Asia/Kolkata", {"period_ns": 30 * DAY, "calendar": "month"}),
    ("UTC", {"period_ns": 30 * DAY, "calendar": "month"}),
]


@pytest.mark.parametrize(("zone", "windows"), ZONES)
def test_windows_of_time_zones_are_those_of_memory(server, zone, windows):
    """Fixed windows and balances over days on which clocks are changed, with calls that last into the next."""
    draw = random.Random(zone + str(windows))
    step = windows["period_ns"] // 3
    limits = [
        limit("fixed_window", 6, "fixed", zone=zone, cost=Cost(per_object=1, when="refund"), **windows),
        limit("balance", 4, "strict", zone=zone, may_go_negative=False, refused_calls="all", **windows),
        limit("balance", 3, "loose", zone=zone, cost=Cost(per_object=2, when="after"), **windows),
    ]
    for year in (2026, 2027):
        now, day = START + (year - 2026) * 365 * DAY, []
        span = 300 * DAY if step > 6 * HOUR else 100 * DAY
        first, calls = now, 60
        for _ in range(calls):
            now += draw.randrange(2 * span // calls // 10**9) * 10**9
            for _ in range(draw.randint(1, 4)):
                now += draw.randrange(step // US // 4) * US
                asked = draw.randint(0, 3)
                answered = now + draw.choice((0, 1, step // US // 2)) * US
                day.append(
                    Call(now, APP, objects=draw.randint(0, asked), objects_asked=asked, answered=answered)
                )
        assert difference(server, limits, first, day) is None


def test_no_window_is_missed_by_a_process_that_slept(server):
    """An engine whose windows are long over, and a call that lasts over several, ask again with new ones."""
    zone = {"zone": "Europe/Berlin", "period_ns": HOUR, "cost": Cost(base=5, when="after")}
    limits = [limit("balance", 2, **zone)]
    day = [
        Call(START, APP, answered=START + 7 * HOUR),
        Call(START + 9 * HOUR, APP),
        Call(START + 10 * HOUR, APP),
        Call(START + 400 * DAY, APP),
    ]
    assert difference(server, limits, START, day) is None


LATER = {"period_ns": 10 * US, "cost": Cost(base=2, when="after")}
SETTLED = [
    limit("rolling_window", 2, **LATER),
    limit("fixed_window", 2, **LATER),
    limit("fixed_window", 2, align="offset", **LATER),
    limit("fixed_window", 2, align="first_call", **LATER),
    limit("token_bucket", 2, rate=Fraction(1, 10 * US), cost=LATER["cost"]),
    limit("balance", 1, **LATER),
    limit("balance", 2, cost=LATER["cost"]),
    limit("fixed_window", 2, zone="Europe/Berlin", period_ns=HOUR, cost=LATER["cost"]),
]


@pytest.mark.parametrize("one", SETTLED, ids=lambda one: f"{one.kind} {one.align} {one.zone} {one.limit}")
def test_what_is_to_be_settled_keeps_a_key_alive(server, one):
    """A call that is answered long after its window was over is charged in that of its answer, and no other."""
    tenth = (one.period_ns or 10 * US) // 10
    for late in (10, 11, 15, 20, 27):
        for pause in (0, 1, 4, 7, 15):
            answered = START + late * tenth
            day = [
                Call(START, APP, answered=answered),
                *(Call(answered + i * tenth, APP) for i in (pause, 16)),
            ]
            assert difference(server, [one], START, day) is None


def test_what_has_been_settled_is_not_counted_as_still_to_come(server):
    """More than 2^53 in all, but never at once: each call is decided."""
    huge = Cost(base=2**50, when="after")
    limits = [limit("fixed_window", 1, period_ns=10 * US, cost=huge)]
    day = [Call(START + i * US, APP, answered=START + (i + 11) * US) for i in range(0, 400, 20)]
    assert difference(server, limits, START, day) is None


def test_a_block_that_is_over_is_remembered_until_it_is_forgiven(server):
    """The next block lasts twice as long even where nothing was asked for a long time, but not too long."""
    errors = {
        "period_ns": 5 * US,
        "statuses": (403,),
        "block_ns": 10 * US,
        "escalation": 2,
        "longest_ns": SECOND,
    }
    limits = [limit("penalty", 1, **errors, forgive_ns=100 * US)]
    for pause in (109, 110, 111):
        for later in (119, 120, 121, 140):
            instants = (0, 0, pause, pause, pause + later, pause + later, pause + later + 1)
            day = [Call(START + at * US, APP, status=403) for at in instants]
            assert difference(server, limits, START, day) is None


RATES = [
    Fraction(1, 3),
    Fraction(999_983, 10**15),
    Fraction(7, 10**15 - 11),
    Fraction(1, 1),
    Fraction(123, 456_789),
]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("number", [3, 10**6, 10**12])
def test_a_token_bucket_is_exact_whatever_its_rate(server, rate, number):
    """Products far beyond 2^53 are worked out to the last digit: large buckets, odd rates, long pauses."""
    draw = random.Random(f"{rate} {number}")
    limits = [limit("token_bucket", number, rate=rate, refused_calls="this", cost=Cost(0, per_object=1))]
    now, day = START, []
    for _ in range(60):
        now += draw.choice((0, 1, 7, 1001, draw.randrange(10**6), draw.randrange(10**13))) * US
        day.append(Call(now, APP, objects=draw.choice((1, number // 3, number // 2 + 1, number, number + 1))))
    assert difference(server, limits, START, day) is None


def test_a_rolling_window_of_many_charges_finds_who_has_to_leave(server):
    """The wait is that of the hundredth oldest entry and beyond, of equal and of unequal costs."""
    for cost in (Cost(), Cost(per_object=1, when="refund")):
        limits = [limit("rolling_window", 300, period_ns=SECOND, refused_calls="this", cost=cost)]
        objects = range(400)
        day = [
            Call(START + i * US, APP, objects=i % 3, objects_asked=i % 4 if i % 4 > i % 3 else i % 3)
            for i in objects
        ]
        day.append(Call(day[-1].at + US, APP, objects=250, objects_asked=250))
        assert difference(server, limits, START, day) is None


def test_keys_may_hold_anything(server):
    """A key that looks like one of ours, braces, spaces, lone surrogates: each is a key of its own."""
    limits = [
        limit(
            "rolling_window", 2, "calls", key=("person",), period_ns=SECOND, cost=Cost(when="after", base=2)
        ),
        limit("cardinality", 1, "members", key=("app",), of="token", on_excess="evict_oldest"),
    ]
    people = ["a", "a:log", "a:due", "log:a", "due:log:a", "{a}", "a b", "", "\udcff", "ä", "a|b"]
    day = [
        Call(START + i, {"app": "app-1", "person": person, "token": person})
        for i in range(0, 3 * US, US)
        for person in people
    ]
    assert difference(server, limits, START, day) is None


def test_two_engines_are_one_provider(server):
    """What one admits the other counts: calls, settlements, penalties."""
    limits = [
        limit("fixed_window", 4, "calls", period_ns=HOUR, cost=Cost(per_object=1, base=0, when="refund")),
        limit("penalty", 1, "errors", period_ns=HOUR, statuses=(403,), block_ns=SECOND, longest_ns=SECOND),
    ]
    one, other = (server.engine(limits, prefix="two") for _ in range(2))
    selection, of_other = one.select("api", "GET"), other.select("api", "GET")
    one.decide(START, selection, APP, objects=1, objects_asked=3, answered_ns=START + 2 * US)
    assert other.decide(START + US, of_other, APP, objects=2, objects_asked=2).limit == "calls"
    two = other.decide(START + 2 * US, of_other, APP, objects=2, objects_asked=2)
    assert two.remaining == (("calls", 1), ("errors", 1))
    one.observe(START + 2 * US, selection, two, 403)
    other.observe(START + 2 * US, of_other, two, 403)
    refused = one.decide(START + 3 * US, selection, APP)
    assert (refused.limit, refused.wait_ns) == ("errors", SECOND - US)


def test_all_processes_have_the_start_of_the_first(server):
    """The timetable counts from what the first engine said, which those that join later are told of as well."""
    limits = [limit("fixed_window", 1, period_ns=HOUR, changes=(Change(SECOND, 5, "more"),))]
    seen = []
    one = server.engine(limits, prefix="start", start_ns=START)
    other = server.engine(
        limits, prefix="start", start_ns=START + HOUR, on_change=lambda *change: seen.append(change)
    )
    assert one.start_ns == other.start_ns == START
    other.decide(START + SECOND - US, other.select("api", "GET"), APP)
    assert (other.number("limit"), seen) == (1, [])
    decision = other.decide(START + SECOND, other.select("api", "GET"), APP)
    assert decision.remaining == (("limit", 3),)
    assert seen == [(START + SECOND, "limit", 1, 5, "more")]
    late = server.engine(limits, prefix="start", on_change=lambda *change: seen.append(change))
    late.advance(START + SECOND)
    assert len(seen) == 2


def test_a_deployment_has_one_set_of_limits(server):
    """Processes whose limits differ cannot share a state; the line says what to do."""
    server.engine([limit("fixed_window", 1, period_ns=HOUR)], prefix="other-limits")
    with pytest.raises(
        InputError, match=r"'other-limits' at 127.0.0.1:.* has other limits.*a prefix of its own"
    ):
        server.engine([limit("fixed_window", 2, period_ns=HOUR)], prefix="other-limits")


INEXACT = [
    ({"kind": "rolling_window", "period_ns": 1500}, "period of 1500 ns is no whole number of microseconds"),
    ({"kind": "concurrency", "min_age_ns": 1}, "min_age of 1 ns is no whole number of microseconds"),
    (
        {"kind": "penalty", "period_ns": US, "block_ns": US, "longest_ns": 37_000 * DAY},
        "longer than a century",
    ),
    ({"kind": "fixed_window", "period_ns": US, "number": 2**50 + 1}, "number of 1125899906842625 is above"),
    (
        {"kind": "fixed_window", "period_ns": US, "cost": Cost(per_object=2**51)},
        "cost of 2251799813685248 is",
    ),
    ({"kind": "token_bucket", "rate": Fraction(2**51 + 1, 2**52 + 5)}, "rate of .* needs more than 52 bits"),
    (
        {"kind": "balance", "number": 1, "period_ns": 0, "changes": (Change(0, 2**60, ""),)},
        "number of 1152921504606846976 is above",
    ),
]


@pytest.mark.parametrize(("fields", "why"), INEXACT)
def test_what_cannot_be_kept_exactly_is_refused_at_once(fields, why):
    """No server is needed for it: the limit is named, and what of it is too fine or too large."""
    with pytest.raises(InputError, match=rf"^limits\.limit: .*{why}.*exactly"):
        RedisEngine([limit(**fields)], "redis://127.0.0.1:1/0", prefix="p")


def test_more_than_can_be_counted_is_charged_to_none(server):
    """Beyond 2^53 a call is not decided; nothing is charged, and the key can still be asked."""
    most = 2**50
    limits = [
        limit("balance", most, "huge", cost=Cost(base=0, per_object=1), refused_calls="all"),
        limit("fixed_window", 9, "calls", period_ns=HOUR),
    ]
    engine = server.engine(limits)
    selection = engine.select("api", "GET")
    for _ in range(7):
        engine.decide(START, selection, APP, objects=most)
    before = engine.standing("huge", "app-1", START), engine.standing("calls", "app-1", START)
    with pytest.raises(InputError, match=r"limits\.huge: more would be used than can be counted exactly"):
        engine.decide(START, selection, APP, objects=most)
    assert (engine.standing("huge", "app-1", START), engine.standing("calls", "app-1", START)) == before
    with pytest.raises(InputError, match=r"limits\.huge: more would be used"):
        engine.decide(START, selection, APP, objects=most + 1)


def test_what_is_wrong_is_said_in_a_line(server, monkeypatch):
    """A prefix, an address, a time, an answer, objects: none of them reaches Redis."""
    limits = [limit("fixed_window", 9, period_ns=HOUR, cost=Cost(per_object=1, when="refund"))]
    with pytest.raises(InputError, match="redis: 'a b' is no prefix"):
        server.engine(limits, prefix="a b")
    with pytest.raises(InputError, match="redis: no address of a Redis"):
        RedisEngine(limits, "localhost", prefix="p")
    engine = server.engine(limits)
    selection = engine.select("api", "GET")
    with pytest.raises(FaultError, match="must be whole microseconds since 2020, not 1767571200000000001"):
        engine.decide(START + 1, selection, APP)
    with pytest.raises(FaultError, match="can't have been answered before"):
        engine.decide(START, selection, APP, answered_ns=START - 1)
    with pytest.raises(FaultError, match=r"limits\.limit returns more objects than it asked for"):
        engine.decide(START, selection, APP, objects=1)
    engine.advance(START + SECOND)
    with pytest.raises(FaultError, match=f"can't go backwards: {START} after {START + SECOND}"):
        engine.decide(START, selection, APP)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(InputError, match=r"needs the redis library: pip install 'quotalab\[redis\]'"):
        server.engine(limits)


def test_a_call_that_no_limit_is_asked_about_does_not_ask_redis():
    """It is admitted whatever has become of the server."""
    engine = object.__new__(RedisEngine)
    engine._selects = Engine([limit("fixed_window", period_ns=HOUR, match=Match(kinds=("token",)))])
    assert engine.decide(START, engine.select("api", "GET"), APP) == Decision(None, 0, 0, (), (), ())


# Redis's own time.


def test_time_is_that_of_redis(server):
    """What the caller takes for now only says how long a call takes; decisions have Redis's own instants."""
    engine = server.engine([limit("concurrency", 1)], reads_time=True, start_ns=None)
    selection = engine.select("api", "GET")
    seconds, microseconds = server.client().time()
    before = (seconds * 10**6 + microseconds) * US
    first = engine.decide(5, selection, APP, answered_ns=5 + HOUR)
    second = engine.decide(0, selection, APP)
    seconds, microseconds = server.client().time()
    after = (seconds * 10**6 + microseconds) * US
    assert engine.start_ns <= before <= first.at_ns <= second.at_ns <= after
    assert (second.limit, second.wait_ns) == ("limit", first.at_ns + HOUR - second.at_ns)


def test_time_never_goes_backwards(server):
    """Where Redis's clock has been set back, it stands still until it is past what was seen before."""
    engine = server.engine([limit("rolling_window", 1, period_ns=HOUR)], prefix="back", reads_time=True)
    selection = engine.select("api", "GET")
    seconds, _ = server.client().time()
    ahead = (seconds + 3600) * 10**6
    server.client().hset("{back}", "now", ahead)
    assert engine.decide(0, selection, APP).at_ns == ahead * US
    refused = engine.decide(0, selection, APP)
    assert (refused.at_ns, refused.wait_ns) == (ahead * US, HOUR)


def test_an_answer_counts_at_the_instant_of_its_call(server):
    """However late it is told of; the block it begins ends so long after the call."""
    errors = {"statuses": (403,), "block_ns": HOUR, "longest_ns": HOUR, "period_ns": HOUR}
    engine = server.engine([limit("penalty", 1, "errors", **errors)], reads_time=True)
    selection = engine.select("api", "GET")
    calls = [engine.decide(0, selection, APP) for _ in range(3)]
    for call in calls[:2]:
        engine.observe(0, selection, call, 200)
        engine.observe(0, selection, call, 403)
    assert engine.standing("errors", "app-1", 0).reset_ns == calls[1].at_ns + HOUR


LIVING = {
    "rolling_window": limit("rolling_window", period_ns=HOUR),
    "fixed_window": limit("fixed_window", period_ns=HOUR),
    "zone": limit("fixed_window", period_ns=DAY, zone="Europe/Berlin"),
    "first_call": limit("fixed_window", period_ns=HOUR, align="first_call"),
    "offset": limit("fixed_window", period_ns=HOUR, align="offset"),
    "token_bucket": limit("token_bucket", rate=Fraction(1, HOUR)),
    "balance": limit("balance", period_ns=HOUR),
    "settled": limit("fixed_window", period_ns=HOUR, cost=Cost(per_object=1, when="after")),
    "concurrency": limit("concurrency", min_age_ns=SECOND),
    "penalty": limit("penalty", 1, period_ns=HOUR, statuses=(403,), block_ns=HOUR, longest_ns=HOUR),
}


@pytest.mark.parametrize("kind", LIVING)
def test_every_key_expires_when_it_says_nothing_any_more(server, kind):
    """Not before the key stands as new, and not much later; a balance's refills are counted generously."""
    engine = server.engine([LIVING[kind]], prefix=f"living-{kind}", reads_time=True)
    memory, client, instants = Engine([LIVING[kind]]), server.client(), []
    of_engine, of_memory = engine.select("api", "GET"), memory.select("api", "GET")
    for status in (403, 200):
        decision = engine.decide(0, of_engine, APP, objects=2, objects_asked=2, answered_ns=2 * HOUR)
        engine.observe(0, of_engine, decision, status)
        now = decision.at_ns
        memory.decide(now, of_memory, APP, objects=2, objects_asked=2, answered_ns=now + 2 * HOUR)
        instants.append(now)
    keys = client.keys(f"{{living-{kind}}}:*")
    assert keys
    first, last = instants
    least = {"concurrency": last + 2 * HOUR, "settled": last + 2 * HOUR, "penalty": first + HOUR}
    lasts = {"zone": 25, "concurrency": 2, "token_bucket": 3, "settled": 3, "balance": 2}
    for key in keys:
        expires = client.pexpiretime(key) * 10**6
        assert expires >= least.get(kind, memory.standing("limit", "app-1", last).reset_ns), key
        assert expires <= last + lasts.get(kind, 1) * HOUR + SECOND, key
    assert 0 < client.ttl(f"{{living-{kind}}}") <= 30 * 86_400


def test_what_is_known_for_ever_stays(server):
    """Members, bans and what was spent of a balance that is never refilled have no expiry."""
    limits = [
        limit("cardinality", 3, "members", of="person"),
        limit("penalty", 1, "ban", period_ns=HOUR, statuses=(403,), action="ban"),
        limit("balance", 9, "credits"),
    ]
    engine = server.engine(limits, prefix="for-ever", reads_time=True)
    selection = engine.select("api", "GET")
    for _ in range(2):
        engine.observe(0, selection, engine.decide(0, selection, APP), 403)
    client = server.client()
    assert {key.split(b":")[1]: client.ttl(key) for key in client.keys("{for-ever}:*")} == {
        b"members": -1, b"ban": -1, b"credits": -1
    }  # fmt: skip
    assert engine.standing("ban", "app-1", 0).reset_ns == NEVER


def test_an_idle_key_is_gone(server):
    """A millisecond's window leaves nothing behind but the deployment's own key."""
    engine = server.engine([limit("rolling_window", period_ns=10**6)], prefix="idle", reads_time=True)
    engine.decide(0, engine.select("api", "GET"), APP)
    client = server.client()
    for _ in range(100_000):
        if client.keys("{idle}*") == [b"{idle}"]:
            break
    else:
        raise AssertionError("it is still there")


HAMMER = """
import sys
from quotalab.profiles.limits import Limit, Source
from quotalab.quota.redis import RedisEngine

hour = 3600 * 10**9
limits = [
    Limit("calls", "rolling_window", 1000, Source("a test", None, "own"), period_ns=hour),
    Limit("spent", "balance", 10**6, Source("a test", None, "own")),
]
engine = RedisEngine(limits, sys.argv[1], prefix="hammer")
selection = engine.select("api", "GET")
print("ready", flush=True)
sys.stdin.readline()
print(sum(engine.decide(0, selection, {"app": "app-1"}).limit is None for _ in range(400)))
"""


def test_four_processes_admit_exactly_a_thousand(server):
    """They ask 1,600 times, all at once; each has its share, and what was refused is charged to no limit."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER, server.url],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    admitted = [int(process.communicate()[0]) for process in processes]
    assert sum(admitted) == 1000
    assert [process.returncode for process in processes] == [0] * 4
    assert int(server.client().hget("{hammer}:spent:state:app-1", "b")) == 1000


# Redis gone.


def test_redis_gone_admits_nobody_until_it_is_back(mortal):
    """Each question is an error of its own while the server is down; then it goes on, with what is left."""
    lost = []
    engine = mortal.engine(
        [limit("fixed_window", 2, period_ns=DAY, align="first_call")],
        reads_time=True,
        prefix="mortal",
        on_loss=lambda: lost.append(True),
    )
    selection = engine.select("api", "GET")
    assert engine.decide(0, selection, APP).limit is None
    mortal.kill()
    for question in (
        lambda: engine.decide(0, selection, APP),
        lambda: engine.standing("limit", "app-1", 0),
        lambda: engine.advance(0),
        lambda: mortal.engine([limit("concurrency")]),
    ):
        with pytest.raises(
            StateLostError, match=f"redis: the limits' state at 127.0.0.1:{mortal.port} can't"
        ):
            question()
    assert lost == []
    mortal.start()
    assert [engine.decide(0, selection, APP).limit for _ in range(3)] == [None, None, "limit"]
    assert lost == [True]
    assert StateLostError.exit_code == 2


def test_a_server_that_hangs_is_gone(mortal):
    """No answer within the time allowed is an error, not an admission; what comes late is not taken for another."""
    engine = mortal.engine([limit("fixed_window", 9, period_ns=DAY)], timeout_s=0.05)
    selection = engine.select("api", "GET")
    mortal.client().execute_command("CLIENT", "PAUSE", "60000", "ALL")
    with pytest.raises(StateLostError, match="can't be asked: Timeout"):
        engine.decide(START, selection, APP)


def test_a_forgotten_script_is_loaded_again(mortal):
    """Nothing is lost by it, nor told as lost; a flushed state is told."""
    lost = []
    engine = mortal.engine(
        [limit("fixed_window", 9, period_ns=DAY)], prefix="forgets", on_loss=lambda: lost.append(True)
    )
    selection = engine.select("api", "GET")
    engine.decide(START, selection, APP)
    mortal.client().script_flush()
    assert engine.decide(START, selection, APP).remaining == (("limit", 7),)
    assert lost == []
    mortal.client().flushall()
    assert engine.decide(START, selection, APP).remaining == (("limit", 8),)
    assert lost == [True]
    assert engine.start_ns == START


def test_a_full_server_is_an_error(mortal):
    """Redis that may write no more admits nobody."""
    engine = mortal.engine([limit("fixed_window", 9, period_ns=DAY)])
    mortal.client().config_set("maxmemory", "1")
    with pytest.raises(StateLostError, match=r"can't be asked: .*maxmemory"):
        engine.decide(START, engine.select("api", "GET"), APP)
    mortal.client().config_set("maxmemory", "0")
    assert engine.decide(START, engine.select("api", "GET"), APP).remaining == (("limit", 8),)


def test_all_zones_of_these_tests_are_known():
    """They come with the time zone database that the package asks for."""
    assert {zone for zone, _ in ZONES} <= zoneinfo.available_timezones()
