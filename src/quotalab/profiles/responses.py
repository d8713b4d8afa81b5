"""Answers from elsewhere for routes that a provider profile lacks: a HAR file, or an OpenAPI 3 document.

Of a HAR (HTTP Archive 1.2) the first answer to each method and path counts; hosts, queries and everything
that was sent are not looked at. Of an OpenAPI document in JSON the first example of the first successful
answer to each operation counts. What comes of it are routes with fixed answers.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from quotalab.errors import InputError
from quotalab.profiles.limits import METHODS
from quotalab.profiles.provider import Provider
from quotalab.profiles.routes import Route

__all__ = ["Responses", "read_responses", "with_responses"]

MAX_FILE_BYTES = 50_000_000
MAX_ANSWERS = 2_000
MAX_BODY_BYTES = 1_000_000
MAX_DEPTH = 60
_MOST_REFERENCES = 20
# What the sandbox answers by itself, and what makes no sense without what came before or after it.
_SKIPPED_STATUSES = frozenset((401, 429))
_SAFE_CONTENT_TYPE = re.compile(r"[\x20-\x7e]{1,200}")


class Found(NamedTuple):
    """One answer in the file."""

    method: str
    path: str
    """Of a HAR as it was asked for, with its percent-encoding undone; of OpenAPI a template."""
    status: int
    content_type: str
    body: Any
    """JSON, or a text for another content type; None: no body."""


@dataclass(frozen=True)
class Responses:
    """The answers that a file holds."""

    name: str
    sha256: str
    kind: str
    """``har`` or ``openapi``."""
    found: tuple[Found, ...]


def read_responses(path: Path) -> Responses:
    """The answers in a HAR file or an OpenAPI document. Raises `InputError` naming the file and the place."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{path}: is larger than {MAX_FILE_BYTES // 10**6} MB")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        document = json.loads(data, parse_constant=_refused)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text: {error.reason}") from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}: is not JSON: {error}; a HAR file or an OpenAPI document in JSON is wanted"
        ) from None
    except (ValueError, RecursionError):
        raise InputError(
            f"{path}: is nested too deeply, or holds a number that is none or too long"
        ) from None
    place = _Place(str(path))
    if not isinstance(document, dict):
        raise place.error("is neither a HAR file nor an OpenAPI document")
    if isinstance(document.get("log"), dict):
        kind, found = "har", _har(document["log"], place.at("log"))
    elif isinstance(version := document.get("openapi"), str) and version.startswith("3."):
        kind, found = "openapi", _OpenApi(document, place).answers()
    else:
        raise place.error("is neither a HAR file (log) nor an OpenAPI 3 document (openapi: 3...)")
    return Responses(path.name, hashlib.sha256(data).hexdigest(), kind, tuple(_first(found, place)))


def _refused(constant: str) -> None:
    """NaN and Infinity, which Python takes and JSON does not have (RFC 8259, 6)."""
    raise ValueError(f"{constant} is not JSON")


def with_responses(provider: Provider, responses: Responses) -> Provider:
    """The profile with a route for each answer that it has none for.

    Paths that do not lie below the profile's ``api_path`` are left out. The profile's document is told the
    routes' names, methods and paths, and nothing of their answers.
    """
    theirs = [(method, _matcher(route.path)) for route in provider.routes for method in route.methods]
    taken = {(method, _shape(route.path)) for route in provider.routes for method in route.methods}
    names = {route.name for route in provider.routes}
    added: list[Route] = []
    for answer in responses.found:
        path = _below(provider.api_path, answer.path, is_har=responses.kind == "har")
        if path is None:
            continue
        key, concrete = (answer.method, _shape(path)), _TEMPLATE.sub("x", path)
        if key in taken or any(
            method == answer.method and pattern.fullmatch(concrete) for method, pattern in theirs
        ):
            continue
        taken.add(key)
        name = _name(answer.method, path, names)
        names.add(name)
        added.append(_route(name, answer, path))
    document = {
        **provider.document,
        "routes": [
            *provider.document.get("routes", ()),
            *(
                {"name": route.name, "method": list(route.methods), "path": route.path, "answer": "fixed"}
                for route in added
            ),
        ],
    }
    return replace(provider, routes=(*provider.routes, *added), document=document)


# ---- where something is wrong


class _Place:
    """A place in the file, for messages."""

    def __init__(self, file: str, path: str = "") -> None:
        self._file = file
        self._path = path

    def at(self, step: str | int) -> _Place:
        """A place below."""
        shown = f"[{step}]" if isinstance(step, int) else f".{_shortened(step)}" if self._path else step
        return _Place(self._file, self._path + shown)

    def error(self, message: str) -> InputError:
        """What to raise when something is wrong here."""
        return InputError(
            f"{self._file}: {self._path}: {message}" if self._path else f"{self._file}: {message}"
        )


