"""The request budget: exact accounts, by hand-moved time."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from heapq import heappop, heappush

import pytest
from greenlet import getcurrent, greenlet
from hypothesis import given
from hypothesis import strategies as st

from quotalab.clock import ManualClock
from quotalab.profiles import policy
from quotalab.profiles.reference import Allowance
from quotalab.reference import Declined
from quotalab.reference.budget import Budget

S = 1_000_000_000
FOREVER = 2**62
ANYBODY: Mapping[str, str] = {"person": "p00001"}


def settings(**changed: object) -> policy.Budget:
    """A budget without margin or reserve."""
    parts: dict[str, object] = {
        "enabled": True,
        "calls": 1,
        "period_ns": 1,
        "margin": 0.0,
        "reserve": 0.0,
        "burst": 1,
        "when_spent": ("wait", "stale"),
    }
    return policy.Budget(**{**parts, **changed})  # type: ignore[arg-type]


def budget_of(clock, *allowances: Allowance, **changed: object) -> Budget:
    """A budget of ten calls a minute, or of the allowances given."""
    return Budget(allowances or (Allowance(10, 60 * S),), settings(**changed), clock)


def spend(
    budget: Budget,
    who: Mapping[str, str] = ANYBODY,
    *,
    interactive: bool = True,
    deadline_ns: int = FOREVER,
) -> None:
    """One call, answered in no time."""
    budget.settle(budget.acquire(who, interactive=interactive, deadline_ns=deadline_ns))


def test_the_eleventh_call_waits_until_the_first_has_left_the_period() -> None:
    """A call counts until one period after its answer, to the nanosecond."""
    clock = ManualClock(0)
    budget = budget_of(clock)
    for _ in range(10):
        spend(budget)
        clock.jump(1 * S)
    assert clock.now_ns() == 10 * S
    spend(budget)
    assert clock.now_ns() == 60 * S
    spend(budget)
    assert clock.now_ns() == 61 * S


def test_the_margin_is_never_used() -> None:
    """Of 100 calls a margin of 5 % leaves 95."""
    clock = ManualClock(0)
    budget = budget_of(clock, Allowance(100, 60 * S), margin=0.05)
    for _ in range(95):
        spend(budget)
    with pytest.raises(Declined):
        spend(budget, deadline_ns=59 * S)
    assert clock.now_ns() == 0


def test_who_cannot_be_served_before_the_deadline_is_declined_at_once() -> None:
    """There is no use in waiting for a wait that is too long; a wait that just fits is waited out."""
    clock = ManualClock(0)
    budget = budget_of(clock, Allowance(1, 60 * S))
    spend(budget)
    with pytest.raises(Declined):
        spend(budget, deadline_ns=60 * S - 1)
    assert clock.now_ns() == 0
    spend(budget, deadline_ns=60 * S)
    assert clock.now_ns() == 60 * S


def test_background_calls_are_spread_evenly_after_their_burst() -> None:
    """Three at once, then one every sixth of the ten-call minute."""
    clock = ManualClock(0)
    budget = budget_of(clock, burst=3)
    at = []
    for _ in range(6):
        spend(budget, interactive=False)
        at.append(clock.now_ns() // S)
    assert at == [0, 0, 0, 6, 12, 18]


def test_interactive_calls_get_the_reserve_that_background_calls_leave() -> None:
    """With a reserve of 40 % background work gets 6 of 10 calls, and 4 are left for people."""
    clock = ManualClock(0)
    budget = budget_of(clock, reserve=0.4, burst=100)
    for _ in range(6):
        spend(budget, interactive=False)
    with pytest.raises(Declined):
        spend(budget, interactive=False, deadline_ns=59 * S)
    for _ in range(4):
        spend(budget)
    assert clock.now_ns() == 0


def test_a_call_on_its_way_counts() -> None:
    """Room taken by a call that has no answer yet cannot be taken again."""
    clock = ManualClock(0)
    budget = budget_of(clock, Allowance(1, 60 * S))
    budget.acquire(ANYBODY, interactive=True, deadline_ns=FOREVER)
    with pytest.raises(Declined):
        budget.acquire(ANYBODY, interactive=True, deadline_ns=59 * S)


# ---- several allowances


def test_every_allowance_is_kept() -> None:
    """Two in 10 s and three in a minute: the third call waits for the first rule, the fourth for the second."""
    clock = ManualClock(0)
    budget = budget_of(clock, Allowance(2, 10 * S), Allowance(3, 60 * S))
    at = []
    for _ in range(7):
        spend(budget)
        at.append(clock.now_ns() // S)
    assert at == [0, 0, 10, 60, 60, 70, 120]


def test_a_call_that_one_allowance_declines_is_taken_from_none() -> None:
    """The daily allowance is spent; the one of the minute loses nothing by asking in vain."""
    clock = ManualClock(0)
    budget = budget_of(clock, Allowance(1, 10 * S), Allowance(1, 3600 * S, "person"))
    spend(budget, {"person": "p1"})
    clock.jump(10 * S)
    with pytest.raises(Declined):
        spend(budget, {"person": "p1"}, deadline_ns=60 * S)
    spend(budget, {"person": "p2"})
    assert clock.now_ns() == 10 * S


def test_each_person_and_each_tenant_has_an_account_of_their_own() -> None:
    """One call a minute for each person, two for each tenant, three for the app."""
    clock = ManualClock(0)
    budget = budget_of(
        clock, Allowance(1, 60 * S, "person"), Allowance(2, 60 * S, "tenant"), Allowance(3, 60 * S)
    )
    soon = {"deadline_ns": 59 * S}
    spend(budget, {"person": "p1", "tenant": "t1"}, **soon)
    with pytest.raises(Declined):
        spend(budget, {"person": "p1", "tenant": "t1"}, **soon)
    spend(budget, {"person": "p2", "tenant": "t1"}, **soon)
    with pytest.raises(Declined):
        spend(budget, {"person": "p3", "tenant": "t1"}, **soon)
    spend(budget, {"person": "p4", "tenant": "t2"}, **soon)
    with pytest.raises(Declined):
        spend(budget, {"person": "p5", "tenant": "t3"}, **soon)
    assert clock.now_ns() == 0


def test_an_allowance_of_a_tenant_is_not_asked_while_the_tenant_is_unknown() -> None:
    """The call that asks for the tenant can belong to none yet."""
    clock = ManualClock(0)
    budget = budget_of(clock, Allowance(1, 60 * S, "tenant"))
    for _ in range(3):
        spend(budget)
    assert clock.now_ns() == 0


# ---- what the provider said


def test_nothing_goes_while_the_provider_said_to_wait() -> None:
    """What one call is told holds for the whole app, where the allowances are the app's."""
    clock = ManualClock(0)
    budget = budget_of(clock, Allowance(10, 60 * S), Allowance(100, 3600 * S))
    budget.close({"person": "p1"}, 90 * S)
    spend(budget, {"person": "p2"})
    assert clock.now_ns() == 90 * S


