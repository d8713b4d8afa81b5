"""What apps ask the authorization server behind people's backs: tokens, their revocation, introspection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from authlib.oauth2.rfc6749.errors import InvalidRequestError, OAuth2Error

from quotalab.ledger import OAuthFacts
from quotalab.quota import Decision
from quotalab.sandbox.dialect import Renderer, Scene
from quotalab.sandbox.facts import Answer, Facts, client_auth, error_code, not_allowed
from quotalab.sandbox.faults import Faults, Strike
from quotalab.sandbox.http import Request, Response
from quotalab.sandbox.limits import ProviderLimits
from quotalab.sandbox.record import NOT_ASKED, Recorder
from quotalab.sandbox.rfc6749 import GrantServer, OAuthRequest
from quotalab.sandbox.store import RefreshToken, Store

__all__ = ["TokenEndpoints"]


class _Done(NamedTuple):
    """What an endpoint made of a request that no limit refused."""

    response: Response
    error: str | None
    person: str | None
    facts: OAuthFacts
    decision: Decision


class _Asked(NamedTuple):
    """Who asks for a token, and what a limit has said to it."""

    client_id: str | None
    holder: str | None
    facts: OAuthFacts
    decision: Decision
    parts: Mapping[str, str]


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
        planted: Faults | None,
    ) -> None:
        self._server = server
        self._store = store
        self._facts = facts
        self._recorder = recorder
        self._limits = limits
        self._renderer = renderer
        self._planted = planted
        self._selections = {
            (kind, known): limits.select(kind, "POST", known=known)
            for kind in ("token", "revoke", "introspect")
            for known in (True, False)
        }

    def token(self, request: Request, now_ns: int) -> Answer:
        """RFC 6749, 3.2."""
        pairs = request.form_pairs()
        form = dict(pairs)
        self._store.note("code verifier", form.get("code_verifier"))
        facts = self._facts.of(form, client_auth(request, form))
        client_id = self._facts.named_client(request, form)
        if request.method != "POST":
            return Answer(not_allowed("POST"), "token", "app", client_id, None, "method_not_allowed", facts)
        holder = self._store.holder(form) if client_id is not None else None

        def issue(decision: Decision, parts: Mapping[str, str]) -> _Done:
            return self._issue(request, pairs, now_ns, _Asked(client_id, holder, facts, decision, parts))

        return self._answer(request, now_ns, "token", client_id, holder, facts, None, issue)

    def revoke(self, request: Request, now_ns: int) -> Answer:
        """RFC 7009."""
        return self._about_token(request, now_ns, "revoke", "revocation")

    def introspect(self, request: Request, now_ns: int) -> Answer:
        """RFC 7662."""
        return self._about_token(request, now_ns, "introspect", "introspection")

    def _about_token(self, request: Request, now_ns: int, kind: str, endpoint: str) -> Answer:
        pairs = request.form_pairs()
        form = dict(pairs)
        client_id = self._facts.named_client(request, form)
        if request.method != "POST":
            return Answer(not_allowed("POST"), kind, "app", client_id, None, "method_not_allowed", None)
        secret = form.get("token")
        found = self._store.find(secret) if secret else None
        person = found.grant.person if found is not None else None
        mark = self._recorder.mark(secret)
        facts = OAuthFacts(
            refresh_token=mark if isinstance(found, RefreshToken) else None,
            client_auth=client_auth(request, form),
        )

        def tell(decision: Decision, _: Mapping[str, str]) -> _Done:
            try:
                asked = OAuthRequest(request, self._server.issuer, pairs)
                if asked.repeated:  # RFC 6749, 3.2
                    raise InvalidRequestError("A parameter is included more than once.")
                response: Response = self._server.create_endpoint_response(endpoint, asked)
            except OAuth2Error as error:
                response = self._server.handle_error_response(None, error)
            error_told = None if response.status == 200 else error_code(response)
            return _Done(response, error_told, person, facts, decision)

        return self._answer(request, now_ns, kind, client_id, person, facts, mark, tell)

    def _answer(
        self,
        request: Request,
        now_ns: int,
        kind: str,
        client_id: str | None,
        person: str | None,
        facts: OAuthFacts,
        mark: str | None,
        work: Callable[[Decision, Mapping[str, str]], _Done],
    ) -> Answer:
        """What `work` answers, unless a planted fault or a limit does; and what faults make of that."""
        strike: Strike | None = None
        error: str | None
        if self._planted is not None:
            strike = self._planted.strike_app(kind, request, person, now_ns)
            if strike is not None and strike.early is not None:
                response, error, retry_after_ns = strike.answer_early()
                return Answer(
                    response, kind, "app", client_id, person, error, facts, NOT_ASKED, retry_after_ns, None,
                    mark, strike.name, strike.slow_ns,
                )  # fmt: skip
        parts = {"ip": request.ip}
        if client_id is not None:
            parts |= {"app": client_id, "person": person or ""}
        selection = self._selections[kind, client_id is not None]
        decision = self._limits.engine.decide(now_ns, selection, parts)
        scene = Scene(self._renderer, now_ns, decision, person=person)
        retry_after_ns = None
        if decision.limit is not None:
            response, retry_after_ns = self._renderer.refuse(scene)
            done = _Done(response, "rate_limited", person, facts, decision)
        else:
            done = work(decision, parts)
            scene.decision = done.decision
        response, error = done.response, done.error
        if decision.keys:
            self._renderer.add_headers(response.headers, scene)
        fault = None
        if self._planted is not None:
            met = self._planted.of_token_call(request, error, done.facts, now_ns) if kind == "token" else None
            response, error, retry_after_ns, fault = self._planted.spoilt(
                strike, scene, response, error, retry_after_ns
            )
            fault = " ".join(filter(None, (met, fault))) or None
        if selection.penalties:
            self._limits.engine.observe(now_ns, selection, decision, response.status)
        return Answer(
            response, kind, "app", client_id, done.person, error, done.facts, done.decision, retry_after_ns,
            scene.request_id, mark, fault, strike.slow_ns if strike is not None else 0,
        )  # fmt: skip

    def _issue(self, request: Request, pairs: list[tuple[str, str]], now_ns: int, of: _Asked) -> _Done:
        """A token, or why there is none."""
        asked = None
        try:
            asked = OAuthRequest(request, self._server.issuer, pairs, self._server.delimiter)
            response: Response = self._server.create_token_response(asked)
        except OAuth2Error as error:
            response = self._server.handle_error_response(None, error)
        if response.status != 200 or asked is None:
            told = error_code(response)
            self._recorder.event("token-refused", None, client=of.client_id, error=told)
            return _Done(response, told, of.holder, of.facts, of.decision)
        person = asked.user.person
        facts = of.facts._replace(
            issued_token=self._recorder.mark(asked.issued.get("access_token")),
            issued_refresh_token=self._recorder.mark(asked.issued.get("refresh_token")),
            scopes_granted=asked.issued.get("scope"),
        )
        decision = of.decision
        if facts.issued_refresh_token is not None:
            holders = {**of.parts, "person": person, "token": facts.issued_refresh_token}
            decision = self._with(decision, self._limits.issued(now_ns, holders))
        return _Done(response, None, person, facts, decision)

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
