"""Provider profiles in words: the list of them, a page about one, and what is to be said of a user's own."""

from __future__ import annotations

import datetime
import json
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from quotalab.errors import ProfileError
from quotalab.profiles.dialect import ERRORS, Dialect, Header, Refusal
from quotalab.profiles.limits import METERED, Limit, Source
from quotalab.profiles.loading import load_provider
from quotalab.profiles.oauth import NEVER_NS, OAuth
from quotalab.profiles.provider import Provider, parse_provider
from quotalab.profiles.reading import read_toml
from quotalab.profiles.routes import Route
from quotalab.profiles.templates import Field, Template
from quotalab.workspace import Workspace

__all__ = ["WIDTH", "checked", "profile_list", "profile_page", "say_duration", "say_limit"]

WIDTH = 100
_SECOND_NS = 10**9
_DAY_NS = 86_400 * _SECOND_NS
_UNITS = ((_DAY_NS, "day"), (3600 * _SECOND_NS, "hour"), (60 * _SECOND_NS, "minute"), (_SECOND_NS, "second"))
_NOW = datetime.datetime(2026, 1, 5, 9, 0, 7, tzinfo=datetime.UTC)  # of examples; runs begin on that day
_WAIT_S = 36
_KEYS = {
    "app": "the app",
    "person": "each person",
    "tenant": "each tenant",
    "token": "each token",
    "ip": "each address",
    "route": "each route",
    "object": "each object",
}
_MEMBERS = {
    "person": ("person", "people"),
    "tenant": ("tenant", "tenants"),
    "token": ("refresh token", "refresh tokens"),
    "ip": ("address", "addresses"),
    "object": ("object", "objects"),
}
_EXTRA = {
    "free": "",
    "this": "a call that this limit refuses is charged to it all the same",
    "longer": "a call that this limit refuses is charged to the limits with a longer period",
    "all": "a call that this limit refuses is charged to all limits",
}
_RETRY_AFTER = {
    "none": "no Retry-After",
    "seconds": f"Retry-After: {_WAIT_S} (seconds)",
    "decimal": f"Retry-After: {_WAIT_S}.0 (seconds with a decimal)",
    "http_date": "Retry-After: Mon, 05 Jan 2026 09:00:43 GMT (a date)",
    "iso": "Retry-After: 2026-01-05T09:00:43Z (an instant)",
    "epoch": f"Retry-After: {int(_NOW.timestamp()) + _WAIT_S} (seconds since 1970)",
}
_CONDITIONS = {
    "always": "",
    "success": "on admitted calls",
    "refusal": "on refusals",
    "near": "from {near:.0%} of use on",
    "far": "below {near:.0%} of use",
}


def say_duration(period_ns: int) -> str:
    """A duration in words: ``an hour``, ``15 minutes``, ``7 days``, ``1.5 seconds``."""
    for unit_ns, name in _UNITS:
        if period_ns >= unit_ns and period_ns % unit_ns == 0:
            count = period_ns // unit_ns
            if count == 1:
                return f"an {name}" if name == "hour" else f"a {name}"
            return f"{count:,} {name}s"
    return f"{period_ns / _SECOND_NS:,.10g} seconds"


def _every(period_ns: int) -> str:
    """A duration after a number: ``100 calls an hour``, ``100 calls in 15 minutes``."""
    said = say_duration(period_ns)
    return said if said.startswith(("a ", "an ")) else f"in {said}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _listed(words: Iterable[str], last: str = "and") -> str:
    *most, end = words
    return f"{', '.join(most)} {last} {end}" if most else end


def say_limit(limit: Limit) -> str:
    """What a limit allows, in one sentence without its end."""
    return f"{_KINDS[limit.kind](limit)}, {_for_whom(limit)}"


def _for_whom(limit: Limit) -> str:
    words = [_KEYS[part] for part in limit.key if part != "app" or len(limit.key) == 1]
    return f"for {_listed(words)}"


