"""Text that clients sent, made safe to look at: on a terminal, on a page, in XML."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

__all__ = ["prose", "visible"]


def visible(text: str) -> str:
    r"""`text` with whatever cannot be seen written out: control characters, newlines, direction marks.

    An escape sequence would act on a terminal, a right-to-left override would turn a line around, and XML 1.0
    (section 2.2) has no way at all to hold most of them.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _written(char) for char in text)


def _written(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def prose(text: str) -> Markup:
    """A paragraph of a rule's page: everything escaped, `code` between backticks marked as such."""
    escaped = str(escape(visible(" ".join(text.split()))))
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped))  # noqa: S704 - escaped just above
