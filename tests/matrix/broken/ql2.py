"""Backoff, wrong in one way at a time; the rest is the polite policy's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reference_variants import Calendar, reference

from quotalab.reference.errors import ProviderError

CASES = [
    {
        "RULE": "QL201",
        "TOLD": "It has no budget, and its own backoff in place of Retry-After.",
        "FOLLOWS": {
            "QL101",  # what is asked again early is refused again
            "QL102",  # what is overrun has no headroom
            "QL210",  # and each of these waits is too short
            "QL501",  # people whose calls fail get nothing
            "QL503",  # after the last attempt they see the error
            "QL504",  # and nobody takes it up again
        },
        "RUN": {"users": 60, "for": "2h", "settings": ("limits.hourly.limit=20",)},
        "POLICY": {"budget": {"enabled": False}, "retry": {"obey_retry_after": False}},
        "build": None,
    },
    {
        "RULE": "QL202",
        "TOLD": "It retries failures at once.",
        "FOLLOWS": {
            "QL503",  # after the last attempt they see the error
            "QL504",  # and nobody takes it up again
        },
        "RUN": {"users": 60, "for": "2h", "settings": ('faults=[{kind="error", share=0.3}]',)},
        "POLICY": {"retry": {"base": "0s", "cap": "0s", "jitter": "none"}},
        "build": None,
    },
    {
        "RULE": "QL203",
        "TOLD": "Its waits have no jitter.",
        "FOLLOWS": {
            "QL501",  # people whose calls fail get nothing
            "QL503",  # after the last attempt they see the error
            "QL504",  # and nobody takes it up again
            "QL604",  # each attempt is a call
        },
        "RUN": {"users": 100, "for": "3h", "settings": ('faults=[{kind="error", share=0.4}]',)},
        "POLICY": {"retry": {"jitter": "none"}},
        "build": None,
    },
    {
        "RULE": "QL204",
        "TOLD": "It asks again until the deadline, however often that is.",
        "FOLLOWS": {
            "QL207",  # while it lasts, most calls are retries
            "QL501",  # people whose calls fail get nothing
            "QL502",  # an answer that comes after so many attempts comes late
            "QL503",  # after the last attempt they see the error
            "QL504",  # and nobody takes it up again
            "QL604",  # each attempt is a call
        },
        "RUN": {
            "users": 60,
            "for": "2h",
            "settings": ("limits.hourly.limit=1000", 'faults=[{kind="error", from="30m", until="90m"}]'),
        },
        "POLICY": {"budget": {"enabled": False}, "retry": {"attempts": 40}},
        "build": None,
    },
    {
        "RULE": "QL205",
        "TOLD": "It takes a 403 for something that passes.",
        "FOLLOWS": {
            "QL501",  # people whose calls fail get nothing
            "QL604",  # each attempt is a call
        },
        "RUN": {"users": 60, "for": "2h", "settings": ('faults=[{kind="error", status=403, share=0.4}]',)},
        "POLICY": {"retry": {"statuses": [403, 429, 500, 502, 503, 504]}},
        "build": None,
    },
    {
        "RULE": "QL206",
        "TOLD": "It repeats a POST of which it does not know whether it was carried out.",
        "RUN": {"users": 60, "for": "3h", "settings": ('faults=[{kind="drop", when="after", share=0.3}]',)},
        "build": "repeats_posts",
    },
    {
        "RULE": "QL207",
        "TOLD": "It makes seven calls of each one while the provider is down.",
        "FOLLOWS": {
            "QL501",  # people whose calls fail get nothing
            "QL503",  # after the last attempt they see the error
            "QL504",  # and nobody takes it up again
        },
        "RUN": {
            "users": 60,
            "for": "2h",
            "settings": ("limits.hourly.limit=1000", 'faults=[{kind="error", from="30m", until="90m"}]'),
            "rules": {"QL207": {"least": 5}},
        },
        "POLICY": {"budget": {"enabled": False}, "retry": {"attempts": 7, "cap": "2s"}},
        "build": None,
    },
    {
        "RULE": "QL208",
        "TOLD": "It gives up at the first failure.",
        "FOLLOWS": {
            "QL501",  # people whose calls fail get nothing
            "QL503",  # after the last attempt they see the error
            "QL504",  # and nobody takes it up again
            "QL506",  # exports fail as well
        },
        "RUN": {"users": 60, "for": "2h", "settings": ('faults=[{kind="error", share=0.2}]',)},
        "POLICY": {"retry": {"attempts": 1}},
        "build": None,
    },
    {
        "RULE": "QL209",
        "TOLD": "After an outage it never finds out that the provider is back.",
        "FOLLOWS": {
            "QL501",  # people whose calls fail get nothing
            "QL503",  # after the last attempt they see the error
            "QL504",  # and nobody takes it up again
        },
        "RUN": {
            "users": 100,
            "for": "4h",
            "settings": ('faults=[{kind="error", from="1h", until="90m"}]',),
        },
        "build": "stays_away",
    },
    {
        "RULE": "QL210",
        "TOLD": "It waits for six tenths of what Retry-After says.",
        "FOLLOWS": {
            "QL101",  # what is asked again early is refused again
            "QL102",  # what is overrun has no headroom
            "QL201",  # a wait cut short ends before the promise
            "QL501",  # people whose calls fail get nothing
            "QL503",  # after the last attempt they see the error
            "QL504",  # and nobody takes it up again
            "QL506",  # exports fail as well
        },
        "RUN": {"users": 60, "for": "3h", "settings": ("limits.hourly.limit=20",)},
        "POLICY": {"budget": {"enabled": False}},
        "build": "cuts_waits_short",
    },
    {
        "RULE": "QL211",
        "TOLD": "It reads Retry-After in seconds, and not as a date.",
        "FOLLOWS": {
            "QL101",  # what is asked again early is refused again
            "QL102",  # what is overrun has no headroom
            "QL201",  # a wait cut short ends before the promise
            "QL207",  # while it lasts, most calls are retries
            "QL210",  # and each of these waits is too short
            "QL503",  # after the last attempt they see the error
        },
        "RUN": {
            "users": 60,
            "for": "4h",
            "settings": (
                "limits.hourly.limit=20",
                "limits.hourly.period=10m",
                'faults=[{kind="retry_after", as="http_date", from="2h"}]',
            ),
        },
        "POLICY": {"budget": {"enabled": False}, "retry": {"attempts": 8}},
        "build": "knows_no_dates",
    },
    {
        "RULE": "QL212",
        "TOLD": "It waits as long before the third retry as before the first.",
        "FOLLOWS": {
            "QL501",  # people whose calls fail get nothing
            "QL503",  # after the last attempt they see the error
            "QL504",  # and nobody takes it up again
            "QL604",  # each attempt is a call
        },
        "RUN": {
            "users": 100,
            "for": "3h",
            "settings": ("limits.hourly.limit=1000", 'faults=[{kind="error", share=0.6}]'),
        },
        "POLICY": {"budget": {"calls": 1000}, "retry": {"cap": "1s"}},
        "build": None,
    },
]


class _RepeatsPosts(Calendar):
    def _call(self, person: str, request: Any, patience: Any) -> Any:
        return super()._call(person, replace(request, repeatable=True), patience)


class _StaysAway(Calendar):
    _failures = 0

    def _call(self, person: str, request: Any, patience: Any) -> Any:
        if self._failures >= 4:
            raise ProviderError(503, "and it is believed to be so still")
        try:
            return super()._call(person, request, patience)
        except ProviderError:
            self._failures += 1
            raise


class _CutsWaitsShort(Calendar):
    def _wait_ns(self, *arguments: Any, **more: Any) -> int | None:
        wait_ns = super()._wait_ns(*arguments, **more)
        return None if wait_ns is None else wait_ns * 6 // 10


class _KnowsNoDates(Calendar):
    def _wait_ns(self, person: str, request: Any, answer: Any, *arguments: Any, **more: Any) -> int | None:
        if not answer.response.headers.get("Retry-After", "").isdigit():
            answer.response.headers.pop("Retry-After", None)
        return super()._wait_ns(person, request, answer, *arguments, **more)


def repeats_posts(access: Any) -> Calendar:
    return reference(access, _RepeatsPosts)


def stays_away(access: Any) -> Calendar:
    return reference(access, _StaysAway)


def cuts_waits_short(access: Any) -> Calendar:
    return reference(access, _CutsWaitsShort)


def knows_no_dates(access: Any) -> Calendar:
    return reference(access, _KnowsNoDates)
