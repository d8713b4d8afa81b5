"""An app's own threads, pools, schedulers and asyncio tasks live in virtual time."""

import queue
import select
import selectors
import socket
import threading
import time

import pytest

S = 1_000_000_000


def elapsed(what, *arguments):
    """Virtual nanoseconds that a call takes, and what it returns."""
    before = time.monotonic_ns()
    result = what(*arguments)
    return time.monotonic_ns() - before, result


@pytest.mark.virtual_time
def test_asyncio_tasks_and_timers_come_due_when_they_should():
    """sleep, call_later, call_at, wait_for and timeout end within a microsecond of a day's instants."""
    import asyncio

    due = []

    async def main():
        loop = asyncio.get_running_loop()
        began = loop.time()
        loop.call_later(3600, lambda: due.append(loop.time() - began))
        loop.call_at(began + 7200, lambda: due.append(loop.time() - began))
        task = asyncio.create_task(asyncio.sleep(86_400, "slept"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 1800)
        due.append(loop.time() - began)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(300):
                await asyncio.Queue().get()
        assert await task == "slept"
        return loop.time() - began

    took_ns, told_s = elapsed(asyncio.run, main())
    assert due == pytest.approx([1800, 3600, 7200], abs=1e-6)
    assert took_ns == pytest.approx(86_400 * S, abs=1000)
    assert told_s == pytest.approx(86_400, abs=1e-6)


@pytest.mark.virtual_time
def test_each_greenlet_may_run_an_asyncio_loop_of_its_own():
    """Twenty loops run side by side; each knows itself, also after a call in it that blocks its greenlet."""
    import asyncio

    import gevent

    async def main(number):
        mine = asyncio.get_running_loop()
        for turn in range(5):
            await asyncio.sleep(1 + number / 100)
            assert asyncio.get_running_loop() is mine
            time.sleep(0.25 + turn / 10)  # as careless apps do
            assert asyncio.get_running_loop() is mine
            assert asyncio.Future().get_loop() is mine
            assert asyncio.current_task().get_loop() is mine
        return number

    def outside():
        for _ in range(20):
            time.sleep(0.3)
            with pytest.raises(RuntimeError, match="no running event loop"):
                asyncio.get_running_loop()

    before = time.monotonic_ns()
    others = [gevent.spawn(outside), threading.Thread(target=outside)]
    others[1].start()
    loops = [gevent.spawn(asyncio.run, main(number)) for number in range(20)]
    assert [loop.get() for loop in loops] == list(range(20))
    for other in others:
        other.join()
    assert time.monotonic_ns() - before == pytest.approx(int(5 * 1.19 * S + 2.25 * S), abs=1000)


@pytest.mark.virtual_time
def test_asyncio_work_in_threads_takes_the_time_it_sleeps():
    """to_thread and run_in_executor run side by side with the loop, in virtual time."""
    import asyncio

    async def main():
        await asyncio.gather(
            asyncio.to_thread(time.sleep, 3600),
            asyncio.get_running_loop().run_in_executor(None, time.sleep, 1800),
            asyncio.sleep(900),
        )

    took_ns, _ = elapsed(asyncio.run, main())
    assert took_ns == pytest.approx(3600 * S, abs=1000)


@pytest.mark.virtual_time
def test_a_thread_may_call_into_an_asyncio_loop():
    """run_coroutine_threadsafe from another greenlet wakes the loop at once and gets its result."""
    import asyncio

    import gevent

    loop = asyncio.new_event_loop()
    running = threading.Thread(target=loop.run_forever)
    running.start()
    gevent.sleep(5)
    took_ns, result = elapsed(
        lambda: asyncio.run_coroutine_threadsafe(asyncio.sleep(60, "there"), loop).result(timeout=100)
    )
    assert (result, took_ns) == ("there", pytest.approx(60 * S, abs=1000))
    loop.call_soon_threadsafe(loop.stop)
    running.join()
    loop.close()


@pytest.mark.virtual_time
def test_asyncio_streams_over_loopback_take_no_time():
    """A server and a client of asyncio exchange 5 MB while a timer waits, all at one instant."""
    import asyncio

    async def echo(reader, writer):
        writer.write(await reader.readexactly(5_000_000))
        await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        async with asyncio.timeout(1):
            writer.write(b"x" * 5_000_000)
            await writer.drain()
            assert len(await reader.read(-1)) == 5_000_000
        writer.close()
        server.close()

    took_ns, _ = elapsed(asyncio.run, main())
    assert took_ns == 0


@pytest.mark.virtual_time
def test_a_thread_pool_works_in_virtual_time():
    """Four workers do eight jobs of an hour in two hours; results time out in virtual time."""
    from concurrent.futures import ThreadPoolExecutor, wait

    before = time.monotonic_ns()
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(time.sleep, 3600) for _ in range(8)]
        with pytest.raises(TimeoutError):
            jobs[0].result(timeout=600)
        done, left = wait(jobs, timeout=3600)
        assert (len(done), len(left)) == (4, 4)
    assert time.monotonic_ns() - before == 7200 * S


