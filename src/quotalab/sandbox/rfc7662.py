"""RFC 7662, OAuth 2.0 Token Introspection: what is known of a token, for the client that holds it."""

from __future__ import annotations

from typing import Any

from authlib.oauth2.rfc6749.errors import InvalidRequestError
from authlib.oauth2.rfc7662 import IntrospectionEndpoint

from quotalab.profiles.oauth import NEVER_NS
from quotalab.sandbox.store import AccessToken, Client, RefreshToken, Store

__all__ = ["PATH", "Introspection"]

PATH = "/oauth/introspect"


class Introspection(IntrospectionEndpoint):  # type: ignore[misc]
    """Authlib's endpoint on our store.

    "To prevent token scanning attacks, the endpoint MUST also require some form of authorization to access
    this endpoint" (2.1): a client must know its secret.
    """

    CLIENT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")

    @property
    def _store(self) -> Store:
        store: Store = self.server.store
        return store

    def check_params(self, request: Any, client: Client) -> None:  # noqa: ARG002
        """The hint is one only: "if the server is unable to locate the token using the given hint, it MUST
        extend its search across all of its supported token types" (2.1)."""
        if "token" not in request.form:
            raise InvalidRequestError("Missing 'token' in request.")

    def query_token(self, token_string: str, token_type_hint: str | None) -> Any:  # noqa: ARG002
        return self._store.find(token_string)

    def check_permission(self, token: Any, client: Client, request: Any) -> bool:  # noqa: ARG002
        """Only its own: of others "the authorization server MUST return an introspection response with the
        active field set to false" (2.2), as of tokens that do not exist."""
        its_own: bool = token.check_client(client)
        return its_own

    def create_introspection_payload(self, token: Any) -> dict[str, Any]:
        """ "Note that to avoid disclosing too much of the authorization server's state to a third party, the
        authorization server SHOULD NOT include any additional information about an inactive token" (2.2)."""
        if token is None or not self._store.is_live(token):
            return {"active": False}
        return self.introspect_token(token)

    def introspect_token(self, token: AccessToken | RefreshToken) -> dict[str, Any]:
        """The members of 2.2 that the sandbox knows; times in whole seconds."""
        known: dict[str, Any] = {
            "active": True,
            "client_id": token.client_id,
            "sub": token.grant.person,
            "iss": self.server.issuer,
            "iat": token.issued_ns // 1_000_000_000,
        }
        if token.grant.person != token.client_id:
            known["username"] = token.grant.person
        if isinstance(token, AccessToken):
            known["token_type"] = "Bearer"  # noqa: S105  (its type)
        if scope := token.get_scope():
            known["scope"] = scope
        if token.expires_ns < NEVER_NS:
            known["exp"] = token.expires_ns // 1_000_000_000
        return known
