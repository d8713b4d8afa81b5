"""What the authorization server remembers: clients, codes, tokens, sign-ins. Storage, issue and expiry
are ours and take the sandbox's clock."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import Protocol, TypeVar

from quotalab.clock import Clock, Entropy
from quotalab.profiles.oauth import NEVER_NS
from quotalab.profiles.provider import Provider
from quotalab.sandbox import rfc8252

__all__ = ["AccessToken", "AuthorizationCode", "Client", "Grant", "RefreshToken", "Store"]

_MOST_SECRETS = 100_000
"""As many as are kept to be looked for: with all their forms some 200 MB."""


@dataclass(frozen=True)
class Client:
    """The app as registered with the provider. The methods' names are Authlib's `ClientMixin`."""

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uris: tuple[str, ...]
    scopes: frozenset[str]
    """What there is to ask for; nothing where the provider has no scopes."""
    grants: tuple[str, ...] = ("authorization_code", "refresh_token")

    def get_client_id(self) -> str:
        return self.client_id

    def get_allowed_scope(self, scope: str | None) -> str | None:
        asked = (scope or "").split()
        if (not asked and self.scopes) or not self.scopes.issuperset(asked):
            return None
        return " ".join(dict.fromkeys(asked))

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return any(rfc8252.matches(registered, redirect_uri) for registered in self.redirect_uris)

    def check_client_secret(self, client_secret: str) -> bool:
        return hmac.compare_digest(self.client_secret.encode(), client_secret.encode("utf-8", "replace"))

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in self.grants


@dataclass(eq=False)
class Grant:
    """What one person allowed one client: every token that came of it dies with it.

    A client that acts for itself (RFC 6749, 4.4) has an account of its own, which bears the client's name.
    """

    person: str
    client_id: str
    scope: str = ""
    ends_ns: int = 0
    """When the last of its code and its tokens expires."""
    revoked: bool = False


@dataclass
class AuthorizationCode:
    """RFC 6749, 4.1.2: single use, short-lived, bound to client and redirect URI."""

    client_id: str
    redirect_uri: str
    scope: str
    code_challenge: str | None
    code_challenge_method: str | None
    expires_ns: int
    grant: Grant
    used: bool = False

    @property
    def forget_ns(self) -> int:
        """One that was used stays known as long as what it gave, so that its second use is seen."""
        lives_on = self.used and not self.grant.revoked
        return max(self.expires_ns, self.grant.ends_ns) if lives_on else self.expires_ns

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
    issued_ns: int
    scope: str

    @property
    def forget_ns(self) -> int:
        """One that has expired stays known for as long as it was good, so that a call is told so."""
        return NEVER_NS if self.expires_ns >= NEVER_NS else 2 * self.expires_ns - self.issued_ns

    def check_client(self, client: Client) -> bool:
        return self.client_id == client.client_id

    def get_scope(self) -> str:
        return self.scope


@dataclass
class RefreshToken:
    """RFC 6749, 6; one that was rotated away stays known, so that its reuse is seen."""

    client_id: str
    scope: str
    expires_ns: int
    grant: Grant
    mark: str
    issued_ns: int
    rotated_ns: int | None = None
    """When another first took its place."""
    evicted: bool = False
    """Whether it had to make room for a younger one."""

    @property
    def forget_ns(self) -> int:
        return self.expires_ns

    def check_client(self, client: Client) -> bool:
        return self.client_id == client.client_id

    def get_scope(self) -> str:
        return self.scope


class _Perishable(Protocol):
    @property
    def forget_ns(self) -> int: ...


_T = TypeVar("_T", bound=_Perishable)


class _Kept(dict[str, _T]):
    """Things by their secret, forgotten in the order in which they perish, whatever lifetimes they have.

    When a thing perishes may be put off while it is kept: it is looked at again when it was first due.
    """

    def __init__(self) -> None:
        super().__init__()
        self._due: list[tuple[int, str]] = []

    def keep(self, secret: str, thing: _T) -> None:
        self[secret] = thing
        self._wait(secret, thing)

    def forget(self, now_ns: int) -> None:
        """Drop what has perished by now."""
        due = self._due
        while due and due[0][0] <= now_ns:
            secret = heappop(due)[1]
            thing = self[secret]
            if thing.forget_ns <= now_ns:
                del self[secret]
            else:
                self._wait(secret, thing)

    def _wait(self, secret: str, thing: _T) -> None:
        if thing.forget_ns < NEVER_NS:
            heappush(self._due, (thing.forget_ns, secret))


class Store:
    """All of it, in memory. `on_revoked` is told which grant or access token was revoked, why, and at which
    instant, if not now."""

    def __init__(self, provider: Provider, clock: Clock, entropy: Entropy, people: Iterable[str]) -> None:
        self.clients: dict[str, Client] = {}
        self.codes: _Kept[AuthorizationCode] = _Kept()
        self.access: _Kept[AccessToken] = _Kept()
        self.refresh: _Kept[RefreshToken] = _Kept()
        self.sessions: dict[str, str] = {}
        """Session id -> the person who signed in."""
        self.people = tuple(people)
        """Who has an account."""
        self.secrets: dict[str, str] | None = None
        """Every secret that was issued or seen, with what it is; None: they are not kept beyond their use."""
        self.secrets_left_out = 0
        self.on_revoked: Callable[[Grant | AccessToken, str, int | None], None] = lambda *_: None
        self._accounts = frozenset(self.people)
        self._grants: dict[str, list[Grant]] = {}
        self._look_at: dict[str, int] = {}
        """By person: how many grants there may be before the dead ones are dropped."""
        self._refresh_marks: dict[str, RefreshToken] = {}
        self._provider = provider
        self._clock = clock
        self._entropy = entropy
        self._evicts = any(limit.on_excess == "evict_oldest" for limit in provider.limits)
        self._password_key = entropy.key("passwords")

    def note(self, kind: str, secret: str | None) -> None:
        """Keep a secret, where secrets are kept, so that it can be looked for where it must not stand."""
        if self.secrets is None or not secret or secret in self.secrets:
            return
        if len(self.secrets) < _MOST_SECRETS:
            self.secrets[secret] = kind
        else:
            self.secrets_left_out += 1

    # ---- clients and people

    def has_account(self, person: str) -> bool:
        """Whether the person can sign in."""
        return person in self._accounts

    def password_of(self, person: str) -> str:
        """A person's password at the provider; the app never learns it."""
        return hmac.digest(self._password_key, person.encode("utf-8", "replace"), "sha256").hex()[:20]

    def register(self, *redirect_uris: str) -> Client:
        """Register an app, as a developer does on the provider's site; a public client has no secret."""
        client_id = f"app-{len(self.clients) + 1}"
        oauth = self._provider.oauth
        secret = self._entropy.token("client-secret") if oauth.client_authentication != ("none",) else ""
        self.note("client secret", secret)
        client = self.clients[client_id] = Client(
            client_id, secret, redirect_uris, frozenset(self._provider.scopes), oauth.grants
        )
        return client

    # ---- grants

    def connections(self, person: str) -> dict[str, str]:
        """The clients that have a person's consent, with the scopes that were allowed."""
        found: dict[str, dict[str, None]] = {}
        for grant in self.grants_of(person):
            found.setdefault(grant.client_id, {}).update(dict.fromkeys(grant.scope.split()))
        return {client_id: " ".join(scopes) for client_id, scopes in found.items()}

    def withdraw(self, person: str, client_id: str, why: str) -> int:
        """Revoke all that a person has allowed a client; how many grants there were."""
        grants = [grant for grant in self.grants_of(person) if grant.client_id == client_id]
        for grant in grants:
            self.revoke(grant, why)
        return len(grants)

    def revoke(self, grant: Grant, why: str, at_ns: int | None = None) -> None:
        """Revoke a grant, and with it every token that came of it; `at_ns` as of `on_revoked`."""
        if not grant.revoked:
            grant.revoked = True
            self.on_revoked(grant, why, at_ns)

    def revoke_access(self, token: AccessToken, why: str, at_ns: int | None = None) -> None:
        """Revoke one access token; what else came of its grant lives on."""
        if not token.grant.revoked:
            token.grant = replace(token.grant, revoked=True)
            self.on_revoked(token, why, at_ns)

    def grants_of(self, person: str, clock_ns: int | None = None) -> list[Grant]:
        """A person's grants of which something lives, now or when the provider's clock showed `clock_ns`."""
        if clock_ns is None:
            clock_ns = self._clock.now_ns()
        return [g for g in self._grants.get(person, ()) if not g.revoked and g.ends_ns > clock_ns]

    def _add_grant(self, grant: Grant) -> None:
        grants = self._grants.setdefault(grant.person, [])
        if len(grants) >= self._look_at.get(grant.person, 8):
            grants = self._grants[grant.person] = self.grants_of(grant.person)
            self._look_at[grant.person] = 8 + 2 * len(grants)
        grants.append(grant)

    # ---- codes

    def add_code(
        self,
        code: str,
        *,
        client_id: str,
        person: str,
        redirect_uri: str,
        scope: str,
        code_challenge: str | None,
        code_challenge_method: str | None,
    ) -> None:
        """Keep an authorization code; those that have perished are forgotten."""
        now_ns = self._clock.now_ns()
        self.note("authorization code", code)
        self.codes.forget(now_ns)
        expires_ns = now_ns + self._provider.oauth.code_lifetime_ns
        grant = Grant(person, client_id, scope, expires_ns)
        self._add_grant(grant)
        self.codes.keep(
            code,
            AuthorizationCode(
                client_id, redirect_uri, scope, code_challenge, code_challenge_method, expires_ns, grant
            ),
        )

    def live_code(self, code: str, client_id: str) -> AuthorizationCode | None:
        """The code, if that client may still redeem it.

        "If an authorization code is used more than once, the authorization server MUST deny the request and
        SHOULD revoke (when possible) all tokens previously issued based on that authorization code" (RFC
        6749, 4.1.2): as long as there is one that lives, and whether the code has expired meanwhile or not.
        """
        kept = self.codes.get(code)
        if kept is None or kept.client_id != client_id:
            return None
        if kept.used:
            self.revoke(kept.grant, "code used twice")
            return None
        return None if kept.grant.revoked or kept.expires_ns <= self._clock.now_ns() else kept

    # ---- tokens

    def add_access(self, token: str, grant: Grant, scope: str, mark: str) -> AccessToken:
        """Keep an access token; those that have perished are forgotten."""
        now_ns = self._clock.now_ns()
        self.note("access token", token)
        self.access.forget(now_ns)
        expires_ns = _after(now_ns, self._provider.oauth.access_token_lifetime_ns)
        kept = AccessToken(
            grant.person, grant.client_id, frozenset(scope.split()), expires_ns, grant, mark, now_ns, scope
        )
        grant.ends_ns = max(grant.ends_ns, expires_ns)
        self.access.keep(token, kept)
        return kept

    def add_refresh(self, token: str, grant: Grant, scope: str, mark: str, lifetime_ns: int) -> None:
        """Keep a refresh token; those that have expired are forgotten."""
        now_ns = self._clock.now_ns()
        self.note("refresh token", token)
        self.refresh.forget(now_ns)
        expires_ns = _after(now_ns, lifetime_ns)
        kept = RefreshToken(grant.client_id, scope, expires_ns, grant, mark, now_ns)
        grant.ends_ns = max(grant.ends_ns, expires_ns)
        self.refresh.keep(token, kept)
        if self._evicts:
            self._refresh_marks[mark] = kept

    def evict(self, mark: str) -> RefreshToken | None:
        """Let the refresh token with this mark make room: it is good for nothing from now on."""
        kept = self._refresh_marks.pop(mark, None)
        if kept is not None:
            kept.evicted = True
        return kept

    def find(self, token: str) -> AccessToken | RefreshToken | None:
        """The token, dead or alive."""
        return self.access.get(token) or self.refresh.get(token)

    def is_live(self, token: AccessToken | RefreshToken) -> bool:
        """Whether a token could be used now; to ask changes nothing."""
        now_ns = self._clock.now_ns()
        if token.grant.revoked or token.expires_ns <= now_ns:
            return False
        return isinstance(token, AccessToken) or not (token.evicted or self._is_spent(token, now_ns))

    def holder(self, form: Mapping[str, str]) -> str | None:
        """Whose the code or the refresh token in a token request is, if there is such a one."""
        kept = self.codes.get(form.get("code", "")) or self.refresh.get(form.get("refresh_token", ""))
        return kept.grant.person if kept is not None else None

    def live_refresh(self, token: str, client_id: str) -> RefreshToken | None:
        """The refresh token, if that client may still use it.

        Where each is for a single use, one that was rotated away takes its grant with it: "the authorization
        server cannot determine which party submitted the invalid refresh token, but it will revoke the
        active refresh token" (RFC 9700, 4.14.2).
        """
        kept = self.refresh.get(token)
        now_ns = self._clock.now_ns()
        if kept is None or kept.client_id != client_id or kept.expires_ns <= now_ns or kept.evicted:
            return None
        if self._is_spent(kept, now_ns):
            if self._provider.oauth.refresh_rotation == "single_use":
                self.revoke(kept.grant, "refresh token used twice")
            return None
        return None if kept.grant.revoked else kept

    def rotate(self, token: RefreshToken) -> None:
        """Another takes the place of a refresh token; its grace counts from the first time."""
        if token.rotated_ns is None:
            token.rotated_ns = self._clock.now_ns()

    def _is_spent(self, token: RefreshToken, now_ns: int) -> bool:
        """Whether a refresh token has been used, and its grace is over."""
        return (
            token.rotated_ns is not None
            and now_ns - token.rotated_ns >= self._provider.oauth.refresh_grace_ns
        )


def _after(now_ns: int, lifetime_ns: int) -> int:
    return now_ns + lifetime_ns if lifetime_ns < NEVER_NS else NEVER_NS