def test_what_the_answers_say_of_the_limit_is_taken_up() -> None:
    """Ten a minute, until an answer says four: what has gone counts, and so it is when it is raised again."""
    clock = ManualClock(0)
    budget = budget_of(clock, Allowance(10, 60 * S, "app", "X-Limit"))
    for _ in range(6):
        spend(budget)
    budget.heed(ANYBODY, {"X-Limit": "4"})
    clock.jump(30 * S)
    spend(budget)  # the sixth of them has left after a minute
    assert clock.now_ns() == 60 * S
    for _ in range(3):
        spend(budget)
    assert clock.now_ns() == 60 * S
    budget.heed(ANYBODY, {"X-Limit": "5"})
    spend(budget)
    assert clock.now_ns() == 60 * S
    spend(budget)
    assert clock.now_ns() == 120 * S


@pytest.mark.parametrize(
    "told", [{}, {"X-Limit": ""}, {"X-Limit": "0"}, {"X-Limit": "-3"}, {"X-Limit": "many"}]
)
def test_what_says_no_number_changes_nothing(told: dict[str, str]) -> None:
    """Ten a minute it stays."""
    clock = ManualClock(0)
    budget = budget_of(clock, Allowance(10, 60 * S, "app", "X-Limit"))
    budget.heed(ANYBODY, told)
    for _ in range(10):
        spend(budget)
    assert clock.now_ns() == 0
    spend(budget)
    assert clock.now_ns() == 60 * S