def _shortened(text: str) -> str:
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= 60 else text[:57] + "..."


def _mapping(value: Any, place: _Place) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise place.error(f"must be an object, not {type(value).__name__}")
    return value


def _first(found: Iterator[tuple[Found, _Place]], place: _Place) -> Iterator[Found]:
    """The first answer of each method and path, within limits."""
    seen: set[tuple[str, str]] = set()
    for answer, where in found:
        key = (answer.method, _shape(answer.path))
        if key in seen:
            continue
        seen.add(key)
        if len(seen) > MAX_ANSWERS:
            raise place.error(f"holds more than {MAX_ANSWERS:,} different answers")
        _check(answer.body, where)
        yield answer


def _check(body: Any, place: _Place) -> None:
    """Refuse a body that is too large or too deep."""
    layer, depth = [body], 0
    while layer:
        depth += 1
        if depth > MAX_DEPTH:
            raise place.error(f"is nested deeper than {MAX_DEPTH} levels")
        layer = [
            below
            for value in layer
            if isinstance(value, dict | list)
            for below in (value.values() if isinstance(value, dict) else value)
        ]
    size = len(body) if isinstance(body, str) else len(json.dumps(body))
    if size > MAX_BODY_BYTES:
        raise place.error(f"is larger than {MAX_BODY_BYTES // 10**6} MB")


# ---- HAR 1.2


def _har(log: Mapping[str, Any], place: _Place) -> Iterator[tuple[Found, _Place]]:
    entries = log.get("entries")
    if not isinstance(entries, list):
        raise place.at("entries").error("must be an array")
    for i, one in enumerate(entries):
        at = place.at("entries").at(i)
        entry = _mapping(one, at)
        request = _mapping(entry.get("request"), at.at("request"))
        response = _mapping(entry.get("response"), at.at("response"))
        method, url = request.get("method"), request.get("url")
        if not isinstance(method, str) or not isinstance(url, str):
            raise at.at("request").error("must have a method and a url")
        status = _status(response.get("status"), at.at("response").at("status"))
        path = _path_of(url, at.at("request").at("url"))
        if method not in METHODS or status is None or path is None:
            continue
        content = _mapping(response.get("content", {}), at.at("response").at("content"))
        body = _har_body(content, at.at("response").at("content"))
        if body is not _BINARY:
            yield Found(method, path, status, _content_type(content.get("mimeType")), body), at


