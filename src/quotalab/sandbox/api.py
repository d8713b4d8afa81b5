"""The resource server: routes matched, bearer tokens looked up (RFC 6750), quotas asked, answers rendered.

This is the hot path: every call of the app to the provider's API goes through `ResourceServer.answer`.
"""

from __future__ import annotations

import datetime
import json
import re
from typing import Any, NamedTuple
from urllib.parse import quote

from quotalab.profiles.provider import Provider, Route
from quotalab.quota import Decision, Engine
from quotalab.sandbox.http import Request, Response
from quotalab.sandbox.record import Recorder
from quotalab.sandbox.store import AccessToken, Store

__all__ = ["Answer", "ResourceServer"]

NOT_ASKED = Decision(None, 0, (), (), ())
_JSON = ("Content-Type", "application/json")
_SECOND_NS = 1_000_000_000
_MAX_ITEM_BYTES = 4_000
_MAX_ITEMS = 10_000
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


class Answer(NamedTuple):
    """An answer with what the ledger says of it."""

    response: Response
    token: AccessToken | None
    secret: str | None
    route: Route | None
    error: str | None
    decision: Decision
    retry_after_ns: int | None


class _Items:
    """One person's items of one collection, as encoded JSON."""

    __slots__ = ("added", "initial", "template")

    def __init__(self, initial: int, template: bytes) -> None:
        self.initial = initial
        self.template = template
        self.added: list[bytes] = []

    def __len__(self) -> int:
        return self.initial + len(self.added)

    def __getitem__(self, index: int) -> bytes:
        if index < self.initial:
            return b'{"id":"%d"%s' % (index + 1, self.template)
        return self.added[index - self.initial]


