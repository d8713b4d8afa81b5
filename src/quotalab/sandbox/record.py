"""From a request and its answer to a row of the ledger: what may be written in the clear, and what not."""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from typing import Any

from quotalab.clock import Clock, Entropy
from quotalab.ledger import Call, Event, LedgerWriter, OAuthFacts
from quotalab.ledger.redaction import LONGEST_TEXT, shown, shown_header
from quotalab.quota import Decision
from quotalab.sandbox.http import Headers, Request, Response

__all__ = ["NOT_ASKED", "Recorder"]

NOT_ASKED = Decision(None, 0, 0, (), (), ())
"""Of a call that no limit was asked about."""

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"))
_OBJECT = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_MOST_HEADERS = 100
_MOST_CACHED = 4096


class Recorder:
    """Writes calls and events; what must not be read is replaced by a hash under the run's own key."""

    def __init__(self, ledger: LedgerWriter, clock: Clock, entropy: Entropy) -> None:
        self.calls = 0
        """How many there have been, of whomever."""
        self.app_calls = 0
        """How many calls were the app's, not a browser's."""
        self._ledger = ledger
        self._clock = clock
        self._key = entropy.key("ledger", 32)
        self._paths: dict[str, str] = {}
        self._headers: dict[tuple[str, str], str] = {}

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
        """Headers as redacted JSON: an object, a name's later value winning; at most 100 of them."""
        known = self._headers
        parts = []
        for pair in headers if len(headers) <= _MOST_HEADERS else headers[:_MOST_HEADERS]:
            part = known.get(pair)
            if part is None:
                name, value = pair
                name = name.lower()
                part = f"{json.dumps(shown(name))}:{json.dumps(shown_header(name, value))}"
                if len(name) + len(value) <= LONGEST_TEXT:
                    _remember(known, pair, part)
            parts.append(part)
        return "{" + ",".join(parts) + "}"

    def path(self, path: str) -> str:
        """A path as far as it may be written."""
        known = self._paths.get(path)
        if known is None:
            known = shown(path)
            if len(path) <= LONGEST_TEXT:
                _remember(self._paths, path, known)
        return known

    def call(
        self,
        request: Request,
        response: Response,
        *,
        target: str,
        at_ns: int,
        answered_ns: int,
        done_ns: int,
        kind: str,
        actor: str,
        client_id: str | None,
        person: str | None,
        token: str | None,
        token_state: str | None = None,
        tenant: str | None = None,
        route: str | None = None,
        object_id: str | None = None,
        error: str | None = None,
        objects: int = 0,
        objects_asked: int = 0,
        decision: Decision = NOT_ASKED,
        retry_after_ns: int | None = None,
        request_id: str | None = None,
        scopes_needed: str | None = None,
        oauth: OAuthFacts | None = None,
        fault: str | None = None,
        token_at: str | None = None,
    ) -> int:
        """Append a call; `token` is a mark, `fault` the names of the planted faults that touched it."""
        self.calls += 1
        if actor == "app":
            self.app_calls += 1
        return self._ledger.call(
            Call(
                request.sent_ns,
                at_ns,
                answered_ns,
                done_ns,
                kind,
                actor,
                client_id,
                person,
                tenant,
                request.ip,
                token,
                token_state,
                request.method if request.method in _METHODS else "[other]",
                route,
                object_id,
                self.path(request.path),
                target,
                response.status,
                error,
                decision.cost,
                objects,
                objects_asked,
                decision.limit,
                retry_after_ns,
                decision.keys,
                decision.charges,
                decision.remaining,
                request.operation,
                request_id,
                self.mark(request.header("idempotency-key")),
                scopes_needed,
                oauth,
                fault,
                self.headers(request.headers),
                self.headers(response.headers),
                len(response.body),
                token_at,
            )
        )

    def object_id(self, text: str) -> str | None:
        """How limits and the ledger know an object: by its own short name, else by its mark."""
        return text if _OBJECT.fullmatch(text) else self.mark(text)

    def event(self, what: str, who: str | None, at_ns: int | None = None, /, **details: object) -> None:
        """Append an event that happens at `at_ns`, or now."""
        at_ns = self._clock.now_ns() if at_ns is None else at_ns
        self._ledger.event(Event(at_ns, what, who, details))


def _remember(cache: dict[Any, str], key: object, value: str) -> None:
    if len(cache) >= _MOST_CACHED:  # hostile variety must not grow memory
        cache.clear()
    cache[key] = value