def _amount(limit: Limit) -> str:
    """The number, with its unit."""
    one, many = ("call", "calls") if _counts_calls(limit) else ("unit", "units")
    if limit.formula is None:
        return _count(limit.limit, one, many)
    formula = limit.formula
    said = f"{formula.per_person:,} {many} for each of the people"
    if formula.over:
        said += f" beyond {formula.over:,}"
    if formula.base:
        said = f"{formula.base:,} and {said}"
    bounds = [f"at least {formula.least:,}"] if formula.least > 1 else []
    bounds += [f"at most {formula.most:,}"] if formula.most < 10**12 else []
    return f"{said}, {_listed(bounds)}," if bounds else said


def _counts_calls(limit: Limit) -> bool:
    cost = limit.cost
    costs = {cost.base, *cost.routes.values(), *cost.methods.values()}
    return limit.kind in ("concurrency", "penalty") or (costs <= {0, 1} and cost.per_object == 0)


def _windows(limit: Limit) -> str:
    """Where fixed windows begin."""
    if limit.calendar:
        return f"in calendar months of {limit.zone}"
    if limit.align == "first_call":
        return "in windows that begin with the first call after the one before"
    if limit.align == "offset":
        return "in windows that begin at an offset of each key's own"
    zone = "" if limit.zone == "UTC" else f" of {limit.zone}"
    return f"in windows by the clock{zone or ' (UTC)'}"


def _say_rolling(limit: Limit) -> str:
    return f"{_amount(limit)} in any {say_duration(limit.period_ns).removeprefix('an ').removeprefix('a ')}"


def _say_fixed(limit: Limit) -> str:
    every = "a month" if limit.calendar else _every(limit.period_ns)
    return f"{_amount(limit)} {every}, {_windows(limit)}"


def _say_bucket(limit: Limit) -> str:
    return f"{_amount(limit)} at once, and {_say_rate(limit.rate)} flow back"


def _say_rate(rate: Fraction) -> str:
    """A rate by the shortest time in which something whole comes back."""
    for unit_ns, name in reversed(_UNITS):
        amount = rate * unit_ns
        if amount >= 1 and amount.denominator == 1:
            return f"{int(amount):,} {'an' if name == 'hour' else 'a'} {name}"
    return f"{float(rate * _SECOND_NS):.6g} a second"


def _say_concurrency(limit: Limit) -> str:
    aged = f" that last {say_duration(limit.min_age_ns)} or longer" if limit.min_age_ns else ""
    return f"{_amount(limit)}{aged} at once"


def _say_balance(limit: Limit) -> str:
    if limit.calendar:
        refill = f"as many come back with each month of {limit.zone}"
    elif limit.period_ns:
        refill = (
            f"as many come back every {say_duration(limit.period_ns).removeprefix('an ').removeprefix('a ')}"
        )
    else:
        refill = "none come back"
    rest = "a call is admitted as long as one is left" if limit.may_go_negative else "a call must fit"
    return f"{limit.limit:,} credits; {refill}; {rest}"


def _say_cardinality(limit: Limit) -> str:
    members = _count(limit.limit, *_MEMBERS[limit.of])
    return f"{members}; one more ends the oldest" if limit.on_excess == "evict_oldest" else f"{members} ever"


def _say_penalty(limit: Limit) -> str:
    statuses = _listed(map(str, limit.statuses), "or")
    said = f"more than {limit.limit:,} answers {statuses} in {say_duration(limit.period_ns)} "
    if limit.action == "ban":
        return said + "bring a ban"
    said += f"bring a block of {say_duration(limit.block_ns)}"
    if limit.escalation > 1:
        said += (
            f", each further one {limit.escalation} times as long, at most {say_duration(limit.longest_ns)}"
        )
    return said + (", begun anew by every call meanwhile" if limit.action == "extend" else "")


def _say_opaque(limit: Limit) -> str:
    said = f"an undisclosed number of calls (from {limit.floor:,} to {limit.ceiling:,} in the sandbox) "
    if limit.counts == "fixed_window":
        every = "a month" if limit.calendar else _every(limit.period_ns)
        return f"{said}{every}, {_windows(limit)}"
    return f"{said}in any {say_duration(limit.period_ns).removeprefix('an ').removeprefix('a ')}"


_KINDS: Mapping[str, Callable[[Limit], str]] = {
    "rolling_window": _say_rolling,
    "fixed_window": _say_fixed,
    "token_bucket": _say_bucket,
    "concurrency": _say_concurrency,
    "balance": _say_balance,
    "cardinality": _say_cardinality,
    "penalty": _say_penalty,
    "opaque": _say_opaque,
}