class ResourceServer:
    """Answers API calls from the profile's routes and a little state per person."""

    def __init__(self, provider: Provider, store: Store, recorder: Recorder) -> None:
        self._provider = provider
        self._store = store
        self._recorder = recorder
        self._engine = Engine(provider.limits)
        self.cost = 1
        """What a call is charged."""
        self._static = {
            (route.method, provider.api_path + route.path): route
            for route in provider.routes
            if "{" not in route.path
        }
        self._patterns = [
            (route.method, _pattern(provider.api_path + route.path), route)
            for route in provider.routes
            if "{" in route.path
        ]
        self._templates = {name: _template(kept.item) for name, kept in provider.collections.items()}
        self._items: dict[tuple[str, str], _Items] = {}
        self._common_pages: dict[tuple[str, int], bytes] = {}
        """By route and number: pages of nothing but what every person has from the start."""
        self._fixed = {
            route.name: _encode(route.body) for route in provider.routes if route.answer == "fixed"
        }
        self._refusal_body = _encode(provider.refusal.body)

    def answer(self, request: Request, now_ns: int) -> Answer:
        """Answer one call that arrives at `now_ns`.

        A call without a valid token is answered 401 before any limit is asked. Every other call is asked
        of the limits first, whatever else is wrong with it, as providers do.
        """
        secret = request.bearer()
        if secret is None:
            return _unauthorized(None, None, None)
        token = self._store.access.get(secret)
        if token is None:
            return _unauthorized(None, secret, "The access token is unknown")
        if token.grant.revoked:
            return _unauthorized(token, secret, "The access token was revoked")
        if token.expires_ns <= now_ns:
            return _unauthorized(token, secret, "The access token expired")

        route = self._static.get((request.method, request.path))
        item = None
        if route is None:
            route, item = self._match(request)

        decision = self._engine.decide(now_ns, self._caller(request, token, route), self.cost)
        if decision.limit is not None:
            return self._refuse(token, secret, route, decision)
        error: str | None
        if route is None:
            response, error = self._unknown(request, token)
        elif not token.scopes.issuperset(route.scopes):
            response, error = _insufficient_scope(route), "insufficient_scope"
        else:
            response, error = self._serve(request, token.person, route, item)
        return Answer(response, token, secret, route, error, decision, None)

    def _match(self, request: Request) -> tuple[Route | None, str | None]:
        for method, pattern, route in self._patterns:
            if method == request.method and (match := pattern.fullmatch(request.path)):
                return route, match.groupdict().get("id")
        return None, None

    def _caller(self, request: Request, token: AccessToken, route: Route | None) -> dict[str, str]:
        return {
            "app": token.client_id,
            "person": token.person,
            "ip": request.ip,
            "token": token.mark,
            "route": route.name if route is not None else "unknown",
        }

    def _refuse(self, token: AccessToken, secret: str, route: Route | None, decision: Decision) -> Answer:
        """The provider's refusal; Retry-After is in whole seconds, rounded up (RFC 9110, 10.2.3)."""
        refusal = self._provider.refusal
        headers = [_JSON]
        retry_after_ns = None
        if refusal.retry_after == "seconds":
            seconds = -(-decision.wait_ns // _SECOND_NS)
            headers.append(("Retry-After", str(seconds)))
            retry_after_ns = seconds * _SECOND_NS
        response = Response(refusal.status, headers, self._refusal_body)
        return Answer(response, token, secret, route, "rate_limited", decision, retry_after_ns)

    def _unknown(self, request: Request, token: AccessToken) -> tuple[Response, str]:
        self._recorder.event("unknown-route", token.person, path=self._recorder.path(request.path))
        return _error(404, "not_found", "There is no such endpoint."), "not_found"

    def _serve(
        self, request: Request, person: str, route: Route, item: str | None
    ) -> tuple[Response, str | None]:
        if route.answer == "fixed":
            return Response(200, [_JSON], self._fixed[route.name]), None
        items = self._items.get((person, route.collection))
        if items is None:
            collection = self._provider.collections[route.collection]
            items = _Items(collection.initial, self._templates[route.collection])
            self._items[person, route.collection] = items
        if route.answer == "read":
            if item is None or not _NUMBER.fullmatch(item) or int(item) > len(items):
                return _error(404, "not_found", "There is no such item."), "not_found"
            return Response(200, [_JSON], items[int(item) - 1]), None
        if route.answer == "create":
            return _create(request, items)
        return self._page(request, route, items)

    def _page(self, request: Request, route: Route, items: _Items) -> tuple[Response, str | None]:
        page = dict(request.query_pairs()).get("page", "1") if request.query else "1"
        if not _NUMBER.fullmatch(page):
            return _error(400, "invalid_request", "page must be a whole number from 1."), "invalid_request"
        number = int(page)
        stop = number * route.page_size
        body = self._common_pages.get((route.name, number))
        if body is None:
            listed = b",".join([items[i] for i in range(stop - route.page_size, min(stop, len(items)))])
            following = b'"%d"' % (number + 1) if stop < len(items) else b"null"
            body = b'{"%s":[%s],"next_page":%s}' % (route.collection.encode(), listed, following)
            if stop < items.initial:
                self._common_pages[route.name, number] = body
        return Response(200, [_JSON], body), None


def _create(request: Request, items: _Items) -> tuple[Response, str | None]:
    number = len(items) + 1
    try:
        fields = json.loads(request.body)
        body = json.dumps({**fields, "id": str(number)}, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError):
        return _error(400, "invalid_request", "The body must be a JSON object."), "invalid_request"
    if len(body) > _MAX_ITEM_BYTES or len(items.added) >= _MAX_ITEMS:
        return _error(413, "too_large", "The item is too large, or there are too many."), "too_large"
    items.added.append(body)
    return Response(201, [_JSON, ("Location", f"{quote(request.path)}/{number}")], body), None


def _unauthorized(token: AccessToken | None, secret: str | None, description: str | None) -> Answer:
    """401 with the challenge of RFC 6750, 3; without a token it carries no error code (3.1)."""
    if description is None:
        challenge = 'Bearer realm="api"'
        response = _error(401, "unauthorized", "A bearer token is needed.", ("WWW-Authenticate", challenge))
        return Answer(response, None, None, None, "unauthorized", NOT_ASKED, None)
    challenge = f'Bearer realm="api", error="invalid_token", error_description="{description}"'
    response = _error(401, "invalid_token", f"{description}.", ("WWW-Authenticate", challenge))
    return Answer(response, token, secret, None, "invalid_token", NOT_ASKED, None)


def _insufficient_scope(route: Route) -> Response:
    """403 with the scopes that are needed (RFC 6750, 3.1)."""
    needed = " ".join(route.scopes)
    challenge = f'Bearer realm="api", error="insufficient_scope", scope="{needed}"'
    return _error(403, "insufficient_scope", f"This needs: {needed}.", ("WWW-Authenticate", challenge))


def _error(status: int, code: str, message: str, *headers: tuple[str, str]) -> Response:
    return Response(status, [_JSON, *headers], _encode({"error": code, "message": message}))


def _encode(document: Any) -> bytes:
    """JSON; the dates that TOML has become text (RFC 3339)."""
    return json.dumps(document, separators=(",", ":"), default=_date).encode()


def _date(value: datetime.date | datetime.time) -> str:
    return value.isoformat()


def _template(item: Any) -> bytes:
    """The JSON of an item after its id: ``,"title":"..."}``."""
    encoded = _encode(item)
    return (b"," + encoded[1:]) if item else encoded[1:]


def _pattern(path: str) -> re.Pattern[str]:
    """A regular expression for a path template; a name in braces is one segment."""
    parts = re.split(r"\{(\w+)\}", path)
    literal, names = parts[::2], parts[1::2]
    pattern = re.escape(literal[0])
    for name, text in zip(names, literal[1:], strict=True):
        pattern += f"(?P<{name}>[^/]+)" + re.escape(text)
    return re.compile(pattern)
