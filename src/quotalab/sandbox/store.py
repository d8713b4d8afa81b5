"""What the authorization server remembers: clients, codes, tokens, sign-ins. Storage, issue and expiry
are ours and take the sandbox's clock."""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from quotalab.clock import Clock, Entropy
from quotalab.profiles.provider import Provider

__all__ = ["AccessToken", "AuthorizationCode", "Client", "Grant", "Store"]


@dataclass(frozen=True)
class Client:
    """The app as registered with the provider. The methods' names are Authlib's `ClientMixin`."""

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uris: tuple[str, ...]
    scopes: frozenset[str]
    """What it may ask for; nothing where the provider has no scopes."""
    needs_scope: bool = True

    def get_client_id(self) -> str:
        return self.client_id

    def get_allowed_scope(self, scope: str | None) -> str | None:
        asked = (scope or "").split()
        if (not asked and self.needs_scope) or not self.scopes.issuperset(asked):
            return None
        return " ".join(dict.fromkeys(asked))

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri in self.redirect_uris  # exact matching: RFC 9700, 2.1

    def check_client_secret(self, client_secret: str) -> bool:
        return hmac.compare_digest(self.client_secret.encode(), client_secret.encode("utf-8", "replace"))

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in ("authorization_code", "refresh_token")


@dataclass
class Grant:
    """What one person allowed one client: every token that came of it dies with it."""

    person: str
    client_id: str
    revoked: bool = False


@dataclass
class AuthorizationCode:
    """RFC 6749, 4.1.2: single use, short-lived, bound to client and redirect URI."""

    client_id: str
    redirect_uri: str
    scope: str
    code_challenge: str | None
    expires_ns: int
    grant: Grant
    code_challenge_method: str | None = "S256"
    used: bool = False

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope


@dataclass(slots=True)
class AccessToken:
    """A bearer token (RFC 6750), with what a call needs to know of it."""

    person: str
    client_id: str
    scopes: frozenset[str]
    expires_ns: int
    grant: Grant
    mark: str
    """Keyed hash, for the ledger."""


@dataclass
class RefreshToken:
    """RFC 6749, 6; one that was rotated away stays known, so that its reuse is seen."""

    client_id: str
    scope: str
    expires_ns: int
    grant: Grant
    rotated: bool = False
    evicted: bool = False
    """Whether it had to make room for a younger one."""

    def check_client(self, client: Client) -> bool:
        return self.client_id == client.client_id

    def get_scope(self) -> str:
        return self.scope


class Store:
    """All of it, in memory."""

    def __init__(self, provider: Provider, clock: Clock, entropy: Entropy, people: Iterable[str]) -> None:
        self.clients: dict[str, Client] = {}
        self.codes: OrderedDict[str, AuthorizationCode] = OrderedDict()
        self.access: OrderedDict[str, AccessToken] = OrderedDict()
        self.refresh: OrderedDict[str, RefreshToken] = OrderedDict()
        self.sessions: dict[str, str] = {}
        """Session id -> the person who signed in."""
        self._refresh_marks: dict[str, RefreshToken] = {}
        self._people = frozenset(people)
        self._provider = provider
        self._clock = clock
        self._entropy = entropy
        self._evicts = any(limit.on_excess == "evict_oldest" for limit in provider.limits)
        self._password_key = entropy.key("passwords")

    def is_listed(self, person: str) -> bool:
        """Whether the person is one of the listed test users."""
        return person in self._people

    def password_of(self, person: str) -> str:
        """A listed person's password at the provider; the app never learns it."""
        return hmac.digest(self._password_key, person.encode(), "sha256").hex()[:20]

    def register(self, redirect_uri: str) -> Client:
        """Register an app, as a developer does on the provider's site."""
        allowed = frozenset(self._provider.scopes) - set(self._provider.test_phase.forbidden_scopes)
        client_id = f"app-{len(self.clients) + 1}"
        secret = self._entropy.token("client-secret")
        client = self.clients[client_id] = Client(
            client_id, secret, (redirect_uri,), allowed, bool(self._provider.scopes)
        )
        return client

    def add_code(
        self,
        code: str,
        *,
        client_id: str,
        person: str,
        redirect_uri: str,
        scope: str,
        code_challenge: str | None,
    ) -> None:
        """Keep an authorization code; those that have expired are forgotten."""
        now_ns = self._clock.now_ns()
        _forget_expired(self.codes, now_ns)
        expires_ns = now_ns + self._provider.oauth.code_lifetime_ns
        grant = Grant(person, client_id)
        self.codes[code] = AuthorizationCode(
            client_id, redirect_uri, scope, code_challenge, expires_ns, grant
        )

    def live_code(self, code: str, client_id: str) -> AuthorizationCode | None:
        """The code, if that client may still redeem it; one that was used takes its grant with it."""
        kept = self.codes.get(code)
        if kept is None or kept.client_id != client_id or kept.expires_ns <= self._clock.now_ns():
            return None
        if kept.used:
            kept.grant.revoked = True  # RFC 6749, 4.1.2: revoke what the first use gave
            return None
        return kept

    def add_access(self, token: str, grant: Grant, scope: str, mark: str) -> None:
        """Keep an access token; tokens that expired a lifetime ago are forgotten."""
        lifetime_ns = self._provider.oauth.access_token_lifetime_ns
        now_ns = self._clock.now_ns()
        _forget_expired(self.access, now_ns - lifetime_ns)
        self.access[token] = AccessToken(
            grant.person, grant.client_id, frozenset(scope.split()), now_ns + lifetime_ns, grant, mark
        )

    def add_refresh(self, token: str, grant: Grant, scope: str, mark: str) -> None:
        """Keep a refresh token; those that have expired are forgotten."""
        now_ns = self._clock.now_ns()
        _forget_expired(self.refresh, now_ns)
        expires_ns = now_ns + self._provider.oauth.refresh_token_lifetime_ns
        kept = self.refresh[token] = RefreshToken(grant.client_id, scope, expires_ns, grant)
        if self._evicts:
            self._refresh_marks[mark] = kept

    def evict(self, mark: str) -> RefreshToken | None:
        """Let the refresh token with this mark make room: it is good for nothing from now on."""
        kept = self._refresh_marks.pop(mark, None)
        if kept is not None:
            kept.evicted = True
        return kept

    def holder(self, form: Mapping[str, str]) -> str | None:
        """Whose the code or the refresh token in a token request is, if there is such a one."""
        kept = self.codes.get(form.get("code", "")) or self.refresh.get(form.get("refresh_token", ""))
        return kept.grant.person if kept is not None else None

    def live_refresh(self, token: str, client_id: str) -> RefreshToken | None:
        """The refresh token, if that client may still use it; one that was rotated away takes its grant
        with it."""
        kept = self.refresh.get(token)
        if kept is None or kept.client_id != client_id or kept.expires_ns <= self._clock.now_ns():
            return None
        if kept.evicted:
            return None
        if kept.rotated:
            kept.grant.revoked = True  # RFC 9700, 4.14.2: who of the two is the thief cannot be told
        return None if kept.grant.revoked else kept


def _forget_expired(kept: OrderedDict[str, Any], now_ns: int) -> None:
    """Drop what has expired by `now_ns`; what was issued first expires first."""
    while kept and next(iter(kept.values())).expires_ns <= now_ns:
        kept.popitem(last=False)
