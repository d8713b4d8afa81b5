"""Every clock of the process, also for modules that imported them before they were patched."""

import datetime
import os
import tempfile
import time
from datetime import date as early_date
from datetime import datetime as early_datetime
from time import clock_gettime as early_clock_gettime
from time import monotonic as early_monotonic
from time import perf_counter_ns as early_perf_counter_ns
from time import process_time as early_process_time
from time import time as early_time
from time import time_ns as early_time_ns

import pytest

TUESDAY = 1_767_657_600


@pytest.mark.virtual_time
def test_clocks_start_where_they_are_told():
    """The wall starts at the given instant, monotonic clocks at an origin that is not 0."""
    assert time.time_ns() == 1_767_571_200_000_000_000
    assert time.monotonic_ns() == time.perf_counter_ns() == 1_000_000_000_000
    time.sleep(86_400)


@pytest.mark.virtual_time
def test_walls_tell_virtual_time():
    """All functions of time that read the wall agree."""
    assert time.time() == early_time() == TUESDAY
    assert time.time_ns() == early_time_ns() == TUESDAY * 10**9
    assert time.clock_gettime(time.CLOCK_REALTIME) == early_clock_gettime(0) == TUESDAY
    assert time.clock_gettime_ns(time.CLOCK_TAI) == TUESDAY * 10**9
    assert time.gmtime()[:6] == (2026, 1, 6, 0, 0, 0)
    assert time.mktime(time.localtime()) == TUESDAY
    assert time.strftime("%Y") == "2026"
    assert time.ctime() == time.ctime(None) == time.ctime(TUESDAY) == time.asctime()
    assert time.ctime(0)[-4:] in ("1969", "1970")
    assert time.asctime(time.gmtime(0)) == "Thu Jan  1 00:00:00 1970"


@pytest.mark.virtual_time
def test_monotonic_clocks_tell_virtual_time():
    """All monotonic clocks agree, under every name and number."""
    assert time.monotonic() == early_monotonic() == time.perf_counter() == 87_400.0
    assert time.perf_counter_ns() == early_perf_counter_ns() == 87_400_000_000_000
    for clock in (time.CLOCK_MONOTONIC, time.CLOCK_MONOTONIC_RAW, time.CLOCK_BOOTTIME, 6):
        assert time.clock_gettime(clock) == 87_400.0
        assert time.clock_gettime_ns(clock) == 87_400_000_000_000


@pytest.mark.virtual_time
def test_dates_tell_virtual_time():
    """datetime.now, utcnow, today and date.today agree, also when imported early."""
    aware = datetime.datetime(2026, 1, 6, tzinfo=datetime.UTC)
    assert datetime.datetime.now(datetime.UTC) == early_datetime.now(tz=datetime.UTC) == aware
    assert datetime.datetime.now().timestamp() == datetime.datetime.today().timestamp() == TUESDAY
    assert early_date.today() == datetime.date.fromtimestamp(TUESDAY)


@pytest.mark.virtual_time
def test_fractions_are_exact():
    """A float of seconds is the nearest one to the nanoseconds, and datetime has the microseconds."""
    time.sleep(0.123456789)
    assert time.time_ns() == TUESDAY * 10**9 + 123_456_789
    assert time.time() == (TUESDAY * 10**9 + 123_456_789) / 10**9
    assert time.monotonic() == 87_400.123456789
    assert datetime.datetime.now(datetime.UTC).microsecond == 123_456


@pytest.mark.virtual_time
def test_processor_time_stays_real():
    """Clocks of used processor time count what the process really uses."""
    before = early_process_time(), time.thread_time(), time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID)
    sum(range(1_000_000))
    after = time.process_time(), time.thread_time(), time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID)
    assert all(earlier < later < earlier + 60 for earlier, later in zip(before, after, strict=True))


@pytest.mark.virtual_time
def test_the_real_clock_stays_real():
    """RealClock still reads the machine's own time, which has not moved by the day that was slept."""
    from quotalab.clock import RealClock

    clock = RealClock()
    with tempfile.TemporaryFile() as file:  # the kernel stamps files with the real time
        assert abs(clock.now_ns() - os.fstat(file.fileno()).st_mtime_ns) < 60 * 10**9
    before = clock.monotonic_ns()
    time.sleep(86_400)
    assert clock.monotonic_ns() - before < 60 * 10**9


@pytest.mark.virtual_time
def test_threads_read_virtual_time():
    """A real thread of the pool reads the same virtual clocks."""
    import gevent

    read = gevent.get_hub().threadpool.apply(lambda: (time.time_ns(), time.monotonic_ns()))
    assert read == (time.time_ns(), time.monotonic_ns())


@pytest.mark.virtual_time
def test_a_method_is_no_method_of_a_class_that_keeps_a_clock():
    """A clock kept as a class attribute is called without self, like the C function that it is."""

    class Limiter:
        clock = time.monotonic

    assert Limiter().clock() == time.monotonic()


@pytest.mark.virtual_time
def test_wrong_arguments_are_still_refused():
    """A clock called wrongly raises TypeError, as it always does."""
    with pytest.raises(TypeError):
        time.monotonic(1)
    with pytest.raises(TypeError):
        time.clock_gettime("x")
    with pytest.raises(OSError, match="Invalid argument"):
        time.clock_gettime(99)


DRAWS = """\
import os, random, secrets, tempfile, uuid
with install(START_NS, {seed}) as virtual:
    import gevent
    print(random.random(), random.Random().random(), random.SystemRandom().random(), os.urandom(4).hex())
    print(secrets.token_hex(8), uuid.uuid4(), uuid.uuid1().time, secrets.choice(range(10**9)))
    greenlets = [gevent.spawn_later(random.random(), random.random) for _ in range(5)]
    print([greenlet.get() for greenlet in greenlets], virtual.clock)
    try:
        os.urandom(-1)
    except ValueError as error:
        print(error)
print(os.urandom(8), random.random(), random.Random().random(), secrets.token_hex(8))
"""


def test_processes_draw_the_same(run):
    """random, secrets, urandom and uuid repeat from the seed, not from the hash seed, until restored."""
    one, again, other = (run(DRAWS.format(seed=s), hash_seed=h) for s, h in ((5, "1"), (5, "2"), (6, "1")))
    assert one.said == ""
    assert len(one.lines) == 5
    assert one.lines[:4] == again.lines[:4]
    assert one.lines[3] == "negative argument not allowed"
    assert one.lines[4] != again.lines[4]
    assert all(mine != theirs for mine, theirs in zip(one.lines[:3], other.lines[:3], strict=True))
