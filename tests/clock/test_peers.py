"""Servers in other processes answer in real time: virtual time waits for them, and for nothing else."""

import subprocess
import sys
from textwrap import dedent

import pytest
from tests.needed import RedisServer

# A peer that answers each line after some real time: "0.05 hello" is answered "hello" after 50 ms, in two
# pieces; nothing is answered to a line that is "never".
PEER = """
import socket, sys, threading, time
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
def serve(connection):
    with connection, connection.makefile("rw") as file:
        for line in file:
            wait, _, word = line.strip().partition(" ")
            if wait == "never":
                continue
            time.sleep(float(wait))
            half = len(word) // 2
            for piece in (word[:half], word[half:] + "\\n"):
                file.write(piece)
                file.flush()
                time.sleep(0.0005)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


@pytest.fixture
def peer():
    """The port of a peer in a process of its own."""
    with subprocess.Popen([sys.executable, "-c", PEER], stdout=subprocess.PIPE, text=True) as process:
        yield int(process.stdout.readline())
        process.kill()


ASKING = """
import gevent, socket, time
def connected(timeout=1):
    connection = socket.create_connection(("127.0.0.1", {port}), timeout=timeout)
    return connection, connection.makefile("rw")
def asked(file, line):
    before = time.monotonic_ns()
    file.write(line + "\\n")
    file.flush()
    return file.readline().strip(), time.monotonic_ns() - before
"""


@pytest.mark.full
def test_an_answer_takes_no_virtual_time(run, peer):
    """200 answers that take real time each, with timeouts of 1 s and a busy timer beside: all at once."""
    done = run(
        dedent(ASKING.format(port=peer))
        + dedent("""
        with install(START_NS, 1) as virtual:
            def tick():
                while True:
                    gevent.sleep(0.3)
            gevent.spawn(tick)
            connection, file = connected()
            seen = set()
            for number in range(200):
                gevent.sleep(0.25)
                seen.add(asked(file, f"{0.002 if number % 20 else 0.05} hello"))
            print(seen, virtual.stats.held_s > 0.5)
            file.close()
            connection.close()
        """)
    )
    assert (done.lines, done.said) == (["{('hello', 0)} True"], "")


def test_asyncio_asks_without_virtual_time_too(run, peer):
    """The same through asyncio's streams, for answers of one piece."""
    done = run(f"""
        with install(START_NS, 1) as virtual:
            import asyncio, time
            async def main():
                reader, writer = await asyncio.open_connection("127.0.0.1", {peer})
                seen = set()
                for number in range(50):
                    await asyncio.sleep(0.25)
                    before = time.monotonic_ns()
                    async with asyncio.timeout(0.5):
                        writer.write(b"0.003 x\\n")
                        line = await reader.readline()
                    seen.add((line, time.monotonic_ns() - before))
                writer.close()
                await writer.wait_closed()
                print(seen)
            asyncio.run(main())
            time.sleep(1)  # in which gevent closes what asyncio has
    """)
    assert done.said == ""
    assert done.lines == ["{(b'x\\n', 0)}"]


def test_without_holding_time_would_run_ahead(run, peer):
    """The control: with the holding taken away the same answers come late or not at all."""
    done = run(
        dedent(ASKING.format(port=peer))
        + dedent("""
        with install(START_NS, 1) as virtual:
            virtual._peers.restore()
            connection, file = connected()
            try:
                print(asked(file, "0.05 hello"))
            except TimeoutError:
                print("timed out")
            file.close()
            connection.close()
        """)
    )
    assert done.lines == ["timed out"]


def test_an_idle_connection_holds_nothing(run, peer):
    """While somebody listens on a connection on which nothing is asked, a day passes."""
    done = run(
        dedent(ASKING.format(port=peer))
        + dedent("""
        with install(START_NS, 1) as virtual:
            connection, file = connected(timeout=None)
            asked(file, "0 hello")
            listening = gevent.spawn(file.readline)
            before = time.monotonic_ns()
            gevent.sleep(86_400)
            print(time.monotonic_ns() - before, listening.ready(), virtual.stats.held_s < 5)
            listening.kill()
            file.close()
            connection.close()
        """)
    )
    assert (done.lines, done.said) == (["86400000000000 False True"], "")


