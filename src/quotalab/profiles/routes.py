"""The endpoints of a provider's API and the little state that they answer from, validated."""

from __future__ import annotations

import re
from collections.abc import Collection as Names
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quotalab.profiles.dialect import ANSWER_FIELDS, Header, parse_headers
from quotalab.profiles.limits import METHODS
from quotalab.profiles.reading import Table
from quotalab.profiles.templates import Template, parse_template, templates_in

__all__ = ["ITEM_FIELDS", "Collection", "Page", "Parameter", "Route", "parse_collections", "parse_routes"]

ITEM_FIELDS = ("id", "n", "person", "person_n", "tenant", "now_iso", "now_epoch_s")
"""What an item's template may say: its id, its number (from 1), whose it is, when it was made or shown."""
_LIST_FIELDS = (
    "items",
    "count",  # on this page
    "total",
    "size",  # of a page, as asked for
    "page",  # number from 1
    "offset",
    "next",  # what asks for the next page; null where there is none
    "next_or_empty",  # "" where there is none
    "next_or_omitted",  # the key is left out where there is none
    "next_url",
    "next_url_or_omitted",
    "more",  # true or false
)
_PATH_NAME = re.compile(r"\{(\w+)\}")
_PLACES = ("path", "query", "form", "json", "header")


@dataclass(frozen=True, slots=True)
class Parameter:
    """Where a request says something: ``query:cursor``, ``path:id``, ``json:variables.first``, ..."""

    place: str
    """One of path, query, form, json (dots go down), header."""
    name: str


@dataclass(frozen=True, slots=True)
class Collection:
    """Items at the provider; they grow by ``create`` routes."""

    initial: int
    """How many there are before the run."""
    of: str
    """Whose they are: each ``person``'s, each ``tenant``'s, or the ``app``'s."""
    id: Template
    """Of an item, with its number as ``{n}``: text before, one field, text after."""
    item: Mapping[str, Any]
    """Its JSON, with templates."""


@dataclass(frozen=True, slots=True)
class Page:
    """How a list is paged."""

    style: str
    """``page`` (a number from 1), ``offset`` (from 0), ``cursor`` (opaque text)."""
    at: Parameter
    size_at: Parameter | None
    size: int
    most: int


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint of the provider's API."""

    name: str
    methods: tuple[str, ...]
    path: str
    """A template such as ``/v1/events/{id}``; a name in braces matches one path segment."""
    scopes: tuple[str, ...]
    tags: tuple[str, ...]
    answer: str
    """``list``, ``read``, ``create`` or ``fixed``."""
    status: int
    content_type: str
    body: Any
    """JSON with `Template` in it; None: no body. ``{item}`` and ``{items}`` stand for JSON."""
    headers: tuple[Header, ...]
    collection: str
    item: Any
    """What ``{item}`` and ``{items}`` show of an item, where that is not all of it; None: all."""
    page: Page | None
    id_at: Parameter | None
    """Of ``read``: where the item's id stands."""
    object_at: Parameter | None
    """Where the object stands that limits may be kept for."""
    tenant: bool
    """Whether a call has to say which tenant it means, where the profile has calls say it."""
    work_ns: int | None
    """Median of how long an admitted call is under way at the provider; None: the profile's."""


def parse_collections(top: Table) -> dict[str, Collection]:
    """The ``collections`` of a profile."""
    collections = {}
    for name, table in top.tables("collections"):
        text = table.text("id", "{n}")
        id_template = _parse(table, "id", text, ("n",))
        if len(id_template.fields) != 1:
            raise table.error("id", f"must hold {{n}} once, not {text!r}")
        item = table.any("item", {"id": "{id}"})
        if not isinstance(item, Mapping):
            raise table.error("item", "must be a table of fields")
        collections[name] = Collection(
            initial=table.whole("initial", 0, most=100_000),
            of=table.choice("of", ("person", "tenant", "app"), "person"),
            id=id_template,
            item=_templates(table, "item", item, ITEM_FIELDS),
        )
        table.done()
    return collections


def _parse(table: Table, key: str, text: str, plain: Names[str], limits: Names[str] = ()) -> Template:
    try:
        return parse_template(text, plain, limits, refused=False)
    except ValueError as error:
        raise table.error(key, str(error)) from None


