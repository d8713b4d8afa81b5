"""Templates in a profile's headers and bodies: text with fields in braces, checked when the profile is read.

``"{hourly.remaining}"`` is a field of the limit ``hourly``; ``{tightest.remaining}`` of whichever limit that
was asked of the call and is not hidden has the least left, by share; ``{refusing.limit}`` of the one that
refused. ``{{`` and ``}}`` are braces. What comes after a colon formats a whole number, as in ``{n:08x}``.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["LIMIT_FIELDS", "WAIT_FIELDS", "Field", "Template", "parse_template", "templates_in"]

LIMIT_FIELDS = (
    "name",
    "limit",
    "used",
    "remaining",  # never below 0
    "percent",  # of the limit that is used, rounded down
    "rate",  # tokens a second, as a decimal
    "period_s",
    "period_ms",
    "key_base64",
    # When the whole of the limit is there again, if nothing more is charged.
    "reset_s",  # from now, whole seconds, rounded up
    "reset_decimal_s",  # from now, three decimals, rounded up
    "reset_ms",
    "reset_epoch_s",
    "reset_epoch_decimal",
    "reset_epoch_ms",
    "reset_iso",
    "reset_http_date",
)
"""What a template may say of a limit."""

WAIT_FIELDS = (
    "wait_s",
    "wait_decimal_s",
    "wait_ms",
    "wait_minutes",
    "wait_epoch_s",
    "wait_iso",
    "wait_http_date",
)
"""Of the refusing limit only: how long until a call would be admitted, each rounded up."""

_NUMBER_SPECS = frozenset("bdoxX")


class Field(NamedTuple):
    """``{subject.name:spec}``, or ``{name:spec}`` with an empty subject."""

    subject: str
    name: str
    spec: str


@dataclass(frozen=True, slots=True)
class Template:
    """A text with fields; one that is a single field gives that field's own type where it stands in JSON."""

    parts: tuple[str | Field, ...]

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields, in order."""
        return tuple(part for part in self.parts if isinstance(part, Field))

    @property
    def text(self) -> str | None:
        """The text, where there is no field in it."""
        return None if self.fields else "".join(part for part in self.parts if isinstance(part, str))


def parse_template(text: str, plain: Collection[str], limits: Collection[str], *, refused: bool) -> Template:
    """The template in `text`.

    `plain` are the fields without a subject that are known where it stands, `limits` the names of the
    profile's limits; `refused`: whether it is rendered for refused calls only, where ``refusing`` is known.
    Raises ``ValueError`` with a message that says what is allowed.
    """
    parts: list[str | Field] = []
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is no template: {error}; write {{{{ and }}}} for braces") from None
    for literal, name, spec, conversion in parsed:
        if literal:
            parts.append(literal)
        if name is None:
            continue
        if conversion:
            raise ValueError(f"{text!r} is no template: '!{conversion}' has no meaning in it")
        subject, dot, field = name.rpartition(".")
        if not dot:
            if name not in plain:
                raise ValueError(f"{text!r} has an unknown field {name!r}; {_allowed(plain, limits)}")
        elif subject not in (*limits, "tightest", *(("refusing",) if refused else ())):
            raise ValueError(f"{text!r} has an unknown field {name!r}; {_allowed(plain, limits)}")
        elif field not in LIMIT_FIELDS and not (field in WAIT_FIELDS and subject == "refusing"):
            known = LIMIT_FIELDS + (WAIT_FIELDS if subject == "refusing" else ())
            hint = f"of a limit there is: {', '.join(known)}"
            raise ValueError(f"{text!r} has an unknown field {name!r}; {hint}")
        if spec and (spec[-1] not in _NUMBER_SPECS or not spec[:-1].isdigit() or int(spec[:-1]) > 64):
            hint = "a width and b, d, o, x or X are known"
            raise ValueError(f"{text!r} has an unknown format {spec!r}; {hint}")
        parts.append(Field(subject, field if dot else name, spec or ""))
    return Template(tuple(parts))


def _allowed(plain: Collection[str], limits: Collection[str]) -> str:
    known = [*sorted(plain), *(f"{limit}.FIELD" for limit in limits), "tightest.FIELD"]
    return f"there is: {', '.join(known)}"


def templates_in(document: Any, parse: Callable[[str], Template]) -> Any:
    """`document` with each text in it that has fields parsed; a text without any becomes what it says."""
    if isinstance(document, str):
        template = parse(document)
        return template if template.fields else template.text
    if isinstance(document, dict):
        return {key: templates_in(value, parse) for key, value in document.items()}
    if isinstance(document, list):
        return [templates_in(value, parse) for value in document]
    return document
