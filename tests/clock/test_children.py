"""Child processes, which live in real time."""

import subprocess
import sys
import time

import pytest

WAITS = [sys.executable, "-S", "-c", "import sys; print(sys.stdin.read())"]
LIVES = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]


@pytest.mark.virtual_time
def test_running_a_child_takes_no_virtual_time():
    """No virtual timeout comes true while a child starts, answers and ends."""
    import gevent

    before = time.monotonic_ns()
    ticks = gevent.spawn(gevent.sleep, 0.001)
    with gevent.Timeout(1e-9):
        done = subprocess.run(WAITS, input="hi", capture_output=True, text=True, check=True, timeout=60)
        assert subprocess.check_output([sys.executable, "-S", "-c", "print(1)"]) == b"1\n"
    assert done.stdout == "hi\n"
    assert time.monotonic_ns() == before
    ticks.join()
    assert time.monotonic_ns() - before == 1_000_000


@pytest.mark.virtual_time
def test_timeouts_of_children_are_real():
    """A child that does not end in time is given up after real seconds and no virtual ones."""
    before = time.monotonic_ns()
    with pytest.raises(subprocess.TimeoutExpired, match=r"timed out after 0\.05 seconds"):
        subprocess.run(LIVES, check=False, timeout=0.05)
    with subprocess.Popen(LIVES, stdout=subprocess.PIPE) as child:
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.01)
        with pytest.raises(subprocess.TimeoutExpired):
            child.communicate(timeout=0.01)
        child.kill()
    assert time.monotonic_ns() == before


@pytest.mark.virtual_time
def test_a_child_that_merely_lives_holds_nothing():
    """Time passes beside a child that nobody waits for."""
    with subprocess.Popen(LIVES) as child:
        before = time.monotonic_ns()
        time.sleep(86_400)
        assert time.monotonic_ns() - before == 86_400_000_000_000
        assert child.poll() is None
        child.kill()


@pytest.mark.virtual_time
def test_a_child_that_cannot_start_releases_time():
    """A program that is not there raises FileNotFoundError, and time passes afterwards."""
    with pytest.raises(FileNotFoundError):
        subprocess.run(["./no-such-program"], check=False)
    before = time.monotonic_ns()
    time.sleep(1)
    assert time.monotonic_ns() - before == 1_000_000_000


def test_a_wait_without_end_lets_time_go(run):
    """A greenlet that waits for a child that outlives the run holds time for the limit, and then no more."""
    done = run(f"""
        import subprocess, time
        with install(START_NS, 1, hold_limit_s=0.2) as virtual:
            import gevent
            child = subprocess.Popen({LIVES!r})
            waiter = gevent.spawn(child.wait)
            time.sleep(3600)
            print(virtual.clock, virtual.stats.let_go >= 1, virtual.stats.held_s >= 0.2, waiter.ready())
            child.kill()
            print(waiter.get())
    """)
    assert done.said == ""
    assert done.lines == [
        "<VirtualClock 2026-01-05T01:00:00.000000000Z, 3600 s after its start> True True False",
        "-9",
    ]
