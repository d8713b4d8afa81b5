"""What a client sent, as far as it may be written: what could be a secret is replaced."""

from __future__ import annotations

import re

__all__ = ["LONGEST_TEXT", "REDACTED", "shown", "shown_header"]

# Headers whose values are written, but for what in them could be a secret. All other values are replaced.
_HEADERS = frozenset(
    (
        *("accept", "accept-encoding", "accept-language", "allow", "cache-control", "connection"),
        *("content-encoding", "content-length", "content-type", "date", "expect", "host", "if-none-match"),
        *("pragma", "range", "retry-after", "traceparent", "transfer-encoding", "user-agent", "vary"),
        *("www-authenticate", "x-request-id"),
    )
)
# The allowances that providers tell: X-RateLimit-Remaining, X-App-Usage, X-DayLimit-Remaining and their like.
_ALLOWANCE = re.compile("limit|usage|quota")
# Tokens, codes, states, verifiers and passwords are long runs of these, as such or percent-encoded.
_RUN = re.compile(r"[A-Za-z0-9_~%+=-]{16,}")
REDACTED = "[redacted]"
LONGEST_TEXT = 512


def shown(text: str) -> str:
    """A text of the client's, as far as it may be written: every run that could be a secret is replaced."""
    return _RUN.sub(_word, text[:LONGEST_TEXT])


def shown_header(name: str, value: str) -> str:
    """A header's value, as far as it may be written; `name` in lower case."""
    return shown(value) if name in _HEADERS or _ALLOWANCE.search(name) else REDACTED


def _word(run: re.Match[str]) -> str:
    """The run if it reads like words: letters, few of them capitals. Drawn at random, 20 letters do not."""
    letters = run[0].replace("-", "").replace("_", "")
    few_capitals = 4 * sum(map(str.isupper, letters)) <= len(letters)
    return run[0] if letters.isalpha() and few_capitals else REDACTED
