"""Child processes: they live in real time, so time is held while something waits for one.

Held: starting a child, ``Popen.wait`` and ``communicate``, and with them ``subprocess.run``, ``call`` and
``check_output``. Timeouts of these are real seconds, since a virtual one could not come true while time is
held. A child that merely lives holds nothing; a wait without end lets go when it has held time for as long
as a hold may last, so that a child which outlives the run never stops it.

Not held: reading a child's pipes oneself, ``while p.poll() is None: sleep()``, ``os.waitpid`` and
multiprocessing. Put these in ``with virtual.held("..."):``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gevent import getcurrent
from gevent.hub import get_hub
from gevent.libev import corecext
from gevent.subprocess import Popen, TimeoutExpired

from quotalab.clock.frames import caller
from quotalab.clock.loop import VirtualLoop

__all__ = ["HoldingPopen"]


class _Expired(BaseException):
    """Thrown into the greenlet whose real timeout is over."""


class HoldingPopen:
    """``subprocess.Popen`` holds time while it is waited for, until :meth:`restore`."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._before = {name: getattr(Popen, name) for name in ("__init__", "communicate", "wait")}
        init, communicate, wait = (self._before[name] for name in ("__init__", "communicate", "wait"))

        @contextmanager
        def held(reason: str) -> Iterator[None]:
            hold = loop.hold(reason, caller(), yields=True)
            try:
                yield
            finally:
                loop.release(hold)

        def __init__(popen: Any, *args: Any, **kwargs: Any) -> None:
            if get_hub().loop is not loop:
                init(popen, *args, **kwargs)
                return
            with held("a child process to start"):
                init(popen, *args, **kwargs)

        def communicate_held(popen: Any, input: Any = None, timeout: float | None = None) -> Any:
            if popen._loop is not loop:
                return communicate(popen, input, timeout)
            with held(f"child process {popen.pid} to answer"), _real_timeout(loop, popen, timeout):
                return communicate(popen, input)

        def wait_held(popen: Any, timeout: float | None = None, _raise_exc: bool = True) -> Any:
            if popen._loop is not loop or popen.returncode is not None:
                return wait(popen, timeout, _raise_exc)
            try:
                with held(f"child process {popen.pid} to end"), _real_timeout(loop, popen, timeout):
                    return wait(popen)
            except TimeoutExpired:
                if _raise_exc:
                    raise
                return None

        Popen.__init__ = __init__
        Popen.communicate = communicate_held
        Popen.wait = wait_held

    def restore(self) -> None:
        """Leave Popen as gevent makes it."""
        for name, method in self._before.items():
            setattr(Popen, name, method)


@contextmanager
def _real_timeout(loop: VirtualLoop, popen: Any, timeout: float | None) -> Iterator[None]:
    if timeout is None:
        yield
        return
    expired = _Expired()
    timer = corecext.timer(loop, max(timeout, 0.0))
    timer.start(getcurrent().throw, expired, update=True)
    try:
        yield
    except _Expired as error:
        if error is not expired:
            raise
        raise TimeoutExpired(popen.args, timeout) from None
    finally:
        timer.stop()
