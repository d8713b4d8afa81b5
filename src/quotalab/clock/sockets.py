"""Loopback sockets between greenlets of one process, kept from looking like silence.

The kernel hands what is written to a loopback socket to its reader at once, unless it waits to gather more
(Nagle's algorithm against delayed acknowledgements: 40 real ms with nothing ready to read, and time would
jump over them). So every TCP socket of gevent, accepted ones too, gets TCP_NODELAY. Below that there is a
net: before a jump no socket written to may hold bytes that have not left yet.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from contextlib import suppress
from typing import Any

import gevent._socket3
import gevent.ssl

from quotalab.clock.loop import VirtualLoop
from quotalab.clock.real import monotonic_s, real_sleep

__all__ = ["PromptSockets"]

_SIOCOUTQNSD = 0x894B  # linux/sockios.h: bytes in the output queue that have not been sent
_ROOM = b"\0" * 4
_POLL_S = 0.0002
# Longer than a delayed acknowledgement (40 ms) and the shortest retransmission (200 ms). What has not left
# by then waits for a reader that itself waits for time.
_PATIENCE_S = 0.25
# A socket that was found to wait for its reader is believed sooner, until all it holds has left once.
_SHORT_PATIENCE_S = 0.005


class PromptSockets:
    """gevent's sockets with TCP_NODELAY, and the net, until :meth:`restore`."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.stalls = 0
        self._written = loop.written
        self._stalled_since_s: float | None = None
        self._clogged: set[int] = set()
        self._replaced: list[tuple[type, str, Any]] = []
        self._wrap_init(gevent._socket3.socket)
        for kind in (gevent._socket3.socket, gevent.ssl.SSLSocket):
            for name in ("send", "sendmsg", "write"):
                if name in vars(kind) or (kind is gevent._socket3.socket and hasattr(kind, name)):
                    self._wrap_send(kind, name)
        loop.settled = self._settled

    def restore(self) -> None:
        """Leave sockets as gevent makes them."""
        while self._replaced:
            kind, name, before = self._replaced.pop()
            if before is None:
                delattr(kind, name)
            else:
                setattr(kind, name, before)

    def _replace(self, kind: type, name: str, function: Any) -> None:
        self._replaced.append((kind, name, vars(kind).get(name)))
        setattr(kind, name, function)

    def _wrap_init(self, kind: type) -> None:
        before = vars(kind)["__init__"]

        def __init__(sock: Any, *args: Any, **kwargs: Any) -> None:
            before(sock, *args, **kwargs)
            if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type & 0xF == socket.SOCK_STREAM:
                with suppress(OSError):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        self._replace(kind, "__init__", __init__)

    def _wrap_send(self, kind: type, name: str) -> None:
        before = getattr(kind, name)
        written = self._written

        def send(sock: Any, *args: Any, **kwargs: Any) -> Any:
            sent = before(sock, *args, **kwargs)
            written.add(sock.fileno())
            return sent

        self._replace(kind, name, send)

    def _settled(self) -> bool:
        """Whether all that was written has left; called when something was and time is about to move."""
        for fd in tuple(self._written):
            try:
                unsent = struct.unpack("i", fcntl.ioctl(fd, _SIOCOUTQNSD, _ROOM))[0]
            except (OSError, ValueError):  # closed, or no TCP socket
                unsent = 0
            if not unsent:
                self._written.discard(fd)
                self._clogged.discard(fd)
        now_s = monotonic_s()
        if not self._written:
            # Bytes that left only now have come in since the last poll.
            settled, self._stalled_since_s = self._stalled_since_s is None, None
            return settled
        if self._stalled_since_s is None:
            self._stalled_since_s = now_s
            self.stalls += 1
        elif now_s - self._stalled_since_s > (
            _SHORT_PATIENCE_S if self._written <= self._clogged else _PATIENCE_S
        ):
            self._stalled_since_s = None
            self._clogged |= self._written
            self._written.clear()
            return True
        real_sleep(_POLL_S)
        return False
