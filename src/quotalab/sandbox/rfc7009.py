"""RFC 7009, OAuth 2.0 Token Revocation: an app gives back what it no longer needs."""

from __future__ import annotations

from typing import Any

from authlib.oauth2.rfc6749.errors import InvalidRequestError
from authlib.oauth2.rfc7009 import RevocationEndpoint

from quotalab.sandbox.store import AccessToken, Client, RefreshToken, Store

__all__ = ["PATH", "Revocation"]

PATH = "/oauth/revoke"


class Revocation(RevocationEndpoint):  # type: ignore[misc]
    """Authlib's endpoint on our store. Clients authenticate as at the token endpoint (2.1)."""

    CLIENT_AUTH_METHODS = ("client_secret_basic", "client_secret_post", "none")

    @property
    def _store(self) -> Store:
        store: Store = self.server.store
        return store

    def check_params(self, request: Any, client: Client) -> None:  # noqa: ARG002
        """ "An invalid token type hint value is ignored by the authorization server" (2.1)."""
        if "token" not in request.form:
            raise InvalidRequestError("Missing 'token' in request.")

    def query_token(self, token_string: str, token_type_hint: str | None) -> Any:  # noqa: ARG002
        """Without regard to the hint: a server "MAY ignore this parameter, particularly if it is able to
        detect the token type automatically" (2.1). Unknown tokens are answered as if revoked (2.2)."""
        return self._store.find(token_string)

    def revoke_token(self, token: AccessToken | RefreshToken, request: Any) -> None:  # noqa: ARG002
        """ "If the particular token is a refresh token and the authorization server supports the revocation
        of access tokens, then the authorization server SHOULD also invalidate all access tokens based on the
        same authorization grant" (2.1); an access token takes nothing along."""
        if isinstance(token, RefreshToken):
            self._store.revoke(token.grant, "revoked by the app")
        else:
            self._store.revoke_access(token, "revoked by the app")
