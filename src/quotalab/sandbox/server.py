"""The sandbox on a loopback socket, inside the process that runs it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from gevent.pywsgi import LoggingLogAdapter, WSGIServer

__all__ = ["LoopbackServer"]

_log = logging.getLogger(__name__)


class LoopbackServer:
    """Listens on a free port of 127.0.0.1; the address is known before there is anything to serve."""

    def __init__(self) -> None:
        self._server = WSGIServer(
            ("127.0.0.1", 0), log=None, error_log=LoggingLogAdapter(_log, logging.WARNING), application=None
        )
        self._server.init_socket()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def serve(self, application: Callable[..., Any]) -> None:
        """Begin to answer with a WSGI application."""
        self._server.application = application
        self._server.start()

    def stop(self) -> None:
        """Stop listening."""
        self._server.stop(timeout=1)
