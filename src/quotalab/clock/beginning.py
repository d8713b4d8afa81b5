"""When a run in virtual time begins."""

from __future__ import annotations

import datetime

from quotalab.errors import InputError

__all__ = ["DEFAULT_START_NS", "parse_start_ns"]

DEFAULT_START_NS = 1_767_571_200_000_000_000
"""Monday 2026-01-05 00:00 UTC."""


def parse_start_ns(text: str, option: str = "--start") -> int:
    """A moment given to an option: ISO 8601, UTC unless it says otherwise. Raises `InputError`."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        right = "a date such as 2026-01-05 or 2026-01-05T08:00"
        raise InputError(f"{option}: {text!r} is not {right}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    since = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    if not datetime.timedelta(days=365) <= since <= datetime.timedelta(days=365 * 130):
        raise InputError(f"{option}: must lie between 1971 and 2099, not {text!r}")
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
