"""The manual and the real clock."""

import subprocess
import sys
import time

import pytest

from quotalab.clock import Clock, ManualClock, RealClock, real
from quotalab.clock.inplace import Redirection, duplicate
from quotalab.errors import InputError

MONDAY_NS = 1_767_571_200_000_000_000


def test_a_manual_clock_moves_when_told():
    """A jump and a sleep move both readings by exactly as many nanoseconds."""
    clock: Clock = (manual := ManualClock(MONDAY_NS))
    before = clock.monotonic_ns()
    assert before != 0
    manual.jump(5)
    clock.sleep_ns(2)
    clock.sleep_ns(0)
    assert clock.now_ns() == MONDAY_NS + 7
    assert clock.monotonic_ns() == before + 7


def test_a_manual_clock_does_not_go_backwards():
    """A negative jump or sleep is refused and moves nothing."""
    clock = ManualClock(MONDAY_NS)
    with pytest.raises(InputError, match=r"time can't go backwards: jump\(-1\)"):
        clock.jump(-1)
    with pytest.raises(InputError, match="cannot sleep for -1 ns"):
        clock.sleep_ns(-1)
    assert clock.now_ns() == MONDAY_NS


def test_a_manual_clock_tells_where_it_stands():
    """Its repr gives the instant to the nanosecond and the time since the start."""
    clock = ManualClock(MONDAY_NS)
    clock.jump(90_500_000_001)
    assert repr(clock) == "<ManualClock 2026-01-05T00:01:30.500000001Z, 90.5 s after its start>"


def test_the_real_clock_reads_the_machine():
    """It reads between two readings of time's own functions; wall time as it was when the clock was made."""
    wall = time.time_ns()
    clock: Clock = RealClock()
    monotonic = time.monotonic_ns()
    assert wall <= clock.now_ns()
    assert monotonic <= clock.monotonic_ns() <= time.monotonic_ns()
    assert repr(clock).startswith("<RealClock 20")


def test_the_real_clock_goes_on_where_wall_time_is_set_back(monkeypatch):
    """A correction of the machine's time must not let a run's time run backwards."""
    clock = RealClock()
    before = clock.now_ns()
    monkeypatch.setattr(real, "_time_ns", lambda: 0)
    assert clock.now_ns() >= before


def test_the_real_clock_sleeps_with_whatever_sleep_is_there(monkeypatch):
    """It looks time.sleep up when it is called, so that a patched sleep cooperates."""
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    RealClock().sleep_ns(1_500_000_000)
    assert slept == [1.5]
    with pytest.raises(InputError, match="cannot sleep for -1 ns"):
        RealClock().sleep_ns(-1)


@pytest.mark.parametrize(
    ("name", "arguments"), [("tzset", ()), ("ctime", (0,)), ("clock_getres", (1,)), ("asctime", ())]
)
def test_a_c_function_is_redirected_and_put_back(name, arguments):
    """The function object itself calls the target, passes its arguments and errors on, and recovers."""
    function = getattr(time, name)
    original = duplicate(function)
    before = original(*arguments) if name != "asctime" else None
    redirection = Redirection(function, lambda *got: ("redirected", got))
    try:
        assert function(*arguments) == ("redirected", arguments)
        assert name == "asctime" or original(*arguments) == before
    finally:
        redirection.undo()
    assert name == "asctime" or function(*arguments) == before

    def fail(*_):
        raise LookupError(name)

    redirection = Redirection(function, fail)
    try:
        with pytest.raises(LookupError, match=name):
            function(*arguments)
    finally:
        redirection.undo()


def test_importing_the_clock_needs_the_standard_library_alone():
    """``import quotalab.clock`` brings in no gevent, Locust, time-machine or TLS."""
    code = (
        "import sys, quotalab.clock;"
        "print(sorted({m.split('.')[0] for m in sys.modules}"
        " & {'gevent', 'greenlet', 'locust', 'time_machine', '_time_machine', 'ssl'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