def test_a_limit_that_is_told_to_one_person_is_that_persons() -> None:
    """Where the allowance is each person's; nobody else has an account that it could be."""
    clock = ManualClock(0)
    budget = budget_of(clock, Allowance(10, 60 * S, "person", "X-Limit"))
    for person in ("p1", "p2"):
        spend(budget, {"person": person})
    budget.heed({"person": "p1"}, {"X-Limit": "2"})
    budget.heed({"person": "p3"}, {"X-Limit": "1"})
    spend(budget, {"person": "p1"})
    for _ in range(9):
        spend(budget, {"person": "p2"})
    assert clock.now_ns() == 0
    spend(budget, {"person": "p1"})
    assert clock.now_ns() == 60 * S


def test_one_persons_refusal_does_not_stop_the_others_where_people_have_allowances() -> None:
    """The limit that refused was most likely the person's own."""
    clock = ManualClock(0)
    budget = budget_of(clock, Allowance(10, 60 * S, "person"), Allowance(100, 60 * S))
    budget.close({"person": "p1"}, 90 * S)
    spend(budget, {"person": "p2"})
    assert clock.now_ns() == 0
    spend(budget, {"person": "p1"})
    assert clock.now_ns() == 90 * S


def test_a_shorter_wait_does_not_shorten_a_longer_one() -> None:
    """What was promised first still holds."""
    clock = ManualClock(0)
    budget = budget_of(clock)
    budget.close(ANYBODY, 90 * S)
    budget.close(ANYBODY, 10 * S)
    spend(budget)
    assert clock.now_ns() == 90 * S


# ---- many at once


class Cast:
    """A clock for several greenlets: whoever is due first goes on; at one instant, in an order by lot."""

    def __init__(self, seed: int) -> None:
        self._now_ns = 0
        self._due: list[tuple[int, float, int, greenlet]] = []
        self._lot = random.Random(seed)
        self._hub = getcurrent()

    def now_ns(self) -> int:
        return self._now_ns

    def monotonic_ns(self) -> int:
        return self._now_ns

    def sleep_ns(self, duration_ns: int) -> None:
        self._put(self._now_ns + duration_ns, getcurrent())
        self._hub.switch()

    def at(self, at_ns: int, act: Callable[[], None]) -> None:
        """Let somebody begin then."""
        self._put(at_ns, greenlet(act))

    def _put(self, at_ns: int, who: greenlet) -> None:
        heappush(self._due, (at_ns, self._lot.random(), len(self._due), who))

    def play(self) -> None:
        """Until nobody has anything left to do."""
        while self._due:
            self._now_ns, _, _, who = heappop(self._due)
            who.switch()


calls_by = st.lists(
    st.tuples(
        st.booleans(),  # interactive
        st.integers(0, 90),  # asked at, s
        st.integers(0, 5),  # on its way there, s
        st.integers(0, 5),  # and back
        st.integers(1, 3),  # person
    ),
    max_size=40,
)
ALLOWANCES = st.lists(
    st.builds(
        Allowance,
        st.integers(1, 8),
        st.integers(1, 30).map(lambda s: s * S),
        st.sampled_from(["app", "person", "tenant"]),
    ),
    min_size=1,
    max_size=3,
)


@given(ALLOWANCES, calls_by, st.integers(0, 2**32), st.sampled_from([0.0, 0.4]), st.integers(1, 5))
def test_however_long_the_network_takes_no_window_of_any_allowance_holds_more_than_its_share(
    allowances: list[Allowance],
    calls: list[tuple[bool, int, int, int, int]],
    seed: int,
    margin: float,
    burst: int,
) -> None:
    """Each call reaches the provider somewhere between being let go and being answered."""
    cast = Cast(seed)
    budget = Budget(allowances, settings(margin=margin, reserve=0.3, burst=burst), cast)
    arrived: list[tuple[int, dict[str, str]]] = []

    def caller(interactive: bool, there_s: int, back_s: int, person: int) -> Callable[[], None]:
        who = {"person": f"p{person}", "tenant": f"t{person % 2}"}

        def act() -> None:
            accounts = budget.acquire(who, interactive=interactive, deadline_ns=FOREVER)
            cast.sleep_ns(there_s * S)
            arrived.append((cast.now_ns(), who))
            cast.sleep_ns(back_s * S)
            budget.settle(accounts)

        return act

    for interactive, at_s, there_s, back_s, person in calls:
        cast.at(at_s * S, caller(interactive, there_s, back_s, person))
    cast.play()
    assert len(arrived) == len(calls)
    for allowance in allowances:
        share = max(1, int(allowance.calls * (1 - margin)))
        for key in {who.get(allowance.per) for _, who in arrived}:
            times = [at for at, who in arrived if who.get(allowance.per) == key]
            for first in times:
                assert sum(first <= at < first + allowance.period_ns for at in times) <= share


