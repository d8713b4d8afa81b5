"""What apps ask the authorization server behind people's backs: tokens, their revocation, introspection."""

from __future__ import annotations

from authlib.oauth2.rfc6749.errors import InvalidRequestError, OAuth2Error

from quotalab.ledger import OAuthFacts
from quotalab.quota import Decision
from quotalab.sandbox.dialect import Renderer, Scene
from quotalab.sandbox.facts import Answer, Facts, error_code, not_allowed
from quotalab.sandbox.http import Request, Response
from quotalab.sandbox.limits import ProviderLimits
from quotalab.sandbox.record import Recorder
from quotalab.sandbox.rfc6749 import GrantServer, OAuthRequest
from quotalab.sandbox.store import RefreshToken, Store

__all__ = ["TokenEndpoints"]


class TokenEndpoints:
    """Answers the token endpoint (RFC 6749, 3.2), and those of RFC 7009 and RFC 7662."""

    def __init__(
        self,
        server: GrantServer,
        store: Store,
        facts: Facts,
        recorder: Recorder,
        limits: ProviderLimits,
        renderer: Renderer,
    ) -> None:
        self._server = server
        self._store = store
        self._facts = facts
        self._recorder = recorder
        self._limits = limits
        self._renderer = renderer
        self._selections = {known: limits.select("token", "POST", known=known) for known in (True, False)}

    def token(self, request: Request, now_ns: int) -> Answer:
        """RFC 6749, 3.2."""
        pairs = request.form_pairs()
        form = dict(pairs)
        self._store.note("code verifier", form.get("code_verifier"))
        facts = self._facts.of(form)
        client_id = self._facts.named_client(request, form)
        if request.method != "POST":
            return Answer(not_allowed("POST"), "token", "app", client_id, None, "method_not_allowed", facts)
        holder = self._store.holder(form) if client_id is not None else None
        parts = {"ip": request.ip}
        if client_id is not None:
            parts |= {"app": client_id, "person": holder or ""}
        selection = self._selections[client_id is not None]
        decision = self._limits.engine.decide(now_ns, selection, parts)
        scene = Scene(self._renderer, now_ns, decision, person=holder)
        person, retry_after_ns, error = holder, None, None
        if decision.limit is not None:
            response, retry_after_ns = self._renderer.refuse(scene)
            error = "rate_limited"
        else:
            response, asked = self._issue(request, pairs)
            if response.status != 200 or asked is None:
                error = error_code(response)
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

    def revoke(self, request: Request, _: int) -> Answer:
        """RFC 7009."""
        return self._about_token(request, "revoke", "revocation")

    def introspect(self, request: Request, _: int) -> Answer:
        """RFC 7662."""
        return self._about_token(request, "introspect", "introspection")

    def _about_token(self, request: Request, kind: str, endpoint: str) -> Answer:
        pairs = request.form_pairs()
        form = dict(pairs)
        client_id = self._facts.named_client(request, form)
        if request.method != "POST":
            return Answer(not_allowed("POST"), kind, "app", client_id, None, "method_not_allowed", None)
        secret = form.get("token")
        found = self._store.find(secret) if secret else None
        try:
            asked = OAuthRequest(request, self._server.issuer, pairs)
            if asked.repeated:  # RFC 6749, 3.2
                raise InvalidRequestError("A parameter is included more than once.")
            response: Response = self._server.create_endpoint_response(endpoint, asked)
        except OAuth2Error as error:
            response = self._server.handle_error_response(None, error)
        mark = self._recorder.mark(secret)
        facts = OAuthFacts(refresh_token=mark) if isinstance(found, RefreshToken) else OAuthFacts()
        return Answer(
            response,
            kind,
            "app",
            client_id,
            found.grant.person if found is not None else None,
            None if response.status == 200 else error_code(response),
            facts,
            token=mark,
        )

    def _issue(self, request: Request, pairs: list[tuple[str, str]]) -> tuple[Response, OAuthRequest | None]:
        asked = None
        try:
            asked = OAuthRequest(request, self._server.issuer, pairs, self._server.delimiter)
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
