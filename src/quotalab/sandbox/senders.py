"""Whose request comes over a socket, where client and sandbox are one process.

An app that passes no `traceparent` on still sends from the context of some operation. What counts is who
sends, not who has connected: a connection that is kept alive serves many. So each send to the sandbox notes
the current operation by the port that it leaves from, and a request, when all of it has been read, takes what
was noted for its connection. Where several have sent since the last request, or one without an operation has,
nobody can tell whose it is, and it is nobody's. A client outside of the process notes nothing.
"""

from __future__ import annotations

from typing import Any

import gevent._socket3

from quotalab.sandbox.transport import current_operation

__all__ = ["Senders"]

_Socket = gevent._socket3.socket
_SENDS = ("send", "sendmsg")  # on which gevent's others rest


class Senders:
    """Who sends to a port of this machine, noted from its making until `restore`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._noted: dict[int, set[str | None]] = {}
        self._replaced: list[tuple[str, Any]] = []
        for name in _SENDS:
            self._wrap(name)

    def take(self, port: int) -> str | None:
        """The operation whose the request is that has come from a client's port; None: it is not known."""
        noted = self._noted.pop(port, None)
        return next(iter(noted)) if noted is not None and len(noted) == 1 else None

    def restore(self) -> None:
        """Leave sockets as they were."""
        while self._replaced:
            name, before = self._replaced.pop()
            if before is None:
                delattr(_Socket, name)
            else:
                setattr(_Socket, name, before)

    def _wrap(self, name: str) -> None:
        send = getattr(_Socket, name)
        self._replaced.append((name, vars(_Socket).get(name)))

        def noting(sock: Any, data: Any, *args: Any, **kwargs: Any) -> Any:
            if data:
                self._note(sock)  # before it leaves: its reader may be a thread
            return send(sock, data, *args, **kwargs)

        setattr(_Socket, name, noting)

    def _note(self, sock: Any) -> None:
        try:
            there = sock.getpeername()
            if not isinstance(there, tuple) or there[1] != self._port:
                return
            port = sock.getsockname()[1]
        except OSError:  # it is not connected
            return
        self._noted.setdefault(port, set()).add(current_operation.get())
