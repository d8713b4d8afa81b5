"""What gevent and the standard library do on the virtual loop, one thing at a time."""

import os
import queue
import socket
import threading
import time

import pytest


@pytest.mark.virtual_time
def test_a_sleep_takes_its_virtual_time():
    """A day's sleep ends a day later to the nanosecond, on both clocks."""
    wall, monotonic = time.time_ns(), time.monotonic_ns()
    time.sleep(86_400)
    assert time.time_ns() - wall == 86_400_000_000_000
    assert time.monotonic_ns() - monotonic == 86_400_000_000_000


@pytest.mark.virtual_time
def test_the_clock_sleeps_whole_nanoseconds():
    """The clock's own sleep is exact where a float of seconds is not, and refuses to go back."""
    clock = virtual.clock  # noqa: F821 - set by the process that runs this
    before = clock.now_ns()
    clock.sleep_ns(9_007_199_254_740_993)
    assert clock.now_ns() - before == 9_007_199_254_740_993
    clock.sleep_ns(0)
    assert clock.now_ns() - before == 9_007_199_254_740_993
    with pytest.raises(Exception, match="cannot sleep for -1 ns"):
        clock.sleep_ns(-1)


@pytest.mark.virtual_time
def test_a_million_periods_do_not_drift():
    """A timer of 0.1 s has fired a million times after exactly 100,000 s, as have sleeps."""
    import gevent

    before, fired = time.monotonic_ns(), [0]

    def count():
        fired[0] += 1

    with gevent.get_hub().loop.timer(0.1, 0.1) as timer:
        timer.start(count)
        for _ in range(10_000):
            gevent.sleep(0.1)
        assert time.monotonic_ns() - before == 1_000_000_000_000
        gevent.sleep(99_000)
        assert time.monotonic_ns() - before == 100_000_000_000_000
        assert fired == [999_999]  # at this instant the sleep, asked for long before, comes first
        gevent.sleep(0.05)
    assert fired == [1_000_000]


@pytest.mark.virtual_time
def test_the_shortest_sleep_takes_a_nanosecond():
    """A sleep of less than a nanosecond takes one, or a loop that sleeps for what is left would never end."""
    before = time.monotonic_ns()
    time.sleep(1e-15)
    assert time.monotonic_ns() - before == 1


@pytest.mark.virtual_time
def test_a_sleep_that_is_cut_short_leaves_nothing_behind():
    """Killed, timed out or thrown into, a sleeper wakes at that instant, and its old one wakes nobody."""
    import gevent

    loop, woken = gevent.get_hub().loop, []
    gevent.sleep(1)  # who has just been woken still counts, here as at the end
    kept, began = loop._keeping, time.monotonic_ns()

    def sleeper(seconds):
        try:
            time.sleep(seconds)
        finally:
            woken.append(time.monotonic_ns() - began)
            gevent.sleep(1)
            woken.append(time.monotonic_ns() - began)

    killed, thrown = gevent.spawn(sleeper, 50), gevent.spawn(sleeper, 60)
    gevent.sleep(2)
    killed.kill(block=False)
    gevent.sleep(1)
    gevent.get_hub().loop.run_callback(thrown.throw, ValueError("enough"))
    with gevent.Timeout(4, False):
        gevent.sleep(3600)
    assert time.monotonic_ns() - began == 7_000_000_000
    assert woken == [2_000_000_000, 3_000_000_000, 3_000_000_000, 4_000_000_000]
    assert isinstance(thrown.exception, ValueError)
    assert isinstance(killed.value, gevent.GreenletExit)
    gevent.sleep(3600)
    assert len(woken) == 4
    assert loop._keeping == kept


@pytest.mark.virtual_time
def test_a_sleeper_is_woken_by_nobody_else():
    """A stray switch into it is an error there, as gevent has it, and the rest of the sleep is forgotten."""
    import gevent
    import greenlet

    def sleeper():
        try:
            gevent.sleep(10)
        except gevent.exceptions.InvalidSwitchError as error:
            return str(error)

    gevent.sleep(1)
    kept = gevent.get_hub().loop._keeping
    stray = gevent.spawn(sleeper)
    gevent.sleep(1)
    gevent.get_hub().loop.run_callback(greenlet.greenlet.switch, stray, "boo")
    gevent.sleep(1)
    assert stray.value == "Invalid switch into a sleep: got 'boo'"
    assert gevent.get_hub().loop._keeping == kept


@pytest.mark.virtual_time
def test_a_sleep_without_reference_does_not_keep_the_loop_running():
    """``ref=False`` is gevent's own: with nothing else left, nobody is waited for."""
    import gevent

    asleep = gevent.spawn(gevent.sleep, 5, ref=False)
    with pytest.raises(gevent.exceptions.LoopExit):
        asleep.join()


