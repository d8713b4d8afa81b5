"""The reference integration: a calendar app's side of a provider's API, under a policy profile.

It is the default app under test and the example to learn from: every call goes through one place, `_call`,
where the budget is asked, the answer judged, and the next attempt timed.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from quotalab.clock import Clock, Entropy
from quotalab.profiles.policy import Policy
from quotalab.reference.authorization import Authorizer, BearerAuth
from quotalab.reference.budget import Budget
from quotalab.reference.errors import Declined, ProviderError
from quotalab.reference.tokens import TokenStore
from quotalab.sandbox.access import Access

__all__ = ["Calendar", "Fetched", "Patience", "build"]

SCOPE = "events.read events.write"
_MOST_PAGES = 100
_CALL_NS = 10**9  # what a call itself may take, out of an operation's time


@dataclass(frozen=True)
class Patience:
    """How long an operation may take, and whether a person is waiting for it."""

    deadline_ns: int
    """By the app's clock (`now_ns`)."""
    interactive: bool = True


@dataclass(frozen=True)
class Fetched:
    """Data from the provider; `stale` when it is what the app had from before."""

    data: Any
    stale: bool = False


def build(
    access: Access,
    policy: Policy,
    *,
    clock: Clock,
    entropy: Entropy,
    state: Path,
    traceparent: Callable[[], str | None] = lambda: None,
) -> Calendar:
    """The integration, ready to use; `state` is a folder for its encrypted tokens.

    `traceparent` gives the trace that a call belongs to (W3C Trace Context), or None.
    """
    return Calendar(access, policy, clock=clock, entropy=entropy, state=state, traceparent=traceparent)


class Calendar:
    """What the app does with the provider, in the app's own words."""

    def __init__(
        self,
        access: Access,
        policy: Policy,
        *,
        clock: Clock,
        entropy: Entropy,
        state: Path,
        traceparent: Callable[[], str | None],
    ) -> None:
        self._api = access.api_base
        self._retry = policy.retry
        self._when_spent = policy.budget.when_spent
        self._clock = clock
        self._random = entropy.stream("app", "jitter")
        self._traceparent = traceparent
        self._client = httpx.Client(
            transport=access.transport,
            timeout=30.0,
            headers={"User-Agent": "calendar-app/1.0"},
            event_hooks={"request": [self._carry_trace]},
        )
        self._authorizer = Authorizer(
            access,
            self._client,
            TokenStore(state, urlsafe_b64encode(entropy.key("app-token-store"))),
            clock,
            entropy,
            scope=SCOPE,
            refresh_before_ns=policy.refresh_before_ns,
        )
        self._auth: dict[str, BearerAuth] = {}
        self._budget = Budget(policy.budget, clock) if policy.budget.enabled else None
        self._had: dict[tuple[str, str], Any] = {}

    def _carry_trace(self, request: httpx.Request) -> None:
        """Say which trace a call belongs to."""
        traceparent = self._traceparent()
        if traceparent is not None:
            request.headers["traceparent"] = traceparent

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    # ---- connecting

    def connect(self, person: str) -> str:
        """The provider's address where the person is asked for consent."""
        return self._authorizer.start(person)

    def connected(self, callback: str) -> str:
        """Take up a person who came back from there; returns who it was."""
        return self._authorizer.finish(callback)

    def is_connected(self, person: str) -> bool:
        """Whether the person has given consent."""
        return self._authorizer.is_connected(person)

    # ---- what people do

    def week(self, person: str, patience: Patience) -> Fetched:
        """The events to show: one call, or what was shown last."""
        return self._fetch(person, "/events", patience)

    def event(self, person: str, event: str, patience: Patience) -> Fetched:
        """One event: one call, or what was shown last."""
        return self._fetch(person, f"/events/{event}", patience)

    def add(self, person: str, title: str, patience: Patience) -> Fetched:
        """Add an event: one call."""
        response = self._call(
            person, "POST", "/events", patience, json={"title": title, "duration_minutes": 30}
        )
        return Fetched(response.json())

    def export(self, person: str, patience: Patience) -> Fetched:
        """Everything, page by page: as many calls as there are pages."""
        events: list[Any] = []
        page: str | None = "1"
        for _ in range(_MOST_PAGES):
            document = self._call(person, "GET", f"/events?page={page}", patience).json()
            events += document["events"]
            page = document["next_page"]
            if page is None:
                break
        return Fetched(events)

    # ---- how calls are made

    def _fetch(self, person: str, path: str, patience: Patience) -> Fetched:
        """A read that may be answered from what the app had, where the policy says so."""
        had = self._had.get((person, path))
        serves = "stale" in self._when_spent and had is not None
        if serves and self._when_spent[0] == "stale":
            patience = Patience(self._clock.now_ns(), patience.interactive)
        try:
            data = self._call(person, "GET", path, patience).json()
        except (Declined, ProviderError):
            if serves:
                return Fetched(had, stale=True)
            raise
        self._had[person, path] = data
        return Fetched(data)

    def _call(
        self, person: str, method: str, path: str, patience: Patience, json: Any = None
    ) -> httpx.Response:
        """One request with its retries. Raises `Declined` or `ProviderError`."""
        deadline_ns = patience.deadline_ns - _CALL_NS if "wait" in self._when_spent else 0
        auth = self._auth.get(person)
        if auth is None:
            auth = self._auth[person] = BearerAuth(self._authorizer, person)
        attempt, refused_token = 0, None
        while True:
            # A stale token is renewed now, not with a call of the budget in hand.
            token = self._authorizer.token(person, beside=refused_token)
            if self._budget is not None:
                self._budget.acquire(interactive=patience.interactive, deadline_ns=deadline_ns)
            try:
                response = self._client.request(method, self._api + path, json=json, auth=auth)
            finally:
                if self._budget is not None:
                    self._budget.settle()
            if response.status_code == 401 and refused_token is None:
                refused_token = token  # once with a fresh one; a second 401 in a row stands
                continue
            attempt += 1
            if response.status_code < 400:
                return response
            wait_ns = self._wait_ns(method, response, attempt)
            if wait_ns is None:
                raise ProviderError(response.status_code, response.reason_phrase)
            if self._clock.now_ns() + wait_ns + _CALL_NS > patience.deadline_ns:
                raise ProviderError(response.status_code, "and the deadline is too near to ask again")
            self._clock.sleep_ns(wait_ns)

    def _wait_ns(self, method: str, response: httpx.Response, attempt: int) -> int | None:
        """How long to wait before asking again; None: do not.

        A refusal did no work, so anything may be asked again; after a failure only what is idempotent
        (RFC 9110, 9.2.2). Retry-After is kept to the second, with jitter on top, and told to the budget.
        """
        retry = self._retry
        if response.status_code not in retry.statuses:
            return None
        if retry.attempts is not None and attempt >= retry.attempts:
            return None
        if response.status_code != 429 and method == "POST":
            return None
        backoff_ns = min(retry.cap_ns, retry.base_ns << min(attempt - 1, 40))
        if retry.jitter == "full":
            backoff_ns = self._random.randrange(backoff_ns + 1)
        promised_ns = _retry_after_ns(response) if retry.obey_retry_after else None
        if promised_ns is None:
            return backoff_ns
        if self._budget is not None:
            self._budget.close(promised_ns)
        return promised_ns + (backoff_ns if retry.jitter == "full" else 0)


def _retry_after_ns(response: httpx.Response) -> int | None:
    """The promised wait, where it is a number of seconds (RFC 9110, 10.2.3)."""
    text = response.headers.get("Retry-After", "")
    return int(text) * 1_000_000_000 if text.isascii() and text.isdigit() else None
