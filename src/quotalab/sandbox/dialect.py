"""Renders a provider's answers as its profile says: headers, refusals, errors, bodies.

Templates are compiled once, to bytes with places in them and a getter for each place. What a profile does
not show is never worked out.
"""

from __future__ import annotations

import base64
import datetime
import json
import re
from collections.abc import Callable, Iterable, Sequence
from email.utils import formatdate
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple
from urllib.parse import quote

from quotalab.clock import Entropy
from quotalab.profiles.dialect import ANSWER_FIELDS, Dialect, ErrorAnswer, Header
from quotalab.profiles.limits import Limit
from quotalab.profiles.templates import WAIT_FIELDS, Field, Template
from quotalab.quota import NEVER, Decision, Standing
from quotalab.sandbox.http import Headers, Response
from quotalab.sandbox.limits import ProviderLimits

__all__ = [
    "Body",
    "HeaderRenderer",
    "Renderer",
    "Scene",
    "compile_body",
    "compile_text",
    "encode",
    "filled",
    "iso",
    "promise",
]

_SECOND_NS = 1_000_000_000
_LAST_S = 253_402_300_799  # 9999-12-31 23:59:59 UTC: no date can be written beyond
_INSTANTS = ("http_date", "iso", "epoch")
_BODILESS = (204, 205, 304)  # RFC 9110, 15.3.5, 15.3.6, 15.4.5

Get = Callable[[Any], Any]
"""The value of a field in what is rendered; None: it has none there."""


