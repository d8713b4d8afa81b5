"""The resource server: routes matched, bearer tokens looked up (RFC 6750), limits asked, answers rendered.

This is the hot path: every call of the app to the provider's API goes through `ResourceServer.answer`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

from quotalab.profiles.limits import METHODS
from quotalab.profiles.provider import Provider
from quotalab.profiles.routes import Route
from quotalab.quota import Decision, Selection
from quotalab.sandbox.dialect import HeaderRenderer, Renderer, Scene, content_headers
from quotalab.sandbox.faults import Faults, Strike
from quotalab.sandbox.http import Request, Response, reader
from quotalab.sandbox.items import ItemIds, Items, Owner, View, fields_of
from quotalab.sandbox.limits import ProviderLimits
from quotalab.sandbox.paging import Asked, Pages
from quotalab.sandbox.record import NOT_ASKED, Recorder
from quotalab.sandbox.store import AccessToken, Store

__all__ = ["Answer", "ResourceServer"]

_METHODS = frozenset(METHODS)
_MOST_CACHED_PAGES = 1024
_SHORTEST_TOKEN = 24  # no token of the sandbox's is as short
_TOKEN_STATES = {
    "no_token": "none",
    "unknown_token": "unknown",
    "revoked_token": "revoked",
    "expired_token": "expired",
}
# What a page may show that is the same for everybody, while whatever was created comes after it.
_SHARED_FIELDS = frozenset(
    ("items", "count", "size", "page", "offset", "next", "next_or_empty", "next_or_omitted", "more")
)
_NEXT_URL = frozenset(("next_url", "next_url_or_omitted"))

WorkNs = Callable[[Request, AccessToken, int | None], int]
"""How long an admitted call is under way at the provider, by its token and its route's own median, if any."""


class Answer(NamedTuple):
    """An answer with what the ledger says of it."""

    response: Response
    token: AccessToken | None
    secret: str | None
    token_state: str
    tenant: str | None
    route: Route | None
    object_id: str | None
    error: str | None
    objects: int
    objects_asked: int
    decision: Decision
    answered_ns: int
    retry_after_ns: int | None
    request_id: str | None
    fault: str | None = None


class _Endpoint:
    """A route, compiled."""

    def __init__(self, route: Route, provider: Provider, renderer: Renderer) -> None:
        self.route = route
        self.read_object = reader(route.object_at) if route.object_at is not None else None
        self.read_id = reader(route.id_at) if route.id_at is not None else None
        self.pages = Pages(route.page) if route.page is not None else None
        self.body = renderer.body(
            route.body if route.status not in (204, 205, 304) else None, route.content_type
        )
        self.content_headers = content_headers(route.status, route.content_type, route.body)
        self.headers: HeaderRenderer | None = renderer.headers(route.headers) if route.headers else None
        self.view = View(route.item) if route.item is not None else None
        at = provider.tenants.at
        said = at is not None and (at.place == "header" or f"{{{at.name}}}" in route.path)
        self.says_tenant = said and route.tenant
        """Whether a call has to say which tenant it means."""
        located = any(header.name.lower() == "location" for header in route.headers)
        self.is_located = route.answer == "create" and route.status == 201 and not located
        self.shares_pages = self.body.names <= _SHARED_FIELDS
        in_headers = {field.name for header in route.headers for field in header.value.fields}
        self.wants_next_url = bool(_NEXT_URL & (self.body.names | in_headers))
        self.common_pages: dict[Asked, bytes] = {}
        """Pages of nothing but what everybody has from the start."""


