"""Provider profiles: what a provider allows, how it answers, and what it tolerates before approval."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from quotalab.profiles.dialect import Dialect, parse_dialect
from quotalab.profiles.faults import Fault, parse_faults
from quotalab.profiles.limits import Limit, parse_limits
from quotalab.profiles.oauth import (
    Approved,
    OAuth,
    TestPhase,
    parse_approved,
    parse_oauth,
    parse_test_phase,
)
from quotalab.profiles.reading import Table, apply_settings, merge
from quotalab.profiles.reference import ReferenceApi, parse_reference
from quotalab.profiles.routes import Collection, Parameter, Route, parse_collections, parse_routes
from quotalab.profiles.rules import RuleSettings, rule_settings
from quotalab.profiles.templates import Template, parse_template

__all__ = [
    "Approval",
    "Latency",
    "Provider",
    "Tenants",
    "parse_provider",
]


@dataclass(frozen=True, slots=True)
class Tenants:
    """Organisations, workspaces, shops: what people belong to, where limits are kept for them."""

    people: int
    """How many people there are in each."""
    id: Template
    """Of a tenant, with its number from 1 as ``{n}``."""
    at: Parameter | None
    """Where a call says which one it means (header or path); None: it is the person's own."""

    def of_person(self, number: int) -> int:
        """The number of the tenant that the person with `number` (from 1) belongs to."""
        return (number - 1) // self.people + 1


@dataclass(frozen=True, slots=True)
class Latency:
    """The way of a call there and back: each leg is lognormal, `median_ns` with shape `sigma`; so is the time
    for which an admitted call is under way at the provider, `work_ns` with `work_sigma`."""

    median_ns: int
    sigma: float
    work_ns: int
    work_sigma: float


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
    rules: RuleSettings = field(default_factory=dict)
    """Thresholds of single rules, as written."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider profile, validated."""

    name: str
    title: str
    description: str
    api_path: str
    oauth: OAuth
    scopes: Mapping[str, str]
    tenants: Tenants
    test_phase: TestPhase
    approved: Approved | None
    """When the provider approves the app, which ends the test phase; None: not during the run."""
    limits: tuple[Limit, ...]
    dialect: Dialect
    latency: Latency
    collections: Mapping[str, Collection]
    routes: tuple[Route, ...]
    approval: Approval
    faults: tuple[Fault, ...]
    reference: ReferenceApi | None
    """None: the reference integration does not know this API."""
    variants: tuple[str, ...]
    gaps: tuple[str, ...]
    """What the provider does not say, or what the sandbox does not have, in words."""
    document: Mapping[str, Any]
    """The resolved TOML document (variant and settings applied), as a run folder keeps it."""

    def for_people(self, people: int) -> Provider:
        """With the numbers that formulas give for so many people."""
        return replace(self, limits=tuple(limit.for_people(people) for limit in self.limits))


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
        resolved = _with_routes(resolved, merge(resolved, variants[variant]))
        resolved["name"] = f"{document.get('name', '')}/{variant}"
    resolved = apply_settings(resolved, settings, file)

    top = Table(resolved, file)
    top.whole("schema", least=1, most=1)
    scopes = _scopes(top.table("scopes", {}))
    collections = parse_collections(top)
    names = top.peek("limits")
    routes = parse_routes(top, scopes, collections, tuple(names) if isinstance(names, Mapping) else ())
    limits = parse_limits(top, {route.name: route.tags for route in routes})
    provider = Provider(
        name=top.text("name"),
        title=top.text("title"),
        description=top.text("description", ""),
        api_path=_api_path(top),
        oauth=parse_oauth(top.table("oauth")),
        scopes=scopes,
        tenants=_tenants(top.table("tenants", {}), routes),
        test_phase=parse_test_phase(top.table("test_phase", {}), scopes),
        approved=parse_approved(resolved.get("timetable", ()), file),
        limits=limits,
        dialect=parse_dialect(top, tuple(limit.name for limit in limits)),
        latency=_latency(top.table("latency", {})),
        collections=collections,
        routes=routes,
        approval=_approval(top.table("approval", {})),
        faults=parse_faults(top, tuple(route.name for route in routes)),
        reference=parse_reference(top.table("reference")) if "reference" in top else None,
        variants=tuple(variants),
        gaps=top.texts("gaps", ()),
        document=resolved,
    )
    top.done()
    return provider


def _with_routes(below: Mapping[str, Any], resolved: dict[str, Any]) -> dict[str, Any]:
    """A variant's routes lie over those of the same name, key by key; new ones come after them."""
    routes, above = _named(below.get("routes")), _named(resolved.get("routes"))
    if routes is None or above is None or routes == above:
        return resolved
    for name, route in above.items():
        routes[name] = merge(routes.get(name, {}), route)
    return {**resolved, "routes": list(routes.values())}


def _named(routes: Any) -> dict[str, Mapping[str, Any]] | None:
    """Routes by name; None where they are not such as could be laid over each other."""
    if not isinstance(routes, list) or not all(
        isinstance(route, Mapping) and isinstance(route.get("name"), str) for route in routes
    ):
        return None
    return {route["name"]: route for route in routes}


def _api_path(top: Table) -> str:
    path: str = top.text("api_path", "")
    if path and (not path.startswith("/") or path.endswith("/")):
        raise top.error("api_path", f"must begin and not end with a slash, as in '/v1', not {path!r}")
    return path


def _tenants(table: Table, routes: tuple[Route, ...]) -> Tenants:
    text, at = table.text("id", "tenant-{n}"), table.text("at", None)
    try:
        template = parse_template(text, ("n",), (), refused=False)
    except ValueError as error:
        raise table.error("id", str(error)) from None
    if len(template.fields) != 1:
        raise table.error("id", f"must hold {{n}} once, not {text!r}")
    parameter = None
    if at is not None:
        place, _, name = at.partition(":")
        if place not in ("header", "path") or not name:
            raise table.error("at", f"must be such as 'header:X-Tenant' or 'path:tenant', not {at!r}")
        if place == "path" and not any(f"{{{name}}}" in route.path for route in routes):
            raise table.error("at", f"names {{{name}}}, which no route's path has")
        parameter = Parameter(place, name.lower() if place == "header" else name)
    tenants = Tenants(table.whole("people", 1, least=1), template, parameter)
    table.done()
    return tenants


def _scopes(table: Table) -> dict[str, str]:
    for name in table:
        if not re.fullmatch(r"[!#-[\]-~]+", name):  # RFC 6749, 3.3: scope-token
            raise table.error(name, "is no scope's name: no spaces, quotes or backslashes, ASCII only")
    return {name: table.text(name) for name in table}


def _latency(table: Table) -> Latency:
    latency = Latency(
        median_ns=table.duration_ns("median", 0),
        sigma=table.number("sigma", 0.0, most=3.0),
        work_ns=table.duration_ns("work", 0),
        work_sigma=table.number("work_sigma", 0.0, most=3.0),
    )
    table.done()
    return latency


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
        rules=rule_settings(table.table("rules", {}), may_silence=False),
    )
    table.done()
    return approval