def _status(value: Any, place: _Place) -> int | None:
    """A status that a route may have; None: one that is left out."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise place.error(f"must be a whole number, not {_shortened(repr(value))}")
    return None if value < 200 or 300 <= value < 400 or value > 599 or value in _SKIPPED_STATUSES else value


def _path_of(url: str, place: _Place) -> str | None:
    """The path of an address, decoded; None where it could be taken for a template."""
    try:
        path = unquote(urlsplit(url).path, errors="replace") or "/"
    except ValueError as error:
        raise place.error(f"is no address: {error}") from None
    return path if path.startswith("/") and "{" not in path and "}" not in path else None


_BINARY: Any = object()


def _har_body(content: Mapping[str, Any], place: _Place) -> Any:
    text = content.get("text")
    if text is None or text == "":
        return None
    if not isinstance(text, str):
        raise place.at("text").error("must be a text")
    if content.get("encoding") == "base64":
        try:
            text = base64.b64decode(text, validate=True).decode()
        except UnicodeDecodeError:
            return _BINARY  # an image or the like, which no route of an API needs
        except ValueError:
            raise place.at("text").error("is not base64, as encoding says") from None
    if not _content_type(content.get("mimeType")).endswith("json"):
        return text
    try:
        return json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError):
        raise place.at("text").error("is not JSON, as mimeType says, or is nested too deeply") from None


def _content_type(value: Any) -> str:
    """A content type; of JSON without parameters, which it does not have (RFC 8259, 11)."""
    if not isinstance(value, str) or not _SAFE_CONTENT_TYPE.fullmatch(value):
        return "application/octet-stream"
    bare = value.partition(";")[0].strip().lower()
    return bare if bare.endswith("json") else value


# ---- OpenAPI 3


class _OpenApi:
    """An OpenAPI 3 document."""

    def __init__(self, document: Mapping[str, Any], place: _Place) -> None:
        self._document = document
        self._place = place
        servers = document.get("servers")
        first = servers[0] if isinstance(servers, list) and servers else {}
        url = first.get("url", "") if isinstance(first, dict) else ""
        try:
            self._base = urlsplit(url).path.rstrip("/") if isinstance(url, str) and "{" not in url else ""
        except ValueError:
            raise place.at("servers").at(0).at("url").error("is no address") from None

    def answers(self) -> Iterator[tuple[Found, _Place]]:
        """The answers, operation by operation."""
        place = self._place.at("paths")
        for path, item in _mapping(self._document.get("paths", {}), place).items():
            at = place.at(path)
            template = _numbered(path)
            if template is None:
                raise at.error("is no path template, such as /events/{id}")
            for method, operation in self._resolved(item, at).items():
                if method.upper() in METHODS:
                    found = self._answer(method.upper(), template, operation, at.at(method))
                    if found is not None:
                        yield found, at.at(method)

    def _answer(self, method: str, path: str, operation: Any, place: _Place) -> Found | None:
        place = place.at("responses")
        responses = _mapping(_mapping(operation, place).get("responses", {}), place)
        for status in sorted(text for text in responses if re.fullmatch("2[0-9][0-9]", text)):
            at = place.at(status)
            content = _mapping(self._resolved(responses[status], at).get("content", {}), at.at("content"))
            if not content:
                return Found(method, self._base + path, int(status), "application/json", None)
            for kind, media in content.items():
                bare = _content_type(kind)
                if bare.endswith("json"):
                    body = self._example(
                        _mapping(media, at.at("content").at(kind)), at.at("content").at(kind)
                    )
                    if body is not _BINARY:
                        return Found(method, self._base + path, int(status), bare, body)
        return None

    def _example(self, media: Mapping[str, Any], place: _Place) -> Any:
        """The first example of a media type, or of its schema; `_BINARY`: there is none."""
        if "example" in media:
            return media["example"]
        examples = media.get("examples")
        if isinstance(examples, dict):
            for name, example in examples.items():
                resolved = self._resolved(example, place.at("examples").at(name))
                if "value" in resolved:
                    return resolved["value"]
        if "schema" in media:
            schema = self._resolved(media["schema"], place.at("schema"))
            if "example" in schema:
                return schema["example"]
            if isinstance(listed := schema.get("examples"), list) and listed:
                return listed[0]
        return _BINARY

    def _resolved(self, value: Any, place: _Place) -> Mapping[str, Any]:
        """An object, a reference to one within the document followed."""
        for _ in range(_MOST_REFERENCES):
            found = _mapping(value, place)
            reference = found.get("$ref")
            if not isinstance(reference, str):
                return found
            if not reference.startswith("#/"):
                raise place.error(
                    f"refers to {_shortened(reference)}; only references within the file are read"
                )
            value = self._document
            for escaped in reference[2:].split("/"):
                step = unquote(escaped).replace("~1", "/").replace("~0", "~")
                if not isinstance(value, dict) or step not in value:
                    raise place.error(f"refers to {_shortened(reference)}, which is not there")
                value = value[step]
        raise place.error("refers to itself, or over too many steps")


def _numbered(path: str) -> str | None:
    """A path template with its names made p1, p2, ...; None: it is none."""
    count = 0

    def number(_: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return f"<p{count}>"

    plain = re.sub(r"\{[^{}/]+\}", number, path)
    if not plain.startswith("/") or "{" in plain or "}" in plain:
        return None
    return re.sub(r"<(p\d+)>", r"{\1}", plain)


# ---- routes


_TEMPLATE = re.compile(r"\{\w+\}")


def _shape(path: str) -> str:
    return _TEMPLATE.sub("{}", path)


def _matcher(path: str) -> re.Pattern[str]:
    return re.compile("[^/]+".join(re.escape(text) for text in _TEMPLATE.split(path)))


def _below(api_path: str, path: str, *, is_har: bool) -> str | None:
    """The path below `api_path`; None: it does not lie there. OpenAPI may leave `api_path` out."""
    if not api_path or path.startswith(api_path + "/"):
        return path[len(api_path) :]
    return None if is_har else path


def _name(method: str, path: str, taken: set[str]) -> str:
    words = re.sub(r"[^A-Za-z0-9]+", "_", path).strip("_")[:60] or "root"
    name, count = f"{method.lower()}_{words}", 1
    while name in taken:
        count += 1
        name = f"{method.lower()}_{words}_{count}"
    return name


def _route(name: str, answer: Found, path: str) -> Route:
    return Route(
        name=name,
        methods=(answer.method,),
        path=path,
        scopes=(),
        tags=(),
        answer="fixed",
        status=answer.status,
        content_type=answer.content_type,
        body=answer.body,
        headers=(),
        collection="",
        item=None,
        page=None,
        id_at=None,
        object_at=None,
        tenant=True,
        work_ns=None,
    )
