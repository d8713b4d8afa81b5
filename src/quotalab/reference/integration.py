"""The reference integration: a calendar app's side of a provider's API, under a policy profile.

It is the default app under test and the example to learn from: every call goes through one place, `_call`,
where the budget is asked, the answer judged, and the next attempt timed. How the API is called stands in the
provider profile, under ``[reference]``.
"""

from __future__ import annotations

import re
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from quotalab.clock import Clock, Entropy
from quotalab.errors import ScenarioError
from quotalab.profiles.policy import Policy
from quotalab.profiles.reference import Allowance, ReferenceApi
from quotalab.reference.answers import Answer, promised_ns
from quotalab.reference.authorization import Authorizer, BearerAuth, bearer_of
from quotalab.reference.budget import Budget
from quotalab.reference.call_log import CallLog
from quotalab.reference.errors import Declined, ProviderError
from quotalab.reference.requests import Request, filled, first_request, next_request
from quotalab.reference.tokens import TokenStore
from quotalab.sandbox.access import Access

__all__ = ["Calendar", "Fetched", "Patience", "build"]

_MOST_PAGES = 100
_CALL_NS = 10**9  # what a call itself may take, out of an operation's time
_REFUSAL = 429  # how a policy's statuses speak of refusals, whatever status a provider has for them
_LOST = 502  # and of answers that did not come whole, or are none of the API's: what a gateway would say
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_UNREADABLE = "with a body that cannot be read"
_TENANT = re.compile(r"[!-~]{1,200}")


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
    api: ReferenceApi | None,
    *,
    clock: Clock,
    entropy: Entropy,
    state: Path,
    traceparent: Callable[[], str | None] = lambda: None,
    log: Path | None = None,
) -> Calendar:
    """The integration, ready to use; `state` is a folder for its encrypted tokens.

    `log` is a file to which a line is added for each call.

    `api` is the ``[reference]`` table of the provider profile; without one `ScenarioError` is raised.
    `traceparent` gives the trace that a call belongs to (W3C Trace Context), or None.
    """
    if api is None:
        raise ScenarioError(
            "the provider profile has no [reference] table, so the reference integration cannot call its "
            "API; add one, or name an app of your own under [tool.quotalab.app]"
        )
    call_log = CallLog(log, clock) if log is not None else None
    return Calendar(
        access, policy, api, clock=clock, entropy=entropy, state=state, traceparent=traceparent, log=call_log
    )


