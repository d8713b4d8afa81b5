"""Selectors that do not keep time from passing while their owner is busy elsewhere.

gevent's selector leaves the watcher of a ready file on until it is asked again. The loop then finds that file
ready at every turn, so that it never comes to rest, and no timer fires: an asyncio loop whose code sleeps
(`time.sleep`), or polls a socket, while an answer for it has come in would wait for ever. Here a watcher that
has told goes off; asking again turns it on.
"""

from __future__ import annotations

from typing import Any

from gevent.selectors import GeventSelector

__all__ = ["QuietSelectors"]

_CALLBACK = "_GeventSelector__callback"


class QuietSelectors:
    """gevent's selectors tell of a ready file once, until :meth:`restore`."""

    def __init__(self) -> None:
        self._told = told = getattr(GeventSelector, _CALLBACK)

        def tell_once(selector: Any, events: int, fd: int) -> None:
            told(selector, events, fd)
            watcher = selector._active_watchers.get(fd)
            if watcher is not None:
                watcher.stop()

        setattr(GeventSelector, _CALLBACK, tell_once)

    def restore(self) -> None:
        """Leave the selectors as gevent makes them."""
        setattr(GeventSelector, _CALLBACK, self._told)
