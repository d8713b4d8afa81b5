"""How a provider answers: headers on every answer, refusals, errors. Data only; the sandbox renders it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from quotalab.profiles.limits import Source, parse_source
from quotalab.profiles.reading import Table
from quotalab.profiles.templates import Template, parse_template, templates_in

__all__ = [
    "ERRORS",
    "RETRY_AFTER",
    "Dialect",
    "ErrorAnswer",
    "Header",
    "Refusal",
    "parse_dialect",
    "parse_headers",
]

CONDITIONS = ("always", "success", "refusal", "near", "far")
RETRY_AFTER = ("none", "seconds", "decimal", "http_date", "iso", "epoch")
ERRORS: dict[str, tuple[int, str, str]] = {
    "no_token": (401, "unauthorized", "A bearer token is needed."),
    "unknown_token": (401, "invalid_token", "The access token is unknown."),
    "revoked_token": (401, "invalid_token", "The access token was revoked."),
    "expired_token": (401, "invalid_token", "The access token expired."),
    "insufficient_scope": (403, "insufficient_scope", "This needs: {scope}."),
    "no_tenant": (400, "invalid_request", "The tenant is missing."),
    "foreign_tenant": (403, "forbidden", "That tenant is not this person's."),
    "unknown_route": (404, "not_found", "There is no such endpoint."),
    "not_found": (404, "not_found", "There is no such item."),
    "bad_request": (400, "invalid_request", "{message}"),
    "too_large": (413, "too_large", "{message}"),
    "unavailable": (503, "temporarily_unavailable", "{message}"),
}
"""What can be wrong with a call to the API: name -> status, code and message, where a profile has no own."""

# Fields that are known wherever an API answer is rendered.
ANSWER_FIELDS = frozenset(("message", "now_iso", "now_epoch_s", "request_id", "person", "person_n", "tenant"))
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class Header:
    """A header of the answer to a call that was asked of the limits.

    It is left out where a field of it has no value: its limit was not asked, or there is no next page.
    """

    name: str
    value: Template
    on: str
    """``always``, ``success`` (admitted), ``refusal``; ``near`` or ``far``: of the limit that the value names
    (or the tightest), whether its use has reached the dialect's `near`."""
    limits: tuple[str, ...]
    """Of ``refusal``: only when one of these refused; empty: whichever did."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """How the provider says that a limit refused a call."""

    limits: tuple[str, ...]
    """Which limits it is for; empty: all that have none of their own."""
    status: int
    retry_after: str
    """``seconds`` (whole, RFC 9110, 10.2.3), ``decimal`` (one decimal), ``http_date``, ``iso``, ``epoch``
    (seconds), each rounded up, or ``none``."""
    content_type: str
    body: Any
    """JSON with `Template` in it, or, for another content type, a text or a `Template`."""


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """How the provider says what is wrong with a call, apart from limits."""

    name: str
    status: int
    code: str
    """What the ledger calls it."""
    message: Template
    content_type: str
    body: Any
    challenge: bool
    """Whether a WWW-Authenticate challenge comes along (RFC 6750, 3)."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """All of it."""

    headers: tuple[Header, ...]
    near: float
    refusals: tuple[Refusal, ...]
    """The last one is for every limit."""
    errors: Mapping[str, ErrorAnswer]
    """One for each of `ERRORS`."""
    source: Source | None

    def refusal(self, limit: str) -> Refusal:
        """The refusal by a limit."""
        return next(kept for kept in self.refusals if not kept.limits or limit in kept.limits)


def parse_dialect(top: Table, limits: Collection[str]) -> Dialect:
    """``[dialect]``, ``[refusal]``, ``[[refusals]]`` and ``[errors]`` of a profile."""
    table = top.table("dialect", {})
    own = [_refusal(one, limits, named=True) for one in top.array("refusals")]
    named: set[str] = set()
    for refusal in own:
        if twice := named.intersection(refusal.limits):
            raise top.error("refusals", f"says twice how {sorted(twice)[0]!r} refuses")
        named.update(refusal.limits)
    errors = top.table("errors", {})
    dialect = Dialect(
        headers=parse_headers(table, "headers", ANSWER_FIELDS, limits),
        near=table.number("near", 0.8, most=1.0),
        refusals=(*own, _refusal(top.table("refusal", {}), limits, named=False)),
        errors={name: _error(name, errors.table(name, {}), limits) for name in ERRORS},
        source=parse_source(table.table("source")) if "source" in table else None,
    )
    errors.done()
    table.done()
    return dialect


def parse_headers(
    table: Table, key: str, plain: Collection[str], limits: Collection[str]
) -> tuple[Header, ...]:
    """An array of headers: ``{ name, value, on, limits }``."""
    headers = []
    for one in table.array(key):
        name = one.text("name")
        if not _HEADER_NAME.fullmatch(name):
            raise one.error("name", f"is no header's name: {name!r}")
        on = one.choice("on", CONDITIONS, "always")
        own = one.texts("limits", (), allowed=tuple(limits))
        if own and on != "refusal":
            raise one.error("limits", "means something only with on = 'refusal'")
        text = one.text("value")
        value = _template(one, "value", text, plain, limits, refused=on == "refusal")
        if any("\r" in part or "\n" in part for part in value.parts if isinstance(part, str)):
            raise one.error("value", "may not hold line breaks")
        headers.append(Header(name, value, on, own))
        one.done()
    return tuple(headers)


def _template(
    table: Table, key: str, text: str, plain: Collection[str], limits: Collection[str], *, refused: bool
) -> Template:
    try:
        return parse_template(text, plain, limits, refused=refused)
    except ValueError as error:
        raise table.error(key, str(error)) from None


def _body(
    table: Table,
    default: Any,
    content_type: str,
    plain: Collection[str],
    limits: Collection[str],
    *,
    refused: bool,
) -> Any:
    body = table.any("body", default)
    if not content_type.endswith("json") and not isinstance(body, str):
        raise table.error("body", f"of content type {content_type!r} must be a text")
    return templates_in(body, lambda text: _template(table, "body", text, plain, limits, refused=refused))


def _refusal(table: Table, limits: Collection[str], *, named: bool) -> Refusal:
    own: tuple[str, ...] = ()
    if named:
        own = table.texts("limits", allowed=tuple(limits))
        if not own:
            raise table.error("limits", "must name at least one limit")
    status = table.whole("status", 429, least=200, most=599)
    content_type = table.text("content_type", "application/json")
    refusal = Refusal(
        limits=own,
        status=status,
        retry_after=table.choice("retry_after", RETRY_AFTER, "seconds"),
        content_type=content_type,
        body=_body(table, {"error": "rate_limited"}, content_type, ANSWER_FIELDS, limits, refused=True),
    )
    if 300 <= status < 400:
        raise table.error("status", f"must be 200 or an error's, not {status}")
    table.done()
    return refusal


def _error(name: str, table: Table, limits: Collection[str]) -> ErrorAnswer:
    status, code, message = ERRORS[name]
    plain = ANSWER_FIELDS | {"scope"}
    status = table.whole("status", status, least=200, most=599)
    content_type = table.text("content_type", "application/json")
    default = {"error": code, "message": "{message}"}
    error = ErrorAnswer(
        name=name,
        status=status,
        code=code,
        message=_template(table, "message", table.text("message", message), plain, limits, refused=False),
        content_type=content_type,
        body=_body(table, default, content_type, plain, limits, refused=False),
        challenge=table.flag("challenge", status == 401 or name == "insufficient_scope"),
    )
    table.done()
    return error