@pytest.mark.virtual_time
def test_a_timeout_fires_at_its_instant():
    """gevent.Timeout ends a wait without end after its seconds."""
    import gevent
    from gevent.event import Event

    before = time.monotonic_ns()
    with pytest.raises(gevent.Timeout), gevent.Timeout(5):
        Event().wait()
    assert time.monotonic_ns() - before == 5_000_000_000


@pytest.mark.virtual_time
def test_waits_of_the_standard_library_time_out():
    """Event, Condition, Lock, Queue and Thread.join wait their timeout in virtual time."""
    before = time.monotonic_ns()
    assert not threading.Event().wait(10)
    condition, lock = threading.Condition(), threading.Lock()
    with condition:
        assert not condition.wait(3)
    lock.acquire()
    assert not lock.acquire(timeout=4)
    with pytest.raises(queue.Empty):
        queue.Queue().get(timeout=7)
    thread = threading.Thread(target=time.sleep, args=(50,))
    thread.start()
    thread.join(20)
    assert thread.is_alive()
    assert time.monotonic_ns() - before == 44_000_000_000
    thread.join()
    assert time.monotonic_ns() - before == 74_000_000_000


@pytest.mark.virtual_time
def test_a_threading_timer_fires():
    """threading.Timer calls its function when it is due."""
    before, fired = time.monotonic_ns(), []
    timer = threading.Timer(100, lambda: fired.append(time.monotonic_ns() - before))
    timer.start()
    timer.join()
    assert fired == [100_000_000_000]


@pytest.mark.virtual_time
def test_nothing_left_to_wait_for_is_a_loop_exit():
    """A wait that nothing can end raises LoopExit at once."""
    from gevent.event import Event
    from gevent.exceptions import LoopExit

    before = time.monotonic_ns()
    with pytest.raises(LoopExit):
        Event().wait()
    assert time.monotonic_ns() == before


@pytest.mark.virtual_time
def test_unreferenced_timers_do_not_keep_the_loop_running():
    """With nothing but unreferenced timers left, the loop ends and they do not fire."""
    import gevent
    from gevent.event import Event
    from gevent.exceptions import LoopExit

    fired = []
    with gevent.get_hub().loop.timer(5, ref=False) as timer:
        timer.start(fired.append, 1)
        with pytest.raises(LoopExit):
            Event().wait()
        assert fired == []
        gevent.sleep(6)
        assert fired == [1]


@pytest.mark.virtual_time
def test_a_timer_can_be_unreferenced_while_it_waits():
    """``ref`` counts from the moment it is set, in either direction."""
    import gevent
    from gevent.event import Event
    from gevent.exceptions import LoopExit

    woken = Event()
    timer = gevent.get_hub().loop.timer(5)
    timer.start(woken.set)
    timer.ref = False
    with pytest.raises(LoopExit):
        woken.wait()
    timer.ref = True
    assert woken.wait()
    timer.stop()
    with pytest.raises(LoopExit):
        Event().wait()


@pytest.mark.virtual_time
def test_hub_join_gives_up_after_its_timeout():
    """hub.join waits with an unreferenced timer: it returns True when all is done, False when time is up."""
    import gevent

    hub = gevent.get_hub()
    before = time.monotonic_ns()
    assert hub.join(timeout=5)
    assert time.monotonic_ns() == before
    sleeper = gevent.spawn(gevent.sleep, 8)
    assert not hub.join(timeout=5)
    assert time.monotonic_ns() - before == 5_000_000_000
    sleeper.join()
    assert time.monotonic_ns() - before == 8_000_000_000


@pytest.mark.virtual_time
def test_a_failing_timer_leaves_the_others_alone():
    """A callback that raises is reported, and timers before, with and after it fire all the same."""
    import gevent

    hub, fired, reported = gevent.get_hub(), [], []
    hub.exception_stream, stream = None, hub.exception_stream
    hub.handle_error = lambda context, kind, value, tb: reported.append((type(context).__name__, kind))
    timers = [hub.loop.timer(after) for after in (1, 2, 2, 3)]
    timers[0].start(fired.append, 1)
    timers[1].start(lambda: 1 / 0)
    timers[2].start(fired.append, 2)
    timers[3].start(fired.append, 3)
    gevent.sleep(4)
    del hub.handle_error
    hub.exception_stream = stream
    assert fired == [1, 2, 3]
    assert reported == [("VirtualTimer", ZeroDivisionError)]


