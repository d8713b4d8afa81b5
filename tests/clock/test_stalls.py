"""Code that keeps virtual time from going on is named: file, line and function."""

import os
from textwrap import dedent

import pytest

# Each is written to a file; the line that is to be named ends in "# here".
SPINS = {
    "reads the wall": """
        def spin():
            until = time.time() + 1
            while time.time() < until:  # here
                pass
    """,
    "reads a monotonic clock, early imported": """
        def spin():
            until = monotonic() + 1
            while monotonic() < until:  # here
                pass
    """,
    "reads the date": """
        def spin():
            until = datetime.now() + timedelta(seconds=1)
            while datetime.now() < until:  # here
                pass
    """,
    "yields": """
        def spin():
            while not done:
                gevent.sleep(0)  # here
    """,
    "yields in the standard library's way": """
        def spin():
            while not done:
                time.sleep(0)  # here
    """,
}
# The main greenlet does not get to its end.
MAINS = ["spin(); print('went on')", "gevent.spawn(spin); gevent.sleep(9); print('went on')"]
FILE = """
import os, time
from time import monotonic
from datetime import datetime, timedelta
from quotalab.clock.virtual import install
from quotalab.errors import QuotalabError
{code}
done = False
virtual = install({start}, 1, {limits})
try:
    with virtual:
        import gevent
        {main}
except QuotalabError as error:
    print(type(error).__name__, error is virtual.fault)
    print(error)
"""


def told(tmp_path, run, code: str, limits: str, main: str) -> list[str]:
    """What a program prints whose ``code`` stalls, with its file as FILE and the marked line as LINE."""

    file = tmp_path / "app.py"
    text = FILE.format(code=dedent(code), limits=limits, main=main, start=1_767_571_200_000_000_000)
    file.write_text(text)
    done = run(f"import runpy; runpy.run_path({str(file)!r}, run_name='app')")
    assert done.said == ""
    line = next((n for n, line in enumerate(text.splitlines(), 1) if line.endswith("# here")), 0)
    return [
        said.replace(f"{file}:{line} in", "FILE:LINE in").replace(str(file), "FILE") for said in done.lines
    ]


@pytest.mark.parametrize("main", MAINS, ids=["main", "greenlet"])
@pytest.mark.parametrize("code", SPINS.values(), ids=SPINS)
def test_a_busy_wait_is_counted_and_named(tmp_path, run, code, main):
    """Looking at the time more often than the limit at one instant fails the run, in whichever greenlet."""
    kind, message = told(tmp_path, run, code, "busy_limit=1000", main)
    assert kind == "BusyWaitError True"
    assert message.startswith("FILE:LINE in spin ")
    assert "more than 1,000 times at one virtual instant (2026-01-05T00:00:00.000000000Z)" in message


COMPUTES = {
    "computes": """
        def spin():
            while not done:
                sum(range(1000))  # here
    """,
    "computes in a thread's clothing": """
        def spin():
            gevent.get_hub().loop.run_callback(spin_in_the_loop)
            gevent.sleep(9)

        def spin_in_the_loop():
            while not done:
                sum(range(1000))  # here
    """,
    "swallows every Exception": """
        def spin():
            while not done:
                try:
                    sum(range(1000))  # here
                except Exception:
                    pass
    """,
}


@pytest.mark.parametrize("main", MAINS, ids=["main", "greenlet"])
@pytest.mark.parametrize("code", COMPUTES.values(), ids=COMPUTES)
def test_computing_without_end_is_noticed_and_named(tmp_path, run, code, main):
    """A loop that never yields is broken after the real seconds allowed, whatever it catches."""
    kind, message = told(tmp_path, run, code, "stall_s=0.4", main)
    assert kind == "BusyWaitError True"
    assert message.startswith("FILE:")
    assert " in spin" in message
    assert "kept the process busy for 0.4 real seconds at one virtual instant (2026-01-05T00:00:00" in message


def test_a_spin_below_the_limit_is_noticed_by_the_watchdog(tmp_path, run):
    """Yielding for ever at one instant is found in real time too, when the count is not."""
    code = SPINS["yields"]
    kind, message = told(tmp_path, run, code, "stall_s=0.4, busy_limit=10**12", "gevent.spawn(spin).join()")
    assert kind == "BusyWaitError True"
    assert message.startswith("FILE:LINE in spin ")
    assert "for 0.4 real seconds at one virtual instant (2026-01-05T00:00:00" in message


def test_an_app_that_swallows_the_error_is_stopped_all_the_same(tmp_path, run):
    """A spin that catches every Exception still ends, and the error arrives."""
    code = """
        def spin():
            while not done:
                try:
                    time.monotonic()  # here
                except Exception:
                    pass
    """
    kind, message = told(tmp_path, run, code, "busy_limit=1000", "gevent.spawn(spin).join()")
    assert kind == "BusyWaitError True"
    assert message.startswith("FILE:LINE in spin reads the clock")


