"""An ASGI app inside the process, on a stock asyncio loop in a greenlet of its own.

gevent's patches make that loop wait by gevent's selector, so that its sleeps and timeouts follow the run's
time, and what the app's own tasks do goes on between requests, as on a server. uvloop brings a selector of
its own and cannot be used.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import gevent
import httpx
from gevent.event import AsyncResult

from quotalab.errors import ScenarioError
from quotalab.hosting.importing import told

__all__ = ["AsgiHost"]

_T = TypeVar("_T")


class AsgiHost(httpx.BaseTransport):
    """Runs the app, its lifespan included, and carries people's requests to it. Raises `ScenarioError`."""

    def __init__(self, app: Callable[..., Awaitable[None]], name: str) -> None:
        self._app = app
        self._name = name
        self._inner = httpx.ASGITransport(app=app)
        self._loop = asyncio.SelectorEventLoop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._greenlet = gevent.spawn(self._loop.run_forever)
        self._received: asyncio.Queue[dict[str, Any]] | None = None
        self._told: asyncio.Queue[dict[str, Any]] | None = None
        self._lifespan: asyncio.Task[None] | None = None
        try:
            self._call(self._start)
        except BaseException:
            self.close()
            raise

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx; what the app raises is raised here."""
        content = request.read()

        async def answer() -> tuple[httpx.Response, bytes]:
            asked = httpx.Request(request.method, request.url, headers=request.headers, content=content)
            response = await self._inner.handle_async_request(asked)
            assert isinstance(response.stream, httpx.AsyncByteStream)
            return response, b"".join([part async for part in response.stream])

        response, body = self._call(answer)
        return httpx.Response(response.status_code, headers=response.headers, content=body, request=request)

    def close(self) -> None:
        """Let the app shut down by its lifespan, and end the loop; what still runs is cancelled."""
        if self._greenlet.dead:
            return
        try:
            with gevent.Timeout(30, False):
                self._call(self._stop)
        finally:
            self._stop_loop()

    def _call(self, begin: Callable[[], Awaitable[_T]]) -> _T:
        """Run a coroutine in the loop, and wait for it in this greenlet.

        What is set in this greenlet's context is seen by the coroutine.
        """
        result: AsyncResult[_T] = AsyncResult()
        made: list[asyncio.Task[None]] = []

        async def run() -> None:
            try:
                value = await begin()
            except BaseException as error:
                result.set_exception(error, sys.exc_info())
                if isinstance(error, asyncio.CancelledError):
                    raise
            else:
                result.set(value)

        def start() -> None:
            task = self._loop.create_task(run())
            made.append(task)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self._loop.call_soon_threadsafe(start)
        try:
            answer: _T = result.get()
        except gevent.GreenletExit:  # the person is gone: as when a connection closes
            for task in made:
                self._loop.call_soon_threadsafe(task.cancel)
            raise
        return answer

    async def _start(self) -> None:
        """``lifespan.startup`` of the ASGI specification; an app that raises at once has no lifespan."""
        received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._received, self._told = received, said
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}

        async def live() -> None:
            await self._app(scope, received.get, said.put)

        await received.put({"type": "lifespan.startup"})
        self._lifespan = self._loop.create_task(live())
        answer = self._loop.create_task(said.get())
        await asyncio.wait({self._lifespan, answer}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            error = self._lifespan.exception()
            self._lifespan = None
            if error is not None and not _has_no_lifespan(error):
                raise ScenarioError(f"app {self._name!r}: its start-up raised {told(error)}") from error
        elif answer.result()["type"] != "lifespan.startup.complete":
            why = " ".join(str(answer.result().get("message", "")).split()[-40:])
            raise ScenarioError(f"app {self._name!r}: its start-up failed: {why or 'it said no more'}")

    async def _stop(self) -> None:
        if self._lifespan is not None and not self._lifespan.done():
            assert self._received is not None
            await self._received.put({"type": "lifespan.shutdown"})
            await asyncio.wait({self._lifespan}, timeout=10)
            if self._lifespan.done() and not self._lifespan.cancelled():
                self._lifespan.exception()  # seen: it no longer matters
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=10)

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._greenlet.join(timeout=5)
        if not self._loop.is_running():
            self._loop.close()


def _has_no_lifespan(error: BaseException) -> bool:
    """Whether an app refused the scope, as those without a lifespan do, by an assertion or as unknown."""
    return isinstance(error, AssertionError | NotImplementedError | ValueError | KeyError)
