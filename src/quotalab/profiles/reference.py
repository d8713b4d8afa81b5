"""What the reference integration's developer has read in a provider's documentation: how to call its API."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quotalab.profiles.reading import Table

__all__ = [
    "FIELD",
    "WAIT_FORMS",
    "Allowance",
    "Endpoint",
    "ReferenceApi",
    "Signs",
    "WaitHeader",
    "parse_reference",
    "pointed_at",
]

WAIT_FORMS = ("seconds", "ms", "epoch", "epoch_ms", "http_date", "iso")
FIELD = re.compile(r"\{(\w+)(?::([^{}]*))?\}")
"""A field in a text: ``{n}``, ``{n:08x}``. Any other brace is a brace, as in a GraphQL query."""

_SPEC = re.compile(r"0?\d{0,2}[bdoxX]")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_POINTER = re.compile(r"(/([^~/]|~[01])*)*")
_WHATEVER = "*"
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One request that the integration makes.

    Path and bodies may hold fields: ``{tenant}``; of ``read`` the item's number ``{n}``; of ``create`` the
    new item's ``{title}``.
    """

    method: str
    path: str
    json: Mapping[str, Any] | None = None
    form: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Signs:
    """By what an answer is known to mean something: any one of these is enough.

    After a JSON pointer or a header's name stand the values that mean it; none: whatever is there does.
    """

    statuses: tuple[int, ...] = ()
    body: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Whatever the answer's status: some providers answer 200 and say in the body what is wrong."""
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of an answer with status 403, which some providers use for limits and for permissions alike. On other
    answers the same header says how much is left."""

    def in_body(self, document: Any) -> str | None:
        """The JSON pointer at which a body's document bears one of the signs; None: it bears none."""
        for pointer, values in self.body.items():
            value = pointed_at(document, pointer)
            if value is not None and (not values or any(_same(value, kept) for kept in values)):
                return pointer
        return None


def _same(value: Any, kept: Any) -> bool:
    """Equality of JSON values, where true is not 1."""
    return isinstance(value, bool) == isinstance(kept, bool) and bool(value == kept)


def pointed_at(document: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) points to; None where there is nothing."""
    for token in pointer.split("/")[1:]:
        if isinstance(document, Mapping):
            document = document.get(token.replace("~1", "/").replace("~0", "~"))
        elif isinstance(document, list) and _INDEX.fullmatch(token) and int(token) < len(document):
            document = document[int(token)]
        else:
            return None
    return document


@dataclass(frozen=True, slots=True)
class WaitHeader:
    """A header that says how long to wait, and in which form."""

    name: str
    form: str
    """``seconds`` and ``ms`` from now; ``epoch`` (seconds), ``epoch_ms``, ``http_date`` and ``iso``: an
    instant. Numbers may have decimals."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the documentation says may be called: so many in any such time."""

    calls: int
    period_ns: int
    per: str = "app"
    """Whose it is: the ``app``'s, each ``person``'s, each ``tenant``'s."""
    calls_at: str = ""
    """The header by which each answer says how many calls it is now; empty: none does."""


@dataclass(frozen=True, slots=True)
class ReferenceApi:
    """The provider's API as the reference integration uses it. JSON pointers are those of RFC 6901."""

    scope: str
    """As it is sent in the authorization request; empty: none is sent."""
    headers: Mapping[str, str]
    """Sent with every call; a value may hold ``{tenant}``."""
    tenant: Endpoint | None
    """Tells the person's tenant; None: nothing needs it."""
    tenant_at: str
    """JSON pointer to it in the answer."""
    list: Endpoint
    list_all: str | None
    """The path of `list` where all of it is wanted, with the largest pages there are; None: as it is."""
    items_at: str
    """JSON pointer to the items of a list's answer."""
    next: str
    """How the next page is asked for: ``query:NAME``, ``form:NAME`` or ``json:NAME`` (dots go down) with what
    `next_at` points to, or without it the page's number until a page is empty; ``url``: `next_at` points to
    its address; ``link``: the Link header has it (RFC 8288). Empty: there are no pages."""
    next_at: str
    more_at: str
    """JSON pointer to whether there is a next page, where `next_at` does not tell."""
    read: Endpoint
    create: Endpoint
    refused: Signs
    """By what a refusal by a limit is known."""
    expired: Signs
    """By what it is known that the access token is no longer good."""
    forbidden: Signs
    """By what it is known that the person has not allowed this, where it looks like an expired token: another
    token would not help."""
    failed: Signs
    """By what an error is known whose status tells of none; any status but 2xx is one."""
    waits: tuple[WaitHeader, ...]
    """The first that a refusal carries, and that can be read, says how long to wait."""
    refused_wait_ns: int
    """How long to wait at least after a refusal without Retry-After, by the provider's documentation: what
    other headers say may be of another limit."""
    budget: tuple[Allowance, ...]
    """All are kept. Empty: the policy's own figure."""


