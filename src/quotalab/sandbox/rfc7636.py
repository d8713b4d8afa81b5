"""RFC 7636, Proof Key for Code Exchange: S256, asked of every client where the profile requires it."""

from __future__ import annotations

from typing import Any

from authlib.oauth2.rfc6749.errors import InvalidRequestError
from authlib.oauth2.rfc7636 import CodeChallenge

__all__ = ["Pkce"]


class Pkce(CodeChallenge):  # type: ignore[misc]
    """Authlib's extension, without `plain` and for confidential clients too (RFC 9700, 2.1.1)."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        """ "If the server requires Proof Key for Code Exchange ... and the client does not send the
        code_challenge in the request, the authorization endpoint MUST return the authorization error
        response with the error value set to invalid_request" (RFC 7636, 4.4.1)."""
        data = grant.request.payload.data
        if self.required and "code_challenge" not in data:
            raise InvalidRequestError("Code challenge required.", redirect_uri=redirect_uri)
        if "code_challenge" in data and data.get("code_challenge_method") != "S256":
            raise InvalidRequestError("Transform algorithm not supported.", redirect_uri=redirect_uri)
        super().validate_code_challenge(grant, redirect_uri)
