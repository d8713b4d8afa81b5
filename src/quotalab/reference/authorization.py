"""The app's side of OAuth: sending people to the provider, redeeming codes, keeping tokens fresh.

Authlib's protocol core builds the requests and reads the answers (RFC 6749, RFC 7636); HTTP is httpx.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx
from authlib.oauth2.rfc6749.errors import OAuth2Error
from authlib.oauth2.rfc6749.parameters import (
    parse_authorization_code_response,
    prepare_grant_uri,
    prepare_token_request,
)
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from quotalab.clock import Clock, Entropy
from quotalab.reference.errors import ConsentRefused, NotConnected, ProviderError
from quotalab.reference.tokens import Tokens, TokenStore
from quotalab.sandbox.access import Access

__all__ = ["Authorizer", "BearerAuth", "bearer_of"]

_FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
_SECOND_NS = 1_000_000_000
_FOREVER_NS = 2**62
_LONGEST_S = 10**9


@dataclass(frozen=True)
class _Pending:
    """A person who was sent to the provider and has not come back yet."""

    person: str
    verifier: str = field(repr=False)


class Authorizer:
    """Gets and keeps a token for each person."""

    def __init__(
        self,
        access: Access,
        client: httpx.Client,
        store: TokenStore,
        clock: Clock,
        entropy: Entropy,
        *,
        scope: str,
        refresh_before_ns: int,
    ) -> None:
        self._access = access
        self._client = client
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._scope = scope
        self._refresh_before_ns = refresh_before_ns
        self._pending: dict[str, _Pending] = {}
        self._refreshing: dict[str, threading.Lock] = {}
        credentials = f"{access.client_id}:{access.client_secret}".encode()
        self._basic = "Basic " + base64.b64encode(credentials).decode()

    def start(self, person: str) -> str:
        """The address to send the person to; `state` and the PKCE verifier are kept until they come back."""
        state = self._entropy.token("app-state")
        verifier = self._entropy.token("app-verifier", 48)
        self._pending[state] = _Pending(person, verifier)
        address: str = prepare_grant_uri(
            self._access.authorization_endpoint,
            self._access.client_id,
            "code",
            redirect_uri=self._access.redirect_uri,
            scope=self._scope,
            state=state,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )
        return address

    def finish(self, callback: str) -> str:
        """Redeem the code that a person came back with; returns who it was.

        Raises `ConsentRefused` when they, or the provider, said no, when the callback answers no request of
        ours (RFC 6749, 10.12: it may be forged), or when it comes from another issuer, or names none where
        the provider always does (RFC 9207, 2.4).
        """
        answered = httpx.URL(callback).params
        state = answered.get("state", "")
        pending = self._pending.pop(state, None)
        if pending is None:
            raise ConsentRefused("the callback answers no request of this app")
        issuer = answered.get("iss")
        if issuer is None and self._access.names_issuer:
            raise ConsentRefused("the callback does not say who it comes from")
        if issuer is not None and issuer != self._access.issuer:
            raise ConsentRefused("the callback comes from another issuer")
        if "error" in answered:  # RFC 6749, 4.1.2.1
            told = f"{answered['error']}: {answered.get('error_description', '')}"
            raise ConsentRefused(told.rstrip(": ")[:200])
        try:
            answer = parse_authorization_code_response(callback, state)
        except OAuth2Error as error:
            raise ConsentRefused(f"{error.error}: {error.description or ''}".rstrip(": ")) from error
        body = prepare_token_request(
            "authorization_code",
            redirect_uri=self._access.redirect_uri,
            code=answer["code"],
            code_verifier=pending.verifier,
        )
        response = self._post(body)
        if self._keep(pending.person, response, None) is None:
            raise ProviderError(response.status_code, _code(response))
        return pending.person

    def token(self, person: str, *, beside: str | None = None) -> str:
        """A valid access token; refreshed before it expires, or because the provider refused `beside`.

        However many ask at once, one refresh is made (single-flight). Raises `NotConnected` when there is
        no grant, or no longer one.
        """
        tokens = self._store.get(person)
        if tokens is None:
            raise NotConnected("the person has not connected this app")
        if not self._is_stale(tokens, beside):
            return tokens.access_token
        with self._refreshing.setdefault(person, threading.Lock()):
            tokens = self._store.get(person)
            if tokens is not None and self._is_stale(tokens, beside):
                tokens = self._refresh(person, tokens)
        if tokens is None:
            raise NotConnected("the person's grant is gone; they have to connect again")
        return tokens.access_token

    def forget(self, person: str) -> None:
        """The person wants no connection any more: what is kept of theirs is revoked (RFC 7009), and deleted.

        The refresh token takes the access tokens along (2.1). Where the provider has no such endpoint, or
        does not answer, it is deleted all the same.
        """
        tokens = self._store.get(person)
        self._store.forget(person)
        endpoint = self._access.revocation_endpoint
        if tokens is None or endpoint is None:
            return
        headers = {**_FORM, "Authorization": self._basic}
        with suppress(httpx.TransportError):
            data = {"token": tokens.refresh_token or tokens.access_token}
            self._client.post(endpoint, content=urlencode(data), headers=headers)

    def is_connected(self, person: str) -> bool:
        """Whether there are tokens for the person."""
        return self._store.get(person) is not None

    def _is_stale(self, tokens: Tokens, beside: str | None) -> bool:
        if tokens.access_token == beside:
            return True
        return tokens.expires_ns - self._refresh_before_ns <= self._clock.now_ns()

    def _refresh(self, person: str, tokens: Tokens) -> Tokens | None:
        if tokens.refresh_token is None:
            self._store.forget(person)
            return None
        response = self._post(prepare_token_request("refresh_token", refresh_token=tokens.refresh_token))
        fresh = self._keep(person, response, tokens.refresh_token)
        if fresh is not None:
            return fresh
        if _code(response) == "invalid_grant":  # gone for good: asking again would only annoy the provider
            self._store.forget(person)
            return None
        raise ProviderError(response.status_code, _code(response), response.headers)

    def _post(self, body: str) -> httpx.Response:
        headers = {**_FORM, "Authorization": self._basic}
        try:
            return self._client.post(self._access.token_endpoint, content=body, headers=headers)
        except httpx.TransportError as error:
            # Not asked again here: a code, and a refresh token that rotates, may have been used up.
            raise ProviderError(0, type(error).__name__) from error

    def _keep(self, person: str, response: httpx.Response, refresh_token: str | None) -> Tokens | None:
        """Keep what came; None where it is no token.

        Without a new refresh token the old one stays good (RFC 6749, 6); a token that comes without a
        lifetime (RFC 6749, 5.1) is good until the provider says otherwise.
        """
        document = _document(response)
        if response.status_code != 200 or not isinstance(document.get("access_token"), str):
            return None
        lifetime_s, scope = document.get("expires_in"), document.get("scope")
        expires_ns = _FOREVER_NS
        if isinstance(lifetime_s, int) and 0 <= lifetime_s < _LONGEST_S:
            expires_ns = self._clock.now_ns() + lifetime_s * _SECOND_NS
        given = document.get("refresh_token")
        tokens = Tokens(
            document["access_token"],
            given if isinstance(given, str) else refresh_token,
            expires_ns,
            scope if isinstance(scope, str) else self._scope,
        )
        self._store.put(person, tokens)
        return tokens


class BearerAuth(httpx.Auth):
    """Puts the person's bearer token on a request (RFC 6750, 2.1)."""

    def __init__(self, authorizer: Authorizer, person: str) -> None:
        self._authorizer = authorizer
        self._person = person

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """See `httpx.Auth`."""
        request.headers["Authorization"] = f"Bearer {self._authorizer.token(self._person)}"
        yield request


def bearer_of(request: httpx.Request) -> str:
    """The token that `BearerAuth` put on a request."""
    sent: str = request.headers.get("Authorization", "")
    return sent.removeprefix("Bearer ")


def _code(response: httpx.Response) -> str:
    """The error code of an OAuth error answer (RFC 6749, 5.2), or nothing."""
    return str(_document(response).get("error", ""))


def _document(response: httpx.Response) -> dict[str, Any]:
    """A JSON object; empty where the answer is none."""
    try:
        document = response.json()
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
