"""From a request and its answer to a row of the ledger: what may be written in the clear, and what not."""

from __future__ import annotations

import json
from hashlib import blake2b
from urllib.parse import unquote

from quotalab.clock import Clock, Entropy
from quotalab.ledger import Call, Event, LedgerWriter, OAuthFacts
from quotalab.quota import Decision
from quotalab.sandbox.http import Headers, Request, Response

__all__ = ["Recorder"]

# Headers whose values are written. Any other value could carry a secret and is replaced.
_SHOWN = frozenset(
    (
        *("accept", "accept-encoding", "accept-language", "allow", "cache-control", "connection"),
        *("content-encoding", "content-length", "content-type", "date", "expect", "host", "if-none-match"),
        *("pragma", "range", "retry-after", "traceparent", "transfer-encoding", "user-agent", "vary"),
        *("www-authenticate", "x-request-id"),
    )
)
_REDACTED = '"[redacted]"'
_LONGEST_VALUE = 256
_LONGEST_PATH = 512
_CACHE_ROWS = 4096
_NO_DECISION = Decision(None, 0, (), (), ())


class Recorder:
    """Writes calls and events; what must not be read is replaced by a hash under the run's own key."""

    def __init__(self, ledger: LedgerWriter, clock: Clock, entropy: Entropy) -> None:
        self._ledger = ledger
        self._clock = clock
        self._key = entropy.key("ledger", 32)
        self._names: dict[str, str] = {}
        self._values: dict[tuple[str, str], str] = {}

    def mark(self, value: str | bytes | None) -> str | None:
        """The keyed hash by which the ledger knows a token or another secret; None of nothing."""
        if not value:
            return None
        data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
        return blake2b(data, key=self._key, digest_size=9).hexdigest()

    def target(self, request: Request) -> str:
        """The keyed hash of method, path, query and body: two calls that ask the same thing share it."""
        digest = blake2b(key=self._key, digest_size=9)
        head = f"{request.method} {request.path}?{request.query}\n"
        digest.update(head.encode("utf-8", "surrogatepass"))
        if request.body:
            digest.update(request.body)
        return digest.hexdigest()

    def headers(self, headers: Headers) -> str:
        """Headers as redacted JSON: an object, a name's later value winning."""
        if len(self._values) > _CACHE_ROWS:  # hostile variety must not grow memory
            self._values.clear()
            self._names.clear()
        parts = []
        values = self._values
        for pair in headers:
            part = values.get(pair)
            if part is None:
                part = values[pair] = self._encode(*pair)
            parts.append(part)
        return "{" + ",".join(parts) + "}"

    def _encode(self, name: str, value: str) -> str:
        lowered = name.lower()[:_LONGEST_VALUE]
        encoded = self._names.get(lowered)
        if encoded is None:
            encoded = self._names[lowered] = json.dumps(lowered) + ":"
        if lowered not in _SHOWN:
            return encoded + _REDACTED
        return encoded + json.dumps(value[:_LONGEST_VALUE])

    def call(
        self,
        request: Request,
        response: Response,
        *,
        target: str,
        at_ns: int,
        done_ns: int,
        kind: str,
        actor: str,
        client_id: str | None,
        person: str | None,
        token: str | None,
        route: str | None = None,
        error: str | None = None,
        decision: Decision = _NO_DECISION,
        retry_after_ns: int | None = None,
        cost: int = 0,
        scopes_needed: str | None = None,
        oauth: OAuthFacts | None = None,
        secret: str | None = None,
    ) -> int:
        """Append a call; `token` is a mark, `secret` a raw value that is kept out of the path."""
        path = request.path if len(request.path) <= _LONGEST_PATH else request.path[:_LONGEST_PATH] + "…"
        if secret and (secret in path or secret in unquote(path)):
            path = "[redacted]"
        elif not path.isascii() or not path.isprintable():
            path = path.encode("utf-8", "replace").decode()
        return self._ledger.call(
            Call(
                request.sent_ns,
                at_ns,
                done_ns,
                kind,
                actor,
                client_id,
                person,
                None,
                request.ip,
                token,
                request.method[:16],
                route,
                path,
                target,
                response.status,
                error,
                cost,
                decision.limit,
                retry_after_ns,
                decision.keys,
                decision.charges,
                decision.remaining,
                request.operation,
                None,
                self.mark(request.header("idempotency-key")),
                scopes_needed,
                oauth,
                None,
                self.headers(request.headers),
                self.headers(response.headers),
                len(response.body),
            )
        )

    def event(self, what: str, who: str | None, **details: object) -> None:
        """Append an event that happens now."""
        self._ledger.event(Event(self._clock.now_ns(), what, who, details))
