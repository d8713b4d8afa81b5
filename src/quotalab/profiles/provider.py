"""Provider profiles: what a provider allows, how it answers, and what it tolerates before approval."""

from __future__ import annotations

import contextlib
import datetime
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from quotalab.profiles.reading import Table, apply_settings, merge

__all__ = [
    "Approval",
    "Collection",
    "Latency",
    "Limit",
    "OAuth",
    "Provider",
    "Refusal",
    "Route",
    "Source",
    "TestPhase",
    "parse_provider",
]

KEYS = ("app", "person", "token", "ip", "route")
KINDS = ("rolling_window", "fixed_window")
LATER_KINDS = ("token_bucket", "concurrency", "balance", "cardinality", "penalty", "opaque")
CONFIDENCES = ("high", "medium", "low", "own")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a figure comes from: a page, the day it was read, and how sure it is (`own`: our choice)."""

    where: str
    read: datetime.date | None
    confidence: str


@dataclass(frozen=True, slots=True)
class Limit:
    """One quota: at most `limit` calls in any (or each) half-open window of `period_ns` for each key."""

    name: str
    kind: str
    limit: int
    period_ns: int
    key: tuple[str, ...]
    align: str
    """Of a fixed window: ``clock`` (whole periods since 1970 in UTC) or ``first_call``."""
    source: Source


@dataclass(frozen=True, slots=True)
class Collection:
    """Items that each person has at the provider; they grow by ``create`` routes."""

    initial: int
    """How many a person has before the run."""
    item: Mapping[str, Any]
    """Fields of an item, beside its ``id``."""


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint of the provider's API, answered from a little state."""

    name: str
    method: str
    path: str
    """A template such as ``/v1/events/{id}``; a name in braces matches one path segment."""
    scopes: tuple[str, ...]
    answer: str
    """``list``, ``read``, ``create`` or ``fixed``."""
    collection: str
    page_size: int
    body: Any
    """Of ``fixed``: the JSON body."""


@dataclass(frozen=True, slots=True)
class OAuth:
    """The authorization server: lifetimes in nanoseconds."""

    pkce: str
    access_token_lifetime_ns: int
    refresh_token_lifetime_ns: int
    refresh_rotation: str
    code_lifetime_ns: int


@dataclass(frozen=True, slots=True)
class TestPhase:
    """What the provider forbids before it has approved the app."""

    max_people: int | None
    forbidden_scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """How the provider says that a limit refused a call."""

    status: int
    retry_after: str
    """``seconds`` (whole, rounded up; RFC 9110, 10.2.3) or ``none``."""
    body: Any


@dataclass(frozen=True, slots=True)
class Latency:
    """The way of a call there and back: each leg is lognormal, `median_ns` with shape `sigma`."""

    median_ns: int
    sigma: float


