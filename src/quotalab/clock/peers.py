"""Peers in other processes: a database, a cache. They answer in real time, so time is held until they do.

A stream socket that this process connects to somebody who does not listen in it has an outer peer. Bytes
sent to one hold time until something comes back or the connection is closed. An answer may come in pieces,
so time also waits for a while where somebody goes on reading after the first. A connection on which nothing
has been asked holds nothing, however long somebody listens on it. A peer that never answers ends the run by
the watchdog, which names who asked it. On asyncio, whose sockets never wait in a call, the while is short: an
answer whose pieces come more than 20 real ms apart may be met by a timeout that was not due.

Not seen are sockets that libraries in C open and use themselves (libpq, grpc): either they block the whole
process, and time with it, or what they wait for has to be put in ``with virtual.held("..."):``.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

import gevent._socket3
import gevent.ssl
from gevent.hub import get_hub

from quotalab.clock.frames import caller
from quotalab.clock.loop import Hold, VirtualLoop
from quotalab.clock.real import monotonic_s, real_sleep

__all__ = ["OuterPeers"]

_Socket = gevent._socket3.socket
_SENDS = ("send", "sendmsg", "write")
_RECEIVES = ("recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into", "read")
# Real seconds between the pieces of one answer, for who waits for the next one in a call; and for sockets
# that do not block (asyncio), where everybody seems to wait for more all the time.
_PIECES_S = 0.25
_UNBLOCKED_PIECES_S = 0.02
_POLL_S = 0.0002


class OuterPeers:
    """gevent's sockets hold time for outer peers, until :meth:`restore`."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._ours: set[object] = set()  # ports and paths that this process listens on
        self._peers: dict[int, str] = {}  # by number of the socket
        self._asked: dict[int, Hold] = {}
        self._reading: set[int] = set()
        self._heard: dict[int, tuple[float, bool]] = {}  # when, and whether the socket blocks
        self._replaced: list[tuple[type, str, Any]] = []
        self._settled = loop.settled
        loop.settled = self._all_settled
        self._wrap(_Socket, "listen", self._listen)
        self._wrap(_Socket, "connect", self._connect)
        self._wrap(_Socket, "connect_ex", self._connect)
        self._wrap(_Socket, "_drop_events_and_close", self._close)
        self._wrap(gevent.ssl.SSLSocket, "do_handshake", self._exchange)
        for kind in (_Socket, gevent.ssl.SSLSocket):
            for names, around in ((_SENDS, self._send), (_RECEIVES, self._receive)):
                for name in names:
                    if name in vars(kind) or (kind is _Socket and hasattr(kind, name)):
                        self._wrap(kind, name, around)

    def restore(self) -> None:
        """Leave sockets as they were."""
        while self._replaced:
            kind, name, before = self._replaced.pop()
            if before is None:
                delattr(kind, name)
            else:
                setattr(kind, name, before)
        self._loop.settled = self._settled

    def _wrap(self, kind: type, name: str, around: Any) -> None:
        function = getattr(kind, name)
        self._replaced.append((kind, name, vars(kind).get(name)))

        def wrapped(sock: Any, *args: Any, **kwargs: Any) -> Any:
            return around(function, sock, *args, **kwargs)

        setattr(kind, name, wrapped)

    # -- around gevent's own; each takes the function that it surrounds

    def _listen(self, listen: Any, sock: Any, backlog: int = socket.SOMAXCONN) -> Any:
        # Hundreds may connect at one instant; whoever finds no place is put off by a real second.
        result = listen(sock, max(backlog, socket.SOMAXCONN))
        self._ours.add(_door(sock.getsockname()))
        return result

    def _connect(self, connect: Any, sock: Any, address: Any) -> Any:
        if get_hub().loop is not self._loop or sock.type & 0xF != socket.SOCK_STREAM:
            return connect(sock, address)
        if _door(address) in self._ours:
            return connect(sock, address)
        fd = sock.fileno()
        self._peers[fd] = peer = _named(address)
        hold = self._loop.hold(f"{peer} to let it connect", caller())
        try:
            return connect(sock, address)
        finally:
            self._loop.release(hold)

    def _send(self, send: Any, sock: Any, *args: Any, **kwargs: Any) -> Any:
        sent = send(sock, *args, **kwargs)
        if self._peers:
            fd = sock.fileno()
            peer = self._peers.get(fd)
            if peer is not None and fd not in self._asked:
                self._asked[fd] = self._loop.hold(f"{peer} to answer", caller())
        return sent

    def _receive(self, receive: Any, sock: Any, *args: Any, **kwargs: Any) -> Any:
        if not self._peers:
            return receive(sock, *args, **kwargs)
        fd = sock.fileno()
        if fd not in self._peers:
            return receive(sock, *args, **kwargs)
        blocks = sock.timeout != 0.0
        if blocks:
            self._reading.add(fd)
        try:
            result = receive(sock, *args, **kwargs)
        except (BlockingIOError, gevent.ssl.SSLWantReadError):
            raise
        except BaseException:
            self._answered(fd, blocks)
            raise
        finally:
            self._reading.discard(fd)
        self._answered(fd, blocks)
        return result

    def _exchange(self, shake: Any, sock: Any, *args: Any, **kwargs: Any) -> Any:
        peer = self._peers.get(sock.fileno())
        if peer is None:
            return shake(sock, *args, **kwargs)
        hold = self._loop.hold(f"{peer} to shake hands", caller())
        try:
            return shake(sock, *args, **kwargs)
        finally:
            self._loop.release(hold)

    def _close(self, close: Any, sock: Any, *args: Any, **kwargs: Any) -> Any:
        if self._peers:
            with suppress(OSError):
                fd = sock.fileno()
                self._peers.pop(fd, None)
                self._heard.pop(fd, None)
                hold = self._asked.pop(fd, None)
                if hold is not None:
                    self._loop.release(hold)
        return close(sock, *args, **kwargs)

    def _answered(self, fd: int, blocks: bool) -> None:
        self._heard[fd] = monotonic_s(), blocks
        self._loop.written.add(fd)  # so that time asks before it moves
        hold = self._asked.pop(fd, None)
        if hold is not None:
            self._loop.release(hold)

    def _all_settled(self) -> bool:
        """Whether the last answers have surely ended, and all that was written has left."""
        for fd, (heard_s, blocks) in tuple(self._heard.items()):
            patience_s = _PIECES_S if blocks else _UNBLOCKED_PIECES_S
            if (blocks and fd not in self._reading) or monotonic_s() - heard_s > patience_s:
                del self._heard[fd]
        if self._heard:
            real_sleep(_POLL_S)
            return False
        return self._settled()


def _door(address: Any) -> object:
    """What tells listeners of this machine apart: a port, or a path."""
    if isinstance(address, tuple):
        host, port = address[:2]
        local = host in ("localhost", "0.0.0.0", "::", "::1", "") or str(host).startswith("127.")  # noqa: S104
        return port if local else (host, port)
    return address


def _named(address: Any) -> str:
    if isinstance(address, tuple):
        return f"{address[0]}:{address[1]}"
    return address.decode(errors="replace") if isinstance(address, bytes) else str(address)