@given(
    st.lists(
        st.builds(Allowance, st.integers(1, 5), st.integers(1, 20).map(lambda s: s * S)),
        min_size=1,
        max_size=3,
    ),
    calls_by,
    st.integers(0, 2**32),
    st.integers(1, 4),
)
def test_nobody_is_overtaken(
    allowances: list[Allowance],
    calls: list[tuple[bool, int, int, int, int]],
    seed: int,
    burst: int,
) -> None:
    """Who asked first goes first, and what a person waits for goes before what nobody waits for.

    Who asks at the very instant at which another goes was not before it.
    """
    cast = Cast(seed)
    budget = Budget(allowances, settings(reserve=0.3, burst=burst), cast)
    log: list[tuple[str, int, int]] = []  # what, which call, when

    def caller(i: int, interactive: bool, taking_s: int) -> Callable[[], None]:
        def act() -> None:
            log.append(("asks", i, cast.now_ns()))
            accounts = budget.acquire(ANYBODY, interactive=interactive, deadline_ns=FOREVER)
            log.append(("goes", i, cast.now_ns()))
            cast.sleep_ns(taking_s * S)
            budget.settle(accounts)

        return act

    for i, (interactive, at_s, there_s, back_s, _) in enumerate(calls):
        cast.at(at_s * S, caller(i, interactive, there_s + back_s))
    cast.play()
    asked = {i: (place, at) for place, (what, i, at) in enumerate(log) if what == "asks"}
    went = {i: at for what, i, at in log if what == "goes"}
    for first in asked:
        for second in asked:
            rank = (not calls[first][0], asked[first])
            if rank < (not calls[second][0], asked[second]) and asked[first][1] < went[second]:
                assert went[first] <= went[second]