@pytest.mark.virtual_time
def test_equal_instants_fire_in_the_order_they_were_asked_for():
    """Greenlets due at one instant wake first come first served, however long they have slept."""
    import gevent

    order = []

    def sleeper(name, first, second):
        gevent.sleep(first)
        gevent.sleep(second)
        order.append(name)

    gevent.joinall([gevent.spawn(sleeper, "abc"[i], (3, 1, 2)[i], (2, 4, 3)[i]) for i in range(3)])
    assert order == ["b", "c", "a"]  # of the second sleep, b's began first


@pytest.mark.virtual_time
def test_what_happens_at_the_instant_of_a_timeout_wins():
    """A sleep due at the very instant of a timeout that was set before it ends normally."""
    import gevent

    with gevent.Timeout(5):
        gevent.sleep(5)
    before = time.monotonic_ns()
    with pytest.raises(gevent.Timeout), gevent.Timeout(5):
        gevent.sleep(5.000000001)
    assert time.monotonic_ns() - before == 5_000_000_000


@pytest.mark.virtual_time
def test_one_timer_comes_to_rest_before_the_next_fires():
    """What a timer sets going, over several turns of the loop, is done before the next timer due then."""
    import gevent

    seen = []

    def chain(name):
        gevent.sleep(1)
        for turn in range(3):
            gevent.sleep(0)
            seen.append((name, turn))

    gevent.joinall([gevent.spawn(chain, name) for name in "ab"])
    assert seen == [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("b", 2)]


@pytest.mark.virtual_time
def test_sleeps_to_one_instant_share_a_turn_of_the_loop_while_nothing_is_set_going():
    """Who only computes wakes in the same; who writes to a socket is answered first; timeouts have a turn of
    their own."""
    import gevent
    import gevent.socket

    loop = gevent.get_hub().loop
    near, far = gevent.socket.socketpair()
    told = []

    def wake(name):
        gevent.sleep(1)
        told.append((name, loop.iteration))
        if name == "writes":
            near.sendall(b"x")
        gevent.sleep(1)

    def read():
        far.recv(1)
        told.append(("read", loop.iteration))

    reader = gevent.spawn(read)
    with loop.timer(1, priority=-1) as late:
        late.start(lambda: told.append(("late", loop.iteration)))
        gevent.joinall([*(gevent.spawn(wake, name) for name in ("a", "b", "writes", "c", "d")), reader])
    near.close()
    far.close()
    assert [name for name, _ in told] == ["a", "b", "writes", "read", "c", "d", "late"]
    turns = dict(told)
    assert (
        turns["a"]
        == turns["b"]
        == turns["writes"]
        < turns["read"]
        <= turns["c"]
        == turns["d"]
        < turns["late"]
    )


@pytest.mark.virtual_time
def test_a_repeating_timer_keeps_its_period():
    """It fires after its delay and then every period, until it is stopped, also when it raises."""
    import gevent

    hub, before, seen = gevent.get_hub(), time.monotonic_ns(), []
    hub.exception_stream, stream = None, hub.exception_stream

    def fire():
        seen.append((time.monotonic_ns() - before) / 1e9)
        raise LookupError

    with hub.loop.timer(1, 0.1) as timer:
        timer.start(fire)
        gevent.sleep(1.25)
        assert timer.active
        timer.again(fire)
        gevent.sleep(0.25)
        timer.stop()
        assert not timer.active
        gevent.sleep(5)
    hub.exception_stream = stream
    assert seen == [1.0, 1.1, 1.2, 1.35, 1.45]


@pytest.mark.virtual_time
def test_timers_start_again_and_stop_as_in_libev():
    """Starting an active timer keeps its instant, ``again`` without a period stops it, stopped is silent."""
    import gevent

    loop, before, seen = gevent.get_hub().loop, time.monotonic_ns(), []
    timer = loop.timer(5)
    assert not timer.active
    timer.start(seen.append, "first")
    assert (timer.active, timer.pending) == (True, False)
    gevent.sleep(3)
    timer.start(seen.append, "second", update=True)
    gevent.sleep(2.5)
    assert seen == ["second"]
    assert (timer.active, timer.callback, timer.args) == (False, None, None)
    timer.start(seen.append, "third")
    timer.again(seen.append, "fourth")
    assert not timer.active
    timer.start(seen.append, "fifth")
    timer.close()
    gevent.sleep(20)
    assert seen == ["second"]
    assert time.monotonic_ns() - before == 25_500_000_000
    with pytest.raises(TypeError, match="Expected callable"):
        timer.start(None)
    with pytest.raises(ValueError, match="repeat must be positive or zero: -1"):
        loop.timer(1, -1)


