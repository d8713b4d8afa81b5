"""The authorization server's endpoints: authorize (sign in, consent), token, metadata."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple

from authlib.oauth2.rfc6749.errors import AccessDeniedError, OAuth2Error
from authlib.oauth2.rfc6749.util import extract_basic_authorization

from quotalab.clock import Entropy
from quotalab.ledger import OAuthFacts
from quotalab.profiles.provider import Provider
from quotalab.quota import Decision, Selection
from quotalab.sandbox import rfc8414
from quotalab.sandbox.dialect import Renderer, Scene
from quotalab.sandbox.http import Request, Response, html, json_response, redirect
from quotalab.sandbox.limits import ProviderLimits
from quotalab.sandbox.pages import consent_page, error_page, sign_in_page
from quotalab.sandbox.record import NOT_ASKED, Recorder
from quotalab.sandbox.rfc6749 import GrantServer, OAuthRequest
from quotalab.sandbox.store import Store

__all__ = ["KINDS", "Answer", "AuthorizationEndpoints"]

_AUTHORIZE = "/oauth/authorize"
_SIGN_IN = "/oauth/login"
_TOKEN = "/oauth/token"  # noqa: S105  (a path)
_COOKIE = "sandbox_session"

KINDS = {
    _AUTHORIZE: ("authorize", "browser"),
    _SIGN_IN: ("authorize", "browser"),
    _TOKEN: ("token", "app"),
    rfc8414.PATH: ("metadata", "app"),
}
"""Path of an endpoint -> kind of its calls, and who makes them."""


class Answer(NamedTuple):
    """An answer with what the ledger says of it."""

    response: Response
    kind: str
    actor: str
    client_id: str | None
    person: str | None
    error: str | None
    oauth: OAuthFacts | None
    decision: Decision = NOT_ASKED
    retry_after_ns: int | None = None
    request_id: str | None = None


class AuthorizationEndpoints:
    """Answers what is not the API's."""

    def __init__(
        self,
        provider: Provider,
        store: Store,
        recorder: Recorder,
        limits: ProviderLimits,
        renderer: Renderer,
        entropy: Entropy,
        issuer: str,
    ) -> None:
        self._provider = provider
        self._limits = limits
        self._renderer = renderer
        self._delimiter = provider.oauth.scope_delimiter
        self._token_selections = {
            known: limits.select("token", "POST", known=known) for known in (True, False)
        }
        self._authorize_selection: dict[str, Selection] = {
            method: limits.select("authorize", method, known=True) for method in ("GET", "POST")
        }
        self._store = store
        self._recorder = recorder
        self._entropy = entropy
        self._issuer = issuer
        self._server = GrantServer(provider, store, entropy, recorder)
        self._csrf_key = entropy.key("csrf")
        self._endpoints: dict[str, Callable[[Request, int], Answer]] = {
            _AUTHORIZE: self._authorize,
            _SIGN_IN: self._sign_in,
            _TOKEN: self._token,
            rfc8414.PATH: self._metadata,
        }

    def answer(self, request: Request, now_ns: int) -> Answer | None:
        """The answer, or None when the path is none of the authorization server's."""
        endpoint = self._endpoints.get(request.path)
        return endpoint(request, now_ns) if endpoint is not None else None

    def _metadata(self, request: Request, _: int) -> Answer:
        if request.method not in ("GET", "HEAD"):
            refused = _not_allowed("GET, HEAD")
            return Answer(refused, "metadata", "app", None, None, "method_not_allowed", None)
        document = rfc8414.metadata(self._provider, self._issuer)
        return Answer(json_response(200, document), "metadata", "app", None, None, None, None)

    # ---- authorize: RFC 6749, 3.1

    def _authorize(self, request: Request, now_ns: int) -> Answer:
        pairs = request.query_pairs()
        facts = self._facts(dict(pairs))
        client_id = self._known_client(dict(pairs).get("client_id"))
        person = self._signed_in(request)

        decision = NOT_ASKED

        def answer(response: Response, error: str | None = None, **more: str | None) -> Answer:
            if selection.penalties and decision.keys:
                self._limits.engine.observe(now_ns, selection, decision, response.status)
            known = facts._replace(**more)
            return Answer(response, "authorize", "browser", client_id, person, error, known, decision)

        selection = self._authorize_selection["POST" if request.method == "POST" else "GET"]

        if request.method not in ("GET", "POST"):
            return answer(_not_allowed("GET, POST"), "method_not_allowed")
        try:
            asked = OAuthRequest(request, self._issuer, pairs, self._delimiter)
            grant = self._server.get_consent_grant(asked, person)
        except OAuth2Error as error:
            return answer(self._error(error), error.error)
        action = f"{_AUTHORIZE}?{request.query}"
        if person is None:
            page = sign_in_page(self._provider.title, f"{_SIGN_IN}?{request.query}")
            return answer(html(200, page))

        # Who only looks takes no place: a limit is charged when consent is given.
        parts = {"app": asked.client.client_id, "ip": request.ip, "person": person}
        engine = self._limits.engine
        refused_by = engine.decide(now_ns, selection, parts, charge=False).limit
        if refused_by is not None:
            if request.method == "POST":
                decision = engine.decide(now_ns, selection, parts)
            refused = AccessDeniedError(
                self._turned_away(refused_by, person), redirect_uri=grant.redirect_uri
            )
            refused.state = asked.payload.state
            return answer(self._error(refused), "access_denied")

        if request.method == "GET":
            words = [self._provider.scopes[scope] for scope in (asked.scope or "").split()]
            page = consent_page(
                self._provider.title, asked.client.client_id, person, words, action, self._csrf(request)
            )
            return answer(html(200, page))

        form = dict(request.form_pairs())
        if not hmac.compare_digest(form.get("csrf", "").encode(), self._csrf(request).encode()):
            return answer(
                html(403, error_page("This form is not the one that was shown to you.")), "forged_form"
            )
        allowed = form.get("decision") == "allow"
        response = self._server.create_authorization_response(asked, person if allowed else None, grant)
        if not allowed:
            self._recorder.event("consent-denied", person, client=client_id)
            return answer(response, "access_denied")
        decision = engine.decide(now_ns, selection, parts)
        self._recorder.event("consent-given", person, client=client_id, scopes=asked.scope)
        return answer(
            response, code=self._recorder.mark(asked.issued["code"]), scopes_granted=asked.scope or None
        )

    def _turned_away(self, limit: str, person: str) -> str:
        """What the app is told when a limit keeps a person from connecting it."""
        if self._limits.by_name[limit].kind != "cardinality":
            self._recorder.event("connection-refused", person, limit=limit)
            return "The app has reached a limit of the provider's."
        most = self._limits.number(limit)
        self._recorder.event("connection-refused", person, most_people=most)
        return f"Before review at most {most} people may connect this app."

    def _error(self, error: OAuth2Error) -> Response:
        """An error goes back by redirect only where the client and its URI were found right (4.1.2.1)."""
        if error.redirect_uri:
            response: Response = self._server.handle_error_response(None, error)
            return response
        return html(400, error_page(error.description or error.error))

    # ---- signing in

    def _sign_in(self, request: Request, _: int) -> Answer:
        parameters = dict(request.query_pairs())
        facts = self._facts(parameters)
        client_id = self._known_client(parameters.get("client_id"))
        if request.method != "POST":
            return Answer(
                _not_allowed("POST"), "authorize", "browser", client_id, None, "method_not_allowed", facts
            )
        form = dict(request.form_pairs())
        person, password = form.get("username", ""), form.get("password", "")
        right = hmac.compare_digest(password.encode(), self._store.password_of(person).encode())
        if not right or not self._store.is_listed(person):
            self._recorder.event("sign-in-refused", None)
            page = sign_in_page(self._provider.title, f"{_SIGN_IN}?{request.query}", failed=True)
            return Answer(html(401, page), "authorize", "browser", client_id, None, "sign_in_refused", facts)
        session = self._entropy.token("session")
        self._store.sessions[session] = person
        secure = "; Secure" if self._issuer.startswith("https:") else ""
        cookie = f"{_COOKIE}={session}; Path=/oauth; HttpOnly; SameSite=Lax{secure}"
        response = redirect(f"{_AUTHORIZE}?{request.query}", ("Set-Cookie", cookie))
        return Answer(response, "authorize", "browser", client_id, person, None, facts)

    def _signed_in(self, request: Request) -> str | None:
        return self._store.sessions.get(request.cookie(_COOKIE) or "")

    def _csrf(self, request: Request) -> str:
        """A form is good for one session and one authorization request."""
        text = f"{request.cookie(_COOKIE)}\n{request.query}"
        return hmac.new(self._csrf_key, text.encode(), sha256).hexdigest()

    # ---- token: RFC 6749, 3.2

    def _token(self, request: Request, now_ns: int) -> Answer:
        pairs = request.form_pairs()
        form = dict(pairs)
        facts = self._facts(form)
        client_id = self._known_client(_named_client(request, form))
        if request.method != "POST":
            return Answer(_not_allowed("POST"), "token", "app", client_id, None, "method_not_allowed", facts)
        holder = self._store.holder(form) if client_id is not None else None
        parts = {"ip": request.ip}
        if client_id is not None:
            parts |= {"app": client_id, "person": holder or ""}
        selection = self._token_selections[client_id is not None]
        decision = self._limits.engine.decide(now_ns, selection, parts)
        scene = Scene(self._renderer, now_ns, decision, person=holder)
        person, retry_after_ns, error = holder, None, None
        if decision.limit is not None:
            response, retry_after_ns = self._renderer.refuse(scene)
            error = "rate_limited"
        else:
            response, asked = self._issue(request, pairs)
            if response.status != 200 or asked is None:
                error = _error_code(response)
                self._recorder.event("token-refused", None, client=client_id, error=error)
            else:
                person = asked.user.person
                facts = facts._replace(
                    issued_token=self._recorder.mark(asked.issued.get("access_token")),
                    issued_refresh_token=self._recorder.mark(asked.issued.get("refresh_token")),
                    scopes_granted=asked.issued.get("scope"),
                )
                if facts.issued_refresh_token is not None:
                    holders = {**parts, "person": person, "token": facts.issued_refresh_token}
                    decision = self._with(decision, self._limits.issued(now_ns, holders))
                    scene.decision = decision
        if decision.keys:
            self._renderer.add_headers(response.headers, scene)
        if selection.penalties:
            self._limits.engine.observe(now_ns, selection, decision, response.status)
        return Answer(
            response,
            "token",
            "app",
            client_id,
            person,
            error,
            facts,
            decision,
            retry_after_ns,
            scene.request_id,
        )

    def _issue(self, request: Request, pairs: list[tuple[str, str]]) -> tuple[Response, OAuthRequest | None]:
        asked = None
        try:
            asked = OAuthRequest(request, self._issuer, pairs, self._delimiter)
            response: Response = self._server.create_token_response(asked)
        except OAuth2Error as error:
            response = self._server.handle_error_response(None, error)
        return response, asked

    def _with(self, decision: Decision, issued: Decision) -> Decision:
        """Both decisions in one: that on the call, and that on the refresh token it was given."""
        if issued.evicted is not None and (gone := self._store.evict(issued.evicted)) is not None:
            self._recorder.event(
                "token-evicted", gone.grant.person, client=gone.client_id, limit=issued.keys[0][0]
            )
        return Decision(
            None,
            0,
            max(decision.cost, issued.cost),
            decision.keys + issued.keys,
            decision.charges + issued.charges,
            decision.remaining + issued.remaining,
            issued.evicted,
        )

    # ---- what the ledger is told

    def _known_client(self, client_id: str | None) -> str | None:
        return client_id if client_id in self._store.clients else None

    def _facts(self, parameters: dict[str, str]) -> OAuthFacts:
        """The request's parameters, secrets as marks; texts that could hold anything only if known."""
        mark = self._recorder.mark
        redirect_uri = parameters.get("redirect_uri")
        registered = {uri for client in self._store.clients.values() for uri in client.redirect_uris}
        if redirect_uri is not None and redirect_uri not in registered:
            redirect_uri = "[not registered]"
        return OAuthFacts(
            grant_type=_known(
                parameters.get("grant_type"),
                ("authorization_code", "refresh_token", "password", "client_credentials"),
            ),
            response_type=_known(parameters.get("response_type"), ("code", "token")),
            pkce_method=_known(parameters.get("code_challenge_method"), ("S256", "plain")),
            state=mark(parameters.get("state")),
            code=mark(parameters.get("code")),
            refresh_token=mark(parameters.get("refresh_token")),
            redirect_uri=redirect_uri,
            scopes_asked=self._known_scopes(parameters.get("scope", "").replace(self._delimiter, " ")),
        )

    def _known_scopes(self, scope: str) -> str | None:
        asked = scope.split()[:100]
        return " ".join([name if name in self._provider.scopes else "[other]" for name in asked]) or None


def _named_client(request: Request, form: dict[str, str]) -> str | None:
    """The client that a token request says it is, before it has been authenticated."""
    authorization = request.header("authorization")
    if authorization is None:
        return form.get("client_id")
    try:
        named: str | None = extract_basic_authorization({"Authorization": authorization})[0]
    except ValueError:  # not base64, or not of UTF-8
        return None
    return named


def _known(value: str | None, known: tuple[str, ...]) -> str | None:
    return value if value is None or value in known else "[other]"


def _not_allowed(allow: str) -> Response:
    return Response(405, [("Allow", allow), ("Content-Type", "text/plain")], b"")


def _error_code(response: Response) -> str:
    return str(json.loads(response.body)["error"])
