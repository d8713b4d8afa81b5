"""Operations: what a person asks of the app, with a deadline, and how it turned out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from quotalab.errors import ScenarioError
from quotalab.profiles.reading import parse_duration_ns

__all__ = ["Asked", "Terms", "operation", "terms_of"]

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Terms:
    """What `operation` says of a method."""

    deadline_ns: int
    interactive: bool


@dataclass
class Asked:
    """One operation under way; times in nanoseconds since 1970 UTC."""

    operation: str
    """Its id: 32 hexadecimal digits, which is also a trace id (W3C Trace Context)."""
    name: str
    planned_ns: int
    deadline_ns: int
    interactive: bool
    """Whether a person is waiting for it."""
    stale: bool = False
    """Set when the person got what the app had from before."""


def operation(*, deadline: str, interactive: bool = True) -> Callable[[_F], _F]:
    """Mark a method of a `PlannedPerson` as an operation that traffic profiles can name.

    `deadline` counts from the planned moment ("30s", "10m", "12h"). Where nobody waits for the result,
    `interactive=False`.
    """
    try:
        terms = Terms(parse_duration_ns(deadline), interactive)
    except ValueError as error:
        raise ScenarioError(f"@operation(deadline=...): {error}") from None

    def mark(method: _F) -> _F:
        method.quotalab_terms = terms  # type: ignore[attr-defined]
        return method

    return mark


def terms_of(owner: type, name: str) -> Terms | None:
    """What `operation` said of the method of that name; None if there is no such operation."""
    return getattr(getattr(owner, name, None), "quotalab_terms", None)
