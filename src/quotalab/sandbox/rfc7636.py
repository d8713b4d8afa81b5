"""RFC 7636, Proof Key for Code Exchange: by the methods that the profile has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from authlib.oauth2.rfc6749.errors import InvalidRequestError
from authlib.oauth2.rfc7636 import CodeChallenge

__all__ = ["Pkce"]

_TEXT = re.compile(r"[A-Za-z0-9._~-]{43,128}")  # 4.1 and 4.2: unreserved characters


class Pkce(CodeChallenge):  # type: ignore[misc]
    """Authlib's extension, for confidential clients too (RFC 9700, 2.1.1), `plain` only where taken."""

    def __init__(self, *, required: bool, methods: Sequence[str]) -> None:
        super().__init__(required)
        self.SUPPORTED_CODE_CHALLENGE_METHOD = list(methods)

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        """ "If the server requires Proof Key for Code Exchange ... and the client does not send the
        code_challenge in the request, the authorization endpoint MUST return the authorization error
        response with the error value set to invalid_request" (4.4.1)."""
        data = grant.request.payload.data
        challenge = data.get("code_challenge")
        if challenge is None and self.required:
            raise InvalidRequestError("Code challenge required.", redirect_uri=redirect_uri)
        if challenge is not None:
            # Without a method it is `plain`: 4.3.
            method = data.get("code_challenge_method", self.DEFAULT_CODE_CHALLENGE_METHOD)
            if method not in self.SUPPORTED_CODE_CHALLENGE_METHOD:
                raise InvalidRequestError("Transform algorithm not supported.", redirect_uri=redirect_uri)
            if not _TEXT.fullmatch(challenge):
                raise InvalidRequestError("Invalid 'code_challenge'", redirect_uri=redirect_uri)
        super().validate_code_challenge(grant, redirect_uri)

    def validate_code_verifier(self, grant: Any, result: Any) -> None:
        """A public client proves nothing else: "public clients MUST use PKCE" (RFC 9700, 2.1.1), also where
        the provider does not ask it of others. That a verifier without a challenge is refused (RFC 9700,
        4.8.2), and a challenge without a verifier, is Authlib's part."""
        request = grant.request
        if request.auth_method == "none" and not request.authorization_code.code_challenge:
            raise InvalidRequestError("Public clients have to use a code challenge.")
        super().validate_code_verifier(grant, result)
