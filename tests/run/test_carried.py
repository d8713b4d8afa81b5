"""The operation that something is done for is known wherever an app does it."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
if sys.argv[1] == "virtual":
    from quotalab.clock.virtual import install
    install(0, 1)
else:
    from gevent import monkey
    monkey.patch_all()
import contextvars, gevent, gevent.pool, threading
from concurrent.futures import ThreadPoolExecutor
from quotalab.clock.carried import CarriedContext

operation = contextvars.ContextVar("operation", default=None)
workers = ThreadPoolExecutor(2)
carried = CarriedContext() if sys.argv[2] == "carried" else None

def thread(job):
    told = []
    started = threading.Thread(target=lambda: told.append(job()))
    started.start()
    started.join()
    return told[0]

WAYS = {
    "spawn": lambda job: gevent.spawn(job).get(),
    "spawn_later": lambda job: gevent.spawn_later(1e-3, job).get(),
    "group": lambda job: gevent.pool.Pool(2).spawn(job).get(),
    "map": lambda job: gevent.pool.Pool(2).map(lambda _: job(), [1])[0],
    "thread": thread,
    "executor": lambda job: workers.submit(job).result(),
    "native": lambda job: gevent.get_hub().threadpool.apply(job),
}

def ask(number):
    operation.set(number)
    return [name for name, way in WAYS.items() if way(operation.get) == number]

def ends(*numbers):
    return [greenlet.get() for greenlet in [gevent.spawn(ask, number) for number in numbers]]

first, *others = ends(1, 2, 3)
assert others == [first, first], others
print(*first)
if carried:
    carried.restore()
    print(*ends(4)[0])
"""
WAYS = ["spawn", "spawn_later", "group", "map", "thread", "executor", "native"]


def ways(*arguments: str) -> list[list[str]]:
    """In which ways a job was given away and still knew its operation."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CODE, *arguments], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.parametrize("clock", ["virtual", "real"])
def test_jobs_given_away_keep_their_operation(clock):
    """Greenlets, threads and pools' jobs see the operation of whoever gave them away, until restored."""
    assert ways(clock, "carried") == [WAYS, []]


def test_without_it_they_would_not():
    """The control: gevent itself hands no context on."""
    assert ways("virtual", "alone") == [[]]
