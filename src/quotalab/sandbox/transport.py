"""The sandbox in memory: an httpx transport that no socket lies behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar

import httpx

from quotalab.clock import Clock
from quotalab.sandbox.app import Sandbox, decoded_path, operation_of_traceparent
from quotalab.sandbox.http import Request

__all__ = ["MemoryTransport", "current_operation"]

current_operation: ContextVar[str | None] = ContextVar("quotalab_operation", default=None)
"""The operation on whose behalf calls are made; it reaches the ledger over the in-memory transport."""


class MemoryTransport(httpx.BaseTransport):
    """Carries requests for the sandbox's own address; no other host can be reached."""

    def __init__(self, sandbox: Sandbox, clock: Clock) -> None:
        self._sandbox = sandbox
        self._clock = clock
        self._origin = httpx.URL(sandbox.issuer)
        self._names: dict[bytes, str] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx. Raises `httpx.ConnectError` for any other host."""
        url = request.url
        if (
            url.host != self._origin.host
            or url.port != self._origin.port
            or url.scheme != self._origin.scheme
        ):
            raise httpx.ConnectError(
                f"{url.scheme}://{url.netloc.decode()}: in memory only {self._sandbox.issuer} can be reached",
                request=request,
            )
        path, _, query = url.raw_path.decode("latin-1").partition("?")
        names = self._names
        headers = []
        for raw, value in request.headers.raw:
            name = names.get(raw)
            if name is None:
                name = raw.decode("latin-1").lower()
                if len(names) < 1000:
                    names[raw] = name
            headers.append((name, value.decode("latin-1")))
        received = Request(
            request.method,
            decoded_path(path),
            query,
            headers,
            request.read(),
            ip="127.0.0.1",
            sent_ns=self._clock.now_ns(),
            operation=current_operation.get(),
        )
        if received.operation is None:
            received.operation = operation_of_traceparent(received.header("traceparent"))
        response, left_ns = self._sandbox.answer(received)
        if left_ns:
            self._wait(request, received.sent_ns, left_ns)
        if not response.status:
            # As httpcore has it: the connection was closed before a status line came.
            raise httpx.RemoteProtocolError(
                "Server disconnected without sending a response.", request=request
            )
        if response.length is not None:
            return httpx.Response(
                response.status,
                headers=[*response.headers, ("Content-Length", str(response.length))],
                stream=_Cut(response.body, response.length),
                request=request,
            )
        return httpx.Response(
            response.status, headers=response.headers, content=response.body, request=request
        )

    def _wait(self, request: httpx.Request, sent_ns: int, left_ns: int) -> None:
        """Let the rest of an answer's time pass, as far as the client has patience (httpx: ``read``)."""
        most_s = request.extensions.get("timeout", {}).get("read")
        if most_s is not None:
            patience_ns = max(0, sent_ns + int(most_s * 1e9) - self._clock.now_ns())
            if left_ns > patience_ns:
                self._clock.sleep_ns(patience_ns)
                raise httpx.ReadTimeout("timed out", request=request)
        self._clock.sleep_ns(left_ns)


class _Cut(httpx.SyncByteStream):
    """A body of which less comes than Content-Length says."""

    def __init__(self, body: bytes, length: int) -> None:
        self._body = body
        self._length = length

    def __iter__(self) -> Iterator[bytes]:
        yield self._body
        raise httpx.RemoteProtocolError(
            f"peer closed connection without sending complete message body "
            f"(received {len(self._body)} bytes, expected {self._length})"
        )
