"""What a provider's review asks of an app before it gives full access: a data file with its sources."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quotalab.errors import ProfileError
from quotalab.profiles.limits import Source, parse_source
from quotalab.profiles.reading import Table, read_toml
from quotalab.workspace import Workspace

__all__ = ["ANSWERS", "Question", "Review", "load_review", "parse_review"]

ANSWERS = ("usage", "routes", "errors", "backoff", "scopes", "tokens", "consent", "flows", "logs", "people")
"""The part of the evidence that answers a question; ``people``: none can, the app's makers must."""


@dataclass(frozen=True)
class Question:
    """One thing that a review asks, in our own words."""

    id: str
    asks: str
    answer: str
    """One of `ANSWERS`."""
    least_success: float | None
    """The share of successful calls that is asked for, where the provider names one."""
    most_limit_errors: float | None
    """The share of calls that limits may refuse, where the provider names one."""
    source: Source


@dataclass(frozen=True)
class Review:
    """A provider's review."""

    name: str
    title: str
    about: str
    questions: tuple[Question, ...]
    unknown: tuple[str, ...]
    """What the provider does not say in public."""


def load_review(workspace: Workspace, name: str) -> Review:
    """A review by name or path. Raises `InputError`."""
    path = workspace.file("review", name)
    return parse_review(read_toml(path), str(path))


def parse_review(document: Mapping[str, Any], file: str) -> Review:
    """Validate a review; raises `ProfileError` naming the file and the key."""
    top = Table(document, file)
    top.whole("schema", least=1, most=1)
    questions = tuple(_question(table) for table in top.array("questions"))
    if len({one.id for one in questions}) != len(questions):
        raise ProfileError(file, "questions", "gives one id to two questions")
    review = Review(
        top.text("name"), top.text("title"), top.text("about"), questions, top.texts("unknown", ())
    )
    top.done()
    if not questions:
        raise ProfileError(file, "questions", "there must be at least one")
    return review


def _question(table: Table) -> Question:
    question = Question(
        id=table.text("id"),
        asks=table.text("asks"),
        answer=table.choice("answer", ANSWERS),
        least_success=table.number("least_success", None, most=1.0),
        most_limit_errors=table.number("most_limit_errors", None, most=1.0),
        source=parse_source(table.table("source")),
    )
    if not re.fullmatch(r"[a-z0-9-]+", question.id):
        raise table.error("id", f"may hold lower-case letters, digits and dashes, not {question.id!r}")
    table.done()
    return question
