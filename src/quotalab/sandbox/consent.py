"""What people do at the provider in a browser: sign in, give or refuse consent, withdraw it."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from authlib.oauth2.rfc6749.errors import AccessDeniedError, OAuth2Error

from quotalab.clock import Entropy
from quotalab.profiles.provider import Provider
from quotalab.quota import Selection
from quotalab.sandbox.facts import Answer, Facts, not_allowed
from quotalab.sandbox.faults import Faults
from quotalab.sandbox.http import Request, Response, html, redirect
from quotalab.sandbox.limits import ProviderLimits
from quotalab.sandbox.pages import (
    AskedScope,
    Connection,
    connections_page,
    consent_page,
    error_page,
    sign_in_page,
)
from quotalab.sandbox.phase import Phase
from quotalab.sandbox.record import NOT_ASKED, Recorder
from quotalab.sandbox.rfc6749 import GrantServer, OAuthRequest
from quotalab.sandbox.store import Store

__all__ = ["AUTHORIZE", "CONNECTIONS", "SIGN_IN", "ConsentEndpoints"]

AUTHORIZE = "/oauth/authorize"
SIGN_IN = "/oauth/login"
CONNECTIONS = "/oauth/connections"

_COOKIE = "sandbox_session"
_TO_CONNECTIONS = "to=connections"
"""The sign-in's query when it leads to the list of connections; addresses are never taken from a query."""