@pytest.mark.virtual_time
def test_a_pool_of_multiprocessing_threads_works_in_virtual_time():
    """multiprocessing's ThreadPool, whose handlers poll, too."""
    from multiprocessing.pool import ThreadPool

    with ThreadPool(2) as pool:
        took_ns, _ = elapsed(pool.map, time.sleep, [3600, 3600, 1800, 1800])
    assert 5400 * S <= took_ns < 5401 * S


@pytest.mark.virtual_time
def test_threading_primitives_wait_in_virtual_time():
    """Timer, Barrier, Semaphore, Event and Thread.join come true or time out at their instants."""
    fired = []
    timer = threading.Timer(3600, lambda: fired.append(time.monotonic_ns()))
    before = time.monotonic_ns()
    timer.start()
    assert elapsed(threading.Event().wait, 600) == (600 * S, False)
    semaphore = threading.Semaphore(0)
    assert elapsed(lambda: semaphore.acquire(timeout=60)) == (60 * S, False)
    barrier = threading.Barrier(2)
    took_ns, broken = elapsed(_wait_at, barrier, 90)
    assert (took_ns, broken) == (90 * S, True)
    assert elapsed(timer.join)[0] == (3600 - 750) * S
    assert fired == [before + 3600 * S]


def _wait_at(barrier, timeout_s):
    try:
        barrier.wait(timeout_s)
    except threading.BrokenBarrierError:
        return True
    return False


@pytest.mark.virtual_time
def test_queues_time_out_in_virtual_time():
    """Queue, LifoQueue, PriorityQueue and SimpleQueue: get and put wait for as long as they may."""
    for kind in (queue.Queue, queue.LifoQueue, queue.PriorityQueue, queue.SimpleQueue):
        took_ns, error = elapsed(_error_of, lambda kind=kind: kind().get(timeout=3600))
        assert (took_ns, error) == (3600 * S, queue.Empty)
    full = queue.Queue(1)
    full.put(1)
    assert elapsed(_error_of, lambda: full.put(2, timeout=1800)) == (1800 * S, queue.Full)


def _error_of(call):
    try:
        call()
    except Exception as error:
        return type(error)
    return None


@pytest.mark.virtual_time
def test_select_poll_and_selectors_follow_virtual_time():
    """With nothing to read they time out in virtual time; what is there is found without any passing.

    The first two come back a nanosecond past their deadline, for the sake of loops that wait for that.
    """
    mine, other = socket.socketpair()
    with mine, other, selectors.DefaultSelector() as selector:
        selector.register(mine, selectors.EVENT_READ)
        poll = select.poll()
        poll.register(mine, select.POLLIN)
        waits = [
            (lambda: select.select([mine], [], [], 60)[0], 60 * S + 1),
            (lambda: poll.poll(60_000), 60 * S + 1),
            (lambda: selector.select(60), 60 * S),
        ]
        for wait, takes_ns in waits:
            assert elapsed(wait) == (takes_ns, [])
        other.send(b"x")
        for wait, _ in waits:
            took_ns, found = elapsed(wait)
            assert (took_ns, len(found)) == (0, 1)
        mine.settimeout(5)
        assert mine.recv(1) == b"x"
        took_ns, error = elapsed(_error_of, lambda: mine.recv(1))
        assert (took_ns, error) == (5 * S, TimeoutError)


@pytest.mark.virtual_time
def test_apscheduler_runs_its_jobs_when_they_are_due():
    """A background scheduler's interval and cron jobs run at the instants of the virtual calendar."""
    from datetime import UTC, datetime

    from apscheduler.schedulers.background import BackgroundScheduler

    scheduler = BackgroundScheduler(timezone="UTC")
    begun = datetime.now(UTC)
    every, daily = [], []
    scheduler.add_job(lambda: every.append(datetime.now(UTC)), "interval", hours=1)
    scheduler.add_job(lambda: daily.append(datetime.now(UTC)), "cron", hour=3, minute=30)
    scheduler.start()
    time.sleep(86_400 + 60)
    scheduler.shutdown()
    assert [round((at - begun).total_seconds()) for at in every] == [3600 * n for n in range(1, 25)]
    assert [(at.hour, at.minute, at.second) for at in daily] == [(3, 30, 0)]


@pytest.mark.virtual_time
def test_apscheduler_on_asyncio_runs_its_jobs_when_they_are_due():
    """So does its scheduler for asyncio."""
    import asyncio

    from apscheduler.schedulers.asyncio import AsyncIOScheduler

    ran = []

    async def main():
        scheduler = AsyncIOScheduler(timezone="UTC")
        began_ns = time.monotonic_ns()
        scheduler.add_job(lambda: ran.append(time.monotonic_ns() - began_ns), "interval", minutes=10)
        scheduler.start()
        await asyncio.sleep(3601)
        scheduler.shutdown()

    asyncio.run(main())
    assert [round(at / S) for at in ran] == [600 * n for n in range(1, 7)]


@pytest.mark.virtual_time
def test_the_schedule_of_the_standard_library_keeps_virtual_time():
    """sched's events fire at their instants."""
    import sched

    fired = []
    scheduler = sched.scheduler()
    for hours in (2, 1, 24):
        scheduler.enter(hours * 3600, 1, lambda: fired.append(time.monotonic_ns()))
    before = time.monotonic_ns()
    scheduler.run()
    assert [at - before for at in fired] == [hours * 3600 * S for hours in (1, 2, 24)]
