"""The requests that the integration makes: an endpoint's fields filled in, and the next page of a list."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urljoin

import httpx

from quotalab.profiles.reference import FIELD, Endpoint, ReferenceApi
from quotalab.reference.answers import Answer
from quotalab.reference.errors import ProviderError

__all__ = ["Request", "filled", "first_request", "next_request"]


@dataclass(frozen=True)
class Request:
    """One request to the provider's API."""

    method: str
    url: str
    json: Any
    form: Mapping[str, str] | None
    repeatable: bool
    """Whether it may be made again when nobody knows whether it was done (RFC 9110, 9.2.2)."""
    route: str = ""
    """What the documentation calls it: the path with its fields."""


def first_request(api_base: str, endpoint: Endpoint, values: Mapping[str, str], *, reads: bool) -> Request:
    """An endpoint's request; `values` are its fields'. What only `reads` may be repeated, POST or not."""
    return Request(
        endpoint.method,
        api_base + FIELD.sub(lambda match: quote(_value(match, values), safe=""), endpoint.path),
        filled(endpoint.json, values),
        filled(endpoint.form, values),
        reads or endpoint.method in ("GET", "PUT"),
        endpoint.path.partition("?")[0],
    )


def filled(document: Any, values: Mapping[str, str]) -> Any:
    """`document` with the fields of its texts replaced; what stands in one stays text."""
    if isinstance(document, str):
        return FIELD.sub(lambda match: _value(match, values), document)
    if isinstance(document, Mapping):
        return {key: filled(value, values) for key, value in document.items()}
    if isinstance(document, list):
        return [filled(value, values) for value in document]
    return document


def _value(match: re.Match[str], values: Mapping[str, str]) -> str:
    name, spec = match.groups()
    return format(int(values[name]), spec) if spec else values[name]


def next_request(
    api: ReferenceApi, request: Request, answer: Answer, page: int, items: int
) -> Request | None:
    """What asks for the page after page number `page`, which had `items`; None: there is none.

    Raises `ProviderError` for what asks for no page of this API.
    """
    place, _, name = api.next.partition(":")
    if not place or (api.more_at and answer.at(api.more_at) is not True):
        return None
    following: Any
    if place == "link":
        following = answer.next_link()
    elif api.next_at:
        following = answer.at(api.next_at)
    else:
        following = page + 1 if items else None
    if following is None or following is False or following == "":
        return None
    if isinstance(following, bool) or not isinstance(following, str | int | float):
        raise ProviderError(answer.status, "and a next page that cannot be read")
    if place in ("link", "url"):
        return replace(request, url=_address(request.url, str(following), answer.status))
    if place == "query":
        return replace(request, url=str(httpx.URL(request.url).copy_set_param(name, following)))
    if place == "form":
        return replace(request, form={**(request.form or {}), name: str(following)})
    return replace(request, json=_with(request.json, name.split("."), following))


def _address(url: str, following: str, status: int) -> str:
    """The next page's address; never another host's, which would be handed the person's token."""
    try:
        here, there = httpx.URL(url), httpx.URL(urljoin(url, following))
    except (httpx.InvalidURL, ValueError):
        raise ProviderError(status, "and a next page that is no address") from None
    if (here.scheme, here.host, here.port) != (there.scheme, there.host, there.port):
        raise ProviderError(status, "and a next page on another host")
    return str(there)


def _with(document: Any, names: list[str], value: Any) -> Any:
    """`document` with a value set, however deep."""
    changed = deepcopy(document)
    table = changed
    for name in names[:-1]:
        table = table[name]
    table[names[-1]] = value
    return changed
