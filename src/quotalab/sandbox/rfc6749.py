"""RFC 6749, The OAuth 2.0 Authorization Framework: authorization code, refresh and client credentials grants.

Authlib parses and validates; what is stored, issued and expired is ours.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from typing import Any

from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749 import AuthorizationServer, OAuth2Payload, OAuth2Request, grants
from authlib.oauth2.rfc6749.errors import (
    InvalidClientError,
    InvalidRequestError,
    InvalidScopeError,
    UnsupportedGrantTypeError,
    UnsupportedResponseTypeError,
)
from authlib.oauth2.rfc6749.util import extract_basic_authorization

from quotalab.clock import Clock, Entropy
from quotalab.profiles.oauth import NEVER_NS
from quotalab.profiles.provider import Provider
from quotalab.sandbox.http import Request, Response, json_response, redirect
from quotalab.sandbox.phase import Phase
from quotalab.sandbox.record import Recorder
from quotalab.sandbox.rfc7009 import Revocation
from quotalab.sandbox.rfc7636 import Pkce
from quotalab.sandbox.rfc7662 import Introspection
from quotalab.sandbox.rfc9207 import with_issuer
from quotalab.sandbox.store import AuthorizationCode, Client, Grant, RefreshToken, Store

__all__ = ["GrantServer", "OAuthRequest", "Repeated"]

_NO_STORE = (("Cache-Control", "no-store"), ("Pragma", "no-cache"))  # RFC 6749, 5.1
_CHALLENGE = ("WWW-Authenticate", 'Basic realm="oauth"')  # RFC 7617, 2

# The debug lines of Authlib's server quote tokens whole, and whatever a client sent as its id.
logging.getLogger("authlib.oauth2.rfc6749").setLevel(logging.INFO)


class Repeated(InvalidRequestError):  # type: ignore[misc]
    """A parameter was sent twice: "request and response parameters MUST NOT be included more than once"
    (RFC 6749, 3.1 and 3.2)."""


class _Payload(OAuth2Payload):  # type: ignore[misc]
    def __init__(self, data: dict[str, str]) -> None:
        self._data = data
        self._datalist = defaultdict(list, {name: [value] for name, value in data.items()})

    @property
    def data(self) -> dict[str, str]:
        return self._data

    @property
    def datalist(self) -> defaultdict[str, list[str]]:
        return self._datalist


class OAuthRequest(OAuth2Request):  # type: ignore[misc]
    """A request to an OAuth endpoint, as Authlib wants it.

    Parameters without a value count as left out (RFC 6749, 3.1), and so do those that are `repeated`: which
    value was meant cannot be known. Between scopes there may be the provider's own `delimiter`.
    """

    def __init__(
        self, request: Request, issuer: str, pairs: list[tuple[str, str]], delimiter: str = " "
    ) -> None:
        super().__init__(request.method, issuer + request.path)
        times = Counter(name for name, _ in pairs)
        self.repeated = len(times) != len(pairs)
        data = {name: value for name, value in pairs if value and times[name] == 1}
        if "scope" in data:
            data["scope"] = data["scope"].replace(delimiter, " ")
        self.payload = _Payload(data)
        authorization = request.header("authorization")
        self.headers = {"Authorization": authorization} if authorization is not None else {}
        self.issued: dict[str, str] = {}
        """The token response, for the ledger."""

    def narrow(self, scope: str) -> None:
        """The person allows so much of what was asked for (RFC 6749, 3.3)."""
        self.payload.data["scope"] = scope

    @property
    def args(self) -> dict[str, str]:
        return self.payload.data

    @property
    def form(self) -> dict[str, str]:
        return self.payload.data


class _CodeGrant(grants.AuthorizationCodeGrant):  # type: ignore[misc]
    """RFC 6749, 4.1."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post", "none")
    server: GrantServer

    def generate_authorization_code(self) -> str:
        return self.server.entropy.token("authorization-code")

    def save_authorization_code(self, code: str, request: OAuthRequest) -> None:
        request.issued["code"] = code
        data = request.payload.data
        challenge = data.get("code_challenge")
        self.server.store.add_code(
            code,
            client_id=request.client.client_id,
            person=request.user,
            redirect_uri=request.payload.redirect_uri,
            scope=request.scope,
            code_challenge=challenge,
            code_challenge_method=data.get("code_challenge_method") if challenge else None,
        )

    def create_authorization_response(self, redirect_uri: str, grant_user: str | None) -> Any:
        """Providers with a delimiter of their own tell the scopes here too (Strava's documentation)."""
        status, body, headers = super().create_authorization_response(redirect_uri, grant_user)
        delimiter = self.server.delimiter
        if delimiter != " " and self.request.scope:
            scope = ("scope", self.request.scope.replace(" ", delimiter))
            headers = [(name, add_params_to_uri(value, [scope])) for name, value in headers]
        return status, body, headers

    def query_authorization_code(self, code: str, client: Client) -> AuthorizationCode | None:
        return self.server.store.live_code(code, client.client_id)

    def delete_authorization_code(self, authorization_code: AuthorizationCode) -> None:
        authorization_code.used = True

    def authenticate_user(self, authorization_code: AuthorizationCode) -> Grant:
        return authorization_code.grant


