"""Text that clients sent, made safe to look at: on a terminal, on a page, in XML."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from quotalab.ledger.text import visible

__all__ = ["prose", "visible"]


def prose(text: str) -> Markup:
    """A paragraph of a rule's page: everything escaped, `code` between backticks marked as such."""
    escaped = str(escape(visible(" ".join(text.split()))))
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped))  # noqa: S704 - escaped just above
