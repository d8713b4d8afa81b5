"""Policy profiles: settings of the reference integration's backoff, request budget and token handling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quotalab.profiles.reading import Table

__all__ = ["Budget", "Policy", "Retry", "parse_policy"]


@dataclass(frozen=True, slots=True)
class Budget:
    """The app's own account of what the provider allows, shared by everything it does.

    Allowances that the provider profile names, under ``[[reference.budget]]``, are kept in place of `calls`
    in `period_ns`.
    """

    enabled: bool
    calls: int
    """What the provider's limit allows in `period_ns`, where its profile does not name it."""
    period_ns: int
    margin: float
    """Share of the calls that is never used."""
    reserve: float
    """Share of what may be used that only interactive operations get."""
    burst: int
    """Background calls that may go at once before they are spread evenly over the period."""
    when_spent: tuple[str, ...]
    """What to try, in this order, when no call is left: ``wait`` (up to the deadline), ``stale``."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Backoff; waits in nanoseconds."""

    attempts: int | None
    """Calls for one request at most; None: until the operation's deadline."""
    obey_retry_after: bool
    base_ns: int
    cap_ns: int
    jitter: str
    """``full`` (0 to the backoff, on top of what was promised, else of `base_ns`), or ``none``."""
    statuses: tuple[int, ...]
    """What is asked again; 429 stands for refusals, whatever status the provider has for them."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy profile, validated."""

    name: str
    title: str
    description: str
    budget: Budget
    retry: Retry
    refresh_before_ns: int
    """How long before an access token expires it is refreshed."""
    document: Mapping[str, Any]


def parse_policy(document: Mapping[str, Any], file: str) -> Policy:
    """Validate a policy profile; raises `ProfileError` naming the file and the key."""
    top = Table(document, file)
    top.whole("schema", least=1, most=1)
    policy = Policy(
        name=top.text("name"),
        title=top.text("title"),
        description=top.text("description", ""),
        budget=_budget(top.table("budget", {"enabled": False})),
        retry=_retry(top.table("retry")),
        refresh_before_ns=top.duration_ns("refresh_before", 5 * 60 * 10**9),
        document=dict(document),
    )
    top.done()
    return policy


def _budget(table: Table) -> Budget:
    enabled = table.flag("enabled", True)
    budget = Budget(
        enabled=enabled,
        calls=table.whole("calls", 100, least=1),
        period_ns=table.duration_ns("period", 3600 * 10**9, least_ns=1_000_000),
        margin=table.number("margin", 0.05, most=0.99),
        reserve=table.number("reserve", 0.0, most=0.99),
        burst=table.whole("burst", 1, least=1),
        when_spent=table.texts("when_spent", ("wait", "stale"), allowed=("wait", "stale")),
    )
    table.done()
    return budget


def _retry(table: Table) -> Retry:
    statuses = table.any("statuses", [429, 500, 502, 503, 504])
    if not isinstance(statuses, list) or not all(isinstance(s, int) and 400 <= s <= 599 for s in statuses):
        raise table.error("statuses", f"must be a list of HTTP statuses from 400 to 599, not {statuses!r}")
    retry = Retry(
        attempts=table.whole("attempts", None, least=1),
        obey_retry_after=table.flag("obey_retry_after", True),
        base_ns=table.duration_ns("base", 10**9),
        cap_ns=table.duration_ns("cap", 300 * 10**9),
        jitter=table.choice("jitter", ("full", "none"), "full"),
        statuses=tuple(statuses),
    )
    table.done()
    return retry