def test_a_peer_that_never_answers_is_named(run, peer, tmp_path):
    """The run ends by the watchdog, with the peer and the line that asked it; closed ones hold no longer."""
    file = tmp_path / "app.py"
    file.write_text(
        dedent(ASKING.format(port=peer))
        + dedent("""
        def ask():
            connection, file = connected()
            connection.sendall(b"never\\n")
            file.close()
            connection.close()
            gevent.sleep(1)
            print("closed")
            connection, file = connected()
            connection.sendall(b"never\\n")  # here
            connection.recv(1)
        """)
    )
    done = run(f"""
        from quotalab.errors import HeldTooLongError
        import runpy
        try:
            with install(START_NS, 1, hold_limit_s=0.5):
                app = runpy.run_path({str(file)!r})
                app["gevent"].spawn(app["ask"]).join()
        except HeldTooLongError as error:
            print(error)
    """)
    line = 1 + [line.endswith("# here") for line in file.read_text().splitlines()].index(True)
    assert done.said == ""
    assert done.lines == [
        "closed",
        f"virtual time has been held for 0.5 real seconds by {file}:{line} in ask, which waits for "
        f"127.0.0.1:{peer} to answer; let that end, or allow more (--stall)",
    ]


def test_own_listeners_are_no_outer_peers(run):
    """A server of the same process may take its virtual time, over TCP and over a path."""
    done = run("""
        with install(START_NS, 1) as virtual:
            import gevent, os, socket, tempfile, time
            from gevent.server import StreamServer
            def answer(connection, _):
                connection.recv(1)
                gevent.sleep(3600)
                connection.sendall(b"x")
            with tempfile.TemporaryDirectory() as folder:
                unix = socket.socket(socket.AF_UNIX)
                unix.bind(os.path.join(folder, "door"))
                unix.listen()
                for listener, family in ((("127.0.0.1", 0), socket.AF_INET), (unix, socket.AF_UNIX)):
                    server = StreamServer(listener, answer)
                    server.start()
                    before = time.monotonic_ns()
                    with socket.socket(family) as client:
                        client.connect(server.socket.getsockname())
                        client.send(b"?")
                        client.recv(1)
                    print(time.monotonic_ns() - before)
                    server.stop()
            print(virtual.stats.held_s)
    """)
    assert (done.lines, done.said) == (["3600000000000", "3600000000000", "0.0"], "")


@pytest.fixture
def redis_port(tmp_path):
    """Of a redis-server of the test's own."""
    server = RedisServer(tmp_path)
    yield server.port
    server.kill()


def test_a_real_redis_behind_the_app(run, redis_port):
    """Ten users of redis-py with timeouts of 0.1 s: no false timeout, no virtual time, and idle pools hold none."""
    done = run(f"""
        with install(START_NS, 1) as virtual:
            import gevent, time, redis
            cache = redis.Redis(port={redis_port}, protocol=2, socket_timeout=0.1, socket_connect_timeout=0.1)
            took = set()
            def user(number):
                for turn in range(20):
                    gevent.sleep(0.05 + number / 100)
                    before = time.monotonic_ns()
                    cache.incr("calls")
                    with cache.pipeline() as pipe:
                        pipe.set(f"user {{number}}", b"x" * 50_000).get(f"user {{number}}").execute()
                    took.add(time.monotonic_ns() - before)
            gevent.joinall([gevent.spawn(user, number) for number in range(10)], raise_error=True)
            before = time.monotonic_ns()
            gevent.sleep(86_400)
            print(took, int(cache.get("calls")), time.monotonic_ns() - before)
            cache.close()
    """)
    assert (done.lines, done.said) == (["{0} 200 86400000000000"], "")