class ConsentEndpoints:
    """The authorization endpoint (RFC 6749, 3.1) and the pages around it.

    `consents_as`: the person who is signed in and consents to all that is asked, where a request has no
    `login_hint` that names another; None: people decide for themselves.
    """

    def __init__(
        self,
        provider: Provider,
        server: GrantServer,
        store: Store,
        phase: Phase,
        facts: Facts,
        recorder: Recorder,
        limits: ProviderLimits,
        entropy: Entropy,
        planted: Faults | None,
        consents_as: str | None,
    ) -> None:
        self._provider = provider
        self._server = server
        self._store = store
        self._phase = phase
        self._facts = facts
        self._recorder = recorder
        self._limits = limits
        self._entropy = entropy
        self._planted = planted
        self._consents_as = consents_as
        self._selections: dict[str, Selection] = {
            method: limits.select("authorize", method, known=True) for method in ("GET", "POST")
        }
        self._csrf_key = entropy.key("csrf")

    # ---- authorize: RFC 6749, 3.1

    def authorize(self, request: Request, now_ns: int) -> Answer:
        """The authorization endpoint: a page until the person has decided, then a redirect to the app."""
        pairs = request.query_pairs()
        facts = self._facts.of(dict(pairs), "query" if "client_secret" in dict(pairs) else None)
        client_id = self._facts.client(dict(pairs).get("client_id"))
        person = self._signed_in(request) if self._consents_as is None else self._hinted(dict(pairs))
        selection = self._selections["POST" if request.method == "POST" else "GET"]
        decision = NOT_ASKED

        def answer(
            response: Response, error: str | None = None, fault: str | None = None, **more: Any
        ) -> Answer:
            if selection.penalties and decision.keys:
                self._limits.engine.observe(now_ns, selection, decision, response.status)
            known = facts._replace(**more)
            return Answer(
                response, "authorize", "browser", client_id, person, error, known, decision, fault=fault
            )

        if request.method not in ("GET", "HEAD", "POST"):
            return answer(not_allowed("GET, HEAD, POST"), "method_not_allowed")
        try:
            asked = OAuthRequest(request, self._server.issuer, pairs, self._server.delimiter)
            grant = self._server.get_consent_grant(asked, person)
        except OAuth2Error as error:
            return answer(self._error(error), error.error)
        if person is None:
            page = sign_in_page(self._provider.title, f"{SIGN_IN}?{request.query}")
            return answer(html(200, page))

        if self._planted is not None and request.method == "GET":
            struck = self._planted.strike_authorization(request, person, now_ns)
            if struck is not None:
                code, fault = struck
                failed = OAuth2Error(redirect_uri=grant.redirect_uri, error=code)
                failed.state = asked.payload.state
                return answer(self._error(failed), code, fault)

        def turn_away(why: str) -> Answer:
            refused = AccessDeniedError(why, redirect_uri=grant.redirect_uri)
            refused.state = asked.payload.state
            return answer(self._error(refused), "access_denied")

        if not self._phase.is_open_to(person, now_ns):
            self._recorder.event("connection-refused", person, why="no listed test user")
            return turn_away("Before review only listed test users may connect this app.")
        # Who only looks takes no place: a limit is charged when consent is given.
        parts = {"app": asked.client.client_id, "ip": request.ip, "person": person}
        engine = self._limits.engine
        refused_by = engine.decide(now_ns, selection, parts, charge=False).limit
        if refused_by is not None:
            if request.method == "POST":
                decision = engine.decide(now_ns, selection, parts)
            return turn_away(self._limited(refused_by, person))

        # HEAD is safe (RFC 9110, 9.2.1): a mail scanner that looks at a link decides nothing.
        if request.method == "HEAD" or (request.method == "GET" and self._consents_as is None):
            return answer(html(200, self._consent_page(request, asked, person, now_ns)))

        form = request.form_pairs()
        allowed = self._consents_as is not None
        if not allowed:
            if self._is_forged(request, dict(form)):
                return answer(self._forged(), "forged_form")
            allowed = dict(form).get("decision") == "allow"
            allowed = self._untick(asked, form) and allowed
        response = self._server.create_authorization_response(asked, person if allowed else None, grant)
        if not allowed:
            self._recorder.event("consent-denied", person, client=client_id)
            return answer(response, "access_denied")
        decision = engine.decide(now_ns, selection, parts)
        self._recorder.event("consent-given", person, client=client_id, scopes=asked.scope)
        issued = self._recorder.mark(asked.issued["code"])
        return answer(response, code=issued, scopes_granted=asked.scope or None)

    def _consent_page(self, request: Request, asked: OAuthRequest, person: str, now_ns: int) -> str:
        restricted = self._phase.restricted(now_ns)
        scopes = [
            AskedScope(scope, self._provider.scopes[scope], scope in restricted)
            for scope in (asked.scope or "").split()
        ]
        return consent_page(
            self._provider.title,
            asked.client.client_id,
            person,
            scopes,
            f"{AUTHORIZE}?{request.query}",
            self._csrf(request, request.query),
            untick=self._provider.oauth.untick,
            unverified=self._phase.warns(now_ns),
        )

    def _untick(self, asked: OAuthRequest, form: list[tuple[str, str]]) -> bool:
        """Leave out the scopes that the person has unticked (RFC 6749, 3.3: the server "MAY fully or
        partially ignore the scope requested by the client, based on ... the resource owner's instructions").
        False: nothing is left of them."""
        wanted = (asked.scope or "").split()
        if not self._provider.oauth.untick or not wanted:
            return True
        ticked = {value for name, value in form if name == "scope"}
        left = [scope for scope in wanted if scope in ticked]
        if left:
            asked.narrow(" ".join(left))
        return bool(left)

    def _limited(self, limit: str, person: str) -> str:
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

    def sign_in(self, request: Request, _: int) -> Answer:
        """Name and password; leads back to where it was needed."""
        parameters = dict(request.query_pairs())
        facts = self._facts.of(parameters)
        client_id = self._facts.client(parameters.get("client_id"))

        def answer(response: Response, error: str | None = None, person: str | None = None) -> Answer:
            return Answer(response, "authorize", "browser", client_id, person, error, facts)

        if request.method != "POST":
            return answer(not_allowed("POST"), "method_not_allowed")
        if _from_elsewhere(request):
            return answer(self._forged(), "forged_form")
        form = dict(request.form_pairs())
        person, password = form.get("username", ""), form.get("password", "")
        right = hmac.compare_digest(password.encode(), self._store.password_of(person).encode())
        if not right or not self._store.has_account(person):
            self._recorder.event("sign-in-refused", None)
            page = sign_in_page(self._provider.title, f"{SIGN_IN}?{request.query}", failed=True)
            return answer(html(401, page), "sign_in_refused")
        session = self._entropy.token("session")
        self._store.sessions[session] = person
        secure = "; Secure" if self._server.issuer.startswith("https:") else ""
        cookie = f"{_COOKIE}={session}; Path=/oauth; HttpOnly; SameSite=Lax{secure}"
        to = CONNECTIONS if request.query == _TO_CONNECTIONS else f"{AUTHORIZE}?{request.query}"
        return answer(redirect(to, ("Set-Cookie", cookie)), None, person)

    def _signed_in(self, request: Request) -> str | None:
        return self._store.sessions.get(request.cookie(_COOKIE) or "")

    def _hinted(self, parameters: Mapping[str, str]) -> str | None:
        """Who is signed in where consent is given at once (`login_hint`: OpenID Connect Core, 3.1.2.1)."""
        person = parameters.get("login_hint") or self._consents_as
        return person if person is not None and self._store.has_account(person) else None

    # ---- withdrawing

    def connections(self, request: Request, _: int) -> Answer:
        """The apps that have a person's consent; each can be removed, with all that came of it."""
        person = self._signed_in(request)
        form = dict(request.form_pairs())
        removed = self._facts.client(form.get("client")) if request.method == "POST" else None

        def answer(response: Response, error: str | None = None) -> Answer:
            return Answer(response, "authorize", "browser", removed, person, error, None)

        if request.method not in ("GET", "HEAD", "POST"):
            return answer(not_allowed("GET, HEAD, POST"), "method_not_allowed")
        if person is None:
            return answer(html(200, sign_in_page(self._provider.title, f"{SIGN_IN}?{_TO_CONNECTIONS}")))
        if request.method == "POST":
            if self._is_forged(request, form, CONNECTIONS):
                return answer(self._forged(), "forged_form")
            if removed is not None and removed in self._store.connections(person):
                self._recorder.event("consent-withdrawn", person, client=removed)
                self._store.withdraw(person, removed, "consent withdrawn")
            return answer(redirect(CONNECTIONS))
        apps = [
            Connection(client_id, [self._provider.scopes[scope] for scope in scopes.split()])
            for client_id, scopes in self._store.connections(person).items()
        ]
        page = connections_page(
            self._provider.title, person, apps, CONNECTIONS, self._csrf(request, CONNECTIONS)
        )
        return answer(html(200, page))

    # ---- forgery

    def _csrf(self, request: Request, purpose: str) -> str:
        """A form is good for one session and one purpose: an authorization request, or the connections."""
        text = f"{request.cookie(_COOKIE)}\n{purpose}"
        return hmac.new(self._csrf_key, text.encode("utf-8", "surrogatepass"), sha256).hexdigest()

    def _is_forged(self, request: Request, form: Mapping[str, str], purpose: str | None = None) -> bool:
        told = form.get("csrf", "").encode("utf-8", "surrogatepass")
        right = self._csrf(request, request.query if purpose is None else purpose).encode()
        return _from_elsewhere(request) or not hmac.compare_digest(told, right)

    def _forged(self) -> Response:
        return html(403, error_page("This form is not the one that was shown to you."))


def _from_elsewhere(request: Request) -> bool:
    """Whether another site's page sent a form, as far as the browser tells: by Fetch Metadata, 2.3, and older
    ones by Origin (RFC 6454, 7), which is `null` from pages that send no referrer, such as our own."""
    origin = request.header("origin")
    if origin is not None and origin != "null" and origin.partition("://")[2] != request.header("host"):
        return True
    return request.header("sec-fetch-site") in ("cross-site", "same-site")