def test_whose_turn_it_is_in_one_allowance_is_not_overtaken_in_another() -> None:
    """Three wait for the shorter of two allowances; the longer has one place then, and it is the first's."""
    for seed in range(8):
        cast = Cast(seed)
        budget = budget_of(cast, Allowance(2, 1 * S), Allowance(3, 2 * S))
        asked: list[int] = []
        went: list[tuple[int, int]] = []

        def ask(*, cast: Cast = cast, budget: Budget = budget, asked=asked, went=went) -> None:
            number = len(asked)
            asked.append(number)
            spend(budget)
            went.append((number, cast.now_ns() // S))

        for _ in range(5):
            cast.at(0, ask)
        cast.play()
        assert sorted(went) == [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2)]


def test_whose_turn_is_late_goes_before_whose_turn_comes_then() -> None:
    """At 5 s both have room; the pace, which begins anew with who goes first, has a turn for the first only."""
    for seed in range(8):
        cast = Cast(seed)
        budget = budget_of(cast, Allowance(3, 3 * S), reserve=0.3)
        asked: list[int] = []
        went: list[tuple[int, float]] = []

        def ask(*, cast: Cast = cast, budget: Budget = budget, asked=asked, went=went) -> None:
            number = len(asked)
            asked.append(number)
            spend(budget, interactive=False)
            went.append((number, cast.now_ns() / S))

        cast.at(1 * S, ask)
        for _ in range(2):
            cast.at(2 * S - 1, lambda budget=budget: spend(budget))
        for _ in range(2):
            cast.at(2 * S, ask)
        cast.play()
        assert sorted(went)[1][1] < sorted(went)[2][1]


def test_of_those_who_wake_up_at_one_instant_the_first_goes_first() -> None:
    """Whichever is woken first, and whoever a person waits for that asks at that instant besides."""
    for seed in range(16):
        cast = Cast(seed)
        budget = budget_of(cast, Allowance(4, 2 * S), reserve=0.3, burst=3)
        went: dict[str, float] = {}

        def ask(name: str, *, interactive: bool, budget=budget, cast=cast, went=went) -> Callable[[], None]:
            def act() -> None:
                spend(budget, interactive=interactive)
                went[name] = cast.now_ns() / S

            return act

        for _ in range(2):
            cast.at(0, lambda budget=budget: spend(budget))
        cast.at(1, ask("first", interactive=False))
        cast.at(1 * S, ask("second", interactive=False))
        for _ in range(2):
            cast.at(2 * S, ask("person", interactive=True))
        cast.play()
        assert went["first"] <= went["second"]


class Killing(Cast):
    """Ends one of those who sleep, when it wakes up."""

    victim: greenlet | None = None

    def sleep_ns(self, duration_ns: int) -> None:
        super().sleep_ns(duration_ns)
        if getcurrent() is self.victim:
            raise KeyboardInterrupt


def test_whose_turn_it_was_and_who_ended_first_counts_once() -> None:
    """Both wait until 10 s, one is killed then: whether it had been let go or not, both places are free at 20 s."""
    for seed in range(8):
        cast = Killing(seed)
        budget = budget_of(cast, Allowance(2, 10 * S))
        went: list[int] = []

        def ask(*, budget=budget, cast=cast, went=went) -> None:
            spend(budget)
            went.append(cast.now_ns() // S)

        def die(*, budget=budget, cast=cast) -> None:
            cast.victim = getcurrent()
            with pytest.raises(KeyboardInterrupt):
                spend(budget)

        for at_s, act in ((0, ask), (0, ask), (1, die), (2, ask), (20, ask), (20, ask)):
            cast.at(at_s * S, act)
        cast.play()
        assert went == [0, 0, 10, 20, 20]
        assert not budget._waiting


def test_who_waits_longest_for_an_account_of_their_own_keeps_no_room_of_the_apps() -> None:
    """The app's minute and a person's hour are spent; when the minute is over, the room is another's."""
    cast = Cast(1)
    budget = budget_of(cast, Allowance(1, 3600 * S, "person"), Allowance(1, 60 * S))
    went: list[tuple[str, int]] = []

    def caller(person: str) -> Callable[[], None]:
        def act() -> None:
            spend(budget, {"person": person})
            went.append((person, cast.now_ns() // S))

        return act

    for i, person in enumerate(["p1", "p1", "p2"]):
        cast.at(i * S, caller(person))
    cast.play()
    assert went == [("p1", 0), ("p2", 60), ("p1", 3600)]


def test_who_waits_for_an_account_of_their_own_keeps_no_room_from_others() -> None:
    """Two calls of one person wait for that person's minute; the app's last room is another's meanwhile."""
    cast = Cast(1)
    budget = budget_of(cast, Allowance(1, 60 * S, "person"), Allowance(3, 60 * S))
    went: list[tuple[str, int]] = []

    def caller(person: str) -> Callable[[], None]:
        def act() -> None:
            spend(budget, {"person": person})
            went.append((person, cast.now_ns() // S))

        return act

    for i, person in enumerate(["p1", "p1", "p1", "p2", "p3"]):
        cast.at(i * S, caller(person))
    cast.play()
    assert went == [("p1", 0), ("p2", 3), ("p3", 4), ("p1", 60), ("p1", 120)]


def test_processes_share_what_the_app_is_allowed_in_equal_parts() -> None:
    """Each person is in one process, which has all of theirs."""
    clock = ManualClock(0)
    budget = budget_of(clock, Allowance(10, 60 * S), Allowance(4, 60 * S, per="person"))
    budget.share(3)
    for _ in range(3):
        spend(budget)
    with pytest.raises(Declined):
        spend(budget, {"person": "p00002"}, deadline_ns=59 * S)
    budget.share(2)
    spend(budget)
    assert clock.now_ns() == 0
    budget.share(1)
    with pytest.raises(Declined):
        spend(budget, deadline_ns=59 * S)
    spend(budget, {"person": "p00002"}, deadline_ns=59 * S)


def test_what_an_answer_says_of_the_limit_is_shared_too() -> None:
    """The header tells of the app's limit, not of one process's part."""
    clock = ManualClock(0)
    budget = budget_of(clock, Allowance(10, 60 * S, calls_at="x-limit"))
    budget.share(2)
    spend(budget)
    budget.heed(ANYBODY, {"x-limit": "6"})
    spend(budget)
    spend(budget)
    with pytest.raises(Declined):
        spend(budget, deadline_ns=59 * S)
