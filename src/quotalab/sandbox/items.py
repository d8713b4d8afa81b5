"""The little state that a provider's API has: collections of items, some there before, some created."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from quotalab.profiles.routes import Collection
from quotalab.profiles.templates import Field, Template
from quotalab.sandbox.dialect import Body, Get, compile_body, filled, iso
from quotalab.sandbox.http import Request

__all__ = ["ItemIds", "Items", "Owner", "View", "fields_of", "templates_below"]

MAX_ITEM_BYTES = 4_000
MAX_ITEMS = 10_000
_LONGEST_ID = 80
_SECOND_NS = 1_000_000_000
_BASES = {"d": 10, "x": 16, "X": 16, "o": 8, "b": 2}
_COMMON_FIELDS = frozenset(("id", "n"))


class Owner(NamedTuple):
    """Who a person is to the provider, or whose something is; None: nobody's in particular."""

    person: str | None
    number: int | None
    """Among the people of the sandbox, from 1."""
    tenant: str | None


class ItemIds:
    """Ids from numbers and back, by a template with one field."""

    def __init__(self, template: Template) -> None:
        place = next(i for i, part in enumerate(template.parts) if isinstance(part, Field))
        field = template.parts[place]
        assert isinstance(field, Field)
        self._before = "".join(map(str, template.parts[:place]))
        self._after = "".join(map(str, template.parts[place + 1 :]))
        self._spec = field.spec or "d"
        self._base = _BASES[self._spec[-1]]

    def of(self, number: int) -> str:
        """The id of the item with this number."""
        return f"{self._before}{number:{self._spec}}{self._after}"

    def number(self, text: str) -> int | None:
        """The number whose id this is; None: it is none's."""
        if len(text) > _LONGEST_ID or not text.startswith(self._before) or not text.isascii():
            return None
        try:
            number = int(text[len(self._before) : len(text) - len(self._after)], self._base)
        except ValueError:
            return None
        return number if number > 0 and self.of(number) == text else None


class Item:
    """One item, as its templates see it."""

    __slots__ = ("at_ns", "fields", "id", "n", "person", "person_n", "tenant", "whole")

    def __init__(self, item_id: str, number: int, owner: Owner, at_ns: int) -> None:
        self.id = item_id
        self.n = number
        self.person, self.person_n, self.tenant = owner
        self.at_ns = at_ns
        self.fields: dict[str, Any] = {}
        """Of one that was created: what the request said of it."""
        self.whole: bytes = b""


_GETTERS: dict[str, Get] = {
    **{name: attrgetter(name) for name in ("id", "n", "person", "person_n", "tenant")},
    "now_iso": lambda item: iso(item.at_ns // _SECOND_NS),
    "now_epoch_s": lambda item: item.at_ns // _SECOND_NS,
}


def _getter(field: Field) -> Get:
    return _GETTERS[field.name]


class View:
    """How items are shown: all of them, or what a route shows of them."""

    def __init__(self, document: Any) -> None:
        self._document = document
        self._body: Body = compile_body(document, "application/json", _getter)
        self._keys = document.keys() if isinstance(document, Mapping) else ()
        self._own = frozenset(key for key in self._keys if templates_below(document[key]) & _COMMON_FIELDS)
        self.is_common = self._body.names <= _COMMON_FIELDS
        """Whether an item looks the same to everybody at every time."""

    def render(self, item: Item) -> bytes:
        """An item that nobody changed."""
        return self._body.render(item)

    def overlaid(self, item: Item, *, whole: bool) -> bytes:
        """A created item; `whole`: with all that the request said of it, not only what is shown of others.

        Raises ``ValueError`` for what cannot be written as JSON, ``RecursionError`` for what is too deep.
        """
        if not isinstance(self._document, Mapping):
            return self.render(item)
        said = {
            key: value
            for key, value in item.fields.items()
            if key not in self._own and (whole or key in self._keys)
        }
        document = {**filled(self._document, _getter, item), **said}
        return json.dumps(document, separators=(",", ":"), allow_nan=False, default=str).encode()


class Items:
    """One owner's items of one collection."""

    __slots__ = ("_added", "_ids", "_initial", "_owner", "_whole")

    def __init__(self, collection: Collection, ids: ItemIds, whole: View, owner: Owner) -> None:
        self._ids = ids
        self._whole = whole
        self._owner = owner
        self._initial = collection.initial
        self._added: list[Item] = []

    def __len__(self) -> int:
        return self._initial + len(self._added)

    @property
    def initial(self) -> int:
        """How many there were before anything was created."""
        return self._initial

    @property
    def is_full(self) -> bool:
        """Whether no more may be created."""
        return len(self._added) >= MAX_ITEMS

    def find(self, text: str) -> int | None:
        """The number of the item with this id; None: there is none."""
        number = self._ids.number(text)
        return number if number is not None and number <= len(self) else None

    def id_of(self, number: int) -> str:
        """The id of the item with this number."""
        return self._ids.of(number)

    def shown(self, number: int, view: View, now_ns: int) -> bytes:
        """The item with this number, from 1."""
        if number <= self._initial:
            return view.render(Item(self._ids.of(number), number, self._owner, now_ns))
        item = self._added[number - self._initial - 1]
        return item.whole if view is self._whole else view.overlaid(item, whole=False)

    def create(self, fields: dict[str, Any], creator: Owner, now_ns: int) -> tuple[Item, bool]:
        """A new item, and whether it was kept: one that is too large is not.

        Raises ``ValueError`` or ``RecursionError`` for what cannot be written as JSON.
        """
        number = len(self) + 1
        item = Item(self._ids.of(number), number, creator, now_ns)
        item.fields = fields
        item.whole = self._whole.overlaid(item, whole=True)
        if len(item.whole) > MAX_ITEM_BYTES or self.is_full:
            return item, False
        self._added.append(item)
        return item, True


def fields_of(request: Request) -> dict[str, Any] | None:
    """What a request says of an item: a form's fields or a JSON object's; None: it is neither."""
    kind = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        return dict(request.form_pairs())
    document = request.json()
    return document if isinstance(document, dict) else None


def templates_below(document: Any) -> frozenset[str]:
    """The names of all fields in a document."""
    if isinstance(document, Template):
        return frozenset(field.name for field in document.fields)
    below: Sequence[Any] = ()
    if isinstance(document, Mapping):
        below = list(document.values())
    elif isinstance(document, list):
        below = document
    return frozenset().union(*map(templates_below, below))
