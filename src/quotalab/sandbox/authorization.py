"""The authorization server: its endpoints by their paths, and the documents in which it describes itself."""

from __future__ import annotations

from collections.abc import Callable

from quotalab.clock import Clock, Entropy
from quotalab.profiles.provider import Provider
from quotalab.sandbox import openapi, rfc7009, rfc7662, rfc8414
from quotalab.sandbox.consent import AUTHORIZE, CONNECTIONS, SIGN_IN, ConsentEndpoints
from quotalab.sandbox.dialect import Renderer
from quotalab.sandbox.facts import Answer, Facts, not_allowed
from quotalab.sandbox.faults import Faults
from quotalab.sandbox.http import Request, Response, html, json_response
from quotalab.sandbox.limits import ProviderLimits
from quotalab.sandbox.pages import error_page
from quotalab.sandbox.phase import Phase
from quotalab.sandbox.record import Recorder
from quotalab.sandbox.rfc6749 import GrantServer
from quotalab.sandbox.store import AccessToken, Grant, Store
from quotalab.sandbox.tokens import TokenEndpoints

__all__ = ["KINDS", "Answer", "AuthorizationEndpoints"]

_TOKEN = "/oauth/token"  # noqa: S105  (a path)

KINDS = {
    AUTHORIZE: ("authorize", "browser"),
    SIGN_IN: ("authorize", "browser"),
    CONNECTIONS: ("authorize", "browser"),
    _TOKEN: ("token", "app"),
    rfc7009.PATH: ("revoke", "app"),
    rfc7662.PATH: ("introspect", "app"),
    rfc8414.PATH: ("metadata", "app"),
    openapi.PATH: ("metadata", "app"),
}
"""Path of an endpoint -> kind of its calls, and who makes them."""


class AuthorizationEndpoints:
    """Answers what is not the API's. The test phase, which `clock` may end, counts from `start_ns`."""

    def __init__(
        self,
        provider: Provider,
        store: Store,
        recorder: Recorder,
        limits: ProviderLimits,
        renderer: Renderer,
        entropy: Entropy,
        issuer: str,
        *,
        clock: Clock,
        start_ns: int,
        planted: Faults | None = None,
        consents_as: str | None = None,
    ) -> None:
        """`consents_as`: who consents to all that is asked; see `ConsentEndpoints`."""
        self._provider = provider
        self._recorder = recorder
        self._issuer = issuer
        self._phase = Phase(provider, store.people, start_ns, recorder)
        store.on_revoked = self._revoked
        facts = Facts(provider, store, recorder)
        server = GrantServer(provider, store, self._phase, clock, entropy, recorder, issuer)
        people = ConsentEndpoints(
            provider, server, store, self._phase, facts, recorder, limits, entropy, planted, consents_as
        )
        apps = TokenEndpoints(server, store, facts, recorder, limits, renderer, planted)
        oauth = provider.oauth
        self._endpoints: dict[str, Callable[[Request, int], Answer]] = {
            AUTHORIZE: people.authorize,
            SIGN_IN: people.sign_in,
            CONNECTIONS: people.connections,
            _TOKEN: apps.token,
            rfc7009.PATH: apps.revoke if oauth.revocation else self._missing,
            rfc7662.PATH: apps.introspect if oauth.introspection else self._missing,
            rfc8414.PATH: self._metadata,
            openapi.PATH: self._metadata,
        }

    def answer(self, request: Request, now_ns: int) -> Answer | None:
        """The answer, or None when the path is none of the authorization server's."""
        self._phase.is_over(now_ns)
        endpoint = self._endpoints.get(request.path)
        return endpoint(request, now_ns) if endpoint is not None else None

    def unread(self, path: str, status: int, message: str) -> Response:
        """The answer to a request that is too large to be read, at one of the endpoints: a page for people,
        for apps an error as RFC 6749, 5.2, has it."""
        if KINDS[path][1] == "browser":
            return html(status, error_page(message))
        document = {"error": "invalid_request", "error_description": message}
        return json_response(status, document, ("Cache-Control", "no-store"), ("Pragma", "no-cache"))

    def advance(self, now_ns: int) -> None:
        """What was due up to now becomes events, for the end of a run."""
        self._phase.is_over(now_ns)

    def _metadata(self, request: Request, _: int) -> Answer:
        if request.method not in ("GET", "HEAD"):
            refused = not_allowed("GET, HEAD")
            return Answer(refused, "metadata", "app", None, None, "method_not_allowed", None)
        if request.path == openapi.PATH:
            known = {path: kind for path, kind in KINDS.items() if self._endpoints[path] != self._missing}
            document = openapi.document(self._provider, self._issuer, known)
        else:
            document = rfc8414.metadata(self._provider, self._issuer)
        return Answer(json_response(200, document), "metadata", "app", None, None, None, None)

    def _missing(self, request: Request, _: int) -> Answer:
        """The answer of an endpoint that the provider does not have."""
        kind, actor = KINDS[request.path]
        response = Response(404, [("Content-Type", "text/plain")], b"")
        return Answer(response, kind, actor, None, None, "not_found", None)

    def _revoked(self, what: Grant | AccessToken, why: str, at_ns: int | None) -> None:
        """Write down that a grant or a single access token was revoked."""
        token = {"token": what.mark} if isinstance(what, AccessToken) else {}
        self._recorder.event("token-revoked", what.person, at_ns, client=what.client_id, why=why, **token)
