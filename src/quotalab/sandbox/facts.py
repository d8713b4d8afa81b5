"""What the ledger is told of a request to an OAuth endpoint, and of its answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from authlib.oauth2.rfc6749.util import extract_basic_authorization

from quotalab.ledger import OAuthFacts
from quotalab.profiles.provider import Provider
from quotalab.quota import Decision
from quotalab.sandbox.http import Request, Response
from quotalab.sandbox.record import NOT_ASKED, Recorder
from quotalab.sandbox.store import Store

__all__ = ["Answer", "Facts", "client_auth", "error_code", "not_allowed"]

_GRANT_TYPES = ("authorization_code", "refresh_token", "password", "client_credentials")


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
    token: str | None = None
    """Mark of the token that a call is about."""
    fault: str | None = None
    """Names of the planted faults that touched it."""
    slow_ns: int = 0
    """How much longer the answer takes."""


class Facts:
    """Reads requests for the ledger: secrets as marks, texts that could hold anything only if known."""

    def __init__(self, provider: Provider, store: Store, recorder: Recorder) -> None:
        self._provider = provider
        self._store = store
        self._recorder = recorder

    def client(self, client_id: str | None) -> str | None:
        """The client's id, if there is such a client."""
        return client_id if client_id in self._store.clients else None

    def named_client(self, request: Request, form: Mapping[str, str]) -> str | None:
        """The client that a request says it is, before it has been authenticated, if there is such a one."""
        authorization = request.header("authorization")
        if authorization is None:
            return self.client(form.get("client_id"))
        try:
            return self.client(extract_basic_authorization({"Authorization": authorization})[0])
        except ValueError:  # not base64, or not of UTF-8
            return None

    def of(self, parameters: Mapping[str, str], client_auth: str | None = None) -> OAuthFacts:
        """The request's parameters."""
        mark = self._recorder.mark
        redirect_uri = parameters.get("redirect_uri")
        if redirect_uri is not None and not any(
            client.check_redirect_uri(redirect_uri) for client in self._store.clients.values()
        ):
            redirect_uri = "[not registered]"
        return OAuthFacts(
            grant_type=_known(parameters.get("grant_type"), _GRANT_TYPES),
            response_type=_known(parameters.get("response_type"), ("code", "token")),
            pkce_method=_known(parameters.get("code_challenge_method"), ("S256", "plain")),
            state=mark(parameters.get("state")),
            code=mark(parameters.get("code")),
            refresh_token=mark(parameters.get("refresh_token")),
            redirect_uri=redirect_uri,
            scopes_asked=self._scopes(
                parameters.get("scope", "").replace(self._provider.oauth.scope_delimiter, " ")
            ),
            code_challenge=mark(parameters.get("code_challenge")),
            state_length=len(parameters["state"]) if parameters.get("state") else None,
            client_auth=client_auth,
        )

    def _scopes(self, scope: str) -> str | None:
        asked = scope.split()[:100]
        return " ".join([name if name in self._provider.scopes else "[other]" for name in asked]) or None


def client_auth(request: Request, form: Mapping[str, str]) -> str:
    """Every way in which a request carries the client's secret (RFC 6749, 2.3.1), a space between: in an
    ``Authorization`` header, in the form, or in the URL."""
    ways = (
        ("basic", request.authorization("basic") is not None),
        ("post", "client_secret" in form),
        ("query", "client_secret" in dict(request.query_pairs())),
    )
    return " ".join([name for name, used in ways if used]) or "none"


def _known(value: str | None, known: tuple[str, ...]) -> str | None:
    return value if value is None or value in known else "[other]"


def not_allowed(allow: str) -> Response:
    """The answer to a method that an endpoint does not have (RFC 9110, 15.5.6)."""
    return Response(405, [("Allow", allow), ("Content-Type", "text/plain")], b"")


def error_code(response: Response) -> str:
    """The code of an error answer (RFC 6749, 5.2)."""
    return str(json.loads(response.body)["error"])
