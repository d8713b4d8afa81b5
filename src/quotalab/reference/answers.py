"""What an answer of the provider's API says: data, a refusal, an expired token, an error, how long to wait.

Whatever came, reading it never raises: what is absent or malformed is not there.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

import httpx

from quotalab.profiles.reference import Signs, WaitHeader, pointed_at

__all__ = ["Answer", "pointed_at", "promised_ns"]

_FORBIDDEN = 403  # what some providers say to too many calls, and others to the wrong ones
_SECOND_NS = 1_000_000_000
_LONGEST_NS = 366 * 86_400 * _SECOND_NS
"""Who promises more is not believed."""
_APART_NS = 5 * _SECOND_NS
_LONGEST_TEXT = 64
_EITHER = {"seconds": "http_date", "http_date": "seconds"}
"""Whichever a provider documents, Retry-After may be the other (RFC 9110, 10.2.3)."""
_NUMBER = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,18}))?")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class Answer:
    """An HTTP response, read."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.status = response.status_code

    @cached_property
    def document(self) -> Any:
        """The body's JSON; None where it is none."""
        try:
            return self.response.json()
        except (ValueError, RecursionError):
            return None

    def at(self, pointer: str) -> Any:
        """What a JSON pointer points to in the body; None where there is nothing."""
        return pointed_at(self.document, pointer)

    def told(self, signs: Signs) -> str | None:
        """Which of the signs it bears, in words that are the profile's and not the answer's; None: none."""
        if self.status in signs.statuses:
            return self.response.reason_phrase
        if self.status == _FORBIDDEN:
            for name, texts in signs.headers.items():
                text = self.response.headers.get(name)
                if text is not None and (not texts or text.strip() in texts):
                    return f"and {name}"
        pointer = signs.in_body(self.document)
        return None if pointer is None else f"and an error at {pointer}"

    def next_link(self) -> str | None:
        """The target of the Link header with the relation ``next`` (RFC 8288)."""
        for link in self.response.links.values():
            if "next" in link.get("rel", "").lower().split():
                return link["url"]
        return None


def promised_ns(headers: Mapping[str, str], waits: Sequence[WaitHeader], now_ns: int) -> int | None:
    """How long to wait, by the first of `waits` that is there and can be read; None: nothing was promised.

    A wait of nothing, an instant that has passed, and more than a year promise nothing. An instant is the
    provider's: where its Date shows that the two clocks differ, it is read by that (RFC 9110, 6.6.1).
    """
    for wait in waits:
        text = headers.get(wait.name)
        if text is None or len(text) > _LONGEST_TEXT:
            continue
        form = wait.form
        read_ns = _FORMS[form](text.strip())
        if read_ns is None and form in _EITHER and wait.name.lower() == "retry-after":
            form = _EITHER[form]
            read_ns = _FORMS[form](text.strip())
        if read_ns is None:
            continue
        wait_ns = read_ns if form in ("seconds", "ms") else read_ns - _clock_ns(headers, now_ns)
        if 0 < wait_ns <= _LONGEST_NS:
            return wait_ns
    return None


def _clock_ns(headers: Mapping[str, str], now_ns: int) -> int:
    """What the provider's clock shows, where that is further from the app's than a call takes."""
    date = headers.get("Date")
    date_ns = _http_date(date) if date is not None and len(date) <= _LONGEST_TEXT else None
    if date_ns is None or abs(date_ns - now_ns) <= _APART_NS:
        return now_ns
    return date_ns


def _scaled(text: str, scale: int) -> int | None:
    """A number of `scale` nanoseconds each, rounded up."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    fraction = match[2] or "0"
    tens: int = 10 ** len(fraction)
    return int(match[1]) * scale - (-int(fraction) * scale // tens)


def _seconds(text: str) -> int | None:
    """RFC 9110, 10.2.3, has whole seconds only; there are providers that send 2.0."""
    return _scaled(text, _SECOND_NS)


def _milliseconds(text: str) -> int | None:
    return _scaled(text, 1_000_000)


def _http_date(text: str) -> int | None:
    """RFC 9110, 5.6.7, the obsolete forms too."""
    try:
        return _instant_ns(parsedate_to_datetime(text))
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _iso(text: str) -> int | None:
    try:
        return _instant_ns(datetime.datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def _instant_ns(moment: datetime.datetime) -> int:
    """Nanoseconds since 1970 UTC; without a zone it is UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return (moment - _EPOCH) // datetime.timedelta(microseconds=1) * 1000


_FORMS: dict[str, Callable[[str], int | None]] = {
    "seconds": _seconds,
    "ms": _milliseconds,
    "epoch": _seconds,
    "epoch_ms": _milliseconds,
    "http_date": _http_date,
    "iso": _iso,
}