def parse_reference(table: Table) -> ReferenceApi:
    """The ``[reference]`` table of a provider profile."""
    with_tenant = "tenant" in table
    known = ("tenant",) if with_tenant else ()
    headers, listed = table.table("headers", {}), table.table("list")
    api = ReferenceApi(
        scope=table.text("scope", ""),
        headers={name: _header(headers, name, known) for name in headers},
        tenant=Endpoint("GET", _path(table, "tenant", ())) if with_tenant else None,
        tenant_at=_pointer(table, "tenant_at") if with_tenant else "",
        items_at=_pointer(listed, "items_at"),
        next=_next(listed),
        next_at=_pointer(listed, "next_at", ""),
        more_at=_pointer(listed, "more_at", ""),
        list_all=_path(listed, "all", known) if "all" in listed else None,
        list=_endpoint(listed, "GET", known),
        read=_endpoint(table.table("read"), "GET", ("n", *known)),
        create=_endpoint(table.table("create"), "POST", ("title", *known)),
        refused=_signs(table.table("refused", {}), [429], headers=True),
        expired=_signs(table.table("expired", {}), [401]),
        forbidden=_signs(table.table("forbidden", {}), [403]),
        failed=_signs(table.table("failed", {}), []),
        waits=tuple(_wait(table, text) for text in table.texts("waits", ("Retry-After: seconds",))),
        refused_wait_ns=table.duration_ns("refused_wait", 0),
        budget=tuple(_allowance(one, known) for one in table.array("budget")),
    )
    if api.next == "url" and not api.next_at:
        raise listed.error("next_at", "is missing; it must point to the next page's address")
    if api.next.startswith("json:") and not _has_room(api.list.json, api.next[5:].split(".")):
        raise listed.error("next", f"is {api.next!r}, but 'json' has no table for it")
    if api.next.startswith("form:") and api.list.form is None:
        raise listed.error("next", f"is {api.next!r}, but the list is asked for without 'form'")
    table.done()
    return api


def _checked(table: Table, key: str, text: str, known: Collection[str]) -> str:
    """`text`, if it holds only fields that are known there."""
    for name, spec in FIELD.findall(text):
        if name not in known:
            hint = f"there is: {', '.join(known)}" if known else "there is none here"
            if name == "tenant":
                hint = "it needs 'tenant', the path of the call that tells it"
            raise table.error(key, f"has an unknown field {{{name}}}; {hint}")
        if spec and (name != "n" or not _SPEC.fullmatch(spec)):
            raise table.error(
                key, f"has a field with an unknown format, {{{name}:{spec}}}; {{n:08x}} is known"
            )
    return text


def _checked_all(table: Table, key: str, document: Any, known: Collection[str]) -> None:
    if isinstance(document, str):
        _checked(table, key, document, known)
    elif isinstance(document, Mapping):
        for value in document.values():
            _checked_all(table, key, value, known)
    elif isinstance(document, list):
        for value in document:
            _checked_all(table, key, value, known)


def _path(table: Table, key: str, known: Collection[str]) -> str:
    path: str = table.text(key)
    if not path.startswith("/"):
        raise table.error(key, f"must begin with a slash, not {path!r}")
    return _checked(table, key, path, known)


def _header(table: Table, name: str, known: Collection[str]) -> str:
    text: str = table.text(name)
    if not _HEADER_NAME.fullmatch(name) or not text.isprintable() or not text.isascii():
        raise table.error(name, "must be a header's name and a value of printable ASCII characters")
    return _checked(table, name, text, known)


def _pointer(table: Table, key: str, *default: str) -> str:
    pointer: str = table.any(key, *default)
    if not isinstance(pointer, str) or not _POINTER.fullmatch(pointer):
        raise table.error(key, f"must be a JSON pointer such as '/data/items' (RFC 6901), not {pointer!r}")
    return pointer