class Calendar:
    """What the app does with the provider, in the app's own words."""

    def __init__(
        self,
        access: Access,
        policy: Policy,
        api: ReferenceApi,
        *,
        clock: Clock,
        entropy: Entropy,
        state: Path,
        traceparent: Callable[[], str | None],
        log: CallLog | None = None,
    ) -> None:
        self._log = log
        self._api_base = access.api_base
        self._api = api
        self._after_failures = tuple(wait for wait in api.waits if wait.name.lower() == "retry-after")
        """Headers that also tell when to ask again after an error; the others tell of limits only."""
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
            scope=api.scope,
            refresh_before_ns=policy.refresh_before_ns,
        )
        self._auth: dict[str, BearerAuth] = {}
        allowances = api.budget or (Allowance(policy.budget.calls, policy.budget.period_ns),)
        self._budget = Budget(allowances, policy.budget, clock) if policy.budget.enabled else None
        self._had: dict[tuple[str, str], Any] = {}
        self._tenants: dict[str, str] = {}
        self._learning: dict[tuple[str, bool], threading.Lock] = {}

    def _carry_trace(self, request: httpx.Request) -> None:
        """Say which trace a call belongs to."""
        traceparent = self._traceparent()
        if traceparent is not None:
            request.headers["traceparent"] = traceparent

    def share_budget(self, processes: int) -> None:
        """The app runs in as many processes, and this one keeps to its equal part of the budget."""
        if self._budget is not None:
            self._budget.share(processes)

    def close(self) -> None:
        """Close connections and files."""
        self._client.close()
        if self._log is not None:
            self._log.close()

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

    def disconnect(self, person: str) -> None:
        """End the connection: the person's tokens are given back to the provider."""
        self._authorizer.forget(person)

    # ---- what people do

    def week(self, person: str, patience: Patience) -> Fetched:
        """The events to show, the first page of them: one call, or what was shown last."""

        def ask(patience: Patience) -> Any:
            values = self._values(person, patience)
            request = first_request(self._api_base, self._api.list, values, reads=True)
            return self._items(self._call(person, request, patience))

        return self._fetch((person, "week"), ask, patience)

    def event(self, person: str, event: str, patience: Patience) -> Fetched:
        """One event, by its number: one call, or what was shown last."""

        def ask(patience: Patience) -> Any:
            values = {**self._values(person, patience), "n": event}
            request = first_request(self._api_base, self._api.read, values, reads=True)
            return self._document(self._call(person, request, patience))

        return self._fetch((person, f"event {event}"), ask, patience)

    def add(self, person: str, title: str, patience: Patience) -> Fetched:
        """Add an event: one call."""
        values = {**self._values(person, patience), "title": title}
        request = first_request(self._api_base, self._api.create, values, reads=False)
        return Fetched(self._document(self._call(person, request, patience)))

    def export(self, person: str, patience: Patience) -> Fetched:
        """Everything, in the largest pages there are: as many calls as that takes."""
        values = self._values(person, patience)
        whole = replace(self._api.list, path=self._api.list_all or self._api.list.path)
        request = first_request(self._api_base, whole, values, reads=True)
        events: list[Any] = []
        for page in range(1, _MOST_PAGES + 1):
            answer = self._call(person, request, patience)
            items = self._items(answer)
            events += items
            following = next_request(self._api, request, answer, page, len(items))
            if following is None:
                break
            request = following
        return Fetched(events)

    # ---- how calls are made

    def _fetch(self, what: tuple[str, str], ask: Callable[[Patience], Any], patience: Patience) -> Fetched:
        """A read that may be answered from what the app had, where the policy says so."""
        had = self._had.get(what)
        serves = "stale" in self._when_spent and had is not None
        if serves and self._when_spent[0] == "stale":
            patience = Patience(self._clock.now_ns(), patience.interactive)
        try:
            data = ask(patience)
        except (Declined, ProviderError):
            if serves:
                return Fetched(had, stale=True)
            raise
        self._had[what] = data
        return Fetched(data)

    def _items(self, answer: Answer) -> list[Any]:
        items = answer.at(self._api.items_at)
        if not isinstance(items, list):
            raise ProviderError(answer.status, "without a list of items")
        return items

    def _document(self, answer: Answer) -> Any:
        if answer.document is None:
            raise ProviderError(answer.status, _UNREADABLE)
        return answer.document

    def _values(self, person: str, patience: Patience) -> dict[str, str]:
        """The field that every request may have: the person's tenant, where the API needs it.

        It is asked for once. Nobody who is waited for stands behind somebody who is not.
        """
        endpoint = self._api.tenant
        if endpoint is None:
            return {}
        if person not in self._tenants:
            lock = self._learning.setdefault((person, patience.interactive), threading.Lock())
            if not lock.acquire(timeout=max(0, patience.deadline_ns - self._clock.now_ns()) / 1e9):
                raise Declined("the person's tenant is not known before the deadline")
            try:
                if person not in self._tenants:
                    request = first_request(self._api_base, endpoint, {}, reads=True)
                    self._tenants[person] = self._tenant(self._call(person, request, patience))
            finally:
                lock.release()
        return {"tenant": self._tenants[person]}

    def _tenant(self, answer: Answer) -> str:
        tenant = answer.at(self._api.tenant_at)
        if (
            isinstance(tenant, bool)
            or not isinstance(tenant, str | int)
            or not _TENANT.fullmatch(str(tenant))
        ):
            raise ProviderError(answer.status, "without a tenant")
        return str(tenant)

    def _headers(self, person: str) -> dict[str, str]:
        """The headers of a call; what speaks of a tenant that is not known yet is left out."""
        values = {"tenant": self._tenants[person]} if person in self._tenants else {}
        return {
            name: filled(text, values)
            for name, text in self._api.headers.items()
            if values or "{tenant}" not in text
        }

    def _call(self, person: str, request: Request, patience: Patience) -> Answer:
        """One request with its retries. Raises `Declined` or `ProviderError`."""
        deadline_ns = patience.deadline_ns - _CALL_NS if "wait" in self._when_spent else 0
        attempt, refused_token = 0, None
        while True:
            # A stale token is renewed now, not with a call of the budget in hand.
            try:
                self._authorizer.token(person, beside=refused_token)
            except ProviderError as error:
                attempt += 1
                self._wait(self._renewal_wait_ns(error, attempt), patience, error.status, error.code)
                continue
            try:
                answer = self._send(
                    person, request, interactive=patience.interactive, deadline_ns=deadline_ns
                )
            except httpx.TransportError as error:
                attempt += 1
                repeatable = request.repeatable or isinstance(error, _NOT_SENT)
                wait_ns = self._backoff_ns(_LOST, attempt) if repeatable else None
                self._note(person, request, None, wait_ns)
                self._wait(wait_ns, patience, 0, type(error).__name__)
                continue
            refused = answer.told(self._api.refused)
            if refused is None and refused_token is None and self._is_token_refused(answer):
                # Once with a fresh one; a second such answer in a row stands. While the budget let the call
                # wait, another token may have come: which one was refused stands in the request.
                refused_token = bearer_of(answer.response.request)
                self._note(person, request, answer, 0)
                continue
            attempt += 1
            told = refused or self._error(answer)
            if told is None:
                self._note(person, request, answer, None)
                return answer
            wait_ns = self._wait_ns(person, request, answer, attempt, refused=refused is not None)
            self._note(person, request, answer, wait_ns)
            self._wait(wait_ns, patience, answer.status, told)

    def _is_token_refused(self, answer: Answer) -> bool:
        """Whether another token could help. Where a scope is missing, it could not (RFC 6750, 3.1)."""
        return answer.told(self._api.expired) is not None and answer.told(self._api.forbidden) is None

    def _note(self, person: str, request: Request, answer: Answer | None, wait_ns: int | None) -> None:
        """A line in the app's log, where it keeps one."""
        if self._log is not None:
            self._log.add(person, self._tenants.get(person), request, answer, wait_ns)

    def _wait(self, wait_ns: int | None, patience: Patience, status: int, told: str) -> None:
        """Wait before the next attempt. Raises `ProviderError` if there is to be none."""
        if wait_ns is None:
            raise ProviderError(status, told)
        if self._clock.now_ns() + wait_ns + _CALL_NS > patience.deadline_ns:
            raise ProviderError(status, "and the deadline is too near to ask again")
        self._clock.sleep_ns(wait_ns)

    def _send(self, person: str, request: Request, *, interactive: bool, deadline_ns: int) -> Answer:
        """One call, when the budget has room for it."""
        auth = self._auth.get(person)
        if auth is None:
            auth = self._auth[person] = BearerAuth(self._authorizer, person)
        accounts = None
        if self._budget is not None:
            who = self._who(person)
            accounts = self._budget.acquire(who, interactive=interactive, deadline_ns=deadline_ns)
        try:
            answer = Answer(
                self._client.request(
                    request.method,
                    request.url,
                    headers=self._headers(person),
                    json=request.json,
                    data=request.form,
                    auth=auth,
                )
            )
            if self._budget is not None:
                self._budget.heed(self._who(person), answer.response.headers)
            return answer
        finally:
            if self._budget is not None and accounts is not None:
                self._budget.settle(accounts)

    def _who(self, person: str) -> dict[str, str]:
        """For whom a call is made, as the budget wants it."""
        tenant = self._tenants.get(person)
        return {"person": person} if tenant is None else {"person": person, "tenant": tenant}

    def _error(self, answer: Answer) -> str | None:
        """What is wrong with an answer; None: it is data."""
        if not 200 <= answer.status < 300:
            return answer.response.reason_phrase
        told = answer.told(self._api.failed) or answer.told(self._api.expired)
        return _UNREADABLE if told is None and answer.document is None else told

    def _wait_ns(
        self, person: str, request: Request, answer: Answer, attempt: int, *, refused: bool
    ) -> int | None:
        """How long to wait before asking again; None: do not.

        A refusal did no work, so anything may be asked again; after a failure only what is repeatable. What
        was promised, or is documented as the least, is kept to the nanosecond, with jitter on top; of a
        refusal the budget is told, whether this request is made again or not.
        """
        retry = self._retry
        promised_wait_ns, least_ns = None, 0
        if retry.obey_retry_after:
            waits = self._api.waits if refused else self._after_failures
            promised_wait_ns = promised_ns(answer.response.headers, waits, self._clock.now_ns())
            if refused and "Retry-After" not in answer.response.headers:
                least_ns = self._api.refused_wait_ns
                if least_ns:
                    promised_wait_ns = max(promised_wait_ns or 0, least_ns)
            if refused and promised_wait_ns is not None and self._budget is not None:
                self._budget.close(self._who(person), promised_wait_ns)
        status = _REFUSAL if refused else answer.status
        if 200 <= status < 300 and answer.document is None:
            status = _LOST
        if not refused and not request.repeatable:
            return None
        return self._backoff_ns(status, attempt, promised_wait_ns, least_ns)

    def _renewal_wait_ns(self, error: ProviderError, attempt: int) -> int | None:
        """How long to wait before a token is asked for again; None: do not.

        Where the answer was lost the refresh token may be spent; but then the grant is lost either way, and
        asking again is how the app learns it (invalid_grant) or goes on.
        """
        lost = not error.status or 200 <= error.status < 300
        promised_wait_ns = None
        if self._retry.obey_retry_after:
            promised_wait_ns = promised_ns(error.headers, self._after_failures, self._clock.now_ns())
        return self._backoff_ns(_LOST if lost else error.status, attempt, promised_wait_ns)

    def _backoff_ns(
        self, status: int, attempt: int, promised_wait_ns: int | None = None, least_ns: int = 0
    ) -> int | None:
        """How long the policy waits after an attempt that ended so; None: there is no further one.

        Backoff grows from `least_ns`, where that is above the policy's own base. After a promise only jitter
        comes on top. Jitter alone may draw next to nothing: where nothing was promised, the base is waited in
        any case.
        """
        retry = self._retry
        if status not in retry.statuses:
            return None
        if retry.attempts is not None and attempt >= retry.attempts:
            return None
        backoff_ns = min(retry.cap_ns, max(retry.base_ns, least_ns) << min(attempt - 1, 40))
        if retry.jitter != "full":
            return backoff_ns if promised_wait_ns is None else promised_wait_ns
        waited_ns = retry.base_ns if promised_wait_ns is None else promised_wait_ns
        return waited_ns + self._random.randrange(backoff_ns + 1)