class _RefreshGrant(grants.RefreshTokenGrant):  # type: ignore[misc]
    """RFC 6749, 6, with rotation (RFC 9700, 4.14.2) where the profile has it."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post", "none")
    server: GrantServer

    @property
    def INCLUDE_NEW_REFRESH_TOKEN(self) -> bool:
        return self.server.rotates

    def authenticate_refresh_token(self, refresh_token: str) -> RefreshToken | None:
        return self.server.store.live_refresh(refresh_token, self.request.client.client_id)

    def authenticate_user(self, refresh_token: RefreshToken) -> Grant:
        return refresh_token.grant

    def revoke_old_credential(self, refresh_token: RefreshToken) -> None:
        if self.server.rotates:
            self.server.store.rotate(refresh_token)


class _ClientCredentialsGrant(grants.ClientCredentialsGrant):  # type: ignore[misc]
    """RFC 6749, 4.4: it "MUST only be used by confidential clients", and "a refresh token SHOULD NOT be
    included" (4.4.3)."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")
    server: GrantServer

    def save_token(self, token: dict[str, Any]) -> None:
        client_id = self.request.client.client_id
        self.request.user = Grant(client_id, client_id, token.get("scope", ""))
        super().save_token(token)


_GRANTS = {"refresh_token": _RefreshGrant, "client_credentials": _ClientCredentialsGrant}
_METHODS = {"basic": "client_secret_basic", "post": "client_secret_post", "none": "none"}