def _next(table: Table) -> str:
    text: str = table.any("next", "")
    place, _, name = text.partition(":") if isinstance(text, str) else ("", "", "")
    if text not in ("", "url", "link") and (place not in ("query", "form", "json") or not name):
        raise table.error(
            "next", f"must be 'query:NAME', 'form:NAME', 'json:NAME', 'url' or 'link', not {text!r}"
        )
    return text


def _endpoint(table: Table, method: str, known: Collection[str]) -> Endpoint:
    form = table.table("form", {})
    endpoint = Endpoint(
        method=table.choice("method", ("GET", "POST", "PUT", "PATCH"), method),
        path=_path(table, "path", known),
        json=table.any("json", None),
        form={name: _checked(form, name, form.text(name), known) for name in form} or None,
    )
    if endpoint.json is not None and not isinstance(endpoint.json, Mapping):
        raise table.error("json", "must be a table")
    if endpoint.json is not None and endpoint.form is not None:
        raise table.error("form", "cannot be sent beside 'json'")
    if endpoint.method == "GET" and (endpoint.json is not None or endpoint.form is not None):
        raise table.error("method", "GET has no body; give the method that goes with it")
    _checked_all(table, "json", endpoint.json, known)
    table.done()
    return endpoint


def _has_room(document: Any, names: Sequence[str]) -> bool:
    """Whether the last of `names` can be set in the table that the others lead to."""
    for name in names[:-1]:
        document = document.get(name) if isinstance(document, Mapping) else None
    return isinstance(document, Mapping)


def _signs(table: Table, statuses: list[int], *, headers: bool = False) -> Signs:
    given = table.any("statuses", statuses)
    if not isinstance(given, list) or not all(
        isinstance(status, int) and not isinstance(status, bool) and 200 <= status <= 599 for status in given
    ):
        raise table.error("statuses", f"must be a list of HTTP statuses, not {given!r}")
    body = table.table("body", {})
    named = table.table("headers", {}) if headers else Table({}, "")
    signs = Signs(
        tuple(given),
        {_sign_pointer(body, pointer): _values(body, pointer) for pointer in body},
        {name.lower(): _texts(named, name) for name in named},
    )
    table.done()
    return signs


def _sign_pointer(table: Table, pointer: str) -> str:
    if not pointer or not _POINTER.fullmatch(pointer):
        raise table.error(pointer, "must be a JSON pointer such as '/error/code' (RFC 6901)")
    return pointer


def _values(table: Table, key: str) -> tuple[Any, ...]:
    """The values that mean something; one may stand alone, and ``"*"`` is whatever there is."""
    given = table.any(key)
    if given == _WHATEVER:
        return ()
    values = given if isinstance(given, list) else [given]
    if not values or not all(isinstance(value, str | int | float | bool) for value in values):
        raise table.error(key, f"must be a text, a number, true or false, or a list of these, not {given!r}")
    return tuple(values)


def _texts(table: Table, key: str) -> tuple[str, ...]:
    values = _values(table, key)
    if not all(isinstance(value, str) for value in values):
        raise table.error(key, "must be a text or a list of texts: that is what headers hold")
    return values


def _wait(table: Table, text: str) -> WaitHeader:
    name, _, form = (part.strip() for part in text.partition(":"))
    if not _HEADER_NAME.fullmatch(name) or form not in WAIT_FORMS:
        raise table.error(
            "waits",
            f"holds {text!r}; each must be such as 'Retry-After: seconds', with one of "
            + ", ".join(WAIT_FORMS),
        )
    return WaitHeader(name, form)


def _allowance(table: Table, known: Collection[str]) -> Allowance:
    allowance = Allowance(
        table.whole("calls", least=1),
        table.duration_ns("period", least_ns=1_000_000),
        table.choice("per", ("app", "person", "tenant"), "app"),
        table.text("calls_at", ""),
    )
    if allowance.calls_at and not _HEADER_NAME.fullmatch(allowance.calls_at):
        raise table.error("calls_at", f"must be a header's name, not {allowance.calls_at!r}")
    if allowance.per == "tenant" and "tenant" not in known:
        raise table.error("per", "'tenant' needs 'tenant', the path of the call that tells it")
    table.done()
    return allowance