def test_an_error_that_was_swallowed_arrives_at_the_end(tmp_path, run):
    """A program that catches the error and ends normally still fails with it."""
    code = """
        def spin():
            try:
                while not done:
                    time.monotonic()  # here
            except Exception:
                pass
    """
    kind, message = told(tmp_path, run, code, "busy_limit=1000", "spin()")
    assert kind == "BusyWaitError True"
    assert message.startswith("FILE:LINE in spin reads the clock")


HOLDS = {
    "a block": (
        """
        def stuck():
            with virtual.held("the moon"):  # here
                gevent.sleep(1)
        """,
        "the moon",
    ),
    "an app's block": (
        """
        def stuck():
            from quotalab.clock.virtual import held
            with held("the moon"):  # here
                gevent.sleep(1)
        """,
        "the moon",
    ),
    "a call": (
        """
        def stuck():
            virtual.hold("the moon")  # here
            gevent.sleep(1)
        """,
        "the moon",
    ),
    "the pool": (
        """
        def stuck():
            gevent.get_hub().threadpool.apply(os.read, (os.pipe()[0], 1))  # here
        """,
        "another thread's answer",
    ),
    "a thread that blocks": (
        """
        def stuck():
            from quotalab.clock.real import real_sleep
            with virtual.held("the moon"):  # here
                for _ in range(10_000):
                    real_sleep(0.01)
        """,
        "the moon",
    ),
}


@pytest.mark.parametrize(("code", "reason"), HOLDS.values(), ids=HOLDS)
def test_a_hold_that_lasts_is_named(tmp_path, run, code, reason):
    """Time held for longer than allowed fails the run, naming who holds it and what it waits for."""
    kind, message = told(tmp_path, run, code, "hold_limit_s=0.3", "gevent.spawn(stuck).join()")
    assert kind == "HeldTooLongError True"
    assert message.startswith("virtual time has been held for 0.3 real seconds by FILE:")
    assert f" in stuck, which waits for {reason};" in message


def test_a_patient_hold_may_last(tmp_path, run):
    """Where a person is waited for nothing fails; it is the next hold that does, though it is younger."""
    code = """
        def stuck():
            virtual.hold("a person", patient=True)
            virtual.hold("a server")  # here
            gevent.sleep(1)
    """
    _, message = told(tmp_path, run, code, "hold_limit_s=0.3", "gevent.spawn(stuck).join()")
    assert message.startswith("virtual time has been held for 0.3 real seconds by FILE:LINE in stuck")
    assert "which waits for a server;" in message


def test_a_starved_process_is_not_stalled(run):
    """Real time in which others had the processor is no computing, however long it takes."""
    done = run("""
        from quotalab.clock import watchdog
        from quotalab.clock.real import monotonic_s
        watchdog.waited_for_processor_s = lambda thread: monotonic_s()
        with install(START_NS, 1, stall_s=0.2):
            until = monotonic_s() + 0.8
            while monotonic_s() < until:
                sum(range(1000))
        print("went on")
    """)
    assert done.said == ""
    assert done.lines == ["went on"]


@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="this kernel does not tell")
def test_the_system_tells_how_long_a_thread_waited_for_a_processor(run):
    """Of two threads that compute, pinned to one processor in a process each, each waits."""
    done = run("""
        import os, subprocess, sys, threading
        from quotalab.clock.watchdog import waited_for_processor_s
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        thread = threading.get_native_id()
        before = waited_for_processor_s(thread)
        other = subprocess.Popen([sys.executable, "-c", "sum(range(10**9))"])
        while waited_for_processor_s(thread) - before < 0.05 and other.poll() is None:
            sum(range(1000))
        other.kill()
        print(other.wait() < 0, waited_for_processor_s(0))
    """)
    assert done.lines == ["True 0.0"]


def test_waiting_for_the_outer_world_is_no_stall(run):
    """A main greenlet that waits for input for longer than a stall may last is left alone."""
    done = run("""
        import os
        with install(START_NS, 1, stall_s=0.5) as virtual:
            import gevent.socket
            from quotalab.clock.real import real_sleep
            reading, writing = os.pipe()
            import _thread
            from gevent.monkey import get_original
            def write():
                real_sleep(0.9)
                os.write(writing, b"x")
            get_original("_thread", "start_new_thread")(write, ())
            gevent.socket.wait_read(reading)
            print(os.read(reading, 1), virtual.fault)
    """)
    assert (done.lines, done.said) == (["b'x' None"], "")


def test_much_work_at_moving_instants_is_no_stall(run):
    """Reading the clock often is no busy wait as long as time moves now and then."""
    done = run("""
        import time
        with install(START_NS, 1, busy_limit=1000, stall_s=0.5) as virtual:
            for _ in range(2000):
                for _ in range(900):
                    time.monotonic()
                time.sleep(1e-9)
            print(virtual.fault)
    """)
    assert (done.lines, done.said) == (["None"], "")


def test_holding_means_nothing_in_real_time(run):
    """Outside virtual time an app's block just runs."""
    done = run("""
        from quotalab.clock.virtual import held
        with held("the moon"):
            print("done")
    """)
    assert (done.lines, done.said) == (["done"], "")
