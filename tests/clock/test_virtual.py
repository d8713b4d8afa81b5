"""Installing virtual time, and taking it out again."""


def test_a_restored_process_lives_in_real_time(run):
    """After the block clocks, timers, sockets, children and threads are real; the run's sleepers sleep on."""
    done = run("""
        import os, random, subprocess, threading, time
        from datetime import datetime
        real = time.time()
        originals = os.urandom, random._urandom, random.Random.seed, repr(time.monotonic)
        with install(START_NS, 1) as virtual:
            import gevent, gevent.socket
            sleeper = gevent.spawn(time.sleep, 0.001)
            time.sleep(0.0005)
        print(virtual)
        print(0 <= time.time() - real < 60, abs(time.monotonic() - 1000) > 1e-3, datetime.now().year < 2100)
        print((os.urandom, random._urandom, random.Random.seed, repr(time.monotonic)) == originals)
        print([function.__module__ for function in (
            gevent.socket.socket.__init__, gevent.socket.socket.send, subprocess.Popen.wait)])
        before = time.monotonic()
        time.sleep(0.01)
        print(time.monotonic() - before >= 0.01, gevent.get_hub().loop.now() > real - 1)
        results = []
        threads = [threading.Thread(target=results.append, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        print(sorted(results), subprocess.check_output(["echo", "out"], timeout=60))
        print(gevent.get_hub().threadpool.apply(len, ("four",)))
        try:
            with gevent.Timeout(0.01):
                threading.Event().wait()
        except gevent.Timeout:
            print("timeout")
        print(sleeper.ready(), virtual.clock, virtual.fault)
        virtual.restore()
        print(virtual.hold("nothing"), virtual.stats.jumps)
        for _ in range(10):
            virtual.clock.now_ns()
    """)
    assert done.said == ""
    assert done.lines == [
        "<VirtualTime 2026-01-05T00:00:00.000500000Z, restored>",
        "True True True",
        "True",
        "['gevent._socket3', 'gevent._socketcommon', 'gevent.subprocess']",
        "True True",
        "[0, 1, 2] b'out\\n'",
        "4",
        "timeout",
        "False <VirtualClock 2026-01-05T00:00:00.000500000Z, 0.0005 s after its start> None",
        "<Hold nothing, from <string>:36 in <module>> 1",
    ]


def test_errors_of_the_block_pass_through(run):
    """An error raised in the block arrives as it is, and the clocks are real by then."""
    done = run("""
        import time
        try:
            with install(START_NS, 1):
                raise LookupError("mine")
        except LookupError as error:
            print(error, time.time_ns() != START_NS)
    """)
    assert (done.lines, done.said) == (["mine True"], "")


def test_wrong_moments_to_install_are_refused(run):
    """After gevent has run, after Locust, in another thread or for an impossible start: one clear sentence."""
    done = run("""
        import threading
        from quotalab.errors import InputError
        def attempt(start=START_NS):
            try:
                install(start, 1)
            except InputError as error:
                print(error)
        attempt(-1)
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
        sys.modules["locust"] = sys
        attempt()
        del sys.modules["locust"]
        import gevent
        gevent.sleep(0)
        attempt()
    """)
    assert done.said == ""
    assert done.lines == [
        "virtual time cannot start at -1 ns: a start is from 1970 to 9999",
        "virtual time must be installed in the main thread",
        "virtual time must be installed before locust is imported",
        "virtual time must be installed, once, before anything in the process uses gevent",
    ]


def test_a_hold_in_another_thread_is_refused(run):
    """Only the thread whose time it is can hold and release it."""
    done = run("""
        from quotalab.errors import InputError
        with install(START_NS, 1) as virtual:
            import gevent
            for call in (lambda: virtual.hold("x"), virtual.release, lambda: virtual.held("x").__enter__()):
                try:
                    gevent.get_hub().threadpool.spawn(call).get()
                except InputError as error:
                    print(error)
            gevent.get_hub().exception_stream = None
    """)
    assert done.lines == [
        "only the main thread can hold time",
        "only the main thread can release time",
        "only the main thread can hold time",
    ]