class ResourceServer:
    """Answers API calls from the profile's routes and a little state."""

    def __init__(
        self,
        provider: Provider,
        store: Store,
        recorder: Recorder,
        limits: ProviderLimits,
        renderer: Renderer,
        *,
        people: Sequence[str],
        issuer: str,
        work_ns: WorkNs | None,
        planted: Faults | None = None,
    ) -> None:
        self._provider = provider
        self._store = store
        self._recorder = recorder
        self._limits = limits
        self._renderer = renderer
        self._issuer = issuer
        self._work_ns = work_ns
        self._planted = planted
        self._token_at = provider.oauth.token_at
        self._tenant_at = provider.tenants.at
        self._read_tenant = reader(self._tenant_at) if self._tenant_at is not None else None
        self._tenant_ids = ItemIds(provider.tenants.id)
        self._numbers = {person: i + 1 for i, person in enumerate(people)}
        self._callers: dict[str, Owner] = {}
        endpoints = [_Endpoint(route, provider, renderer) for route in provider.routes]
        self._static = {
            (method, provider.api_path + endpoint.route.path): endpoint
            for endpoint in endpoints
            if "{" not in endpoint.route.path
            for method in endpoint.route.methods
        }
        self._patterns: dict[str, list[tuple[re.Pattern[str], _Endpoint]]] = {}
        for endpoint in endpoints:
            if "{" in endpoint.route.path:
                pattern = _pattern(provider.api_path + endpoint.route.path)
                for method in endpoint.route.methods:
                    self._patterns.setdefault(method, []).append((pattern, endpoint))
        self._selections: dict[tuple[str | None, str, bool, bool, bool], Selection] = {}
        self._ids = {name: ItemIds(kept.id) for name, kept in provider.collections.items()}
        self._views = {name: View(kept.item) for name, kept in provider.collections.items()}
        self._items: dict[tuple[str, str | None], Items] = {}

    def answer(self, request: Request, now_ns: int, wrong: tuple[str, str] | None = None) -> Answer:
        """Answer one call that arrives at `now_ns`; `wrong` is the error, and its message, of one whose body
        or headers are more than is read.

        A call without a valid token is asked only of the limits for such calls, and answered 401. Every
        other call is asked of the limits first, whatever else is wrong with it, as providers do.
        """
        endpoint, segments = self._match(request)
        secret = self.secret(request)
        route = endpoint.route if endpoint is not None else None
        strike: Strike | None = None
        if self._planted is None:
            token, problem = self._token(secret, now_ns)
        else:
            token, problem = self._token(secret, now_ns + self._planted.clock.skew_ns(now_ns))
            name = route.name if route is not None else None
            strike = self._planted.strike(request, token, name, now_ns, valid=problem is None)
            if strike is not None and strike.early is not None:
                return self._answer_struck(now_ns, route, token, secret, problem, strike)
        if problem is not None:
            return self._answer_stranger(request, now_ns, endpoint, token, secret, problem, strike)
        assert token is not None
        caller = self._caller(token.person)
        tenant, problem = self._tenant(request, endpoint, segments, caller)

        object_id = None
        if endpoint is not None and endpoint.read_object is not None:
            text = endpoint.read_object(request, segments)
            object_id = self._recorder.object_id(text) if text else None
        selection = self._selection(request.method, route, True, object_id is not None, tenant is not None)
        asked: Asked | str | None = None
        objects = objects_asked = 0
        if endpoint is not None and wrong is None and problem is None:
            if endpoint.pages is not None:
                asked = endpoint.pages.asked(request, segments)
            counts = selection.counts_objects or isinstance(asked, Asked)
            if counts and token.scopes.issuperset(endpoint.route.scopes):
                objects, objects_asked = self._count(request, endpoint, segments, caller, asked)
        answered_ns = now_ns
        if self._work_ns is not None:
            answered_ns += self._work_ns(request, token, route.work_ns if route is not None else None)
        if strike is not None:
            answered_ns += strike.slow_ns
        parts = {
            "app": token.client_id,
            "person": token.person,
            "ip": request.ip,
            "token": token.mark,
            "route": route.name if route is not None else "unknown",
        }
        if tenant is not None:
            parts["tenant"] = tenant
        if object_id is not None:
            parts["object"] = object_id
        engine = self._limits.engine
        decision = engine.decide(
            now_ns, selection, parts, objects=objects, objects_asked=objects_asked, answered_ns=answered_ns
        )

        scene = Scene(
            self._renderer,
            now_ns,
            decision,
            person=caller.person,
            person_n=caller.number,
            tenant=tenant or caller.tenant,
        )
        scene.values.update(segments)
        retry_after_ns = None
        error: str | None
        if decision.limit is not None:
            response, retry_after_ns = self._renderer.refuse(scene)
            error = "rate_limited"
            answered_ns = now_ns if strike is None else now_ns + strike.slow_ns
        elif wrong is not None:
            response, error = self._renderer.fail(scene, *wrong)
        elif endpoint is None:
            self._recorder.event("unknown-route", token.person, path=self._recorder.path(request.path))
            response, error = self._renderer.fail(scene, "unknown_route")
        elif problem is not None:
            response, error = self._renderer.fail(scene, problem)
        elif not token.scopes.issuperset(endpoint.route.scopes):
            response, error = self._renderer.fail(scene, "insufficient_scope", "", endpoint.route.scopes)
        else:
            response, error = self._serve(request, endpoint, scene, caller, asked)
        self._renderer.add_headers(response.headers, scene)
        if endpoint is not None and endpoint.headers is not None:
            endpoint.headers.add_to(response.headers, scene)
        fault = None
        if self._planted is not None:
            response, error, retry_after_ns, fault = self._planted.spoilt(
                strike, scene, response, error, retry_after_ns
            )
        if selection.penalties:
            engine.observe(now_ns, selection, decision, response.status)
        return Answer(
            response,
            token,
            secret,
            "valid",
            tenant,
            route,
            object_id,
            error,
            objects,
            objects_asked,
            decision,
            answered_ns,
            retry_after_ns,
            scene.request_id,
            fault,
        )

    # ---- who calls, and what

    def secret(self, request: Request) -> str | None:
        """The access token that a call carries, wherever the provider takes it from."""
        for at in self._token_at:
            if at.place == "authorization":
                secret = request.authorization(at.name)
            elif at.place == "header":
                secret = request.header(at.name)
            else:
                secret = dict(request.query_pairs()).get(at.name) if request.query else None
            if secret is not None:
                return secret
        return None

    def carried(self, request: Request, secret: str | None) -> str | None:
        """Where a call carries a token: ``query`` also where the provider does not look for one there."""
        if len(request.query) >= _SHORTEST_TOKEN:
            for _, value in request.query_pairs():
                if value == secret or value in self._store.access or value in self._store.refresh:
                    return "query"
        return "header" if secret is not None else None

    def _match(self, request: Request) -> tuple[_Endpoint | None, Mapping[str, str]]:
        endpoint = self._static.get((request.method, request.path))
        if endpoint is not None:
            return endpoint, {}
        for pattern, endpoint in self._patterns.get(request.method, ()):
            if match := pattern.fullmatch(request.path):
                return endpoint, match.groupdict()
        return None, {}

    def _token(self, secret: str | None, now_ns: int) -> tuple[AccessToken | None, str | None]:
        """The token, and the name of the error if it is not valid."""
        if secret is None:
            return None, "no_token"
        token = self._store.access.get(secret)
        if token is None:
            return None, "unknown_token"
        if token.grant.revoked:
            return token, "revoked_token"
        return token, "expired_token" if token.expires_ns <= now_ns else None

    def _answer_stranger(
        self,
        request: Request,
        now_ns: int,
        endpoint: _Endpoint | None,
        token: AccessToken | None,
        secret: str | None,
        problem: str,
        strike: Strike | None,
    ) -> Answer:
        """The answer to a call without a valid token."""
        route = endpoint.route if endpoint is not None else None
        selection = self._selection(request.method, route, False, False, False)
        parts = {"ip": request.ip, "route": route.name if route is not None else "unknown"}
        decision = self._limits.engine.decide(now_ns, selection, parts)
        scene = Scene(self._renderer, now_ns, decision)
        retry_after_ns = None
        error: str | None
        if decision.limit is not None:
            response, retry_after_ns = self._renderer.refuse(scene)
            error = "rate_limited"
        else:
            response, error = self._renderer.fail(scene, problem)
        if decision.keys:
            self._renderer.add_headers(response.headers, scene)
        fault = None
        if self._planted is not None:
            response, error, retry_after_ns, fault = self._planted.spoilt(
                strike, scene, response, error, retry_after_ns
            )
        if selection.penalties:
            self._limits.engine.observe(now_ns, selection, decision, response.status)
        answered_ns = now_ns if strike is None else now_ns + strike.slow_ns
        return Answer(
            response, token, secret, _TOKEN_STATES[problem], None, route, None, error, 0, 0, decision,
            answered_ns, retry_after_ns, scene.request_id, fault,
        )  # fmt: skip

    # ---- planted faults

    def _answer_struck(
        self,
        now_ns: int,
        route: Route | None,
        token: AccessToken | None,
        secret: str | None,
        problem: str | None,
        strike: Strike,
    ) -> Answer:
        """The answer to a call that a fault keeps from the limits, and from all work."""
        scene = Scene(self._renderer, now_ns, NOT_ASKED)
        response, error, retry_after_ns = strike.answer_early(
            lambda: self._renderer.fail(scene, "expired_token")
        )
        state = "valid" if problem is None else _TOKEN_STATES[problem]
        return Answer(
            response, token, secret, state, None, route, None, error, 0, 0, NOT_ASKED,
            now_ns + strike.slow_ns, retry_after_ns, scene.request_id, strike.name,
        )  # fmt: skip

    def _selection(
        self, method: str, route: Route | None, known: bool, with_object: bool, with_tenant: bool
    ) -> Selection:
        if method not in _METHODS:
            method = "OTHER"
        key = (route.name if route is not None else None, method, known, with_object, with_tenant)
        selection = self._selections.get(key)
        if selection is None:
            selection = self._selections[key] = self._limits.engine.select(
                "api",
                method,
                key[0],
                route.tags if route is not None else (),
                known=known,
                with_object=with_object,
                with_tenant=with_tenant,
            )
        return selection

    def _caller(self, person: str) -> Owner:
        caller = self._callers.get(person)
        if caller is None:
            number = self._numbers.get(person, 0)  # 0: an account of the app itself
            tenant = self._tenant_ids.of(self._provider.tenants.of_person(number))
            caller = self._callers[person] = Owner(person, number, tenant)
        return caller

    def _tenant(
        self, request: Request, endpoint: _Endpoint | None, segments: Mapping[str, str], caller: Owner
    ) -> tuple[str | None, str | None]:
        """The tenant that a call is for, and the name of the error if it says none or another's."""
        if self._read_tenant is None:
            return caller.tenant, None
        said = self._read_tenant(request, segments)
        if said is not None and said != "":
            return (said, None) if said == caller.tenant else (None, "foreign_tenant")
        if endpoint is None or not endpoint.says_tenant:
            return None, None
        return None, "no_tenant"

    # ---- answering

    def _items_of(self, endpoint: _Endpoint, caller: Owner) -> Items:
        name = endpoint.route.collection
        collection = self._provider.collections[name]
        of = collection.of
        key = "" if of == "app" else caller.person if of == "person" else caller.tenant
        items = self._items.get((name, key))
        if items is None:
            owner = Owner(None, None, None)
            if of != "app":
                owner = caller if of == "person" else Owner(None, None, caller.tenant)
            items = Items(collection, self._ids[name], self._views[name], owner)
            self._items[name, key] = items
        return items

    def _count(
        self,
        request: Request,
        endpoint: _Endpoint,
        segments: Mapping[str, str],
        caller: Owner,
        asked: Asked | str | None,
    ) -> tuple[int, int]:
        """How many objects the answer returns, and how many were asked for."""
        if isinstance(asked, Asked):
            left = len(self._items_of(endpoint, caller)) - asked.start
            return max(0, min(asked.size, left)), asked.size
        if endpoint.read_id is not None:
            text = endpoint.read_id(request, segments)
            found = text is not None and self._items_of(endpoint, caller).find(text) is not None
            return int(found), 1
        return (1, 1) if endpoint.route.answer == "create" else (0, 0)

    def _serve(
        self, request: Request, endpoint: _Endpoint, scene: Scene, caller: Owner, asked: Asked | str | None
    ) -> tuple[Response, str | None]:
        route = endpoint.route
        body = None
        more: list[tuple[str, str]] = []
        if route.answer != "fixed":
            items = self._items_of(endpoint, caller)
            view = endpoint.view or self._views[route.collection]
            if isinstance(asked, str):
                return self._renderer.fail(scene, "bad_request", asked)
            if asked is not None:
                body = self._page(request, endpoint, scene, items, view, asked)
            elif endpoint.read_id is not None:
                text = endpoint.read_id(request, scene.values)
                number = items.find(text) if text is not None else None
                if number is None:
                    return self._renderer.fail(scene, "not_found")
                scene.values.update(id=text, n=number, item=items.shown(number, view, scene.at_ns))
            elif (problem := _create(request, endpoint, scene, items, caller)) is not None:
                return self._renderer.fail(scene, *problem)
            elif endpoint.is_located:
                location = f"{quote(request.path, errors='replace')}/{quote(scene.values['id'], safe='')}"
                more = [("Location", location)]
        if body is None:
            body = endpoint.body.static
            if body is None:
                body = endpoint.body.render(scene)
        return Response(route.status, [*endpoint.content_headers, *more], body), None

    def _page(
        self, request: Request, endpoint: _Endpoint, scene: Scene, items: Items, view: View, asked: Asked
    ) -> bytes | None:
        """A page's body, where it is known already; else the scene is told what there is to show."""
        pages = endpoint.pages
        assert pages is not None
        start, size = asked
        total = len(items)
        stop = min(start + size, total)
        following = pages.next(asked, total)
        values = scene.values
        values["next"] = following
        if endpoint.wants_next_url and following is not None:
            values["next_url"] = pages.next_url(request, self._issuer, following)
        common = view.is_common and start + size < items.initial and size == pages.size
        if common and (body := endpoint.common_pages.get(asked)) is not None:
            if endpoint.shares_pages:
                return body
            listed = body
        else:
            shown = [items.shown(n, view, scene.at_ns) for n in range(start + 1, stop + 1)]
            listed = b"[" + b",".join(shown) + b"]"
        values.update(
            items=listed,
            count=max(0, stop - start),
            total=total,
            size=size,
            page=start // size + 1,
            offset=start,
            more=following is not None,
        )
        body = endpoint.body.render(scene) if endpoint.shares_pages else None
        if common and asked not in endpoint.common_pages and len(endpoint.common_pages) < _MOST_CACHED_PAGES:
            endpoint.common_pages[asked] = body if body is not None else listed
        return body


def _create(
    request: Request, endpoint: _Endpoint, scene: Scene, items: Items, caller: Owner
) -> tuple[str, str] | None:
    """Create an item; the name of an error and its message if that cannot be."""
    fields = fields_of(request)
    if fields is None:
        return "bad_request", "The body must be a JSON object."
    try:
        item, kept = items.create(fields, caller, scene.at_ns)
        if not kept:
            return "too_large", "The item is too large, or there are too many."
        shown = item.whole if endpoint.view is None else endpoint.view.overlaid(item, whole=False)
    except (ValueError, RecursionError):
        return "bad_request", "The body must be a JSON object."
    scene.values.update(id=item.id, n=item.n, item=shown)
    return None


def _pattern(path: str) -> re.Pattern[str]:
    """A regular expression for a path template; a name in braces is one segment."""
    parts = re.split(r"\{(\w+)\}", path)
    literal, names = parts[::2], parts[1::2]
    pattern = re.escape(literal[0])
    for name, text in zip(names, literal[1:], strict=True):
        pattern += f"(?P<{name}>[^/]+)" + re.escape(text)
    return re.compile(pattern)