def _say_match(limit: Limit) -> str:
    """Which calls a limit is asked of."""
    match = limit.match
    if match.kinds == ("authorize",):
        return "consent (authorization requests)"
    if match.kinds == ("token",):
        return "tokens issued (token requests)"
    if not {"revoke", "introspect"}.isdisjoint(match.kinds) and "api" not in match.kinds:
        return f"{_listed(match.kinds)} requests"
    calls = {
        "known": "calls",
        "anonymous": "calls without a valid token",
        "all": "calls, with a token or without",
    }
    said = calls[match.callers]
    if match.kinds != ("api",):
        said += f" of {_listed(match.kinds)}"
    if match.methods:
        said = f"{', '.join(match.methods)} {said}"
    which = [f"tagged {_listed(match.tags, 'or')}"] if match.tags else []
    which += [f"of {_listed(match.routes, 'or')}"] if match.routes else []
    return f"{said} {_listed(which, 'or')}" if which else f"all {said}" if not match.methods else said


def _say_cost(limit: Limit) -> str:
    cost = limit.cost
    parts = [str(cost.base)]
    parts += [f"{name} {value}" for name, value in {**cost.methods, **cost.routes}.items()]
    if cost.per_object:
        parts.append(f"and {cost.per_object} for each object")
    said = ", ".join(parts)
    if cost.when == "refund":
        said += "; what was asked for must fit, what did not come is given back"
    elif cost.when == "after":
        said += "; charged once the answer is given, whether it fits or not"
    return said


def say_source(source: Source) -> str:
    """Where a figure comes from."""
    read = f", read {source.read.isoformat()}" if source.read else ""
    return f"{source.where}{read}, confidence {source.confidence}"


# ---- what templates look like when they are filled in


def _example(template: Template | str, provider: Provider, refusing: str) -> str:
    """A template filled in as it might be on 2026-01-05 at 09:00:07, with a quarter of each limit used."""
    if isinstance(template, str):
        return template
    return "".join(
        part if isinstance(part, str) else str(_value(part, provider, refusing)) for part in template.parts
    )


def _value(field: Field, provider: Provider, refusing: str) -> Any:
    value: Any
    if not field.subject:
        value = _PLAIN.get(field.name, f"<{field.name}>")
    else:
        subject = field.subject
        if subject == "tightest":
            subject = next(
                (limit.name for limit in provider.limits if not limit.hidden), provider.limits[0].name
            )
        elif subject == "refusing":
            subject = refusing
        limit = next(limit for limit in provider.limits if limit.name == subject)
        value = _of_limit(field.name, limit)
    return format(value, field.spec) if field.spec and isinstance(value, int) else value


_PLAIN: Mapping[str, Any] = {
    "person": "ana",
    "person_n": 1,
    "now_iso": "2026-01-05T09:00:07Z",
    "now_epoch_s": int(_NOW.timestamp()),
    "next_url": "http://127.0.0.1:8000/...",
}


