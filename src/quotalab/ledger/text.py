"""Text that clients sent, made safe to look at in a terminal, on a page or in XML."""

from __future__ import annotations

__all__ = ["visible"]


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
