"""The sandbox on a socket: inside a run on loopback, or stand-alone where whoever starts it says."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from types import TracebackType
from typing import Any

from gevent.pywsgi import WSGIHandler, WSGIServer

from quotalab.errors import InputError
from quotalab.sandbox.app import SENDER
from quotalab.sandbox.senders import Senders

__all__ = ["LoopbackServer", "is_loopback"]

_log = logging.getLogger(__name__)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Handler(WSGIHandler):  # type: ignore[misc]
    """Tells of what goes wrong without a word of what the client sent, which may hold a secret."""

    def get_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environ()
        senders = self.server.senders
        if senders is not None:
            environ[SENDER] = partial(senders.take, self.client_address[1])
        return environ

    def log_error(self, msg: str, *args: object) -> None:  # noqa: ARG002 - they quote the request
        _log.info("a request that is no HTTP was refused")

    def _log_error(self, t: type[BaseException], v: BaseException, tb: TracebackType) -> None:  # noqa: ARG002
        _log.error("the server failed on a request: %s", t.__name__)


class _Server(WSGIServer):  # type: ignore[misc]
    senders: Senders | None = None


class LoopbackServer:
    """Listens on a free or given port of 127.0.0.1, or of another address; its own address is known before
    there is anything to serve.

    Raises `InputError` where it cannot listen.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        try:
            self._server = _Server(
                (host, port), log=None, error_log=None, application=None, handler_class=_Handler
            )
            self._server.init_socket()
        except OSError as error:
            raise InputError(_why(host, port, error)) from error
        # Answers are small: each leaves at once. Connections inherit it from the listener.
        self._server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        named = socket.gethostname() if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - only told apart
        shown = f"[{named}]" if ":" in named else named
        self.address = f"http://{shown}:{self._server.server_port}"

    def serve(self, application: Callable[..., Any]) -> None:
        """Begin to answer with a WSGI application."""
        self._server.application = application
        self._server.start()

    def note_senders(self) -> None:
        """From now on requests of clients in this process are linked to the operation that sends them."""
        self._server.senders = Senders(self._server.server_port)

    def stop(self) -> None:
        """Stop listening."""
        if self._server.senders is not None:
            self._server.senders.restore()
            self._server.senders = None
        self._server.stop(timeout=1)


def _why(host: str, port: int, error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"--host {host}: is no address of this machine's"
    if error.errno == errno.EADDRINUSE:
        return f"--port {port}: is in use; name another one, or none for a free one"
    if error.errno == errno.EACCES:
        return f"--port {port}: is not for everybody to listen on; name one from 1024 on"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host}: is no address of this machine's"
    return f"--host {host} --port {port}: cannot be listened on: {error.strerror or error}"