class GrantServer(AuthorizationServer):  # type: ignore[misc]
    """Authlib's authorization server on our store, entropy and clock."""

    def __init__(
        self,
        provider: Provider,
        store: Store,
        phase: Phase,
        clock: Clock,
        entropy: Entropy,
        recorder: Recorder,
        issuer: str,
    ) -> None:
        super().__init__(scopes_supported=list(provider.scopes))
        oauth = provider.oauth
        self.store = store
        self.issuer = issuer
        self.rotates = oauth.refresh_rotation != "none"
        lifetime_ns = oauth.access_token_lifetime_ns
        self._expires_in = lifetime_ns // 1_000_000_000 if lifetime_ns < NEVER_NS else None
        self.delimiter = oauth.scope_delimiter
        self.entropy = entropy
        self._grants = oauth.grants
        self._methods = frozenset(_METHODS[method] for method in oauth.client_authentication)
        self._names_issuer = oauth.issuer_parameter
        self._phase = phase
        self._clock = clock
        self._recorder = recorder
        self.register_grant(_CodeGrant, [Pkce(required=oauth.pkce == "required", methods=oauth.pkce_methods)])
        for name, grant in _GRANTS.items():
            if name in oauth.grants:
                self.register_grant(grant)
        if oauth.revocation:
            self.register_endpoint(Revocation)
        if oauth.introspection:
            self.register_endpoint(Introspection)

    def query_client(self, client_id: str | None) -> Client | None:
        return self.store.clients.get(client_id) if client_id is not None else None

    def get_authorization_grant(self, request: OAuthRequest) -> _CodeGrant:
        """The grant, after what RFC 6749, 4.1.2.1 has reported by redirect if client and URI are right."""
        client = self.query_client(request.payload.client_id)
        redirect_uri = request.payload.redirect_uri
        if client is None or not (redirect_uri and client.check_redirect_uri(redirect_uri)):
            redirect_uri = None
        if request.repeated:
            raise Repeated("A parameter is included more than once.", redirect_uri=redirect_uri)
        if client is None:
            raise InvalidClientError("The client is unknown.")
        if redirect_uri is None:
            raise InvalidRequestError("The redirect URI is missing, or is not one that was registered.")
        if request.payload.response_type is None:
            raise InvalidRequestError("Missing 'response_type' in request.", redirect_uri=redirect_uri)
        if request.payload.response_type != "code":
            raise UnsupportedResponseTypeError("", "Only 'code' is supported.", redirect_uri=redirect_uri)
        grant: _CodeGrant = super().get_authorization_grant(request)
        return grant

    def get_token_grant(self, request: OAuthRequest) -> _CodeGrant | _RefreshGrant:
        """Without the parameters that every grant needs the request is invalid (RFC 6749, 5.2)."""
        if request.repeated:
            raise Repeated("A parameter is included more than once.")
        if request.payload.grant_type is None:
            raise InvalidRequestError("Missing 'grant_type' in request.")
        if request.payload.grant_type not in self._grants:
            # The password grant "MUST NOT be used" (RFC 9700, 2.4): it is one of those not known here.
            unsupported = UnsupportedGrantTypeError("")
            unsupported.description = f"A grant_type here is one of: {', '.join(self._grants)}."
            raise unsupported
        grant: _CodeGrant | _RefreshGrant = super().get_token_grant(request)
        return grant

    def validate_requested_scope(self, scope: str | None) -> None:
        """What may be asked for at all (RFC 6749, 3.3), and what not yet."""
        super().validate_requested_scope(scope)
        if scope and self._phase.forbids(scope, self._clock.now_ns()):
            raise InvalidScopeError("This scope may not be asked for before the app has been reviewed.")

    def authenticate_client(self, request: OAuthRequest, methods: Any, endpoint: str = "token") -> Client:  # noqa: ARG002
        """The client by its password, in the header or in the body (RFC 6749, 2.3.1), or by its name alone
        where the provider takes public clients (2.1).

        "The client MUST NOT use more than one authentication method in each request" (2.3). Whatever is
        wrong, the answer is the same, so that nobody learns which clients there are.
        """
        form = request.payload.data
        client_id, secret = form.get("client_id"), form.get("client_secret")
        method = "none" if secret is None else "client_secret_post"
        if "Authorization" in request.headers:
            if secret is not None:
                raise InvalidRequestError("More than one way of client authentication is used.")
            method = "client_secret_basic"
            try:
                known_as, secret = extract_basic_authorization(request.headers)
            except ValueError:  # not base64, or not of UTF-8
                known_as, secret = None, None
            if client_id is not None and client_id != known_as:
                secret = None
            client_id = known_as
        client = self.query_client(client_id)
        right = client is not None and method in self._methods and method in methods
        if client is None or not right or not (method == "none" or client.check_client_secret(secret or "")):
            raise InvalidClientError("The client could not be authenticated.", status_code=401)
        request.auth_method = method
        request.client = client  # for the ledger, also when the grant turns out to be wrong
        return client

    def generate_token(
        self,
        grant_type: str,  # noqa: ARG002
        client: Client,
        user: Grant | None = None,  # noqa: ARG002
        scope: str | None = None,
        expires_in: int | None = None,  # noqa: ARG002
        include_refresh_token: bool = True,
    ) -> dict[str, Any]:
        """RFC 6749, 5.1; the token's lifetime is the profile's, by the sandbox's clock."""
        allowed = client.get_allowed_scope(scope)
        if allowed is None:
            raise InvalidScopeError
        token: dict[str, Any] = {
            "access_token": self.entropy.token("access-token"),
            "token_type": "Bearer",
        }
        if self._expires_in is not None:
            token["expires_in"] = self._expires_in
        if allowed:
            token["scope"] = allowed
        if include_refresh_token:
            token["refresh_token"] = self.entropy.token("refresh-token")
        return token

    def save_token(self, token: dict[str, Any], request: OAuthRequest) -> None:
        grant: Grant = request.user
        mark = self._recorder.mark(token["access_token"])
        assert mark is not None
        granted = token.get("scope", "")
        self.store.add_access(token["access_token"], grant, granted, mark)
        if "refresh_token" in token:
            scope = request.refresh_token.get_scope() if request.refresh_token else granted
            refresh_mark = self._recorder.mark(token["refresh_token"])
            assert refresh_mark is not None
            lifetime_ns = self._phase.refresh_token_lifetime_ns(self._clock.now_ns())
            self.store.add_refresh(token["refresh_token"], grant, scope, refresh_mark, lifetime_ns)
        request.issued.update(token)

    def create_oauth2_request(self, request: OAuthRequest) -> OAuthRequest:
        return request

    def handle_response(self, status: int, body: Any, headers: list[tuple[str, str]]) -> Response:
        for name, value in headers:
            if name == "Location":
                return redirect(with_issuer(value, self.issuer) if self._names_issuer else value)
        document = dict(body) if isinstance(body, list) else body
        if status == 200 and "scope" in document:
            document = {**document, "scope": document["scope"].replace(" ", self.delimiter)}
        return json_response(status, document, *_NO_STORE, *([_CHALLENGE] if status == 401 else []))

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""