def _templates(table: Table, key: str, document: Any, plain: Names[str], limits: Names[str] = ()) -> Any:
    return templates_in(document, lambda text: _parse(table, key, text, plain, limits))


def parse_routes(
    top: Table, scopes: Mapping[str, str], collections: Mapping[str, Collection], limits: Names[str]
) -> tuple[Route, ...]:
    """The ``routes`` of a profile."""
    routes = tuple(_route(table, scopes, collections, limits) for table in top.array("routes"))
    seen: dict[tuple[str, str], str] = {}
    for i, route in enumerate(routes):
        for method in route.methods:
            if other := seen.get((method, route.path)):
                said = f"answers {method} {route.path}, which {other!r} already does"
                raise top.error(f"routes[{i}]", said)
            seen[method, route.path] = route.name
    if len({route.name for route in routes}) != len(routes):
        raise top.error("routes", "gives one name to two routes")
    return routes


def _route(
    table: Table, scopes: Mapping[str, str], collections: Mapping[str, Collection], limits: Names[str]
) -> Route:
    answer = table.choice("answer", ("list", "read", "create", "fixed"))
    name, path = table.text("name"), table.text("path")
    if not path.startswith("/"):
        raise table.error("path", f"must begin with a slash, not {path!r}")
    segments = _PATH_NAME.findall(path)
    if len(set(segments)) != len(segments):
        raise table.error("path", f"names one segment twice: {path!r}")
    if not re.fullmatch(r"[\w.-]+", name):
        raise table.error("name", f"may hold letters, digits, dots, dashes and underscores, not {name!r}")
    collection = table.choice("collection", tuple(collections)) if answer != "fixed" else ""
    plain = {*ANSWER_FIELDS, *segments}
    plain |= {"fixed": set(), "list": {*_LIST_FIELDS}}.get(answer, {"item", "id", "n"})
    default = {"fixed": {}, "list": {collection: "{items}", "next_page": "{next}"}}.get(answer, "{item}")
    shown = table.any("item", None) if answer != "fixed" else None
    route = Route(
        name=name,
        methods=_methods(table),
        path=path,
        scopes=table.texts("scopes", (), allowed=tuple(scopes)),
        tags=table.texts("tags", ()),
        answer=answer,
        status=table.whole("status", 201 if answer == "create" else 200, least=200, most=599),
        content_type=table.text("content_type", "application/json"),
        body=_templates(table, "body", table.any("body", default), plain, limits),
        headers=parse_headers(table, "headers", plain, limits),
        collection=collection,
        item=_templates(table, "item", shown, ITEM_FIELDS),
        page=_page(table.table("page", {})) if answer == "list" else None,
        id_at=_parameter(table, "id_at", "path:id", segments) if answer == "read" else None,
        object_at=_parameter(table, "object_at", None, segments),
        tenant=table.flag("tenant", True),
        work_ns=table.duration_ns("work", None),
    )
    table.done()
    return route


def _methods(table: Table) -> tuple[str, ...]:
    if isinstance(table.peek("method"), list):
        methods: tuple[str, ...] = table.texts("method", allowed=METHODS)
        if not methods:
            raise table.error("method", "must name at least one of " + ", ".join(METHODS))
        return methods
    return (table.choice("method", METHODS, "GET"),)


def _page(table: Table) -> Page:
    style = table.choice("style", ("page", "offset", "cursor"), "page")
    size = table.whole("size", 50, least=1, most=10_000)
    page = Page(
        style=style,
        at=_parameter(table, "at", f"query:{style}", ()),
        size_at=_parameter(table, "size_at", None, ()),
        size=size,
        most=table.whole("most", max(size, 100), least=size, most=10_000),
    )
    table.done()
    return page


def _parameter(table: Table, key: str, default: str | None, segments: Names[str]) -> Any:
    text = table.text(key, default)
    if text is None:
        return None
    place, _, name = text.partition(":")
    if place not in _PLACES or not name:
        raise table.error(key, f"must be such as 'query:cursor', one of {', '.join(_PLACES)}, not {text!r}")
    if place == "path" and name not in segments:
        raise table.error(key, f"names {{{name}}}, which the path does not have")
    return Parameter(place, name.lower() if place == "header" else name)
