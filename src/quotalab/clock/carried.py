"""Context variables go along into greenlets, threads and pools.

What an app does for an operation it may do in a thread or a pool; without this its calls could not be told
from calls that nobody asked for. Python hands the context on to asyncio tasks only. Wrapped are
``gevent.spawn``, gevent's groups and pools, ``threading.Thread``, and the jobs of ``ThreadPoolExecutor`` and
of gevent's thread pool. Work queues are not: what a worker takes out of one is done in the context in which
the worker was started. Nor is code that took ``gevent.Greenlet`` itself, or ``spawn`` before a run.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import gevent
import gevent.pool
import gevent.thread
import gevent.threadpool

__all__ = ["CarriedContext"]


class _Carrying(gevent.Greenlet):  # type: ignore[misc]
    """A greenlet that begins in the context of whoever makes it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gr_context = copy_context()


class CarriedContext:
    """In force from its making until :meth:`restore`."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []
        self._put(gevent, "spawn", _Carrying.spawn)
        self._put(gevent, "spawn_later", _Carrying.spawn_later)
        self._put(gevent.pool, "Greenlet", _Carrying)
        self._put(gevent.pool.Group, "greenlet_class", _Carrying)
        self._put(gevent.thread, "Greenlet", _Carrying)
        for pool, name in ((ThreadPoolExecutor, "submit"), (gevent.threadpool.ThreadPool, "spawn")):
            self._put(pool, name, _carrying(getattr(pool, name)))

    def restore(self) -> None:
        """Leave them as they were."""
        while self._before:
            owner, name, value = self._before.pop()
            setattr(owner, name, value)

    def _put(self, owner: Any, name: str, value: Any) -> None:
        self._before.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)


def _carrying(give: Callable[..., Any]) -> Callable[..., Any]:
    """A pool's way to be given a job, which does it in the giver's context."""

    def carrying(pool: Any, job: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return give(pool, copy_context().run, job, *args, **kwargs)

    return carrying