@dataclass(frozen=True, slots=True)
class Approval:
    """What the provider tolerates; thresholds of the rules."""

    refusals: str
    """``never``, ``share`` (of the day's calls) or ``if-obeyed``."""
    refusals_share: float
    headroom: float
    edge_burst: float
    retry_wait_ns: int
    failed_operations: float
    wait_p95_ns: int


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider profile, validated."""

    name: str
    title: str
    description: str
    api_path: str
    oauth: OAuth
    scopes: Mapping[str, str]
    test_phase: TestPhase
    limits: tuple[Limit, ...]
    refusal: Refusal
    latency: Latency
    collections: Mapping[str, Collection]
    routes: tuple[Route, ...]
    approval: Approval
    document: Mapping[str, Any]
    """The resolved TOML document (variant and settings applied), as a run folder keeps it."""


def parse_provider(
    document: Mapping[str, Any], file: str, *, variant: str | None = None, settings: Iterable[str] = ()
) -> Provider:
    """Validate a provider profile.

    `variant` names a table of ``[variants]`` to lay over it; `settings` are ``dotted.key=value``.
    Raises `ProfileError` naming the file and the key.
    """
    resolved = {key: value for key, value in document.items() if key != "variants"}
    variants = document.get("variants", {})
    if not isinstance(variants, Mapping):
        raise Table({}, file).error("variants", "must be a table of variants")
    if variant is not None:
        if not isinstance(variants.get(variant), Mapping):
            known = ", ".join(sorted(variants)) or "none"
            raise Table({}, file).error("variants", f"has no variant {variant!r}; there is: {known}")
        resolved = merge(resolved, variants[variant])
        resolved["name"] = f"{document.get('name', '')}/{variant}"
    resolved = apply_settings(resolved, settings, file)

    top = Table(resolved, file)
    top.whole("schema", least=1, most=1)
    provider = Provider(
        name=top.text("name"),
        title=top.text("title"),
        description=top.text("description", ""),
        api_path=_api_path(top),
        oauth=_oauth(top.table("oauth")),
        scopes=(scopes := _scopes(top.table("scopes", {}))),
        test_phase=_test_phase(top.table("test_phase", {}), scopes),
        limits=_limits(top),
        refusal=_refusal(top.table("refusal", {})),
        latency=_latency(top.table("latency", {})),
        collections=(collections := _collections(top)),
        routes=_routes(top, scopes, collections),
        approval=_approval(top.table("approval", {})),
        document=resolved,
    )
    top.done()
    return provider


def _api_path(top: Table) -> str:
    path: str = top.text("api_path", "")
    if path and (not path.startswith("/") or path.endswith("/")):
        raise top.error("api_path", f"must begin and not end with a slash, as in '/v1', not {path!r}")
    return path


def _oauth(table: Table) -> OAuth:
    oauth = OAuth(
        pkce=table.choice("pkce", ("required", "optional"), "required"),
        access_token_lifetime_ns=table.duration_ns("access_token_lifetime", least_ns=1_000_000_000),
        refresh_token_lifetime_ns=table.duration_ns("refresh_token_lifetime", least_ns=1_000_000_000),
        refresh_rotation=table.choice("refresh_rotation", ("none", "rotate"), "rotate"),
        code_lifetime_ns=table.duration_ns("code_lifetime", 60 * 10**9, least_ns=1_000_000_000),
    )
    table.done()
    return oauth


def _scopes(table: Table) -> dict[str, str]:
    for name in table:
        if not re.fullmatch(r"[!#-[\]-~]+", name):  # RFC 6749, 3.3: scope-token
            raise table.error(name, "is no scope's name: no spaces, quotes or backslashes, ASCII only")
    return {name: table.text(name) for name in table}


def _test_phase(table: Table, scopes: Mapping[str, str]) -> TestPhase:
    phase = TestPhase(
        max_people=table.whole("max_people", None, least=1),
        forbidden_scopes=table.texts("forbidden_scopes", (), allowed=tuple(scopes)),
    )
    table.done()
    return phase


def _limits(top: Table) -> tuple[Limit, ...]:
    limits = tuple(_limit(name, table) for name, table in top.tables("limits"))
    if not limits:
        raise top.error("limits", "is missing; there must be at least one [limits.NAME] table")
    return limits


def _limit(name: str, table: Table) -> Limit:
    if (later := table.peek("kind")) in LATER_KINDS:
        raise table.error("kind", f"{later!r} cannot be enforced yet; there is: {', '.join(KINDS)}")
    kind = table.choice("kind", KINDS)
    limit = Limit(
        name=name,
        kind=kind,
        limit=table.whole("limit", least=1, most=10**12),
        period_ns=table.duration_ns("period", least_ns=1_000_000),
        key=table.texts("key", ("app",), allowed=KEYS),
        align=table.choice("align", ("clock", "first_call"), "clock"),
        source=_source(table.table("source")),
    )
    if not limit.key:
        raise table.error("key", "must name at least one of " + ", ".join(KEYS))
    table.done()
    return limit


def _source(table: Table) -> Source:
    where = table.text("where")
    read = table.any("read", None)
    if isinstance(read, str):  # a run folder keeps profiles as JSON, which has no dates
        with contextlib.suppress(ValueError):
            read = datetime.date.fromisoformat(read)
    if read is not None and (not isinstance(read, datetime.date) or isinstance(read, datetime.datetime)):
        raise table.error("read", f"must be a date such as 2026-11-01, not {read!r}")
    source = Source(where, read, table.choice("confidence", CONFIDENCES))
    table.done()
    return source


def _refusal(table: Table) -> Refusal:
    refusal = Refusal(
        status=table.whole("status", 429, least=400, most=599),
        retry_after=table.choice("retry_after", ("seconds", "none"), "seconds"),
        body=table.any("body", {"error": "rate_limited"}),
    )
    table.done()
    return refusal


def _latency(table: Table) -> Latency:
    latency = Latency(
        median_ns=table.duration_ns("median", 0),
        sigma=table.number("sigma", 0.0, most=3.0),
    )
    table.done()
    return latency


def _collections(top: Table) -> dict[str, Collection]:
    collections = {}
    for name, table in top.tables("collections"):
        item = table.any("item", {})
        if not isinstance(item, Mapping) or "id" in item:
            raise table.error("item", "must be a table of fields without 'id', which the sandbox gives")
        collections[name] = Collection(table.whole("initial", 0, most=100_000), item)
        table.done()
    return collections


def _routes(
    top: Table, scopes: Mapping[str, str], collections: Mapping[str, Collection]
) -> tuple[Route, ...]:
    routes = tuple(_route(table, scopes, collections) for table in top.array("routes"))
    seen: dict[tuple[str, str], str] = {}
    for i, route in enumerate(routes):
        if other := seen.get((route.method, route.path)):
            raise top.error(
                f"routes[{i}]", f"answers {route.method} {route.path}, which {other!r} already does"
            )
        seen[route.method, route.path] = route.name
    if len({route.name for route in routes}) != len(routes):
        raise top.error("routes", "gives one name to two routes")
    return routes


def _route(table: Table, scopes: Mapping[str, str], collections: Mapping[str, Collection]) -> Route:
    answer = table.choice("answer", ("list", "read", "create", "fixed"))
    route = Route(
        name=table.text("name"),
        method=table.choice("method", ("GET", "POST", "PUT", "PATCH", "DELETE"), "GET"),
        path=table.text("path"),
        scopes=table.texts("scopes", (), allowed=tuple(scopes)),
        answer=answer,
        collection=table.choice("collection", tuple(collections)) if answer != "fixed" else "",
        page_size=table.whole("page_size", 50, least=1, most=10_000),
        body=table.any("body", {}) if answer == "fixed" else None,
    )
    if not route.path.startswith("/"):
        raise table.error("path", f"must begin with a slash, not {route.path!r}")
    names = re.findall(r"\{(\w+)\}", route.path)
    if len(set(names)) != len(names):
        raise table.error("path", f"names one segment twice: {route.path!r}")
    if not re.fullmatch(r"[\w.-]+", route.name):
        raise table.error(
            "name", f"may hold letters, digits, dots, dashes and underscores, not {route.name!r}"
        )
    if (answer == "read") != ("{id}" in route.path):
        raise table.error("path", f"must hold {{id}} if and only if one item is read, not {route.path!r}")
    table.done()
    return route


def _approval(table: Table) -> Approval:
    refusals = table.any("refusals", "never")
    share = 0.0
    if isinstance(refusals, str) and refusals.startswith("share:"):
        try:
            share = float(refusals.removeprefix("share:"))
        except ValueError:
            share = -1.0
        kind = "share"
    else:
        kind = refusals
    if kind not in ("never", "share", "if-obeyed") or not 0.0 <= share < 1.0:
        raise table.error("refusals", f"must be 'never', 'share:0.05' or 'if-obeyed', not {refusals!r}")
    approval = Approval(
        refusals=kind,
        refusals_share=share,
        headroom=table.number("headroom", 0.02, most=1.0),
        edge_burst=table.number("edge_burst", 1.0),
        retry_wait_ns=table.duration_ns("retry_wait", 10**9),
        failed_operations=table.number("failed_operations", 0.05, most=1.0),
        wait_p95_ns=table.duration_ns("wait_p95", 30 * 60 * 10**9),
    )
    table.done()
    return approval