def _up(value_ns: int, unit_ns: int) -> int:
    return -(-value_ns // unit_ns)


@lru_cache(maxsize=1024)
def iso(second: int) -> str | None:
    if second > _LAST_S:
        return None
    return datetime.datetime.fromtimestamp(second, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=1024)
def _http_date(second: int) -> str | None:
    """IMF-fixdate (RFC 9110, 5.6.7)."""
    return formatdate(second, usegmt=True) if second <= _LAST_S else None


def encode(document: Any) -> bytes:
    """JSON; the dates that TOML has become text (RFC 3339)."""
    return json.dumps(document, separators=(",", ":"), default=_date).encode()


def _date(value: datetime.date | datetime.time) -> str:
    return value.isoformat()


def promise(form: str, at_ns: int, wait_ns: int) -> tuple[str, int] | None:
    """The value of Retry-After in a form of the profile, and what it promises, in ns from `at_ns`.

    None where there is nothing to promise: the form is ``none``, or no wait helps.
    """
    if form == "none" or wait_ns >= NEVER:
        return None
    if form == "seconds":
        seconds = _up(wait_ns, _SECOND_NS)
        text: str | None = str(seconds)
        promised_ns = seconds * _SECOND_NS
    elif form == "decimal":
        tenths = _up(wait_ns, _SECOND_NS // 10)
        text = f"{tenths // 10}.{tenths % 10}"
        promised_ns = tenths * (_SECOND_NS // 10)
    else:
        second = _up(at_ns + wait_ns, _SECOND_NS)
        text = str(second) if form == "epoch" else iso(second) if form == "iso" else _http_date(second)
        promised_ns = second * _SECOND_NS - at_ns
    return (text, promised_ns) if text is not None and promised_ns < NEVER else None


# ---- what an answer is rendered from


class Scene:
    """One call, as far as its answer may tell of it."""

    __slots__ = (
        *("at_ns", "decision", "limits", "message", "person", "person_n", "renderer", "request_id", "scope"),
        *("skew_ns", "tells_skew", "tenant", "values", "_keys", "_left", "_resets", "_tightest"),
    )

    def __init__(
        self,
        renderer: Renderer,
        at_ns: int,
        decision: Decision,
        *,
        person: str | None = None,
        person_n: int | None = None,
        tenant: str | None = None,
    ) -> None:
        self.renderer = renderer
        self.limits = renderer.limits
        self.at_ns = at_ns
        self.skew_ns = renderer.skew_ns(at_ns) if renderer.skew_ns is not None else 0
        """How far the provider's own clock, by which it tells instants, is ahead."""
        self.tells_skew = False
        """Whether an instant was told by a clock that is wrong."""
        self.decision = decision
        self.person = person
        self.person_n = person_n
        self.tenant = tenant
        self.message: str | None = None
        self.scope: str | None = None
        self.request_id: str | None = None
        """None until the answer shows it."""
        self.values: dict[str, Any] = {}
        """What the route's path and answer add."""
        self._left: dict[str, int] | None = None
        self._keys: dict[str, str] | None = None
        self._resets: dict[str, int] = {}
        self._tightest: str | None = ""

    def told_ns(self, true_ns: int) -> int:
        """An instant, by the provider's own clock."""
        if self.skew_ns:
            self.tells_skew = True
        return true_ns + self.skew_ns

    def left(self) -> dict[str, int]:
        """What remains of each limit that the call was asked of."""
        if self._left is None:
            self._left = dict(self.decision.remaining)
        return self._left

    def key(self, name: str) -> str:
        """What a limit counted the call under."""
        if self._keys is None:
            self._keys = dict(self.decision.keys)
        return self._keys[name]

    def reset_ns(self, name: str) -> int | None:
        """The instant at which a limit is whole again; None: never."""
        reset_ns = self._resets.get(name)
        if reset_ns is None:
            standing: Standing = self.limits.standing(name, self.key(name), self.at_ns)
            reset_ns = self._resets[name] = standing.reset_ns
        return reset_ns if reset_ns < NEVER else None

    def tightest(self) -> str | None:
        """Of the limits that were asked and are not hidden, the one with the least left, by share."""
        if self._tightest != "":
            return self._tightest
        found, least, of = None, 0, 1
        visible, number = self.limits.visible, self.limits.number
        for name, left in self.decision.remaining:
            if name in visible:
                whole = number(name)
                if found is None or left * of < least * whole:
                    found, least, of = name, left, whole
        self._tightest = found
        return found


def _shown_request_id(scene: Scene) -> str:
    if scene.request_id is None:
        scene.request_id = scene.renderer.next_request_id()
    return scene.request_id


_COMMON: dict[str, Get] = {
    "message": lambda scene: scene.message,
    "now_iso": lambda scene: iso(scene.told_ns(scene.at_ns) // _SECOND_NS),
    "now_epoch_s": lambda scene: scene.told_ns(scene.at_ns) // _SECOND_NS,
    "request_id": _shown_request_id,
    "person": lambda scene: scene.person,
    "person_n": lambda scene: scene.person_n,
    "tenant": lambda scene: scene.tenant,
    "scope": lambda scene: scene.scope,
}
assert _COMMON.keys() > ANSWER_FIELDS
_OMITTED = {"next_or_omitted": "next", "next_url_or_omitted": "next_url"}


# ---- what a limit has to say


def _number(scene: Scene, name: str) -> int:
    return scene.limits.number(name)


def _used(scene: Scene, name: str) -> int:
    return scene.limits.number(name) - scene.left()[name]


def _remaining(scene: Scene, name: str) -> int:
    return max(0, scene.left()[name])


def _percent(scene: Scene, name: str) -> int:
    return _used(scene, name) * 100 // scene.limits.number(name)


def _rate(scene: Scene, name: str) -> float | None:
    rate = scene.limits.by_name[name].rate
    return float(rate * _SECOND_NS) if rate else None


def _period(unit_ns: int) -> Callable[[Scene, str], int | None]:
    def period(scene: Scene, name: str) -> int | None:
        length_ns = scene.limits.by_name[name].length_ns
        return _up(length_ns, unit_ns) if length_ns else None

    return period


def _key_base64(scene: Scene, name: str) -> str:
    return base64.b64encode(scene.key(name).encode("utf-8", "surrogatepass")).decode()


def _until_reset(unit_ns: int) -> Callable[[Scene, str], int | None]:
    def until(scene: Scene, name: str) -> int | None:
        reset_ns = scene.reset_ns(name)
        return max(0, _up(reset_ns - scene.at_ns, unit_ns)) if reset_ns is not None else None

    return until


def _reset_at(unit_ns: int) -> Callable[[Scene, str], int | None]:
    def at(scene: Scene, name: str) -> int | None:
        reset_ns = scene.reset_ns(name)
        return _up(scene.told_ns(reset_ns), unit_ns) if reset_ns is not None else None

    return at


def _wait(unit_ns: int) -> Callable[[Scene, str], int | None]:
    def wait(scene: Scene, _: str) -> int | None:
        wait_ns = scene.decision.wait_ns
        return _up(wait_ns, unit_ns) if wait_ns < NEVER else None

    return wait


def _wait_end(scene: Scene, _: str) -> int | None:
    wait_ns = scene.decision.wait_ns
    return _up(scene.told_ns(scene.at_ns + wait_ns), _SECOND_NS) if wait_ns < NEVER else None


def _then(get: Callable[[Scene, str], int | None], show: Callable[[int], Any]) -> Callable[[Scene, str], Any]:
    def value(scene: Scene, name: str) -> Any:
        found = get(scene, name)
        return show(found) if found is not None else None

    return value


def _thousandth(value: int) -> float:
    return value / 1000


_MS = 1_000_000
_OF_A_LIMIT: dict[str, Callable[[Scene, str], Any]] = {
    "name": lambda _, name: name,
    "limit": _number,
    "used": _used,
    "remaining": _remaining,
    "percent": _percent,
    "rate": _rate,
    "period_s": _period(_SECOND_NS),
    "period_ms": _period(_MS),
    "key_base64": _key_base64,
    "reset_s": _until_reset(_SECOND_NS),
    "reset_decimal_s": _then(_until_reset(_MS), _thousandth),
    "reset_ms": _until_reset(_MS),
    "reset_epoch_s": _reset_at(_SECOND_NS),
    "reset_epoch_decimal": _then(_reset_at(_MS), _thousandth),
    "reset_epoch_ms": _reset_at(_MS),
    "reset_iso": _then(_reset_at(_SECOND_NS), iso),
    "reset_http_date": _then(_reset_at(_SECOND_NS), _http_date),
    "wait_s": _wait(_SECOND_NS),
    "wait_decimal_s": _then(_wait(_MS), _thousandth),
    "wait_ms": _wait(_MS),
    "wait_minutes": _wait(60 * _SECOND_NS),
    "wait_epoch_s": _wait_end,
    "wait_iso": _then(_wait_end, iso),
    "wait_http_date": _then(_wait_end, _http_date),
}
_THREE_DECIMALS = frozenset(("reset_decimal_s", "reset_epoch_decimal", "wait_decimal_s"))
_ALWAYS_TOLD = frozenset(("name", *WAIT_FIELDS))
"""What is told of a limit that is hidden: which it was, and how long to wait."""


def _nothing(_: Any) -> None:
    return None


# ---- compiling templates


def _decimal(value: float) -> str:
    """A number without an exponent, with at least one decimal."""
    text = f"{value:.10f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def _shape(field: Field) -> Callable[[Any], str] | None:
    """How a field's value is written where it stands in a text; None: as Python does."""
    if field.spec:
        spec = field.spec
        return lambda value: format(value, spec) if type(value) is int else _plain(value)
    if field.name == "rate":
        return _decimal
    if field.name in _THREE_DECIMALS:
        return lambda value: f"{value:.3f}"
    return None if field.subject else _plain


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.decode() if isinstance(value, bytes) else str(value)


def compile_text(template: str | Template, getter: Callable[[Field], Get]) -> Callable[[Any], str | None]:
    """Renders a text; None where one of its fields has no value."""
    if isinstance(template, str) or not template.fields:
        text = template if isinstance(template, str) else template.text
        return lambda _: text
    pattern = "".join([part.replace("%", "%%") if isinstance(part, str) else "%s" for part in template.parts])
    places = [(getter(field), _shape(field)) for field in template.fields]
    if len(places) == 1:
        get, shape = places[0]

        def render_one(scene: Any) -> str | None:
            value = get(scene)
            if value is None:
                return None
            return pattern % (value if shape is None else shape(value),)

        return render_one

    def render(scene: Any) -> str | None:
        found = []
        for get, shape in places:
            value = get(scene)
            if value is None:
                return None
            found.append(value if shape is None else shape(value))
        return pattern % tuple(found)

    return render


class Body:
    """A compiled body: bytes with places, and what stands there."""

    __slots__ = ("_pattern", "_places", "fields", "static")

    def __init__(
        self, pattern: bytes, places: Sequence[Callable[[Any], bytes]], fields: Iterable[Field]
    ) -> None:
        self._pattern = pattern
        self._places = tuple(places)
        self.fields = frozenset(fields)
        self.static = None if places else pattern % ()
        """The body itself, where nothing in it ever changes."""

    def render(self, scene: Any) -> bytes:
        """The body for a scene."""
        if self.static is not None:
            return self.static
        return self._pattern % tuple([place(scene) for place in self._places])

    @property
    def names(self) -> frozenset[str]:
        """The names of the fields without a subject; ``limit`` stands for all that have one."""
        return frozenset(field.name if not field.subject else "limit" for field in self.fields)


def compile_body(document: Any, content_type: str, getter: Callable[[Field], Get]) -> Body:
    """A body of the profile: JSON with templates, or a text for another content type; None: empty."""
    fields: list[Field] = []
    if document is None:
        return Body(b"", (), ())
    if isinstance(document, str | Template) and not content_type.endswith("json"):
        if isinstance(document, str):
            return Body(document.encode("utf-8", "replace").replace(b"%", b"%%"), (), ())
        render = compile_text(document, getter)
        return Body(b"%s", (lambda scene: (render(scene) or "").encode("utf-8", "replace"),), document.fields)
    places: list[Callable[[Any], bytes]] = []
    pattern = _json_pattern(document, getter, places, fields)
    return Body(pattern, places, fields)


def _json_pattern(
    document: Any, getter: Callable[[Field], Get], places: list[Callable[[Any], bytes]], fields: list[Field]
) -> bytes:
    if isinstance(document, Template):
        fields += document.fields
        places.append(_json_place(document, getter))
        return b"%b"
    if isinstance(document, dict | list):
        if any(map(_omitted, document.values() if isinstance(document, dict) else document)):
            places.append(_container(document, getter, fields))
            return b"%b"
        if isinstance(document, list):
            inner = [_json_pattern(value, getter, places, fields) for value in document]
            return b"[" + b",".join(inner) + b"]"
        inner = [
            encode(str(key)).replace(b"%", b"%%") + b":" + _json_pattern(value, getter, places, fields)
            for key, value in document.items()
        ]
        return b"{" + b",".join(inner) + b"}"
    return encode(document).replace(b"%", b"%%")


def _json_place(template: Template, getter: Callable[[Field], Get]) -> Callable[[Any], bytes]:
    """A single field keeps its type; more than that is a text."""
    if len(template.parts) == 1 and not template.fields[0].spec:
        get = getter(template.fields[0])

        def value(scene: Any) -> bytes:
            found = get(scene)
            kind = type(found)
            if kind is int:
                return b"%d" % found
            return found if kind is bytes else encode(found)

        return value
    render = compile_text(template, getter)
    return lambda scene: encode(render(scene))


def _omitted(document: Any) -> str | None:
    """What has to have a value so that `document` is not left out; None: it never is."""
    if not isinstance(document, Template):
        return None
    return next((_OMITTED[field.name] for field in document.fields if field.name in _OMITTED), None)


def _container(
    document: dict[str, Any] | list[Any], getter: Callable[[Field], Get], fields: list[Field]
) -> Callable[[Any], bytes]:
    """A JSON object or array, some of whose members may be left out."""
    named = isinstance(document, dict)
    pairs = document.items() if isinstance(document, dict) else [("", value) for value in document]
    members = []
    for key, value in pairs:
        places: list[Callable[[Any], bytes]] = []
        prefix = encode(key) + b":" if named else b""
        pattern = prefix.replace(b"%", b"%%") + _json_pattern(value, getter, places, fields)
        members.append((_omitted(value), Body(pattern, places, ())))

    def render(scene: Any) -> bytes:
        found = [
            member.render(scene)
            for needed, member in members
            if needed is None or scene.values.get(needed) is not None
        ]
        inner = b",".join(found)
        return b"{" + inner + b"}" if named else b"[" + inner + b"]"

    return render


def filled(document: Any, getter: Callable[[Field], Get], scene: Any) -> Any:
    """`document` with the values of its templates, as Python's own types."""
    if isinstance(document, Template):
        return json.loads(_json_place(document, getter)(scene))
    if isinstance(document, dict):
        return {key: filled(value, getter, scene) for key, value in document.items()}
    if isinstance(document, list):
        return [filled(value, getter, scene) for value in document]
    return document


# ---- headers


class _Header(NamedTuple):
    name: str
    value: Callable[[Scene], str | None]
    near: bool | None
    """Whether the limit it is about has to be near its end, or far from it; None: either."""
    about: Callable[[Scene], str | None]
    limits: frozenset[str]


def _safe(text: str) -> str:
    """A header's value, whatever a client had in it: printable ASCII (RFC 9110, 5.5)."""
    if text.isascii() and text.isprintable():
        return text
    return quote(text, safe=" !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", errors="replace")


class HeaderRenderer:
    """The headers of the dialect or of a route."""

    __slots__ = ("_admitted", "_near", "_refused")

    def __init__(self, headers: Sequence[Header], near: float, getter: Callable[[Field], Get]) -> None:
        self._near = near
        compiled = [(header.on, _header(header, getter)) for header in headers]
        self._admitted = [header for on, header in compiled if on != "refusal"]
        self._refused = [header for on, header in compiled if on != "success"]

    def add_to(self, headers: Headers, scene: Scene) -> None:
        """Append those that the call's answer carries."""
        refusing = scene.decision.limit
        for name, value, near, about, limits in self._refused if refusing is not None else self._admitted:
            if limits and refusing not in limits:
                continue
            if near is not None and self._is_near(scene, about(scene)) is not near:
                continue
            text = value(scene)
            if text is not None:
                headers.append((name, text if text.isascii() and text.isprintable() else _safe(text)))

    def _is_near(self, scene: Scene, name: str | None) -> bool | None:
        """None: there is no limit that it could be near."""
        if name is None or name not in scene.left():
            return None
        number = scene.limits.number(name)
        return (number - scene.left()[name]) / number >= self._near


def _header(header: Header, getter: Callable[[Field], Get]) -> _Header:
    subject = next((field.subject for field in header.value.fields if field.subject), "tightest")
    about: Callable[[Scene], str | None] = (
        Scene.tightest if subject in ("tightest", "refusing") else lambda _: subject
    )
    near = {"near": True, "far": False}.get(header.on)
    return _Header(header.name, compile_text(header.value, getter), near, about, frozenset(header.limits))


# ---- the renderer


class _Refusal(NamedTuple):
    status: int
    retry_after: str
    headers: Headers
    body: Body


class _Error(NamedTuple):
    answer: ErrorAnswer
    headers: Headers
    message: Callable[[Scene], str | None]
    body: Body


class Renderer:
    """Says what the provider says, in its own way; one for all providers."""

    def __init__(self, dialect: Dialect, limits: ProviderLimits, entropy: Entropy) -> None:
        self.limits = limits
        self.skew_ns: Callable[[int], int] | None = None
        """How far the provider's own clock is ahead at an instant; None: it is right."""
        self._key = entropy.key("request-id")
        self._request_ids = 0
        self._near = dialect.near
        self._headers = self.headers(dialect.headers)
        self._refusals = {
            name: _Refusal(
                refusal.status,
                refusal.retry_after,
                content_headers(refusal.status, refusal.content_type, refusal.body),
                self.body(refusal.body if refusal.status not in _BODILESS else None, refusal.content_type),
            )
            for name in limits.by_name
            for refusal in (dialect.refusal(name),)
        }
        self._errors = {
            name: _Error(
                error,
                content_headers(error.status, error.content_type, error.body),
                compile_text(error.message, self._in_body),
                self.body(error.body if error.status not in _BODILESS else None, error.content_type),
            )
            for name, error in dialect.errors.items()
        }

    def next_request_id(self) -> str:
        """An id that no other answer of this run carries."""
        self._request_ids += 1
        return blake2b(self._request_ids.to_bytes(8, "big"), key=self._key, digest_size=8).hexdigest()

    # Compiling: a hidden limit is told of in no header, and the number of an undisclosed one nowhere.

    def _in_header(self, field: Field) -> Get:
        return _getter(field, self.limits.by_name, self.limits.hidden)

    def _in_body(self, field: Field) -> Get:
        return _getter(field, self.limits.by_name, self.limits.undisclosed)

    def headers(self, headers: Sequence[Header]) -> HeaderRenderer:
        """Compile headers."""
        return HeaderRenderer(headers, self._near, self._in_header)

    def body(self, document: Any, content_type: str) -> Body:
        """Compile a body."""
        return compile_body(document, content_type, self._in_body)

    # Rendering

    def add_headers(self, headers: Headers, scene: Scene) -> None:
        """Append the dialect's headers for the answer to a call that was asked of the limits."""
        self._headers.add_to(headers, scene)

    def form(self, limit: str) -> str:
        """The form of Retry-After in a limit's refusals."""
        return self._refusals[limit].retry_after

    def refuse(self, scene: Scene) -> tuple[Response, int | None]:
        """The refusal of a call, and what its Retry-After promised, in ns from the call's arrival."""
        limit = scene.decision.limit
        assert limit is not None
        status, form, headers, body = self._refusals[limit]
        headers = [*headers]
        at_ns = scene.at_ns
        if scene.skew_ns and form in _INSTANTS:
            at_ns = scene.told_ns(at_ns)
        promised = promise(form, at_ns, scene.decision.wait_ns)
        if promised is not None:
            headers.append(("Retry-After", promised[0]))
        return Response(status, headers, body.render(scene)), promised[1] if promised is not None else None

    def fail(
        self, scene: Scene, name: str, message: str = "", scopes: Sequence[str] = ()
    ) -> tuple[Response, str]:
        """The error of that name, and what the ledger calls it."""
        answer, headers, message_of, body = self._errors[name]
        headers = [*headers]
        scene.message, scene.scope = message, " ".join(scopes)
        scene.message = message_of(scene) or message
        if answer.challenge:
            headers.append(("WWW-Authenticate", _challenge(name, scene.message, scene.scope)))
        return Response(answer.status, headers, body.render(scene)), answer.code


def _getter(field: Field, limits: dict[str, Limit], untold: frozenset[str]) -> Get:
    """What gives a field its value; of the limits in `untold` only their names and waits are told."""
    name = field.name
    if not field.subject:
        if name in _COMMON:
            return _COMMON[name]
        name = _OMITTED.get(name, name)
        if name == "next_or_empty":
            return lambda scene: scene.values.get("next") or ""
        return lambda scene: scene.values.get(name)
    get = _OF_A_LIMIT[name]
    told = name in _ALWAYS_TOLD
    if field.subject == "tightest":

        def of_tightest(scene: Scene) -> Any:
            found = scene.tightest()
            return get(scene, found) if found is not None else None

        return of_tightest
    if field.subject == "refusing":

        def of_refusing(scene: Scene) -> Any:
            found = scene.decision.limit
            return get(scene, found) if found is not None and (told or found not in untold) else None

        return of_refusing
    subject = field.subject
    if subject not in limits or (subject in untold and not told):
        return _nothing
    return lambda scene: get(scene, subject) if subject in scene.left() else None


def content_headers(status: int, content_type: str, body: Any) -> Headers:
    """Content-Type, where there is content."""
    return [] if body is None or status in _BODILESS else [("Content-Type", _safe(content_type))]


_UNQUOTED = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")


def _challenge(name: str, message: str, scope: str) -> str:
    """The challenge of RFC 6750, 3; without a token it carries no error code (3.1)."""
    if name == "no_token":
        return 'Bearer realm="api"'
    if name == "insufficient_scope":
        return f'Bearer realm="api", error="insufficient_scope", scope="{_UNQUOTED.sub("?", scope)}"'
    code = "invalid_token" if name.endswith("_token") else "invalid_request"
    described = _UNQUOTED.sub("'", message.rstrip("."))
    return f'Bearer realm="api", error="{code}", error_description="{described}"'