@pytest.mark.virtual_time
def test_cancelled_timers_are_forgotten():
    """50,000 timeouts that never come true neither stay in memory nor move time."""
    import gevent

    before = time.monotonic_ns()
    gevent.sleep(1)
    for _ in range(50_000):
        with gevent.Timeout(3600):
            pass
    assert len(gevent.get_hub().loop._heap) < 2000
    gevent.sleep(1)
    assert time.monotonic_ns() - before == 2_000_000_000


@pytest.mark.virtual_time
def test_the_loop_tells_virtual_time():
    """loop.now() is the wall time in virtual seconds."""
    import gevent

    assert gevent.get_hub().loop.now() == time.time()


@pytest.mark.virtual_time
def test_work_in_the_pool_takes_no_virtual_time():
    """While a thread of the pool works, no timeout comes true; timers go on afterwards."""
    import gevent

    reading, writing = os.pipe()
    before = time.monotonic_ns()
    real_reader = gevent.get_hub().threadpool.spawn(os.read, reading, 1)
    held = virtual.stats.held_s  # noqa: F821
    with gevent.Timeout(1):
        # Only another real thread can end the read: nothing in this one moves while time is held.
        gevent.get_hub().threadpool.apply(_write_later, (writing,))
        assert real_reader.get() == b"x"
    assert time.monotonic_ns() == before
    assert virtual.stats.held_s - held > 0  # noqa: F821
    gevent.sleep(1)
    assert time.monotonic_ns() - before == 1_000_000_000
    os.close(reading)
    os.close(writing)


def _write_later(writing: int) -> None:
    from quotalab.clock.real import real_sleep

    real_sleep(0.05)
    os.write(writing, b"x")


@pytest.mark.virtual_time
def test_an_error_in_the_pool_releases_time():
    """A job that raises gives its error to the waiter, and time passes again."""
    import gevent

    hub = gevent.get_hub()
    hub.exception_stream, stream = None, hub.exception_stream
    with pytest.raises(ZeroDivisionError):
        hub.threadpool.apply(lambda: 1 / 0)
    hub.exception_stream = stream
    before = time.monotonic_ns()
    gevent.sleep(1)
    assert time.monotonic_ns() - before == 1_000_000_000


@pytest.mark.virtual_time
def test_worker_threads_have_the_stock_loop():
    """A thread of the pool that uses gevent gets gevent's own loop, in real time."""
    import gevent

    names = gevent.get_hub().threadpool.apply(lambda: type(gevent.get_hub().loop).__module__)
    assert names == "gevent.libev.corecext"
    assert type(gevent.get_hub().loop).__module__ == "quotalab.clock.loop"


@pytest.mark.virtual_time
def test_time_stands_still_while_it_is_held():
    """Sleepers stay asleep through a hold and wake afterwards; holds nest; release takes the latest."""
    import gevent

    before = time.monotonic_ns()
    sleeper = gevent.spawn(gevent.sleep, 1)
    with virtual.held("the outer world"):  # noqa: F821
        inner = virtual.hold("the inner world")  # noqa: F821
        gevent.get_hub().threadpool.apply(len, ((),))
        assert not sleeper.ready()
        virtual.release(inner)  # noqa: F821
        virtual.release(inner)  # noqa: F821 - twice is once
        virtual.hold("again")  # noqa: F821
        virtual.release()  # noqa: F821
        gevent.sleep(0)
        assert not sleeper.ready()
        assert time.monotonic_ns() == before
    sleeper.join()
    assert time.monotonic_ns() - before == 1_000_000_000


@pytest.mark.virtual_time
def test_names_are_looked_up_without_a_false_timeout():
    """getaddrinfo takes no virtual time."""
    import gevent

    before = time.monotonic_ns()
    with gevent.Timeout(1):
        assert socket.getaddrinfo("127.0.0.1", 80)[0][4] == ("127.0.0.1", 80)
        assert socket.getaddrinfo("localhost", 80)
    assert time.monotonic_ns() == before


@pytest.mark.virtual_time
def test_asyncio_sleeps_virtually_in_a_greenlet():
    """A stock asyncio loop waits, times out and gathers in virtual time."""
    import asyncio

    import gevent

    async def wait():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 30)
        await asyncio.gather(*(asyncio.sleep(60) for _ in range(10)))
        return time.monotonic_ns()

    before = time.monotonic_ns()
    after = gevent.spawn(asyncio.run, wait()).get()
    # asyncio counts in floats of seconds.
    assert after - before == pytest.approx(90_000_000_000, abs=1_000_000)


@pytest.mark.virtual_time
def test_an_endless_sleep_ends_with_the_calendar():
    """A sleep of infinite length is no error, and leaves an instant that a datetime can tell."""
    import gevent

    sleeper = gevent.spawn(gevent.sleep, float("inf"))
    gevent.sleep(1)
    assert not sleeper.ready()
    sleeper.kill()