def _of_limit(name: str, limit: Limit) -> Any:
    number = limit.limit or limit.floor
    used = number // 4
    rest_s = max(1, (limit.length_ns or 60 * _SECOND_NS) // (2 * _SECOND_NS))
    reset, wait = (_NOW + datetime.timedelta(seconds=seconds) for seconds in (min(rest_s, 10**8), _WAIT_S))
    values: dict[str, Any] = {
        "name": limit.name,
        "limit": number,
        "used": used,
        "remaining": number - used,
        "percent": used * 100 // number,
        "rate": float(limit.rate * _SECOND_NS),
        "period_s": (limit.length_ns or 0) // _SECOND_NS,
        "period_ms": (limit.length_ns or 0) // 10**6,
        "key_base64": "YXBw",
        "reset_s": rest_s,
        "reset_decimal_s": f"{rest_s}.000",
        "reset_ms": rest_s * 1000,
        "reset_epoch_s": int(reset.timestamp()),
        "reset_epoch_decimal": f"{int(reset.timestamp())}.000",
        "reset_epoch_ms": int(reset.timestamp()) * 1000,
        "reset_iso": reset.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "reset_http_date": reset.strftime("%a, %d %b %Y %H:%M:%S GMT"),
        "wait_s": _WAIT_S,
        "wait_decimal_s": float(_WAIT_S),
        "wait_ms": _WAIT_S * 1000,
        "wait_minutes": 1,
        "wait_epoch_s": int(wait.timestamp()),
        "wait_iso": wait.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "wait_http_date": wait.strftime("%a, %d %b %Y %H:%M:%S GMT"),
    }
    return values[name]


def _filled(document: Any, provider: Provider, refusing: str) -> Any:
    """A body with its templates filled in; one that is a single field keeps that field's type."""
    if isinstance(document, Template):
        if len(document.parts) == 1 and isinstance(document.parts[0], Field):
            return _value(document.parts[0], provider, refusing)
        return _example(document, provider, refusing)
    if isinstance(document, Mapping):
        return {key: _filled(value, provider, refusing) for key, value in document.items()}
    if isinstance(document, list):
        return [_filled(value, provider, refusing) for value in document]
    return document


def _body(document: Any, content_type: str, provider: Provider, refusing: str) -> str:
    filled = _filled(document, provider, refusing)
    if not content_type.endswith("json"):
        return str(filled) or "(no body)"
    return json.dumps(filled, ensure_ascii=False, default=str)


# ---- pages


def _wrapped(text: str, indent: str = "", hanging: str | None = None) -> str:
    return "\n".join(
        textwrap.wrap(
            " ".join(text.split()),
            WIDTH,
            initial_indent=indent,
            subsequent_indent=indent if hanging is None else hanging,
            break_on_hyphens=False,
        )
    )


def _row(label: str, text: str, indent: int = 4, width: int = 10) -> str:
    """A line with a label; what is too long goes on below the text, or, of a long label, below the label."""
    hanging = " " * (indent + width)
    if len(label) >= width:
        return f"{' ' * indent}{label}\n{_wrapped(text, hanging)}"
    return _wrapped(text, " " * indent + label.ljust(width), hanging)


def profile_list(workspace: Workspace) -> str:
    """A line for each provider profile of a workspace, and for each of its variants: name and title."""
    found: list[tuple[str, str]] = []
    for name in workspace.names("provider"):
        try:
            provider = load_provider(workspace, name)
            found.append((name, provider.title))
            for variant in provider.variants:
                whole = f"{name}/{variant}"
                found.append((f"  {whole}", load_provider(workspace, whole).title))
        except ProfileError as error:
            found.append((name, f"cannot be used: {error}"))
    width = max((len(name) for name, _ in found), default=0) + 2
    return "\n".join(_wrapped(title, name.ljust(width), " " * width) for name, title in found)


def profile_page(provider: Provider) -> str:
    """All that a profile says, on one page of plain text."""
    sections = [
        _head(provider),
        "LIMITS\n" + "\n\n".join(_limit(limit, provider) for limit in provider.limits),
        "HEADERS\n" + "\n".join(_headers(provider.dialect, provider)),
        "ERRORS\n" + "\n".join(_errors(provider.dialect, provider)),
        "OAUTH\n" + "\n".join(_oauth(provider.oauth, provider)),
        f"TEST PHASE\n{phase}" if (phase := "\n".join(_test_phase(provider))) else "",
        "SCOPES\n"
        + "\n".join(_row(name, words, 2, _column(provider.scopes)) for name, words in provider.scopes.items())
        if provider.scopes
        else "",
        "ROUTES\n" + "\n".join(_routes(provider.routes, provider)) if provider.routes else "",
        "APPROVAL\n" + "\n".join(_approval(provider)),
        "SOURCES\n" + "\n".join(_sources(provider)),
        "GAPS\n" + "\n".join(_wrapped(gap, "  - ", "    ") for gap in provider.gaps) if provider.gaps else "",
    ]
    return "\n\n".join(section for section in sections if section)


def _column(names: Iterable[str]) -> int:
    """Room for names in a column; one that is longer pushes its text aside."""
    return min(30, max(map(len, names)) + 2)


def _head(provider: Provider) -> str:
    lines = [f"{provider.name}: {provider.title}"]
    if provider.description:
        lines.append(_wrapped(provider.description))
    if provider.api_path:
        lines.append(f"The API lies under {provider.api_path}")
    if provider.variants and "/" not in provider.name:
        lines.append(_wrapped(f"Variants: {', '.join(provider.variants)}", "", "  "))
    return "\n".join(lines)


def _limit(limit: Limit, provider: Provider) -> str:
    refusal = provider.dialect.refusal(limit.name)
    lines = [
        _wrapped(say_limit(limit), f"  {limit.name}: ", "    "),
        _row("kind", limit.kind + (", shown in no header" if limit.hidden else "")),
        _row("key", ", ".join(limit.key)),
        _row("asked of", _say_match(limit)),
    ]
    if limit.kind in METERED:
        lines.append(_row("costs", _say_cost(limit)))
    if _EXTRA[limit.refused_calls]:
        lines.append(_row("refused", _EXTRA[limit.refused_calls]))
    lines += [
        _row(
            "later", f"{change.limit:,} from {say_duration(change.after_ns)} after the start on: {change.why}"
        )
        for change in limit.changes
    ]
    if limit.on_excess != "evict_oldest" and limit.match.kinds != ("authorize",):
        lines.append(_row("refusal", _say_refusal(refusal, provider, limit.name)))
    return "\n".join(lines)


def _say_refusal(refusal: Refusal, provider: Provider, refusing: str) -> str:
    body = _body(refusal.body, refusal.content_type, provider, refusing)
    return f"{refusal.status}, {_RETRY_AFTER[refusal.retry_after]}, {body}"


def _headers(dialect: Dialect, provider: Provider) -> Iterator[str]:
    if not dialect.headers:
        yield "  none that tells of a limit"
    for header in dialect.headers:
        yield _wrapped(_say_header(header, dialect, provider), "  ", "    ")


def _say_header(header: Header, dialect: Dialect, provider: Provider) -> str:
    refusing = header.limits[0] if header.limits else provider.limits[0].name
    when = _CONDITIONS[header.on].format(near=dialect.near)
    if header.limits:
        when += f" by {_listed(header.limits, 'or')}"
    shown = f"{header.name}: {_example(header.value, provider, refusing)}"
    return f"{shown} ({when})" if when else shown


def _errors(dialect: Dialect, provider: Provider) -> Iterator[str]:
    for name in ERRORS:
        error = dialect.errors[name]
        if name.endswith("_tenant") and provider.tenants.at is None:
            continue
        body = _body(error.body, error.content_type, provider, provider.limits[0].name)
        yield _row(name, f"{error.status}, {body}", 2, 20)


def _lifetime(lifetime_ns: int) -> str:
    return "for ever" if lifetime_ns == NEVER_NS else say_duration(lifetime_ns)


def _oauth(oauth: OAuth, provider: Provider) -> Iterator[str]:
    rotation = {
        "none": "stay the same when used",
        "rotate": "are replaced with every use",
        "single_use": "are replaced with every use; to use one again revokes all",
    }
    yield f"  access tokens last {_lifetime(oauth.access_token_lifetime_ns)}"
    yield (
        f"  refresh tokens last {_lifetime(oauth.refresh_token_lifetime_ns)} "
        f"and {rotation[oauth.refresh_rotation]}"
    )
    yield f"  authorization codes last {_lifetime(oauth.code_lifetime_ns)}; PKCE is {oauth.pkce}"
    if oauth.refresh_grace_ns:
        yield f"  a refresh token still works {_lifetime(oauth.refresh_grace_ns)} after its first use"
    ways = ", ".join(oauth.client_authentication)
    yield f"  grants: {', '.join(oauth.grants)}; clients authenticate by {ways}"
    methods = " or ".join(oauth.pkce_methods)
    more = ["revocation" if oauth.revocation else "", "introspection" if oauth.introspection else ""]
    yield f"  challenges are made by {methods}; endpoints: {', '.join(['metadata', *filter(None, more)])}"
    if oauth.untick:
        yield "  people may untick single scopes"
    yield f"  scopes are parted by {'commas' if oauth.scope_delimiter == ',' else 'spaces'}"
    at = provider.tenants.at
    if at is not None or any("tenant" in limit.key for limit in provider.limits):
        said = f"named by each call's {at.place}, {at.name}" if at is not None else "the person's own"
        yield f"  tenants: {_count(provider.tenants.people, 'person', 'people')} in each; {said}"


def _test_phase(provider: Provider) -> Iterator[str]:
    """What is forbidden, or allowed to few, before the provider has approved the app."""
    if provider.test_phase.forbidden_scopes:
        yield _wrapped(f"forbidden scopes: {', '.join(provider.test_phase.forbidden_scopes)}", "  ", "    ")
    phase = provider.test_phase
    if phase.restricted_scopes:
        yield _wrapped(f"restricted scopes: {', '.join(phase.restricted_scopes)}", "  ", "    ")
    if phase.listed_people is not None:
        yield f"  only the first {_count(phase.listed_people, 'person', 'people')} may connect"
    if phase.unverified:
        yield "  the consent page warns that nobody has reviewed the app"
    if phase.refresh_token_lifetime_ns is not None:
        yield f"  refresh tokens last {_lifetime(phase.refresh_token_lifetime_ns)} at most"
    if provider.approved is not None:
        after = say_duration(provider.approved.after_ns)
        yield f"  ends {after} after the start: {provider.approved.why}"
    for limit in provider.limits:
        if limit.kind == "cardinality" and limit.of == "person":
            yield f"  {limit.name}: {_KINDS[limit.kind](limit)}"


def _routes(routes: Sequence[Route], provider: Provider) -> Iterator[str]:
    for route in routes:
        notes = [route.answer]
        if route.page is not None:
            notes.append(f"{route.page.size} a page, at most {route.page.most}, by {route.page.style}")
        if route.scopes:
            notes.append(f"scopes {' '.join(route.scopes)}")
        if route.tags:
            notes.append(f"tags {' '.join(route.tags)}")
        yield _wrapped(
            f"{','.join(route.methods)} {provider.api_path}{route.path}", f"  {route.name}: ", "    "
        )
        yield _wrapped("; ".join(notes), "    ")


def _approval(provider: Provider) -> Iterator[str]:
    approval = provider.approval
    tolerated = {
        "never": "none is tolerated",
        "share": f"at most {approval.refusals_share:.3g} of the day's calls",
        "if-obeyed": "tolerated as long as what the refusal says is kept",
    }
    yield f"  refusals: {tolerated[approval.refusals]}"
    yield f"  headroom: {approval.headroom:.3g}"


def _sources(provider: Provider) -> Iterator[str]:
    found: dict[str, list[str]] = {}
    for what, source in _figures(provider):
        if source is not None:
            found.setdefault(say_source(source), []).append(what)
    for source_text, whats in found.items():
        yield _wrapped(f"{', '.join(whats)}: {source_text}", "  ", "    ")


def _figures(provider: Provider) -> Iterator[tuple[str, Source | None]]:
    """What a profile says in figures, with where it has them from."""
    yield "oauth", provider.oauth.source
    if provider.test_phase.source is not None or provider.test_phase.forbidden_scopes:
        yield "test_phase", provider.test_phase.source
    yield "dialect", provider.dialect.source
    for limit in provider.limits:
        yield f"limits.{limit.name}", limit.source


# ---- a user's own


def checked(file: Path) -> tuple[str, tuple[str, ...]]:
    """What is to be said of a profile that is valid in itself and in each of its variants, and warnings.

    Raises `ProfileError` with the one line that says what is wrong.
    """
    shown = str(file)
    document = read_toml(file, shown)
    provider = parse_provider(document, shown)
    warnings = [*_unsourced(provider, shown)]
    for variant in provider.variants:
        laid = parse_provider(document, shown, variant=variant)
        warnings += _unsourced(laid, shown)
    limits = _count(len(provider.limits), "limit", "limits")
    routes = _count(len(provider.routes), "route", "routes")
    return f"{shown}: a valid profile: {limits}, {routes}", tuple(dict.fromkeys(warnings))


def _unsourced(provider: Provider, shown: str) -> Iterator[str]:
    """Figures of which nobody can tell where they come from, or of when."""
    for what, source in _figures(provider):
        if source is None:
            yield f"{shown}: {what}: has no source; say where its figures come from"
        elif source.read is None and source.confidence != "own":
            yield f"{shown}: {what}.source: has no 'read'; say on which day the page was read"
